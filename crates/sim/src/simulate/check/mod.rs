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
//! | `passing` | what passes between an engine and the world |
//! | `turn` | whose turn it is (D4) |
//! | `urls` | the URLs that operations get of their own (D23) |
//! | `calls` | how many calls are under way |
//! | `outage` | what an outage is like (D10) |
//! | `owed` | what must have happened by a time (D1, D12, D22) |
//! | `told` | what was acknowledged (E8, E10) |
//! | `subscriber` | what subscribers are told (E4) |
//! | `rows` | what rows show (E1) |
//! | `judges` | a judge for each tenant |
//! | `log` | a log alone, without the world that it came from |
//! | `survey` | how everything stands |

mod calls;
mod campaign;
mod facts;
mod gate;
mod judges;
mod log;
mod manual;
mod operation;
mod outage;
mod owed;
mod passing;
mod rows;
mod subscriber;
mod survey;
#[cfg(test)]
mod tests;
mod told;
mod turn;
mod urls;

use std::collections::BTreeMap;

use hedgerow_core::event::{CampaignEvent, EventError, ManualUpdateEvent};
use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, DeviceId, ManualUpdate, NewEvent, OperationId, Phase,
    StreamId, TargetCounts, TargetStatus, TenantId, Timestamp,
};

use self::campaign::Model;
use self::facts::Facts;
use self::facts::Witness;
pub(crate) use self::facts::{Read, Unread};
pub(crate) use self::judges::Judges;
use self::manual::Manual;
use self::operation::Op;
pub(crate) use self::operation::Said;
use self::outage::Outages;
use self::owed::Owed;
use self::rows::minute;
pub(crate) use self::subscriber::Subscriber;
pub(crate) use self::told::{Asked, Told};
use self::turn::Turns;
pub(crate) use self::turn::{Moment, Named};
pub(crate) use self::urls::UrlAsked;
use super::coverage::Coverage;
use super::invariant::{Broken, Invariant, Violation, ensure};

/// An event of either kind of stream.
pub(crate) enum Event {
    Campaign(CampaignEvent),
    Manual(ManualUpdateEvent),
}

impl Event {
    /// An event that is appended to a stream.
    pub(crate) fn appended(stream: StreamId, event: &NewEvent) -> Result<Self, EventError> {
        match stream {
            StreamId::Campaign(_) => CampaignEvent::from_new(stream, event).map(Self::Campaign),
            StreamId::ManualUpdate(_) => {
                ManualUpdateEvent::from_new(stream, event).map(Self::Manual)
            }
            // No engine writes to it.
            StreamId::Catalogue => {
                let event_type = event.event_type.clone();
                Err(EventError::UnknownType { stream, version: 0, event_type })
            }
        }
    }

    /// The device that it is about, where the event says so.
    pub(crate) fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Campaign(event) => event.device(),
            Self::Manual(_) => None,
        }
    }

    /// For people: the type and what is stored.
    pub(crate) fn text(&self) -> String {
        let json = match self {
            Self::Campaign(event) => event.to_json(),
            Self::Manual(event) => event.to_json(),
        };
        let json: String = String::from_utf8_lossy(&json).chars().take(300).collect();
        format!("{} {json}", self.name())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Campaign(event) => event.event_type(),
            Self::Manual(event) => event.event_type(),
        }
    }
}

/// How a campaign stands, for whoever wants to draw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(super) counts: TargetCounts,
    pub(super) limit: u32,
}

/// The judge.
pub(crate) struct Checker {
    tenant: TenantId,
    campaigns: BTreeMap<CampaignId, Model>,
    manuals: BTreeMap<OperationId, Manual>,
    /// The events of the catalogue, of which nothing else is judged.
    catalogue: u64,
    facts: Facts,
    turns: Turns,
    outages: Outages,
    owed: Owed,
    /// The campaign that has started in the append that is looked at.
    began: Option<CampaignId>,
    violation: Option<Violation>,
    pub(super) coverage: Coverage,
}

impl Checker {
    /// `calls`: how many an engine makes at once for each campaign.
    pub(crate) fn new(tenant: TenantId, calls: usize) -> Self {
        Self {
            tenant,
            campaigns: BTreeMap::new(),
            manuals: BTreeMap::new(),
            catalogue: 0,
            facts: Facts::default(),
            turns: Turns::new(calls),
            outages: Outages::default(),
            owed: Owed::default(),
            began: None,
            violation: None,
            coverage: Coverage::default(),
        }
    }

    /// The first thing that did not hold.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes the first thing that does not hold.
    pub(crate) fn broken(
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
    pub(crate) fn recorded(
        &mut self,
        slot: usize,
        stream: StreamId,
        expected_version: u64,
        events: &[(Event, Timestamp)],
        moment: Moment,
    ) {
        self.facts.records(slot, stream);
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
        self.append_is_over(stream, moment.now);
    }

    fn version(&self, stream: StreamId) -> u64 {
        match stream {
            StreamId::Campaign(id) => self.campaigns.get(&id).map_or(0, |model| model.version),
            StreamId::ManualUpdate(id) => self.manuals.get(&id).map_or(0, |manual| manual.version),
            StreamId::Catalogue => self.catalogue,
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
                let device = match event {
                    ManualUpdateEvent::ManualStarted(started) => Some(started.definition.device),
                    _ => self.manuals.get(&id).map(|manual| manual.definition.device),
                };
                if let Some(device) = device.filter(|_| self.facts.witness == Witness::World) {
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
        let from_log = self.facts.witness == Witness::Log;
        if from_log {
            self.believe_reason(id, event);
        }
        let Some(model) = self.campaigns.get_mut(&id) else {
            let fold = Campaign::begin(self.tenant.clone(), id, event, at).map_err(fold_error)?;
            let mut model = Model::new(fold, at);
            model.minutes.insert(minute(at), model.fold.counts());
            self.campaigns.insert(id, model);
            return Ok(());
        };
        let device = event.device();
        let place = device.and_then(|device| model.place(device));
        let before = model.status;
        let operation = place.and_then(|place| model.targets[place].operation);
        let phase =
            operation.map(|id| self.facts.operations.get(&id).map_or(Phase::Pending, Op::phase));
        let was_idle = place.is_some_and(|n| model.targets[n].status == TargetStatus::Idle);
        let checked = model.take(event, at, &mut self.facts);
        let folded = model.fold.apply(event, at).map_err(fold_error);
        // The rule, if one is broken: what cannot be folded any more follows from that.
        checked?;
        folded?;
        if let (CampaignEvent::RequestResent(_), false) = (event, from_log) {
            let folded = device.and_then(|device| model.fold.target(device)?.operation);
            let folded = folded.map(|operation| operation.resends);
            let own = operation.and_then(|id| self.facts.operations.get(&id)).map(Op::resends);
            ensure(folded == own, Invariant::StateIsFold, || {
                format!("the fold counts {folded:?} resends, there were {own:?}")
            })?;
        }
        self.coverage.campaign(before, model.status);
        self.coverage.operation(phase, event);
        if before != model.status && model.status == CampaignStatus::InProgress {
            self.began = Some(id);
            self.rollout_began(id);
        }
        if from_log {
            return Ok(()); // whose turn it is depends on who was online
        }
        let Some(model) = self.campaigns.get_mut(&id) else { return Ok(()) };
        model.minutes.insert(minute(at), model.fold.counts());
        let Some(model) = self.campaigns.get(&id) else { return Ok(()) };
        let begins = matches!(event, CampaignEvent::CampaignStarted(_));
        if begins {
            self.turns.started(model);
        }
        let of_all =
            matches!(event, CampaignEvent::PolicyFactRecorded(fact) if fact.device.is_none());
        if begins || of_all {
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
        ) || was_idle && matches!(event, CampaignEvent::RequestResent(_));
        if ends_turn {
            self.turns.turn_ended(model, place, moment.now)?;
        }
        let starts = matches!(event, CampaignEvent::OperationStarted(_))
            || was_idle && matches!(event, CampaignEvent::RequestResent(_));
        if starts {
            self.turns.operation_starts(model, place, moment.now)?;
        }
        if let Some(device) = device {
            self.refresh_device(device, moment);
        }
        Ok(())
    }

    /// A campaign starts: older ones of the same System Model and channel give way (D18).
    fn rollout_began(&mut self, id: CampaignId) {
        // One with nothing to do ends in the append that starts it (D3): it is in nobody's way.
        let stays = |model: &&Model| !model.targets.is_empty() && !model.misses_minimum();
        let Some(model) = self.campaigns.get(&id).filter(stays) else { return };
        let (image, channel) = (&model.definition.base_image, &model.definition.channel);
        let (system_model, channel) = (image.system_model.clone(), channel.name().clone());
        // Another whose devices the directory has named already starts next, and is the newer one.
        let newer = self.rollouts(&channel, &system_model).any(Model::begins);
        if let Some(model) = self.campaigns.get_mut(&id) {
            model.newer |= newer;
        }
    }

    /// The append of a stream is over.
    pub(super) fn append_is_over(&mut self, stream: StreamId, now: Timestamp) {
        self.rollout_stands(now);
        if let StreamId::Campaign(id) = stream
            && let Some(model) = self.campaigns.get(&id)
        {
            let checked = model.committed();
            self.note(checked, now, Some(stream), None);
        }
    }

    /// A campaign that ended in the append that it started in was in nobody's way: there was nothing to
    /// do (D3), or too many of its devices had been removed.
    fn rollout_stands(&mut self, now: Timestamp) {
        let began = self.began.take().and_then(|id| self.campaigns.get(&id));
        let Some(model) = began.filter(|model| model.is_running()) else { return };
        let is_beside = |other: &&Model| {
            other.id != model.id && other.is_running() && other.is_same_rollout(model)
        };
        if let Some(other) = self.campaigns.values().find(is_beside) {
            let message =
                format!("campaign {} starts while {} of its rollout runs", model.id, other.id);
            let stream = Some(StreamId::Campaign(other.id));
            self.broken((Invariant::Claims, message), now, stream, None);
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
}
