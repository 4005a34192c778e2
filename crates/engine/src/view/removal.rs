//! The rows of a stream that was removed from the log, or is about to be told anew: they go away.
//!
//! A campaign of a million targets has as many rows, so they are taken away in bits, first those by
//! which it is found. Until the note is reached the log itself says that more is to go.

use hedgerow_core::{StreamId, TenantId};

use super::fold::{Changes, lists};
use super::follow::Stopped;
use super::kept;
use super::key::{self, Kind};
use super::row::{CampaignEntry, OperationEntry};
use super::store::{Direction, Reached, RowKey, Step, ViewStore};
use super::stream::read;
use crate::store::retention::Note;

/// Rows that are read at once.
const PAGE: usize = 1_000;
/// So many rows are taken away at once.
const MOST: usize = 20_000;

/// The kinds of rows that are found by their campaign; first the one by which people find it.
const OF_CAMPAIGN: [Kind; 7] = [
    Kind::Campaign,
    Kind::Sums,
    Kind::Devices,
    Kind::Place,
    Kind::Standings,
    Kind::Target,
    Kind::Minute,
];

/// Takes the rows of a stream away that are made as far as `reached`, and what is about to be written
/// of it, which is in `changes`. What is few is left in `gone`.
pub(super) async fn remove(
    views: &dyn ViewStore,
    reached: Option<Reached>,
    (tenant, stream): (&TenantId, StreamId),
    note: &Note,
    changes: &mut Changes,
    gone: &mut Changes,
) -> Result<(), Stopped> {
    take(key::unreadable(tenant, stream), changes, gone);
    let id = match (stream, note.update) {
        (StreamId::Campaign(id), _) => id,
        (StreamId::ManualUpdate(id), Some((device, began_at))) => {
            take(key::operation(tenant, device, began_at, id), changes, gone);
            return Ok(());
        }
        (StreamId::ManualUpdate(_), None) | (StreamId::Catalogue, _) => return Ok(()),
    };
    for kind in OF_CAMPAIGN {
        let mut range = key::beginning_with(key::of_campaign(kind, tenant, id));
        let pending: Vec<_> =
            changes.range(range.clone()).map(|(key, row)| (key.clone(), row.clone())).collect();
        for (key, row) in pending {
            for other in row.iter().flat_map(|row| leads_to(kind, row, tenant, stream)) {
                take(other, changes, gone);
            }
            take(key, changes, gone);
        }
        // Without rows there is nothing to take away.
        let Some(reached) = reached else { continue };
        loop {
            let page = views.scan(range.clone(), Direction::Forwards, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            range.start.clone_from(last);
            range.start.push(0);
            for (key, row) in page {
                for other in leads_to(kind, &row, tenant, stream) {
                    take(other, changes, gone);
                }
                take(key, changes, gone);
            }
            if gone.len() >= MOST {
                let rows = std::mem::take(gone).into_iter().collect();
                views.write(Step { from: Some(reached), to: reached, rows }).await?;
            }
        }
    }
    Ok(())
}

fn take(key: RowKey, changes: &mut Changes, gone: &mut Changes) {
    changes.remove(&key);
    gone.insert(key, None);
}

/// Where else a row of a campaign is found. One that is damaged leads nowhere: what would lead to it
/// is passed over by whoever reads.
fn leads_to(kind: Kind, row: &[u8], tenant: &TenantId, stream: StreamId) -> Vec<RowKey> {
    match kind {
        Kind::Campaign => read::<CampaignEntry>(row)
            .map_or_else(|_| Vec::new(), |entry| lists(tenant, &entry).into_iter().collect()),
        Kind::Target => kept::details(row, stream).map_or_else(
            |_| Vec::new(),
            |details| {
                let place = |of: &OperationEntry| {
                    key::operation(tenant, of.device, of.began_at, of.operation)
                };
                details.operations.iter().map(place).collect()
            },
        ),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use hedgerow_core::{CampaignId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::store::retention::NoteKind;
    use crate::view::{MemoryViews, Row};

    fn campaign(number: u128) -> CampaignId {
        CampaignId::from_uuid(Uuid::from_u128(number))
    }

    fn all(views: &MemoryViews) -> Vec<Row> {
        let range = Vec::new()..vec![u8::MAX; 2];
        block_on(views.scan(range, Direction::Forwards, usize::MAX)).expect("read")
    }

    #[test]
    fn many_rows_are_taken_away_in_bits_and_others_stay() {
        let tenant: TenantId = "hedge".parse().expect("a tenant");
        let views = MemoryViews::new();
        let reached = Reached { format: 1, position: 9, checksum: None };
        let minutes = |number: u128| {
            let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
            let rows = 0..i64::try_from(2 * MOST + MOST / 2).expect("few");
            let key = |minute| key::minute(&tenant, campaign(number), at(minute));
            rows.map(|minute| (key(minute), Some(b"{}".to_vec()))).collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = (1..=3).flat_map(minutes).collect();
        // Damaged rows go as all others do.
        let damaged = [key::campaign(&tenant, campaign(2)), key::target(&tenant, campaign(2), 0)];
        let damaged_rows = damaged.len();
        rows.extend(damaged.map(|key| (key, Some(b"{".to_vec()))));
        block_on(views.write(Step { from: None, to: reached, rows })).expect("written");
        let before = all(&views);
        let note = Note { kind: NoteKind::Removed, events: 1, checksum: None, update: None };
        let stream = StreamId::Campaign(campaign(2));
        // What is about to be written of it, too.
        let mut changes = Changes::new();
        changes.insert(key::sums(&tenant, campaign(2)), Some(b"[]".to_vec()));
        changes.insert(key::sums(&tenant, campaign(3)), Some(b"[]".to_vec()));
        let mut gone = Changes::new();
        let of = (&tenant, stream);
        let removed = remove(&views, Some(reached), of, &note, &mut changes, &mut gone);
        assert!(block_on(removed).is_ok());
        assert!(!changes.contains_key(&key::sums(&tenant, campaign(2))));
        assert!(gone.len() < MOST, "what is few is left to the step");
        changes.extend(gone);
        assert_eq!(all(&views).len(), before.len() - 2 * MOST - damaged_rows);
        assert_eq!(block_on(views.reached()), Ok(Some(reached)), "the note is still to come");
        let rows: Vec<_> = changes.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        let to = Reached { position: 10, ..reached };
        block_on(views.write(Step { from: Some(reached), to, rows })).expect("written");
        let of = |kind| key::of_campaign(kind, &tenant, campaign(2));
        let mut expected = before;
        expected.retain(|(key, _)| !OF_CAMPAIGN.iter().any(|kind| key.starts_with(&of(*kind))));
        expected.push((key::sums(&tenant, campaign(3)), b"[]".to_vec()));
        expected.sort_unstable();
        assert_eq!(all(&views), expected);
    }
}
