//! A campaign at work: the folded state and the observations together, told one input at a time.
//!
//! [`LiveCampaign::handle`] decides, folds its own events at once and says what is to be recorded
//! and what is to be done after that. A caller whose append fails throws the value away and loads
//! the campaign again.

use super::decide::{self, Rejection, deadline::Reach, report::Judged};
use super::input::{
    BaseImageAnswer, Command, Input, Presence, ReadPurpose, RequestAnswer, TransportError,
};
use super::observations::{AFTER_RESTART, Observations, SETTLING};
use super::outage::Call;
use super::{Campaign, CampaignStatus, TargetStatus, backoff};
use crate::event::{CampaignEvent, OperationReadmitted, RequestReissued};
use crate::{
    Cancellation, Delivery, DeviceId, ImageUrl, OperationId, OperationReport, Phase, Timestamp,
};

/// Something to do in the world, after the events decided with it are durable (E4). Each is
/// answered by an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Resolve the channel and select the targets (D1, D2). Answered by
    /// [`Input::SnapshotChunk`]s and [`Input::SnapshotComplete`], with the presence of each device
    /// told in between.
    TakeSnapshot {
        /// To be handed back with the answer.
        asked: u64,
    },
    /// Read the version that a device reports. Answered by [`Input::BaseImageRead`].
    ReadBaseImage {
        /// The device.
        device: DeviceId,
        /// What for.
        purpose: ReadPurpose,
    },
    /// Send an Update request. Answered by [`Input::RequestAnswered`].
    SendUpdate {
        /// The device.
        device: DeviceId,
        /// The operation's UUID.
        operation: OperationId,
        /// The image's URL, byte for byte the same whenever this operation is sent (D8).
        url: ImageUrl,
    },
    /// Send a Cancel request. Answered by [`Input::CancelAnswered`].
    SendCancel {
        /// The device.
        device: DeviceId,
        /// The operation's UUID.
        operation: OperationId,
        /// The image's URL, as in its Update.
        url: ImageUrl,
    },
}

/// A claim to take or to release in the transaction that records the events (E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimChange {
    /// An operation starts: the device becomes ours (D14).
    TakeDevice(DeviceId, OperationId),
    /// Its operation ended.
    ReleaseDevice(DeviceId),
    /// The campaign starts: its System Model and channel become ours (D18).
    TakeRollout,
    /// It has its outcome.
    ReleaseRollout,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reaction {
    /// It was taken.
    #[default]
    Taken,
    /// It changes nothing: a duplicate, a stale report, a device that is no target.
    Unchanged,
    /// A report for an operation that had ended: recorded as late (D11).
    Late,
}

/// What an input led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    campaign: Campaign,
    observations: Observations,
    /// Until a loaded campaign knows who is online, nothing is due.
    recovered: bool,
}

impl LiveCampaign {
    /// Puts a new campaign to work.
    #[must_use]
    pub fn new(campaign: Campaign) -> Self {
        Self { campaign, observations: Observations::default(), recovered: true }
    }

    /// Puts a campaign to work that was loaded. Tell it the presence of its devices, then
    /// [`Input::Recovered`]: until then nothing is due and nothing starts.
    #[must_use]
    pub fn loaded(campaign: Campaign) -> Self {
        Self { recovered: false, ..Self::new(campaign) }
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
        let timer = self.observations.next_timer();
        let other = match self.campaign.status {
            CampaignStatus::Scheduled if self.observations.snapshot_asked.is_none() => {
                self.campaign.scheduled_at
            }
            CampaignStatus::InProgress if self.has_place() => self.observations.next_trial(),
            _ => None,
        };
        [timer, other].into_iter().flatten().min()
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
        let mut decision = Decision::default();
        let turn = &mut Turn { live: self, decision: &mut decision, now };
        match input {
            Input::Command(command) => turn.command(&command)?,
            Input::SnapshotChunk { asked, devices } => turn.snapshot_chunk(asked, &devices)?,
            Input::SnapshotComplete { asked } => turn.snapshot_complete(asked),
            Input::SnapshotUnavailable { asked } => turn.snapshot_unavailable(asked),
            Input::Presence { device, presence } => turn.presence(device, presence),
            Input::BaseImageChanged { device } => turn.base_image_changed(device),
            Input::DeviceRemoved { device } => turn.device_removed(device),
            Input::DeviceFreed { device } => turn.device_freed(device),
            Input::Report(report) => turn.report(&report)?,
            Input::BaseImageRead { device, purpose, answer } => {
                turn.base_image_read(device, purpose, &answer);
            }
            Input::RequestAnswered { device, operation, answer } => {
                turn.request_answered(device, operation, &answer);
            }
            Input::CancelAnswered { device, operation, answer } => {
                turn.cancel_answered(device, operation, &answer);
            }
            Input::Recovered => turn.recovered(),
            Input::Tick => turn.fire_timers(),
        }
        turn.advance();
        Ok(decision)
    }

    fn has_place(&self) -> bool {
        self.campaign.has_free_slot(self.observations.gate_reads)
    }
}

/// One input being handled at one time.
struct Turn<'a> {
    live: &'a mut LiveCampaign,
    decision: &'a mut Decision,
    now: Timestamp,
}

impl Turn<'_> {
    fn campaign(&self) -> &Campaign {
        &self.live.campaign
    }

    fn find(&mut self, device: DeviceId) -> Option<u32> {
        let target = self.campaign().targets.find(device);
        if target.is_none() {
            self.decision.reaction = Reaction::Unchanged;
        }
        target
    }

    fn sync(&mut self, target: u32) {
        let LiveCampaign { campaign, observations, .. } = &mut *self.live;
        observations.sync(campaign, target, self.now);
    }

    /// Folds an event of this turn and notes its claims.
    fn record(&mut self, event: CampaignEvent) {
        let LiveCampaign { campaign, observations, .. } = &mut *self.live;
        let target = event.device().and_then(|device| campaign.targets.find(device));
        if let Some(target) = target {
            observations.unqueue(campaign, target);
        }
        let had_operation = target.is_some_and(|target| campaign.operations.contains_key(&target));
        match &event {
            CampaignEvent::CampaignStarted(_) => {
                self.decision.claims.push(ClaimChange::TakeRollout);
            }
            CampaignEvent::CampaignFinished(finished) => {
                if campaign.started_at.is_some() {
                    self.decision.claims.push(ClaimChange::ReleaseRollout);
                }
                if finished.outcome.cancels_idle_targets() {
                    let idle =
                        campaign.operations.keys().copied().filter(|target| {
                            campaign.targets.status(*target) == TargetStatus::Idle
                        });
                    let released = idle
                        .map(|target| ClaimChange::ReleaseDevice(campaign.targets.device(target)));
                    self.decision.claims.extend(released);
                }
            }
            CampaignEvent::OperationStarted(started) => {
                let claim = ClaimChange::TakeDevice(started.device, started.operation);
                self.decision.claims.push(claim);
            }
            _ => {}
        }
        let applied = campaign.apply(&event, self.now);
        debug_assert_eq!(applied, Ok(()), "decided an event that cannot follow: {event:?}");
        if let Some(target) = target {
            if had_operation && !campaign.operations.contains_key(&target) {
                let device = campaign.targets.device(target);
                self.decision.claims.push(ClaimChange::ReleaseDevice(device));
            }
            observations.sync(campaign, target, self.now);
        }
        self.decision.events.push(event);
    }

    fn command(&mut self, command: &Command) -> Result<(), Rejection> {
        let event = decide::steer::command(self.campaign(), command, self.now)?;
        let ends_snapshot = matches!(
            event,
            CampaignEvent::CampaignEdited(_)
                | CampaignEvent::CampaignDeleted(_)
                | CampaignEvent::CampaignFinished(_)
        );
        if ends_snapshot {
            // The answer to a request that is under way is not wanted any more.
            self.live.observations.snapshot_asked = None;
            self.live.observations.snapshot_at = None;
        }
        self.record(event);
        if matches!(command, Command::Cancel { .. }) {
            self.cancel_operations();
        }
        Ok(())
    }

    /// Sends the Cancel requests that are wanted and not under way (D17).
    fn cancel_operations(&mut self) {
        let wanted: Vec<u32> = self
            .campaign()
            .operations
            .iter()
            .filter(|(_, operation)| operation.cancellation == Cancellation::Wanted)
            .map(|(target, _)| *target)
            .collect();
        for target in wanted {
            self.send_cancel(target);
        }
    }

    fn send_cancel(&mut self, target: u32) {
        let watch = self.live.observations.watch(target);
        // A Cancel must not overtake its Update: it waits for that call's answer.
        if watch.calling || watch.cancelling {
            return;
        }
        watch.cancelling = true;
        watch.cancel_at = None;
        let campaign = &self.live.campaign;
        if let Some(operation) = campaign.operations.get(&target) {
            self.decision.effects.push(Effect::SendCancel {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.definition.base_image.url.clone(),
            });
        }
        self.sync(target);
    }

    fn send_update(&mut self, target: u32) {
        self.live.observations.watch(target).calling = true;
        let campaign = &self.live.campaign;
        if let Some(operation) = campaign.operations.get(&target) {
            self.decision.effects.push(Effect::SendUpdate {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.definition.base_image.url.clone(),
            });
        }
    }

    fn read(&mut self, target: u32, purpose: ReadPurpose) {
        self.live.observations.watch(target).reading = Some(purpose);
        let device = self.campaign().targets.device(target);
        self.decision.effects.push(Effect::ReadBaseImage { device, purpose });
        self.sync(target);
    }

    fn snapshot_chunk(&mut self, asked: u64, devices: &[DeviceId]) -> Result<(), Rejection> {
        if self.live.observations.snapshot_asked != Some(asked) {
            self.decision.reaction = Reaction::Unchanged;
            return Ok(());
        }
        for event in decide::snapshot::extend(self.campaign(), devices)? {
            self.record(event);
        }
        Ok(())
    }

    fn snapshot_complete(&mut self, asked: u64) {
        if self.live.observations.snapshot_asked != Some(asked) {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        self.live.observations.snapshot_asked = None;
        let event = decide::snapshot::complete(self.campaign());
        self.record(event);
        for target in 0..self.campaign().targets.len() {
            self.sync(target);
        }
    }

    fn snapshot_unavailable(&mut self, asked: u64) {
        if self.live.observations.snapshot_asked == Some(asked) {
            self.live.observations.snapshot_asked = None;
            self.live.observations.snapshot_at = Some(self.now + SETTLING);
        }
    }

    fn presence(&mut self, device: DeviceId, presence: Presence) {
        let Some(target) = self.find(device) else { return };
        let now = self.now;
        let operation = self.live.campaign.operations.get(&target);
        let in_progress = operation
            .filter(|_| self.live.campaign.targets.status(target) == TargetStatus::InProgress);
        let reboot_timeout = self.live.campaign.limits().operation.reboot_timeout;
        let earliest = if self.live.recovered { now } else { now + AFTER_RESTART };
        let observations = &mut self.live.observations;
        match presence {
            Presence::Online { since } => {
                observations.set_online(target, true);
                if let Some(operation) = in_progress {
                    let watch = observations.watch(target);
                    watch.settled_at = Some((since + SETTLING).max(earliest));
                    if operation.phase == Phase::Rebooting {
                        watch.reboot_at = Some(now + reboot_timeout);
                    }
                }
            }
            Presence::Offline => {
                observations.set_online(target, false);
                if in_progress.is_some() {
                    observations.watch(target).reboot_at = None;
                }
            }
        }
        self.sync(target);
    }

    fn base_image_changed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        if self.campaign().targets.status(target) != TargetStatus::InProgress {
            return;
        }
        let settled_at = self.now + SETTLING;
        self.live.observations.watch(target).settled_at.get_or_insert(settled_at);
        self.sync(target);
    }

    fn device_removed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        self.live.observations.set_online(target, false);
        match decide::reconcile::removed(self.campaign(), target) {
            Some(event) => self.record(event),
            None => self.sync(target),
        }
    }

    fn device_freed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        if self.live.observations.set_free(target) {
            self.sync(target);
        }
    }

    fn report(&mut self, report: &OperationReport) -> Result<(), Rejection> {
        match decide::report::judge(self.campaign(), report, self.now)? {
            Judged::Event(event) => self.record(event),
            Judged::Unchanged => self.decision.reaction = Reaction::Unchanged,
            Judged::Late(target, event) => {
                // The same late report again and again must not grow the log without end.
                let seen = self.live.observations.late.entry(target).or_default();
                let status = 1 << (report.status as u16);
                if *seen & status == 0 {
                    *seen |= status;
                    self.record(event);
                    self.decision.reaction = Reaction::Late;
                } else {
                    self.decision.reaction = Reaction::Unchanged;
                }
            }
        }
        Ok(())
    }

    fn base_image_read(
        &mut self,
        device: DeviceId,
        purpose: ReadPurpose,
        answer: &BaseImageAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let watch = self.live.observations.watch(target);
        if watch.reading != Some(purpose) {
            // The target was settled while its version was read.
            if purpose == ReadPurpose::Gate {
                self.live.observations.outage.turn_ended();
            }
            return self.sync(target);
        }
        watch.reading = None;
        if purpose == ReadPurpose::Gate {
            self.live.observations.gate_reads -= 1;
            self.gate_read(target, answer);
        } else {
            self.operation_read(target, purpose, answer);
        }
        self.sync(target);
    }

    /// A target's turn, with its version read (D5).
    fn gate_read(&mut self, target: u32, answer: &BaseImageAnswer) {
        let version = match answer {
            BaseImageAnswer::Version(version) => version,
            BaseImageAnswer::Busy => {
                self.live.observations.outage.turn_ended();
                self.live.observations.set_busy(target);
                return;
            }
            BaseImageAnswer::Failed(error) => return self.gate_read_failed(target, error),
        };
        self.live.observations.outage.succeeded(Call::Read);
        let campaign = &self.live.campaign;
        let may_start = campaign.status == CampaignStatus::InProgress
            && campaign.targets.status(target) == TargetStatus::Idle
            && campaign.operations.get(&target).is_none_or(|operation| !operation.is_reported())
            && self.live.observations.is_online(target)
            && self.live.has_place();
        if !may_start {
            self.live.observations.outage.turn_ended();
            return;
        }
        let watch = self.live.observations.watch(target);
        watch.failures = 0;
        watch.not_before = None;
        let event = decide::attempt::pass_gates(&self.live.campaign, target, version.as_deref());
        let starts = matches!(event, CampaignEvent::OperationStarted(_));
        self.record(event);
        if starts {
            self.send_update(target);
        } else {
            self.live.observations.outage.turn_ended();
        }
    }

    fn gate_read_failed(&mut self, target: u32, error: &TransportError) {
        let now = self.now;
        let known = self.live.observations.outage.is_known();
        self.live.observations.outage.failed(Call::Read, now);
        let campaign = &self.live.campaign;
        if campaign.status != CampaignStatus::InProgress
            || campaign.targets.status(target) != TargetStatus::Idle
        {
            return;
        }
        if known {
            let device = campaign.targets.device(target);
            let watch = self.live.observations.watch(target);
            watch.not_before = Some(now + backoff::delay(campaign.id, device, watch.failures));
            watch.failures = watch.failures.saturating_add(1);
        } else {
            let event = decide::attempt::defer(campaign, target, error, now);
            self.record(event);
        }
    }

    /// The base image of a device with an operation was read (D8, D9, D12).
    fn operation_read(&mut self, target: u32, purpose: ReadPurpose, answer: &BaseImageAnswer) {
        let now = self.now;
        let campaign = &self.live.campaign;
        let Some(operation) = campaign.operations.get(&target) else { return };
        let version = match answer {
            BaseImageAnswer::Version(version) => Some(version.as_deref()),
            BaseImageAnswer::Busy | BaseImageAnswer::Failed(_) => None,
        };
        if version.is_some_and(|v| decide::reconcile::shows(&campaign.definition.base_image, v)) {
            let event = decide::reconcile::confirmed(campaign, target);
            return self.record(event);
        }
        match (purpose, version) {
            (ReadPurpose::Deadline, _) => {
                if operation.deadline.is_none_or(|deadline| deadline > now) {
                    return; // a report came while the base image was read
                }
                let online = self.live.observations.is_online(target);
                let reach = if online { Reach::Online } else { Reach::Offline };
                let event = decide::deadline::passed(campaign, target, operation, reach);
                let resends = matches!(event, CampaignEvent::RequestResent(_));
                self.record(event);
                if resends {
                    self.send_update(target);
                }
            }
            (ReadPurpose::RebootTimeout, Some(version)) => {
                // Judged once: a device that went on meanwhile is not looked at again and again.
                let watch = self.live.observations.watch(target);
                let is_due = watch.reboot_at.take_if(|at| *at <= now).is_some();
                if is_due && operation.phase == Phase::Rebooting {
                    let event = decide::reconcile::rolled_back(campaign, target, version);
                    self.record(event);
                }
            }
            (ReadPurpose::RebootTimeout, None) => {
                let watch = self.live.observations.watch(target);
                if watch.reboot_at.is_some() {
                    watch.reboot_at = Some(now + SETTLING);
                }
            }
            (_, Some(_)) => self.reissue(target),
            (_, None) => {
                self.live.observations.watch(target).settled_at = Some(now + SETTLING);
            }
        }
    }

    /// Sends a request that may never have left before a restart, now that the device is known not
    /// to have finished it (E4, D12).
    fn reissue(&mut self, target: u32) {
        let campaign = &self.live.campaign;
        let Some(operation) = campaign.operations.get(&target) else { return };
        let calling = self.live.observations.look(target).is_some_and(|watch| watch.calling);
        let owed = operation.delivery == Delivery::Unanswered
            && !operation.is_reported()
            && operation.cancellation == Cancellation::NotWanted;
        if owed && !calling && self.live.observations.is_online(target) {
            let device = campaign.targets.device(target);
            self.record(RequestReissued { device }.into());
            self.send_update(target);
        }
    }

    fn request_answered(&mut self, device: DeviceId, id: OperationId, answer: &RequestAnswer) {
        let Some(target) = self.find(device) else { return };
        match answer {
            RequestAnswer::Temporary(_) => {
                self.live.observations.outage.failed(Call::Send, self.now);
            }
            RequestAnswer::Accepted | RequestAnswer::Permanent(_) => {
                self.live.observations.outage.succeeded(Call::Send);
            }
        }
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(&target).filter(|operation| operation.id == id);
        let Some(operation) = operation else {
            self.decision.reaction = Reaction::Unchanged;
            return;
        };
        self.live.observations.watch(target).calling = false;
        if operation.delivery == Delivery::Unanswered {
            let event = decide::request::answered(campaign, target, operation, answer, self.now);
            self.record(event);
        }
        let wanted = self.live.campaign.operations.get(&target);
        if wanted.is_some_and(|operation| operation.cancellation == Cancellation::Wanted) {
            self.send_cancel(target);
        }
        self.sync(target);
    }

    fn cancel_answered(&mut self, device: DeviceId, id: OperationId, answer: &RequestAnswer) {
        let Some(target) = self.find(device) else { return };
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(&target).filter(|operation| operation.id == id);
        if operation.is_none_or(|operation| operation.cancellation != Cancellation::Wanted) {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        let watch = self.live.observations.watch(target);
        watch.cancelling = false;
        let refused = match answer {
            RequestAnswer::Temporary(_) => {
                watch.cancel_at =
                    Some(self.now + backoff::delay(campaign.id, device, watch.failures));
                watch.failures = watch.failures.saturating_add(1);
                return self.sync(target);
            }
            RequestAnswer::Accepted => None,
            RequestAnswer::Permanent(error) => Some(error.short()),
        };
        self.record(crate::event::CancelSent { device, refused }.into());
    }

    fn recovered(&mut self) {
        self.live.recovered = true;
        let now = self.now;
        let in_progress: Vec<u32> = self.campaign().operations.keys().copied().collect();
        for target in in_progress {
            if self.campaign().targets.status(target) == TargetStatus::InProgress {
                let watch = self.live.observations.watch(target);
                watch.settled_at.get_or_insert(now + AFTER_RESTART);
            }
            self.sync(target);
        }
        for target in self.campaign().not_before.keys().copied().collect::<Vec<_>>() {
            self.sync(target);
        }
        self.cancel_operations();
        self.fire_timers();
    }

    /// Only a tick looks at the time: a report that arrives at the very instant of a deadline, told
    /// before the tick, is in time (D8).
    fn fire_timers(&mut self) {
        while let Some(target) =
            self.live.observations.first_due(self.now).filter(|_| self.live.recovered)
        {
            self.timer(target);
        }
    }

    /// Everything that is due by now but for timers: the outcome, slots given back, whose turn it is.
    fn advance(&mut self) {
        if !self.live.recovered {
            return;
        }
        self.follow_up();
        while self.campaign().status == CampaignStatus::InProgress && self.live.has_place() {
            if let Some(target) = self.live.observations.first_running() {
                let device = self.campaign().targets.device(target);
                self.record(OperationReadmitted { device }.into());
                continue;
            }
            let ready = self.live.observations.first_ready();
            let Some(target) = ready.filter(|_| self.live.observations.outage.admits(self.now))
            else {
                break;
            };
            self.live.observations.outage.turn_began();
            self.live.observations.gate_reads += 1;
            self.read(target, ReadPurpose::Gate);
        }
        self.ask_for_snapshot();
    }

    fn follow_up(&mut self) {
        while let Some(event) = decide::finish::follow_up(self.campaign()) {
            self.record(event);
        }
    }

    fn ask_for_snapshot(&mut self) {
        let observations = &mut self.live.observations;
        let waits = observations.snapshot_at.is_some_and(|at| at > self.now);
        if waits || !decide::snapshot::is_due(&self.live.campaign, self.now) {
            return;
        }
        observations.snapshot_at = None;
        if observations.snapshot_asked.is_none() {
            let asked = self.live.campaign.version;
            observations.snapshot_asked = Some(asked);
            self.decision.effects.push(Effect::TakeSnapshot { asked });
        }
    }

    fn timer(&mut self, target: u32) {
        let now = self.now;
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(&target);
        let watch = self.live.observations.watch(target);
        let in_progress = campaign.targets.status(target) == TargetStatus::InProgress;
        if is_due(operation.and_then(|operation| operation.deadline)) {
            self.read(target, ReadPurpose::Deadline);
        } else if in_progress && is_due(watch.reboot_at) {
            self.read(target, ReadPurpose::RebootTimeout);
        } else if in_progress && is_due(watch.settled_at) {
            watch.settled_at = None;
            self.read(target, ReadPurpose::Settled);
        } else if in_progress && is_due(watch.cancel_at) {
            self.send_cancel(target);
        } else {
            if is_due(watch.not_before) {
                watch.not_before = None;
            }
            self.sync(target);
        }
    }
}

impl CampaignEvent {
    /// The device that the event is about, if it is about one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        Some(match self {
            Self::CampaignCreated(_)
            | Self::CampaignEdited(_)
            | Self::CampaignDeleted(_)
            | Self::SnapshotExtended(_)
            | Self::CampaignStarted(_)
            | Self::CampaignPausing(_)
            | Self::CampaignPaused(_)
            | Self::CampaignResumed(_)
            | Self::LimitsChanged(_)
            | Self::CampaignFinished(_) => return None,
            Self::TargetUpToDate(e) => e.device,
            Self::TargetFailed(e) => e.device,
            Self::AttemptDeferred(e) => e.device,
            Self::OperationStarted(e) => e.device,
            Self::RequestAccepted(e) => e.device,
            Self::OperationDeferred(e) => e.device,
            Self::RequestResent(e) => e.device,
            Self::ResendMissed(e) => e.device,
            Self::RequestReissued(e) => e.device,
            Self::ResendFailed(e) => e.device,
            Self::OperationReported(e) => e.device,
            Self::OperationReadmitted(e) => e.device,
            Self::OperationRefused(e) => e.device,
            Self::OperationSucceeded(e) => e.device,
            Self::OperationFailed(e) => e.device,
            Self::CancelSent(e) => e.device,
            Self::LateReportReceived(e) => e.device,
        })
    }
}
