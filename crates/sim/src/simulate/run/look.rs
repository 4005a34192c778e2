//! What is looked at between the steps of a run and at its end.

use std::collections::BTreeSet;

use hedgerow_core::{CampaignId, DeviceId, StoredEvent, StreamId, TenantId};
use hedgerow_engine::campaign_at;
use hedgerow_engine::store::{EventStore, StoreError};

use super::{CLAIMS_EVERY, LATEST, Run};
use crate::runtime::wait;
use crate::simulate::SimulateError;
use crate::simulate::cast;
use crate::simulate::check::Subscriber;
use crate::simulate::invariant::{Invariant, ensure};
use crate::simulate::trace::Sample;

/// Every so many steps a subscriber is cut.
const RETURNS_EVERY: u64 = 61;

impl Run<'_> {
    /// What must hold whenever engines have nothing to do at an instant.
    pub(super) fn look(&mut self) {
        let (touched, passed_over, moment) = {
            let inner = &mut *self.world.inner();
            if inner.judges.has_violation() || inner.engines[1].alive {
                return;
            }
            let moment = inner.moment();
            if inner.trace.keeps_samples {
                let standing = inner.judges.standing();
                let at = inner.now;
                inner.trace.sample(Sample { at, targets: standing.counts, limit: standing.limit });
            }
            if self.slots[0].engine.is_some() {
                inner.judges.overdue(moment);
            }
            let passed_over = inner.judges.passed_over(moment);
            (std::mem::take(&mut inner.touched), passed_over, moment)
        };
        for (tenant, stream) in touched {
            if let StreamId::Campaign(id) = stream {
                self.compare(tenant, id);
            }
        }
        for (tenant, id, device) in passed_over {
            if self.compare(tenant, id) == Some(false) {
                let message =
                    "it is ready and a slot is free, and its turn does not come".to_owned();
                let stream = Some(StreamId::Campaign(id));
                let broken = (Invariant::NoSlotUnused, message);
                let mut inner = self.world.inner();
                inner.judges.of(tenant).broken(broken, moment.now, stream, Some(device));
            }
        }
        if moment.step.is_multiple_of(CLAIMS_EVERY) {
            self.compare_claims();
        }
    }

    /// Compares what the engine shows of a campaign with the log, and says whether it believes the
    /// transport to be down; `None`: it does not answer now.
    fn compare(&mut self, tenant: usize, id: CampaignId) -> Option<bool> {
        let engine = self.slots[0].engine.clone()?;
        let of = cast::tenant(tenant);
        let asked = async move { engine.progress(&of, id).await };
        let progress = self.slots[0].executor.run(asked)?.ok()?;
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        inner.judges.of(tenant).shown_by_engine(&progress, now);
        Some(progress.transport_is_down)
    }

    fn compare_claims(&mut self) {
        let Ok(mut claims) = wait(self.store.claims()) else { return };
        claims.sort();
        let mut inner = self.world.inner();
        let wanted = inner.judges.claims();
        if claims != wanted {
            let missing: BTreeSet<_> =
                wanted.iter().filter(|claim| !claims.contains(claim)).collect();
            let extra: BTreeSet<_> =
                claims.iter().filter(|claim| !wanted.contains(claim)).collect();
            let message = format!("the store lacks {missing:?} and has {extra:?} beyond");
            let now = inner.engine_now();
            inner.judges.of(0).broken((Invariant::Claims, message), now, None, None);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let inner = self.world.inner();
        // The answer to the last append may be late.
        let late = inner.healed_at.is_none_or(|healed_at| inner.now.since(healed_at) < LATEST);
        let untold = || inner.subscribers[0].iter().any(|one| one.untold().is_some());
        !inner.judges.is_open()
            && inner.pending.iter().all(std::collections::BTreeMap::is_empty)
            && self.slots[0].engine.is_some()
            && !(late && untold())
    }

    pub(super) fn stuck(&mut self, why: &str) {
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let open = inner.judges.each().find_map(|(tenant, judge)| Some((tenant, judge.open()?)));
        let (tenant, stream, device, text) = match open {
            Some((tenant, (stream, device, text))) => (tenant, Some(stream), device, text),
            None => (0, None, None, "messages are unanswered".to_owned()),
        };
        let broken = (Invariant::Liveness, format!("{why}: {text}"));
        inner.judges.of(tenant).broken(broken, now, stream, device);
    }

    /// What must hold when everything is over.
    pub(super) fn look_at_the_end(&mut self) {
        self.compare_claims();
        let tenants = self.castings.len();
        for tenant in 0..tenants {
            let judge = self.world.inner();
            let campaigns: Vec<CampaignId> = judge.judges.get(tenant).campaigns().collect();
            drop(judge);
            for id in campaigns {
                self.compare(tenant, id);
                self.compare_targets(tenant, id);
            }
        }
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let removed: Vec<(usize, DeviceId)> = inner
            .register
            .all()
            .filter(|device| device.removed)
            .map(|device| (device.tenant, device.id))
            .collect();
        for (tenant, device) in removed {
            let judge = inner.judges.of(tenant);
            if let Some(stream) = judge.open_targets(device).into_iter().next() {
                let broken = (Invariant::RemovedDevice, "its target has not ended".to_owned());
                judge.broken(broken, now, Some(stream), Some(device));
            }
        }
        for tenant in 0..tenants {
            let untold = inner.subscribers[0].get(tenant).and_then(Subscriber::untold);
            if let Some((stream, version)) = untold {
                let message = format!("a subscriber was never told of event {version}");
                let broken = (Invariant::Subscribers, message);
                inner.judges.of(tenant).broken(broken, now, Some(stream), None);
            }
        }
        drop(inner);
        self.compare_rows(0, true);
        let Some(engine) = &self.slots[0].engine else { return };
        for tenant in 0..tenants {
            for (stream, error) in engine.quarantined(&cast::tenant(tenant)) {
                let broken = (Invariant::StateIsFold, format!("it is out of service: {error}"));
                let mut inner = self.world.inner();
                inner.judges.of(tenant).broken(broken, now, Some(stream), None);
            }
        }
    }

    /// Compares what the rows show that this engine's follower makes with the log: everything, or
    /// some of it.
    pub(super) fn compare_rows(&mut self, slot: usize, everything: bool) {
        let Some(caught_up) = self.rows.caught_up(slot) else { return };
        let inner = &mut *self.world.inner();
        let now = inner.engine_now();
        let views = match caught_up {
            Ok(views) => views,
            Err(error) => {
                let broken = (Invariant::Rows, format!("the rows cannot be made: {error}"));
                inner.judges.of(0).broken(broken, now, None, None);
                return;
            }
        };
        for tenant in 0..self.castings.len() {
            let mut random = self.rows.random();
            inner.judges.of(tenant).rows_shown(&views, everything, &mut random, now);
        }
    }

    /// What subscribers were told since the last step. Now and then one is cut, and comes back.
    pub(super) fn listen(&mut self) -> Result<(), SimulateError> {
        for slot in 0..self.slots.len() {
            for tenant in 0..self.slots[slot].subscriptions.len() {
                self.listen_to(slot, tenant)?;
                let step = self.world.inner().step;
                let is_there = self.slots[slot].subscriptions[tenant].is_some();
                if !is_there || step % RETURNS_EVERY == tenant as u64 {
                    self.subscribe(slot, tenant);
                }
            }
        }
        Ok(())
    }

    fn listen_to(&mut self, slot: usize, tenant: usize) -> Result<(), SimulateError> {
        while let Some(subscription) = &mut self.slots[slot].subscriptions[tenant] {
            let Some(told) = subscription.next_if_ready() else { break };
            let told = match told {
                Ok(told) => told,
                Err(error) => {
                    let mut inner = self.world.inner();
                    let now = inner.engine_now();
                    let broken = (Invariant::Subscribers, format!("a subscriber is told: {error}"));
                    inner.judges.of(tenant).broken(broken, now, None, None);
                    break;
                }
            };
            let after = {
                let inner = self.world.inner();
                inner.subscribers[slot].get(tenant).map_or(0, Subscriber::position)
            };
            let due = first_of(&*self.store, &cast::tenant(tenant), after)?;
            let inner = &mut *self.world.inner();
            let now = inner.engine_now();
            let of = inner.judges.number(&told.tenant, now);
            let Some(subscriber) = inner.subscribers[slot].get_mut(tenant) else { break };
            let checked = ensure(of == tenant, Invariant::Tenants, || {
                let StoredEvent { tenant, version, .. } = &told;
                format!("a subscriber is told event {version} of tenant {tenant}")
            })
            .and_then(|()| subscriber.told(&told, due.as_ref()));
            if let Err(broken) = checked {
                inner.judges.of(tenant).broken(broken, now, Some(told.stream), None);
            }
        }
        Ok(())
    }

    /// Compares every target of the engine's state with the fold of the log (E1). What it would load
    /// again if it were told something is compared where it is not in memory.
    fn compare_targets(&mut self, tenant: usize, id: CampaignId) {
        let Some(engine) = self.slots[0].engine.clone() else { return };
        let (of, asked) = (cast::tenant(tenant), cast::tenant(tenant));
        let state = self.slots[0].executor.run(async move { engine.state(&asked, id).await });
        let state = match state {
            Some(Ok(Some(state))) => Some(state),
            Some(Ok(None)) => wait(campaign_at(&*self.store, &of, id, None)).ok().flatten(),
            Some(Err(_)) | None => None,
        };
        let Some(state) = state else { return };
        let shown: Vec<_> = state.targets().collect();
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        inner.judges.of(tenant).targets_shown(id, state.version(), &shown, now);
    }
}

/// The first event of a tenant behind a position.
fn first_of(
    store: &dyn EventStore,
    tenant: &TenantId,
    mut after: u64,
) -> Result<Option<StoredEvent>, StoreError> {
    loop {
        let page = wait(store.read_all(after, 16))?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.position;
        if let Some(found) = page.into_iter().find(|stored| stored.tenant == *tenant) {
            return Ok(Some(found));
        }
    }
}
