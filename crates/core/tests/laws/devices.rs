//! One operation for each device, and devices that are removed: D14, D15.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, OperationFailure};
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Act, How, Mix, Of, Setup, Story, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// D14, from the events, the claims and the turns.
#[derive(Default)]
struct OneOperation {
    active: BTreeMap<DeviceId, OperationId>,
    claimed: BTreeMap<DeviceId, OperationId>,
    /// All that a device ever had.
    former: BTreeMap<DeviceId, BTreeSet<OperationId>>,
    calls: BTreeMap<OperationId, u32>,
    refusals: BTreeMap<DeviceId, u16>,
    busy: BTreeSet<DeviceId>,
    rollout_is_ours: bool,
}

impl OneOperation {
    fn call(&mut self, device: DeviceId) {
        *self.calls.entry(self.active[&device]).or_default() += 1;
    }
}

impl Law for OneOperation {
    fn event(&mut self, seen: &Recorded<'_>) {
        let retries = seen.before.limits().operation.request_retries;
        match seen.event {
            CampaignEvent::OperationStarted(e) => {
                let other = self.active.insert(e.device, e.operation);
                assert!(other.is_none_or(|other| other == e.operation), "D14: {e:?}");
                let is_new = self.former.entry(e.device).or_default().insert(e.operation);
                assert!(is_new || other.is_some(), "D14: an operation that ended never comes back");
                self.call(e.device);
            }
            CampaignEvent::RequestResent(e) => self.call(e.device),
            CampaignEvent::RequestReissued(e) => self.call(e.device),
            CampaignEvent::OperationRefused(e) => {
                let operation = self.active.remove(&e.device).unwrap();
                assert_eq!(self.calls[&operation], 1, "D14: to the only request ever sent");
                let refusals = self.refusals.entry(e.device).or_default();
                assert!(*refusals < retries, "D14: at most request_retries times");
                *refusals += 1;
                let longest = (60 << (*refusals - 1).min(10)).min(600);
                let longest = Duration::from_secs(longest);
                let delay = e.not_before.since(seen.now);
                assert!(delay <= longest && delay >= longest * 3 / 4, "D14: {delay:?}");
            }
            CampaignEvent::OperationFailed(e) => {
                let operation = self.active.remove(&e.device).unwrap();
                if e.reason == OperationFailure::UpdateAlreadyInProgress {
                    assert_eq!(self.calls[&operation], 1, "D11: sent again, it means running");
                    let refusals = self.refusals.get(&e.device).copied().unwrap_or_default();
                    assert!(refusals >= retries, "D14: not before request_retries refusals");
                }
            }
            CampaignEvent::OperationSucceeded(e) => {
                self.active.remove(&e.device).unwrap();
            }
            // An operation whose request failed is idle, and ends with its target (D10).
            CampaignEvent::TargetUpToDate(_) | CampaignEvent::TargetFailed(_) => {
                self.active.remove(&seen.event.device().unwrap());
            }
            // With the campaign's outcome everything ends that is not in progress.
            CampaignEvent::OperationDeferred(_) | CampaignEvent::CampaignFinished(_) => {
                let goes_on = seen.after.outcome().is_none();
                let is_open = |device: &DeviceId| {
                    let target = seen.after.target(*device).unwrap();
                    goes_on || target.status == TargetStatus::InProgress
                };
                self.active.retain(|device, _| is_open(device));
            }
            _ => {}
        }
        let active: BTreeMap<_, _> = seen.after.active_operations().collect();
        assert_eq!(active, self.active, "D14: {:?}", seen.event);
    }

    fn step(&mut self, seen: &Step<'_>) {
        for claim in seen.decided.iter().flat_map(|decision| &decision.claims) {
            match *claim {
                ClaimChange::TakeDevice(device, operation) => {
                    let other = self.claimed.insert(device, operation);
                    assert!(other.is_none_or(|other| other == operation), "D14: {claim:?}");
                }
                ClaimChange::ReleaseDevice(device) => {
                    assert!(self.claimed.remove(&device).is_some(), "D14: {claim:?}");
                }
                ClaimChange::TakeRollout => {
                    assert!(!self.rollout_is_ours, "D18");
                    self.rollout_is_ours = true;
                }
                ClaimChange::ReleaseRollout => {
                    assert!(self.rollout_is_ours, "D18");
                    self.rollout_is_ours = false;
                }
            }
        }
        assert_eq!(self.claimed, self.active, "D14: claimed exactly while it is active");
        assert_eq!(self.rollout_is_ours, seen.after.status().is_running(), "D18");
        match seen.input {
            Input::BaseImageRead {
                device,
                purpose: ReadPurpose::Gate,
                answer: BaseImageAnswer::Held(DeviceFact::Busy),
                ..
            } => {
                let moves = |event: &CampaignEvent| {
                    event.device() == Some(*device)
                        && !matches!(event, CampaignEvent::OperationReadmitted(_))
                };
                let waits = !seen.events().iter().any(moves);
                assert!(waits, "D14: a target whose device is busy waits");
                self.busy.insert(*device);
            }
            Input::DeviceFact { device, fact: DeviceFact::Free } => drop(self.busy.remove(device)),
            Input::Report(report) => self.reported(seen, report),
            _ => {}
        }
        for device in seen.turns() {
            assert!(!self.busy.contains(&device), "D14: {device} is busy");
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.busy.clear();
    }
}

impl OneOperation {
    /// What the device means by "update already in progress".
    fn reported(&self, seen: &Step<'_>, report: &OperationReport) {
        let busy = report.status == ReportStatus::Failure
            && report.code == Some(StatusCode::UpdateAlreadyInProgress);
        let before = seen.before.target(report.device).and_then(|target| target.operation);
        let Some(operation) = before.filter(|o| busy && o.id == report.operation) else { return };
        let after = seen.after.target(report.device).unwrap();
        if self.calls[&operation.id] > 1 {
            let running = after.operation.expect("D11: it runs on");
            assert!(running.is_reported() && running.id == operation.id, "D11");
        } else {
            let (CampaignEvent::OperationRefused(_) | CampaignEvent::OperationFailed(_)) =
                &seen.events()[0]
            else {
                panic!("D14: the operation has failed: {:?}", seen.events());
            };
            assert_eq!(after.operation, None, "D14");
        }
    }
}

/// D15.
struct Removal;

impl Law for Removal {
    fn step(&mut self, seen: &Step<'_>) {
        let Input::DeviceRemoved { device } = seen.input else { return };
        let Some(before) = seen.before.target(*device) else { return };
        let after = seen.after.target(*device).unwrap();
        let is_over = seen.before.status() == CampaignStatus::Finished;
        if before.status.is_final() || is_over && before.operation.is_none() {
            assert_eq!(after, before, "D15: nothing was open");
            return;
        }
        let reason = Settlement::Failed(FailureReason::DeviceRemoved);
        assert_eq!((after.status, after.settlement), (TargetStatus::Failed, reason), "D15");
        assert_eq!(after.operation, None, "D15: its operation ends with it");
    }
}

#[test]
fn d15_a_device_removed_before_the_snapshot_is_complete_does_not_keep_the_campaign_open() {
    let acts = vec![Act::Answer { which: 0, how: How::Halfway }, Act::Remove { device: 0 }];
    play_to_the_end(&Story { setup: Setup::plain(2), acts }, &mut Removal);
}

#[test]
fn d14_a_device_that_turns_a_request_away_while_its_version_is_read_waits_all_the_same() {
    let answer = |how| Act::Answer { which: 0, how };
    let acts = vec![
        answer(How::Well),
        answer(How::Well),
        answer(How::Temporary), // the request may have arrived all the same
        Act::Pass { seconds: 7 },
        Act::Report {
            device: 0,
            of: Of::Newest,
            status: ReportStatus::Failure,
            code: "UpdateAlreadyInProgress",
            progress: 0,
            stamp: None,
        },
        answer(How::Well),
    ];
    let mut laws: Vec<Box<dyn Law>> = vec![Box::<OneOperation>::default(), Box::new(Patience)];
    play(&Story { setup: Setup::plain(1), acts }, &mut laws);
}

/// D10, D14: nothing starts before its delay has passed.
struct Patience;

impl Law for Patience {
    fn event(&mut self, seen: &Recorded<'_>) {
        if let CampaignEvent::OperationStarted(e) = seen.event {
            let not_before = seen.before.target(e.device).unwrap().not_before;
            assert!(not_before.is_none_or(|at| at <= seen.now), "{} starts too early", e.device);
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d14_a_device_has_one_operation_at_a_time(
        story in story(Mix { faults: 4, report: 9, ..Mix::EVEN }),
    ) {
        play(&story, &mut OneOperation::default());
    }

    #[test]
    fn d15_a_removed_device_fails_its_target_and_frees_its_slot(
        story in story(Mix { removed: 3, ..Mix::EVEN }),
    ) {
        play(&story, &mut Removal);
    }
}
