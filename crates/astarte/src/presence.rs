//! Where devices are, as far as a realm's Astarte has said it, in the order in which it was heard.
//!
//! Two things tell. A *notice* (a trigger) says what happened and when by Astarte's clock; notices are
//! repeated, and one that is delivered again is overtaken by later ones. A *look* (a status that is
//! read) is as new as the moment in which it was asked for. So a look is newer than every notice that
//! was received before it began, and a notice that is received while a look is under way is newer
//! than that look. Stamps decide between notices only: Astarte has more clocks than one, and each can
//! be put right. Where a notice contradicts by its stamp what is known, it is *doubtful*, and only
//! another look can tell.
//!
//! What is known here was heard by somebody; whom else it is still to be told is another question,
//! which [`Told`](crate::told::Told) answers for each engine.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_core::{DeviceId, Presence, Timestamp};
use hedgerow_engine::{Moment, Sighting};
use tokio::time::Instant;

use crate::DeviceStatus;

/// Devices that are known at once; about 200 bytes each.
const MOST_DEVICES: usize = 200_000;
/// A stamp that is further ahead of our clock than this is a wrong clock's, and means "now".
const AHEAD: Duration = Duration::from_secs(60);
/// As wrong as a clock is that was set in another time zone.
const OTHER_ZONE: Duration = Duration::from_secs(14 * 3_600);

/// Online or offline, and since when by Astarte's stamp: one connection, or the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) is_online: bool,
    pub(crate) stamp: Timestamp,
}

impl Standing {
    /// What a status says. Its other stamp is that of an earlier time, whatever clock it is from.
    fn of(status: &DeviceStatus) -> Self {
        let is_online = status.is_online();
        let stamp = if is_online { status.last_connection() } else { status.last_disconnection() };
        Self { is_online, stamp: stamp.unwrap_or_default() }
    }
}

/// What a look found, or something newer that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where the device is; `None`: there is no such device.
    pub(crate) presence: Option<Presence>,
    /// The same by Astarte's stamp.
    pub(crate) standing: Option<Standing>,
    /// What was known of the device first of all, before this look: nobody knows less.
    pub(crate) first: Option<Standing>,
    pub(crate) as_of: Moment,
}

impl Found {
    /// The same as the engine is told it.
    pub(crate) fn sighting(&self) -> Sighting {
        Sighting { presence: self.presence, as_of: self.as_of }
    }
}

/// What a notice says of a device, against what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is newer than everything that is known, and is known now.
    News(Found),
    /// This is known, and is at least as new.
    Known(Found),
    /// Only a look can tell.
    Doubtful,
}

#[derive(Debug)]
pub(crate) struct PresenceTable {
    state: Mutex<State>,
    ahead: AtomicU64,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<DeviceId, Known>,
    by_age: BTreeSet<(Moment, DeviceId)>,
    /// Of a device that is not in the table nothing newer than this was forgotten.
    horizon: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    presence: Option<Presence>,
    standing: Option<Standing>,
    first: Option<Standing>,
    as_of: Moment,
    by_look: bool,
    /// When this came to be known here.
    learned: Instant,
    /// Whether it was there already when the device was first looked at.
    at_first_look: bool,
}

impl Known {
    fn found(&self) -> Found {
        let Self { presence, standing, first, as_of, .. } = *self;
        Found { presence, standing, first, as_of }
    }
}

impl PresenceTable {
    /// An empty table at that time: what happened before it may have been told to an earlier
    /// process.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self::with_capacity(now, MOST_DEVICES)
    }

    fn with_capacity(horizon: Timestamp, most: usize) -> Self {
        let state = Mutex::new(State { horizon, ..State::default() });
        Self { state, ahead: AtomicU64::new(0), most }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was stamped far ahead of our clock.
    pub(crate) fn stamped_ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Takes what a look found that was begun at that moment, and gives the newest.
    pub(crate) fn look(&self, status: &DeviceStatus, began: Moment, now: Timestamp) -> Found {
        self.looked(status.id, Some(Standing::of(status)), began, now)
    }

    /// Takes that a look begun at that moment found no such device, and gives the newest.
    pub(crate) fn missing(&self, device: DeviceId, began: Moment) -> Found {
        self.looked(device, None, began, Timestamp::default())
    }

    fn looked(
        &self,
        device: DeviceId,
        standing: Option<Standing>,
        began: Moment,
        now: Timestamp,
    ) -> Found {
        let mut state = self.state();
        let before = state.known.get(&device).copied();
        let first = before.and_then(|known| known.first);
        if let Some(known) = before.filter(|known| known.as_of > began) {
            return Found { first, ..known.found() };
        }
        let known = match before.filter(|known| known.standing == standing) {
            Some(known) => Known { as_of: began, by_look: true, ..known },
            None => Known {
                by_look: true,
                at_first_look: before.is_none(),
                ..self.fresh(before, standing, began, now, false)
            },
        };
        self.put(&mut state, device, known, now);
        Found { first, ..known.found() }
    }

    /// Takes a notice that was received at that moment, unless it is doubtful.
    pub(crate) fn notice(
        &self,
        device: DeviceId,
        standing: Standing,
        heard: Moment,
        now: Timestamp,
    ) -> Judgement {
        let mut state = self.state();
        let before = state.known.get(&device).copied();
        match before {
            None if standing.stamp <= state.horizon => return Judgement::Doubtful,
            None => {}
            // That was asked for after the notice was received.
            Some(known) if known.by_look && known.as_of > heard => {
                return Judgement::Known(known.found());
            }
            Some(Known { standing: None, .. }) => return Judgement::Doubtful,
            Some(known @ Known { standing: Some(newest), .. }) => {
                if newest == standing {
                    return Judgement::Known(known.found());
                }
                if newest.stamp >= standing.stamp {
                    return if newest.is_online == standing.is_online {
                        Judgement::Known(known.found())
                    } else {
                        Judgement::Doubtful
                    };
                }
            }
        }
        let known = self.fresh(before, Some(standing), heard, now, true);
        self.put(&mut state, device, known, now);
        Judgement::News(known.found())
    }

    /// Takes a notice as it was told: a doubtful one, if no look is possible.
    pub(crate) fn believe(
        &self,
        device: DeviceId,
        standing: Standing,
        heard: Moment,
        now: Timestamp,
    ) -> Found {
        let mut state = self.state();
        let known = state.known.get(&device).copied();
        let known = self.fresh(known, Some(standing), heard, now, true);
        self.put(&mut state, device, known, now);
        known.found()
    }

    /// Takes a notice, received at that moment, that the device is deleted.
    pub(crate) fn removed(&self, device: DeviceId, heard: Moment) {
        let mut state = self.state();
        let known = state.known.get(&device).copied();
        let known = self.fresh(known, None, heard, Timestamp::default(), true);
        self.put(&mut state, device, known, Timestamp::default());
    }

    /// What a look found, or what was heard since that look began.
    pub(crate) fn newest(&self, device: DeviceId, found: Found) -> Found {
        match self.state().known.get(&device) {
            Some(known) if known.as_of > found.as_of => {
                Found { first: found.first, ..known.found() }
            }
            _ => found,
        }
    }

    /// Where the device is known to be by Astarte's stamp, and where it was known to be first.
    pub(crate) fn known(&self, device: DeviceId) -> Option<Found> {
        self.state().known.get(&device).map(Known::found)
    }

    /// Whether its connection came to be known so short a time ago that it may be as new as that.
    /// Of one that was there when its device was first looked at only its stamp can say more, and
    /// that only if it is older than clocks are wrong.
    pub(crate) fn has_just_connected(
        &self,
        device: DeviceId,
        within: Duration,
        now: Timestamp,
    ) -> bool {
        let state = self.state();
        let Some(known) = state.known.get(&device) else { return false };
        let Some(Standing { is_online: true, stamp }) = known.standing else { return false };
        let is_old = known.at_first_look && now.since(stamp) >= OTHER_ZONE;
        known.learned.elapsed() < within && !is_old
    }

    /// What is known from now on, in place of what was.
    fn fresh(
        &self,
        before: Option<Known>,
        standing: Option<Standing>,
        as_of: Moment,
        now: Timestamp,
        by_notice: bool,
    ) -> Known {
        if let Some(Standing { stamp, .. }) = standing
            && stamp > now + AHEAD
        {
            let times = self.ahead.fetch_add(1, Ordering::Relaxed) + 1;
            // One clock that is wrong would fill the log.
            if times.is_power_of_two() {
                tracing::warn!(%stamp, %now, times, "Astarte's stamp is far ahead of our clock: it is taken for now");
            }
        }
        let presence = standing.map(|Standing { is_online, stamp }| match is_online {
            // What is told of at once began now by our clock, whatever Astarte's says. A look can
            // come at any time later.
            true if by_notice => Presence::Online { since: now },
            true => Presence::Online { since: stamp.min(now) },
            false => Presence::Offline,
        });
        Known {
            presence,
            standing,
            first: before.map_or(standing, |known| known.first),
            as_of: before.map_or(as_of, |known| known.as_of.max(as_of)),
            by_look: false,
            learned: Instant::now(),
            at_first_look: false,
        }
    }

    fn put(&self, state: &mut State, device: DeviceId, known: Known, now: Timestamp) {
        if let Some(before) = state.known.insert(device, known) {
            state.by_age.remove(&(before.as_of, device));
        }
        state.by_age.insert((known.as_of, device));
        if state.known.len() > self.most
            && let Some((_, device)) = state.by_age.pop_first()
            && let Some(forgotten) = state.known.remove(&device)
            && let Some(Standing { stamp, .. }) = forgotten.standing
        {
            // A stamp ahead of all clocks must not cast doubt on every device for as long.
            state.horizon = state.horizon.max(stamp.min(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONLINE: bool = true;
    const OFFLINE: bool = false;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_bytes([byte; 16])
    }

    fn standing(seconds: i64, is_online: bool) -> Standing {
        Standing { is_online, stamp: at(seconds) }
    }

    /// A table of devices, and what is heard of them one after the other at second 100.
    struct Heard(PresenceTable);

    impl Heard {
        fn notice(&self, byte: u8, seconds: i64, is_online: bool) -> Judgement {
            self.notice_from(Moment::now(), byte, seconds, is_online)
        }

        fn notice_from(&self, heard: Moment, byte: u8, seconds: i64, is: bool) -> Judgement {
            self.0.notice(device(byte), standing(seconds, is), heard, at(100))
        }

        fn look(&self, began: Moment, byte: u8, seconds: i64, is_online: bool) -> Found {
            self.0.looked(device(byte), Some(standing(seconds, is_online)), began, at(100))
        }

        fn is_online(&self, byte: u8) -> Option<bool> {
            self.0.known(device(byte))?.presence.map(|presence| presence != Presence::Offline)
        }
    }

    fn is_news(judgement: Judgement) -> bool {
        matches!(judgement, Judgement::News(_))
    }

    #[test]
    fn a_notice_with_a_later_stamp_is_news_and_one_that_contradicts_a_later_one_is_doubtful() {
        let heard = Heard(PresenceTable::new(at(9)));
        assert_eq!(heard.notice(1, 9, ONLINE), Judgement::Doubtful, "before the start");
        assert!(is_news(heard.notice(1, 10, ONLINE)));
        assert!(matches!(heard.notice(1, 10, ONLINE), Judgement::Known(_)), "repeated");
        assert!(matches!(heard.notice(1, 9, ONLINE), Judgement::Known(_)), "overtaken");
        assert_eq!(
            heard.notice(1, 9, OFFLINE),
            Judgement::Doubtful,
            "overtaken, or a clock put back"
        );
        assert_eq!(heard.notice(1, 10, OFFLINE), Judgement::Doubtful, "the same moment");
        assert!(is_news(heard.notice(1, 11, OFFLINE)));
        assert_eq!(heard.is_online(1), Some(false));
    }

    #[test]
    fn a_look_is_newer_than_every_notice_before_it_whatever_their_stamps() {
        let heard = Heard(PresenceTable::new(at(9)));
        assert!(is_news(heard.notice(1, 3_700, OFFLINE)), "a clock that is an hour ahead");
        assert_eq!(heard.0.stamped_ahead(), 1);
        let found = heard.look(Moment::now(), 1, 50, ONLINE);
        assert_eq!(found.presence, Some(Presence::Online { since: at(50) }));
        assert!(is_news(heard.notice(1, 60, OFFLINE)), "the clock is right again");
        // The clock is put back, and a look shows what came of it.
        heard.look(Moment::now(), 1, 20, ONLINE);
        assert_eq!(heard.is_online(1), Some(true));
    }

    #[test]
    fn a_notice_during_a_look_is_newer_than_that_look() {
        let heard = Heard(PresenceTable::new(at(9)));
        let began = Moment::now();
        let found = heard.look(began, 2, 8, OFFLINE);
        assert!(is_news(heard.notice(1, 10, ONLINE)));
        assert!(is_news(heard.notice(2, 10, ONLINE)));
        let online = Some(Presence::Online { since: at(100) });
        assert_eq!(heard.look(began, 1, 8, OFFLINE).presence, online, "its answer came later");
        assert_eq!(found.presence, Some(Presence::Offline), "it was read at once");
        assert_eq!(heard.0.newest(device(2), found).presence, online, "and is handed out later");
        heard.0.removed(device(2), Moment::now());
        assert_eq!(heard.0.newest(device(2), found).presence, None);
    }

    #[test]
    fn a_notice_that_waited_while_a_look_began_says_no_more_than_that_look() {
        let heard = Heard(PresenceTable::new(at(9)));
        let waiting = Moment::now();
        heard.look(Moment::now(), 1, 20, ONLINE);
        let judged = heard.notice_from(waiting, 1, 30, OFFLINE);
        assert!(
            matches!(judged, Judgement::Known(found) if found.presence.is_some()),
            "{judged:?}"
        );
        assert_eq!(heard.is_online(1), Some(true));
        assert!(is_news(heard.notice(1, 30, OFFLINE)));
    }

    #[test]
    fn of_two_looks_the_one_that_began_later_counts() {
        let heard = Heard(PresenceTable::new(at(9)));
        let (early, late) = (Moment::now(), Moment::now());
        heard.look(late, 1, 20, ONLINE);
        heard.look(early, 1, 15, OFFLINE);
        assert_eq!(heard.is_online(1), Some(true));
    }

    #[test]
    fn what_was_known_first_stays_until_it_is_forgotten() {
        let heard = Heard(PresenceTable::new(at(9)));
        assert_eq!(heard.look(Moment::now(), 1, 8, OFFLINE).first, None);
        let found = heard.look(Moment::now(), 1, 20, ONLINE);
        assert_eq!(found.first, Some(standing(8, OFFLINE)));
        assert_eq!(found.standing, Some(standing(20, ONLINE)));
    }

    #[test]
    fn a_connection_is_new_by_when_it_was_heard_of_and_not_by_its_stamp() {
        let table = PresenceTable::new(at(0));
        let soon = Duration::from_secs(3_600);
        let now = at(1_000_000);
        let lately = |byte| table.has_just_connected(device(byte), soon, now);
        // Astarte's clock is behind by days.
        table.notice(device(1), standing(1_000, ONLINE), Moment::now(), now);
        assert!(lately(1));
        assert!(!table.has_just_connected(device(1), Duration::ZERO, now), "long ago");
        // One that is there at the first look may be there since long; its stamp tells.
        table.looked(device(2), Some(standing(1_000, ONLINE)), Moment::now(), now);
        table.looked(device(3), Some(standing(999_000, ONLINE)), Moment::now(), now);
        assert!(!lately(2) && lately(3));
        table.looked(device(2), Some(standing(2_000, ONLINE)), Moment::now(), now);
        assert!(lately(2), "it connected anew since");
    }

    #[test]
    fn what_may_be_older_than_something_forgotten_is_doubtful() {
        let heard = Heard(PresenceTable::with_capacity(at(5), 2));
        assert_eq!(heard.notice(1, 5, ONLINE), Judgement::Doubtful, "before the start");
        assert!(is_news(heard.notice(1, 10, ONLINE)));
        assert!(is_news(heard.notice(2, 11, ONLINE)));
        assert!(is_news(heard.notice(3, 12, ONLINE)));
        assert_eq!(heard.is_online(1), None, "what was heard of longest ago is forgotten");
        assert_eq!(heard.notice(1, 10, OFFLINE), Judgement::Doubtful);
        assert!(is_news(heard.notice(1, 11, OFFLINE)));
        for second in 13..1_000 {
            heard.notice(u8::try_from(second % 200).unwrap_or(0), second, ONLINE);
            let state = heard.0.state();
            assert!(state.known.len() <= 2 && state.known.len() == state.by_age.len());
        }
        assert!(heard.0.state().horizon <= at(100), "stamps ahead do not count");
    }
}
