//! What there is of each kind.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{ImageUrl, Timestamp, Version, VersionRequirement};
use serde::{Deserialize, Serialize};

use crate::id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
use crate::mapping::VersionMapping;
use crate::selector::Selector;
use crate::text::{Handle, LanguageTag, Name, PartNumber};

/// A text in several languages.
pub type Localized = BTreeMap<LanguageTag, String>;

/// A picture of a system model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Where it is shown from.
    pub url: ImageUrl,
    /// Its key in the object storage, if it was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The file of a base image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// Where devices download it, for as long as the image is there.
    pub url: ImageUrl,
    /// Its key in the object storage, if it was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its size in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its SHA-256 as 64 hexadecimal digits, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A kind of board, by the part numbers under which it is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HardwareType {
    /// Its id.
    pub id: HardwareTypeId,
    /// What programs call it; no other hardware type is called so.
    pub handle: Handle,
    /// What people call it; no other hardware type is called so.
    pub name: Name,
    /// Its part numbers, at least one, none of which another hardware type has.
    pub part_numbers: BTreeSet<PartNumber>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// A product, by the part numbers that its devices report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemModel {
    /// Its id.
    pub id: SystemModelId,
    /// What programs call it, campaigns among them; no other system model is called so.
    pub handle: Handle,
    /// What people call it; no other system model is called so.
    pub name: Name,
    /// What it is built on.
    pub hardware_type: HardwareTypeId,
    /// Its part numbers, at least one, none of which another system model has.
    pub part_numbers: BTreeSet<PartNumber>,
    /// What it looks like.
    pub picture: Option<Picture>,
    /// What it is, by language.
    pub descriptions: Localized,
    /// How versions that its devices report are read.
    pub version_mapping: VersionMapping,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// All base images of one system model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseImageCollection {
    /// Its id.
    pub id: BaseImageCollectionId,
    /// What programs call it; no other collection is called so.
    pub handle: Handle,
    /// What people call it; no other collection is called so.
    pub name: Name,
    /// Whose images these are; no other collection has that system model.
    pub system_model: SystemModelId,
    /// The images.
    pub images: BTreeSet<BaseImageId>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// One firmware or system image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseImage {
    /// Its id.
    pub id: BaseImageId,
    /// The collection that it is in.
    pub collection: BaseImageCollectionId,
    /// Its version, build metadata included; no other image of the collection has it.
    pub version: Version,
    /// What a device's current version must meet (D5, D6).
    pub starting_version_requirement: Option<VersionRequirement>,
    /// Its file.
    pub file: ImageFile,
    /// What is in it, by language.
    pub descriptions: Localized,
    /// What the release is called, by language.
    pub release_names: Localized,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// A set of groups that campaigns are for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// What programs call it; campaigns know it by this. No other channel is called so.
    pub handle: Handle,
    /// What people call it; no other channel is called so.
    pub name: Name,
    /// Its groups, none of which is in another channel.
    pub groups: BTreeSet<GroupId>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// The devices that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// What programs call it; campaigns know it by this. No other group is called so.
    pub handle: Handle,
    /// What people call it; no other group is called so.
    pub name: Name,
    /// Which devices are in it.
    pub selector: Selector,
    /// When it was recorded.
    pub created_at: Timestamp,
}
