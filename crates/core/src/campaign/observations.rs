//! What is volatile of a campaign at work: who is online, what else was told of devices, reads and
//! calls under way (E7). After a restart all of it is observed again. What follows from it, together
//! with the folded state, is kept by the [`Schedule`](super::schedule::Schedule).

use std::hash::{Hash, Hasher};

use super::Campaign;
use super::fingerprint::ahead;
use super::outage::Outage;
use super::target_map::TargetMap;
use crate::answer::ReadPurpose;
use crate::operation::at_work::AtWork;
use crate::operation::timer::Timer;
use crate::question::Question;
use crate::rollout::{DeviceFact, DeviceFacts};
use crate::time::Timestamp;

/// What is known of one target beyond its folded state, while there is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// Of its operation, and of reads of whatever purpose.
    pub(super) work: AtWork,
    /// Whether the device of a final target was looked at since it connected (D22).
    pub(super) looked: bool,
    /// When its timer is due; kept by [`Schedule::sync`](super::schedule::Schedule::sync) alone.
    pub(super) armed: Option<Timestamp>,
}

impl Watch {
    /// All of it, times as distances from `now`, and questions without their numbers.
    fn seen_from(&self, now: Timestamp) -> impl Hash + use<> {
        let Self { work, armed, .. } = self;
        let times = work.timers.all().chain([*armed]);
        let times: Vec<_> = times.map(|at| ahead(at, now)).collect();
        let reading = work.reading.map(|(purpose, _)| purpose);
        let calls = (work.calling.is_some(), work.cancelling.is_some());
        (reading, calls, times, work.failures, work.heard, work.returned, self.looked)
    }
}

/// What is volatile of all targets, and of the campaign as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observations {
    online: Vec<bool>,
    /// Of devices of which something was told.
    facts: TargetMap<DeviceFacts>,
    watches: TargetMap<Watch>,
    /// Targets whose version is being read for the gates: each holds a place (D7).
    pub(super) gate_reads: u32,
    pub(super) outage: Outage,
    /// Which statuses have been recorded as late since the campaign was loaded.
    pub(super) late: TargetMap<u16>,
    /// The request for the snapshot that is under way.
    pub(super) snapshot_asked: Option<Question>,
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

    /// What was told of the target's device, if anything.
    pub(super) fn facts(&self, target: u32) -> Option<&DeviceFacts> {
        self.facts.get(target)
    }

    /// `false` if that was known.
    pub(super) fn learn(&mut self, target: u32, fact: DeviceFact) -> bool {
        let before = self.facts.get(target).cloned().unwrap_or_default();
        let mut facts = before.clone();
        facts.learn(fact);
        let is_new = facts != before;
        if facts == DeviceFacts::default() {
            self.facts.remove(target);
        } else if is_new {
            self.facts.insert(target, facts);
        }
        is_new
    }

    /// The watch of a target, a new one if nothing was watched.
    pub(super) fn watch(&mut self, target: u32) -> &mut Watch {
        self.watches.get_or_default(target)
    }

    /// The watch of a target, if there is anything to watch.
    pub(super) fn known(&mut self, target: u32) -> Option<&mut Watch> {
        self.watches.get_mut(target)
    }

    /// Nothing of the target is to be watched any more.
    pub(super) fn unwatch(&mut self, target: u32) {
        self.watches.remove(target);
    }

    /// What is watched of a target, to be looked at only.
    pub(super) fn look(&self, target: u32) -> Option<&Watch> {
        self.watches.get(target)
    }

    /// See [`LiveCampaign::hash_from`](super::LiveCampaign::hash_from).
    pub(super) fn hash_from(&self, campaign: &Campaign, now: Timestamp, hasher: &mut impl Hasher) {
        for target in 0..campaign.targets.len() {
            let watch = self.watches.get(target).map(|watch| watch.seen_from(now));
            (self.is_online(target), watch, self.late.get(target)).hash(hasher);
            self.facts.get(target).hash(hasher);
        }
        self.gate_reads.hash(hasher);
        self.outage.hash_from(now, hasher);
        self.snapshot_asked.is_some().hash(hasher);
    }

    /// Forgets all but what D22 still looks at of a final target.
    ///
    /// Returns when its device is to be looked at.
    pub(super) fn forget(&mut self, target: u32) -> Option<Timestamp> {
        self.facts.remove(target);
        let watch = self.watches.get_mut(target)?;
        let purpose = watch.work.reading.map(|(purpose, _)| purpose);
        if purpose == Some(ReadPurpose::Gate) {
            // The answer will be void.
            self.gate_reads = self.gate_reads.saturating_sub(1);
            self.outage.turn_ended(target);
        }
        let looks = purpose == Some(ReadPurpose::Contradiction);
        let work = &mut watch.work;
        let look_at = work.timers.get(Timer::Look);
        let failures = if looks || look_at.is_some() { work.failures } else { 0 };
        let reading = work.reading.filter(|_| looks);
        let mut timers = work.timers;
        timers.keep_only(Timer::Look);
        *work = AtWork { reading, timers, failures, ..AtWork::default() };
        look_at.filter(|_| !looks)
    }
}
