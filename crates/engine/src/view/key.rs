//! The keys of rows: what belongs together lies together, in the order in which it is asked for.
//!
//! A key begins with its kind and its tenant, so that no question sees another tenant (D21). A page
//! begins behind the last key of the page before, so that it costs the same wherever it is.

use std::ops::Range;

use hedgerow_core::{CampaignId, DeviceId, OperationId, StreamId, TenantId, Timestamp};

use super::store::RowKey;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A campaign, by its id.
    Campaign = 1,
    /// A campaign's place in a list: by what it is listed, then by when it was created.
    Listed = 2,
    /// The devices of a chunk of a campaign's targets, in the order of the snapshot.
    Devices = 3,
    /// How the targets of a chunk stand, a byte for each.
    Standings = 4,
    /// How many targets of each chunk stand how.
    Sums = 5,
    /// What is known of a target that something has happened to.
    Target = 6,
    /// Where an operation of a device is found, by when it began.
    Operation = 7,
    /// How many targets of a campaign stood how at the end of a minute.
    Minute = 8,
    /// A stream whose log could not be read to its end.
    Unreadable = 9,
    /// Where devices are among the targets of a campaign, in the order of the devices.
    Place = 10,
}

/// What a campaign is listed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedBy {
    All = 0,
    Status = 1,
    Outcome = 2,
    Channel = 3,
    SystemModel = 4,
    Name = 5,
}

pub(super) fn of(kind: Kind, tenant: &TenantId) -> RowKey {
    let mut key = Vec::with_capacity(64);
    key.push(kind as u8);
    key.extend_from_slice(tenant.as_str().as_bytes());
    // The name of a tenant has no such byte.
    key.push(0);
    key
}

/// A time in an order of bytes that is its own.
fn at(time: Timestamp) -> [u8; 8] {
    (time.as_millis() ^ i64::MIN).to_be_bytes()
}

/// Text that ends, in an order that is its own whatever follows.
fn text(key: &mut RowKey, text: &str) {
    beginning(key, text);
    key.extend_from_slice(&[0, 0]);
}

/// How text begins.
fn beginning(key: &mut RowKey, text: &str) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
}

pub(super) fn campaign(tenant: &TenantId, id: CampaignId) -> RowKey {
    let mut key = of(Kind::Campaign, tenant);
    key.extend_from_slice(id.as_uuid().as_bytes());
    key
}

/// Everything that is listed by that value.
pub(super) fn listed(tenant: &TenantId, by: ListedBy, value: &str) -> RowKey {
    let mut key = of(Kind::Listed, tenant);
    key.push(by as u8);
    if by != ListedBy::Name {
        text(&mut key, value);
    }
    key
}

/// The campaigns whose names begin so, in the list that is sorted by name.
pub(super) fn listed_by_name(tenant: &TenantId, name: &str) -> RowKey {
    let mut key = listed(tenant, ListedBy::Name, "");
    beginning(&mut key, name);
    key
}

/// One campaign's place in that list.
pub(super) fn listed_campaign(
    tenant: &TenantId,
    (by, value): (ListedBy, &str),
    created_at: Timestamp,
    id: CampaignId,
) -> RowKey {
    let mut key = listed(tenant, by, value);
    match by {
        ListedBy::Name => text(&mut key, value),
        _ => key.extend_from_slice(&at(created_at)),
    }
    key.extend_from_slice(id.as_uuid().as_bytes());
    key
}

/// The campaign that a key of a list ends with.
pub(super) fn campaign_of(listed: &[u8]) -> Option<CampaignId> {
    let (_, id) = listed.split_last_chunk::<16>()?;
    Some(CampaignId::from_uuid(uuid::Uuid::from_bytes(*id)))
}

pub(super) fn of_campaign(kind: Kind, tenant: &TenantId, id: CampaignId) -> RowKey {
    let mut key = of(kind, tenant);
    key.extend_from_slice(id.as_uuid().as_bytes());
    key
}

pub(super) fn devices(tenant: &TenantId, id: CampaignId, chunk: u32) -> RowKey {
    let mut key = of_campaign(Kind::Devices, tenant, id);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

pub(super) fn standings(tenant: &TenantId, id: CampaignId, chunk: u32) -> RowKey {
    let mut key = of_campaign(Kind::Standings, tenant, id);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

pub(super) fn sums(tenant: &TenantId, id: CampaignId) -> RowKey {
    of_campaign(Kind::Sums, tenant, id)
}

pub(super) fn target(tenant: &TenantId, id: CampaignId, place: u32) -> RowKey {
    let mut key = of_campaign(Kind::Target, tenant, id);
    key.extend_from_slice(&place.to_be_bytes());
    key
}

/// The places of a campaign's targets from that device on.
pub(super) fn place(tenant: &TenantId, id: CampaignId, device: DeviceId) -> RowKey {
    let mut key = of_campaign(Kind::Place, tenant, id);
    key.extend_from_slice(device.as_bytes());
    key
}

/// All operations of a device.
pub(super) fn operations(tenant: &TenantId, device: DeviceId) -> RowKey {
    let mut key = of(Kind::Operation, tenant);
    key.extend_from_slice(device.as_bytes());
    key
}

pub(super) fn operation(
    tenant: &TenantId,
    device: DeviceId,
    began_at: Timestamp,
    operation: OperationId,
) -> RowKey {
    let mut key = operations(tenant, device);
    key.extend_from_slice(&at(began_at));
    key.extend_from_slice(operation.as_uuid().as_bytes());
    key
}

/// The operation that its key ends with.
pub(super) fn operation_of(key: &[u8]) -> Option<OperationId> {
    let (_, id) = key.split_last_chunk::<16>()?;
    Some(OperationId::from_uuid(uuid::Uuid::from_bytes(*id)))
}

/// The counts of a campaign at the ends of minutes.
pub(super) fn minutes(tenant: &TenantId, id: CampaignId) -> RowKey {
    of_campaign(Kind::Minute, tenant, id)
}

pub(super) fn minute(tenant: &TenantId, id: CampaignId, time: Timestamp) -> RowKey {
    let mut key = minutes(tenant, id);
    key.extend_from_slice(&at(time));
    key
}

/// A stream that could not be read to its end.
pub(super) fn unreadable(tenant: &TenantId, stream: StreamId) -> RowKey {
    let mut key = of(Kind::Unreadable, tenant);
    key.extend_from_slice(stream.to_string().as_bytes());
    key
}

/// All streams that could not be read to their ends, of all tenants.
pub(super) fn all_unreadable() -> Range<RowKey> {
    beginning_with(vec![Kind::Unreadable as u8])
}

/// All keys that begin so.
pub(super) fn beginning_with(prefix: RowKey) -> Range<RowKey> {
    let end = successor(prefix.clone());
    prefix..end
}

/// The first key behind all that begin so. No key here begins with bytes that are all the highest.
pub(super) fn successor(mut prefix: RowKey) -> RowKey {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_their_own_order_also_before_1970() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(Timestamp::from_millis);
        assert!(times.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
    }

    #[test]
    fn names_are_in_their_own_order_also_where_one_begins_another() {
        let tenant: TenantId = "hedge".parse().expect("a tenant");
        let id = CampaignId::from_uuid(uuid::Uuid::max());
        let key =
            |name: &str| listed_campaign(&tenant, (ListedBy::Name, name), Timestamp::default(), id);
        let names = ["", "\0", "\0\0", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b"];
        assert!(names.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
    }

    #[test]
    fn a_range_holds_what_begins_so_and_nothing_else() {
        let range = beginning_with(vec![1, 255, 255]);
        assert_eq!(range, vec![1, 255, 255]..vec![2]);
        assert!(range.contains(&vec![1, 255, 255, 255]) && !range.contains(&vec![2]));
    }

    #[test]
    fn a_tenant_whose_name_begins_another_has_its_own_rows() {
        let [short, long] = ["a", "ab"].map(|name| name.parse::<TenantId>().expect("a tenant"));
        let all = beginning_with(listed(&short, ListedBy::All, ""));
        assert!(!all.contains(&listed(&long, ListedBy::All, "")));
    }
}
