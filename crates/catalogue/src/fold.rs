//! What an event makes of a fleet. Every event that was recorded was decided on the same fleet, so
//! that what cannot follow is damage, and is said, not passed over.

use std::collections::BTreeSet;
use std::sync::Arc;

use hedgerow_core::{DeviceId, Timestamp};

use crate::device::DeviceFacts;
use crate::event::CatalogueEvent;
use crate::fleet::{Fleet, image_key};
use crate::id::{ChannelId, GroupId, SystemModelId};
use crate::mapping::VersionMapping;
use crate::text::{PartNumber, Tag};
use crate::thing::{BaseImage, BaseImageCollection, Channel, Group, HardwareType, SystemModel};

const ABSENT: &str = "it is about something that is not there";
const GIVEN: &str = "its id is not the next one";

/// Why an event cannot follow.
type Folded = Result<(), &'static str>;

/// Puts what is given in its place.
fn put<T>(into: &mut T, given: Option<&T>)
where
    T: Clone,
{
    if let Some(given) = given {
        into.clone_from(given);
    }
}

fn known(is_added: bool) -> Folded {
    if is_added { Ok(()) } else { Err(GIVEN) }
}

impl Fleet {
    /// Makes of the fleet what an event says, which was recorded at that time.
    #[allow(clippy::too_many_lines)] // One arm for each type of event.
    pub(crate) fn apply(&mut self, event: &CatalogueEvent, at: Timestamp) -> Folded {
        use CatalogueEvent as Event;
        self.now = self.now.max(at);
        match event {
            Event::HardwareTypeCreated(it) => {
                let thing = HardwareType {
                    id: it.id,
                    handle: it.handle.clone(),
                    name: it.name.clone(),
                    part_numbers: it.part_numbers.clone(),
                    created_at: at,
                };
                known(self.hardware_types.add(it.id, it.handle.to_string(), at, thing))
            }
            Event::HardwareTypeChanged(it) => {
                let thing = self.hardware_types.change(it.id).ok_or(ABSENT)?;
                put(&mut thing.handle, it.handle.as_ref());
                put(&mut thing.name, it.name.as_ref());
                put(&mut thing.part_numbers, it.part_numbers.as_ref());
                if let Some(handle) = &it.handle {
                    self.hardware_types.held(it.id, handle.to_string(), at);
                }
                Ok(())
            }
            Event::HardwareTypeRemoved(it) => {
                self.hardware_types.remove(it.id).map(drop).ok_or(ABSENT)
            }
            Event::SystemModelCreated(it) => {
                let thing = SystemModel {
                    id: it.id,
                    handle: it.handle.clone(),
                    name: it.name.clone(),
                    hardware_type: it.hardware_type,
                    part_numbers: it.part_numbers.clone(),
                    picture: it.picture.clone(),
                    descriptions: it.descriptions.clone(),
                    version_mapping: VersionMapping::default(),
                    created_at: at,
                };
                known(self.system_models.add(it.id, it.handle.to_string(), at, thing))?;
                self.parts_change(it.id, &BTreeSet::new(), &it.part_numbers);
                Ok(())
            }
            Event::SystemModelChanged(it) => {
                let thing = self.system_models.change(it.id).ok_or(ABSENT)?;
                put(&mut thing.handle, it.handle.as_ref());
                put(&mut thing.name, it.name.as_ref());
                put(&mut thing.picture, it.picture.as_ref());
                put(&mut thing.descriptions, it.descriptions.as_ref());
                if let Some(parts) = &it.part_numbers {
                    let before = std::mem::replace(&mut thing.part_numbers, parts.clone());
                    self.parts_change(it.id, &before, parts);
                }
                if let Some(handle) = &it.handle {
                    self.system_models.held(it.id, handle.to_string(), at);
                }
                Ok(())
            }
            Event::SystemModelRemoved(it) => {
                let removed = self.system_models.remove(it.id).ok_or(ABSENT)?;
                self.parts_change(it.id, &removed.part_numbers, &BTreeSet::new());
                Ok(())
            }
            Event::VersionMappingChanged(it) => {
                let thing = self.system_models.change(it.system_model).ok_or(ABSENT)?;
                thing.version_mapping = it.lines.clone();
                Ok(())
            }
            Event::BaseImageCollectionCreated(it) => {
                let thing = BaseImageCollection {
                    id: it.id,
                    handle: it.handle.clone(),
                    name: it.name.clone(),
                    system_model: it.system_model,
                    images: BTreeSet::new(),
                    created_at: at,
                };
                known(self.collections.add(it.id, it.handle.to_string(), at, thing))
            }
            Event::BaseImageCollectionChanged(it) => {
                let thing = self.collections.change(it.id).ok_or(ABSENT)?;
                put(&mut thing.handle, it.handle.as_ref());
                put(&mut thing.name, it.name.as_ref());
                if let Some(handle) = &it.handle {
                    self.collections.held(it.id, handle.to_string(), at);
                }
                Ok(())
            }
            Event::BaseImageCollectionRemoved(it) => {
                self.collections.remove(it.id).map(drop).ok_or(ABSENT)
            }
            Event::BaseImageCreated(it) => {
                let collection = self.collections.change(it.collection).ok_or(ABSENT)?;
                collection.images.insert(it.id);
                let key = image_key(collection.system_model, &it.version);
                let thing = BaseImage {
                    id: it.id,
                    collection: it.collection,
                    version: it.version.clone(),
                    starting_version_requirement: it.starting_version_requirement.clone(),
                    file: it.file.clone(),
                    descriptions: it.descriptions.clone(),
                    release_names: it.release_names.clone(),
                    created_at: at,
                };
                known(self.images.add(it.id, key, at, thing))
            }
            Event::BaseImageChanged(it) => {
                let thing = self.images.change(it.id).ok_or(ABSENT)?;
                let requirement = it.starting_version_requirement.as_ref();
                put(&mut thing.starting_version_requirement, requirement);
                put(&mut thing.descriptions, it.descriptions.as_ref());
                put(&mut thing.release_names, it.release_names.as_ref());
                Ok(())
            }
            Event::BaseImageRemoved(it) => {
                let removed = self.images.remove(it.id).ok_or(ABSENT)?;
                let collection = self.collections.change(removed.collection).ok_or(ABSENT)?;
                collection.images.remove(&it.id);
                Ok(())
            }
            Event::GroupCreated(it) => {
                let thing = Group {
                    id: it.id,
                    handle: it.handle.clone(),
                    name: it.name.clone(),
                    selector: it.selector.clone(),
                    created_at: at,
                };
                known(self.groups.add(it.id, it.handle.to_string(), at, thing))
            }
            Event::GroupChanged(it) => {
                let thing = self.groups.change(it.id).ok_or(ABSENT)?;
                put(&mut thing.handle, it.handle.as_ref());
                put(&mut thing.name, it.name.as_ref());
                put(&mut thing.selector, it.selector.as_ref());
                if let Some(handle) = &it.handle {
                    self.groups.held(it.id, handle.to_string(), at);
                }
                Ok(())
            }
            Event::GroupRemoved(it) => {
                self.groups.remove(it.id).ok_or(ABSENT)?;
                let channel = Arc::make_mut(&mut self.channel_of_group).remove(&it.id);
                if let Some(channel) = channel.and_then(|id| self.channels.change(id)) {
                    channel.groups.remove(&it.id);
                }
                Ok(())
            }
            Event::ChannelCreated(it) => {
                let thing = Channel {
                    id: it.id,
                    handle: it.handle.clone(),
                    name: it.name.clone(),
                    groups: it.groups.clone(),
                    created_at: at,
                };
                known(self.channels.add(it.id, it.handle.to_string(), at, thing))?;
                self.groups_change(it.id, &BTreeSet::new(), &it.groups);
                Ok(())
            }
            Event::ChannelChanged(it) => {
                let thing = self.channels.change(it.id).ok_or(ABSENT)?;
                put(&mut thing.handle, it.handle.as_ref());
                put(&mut thing.name, it.name.as_ref());
                if let Some(groups) = &it.groups {
                    let before = std::mem::replace(&mut thing.groups, groups.clone());
                    self.groups_change(it.id, &before, groups);
                }
                if let Some(handle) = &it.handle {
                    self.channels.held(it.id, handle.to_string(), at);
                }
                Ok(())
            }
            Event::ChannelRemoved(it) => {
                let removed = self.channels.remove(it.id).ok_or(ABSENT)?;
                self.groups_change(it.id, &removed.groups, &BTreeSet::new());
                Ok(())
            }
            Event::DeviceNamed(it) => {
                self.facts_change(it.device, |facts| facts.name.clone_from(&it.name));
                Ok(())
            }
            Event::DeviceTagged(it) => {
                self.facts_change(it.device, |facts| facts.tags.extend(it.tags.iter().cloned()));
                Ok(())
            }
            Event::DeviceUntagged(it) => {
                self.facts_change(it.device, |facts| {
                    facts.tags.retain(|tag| !it.tags.contains(tag));
                });
                Ok(())
            }
            Event::DeviceAttributesSet(it) => {
                self.facts_change(it.device, |facts| {
                    facts.attributes.extend(it.attributes.clone());
                });
                Ok(())
            }
            Event::DeviceAttributesRemoved(it) => {
                self.facts_change(it.device, |facts| {
                    facts.attributes.retain(|key, _| !it.keys.contains(key));
                });
                Ok(())
            }
        }
    }

    fn parts_change(
        &mut self,
        model: SystemModelId,
        before: &BTreeSet<PartNumber>,
        after: &BTreeSet<PartNumber>,
    ) {
        let models = Arc::make_mut(&mut self.model_of_part);
        for part in before {
            models.remove(part);
        }
        models.extend(after.iter().map(|part| (part.clone(), model)));
    }

    fn groups_change(
        &mut self,
        channel: ChannelId,
        before: &BTreeSet<GroupId>,
        after: &BTreeSet<GroupId>,
    ) {
        let channels = Arc::make_mut(&mut self.channel_of_group);
        for group in before {
            channels.remove(group);
        }
        channels.extend(after.iter().map(|group| (*group, channel)));
    }

    fn facts_change(&mut self, device: DeviceId, change: impl FnOnce(&mut DeviceFacts)) {
        let before = self.facts.get(device).cloned().unwrap_or_default();
        let mut facts = (*before).clone();
        change(&mut facts);
        if facts.tags != before.tags {
            let tags = Arc::make_mut(&mut self.tags);
            for gone in before.tags.difference(&facts.tags) {
                tag_is_off(tags, gone);
            }
            for new in facts.tags.difference(&before.tags) {
                *tags.entry(new.clone()).or_default() += 1;
            }
        }
        self.facts.change(device, Some(facts).filter(|facts| !facts.is_empty()));
    }
}

fn tag_is_off(tags: &mut std::collections::BTreeMap<Tag, usize>, tag: &Tag) {
    let Some(devices) = tags.get_mut(tag) else { return };
    *devices = devices.saturating_sub(1);
    if *devices == 0 {
        tags.remove(tag);
    }
}
