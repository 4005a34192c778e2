//! What the streams have in common: operations, whose each device is (D14), and what each device
//! last showed the engine (D5, D12).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::OperationFailure;
use hedgerow_core::{DeviceId, OperationId, OperationLimits, ReportStatus, StreamId, Timestamp};

use super::gate::Stated;
use super::operation::Op;
use super::urls::Urls;
use crate::simulate::invariant::{Broken, Checked, Invariant, ensure};

/// How long a version that was read is good for: an answer may wait while the store is slow.
const FRESH: Duration = Duration::from_secs(120);

/// A version could not be read, or the engine did not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread;

/// What reading a version gave: what the device shows, if it shows one.
pub(crate) type Read = Result<Option<String>, Unread>;

/// The answer to reading a version.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) version: Read,
    pub(super) at: Timestamp,
    /// The steps of the simulation in which it was asked for and given.
    pub(super) asked_in: u64,
    pub(super) step: u64,
}

/// The latest answers of each device that are remembered, however old. Others are for as long as a
/// decision on them may be on its way to a slow store: any number of campaigns look at one device.
const REMEMBERED: usize = 8;
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// What runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// The time for an answer to the latest request.
    Request,
    /// The time for another report.
    Stall,
}

impl Timeout {
    /// What a failure says to have run out.
    pub(super) fn of(reason: &OperationFailure) -> Option<Self> {
        match reason {
            OperationFailure::RequestTimeout => Some(Self::Request),
            OperationFailure::Stalled => Some(Self::Stall),
            _ => None,
        }
    }
}

/// What the judge gets to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Witness {
    /// Everything: what is recorded, what leaves, what arrives, what is acknowledged.
    #[default]
    World,
    /// The log of a store alone, long after. What only the world could tell is believed.
    Log,
}

#[derive(Default)]
pub(super) struct Facts {
    pub(super) witness: Witness,
    /// Whether streams were removed from the log.
    pub(super) is_partial: bool,
    pub(super) operations: BTreeMap<OperationId, Op>,
    /// The active operation of each device.
    pub(super) holders: BTreeMap<DeviceId, OperationId>,
    /// What each device last showed, to each of two engines.
    pub(super) read: [BTreeMap<DeviceId, Vec<Shown>>; 2],
    /// For each stream and engine the steps in which its latest two appends began: what the later
    /// one records was decided on what came between them.
    appends: BTreeMap<(usize, StreamId), (u64, u64)>,
    /// Those of the append that is just recorded.
    pub(super) decided_in: (u64, u64),
    /// When each engine began to load each stream for the last time that it did so to the end, and in
    /// which step.
    loads: BTreeMap<(usize, StreamId), (Timestamp, u64)>,
    /// The same of loads that have not come to their end.
    loading: BTreeMap<(usize, StreamId), (Timestamp, u64)>,
    /// The step of the latest load of the stream that records just now.
    loaded_in: u64,
    /// When a read of each device last began.
    pub(super) read_began: BTreeMap<DeviceId, Timestamp>,
    /// What each device shows, whoever reads it, and since when.
    pub(super) shows: BTreeMap<DeviceId, (Option<String>, Timestamp)>,
    /// When the directory last named each device as a target, with its presence.
    pub(super) named_at: BTreeMap<DeviceId, Timestamp>,
    /// When the directory last failed to name targets at once.
    pub(super) unnamed_at: Timestamp,
    /// The devices that are online, whoever knows.
    pub(super) online: BTreeSet<DeviceId>,
    /// The latest versions read of each device, whichever campaign asked and whatever failed since.
    pub(super) lately: BTreeMap<DeviceId, Vec<String>>,
    /// The engine that records just now.
    pub(super) slot: usize,
    /// When the engine was last told of each device that it is online, as it acknowledged.
    pub(super) told_online: BTreeMap<DeviceId, Timestamp>,
    /// The same of its being offline.
    pub(super) told_offline: BTreeMap<DeviceId, Timestamp>,
    /// When the engine was told of each device that it is online, all of it, and when it was last told
    /// so after it had been told that it is offline.
    pub(super) backs: BTreeMap<DeviceId, Vec<Timestamp>>,
    pub(super) connected_at: BTreeMap<DeviceId, Timestamp>,
    /// When each device could last not be read.
    pub(super) unread_at: BTreeMap<DeviceId, Timestamp>,
    /// When the engine started; `None` while another writes beside it, which was told other things.
    pub(super) alone_since: Option<Timestamp>,
    /// What URLs were given.
    pub(super) urls: Urls,
    /// Since when neither the store, nor the clock, nor a start has disturbed the engine.
    pub(super) calm_since: Timestamp,
}

/// How long a request that is decided may take to leave: as long as a call before it.
const LEAVES: Duration = Duration::from_secs(30);
/// More versions than a device shows one after the other while a look at it is under way.
const MOST_LATELY: usize = 12;
/// How long a notice may take to be known everywhere.
const SETTLES: Duration = Duration::from_secs(30);
/// How long what follows from a time-out may take: two looks at the device, one after the other.
const LOOKS: Duration = Duration::from_secs(60);

impl Facts {
    /// An append begins.
    pub(super) fn append_begins(&mut self, slot: usize, stream: StreamId, step: u64) {
        let (_, latest) = self.appends.get(&(slot, stream)).copied().unwrap_or_default();
        self.appends.insert((slot, stream), (latest, step));
    }

    /// The engine of this slot records what an append of this stream holds.
    pub(super) fn records(&mut self, slot: usize, stream: StreamId) {
        self.slot = slot;
        self.loaded_in = self.loads.get(&(slot, stream)).map_or(0, |(_, step)| *step);
        self.decided_in = self.appends.get(&(slot, stream)).copied().unwrap_or((0, u64::MAX));
    }

    /// Whether all that is known was told to one engine.
    pub(super) fn is_alone(&self) -> bool {
        self.alone_since.is_some() || self.witness == Witness::Log
    }

    /// An engine begins to load a stream: what it asked before is void (E11).
    pub(super) fn load_begins(&mut self, slot: usize, stream: StreamId, at: Timestamp, step: u64) {
        self.loading.insert((slot, stream), (at, step));
    }

    /// It has read the stream to its end.
    pub(super) fn load_ends(&mut self, slot: usize, stream: StreamId) {
        let began = self.loading.remove(&(slot, stream));
        self.loads.extend(began.map(|began| ((slot, stream), began)));
    }

    /// When this engine last began to load the stream.
    pub(super) fn loaded_at(&self, slot: usize, stream: StreamId) -> Option<Timestamp> {
        self.loads.get(&(slot, stream)).map(|(at, _)| *at)
    }

    /// A version was read, or could not be.
    pub(super) fn was_read(&mut self, slot: usize, device: DeviceId, shown: Shown) {
        let all = self.read[slot].entry(device).or_default();
        let surplus = (all.len() + 1).saturating_sub(REMEMBERED);
        let is_old = |old: &&Shown| shown.at.since(old.at) > REMEMBERED_FOR;
        let old = all.iter().take(surplus).take_while(is_old).count();
        all.drain(..old);
        all.push(shown);
    }

    /// What the device may last have shown to the stream that records: the last answer before its
    /// append began, and others since the append before, which waited with it; none that was asked
    /// for before the stream was loaded (E11). The latest comes first.
    fn seen(&self, device: DeviceId) -> impl Iterator<Item = &Shown> {
        let (from, until) = self.decided_in;
        let loaded_in = self.loaded_in;
        let all = self.read[self.slot].get(&device).map(Vec::as_slice).unwrap_or_default();
        let before = all
            .iter()
            .rev()
            .filter(move |shown| shown.step <= until && shown.asked_in >= loaded_in);
        before
            .enumerate()
            .take_while(move |(place, shown)| *place == 0 || shown.step >= from)
            .map(|(_, shown)| shown)
    }

    /// The versions on which the gates may have been evaluated, one of which an event may state
    /// itself.
    pub(super) fn at_turn<'a>(
        &'a self,
        device: DeviceId,
        at: Timestamp,
        stated: Stated<'a>,
    ) -> Result<Vec<Stated<'a>>, Broken> {
        if self.witness == Witness::Log {
            return Ok(vec![stated]);
        }
        let read: Vec<Stated<'a>> = self
            .seen(device)
            .filter(|shown| at.since(shown.at) <= FRESH)
            .filter_map(|shown| shown.version.as_ref().ok())
            .map(|version| version.as_deref().map_or(Stated::NoVersion, Stated::Version))
            .collect();
        let all = self.read[self.slot].get(&device);
        let is_void =
            all.is_some_and(|all| all.iter().any(|shown| shown.asked_in < self.loaded_in));
        let invariant = if is_void { Invariant::VoidAnswers } else { Invariant::Gates };
        ensure(!read.is_empty(), invariant, || {
            let last = self.seen(device).next();
            format!("its turn comes, and last was read: {last:?}")
        })?;
        let agrees: Vec<Stated<'a>> =
            read.iter().copied().filter(|read| stated.agrees(*read)).collect();
        ensure(!agrees.is_empty(), Invariant::Gates, || {
            format!("the record states {stated:?}, and last was read: {read:?}")
        })?;
        Ok(agrees)
    }

    /// Before when no roll-back can be inferred: the device was told to be back then, and that is
    /// counted anew after a restart (D12). `None`: it is not known for sure.
    pub(super) fn rollback_from(
        &self,
        device: DeviceId,
        reboot_timeout: Duration,
    ) -> Option<Timestamp> {
        let alone_since = self.alone_since.filter(|_| self.witness == Witness::World)?;
        let back = self.told_online.get(&device).copied().unwrap_or_default();
        Some(back.max(alone_since) + reboot_timeout)
    }

    /// A version was read.
    pub(super) fn has_shown(&mut self, device: DeviceId, version: &str) {
        let lately = self.lately.entry(device).or_default();
        lately.retain(|known| known != version);
        lately.insert(0, version.to_owned());
        lately.truncate(MOST_LATELY);
    }

    /// When the engine was told that the device is offline, if it has heard nothing else since: a
    /// snapshot may have named it as online without any notice.
    pub(super) fn offline_since(&self, device: DeviceId) -> Option<Timestamp> {
        let other = self.told_online.get(&device).max(self.named_at.get(&device)).copied();
        self.told_offline.get(&device).copied().filter(|offline| Some(*offline) > other)
    }

    /// The engine was told where a device is.
    pub(super) fn went(&mut self, device: DeviceId, online: bool, at: Timestamp) {
        let offline = self.offline_since(device).is_some();
        if online {
            self.backs.entry(device).or_default().push(at);
        }
        if online && offline {
            self.connected_at.insert(device, at);
        }
    }

    /// What the engine, told last whether the device is online, must know since then.
    fn known(&self, device: DeviceId) -> Option<(bool, Timestamp)> {
        let alone_since = self.alone_since.filter(|_| self.witness == Witness::World)?;
        let online = self.told_online.get(&device).copied();
        let offline = self.told_offline.get(&device).copied();
        let at = online.max(offline).filter(|at| *at > alone_since.max(self.calm_since))?;
        // A snapshot may have named it since with another presence.
        let at = Some(at).filter(|at| self.named_at.get(&device).is_none_or(|named| named < at))?;
        let is_so = self.online.contains(&device) == (online > offline);
        (is_so && online != offline).then_some((online > offline, at))
    }

    /// A resend is kept back from a device that is known to be offline, and from no other (D8).
    pub(super) fn reached(&self, device: DeviceId, kept_back: bool, at: Timestamp) -> Checked {
        let known = self.known(device).filter(|(_, since)| at.since(*since) > SETTLES);
        let wrong = known.is_some_and(|(online, _)| online == kept_back);
        ensure(!wrong, Invariant::Resends, || {
            format!(
                "its device is known to be online: {known:?}, the resend is kept back: {kept_back}"
            )
        })
    }

    /// A device that came back and said nothing is asked again, before its operation stalls (D24).
    pub(super) fn asked_in_time(
        &self,
        id: OperationId,
        limits: &OperationLimits,
        at: Timestamp,
    ) -> Checked {
        let seen = self.witness == Witness::World && self.alone_since.is_some();
        let Some(operation) = self.operations.get(&id).filter(|_| seen) else { return Ok(()) };
        let device = operation.device;
        let back = self.connected_at.get(&device).copied();
        let back = back.filter(|back| self.told_offline.get(&device).is_none_or(|at| at < back));
        let Some(back) = back.filter(|back| operation.should_have_been_asked(*back, limits)) else {
            return Ok(());
        };
        let unread_at = self.unread_at.get(&device).copied().unwrap_or_default();
        let disturbed = self.calm_since.max(unread_at);
        let waited = at.since(back);
        let calm = disturbed < back;
        ensure(!calm || waited < limits.request_timeout + LOOKS * 2, Invariant::Forgotten, || {
            format!("operation {id} stalls {waited:?} after its device came back and said nothing")
        })
    }

    /// A device that is back after its reboot, and can be read, is judged by what it shows, and not
    /// left until its operation stalls (D12). `reboot_timeout`: the longest that held.
    pub(super) fn judged_in_time(
        &self,
        id: OperationId,
        reboot_timeout: Duration,
        at: Timestamp,
    ) -> Checked {
        let seen = self.witness == Witness::World && self.alone_since.is_some();
        let operation = self.operations.get(&id).filter(|_| seen);
        let Some(operation) = operation.filter(|o| o.is_rebooting() && o.image.is_some()) else {
            return Ok(());
        };
        let device = operation.device;
        let back = self.told_online.get(&device);
        let back = back.filter(|back| self.told_offline.get(&device).is_none_or(|at| at < *back));
        // Of a reboot that is heard of only when the device is back nobody can tell that it is over.
        let back = back.filter(|back| operation.reported_at().is_none_or(|at| at <= **back));
        let Some(back) = back else { return Ok(()) };
        let unread_at = self.unread_at.get(&device).copied().unwrap_or_default();
        let waited = at.since(self.calm_since.max(*back).max(unread_at));
        ensure(waited < reboot_timeout + LOOKS, Invariant::Reconciliation, || {
            format!(
                "operation {id} stalls {waited:?} after its device came back, which is judged by \
                 its version after {reboot_timeout:?}"
            )
        })
    }

    /// An operation starts for the first time, with a URL of its own or its image's (D23).
    pub(super) fn started_with(&self, id: OperationId, url: Option<&str>) -> Checked {
        match self.witness {
            Witness::World => self.urls.started(self.slot, id, url, self.loaded_in),
            Witness::Log => Ok(()),
        }
    }

    /// A request is sent again after a restart: not before the device was looked at, which may
    /// have finished it (D12).
    pub(super) fn looked_before_reissue(&self, device: DeviceId) -> Checked {
        let looked = self.witness == Witness::Log || self.shown(device, |_| true).is_ok();
        ensure(looked, Invariant::Reconciliation, || {
            "sent again after a restart without a look at what the device shows".to_owned()
        })
    }

    /// What the device last showed, however long ago; of several answers that may be meant the
    /// latest that fits.
    pub(super) fn shown(&self, device: DeviceId, fits: impl Fn(&Option<String>) -> bool) -> Read {
        let fitting = self.seen(device).find(|shown| shown.version.as_ref().is_ok_and(&fits));
        let last = fitting.or_else(|| self.seen(device).next());
        last.map_or(Err(Unread), |shown| shown.version.clone())
    }

    pub(super) fn take_device(&mut self, device: DeviceId, operation: OperationId) -> Checked {
        let holder = *self.holders.entry(device).or_insert(operation);
        ensure(holder == operation, Invariant::OneOperation, || {
            format!("operation {operation} starts while operation {holder} is active")
        })
    }

    /// What follows from a time-out is not put off, unless something disturbed the engine (D8, D9).
    pub(super) fn in_time(&self, id: OperationId, timeout: Timeout, at: Timestamp) -> Checked {
        let seen = self.witness == Witness::World && self.alone_since.is_some();
        let Some(operation) = self.operations.get(&id).filter(|_| seen) else { return Ok(()) };
        let (due, invariant) = match timeout {
            // What may not have left before a crash leaves once more, when the device can be read.
            Timeout::Request if !operation.is_answered() => return Ok(()),
            Timeout::Request => (operation.deadline(), Invariant::Resends),
            Timeout::Stall => (operation.stalls_at(), Invariant::Stall),
        };
        let late = due.map_or(Duration::ZERO, |due| at.since(due.max(self.calm_since)));
        ensure(late < LOOKS, invariant, || {
            format!("operation {id}: its time-out at {due:?} has an effect {late:?} later")
        })
    }

    /// The operation has ended.
    pub(super) fn end(&mut self, id: OperationId, at: Timestamp) -> Checked {
        if let Some(operation) = self.operations.get_mut(&id) {
            let calm_since = self.calm_since;
            let waits = operation.request_waits_since().filter(|since| *since > calm_since);
            let waited = waits.map_or(Duration::ZERO, |since| at.since(since));
            let seen = self.witness == Witness::World && self.alone_since.is_some();
            ensure(!seen || waited < LEAVES, Invariant::RecordThenAct, || {
                format!(
                    "operation {id} ends {waited:?} after a request was decided that never left"
                )
            })?;
            let waits = operation.cancel_waits_since();
            let waited = waits.map_or(Duration::ZERO, |since| at.since(since.max(calm_since)));
            let believed = self.witness == Witness::Log;
            ensure(believed || waited < LEAVES, Invariant::Cancel, || {
                format!("operation {id} ends {waited:?} after a Cancel was wanted, and none left")
            })?;
            ensure(!operation.has_ended(), Invariant::ForwardOnly, || {
                format!("operation {id} ends a second time")
            })?;
            operation.ended_at = Some(at);
            let device = operation.device;
            if self.holders.get(&device) == Some(&id) {
                self.holders.remove(&device);
            }
        }
        Ok(())
    }

    /// A late report is recorded. One that says the same soon after is not, unless the engine has
    /// forgotten it over a start or a load.
    pub(super) fn late(&mut self, id: OperationId, status: ReportStatus, at: Timestamp) -> Checked {
        let is_known = self.alone_since.is_some() && self.witness == Witness::World;
        let since = self.calm_since;
        let again = self.operation(id)?.reported_late(status, at, since);
        ensure(!(again && is_known), Invariant::ForwardOnly, || {
            format!("the late report {status} is recorded again and again")
        })
    }

    pub(super) fn operation(&mut self, id: OperationId) -> Result<&mut Op, Broken> {
        self.operations
            .get_mut(&id)
            .ok_or_else(|| (Invariant::RecordThenAct, format!("operation {id} was never recorded")))
    }
}
