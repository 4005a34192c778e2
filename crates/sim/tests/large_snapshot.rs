//! A fleet of more devices than one chunk of a snapshot, or one look-up of presence, names.

mod common;

use std::sync::Arc;

use common::{IMAGE, campaign_id, definition, tenant};
use hedgerow_core::{DeviceId, StreamId, Timestamp};
use hedgerow_engine::EngineBuilder;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_sim::platform::{self, Call, Platform, Register, Registered, Request};
use hedgerow_sim::runtime::{Executor, VirtualClock, wait};

const DEVICES: u32 = 10_050;

fn device(number: u32) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// Only the last of all devices is online.
#[derive(Default)]
struct World {
    register: Register,
    sent: Vec<(DeviceId, String)>,
    /// Of how many devices each look-up asked.
    asked: Vec<usize>,
}

impl platform::World for World {
    type Caller = ();
    type Noted = ();

    fn register(&self) -> &Register {
        &self.register
    }

    fn begins(&mut self, (): &(), _: usize, call: &Call) -> Option<()> {
        if let Call::Presence(devices) = call {
            self.asked.push(devices.len());
        }
        Some(())
    }

    fn deliver(&mut self, _: u32, request: &Request) {
        self.sent.push((request.device, request.url.to_string()));
    }
}

fn world() -> World {
    let mut world = World::default();
    for number in 0..DEVICES {
        world.register.add(Registered {
            system_model: Some("gateway".parse().unwrap()),
            groups: ["all".parse().unwrap()].into(),
            online_since: (number == DEVICES - 1).then_some(Timestamp::from_millis(0)),
            version: Some("1.0.0".to_owned()),
            ..Registered::new(device(number))
        });
    }
    world
}

#[test]
fn d1_every_device_beyond_the_first_chunk_is_a_target_and_has_its_turn() {
    let (store, platform) = (MemoryStore::new(), Platform::new(world(), ()));
    let start = |executor: &mut Executor| {
        let builder = EngineBuilder::new(
            Arc::new(store.clone()),
            Arc::new(platform.clone()),
            Arc::new(platform.clone()),
            Arc::new(VirtualClock::new(Timestamp::from_millis(1_000))),
            Arc::new(executor.spawner()),
        );
        executor.run(builder.start()).expect("it starts at once").expect("the store works")
    };
    let mut executor = Executor::default();
    let engine = start(&mut executor);
    let created = async move {
        engine.create(&tenant(), campaign_id(1), definition(1), None).await?;
        engine.progress(&tenant(), campaign_id(1)).await
    };
    executor.run(created).expect("it ends at once").expect("it is created");
    executor.run_until_stalled();
    let last = (device(DEVICES - 1), IMAGE.to_owned());
    assert_eq!(platform.world().sent, std::slice::from_ref(&last));
    let stream = StreamId::Campaign(campaign_id(1));
    let log = wait(store.read_stream(&tenant(), stream, 0, 100)).unwrap();
    let chunks = log.iter().filter(|stored| stored.event.event_type == "snapshot_extended");
    assert_eq!(chunks.count(), 2);

    let mut executor = Executor::default();
    let engine = start(&mut executor);
    let progress = executor.run(async move { engine.progress(&tenant(), campaign_id(1)).await });
    assert_eq!(progress.unwrap().unwrap().targets.total, DEVICES);
    assert_eq!(platform.world().asked, [10_000, 50]);
}
