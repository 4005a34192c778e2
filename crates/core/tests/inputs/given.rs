//! A campaign as it stands before the input that a test is about: two devices at version 1.0.0, one
//! operation at a time, an update to 2.0.0.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::*;
use uuid::Uuid;

/// What a campaign asked and nobody has answered yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Snapshot,
    Read(DeviceId),
    Update(DeviceId),
    Cancel(DeviceId),
}

#[derive(Clone)]
pub(crate) struct Given {
    live: LiveCampaign,
    now: Timestamp,
    asked: BTreeMap<Asked, Effect>,
    name: &'static str,
    told: String,
}

/// The device of that number.
pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

/// The campaign's operation on that device.
pub(crate) fn operation(number: u8) -> OperationId {
    OperationId::of_campaign(campaign(), device(number), 0)
}

fn campaign() -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(1))
}

/// A call that failed for now.
pub(crate) fn down() -> TransportError {
    TransportError::new("HTTP status 503")
}

impl Given {
    /// A campaign that was created just now.
    pub(crate) fn created() -> Self {
        Self::created_for(None)
    }

    /// One that starts in a minute.
    pub(crate) fn scheduled() -> Self {
        Self::created_for(Some(60)).named("a campaign that is scheduled")
    }

    fn created_for(seconds: Option<u64>) -> Self {
        let limits = RolloutLimits::new(NonZeroU32::MIN, "50".parse().unwrap());
        let definition = CampaignDefinition {
            name: "spring".parse().unwrap(),
            base_image: BaseImage {
                system_model: "gateway".parse().unwrap(),
                version: Version::new(2, 0, 0),
                url: "https://images.example/2.0.0.bin".parse().unwrap(),
                starting_version_requirement: Some(">= 1.0.0".parse().unwrap()),
            },
            channel: Channel::new("stable".parse().unwrap(), ["gardens".parse().unwrap()]).unwrap(),
            rollout: RolloutMechanism::Push(PushRollout {
                limits,
                gates: GatePolicy::default(),
                minimum_targets: 0,
            }),
            when_running: WhenRunning::Supersede,
        };
        let now = Timestamp::from_millis(1_767_225_600_000);
        let scheduled_at = seconds.map(|seconds| now + Duration::from_secs(seconds));
        let created = Campaign::create(definition, scheduled_at, now).unwrap();
        let begun = Campaign::begin("acme".parse().unwrap(), campaign(), &created, now).unwrap();
        let live = LiveCampaign::new(begun);
        let name = "a campaign that was just created";
        Self { live, now, asked: BTreeMap::new(), name, told: String::new() }
    }

    /// One that has asked for its targets.
    pub(crate) fn asking() -> Self {
        Self::created().after(Input::Tick).named("a campaign that asked for its targets")
    }

    /// One with two targets, whose devices are offline.
    pub(crate) fn started() -> Self {
        let mut given = Self::asking();
        let question = given.question(Asked::Snapshot);
        let devices = vec![device(1), device(2)];
        given
            .after(Input::SnapshotChunk { question, devices })
            .after(Input::SnapshotComplete { question })
            .named("a campaign with two targets, both offline")
    }

    /// One in which the turn of device 1 has come: its version is being read.
    pub(crate) fn reading() -> Self {
        Self::started().online(1).named("device 1 came online, and its version is being read")
    }

    /// One in which device 1 was asked to update, and the transport has not answered.
    pub(crate) fn asked() -> Self {
        let mut given = Self::reading();
        let read = given.read(1, "1.0.0");
        given.after(read).named("device 1 was asked to update, and the call is under way")
    }

    /// One in which device 1 has its request.
    pub(crate) fn accepted() -> Self {
        let mut given = Self::asked();
        let answered = given.request_answered(1, RequestAnswer::Accepted);
        given.after(answered).named("the transport took the request for device 1")
    }

    /// One in which device 1 has acknowledged its request.
    pub(crate) fn acknowledged() -> Self {
        Self::accepted()
            .after(report(1, ReportStatus::Acknowledged))
            .named("device 1 acknowledged its request")
    }

    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The same after one more input.
    pub(crate) fn after(mut self, input: Input) -> Self {
        self.handle(input).expect("it is taken");
        self
    }

    /// The same after a device came online.
    pub(crate) fn online(self, number: u8) -> Self {
        let presence = Presence::Online { since: self.now };
        self.after(Input::Presence { device: device(number), presence })
    }

    /// The same some seconds later; nobody has looked at the time yet.
    pub(crate) fn later(mut self, seconds: u64) -> Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    /// What the campaign does now, with nobody to tell it that it was loaded again.
    pub(crate) fn loaded_again(mut self) -> Self {
        self.live = LiveCampaign::loaded(self.live.campaign().clone())
            .asking_after(self.live.latest_question());
        self
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    fn question(&mut self, asked: Asked) -> Question {
        match self.asked.get(&asked).expect("it was asked") {
            Effect::TakeSnapshot { question }
            | Effect::ReadBaseImage { question, .. }
            | Effect::PrepareStart { question, .. }
            | Effect::SendUpdate { question, .. }
            | Effect::SendCancel { question, .. } => *question,
        }
    }

    /// The question for the targets.
    pub(crate) fn snapshot_question(&mut self) -> Question {
        self.question(Asked::Snapshot)
    }

    /// The answer to the read that is under way.
    pub(crate) fn read_answered(&mut self, number: u8, answer: BaseImageAnswer) -> Input {
        let asked = Asked::Read(device(number));
        let question = self.question(asked);
        let purpose = match self.asked.get(&asked) {
            Some(Effect::ReadBaseImage { purpose, .. }) => *purpose,
            Some(Effect::PrepareStart { .. }) => ReadPurpose::Gate,
            _ => panic!("it was asked"),
        };
        Input::BaseImageRead { device: device(number), purpose, question, answer }
    }

    /// The same, with a version.
    pub(crate) fn read(&mut self, number: u8, version: &str) -> Input {
        self.read_answered(number, BaseImageAnswer::Version(Some(version.to_owned())))
    }

    pub(crate) fn request_answered(&mut self, number: u8, answer: RequestAnswer) -> Input {
        let question = self.question(Asked::Update(device(number)));
        let (device, operation) = (device(number), operation(number));
        Input::RequestAnswered { device, operation, question, answer }
    }

    pub(crate) fn cancel_answered(&mut self, number: u8, answer: RequestAnswer) -> Input {
        let question = self.question(Asked::Cancel(device(number)));
        let (device, operation) = (device(number), operation(number));
        Input::CancelAnswered { device, operation, question, answer }
    }

    fn handle(&mut self, input: Input) -> Result<Decision, Rejection> {
        let decision = self.live.handle(input, self.now)?;
        for effect in &decision.effects {
            let asked = match effect {
                Effect::TakeSnapshot { .. } => Asked::Snapshot,
                Effect::ReadBaseImage { device, .. } | Effect::PrepareStart { device, .. } => {
                    Asked::Read(*device)
                }
                Effect::SendUpdate { device, .. } => Asked::Update(*device),
                Effect::SendCancel { device, .. } => Asked::Cancel(*device),
            };
            self.asked.insert(asked, effect.clone());
        }
        Ok(decision)
    }

    /// One in which device 1 has acknowledged its request, and the version of device 2 is being read.
    pub(crate) fn reading_another() -> Self {
        let limits =
            LimitsEdit { max_pending_operations: NonZeroU32::new(2), ..Default::default() };
        let edit = CampaignEdit { limits, ..Default::default() };
        Self::acknowledged()
            .after(Input::Command(Command::Edit(Box::new(edit))))
            .online(2)
            .named("device 1 is at its update, and the version of device 2 is being read")
    }

    pub(crate) fn live(&self) -> &LiveCampaign {
        &self.live
    }

    /// What comes of inputs that wait together, for people; see [`LiveCampaign::handle_batch`].
    pub(crate) fn told_together(mut self, when: &str, inputs: Vec<Input>) -> String {
        let _ = write!(self.told, "Given {}\nwhen {when}", self.name);
        for (place, decision) in self.live.handle_batch(inputs, self.now) {
            let _ = write!(self.told, "\n input {}", place + 1);
            self.tell(decision);
        }
        self.told + "\n"
    }

    /// What comes of the input, for people.
    pub(crate) fn told(mut self, when: &str, input: Input) -> String {
        let _ = write!(self.told, "Given {}\nwhen {when}", self.name);
        let decision = self.handle(input);
        self.tell(decision);
        if let Some(deadline) = self.live.next_deadline() {
            let _ = write!(self.told, "\n  next      in {:?}", deadline.since(self.now));
        }
        self.told + "\n"
    }

    fn tell(&mut self, decision: Result<Decision, Rejection>) {
        match decision {
            Err(rejection) => {
                let _ = write!(self.told, "\n  refused   {rejection}");
            }
            Ok(decision) => {
                for event in &decision.events {
                    let data = String::from_utf8(event.to_json()).unwrap();
                    let _ = write!(self.told, "\n  event     {} {data}", event.event_type());
                }
                for claim in &decision.claims {
                    let _ = write!(self.told, "\n  claim     {claim:?}");
                }
                for effect in &decision.effects {
                    let _ = write!(self.told, "\n  effect    {}", shown(effect));
                }
                if decision.events.is_empty() && decision.effects.is_empty() {
                    self.told += "\n  nothing";
                }
                if decision.reaction != Reaction::Taken {
                    let _ = write!(self.told, "\n  reaction  {:?}", decision.reaction);
                }
            }
        }
    }
}

/// A report of a device about its operation, with the progress that fits.
pub(crate) fn report(number: u8, status: ReportStatus) -> Input {
    Input::Report(OperationReport::new(device(number), operation(number), status))
}

/// An effect without the number of its question, which no rule speaks of.
fn shown(effect: &Effect) -> String {
    match effect {
        Effect::TakeSnapshot { .. } => "select the targets".to_owned(),
        Effect::ReadBaseImage { device, purpose, .. } => {
            format!("read the version of {device}, for {purpose:?}")
        }
        Effect::PrepareStart { device, operation, .. } => {
            format!("ask for the URL of {operation}, then read the version of {device}")
        }
        Effect::SendUpdate { device, operation, .. } => {
            format!("send Update {operation} to {device}")
        }
        Effect::SendCancel { device, operation, .. } => {
            format!("send Cancel {operation} to {device}")
        }
    }
}

/// What several inputs lead to, each told to a state of its own.
pub(crate) fn all(cases: impl IntoIterator<Item = String>) -> String {
    cases.into_iter().collect::<Vec<_>>().join("\n")
}
