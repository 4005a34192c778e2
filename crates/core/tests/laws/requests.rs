//! Requests, their resends and time-outs, and what the transport says to them: D8, D9, D10.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, OperationFailure};
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Mix, story};
use crate::support::{cases, interval};
use crate::world::{Law, Read, Reads, Recorded, Step, play};

/// What the laws about time-outs know of an operation that has not ended.
struct Known {
    id: OperationId,
    /// When something is due if nothing happens.
    due: Option<Timestamp>,
    /// Its resend waits for its device (D8).
    kept_back: bool,
    resends: u16,
    reported: Option<LastReport>,
}

struct LastReport {
    at: Timestamp,
    phase: Phase,
}

/// D8 and D9: count and spacing of attempts, the stall, the throttle of progress.
#[derive(Default)]
struct TimeOuts {
    known: BTreeMap<DeviceId, Known>,
    urls: BTreeMap<OperationId, ImageUrl>,
    reads: Reads,
    /// Calls that were recorded in this step.
    calls: BTreeSet<(DeviceId, OperationId)>,
    /// Operations that may be sent once more, as the engine died or the device was away.
    owed: BTreeSet<OperationId>,
    /// Until when nothing is decided about such an operation, as its device cannot be read.
    rests: BTreeMap<DeviceId, Timestamp>,
    stopped: bool,
}

impl TimeOuts {
    fn is_deadline_read(input: &Input) -> bool {
        matches!(input, Input::BaseImageRead { purpose: ReadPurpose::Deadline, .. })
    }

    fn started(&mut self, device: DeviceId, id: OperationId, due: Timestamp) {
        let known = self.known.entry(device).or_insert(Known {
            id,
            due: None,
            kept_back: false,
            resends: 0,
            reported: None,
        });
        assert_eq!(known.id, id, "D8: the same UUID as long as it has not ended");
        assert_eq!(known.resends, 0);
        known.due = Some(due);
        self.calls.insert((device, id));
    }

    fn resent(&mut self, seen: &Recorded<'_>, device: DeviceId) {
        let limits = &seen.before.limits().operation;
        let known = self.known.get_mut(&device).unwrap();
        if let Some(last) = &known.reported {
            // D24: the device came back, and has said nothing for as long.
            let purpose = |purpose| matches!(seen.input, Input::BaseImageRead { purpose: p, .. } if *p == purpose);
            assert!(purpose(ReadPurpose::Forgotten), "D8: any report stops the resending");
            assert!(seen.now.since(last.at) >= limits.request_timeout, "D24");
            let forgets = [Phase::Rebooting, Phase::Error];
            assert!(!forgets.contains(&last.phase), "D24: after {:?}", last.phase);
            assert!(known.resends < limits.request_retries, "D24: it uses up a retry");
            assert!(!self.stopped, "D17: never sent again once a Cancel is recorded");
            known.resends += 1;
            return;
        }
        if std::mem::take(&mut known.kept_back) {
            let target = seen.before.target(device).unwrap();
            assert_eq!(target.status, TargetStatus::Idle, "D8");
            assert!(known.resends < limits.request_retries, "D8: it uses up a retry");
            known.resends += 1;
            known.due = Some(seen.now + limits.request_timeout);
            return;
        }
        assert!(known.due.is_some_and(|due| due <= seen.now), "D8: not before its time");
        assert!(known.resends < limits.request_retries, "D8: at most request_retries times");
        assert!(Self::is_deadline_read(seen.input), "D8: the device is looked at first");
        assert!(!self.stopped, "D17: never sent again once a Cancel is recorded");
        known.resends += 1;
        known.due = Some(seen.now + limits.request_timeout);
    }
}

impl Law for TimeOuts {
    fn event(&mut self, seen: &Recorded<'_>) {
        let limits = &seen.before.limits().operation;
        let Some(device) = seen.event.device() else {
            if let CampaignEvent::CampaignFinished(e) = seen.event {
                self.stopped = e.stop_operations;
                self.known.retain(|device, _| {
                    seen.after.target(*device).unwrap().status == TargetStatus::InProgress
                });
            }
            return;
        };
        match seen.event {
            CampaignEvent::OperationStarted(e) => {
                self.started(device, e.operation, seen.now + limits.request_timeout);
            }
            CampaignEvent::RequestResent(_) => {
                self.resent(seen, device);
                self.calls.insert((device, self.known[&device].id));
            }
            CampaignEvent::ResendMissed(_) => {
                assert!(seen.before.outcome().is_some(), "D8: it has a next turn");
                let accepted = seen.before.target(device).unwrap().operation.unwrap().accepted;
                self.resent(seen, device);
                // It counts; of one that nobody is known to have taken the call has yet to leave.
                if !accepted {
                    self.owed.insert(self.known[&device].id);
                }
            }
            CampaignEvent::ResendKeptBack(_) => {
                assert!(seen.before.outcome().is_none(), "D8: it has no next turn");
                let known = self.known.get_mut(&device).unwrap();
                assert!(known.reported.is_none(), "D8");
                assert!(known.due.is_some_and(|due| due <= seen.now), "D8: before its time");
                assert!(known.resends < limits.request_retries, "D8: none is left");
                assert!(Self::is_deadline_read(seen.input), "D8: the device is looked at first");
                (known.due, known.kept_back) = (None, true);
                let target = seen.after.target(device).unwrap();
                assert_eq!(target.status, TargetStatus::Idle, "D8: its slot is free");
                assert_eq!(target.not_before, None, "D8: without a delay");
                // What leaves next is that resend.
                self.owed.remove(&known.id);
            }
            CampaignEvent::RequestReissued(_) => {
                let known = self.known.get_mut(&device).unwrap();
                let asked_again =
                    seen.before.target(device).unwrap().operation.unwrap().asked_again;
                assert!(known.reported.is_none() || asked_again, "D8, D24");
                assert!(
                    self.owed.remove(&known.id),
                    "E4: once, after a restart or a missed resend"
                );
                if known.reported.is_none() {
                    known.due = Some(seen.now + limits.request_timeout);
                }
                self.calls.insert((device, known.id));
            }
            CampaignEvent::OperationDeferred(_) => {
                self.known.get_mut(&device).unwrap().due = None;
            }
            CampaignEvent::OperationReported(e) => {
                let known = self.known.get_mut(&device).unwrap();
                if let Some(last) = known.reported.as_ref().filter(|last| last.phase == e.phase) {
                    let since = seen.now.since(last.at);
                    assert!(since >= interval(limits), "D9: progress after {since:?}");
                    let Input::Report(report) = seen.input else { panic!("nobody reported") };
                    assert!(!report.from_storage, "D9: fetched later, it is no sign of life");
                }
                known.kept_back = false;
                known.reported = Some(LastReport { at: seen.now, phase: e.phase });
                known.due = limits.stall_timeout.map(|stall| seen.now + stall);
            }
            CampaignEvent::OperationFailed(e) => {
                let known = self.known.remove(&device).unwrap();
                let passed = known.due.is_some_and(|due| due <= seen.now);
                match e.reason {
                    OperationFailure::RequestTimeout => {
                        assert!(known.reported.is_none() && (passed || known.kept_back), "D8");
                        let used_up = known.resends >= limits.request_retries;
                        assert!(used_up || self.stopped, "D8: a resend was left");
                        let turn = known.kept_back;
                        assert!(turn || Self::is_deadline_read(seen.input), "D8: looked at first");
                    }
                    OperationFailure::Stalled => {
                        assert!(known.reported.is_some() && passed, "D9");
                        assert!(Self::is_deadline_read(seen.input), "D9: looked at first");
                    }
                    _ => {}
                }
            }
            CampaignEvent::OperationSucceeded(_) | CampaignEvent::OperationRefused(_) => {
                self.known.remove(&device);
            }
            _ => {}
        }
        let after = seen.after.target(device).unwrap();
        let known = self.known.get(&device).filter(|_| after.operation.is_some());
        let due = after.operation.and_then(|operation| operation.deadline);
        assert_eq!(due, known.and_then(|known| known.due), "D8, D9: {:?}", seen.event);
        if let Some(known) = known {
            assert_eq!(after.retry_count, known.resends, "D8");
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        // A call leaves exactly when it was recorded.
        let mut sent = BTreeSet::new();
        for (device, operation, to) in seen.sent() {
            let url = self.urls.entry(operation).or_insert_with(|| to.clone());
            assert_eq!(to, url, "D8: the URL stays the same");
            assert!(sent.insert((device, operation)), "D8: one call at a time");
        }
        assert_eq!(sent, std::mem::take(&mut self.calls), "D8, E4: {:?}", seen.input);

        let is_due = |known: &Known| known.due.is_some_and(|due| due <= seen.now);
        for effect in seen.effects() {
            if let Effect::ReadBaseImage { device, purpose: ReadPurpose::Deadline, .. } = effect {
                assert!(is_due(&self.known[device]), "D8, D9: {device} is read too early");
            }
        }
        let read = self.reads.step(seen);
        if let Some(Read { device, purpose: ReadPurpose::Deadline, .. }) = read
            && let Some(known) = self.known.get(&device)
        {
            let answer = match seen.input {
                Input::BaseImageRead { answer, .. } => Some(answer),
                _ => None,
            };
            let failed = !matches!(answer, Some(BaseImageAnswer::Version(_)));
            let owed = failed && self.owed.contains(&known.id);
            if is_due(known) && owed {
                self.rests.insert(device, seen.now + SETTLING);
            } else {
                assert!(!is_due(known), "D8, D9: nothing was decided at the deadline of {device}");
            }
        }
        if *seen.input == Input::Tick && seen.recovered {
            for (device, known) in &self.known {
                let rests = self.rests.get(device).is_some_and(|until| *until > seen.now);
                let in_time = !is_due(known) || rests || self.reads.is_under_way(*device);
                assert!(in_time, "D8, D9: the deadline of {device} was missed");
            }
        }
        for (device, _) in sent {
            self.owed
                .remove(&self.known.get(&device).map_or_else(|| panic!("E4"), |known| known.id));
        }
    }

    fn restarted(&mut self, state: &Campaign, _: Timestamp) {
        self.reads.clear();
        self.rests.clear();
        let unanswered = state.targets().filter_map(|target| target.operation);
        let unanswered = unanswered.filter(|o| o.delivery == Delivery::Unanswered);
        self.owed = unanswered.map(|operation| operation.id).collect();
    }
}

/// D10.
#[derive(Default)]
struct Transport {
    /// Failures in a row of each device, and how long each wait was.
    in_a_row: BTreeMap<DeviceId, i32>,
    /// When the transport failed last.
    failed_at: Option<Timestamp>,
}

impl Transport {
    /// The delay grows from 5 s to 240 s, each a quarter less or more.
    fn waits(&mut self, device: DeviceId, now: Timestamp, not_before: Timestamp) {
        let failures = self.in_a_row.entry(device).or_default();
        let nominal =
            Duration::from_secs((5 * 2_u64.pow((*failures).min(10).cast_unsigned())).min(240));
        let delay = not_before.since(now);
        assert!(delay >= nominal * 3 / 4 && delay <= nominal * 5 / 4, "D10: {delay:?}, {failures}");
        *failures += 1;
    }
}

impl Law for Transport {
    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::AttemptDeferred(e) => self.waits(e.device, seen.now, e.not_before),
            // Its own delay is D14's; it counts here all the same.
            CampaignEvent::OperationRefused(e) => {
                *self.in_a_row.entry(e.device).or_default() += 1;
            }
            CampaignEvent::OperationDeferred(e) => {
                self.waits(e.device, seen.now, e.not_before);
                let is_over = seen.after.outcome().is_some();
                let cancels =
                    matches!(seen.after.outcome(), Some(Outcome::Cancelled | Outcome::Superseded));
                let expected = if cancels { TargetStatus::Cancelled } else { TargetStatus::Idle };
                let target = seen.after.target(e.device).unwrap();
                assert_eq!(target.status, expected, "D10: it goes back to idle");
                assert_eq!(target.operation.is_some(), !is_over, "D10: UUID and URL are kept");
            }
            CampaignEvent::OperationReported(e) => {
                self.in_a_row.remove(&e.device);
            }
            CampaignEvent::OperationStarted(e) => {
                let not_before = seen.before.target(e.device).unwrap().not_before;
                assert!(not_before.is_none_or(|at| at <= seen.now), "D10: too early");
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        match seen.input {
            Input::RequestAnswered { device, operation, answer, .. } => {
                let before = seen.before.target(*device).and_then(|target| target.operation);
                let before = before.filter(|before| before.id == *operation);
                Self::request_answered(seen, *device, before, answer);
            }
            Input::BaseImageRead { answer: BaseImageAnswer::Failed(_), purpose, .. } => {
                let failed = (seen.before.counts().failed, seen.after.counts().failed);
                if *purpose == ReadPurpose::Gate {
                    assert_eq!(failed.0, failed.1, "D10: an outage fails nothing");
                    let deferred =
                        |event: &CampaignEvent| matches!(event, CampaignEvent::AttemptDeferred(_));
                    let quiet = !seen.events().iter().any(deferred) || !seen.knew_of_outage;
                    assert!(quiet, "D10: in an outage nothing is recorded per target");
                }
            }
            _ => {}
        }
        let failed = match seen.input {
            Input::RequestAnswered { answer: RequestAnswer::Temporary(_), .. } => true,
            Input::BaseImageRead { device, purpose: ReadPurpose::Gate, answer, .. } => {
                let is_open = !seen.before.target(*device).unwrap().status.is_final();
                is_open && matches!(answer, BaseImageAnswer::Failed(_))
            }
            _ => false,
        };
        if seen.knew_of_outage && seen.live.knows_of_outage() {
            let turns = seen.turns().count();
            assert!(turns <= 1, "D10: one target at a time tries a transport that is down");
            let pause = self.failed_at.map(|at| seen.now.since(at));
            let paused = pause.is_none_or(|pause| pause >= Duration::from_secs(5) && !failed);
            assert!(turns == 0 || paused, "D10: {pause:?} after a failure");
        }
        if failed {
            self.failed_at = Some(seen.now);
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.failed_at = None;
    }
}

impl Transport {
    fn request_answered(
        seen: &Step<'_>,
        device: DeviceId,
        before: Option<Operation>,
        answer: &RequestAnswer,
    ) {
        let Some(before) = before.filter(|before| before.delivery == Delivery::Unanswered) else {
            assert_eq!(seen.events(), [], "an answer to nothing");
            return;
        };
        let first = &seen.events()[0];
        let failed_for_good = seen.events().iter().any(|event| match event {
            CampaignEvent::OperationFailed(e) => {
                assert!(matches!(e.reason, OperationFailure::RequestRejected { .. }), "D10: {e:?}");
                e.device == device
            }
            _ => false,
        });
        // The only call, or every earlier one failed; after a restart that is not known.
        let is_only = before.resends == 0 && !before.is_reported();
        let is_first = is_only && !before.reissued;
        let not_cancelled = before.cancellation == Cancellation::NotWanted;
        let is_deferred = matches!(answer, RequestAnswer::Temporary(_))
            && (is_first || is_only && not_cancelled)
            && !before.kept_back;
        match answer {
            RequestAnswer::Accepted => {
                assert!(matches!(first, CampaignEvent::RequestAccepted(_)), "D10");
            }
            RequestAnswer::Temporary(_) => {
                assert!(!failed_for_good, "D10: an outage fails nothing");
                assert_eq!(
                    matches!(first, CampaignEvent::OperationDeferred(_)),
                    is_deferred,
                    "D10"
                );
            }
            RequestAnswer::Permanent(_) => assert_eq!(failed_for_good, is_first, "D10"),
        }
        if !is_first && !is_deferred {
            let target = seen.after.target(device).unwrap();
            assert!(target.operation.is_some(), "D10: an error on a resend leaves it pending");
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d8_a_request_is_sent_again_in_time_and_not_too_often(
        story in story(Mix { report: 2, pass: 8, answer: 14, ..Mix::EVEN }),
    ) {
        play(&story, &mut TimeOuts::default());
    }

    #[test]
    fn d9_silence_after_the_first_report_fails_the_operation(
        story in story(Mix { report: 12, pass: 8, answer: 12, ..Mix::UNDISTURBED }),
    ) {
        play(&story, &mut TimeOuts::default());
    }

    #[test]
    fn e4_what_may_not_have_left_before_a_crash_leaves_once_more_and_is_recorded_first(
        story in story(Mix { crash: 4, report: 2, answer: 14, pass: 7, ..Mix::EVEN }),
    ) {
        play(&story, &mut TimeOuts::default());
    }

    #[test]
    fn d10_a_transport_that_is_down_fails_nothing(
        story in story(Mix { faults: 6, answer: 14, ..Mix::EVEN }),
    ) {
        play(&story, &mut Transport::default());
    }
}
