//! All that a tenant's catalogue holds, as of one moment: to be read without waiting, by whoever has
//! it, while others change the catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use hedgerow_core::{ChannelName, DeviceId, FleetError, GroupName, TenantId, Timestamp};

use crate::device::{Device, DeviceFacts, KnownDevice};
use crate::id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
use crate::selector::Subject;
use crate::shards::Shards;
use crate::text::{PartNumber, Tag};
use crate::thing::{BaseImage, BaseImageCollection, Channel, Group, HardwareType, SystemModel};
use crate::things::Things;

/// All that a tenant's catalogue holds, as of one moment.
///
/// Clones share what they hold; what changes is copied in small parts.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(crate) tenant: TenantId,
    /// The time of the question that selectors are asked with.
    pub(crate) now: Timestamp,
    pub(crate) hardware_types: Things<HardwareTypeId, HardwareType>,
    pub(crate) system_models: Things<SystemModelId, SystemModel>,
    pub(crate) collections: Things<BaseImageCollectionId, BaseImageCollection>,
    pub(crate) images: Things<BaseImageId, BaseImage>,
    pub(crate) groups: Things<GroupId, Group>,
    pub(crate) channels: Things<ChannelId, Channel>,
    pub(crate) model_of_part: Arc<BTreeMap<PartNumber, SystemModelId>>,
    pub(crate) channel_of_group: Arc<BTreeMap<GroupId, ChannelId>>,
    /// The tags in use, each with the number of devices that have it.
    pub(crate) tags: Arc<BTreeMap<Tag, usize>>,
    pub(crate) facts: Shards<DeviceFacts>,
    pub(crate) known: Shards<KnownDevice>,
}

impl Fleet {
    /// The catalogue of a tenant in which nobody has entered anything.
    #[must_use]
    pub fn empty(tenant: TenantId) -> Self {
        Self {
            tenant,
            now: Timestamp::default(),
            hardware_types: Things::default(),
            system_models: Things::default(),
            collections: Things::default(),
            images: Things::default(),
            groups: Things::default(),
            channels: Things::default(),
            model_of_part: Arc::default(),
            channel_of_group: Arc::default(),
            tags: Arc::default(),
            facts: Shards::default(),
            known: Shards::default(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    // Hardware types.

    /// A hardware type.
    #[must_use]
    pub fn hardware_type(&self, id: HardwareTypeId) -> Option<&Arc<HardwareType>> {
        self.hardware_types.get(id)
    }

    /// All hardware types, in the order of their ids.
    #[must_use]
    pub fn hardware_types(&self) -> impl ExactSizeIterator<Item = &Arc<HardwareType>> + Clone {
        self.hardware_types.iter()
    }

    // System models.

    /// A system model.
    #[must_use]
    pub fn system_model(&self, id: SystemModelId) -> Option<&Arc<SystemModel>> {
        self.system_models.get(id)
    }

    /// All system models, in the order of their ids.
    #[must_use]
    pub fn system_models(&self) -> impl ExactSizeIterator<Item = &Arc<SystemModel>> + Clone {
        self.system_models.iter()
    }

    /// The system model of the devices that report a part number.
    #[must_use]
    pub fn system_model_with_part_number(&self, part_number: &str) -> Option<&Arc<SystemModel>> {
        self.system_model(*self.model_of_part.get(part_number)?)
    }

    /// The system model that had a handle at a time, as campaigns of that time name it. It may have
    /// been renamed or removed since.
    #[must_use]
    pub fn system_model_called(&self, handle: &str, at: Timestamp) -> Option<&Arc<SystemModel>> {
        self.system_models.holder(handle, at)
    }

    // Base images.

    /// A base image collection.
    #[must_use]
    pub fn base_image_collection(
        &self,
        id: BaseImageCollectionId,
    ) -> Option<&Arc<BaseImageCollection>> {
        self.collections.get(id)
    }

    /// All base image collections, in the order of their ids.
    #[must_use]
    pub fn base_image_collections(
        &self,
    ) -> impl ExactSizeIterator<Item = &Arc<BaseImageCollection>> + Clone {
        self.collections.iter()
    }

    /// The collection of a system model.
    #[must_use]
    pub fn collection_of(&self, model: SystemModelId) -> Option<&Arc<BaseImageCollection>> {
        self.collections.iter().find(|collection| collection.system_model == model)
    }

    /// A base image.
    #[must_use]
    pub fn base_image(&self, id: BaseImageId) -> Option<&Arc<BaseImage>> {
        self.images.get(id)
    }

    /// All base images, in the order of their ids.
    #[must_use]
    pub fn base_images(&self) -> impl ExactSizeIterator<Item = &Arc<BaseImage>> + Clone {
        self.images.iter()
    }

    /// The images of a collection, in the order of their ids.
    pub fn base_images_of(
        &self,
        collection: BaseImageCollectionId,
    ) -> impl Iterator<Item = &Arc<BaseImage>> + Clone {
        let collection = self.collections.get(collection);
        let ids = collection.into_iter().flat_map(|collection| &collection.images);
        ids.filter_map(|id| self.images.get(*id))
    }

    /// The image that campaigns of a time name so: by the handle of its system model and its version.
    /// It may have been removed since; see [`Fleet::base_image`].
    #[must_use]
    pub fn base_image_called(
        &self,
        system_model: &str,
        version: &hedgerow_core::Version,
        at: Timestamp,
    ) -> Option<&Arc<BaseImage>> {
        let model = self.system_model_called(system_model, at)?.id;
        self.images.holder(&image_key(model, version), at)
    }

    /// The collection of an image that may have been removed, or what it was when it was removed.
    #[must_use]
    pub fn collection_of_image(&self, image: &BaseImage) -> Option<&Arc<BaseImageCollection>> {
        self.collections.ever(image.collection)
    }

    /// An image as a new campaign takes it; `None`: there is no such image.
    #[must_use]
    pub fn image_for_campaign(&self, id: BaseImageId) -> Option<hedgerow_core::BaseImage> {
        let image = self.base_image(id)?;
        let collection = self.base_image_collection(image.collection)?;
        let model = self.system_model(collection.system_model)?;
        Some(hedgerow_core::BaseImage {
            // Its handle was checked when it was recorded.
            system_model: model.handle.as_str().parse().ok()?,
            version: image.version.clone(),
            url: image.file.url.clone(),
            starting_version_requirement: image.starting_version_requirement.clone(),
        })
    }

    /// The keys of all files in the object storage that the catalogue names.
    pub fn file_keys(&self) -> impl Iterator<Item = &str> {
        let images = self.images.iter().filter_map(|image| image.file.key.as_deref());
        let pictures = self.system_models.iter().filter_map(|model| model.picture.as_ref());
        images.chain(pictures.filter_map(|picture| picture.key.as_deref()))
    }

    // Groups and channels.

    /// A group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.get(id)
    }

    /// All groups, in the order of their ids.
    #[must_use]
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Arc<Group>> + Clone {
        self.groups.iter()
    }

    /// The group that is called so by programs.
    #[must_use]
    pub fn group_called(&self, handle: &str) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.handle.as_str() == handle)
    }

    /// A channel.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<&Arc<Channel>> {
        self.channels.get(id)
    }

    /// All channels, in the order of their ids.
    #[must_use]
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &Arc<Channel>> + Clone {
        self.channels.iter()
    }

    /// The channel that a group is in.
    #[must_use]
    pub fn channel_of(&self, group: GroupId) -> Option<&Arc<Channel>> {
        self.channel(*self.channel_of_group.get(&group)?)
    }

    /// The channel that had a handle at a time, as campaigns of that time name it. It may have been
    /// renamed or removed since.
    #[must_use]
    pub fn channel_called(&self, handle: &str, at: Timestamp) -> Option<&Arc<Channel>> {
        self.channels.holder(handle, at)
    }

    /// A channel as a new campaign takes it: handles take the place of names. `None`: there is no such
    /// channel.
    ///
    /// # Errors
    /// [`FleetError::NoGroup`] of a channel without groups, which never has a target.
    #[must_use]
    pub fn channel_for_campaign(
        &self,
        id: ChannelId,
    ) -> Option<Result<hedgerow_core::Channel, FleetError>> {
        let channel = self.channel(id)?;
        let handles = channel.groups.iter().filter_map(|group| self.group(*group));
        // A handle is a name that the core takes.
        let groups = handles.filter_map(|group| group.handle.as_str().parse::<GroupName>().ok());
        let name: ChannelName = channel.handle.as_str().parse().ok()?;
        Some(hedgerow_core::Channel::new(name, groups))
    }

    // Devices.

    /// The tags in use, in order.
    #[must_use]
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &Tag> + Clone {
        self.tags.keys()
    }

    /// How many devices there are.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.known.len()
    }

    /// A device that Astarte knows.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<Device<'_>> {
        let known = self.known.get(id)?;
        Some(self.join(id, known))
    }

    /// What people say of a device, also of one that Astarte does not know.
    #[must_use]
    pub fn device_facts(&self, id: DeviceId) -> Option<&DeviceFacts> {
        self.facts.get(id).map(|facts| &**facts)
    }

    /// All devices that Astarte knows, in the order of their ids.
    #[must_use]
    pub fn devices(&self) -> impl DoubleEndedIterator<Item = Device<'_>> + Clone {
        self.known.iter().map(|(id, known)| self.join(id, known))
    }

    /// The devices behind another one, in the order of their ids: for pages.
    pub fn devices_after(&self, id: DeviceId) -> impl Iterator<Item = Device<'_>> + Clone {
        self.known.iter_after(id).map(|(id, known)| self.join(id, known))
    }

    fn join<'a>(&'a self, id: DeviceId, known: &'a Arc<KnownDevice>) -> Device<'a> {
        Device { fleet: self, id, facts: self.device_facts(id), known }
    }

    /// Whether a device is in a group at this moment.
    #[must_use]
    pub fn is_in(&self, device: &Device<'_>, group: GroupId) -> bool {
        self.group(group).is_some_and(|group| group.selector.matches(device, self.now))
    }

    /// The devices of a group at this moment, in the order of their ids.
    pub fn devices_of(&self, group: GroupId) -> impl Iterator<Item = Device<'_>> {
        let group = self.group(group);
        group.into_iter().flat_map(|group| {
            self.devices().filter(|device| group.selector.matches(device, self.now))
        })
    }
}

/// What an image is found by: the system model, and the version with its build metadata.
pub(crate) fn image_key(model: SystemModelId, version: &hedgerow_core::Version) -> String {
    format!("{model}/{version}")
}

impl Subject for Device<'_> {
    fn has_tag(&self, tag: &str) -> bool {
        Device::has_tag(self, tag)
    }

    fn some_tag(&self, is_it: &mut dyn FnMut(&str) -> bool) -> bool {
        self.tags().any(|tag| is_it(tag.as_str()))
    }

    fn custom(&self, key: &str) -> Option<&crate::AttributeValue> {
        self.facts?.attributes.get(key)
    }

    fn astarte(&self, key: &str) -> Option<&str> {
        self.known.attributes.get(key).map(String::as_str)
    }
}
