//! What has changed in a catalogue, for whoever watches it.
//!
//! It says which thing changed, not how: who is told looks at the fleet. A watcher that is too slow
//! is told that it missed something, and holds nobody up.

use hedgerow_core::DeviceId;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::event::CatalogueEvent;
use crate::id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};

/// A thing of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Thing {
    /// A hardware type.
    HardwareType(HardwareTypeId),
    /// A system model.
    SystemModel(SystemModelId),
    /// A base image collection.
    BaseImageCollection(BaseImageCollectionId),
    /// A base image.
    BaseImage(BaseImageId),
    /// A group.
    Group(GroupId),
    /// A channel.
    Channel(ChannelId),
    /// A device.
    Device(DeviceId),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Changed {
    /// It is new.
    Created,
    /// It is another than before.
    Updated,
    /// It is gone.
    Removed,
}

/// Something that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// What.
    pub thing: Thing,
    /// How.
    pub how: Changed,
}

impl Change {
    pub(crate) fn of(event: &CatalogueEvent) -> Self {
        use CatalogueEvent as Event;
        use Changed::{Created, Removed, Updated};
        let (thing, how) = match event {
            Event::HardwareTypeCreated(it) => (Thing::HardwareType(it.id), Created),
            Event::HardwareTypeChanged(it) => (Thing::HardwareType(it.id), Updated),
            Event::HardwareTypeRemoved(it) => (Thing::HardwareType(it.id), Removed),
            Event::SystemModelCreated(it) => (Thing::SystemModel(it.id), Created),
            Event::SystemModelChanged(it) => (Thing::SystemModel(it.id), Updated),
            Event::SystemModelRemoved(it) => (Thing::SystemModel(it.id), Removed),
            Event::VersionMappingChanged(it) => (Thing::SystemModel(it.system_model), Updated),
            Event::BaseImageCollectionCreated(it) => (Thing::BaseImageCollection(it.id), Created),
            Event::BaseImageCollectionChanged(it) => (Thing::BaseImageCollection(it.id), Updated),
            Event::BaseImageCollectionRemoved(it) => (Thing::BaseImageCollection(it.id), Removed),
            Event::BaseImageCreated(it) => (Thing::BaseImage(it.id), Created),
            Event::BaseImageChanged(it) => (Thing::BaseImage(it.id), Updated),
            Event::BaseImageRemoved(it) => (Thing::BaseImage(it.id), Removed),
            Event::GroupCreated(it) => (Thing::Group(it.id), Created),
            Event::GroupChanged(it) => (Thing::Group(it.id), Updated),
            Event::GroupRemoved(it) => (Thing::Group(it.id), Removed),
            Event::ChannelCreated(it) => (Thing::Channel(it.id), Created),
            Event::ChannelChanged(it) => (Thing::Channel(it.id), Updated),
            Event::ChannelRemoved(it) => (Thing::Channel(it.id), Removed),
            Event::DeviceNamed(it) => (Thing::Device(it.device), Updated),
            Event::DeviceTagged(it) => (Thing::Device(it.device), Updated),
            Event::DeviceUntagged(it) => (Thing::Device(it.device), Updated),
            Event::DeviceAttributesSet(it) => (Thing::Device(it.device), Updated),
            Event::DeviceAttributesRemoved(it) => (Thing::Device(it.device), Updated),
        };
        Self { thing, how }
    }
}

/// A watcher's place: what changes in the catalogue of a tenant from the moment it was asked for.
#[derive(Debug)]
pub struct Changes(pub(crate) broadcast::Receiver<Change>);

/// A watcher was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{missed} changes were not told, as nobody took them in time: look at the fleet as a whole"
)]
pub struct Lagged {
    /// How many changes it was not told.
    pub missed: u64,
}

impl Changes {
    /// The next change, waited for; `None`: the catalogue is gone.
    ///
    /// # Errors
    /// [`Lagged`]; the next call goes on with what is still known.
    pub async fn next(&mut self) -> Option<Result<Change, Lagged>> {
        match self.0.recv().await {
            Ok(change) => Some(Ok(change)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }
}
