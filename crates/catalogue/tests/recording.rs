//! What people enter: what is recorded, what is refused, and what a campaign of long ago still finds.

mod common;

use std::sync::Arc;

use common::*;
use futures::executor::block_on;
use hedgerow_catalogue::*;
use hedgerow_core::{
    CampaignId, DeviceId, ImageUrl, OperationId, RequestAnswer, StreamId, TenantId, Timestamp,
    TransportError, Version,
};
use hedgerow_engine::ports::{BoxFuture, DeviceTransport};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;

fn desk() -> Desk {
    Desk::on(Arc::new(MemoryStore::new()))
}

fn update_channel(id: ChannelId) -> UpdateChannel {
    UpdateChannel { id, handle: None, name: None, groups: None, unfinished: vec![] }
}

fn unfinished() -> UnfinishedCampaign {
    UnfinishedCampaign {
        id: CampaignId::from_uuid(uuid::Uuid::from_u128(1)),
        name: "Gateways to 2.0.0".into(),
        system_model: "gateway".into(),
        version: Version::new(2, 0, 0),
        channel: "stable".into(),
        groups: ["gardens".to_owned()].into(),
    }
}

#[test]
fn what_a_campaign_is_made_from_is_recorded_and_found() {
    block_on(async {
        let desk = desk();
        let hardware = desk.hardware("board").await;
        let model = desk.model("gateway", hardware).await;
        let collection = desk.collection("gateway-images", model).await;
        let image = desk.image(collection, "2.0.0+5").await;
        let gardens = desk.group("gardens", r#""garden" in tags"#).await;
        let channel = desk.channel("stable", &[gardens]).await;

        let fleet = desk.fleet().await;
        assert_eq!(fleet.collection_of(model).map(|it| it.id), Some(collection));
        assert_eq!(fleet.base_images_of(collection).map(|it| it.id).collect::<Vec<_>>(), [image]);
        assert_eq!(fleet.channel_of(gardens).map(|it| it.id), Some(channel));
        assert_eq!(fleet.file_keys().collect::<Vec<_>>(), ["hedge/2.0.0+5.bin"]);

        let core = fleet.image_for_campaign(image).expect("it is there");
        assert_eq!(
            (core.system_model.as_str(), core.version.to_string().as_str()),
            ("gateway", "2.0.0+5")
        );
        let core =
            fleet.channel_for_campaign(channel).expect("it is there").expect("it has a group");
        assert_eq!(core.name().as_str(), "stable");
        assert_eq!(
            core.groups().iter().map(hedgerow_core::GroupName::as_str).collect::<Vec<_>>(),
            ["gardens"]
        );
    });
}

#[test]
fn a_device_has_the_model_of_its_part_number_and_the_groups_whose_selector_it_meets() {
    block_on(async {
        let desk = desk();
        let hardware = desk.hardware("board").await;
        let model = desk.model("gateway", hardware).await;
        let gardens = desk.group("gardens", r#""garden" in tags"#).await;
        let others = desk.group("others", r#""garden" not in tags"#).await;
        let (garden, other) = (desk.device(1, "gateway-2"), desk.device(2, "unknown"));
        let tags = vec!["garden".into(), "wet".into()];
        desk.done(Command::AddDeviceTags { device: garden, tags }).await;
        desk.done(Command::NameDevice { device: other, name: Some("Shed".into()) }).await;

        let fleet = desk.fleet().await;
        let (garden, other) = (fleet.device(garden).unwrap(), fleet.device(other).unwrap());
        assert_eq!(garden.system_model().map(|it| it.id), Some(model));
        assert_eq!(other.system_model(), None);
        assert_eq!(garden.groups().map(|it| it.id).collect::<Vec<_>>(), [gardens]);
        assert_eq!(other.groups().map(|it| it.id).collect::<Vec<_>>(), [others]);
        assert_eq!(fleet.devices_of(gardens).map(|it| it.id()).collect::<Vec<_>>(), [garden.id()]);
        assert_eq!((garden.name(), other.name()), (garden.id().to_string(), "Shed".to_owned()));
        assert_eq!(fleet.tags().map(Tag::as_str).collect::<Vec<_>>(), ["garden", "wet"]);

        let tags = vec!["wet".into(), "never".into()];
        desk.done(Command::RemoveDeviceTags { device: garden.id(), tags }).await;
        assert_eq!(desk.fleet().await.tags().map(Tag::as_str).collect::<Vec<_>>(), ["garden"]);
    });
}

#[test]
fn names_handles_part_numbers_and_versions_are_taken_once() {
    block_on(async {
        let desk = desk();
        let board = desk.hardware("board").await;
        let gateway = desk.model("gateway", board).await;
        let collection_id = desk.collection("images", gateway).await;
        desk.image(collection_id, "1.0.0").await;

        let again = desk.refused(hardware("board")).await;
        assert_eq!((again.field(), again.code()), ("handle", "invalid_attribute"));
        assert_eq!(
            again.to_string(),
            "has already been taken: \"board\" belongs to \"The board\", choose another one"
        );
        let Command::CreateHardwareType(mut other) = hardware("panel") else { panic!() };
        other.name = "The board".into();
        assert_eq!(desk.refused(Command::CreateHardwareType(other.clone())).await.field(), "name");
        other.name = "Panel".into();
        other.part_numbers = vec!["panel".into(), "board-hw".into()];
        let refused = desk.refused(Command::CreateHardwareType(other)).await;
        assert_eq!(refused.field(), "part_numbers");
        let Command::CreateSystemModel(mut other) = model("sensor", board) else { panic!() };
        other.part_numbers = vec!["gateway-2".into()];
        let refused = desk.refused(Command::CreateSystemModel(other)).await;
        assert_eq!(refused.field(), "part_numbers");
        assert_eq!(desk.refused(collection("others", gateway)).await.field(), "system_model_id");
        assert_eq!(desk.refused(image(collection_id, "1.0.0")).await.field(), "version");
        desk.image(collection_id, "1.0.0+other").await;
        assert_eq!(desk.fleet().await.hardware_types().len(), 1);
    });
}

#[test]
fn what_is_malformed_or_unknown_is_refused_with_its_field() {
    block_on(async {
        let desk = desk();
        let nothing = HardwareTypeId::new(7);
        let missing = desk.refused(model("gateway", nothing)).await;
        assert_eq!((missing.field(), missing.code()), ("hardware_type_id", "not_found"));
        let board = desk.hardware("board").await;
        assert_eq!(desk.refused(model("7up", board)).await.field(), "handle");
        assert_eq!(desk.refused(hardware("Board")).await.field(), "handle");
        let refused = desk.refused(group("gardens", r#""garden" inn tags"#)).await;
        assert_eq!(
            refused.to_string(),
            "is invalid: line 1, character 10: expected in, not in, ~= or !~=, at \"inn\""
        );
        let none =
            CreateHardwareType { part_numbers: vec![], handle: "x".into(), name: "X".into() };
        let refused = desk.refused(Command::CreateHardwareType(none)).await;
        assert_eq!((refused.field(), refused.code()), ("part_numbers", "required"));
        let gateway = desk.model("gateway", board).await;
        let images = desk.collection("images", gateway).await;
        for version in ["1.0", "v1.0.0", "", "1.0.0-"] {
            assert_eq!(desk.refused(image(images, version)).await.field(), "version", "{version}");
        }
        let unknown = Command::AddDeviceTags { device: device(9), tags: vec!["a".into()] };
        assert_eq!(desk.refused(unknown).await.code(), "not_found");
    });
}

#[test]
fn a_group_is_in_one_channel_at_most() {
    block_on(async {
        let desk = desk();
        let (a, b) =
            (desk.group("a", "\"a\" in tags").await, desk.group("b", "\"b\" in tags").await);
        let stable = desk.channel("stable", &[a]).await;
        let refused = desk.refused(channel("beta", &[a, b])).await;
        assert_eq!(refused.field(), "channel_id");
        let beta = desk.channel("beta", &[b]).await;
        let take = Command::UpdateChannel(UpdateChannel {
            groups: Some(vec![a, b]),
            ..update_channel(beta)
        });
        desk.refused(take.clone()).await;
        let give = UpdateChannel { groups: Some(vec![]), ..update_channel(stable) };
        desk.done(Command::UpdateChannel(give)).await;
        desk.done(take).await;
        let mut changes = desk.catalogue.changes(&tenant());
        desk.done(Command::RemoveGroup { id: a, unfinished: vec![] }).await;
        let fleet = desk.fleet().await;
        assert_eq!(fleet.channel(beta).map(|it| it.groups.clone()), Some([b].into()));
        assert_eq!(fleet.channel_of(a), None);
        let seen = [changes.next().await.unwrap().unwrap(), changes.next().await.unwrap().unwrap()];
        assert_eq!(
            seen.map(|it| (it.thing, it.how)),
            [(Thing::Group(a), Changed::Removed), (Thing::Channel(beta), Changed::Updated),]
        );
        let next = desk.group("c", "\"c\" in tags").await;
        assert_eq!(next.number(), 3, "an id is not given again");
    });
}

#[test]
fn what_an_unfinished_campaign_uses_stays_and_keeps_its_handle() {
    block_on(async {
        let desk = desk();
        let board = desk.hardware("board").await;
        let model = desk.model("gateway", board).await;
        let images = desk.collection("images", model).await;
        let (used, other) = (desk.image(images, "2.0.0").await, desk.image(images, "1.0.0").await);
        let group = desk.group("gardens", "\"garden\" in tags").await;
        let channel = desk.channel("stable", &[group]).await;
        let by = || vec![unfinished()];
        let refused = desk.refused(Command::RemoveBaseImage { id: used, unfinished: by() }).await;
        assert_eq!(
            refused.to_string(),
            "is currently in use by the following running campaigns: Gateways to 2.0.0; wait for them, or cancel them"
        );
        desk.done(Command::RemoveBaseImage { id: other, unfinished: by() }).await;
        desk.refused(Command::RemoveGroup { id: group, unfinished: by() }).await;
        desk.refused(Command::RemoveChannel { id: channel, unfinished: by() }).await;
        let rename = UpdateChannel {
            handle: Some("steady".into()),
            unfinished: by(),
            ..update_channel(channel)
        };
        desk.refused(Command::UpdateChannel(rename.clone())).await;
        let handle = Some("stable".into());
        let same = UpdateChannel { handle, name: Some("Stable".into()), ..rename.clone() };
        desk.done(Command::UpdateChannel(same)).await;
        desk.done(Command::UpdateChannel(UpdateChannel { unfinished: vec![], ..rename })).await;
        assert_eq!(
            desk.refused(Command::RemoveSystemModel { id: model, unfinished: vec![] })
                .await
                .to_string(),
            "still has the base image collection \"The images\": remove that first"
        );
        desk.refused(Command::RemoveHardwareType { id: board }).await;
        desk.refused(Command::RemoveBaseImageCollection { id: images }).await;
    });
}

#[test]
fn a_campaign_of_long_ago_finds_what_was_called_so_then() {
    block_on(async {
        let desk = desk();
        let at = |millis| Timestamp::from_millis(millis);
        desk.clock.at(1_000);
        let board = desk.hardware("board").await;
        let model = desk.model("gateway", board).await;
        let images = desk.collection("images", model).await;
        let first = desk.image(images, "1.0.0").await;
        let channel = desk.channel("stable", &[]).await;
        desk.clock.at(2_000);
        let (handle, name) = (Some("old".into()), Some("Old".into()));
        let rename = UpdateChannel { handle, name, ..update_channel(channel) };
        desk.done(Command::UpdateChannel(rename)).await;
        desk.done(Command::RemoveBaseImage { id: first, unfinished: vec![] }).await;
        desk.clock.at(3_000);
        let newer = desk.channel("stable", &[]).await;
        let second = desk.image(images, "1.0.0").await;
        let fleet = desk.fleet().await;
        let called = |handle, time| fleet.channel_called(handle, at(time)).map(|it| it.id);
        assert_eq!(called("stable", 1_500), Some(channel));
        assert_eq!(called("stable", 3_000), Some(newer));
        assert_eq!(called("old", 9_000), Some(channel));
        let called = |time| {
            fleet.base_image_called("gateway", &Version::new(1, 0, 0), at(time)).map(|it| it.id)
        };
        assert_eq!((called(1_500), called(3_500)), (Some(first), Some(second)));
        assert_eq!(fleet.base_image(first), None, "it was removed");
    });
}

#[test]
fn two_catalogues_on_one_store_decide_on_what_the_other_recorded() {
    block_on(async {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let (here, there) = (Desk::on(store.clone()), Desk::on(store.clone()));
        here.hardware("board").await;
        assert_eq!(there.refused(hardware("board")).await.field(), "handle");
        let panel = there.hardware("panel").await;
        assert_eq!(panel.number(), 2);
        assert_eq!(here.fleet().await.hardware_types().len(), 2);
        let restarted = Desk::on(store.clone());
        assert_eq!(restarted.fleet().await.hardware_types().len(), 2);
        let log = store.read_stream(&tenant(), StreamId::Catalogue, 0, 9).await.unwrap();
        let by = RecordedEvent::from_stored(&log[0]).unwrap().by;
        assert_eq!(by.as_str(), "ada@example.org");
    });
}

#[test]
fn a_command_that_asks_for_what_is_so_records_nothing() {
    block_on(async {
        let desk = desk();
        let channel = desk.channel("stable", &[]).await;
        let name = Some("The stable".into());
        let same =
            desk.done(Command::UpdateChannel(UpdateChannel { name, ..update_channel(channel) }));
        assert_eq!(same.await.change, None);
        let device = desk.device(1, "x");
        for (times, tags) in [(1, vec!["a"]), (0, vec!["a", "a"]), (1, vec!["a", "b"])] {
            let tags = tags.into_iter().map(str::to_owned).collect();
            let recorded = desk.done(Command::AddDeviceTags { device, tags }).await;
            assert_eq!(recorded.change.is_some(), times == 1);
        }
    });
}

#[test]
fn news_of_a_device_that_are_older_than_what_is_known_are_passed_over() {
    use hedgerow_engine::Moment;
    block_on(async {
        let desk = desk();
        let (early, late) = (Moment::now(), Moment::now());
        let online = |as_of, online| DeviceNews {
            connection: Some(Connection { online, ..Connection::default() }),
            ..DeviceNews::new(device(1), as_of)
        };
        let is_online =
            async || desk.fleet().await.device(device(1)).map(|it| it.known().connection.online);
        desk.catalogue.observe(&tenant(), [online(late, true), online(early, false)]);
        assert_eq!(is_online().await, Some(true));
        desk.catalogue.forget(&tenant(), device(1), early);
        assert_eq!(is_online().await, Some(true), "it was heard of later");
        let removed = Moment::now();
        desk.catalogue.forget(&tenant(), device(1), removed);
        desk.catalogue.observe(&tenant(), [online(late, true)]);
        assert_eq!(is_online().await, None, "that was before it was removed");
        desk.catalogue.observe(&tenant(), [online(Moment::now(), false)]);
        assert_eq!(is_online().await, Some(false));
    });
}

/// Devices that report what no semantic version is.
struct Odd;

impl DeviceTransport for Odd {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        Box::pin(std::future::ready(RequestAnswer::Accepted))
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        Box::pin(std::future::ready(RequestAnswer::Accepted))
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let reported = (device != common::device(9)).then(|| "v1.4".to_owned());
        Box::pin(std::future::ready(Ok(reported)))
    }
}

#[test]
fn versions_are_read_as_the_system_model_of_each_device_says() {
    block_on(async {
        let desk = desk();
        let board = desk.hardware("board").await;
        let model = desk.model("gateway", board).await;
        let (gateway, other) = (desk.device(1, "gateway-1"), desk.device(2, "else"));
        let set = |line: &str| Command::SetVersionMapping {
            system_model: model,
            lines: vec![line.to_owned()],
        };
        let refused = desk.refused(set("v.*")).await;
        assert_eq!(refused.field(), "lines");
        let transport = MappedVersions::new(desk.catalogue.clone(), Arc::new(Odd));
        let read = async |device| transport.base_image_version(&tenant(), device).await;
        assert_eq!(read(gateway).await, Ok(Some("v1.4".to_owned())));
        let mapping = set(r"v(?<major>\d+)\.(?<minor>\d+)");
        assert!(desk.done(mapping.clone()).await.change.is_some());
        assert!(desk.done(mapping).await.change.is_none(), "it is so already");
        assert_eq!(read(gateway).await, Ok(Some("1.4.0".to_owned())));
        assert_eq!(read(other).await, Ok(Some("v1.4".to_owned())), "it has no system model");
        assert_eq!(read(common::device(9)).await, Ok(None));
    });
}
