//! What no input of today can bring about, and a rule of tomorrow may: a hold that begins by the clock,
//! and one that an edit takes away.

use std::time::Duration;

use super::*;
use crate::answer::{BaseImageAnswer, ReadPurpose};
use crate::definition::CampaignDefinition;
use crate::effect::Effect;
use crate::event::{CampaignEvent, CampaignStarted, SnapshotExtended};
use crate::id::CampaignId;
use crate::input::{Command, Input, Presence};
use crate::rollout::DeviceFact;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

const DEFINITION: &[u8] = br#"{
    "name": "spring",
    "base_image": {
        "system_model": "gateway",
        "version": "2.0.0",
        "url": "https://images.example/2.0.0.bin",
        "starting_version_requirement": null
    },
    "channel": {"name": "stable", "groups": ["gardens"]},
    "rollout": {"push": {
        "limits": {
            "max_pending_operations": 1,
            "max_failure_percentage": "50",
            "operation": {
                "request_retries": 3,
                "request_timeout_ms": 300000,
                "stall_timeout_ms": null,
                "reboot_timeout_ms": 600000,
                "progress_interval_ms": 60000
            }
        },
        "gates": {"force_downgrade": false}
    }}
}"#;

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

/// One with three targets that are online and queued, of which one at a time may be in progress. It
/// was loaded, and waits for [`Input::Recovered`].
fn campaign() -> LiveCampaign {
    let definition = CampaignDefinition::from_json(DEFINITION).unwrap();
    let created = Campaign::create(definition, None, NOW).unwrap();
    let id = CampaignId::from_uuid(uuid::Uuid::from_u128(1));
    let mut campaign = Campaign::begin("acme".parse().unwrap(), id, &created, NOW).unwrap();
    let devices = (1..=3).map(device).collect();
    let events: [CampaignEvent; 2] =
        [SnapshotExtended { devices }.into(), CampaignStarted { targets: 3 }.into()];
    for event in events {
        campaign.apply(&event, NOW).unwrap();
    }
    let mut live = LiveCampaign::loaded(campaign);
    for number in 1..=3 {
        let presence = Presence::Online { since: NOW };
        live.handle(Input::Presence { device: device(number), presence }, NOW).unwrap();
    }
    live
}

fn reads(effects: &[Effect]) -> Vec<DeviceId> {
    let read = |effect: &Effect| match effect {
        Effect::ReadBaseImage { device, purpose: ReadPurpose::Gate, .. } => Some(*device),
        _ => None,
    };
    effects.iter().filter_map(read).collect()
}

#[test]
fn a_target_that_a_hold_reaches_while_it_waits_for_its_turn_is_passed_over_until_that_ends() {
    let mut live = campaign();
    let until = NOW + Duration::from_secs(60);
    // Nobody tells the campaign: these holds have begun by themselves.
    live.observations.watch(0).work.timers.set(Timer::BackOff, until);
    live.observations.learn(1, DeviceFact::Busy);
    assert_eq!(live.schedule.first_ready(), Some(0), "it waits for its turn");

    let decision = live.handle(Input::Recovered, NOW).unwrap();
    assert_eq!(reads(&decision.effects), [device(3)], "the one that nothing holds");
    assert_eq!(live.next_deadline(), Some(until), "when the first hold ends");
    let [Effect::ReadBaseImage { device: read, purpose, question }] = decision.effects[..] else {
        panic!("one read")
    };
    let answer = BaseImageAnswer::Version(Some("2.0.0".to_owned()));
    let input = Input::BaseImageRead { device: read, purpose, question, answer };
    let decision = live.handle(input, NOW).unwrap();
    assert_eq!(reads(&decision.effects), [], "the others are held");
    let decision = live.handle(Input::Tick, until).unwrap();
    assert_eq!(reads(&decision.effects), [device(1)], "its hold has ended by the clock");
}

#[test]
fn d19_a_target_whose_hold_is_gone_with_an_edit_has_its_turn_at_once() {
    let mut live = campaign();
    let input = |fact| Input::DeviceFact { device: device(1), fact };
    live.handle(input(DeviceFact::Busy), NOW).unwrap();
    // Nobody tells the campaign: the hold ends as the limits change.
    live.observations.learn(0, DeviceFact::Free);
    assert_eq!(live.schedule.first_ready(), Some(1));
    let edit = Command::Edit(Box::default());
    live.handle(Input::Command(edit), NOW).unwrap();
    assert_eq!(live.schedule.first_ready(), Some(0));
}
