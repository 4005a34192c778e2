//! The answers to effects: what was read for the gates (D5) and at deadlines (D8, D9, D12), what
//! the transport said to requests (D10, D17).

use super::Handling;
use crate::answer::{BaseImageAnswer, ReadPurpose, RequestAnswer, TransportError};
use crate::campaign::admission::Candidate;
use crate::campaign::decide::{self, attempt::FailedRead};
use crate::campaign::live::LiveCampaign;
use crate::campaign::outage::Call;
use crate::effect::Reaction;
use crate::event::CampaignEvent;
use crate::fleet::ImageUrl;
use crate::id::DeviceId;
use crate::operation::at_work::{Fact, Looked, Situation, Unreadable};
use crate::operation::backoff;
use crate::operation::timer::Timer;
use crate::question::Question;

impl Handling<'_> {
    /// A version was read, for whatever purpose; or not.
    pub(in crate::campaign) fn base_image_read(
        &mut self,
        device: DeviceId,
        question: Question,
        answer: &BaseImageAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let open = self.live.observations.look(target).and_then(|watch| watch.work.reading);
        let Some((purpose, _)) = open.filter(|(_, open)| *open == question) else {
            self.decision.reaction = Reaction::Unchanged;
            return;
        };
        self.live.observations.watch(target).work.reading = None;
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
            BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. } => {
                version
            }
            BaseImageAnswer::Held(fact) => {
                self.live.observations.outage.turn_ended(target);
                self.live.observations.learn(target, *fact);
                return;
            }
            BaseImageAnswer::Failed(error) => return self.gate_read_failed(target, error),
        };
        self.live.observations.outage.succeeded(Call::Read);
        let url = self.url_of(target, answer);
        let Some(url) = url.filter(|_| self.live.admits_start(target, self.now)) else {
            self.live.observations.outage.turn_ended(target);
            return;
        };
        let work = &mut self.live.observations.watch(target).work;
        work.failures = 0;
        work.timers.stop(Timer::BackOff);
        let (campaign, version) = (&self.live.campaign, version.as_deref());
        let told = self.gates.take();
        let gates = told.unwrap_or_else(|| decide::attempt::gates(campaign, version));
        let event = decide::attempt::version_read(campaign, target, version, gates, url);
        let starts =
            matches!(event, CampaignEvent::OperationStarted(_) | CampaignEvent::RequestResent(_));
        self.record(event);
        if starts {
            self.asking().send_update(target);
        } else {
            self.live.observations.outage.turn_ended(target);
        }
    }

    /// The URL of its own that the target's operation gets if it starts now (D23). `None`: none was asked
    /// for, or that of another operation, as the device has turned the former one away meanwhile (D14);
    /// its next turn asks anew.
    #[expect(
        clippy::option_option,
        reason = "no answer, the image's URL and another are three things"
    )]
    fn url_of(&self, target: u32, answer: &BaseImageAnswer) -> Option<Option<ImageUrl>> {
        let campaign = self.campaign();
        if !self.live.asks_urls || campaign.operations.contains(target) {
            return Some(campaign.urls.get(target).cloned());
        }
        match answer {
            BaseImageAnswer::Prepared { operation, url, .. }
                if *operation == decide::attempt::next_operation(campaign, target) =>
            {
                Some(url.clone().filter(|url| *url != campaign.definition.base_image.url))
            }
            _ => None,
        }
    }

    pub(in crate::campaign) fn gate_read_failed(&mut self, target: u32, error: &TransportError) {
        let now = self.now;
        let known = self.live.observations.outage.is_known();
        self.live.observations.outage.failed(Call::Read, target, now);
        let campaign = &self.live.campaign;
        let failures = self.live.observations.look(target).map_or(0, |watch| watch.work.failures);
        let unrecorded = known.then_some(failures);
        match decide::attempt::read_failed(campaign, target, error, unrecorded, now) {
            FailedRead::Nothing => {}
            FailedRead::Deferred(event) => self.record(event),
            FailedRead::Waits { until } => {
                let work = &mut self.live.observations.watch(target).work;
                work.timers.set(Timer::BackOff, until);
                work.failures = work.failures.saturating_add(1);
            }
        }
    }

    /// The base image of a device with an operation was read (D8, D9, D12, D24).
    fn operation_read(&mut self, target: u32, purpose: ReadPurpose, answer: &BaseImageAnswer) {
        let LiveCampaign { campaign, observations, .. } = &mut *self.live;
        let Some(operation) = campaign.operations.get(target) else { return };
        let version = match answer {
            BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. } => {
                Ok(version.as_deref())
            }
            BaseImageAnswer::Held(_) | BaseImageAnswer::Failed(_) => Err(Unreadable),
        };
        let image = &campaign.definition.base_image;
        let is_shown = version.is_ok_and(|version| decide::reconcile::shows(image, version));
        let limits = &campaign.limits().operation;
        let now = self.now;
        let reach = Candidate { campaign, observations, target, now }.reach();
        let situation = Situation { operation, limits, reach, now };
        let looked = Looked { version, is_shown, tells_roll_back: true };
        let work = &mut observations.watch(target).work;
        if let Some(fact) = work.looked(situation, purpose, looked) {
            self.happened(target, fact);
        }
    }

    /// Records what has become of an operation, and sends what follows.
    fn happened(&mut self, target: u32, fact: Fact) {
        let sends = matches!(fact, Fact::Resend | Fact::Reissue);
        let event = decide::fact::event(self.campaign(), target, fact);
        if matches!(event, CampaignEvent::ResendKeptBack(_)) {
            // What was to be looked at is looked at again at its turn.
            let timers = &mut self.live.observations.watch(target).work.timers;
            timers.stop(Timer::Settled);
            timers.stop(Timer::Reboot);
        }
        self.record(event);
        if sends {
            self.asking().send_update(target);
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
        let (BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. }) =
            answer
        else {
            if !is_online {
                return; // it has gone since this was asked: its next connection brings a look
            }
            // Once per connection means once with an answer.
            let device = campaign.targets.device(target);
            let work = &mut watch.work;
            let wait = backoff::delay(campaign.id.as_uuid(), device, work.failures);
            work.timers.begin(Timer::Look, self.now + wait);
            work.failures = work.failures.saturating_add(1);
            return;
        };
        if watch.work.timers.get(Timer::Look).is_some() {
            return; // it has connected again since this was asked
        }
        (watch.looked, watch.work.failures) = (true, 0);
        if let Some(event) = decide::reconcile::contradicted(campaign, target, version.as_deref()) {
            self.record(event);
        }
    }

    pub(in crate::campaign) fn request_answered(
        &mut self,
        device: DeviceId,
        question: Question,
        answer: &RequestAnswer,
    ) {
        let Some(target) = self.find(device) else { return };
        let open = self.live.observations.look(target).and_then(|watch| watch.work.calling);
        // An operation that was kept back may have ended with its campaign.
        if open != Some(question) || !self.campaign().operations.contains(target) {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        self.live.observations.watch(target).work.calling = None;
        match answer {
            RequestAnswer::Temporary(_) => {
                self.live.observations.outage.failed(Call::Send, target, self.now);
            }
            RequestAnswer::Accepted | RequestAnswer::Permanent(_) => {
                self.live.observations.outage.succeeded(Call::Send);
            }
        }
        let event = decide::request::answered(self.campaign(), target, answer, self.now);
        if let Some(event) = event {
            self.record(event);
        }
        if decide::request::is_cancel_wanted(self.campaign(), target) {
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
        let open = self.live.observations.look(target).and_then(|watch| watch.work.cancelling);
        let campaign = &self.live.campaign;
        let wanted = decide::request::is_cancel_wanted(campaign, target);
        if open != Some(question) || !wanted {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        let work = &mut self.live.observations.watch(target).work;
        work.cancelling = None;
        let delay = |failures| backoff::delay(campaign.id.as_uuid(), device, failures);
        let Some(answered) = work.cancel_answered(answer, self.now, delay) else {
            return self.sync(target);
        };
        let event = decide::request::cancel_answered(self.campaign(), target, answered);
        self.record(event);
    }
}
