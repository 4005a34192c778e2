//! The form of keys and rows: what is kept by this version, byte for byte. Rows of another form are
//! made anew, so another form needs another number, or a service goes on with rows of both.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use hedgerow_core::event::*;
use hedgerow_core::*;
use uuid::Uuid;

use super::follow::FORMAT;
use super::row::OperationPlace;
use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{Activity, EventStore, StreamAppend};

/// Compares with what was kept of this form.
macro_rules! golden {
    ($name:literal, $text:expr) => {
        let name = format!("{}_of_form_{FORMAT}", $name);
        insta::with_settings!({
            description => "If this differs, the form of rows has changed: raise FORMAT in \
                view/follow.rs by one, so that rows that services have are made anew; accept what is \
                new under the new number, and remove what was kept under the old one.",
            omit_expression => true,
        }, { insta::assert_snapshot!(name, $text) });
    };
}

pub(super) fn tenant() -> TenantId {
    "garden".parse().unwrap()
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn operation(number: u8) -> OperationId {
    OperationId::from_uuid(Uuid::from_bytes([number; 16]))
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1_000)
}

fn definition() -> CampaignDefinition {
    let limits = RolloutLimits::new(NonZeroU32::new(50).unwrap(), "33.3".parse().unwrap());
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().unwrap(),
        base_image: BaseImage {
            system_model: "garden-gateway".parse().unwrap(),
            version: "2.0.0-rc.1+build.5".parse().unwrap(),
            url: "https://images.example/2.0.0.bin".parse().unwrap(),
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse().unwrap(), ["gardens".parse().unwrap()]).unwrap(),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Refuse,
    }
}

/// Appends events to a stream that has so many.
fn append(store: &MemoryStore, stream: StreamId, expected_version: u64, events: Vec<NewEvent>) {
    let append = StreamAppend {
        tenant: tenant(),
        stream,
        expected_version,
        events,
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    };
    store.append(vec![append]).now_or_never().unwrap().unwrap();
}

fn recorded(event_type: &str, schema_version: u16, second: i64, data: Vec<u8>) -> NewEvent {
    NewEvent {
        event_type: event_type.to_owned(),
        schema_version,
        recorded_at: at(second),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data,
    }
}

pub(super) fn created() -> CampaignEvent {
    CampaignCreated { definition: definition().into(), scheduled_at: None }.into()
}

pub(super) fn campaign(store: &MemoryStore, number: u8, events: &[CampaignEvent]) {
    campaign_over(store, number, 1, events);
}

/// A campaign with an event every so many seconds.
pub(super) fn campaign_over(
    store: &MemoryStore,
    number: u8,
    seconds: i64,
    events: &[CampaignEvent],
) {
    let stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::from_bytes([number; 16])));
    let new = |(number, event): (i64, &CampaignEvent)| {
        recorded(event.event_type(), event.schema_version(), number * seconds, event.to_json())
    };
    append(store, stream, 0, (0..).zip(events).map(new).collect());
}

fn started(number: u8) -> CampaignEvent {
    let (device, operation) = (device(number), operation(number));
    OperationStarted { device, operation, from_version: "1.4.0".into(), url: None }.into()
}

/// A campaign in which something of every kind happens to one target or another.
fn eventful() -> Vec<CampaignEvent> {
    let gate = evaluate_gates(Some("3.0.0"), &Version::new(2, 0, 0), None, GatePolicy::default());
    let GateDecision::Refused(refusal) = gate else { panic!("a downgrade is refused") };
    let code = Some(StatusCode::NetworkError);
    let reported = |number| {
        OperationReported {
            device: device(number),
            phase: Phase::Downloading,
            progress: 40,
            code: None,
            message: String::new(),
            observed_at: Some(at(9)),
        }
        .into()
    };
    vec![
        CampaignCreated { definition: definition().into(), scheduled_at: Some(at(1)) }.into(),
        SnapshotExtended { devices: (1..=9).map(device).collect() }.into(),
        CampaignStarted { targets: 9 }.into(),
        TargetUpToDate { device: device(1) }.into(),
        TargetFailed { device: device(2), reason: TargetFailure::Gate(refusal) }.into(),
        AttemptDeferred { device: device(3), not_before: at(60), detail: "timed out".into() }
            .into(),
        started(4),
        RequestAccepted { device: device(4) }.into(),
        RequestResent { device: device(4) }.into(),
        reported(4),
        OperationSucceeded { device: device(4), confirmation: Confirmation::BaseImage }.into(),
        LateReportReceived {
            device: device(4),
            operation: operation(4),
            status: ReportStatus::Failure,
            code: code.clone(),
        }
        .into(),
        ContradictionSeen { device: device(4), version: "1.4.0".into() }.into(),
        started(5),
        OperationFailed {
            device: device(5),
            reason: OperationFailure::Reported { code, message: "no route".into() },
        }
        .into(),
        started(6),
        RequestAccepted { device: device(6) }.into(),
        OperationRefused { device: device(6), not_before: at(90) }.into(),
        started(7),
        reported(7),
        started(8),
        OperationDeferred { device: device(8), not_before: at(90), detail: "HTTP 503".into() }
            .into(),
        CampaignFinished { outcome: Outcome::Cancelled, stop_operations: true }.into(),
    ]
}

pub(super) fn eventful_log() -> MemoryStore {
    let store = MemoryStore::new();
    campaign(&store, 0xC1, &eventful());
    campaign(&store, 0xC2, &[created()]);
    let definition = ManualUpdateDefinition {
        request_id: RequestId::new("ticket-4711").unwrap(),
        device: device(4),
        url: "https://images.example/2.0.0.bin".parse().unwrap(),
        expected_version: Some(Version::new(2, 0, 0)),
        version_before: Some("1.4.0".into()),
        limits: OperationLimits::default(),
    };
    let manual: Vec<ManualUpdateEvent> = vec![
        ManualStarted { definition }.into(),
        ManualFailed { reason: OperationFailure::Stalled }.into(),
        ManualLateReport { status: ReportStatus::Success, code: None }.into(),
    ];
    let new = |(second, event): (i64, &ManualUpdateEvent)| {
        recorded(event.event_type(), event.schema_version(), second, event.to_json())
    };
    let events = (30..).zip(&manual).map(new).collect();
    append(&store, StreamId::ManualUpdate(operation(0xA1)), 0, events);
    // A stream that this version cannot read to its end.
    let unknown = recorded("campaign_from_the_future", 1, 40, b"{}".to_vec());
    append(&store, StreamId::ManualUpdate(operation(0xA2)), 0, vec![unknown]);
    store
}

/// For people: text as it is, every other byte by its number.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            _ => write!(text, "\\{byte:02x}").unwrap(),
        }
    }
    text
}

#[test]
fn the_keys_and_rows_of_a_log_are_in_the_agreed_form() {
    let rows = Arc::new(MemoryViews::new());
    let log = Arc::new(eventful_log());
    Follower::new(log, rows.clone()).catch_up().now_or_never().unwrap().unwrap();
    let all = Vec::new()..vec![u8::MAX];
    let all = rows.scan(all, Direction::Forwards, usize::MAX).now_or_never().unwrap().unwrap();
    let kinds: std::collections::BTreeSet<u8> = all.iter().map(|(key, _)| key[0]).collect();
    assert_eq!(kinds, (1..=10).collect(), "there is a row of each kind");
    let line = |(key, row): &Row| format!("{}\n    {}\n", readable(key), readable(row));
    golden!("rows", all.iter().map(line).collect::<String>());
}

/// A value as a row holds it, which must be read back from that.
fn held<T>(value: &T) -> String
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let row = fold::json(value);
    assert_eq!(&stream::read::<T>(&row).expect("it is read back"), value);
    format!("{}\n", readable(&row))
}

/// A target as its row holds it, which must be read back from that.
fn held_of(details: &TargetDetails) -> String {
    let row = kept::row(details);
    let stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::from_bytes([0xC1; 16])));
    assert_eq!(&kept::details(&row, stream).expect("it is read back"), details);
    format!("{}\n", readable(&row))
}

fn with_operation(phase: Phase, ended: Option<OperationEnd>) -> TargetDetails {
    let entry = OperationEntry {
        operation: operation(4),
        stream: StreamId::Campaign(CampaignId::from_uuid(Uuid::from_bytes([0xC1; 16]))),
        device: device(4),
        version: None,
        from_version: None,
        began_at: at(1),
        phase,
        progress: 40,
        resends: 2,
        reported_at: None,
        ended: ended.map(|end| (at(2), end)),
        late_report: None,
    };
    TargetDetails { operations: vec![entry], ..TargetDetails::default() }
}

#[test]
fn every_value_of_a_row_is_in_the_agreed_form() {
    let code = Some(StatusCode::Other("ErrorNetwork".into()));
    let failures = [
        OperationFailure::RequestTimeout,
        OperationFailure::Stalled,
        OperationFailure::RequestRejected { detail: "HTTP 404".into() },
        OperationFailure::Reported { code, message: "no route".into() },
        OperationFailure::Reported { code: None, message: String::new() },
        OperationFailure::SystemRollback { version: Some("1.0.0".into()) },
        OperationFailure::UpdateAlreadyInProgress,
        OperationFailure::DeviceRemoved,
    ];
    let mut text = String::new();
    for failure in failures.clone() {
        let failure = Some(Failure::Operation(failure));
        text += &held_of(&TargetDetails { failure, ..TargetDetails::default() });
    }
    let image = Version::new(2, 0, 0);
    let requirement: VersionRequirement = "> 1.2.0".parse().unwrap();
    for version in [None, Some("one"), Some("3.0.0"), Some("2.0.0+a"), Some("1.0.0")] {
        let gate = evaluate_gates(version, &image, Some(&requirement), GatePolicy::default());
        let GateDecision::Refused(refusal) = gate else { panic!("{version:?} is refused") };
        let failure = Some(Failure::Target(TargetFailure::Gate(refusal)));
        text += &held_of(&TargetDetails { failure, ..TargetDetails::default() });
    }
    let failure = Some(Failure::Target(TargetFailure::DeviceRemoved));
    text += &held_of(&TargetDetails { failure, ..TargetDetails::default() });
    let ends = [OperationEnd::Refused, OperationEnd::Abandoned];
    let confirmed = [Confirmation::Reported, Confirmation::BaseImage].map(OperationEnd::Succeeded);
    let failed = failures.map(OperationEnd::Failed);
    for end in ends.into_iter().chain(confirmed).chain(failed) {
        text += &held_of(&with_operation(Phase::Rebooting, Some(end)));
    }
    for phase in Phase::ALL {
        text += &held_of(&with_operation(phase, None));
    }
    for status in [
        ReportStatus::Acknowledged,
        ReportStatus::Downloading,
        ReportStatus::Deploying,
        ReportStatus::Deployed,
        ReportStatus::Rebooting,
        ReportStatus::Error,
        ReportStatus::Success,
        ReportStatus::Failure,
    ] {
        let mut details = with_operation(Phase::Success, None);
        details.operations[0].late_report = Some((at(3), status));
        text += &held_of(&details);
    }
    for status in CampaignStatus::ALL {
        text += &held(&status);
    }
    for outcome in Outcome::ALL {
        text += &held(&outcome);
    }
    for (byte, reason) in (standing::FAILED..).zip(FailureReason::ALL) {
        let failed = standing::Standing::of(TargetStatus::Failed, Settlement::Failed(reason));
        assert_eq!(failed.0, byte);
        write!(text, "{byte} {}", held(&reason)).unwrap();
    }
    let id = CampaignId::from_uuid(Uuid::from_bytes([0xC1; 16]));
    let place = OperationPlace::Target(id, 4_711);
    assert_eq!(OperationPlace::read(&place.row()), Ok(place.clone()));
    text += &readable(&place.row());
    text += "\n";
    golden!("values", text);
}
