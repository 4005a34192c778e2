//! Whose turn it is (D4), as far as it can be told from outside for sure.
//!
//! A target counts as ready only when the engine must know that it is: it was told that the device
//! is online and has acknowledged that, nothing is being read, nothing holds the device, no delay
//! runs. Whatever makes that doubtful, such as a store that fails or a second engine, switches the
//! checks off for a while; so they never accuse wrongly. An engine that loads a campaign again asks
//! who is online (E7): afterwards it must know of those that were online all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::{CampaignId, CampaignStatus, DeviceId, Presence, TargetStatus, Timestamp};

use super::calls::Calls;
use super::campaign::{Model, Target};
use super::facts::Facts;
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// How long nothing is said after the store was in trouble: longer than the engine rests at most.
const QUIET: Duration = Duration::from_secs(45);
/// The longest delay that the engine keeps to itself while the transport is down.
const LONGEST_DELAY: Duration = Duration::from_secs(301);

/// When something is: by the engine's clock, and in which step of the simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    pub(crate) step: u64,
}

/// What the directory said of a device's presence, and as of which step of the simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) device: DeviceId,
    pub(crate) presence: Option<Presence>,
    pub(crate) seen_in: u64,
}

/// The same, for as long as it may matter; not known for sure if two answers differ.
struct Known {
    online: Option<bool>,
    began_in: u64,
    seen_in: u64,
    at: Timestamp,
}

/// The latest notice of a device's presence.
struct Heard {
    /// `None`: the engine refused it.
    online: Option<bool>,
    told_in: u64,
    acknowledged_in: Option<u64>,
}

/// The targets of one campaign, by whose turn it is.
#[derive(Default)]
struct Queue {
    /// What the campaign must know of each device's presence.
    known: BTreeMap<DeviceId, bool>,
    /// Devices that it was told of before trouble, and that have been online ever since: it must
    /// know of them also if it was loaded again.
    kept: BTreeSet<DeviceId>,
    /// Those that are ready, with the step since which they are.
    ready: BTreeMap<(u32, usize), u64>,
    places: BTreeMap<usize, (u32, usize)>,
    /// Those whose delay runs out.
    waiting: BTreeSet<(Timestamp, usize)>,
    /// Turns under way that came too early, with who should have come.
    unfair: BTreeMap<usize, DeviceId>,
}

impl Queue {
    fn is_known(&mut self, device: DeviceId, online: Option<bool>) {
        self.kept.remove(&device);
        match online {
            Some(online) => drop(self.known.insert(device, online)),
            None => drop(self.known.remove(&device)),
        }
    }
}

#[derive(Default)]
pub(super) struct Turns {
    pub(super) calls: Calls,
    queues: BTreeMap<CampaignId, Queue>,
    off_until: Timestamp,
    /// Who is ready was forgotten, and is to be looked at anew when it can be told for sure again.
    forgot: bool,
    /// The devices that are online, as the platform knows.
    online: BTreeSet<DeviceId>,
    /// Two engines write, or have written since the first one started: what one of them decided the
    /// other learns only from its next conflict.
    pub(super) two_engines: bool,
    /// Notices that were told and not acknowledged.
    unacknowledged: BTreeMap<DeviceId, u32>,
    reading: BTreeMap<DeviceId, u32>,
    reads: u32,
    delayed: BTreeMap<DeviceId, Timestamp>,
    /// The latest notices since the engine started.
    heard: BTreeMap<DeviceId, Heard>,
    /// What the directory said of presence when it last named targets.
    named: BTreeMap<DeviceId, Known>,
}

impl Turns {
    /// `calls`: how many an engine makes at once for each campaign.
    pub(super) fn new(calls: usize) -> Self {
        Self { calls: Calls::at_most(calls), ..Self::default() }
    }

    /// Nothing is known for sure any more.
    pub(super) fn trouble(&mut self, now: Timestamp) {
        self.off_until = self.off_until.max(now + QUIET);
        self.forgot = true;
        for queue in self.queues.values_mut() {
            let known = std::mem::take(&mut queue.known).into_iter();
            let kept: BTreeSet<_> = known
                .filter(|(device, online)| *online && self.online.contains(device))
                .map(|(device, _)| device)
                .collect();
            let known = kept.iter().map(|device| (*device, true)).collect();
            *queue = Queue { known, kept, ..Queue::default() };
        }
        self.named.clear();
    }

    /// Whether this is the first look since all of it can be told for sure again.
    pub(super) fn is_calm_again(&mut self, now: Timestamp) -> bool {
        !self.is_off(now) && std::mem::take(&mut self.forgot)
    }

    /// A device connected or disconnected, whoever is told of it.
    pub(super) fn device_went(&mut self, device: DeviceId, online: bool) {
        if online {
            self.online.insert(device);
            return;
        }
        self.online.remove(&device);
        for queue in self.queues.values_mut() {
            if queue.kept.remove(&device) {
                queue.known.remove(&device);
            }
        }
    }

    pub(super) fn is_off(&self, now: Timestamp) -> bool {
        self.two_engines || now < self.off_until
    }

    /// The engine died with all its calls.
    pub(super) fn engine_died(&mut self) {
        self.unacknowledged.clear();
        self.heard.clear();
        self.reading.clear();
        self.reads = 0;
    }

    /// The directory named targets, having been asked in step `began_in`.
    pub(super) fn named(&mut self, named: &[Named], began_in: u64, now: Timestamp) {
        for named in named {
            let mut online = Some(matches!(named.presence, Some(Presence::Online { .. })));
            // Which of two answers a campaign goes by is not known.
            let differs = |old: &Known| old.online != online && now.since(old.at) < QUIET;
            if self.named.get(&named.device).is_some_and(differs) {
                online = None;
            }
            let known = Known { online, began_in, seen_in: named.seen_in, at: now };
            self.named.insert(named.device, known);
        }
    }

    /// A campaign starts: it was told the presence of its devices with their names.
    pub(super) fn started(&mut self, model: &Model) {
        let queue = self.queues.entry(model.id).or_default();
        for Target { device, .. } in &model.targets {
            let named = self.named.get(device);
            let Some(named) = named.filter(|_| !self.unacknowledged.contains_key(device)) else {
                continue;
            };
            // What is told while the answer is awaited is newer than what was asked for before.
            let online = match self.heard.get(device) {
                Some(heard) if heard.acknowledged_in.is_none_or(|step| step >= named.began_in) => {
                    if heard.told_in > named.seen_in {
                        heard.online
                    } else {
                        named.online.filter(|online| heard.online == Some(*online))
                    }
                }
                _ => named.online,
            };
            queue.is_known(*device, online);
        }
    }

    /// Looks anew whether one target is ready.
    pub(super) fn refresh(&mut self, model: &Model, place: usize, facts: &Facts, moment: Moment) {
        let queue = self.queues.entry(model.id).or_default();
        let target = &model.targets[place];
        let device = target.device;
        let operation = target.operation.and_then(|id| facts.operations.get(&id));
        let own = target.operation;
        let settled = target.status == TargetStatus::Idle
            && model.is_agreed(place)
            && operation.is_none_or(|operation| !operation.is_reported())
            && facts.holders.get(&device).is_none_or(|holder| Some(*holder) == own)
            && queue.known.get(&device) == Some(&true)
            && !self.unacknowledged.contains_key(&device)
            && !self.reading.contains_key(&device);
        let delay = target.not_before.max(self.delayed.get(&device).copied());
        let delay = delay.filter(|delay| *delay >= moment.now);
        if let (true, Some(delay)) = (settled, delay) {
            queue.waiting.insert((delay, place));
        }
        let key = (target.attempt, place);
        if let Some(old) = queue.places.get(&place).copied()
            && (old != key || !settled || delay.is_some())
        {
            queue.places.remove(&place);
            queue.ready.remove(&old);
        }
        if settled && delay.is_none() && queue.places.insert(place, key).is_none() {
            queue.ready.insert(key, moment.step);
        }
    }

    /// Whether a device is online, as the platform knows.
    pub(super) fn is_online(&self, device: DeviceId) -> bool {
        self.online.contains(&device)
    }

    /// A presence notice is told.
    pub(super) fn notice_told(&mut self, device: DeviceId, online: bool, step: u64) {
        let heard = Heard { online: Some(online), told_in: step, acknowledged_in: None };
        self.heard.insert(device, heard);
        *self.unacknowledged.entry(device).or_default() += 1;
    }

    /// It is acknowledged; `None`: refused.
    pub(super) fn notice_acknowledged<'a>(
        &mut self,
        device: DeviceId,
        online: Option<bool>,
        models: impl Iterator<Item = &'a Model>,
        step: u64,
    ) {
        if let Some(heard) = self.heard.get_mut(&device) {
            heard.acknowledged_in = Some(step);
            heard.online = heard.online.filter(|_| online.is_some());
        }
        if let Some(count) = self.unacknowledged.get_mut(&device) {
            *count -= 1;
            if *count == 0 {
                self.unacknowledged.remove(&device);
            }
        }
        for model in models.filter(|model| model.is_running()) {
            if model.place(device).is_some() {
                self.queues.entry(model.id).or_default().is_known(device, online);
            }
        }
    }

    /// The version of a device begins to be read, perhaps because its target's turn has come.
    pub(super) fn read_began<'a>(
        &mut self,
        device: DeviceId,
        models: impl Iterator<Item = &'a Model>,
        moment: Moment,
    ) {
        for model in models {
            let Some(place) = model.place(device) else { continue };
            let target = &model.targets[place];
            if model.status != CampaignStatus::InProgress || target.status != TargetStatus::Idle {
                continue;
            }
            let Some(queue) = self.queues.get_mut(&model.id) else { continue };
            let key = (target.attempt, place);
            let before = queue.ready.range(..key).find(|(_, since)| **since < moment.step);
            match before {
                // What waited behind other calls was decided before.
                // The turn may be that of a read that is under way already, and this one for another
                // purpose.
                Some(_) if self.reading.contains_key(&device) => {}
                Some(((_, other), _)) if !self.calls.were_full_in(moment.step) => {
                    queue.unfair.insert(place, model.targets[*other].device);
                }
                _ => drop(queue.unfair.remove(&place)),
            }
        }
        *self.reading.entry(device).or_default() += 1;
        self.reads += 1;
    }

    pub(super) fn read_ended(&mut self, device: DeviceId, failed: bool, now: Timestamp) {
        if let Some(count) = self.reading.get_mut(&device) {
            *count -= 1;
            self.reads -= 1;
            if *count == 0 {
                self.reading.remove(&device);
            }
        }
        if failed {
            self.delay(device, now);
        }
    }

    /// An attempt failed: while the transport is down the engine keeps the delay to itself.
    pub(super) fn delay(&mut self, device: DeviceId, now: Timestamp) {
        self.delayed.insert(device, now + LONGEST_DELAY);
    }

    /// A target's turn ended with an event.
    pub(super) fn turn_ended(&mut self, model: &Model, place: usize, now: Timestamp) -> Checked {
        let off = self.is_off(now);
        let Some(queue) = self.queues.get_mut(&model.id) else { return Ok(()) };
        let unfair = queue.unfair.remove(&place).filter(|_| !off);
        ensure(unfair.is_none(), Invariant::FairOrder, || {
            format!("{unfair:?} was ready and has waited longer")
        })
    }

    /// An operation starts: is its device not known to be offline?
    pub(super) fn operation_starts(&self, model: &Model, place: usize, now: Timestamp) -> Checked {
        let device = model.targets[place].device;
        let offline = !self.is_off(now)
            && !self.unacknowledged.contains_key(&device)
            && self.queues.get(&model.id).and_then(|queue| queue.known.get(&device))
                == Some(&false);
        ensure(!offline, Invariant::OnlineFirst, || {
            "an operation starts on a device that the engine knows to be offline".to_owned()
        })
    }

    /// Targets whose delay has run out.
    pub(super) fn delays_over(&mut self, now: Timestamp) -> Vec<(CampaignId, usize)> {
        let mut over = Vec::new();
        for (id, queue) in &mut self.queues {
            while let Some((at, place)) = queue.waiting.first().copied().filter(|(at, _)| *at < now)
            {
                queue.waiting.remove(&(at, place));
                over.push((*id, place));
            }
        }
        over
    }

    /// A target of this campaign that should have had its turn: it is ready, and a slot is free.
    pub(super) fn passed_over(&self, model: &Model, moment: Moment) -> Option<DeviceId> {
        if self.is_off(moment.now)
            || self.calls.are_full()
            || model.status != CampaignStatus::InProgress
        {
            return None;
        }
        let taken = model.count(TargetStatus::InProgress) + self.reads;
        if taken >= model.limits().max_pending_operations.get() {
            return None;
        }
        let ready = &self.queues.get(&model.id)?.ready;
        let (_, place) = ready.iter().find(|(_, since)| **since < moment.step)?.0;
        Some(model.targets[*place].device)
    }
}
