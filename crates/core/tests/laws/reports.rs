//! What devices report, and what they show: D11, D12.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, Confirmation, OperationFailure};
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Act, How, Mix, Of, Setup, Story, rebooting, story};
use crate::support::cases;
use crate::world::{Law, Read, Reads, Recorded, Step, play, version_in};

/// How far an operation is: forward only.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Acknowledged => 1,
        Phase::Downloading => 2,
        Phase::Deploying => 3,
        Phase::Deployed => 4,
        Phase::Rebooting => 5,
        Phase::Error => 6,
        Phase::Success | Phase::Failure => 7,
    }
}

/// Whether a phase comes after another: an error can come at any time, and from it the device may
/// go on, from downloading again.
pub(crate) fn is_after(next: Phase, before: Phase) -> bool {
    if before == Phase::Error {
        rank(next) >= 2 && next != Phase::Error
    } else {
        rank(next) > rank(before)
    }
}

/// D11.
#[derive(Default)]
struct Forward {
    phases: BTreeMap<DeviceId, (OperationId, Phase)>,
    /// The newest stamps recorded, and heard, in the present phase of each device's operation.
    newest_stamp: BTreeMap<DeviceId, Timestamp>,
    heard_stamp: BTreeMap<DeviceId, Timestamp>,
    /// Everything with a stamp that was said in that phase since a restart.
    said: BTreeSet<(DeviceId, u8, Timestamp)>,
    /// What may be late: every operation that a device ever had or may have been asked for.
    refusals: BTreeMap<DeviceId, u16>,
    late: HashSet<(DeviceId, ReportStatus)>,
}

impl Forward {
    fn is_known(&self, seen: &Step<'_>, report: &OperationReport) -> bool {
        let started = seen.before.started_at().is_some();
        let refusals = self.refusals.get(&report.device).copied().unwrap_or_default();
        let id = |n| OperationId::of_campaign(seen.before.id(), report.device, n);
        started
            && seen.before.target(report.device).is_some()
            && (0..=refusals).any(|n| id(n) == report.operation)
    }

    /// A report of an operation that has not ended.
    fn of_active(&self, seen: &Step<'_>, report: &OperationReport, before: &Operation) {
        let after = seen.after.target(report.device).unwrap();
        let busy = report.code == Some(StatusCode::UpdateAlreadyInProgress);
        match report.status {
            ReportStatus::Success => {
                let settlement = (after.status, after.settlement);
                assert_eq!(settlement, (TargetStatus::Successful, Settlement::Reported), "D11");
            }
            ReportStatus::Failure if !busy => {
                let Some(CampaignEvent::OperationFailed(failed)) = seen.events().first() else {
                    panic!("D11: a failure is final: {:?}", seen.events());
                };
                let OperationFailure::Reported { code, .. } = &failed.reason else {
                    panic!("D12: the record says that it was reported: {failed:?}");
                };
                assert_eq!(code, &report.code, "D11: an unknown code is kept");
                assert_eq!(after.status, TargetStatus::Failed, "D11");
            }
            // Every call for it, and what it means, is the business of D14.
            ReportStatus::Failure => {}
            _ => {
                let newest = self.newest_stamp.get(&report.device);
                let newest = newest.max(self.heard_stamp.get(&report.device));
                let stale = report.observed_at.zip(newest).is_some_and(|(s, newest)| s < *newest);
                let next = report.status.phase();
                let said = |stamp| (report.device, report.progress.min(100), stamp);
                let repeated = report.observed_at.is_some_and(|s| self.said.contains(&said(s)));
                if repeated && next == before.phase {
                    assert_eq!(seen.events(), [], "D11: a duplicate of what was said before");
                }
                let phases_decide =
                    ![next, before.phase].contains(&Phase::Error) && next != before.phase;
                if stale && !phases_decide {
                    assert_eq!(
                        seen.events(),
                        [],
                        "D11: stamped before the newest seen in its phase"
                    );
                } else if is_after(next, before.phase) {
                    let phase = after.operation.as_ref().map(|operation| operation.phase);
                    assert_eq!(phase, Some(next), "D11: it moves forward");
                } else if next != before.phase {
                    assert_eq!(seen.events(), [], "D11: a step backwards changes nothing");
                }
            }
        }
        // The same once more changes nothing, or is late.
        let mut again = seen.live.clone();
        let decision = again.handle(seen.input.clone(), seen.now).expect("it is known");
        assert_eq!(again.campaign().counts(), seen.after.counts(), "D11: a duplicate");
        let active = after.operation.is_some_and(|operation| operation.id == before.id);
        assert!(!active || decision.events.is_empty(), "D11: a duplicate: {:?}", decision.events);
    }

    /// A phase of a device's operation begins.
    fn begins(&mut self, device: DeviceId) {
        self.newest_stamp.remove(&device);
        self.heard_stamp.remove(&device);
        self.said.retain(|(who, ..)| *who != device);
    }

    fn of_former(&mut self, seen: &Step<'_>, report: &OperationReport) {
        let is_new = self.late.insert((report.device, report.status));
        let reaction = seen.decided.as_ref().map(|decision| decision.reaction);
        if is_new {
            let [CampaignEvent::LateReportReceived(late)] = seen.events() else {
                panic!("D11: it is recorded as late: {:?}", seen.events());
            };
            assert_eq!((late.operation, late.status), (report.operation, report.status));
            assert_eq!(late.code, report.code);
            assert_eq!(reaction, Ok(Reaction::Late));
        } else {
            assert_eq!(seen.events(), [], "D11: late again and again is recorded once");
            assert_eq!(reaction, Ok(Reaction::Unchanged));
        }
        assert!(seen.before.targets().eq(seen.after.targets()), "D11: late changes nothing");
    }
}

impl Law for Forward {
    fn event(&mut self, seen: &Recorded<'_>) {
        for before in seen.before.targets().filter(|target| target.status.is_final()) {
            // What contradicts an outcome changes nothing of it (D22).
            let mut after = seen.after.target(before.device).unwrap();
            after.contradiction.clone_from(&before.contradiction);
            assert_eq!(after, before, "D11: final is final: {:?}", seen.event);
        }
        match seen.event {
            CampaignEvent::OperationStarted(e) => {
                let phase = self.phases.entry(e.device).or_insert((e.operation, Phase::Pending));
                if phase.0 != e.operation {
                    *phase = (e.operation, Phase::Pending);
                    self.begins(e.device);
                }
            }
            CampaignEvent::OperationReported(e) => {
                let Input::Report(report) = seen.input else { panic!("nobody reported {e:?}") };
                let (id, phase) = self.phases.get_mut(&e.device).unwrap();
                assert_eq!((report.device, report.operation), (e.device, *id), "D11: {e:?}");
                let moved = is_after(e.phase, *phase) || e.phase == *phase;
                assert!(moved && rank(e.phase) < 7, "D11: {e:?} after {phase:?}");
                assert!(e.progress <= 100, "{e:?}");
                if e.phase == *phase {
                    let before = seen.before.target(e.device).unwrap().operation.unwrap();
                    let newer = e.observed_at > before.newest_stamp && e.observed_at.is_some();
                    assert!(e.progress != before.progress || newer, "D11: a duplicate: {e:?}");
                } else {
                    *phase = e.phase;
                    self.begins(e.device);
                    let said = |stamp| (e.device, e.progress, stamp);
                    self.said.extend(e.observed_at.map(said));
                }
                if let Some(stamp) = e.observed_at {
                    let newest = self.newest_stamp.entry(e.device).or_insert(stamp);
                    *newest = stamp.max(*newest);
                }
            }
            CampaignEvent::OperationRefused(e) => {
                *self.refusals.entry(e.device).or_default() += 1;
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        let Input::Report(report) = seen.input else { return };
        let active = seen.before.target(report.device).and_then(|target| target.operation);
        let active = active.filter(|operation| operation.id == report.operation);
        if let Some(before) = active {
            self.of_active(seen, report, &before);
            if report.status.phase() == before.phase
                && !report.from_storage
                && let Some(stamp) = report.observed_at
            {
                let heard = self.heard_stamp.entry(report.device).or_insert(stamp);
                *heard = stamp.max(*heard);
                self.said.insert((report.device, report.progress.min(100), stamp));
            }
        } else if seen.decided.is_err() {
            assert!(!self.is_known(seen, report), "D11: {report:?} is refused");
            let unknown =
                Rejection::UnknownOperation { device: report.device, operation: report.operation };
            assert_eq!(seen.decided, &Err(unknown), "D11: a clear error");
            assert_eq!(seen.after, seen.before, "D11: it changes nothing");
        } else {
            assert!(self.is_known(seen, report), "D11: {report:?} is taken");
            self.of_former(seen, report);
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.late.clear();
        self.heard_stamp.clear();
        self.said.clear();
    }
}

/// D22: at most one contradiction of a target, of what was read just now, and at most one look a
/// connection.
#[derive(Default)]
struct Contradictions {
    online: BTreeSet<DeviceId>,
    /// Devices whose version was asked for since they connected, and those that were looked at.
    asked: BTreeSet<DeviceId>,
    looked: BTreeSet<DeviceId>,
}

impl Law for Contradictions {
    fn event(&mut self, seen: &Recorded<'_>) {
        let CampaignEvent::ContradictionSeen(e) = seen.event else { return };
        let read = match seen.input {
            Input::BaseImageRead {
                device, purpose: ReadPurpose::Contradiction, answer, ..
            } => Some((*device, answer.clone())),
            _ => None,
        };
        let answer = BaseImageAnswer::Version(Some(e.version.clone()));
        assert_eq!(read, Some((e.device, answer)), "D22: it is what was read");
        let before = seen.before.target(e.device).unwrap();
        assert_eq!(before.contradiction, None, "D22: only the first is recorded");
        let image = seen.before.definition().base_image.version.to_string();
        let failed = before.status == TargetStatus::Failed;
        assert!(failed || before.status == TargetStatus::Successful, "D22: {:?}", before.status);
        assert_eq!(failed, e.version == image, "D22: {} is no contradiction", e.version);
        assert_eq!(seen.before.counts(), seen.after.counts(), "D22: it changes no count");
        assert_eq!(seen.before.outcome(), seen.after.outcome(), "D22: and no outcome");
        let day = Duration::from_secs(24 * 3600);
        let ended = seen.before.finished_at();
        assert!(ended.is_none_or(|at| seen.now.since(at) <= day), "D22: within a day");
        let after = seen.after.target(e.device).unwrap();
        assert_eq!(after.contradiction.as_ref(), Some(&e.version), "D22: queries show it");
    }

    fn step(&mut self, seen: &Step<'_>) {
        match seen.input {
            Input::Presence { device, presence: Presence::Offline }
            | Input::DeviceRemoved { device } => {
                self.online.remove(device);
                self.asked.remove(device);
                self.looked.remove(device);
            }
            Input::Presence { device, .. } => {
                self.online.insert(*device);
            }
            Input::BaseImageRead {
                device,
                purpose: ReadPurpose::Contradiction,
                answer: BaseImageAnswer::Version(_),
                ..
            } if self.asked.remove(device) => {
                self.looked.insert(*device);
            }
            _ => {}
        }
        for effect in seen.effects() {
            if let Effect::ReadBaseImage { device, purpose: ReadPurpose::Contradiction, .. } =
                effect
            {
                assert!(self.online.contains(device), "D22: {device} is not there");
                assert!(!self.looked.contains(device), "D22: {device} is looked at twice");
                self.asked.insert(*device);
            }
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.online.clear();
        self.asked.clear();
        self.looked.clear();
    }
}

/// D12, as far as the campaign decides it: what a device shows, when it is looked at, and what is
/// concluded from it.
#[derive(Default)]
struct Reconciliation {
    reads: Reads,
    /// Since when devices have been back as far as they said, and how long they may be.
    back: BTreeMap<DeviceId, (Timestamp, Duration)>,
    /// When a device will have settled.
    settles: BTreeMap<DeviceId, (Timestamp, Timestamp)>,
    /// Operations in progress when the engine died: looked at before they are sent again.
    unseen: BTreeSet<DeviceId>,
    recovered_at: Option<Timestamp>,
}

impl Law for Reconciliation {
    fn event(&mut self, seen: &Recorded<'_>) {
        let goes_on = match seen.event {
            CampaignEvent::OperationReported(e) if e.phase != Phase::Rebooting => Some(e.device),
            CampaignEvent::OperationRefused(e) => Some(e.device),
            _ => None,
        };
        goes_on.map(|device| self.back.remove(&device));
        if let CampaignEvent::OperationReadmitted(e) = seen.event {
            // It may have come back, and shown the image, while its target was idle.
            self.settles.entry(e.device).or_insert((seen.now, seen.now + SETTLING));
        }
        if let CampaignEvent::ResendKeptBack(e) = seen.event {
            // It is looked at at its next turn (D8).
            self.settles.remove(&e.device);
        }
        let shown = match seen.input {
            Input::BaseImageRead { answer, .. } => version_in(answer).map(Option::as_deref),
            _ => None,
        };
        let image = seen.before.definition().base_image.version.to_string();
        match seen.event {
            CampaignEvent::OperationSucceeded(e) => {
                let inferred = e.confirmation == Confirmation::BaseImage;
                let is_shown = shown == Some(Some(&image));
                assert_eq!(inferred, is_shown, "D12: version and build: {shown:?}, {image}");
                let reported = matches!(seen.input, Input::Report(_));
                assert_eq!(inferred, !reported, "D12: the record says which");
            }
            CampaignEvent::OperationFailed(e) => {
                let inferred = matches!(e.reason, OperationFailure::SystemRollback { .. });
                assert_eq!(inferred, e.reason.is_inferred());
                if inferred {
                    let operation = seen.before.target(e.device).unwrap().operation.unwrap();
                    assert_eq!(operation.phase, Phase::Rebooting, "D12");
                    let shows_another = shown.is_some_and(|version| version != Some(&image));
                    assert!(shows_another, "D12: {shown:?}");
                    let back = self.back.get(&e.device);
                    let (since, timeout) = *back.expect("D12: it is not back since its reboot");
                    assert!(seen.now.since(since) >= timeout, "D12: back since {since}");
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        let image = seen.after.definition().base_image.version.to_string();
        let read = self.reads.step(seen);
        if let Some(Read { device, purpose: ReadPurpose::Deadline, .. }) = &read {
            // Read once: what cannot be read at a deadline keeps no resend back (D8).
            self.unseen.remove(device);
        }
        if let Some(Read { device, purpose, answer }) = &read
            && let Some(version) = version_in(answer)
        {
            self.unseen.remove(device);
            let before = seen.before.target(*device).unwrap();
            if version.as_deref() == Some(&image) && before.operation.is_some() {
                let after = seen.after.target(*device).unwrap();
                let successful = after.status == TargetStatus::Successful;
                assert!(successful || *purpose == ReadPurpose::Gate, "D12: {device} shows it");
            }
        }
        for (device, operation, _) in seen.sent() {
            assert!(!self.unseen.contains(&device), "D12: {operation} is sent before a look");
        }
        if let Some(Read { device, answer: BaseImageAnswer::Failed(_), .. }) = &read
            && let Some((_, latest)) = self.settles.get_mut(device)
        {
            // It could not be read: it is looked at again a little later.
            *latest = (*latest).max(seen.now + SETTLING);
        }
        match seen.input {
            Input::Presence { device, presence: Presence::Online { since } } => {
                self.came_online(seen, *device, *since);
            }
            Input::Presence { device, presence: Presence::Offline }
            | Input::DeviceRemoved { device } => drop(self.back.remove(device)),
            Input::Recovered => self.recovered_at = Some(seen.now),
            _ => {}
        }
        for effect in seen.effects() {
            if let Effect::ReadBaseImage { device, purpose: ReadPurpose::Settled, .. } = effect
                && let Some((earliest, _)) = self.settles.remove(device)
            {
                assert!(seen.now >= earliest, "D12: it has not settled");
            }
        }
        if *seen.input == Input::Tick && seen.recovered {
            for (device, (_, latest)) in &self.settles {
                let target = seen.after.target(*device).unwrap();
                let waits = target.status == TargetStatus::InProgress
                    && *latest <= seen.now
                    && !self.reads.is_under_way(*device);
                assert!(!waits, "D12: {device} has settled and was not looked at");
            }
        }
    }

    fn restarted(&mut self, state: &Campaign, _: Timestamp) {
        *self = Self::default();
        let in_progress = |target: &TargetView| target.status == TargetStatus::InProgress;
        self.unseen = state.targets().filter(in_progress).map(|target| target.device).collect();
    }
}

impl Reconciliation {
    fn came_online(&mut self, seen: &Step<'_>, device: DeviceId, since: Timestamp) {
        self.back.remove(&device);
        let Some(target) = seen.before.target(device) else { return };
        if target.status == TargetStatus::InProgress {
            let settled = since + SETTLING;
            // Shortly after a restart nothing leaves: half a second at most.
            let latest = settled.max(seen.now + Duration::from_secs(u64::from(!seen.recovered)));
            self.settles.insert(device, (settled, latest));
        }
        // Also while its target waits for a slot.
        if target.operation.is_some_and(|operation| operation.phase == Phase::Rebooting) {
            let timeout = seen.before.limits().operation.reboot_timeout;
            self.back.insert(device, (seen.now, timeout));
        }
    }
}

#[test]
fn d12_a_device_that_went_on_after_a_reboot_is_not_judged_by_that_one() {
    let report = |status| Act::Report {
        device: 0,
        of: Of::Newest,
        status,
        code: "",
        progress: 0,
        stamp: None,
    };
    let back = Act::Online { device: 0, online: true };
    let answer = Act::Answer { which: 0, how: How::Well };
    let mut acts = vec![answer.clone(), answer.clone(), answer.clone()];
    acts.extend([report(ReportStatus::Rebooting), back, Act::Pass { seconds: 50 }, answer.clone()]);
    // It met an error, tries again, and is about to reboot once more.
    acts.extend([report(ReportStatus::Error), report(ReportStatus::Rebooting)]);
    acts.extend([Act::Pass { seconds: 10 }, answer]);
    play(&Story { setup: Setup::plain(1), acts }, &mut Reconciliation::default());
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d22_what_contradicts_an_outcome_is_recorded_once_and_changes_nothing(
        story in story(Mix { online: 6, version: 6, answer: 16, ..Mix::UNDISTURBED }),
    ) {
        play(&story, &mut Contradictions::default());
    }

    #[test]
    fn d11_reports_move_an_operation_forward_only_and_final_is_final(
        story in story(Mix { report: 14, answer: 12, ..Mix::EVEN }),
    ) {
        play(&story, &mut Forward::default());
    }

    #[test]
    fn d12_what_a_device_shows_decides_once_it_has_settled(
        story in rebooting(Mix { report: 8, version: 5, online: 5, crash: 2, answer: 14, ..Mix::EVEN }),
    ) {
        play(&story, &mut Reconciliation::default());
    }
}
