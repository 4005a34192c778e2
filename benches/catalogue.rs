//! The devices of a campaign, by selector, among 100,000: what the engine waits for when one starts.
//! Beside it a loop over a plain vector, and what a command and a report cost in a fleet of that size.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::measure::{in_turns, thousands, timed};
use hedgerow_catalogue::{
    Actor, Catalogue, CatalogueDirectory, Command, Connection, CreateGroup, CreateHardwareType,
    CreateSystemModel, DeviceNews, HardwareTypeId, SystemInfo,
};
use hedgerow_core::{Channel, DeviceId, SystemModelHandle, TenantId, Timestamp};
use hedgerow_engine::Moment;
use hedgerow_engine::ports::FleetDirectory;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::MemoryViews;
use hedgerow_sim::runtime::VirtualClock;

const DEVICES: u32 = 100_000;
const ROUNDS: usize = 9;
/// A tenth of the devices each.
const SELECTORS: [(&str, &str, &str); 4] = [
    ("tag", "one tag", r#""tag-3" in tags"#),
    ("pattern", "a pattern", r#""tag-3*" ~= tags"#),
    ("regex", "a regular expression", r"/^tag-[3]$/ ~= tags"),
    (
        "attribute",
        "two attributes and a tag",
        r#"attributes["custom:floor"] == 3 and attributes["astarte-attributes:site"] != "x" and "none" not in tags"#,
    ),
];

fn device(number: u32) -> DeviceId {
    DeviceId::from_name(&format!("device {number}"))
}

fn main() {
    let tenant: TenantId = "hedge".parse().expect("a tenant");
    let who: Actor = "bench".parse().expect("an actor");
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_796_040_000_000)));
    let store = Arc::new(MemoryStore::new());
    let catalogue = Catalogue::open(store.clone(), clock.clone());
    let record = |command| {
        block_on(catalogue.record(&tenant, &who, command)).expect("it is recorded");
    };
    record(Command::CreateHardwareType(CreateHardwareType {
        handle: "board".into(),
        name: "Board".into(),
        part_numbers: vec!["board".into()],
    }));
    record(Command::CreateSystemModel(CreateSystemModel {
        handle: "gateway".into(),
        name: "Gateway".into(),
        hardware_type: HardwareTypeId::new(1),
        part_numbers: vec!["GG-1".into()],
        picture: None,
        descriptions: vec![],
    }));
    for (handle, _, selector) in SELECTORS {
        let (handle, name) = (handle.into(), handle.into());
        record(Command::CreateGroup(CreateGroup { handle, name, selector: selector.into() }));
    }
    let views = Arc::new(MemoryViews::new());
    let catalogue = block_on(catalogue.with_cache(views.clone())).expect("it opens");
    let (heard, ()) = timed(|| catalogue.observe(&tenant, (0..DEVICES).map(news)));
    let (kept, _) = timed(|| block_on(catalogue.keep_heard()).expect("it is kept"));
    let (tagged, ()) =
        timed(|| (0..DEVICES).for_each(|number| enter(&catalogue, &tenant, &who, number)));

    let directory = CatalogueDirectory::new(catalogue.clone());
    let model: SystemModelHandle = "gateway".parse().expect("a handle");
    let plain: Vec<(DeviceId, String, BTreeSet<String>)> = (0..DEVICES)
        .map(|number| (device(number), "GG-1".to_owned(), [tag(number)].into()))
        .collect();
    println!(
        "| {} devices, of which a tenth is wanted by | Snapshot | A loop over a vector |",
        thousands(DEVICES as usize)
    );
    println!("|---|---:|---:|");
    for (handle, what, _) in SELECTORS {
        let groups = [handle.parse().expect("a name")];
        let channel = Channel::new("stable".parse().expect("a name"), groups).expect("a group");
        let wanted = DEVICES as usize / 10;
        let [ours, by_hand] = in_turns(
            ROUNDS,
            [
                &mut || {
                    let (time, found) =
                        timed(|| block_on(directory.targets(&tenant, &channel, &model)));
                    assert_eq!(found.expect("they are found").len(), wanted);
                    time
                },
                &mut || {
                    let (time, found) = timed(|| {
                        let is_wanted =
                            |(_, part, tags): &&(DeviceId, String, BTreeSet<String>)| {
                                part == "GG-1" && tags.contains("tag-3")
                            };
                        plain.iter().filter(is_wanted).map(|(id, ..)| *id).collect::<Vec<_>>()
                    });
                    assert_eq!(found.len(), wanted);
                    time
                },
            ],
        );
        println!("| {what} | {} | {} |", millis(ours), millis(by_hand));
    }
    let per = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6 / f64::from(DEVICES));
    println!(
        "\nEach of {} devices: heard of {}, kept in memory {},",
        thousands(DEVICES as usize),
        per(heard),
        per(kept)
    );
    println!("two commands on a store in memory {}.", per(tagged));
    let (read, fleet) = timed(|| block_on(Catalogue::open(store, clock).tenant(&tenant)));
    let facts = fleet.expect("it is read").tags().len();
    println!(
        "A restart reads {} events in {} ({facts} tags).",
        thousands(2 * DEVICES as usize),
        millis(read)
    );
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn tag(number: u32) -> String {
    format!("tag-{}", number % 10)
}

fn news(number: u32) -> DeviceNews {
    DeviceNews {
        connection: Some(Connection { online: number.is_multiple_of(2), ..Connection::default() }),
        system: Some(SystemInfo {
            serial_number: Some(format!("SN-{number}")),
            part_number: Some("GG-1".to_owned()),
        }),
        attributes: Some([("site".to_owned(), "Berlin".to_owned())].into()),
        ..DeviceNews::new(device(number), Moment::now())
    }
}

fn enter(catalogue: &Catalogue, tenant: &TenantId, who: &Actor, number: u32) {
    let device = device(number);
    let floor = hedgerow_catalogue::AttributeValue::Integer(i64::from(number % 10));
    let attributes = [("floor".to_owned(), floor)].into();
    for command in [
        Command::AddDeviceTags { device, tags: vec![tag(number)] },
        Command::SetDeviceAttributes { device, attributes },
    ] {
        block_on(catalogue.record(tenant, who, command)).expect("it is recorded");
    }
}
