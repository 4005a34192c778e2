//! The answers to effects: what was read for the gates (D5) and at deadlines (D8, D9, D12), what
//! the transport said to requests (D10, D17).

use super::Turn;
use crate::campaign::decide::{self, deadline::Reach};
use crate::campaign::input::{BaseImageAnswer, ReadPurpose, RequestAnswer, TransportError};
use crate::campaign::live::Reaction;
use crate::campaign::observations::SETTLING;
use crate::campaign::outage::Call;
use crate::campaign::{CampaignStatus, TargetStatus, backoff};
use crate::event::{CampaignEvent, RequestReissued};
use crate::{Cancellation, Delivery, DeviceId, Operation, Phase, Question};

impl Turn<'_> {
    pub(in crate::campaign) fn base_image_read(
        &mut self,
        device: DeviceId,
        question: Question,
        answer: &BaseImageAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let open = self.live.observations.look(target).and_then(|watch| watch.reading);
        let Some((purpose, _)) = open.filter(|(_, open)| *open == question) else {
            self.decision.reaction = Reaction::Unchanged;
            return;
        };
        self.live.observations.watch(target).reading = None;
        match purpose {
            ReadPurpose::Gate => {
                self.live.observations.gate_reads -= 1;
                self.gate_read(target, answer);
            }
            ReadPurpose::Contradiction => self.looked(target, answer),
            _ => self.operation_read(target, purpose, answer),
        }
        self.sync(target);
    }

    /// A target's turn, with its version read (D5).
    pub(in crate::campaign) fn gate_read(&mut self, target: u32, answer: &BaseImageAnswer) {
        let version = match answer {
            BaseImageAnswer::Version(version) => version,
            BaseImageAnswer::Busy => {
                self.live.observations.outage.turn_ended(target);
                self.live.observations.set_busy(target);
                return;
            }
            BaseImageAnswer::Failed(error) => return self.gate_read_failed(target, error),
        };
        self.live.observations.outage.succeeded(Call::Read);
        let campaign = &self.live.campaign;
        let is_idle = campaign.targets.status(target) == TargetStatus::Idle
            && campaign.operations.get(target).is_none_or(|operation| !operation.is_reported());
        // Much may have happened while its version was read: it may have turned an earlier request
        // away (D14), gone, or lost its slot.
        if !is_idle || self.live.admit(target, self.now).is_err() {
            self.live.observations.outage.turn_ended(target);
            return;
        }
        let watch = self.live.observations.watch(target);
        watch.failures = 0;
        watch.not_before = None;
        let event = decide::attempt::turn(&self.live.campaign, target, version.as_deref());
        let starts =
            matches!(event, CampaignEvent::OperationStarted(_) | CampaignEvent::RequestResent(_));
        self.record(event);
        if starts {
            self.send_update(target);
        } else {
            self.live.observations.outage.turn_ended(target);
        }
    }

    pub(in crate::campaign) fn gate_read_failed(&mut self, target: u32, error: &TransportError) {
        let now = self.now;
        let known = self.live.observations.outage.is_known();
        self.live.observations.outage.failed(Call::Read, target, now);
        let campaign = &self.live.campaign;
        let waits = campaign.not_before.get(target).is_some_and(|at| *at > now);
        if campaign.status != CampaignStatus::InProgress
            || campaign.targets.status(target) != TargetStatus::Idle
            // Turned away while its version was read (D14): it waits for that.
            || waits
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
    pub(in crate::campaign) fn operation_read(
        &mut self,
        target: u32,
        purpose: ReadPurpose,
        answer: &BaseImageAnswer,
    ) {
        let now = self.now;
        let campaign = &self.live.campaign;
        let Some(operation) = campaign.operations.get(target) else { return };
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
                if self.is_owed(target) {
                    // The engine was down for so long: no time-out of a request that never left.
                    if version.is_some() {
                        return self.reissue(target);
                    }
                    self.live.observations.watch(target).deadline_rests = Some(now + SETTLING);
                    return;
                }
                let online = self.live.observations.is_online(target);
                let reach = if online { Reach::Online } else { Reach::Offline };
                let event = decide::deadline::passed(campaign, target, operation, reach);
                let resends = matches!(event, CampaignEvent::RequestResent(_));
                if matches!(event, CampaignEvent::ResendKeptBack(_)) {
                    // What was to be looked at is looked at again at its turn.
                    let watch = self.live.observations.watch(target);
                    (watch.settled_at, watch.reboot_at) = (None, None);
                }
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
                // One that came back once more meanwhile has its whole time (D12).
                watch.reboot_at = watch.reboot_at.map(|at| at.max(now + SETTLING));
            }
            (ReadPurpose::Forgotten, version) => self.may_have_forgotten(target, version.is_some()),
            (_, Some(_)) => {
                let timeout = campaign.limits().operation.request_timeout;
                let may_be_forgotten = operation.may_be_forgotten();
                let watch = self.live.observations.watch(target);
                // Not if it has connected again since this was asked.
                if watch.settled_at.is_none() && std::mem::take(&mut watch.returned) {
                    watch.forgotten_at = may_be_forgotten.then_some(now + timeout);
                }
                self.reissue(target);
            }
            (_, None) => {
                self.live.observations.watch(target).settled_at = Some(now + SETTLING);
            }
        }
    }

    /// A device that came back has reported nothing for a while, and does not show the image: unless
    /// it could not be read, it is asked again (D24).
    fn may_have_forgotten(&mut self, target: u32, was_read: bool) {
        let now = self.now;
        let is_online = self.live.observations.is_online(target);
        let watch = self.live.observations.watch(target);
        if !was_read {
            watch.forgotten_at = watch.forgotten_at.map(|at| at.max(now + SETTLING));
            return;
        }
        let is_due = watch.forgotten_at.take_if(|at| *at <= now).is_some();
        if !is_due || watch.calling.is_some() || !is_online {
            return; // a report came while the base image was read, or it has gone again
        }
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(target);
        let event = operation.and_then(|o| decide::deadline::forgotten(campaign, target, o));
        if let Some(event) = event {
            self.record(event);
            self.send_update(target);
        }
    }

    /// The device of a final target was looked at (D22).
    fn looked(&mut self, target: u32, answer: &BaseImageAnswer) {
        let campaign = &self.live.campaign;
        if !campaign.may_be_contradicted(target, self.now) {
            return;
        }
        let is_online = self.live.observations.is_online(target);
        let watch = self.live.observations.watch(target);
        let BaseImageAnswer::Version(version) = answer else {
            if !is_online {
                return; // it has gone since this was asked: its next connection brings a look
            }
            // Once per connection means once with an answer.
            let device = campaign.targets.device(target);
            let wait = backoff::delay(campaign.id, device, watch.failures);
            watch.look_at.get_or_insert(self.now + wait);
            watch.failures = watch.failures.saturating_add(1);
            return;
        };
        if watch.look_at.is_some() {
            return; // it has connected again since this was asked
        }
        (watch.looked, watch.failures) = (true, 0);
        if let Some(event) = decide::reconcile::contradicted(campaign, target, version.as_deref()) {
            self.record(event);
        }
    }

    /// Sends a request that may never have left before a restart, now that the device is known not
    /// to have finished it (E4, D12).
    pub(in crate::campaign) fn reissue(&mut self, target: u32) {
        if self.is_owed(target) {
            let device = self.campaign().targets.device(target);
            self.record(RequestReissued { device }.into());
            self.send_update(target);
        }
    }

    fn is_owed(&self, target: u32) -> bool {
        let observations = &self.live.observations;
        let calling = observations.look(target).is_some_and(|watch| watch.calling.is_some());
        let operation = self.live.campaign.operations.get(target);
        operation.is_some_and(Operation::may_not_have_left)
            && !calling
            && observations.is_online(target)
    }

    pub(in crate::campaign) fn request_answered(
        &mut self,
        device: DeviceId,
        question: Question,
        answer: &RequestAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let open = self.live.observations.look(target).and_then(|watch| watch.calling);
        // An operation that was kept back may have ended with its campaign.
        if open != Some(question) || !self.campaign().operations.contains(target) {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        self.live.observations.watch(target).calling = None;
        match answer {
            RequestAnswer::Temporary(_) => {
                self.live.observations.outage.failed(Call::Send, target, self.now);
            }
            RequestAnswer::Accepted | RequestAnswer::Permanent(_) => {
                self.live.observations.outage.succeeded(Call::Send);
            }
        }
        let campaign = &self.live.campaign;
        let Some(operation) = campaign.operations.get(target) else { return self.sync(target) };
        if operation.delivery == Delivery::Unanswered {
            let event = decide::request::answered(campaign, target, operation, answer, self.now);
            self.record(event);
        }
        let wanted = self.live.campaign.operations.get(target);
        if wanted.is_some_and(|operation| operation.cancellation == Cancellation::Wanted) {
            self.send_cancel(target);
        }
        self.sync(target);
    }

    pub(in crate::campaign) fn cancel_answered(
        &mut self,
        device: DeviceId,
        question: Question,
        answer: &RequestAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let open = self.live.observations.look(target).and_then(|watch| watch.cancelling);
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(target);
        let wanted = operation.is_some_and(|o| o.cancellation == Cancellation::Wanted);
        if open != Some(question) || !wanted {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        let watch = self.live.observations.watch(target);
        watch.cancelling = None;
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
}
