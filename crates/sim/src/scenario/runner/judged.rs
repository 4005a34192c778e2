//! The judge of a scenario is that of a simulation: it is told what the engine is told and asked for,
//! and looks at what the engine shows whenever that has nothing to do.

use futures::FutureExt;
use futures::future::BoxFuture;
use hedgerow_core::{CampaignId, Reaction, StreamId, TenantId};
use hedgerow_engine::{Engine, EngineError, Observation};

use super::Run;
use crate::simulate::Invariant;
use crate::simulate::check::Asked;

impl Run<'_> {
    /// Tells an engine something, and the judge what it was told and answered. `None`: it died
    /// before it answered.
    pub(super) fn tell(
        &mut self,
        engine: Engine,
        observation: Observation,
    ) -> Option<Result<Reaction, EngineError>> {
        let told = {
            let world = &mut *self.platform.world();
            world.step += 1;
            let moment = world.moment();
            world.judge.told(&observation, moment)
        };
        let (tenant, platform) = (self.tenant.clone(), self.platform.clone());
        self.executor.run(async move {
            let answer = engine.observe(&tenant, observation).await;
            let world = &mut *platform.world();
            if !world.engine_is_dead() {
                let moment = world.moment();
                // Nobody here tells it again.
                let _ = world.judge.acknowledged(&told, &answer, moment);
            }
            answer
        })
    }

    /// Asks an engine for something. `None`: it died before it answered.
    pub(super) fn ask_engine(
        &mut self,
        engine: Engine,
        asked: Asked,
        ask: impl FnOnce(Engine, TenantId) -> BoxFuture<'static, Result<(), EngineError>>,
    ) -> Option<Result<(), EngineError>> {
        let before = {
            let world = &mut *self.platform.world();
            let now = world.moment().now;
            world.judge.asked(asked, now)
        };
        let platform = self.platform.clone();
        let call = ask(engine, self.tenant.clone());
        self.executor.run(
            async move {
                let answer = call.await;
                let world = &mut *platform.world();
                if answer.is_ok() && !world.engine_is_dead() {
                    let moment = world.moment();
                    world.judge.granted(asked, before, moment);
                }
                answer
            }
            .boxed(),
        )
    }

    /// What must hold whenever the engine has nothing to do at an instant.
    pub(super) fn look(&mut self) {
        if self.engine.is_none() {
            return;
        }
        let (touched, passed_over, moment) = {
            let world = &mut *self.platform.world();
            let moment = world.moment();
            world.judge.overdue(moment);
            let passed_over = world.judge.passed_over(moment);
            (std::mem::take(&mut world.touched), passed_over, moment)
        };
        for id in touched {
            self.compare(id);
        }
        for (id, device) in passed_over {
            if self.compare(id) == Some(false) {
                let message = "it is ready and a slot is free, and its turn does not come";
                let broken = (Invariant::NoSlotUnused, message.to_owned());
                let stream = Some(StreamId::Campaign(id));
                let world = &mut *self.platform.world();
                world.judge.broken(broken, moment.now, stream, Some(device));
            }
        }
    }

    /// Compares what the engine shows of a campaign with the log, and says whether it believes the
    /// transport to be down; `None`: it does not answer now.
    fn compare(&mut self, id: CampaignId) -> Option<bool> {
        let (engine, tenant) = (self.engine.clone()?, self.tenant.clone());
        let asked = async move { engine.progress(&tenant, id).await };
        let progress = self.executor.run(asked)?.ok()?;
        let world = &mut *self.platform.world();
        let now = world.moment().now;
        world.judge.shown_by_engine(&progress, now);
        Some(progress.transport_is_down)
    }

    /// What must hold when everything is over.
    pub(super) fn look_at_the_end(&mut self) {
        self.look();
        let campaigns: Vec<CampaignId> = self.platform.world().judge.campaigns().collect();
        for id in campaigns {
            self.compare(id);
            self.compare_targets(id);
        }
    }

    /// Compares every target of the engine's state with the fold of the log (E1).
    fn compare_targets(&mut self, id: CampaignId) {
        let Some(engine) = self.engine.clone() else { return };
        let tenant = self.tenant.clone();
        let asked = async move { engine.state(&tenant, id).await };
        let Some(Ok(Some(state))) = self.executor.run(asked) else { return };
        let shown: Vec<_> = state.targets().collect();
        let world = &mut *self.platform.world();
        let now = world.moment().now;
        world.judge.targets_shown(id, state.version(), &shown, now);
    }
}
