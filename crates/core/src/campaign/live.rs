//! A campaign at work: the folded state and the observations together, told one input at a time.
//!
//! [`LiveCampaign::handle`] decides, folds its own events at once and says what is to be recorded
//! and what is to be done after that. A caller whose append fails throws the value away and loads
//! the campaign again.

use super::Campaign;
use super::decide::Rejection;
use super::handling::Handling;
use super::observations::Observations;
use super::schedule::Schedule;
use crate::effect::{ClaimChange, Effect, Reaction};
use crate::event::CampaignEvent;
use crate::gate::GateDecision;
use crate::id::DeviceId;
use crate::input::Input;
use crate::question::{Question, Questions};
use crate::time::Timestamp;

/// What an input led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// What is to be recorded, in order. Already folded into the state.
    pub events: Vec<CampaignEvent>,
    /// Claims that go with the events, in order.
    pub claims: Vec<ClaimChange>,
    /// What is to be done once the events are durable.
    pub effects: Vec<Effect>,
    /// What became of the input.
    pub reaction: Reaction,
}

/// A campaign at work. See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveCampaign {
    pub(super) campaign: Campaign,
    pub(super) observations: Observations,
    pub(super) schedule: Schedule,
    pub(super) questions: Questions,
    /// Whether an operation's URL is asked for before it starts (D23).
    pub(super) asks_urls: bool,
    /// Until a loaded campaign knows who is online, nothing is due.
    pub(super) recovered: bool,
}

impl LiveCampaign {
    /// Puts a new campaign to work.
    #[must_use]
    pub fn new(campaign: Campaign) -> Self {
        Self {
            campaign,
            observations: Observations::default(),
            schedule: Schedule::default(),
            questions: Questions::default(),
            asks_urls: false,
            recovered: true,
        }
    }

    /// Puts a campaign to work that was loaded. Tell it the presence of its devices, then
    /// [`Input::Recovered`]: until then nothing is due and nothing starts.
    #[must_use]
    pub fn loaded(campaign: Campaign) -> Self {
        Self { recovered: false, ..Self::new(campaign) }
    }

    /// The number of the latest question that was asked.
    #[must_use]
    pub fn latest_question(&self) -> Question {
        self.questions.latest()
    }

    /// Numbers its questions after `latest`: of a campaign that is loaded again while answers to
    /// what it asked before are still under way, which are void from now on (E11).
    #[must_use]
    pub fn asking_after(self, latest: Question) -> Self {
        Self { questions: Questions::after(latest), ..self }
    }

    /// Asks for the URL of each operation before it starts, by [`Effect::PrepareStart`], instead of
    /// sending the base image's (D23); or not any more. Operations that have started keep the URL that
    /// they have.
    #[must_use]
    pub fn asking_urls(self, asks_urls: bool) -> Self {
        Self { asks_urls, ..self }
    }

    /// Whether it still waits for the snapshot that it asked for with this question: not if it was
    /// cancelled, deleted or edited since.
    #[must_use]
    pub fn awaits_snapshot(&self, question: Question) -> bool {
        self.observations.snapshot_asked == Some(question)
    }

    /// The folded state.
    #[must_use]
    pub fn campaign(&self) -> &Campaign {
        &self.campaign
    }

    /// When [`Input::Tick`] is due. An early tick is harmless. Any input may change it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.recovered {
            return None;
        }
        let policies = self.campaign.policies_due_at();
        [self.schedule.next_timer(), self.held_until(), policies].into_iter().flatten().min()
    }

    /// Whether the transport is known to be down: no target's turn comes until it is back (D10).
    #[must_use]
    pub fn knows_of_outage(&self) -> bool {
        self.observations.outage.is_known()
    }

    /// Whether a device is online, as far as the campaign was told.
    #[must_use]
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.campaign.targets.find(device).is_some_and(|target| self.observations.is_online(target))
    }

    /// Tells the campaign something at `now`, which never goes back.
    ///
    /// # Errors
    /// [`Rejection`]: the input was refused and nothing has changed.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Result<Decision, Rejection> {
        self.told(input, None, now)
    }

    /// As [`LiveCampaign::handle`], with what the gates say to the version that the input tells, if that
    /// was asked already (D5).
    pub(super) fn told(
        &mut self,
        input: Input,
        gates: Option<GateDecision>,
        now: Timestamp,
    ) -> Result<Decision, Rejection> {
        let mut decision = Decision::default();
        let handling =
            &mut Handling { live: self, decision: &mut decision, now, gates, stale: None };
        match input {
            Input::Command(command) => handling.command(&command)?,
            Input::SnapshotChunk { question, devices } => {
                handling.snapshot_chunk(question, &devices)?;
            }
            Input::SnapshotComplete { question } => handling.snapshot_complete(question),
            Input::SnapshotUnavailable { question } => handling.snapshot_unavailable(question),
            Input::Presence { device, presence } => handling.presence(device, presence),
            Input::BaseImageChanged { device } => handling.base_image_changed(device),
            Input::DeviceRemoved { device } => handling.device_removed(device),
            Input::DeviceFact { device, fact } => handling.device_fact(device, fact),
            Input::Report(report) => handling.report(&report)?,
            Input::BaseImageRead { device, question, answer, .. } => {
                handling.base_image_read(device, question, &answer);
            }
            Input::RequestAnswered { device, question, answer, .. } => {
                handling.request_answered(device, question, &answer);
            }
            Input::CancelAnswered { device, question, answer, .. } => {
                handling.cancel_answered(device, question, &answer);
            }
            Input::Recovered => handling.recovered(),
            Input::Tick => handling.fire_timers(),
        }
        handling.advance();
        Ok(decision)
    }
}
