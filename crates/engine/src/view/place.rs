//! Where in a campaign's snapshot the target of a device is: the devices in the order of their bytes,
//! each with its place, some hundred in a row that is named by the first of them. So the target of a
//! device is one look-up among a million.
//!
//! The rows are written once, when the snapshot is complete. Of a campaign that never came so far
//! there are none, and who asks looks through its devices.

use hedgerow_core::{Campaign, CampaignId, DeviceId, TenantId};

use super::key::{self, Kind};
use super::store::{Direction, RowKey, ViewError, ViewStore};

/// How many devices are in a row: so many that it takes about a page of a file.
const IN_A_ROW: usize = 190;
/// A device, and its place.
const ENTRY: usize = 20;

/// Where a device is among the targets of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There.
    At(u32),
    /// It is no target.
    Nowhere,
    /// The campaign's snapshot is not complete.
    NotListed,
}

/// The rows of a campaign whose snapshot is complete.
pub(super) fn rows(campaign: &Campaign) -> impl Iterator<Item = (RowKey, Vec<u8>)> + '_ {
    let mut entries: Vec<(DeviceId, u32)> = campaign.devices().iter().copied().zip(0..).collect();
    entries.sort_unstable();
    let rows = entries.len().div_ceil(IN_A_ROW);
    (0..rows).map(move |row| {
        let from = row * IN_A_ROW;
        let entries = &entries[from..entries.len().min(from + IN_A_ROW)];
        // The first row is also that of devices before all targets.
        let named = entries.first().filter(|_| row > 0).map(|(device, _)| *device.as_bytes());
        let device = DeviceId::from_bytes(named.unwrap_or_default());
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
        for (device, place) in entries {
            bytes.extend_from_slice(device.as_bytes());
            bytes.extend_from_slice(&place.to_be_bytes());
        }
        (key::place(campaign.tenant(), campaign.id(), device), bytes)
    })
}

/// Looks up the place of a device.
pub(super) async fn find(
    views: &dyn ViewStore,
    tenant: &TenantId,
    id: CampaignId,
    device: DeviceId,
) -> Result<Found, ViewError> {
    let first = key::of_campaign(Kind::Place, tenant, id);
    let range = first..key::successor(key::place(tenant, id, device));
    let rows = views.scan(range, Direction::Backwards, 1).await?;
    let Some((_, row)) = rows.first() else { return Ok(Found::NotListed) };
    let (entries, rest) = row.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        let detail = format!("the places of the targets of campaign {id} are cut");
        return Err(ViewError::Damaged { detail });
    }
    let found = entries.binary_search_by(|entry| entry[..16].cmp(device.as_bytes()));
    Ok(match found.ok().and_then(|at| entries[at].last_chunk::<4>()) {
        Some(place) => Found::At(u32::from_be_bytes(*place)),
        None => Found::Nowhere,
    })
}
