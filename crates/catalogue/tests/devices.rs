//! What is heard of devices: which of them a campaign is for, where they are, and what a restart
//! still knows.

mod common;

use std::sync::Arc;

use common::*;
use futures::executor::block_on;
use hedgerow_catalogue::*;
use hedgerow_core::{Channel, DeviceId, Presence, SystemModelHandle, TenantId, Timestamp};
use hedgerow_engine::ports::{BoxFuture, FleetDirectory};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::{Direction, MemoryViews, Reached, Step, ViewStore};
use hedgerow_engine::{Moment, Sighting};

fn channel_of(groups: &[&str]) -> Channel {
    let groups = groups.iter().map(|group| group.parse().unwrap());
    Channel::new("stable".parse().unwrap(), groups).unwrap()
}

fn gateway() -> SystemModelHandle {
    "gateway".parse().unwrap()
}

/// Three devices: a gateway in the gardens, a gateway elsewhere, and something else in the gardens.
async fn gardens(desk: &Desk) -> [DeviceId; 3] {
    let board = desk.hardware("board").await;
    desk.model("gateway", board).await;
    desk.model("sensor", board).await;
    desk.group("gardens", r#""garden" in tags"#).await;
    desk.group("wet", r#"attributes["custom:wet"] == true"#).await;
    let devices =
        [desk.device(1, "gateway-1"), desk.device(2, "gateway-2"), desk.device(3, "sensor-1")];
    for device in [devices[0], devices[2]] {
        desk.done(Command::AddDeviceTags { device, tags: vec!["garden".into()] }).await;
    }
    devices
}

#[test]
fn a_campaign_is_for_the_devices_of_its_groups_that_have_its_model_each_once() {
    block_on(async {
        let desk = Desk::on(Arc::new(MemoryStore::new()));
        let [first, second, _] = gardens(&desk).await;
        let attributes = [("wet".to_owned(), AttributeValue::Boolean(true))].into();
        for device in [first, second] {
            let attributes = std::clone::Clone::clone(&attributes);
            desk.done(Command::SetDeviceAttributes { device, attributes }).await;
        }
        let directory = CatalogueDirectory::new(desk.catalogue.clone());
        let targets = async |groups: &[&str]| {
            let found = directory.targets(&tenant(), &channel_of(groups), &gateway()).await;
            found.map(|found| found.into_iter().map(|(device, _)| device).collect::<Vec<_>>())
        };
        assert_eq!(targets(&["gardens"]).await, Ok(vec![first]));
        assert_eq!(targets(&["gardens", "wet"]).await, Ok(vec![first, second]));
        let error = targets(&["gardens", "dry"]).await.expect_err("there is no such group");
        assert_eq!(
            error.detail,
            "the catalogue cannot tell: the group \"dry\" was removed from the catalogue: cancel the campaign, or enter it again under that handle"
        );
        // A group that was renamed since the campaign was created is still found.
        let update = UpdateGroup {
            id: GroupId::new(1),
            handle: Some("parks".into()),
            name: None,
            selector: None,
            unfinished: vec![],
        };
        desk.done(Command::UpdateGroup(update)).await;
        assert_eq!(targets(&["gardens"]).await, Ok(vec![first]));
    });
}

#[test]
fn a_handle_that_was_given_anew_is_the_newer_groups_also_after_the_clock_was_put_back() {
    block_on(async {
        let desk = Desk::on(Arc::new(MemoryStore::new()));
        desk.clock.at(1_000);
        let [first, ..] = gardens(&desk).await;
        desk.clock.at(2_000);
        let rename = UpdateGroup {
            id: GroupId::new(1),
            handle: Some("parks".into()),
            name: Some("parks".into()),
            selector: None,
            unfinished: vec![],
        };
        desk.done(Command::UpdateGroup(rename)).await;
        desk.clock.at(3_000);
        desk.group("gardens", r#""nothing" in tags"#).await;
        desk.clock.at(1_500);
        let directory = CatalogueDirectory::new(desk.catalogue.clone());
        let found = async |group| {
            let found = directory.targets(&tenant(), &channel_of(&[group]), &gateway()).await;
            let found = found.expect("the group is there").into_iter();
            found.map(|(device, _)| device).collect::<Vec<DeviceId>>()
        };
        assert_eq!(found("gardens").await, vec![]);
        assert_eq!(found("parks").await, vec![first]);
    });
}

/// A directory that says of every device that it is offline, as of now.
struct Offline;

impl FleetDirectory for Offline {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, hedgerow_core::TransportError>> {
        Box::pin(std::future::ready(Err(hedgerow_core::TransportError::new("nobody asks"))))
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, hedgerow_core::TransportError>> {
        let sightings = devices.iter().map(|_| Sighting::now(Some(Presence::Offline))).collect();
        Box::pin(std::future::ready(Ok(sightings)))
    }
}

#[test]
fn where_devices_are_is_as_it_was_heard_or_as_another_directory_says() {
    block_on(async {
        let desk = Desk::on(Arc::new(MemoryStore::new()));
        let [first, ..] = gardens(&desk).await;
        let since = Timestamp::from_millis(5_000);
        let connection =
            Connection { online: true, last_connection: Some(since), ..Connection::default() };
        let heard = Moment::now();
        let connection = Some(connection);
        let news = DeviceNews { connection, ..DeviceNews::new(first, heard) };
        desk.catalogue.observe(&tenant(), [news]);
        let online = Some(Presence::Online { since });
        let before = Moment::now();

        let own = CatalogueDirectory::new(desk.catalogue.clone());
        let gardens = channel_of(&["gardens"]);
        let targets = own.targets(&tenant(), &gardens, &gateway()).await.unwrap();
        assert_eq!(targets[0].1.presence, online);
        assert!(targets[0].1.as_of > before, "it counts as being so now");
        let seen = own.presence(&tenant(), vec![device(9), first]).await.unwrap();
        assert_eq!(seen.iter().map(|it| it.presence).collect::<Vec<_>>(), [None, online]);
        assert!(seen.iter().all(|it| it.as_of > before));

        let other = own.with_presence_of(Arc::new(Offline));
        let targets = other.targets(&tenant(), &gardens, &gateway()).await.unwrap();
        assert_eq!(targets[0].1, Sighting { presence: online, as_of: heard }, "it is asked again");
        let seen = other.presence(&tenant(), vec![first]).await.unwrap();
        assert_eq!(seen[0].presence, Some(Presence::Offline));
    });
}

fn full_news(number: u8) -> DeviceNews {
    DeviceNews {
        connection: Some(Connection {
            online: true,
            last_connection: Some(Timestamp::from_millis(1)),
            last_disconnection: Some(Timestamp::from_millis(2)),
            last_seen_ip: Some("192.0.2.7".into()),
        }),
        system: Some(SystemInfo {
            serial_number: Some(format!("SN-{number}")),
            part_number: Some("gateway-1".into()),
        }),
        base_image: Some(BaseImageInfo {
            version: Some("1.4.0".into()),
            ..BaseImageInfo::default()
        }),
        interfaces: Some(
            [("io.edgehog.devicemanager.OTARequest", 1), ("io.edgehog.devicemanager.OTAEvent", 0)]
                .map(|(name, major)| (name.to_owned(), InterfaceVersion { major, minor: 1 }))
                .into(),
        ),
        attributes: Some([("site".to_owned(), "Berlin".to_owned())].into()),
        ..DeviceNews::new(device(number), Moment::now())
    }
}

#[test]
fn a_restart_knows_what_was_heard_before() {
    block_on(async {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let views = MemoryViews::new();
        let open = async || {
            Desk::on(store.clone()).catalogue.with_cache(Arc::new(views.clone())).await.unwrap()
        };
        let other: TenantId = "other".parse().unwrap();
        let catalogue = open().await;
        catalogue.observe(&tenant(), (1..=3).map(full_news));
        catalogue.observe(&other, [full_news(1)]);
        assert_eq!(catalogue.keep_heard().await, Ok(4));
        assert_eq!(catalogue.keep_heard().await, Ok(0), "nothing new was heard");
        catalogue.forget(&tenant(), device(2), Moment::now());
        let later = DeviceNews {
            connection: Some(Connection::default()),
            ..DeviceNews::new(device(3), Moment::now())
        };
        catalogue.observe(&tenant(), [later]);
        assert_eq!(catalogue.keep_heard().await, Ok(2));

        let again = open().await;
        let (before, fleet) =
            (catalogue.tenant(&tenant()).await.unwrap(), again.tenant(&tenant()).await.unwrap());
        let shown = |fleet: &Fleet| {
            let known = |device: Device<'_>| {
                let it = device.known();
                let parts = (it.connection.clone(), it.system.clone(), it.base_image.clone());
                (device.id(), parts, it.interfaces.clone(), it.attributes.clone())
            };
            fleet.devices().map(known).collect::<Vec<_>>()
        };
        assert_eq!(shown(&fleet), shown(&before));
        assert_eq!(fleet.device_count(), 2);
        let [a, b] = [1, 3].map(|n| fleet.device(device(n)).unwrap().known().interfaces.clone());
        assert!(Arc::ptr_eq(&a, &b), "what is the same is there once");
        assert_eq!(again.tenant(&other).await.unwrap().device_count(), 1);

        // What is heard now is newer than what was kept, whatever moment it is of.
        let news = DeviceNews {
            connection: Some(Connection { online: true, ..Connection::default() }),
            ..DeviceNews::new(device(3), Moment::now())
        };
        again.observe(&tenant(), [news]);
        let fleet = again.tenant(&tenant()).await.unwrap();
        assert!(fleet.device(device(3)).unwrap().known().connection.online);
    });
}

#[test]
fn rows_that_are_damaged_or_of_another_form_are_passed_over() {
    block_on(async {
        let views = MemoryViews::new();
        let open = async || {
            let desk = Desk::on(Arc::new(MemoryStore::new()));
            desk.catalogue.with_cache(Arc::new(views.clone())).await.unwrap()
        };
        let catalogue = open().await;
        catalogue.observe(&tenant(), (1..=3).map(full_news));
        catalogue.keep_heard().await.unwrap();
        let reached = views.reached().await.unwrap().unwrap();
        let all = views.scan(vec![0]..vec![255], Direction::Forwards, 99).await.unwrap();
        assert_eq!(all.len(), 4, "three devices, one set of interfaces");
        let to = Reached { position: reached.position + 1, ..reached };
        let damaged = vec![(all[0].0.clone(), Some(b"{".to_vec()))];
        views.write(Step { from: Some(reached), to, rows: damaged }).await.unwrap();
        assert_eq!(open().await.tenant(&tenant()).await.unwrap().device_count(), 2);

        // Somebody else wrote meanwhile: what is heard here is kept all the same.
        catalogue.observe(&tenant(), [full_news(1), full_news(4)]);
        assert_eq!(catalogue.keep_heard().await, Ok(1));
        let reached = views.reached().await.unwrap().unwrap();
        let foreign = Reached { format: 7, ..reached };
        views.write(Step { from: Some(reached), to: foreign, rows: vec![] }).await.unwrap();
        assert_eq!(open().await.tenant(&tenant()).await.unwrap().device_count(), 0);
        assert_eq!(views.reached().await, Ok(None), "they were thrown away");
    });
}

#[test]
fn sets_of_interfaces_that_no_device_has_any_more_are_let_go() {
    block_on(async {
        let views = MemoryViews::new();
        let open = async || {
            let desk = Desk::on(Arc::new(MemoryStore::new()));
            desk.catalogue.with_cache(Arc::new(views.clone())).await.unwrap()
        };
        let catalogue = open().await;
        let mut sets = Vec::new();
        for minor in 0..64 {
            let set = [("com.example.Odd".to_owned(), InterfaceVersion { major: 0, minor })];
            let news = DeviceNews {
                interfaces: Some(set.into()),
                ..DeviceNews::new(device(1), Moment::now())
            };
            catalogue.observe(&tenant(), [news]);
            catalogue.keep_heard().await.unwrap();
            let fleet = catalogue.heard(&tenant());
            sets.push(Arc::downgrade(&fleet.device(device(1)).unwrap().known().interfaces));
        }
        let in_memory = sets.iter().filter(|set| set.upgrade().is_some()).count();
        assert!(in_memory < 8, "{in_memory} of 64 sets are still in memory");
        let rows = async || views.scan(vec![0]..vec![255], Direction::Forwards, 99).await.unwrap();
        assert_eq!(rows().await.len(), 65);
        let again = open().await;
        assert_eq!(rows().await.len(), 2, "the device, and the set that it has");
        let fleet = again.tenant(&tenant()).await.unwrap();
        assert_eq!(fleet.device(device(1)).unwrap().known().interfaces.len(), 1);
    });
}

#[test]
fn a_watcher_is_told_what_changes_and_that_it_was_too_slow() {
    block_on(async {
        let desk = Desk::on(Arc::new(MemoryStore::new()));
        let mut changes = desk.catalogue.changes(&tenant());
        desk.catalogue.observe(&tenant(), [full_news(1)]);
        desk.catalogue.observe(&tenant(), [full_news(1)]);
        desk.done(Command::NameDevice { device: device(1), name: Some("Shed".into()) }).await;
        desk.catalogue.forget_others(&tenant(), &[].into(), Moment::now());
        for how in [Changed::Created, Changed::Updated, Changed::Removed] {
            let change = changes.next().await.unwrap().unwrap();
            assert_eq!(change, Change { thing: Thing::Device(device(1)), how });
        }
        for number in 0..5_000_u32 {
            let bytes = u128::from(number).to_be_bytes();
            let news = DeviceNews::new(DeviceId::from_bytes(bytes), Moment::now());
            desk.catalogue.observe(&tenant(), [news]);
        }
        assert_eq!(changes.next().await, Some(Err(Lagged { missed: 5_000 - 4_096 })));
        assert!(changes.next().await.unwrap().is_ok());
    });
}

#[test]
fn what_a_device_reports_is_cut_where_nobody_looks_any_further() {
    block_on(async {
        let desk = Desk::on(Arc::new(MemoryStore::new()));
        let mut news = full_news(1);
        news.system.as_mut().unwrap().serial_number = Some("ä".repeat(10_000));
        let attributes = (0..5_000).map(|n| (format!("key-{n:05}"), "v".repeat(9_000)));
        news.attributes = Some(attributes.collect());
        desk.catalogue.observe(&tenant(), [news]);
        let fleet = desk.fleet().await;
        let known = fleet.device(device(1)).unwrap().known();
        assert_eq!(known.system.serial_number.as_ref().map(String::len), Some(4_096));
        assert_eq!(known.attributes.len(), 1_000);
        assert!(known.attributes.values().all(|value| value.len() == 4_096));
    });
}
