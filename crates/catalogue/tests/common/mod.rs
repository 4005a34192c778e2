//! What the tests of this crate share: a catalogue on some store, and commands on it.

#![allow(dead_code, unreachable_pub)] // Not every test uses all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hedgerow_catalogue::*;
use hedgerow_core::{DeviceId, TenantId, Timestamp};
use hedgerow_engine::Moment;
use hedgerow_engine::ports::{BoxFuture, Clock};
use hedgerow_engine::store::EventStore;

/// A clock that tests put on.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn at(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub fn tenant() -> TenantId {
    "hedge".parse().unwrap()
}

/// A catalogue on a store, and somebody who changes it.
pub struct Desk {
    pub catalogue: Catalogue,
    pub clock: Arc<TestClock>,
}

impl Desk {
    pub fn on(store: Arc<dyn EventStore>) -> Self {
        let clock = Arc::new(TestClock::default());
        let catalogue = Catalogue::open(store, clock.clone());
        Self { catalogue, clock }
    }

    pub async fn record(&self, command: Command) -> Result<Recorded, CatalogueError> {
        self.catalogue.record(&tenant(), &"ada@example.org".parse().unwrap(), command).await
    }

    pub async fn done(&self, command: Command) -> Recorded {
        self.record(command).await.expect("it is recorded")
    }

    pub async fn refused(&self, command: Command) -> Refusal {
        match self.record(command).await {
            Err(CatalogueError::Refused(refusal)) => refusal,
            other => panic!("a refusal, not {other:?}"),
        }
    }

    pub async fn fleet(&self) -> Arc<Fleet> {
        self.catalogue.tenant(&tenant()).await.expect("it can be read")
    }

    pub async fn hardware(&self, handle: &str) -> HardwareTypeId {
        let Some(Thing::HardwareType(id)) = self.done(hardware(handle)).await.created() else {
            panic!("a hardware type")
        };
        id
    }

    pub async fn model(&self, handle: &str, hardware_type: HardwareTypeId) -> SystemModelId {
        let recorded = self.done(model(handle, hardware_type)).await;
        let Some(Thing::SystemModel(id)) = recorded.created() else { panic!("a system model") };
        id
    }

    pub async fn collection(&self, handle: &str, model: SystemModelId) -> BaseImageCollectionId {
        let recorded = self.done(collection(handle, model)).await;
        let Some(Thing::BaseImageCollection(id)) = recorded.created() else {
            panic!("a collection")
        };
        id
    }

    pub async fn image(&self, collection: BaseImageCollectionId, version: &str) -> BaseImageId {
        let recorded = self.done(image(collection, version)).await;
        let Some(Thing::BaseImage(id)) = recorded.created() else { panic!("an image") };
        id
    }

    pub async fn group(&self, handle: &str, selector: &str) -> GroupId {
        let recorded = self.done(group(handle, selector)).await;
        let Some(Thing::Group(id)) = recorded.created() else { panic!("a group") };
        id
    }

    pub async fn channel(&self, handle: &str, groups: &[GroupId]) -> ChannelId {
        let recorded = self.done(channel(handle, groups)).await;
        let Some(Thing::Channel(id)) = recorded.created() else { panic!("a channel") };
        id
    }

    /// There is such a device, with that part number.
    pub fn device(&self, number: u8, part_number: &str) -> DeviceId {
        let device = device(number);
        let part_number = Some(part_number.to_owned());
        let system = SystemInfo { part_number, ..SystemInfo::default() };
        let news = DeviceNews { system: Some(system), ..DeviceNews::new(device, Moment::now()) };
        self.catalogue.observe(&tenant(), [news]);
        device
    }
}

pub fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub fn hardware(handle: &str) -> Command {
    Command::CreateHardwareType(CreateHardwareType {
        handle: handle.into(),
        name: format!("The {handle}"),
        part_numbers: vec![format!("{handle}-hw")],
    })
}

pub fn model(handle: &str, hardware_type: HardwareTypeId) -> Command {
    Command::CreateSystemModel(CreateSystemModel {
        handle: handle.into(),
        name: format!("The {handle}"),
        hardware_type,
        part_numbers: vec![format!("{handle}-1"), format!("{handle}-2")],
        picture: None,
        descriptions: vec![("en".into(), "A box".into())],
    })
}

pub fn collection(handle: &str, system_model: SystemModelId) -> Command {
    let name = format!("The {handle}");
    let handle = handle.into();
    Command::CreateBaseImageCollection(CreateBaseImageCollection { handle, name, system_model })
}

pub fn image(collection: BaseImageCollectionId, version: &str) -> Command {
    Command::CreateBaseImage(CreateBaseImage {
        collection,
        version: version.into(),
        starting_version_requirement: Some(">= 1.0.0".into()),
        file: ImageFile {
            url: format!("https://images.example/{version}.bin").parse().unwrap(),
            key: Some(format!("hedge/{version}.bin")),
            size_bytes: Some(7),
            sha256: Some("0f".repeat(32)),
        },
        descriptions: vec![],
        release_names: vec![("en".into(), "Spring".into())],
    })
}

pub fn group(handle: &str, selector: &str) -> Command {
    let name = format!("The {handle}");
    Command::CreateGroup(CreateGroup { handle: handle.into(), name, selector: selector.into() })
}

pub fn channel(handle: &str, groups: &[GroupId]) -> Command {
    let (name, groups) = (format!("The {handle}"), groups.to_vec());
    Command::CreateChannel(CreateChannel { handle: handle.into(), name, groups })
}
