//! What people ask of a catalogue, as they entered it: texts are not yet known to be well-formed.
//!
//! In a command that changes something, `None` leaves it as it is. What would change under a campaign
//! that has not finished is refused: the caller asks the engine which those are, and says so in
//! `unfinished`. A campaign that begins in the same instant may be missed.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{CampaignDefinition, CampaignId, DeviceId, Version};

use crate::attribute::AttributeValue;
use crate::id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
use crate::thing::{ImageFile, Picture};

/// A campaign that has not finished, by what it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedCampaign {
    /// Its id.
    pub id: CampaignId,
    /// Its name.
    pub name: String,
    /// The handle of its system model.
    pub system_model: String,
    /// The version of its base image.
    pub version: Version,
    /// The handle of its channel.
    pub channel: String,
    /// The handles of the groups of which it will still take the devices: none once it has started.
    pub groups: BTreeSet<String>,
}

impl UnfinishedCampaign {
    /// A campaign with that definition, which has started or not.
    #[must_use]
    pub fn new(id: CampaignId, definition: &CampaignDefinition, has_started: bool) -> Self {
        let groups = definition.channel.groups().iter().filter(|_| !has_started);
        Self {
            id,
            name: definition.name.to_string(),
            system_model: definition.base_image.system_model.to_string(),
            version: definition.base_image.version.clone(),
            channel: definition.channel.name().to_string(),
            groups: groups.map(ToString::to_string).collect(),
        }
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Enters a hardware type.
    CreateHardwareType(CreateHardwareType),
    /// Changes a hardware type.
    UpdateHardwareType(UpdateHardwareType),
    /// Removes a hardware type that no system model has.
    RemoveHardwareType {
        /// Which.
        id: HardwareTypeId,
    },
    /// Enters a system model.
    CreateSystemModel(CreateSystemModel),
    /// Changes a system model.
    UpdateSystemModel(UpdateSystemModel),
    /// Removes a system model that has no base image collection.
    RemoveSystemModel {
        /// Which.
        id: SystemModelId,
        /// The campaigns that have not finished.
        unfinished: Vec<UnfinishedCampaign>,
    },
    /// Changes how versions that the devices of a system model report are read. What an unfinished
    /// campaign has read already stays.
    SetVersionMapping {
        /// The system model.
        system_model: SystemModelId,
        /// The lines of the mapping, in order; without any, versions are read as they are.
        lines: Vec<String>,
    },
    /// Enters a base image collection.
    CreateBaseImageCollection(CreateBaseImageCollection),
    /// Changes a base image collection.
    UpdateBaseImageCollection(UpdateBaseImageCollection),
    /// Removes a base image collection that has no image.
    RemoveBaseImageCollection {
        /// Which.
        id: BaseImageCollectionId,
    },
    /// Enters a base image whose file is in its place.
    CreateBaseImage(CreateBaseImage),
    /// Changes a base image.
    UpdateBaseImage(UpdateBaseImage),
    /// Removes a base image. Its file is removed later.
    RemoveBaseImage {
        /// Which.
        id: BaseImageId,
        /// The campaigns that have not finished.
        unfinished: Vec<UnfinishedCampaign>,
    },
    /// Enters a group.
    CreateGroup(CreateGroup),
    /// Changes a group.
    UpdateGroup(UpdateGroup),
    /// Removes a group, also from its channel.
    RemoveGroup {
        /// Which.
        id: GroupId,
        /// The campaigns that have not finished.
        unfinished: Vec<UnfinishedCampaign>,
    },
    /// Enters a channel.
    CreateChannel(CreateChannel),
    /// Changes a channel.
    UpdateChannel(UpdateChannel),
    /// Removes a channel.
    RemoveChannel {
        /// Which.
        id: ChannelId,
        /// The campaigns that have not finished.
        unfinished: Vec<UnfinishedCampaign>,
    },
    /// Names a device; `None`: it goes by its id again.
    NameDevice {
        /// Which.
        device: DeviceId,
        /// Its name.
        name: Option<String>,
    },
    /// Puts tags on a device.
    AddDeviceTags {
        /// Which.
        device: DeviceId,
        /// The tags, at least one. One that it has stays.
        tags: Vec<String>,
    },
    /// Takes tags off a device.
    RemoveDeviceTags {
        /// Which.
        device: DeviceId,
        /// The tags, at least one. One that it has not is passed over.
        tags: Vec<String>,
    },
    /// Gives a device attributes of the namespace `custom`.
    SetDeviceAttributes {
        /// Which.
        device: DeviceId,
        /// The attributes, at least one.
        attributes: BTreeMap<String, AttributeValue>,
    },
    /// Takes attributes of the namespace `custom` from a device.
    RemoveDeviceAttributes {
        /// Which.
        device: DeviceId,
        /// Their keys, at least one. One that it has not is passed over.
        keys: Vec<String>,
    },
}

/// Texts by language tag.
pub type LocalizedInput = Vec<(String, String)>;
/// Texts by language tag; `None` takes one away, and what is not named stays.
pub type LocalizedUpdate = Vec<(String, Option<String>)>;

/// Enters a hardware type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateHardwareType {
    /// What programs call it.
    pub handle: String,
    /// What people call it.
    pub name: String,
    /// At least one.
    pub part_numbers: Vec<String>,
}

/// Changes a hardware type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateHardwareType {
    /// Which.
    pub id: HardwareTypeId,
    /// What programs call it.
    pub handle: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// At least one, in place of those that it has.
    pub part_numbers: Option<Vec<String>>,
}

/// Enters a system model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSystemModel {
    /// What programs call it: a letter first, as campaigns know it by this.
    pub handle: String,
    /// What people call it.
    pub name: String,
    /// What it is built on.
    pub hardware_type: HardwareTypeId,
    /// At least one.
    pub part_numbers: Vec<String>,
    /// What it looks like.
    pub picture: Option<Picture>,
    /// What it is.
    pub descriptions: LocalizedInput,
}

/// Changes a system model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSystemModel {
    /// Which.
    pub id: SystemModelId,
    /// What programs call it.
    pub handle: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// At least one, in place of those that it has.
    pub part_numbers: Option<Vec<String>>,
    /// What it looks like; `Some(None)`: nothing is shown.
    pub picture: Option<Option<Picture>>,
    /// What it is.
    pub descriptions: LocalizedUpdate,
    /// The campaigns that have not finished; looked at only if the handle changes.
    pub unfinished: Vec<UnfinishedCampaign>,
}

/// Enters a base image collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateBaseImageCollection {
    /// What programs call it: a letter first.
    pub handle: String,
    /// What people call it.
    pub name: String,
    /// Whose images it holds; one that has no collection.
    pub system_model: SystemModelId,
}

/// Changes a base image collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateBaseImageCollection {
    /// Which.
    pub id: BaseImageCollectionId,
    /// What programs call it.
    pub handle: Option<String>,
    /// What people call it.
    pub name: Option<String>,
}

/// Enters a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateBaseImage {
    /// Its collection.
    pub collection: BaseImageCollectionId,
    /// Its version, which no other image of the collection has.
    pub version: String,
    /// What a device's current version must meet.
    pub starting_version_requirement: Option<String>,
    /// Its file.
    pub file: ImageFile,
    /// What is in it.
    pub descriptions: LocalizedInput,
    /// What the release is called.
    pub release_names: LocalizedInput,
}

/// Changes a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateBaseImage {
    /// Which.
    pub id: BaseImageId,
    /// What a device's current version must meet; `Some(None)`: nothing. A campaign that was created
    /// keeps what it was created with.
    pub starting_version_requirement: Option<Option<String>>,
    /// What is in it.
    pub descriptions: LocalizedUpdate,
    /// What the release is called.
    pub release_names: LocalizedUpdate,
}

/// Enters a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateGroup {
    /// What programs call it.
    pub handle: String,
    /// What people call it.
    pub name: String,
    /// Which devices are in it.
    pub selector: String,
}

/// Changes a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateGroup {
    /// Which.
    pub id: GroupId,
    /// What programs call it.
    pub handle: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// Which devices are in it.
    pub selector: Option<String>,
    /// The campaigns that have not finished; looked at only if the handle changes.
    pub unfinished: Vec<UnfinishedCampaign>,
}

/// Enters a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateChannel {
    /// What programs call it.
    pub handle: String,
    /// What people call it.
    pub name: String,
    /// Its groups, which are in no other channel.
    pub groups: Vec<GroupId>,
}

/// Changes a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateChannel {
    /// Which.
    pub id: ChannelId,
    /// What programs call it.
    pub handle: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// Its groups, in place of those that it has; they are in no other channel.
    pub groups: Option<Vec<GroupId>>,
    /// The campaigns that have not finished; looked at only if the handle changes.
    pub unfinished: Vec<UnfinishedCampaign>,
}
