//! The engine as its users see it: steer campaigns, tell it what the world shows, ask it how things
//! stand. `builder` puts it together, `manual` has manual updates, `queries` the questions.

use std::fmt;
use std::sync::Arc;

use futures::channel::oneshot;
use hedgerow_core::{
    Campaign, CampaignDefinition, CampaignEdit, CampaignId, Command, Consent, DeviceId, Input,
    LiveCampaign, OperationReport, PolicyFact, Presence, Reaction, RunningOperations, StreamId,
    TenantId, Timestamp, WhenRunning,
};

use crate::begin::Beginning;
use crate::inbox::{Answer, Message, Undelivered};
use crate::live::encode_campaign;
use crate::registry::StreamState;
use crate::shared::Shared;
use crate::store::AppendError;
use crate::{EngineError, Moment, Sighting, recording};

/// A running engine. Clones are handles to the same one.
///
/// Every call takes a tenant, and sees nothing of another (D21).
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What the world shows the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A device reports about an operation (D11).
    Report(OperationReport),
    /// A device connected or disconnected.
    Presence {
        /// The device.
        device: DeviceId,
        /// Where it is now.
        presence: Presence,
    },
    /// The base image that a device shows may have changed.
    BaseImageChanged {
        /// The device.
        device: DeviceId,
    },
    /// A device ceased to exist (D15).
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    },
}

impl Engine {
    /// Creates a campaign, to start at `scheduled_at`, or at once if that is `None` or past.
    ///
    /// # Errors
    /// [`EngineError::Create`], [`EngineError::CampaignExists`], [`EngineError::RolloutTaken`] if
    /// it is to be refused beside a running one (D18), [`EngineError::Store`];
    /// [`EngineError::NotReady`] while it is not known whether an earlier call has created it,
    /// [`EngineError::TooManyOpening`].
    pub async fn create(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        definition: CampaignDefinition,
        scheduled_at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let now = self.accepting()?;
        let stream = StreamId::Campaign(id);
        let event = Campaign::create(definition, scheduled_at, now)?;
        let campaign = Campaign::begin(tenant.clone(), id, &event, now)
            .map_err(|_| EngineError::CampaignExists { campaign: id })?;
        let exists = EngineError::CampaignExists { campaign: id };
        let Some(beginning) = Beginning::of(&self.shared, tenant, stream)? else {
            // Of one that is being loaded, or was tried to be written, it is not known yet.
            let registry = self.shared.registry();
            let state = registry.streams.get(&(tenant.clone(), stream));
            let loading = matches!(state, Some(StreamState::Loading));
            return Err(if loading { EngineError::NotReady { stream } } else { exists });
        };
        let definition = campaign.definition();
        if definition.when_running == WhenRunning::Refuse && campaign.scheduled_at().is_none() {
            let claim = crate::live::rollout_claim(&campaign).key();
            if let Some(holder) = self.shared.rollout_holder(tenant, &claim).await {
                // A repeated call is told of its own campaign, which may have ended long ago.
                let own = self.shared.store.read_stream(tenant, stream, 0, 1).await?;
                let taken = EngineError::RolloutTaken { holder };
                return Err(if own.is_empty() { taken } else { exists });
            }
        }
        let takes = (Vec::new(), Vec::new());
        let append =
            recording::beginning(&self.shared, tenant, stream, encode_campaign(&event), takes, now);
        let mut live = LiveCampaign::new(campaign).asking_urls(self.shared.urls.is_some());
        let effects = live.handle(Input::Tick, now)?.effects;
        beginning.begin(append, live.into(), effects).await.map_err(|error| match error {
            AppendError::Store(error) => error.into(),
            _ => exists,
        })
    }

    /// Starts no more operations of a campaign (D16).
    ///
    /// # Errors
    /// [`EngineError`], as for every command: unknown, refused, out of service, store failed.
    pub async fn pause(&self, tenant: &TenantId, id: CampaignId) -> Result<(), EngineError> {
        self.command(tenant, id, Command::Pause).await
    }

    /// Goes on with a paused or pausing campaign (D16).
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub async fn resume(&self, tenant: &TenantId, id: CampaignId) -> Result<(), EngineError> {
        self.command(tenant, id, Command::Resume).await
    }

    /// Finishes a campaign at once (D17).
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub async fn cancel(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        running: RunningOperations,
    ) -> Result<(), EngineError> {
        self.command(tenant, id, Command::Cancel { running }).await
    }

    /// Changes a campaign: everything of a scheduled one, the limits of a running one (D19).
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub async fn edit(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        edit: CampaignEdit,
    ) -> Result<(), EngineError> {
        self.command(tenant, id, Command::Edit(Box::new(edit))).await
    }

    /// Deletes a scheduled campaign (D19).
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub async fn delete(&self, tenant: &TenantId, id: CampaignId) -> Result<(), EngineError> {
        self.command(tenant, id, Command::Delete).await
    }

    /// Records what the user of a target's device has answered, in an optional rollout (P15). The last
    /// answer counts until the target's operation starts; one that changes nothing is not recorded.
    ///
    /// # Errors
    /// As [`Engine::pause`]; also if the device is no target, or the rollout asks nobody.
    pub async fn consent(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
        consent: Consent,
    ) -> Result<(), EngineError> {
        let fact = PolicyFact::Consent(consent);
        self.command(tenant, id, Command::Record { device, fact }).await
    }

    async fn command(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        command: Command,
    ) -> Result<(), EngineError> {
        self.accepting()?;
        let input = Input::Command(command);
        self.tell(tenant, StreamId::Campaign(id), input).await.map(|_| ())
    }

    /// Tells the engine what the world shows now. It returns when what follows from it is durable:
    /// only then may the sender forget it (E8).
    ///
    /// # Errors
    /// One that [is retryable](EngineError::is_retryable) asks the sender to send again; any other
    /// is a refusal for good (D11).
    pub async fn observe(
        &self,
        tenant: &TenantId,
        observation: Observation,
    ) -> Result<Reaction, EngineError> {
        self.observe_as_of(tenant, observation, Moment::now()).await
    }

    /// As [`Engine::observe`], for a sender that held it back since it heard of it at that moment,
    /// such as to let one at a time speak of a device. Where a device is then gives way to what the
    /// engine has looked up since; for reports and base images the moment means nothing.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    pub async fn observe_as_of(
        &self,
        tenant: &TenantId,
        observation: Observation,
        as_of: Moment,
    ) -> Result<Reaction, EngineError> {
        self.accepting()?;
        let seen = |device, presence| Message::seen(device, Sighting { presence, as_of });
        let device = match observation {
            Observation::Report(report) => return self.report(tenant, report).await,
            Observation::Presence { device, .. }
            | Observation::BaseImageChanged { device }
            | Observation::DeviceRemoved { device } => device,
        };
        let (mut answers, mut is_full) = (Vec::new(), false);
        let inboxes = self.shared.registry().interest.of(tenant, device);
        for inbox in inboxes {
            let (message, answered) = match observation {
                Observation::Presence { presence, .. } => seen(device, Some(presence)),
                Observation::DeviceRemoved { .. } => seen(device, None),
                _ => Message::asking(Input::BaseImageChanged { device }),
            };
            match inbox.tell(message) {
                Ok(()) => answers.push(answered),
                // A task that has just ended has settled: it does not need to know.
                Err(Undelivered::Gone) => {}
                Err(Undelivered::Full) => is_full = true,
            }
        }
        // Those that took it go on; told again, they take it for what they know already.
        if is_full {
            self.shared.counters.refused_message();
            return Err(EngineError::Busy);
        }
        let mut reaction = Reaction::Unchanged;
        for answer in answers {
            if answer.await.unwrap_or(Ok(Reaction::Unchanged))? == Reaction::Taken {
                reaction = Reaction::Taken;
            }
        }
        Ok(reaction)
    }

    async fn report(&self, tenant: &TenantId, report: OperationReport) -> Answer {
        let answer = self.take_report(tenant, report).await;
        self.shared.counters.reported(&answer);
        answer
    }

    async fn take_report(&self, tenant: &TenantId, report: OperationReport) -> Answer {
        let (device, operation) = (report.device, report.operation);
        let active = self.shared.registry().stream_of(tenant, operation);
        let stream = match active {
            Some(stream) => Some(stream),
            None => self.shared.store.stream_of_operation(tenant, operation).await?,
        };
        let stream = stream.ok_or(EngineError::UnknownOperation { device, operation })?;
        self.tell(tenant, stream, Input::Report(report)).await
    }

    /// The engine's time: the wall clock's, kept from going back and from standing still (E12).
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Stops: nothing new is taken, what was taken becomes durable, calls under way are waited
    /// for. What has not left yet leaves after the next start (E4).
    pub async fn shutdown(&self) {
        let inboxes: Vec<_> = {
            let mut registry = self.shared.registry();
            registry.shutting_down = true;
            let inboxes = registry.streams.values().filter_map(|state| match state {
                StreamState::Loaded(inbox) => Some(inbox.clone()),
                _ => None,
            });
            inboxes.collect()
        };
        let ends = inboxes.into_iter().map(|inbox| {
            let (until_the_end, ended) = oneshot::channel();
            // A task that has ended drops it at once.
            let _ = inbox.post(Message::Stop(Some(until_the_end)));
            ended
        });
        for ended in ends.collect::<Vec<_>>() {
            let _ = ended.await;
        }
        // Nothing is recorded any more: what follows the log comes to its end.
        self.shared.appends.end();
        if let Some(rows) = &self.shared.rows {
            rows.stop();
        }
        let background = std::mem::take(&mut *self.shared.background());
        for ended in background {
            let _ = ended.await;
        }
    }

    pub(crate) fn accepting(&self) -> Result<Timestamp, EngineError> {
        if self.shared.registry().shutting_down {
            return Err(EngineError::ShuttingDown);
        }
        Ok(self.shared.now())
    }
}
