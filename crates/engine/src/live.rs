//! A stream at work, of either kind, seen alike by the task that runs it.

use hedgerow_core::{
    Campaign, ClaimChange, Decision, DeviceId, Effect, Input, LiveCampaign, LiveManualUpdate,
    OperationId, Reaction, StreamId, Timestamp,
};

use crate::EngineError;
use crate::store::{Activity, Claim};

/// A campaign or a manual update at work.
pub(crate) enum Live {
    Campaign(Box<LiveCampaign>),
    Manual(Box<LiveManualUpdate>),
}

/// An event as the store takes it, still without its surroundings.
pub(crate) struct EncodedEvent {
    pub(crate) event_type: &'static str,
    pub(crate) schema_version: u16,
    pub(crate) data: Vec<u8>,
}

/// What an input led to, for either kind.
#[derive(Default)]
pub(crate) struct StreamDecision {
    pub(crate) events: Vec<EncodedEvent>,
    pub(crate) claims: Vec<ClaimChange>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) reaction: Reaction,
}

macro_rules! encode {
    ($event:expr) => {{
        let event = $event;
        EncodedEvent {
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            data: event.to_json(),
        }
    }};
}

/// The first event of a campaign's stream, encoded.
pub(crate) fn encode_campaign(event: &hedgerow_core::event::CampaignEvent) -> EncodedEvent {
    encode!(event)
}

/// The first event of a manual update's stream, encoded.
pub(crate) fn encode_manual(event: &hedgerow_core::event::ManualUpdateEvent) -> EncodedEvent {
    encode!(event)
}

impl Live {
    pub(crate) fn stream(&self) -> StreamId {
        match self {
            Self::Campaign(live) => live.campaign().stream(),
            Self::Manual(live) => live.update().stream(),
        }
    }

    /// See [`LiveCampaign::asking_after`].
    pub(crate) fn asking_after(self, earlier: &Self) -> Self {
        let latest = match earlier {
            Self::Campaign(live) => live.latest_question(),
            Self::Manual(live) => live.latest_question(),
        };
        match self {
            Self::Campaign(live) => live.asking_after(latest).into(),
            Self::Manual(live) => live.asking_after(latest).into(),
        }
    }

    /// See [`LiveCampaign::asking_urls`]; manual updates have the URL that their caller gave.
    pub(crate) fn asking_urls(self, asks_urls: bool) -> Self {
        match self {
            Self::Campaign(live) => live.asking_urls(asks_urls).into(),
            manual @ Self::Manual(_) => manual,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Campaign(live) => live.campaign().version(),
            Self::Manual(live) => live.update().version(),
        }
    }

    pub(crate) fn campaign(&self) -> Option<&LiveCampaign> {
        match self {
            Self::Campaign(live) => Some(live),
            Self::Manual(_) => None,
        }
    }

    pub(crate) fn manual(&self) -> Option<&LiveManualUpdate> {
        match self {
            Self::Manual(live) => Some(live),
            Self::Campaign(_) => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Campaign(live) => live.next_deadline(),
            Self::Manual(live) => live.next_deadline(),
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        let settled = match self {
            Self::Campaign(live) => live.campaign().is_settled(),
            Self::Manual(live) => live.is_settled(),
        };
        if settled { Activity::Settled } else { Activity::Active }
    }

    /// The devices whose presence it needs to know. More may follow these.
    pub(crate) fn devices(&self) -> &[DeviceId] {
        match self {
            Self::Campaign(live) => live.campaign().devices(),
            Self::Manual(live) => std::slice::from_ref(&live.update().definition().device),
        }
    }

    /// The active operations with their devices.
    pub(crate) fn operations(&self) -> Vec<(DeviceId, OperationId)> {
        match self {
            Self::Campaign(live) => live.campaign().active_operations().collect(),
            Self::Manual(live) => {
                let device = live.update().definition().device;
                live.update().operation().map(|o| (device, o.id)).into_iter().collect()
            }
        }
    }

    /// The operation of this stream that is active on the device.
    pub(crate) fn operation_on(&self, device: DeviceId) -> Option<OperationId> {
        match self {
            Self::Campaign(live) => {
                live.campaign().target(device)?.operation.map(|operation| operation.id)
            }
            Self::Manual(live) => {
                let own = live.update().definition().device == device;
                live.update().operation().filter(|_| own).map(|operation| operation.id)
            }
        }
    }

    pub(crate) fn rollout_claim(&self) -> Option<Claim> {
        self.campaign().map(|live| rollout_claim(live.campaign()))
    }

    /// What each of the inputs of a batch leads to, in the order in which they are decided, with its
    /// place in the batch; see [`LiveCampaign::handle_batch`].
    pub(crate) fn handle_batch(
        &mut self,
        inputs: impl Iterator<Item = Input>,
        now: Timestamp,
    ) -> Vec<(usize, Result<StreamDecision, EngineError>)> {
        match self {
            Self::Campaign(live) => live
                .handle_batch(inputs, now)
                .into_iter()
                .map(|(place, decision)| (place, decision.map(Into::into).map_err(Into::into)))
                .collect(),
            Self::Manual(live) => {
                inputs.map(|input| handle_manual(live, input, now)).enumerate().collect()
            }
        }
    }
}

impl From<Decision> for StreamDecision {
    fn from(decision: Decision) -> Self {
        Self {
            events: decision.events.iter().map(encode_campaign).collect(),
            claims: decision.claims,
            effects: decision.effects,
            reaction: decision.reaction,
        }
    }
}

fn handle_manual(
    live: &mut LiveManualUpdate,
    input: Input,
    now: Timestamp,
) -> Result<StreamDecision, EngineError> {
    let was_settled = live.is_settled();
    let decision = live.handle(input, now)?;
    let device = live.update().definition().device;
    let ended = live.is_settled() && !was_settled;
    Ok(StreamDecision {
        events: decision.events.iter().map(encode_manual).collect(),
        claims: ended.then_some(ClaimChange::ReleaseDevice(device)).into_iter().collect(),
        effects: decision.effects,
        reaction: decision.reaction,
    })
}

/// What is one campaign's at a time (D18).
pub(crate) fn rollout_claim(campaign: &Campaign) -> Claim {
    let definition = campaign.definition();
    Claim::Rollout {
        system_model: definition.base_image.system_model.to_string(),
        channel: definition.channel.name().to_string(),
    }
}

impl From<LiveCampaign> for Live {
    fn from(live: LiveCampaign) -> Self {
        Self::Campaign(Box::new(live))
    }
}

impl From<LiveManualUpdate> for Live {
    fn from(live: LiveManualUpdate) -> Self {
        Self::Manual(Box::new(live))
    }
}
