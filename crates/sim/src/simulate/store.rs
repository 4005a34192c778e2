//! The store as one engine sees it: it fails, loses answers, is slow, and the engine dies in the
//! middle of an append. What becomes durable is told to the judge in that instant.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::ports::Clock;
use hedgerow_engine::store::{
    AppendError, Claim, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend,
    StreamSummary,
};

use uuid::Uuid;

use super::check::Event;
use super::fault::FaultKind;
use super::invariant::Invariant;
use super::ports::Lens;
use super::world::Inner;
use crate::blocking::BlockingStore;
use crate::runtime::VirtualClock;

/// See the module's documentation.
pub(super) struct FaultyStore {
    pub(super) store: BlockingStore,
    pub(super) lens: Lens,
    pub(super) clock: VirtualClock,
}

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    Fails,
    LosesAnswer,
    AnsweredLate,
    KillsBefore,
    KillsAfter,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { detail: "an injected fault".to_owned() }
}

/// What an append holds: tenant, stream, expected version, events.
type Decoded = (TenantId, StreamId, u64, Vec<(Event, Timestamp)>);

impl FaultyStore {
    /// Draws what becomes of the next append, and for how long it waits first.
    fn draw(&self, batch: &[StreamAppend]) -> Option<(Fate, Duration)> {
        let mut inner = self.lens.world.inner();
        if !self.lens.is_alive(&inner) {
            return None;
        }
        let moment = inner.moment();
        for append in batch {
            let tenant = inner.judges.number(&append.tenant, moment.now);
            inner.judges.of(tenant).append_begins(self.lens.slot, append.stream, moment.step);
        }
        let mut delay = Duration::ZERO;
        if inner.faults.happens(FaultKind::AppendSlow) {
            delay = inner.some_ms(20_000);
            inner.mark(None, || format!("append_slow: {delay:?}"));
        }
        let fails = std::mem::take(&mut inner.next_append_fails)
            && inner.faults.inject(FaultKind::AppendFails);
        let fate = if fails || inner.faults.happens(FaultKind::AppendFails) {
            Fate::Fails
        } else if inner.faults.happens(FaultKind::AppendAnswerLost) {
            Fate::LosesAnswer
        } else if inner.faults.happens(FaultKind::AppendKills) {
            let before = inner.faults.random().chance(500);
            if before { Fate::KillsBefore } else { Fate::KillsAfter }
        } else if inner.faults.happens(FaultKind::AppendAnsweredLate) {
            Fate::AnsweredLate
        } else {
            Fate::Works
        };
        // A person asked for something, and the engine dies when that is written.
        let slot = self.lens.slot;
        let killed = inner.kills_after.take_if(|tenant| {
            let tenant = super::cast::tenant(*tenant);
            slot == 0 && batch.iter().any(|append| append.tenant == tenant)
        });
        let fate = if killed.is_some() { Fate::KillsAfter } else { fate };
        match fate {
            Fate::Works | Fate::KillsAfter => {}
            Fate::Fails => inner.mark(None, || "append_fails".to_owned()),
            Fate::LosesAnswer => inner.mark(None, || "append_answer_lost".to_owned()),
            Fate::AnsweredLate => inner.mark(None, || "append_answered_late".to_owned()),
            Fate::KillsBefore => self.lens.die(&mut inner, "before an append is written"),
        }
        if fate != Fate::Works || !delay.is_zero() {
            let now = inner.engine_now();
            inner.judges.trouble(now);
        }
        Some((fate, delay))
    }

    /// Tells the judge what has become durable.
    fn written(&self, decoded: Vec<Decoded>, fate: Fate) {
        let inner = &mut *self.lens.world.inner();
        let moment = inner.moment();
        for (tenant, stream, expected_version, events) in decoded {
            let tenant = inner.judges.number(&tenant, moment.now);
            for (event, _) in &events {
                let device = event.device();
                inner.trace.event(inner.now, device, stream, || event.text());
            }
            let slot = self.lens.slot;
            inner.judges.of(tenant).recorded(slot, stream, expected_version, &events, moment);
            inner.touched.insert((tenant, stream));
            if let Some(subscriber) = inner.subscribers[slot].get_mut(tenant) {
                for (version, _) in (expected_version + 1..).zip(&events) {
                    subscriber.is_owed(stream, version);
                }
            }
        }
        if fate == Fate::KillsAfter {
            self.lens.die(inner, "after an append is written");
        }
    }

    /// Whether the store can be reached; while another program holds it, that is waited for.
    async fn reach(&self, waits: bool) -> Result<(), StoreError> {
        let away = |lens: &Lens| {
            let mut inner = lens.world.inner();
            let (down, held) = (inner.store_is_down(), inner.store_is_held());
            if down || held {
                let now = inner.engine_now();
                inner.judges.trouble(now);
            }
            (down, held)
        };
        let (down, held) = away(&self.lens);
        if !down && !held {
            return Ok(());
        }
        if !down && waits {
            self.clock.sleep(BUSY).await;
            if away(&self.lens) == (false, false) {
                return Ok(());
            }
        }
        Err(unavailable())
    }

    /// Waits as long as a slow call takes. `false`: its engine has died meanwhile.
    async fn linger(&self, delay: Duration) -> bool {
        self.clock.sleep(delay).await;
        let mut inner = self.lens.world.inner();
        let now = inner.engine_now();
        inner.judges.trouble(now);
        self.lens.is_alive(&inner)
    }

    /// Reads, unless that fails; a dead engine gets no answer.
    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&'a BlockingStore) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let (starting, delay) = {
            let mut inner = self.lens.world.inner();
            if !self.lens.is_alive(&inner) {
                return pending().boxed();
            }
            if inner.faults.happens(FaultKind::ReadFails) {
                let now = inner.engine_now();
                inner.judges.trouble(now);
                inner.mark(None, || "read_fails".to_owned());
                return ready(Err(unavailable())).boxed();
            }
            // An engine starts at one instant, or not at all.
            let starting = inner.engines[self.lens.slot].starting;
            let mut delay = Duration::ZERO;
            if inner.faults.happens(FaultKind::ReadSlow) && !starting {
                delay = inner.some_ms(20_000);
                inner.mark(None, || format!("read_slow: {delay:?}"));
                let now = inner.engine_now();
                inner.judges.trouble(now);
            }
            (starting, delay)
        };
        async move {
            self.reach(!starting).await?;
            let result = read(&self.store).await;
            if delay.is_zero() {
                return result;
            }
            if !self.linger(delay).await {
                return pending().await;
            }
            if self.lens.world.inner().store_is_down() { Err(unavailable()) } else { result }
        }
        .boxed()
    }
}

/// How long a call waits for another program to let go of the store.
const BUSY: Duration = Duration::from_secs(5);
/// Every so many reads of the whole log one fails, until everything heals.
const LOG_READS_FAIL_EVERY: u64 = 17;
/// The stream of another program, which no engine runs.
const ELSEWHERE: StreamId = StreamId::ManualUpdate(OperationId::from_uuid(Uuid::from_u128(7)));
/// More refused appends at one instant can only be a circle.
const MOST_REFUSED: u32 = 1_000;

impl Inner {
    /// An append was refused: whether that goes on and on without any time passing.
    fn is_refused(&mut self, error: &AppendError) -> bool {
        let now = self.engine_now();
        self.judges.trouble(now);
        self.note(None, None, || format!("append refused: {error}"));
        let (step, count) = self.refused;
        self.refused = (self.step, if step == self.step { count + 1 } else { 1 });
        if self.refused.1 <= MOST_REFUSED {
            return false;
        }
        let message = "it tries an append again and again that is refused each time".to_owned();
        self.judges.of(0).broken((Invariant::Liveness, message), now, None, None);
        true
    }

    /// What another program has the claim to is refused.
    fn claimed_elsewhere(&mut self, batch: &[StreamAppend]) -> Option<AppendError> {
        if self.claimed.is_empty() {
            return None;
        }
        let now = self.now;
        self.claimed.retain(|_, until| *until > now);
        let engine_now = self.engine_now();
        let claims = batch
            .iter()
            .flat_map(|append| append.claims_taken.iter().map(|claim| (&append.tenant, claim)));
        for (tenant, claim) in claims {
            let Claim::Device(device) = claim else { continue };
            let number = self.judges.number(tenant, engine_now);
            if self.claimed.contains_key(&(number, *device)) {
                let refusal =
                    AppendError::ClaimConflict { claim: claim.clone(), holder: ELSEWHERE };
                self.is_refused(&refusal);
                return Some(refusal);
            }
        }
        None
    }

    fn unreadable(&mut self, stream: StreamId, error: &hedgerow_core::event::EventError) {
        let broken = (Invariant::StateIsFold, format!("an event cannot be read back: {error}"));
        let now = self.engine_now();
        self.judges.of(0).broken(broken, now, Some(stream), None);
    }
}

impl EventStore for FaultyStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        async move {
            let Some((mut fate, delay)) = self.draw(&batch) else { return pending().await };
            if !delay.is_zero() {
                self.linger(delay).await;
            }
            if self.reach(true).await.is_err() && fate != Fate::KillsBefore {
                fate = Fate::Fails;
            }
            match fate {
                Fate::Fails => return Err(unavailable().into()),
                Fate::KillsBefore => return pending().await,
                Fate::Works | Fate::LosesAnswer | Fate::AnsweredLate | Fate::KillsAfter => {}
            }
            let alive = self.lens.is_alive(&self.lens.world.inner());
            if !alive {
                return pending().await;
            }
            if let Some(refusal) = self.lens.world.inner().claimed_elsewhere(&batch) {
                return Err(refusal);
            }
            let mut decoded = Vec::with_capacity(batch.len());
            for append in &batch {
                let mut events = Vec::with_capacity(append.events.len());
                for event in &append.events {
                    match Event::appended(append.stream, event) {
                        Ok(read) => events.push((read, event.recorded_at)),
                        Err(error) => self.lens.world.inner().unreadable(append.stream, &error),
                    }
                }
                let tenant = append.tenant.clone();
                decoded.push((tenant, append.stream, append.expected_version, events));
            }
            let result = self.store.append(batch).await;
            match result {
                Ok(()) => self.written(decoded, fate),
                Err(error) => {
                    if self.lens.world.inner().is_refused(&error) {
                        // The task would never come to rest, and with it neither would the run.
                        return pending().await;
                    }
                    return Err(error);
                }
            }
            match fate {
                Fate::LosesAnswer => Err(unavailable().into()),
                Fate::KillsAfter => pending().await,
                Fate::AnsweredLate => {
                    let delay = self.lens.world.inner().some_ms(20_000);
                    if self.linger(delay).await { Ok(()) } else { pending().await }
                }
                _ => Ok(()),
            }
        }
        .boxed()
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let (lens, of) = (self.lens.clone(), tenant.clone());
        let tenant = tenant.clone();
        let read = self.read(move |store| {
            async move { store.read_stream(&tenant, stream, after, limit).await }.boxed()
        });
        async move {
            let page = read.await?;
            if page.is_empty() {
                let inner = &mut *lens.world.inner();
                let now = inner.engine_now();
                let number = inner.judges.number(&of, now);
                inner.judges.of(number).load_ends(lens.slot, stream);
            }
            Ok(page)
        }
        .boxed()
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        {
            let mut inner = self.lens.world.inner();
            if !self.lens.is_alive(&inner) {
                return pending().boxed();
            }
            // Only subscribers read so, and nothing that is drawn for others changes with them.
            inner.log_reads += 1;
            let fails = inner.log_reads.is_multiple_of(LOG_READS_FAIL_EVERY);
            if fails && inner.healed_at.is_none() {
                return ready(Err(unavailable())).boxed();
            }
        }
        self.store.read_all(after, limit)
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.read(|store| store.last_recorded_at())
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.read(|store| store.streams())
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        self.read(|store| store.claims())
    }

    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.read(move |store| async move { store.claim_holder(&tenant, &key).await }.boxed())
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let tenant = tenant.clone();
        self.read(move |store| {
            async move { store.stream_of_operation(&tenant, operation).await }.boxed()
        })
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        {
            // A state is loaded, which begins with this (E11).
            let inner = &mut *self.lens.world.inner();
            let moment = inner.moment();
            let number = inner.judges.number(tenant, moment.now);
            inner.judges.of(number).load_begins(self.lens.slot, stream, moment);
        }
        let tenant = tenant.clone();
        self.read(move |store| async move { store.load_snapshot(&tenant, stream).await }.boxed())
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let alive = self.lens.is_alive(&self.lens.world.inner());
        if alive { self.store.save_snapshot(tenant, stream, snapshot) } else { pending().boxed() }
    }
}
