//! What people would have entered into the demonstration: two kinds of devices on two sites, images,
//! channels, and a campaign.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use futures::stream;
use hedgerow_catalogue::files::ImageFiles;
use hedgerow_catalogue::{
    Actor, BaseImageCollectionId, BaseImageId, Catalogue, ChannelId, Command, CreateBaseImage,
    CreateBaseImageCollection, CreateChannel, CreateGroup, CreateHardwareType, CreateSystemModel,
    DeviceNews, GroupId, HardwareTypeId, ImageFile, SystemModelId, Thing,
};
use hedgerow_core::{
    CampaignDefinition, CampaignId, DeviceId, GatePolicy, OperationLimits, PushRollout,
    RolloutLimits, RolloutMechanism, TenantId, WhenRunning,
};
use hedgerow_engine::{Engine, Moment};
use uuid::Uuid;

use super::ServeError;

/// How long the devices have to connect for the first time and to say what they are.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which kind of device.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Gateway,
    Pump,
}

impl Kind {
    /// One device in four is a pump.
    pub(super) fn of(number: u32) -> Self {
        if number % 4 == 3 { Self::Pump } else { Self::Gateway }
    }

    pub(super) fn part_number(self) -> &'static str {
        match self {
            Self::Gateway => "GG-1",
            Self::Pump => "PC-1",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::Pump => "Pump",
        }
    }
}

/// Where a device is.
pub(super) fn site(number: u32) -> &'static str {
    if number.is_multiple_of(6) { "greenhouse" } else { "orchard" }
}

/// Reads a text of this program.
pub(super) fn constant<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is valid"))
}

struct Desk<'a> {
    catalogue: &'a Catalogue,
    files: &'a ImageFiles,
    tenant: &'a TenantId,
    who: Actor,
}

impl Desk<'_> {
    async fn enter<T>(
        &self,
        command: Command,
        id: impl FnOnce(Thing) -> Option<T>,
    ) -> Result<T, ServeError> {
        let recorded = self.catalogue.record(self.tenant, &self.who, command).await?;
        let created = recorded.created().and_then(id);
        Ok(created.unwrap_or_else(|| unreachable!("what was entered has an id")))
    }

    async fn model(
        &self,
        hardware: HardwareTypeId,
        handle: &str,
        name: &str,
        kind: Kind,
    ) -> Result<BaseImageCollectionId, ServeError> {
        let model = Command::CreateSystemModel(CreateSystemModel {
            handle: handle.to_owned(),
            name: name.to_owned(),
            hardware_type: hardware,
            part_numbers: vec![kind.part_number().to_owned()],
            picture: None,
            descriptions: Vec::new(),
        });
        let model: SystemModelId = self
            .enter(model, |thing| match thing {
                Thing::SystemModel(id) => Some(id),
                _ => None,
            })
            .await?;
        let collection = Command::CreateBaseImageCollection(CreateBaseImageCollection {
            handle: format!("{handle}-images"),
            name: name.to_owned(),
            system_model: model,
        });
        self.enter(collection, |thing| match thing {
            Thing::BaseImageCollection(id) => Some(id),
            _ => None,
        })
        .await
    }

    async fn image(
        &self,
        collection: BaseImageCollectionId,
        version: &str,
        requirement: Option<&str>,
    ) -> Result<BaseImageId, ServeError> {
        let bytes = bytes::Bytes::from(format!("firmware {version}\n").repeat(4_096));
        let pieces = stream::iter([Ok::<_, Infallible>(bytes)]);
        let name = format!("firmware-{version}.bin");
        let stored = self.files.store(self.tenant, &name, pieces).await?;
        let command = Command::CreateBaseImage(CreateBaseImage {
            collection,
            version: version.to_owned(),
            starting_version_requirement: requirement.map(str::to_owned),
            file: ImageFile {
                url: self.files.url(&stored.key)?,
                key: Some(stored.key.to_string()),
                size_bytes: Some(stored.size_bytes),
                sha256: Some(stored.sha256.clone()),
            },
            descriptions: Vec::new(),
            release_names: Vec::new(),
        });
        self.enter(command, |thing| match thing {
            Thing::BaseImage(id) => Some(id),
            _ => None,
        })
        .await
    }

    /// A channel with the devices of one site.
    async fn channel(&self, handle: &str, name: &str, site: &str) -> Result<(), ServeError> {
        let group = Command::CreateGroup(CreateGroup {
            handle: site.to_owned(),
            name: format!("Everything in the {site}"),
            selector: format!("\"{site}\" in tags"),
        });
        let group: GroupId = self
            .enter(group, |thing| match thing {
                Thing::Group(id) => Some(id),
                _ => None,
            })
            .await?;
        let channel = Command::CreateChannel(CreateChannel {
            handle: handle.to_owned(),
            name: name.to_owned(),
            groups: vec![group],
        });
        let _: ChannelId = self
            .enter(channel, |thing| match thing {
                Thing::Channel(id) => Some(id),
                _ => None,
            })
            .await?;
        Ok(())
    }
}

/// Enters everything but a campaign.
pub(super) async fn furnish(
    catalogue: &Catalogue,
    files: &ImageFiles,
    tenant: &TenantId,
    devices: &[DeviceId],
) -> Result<(), ServeError> {
    let desk = Desk { catalogue, files, tenant, who: constant("hedgerow serve --demo") };
    let hardware = Command::CreateHardwareType(CreateHardwareType {
        handle: "garden-board".to_owned(),
        name: "Garden board".to_owned(),
        part_numbers: vec!["GB-1".to_owned()],
    });
    let hardware = desk
        .enter(hardware, |thing| match thing {
            Thing::HardwareType(id) => Some(id),
            _ => None,
        })
        .await?;
    let gateways = desk.model(hardware, "garden-gateway", "Garden gateway", Kind::Gateway).await?;
    let pumps = desk.model(hardware, "pump-controller", "Pump controller", Kind::Pump).await?;
    desk.image(gateways, "2.0.0", Some(">= 1.2.0")).await?;
    desk.image(gateways, "2.1.0", Some(">= 2.0.0")).await?;
    desk.image(pumps, "2.0.0", None).await?;
    desk.channel("stable", "Stable", "orchard").await?;
    desk.channel("early", "Early", "greenhouse").await?;
    // They are registered; Astarte is about to tell the same.
    let registered = devices.iter().map(|device| DeviceNews::new(*device, Moment::now()));
    catalogue.observe(tenant, registered);
    for (number, device) in (0..).zip(devices.iter().copied()) {
        let kind = Kind::of(number);
        let name = Some(format!("{} {}", kind.name(), number + 1));
        let tags = vec![site(number).to_owned(), kind.name().to_lowercase()];
        for command in
            [Command::NameDevice { device, name }, Command::AddDeviceTags { device, tags }]
        {
            catalogue.record(tenant, &desk.who, command).await?;
        }
    }
    Ok(())
}

/// Rolls 2.0.0 out to the gateways of the orchard, once the devices have said what they are.
pub(super) async fn first_campaign(
    engine: &Engine,
    catalogue: &Catalogue,
    tenant: &TenantId,
    devices: usize,
) -> Result<(), ServeError> {
    let began = std::time::Instant::now();
    let fleet = loop {
        let fleet = catalogue.tenant(tenant).await?;
        let known = fleet.devices().filter(|device| device.system_model().is_some()).count();
        if known >= devices || began.elapsed() > PATIENCE {
            break fleet;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let image = fleet.base_images().next().and_then(|image| fleet.image_for_campaign(image.id));
    let channel = fleet.channels().next();
    let channel = channel.and_then(|channel| fleet.channel_for_campaign(channel.id)?.ok());
    let (Some(base_image), Some(channel)) = (image, channel) else { return Ok(()) };
    let at_once = NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN);
    let operation = OperationLimits {
        request_timeout: Duration::from_secs(30),
        request_retries: 2,
        stall_timeout: Some(Duration::from_secs(120)),
        reboot_timeout: Duration::from_secs(60),
        ..OperationLimits::default()
    };
    let limits = RolloutLimits { operation, ..RolloutLimits::new(at_once, constant("25")) };
    let definition = CampaignDefinition {
        name: constant("Gateways to 2.0.0"),
        base_image,
        channel,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::default(),
    };
    engine.create(tenant, CampaignId::from_uuid(Uuid::new_v4()), definition, None).await?;
    Ok(())
}
