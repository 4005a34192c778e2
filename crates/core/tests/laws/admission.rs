//! What targets wait for (P2): the answer to `why` is what really happens. It is asked of every target
//! after every input.

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::consent::Consents;
use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Reads, Recorded, Step, play};

#[derive(Default)]
struct WhatItWaitsFor {
    reads: Reads,
    consents: Consents,
}

impl Law for WhatItWaitsFor {
    fn begun(&mut self, campaign: &Campaign, _: &CampaignEvent) {
        self.consents.begun(campaign);
    }

    fn event(&mut self, seen: &Recorded<'_>) {
        self.consents.event(seen.event);
    }

    fn step(&mut self, seen: &Step<'_>) {
        self.reads.step(seen);
        let (now, live) = (seen.now, seen.live);
        let is_due = live.next_deadline().is_some_and(|deadline| deadline <= now);
        let counts = seen.after.counts();
        for target in seen.after.targets() {
            let device = target.device;
            let why = live.why(device, now).expect("it is a target");
            let by_the_log = seen.after.why(device, now).expect("it is a target");
            match why {
                // These the log tells whole: a question to the log alone has the same answer.
                Why::Settled { .. }
                | Why::InProgress { .. }
                | Why::Held(Hold {
                    reason: HoldReason::Scheduled | HoldReason::Paused | HoldReason::Ended,
                    ..
                }) => assert_eq!(by_the_log, why),
                _ => assert!(
                    matches!(by_the_log, Why::Held(_) | Why::Free),
                    "{device} waits, and by its log it is {by_the_log:?}"
                ),
            }
            match why {
                Why::Settled { settlement } => {
                    assert!(target.status.is_final());
                    assert_eq!(settlement, target.settlement);
                    continue;
                }
                Why::InProgress { phase } => {
                    assert_eq!(target.status, TargetStatus::InProgress);
                    assert_eq!(Some(phase), target.operation.map(|operation| operation.phase));
                    continue;
                }
                _ => assert_eq!(target.status, TargetStatus::Idle),
            }
            let Why::Held(hold) = why else {
                // It has had its turn, or has it when the time is looked at.
                assert!(why == Why::ReadingVersion || is_due, "D4: {device} is {why:?}");
                continue;
            };
            if let Some(until) = hold.until {
                assert!(until > now || is_due, "P2: {hold:?} has ended");
                let looked_at = live.next_deadline().is_some_and(|deadline| deadline <= until);
                assert!(looked_at, "P3: nobody looks again when {hold:?} ends");
            }
            let is_running = target.operation.as_ref().is_some_and(Operation::is_reported);
            let status = seen.after.status();
            let is_true = match hold.reason {
                HoldReason::Scheduled => status == CampaignStatus::Scheduled,
                HoldReason::SelectingTargets => {
                    matches!(status, CampaignStatus::Scheduled | CampaignStatus::Idle)
                }
                HoldReason::Recovering => !seen.recovered,
                HoldReason::Paused => {
                    matches!(status, CampaignStatus::Pausing | CampaignStatus::Paused)
                }
                HoldReason::Ended => {
                    matches!(status, CampaignStatus::Finished | CampaignStatus::Deleted)
                }
                HoldReason::ConsentAwaited | HoldReason::ConsentDeclined => {
                    !is_running && !self.consents.admit(device)
                }
                HoldReason::BackingOff => !is_running && self.consents.admit(device),
                // One whose device is at its update waits for a slot, and for nothing else (D10).
                HoldReason::Offline => !is_running && !live.is_online(device),
                HoldReason::TransportDown => !is_running && live.knows_of_outage(),
                // Targets whose version is being read hold places beside those in progress.
                HoldReason::NoSlot => {
                    let devices = seen.after.devices().iter();
                    let reads = devices.filter(|device| self.reads.is_under_way(**device));
                    let places = counts.in_progress as usize + reads.count();
                    places >= seen.after.limits().max_pending_operations.get() as usize
                }
                _ => live.is_online(device),
            };
            assert!(is_true, "P2: {device} is said to wait for {hold:?}");
        }
        let nobody = DeviceId::from_bytes([0xee; 16]);
        assert_eq!(live.why(nobody, now), None, "it is no target");
        assert_eq!(seen.after.why(nobody, now), None, "it is no target");
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.reads.clear();
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p2_what_a_target_is_said_to_wait_for_is_so_and_nobody_who_is_free_waits(
        story in story(Mix::EVEN),
    ) {
        play(&story, &mut WhatItWaitsFor::default());
    }
}
