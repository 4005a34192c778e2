//! What update campaigns are made from: hardware types, system models, base images and their
//! collections, channels, groups by selector, and the devices of a fleet.
//!
//! What people enter is recorded: one stream of events per tenant, in the store that has the
//! campaigns. [`Catalogue::record`] decides a [`Command`] on what the stream says and appends what
//! follows; a store that somebody else wrote to meanwhile refuses the append, and the command is
//! decided again. So every rule that crosses things, such as unique names or one channel for a group,
//! holds with several engines on one store too. [`Catalogue::tenant`] gives a [`Fleet`]: what
//! there is, as of one moment, to be read without waiting.
//!
//! What Astarte knows of devices is no fact but a cache: whoever hears of it tells
//! [`Catalogue::observe`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use hedgerow_catalogue::{Actor, Catalogue, Command, CreateHardwareType, Thing};
//! # use hedgerow_core::{TenantId, Timestamp};
//! use hedgerow_engine::store::memory::MemoryStore;
//! # struct Clock;
//! # impl hedgerow_engine::ports::Clock for Clock {
//! #     fn wall(&self) -> Timestamp { Timestamp::default() }
//! #     fn monotonic(&self) -> std::time::Duration { std::time::Duration::ZERO }
//! #     fn sleep(&self, _: std::time::Duration) -> hedgerow_engine::ports::BoxFuture<'static, ()> {
//! #         Box::pin(std::future::ready(()))
//! #     }
//! # }
//!
//! # futures::executor::block_on(async {
//! let catalogue = Catalogue::open(Arc::new(MemoryStore::new()), Arc::new(Clock));
//! let (tenant, who): (TenantId, Actor) = ("realm".parse()?, "somebody@example.org".parse()?);
//! let command = Command::CreateHardwareType(CreateHardwareType {
//!     handle: "garden-board".into(),
//!     name: "Garden board".into(),
//!     part_numbers: vec!["GB-1".into()],
//! });
//! let recorded = catalogue.record(&tenant, &who, command.clone()).await?;
//! let Some(Thing::HardwareType(id)) = recorded.created() else { panic!("it is created") };
//! let fleet = catalogue.tenant(&tenant).await?;
//! assert_eq!(fleet.hardware_type(id).map(|it| it.name.as_str()), Some("Garden board"));
//!
//! let refused = catalogue.record(&tenant, &who, command).await.expect_err("its handle is taken");
//! assert_eq!(refused.fields(), ["handle"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#![warn(missing_debug_implementations)]
// In a change, what is absent stays, and what is null is taken away.
#![allow(clippy::option_option)]

mod actor;
mod attribute;
mod cache;
mod catalogue;
mod change;
mod command;
mod decide;
mod device;
mod directory;
mod error;
mod event;
pub mod files;
mod fleet;
mod fold;
mod id;
mod mapping;
pub mod selector;
mod shards;
mod text;
mod thing;
mod things;
mod versions;

pub use actor::Actor;
pub use attribute::{AttributeError, AttributeValue};
pub use catalogue::{Catalogue, Recorded};
pub use change::{Change, Changed, Changes, Lagged, Thing};
pub use command::*;
pub use device::{
    BaseImageInfo, Connection, Device, DeviceFacts, DeviceNews, InterfaceVersion, Interfaces,
    KnownDevice, SystemInfo,
};
pub use directory::{CatalogueDirectory, NoTargets};
pub use error::{CatalogueError, Refusal};
pub use event::*;
pub use fleet::Fleet;
pub use id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
pub use mapping::{MappingError, VersionMapping};
pub use selector::{Selector, SelectorError};
pub use text::{AttributeKey, Handle, LanguageTag, Name, PartNumber, Tag, TextError};
pub use thing::{
    BaseImage, BaseImageCollection, Channel, Group, HardwareType, ImageFile, Localized, Picture,
    SystemModel,
};
pub use versions::MappedVersions;
