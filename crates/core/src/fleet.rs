//! The fleet's vocabulary: system models, groups, channels, base images and their collections,
//! and the selection of a campaign's targets (D2).
//!
//! Constructors check what they are given, so that a value of one of these types is a valid one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{DeviceId, excerpt};
use crate::version_requirement::VersionRequirement;

/// The longest handle or name, in bytes.
const LONGEST_NAME: usize = 255;
/// The longest URL, in bytes.
const LONGEST_URL: usize = 4_096;
/// The most groups of one channel.
const MOST_GROUPS: usize = 10_000;

/// Why something of the fleet's vocabulary was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A handle that is malformed.
    #[error(
        "{text:?} is not a handle: give a lower case letter followed by at most 254 lower case letters, digits or hyphens"
    )]
    MalformedHandle {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// A name that is empty, too long or has control characters.
    #[error("{text:?} is not a {what}: give 1 to 255 bytes of text without control characters")]
    MalformedName {
        /// What was to be named.
        what: &'static str,
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// A URL that devices cannot be sent to.
    #[error("{text:?} is not the URL of an image: {why}")]
    MalformedUrl {
        /// What was given, cut after 64 characters and before its query.
        text: String,
        /// What is wrong and what to give instead.
        why: &'static str,
    },
    /// A channel without a group would never have a target.
    #[error("channel {channel:?} has no group: give it at least one")]
    NoGroup {
        /// The channel.
        channel: String,
    },
    /// A channel with too many groups.
    #[error("channel {channel:?} has {groups} groups: give it at most 10000")]
    TooManyGroups {
        /// The channel.
        channel: String,
        /// How many it has.
        groups: usize,
    },
    /// A group belongs to at most one channel.
    #[error("group {group:?} already belongs to channel {channel:?}: take it out of there first")]
    GroupInAnotherChannel {
        /// The group.
        group: String,
        /// The channel that has it.
        channel: String,
    },
    /// Two channels with one name.
    #[error("there is a channel {channel:?} already: choose another name")]
    ChannelExists {
        /// The channel.
        channel: String,
    },
    /// Two base images of one version in a collection.
    #[error(
        "the collection of {system_model} already has a base image of version {version}: give the new one another version"
    )]
    VersionExists {
        /// The collection's System Model.
        system_model: String,
        /// The version.
        version: Version,
    },
    /// A base image of another System Model.
    #[error("a base image of {given} does not belong into the collection of {system_model}")]
    OtherSystemModel {
        /// The collection's System Model.
        system_model: String,
        /// The image's System Model.
        given: String,
    },
}

macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = FleetError;

            fn from_str(text: &str) -> Result<Self, FleetError> {
                let check: fn(&str) -> Result<(), FleetError> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn check_handle(text: &str) -> Result<(), FleetError> {
    let mut bytes = text.bytes();
    let starts_well = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
    if starts_well
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.len() <= LONGEST_NAME
    {
        Ok(())
    } else {
        Err(FleetError::MalformedHandle { text: excerpt(text) })
    }
}

fn check_name(what: &'static str, text: &str) -> Result<(), FleetError> {
    if text.trim().is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
        Err(FleetError::MalformedName { what, text: excerpt(text) })
    } else {
        Ok(())
    }
}

fn check_url(text: &str) -> Result<(), FleetError> {
    // The query carries signatures: it never appears in an error.
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let refused = |why| Err(FleetError::MalformedUrl { text: excerpt(shown), why });
    let scheme_end = text.find("://").unwrap_or(0);
    let scheme = text.get(..scheme_end).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return refused("give one that begins with http:// or https://");
    }
    if text.len() > LONGEST_URL {
        return refused("it is longer than 4096 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return refused("percent-encode everything that is not a visible ASCII character");
    }
    let rest = text.get(scheme_end + 3..).unwrap_or_default();
    if rest.is_empty() || rest.starts_with(['/', '?', '#', ':']) {
        return refused("it names no host");
    }
    Ok(())
}

text_type! {
    /// The handle of a System Model: a lower case letter, then lower case letters, digits, hyphens.
    SystemModelHandle, check_handle
}
text_type! {
    /// The name of a group.
    GroupName, |text| check_name("group name", text)
}
text_type! {
    /// The name of a channel.
    ChannelName, |text| check_name("channel name", text)
}
text_type! {
    /// The name of a campaign, for people.
    CampaignName, |text| check_name("campaign name", text)
}
text_type! {
    /// Where devices download a base image: `http` or `https`. It is sent byte for byte as given,
    /// also when a request is sent again (D8). Its query may carry a signature: show it without.
    ImageUrl, check_url
}

impl ImageUrl {
    /// The URL up to its query, which may carry a signature and belongs into no log.
    #[must_use]
    pub fn without_query(&self) -> &str {
        self.0.split(['?', '#']).next().unwrap_or_default()
    }
}

/// A named set of groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GivenChannel")]
pub struct Channel {
    pub(crate) name: ChannelName,
    pub(crate) groups: BTreeSet<GroupName>,
}

/// A channel as it is given: not yet known to be one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenChannel {
    name: ChannelName,
    groups: BTreeSet<GroupName>,
}

impl TryFrom<GivenChannel> for Channel {
    type Error = FleetError;

    fn try_from(given: GivenChannel) -> Result<Self, FleetError> {
        Self::new(given.name, given.groups)
    }
}

impl Channel {
    /// A channel of at least one group.
    ///
    /// # Errors
    /// [`FleetError::NoGroup`], [`FleetError::TooManyGroups`].
    pub fn new(
        name: ChannelName,
        groups: impl IntoIterator<Item = GroupName>,
    ) -> Result<Self, FleetError> {
        let groups: BTreeSet<_> = groups.into_iter().collect();
        match groups.len() {
            0 => Err(FleetError::NoGroup { channel: name.0 }),
            1..=MOST_GROUPS => Ok(Self { name, groups }),
            groups => Err(FleetError::TooManyGroups { channel: name.0, groups }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Its groups.
    #[must_use]
    pub fn groups(&self) -> &BTreeSet<GroupName> {
        &self.groups
    }
}

/// The channels of a tenant: no two of one name, no group in two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    by_name: BTreeMap<ChannelName, Channel>,
    channel_of_group: BTreeMap<GroupName, ChannelName>,
}

impl Channels {
    /// Adds a channel.
    ///
    /// # Errors
    /// [`FleetError::ChannelExists`], [`FleetError::GroupInAnotherChannel`].
    pub fn add(&mut self, channel: Channel) -> Result<(), FleetError> {
        if self.by_name.contains_key(&channel.name) {
            return Err(FleetError::ChannelExists { channel: channel.name.0 });
        }
        for group in &channel.groups {
            if let Some(other) = self.channel_of_group.get(group) {
                return Err(FleetError::GroupInAnotherChannel {
                    group: group.0.clone(),
                    channel: other.0.clone(),
                });
            }
        }
        for group in &channel.groups {
            self.channel_of_group.insert(group.clone(), channel.name.clone());
        }
        self.by_name.insert(channel.name.clone(), channel);
        Ok(())
    }

    /// The channel of that name.
    #[must_use]
    pub fn get(&self, name: &ChannelName) -> Option<&Channel> {
        self.by_name.get(name)
    }
}

/// One firmware or OS image of a System Model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// The System Model that it is for.
    pub system_model: SystemModelHandle,
    /// Its version, build metadata included.
    pub version: Version,
    /// Where devices download it.
    pub url: ImageUrl,
    /// What a device's current version must meet (D5, D6).
    pub starting_version_requirement: Option<VersionRequirement>,
}

/// All base images of one System Model, each of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImageCollection {
    system_model: SystemModelHandle,
    images: Vec<BaseImage>,
}

impl BaseImageCollection {
    /// The empty collection of a System Model.
    #[must_use]
    pub fn new(system_model: SystemModelHandle) -> Self {
        Self { system_model, images: Vec::new() }
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`FleetError::OtherSystemModel`], [`FleetError::VersionExists`] (build metadata included:
    /// `1.0.0+a` and `1.0.0+b` are two versions).
    pub fn add(&mut self, image: BaseImage) -> Result<(), FleetError> {
        if image.system_model != self.system_model {
            return Err(FleetError::OtherSystemModel {
                system_model: self.system_model.0.clone(),
                given: image.system_model.0,
            });
        }
        if self.images.iter().any(|other| other.version == image.version) {
            return Err(FleetError::VersionExists {
                system_model: self.system_model.0.clone(),
                version: image.version,
            });
        }
        self.images.push(image);
        Ok(())
    }

    /// The image of that version.
    #[must_use]
    pub fn get(&self, version: &Version) -> Option<&BaseImage> {
        self.images.iter().find(|image| image.version == *version)
    }
}

/// What the selection needs to know of a device (D2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetDevice {
    /// The device.
    pub id: DeviceId,
    /// Its System Model, if it has one.
    pub system_model: Option<SystemModelHandle>,
    /// The groups that it is in.
    pub groups: BTreeSet<GroupName>,
}

/// The targets of a campaign (D2): the devices of the union of the channel's groups, each once,
/// whose System Model is the image's, in the order given.
#[must_use]
pub fn select_targets<'a>(
    devices: impl IntoIterator<Item = &'a FleetDevice>,
    channel: &Channel,
    system_model: &SystemModelHandle,
) -> Vec<DeviceId> {
    let mut seen = BTreeSet::new();
    devices
        .into_iter()
        .filter(|device| device.system_model.as_ref() == Some(system_model))
        .filter(|device| !device.groups.is_disjoint(&channel.groups))
        .map(|device| device.id)
        .filter(|id| seen.insert(*id))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str, groups: &[&str]) -> Channel {
        Channel::new(name.parse().unwrap(), groups.iter().map(|g| g.parse().unwrap())).unwrap()
    }

    fn image(version: &str) -> BaseImage {
        BaseImage {
            system_model: "gateway".parse().unwrap(),
            version: version.parse().unwrap(),
            url: "https://images.example/1.bin".parse().unwrap(),
            starting_version_requirement: None,
        }
    }

    #[test]
    fn a_group_belongs_to_one_channel() {
        let mut channels = Channels::default();
        channels.add(channel("stable", &["a", "b"])).unwrap();
        let refused = channels.add(channel("beta", &["c", "b"])).unwrap_err();
        assert_eq!(
            refused,
            FleetError::GroupInAnotherChannel { group: "b".into(), channel: "stable".into() }
        );
        channels.add(channel("beta", &["c"])).unwrap();
    }

    #[test]
    fn a_collection_has_each_version_once() {
        let mut collection = BaseImageCollection::new("gateway".parse().unwrap());
        collection.add(image("1.0.0+a")).unwrap();
        collection.add(image("1.0.0+b")).unwrap();
        assert!(matches!(collection.add(image("1.0.0+a")), Err(FleetError::VersionExists { .. })));
    }

    #[test]
    fn malformed_handles_names_and_urls_are_refused() {
        for text in ["", "Gateway", "1st", "a b", "a_b", "a/b"] {
            assert!(text.parse::<SystemModelHandle>().is_err(), "{text}");
        }
        for text in ["", " ", "a\nb"] {
            assert!(text.parse::<CampaignName>().is_err(), "{text:?}");
        }
        for text in
            ["", "ftp://host/x", "https://", "https:///x", "http://h/ö", "http://h/a b", "x"]
        {
            assert!(text.parse::<ImageUrl>().is_err(), "{text}");
        }
        let long = format!("https://host/{}?secret", "x".repeat(5_000));
        let error = long.parse::<ImageUrl>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn targets_are_the_devices_of_the_channel_with_the_model_each_once() {
        let device = |byte: u8, model: Option<&str>, groups: &[&str]| FleetDevice {
            id: DeviceId::from_bytes([byte; 16]),
            system_model: model.map(|model| model.parse().unwrap()),
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        };
        let devices = [
            device(1, Some("gateway"), &["a", "b"]),
            device(2, Some("sensor"), &["a"]),
            device(3, None, &["a"]),
            device(4, Some("gateway"), &["elsewhere"]),
            device(5, Some("gateway"), &["b"]),
            device(1, Some("gateway"), &["a"]),
        ];
        let targets =
            select_targets(&devices, &channel("stable", &["a", "b"]), &"gateway".parse().unwrap());
        assert_eq!(targets, [DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([5; 16])]);
    }
}
