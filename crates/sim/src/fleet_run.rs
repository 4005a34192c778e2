//! An engine and a fleet in virtual time: one step after another, each as long as wanted.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hedgerow_core::{Campaign, CampaignId, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::{EventStore, StoreError};
use hedgerow_engine::{Engine, EngineBuilder, EngineError, Observation, campaign_at};

use crate::blocking::BlockingStore;
use crate::fleet::Fleet;
use crate::runtime::{Executor, VirtualClock};

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetRunError<K: std::error::Error> {
    /// The store failed; what it holds is whole.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The world could not be kept.
    #[error("the state of the simulated devices could not be kept: {0}")]
    Keep(K),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine waits for something that does not come.
    #[error("the engine does not answer")]
    Stuck,
}

/// Keeps the world while no engine has been promised anything.
pub trait KeepWorld {
    /// Why it could not be kept.
    type Error: std::error::Error;

    /// Keeps these devices and the time, whole or not at all.
    ///
    /// # Errors
    /// If it could not be kept.
    fn keep(
        &mut self,
        now: Timestamp,
        changed: &[(u32, crate::device::SimulatedDevice)],
    ) -> Result<(), Self::Error>;
}

/// A running engine with its fleet.
pub struct FleetRun<K> {
    tenant: TenantId,
    fleet: Fleet,
    keeper: K,
    clock: VirtualClock,
    executor: Executor,
    store: BlockingStore,
    engine: Engine,
}

impl<K: KeepWorld> FleetRun<K> {
    /// Starts an engine on a store, at `now`.
    ///
    /// # Errors
    /// [`FleetRunError`] if it does not start.
    pub fn start(
        tenant: TenantId,
        fleet: Fleet,
        keeper: K,
        store: Arc<dyn EventStore>,
        now: Timestamp,
    ) -> Result<Self, FleetRunError<K::Error>> {
        let clock = VirtualClock::new(now);
        let mut executor = Executor::default();
        let store = BlockingStore::new(store);
        let builder = EngineBuilder::new(
            Arc::new(store.clone()),
            Arc::new(fleet.platform()),
            Arc::new(fleet.platform()),
            Arc::new(clock.clone()),
            Arc::new(executor.spawner()),
        )
        .concurrent_calls(100_000)
        .look_for_others(None);
        let engine = executor.run(builder.start()).ok_or(FleetRunError::Stuck)??;
        Ok(Self { tenant, fleet, keeper, clock, executor, store, engine })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs something that asks the engine, and returns its answer.
    ///
    /// # Errors
    /// [`FleetRunError`] if the store failed or the engine does not answer.
    pub fn ask<T: Send + 'static>(
        &mut self,
        ask: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, FleetRunError<K::Error>> {
        let answer = self.executor.run(ask);
        self.settle()?;
        answer.ok_or(FleetRunError::Stuck)
    }

    /// A campaign as it stands: from memory, or folded from the log if it has ended long ago. `None`:
    /// there is none.
    ///
    /// # Errors
    /// [`FleetRunError`] if the store failed or the log cannot be folded.
    pub fn campaign(
        &mut self,
        id: CampaignId,
    ) -> Result<Option<Campaign>, FleetRunError<K::Error>> {
        let (engine, tenant) = (self.engine(), self.tenant.clone());
        if let Some(state) = self.ask(async move { engine.state(&tenant, id).await })?? {
            return Ok(Some(state));
        }
        let (store, tenant) = (self.store.clone(), self.tenant.clone());
        let folded = self.ask(async move { campaign_at(&store, &tenant, id, None).await })?;
        folded.map_err(|cause| {
            let stream = StreamId::Campaign(id);
            EngineError::Quarantined { stream, cause: Box::new(cause) }.into()
        })
    }

    /// When something happens next.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        [self.clock.next_sleep(), self.fleet.next_wake()].into_iter().flatten().min()
    }

    /// Goes on to `now`: everything that devices did until then is told, then timers fire.
    ///
    /// # Errors
    /// [`FleetRunError`] if the store or the world failed.
    pub fn advance_to(&mut self, now: Timestamp) -> Result<(), FleetRunError<K::Error>> {
        self.clock.advance_to(now);
        self.fleet.advance_to(now);
        let seen = self.fleet.take_observations();
        self.tell(seen)?;
        self.clock.ring();
        self.settle()
    }

    /// Tells the engine what devices did, and waits until it has recorded what follows.
    fn tell(&mut self, seen: Vec<Observation>) -> Result<(), FleetRunError<K::Error>> {
        let engine = self.engine.clone();
        let tenant = self.tenant.clone();
        let told = self.executor.run(async move {
            join_all(seen.into_iter().map(|seen| engine.observe(&tenant, seen))).await.len()
        });
        self.check()?;
        told.map(|_| ()).ok_or(FleetRunError::Stuck)
    }

    /// Lets the engine work until nothing is left to do at this instant. The world is kept after
    /// the engine has recorded what devices did by themselves, and before anybody learns what they
    /// did because of requests.
    fn settle(&mut self) -> Result<(), FleetRunError<K::Error>> {
        loop {
            self.executor.run_until_stalled();
            self.check()?;
            let changed = self.fleet.take_changed();
            self.keeper.keep(self.now(), &changed).map_err(FleetRunError::Keep)?;
            let Some(replies) = self.fleet.answer_requests() else { return Ok(()) };
            self.tell(replies)?;
        }
    }

    fn check(&self) -> Result<(), FleetRunError<K::Error>> {
        self.store.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Goes on to the next whole `step` at which something happens, and returns how far it went;
    /// `None`: nothing will ever happen again.
    ///
    /// # Errors
    /// As [`FleetRun::advance_to`].
    pub fn step(&mut self, step: Duration) -> Result<Option<Duration>, FleetRunError<K::Error>> {
        let Some(next) = self.next_event() else { return Ok(None) };
        let before = self.now();
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let next_ms = next.as_millis().max(before.as_millis());
        let whole = next_ms.saturating_add(step_ms - 1).div_euclid(step_ms).saturating_mul(step_ms);
        let now = Timestamp::from_millis(whole).max(next);
        self.advance_to(now)?;
        Ok(Some(now.since(before)))
    }
}
