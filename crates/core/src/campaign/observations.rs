//! What is volatile of a campaign at work: who is online, which devices others keep busy, reads and
//! calls under way, timers (E7). After a restart all of it is observed again.
//!
//! The ready queue and the timers are kept in step with the state by [`Observations::sync`], which
//! looks at one target only (C1).

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use super::admission;
use super::fingerprint::ahead;
use super::outage::Outage;
use super::ready::ReadyQueue;
use super::target_map::TargetMap;
use super::{Campaign, ReadPurpose, TargetStatus};
use crate::operation::at_work::AtWork;
use crate::{Question, Timestamp};

/// What is known of one target beyond its folded state, while there is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// Of its operation, and of reads of whatever purpose.
    pub(super) work: AtWork,
    /// When the device of a final target is looked at, and whether it was since it connected (D22).
    pub(super) look_at: Option<Timestamp>,
    pub(super) looked: bool,
    /// While an outage is known, failed attempts are remembered here and not recorded (D10).
    pub(super) not_before: Option<Timestamp>,
    /// When its timer is due; kept by [`Observations::sync`] alone.
    armed: Option<Timestamp>,
}

impl Watch {
    /// All of it, times as distances from `now`, and questions without their numbers.
    fn seen_from(&self, now: Timestamp) -> impl Hash + use<> {
        let Self { work, look_at, not_before, armed, .. } = self;
        let AtWork { settled_at, reboot_at, deadline_rests, cancel_at, forgotten_at, .. } = work;
        let times = [settled_at, reboot_at, deadline_rests, cancel_at, not_before, armed]
            .into_iter()
            .chain([forgotten_at, look_at]);
        let times: Vec<_> = times.map(|at| ahead(*at, now)).collect();
        let reading = work.reading.map(|(purpose, _)| purpose);
        let calls = (work.calling.is_some(), work.cancelling.is_some());
        (reading, calls, times, work.failures, work.heard, work.returned, self.looked)
    }
}

/// When something is due for a target, in one number that is compared at once: the time, then the
/// target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer(i128);

impl Timer {
    fn new(at: Timestamp, target: u32) -> Self {
        Self(i128::from(at.as_millis()) << 32 | i128::from(target))
    }

    fn at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 >> 32).unwrap_or(i64::MAX))
    }

    fn target(self) -> u32 {
        u32::try_from(self.0 & i128::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observations {
    online: Vec<bool>,
    busy: BTreeSet<u32>,
    /// Targets whose turn may come.
    ready: ReadyQueue,
    /// Idle targets whose devices turned out to be updating; they wait for a slot (D10).
    running: BTreeSet<u32>,
    watches: TargetMap<Watch>,
    timers: BTreeSet<Timer>,
    /// Targets whose version is being read for the gates: each holds a place (D7).
    pub(super) gate_reads: u32,
    pub(super) outage: Outage,
    /// Which statuses have been recorded as late since the campaign was loaded.
    pub(super) late: TargetMap<u16>,
    /// The request for the snapshot that is under way.
    pub(super) snapshot_asked: Option<Question>,
    /// When the snapshot is asked for again.
    pub(super) snapshot_at: Option<Timestamp>,
}

impl Observations {
    pub(super) fn is_online(&self, target: u32) -> bool {
        self.online.get(target as usize).copied().unwrap_or(false)
    }

    pub(super) fn set_online(&mut self, target: u32, online: bool) {
        let place = target as usize;
        if place >= self.online.len() {
            self.online.resize(place + 1, false);
        }
        self.online[place] = online;
    }

    /// Whether the version that the target's device shows is being read, for whatever purpose.
    pub(super) fn reads_version(&self, target: u32) -> bool {
        self.look(target).is_some_and(|watch| watch.work.reading.is_some())
    }

    /// Whether the snapshot was asked for, or is to be asked for again.
    pub(super) fn is_selecting(&self) -> bool {
        self.snapshot_asked.is_some() || self.snapshot_at.is_some()
    }

    /// Whether an idle target's device turned out to be updating.
    pub(super) fn is_running(&self, target: u32) -> bool {
        self.running.contains(&target)
    }

    pub(super) fn is_busy(&self, target: u32) -> bool {
        self.busy.contains(&target)
    }

    pub(super) fn set_busy(&mut self, target: u32) {
        self.busy.insert(target);
    }

    /// `false` if it was not busy.
    pub(super) fn set_free(&mut self, target: u32) -> bool {
        self.busy.remove(&target)
    }

    pub(super) fn watch(&mut self, target: u32) -> &mut Watch {
        self.watches.get_or_default(target)
    }

    /// The watch of a target, if there is anything to watch.
    pub(super) fn known(&mut self, target: u32) -> Option<&mut Watch> {
        self.watches.get_mut(target)
    }

    pub(super) fn look(&self, target: u32) -> Option<&Watch> {
        self.watches.get(target)
    }

    /// The target whose turn it is (D4).
    pub(super) fn first_ready(&self) -> Option<u32> {
        self.ready.first()
    }

    pub(super) fn first_running(&self) -> Option<u32> {
        self.running.first().copied()
    }

    /// The first target with a timer that is due at `now`.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<u32> {
        self.timers.first().filter(|timer| timer.at() <= now).map(|timer| timer.target())
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|timer| timer.at());
        [timer, self.snapshot_at].into_iter().flatten().min()
    }

    /// When the next trial of a transport that is down may begin, if a target waits for it.
    pub(super) fn next_trial(&self) -> Option<Timestamp> {
        self.outage.next_trial().filter(|_| !self.ready.is_empty())
    }

    /// Takes the target out of the ready queue before an event changes its place there.
    pub(super) fn unqueue(&mut self, campaign: &Campaign, target: u32) {
        self.ready.remove(campaign.targets.attempt(target), target);
    }

    /// See [`LiveCampaign::hash_from`](super::LiveCampaign::hash_from). What is ready follows from
    /// the rest.
    pub(super) fn hash_from(&self, campaign: &Campaign, now: Timestamp, hasher: &mut impl Hasher) {
        for target in 0..campaign.targets.len() {
            let watch = self.watches.get(target).map(|watch| watch.seen_from(now));
            (self.is_online(target), watch, self.late.get(target)).hash(hasher);
        }
        (&self.busy, &self.running, self.gate_reads).hash(hasher);
        self.outage.hash_from(now, hasher);
        (self.snapshot_asked.is_some(), ahead(self.snapshot_at, now)).hash(hasher);
    }

    /// Brings queue and timers in step with the state of one target.
    pub(super) fn sync(&mut self, campaign: &Campaign, target: u32, now: Timestamp) {
        let status = campaign.targets.status(target);
        if status.is_final() {
            self.forget(campaign, target);
            return;
        }
        let operation = campaign.operations.get(target);
        let watch = self.watches.get(target);
        let is_reading = watch.is_some_and(|watch| watch.work.reading.is_some());
        let running = operation.is_some_and(crate::Operation::is_reported);
        let idle = status == TargetStatus::Idle;

        let mut timer = None;
        let mut ready = false;
        if idle && !running {
            let held = admission::of_target(campaign, self, target, now).err();
            ready = !is_reading && held.is_none();
            timer = held.and_then(|hold| hold.until);
        } else if !is_reading {
            timer = operation.and_then(|operation| match watch {
                Some(watch) => watch.work.deadline(operation),
                None => operation.deadline,
            });
        }
        if !idle && !is_reading {
            let watched = watch.and_then(|watch| watch.work.watched());
            timer = [timer, watched].into_iter().flatten().min();
        }

        let attempt = campaign.targets.attempt(target);
        if ready {
            self.ready.insert(attempt, target);
        } else {
            self.ready.remove(attempt, target);
        }
        if idle && running {
            self.running.insert(target);
        } else {
            self.running.remove(&target);
        }
        self.arm(target, timer);
    }

    /// Sets the target's timer, and forgets its watch if there is nothing to watch any more.
    fn arm(&mut self, target: u32, timer: Option<Timestamp>) {
        if timer.is_some() {
            self.watches.get_or_default(target);
        }
        let Some(watch) = self.watches.get_mut(target) else { return };
        if watch.armed != timer {
            if let Some(at) = watch.armed {
                self.timers.remove(&Timer::new(at, target));
            }
            if let Some(at) = timer {
                self.timers.insert(Timer::new(at, target));
            }
            watch.armed = timer;
        }
        if *watch == Watch::default() {
            self.watches.remove(target);
        }
    }

    /// Forgets all but what D22 still looks at of a final target.
    fn forget(&mut self, campaign: &Campaign, target: u32) {
        self.unqueue(campaign, target);
        self.running.remove(&target);
        self.busy.remove(&target);
        let Some(watch) = self.watches.get_mut(target) else { return };
        let purpose = watch.work.reading.map(|(purpose, _)| purpose);
        if purpose == Some(ReadPurpose::Gate) {
            // The answer will be void.
            self.gate_reads = self.gate_reads.saturating_sub(1);
            self.outage.turn_ended(target);
        }
        let looks = purpose == Some(ReadPurpose::Contradiction);
        let Watch { ref work, look_at, looked, armed, .. } = *watch;
        let failures = if looks || look_at.is_some() { work.failures } else { 0 };
        let reading = work.reading.filter(|_| looks);
        let work = AtWork { reading, failures, ..AtWork::default() };
        *watch = Watch { work, look_at, looked, armed, ..Watch::default() };
        self.arm(target, look_at.filter(|_| !looks));
    }
}
