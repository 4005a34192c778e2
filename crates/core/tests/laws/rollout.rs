//! The snapshot and its order: D1, D3, D4, D7.

use std::collections::BTreeSet;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::consent::Consents;
use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// D1: from the start on the targets are those of the snapshot, each once. D3: none is a success,
/// fewer than asked for a failure.
#[derive(Default)]
struct Snapshot {
    devices: Option<Vec<DeviceId>>,
}

impl Law for Snapshot {
    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::SnapshotExtended(_) => {
                assert_eq!(self.devices, None, "D1: the snapshot is complete");
            }
            CampaignEvent::CampaignStarted(started) => {
                let devices = seen.after.devices().to_vec();
                let distinct: BTreeSet<_> = devices.iter().collect();
                assert_eq!(distinct.len(), devices.len(), "D2: each once");
                assert_eq!(started.targets as usize, devices.len());
                assert_eq!(seen.after.started_at(), Some(seen.now));
                self.devices = Some(devices);
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        let Some(devices) = &self.devices else {
            let operations = seen.effects().iter().any(|effect| {
                matches!(
                    effect,
                    Effect::SendUpdate { .. }
                        | Effect::ReadBaseImage { .. }
                        | Effect::PrepareStart { .. }
                )
            });
            assert!(!operations, "D1: nothing begins before the snapshot is complete");
            return;
        };
        assert_eq!(seen.after.devices(), devices, "D1");
        let just_started = seen.before.started_at().is_none();
        let least = seen.after.definition().rollout.minimum_targets() as usize;
        if just_started && (devices.is_empty() || devices.len() < least) {
            let [
                ..,
                CampaignEvent::CampaignStarted(started),
                CampaignEvent::CampaignFinished(finished),
            ] = seen.events()
            else {
                panic!("D3: nothing to do, it finishes at once: {:?}", seen.events());
            };
            assert_eq!(started.targets as usize, devices.len(), "D3: the record says it");
            let missed = devices.len() < least;
            let expected = if missed { Outcome::Failure } else { Outcome::Success };
            assert_eq!(finished.outcome, expected, "D3");
            assert!(seen.effects().is_empty() && seen.after.is_settled(), "D3");
        }
    }
}

/// D4, by a scan of all targets.
#[derive(Default)]
struct Order {
    targets: Vec<Candidate>,
    consents: Consents,
    attempts: u32,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Candidate {
    device: DeviceId,
    /// 0: never attempted.
    attempt: u32,
    online: bool,
    busy: bool,
    reading: bool,
    /// That read is for the gates: it holds a place.
    gate: bool,
    /// The read for its gates failed without a record, in an outage: it waits some time (D10).
    resting: bool,
}

impl Order {
    fn find(&mut self, device: DeviceId) -> Option<&mut Candidate> {
        self.targets.iter_mut().find(|target| target.device == device)
    }

    /// The targets whose turn may come, in their order.
    fn ready(&self, campaign: &Campaign, now: Timestamp) -> Vec<DeviceId> {
        let may_come = |target: &&Candidate| {
            let view = campaign.target(target.device).unwrap();
            self.consents.admit(target.device)
                && target.online
                && !target.busy
                && !target.reading
                && !target.resting
                && view.status == TargetStatus::Idle
                && view.operation.is_none_or(|operation| !operation.is_reported())
                && view.not_before.is_none_or(|at| at < now)
        };
        let mut ready: Vec<_> = self.targets.iter().filter(may_come).collect();
        // Stable: equal ones stay in snapshot order.
        ready.sort_by_key(|target| target.attempt);
        ready.iter().map(|target| target.device).collect()
    }
}

impl Law for Order {
    fn begun(&mut self, campaign: &Campaign, _: &CampaignEvent) {
        self.consents.begun(campaign);
    }

    fn event(&mut self, seen: &Recorded<'_>) {
        self.consents.event(seen.event);
        match seen.event {
            CampaignEvent::SnapshotExtended(chunk) => {
                self.targets.extend(chunk.devices.iter().map(|device| Candidate {
                    device: *device,
                    attempt: 0,
                    online: false,
                    busy: false,
                    reading: false,
                    gate: false,
                    resting: false,
                }));
            }
            CampaignEvent::OperationStarted(_)
            | CampaignEvent::AttemptDeferred(_)
            | CampaignEvent::OperationDeferred(_)
            | CampaignEvent::OperationRefused(_)
            | CampaignEvent::ResendKeptBack(_) => {
                self.attempts += 1;
                let attempt = self.attempts;
                self.find(seen.event.device().unwrap()).unwrap().attempt = attempt;
            }
            // One that was kept back has its turn (D8).
            CampaignEvent::RequestResent(e)
                if seen.before.target(e.device).unwrap().status == TargetStatus::Idle =>
            {
                self.attempts += 1;
                let attempt = self.attempts;
                self.find(e.device).unwrap().attempt = attempt;
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        match seen.input {
            Input::Presence { device, presence } => {
                if let Some(target) = self.find(*device) {
                    target.online = matches!(presence, Presence::Online { .. });
                }
            }
            Input::DeviceRemoved { device } => {
                if let Some(target) = self.find(*device) {
                    target.online = false;
                }
            }
            Input::DeviceFact { device, fact: DeviceFact::Free } => {
                if let Some(target) = self.find(*device) {
                    target.busy = false;
                }
            }
            Input::BaseImageRead { device, purpose, answer, .. } => {
                let recorded = !seen.events().is_empty();
                if let Some(target) = self.find(*device) {
                    (target.reading, target.gate) = (false, false);
                    if *purpose == ReadPurpose::Gate {
                        target.busy = *answer == BaseImageAnswer::Held(DeviceFact::Busy);
                        let failed = matches!(answer, BaseImageAnswer::Failed(_));
                        target.resting = failed && !recorded;
                    }
                }
            }
            _ => {}
        }
        let mut ready = self.ready(seen.after, seen.now);
        for effect in seen.effects() {
            if let Effect::ReadBaseImage { device, purpose, .. } = effect
                && *purpose != ReadPurpose::Gate
            {
                self.find(*device).unwrap().reading = true;
                ready.retain(|other| other != device);
            }
        }
        for device in seen.turns() {
            let target = self.find(device).unwrap();
            assert!(target.online && !target.busy && !target.reading, "D4, D14: {device}");
            // One whose rest has just ended is not in the scan: nothing may come before it.
            let place = (target.attempt, seen.after.devices().iter().position(|d| *d == device));
            (target.reading, target.gate, target.resting) = (true, true, false);
            if let Some(first) = ready.first().copied() {
                let attempt = self.find(first).unwrap().attempt;
                let snapshot = seen.after.devices().iter().position(|d| *d == first);
                assert!(place <= (attempt, snapshot), "D4: {device} comes before {first}");
            }
            ready.retain(|other| *other != device);
        }
        // Nobody waits while a place is free: one that connects is considered at once.
        let held = self.targets.iter().filter(|target| target.gate).count();
        let running = seen.after.status() == CampaignStatus::InProgress && seen.recovered;
        let most = seen.after.limits().max_pending_operations.get() as usize;
        let taken = seen.after.counts().in_progress as usize + held;
        if running && taken < most && !seen.live.knows_of_outage() {
            assert!(ready.is_empty(), "D4: {ready:?} wait after {:?}", seen.input);
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        for target in &mut self.targets {
            (target.online, target.busy) = (false, false);
            (target.reading, target.gate, target.resting) = (false, false, false);
        }
    }
}

/// D7, from the events alone.
#[derive(Default)]
struct Bound {
    most: usize,
    in_progress: BTreeSet<DeviceId>,
}

impl Law for Bound {
    fn begun(&mut self, campaign: &Campaign, _: &CampaignEvent) {
        self.most = campaign.limits().max_pending_operations.get() as usize;
    }

    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::LimitsChanged(changed) => {
                self.most = changed.limits.max_pending_operations.get() as usize;
            }
            CampaignEvent::CampaignEdited(edited) => {
                let limits = edited.definition.rollout.limits();
                self.most = limits.max_pending_operations.get() as usize;
            }
            CampaignEvent::OperationStarted(_) | CampaignEvent::OperationReadmitted(_) => {
                assert!(self.in_progress.len() < self.most, "D7: {:?}", seen.event);
                assert!(self.in_progress.insert(seen.event.device().unwrap()), "D14");
            }
            // One whose resend was kept back has its turn (D8).
            CampaignEvent::RequestResent(e)
                if seen.before.target(e.device).unwrap().status == TargetStatus::Idle =>
            {
                assert!(self.in_progress.len() < self.most, "D7: {:?}", seen.event);
                assert!(self.in_progress.insert(e.device), "D14");
            }
            CampaignEvent::OperationDeferred(_)
            | CampaignEvent::OperationRefused(_)
            | CampaignEvent::ResendKeptBack(_)
            | CampaignEvent::OperationSucceeded(_)
            | CampaignEvent::OperationFailed(_) => {
                self.in_progress.remove(&seen.event.device().unwrap());
            }
            _ => {}
        }
        let counted = |status| seen.after.targets().filter(|t| t.status == status).count();
        let counts = seen.after.counts();
        assert_eq!(counts.in_progress as usize, self.in_progress.len(), "D7: {:?}", seen.event);
        for (status, count) in [
            (TargetStatus::Idle, counts.idle),
            (TargetStatus::InProgress, counts.in_progress),
            (TargetStatus::Successful, counts.successful),
            (TargetStatus::Failed, counts.failed),
            (TargetStatus::Cancelled, counts.cancelled),
        ] {
            assert_eq!(counted(status), count as usize, "D7: the count follows from the targets");
        }
        assert_eq!(counts.total as usize, seen.after.targets().count());
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d1_the_targets_are_fixed_when_the_campaign_starts(story in story(Mix::EVEN)) {
        play(&story, &mut Snapshot::default());
    }

    #[test]
    fn d3_an_empty_snapshot_or_one_below_the_minimum_finishes_at_once(story in story(Mix::EVEN)) {
        let mut story = story;
        story.setup.devices = 0;
        play_to_the_end(&story, &mut Snapshot::default());
    }

    #[test]
    fn d4_the_next_target_is_the_first_of_a_scan_of_all(
        story in story(Mix { online: 6, ..Mix::EVEN }),
    ) {
        play(&story, &mut Order::default());
    }

    #[test]
    fn d7_no_more_targets_are_in_progress_than_the_limit_at_any_event(
        story in story(Mix { edit: 2, answer: 14, ..Mix::EVEN }),
    ) {
        play_to_the_end(&story, &mut Bound::default());
    }
}
