//! Everything goes wrong that the emulator can let go wrong, and the campaign ends right all the
//! same: it takes longer, and nothing else.
//!
//! The everyday run has one seed, another with `HEDGEROW_FAULT_SEED`. To try those from 1 to 20:
//!
//! ```text
//! HEDGEROW_FAULT_SEEDS=20 cargo test -p hedgerow-astarte --test real_devices faults -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hedgerow_astarte_emulator::{
    Api, Emulator, EventFault, EventRule, Frequency, Hook, RequestFault, RequestRule,
};
use hedgerow_core::TargetStatus;
use hedgerow_engine::Progress;
use hedgerow_sim::device::DeviceProfile;

use crate::world::{NEW_VERSION, REALM, World, WorldSettings, as_emulated, device};
use crate::{PATIENCE, from_environment};

/// Everything that is used below; there must be no other hook.
const USED: [Hook; 13] = [
    Hook::DropEvent,
    Hook::DelayEvent,
    Hook::DuplicateEvent,
    Hook::ReorderEvent,
    Hook::FailRequest,
    Hook::DelayRequest,
    Hook::LoseAnswer,
    Hook::LoseMessage,
    Hook::Disconnect,
    Hook::LoseSession,
    Hook::BrokerDown,
    Hook::DeviceClock,
    Hook::Clock,
];

/// Events are lost, doubled, late and out of order; requests fail, and some messages never arrive.
fn let_things_go_wrong(emulator: &Emulator) {
    let events = [
        EventFault::Drop,
        EventFault::Duplicate { copies: 2 },
        EventFault::Delay { milliseconds: 300 },
        EventFault::Reorder { behind: 3, milliseconds: 200 },
    ];
    for fault in events {
        // Once for certain, and then by chance.
        for frequency in [Frequency::ONCE, Frequency::probability(0.12)] {
            let rule = EventRule { frequency, ..EventRule::new(fault) };
            emulator.add_event_rule(rule).expect("a rule");
        }
    }
    let sometimes = Frequency::probability;
    let (any, to_devices) = (None, Some("OTARequest".to_owned()));
    let requests = [
        (RequestFault::LoseMessage, &to_devices, Frequency::ONCE),
        (RequestFault::LoseMessage, &to_devices, sometimes(0.1)),
        (RequestFault::LoseAnswer, &to_devices, Frequency::ONCE),
        (RequestFault::LoseAnswer, &any, Frequency { probability: 0.02, times: Some(5) }),
        (RequestFault::Status { code: 503 }, &any, Frequency::ONCE),
        (RequestFault::Status { code: 503 }, &any, sometimes(0.05)),
        (RequestFault::Status { code: 500 }, &any, sometimes(0.02)),
        (RequestFault::Status { code: 429 }, &any, sometimes(0.02)),
        (RequestFault::Status { code: 401 }, &any, sometimes(0.02)),
        (RequestFault::Status { code: 403 }, &any, sometimes(0.02)),
        (RequestFault::Delay { milliseconds: 100 }, &any, Frequency::ONCE),
        (RequestFault::Delay { milliseconds: 100 }, &any, sometimes(0.05)),
    ];
    for (fault, path, frequency) in requests {
        let path_contains = path.clone();
        let rule = RequestRule {
            api: Some(Api::AppEngine),
            path_contains,
            body_contains: None,
            frequency,
            fault,
            method: None,
        };
        emulator.add_request_rule(rule).expect("a rule");
    }
}

/// A world in which a campaign has gone through all of it. The service was down in the middle.
async fn through_everything(
    seed: u64,
    profile: DeviceProfile,
    failures: &str,
) -> (World, Progress) {
    let world = World::start(WorldSettings { seed, profile, ..WorldSettings::default() }).await;
    // Some stamp their reports with 1970, some with the day after tomorrow.
    for (number, offset) in [(0, TimeDelta::days(-20_000)), (1, TimeDelta::days(2))] {
        let set =
            world.emulator.set_device_clock_offset(REALM, as_emulated(device(number)), offset);
        set.expect("a device");
    }
    let service = world.serve().await;
    let_things_go_wrong(&world.emulator);
    service.create(8, failures).await;
    let at_work = |p: &Progress| p.targets.in_progress + p.targets.successful >= 4;
    service.until(PATIENCE, at_work).await;
    service.stop().await;

    for number in 0..3 {
        world.emulator.disconnect(REALM, as_emulated(device(number))).expect("a realm");
    }
    world.emulator.lose_session(REALM, as_emulated(device(3))).expect("a realm");
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.emulator.set_clock_offset(TimeDelta::seconds(90));
    let service = world.serve().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // All devices lose their connections, and two the time.
    world.emulator.set_broker_down(true);
    for (number, offset) in [(2, TimeDelta::hours(-1)), (0, TimeDelta::zero())] {
        let set =
            world.emulator.set_device_clock_offset(REALM, as_emulated(device(number)), offset);
        set.expect("a device");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.emulator.set_broker_down(false);
    let progress = service.ended(PATIENCE).await;
    let targets = service.targets().await;
    world.emulator.clear_rules();
    let versions = world.versions().await;
    for (target, version) in targets.iter().zip(versions) {
        let is_updated = version.as_deref() == Some(NEW_VERSION);
        let is_successful = target.status == TargetStatus::Successful;
        if is_successful != is_updated {
            println!("{version:?} is shown by {target:?}\n{}", service.story(target.device).await);
        }
        // A request that was sent twice may be performed twice: what the first came to is final (D11),
        // and what the second did contradicts it (D22).
        let came_late =
            is_updated && target.status == TargetStatus::Failed && target.retry_count > 0;
        assert!(is_successful == is_updated || came_late, "seed {seed}: {target:?}");
    }
    let uses: BTreeMap<_, _> =
        Hook::ALL.iter().map(|hook| (*hook, world.emulator.uses(*hook))).collect();
    println!("seed {seed}: {:?}, {uses:?}", progress.targets);
    assert!(uses.values().all(|uses| *uses > 0), "{uses:?}");
    service.stop().await;
    (world, progress)
}

#[test]
fn no_hook_is_left_out() {
    assert_eq!(Hook::ALL, USED);
}

fn seeds() -> Vec<u64> {
    let only = from_environment("HEDGEROW_FAULT_SEED");
    match from_environment("HEDGEROW_FAULT_SEEDS") {
        Some(count) => (1..=count.into()).collect(),
        None => vec![only.unwrap_or(7).into()],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_and_a_restart_in_the_middle_change_how_long_it_takes_and_nothing_else() {
    for seed in seeds() {
        let began = Instant::now();
        let (world, progress) = through_everything(seed, DeviceProfile::flawless(), "0").await;
        assert_eq!(progress.targets.successful, 12, "seed {seed}: {progress:?}");
        println!("seed {seed}: {:.1?}", began.elapsed());
        world.end().await;
    }
}

/// Of the updates of these devices, half fail.
fn unreliable() -> DeviceProfile {
    let quickly = DeviceProfile {
        bad_image: 150,
        install_fails: 150,
        rolls_back: 200,
        ..DeviceProfile::flawless()
    };
    if std::env::var_os("HEDGEROW_FAULT_SEEDS").is_none() {
        return quickly;
    }
    // These are given up only after the stall time-out.
    DeviceProfile {
        power_loss_downloading: 50,
        power_loss_deploying: 50,
        download_stumbles: 200,
        network_loss: 200,
        ..quickly
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_fail_are_told_from_those_that_succeed_whatever_goes_wrong() {
    for seed in seeds() {
        let began = Instant::now();
        let (world, progress) = through_everything(seed, unreliable(), "100").await;
        let targets = progress.targets;
        assert_eq!(targets.successful + targets.failed, 12, "seed {seed}: {progress:?}");
        assert!(targets.successful > 0 && targets.failed > 0, "seed {seed}: {progress:?}");
        println!("seed {seed}: {:.1?}", began.elapsed());
        world.end().await;
    }
}
