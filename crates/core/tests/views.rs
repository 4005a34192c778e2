//! What a folded state says of itself, how it refuses an event that cannot follow, and what tells
//! two states apart.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::event::{
    CampaignDeleted, CampaignEdited, CampaignEvent, CampaignFinished, CampaignPaused,
    CampaignPausing, CampaignResumed, CampaignStarted, Confirmation, ManualFailed, ManualReported,
    ManualRequestAccepted, ManualStarted, ManualUpdateEvent, OperationDeferred, OperationFailed,
    OperationFailure, OperationReadmitted, OperationReported, OperationStarted, OperationSucceeded,
    RequestAccepted, SnapshotExtended, TargetFailed, TargetFailure, TargetUpToDate,
};
use hedgerow_core::{
    ApplyError, BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignEdit, CampaignId,
    CampaignStatus, Channel, Command, DeviceId, Effect, FailureReason, GatePolicy, Input,
    LiveCampaign, LiveManualUpdate, ManualUpdate, ManualUpdateDefinition, OpenTarget, OperationId,
    OperationLimits, OperationReport, Outcome, Percentage, Phase, Presence, PushRollout, Question,
    ReadPurpose, ReportStatus, RequestAnswer, RequestId, RolloutLimits, RolloutMechanism,
    Settlement, StreamId, TargetStatus, TenantId, Timestamp, TransportError, Version, WhenRunning,
};
use uuid::Uuid;

const ID: CampaignId = CampaignId::from_uuid(Uuid::from_u128(1));

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn tenant() -> TenantId {
    "realm".parse().expect("a tenant")
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn operation(number: u8) -> OperationId {
    OperationId::of_campaign(ID, device(number), 0)
}

fn definition() -> CampaignDefinition {
    let limits = RolloutLimits::new(NonZeroU32::MIN.saturating_add(2), Percentage::HUNDRED);
    CampaignDefinition {
        name: "views".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "model".parse().expect("a model"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new("c".parse().expect("a name"), ["g".parse().expect("a group")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

fn created(scheduled_at: Option<Timestamp>) -> Campaign {
    let event = Campaign::create(definition(), scheduled_at, at(1)).expect("a campaign");
    Campaign::begin(tenant(), ID, &event, at(1)).expect("its first event")
}

/// A campaign of four devices that has just started.
fn started() -> Campaign {
    let mut campaign = created(None);
    let devices = (1..=4).map(device).collect();
    apply(&mut campaign, SnapshotExtended { devices }, 2);
    apply(&mut campaign, CampaignStarted { targets: 4 }, 3);
    campaign
}

fn apply(campaign: &mut Campaign, event: impl Into<CampaignEvent>, seconds: i64) {
    campaign.apply(&event.into(), at(seconds)).expect("the event follows");
}

fn start(campaign: &mut Campaign, number: u8, seconds: i64) {
    let from_version = "1.0.0".to_owned();
    let event = OperationStarted {
        device: device(number),
        operation: operation(number),
        from_version,
        url: None,
    };
    apply(campaign, event, seconds);
}

fn fail(campaign: &mut Campaign, number: u8, reason: OperationFailure, seconds: i64) {
    start(campaign, number, seconds);
    apply(campaign, OperationFailed { device: device(number), reason }, seconds);
}

#[test]
fn a_campaign_says_who_it_is_and_where_it_stands() {
    let scheduled = created(Some(at(50)));
    assert_eq!(scheduled.scheduled_at(), Some(at(50)));
    assert_eq!(scheduled.status(), CampaignStatus::Scheduled);
    let mut campaign = started();
    assert_eq!((campaign.id(), campaign.tenant()), (ID, &tenant()));
    assert_eq!(campaign.stream(), StreamId::Campaign(ID));
    assert_eq!(campaign.version(), 3);
    assert_eq!(campaign.definition(), &definition());
    assert_eq!(campaign.limits(), definition().rollout.limits());
    assert_eq!(campaign.scheduled_at(), None);
    assert_eq!(campaign.created_at(), at(1));
    assert_eq!(campaign.started_at(), Some(at(3)));
    assert_eq!((campaign.finished_at(), campaign.outcome()), (None, None));
    assert_eq!(campaign.devices(), [1, 2, 3, 4].map(device));
    start(&mut campaign, 2, 4);
    assert_eq!(campaign.active_operations().collect::<Vec<_>>(), [(device(2), operation(2))]);
    let view = campaign.target(device(2)).expect("a target");
    assert_eq!((view.device, view.status), (device(2), TargetStatus::InProgress));
    assert_eq!(view.operation.map(|active| active.id), Some(operation(2)));
    assert_eq!(campaign.target(device(9)), None);
    apply(
        &mut campaign,
        CampaignFinished { outcome: Outcome::Cancelled, stop_operations: false },
        5,
    );
    assert_eq!(campaign.finished_at(), Some(at(5)));
    assert_eq!(campaign.outcome(), Some(Outcome::Cancelled));
    let statuses: Vec<_> = campaign.targets().map(|target| target.status).collect();
    let cancelled = TargetStatus::Cancelled;
    assert_eq!(statuses, [cancelled, TargetStatus::InProgress, cancelled, cancelled]);
}

#[test]
fn a_campaign_is_settled_when_nothing_is_in_progress_after_its_end() {
    let mut campaign = started();
    assert!(!campaign.is_settled());
    start(&mut campaign, 1, 4);
    apply(
        &mut campaign,
        CampaignFinished { outcome: Outcome::Cancelled, stop_operations: false },
        5,
    );
    assert!(!campaign.is_settled());
    let confirmation = Confirmation::Reported;
    apply(&mut campaign, OperationSucceeded { device: device(1), confirmation }, 6);
    assert!(campaign.is_settled());
    let mut deleted = created(Some(at(50)));
    assert!(!deleted.is_settled());
    apply(&mut deleted, CampaignDeleted {}, 2);
    assert!(deleted.is_settled());
}

#[test]
fn targets_say_how_they_became_final() {
    let mut campaign = started();
    apply(&mut campaign, TargetUpToDate { device: device(1) }, 4);
    let reason = TargetFailure::DeviceRemoved;
    apply(&mut campaign, TargetFailed { device: device(2), reason }, 4);
    for (number, confirmation) in [(3, Confirmation::Reported), (4, Confirmation::BaseImage)] {
        start(&mut campaign, number, 5);
        apply(&mut campaign, OperationSucceeded { device: device(number), confirmation }, 6);
    }
    let settlements: Vec<_> = campaign.targets().map(|target| target.settlement).collect();
    let removed = Settlement::Failed(FailureReason::DeviceRemoved);
    let expected = [Settlement::UpToDate, removed, Settlement::Reported, Settlement::Confirmed];
    assert_eq!(settlements, expected);
    let counts = campaign.counts();
    assert_eq!((counts.total, counts.successful, counts.failed), (4, 3, 1));
    assert!(!campaign.failure_limit_is_exceeded(), "up to 100 % may fail");
}

#[test]
fn reasons_of_failures_are_counted_the_most_frequent_first() {
    let mut campaign = started();
    assert_eq!(campaign.failure_reasons(), []);
    fail(&mut campaign, 1, OperationFailure::Stalled, 4);
    fail(&mut campaign, 2, OperationFailure::RequestTimeout, 4);
    fail(&mut campaign, 3, OperationFailure::Stalled, 4);
    let expected = [(FailureReason::Stalled, 2), (FailureReason::RequestTimeout, 1)];
    assert_eq!(campaign.failure_reasons(), expected);
}

#[test]
fn a_state_read_back_is_whole_or_refused() {
    let mut campaign = started();
    start(&mut campaign, 4, 4);
    let stored = serde_json::to_value(&campaign).expect("it serialises");
    let restore = |stored: serde_json::Value| {
        let mut read: Campaign = serde_json::from_value(stored).expect("it reads back");
        read.restore().then_some(read)
    };
    assert_eq!(restore(stored.clone()), Some(campaign));
    let mut beyond = stored.clone();
    let active = beyond["operations"]["3"].take();
    beyond["operations"] = serde_json::json!({ "4": active });
    assert_eq!(restore(beyond), None, "an operation of no target");
    let mut beyond = stored.clone();
    beyond["not_before"] = serde_json::json!({ "4": 9 });
    assert_eq!(restore(beyond), None, "a wait of no target");
    let mut counted = stored;
    counted["targets"]["sizes"][0] = 4.into();
    assert_eq!(restore(counted), None, "counts that are wrong");
}

#[test]
fn an_event_that_cannot_follow_is_refused_with_its_place() {
    let refused = |mut campaign: Campaign, event: CampaignEvent| {
        let before = campaign.version();
        match campaign.apply(&event, at(9)) {
            Err(ApplyError { stream, version, event_type, why, .. }) => {
                assert_eq!((stream, version), (StreamId::Campaign(ID), before + 1));
                assert_eq!(event_type, event.event_type());
                why
            }
            Ok(()) => panic!("{event:?} followed"),
        }
    };
    let mut running = started();
    start(&mut running, 1, 4);
    let operation_started = |number| {
        let (device, operation) = (device(number), operation(number));
        OperationStarted { device, operation, from_version: String::new(), url: None }
    };
    let reported = |phase| OperationReported {
        device: device(1),
        phase,
        progress: 0,
        code: None,
        message: String::new(),
        observed_at: None,
    };
    let mut deferred = started();
    start(&mut deferred, 1, 4);
    let (not_before, detail) = (at(9), "down".to_owned());
    apply(&mut deferred, OperationDeferred { device: device(1), not_before, detail }, 4);
    let stranger = OperationStarted {
        operation: OperationId::of_campaign(ID, device(1), 7),
        ..operation_started(1)
    };
    let mut scheduled = created(Some(at(50)));
    apply(&mut scheduled, SnapshotExtended { devices: vec![device(1)] }, 2);
    let edited = CampaignEdited { definition: Box::new(definition()), scheduled_at: None };
    let again = Campaign::create(definition(), None, at(1)).expect("a campaign");
    let not_idle = "the target's status does not allow it";
    let no_status = "the campaign's status does not allow it";
    let cases: Vec<(Campaign, CampaignEvent, &str)> = vec![
        (created(None), again, "the campaign exists already"),
        (scheduled, edited.into(), "its snapshot has begun"),
        (deferred, stranger.into(), "the device has another operation that has not ended"),
        (created(None), CampaignPausing {}.into(), no_status),
        (created(None), CampaignStarted { targets: 1 }.into(), "the snapshot has another number"),
        (running.clone(), CampaignStarted { targets: 4 }.into(), "the campaign has started"),
        (running.clone(), CampaignResumed {}.into(), no_status),
        (running.clone(), CampaignPaused {}.into(), no_status),
        (running.clone(), CampaignDeleted {}.into(), no_status),
        (
            running.clone(),
            SnapshotExtended { devices: vec![device(7)] }.into(),
            "the snapshot was complete",
        ),
        (
            created(None),
            SnapshotExtended { devices: vec![device(7), device(7)] }.into(),
            "a device is twice in the snapshot",
        ),
        (running.clone(), operation_started(1).into(), not_idle),
        (running.clone(), operation_started(9).into(), "the device is not in the snapshot"),
        (running.clone(), TargetUpToDate { device: device(1) }.into(), not_idle),
        (running.clone(), OperationReadmitted { device: device(1) }.into(), not_idle),
        (
            running.clone(),
            RequestAccepted { device: device(2) }.into(),
            "the target has no active operation",
        ),
        (running.clone(), reported(Phase::Pending).into(), "only a phase between"),
        (running.clone(), reported(Phase::Success).into(), "only a phase between"),
        (running, reported(Phase::Failure).into(), "only a phase between"),
    ];
    for (campaign, event, expected) in cases {
        let why = refused(campaign, event.clone());
        assert!(why.starts_with(expected), "{event:?}: {why}");
    }
    let first = Campaign::begin(tenant(), ID, &CampaignPausing {}.into(), at(1));
    assert_eq!(first.map_err(|error| error.version), Err(1));
}

fn manual_definition() -> ManualUpdateDefinition {
    ManualUpdateDefinition {
        request_id: RequestId::new("request-1").expect("an id"),
        device: device(1),
        url: "https://images.example/2".parse().expect("a URL"),
        expected_version: None,
        version_before: None,
        limits: OperationLimits::default(),
    }
}

#[test]
fn a_manual_update_says_who_it_is_and_refuses_what_cannot_follow() {
    let definition = manual_definition();
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let begun: ManualUpdateEvent = ManualStarted { definition: definition.clone() }.into();
    let mut update = ManualUpdate::begin(tenant(), id, &begun, at(5)).expect("it begins");
    assert_eq!((update.tenant(), update.id()), (&tenant(), id));
    assert_eq!((update.stream(), update.version()), (StreamId::ManualUpdate(id), 1));
    assert_eq!((update.definition(), update.started_at()), (&definition, at(5)));
    update.apply(&ManualRequestAccepted {}.into(), at(6)).expect("it follows");
    assert_eq!(update.version(), 2);
    for phase in [Phase::Pending, Phase::Success, Phase::Failure] {
        let report = ManualReported {
            phase,
            progress: 0,
            code: None,
            message: String::new(),
            observed_at: None,
        };
        let refused = update.clone().apply(&report.into(), at(7));
        assert_eq!(
            refused.map_err(|error| (error.stream, error.version)),
            Err((update.stream(), 3))
        );
    }
    let again = update.clone().apply(&begun, at(7));
    assert_eq!(again.map_err(|error| error.why), Err("the manual update exists already"));
    let reason = OperationFailure::Stalled;
    update.apply(&ManualFailed { reason }.into(), at(8)).expect("it follows");
    assert_eq!(update.operation(), None);
    let after = update.apply(&ManualRequestAccepted {}.into(), at(9));
    assert_eq!(after.map_err(|error| error.why), Err("the manual update has ended"));
    let accepted: ManualUpdateEvent = ManualRequestAccepted {}.into();
    let first = ManualUpdate::begin(tenant(), id, &accepted, at(1));
    assert_eq!(first.map_err(|error| error.version), Err(1));
}

#[test]
fn an_error_on_a_resend_leaves_a_manual_update_as_it_is_and_one_on_the_first_request_ends_it() {
    let begin = || {
        let begun = ManualUpdate::create(manual_definition()).expect("it can begin");
        let id = OperationId::of_manual_update(&tenant(), "request-1");
        let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
        (ManualAtWork::begun(update), id)
    };
    let refused = |operation| Input::RequestAnswered {
        device: device(1),
        operation,
        question: OPEN,
        answer: RequestAnswer::Permanent(TransportError::new("HTTP 422")),
    };
    let (mut work, id) = begin();
    assert!(!work.live.is_online(), "nobody told");
    let presence = Presence::Online { since: at(0) };
    work.tell(0, Input::Presence { device: device(1), presence });
    assert!(work.live.is_online());
    work.tell(1, refused(id));
    assert!(work.live.is_settled(), "the device is not asked again");

    let (mut work, operation) = begin();
    let answer = RequestAnswer::Accepted;
    work.tell(1, Input::RequestAnswered { device: device(1), operation, question: OPEN, answer });
    work.tell(300, Input::Tick);
    let (purpose, answer) = (ReadPurpose::Deadline, BaseImageAnswer::Version(None));
    let read = Input::BaseImageRead { device: device(1), purpose, question: OPEN, answer };
    let resent = work.tell(300, read);
    assert!(matches!(resent[..], [Effect::SendUpdate { .. }]), "{resent:?}");
    work.tell(301, refused(operation));
    assert!(!work.live.is_settled(), "the first request may be at work");
}

/// In an answer: the question of its kind that was asked last of its device.
const OPEN: Question = Question::numbered(0);

/// The questions that were asked, so that a test can answer them without naming their numbers.
#[derive(Default)]
struct Asked(BTreeMap<(DeviceId, &'static str), Question>);

impl Asked {
    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            let (device, kind, question) = match effect {
                Effect::TakeSnapshot { .. } => continue,
                Effect::ReadBaseImage { device, question, .. }
                | Effect::PrepareStart { device, question, .. } => (device, "read", question),
                Effect::SendUpdate { device, question, .. } => (device, "update", question),
                Effect::SendCancel { device, question, .. } => (device, "cancel", question),
            };
            self.0.insert((*device, kind), *question);
        }
    }

    fn numbered(&self, mut input: Input) -> Input {
        let (device, kind, question) = match &mut input {
            Input::BaseImageRead { device, question, .. } => (device, "read", question),
            Input::RequestAnswered { device, question, .. } => (device, "update", question),
            Input::CancelAnswered { device, question, .. } => (device, "cancel", question),
            _ => return input,
        };
        if *question == OPEN {
            *question = self.0.get(&(*device, kind)).copied().unwrap_or(OPEN);
        }
        input
    }
}

/// A manual update at work.
struct ManualAtWork {
    live: LiveManualUpdate,
    asked: Asked,
}

impl ManualAtWork {
    fn begun(update: ManualUpdate) -> Self {
        let mut work = Self { live: LiveManualUpdate::new(update), asked: Asked::default() };
        let first = work.live.first_request();
        work.asked.note(&[first]);
        work
    }

    fn tell(&mut self, seconds: i64, input: Input) -> Vec<Effect> {
        let input = self.asked.numbered(input);
        let effects = self.live.handle(input, at(seconds)).expect("it is taken").effects;
        self.asked.note(&effects);
        effects
    }
}

/// A campaign of two devices at work, and the time.
struct AtWork {
    live: LiveCampaign,
    asked: Asked,
    now: Timestamp,
}

impl AtWork {
    fn new(begins: Timestamp) -> Self {
        let event = Campaign::create(definition(), None, begins).expect("a campaign");
        let campaign = Campaign::begin(tenant(), ID, &event, begins).expect("its first event");
        let mut work =
            Self { live: LiveCampaign::new(campaign), asked: Asked::default(), now: begins };
        let effects = work.tell(0, Input::Tick);
        let Some(Effect::TakeSnapshot { question }) = effects.first().cloned() else {
            panic!("a new campaign asks for its snapshot")
        };
        let devices = vec![device(1), device(2)];
        work.tell(0, Input::SnapshotChunk { question, devices });
        for number in [1, 2] {
            let presence = Presence::Online { since: work.now };
            work.tell(0, Input::Presence { device: device(number), presence });
        }
        work.tell(1, Input::SnapshotComplete { question });
        work
    }

    fn tell(&mut self, seconds: u64, input: Input) -> Vec<Effect> {
        self.now = self.now + Duration::from_secs(seconds);
        let input = self.asked.numbered(input);
        let effects = self.live.handle(input, self.now).expect("it is taken").effects;
        self.asked.note(&effects);
        effects
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.live.hash_from(self.now, &mut hasher);
        hasher.finish()
    }
}

/// The devices whose base image is to be read for this purpose.
fn looked_at(wanted: ReadPurpose, effects: &[Effect]) -> Vec<DeviceId> {
    let device = |effect: &Effect| match effect {
        Effect::ReadBaseImage { device, purpose, .. } if *purpose == wanted => Some(*device),
        _ => None,
    };
    effects.iter().filter_map(device).collect()
}

/// Something that may happen to both devices' campaign, each with the seconds before it.
fn story() -> Vec<(u64, Input)> {
    let read = |number, answer| Input::BaseImageRead {
        device: device(number),
        purpose: ReadPurpose::Gate,
        question: OPEN,
        answer,
    };
    let old = || BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    let down = || TransportError::new("down");
    let answered = |number, answer| Input::RequestAnswered {
        device: device(number),
        operation: operation(number),
        question: OPEN,
        answer,
    };
    let report = |number, status| {
        Input::Report(OperationReport::new(device(number), operation(number), status))
    };
    let presence = |number, presence| Input::Presence { device: device(number), presence };
    vec![
        (1, read(1, old())),
        (1, read(2, BaseImageAnswer::Failed(down()))),
        (1, answered(1, RequestAnswer::Accepted)),
        (2, report(1, ReportStatus::Acknowledged)),
        (1, presence(2, Presence::Offline)),
        (3, presence(2, Presence::Online { since: at(0) })),
        (4, Input::Tick),
        (1, Input::BaseImageChanged { device: device(1) }),
        (9, Input::Tick),
        (1, Input::Command(Command::Pause)),
        (1, report(1, ReportStatus::Success)),
        (1, report(1, ReportStatus::Failure)),
        (1, Input::Command(Command::Resume)),
        (1, read(2, old())),
        (1, answered(2, RequestAnswer::Temporary(down()))),
        (1, report(2, ReportStatus::Downloading)),
    ]
}

#[test]
fn the_time_of_day_makes_no_difference_to_what_tells_two_campaigns_apart() {
    let mut early = AtWork::new(at(0));
    let mut late = AtWork::new(at(1_000_000));
    let mut seen = vec![early.fingerprint()];
    assert_eq!(early.fingerprint(), late.fingerprint());
    for (seconds, input) in story() {
        early.tell(seconds, input.clone());
        late.tell(seconds, input.clone());
        assert_eq!(early.fingerprint(), late.fingerprint(), "after {input:?}");
        seen.push(early.fingerprint());
    }
    let different: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "every step made a difference");
}

#[test]
fn a_clock_that_is_ahead_of_the_engines_does_not_put_off_the_look_at_a_device_that_is_back() {
    let mut work = AtWork::new(at(0));
    for (seconds, input) in story().into_iter().take(4) {
        work.tell(seconds, input);
    }
    let an_hour_ahead = Presence::Online { since: work.now + Duration::from_secs(3_600) };
    work.tell(1, Input::Presence { device: device(1), presence: an_hour_ahead });
    let effects = work.tell(10, Input::Tick);
    let looks = |effect: &Effect| matches!(effect, Effect::ReadBaseImage { device: of, .. } if *of == device(1));
    assert!(effects.iter().any(looks), "{effects:?}");
}

#[test]
fn a_device_whose_idle_target_turns_out_to_be_updating_is_looked_at() {
    let mut work = AtWork::new(at(0));
    let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    let read = Input::BaseImageRead {
        device: device(1),
        purpose: ReadPurpose::Gate,
        question: OPEN,
        answer,
    };
    work.tell(1, read);
    // The call failed, but it was delivered; the device has rebooted before its reports are heard.
    let answer = RequestAnswer::Temporary(TransportError::new("no answer"));
    let (of, id) = (device(1), operation(1));
    work.tell(1, Input::RequestAnswered { device: of, operation: id, question: OPEN, answer });
    work.tell(1, Input::Presence { device: of, presence: Presence::Online { since: work.now } });
    work.tell(1, Input::Report(OperationReport::new(of, id, ReportStatus::Rebooting)));
    let effects = work.tell(10, Input::Tick);
    let is_look = |effect: &Effect| {
        matches!(effect, Effect::ReadBaseImage { purpose: ReadPurpose::Settled, .. })
    };
    assert!(effects.iter().any(is_look), "{effects:?}");
}

#[test]
fn a_device_that_came_back_while_its_target_waited_for_a_slot_is_judged_by_that_reboot() {
    let mut work = AtWork::new(at(0));
    let read = |of: u8, purpose| {
        let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
        Input::BaseImageRead { device: device(of), purpose, question: OPEN, answer }
    };
    work.tell(1, read(1, ReadPurpose::Gate));
    work.tell(1, Input::Command(Command::Pause));
    // The call failed, but it was delivered; the target is idle, and the campaign paused.
    let answer = RequestAnswer::Temporary(TransportError::new("no answer"));
    let (of, id) = (device(1), operation(1));
    work.tell(1, Input::RequestAnswered { device: of, operation: id, question: OPEN, answer });
    work.tell(1, Input::Report(OperationReport::new(of, id, ReportStatus::Rebooting)));
    work.tell(1, Input::Presence { device: of, presence: Presence::Offline });
    work.tell(9, Input::Presence { device: of, presence: Presence::Online { since: at(14) } });
    work.tell(0, read(2, ReadPurpose::Gate));
    work.tell(1, Input::Command(Command::Resume));
    let is_judged = |effect: &Effect| {
        matches!(effect, Effect::ReadBaseImage { purpose: ReadPurpose::RebootTimeout, .. })
    };
    work.tell(10, Input::Tick);
    work.tell(0, read(1, ReadPurpose::Settled));
    let effects = work.tell(600, Input::Tick);
    assert!(effects.iter().any(is_judged), "{effects:?}");
    work.tell(0, read(1, ReadPurpose::RebootTimeout));
    let target = work.live.campaign().target(of).expect("a target");
    assert_eq!(target.settlement, Settlement::Failed(FailureReason::SystemRollback));
}

#[test]
fn a_cancel_request_is_repeated_until_it_is_answered_and_its_answer_is_recorded() {
    let mut work = AtWork::new(at(0));
    let version = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    let (device, operation) = (device(1), operation(1));
    work.tell(
        1,
        Input::BaseImageRead {
            device,
            purpose: ReadPurpose::Gate,
            question: OPEN,
            answer: version,
        },
    );
    let answer = RequestAnswer::Accepted;
    work.tell(1, Input::RequestAnswered { device, operation, question: OPEN, answer });
    let cancels = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::SendCancel { .. })).count()
    };
    let running = hedgerow_core::RunningOperations::Stop;
    let sent = work.tell(1, Input::Command(Command::Cancel { running }));
    assert_eq!(cancels(&sent), 1);

    let answer = RequestAnswer::Temporary(TransportError::new("HTTP 503"));
    work.tell(1, Input::CancelAnswered { device, operation, question: OPEN, answer });
    let again = work.tell(60, Input::Tick);
    assert_eq!(cancels(&again), 1, "{again:?}");
    let version = work.live.campaign().version();
    let stranger = OperationId::of_campaign(ID, device, 9);
    let answer = RequestAnswer::Accepted;
    work.tell(
        1,
        Input::CancelAnswered {
            device,
            operation: stranger,
            question: Question::numbered(99),
            answer: answer.clone(),
        },
    );
    assert_eq!(work.live.campaign().version(), version, "an answer about another operation");
    work.tell(
        1,
        Input::CancelAnswered { device, operation, question: OPEN, answer: answer.clone() },
    );
    assert_eq!(work.live.campaign().version(), version + 1);
    work.tell(1, Input::CancelAnswered { device, operation, question: OPEN, answer });
    assert_eq!(work.live.campaign().version(), version + 1, "it was answered before");
    assert_eq!(cancels(&work.tell(60, Input::Tick)), 0);
}

#[test]
fn a_trial_whose_operation_ends_before_its_request_leaves_gives_way_to_the_next() {
    let mut work = AtWork::new(at(0));
    let read = |of| Input::BaseImageRead {
        device: of,
        purpose: ReadPurpose::Gate,
        question: OPEN,
        answer: BaseImageAnswer::Version(Some("1.0.0".to_owned())),
    };
    let fails = |of| Input::RequestAnswered {
        device: of,
        operation: OperationId::of_campaign(ID, of, 0),
        question: OPEN,
        answer: RequestAnswer::Temporary(TransportError::new("down")),
    };
    for number in [1, 2] {
        work.tell(0, read(device(number)));
        work.tell(0, fails(device(number)));
    }
    let next = work.tell(60, Input::Tick);
    for of in looked_at(ReadPurpose::Gate, &next) {
        work.tell(0, read(of));
        work.tell(0, fails(of));
    }
    assert!(work.live.knows_of_outage());

    let trial = work.tell(300, Input::Tick);
    let &[of] = looked_at(ReadPurpose::Gate, &trial).as_slice() else {
        panic!("one trial at a time: {trial:?}")
    };
    let sent = work.tell(0, read(of));
    assert!(matches!(sent[..], [Effect::SendUpdate { .. }]), "{sent:?}");
    // It is dropped as too late, so nobody will answer for it.
    let removed = work.tell(1, Input::DeviceRemoved { device: of });
    let other = if of == device(1) { device(2) } else { device(1) };
    let later = work.tell(300, Input::Tick);
    assert_eq!(
        [looked_at(ReadPurpose::Gate, &removed), looked_at(ReadPurpose::Gate, &later)].concat(),
        [other]
    );
}

#[test]
fn a_campaign_tells_which_targets_are_open_and_whose_devices_are_online() {
    let mut work = AtWork::new(at(0));
    let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    let read = Input::BaseImageRead {
        device: device(1),
        purpose: ReadPurpose::Gate,
        question: OPEN,
        answer,
    };
    work.tell(1, read);
    work.tell(1, Input::Presence { device: device(2), presence: Presence::Offline });
    let open = |number, is_online, is_in_progress| OpenTarget {
        device: device(number),
        is_online,
        is_in_progress,
    };
    let shown: Vec<_> = work.live.open_targets().collect();
    assert_eq!(shown, [open(1, true, true), open(2, false, false)]);
    assert!(work.live.is_online(device(1)) && !work.live.is_online(device(2)));
    let success = OperationReport::new(device(1), operation(1), ReportStatus::Success);
    work.tell(1, Input::Report(success));
    assert_eq!(work.live.open_targets().collect::<Vec<_>>(), [open(2, false, false)]);
}

#[test]
fn after_a_restart_every_device_with_an_operation_is_looked_at() {
    let mut campaign = started();
    for number in [1, 2, 3] {
        start(&mut campaign, number, 4);
    }
    let mut work =
        AtWork { live: LiveCampaign::loaded(campaign), asked: Asked::default(), now: at(10) };
    // Also where it is offline: it may have updated before.
    work.tell(0, Input::Presence { device: device(1), presence: Presence::Offline });
    assert_eq!(work.tell(0, Input::Recovered), []);
    let looks = work.tell(1, Input::Tick);
    assert_eq!(looked_at(ReadPurpose::Settled, &looks), [1, 2, 3].map(device));
}

#[test]
fn a_manual_update_that_was_loaded_waits_for_the_presence_and_looks_when_the_image_may_have_changed()
 {
    let begun = ManualUpdate::create(manual_definition()).expect("it can begin");
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
    let live = LiveManualUpdate::loaded(update);
    let mut work = ManualAtWork { live, asked: Asked::default() };
    let mut tell = |seconds, input| work.tell(seconds, input);
    assert_eq!(tell(10_000, Input::Tick), [], "its time-out has passed, but nobody is asked yet");
    let looks = |effects: &[Effect], wanted| matches!(effects, [Effect::ReadBaseImage { purpose, .. }] if *purpose == wanted);
    let presence = Presence::Online { since: at(0) };
    tell(10_000, Input::Presence { device: device(1), presence });
    let recovered = tell(10_000, Input::Recovered);
    assert!(looks(&recovered, ReadPurpose::Deadline), "{recovered:?}");
    let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    let read = |purpose| Input::BaseImageRead {
        device: device(1),
        purpose,
        question: OPEN,
        answer: answer.clone(),
    };
    let again = tell(10_000, read(ReadPurpose::Deadline));
    assert!(matches!(again[..], [Effect::SendUpdate { .. }]), "{again:?}");
    let answer = RequestAnswer::Accepted;
    tell(
        10_001,
        Input::RequestAnswered { device: device(1), operation: id, question: OPEN, answer },
    );
    let settled = tell(10_002, Input::Tick);
    assert!(settled.is_empty() || looks(&settled, ReadPurpose::Settled), "{settled:?}");
    tell(10_002, read(ReadPurpose::Settled));
    tell(10_003, Input::BaseImageChanged { device: device(1) });
    assert_eq!(tell(10_012, Input::Tick), []);
    let changed = tell(10_013, Input::Tick);
    assert!(looks(&changed, ReadPurpose::Settled), "{changed:?}");
}

#[test]
fn d8_a_resend_that_was_kept_back_is_tried_again_if_its_device_is_back_and_cannot_be_read() {
    let begun = ManualUpdate::create(manual_definition()).expect("it can begin");
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
    let mut work = ManualAtWork::begun(update);
    let device = device(1);
    let read = |answer| Input::BaseImageRead {
        device,
        purpose: ReadPurpose::Deadline,
        question: OPEN,
        answer,
    };
    let looks = |effects: &[Effect]| matches!(effects, [Effect::ReadBaseImage { .. }]);
    let answer = RequestAnswer::Accepted;
    work.tell(0, Input::RequestAnswered { device, operation: id, question: OPEN, answer });
    work.tell(1, Input::Presence { device, presence: Presence::Offline });
    assert!(looks(&work.tell(300, Input::Tick)), "its time-out has passed");
    let shown = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    assert_eq!(work.tell(300, read(shown.clone())), [], "its resend is kept back");

    work.tell(400, Input::Presence { device, presence: Presence::Online { since: at(400) } });
    let back = work.live.next_deadline().expect("the resend").as_millis() / 1_000;
    assert!(looks(&work.tell(back, Input::Tick)), "its device is back");
    let failed = BaseImageAnswer::Failed(TransportError::new("HTTP 503"));
    assert_eq!(work.tell(back, read(failed)), []);
    assert_eq!(work.tell(back + 9, Input::Tick), []);
    assert!(looks(&work.tell(back + 10, Input::Tick)), "it is tried again");
    let resent = work.tell(back + 10, read(shown));
    assert!(matches!(resent[..], [Effect::SendUpdate { .. }]), "{resent:?}");
}

#[test]
fn d19_a_scheduled_campaign_can_be_deleted_until_its_start_has_begun() {
    let mut live = LiveCampaign::new(created(Some(at(100))));
    let mut begun = live.clone();
    let deleted = live.handle(Input::Command(Command::Delete), at(2)).expect("it is taken");
    assert_eq!(deleted.events, [CampaignDeleted {}.into()]);
    assert_eq!(live.campaign().status(), CampaignStatus::Deleted);

    let asked = begun.handle(Input::Tick, at(100)).expect("its time has come").effects;
    let [Effect::TakeSnapshot { question }] = asked[..] else { panic!("{asked:?}") };
    let devices = vec![device(1)];
    begun.handle(Input::SnapshotChunk { question, devices }, at(100)).expect("it is taken");
    assert!(begun.handle(Input::Command(Command::Delete), at(100)).is_err());
}

#[test]
fn a_trial_whose_target_is_removed_while_its_version_is_read_gives_way_to_the_next() {
    let mut work = AtWork::new(at(0));
    let fails = |of| Input::BaseImageRead {
        device: of,
        purpose: ReadPurpose::Gate,
        question: OPEN,
        answer: BaseImageAnswer::Failed(TransportError::new("down")),
    };
    work.tell(0, fails(device(1)));
    work.tell(0, fails(device(2)));
    for of in looked_at(ReadPurpose::Gate, &work.tell(60, Input::Tick)) {
        work.tell(0, fails(of));
    }
    assert!(work.live.knows_of_outage());
    let trial = work.tell(300, Input::Tick);
    let &[of] = looked_at(ReadPurpose::Gate, &trial).as_slice() else {
        panic!("one trial at a time: {trial:?}")
    };
    let removed = work.tell(1, Input::DeviceRemoved { device: of });
    let other = if of == device(1) { device(2) } else { device(1) };
    let answered = work.tell(1, fails(of));
    let later = work.tell(300, Input::Tick);
    let turns = [removed, answered, later].map(|effects| looked_at(ReadPurpose::Gate, &effects));
    assert_eq!(turns.concat(), [other]);
}

#[test]
fn a_device_that_came_back_once_more_while_it_was_read_is_given_its_whole_time_again() {
    let mut work = AtWork::new(at(0));
    let read = |purpose| {
        let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
        Input::BaseImageRead { device: device(1), purpose, question: OPEN, answer }
    };
    let online = |seconds| Input::Presence {
        device: device(1),
        presence: Presence::Online { since: at(seconds) },
    };
    let (device, operation) = (device(1), operation(1));
    work.tell(1, read(ReadPurpose::Gate));
    let answer = RequestAnswer::Accepted;
    work.tell(1, Input::RequestAnswered { device, operation, question: OPEN, answer });
    let rebooting = OperationReport::new(device, operation, ReportStatus::Rebooting);
    work.tell(1, Input::Report(rebooting));
    work.tell(1, online(5));
    work.tell(10, Input::Tick);
    work.tell(0, read(ReadPurpose::Settled));
    let looks = work.tell(600, Input::Tick);
    let is_judged = |effect: &Effect| {
        matches!(effect, Effect::ReadBaseImage { purpose: ReadPurpose::RebootTimeout, .. })
    };
    assert!(looks.iter().any(is_judged), "{looks:?}");
    work.tell(1, online(616));
    work.tell(1, read(ReadPurpose::RebootTimeout));
    let status = work.live.campaign().target(device).expect("a target").status;
    assert_eq!(status, TargetStatus::InProgress, "it has been back for a second");
    let error = OperationReport::new(device, operation, ReportStatus::Error);
    work.tell(1, Input::Report(error));
    let later = work.tell(700, Input::Tick);
    assert!(!later.iter().any(is_judged), "it goes on after an error: {later:?}");
}

#[test]
fn a_snapshot_that_is_not_available_is_asked_for_again_after_a_while() {
    let event = Campaign::create(definition(), None, at(0)).expect("a campaign");
    let campaign = Campaign::begin(tenant(), ID, &event, at(0)).expect("its first event");
    let mut work =
        AtWork { live: LiveCampaign::new(campaign), asked: Asked::default(), now: at(0) };
    let asks = |effects: &[Effect]| match effects {
        [Effect::TakeSnapshot { question }] => Some(*question),
        _ => None,
    };
    let question = asks(&work.tell(0, Input::Tick)).expect("a new campaign asks");
    assert_eq!(work.tell(1, Input::SnapshotUnavailable { question }), []);
    assert_eq!(work.tell(9, Input::Tick), []);
    assert!(asks(&work.tell(1, Input::Tick)).is_some());
}

#[test]
fn a_time_that_is_now_is_no_schedule_and_a_start_that_has_begun_cannot_be_deleted() {
    assert_eq!(created(Some(at(1))).status(), CampaignStatus::Idle);
    let edit =
        |scheduled_at| CampaignEdit { scheduled_at: Some(scheduled_at), ..CampaignEdit::default() };
    let mut live = LiveCampaign::new(created(Some(at(50))));
    let command = Input::Command(Command::Edit(Box::new(edit(Some(at(5))))));
    live.handle(command, at(5)).expect("it is taken");
    assert_ne!(live.campaign().status(), CampaignStatus::Scheduled);

    let mut begun = created(Some(at(50)));
    apply(&mut begun, SnapshotExtended { devices: vec![device(1)] }, 50);
    let mut live = LiveCampaign::new(begun);
    let refused = live.handle(Input::Command(Command::Delete), at(51)).expect_err("it has begun");
    assert!(refused.to_string().contains("its start has begun"), "{refused}");
}

#[test]
fn what_a_device_says_is_kept_in_short_and_an_error_that_it_repeats_with_a_later_stamp_is_news() {
    let mut work = AtWork::new(at(0));
    let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
    work.tell(
        1,
        Input::BaseImageRead {
            device: device(1),
            purpose: ReadPurpose::Gate,
            question: OPEN,
            answer,
        },
    );
    let error = |seconds| OperationReport {
        message: "the disk is full".to_owned(),
        observed_at: Some(at(seconds)),
        ..OperationReport::new(device(1), operation(1), ReportStatus::Error)
    };
    let now = work.now + Duration::from_secs(1);
    let first = work.live.handle(Input::Report(error(1)), now).expect("it is taken");
    let message = first.events.iter().find_map(|event| match event {
        CampaignEvent::OperationReported(reported) => Some(reported.message.clone()),
        _ => None,
    });
    assert_eq!(message.as_deref(), Some("the disk is full"));
    let version = work.live.campaign().version();
    work.tell(600, Input::Report(error(2)));
    assert_eq!(work.live.campaign().version(), version + 1);
    let same = |seconds| OperationReport {
        observed_at: Some(at(seconds)),
        ..OperationReport::new(device(1), operation(1), ReportStatus::Downloading)
    };
    work.tell(600, Input::Report(same(3)));
    let version = work.live.campaign().version();
    work.tell(600, Input::Report(same(4)));
    assert_eq!(work.live.campaign().version(), version + 1, "it is still at it");
    work.tell(600, Input::Report(same(4)));
    assert_eq!(work.live.campaign().version(), version + 1, "a duplicate is no sign of life");
}

#[test]
fn a_manual_update_ends_when_its_device_is_back_with_the_old_version() {
    let definition = ManualUpdateDefinition {
        expected_version: Some(Version::new(2, 0, 0)),
        version_before: Some("1.0.0".to_owned()),
        ..manual_definition()
    };
    let begun = ManualUpdate::create(definition).expect("it can begin");
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
    let mut work = ManualAtWork::begun(update);
    let mut tell = |seconds, input| work.tell(seconds, input);
    let read = |purpose| {
        let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
        Input::BaseImageRead { device: device(1), purpose, question: OPEN, answer }
    };
    let rebooting = OperationReport::new(device(1), id, ReportStatus::Rebooting);
    tell(1, Input::Report(rebooting));
    let presence = Presence::Online { since: at(20) };
    tell(20, Input::Presence { device: device(1), presence });
    tell(30, Input::Tick);
    tell(30, read(ReadPurpose::Settled));
    tell(620, Input::Tick);
    tell(620, read(ReadPurpose::RebootTimeout));
    assert!(work.live.is_settled(), "it was rolled back");
}

#[test]
fn a_cancel_of_a_manual_update_waits_for_its_update_and_is_repeated_until_it_is_answered() {
    let begun = ManualUpdate::create(manual_definition()).expect("it can begin");
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
    let mut work = ManualAtWork::begun(update);
    let mut tell = |seconds, input| work.tell(seconds, input);
    let cancels = |effects: &[Effect]| matches!(effects, [Effect::SendCancel { .. }]);
    let running = hedgerow_core::RunningOperations::Stop;
    assert_eq!(tell(1, Input::Command(Command::Cancel { running })), [], "its Update is under way");
    let (device, operation) = (device(1), id);
    let answer = RequestAnswer::Accepted;
    let sent = tell(2, Input::RequestAnswered { device, operation, question: OPEN, answer });
    assert!(cancels(&sent), "{sent:?}");
    assert_eq!(tell(3, Input::Tick), [], "it is under way");
    let answer = RequestAnswer::Temporary(TransportError::new("HTTP 503"));
    assert_eq!(tell(4, Input::CancelAnswered { device, operation, question: OPEN, answer }), []);
    let again = tell(14, Input::Tick);
    assert!(cancels(&again), "{again:?}");
    let answer = RequestAnswer::Accepted;
    tell(15, Input::CancelAnswered { device, operation, question: OPEN, answer });
    assert_eq!(tell(40, Input::Tick), []);
    let cancellation = work.live.update().operation().map(|operation| operation.cancellation);
    assert_eq!(cancellation, Some(hedgerow_core::Cancellation::Sent));
}

#[test]
fn what_differs_in_one_thing_is_told_apart() {
    let story = story();
    // A tick that comes early makes no difference, and need not.
    let skipped = (0..story.len()).filter(|place| !matches!(story[*place].1, Input::Tick));
    for skipped in skipped {
        let mut whole = AtWork::new(at(0));
        let mut other = AtWork::new(at(0));
        for (place, (seconds, input)) in story.iter().take(skipped + 1).enumerate() {
            whole.tell(*seconds, input.clone());
            if place == skipped {
                other.now = other.now + Duration::from_secs(*seconds);
            } else {
                other.tell(*seconds, input.clone());
            }
        }
        assert_ne!(whole.fingerprint(), other.fingerprint(), "without {:?}", story[skipped]);
    }
    // How far a deadline is ahead is a difference too.
    let mut later = AtWork::new(at(0));
    let (seconds, input) = story[0].clone();
    later.tell(seconds, input);
    let before = later.fingerprint();
    later.now = later.now + Duration::from_secs(1);
    assert_ne!(before, later.fingerprint());
    // A campaign that was loaded waits until it knows who is online.
    let loaded = LiveCampaign::loaded(later.live.campaign().clone());
    let anew = LiveCampaign::new(later.live.campaign().clone());
    let hash = |live: &LiveCampaign| {
        let mut hasher = DefaultHasher::new();
        live.hash_from(later.now, &mut hasher);
        hasher.finish()
    };
    assert_ne!(hash(&loaded), hash(&anew));
}

#[test]
fn e11_a_manual_update_that_was_loaded_again_numbers_its_questions_after_those_from_before() {
    let begun = ManualUpdate::create(manual_definition()).expect("it can begin");
    let id = OperationId::of_manual_update(&tenant(), "request-1");
    let update = ManualUpdate::begin(tenant(), id, &begun, at(0)).expect("it begins");
    let before = ManualAtWork::begun(update.clone()).live.latest_question();
    let again = LiveManualUpdate::loaded(update).asking_after(before);
    assert_eq!(again.latest_question(), before);
    assert_ne!(before, LiveManualUpdate::new(again.update().clone()).latest_question());
}
