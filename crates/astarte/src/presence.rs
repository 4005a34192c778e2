//! Who is online, decided by Astarte's stamps and not by the order in which events arrive: deliveries
//! are repeated, and a delivery that was tried again is overtaken by later ones.
//!
//! For each device the newest stamp is kept, for so many devices as the memory allows. A stamp is
//! *doubtful* if nothing newer is known of the device but something might have been forgotten; then
//! Astarte is asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_core::{DeviceId, Presence, Timestamp};

use crate::DeviceStatus;
use crate::whereabouts::{Whereabouts, stamp};

/// Devices whose newest stamp is kept; about 100 bytes each.
const MOST_DEVICES: usize = 200_000;

/// What an event says of a device, against what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is newer than everything that is known.
    News,
    /// It changes nothing: a repetition, or overtaken by something newer.
    Old,
    /// It may be either.
    Doubtful,
}

#[derive(Debug)]
pub(crate) struct PresenceTable {
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    newest: HashMap<DeviceId, (Timestamp, bool)>,
    by_age: BTreeSet<(Timestamp, DeviceId)>,
    /// Of a device that is not in the table nothing newer than this was forgotten.
    horizon: Timestamp,
}

impl PresenceTable {
    /// An empty table at that time: what happened before it may have been told to an earlier
    /// process.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self::with_capacity(now, MOST_DEVICES)
    }

    fn with_capacity(horizon: Timestamp, most: usize) -> Self {
        Self { state: Mutex::new(State { horizon, ..State::default() }), most }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges what an event stamped `at` says of a device. It is not noted.
    pub(crate) fn judge(&self, device: DeviceId, at: Timestamp, online: bool) -> Judgement {
        let state = self.state();
        match state.newest.get(&device) {
            Some(&(newest, _)) if at > newest => Judgement::News,
            Some(&(newest, known)) if at == newest && known != online => Judgement::Doubtful,
            Some(_) => Judgement::Old,
            None if at > state.horizon => Judgement::News,
            None => Judgement::Doubtful,
        }
    }

    /// Whether the device is known to be online; `None` if nothing is known of it.
    pub(crate) fn online(&self, device: DeviceId) -> Option<bool> {
        self.state().newest.get(&device).map(|(_, online)| *online)
    }

    /// Whether something newer than that stamp is known of a device.
    pub(crate) fn is_newer_known(&self, device: DeviceId, at: Timestamp) -> bool {
        self.state().newest.get(&device).is_some_and(|(newest, _)| *newest > at)
    }

    /// Notes where a device was at that time, unless something newer is known.
    pub(crate) fn note(&self, device: DeviceId, at: Timestamp, online: bool) {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(&(newest, _)) = state.newest.get(&device) {
            if newest > at {
                return;
            }
            state.by_age.remove(&(newest, device));
        }
        state.newest.insert(device, (at, online));
        state.by_age.insert((at, device));
        if state.newest.len() > self.most
            && let Some((forgotten, device)) = state.by_age.pop_first()
        {
            state.newest.remove(&device);
            state.horizon = state.horizon.max(forgotten);
        }
    }

    /// Notes what was read at Astarte, and gives the newer of that and what was known.
    pub(crate) fn read(&self, status: &DeviceStatus) -> Whereabouts {
        self.compare(status.id, status.presence(), stamp(status))
    }

    fn compare(&self, device: DeviceId, presence: Presence, stamp: Timestamp) -> Whereabouts {
        let known = self.state().newest.get(&device).copied();
        match known {
            Some((at, online)) if at > stamp => {
                let presence =
                    if online { Presence::Online { since: at } } else { Presence::Offline };
                Whereabouts { presence, stamp: at, is_news: false }
            }
            _ => {
                let online = presence != Presence::Offline;
                self.note(device, stamp, online);
                Whereabouts { presence, stamp, is_news: known != Some((stamp, online)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_bytes([byte; 16])
    }

    #[test]
    fn the_stamp_decides_and_not_the_order_of_arrival() {
        let table = PresenceTable::new(at(9));
        table.note(device(1), at(10), true);
        assert_eq!(table.judge(device(1), at(9), false), Judgement::Old, "overtaken");
        assert_eq!(table.judge(device(1), at(10), true), Judgement::Old, "repeated");
        assert_eq!(table.judge(device(1), at(10), false), Judgement::Doubtful, "the same moment");
        assert_eq!(table.judge(device(1), at(11), false), Judgement::News);
        table.note(device(1), at(9), false);
        assert_eq!(table.online(device(1)), Some(true));
    }

    #[test]
    fn what_may_be_older_than_something_forgotten_is_doubtful() {
        let table = PresenceTable::with_capacity(at(5), 2);
        assert_eq!(table.judge(device(1), at(5), true), Judgement::Doubtful, "before the start");
        table.note(device(1), at(10), true);
        assert_eq!(table.judge(device(2), at(11), true), Judgement::News);
        table.note(device(2), at(11), true);
        table.note(device(3), at(12), true);
        assert_eq!(table.online(device(1)), None, "the oldest is forgotten");
        assert_eq!(table.judge(device(1), at(10), false), Judgement::Doubtful);
        assert_eq!(table.judge(device(1), at(11), false), Judgement::News);
        for second in 13..1_000 {
            table.note(device(u8::try_from(second % 200).unwrap_or(0)), at(second), true);
            let state = table.state();
            assert!(state.newest.len() <= 2 && state.newest.len() == state.by_age.len());
        }
    }

    #[test]
    fn what_was_read_gives_way_to_a_newer_event() {
        let table = PresenceTable::new(at(9));
        table.note(device(1), at(10), false);
        let online = Presence::Online { since: at(8) };
        let read = |byte, stamp| {
            let found = table.compare(device(byte), online, at(stamp));
            (found.presence, found.is_news)
        };
        assert_eq!(read(1, 8), (Presence::Offline, false));
        assert_eq!(read(1, 10), (online, true));
        assert_eq!(read(1, 10), (online, false));
        assert_eq!(read(2, 8), (online, true));
    }
}
