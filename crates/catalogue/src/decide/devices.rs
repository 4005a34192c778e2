//! What people say of devices. A device comes from Astarte: nothing is said of one that is not known.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::DeviceId;

use super::{Decided, MOST_PARTS, found, parsed, several};
use crate::attribute::AttributeValue;
use crate::device::DeviceFacts;
use crate::error::Refusal;
use crate::event::{
    DeviceAttributesRemoved, DeviceAttributesSet, DeviceNamed, DeviceTagged, DeviceUntagged,
};
use crate::fleet::Fleet;
use crate::text::{AttributeKey, Tag};

/// What is said of a device so far.
fn facts(fleet: &Fleet, device: DeviceId) -> Result<DeviceFacts, Refusal> {
    let said = fleet.device_facts(device);
    // What was said of one that Astarte has forgotten can still be taken back.
    if said.is_none() {
        found(fleet.device(device), "id", "device", device)?;
    }
    Ok(said.cloned().unwrap_or_default())
}

pub(super) fn name(fleet: &Fleet, device: DeviceId, name: Option<&str>) -> Decided {
    let old = facts(fleet, device)?;
    let name = name.map(|text| parsed("name", text)).transpose()?;
    Ok((name != old.name).then(|| DeviceNamed { device, name }.into()))
}

pub(super) fn tag(fleet: &Fleet, device: DeviceId, tags: &[String]) -> Decided {
    let old = facts(fleet, device)?;
    let mut tags: BTreeSet<Tag> = several("tags", tags)?;
    tags.retain(|tag| !old.tags.contains(tag));
    if old.tags.len() + tags.len() > MOST_PARTS {
        return Err(Refusal::TooMany { field: "tags", most: MOST_PARTS });
    }
    Ok((!tags.is_empty()).then(|| DeviceTagged { device, tags }.into()))
}

pub(super) fn untag(fleet: &Fleet, device: DeviceId, tags: &[String]) -> Decided {
    let old = facts(fleet, device)?;
    let mut tags: BTreeSet<Tag> = several("tags", tags)?;
    tags.retain(|tag| old.tags.contains(tag));
    Ok((!tags.is_empty()).then(|| DeviceUntagged { device, tags }.into()))
}

pub(super) fn set_attributes(
    fleet: &Fleet,
    device: DeviceId,
    given: &BTreeMap<String, AttributeValue>,
) -> Decided {
    let field = "attributes";
    let old = facts(fleet, device)?;
    if given.is_empty() {
        return Err(Refusal::Required { field });
    }
    let mut attributes = BTreeMap::new();
    for (key, value) in given {
        let key: AttributeKey = parsed(field, key)?;
        let invalid = |detail| Refusal::Invalid { field, detail };
        value.check().map_err(|error| invalid(error.to_string()))?;
        if old.attributes.get(&key) != Some(value) {
            attributes.insert(key, value.clone());
        }
    }
    let new = attributes.keys().filter(|key| !old.attributes.contains_key(*key)).count();
    if old.attributes.len() + new > MOST_PARTS {
        return Err(Refusal::TooMany { field, most: MOST_PARTS });
    }
    Ok((!attributes.is_empty()).then(|| DeviceAttributesSet { device, attributes }.into()))
}

pub(super) fn remove_attributes(fleet: &Fleet, device: DeviceId, keys: &[String]) -> Decided {
    let old = facts(fleet, device)?;
    let mut keys: BTreeSet<AttributeKey> = several("attributes", keys)?;
    keys.retain(|key| old.attributes.contains_key(key));
    Ok((!keys.is_empty()).then(|| DeviceAttributesRemoved { device, keys }.into()))
}
