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
