//! How everything stands: what is compared with what an engine or its store shows, and what has not
//! come to its end.

use std::time::Duration;

use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, DeviceId, OperationId, StreamId, TargetCounts,
    TargetStatus, TargetView, Timestamp,
};
use hedgerow_engine::Progress;

use super::campaign::Model;
use super::{Checker, Moment, Standing};
use crate::simulate::invariant::Invariant;

impl Checker {
    /// The users who may be about to answer: those of idle targets of campaigns that ask them (P15).
    pub(crate) fn asked_users(&self) -> Vec<(CampaignId, DeviceId)> {
        let asking = self.campaigns.values().filter(|model| model.asks_users());
        let of = |model: &Model| {
            let id = model.id;
            let idle = model.targets.iter().filter(|target| target.status == TargetStatus::Idle);
            idle.map(|target| (id, target.device)).collect::<Vec<_>>()
        };
        asking.filter(|model| model.is_running()).flat_map(of).collect()
    }

    /// At the end of a step: campaigns in which a target should have had its turn.
    pub(crate) fn passed_over(&mut self, moment: Moment) -> Vec<(CampaignId, DeviceId)> {
        if self.turns.is_calm_again(moment.now) {
            for model in self.campaigns.values().filter(|model| model.is_running()) {
                for place in 0..model.targets.len() {
                    self.turns.refresh(model, place, &self.facts, moment);
                }
            }
        }
        for (id, place) in self.turns.delays_over(moment.now) {
            if let Some(model) = self.campaigns.get(&id) {
                self.turns.refresh(model, place, &self.facts, moment);
            }
        }
        let models = self.campaigns.values();
        models
            .filter_map(|model| Some((model.id, self.turns.passed_over(model, moment)?)))
            .collect()
    }

    /// Compares what an engine shows of a campaign with the log (E1, D7).
    pub(crate) fn shown_by_engine(&mut self, progress: &Progress, now: Timestamp) {
        let Some(model) = self.campaigns.get(&progress.campaign) else { return };
        if model.version != progress.events {
            return; // something is being written
        }
        let fold = &model.fold;
        let agrees = progress.status == fold.status()
            && progress.outcome == fold.outcome()
            && progress.targets == fold.counts()
            && progress.limits == *fold.limits();
        if !agrees {
            let message = format!(
                "at event {} the engine shows {} with {:?}, the log says {} with {:?}",
                progress.events,
                progress.status.name(),
                progress.targets,
                fold.status().name(),
                fold.counts()
            );
            let stream = Some(fold.stream());
            self.broken((Invariant::StateIsFold, message), now, stream, None);
        }
    }

    /// Compares every target that an engine shows, at that many events, with the fold of the log
    /// (E1). One that was not alone learns only from its next conflict what another wrote.
    pub(crate) fn targets_shown(
        &mut self,
        id: CampaignId,
        events: u64,
        shown: &[TargetView],
        now: Timestamp,
    ) {
        let Some(fold) = self.fold(id).filter(|fold| fold.version() == events) else { return };
        let differs = shown.iter().zip(fold.targets()).find(|(shown, told)| **shown != *told);
        if let Some((shown, told)) = differs {
            let message = format!("the engine shows {shown:?}, the log says {told:?}");
            let (device, stream) = (Some(shown.device), Some(StreamId::Campaign(id)));
            self.broken((Invariant::StateIsFold, message), now, stream, device);
        }
    }

    /// The campaign as folded from the log.
    pub(crate) fn fold(&self, id: CampaignId) -> Option<&Campaign> {
        self.campaigns.get(&id).map(|model| &model.fold)
    }

    pub(crate) fn campaigns(&self) -> impl Iterator<Item = CampaignId> + '_ {
        self.campaigns.keys().copied()
    }

    pub(crate) fn status(&self, id: CampaignId) -> Option<CampaignStatus> {
        self.campaigns.get(&id).map(|model| model.status)
    }

    pub(crate) fn active_manuals(&self) -> Vec<OperationId> {
        self.manuals.values().filter(|manual| !manual.ended).map(|manual| manual.id).collect()
    }

    /// All targets by status, and how many may be in progress.
    pub(crate) fn standing(&self) -> Standing {
        let mut counts = [0; 5];
        let mut limit = 0;
        for model in self.campaigns.values() {
            for (sum, count) in counts.iter_mut().zip(model.counts) {
                *sum += count;
            }
            if model.is_running() {
                limit += model.limits().max_pending_operations.get();
            }
        }
        let [idle, in_progress, successful, failed, cancelled] = counts;
        let total = counts.iter().sum();
        let counts = TargetCounts { idle, in_progress, successful, failed, cancelled, total };
        Standing { counts, limit }
    }

    /// Whether anything has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.campaigns.values().any(Model::is_open)
            || self.manuals.values().any(|manual| !manual.ended)
    }

    /// What has not ended, for people: the stream, a device that it waits for, and in words.
    pub(crate) fn open(&self) -> Option<(StreamId, Option<DeviceId>, String)> {
        if let Some(model) = self.campaigns.values().find(|model| model.is_open()) {
            let in_progress = model.count(TargetStatus::InProgress);
            let idle = model.count(TargetStatus::Idle);
            let text = format!(
                "campaign {} is {} with {in_progress} targets in progress and {idle} idle",
                model.id,
                model.status.name()
            );
            let of = |status| model.targets.iter().find(move |target| target.status == status);
            let waits = of(TargetStatus::InProgress).or_else(|| of(TargetStatus::Idle));
            let device = waits.map(|target| target.device);
            return Some((StreamId::Campaign(model.id), device, text));
        }
        let manual = self.manuals.values().find(|manual| !manual.ended)?;
        let text = format!("manual update {} is active", manual.id);
        Some((StreamId::ManualUpdate(manual.id), Some(manual.definition.device), text))
    }

    /// The claims that a store must have: active operations, running rollouts (E5).
    pub(crate) fn claims(&self) -> Vec<(String, StreamId)> {
        let mut claims: Vec<_> = self
            .facts
            .holders
            .iter()
            .filter_map(|(device, operation)| {
                let operation = self.facts.operations.get(operation)?;
                Some((format!("device/{device}"), operation.stream))
            })
            .collect();
        for model in self.campaigns.values().filter(|model| model.is_running()) {
            let key = format!(
                "rollout/{}/{}",
                model.definition.base_image.system_model,
                model.definition.channel.name()
            );
            claims.push((key, StreamId::Campaign(model.id)));
        }
        claims.sort();
        claims
    }

    /// Streams with a target or a manual update of a device that has not ended (D15).
    pub(crate) fn open_targets(&self, device: DeviceId) -> Vec<StreamId> {
        let open = |model: &&Model| {
            model.place(device).is_some_and(|place| {
                let status = model.targets[place].status;
                status == TargetStatus::InProgress
                    || status == TargetStatus::Idle && model.is_running()
            })
        };
        let campaigns =
            self.campaigns.values().filter(open).map(|model| StreamId::Campaign(model.id));
        let manuals = self.manuals.values();
        let manuals = manuals.filter(|manual| !manual.ended && manual.definition.device == device);
        campaigns.chain(manuals.map(|manual| StreamId::ManualUpdate(manual.id))).collect()
    }

    /// How long everything may still take once nothing goes wrong any more (D7 to D17).
    pub(crate) fn bound(&self) -> Duration {
        let limits = self
            .campaigns
            .values()
            .map(|model| (&model.limits().operation, model.targets.len()))
            .chain(self.manuals.values().map(|manual| (&manual.definition.limits, 1)));
        let mut bound = Duration::from_secs(4 * 3_600);
        for (limits, targets) in limits {
            let requests = u32::from(limits.request_retries) + 1;
            let stall = limits.stall_timeout.unwrap_or_default();
            let one = (limits.request_timeout + Duration::from_secs(330)) * requests
                + stall * 6
                + limits.reboot_timeout
                + Duration::from_secs(1_200);
            bound += one * requests * u32::try_from(targets.max(1)).unwrap_or(u32::MAX);
        }
        bound
    }
}
