//! The judge of a simulation: it is told what is recorded, what leaves and what arrives, and knows
//! from the rules alone what must hold. It shares no code with what it judges, but for the core's
//! own fold, which is what E1 speaks of.
//!
//! | File | What |
//! |---|---|
//! | `campaign`, `manual` | streams, event by event |
//! | `operation` | one operation of either |
//! | `facts` | what streams have in common |
//! | `gate` | the gates, naively (D5, D6) |
//! | `turn` | whose turn it is (D4) |
//! | `told` | what was acknowledged (E8, E10) |

mod campaign;
mod facts;
mod gate;
mod manual;
mod operation;
mod told;
mod turn;

use std::collections::BTreeMap;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, Channel, DeviceId, ManualUpdate, OperationId, Phase,
    StreamId, SystemModelHandle, TargetCounts, TargetStatus, TenantId, Timestamp,
};
use hedgerow_engine::Progress;

use self::campaign::Model;
use self::facts::{Facts, Shown};
pub(super) use self::facts::{Read, Unread};
use self::manual::Manual;
use self::operation::Op;
pub(super) use self::operation::Said;
pub(super) use self::told::{Asked, Told};
pub(super) use self::turn::Moment;
use self::turn::Turns;
use super::coverage::Coverage;
use super::invariant::{Broken, Invariant, Violation};

/// An event of either kind of stream.
pub(super) enum Event {
    Campaign(CampaignEvent),
    Manual(ManualUpdateEvent),
}

impl Event {
    /// The device that it is about, where the event says so.
    pub(super) fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Campaign(event) => event.device(),
            Self::Manual(_) => None,
        }
    }

    /// For people: the type and what is stored.
    pub(super) fn text(&self) -> String {
        let json = match self {
            Self::Campaign(event) => event.to_json(),
            Self::Manual(event) => event.to_json(),
        };
        let json: String = String::from_utf8_lossy(&json).chars().take(300).collect();
        format!("{} {json}", self.name())
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Campaign(event) => event.event_type(),
            Self::Manual(event) => event.event_type(),
        }
    }
}

/// How a campaign stands, for whoever wants to draw it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) counts: TargetCounts,
    pub(super) limit: u32,
}

/// The judge.
pub(super) struct Checker {
    tenant: TenantId,
    campaigns: BTreeMap<CampaignId, Model>,
    manuals: BTreeMap<OperationId, Manual>,
    facts: Facts,
    turns: Turns,
    violation: Option<Violation>,
    pub(super) coverage: Coverage,
}

impl Checker {
    pub(super) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            campaigns: BTreeMap::new(),
            manuals: BTreeMap::new(),
            facts: Facts::default(),
            turns: Turns::default(),
            violation: None,
            coverage: Coverage::default(),
        }
    }

    /// The first thing that did not hold.
    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes the first thing that does not hold.
    pub(super) fn broken(
        &mut self,
        (invariant, message): Broken,
        at: Timestamp,
        stream: Option<StreamId>,
        device: Option<DeviceId>,
    ) {
        self.violation.get_or_insert(Violation {
            invariant,
            rule: invariant.rule(),
            at,
            stream,
            device,
            message,
        });
    }

    fn note(
        &mut self,
        checked: Result<(), Broken>,
        at: Timestamp,
        stream: Option<StreamId>,
        device: Option<DeviceId>,
    ) {
        if let Err(broken) = checked {
            self.broken(broken, at, stream, device);
        }
    }

    // What is recorded.

    /// An append of one stream has become durable.
    pub(super) fn recorded(
        &mut self,
        slot: usize,
        stream: StreamId,
        expected_version: u64,
        events: &[(Event, Timestamp)],
        moment: Moment,
    ) {
        self.facts.slot = slot;
        let version = self.version(stream);
        if version != expected_version {
            let message =
                format!("an append was taken at version {expected_version}, the log has {version}");
            self.broken((Invariant::ExpectedVersion, message), moment.now, Some(stream), None);
            return;
        }
        for (event, at) in events {
            let (checked, device) = self.take(stream, event, *at, moment);
            self.note(checked, *at, Some(stream), device);
        }
        if let StreamId::Campaign(id) = stream
            && let Some(model) = self.campaigns.get(&id)
        {
            let checked = model.committed();
            self.note(checked, moment.now, Some(stream), None);
        }
    }

    fn version(&self, stream: StreamId) -> u64 {
        match stream {
            StreamId::Campaign(id) => self.campaigns.get(&id).map_or(0, |model| model.version),
            StreamId::ManualUpdate(id) => self.manuals.get(&id).map_or(0, |manual| manual.version),
        }
    }

    fn take(
        &mut self,
        stream: StreamId,
        event: &Event,
        at: Timestamp,
        moment: Moment,
    ) -> (Result<(), Broken>, Option<DeviceId>) {
        self.coverage.event(event.name());
        match (stream, event) {
            (StreamId::Campaign(id), Event::Campaign(event)) => {
                (self.take_campaign(id, event, at, moment), event.device())
            }
            (StreamId::ManualUpdate(id), Event::Manual(event)) => {
                let checked = self.take_manual(id, event, at);
                let device = self.manuals.get(&id).map(|manual| manual.definition.device);
                if let Some(device) = device {
                    self.refresh_device(device, moment);
                }
                (checked, device)
            }
            _ => (Ok(()), None),
        }
    }

    fn take_campaign(
        &mut self,
        id: CampaignId,
        event: &CampaignEvent,
        at: Timestamp,
        moment: Moment,
    ) -> Result<(), Broken> {
        let fold_error = |error: hedgerow_core::ApplyError| {
            (Invariant::StateIsFold, format!("the log cannot be folded: {error}"))
        };
        let Some(model) = self.campaigns.get_mut(&id) else {
            let fold = Campaign::begin(self.tenant.clone(), id, event, at).map_err(fold_error)?;
            self.campaigns.insert(id, Model::new(fold));
            return Ok(());
        };
        let device = event.device();
        let place = device.and_then(|device| model.place(device));
        let before = model.status;
        let operation = place.and_then(|place| model.targets[place].operation);
        let phase =
            operation.map(|id| self.facts.operations.get(&id).map_or(Phase::Pending, Op::phase));
        let checked = model.take(event, at, &mut self.facts);
        model.fold.apply(event, at).map_err(fold_error)?;
        checked?;
        self.coverage.campaign(before, model.status);
        self.coverage.operation(phase, event);
        if before != model.status && model.status == CampaignStatus::InProgress {
            self.rollout_began(id);
        }
        let Some(model) = self.campaigns.get(&id) else { return Ok(()) };
        if matches!(event, CampaignEvent::CampaignStarted(_)) {
            self.turns.started(model);
            for place in 0..model.targets.len() {
                self.turns.refresh(model, place, &self.facts, moment);
            }
        }
        let Some(place) = place else { return Ok(()) };
        let ends_turn = matches!(
            event,
            CampaignEvent::TargetUpToDate(_)
                | CampaignEvent::AttemptDeferred(_)
                | CampaignEvent::OperationStarted(_)
        );
        if ends_turn {
            self.turns.turn_ended(model, place, moment.now)?;
        }
        if matches!(event, CampaignEvent::OperationStarted(_)) {
            self.turns.operation_starts(model, place, moment.now)?;
        }
        if let Some(device) = device {
            self.refresh_device(device, moment);
        }
        Ok(())
    }

    /// A campaign starts: older ones of the same System Model and channel give way (D18).
    fn rollout_began(&mut self, id: CampaignId) {
        let Some(model) = self.campaigns.get(&id) else { return };
        let (image, channel) = (&model.definition.base_image, &model.definition.channel);
        let (system_model, channel) = (image.system_model.clone(), channel.name().clone());
        for other in self.campaigns.values_mut().filter(|other| other.id != id) {
            let same = other.definition.base_image.system_model == system_model
                && *other.definition.channel.name() == channel;
            let running = same && other.is_running();
            if running {
                let message =
                    format!("campaign {id} starts while {} of its rollout runs", other.id);
                let stream = Some(StreamId::Campaign(other.id));
                self.violation.get_or_insert(Violation {
                    invariant: Invariant::Claims,
                    rule: Invariant::Claims.rule(),
                    at: Timestamp::default(),
                    stream,
                    device: None,
                    message,
                });
            }
        }
    }

    fn take_manual(
        &mut self,
        id: OperationId,
        event: &ManualUpdateEvent,
        at: Timestamp,
    ) -> Result<(), Broken> {
        let fold_error = |error: hedgerow_core::ApplyError| {
            (Invariant::StateIsFold, format!("the log cannot be folded: {error}"))
        };
        let Some(manual) = self.manuals.get_mut(&id) else {
            let fold =
                ManualUpdate::begin(self.tenant.clone(), id, event, at).map_err(fold_error)?;
            let manual = Manual::begin(fold, at, &mut self.facts)?;
            self.manuals.insert(id, manual);
            return Ok(());
        };
        manual.fold.apply(event, at).map_err(fold_error)?;
        manual.take(event, at, &mut self.facts)
    }

    fn refresh_device(&mut self, device: DeviceId, moment: Moment) {
        for model in self.campaigns.values().filter(|model| model.is_running()) {
            if let Some(place) = model.place(device) {
                self.turns.refresh(model, place, &self.facts, moment);
            }
        }
    }

    // What leaves and what comes back.

    pub(super) fn update_leaves(
        &mut self,
        device: DeviceId,
        operation: OperationId,
        url: &str,
        now: Timestamp,
    ) {
        let checked = match self.facts.operation(operation) {
            Ok(known) if known.device == device => {
                known.leaves(url).map_err(operation::of(operation))
            }
            Ok(known) => Err((
                Invariant::SameRequest,
                format!("operation {operation} of device {} is sent to another", known.device),
            )),
            Err(broken) => Err(broken),
        };
        let stream = self.stream_of(operation);
        self.note(checked, now, stream, Some(device));
    }

    pub(super) fn cancel_leaves(
        &mut self,
        device: DeviceId,
        operation: OperationId,
        url: &str,
        now: Timestamp,
    ) {
        let again = self.turns.is_off(now);
        let checked = self
            .facts
            .operation(operation)
            .and_then(|known| known.cancel_leaves(url, again).map_err(operation::of(operation)));
        let stream = self.stream_of(operation);
        self.note(checked, now, stream, Some(device));
    }

    pub(super) fn stream_of(&self, operation: OperationId) -> Option<StreamId> {
        self.facts.operations.get(&operation).map(|operation| operation.stream)
    }

    pub(super) fn update_answered(&mut self, operation: OperationId, said: Said, now: Timestamp) {
        if let Some(operation) = self.facts.operations.get_mut(&operation) {
            operation.answered(said);
            let device = operation.device;
            if matches!(said, Said::Temporary | Said::Nothing) {
                self.turns.delay(device, now);
            }
        }
    }

    pub(super) fn read_began(&mut self, device: DeviceId, moment: Moment) {
        self.turns.read_began(device, self.campaigns.values(), moment);
        self.refresh_device(device, moment);
    }

    pub(super) fn read_ended(
        &mut self,
        slot: usize,
        device: DeviceId,
        version: Read,
        moment: Moment,
    ) {
        self.turns.read_ended(device, version.is_err(), moment.now);
        self.facts.shown[slot].insert(device, Shown { version, at: moment.now });
        self.refresh_device(device, moment);
    }

    /// The directory named the devices of a channel: a rollout begins there, and others that run
    /// may be superseded (D18).
    pub(super) fn targets_named(
        &mut self,
        channel: &Channel,
        system_model: &SystemModelHandle,
        targets: &[(DeviceId, bool)],
    ) {
        self.turns.named(targets.iter().copied());
        let waiting = [CampaignStatus::Idle, CampaignStatus::Scheduled];
        for model in self.campaigns.values_mut() {
            let definition = &model.definition;
            let same = definition.channel.name() == channel.name()
                && definition.base_image.system_model == *system_model;
            if same && model.is_running() {
                model.newer = true;
            }
            if same && waiting.contains(&model.status) && definition.channel == *channel {
                model.named = Some(targets.iter().map(|(device, _)| *device).collect());
            }
        }
    }

    /// Something happened after which it is not known for sure what the engine knows.
    pub(super) fn trouble(&mut self, now: Timestamp) {
        self.turns.trouble(now);
    }

    /// An engine starts, alone or beside another.
    pub(super) fn engine_starts(&mut self, beside_another: bool, now: Timestamp) {
        self.turns.two_engines = beside_another;
        self.turns.trouble(now);
    }

    pub(super) fn engine_died(&mut self, slot: usize, now: Timestamp) {
        self.facts.shown[slot].clear();
        self.turns.engine_died();
        self.turns.trouble(now);
    }

    // What is looked at now and then.

    /// At the end of a step: campaigns in which a target should have had its turn.
    pub(super) fn passed_over(&mut self, moment: Moment) -> Vec<(CampaignId, DeviceId)> {
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
    pub(super) fn shown_by_engine(&mut self, progress: &Progress, now: Timestamp) {
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

    /// The campaign as folded from the log.
    pub(super) fn fold(&self, id: CampaignId) -> Option<&Campaign> {
        self.campaigns.get(&id).map(|model| &model.fold)
    }

    pub(super) fn campaigns(&self) -> impl Iterator<Item = CampaignId> + '_ {
        self.campaigns.keys().copied()
    }

    pub(super) fn status(&self, id: CampaignId) -> Option<CampaignStatus> {
        self.campaigns.get(&id).map(|model| model.status)
    }

    pub(super) fn active_manuals(&self) -> Vec<OperationId> {
        self.manuals.values().filter(|manual| !manual.ended).map(|manual| manual.id).collect()
    }

    /// All targets by status, and how many may be in progress.
    pub(super) fn standing(&self) -> Standing {
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
    pub(super) fn is_open(&self) -> bool {
        self.campaigns.values().any(Model::is_open)
            || self.manuals.values().any(|manual| !manual.ended)
    }

    /// What has not ended, for people: the stream, a device that it waits for, and in words.
    pub(super) fn open(&self) -> Option<(StreamId, Option<DeviceId>, String)> {
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
    pub(super) fn claims(&self) -> Vec<(String, StreamId)> {
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

    /// Targets of a device that have not ended (D15).
    pub(super) fn open_targets(&self, device: DeviceId) -> Vec<StreamId> {
        let open = |model: &&Model| {
            model.place(device).is_some_and(|place| {
                let status = model.targets[place].status;
                status == TargetStatus::InProgress
                    || status == TargetStatus::Idle && model.is_running()
            })
        };
        self.campaigns.values().filter(open).map(|model| StreamId::Campaign(model.id)).collect()
    }

    /// How long everything may still take once nothing goes wrong any more (D7 to D17).
    pub(super) fn bound(&self) -> std::time::Duration {
        use std::time::Duration;
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
