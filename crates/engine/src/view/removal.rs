//! The rows of a stream that was removed from the log, or is about to be told anew: they go away.
//!
//! A campaign of a million targets has as many rows, so they are taken away in bits, first those by
//! which it is found. Until the note is reached the log itself says that more is to go.

use hedgerow_core::{CampaignId, StreamId, TenantId};

use super::fold::{Changes, lists};
use super::follow::Stopped;
use super::kept;
use super::key::{self, Kind};
use super::row::{CampaignEntry, OperationPlace};
use super::store::{Direction, Reached, RowKey, Step, ViewStore};
use super::stream::read;
use crate::store::retention::Note;

/// Rows that are read at once.
const PAGE: usize = 1_000;
/// So many rows are taken away at once.
const MOST: usize = 20_000;

/// Takes the rows of a stream away that are made as far as `reached`, and what is about to be written
/// of it. What is few is added to `changes`.
pub(super) async fn remove(
    views: &dyn ViewStore,
    reached: Option<Reached>,
    (tenant, stream): (&TenantId, StreamId),
    note: &Note,
    changes: &mut Changes,
) -> Result<(), Stopped> {
    changes.insert(key::unreadable(tenant, stream), None);
    let id = match (stream, note.update) {
        (StreamId::Campaign(id), _) => id,
        (StreamId::ManualUpdate(id), Some((device, began_at))) => {
            changes.insert(key::operation(tenant, device, began_at, id), None);
            return Ok(());
        }
        (StreamId::ManualUpdate(_), None) => return Ok(()),
    };
    for (key, row) in changes.iter_mut() {
        if row.as_ref().is_some_and(|row| is_of(key, row, tenant, id)) {
            *row = None;
        }
    }
    // Without rows there is nothing to take away.
    let Some(reached) = reached else { return Ok(()) };
    let campaign = key::campaign(tenant, id);
    let row = views.get(vec![campaign.clone()]).await?.pop().flatten();
    let mut gone = Changes::new();
    if let Some(entry) = row.as_deref().map(read::<CampaignEntry>).transpose()? {
        gone.extend(lists(tenant, &entry).into_iter().map(|key| (key, None)));
    }
    gone.insert(campaign, None);
    gone.insert(key::sums(tenant, id), None);
    for kind in [Kind::Devices, Kind::Standings, Kind::Target, Kind::Minute] {
        let mut range = key::beginning_with(key::of_campaign(kind, tenant, id));
        loop {
            let page = views.scan(range.clone(), Direction::Forwards, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            range.start.clone_from(last);
            range.start.push(0);
            for (key, row) in page {
                if kind == Kind::Target {
                    let details = kept::details(&row, stream)?;
                    let place = |of: &super::row::OperationEntry| {
                        key::operation(tenant, of.device, of.began_at, of.operation)
                    };
                    gone.extend(details.operations.iter().map(|of| (place(of), None)));
                }
                gone.insert(key, None);
            }
            if gone.len() >= MOST {
                let rows = std::mem::take(&mut gone).into_iter().collect();
                views.write(Step { from: Some(reached), to: reached, rows }).await?;
            }
        }
    }
    changes.extend(gone);
    Ok(())
}

/// Whether a row is about that campaign.
fn is_of(key: &RowKey, row: &[u8], tenant: &TenantId, id: CampaignId) -> bool {
    let by_campaign =
        [Kind::Campaign, Kind::Devices, Kind::Standings, Kind::Sums, Kind::Target, Kind::Minute];
    let begins = |kind| key.starts_with(&key::of_campaign(kind, tenant, id));
    if by_campaign.into_iter().any(begins) {
        return true;
    }
    if key.starts_with(&key::of(Kind::Listed, tenant)) {
        return key::campaign_of(key) == Some(id);
    }
    key.starts_with(&key::of(Kind::Operation, tenant))
        && matches!(read(row), Ok(OperationPlace::Target(of, _)) if of == id)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use hedgerow_core::Timestamp;
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
        let rows = (1..=3).flat_map(minutes).collect();
        block_on(views.write(Step { from: None, to: reached, rows })).expect("written");
        let before = all(&views);
        let note = Note { kind: NoteKind::Removed, events: 1, checksum: None, update: None };
        let stream = StreamId::Campaign(campaign(2));
        // What is about to be written of it, too.
        let mut changes = Changes::new();
        changes.insert(key::sums(&tenant, campaign(2)), Some(b"[]".to_vec()));
        changes.insert(key::sums(&tenant, campaign(3)), Some(b"[]".to_vec()));
        let removed = remove(&views, Some(reached), (&tenant, stream), &note, &mut changes);
        assert!(block_on(removed).is_ok());
        assert_eq!(all(&views).len(), before.len() - 2 * MOST, "what is few is left to the step");
        assert_eq!(block_on(views.reached()), Ok(Some(reached)), "the note is still to come");
        let rows: Vec<_> = changes.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        let to = Reached { position: 10, ..reached };
        block_on(views.write(Step { from: Some(reached), to, rows })).expect("written");
        let of = |number| key::of_campaign(Kind::Minute, &tenant, campaign(number));
        let mut expected = before;
        expected.retain(|(key, _)| !key.starts_with(&of(2)));
        expected.push((key::sums(&tenant, campaign(3)), b"[]".to_vec()));
        expected.sort_unstable();
        assert_eq!(all(&views), expected);
    }
}
