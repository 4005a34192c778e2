//! The loop that the state machine is measured against: plain vectors by target number, a fast hash
//! map from device to number, and no rule but those that the shared campaign needs. It records the
//! same events, asks for the same effects, and is written to be fast.
//!
//! What it leaves out is what the state machine is for: other answers than good ones, timers,
//! pauses, edits, outages, claims, recovery.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hedgerow_core::event::{
    CampaignEvent, CampaignFinished, CampaignStarted, Confirmation, OperationReported,
    OperationStarted, OperationSucceeded, RequestAccepted, SnapshotExtended,
};
use hedgerow_core::{
    BaseImageAnswer, CampaignId, DeviceId, Effect, GateDecision, GatePolicy, ImageUrl, Input,
    OperationId, Outcome, Phase, Presence, Question, ReadPurpose, ReportStatus, Timestamp, Version,
    evaluate_gates,
};

use crate::ready::ReadySet;
use crate::{MAX_PENDING, NOW};

const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);

/// Where a target stands.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Idle,
    Reading,
    Running,
    Successful,
}

/// A campaign in plain vectors.
pub struct ByHand {
    campaign: CampaignId,
    image: Version,
    url: ImageUrl,
    numbers: HashMap<DeviceId, u32, FixedState>,
    devices: Vec<DeviceId>,
    stages: Vec<Stage>,
    phases: Vec<Phase>,
    online: Vec<bool>,
    operations: Vec<OperationId>,
    deadlines: Vec<Timestamp>,
    /// Idle targets whose devices are online.
    ready: ReadySet,
    /// Targets that hold a slot, and targets that are successful.
    pending: u32,
    successful: usize,
    started: bool,
    asked: bool,
}

impl ByHand {
    /// An empty one.
    #[must_use]
    pub fn new(campaign: CampaignId, image: Version, url: ImageUrl) -> Self {
        Self {
            campaign,
            image,
            url,
            numbers: HashMap::default(),
            devices: Vec::new(),
            stages: Vec::new(),
            phases: Vec::new(),
            online: Vec::new(),
            operations: Vec::new(),
            deadlines: Vec::new(),
            ready: ReadySet::default(),
            pending: 0,
            successful: 0,
            started: false,
            asked: false,
        }
    }

    /// Takes one input of the shared campaign.
    pub fn handle(
        &mut self,
        input: Input,
        events: &mut Vec<CampaignEvent>,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Tick if !self.asked => {
                self.asked = true;
                effects.push(Effect::TakeSnapshot { question: Question::numbered(1) });
            }
            Input::SnapshotChunk { devices, .. } => self.extend(devices, events),
            Input::SnapshotComplete { .. } => {
                self.started = true;
                let targets = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
                events.push(CampaignStarted { targets }.into());
            }
            Input::Presence { device, presence } => {
                if let Some(number) = self.number(device) {
                    self.present(number, matches!(presence, Presence::Online { .. }));
                }
            }
            Input::BaseImageRead { device, answer: BaseImageAnswer::Version(version), .. } => {
                self.start(device, version, events, effects);
            }
            Input::RequestAnswered { device, operation, .. }
                if self.running(device, operation).is_some() =>
            {
                events.push(RequestAccepted { device }.into());
            }
            Input::Report(report) => {
                if let Some(number) = self.running(report.device, report.operation) {
                    self.report(number, report.status, events);
                }
            }
            _ => {}
        }
        self.advance(effects);
    }

    fn number(&self, device: DeviceId) -> Option<usize> {
        self.numbers.get(&device).map(|number| *number as usize)
    }

    fn running(&self, device: DeviceId, operation: OperationId) -> Option<usize> {
        let number = self.number(device)?;
        (self.stages[number] == Stage::Running && self.operations[number] == operation)
            .then_some(number)
    }

    fn extend(&mut self, devices: Vec<DeviceId>, events: &mut Vec<CampaignEvent>) {
        for device in &devices {
            let number = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
            self.numbers.insert(*device, number);
            self.devices.push(*device);
            self.stages.push(Stage::Idle);
            self.phases.push(Phase::Pending);
            self.online.push(false);
            self.operations.push(OperationId::from_uuid(uuid::Uuid::nil()));
            self.deadlines.push(NOW);
        }
        events.push(SnapshotExtended { devices }.into());
    }

    fn present(&mut self, number: usize, online: bool) {
        self.online[number] = online;
        if online && self.stages[number] == Stage::Idle {
            self.ready.insert(number);
        } else {
            self.ready.remove(number);
        }
    }

    fn start(
        &mut self,
        device: DeviceId,
        version: Option<String>,
        events: &mut Vec<CampaignEvent>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(number) = self.number(device) else { return };
        let gates = evaluate_gates(version.as_deref(), &self.image, None, GatePolicy::default());
        if gates != GateDecision::Start {
            return;
        }
        let operation = OperationId::of_campaign(self.campaign, device, 0);
        self.stages[number] = Stage::Running;
        self.operations[number] = operation;
        self.deadlines[number] = NOW + REQUEST_TIMEOUT;
        let from_version = version.unwrap_or_default();
        events.push(OperationStarted { device, operation, from_version, url: None }.into());
        let (url, question) = (self.url.clone(), Question::default());
        effects.push(Effect::SendUpdate { device, operation, url, question });
    }

    fn report(&mut self, number: usize, status: ReportStatus, events: &mut Vec<CampaignEvent>) {
        let device = self.devices[number];
        if status == ReportStatus::Success {
            self.stages[number] = Stage::Successful;
            self.pending -= 1;
            self.successful += 1;
            let confirmation = Confirmation::Reported;
            events.push(OperationSucceeded { device, confirmation }.into());
            if self.successful == self.devices.len() {
                let outcome = Outcome::Success;
                events.push(CampaignFinished { outcome, stop_operations: false }.into());
            }
        } else {
            let phase = status.phase();
            self.phases[number] = phase;
            let event = OperationReported {
                device,
                phase,
                progress: 0,
                code: None,
                message: String::new(),
                observed_at: None,
            };
            events.push(event.into());
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect>) {
        while self.started && self.pending < MAX_PENDING {
            let Some(number) = self.ready.first() else { return };
            self.ready.remove(number);
            self.stages[number] = Stage::Reading;
            self.pending += 1;
            let device = self.devices[number];
            let (purpose, question) = (ReadPurpose::Gate, Question::default());
            effects.push(Effect::ReadBaseImage { device, purpose, question });
        }
    }
}
