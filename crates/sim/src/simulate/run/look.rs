//! What is looked at between the steps of a run and at its end.

use std::collections::BTreeSet;

use hedgerow_core::{CampaignId, DeviceId, StreamId};
use hedgerow_engine::{EngineError, TargetFilter};

use super::{CLAIMS_EVERY, Run};
use crate::runtime::wait;
use crate::simulate::invariant::Invariant;
use crate::simulate::trace::Sample;

impl Run<'_> {
    /// What must hold whenever engines have nothing to do at an instant.
    pub(super) fn look(&mut self) {
        let (touched, passed_over, moment) = {
            let inner = &mut *self.world.inner();
            if inner.checker.violation().is_some() || inner.engines[1].running {
                return;
            }
            let moment = inner.moment();
            if inner.trace.keeps_samples {
                let standing = inner.checker.standing();
                let at = inner.now;
                inner.trace.sample(Sample { at, targets: standing.counts, limit: standing.limit });
            }
            let passed_over = inner.checker.passed_over(moment);
            (std::mem::take(&mut inner.touched), passed_over, moment)
        };
        for stream in touched {
            if let StreamId::Campaign(id) = stream {
                self.compare(id);
            }
        }
        for (id, device) in passed_over {
            if self.compare(id) == Some(false) {
                let message =
                    "it is ready and a slot is free, and its turn does not come".to_owned();
                let stream = Some(StreamId::Campaign(id));
                let broken = (Invariant::NoSlotUnused, message);
                self.world.inner().checker.broken(broken, moment.now, stream, Some(device));
            }
        }
        if moment.step.is_multiple_of(CLAIMS_EVERY) {
            self.compare_claims();
        }
    }

    /// Compares what the engine shows of a campaign with the log, and says whether it believes the
    /// transport to be down; `None`: it does not answer now.
    fn compare(&mut self, id: CampaignId) -> Option<bool> {
        let engine = self.slots[0].engine.clone()?;
        let tenant = self.tenant.clone();
        let asked = async move { engine.progress(&tenant, id).await };
        let progress = self.slots[0].executor.run(asked)?.ok()?;
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        inner.checker.shown_by_engine(&progress, now);
        Some(progress.transport_is_down)
    }

    fn compare_claims(&mut self) {
        let mut claims: Vec<(String, StreamId)> = match wait(self.store.claims()) {
            Ok(claims) => claims.into_iter().map(|(_, key, holder)| (key, holder)).collect(),
            Err(_) => return,
        };
        claims.sort();
        let mut inner = self.world.inner();
        let wanted = inner.checker.claims();
        if claims != wanted {
            let missing: BTreeSet<_> =
                wanted.iter().filter(|claim| !claims.contains(claim)).collect();
            let extra: BTreeSet<_> =
                claims.iter().filter(|claim| !wanted.contains(claim)).collect();
            let message = format!("the store lacks {missing:?} and has {extra:?} beyond");
            let now = inner.engine_now();
            inner.checker.broken((Invariant::Claims, message), now, None, None);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let inner = self.world.inner();
        !inner.checker.is_open()
            && inner.pending.iter().all(std::collections::BTreeMap::is_empty)
            && self.slots[0].engine.is_some()
    }

    pub(super) fn stuck(&mut self, why: &str) {
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let (stream, device, text) = match inner.checker.open() {
            Some((stream, device, text)) => (Some(stream), device, text),
            None => (None, None, "messages are unanswered".to_owned()),
        };
        let broken = (Invariant::Liveness, format!("{why}: {text}"));
        inner.checker.broken(broken, now, stream, device);
    }

    /// What must hold when everything is over.
    pub(super) fn look_at_the_end(&mut self) {
        self.compare_claims();
        let campaigns: Vec<CampaignId> = self.world.inner().checker.campaigns().collect();
        for id in campaigns {
            self.compare(id);
            self.compare_targets(id);
        }
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let removed: Vec<DeviceId> =
            inner.things.iter().filter(|t| t.removed).map(|t| t.device.id()).collect();
        for device in removed {
            if let Some(stream) = inner.checker.open_targets(device).into_iter().next() {
                let broken = (Invariant::RemovedDevice, "its target has not ended".to_owned());
                inner.checker.broken(broken, now, Some(stream), Some(device));
            }
        }
        drop(inner);
        if let Some(engine) = &self.slots[0].engine {
            for (stream, error) in engine.quarantined(&self.tenant) {
                let broken = (Invariant::StateIsFold, format!("it is out of service: {error}"));
                self.world.inner().checker.broken(broken, now, Some(stream), None);
            }
        }
    }

    /// Compares every target that the engine shows with the fold of the log (E1).
    fn compare_targets(&mut self, id: CampaignId) {
        let Some(engine) = self.slots[0].engine.clone() else { return };
        let tenant = self.tenant.clone();
        let filter = TargetFilter { limit: 10_000, ..TargetFilter::default() };
        let asked = async move {
            let progress = engine.progress(&tenant, id).await?;
            let page = engine.targets(&tenant, id, filter).await?;
            Ok::<_, EngineError>((progress.events, page))
        };
        let Some(Ok((events, page))) = self.slots[0].executor.run(asked) else { return };
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        // An engine that was not alone learns only from its next conflict what another wrote.
        let Some(fold) = inner.checker.fold(id).filter(|fold| fold.version() == events) else {
            return;
        };
        let differs =
            page.targets.iter().zip(fold.targets()).find(|(shown, told)| **shown != *told);
        if let Some((shown, told)) = differs {
            let message = format!("the engine shows {shown:?}, the log says {told:?}");
            let device = Some(shown.device);
            let stream = Some(StreamId::Campaign(id));
            inner.checker.broken((Invariant::StateIsFold, message), now, stream, device);
        }
    }
}
