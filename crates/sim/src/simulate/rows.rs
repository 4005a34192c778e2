//! Rows beside the engines of a run, made as a service makes them: each engine has a follower, which
//! ends with it; its log and its rows fail as often as the profile says of the store, and it is
//! interrupted in the middle of a step. What comes of that is drawn from numbers of its own, so that
//! nothing else in a run depends on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use hedgerow_core::{StoredEvent, StreamId, TenantId};
use hedgerow_engine::store::{EventStore, StoreError, StoreLayer};
use hedgerow_engine::view::{
    FollowError, Follower, MemoryViews, RowKey, Step, StepError, ViewError, ViewLayer, ViewStore,
    Views,
};

use super::fault::FaultKind;
use super::profile::Profile;
use crate::blocking::BlockingStore;
use crate::random::Random;

/// A follower goes on after so many of a thousand steps of a run.
const GOES_ON: u16 = 5;
/// Rows are compared after so many of a thousand starts of an engine: after each, a run took a quarter
/// longer.
const COMPARED: u16 = 250;
/// It makes far fewer calls than an engine, so that many more of them fail.
const OFTENER: u16 = 5;

/// What becomes of the calls of followers.
struct Dice {
    random: Random,
    is_on: bool,
    read_fails: u16,
    write_fails: u16,
    answer_lost: u16,
    killed: u16,
    /// The most events that are read at once.
    most: usize,
}

#[derive(Clone)]
struct Chance(Arc<Mutex<Dice>>);

impl Chance {
    fn new(seed: u64, profile: &Profile) -> Self {
        let mut random = Random::for_device(seed, 3, 1 << 41);
        let rates = profile.rates();
        let rate = |kind: FaultKind| rates[kind as usize].saturating_mul(OFTENER).min(300);
        let most = usize::try_from(random.between(1..=200)).unwrap_or(1);
        Self(Arc::new(Mutex::new(Dice {
            is_on: true,
            read_fails: rate(FaultKind::ReadFails),
            write_fails: rate(FaultKind::AppendFails),
            answer_lost: rate(FaultKind::AppendAnswerLost),
            killed: rate(FaultKind::AppendKills),
            most,
            random,
        })))
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happens(&self, rate: impl Fn(&Dice) -> u16) -> bool {
        let mut dice = self.dice();
        let rate = rate(&dice);
        dice.is_on && rate > 0 && dice.random.chance(rate)
    }
}

/// The log as a follower sees it.
struct Log {
    log: BlockingStore,
    chance: Chance,
}

impl Log {
    fn read<'a>(
        &self,
        page: BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>>,
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>> {
        if self.chance.happens(|dice| dice.killed) {
            return pending().boxed();
        }
        if self.chance.happens(|dice| dice.read_fails) {
            let detail = "an injected fault".to_owned();
            return ready(Err(StoreError::Unavailable { detail })).boxed();
        }
        page
    }
}

impl StoreLayer for Log {
    fn inner(&self) -> &dyn EventStore {
        &self.log
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let most = self.chance.dice().most;
        self.read(self.log.read_all(after, limit.min(most)))
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.read(self.log.read_stream(tenant, stream, after, limit))
    }
}

/// The rows as a follower sees them.
struct Faulty {
    rows: MemoryViews,
    chance: Chance,
}

fn failure() -> ViewError {
    ViewError::Unavailable { detail: "an injected fault".to_owned() }
}

impl ViewLayer for Faulty {
    fn inner(&self) -> &dyn ViewStore {
        &self.rows
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        if self.chance.happens(|dice| dice.killed) {
            return pending().boxed();
        }
        if self.chance.happens(|dice| dice.write_fails) {
            return ready(Err(failure().into())).boxed();
        }
        let written = self.rows.write(step);
        if self.chance.happens(|dice| dice.killed) {
            return pending().boxed();
        }
        let lost = self.chance.happens(|dice| dice.answer_lost);
        if lost { ready(Err(failure().into())).boxed() } else { written }
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        let fails = self.chance.happens(|dice| dice.read_fails);
        if fails { ready(Err(failure())).boxed() } else { self.rows.get(keys) }
    }
}

/// See the module's documentation.
pub(super) struct Rows {
    kept: MemoryViews,
    chance: Chance,
    /// That of each engine, and the log that it follows.
    followers: [Option<(Follower, BlockingStore)>; 2],
}

impl Rows {
    pub(super) fn new(seed: u64, profile: &Profile) -> Self {
        Self {
            kept: MemoryViews::new(),
            chance: Chance::new(seed, profile),
            followers: [None, None],
        }
    }

    fn follower(&self, log: &BlockingStore) -> Follower {
        let rows = Faulty { rows: self.kept.clone(), chance: self.chance.clone() };
        let log = Log { log: log.clone(), chance: self.chance.clone() };
        Follower::new(Arc::new(log), Arc::new(rows))
    }

    /// An engine starts on this log, and with it a follower.
    pub(super) fn engine_starts(&mut self, slot: usize, log: &Arc<dyn EventStore>) {
        let log = BlockingStore::new(Arc::clone(log));
        self.followers[slot] = Some((self.follower(&log), log));
    }

    /// It has died.
    pub(super) fn engine_died(&mut self, slot: usize) {
        self.followers[slot] = None;
    }

    /// There are no faults any more.
    pub(super) fn heal(&mut self) {
        self.chance.dice().is_on = false;
    }

    /// Followers may go on: at their own times.
    pub(super) fn go_on(&mut self) {
        for slot in 0..self.followers.len() {
            if self.followers[slot].is_some() && self.chance.dice().random.chance(GOES_ON) {
                self.step(slot);
            }
        }
    }

    /// A step, that fails or not. One that has no end is that of a follower that was interrupted in
    /// it: another one takes its place.
    fn step(&mut self, slot: usize) {
        let Some((follower, log)) = &mut self.followers[slot] else { return };
        if follower.step().now_or_never().is_none() {
            let log = log.clone();
            self.followers[slot] = Some((self.follower(&log), log));
        }
    }

    /// The follower of this engine goes as far as the log does, and nothing fails meanwhile; `None`:
    /// there is none.
    pub(super) fn caught_up(&mut self, slot: usize) -> Option<Result<Views, FollowError>> {
        let (follower, _) = self.followers[slot].as_mut()?;
        let was_on = std::mem::take(&mut self.chance.dice().is_on);
        let caught_up = loop {
            match follower.step().now_or_never() {
                Some(Ok(0)) => break Ok(Views::new(Arc::new(self.kept.clone()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => {
                    let detail = "a step has no end".to_owned();
                    break Err(ViewError::Unavailable { detail }.into());
                }
            }
        };
        self.chance.dice().is_on = was_on;
        Some(caught_up)
    }

    /// Whether rows are compared after this start of an engine.
    pub(super) fn is_compared(&self) -> bool {
        self.chance.dice().random.chance(COMPARED)
    }

    /// What to draw from when rows are compared.
    pub(super) fn random(&self) -> Random {
        Random::new(self.chance.dice().random.next_u64())
    }
}
