//! The stored shape of every event (E6). A snapshot that changes means that logs in the field
//! cannot be read any more: give the event a new schema version and a step in `upcast` instead.

use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::event::*;
use hedgerow_core::*;
use uuid::Uuid;

fn device() -> DeviceId {
    "f0VMRgIBAQAAAAAAAAAAAA".parse().unwrap()
}

fn operation() -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1_000)
}

fn definition() -> CampaignDefinition {
    let limits =
        RolloutLimits::new(NonZeroU32::new(50).unwrap(), "33.3".parse::<Percentage>().unwrap());
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().unwrap(),
        base_image: BaseImage {
            system_model: "garden-gateway".parse().unwrap(),
            version: "2.0.0-rc.1+build.5".parse().unwrap(),
            url: "https://images.example/2.0.0.bin?signature=x".parse().unwrap(),
            starting_version_requirement: Some(">= 1.2.0 and < 3.0.0".parse().unwrap()),
        },
        channel: Channel::new(
            "stable".parse().unwrap(),
            ["gardens", "parks"].map(|group| group.parse().unwrap()),
        )
        .unwrap(),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy { force_downgrade: true, ..GatePolicy::default() },
            minimum_targets: 20,
        }),
        when_running: WhenRunning::Refuse,
    }
}

/// At least one event of every type, with and without what may be left out.
fn campaign_events() -> Vec<CampaignEvent> {
    let device = device();
    let code = Some(StatusCode::NetworkError);
    let refusal =
        evaluate_gates(Some("3.0.0"), &Version::new(2, 0, 0), None, GatePolicy::default());
    let GateDecision::Refused(refusal) = refusal else { panic!("a downgrade is refused") };
    let failures = [
        OperationFailure::RequestTimeout,
        OperationFailure::Stalled,
        OperationFailure::RequestRejected { detail: "HTTP 404".into() },
        OperationFailure::Reported { code: code.clone(), message: "no route".into() },
        OperationFailure::Reported { code: None, message: String::new() },
        OperationFailure::SystemRollback { version: Some("1.0.0".into()) },
        OperationFailure::UpdateAlreadyInProgress,
        OperationFailure::DeviceRemoved,
    ];
    let started = |url: Option<&str>| {
        let (from_version, url) = ("1.4.0".into(), url.and_then(|url| url.parse().ok()));
        OperationStarted { device, operation: operation(), from_version, url }.into()
    };
    let answered = |answer, by: Option<&str>| {
        let fact = PolicyFact::Consent(Consent { answer, by: by.map(str::to_owned) });
        PolicyFactRecorded { device: Some(device), fact }.into()
    };
    let over = |then| {
        let fact = PolicyFact::ConsentOver(ConsentOver { then });
        PolicyFactRecorded { device: None, fact }.into()
    };
    let mut events: Vec<CampaignEvent> = vec![
        CampaignCreated { definition: definition().into(), scheduled_at: Some(at(60)) }.into(),
        CampaignEdited { definition: definition().into(), scheduled_at: None }.into(),
        CampaignDeleted {}.into(),
        SnapshotExtended { devices: vec![device, DeviceId::from_bytes([255; 16])] }.into(),
        CampaignStarted { targets: 2 }.into(),
        CampaignPausing {}.into(),
        CampaignPaused {}.into(),
        CampaignResumed {}.into(),
        LimitsChanged {
            limits: RolloutLimits {
                operation: OperationLimits {
                    stall_timeout: None,
                    request_timeout: Duration::from_millis(30_500),
                    ..OperationLimits::default()
                },
                ..definition().rollout.limits().clone()
            },
        }
        .into(),
        CampaignFinished { outcome: Outcome::Cancelled, stop_operations: true }.into(),
        CampaignFinished { outcome: Outcome::Success, stop_operations: false }.into(),
        TargetUpToDate { device }.into(),
        TargetFailed { device, reason: TargetFailure::Gate(refusal) }.into(),
        TargetFailed { device, reason: TargetFailure::DeviceRemoved }.into(),
        AttemptDeferred { device, not_before: at(5), detail: "timed out".into() }.into(),
        started(None),
        started(Some("https://images.example/2.0.0.bin?signature=y")),
        RequestAccepted { device }.into(),
        OperationDeferred { device, not_before: at(5), detail: "HTTP 503".into() }.into(),
        RequestResent { device }.into(),
        ResendMissed { device }.into(),
        ResendKeptBack { device }.into(),
        ContradictionSeen { device, version: "1.4.0".into() }.into(),
        RequestReissued { device }.into(),
        ResendFailed { device, detail: "HTTP 500".into() }.into(),
        OperationReported {
            device,
            phase: Phase::Error,
            progress: 40,
            code,
            message: "no route".into(),
            observed_at: Some(at(9)),
        }
        .into(),
        OperationReported {
            device,
            phase: Phase::Downloading,
            progress: 0,
            code: None,
            message: String::new(),
            observed_at: None,
        }
        .into(),
        OperationReadmitted { device }.into(),
        OperationRefused { device, not_before: at(5) }.into(),
        OperationSucceeded { device, confirmation: Confirmation::BaseImage }.into(),
        CancelSent { device, refused: None }.into(),
        CancelSent { device, refused: Some("HTTP 404".into()) }.into(),
        answered(ConsentAnswer::Granted, Some("owner@example.org")),
        answered(ConsentAnswer::Declined, None),
        over(AtDeadline::Force),
        over(AtDeadline::GiveUp),
        LateReportReceived {
            device,
            operation: operation(),
            status: ReportStatus::Failure,
            code: Some(StatusCode::Other("ErrorNetwork".into())),
        }
        .into(),
    ];
    events.extend(failures.map(|reason| OperationFailed { device, reason }.into()));
    events
}

fn manual_events() -> Vec<ManualUpdateEvent> {
    vec![
        ManualStarted {
            definition: ManualUpdateDefinition {
                request_id: RequestId::new("ticket-4711").unwrap(),
                device: device(),
                url: "https://images.example/2.0.0.bin".parse().unwrap(),
                expected_version: Some(Version::new(2, 0, 0)),
                version_before: Some("1.4.0".into()),
                limits: OperationLimits::default(),
            },
        }
        .into(),
        ManualRequestAccepted {}.into(),
        ManualRequestFailed { detail: "HTTP 503".into() }.into(),
        ManualRequestResent {}.into(),
        ManualRequestReissued {}.into(),
        ManualResendKeptBack {}.into(),
        ManualReported {
            phase: Phase::Deploying,
            progress: 40,
            code: None,
            message: String::new(),
            observed_at: Some(at(9)),
        }
        .into(),
        ManualReported {
            phase: Phase::Error,
            progress: 0,
            code: Some(StatusCode::NetworkError),
            message: "no route".into(),
            observed_at: None,
        }
        .into(),
        ManualCancelRequested {}.into(),
        ManualCancelSent { refused: None }.into(),
        ManualCancelSent { refused: Some("HTTP 404".into()) }.into(),
        ManualSucceeded { confirmation: Confirmation::Reported }.into(),
        ManualFailed { reason: OperationFailure::Stalled }.into(),
        ManualLateReport { status: ReportStatus::Success, code: None }.into(),
        ManualLateReport { status: ReportStatus::Failure, code: Some(StatusCode::IoError) }.into(),
    ]
}

fn stored(stream: StreamId, event_type: &str, schema_version: u16, data: &[u8]) -> StoredEvent {
    StoredEvent {
        tenant: "realm".parse().unwrap(),
        stream,
        version: 7,
        position: 70,
        checksum: None,
        event: NewEvent {
            event_type: event_type.to_owned(),
            schema_version,
            recorded_at: at(0),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            data: data.to_vec(),
        },
    }
}

fn campaign_stream() -> StreamId {
    StreamId::Campaign(CampaignId::from_uuid(Uuid::nil()))
}

macro_rules! check_all {
    ($events:expr, $type:ty, $stream:expr) => {
        let events = $events;
        for (event_type, schema) in <$type>::TYPES {
            let of_type: Vec<_> =
                events.iter().filter(|event| event.event_type() == *event_type).collect();
            assert!(!of_type.is_empty(), "{event_type} has no golden file");
            let mut text = format!("{event_type}, schema {schema}\n");
            for event in of_type {
                let json = event.to_json();
                let read = <$type>::from_stored(&stored($stream, event_type, *schema, &json));
                assert_eq!(read.as_ref(), Ok(event), "it reads back");
                text += &String::from_utf8(json).unwrap();
                text.push('\n');
            }
            insta::assert_snapshot!(*event_type, text);
        }
    };
}

#[test]
fn every_campaign_event_is_stored_in_its_agreed_shape_and_reads_back() {
    check_all!(campaign_events(), CampaignEvent, campaign_stream());
}

#[test]
fn every_manual_update_event_is_stored_in_its_agreed_shape_and_reads_back() {
    check_all!(manual_events(), ManualUpdateEvent, StreamId::ManualUpdate(operation()));
}

/// A campaign as the first schema stored it.
const CREATED_1: &str = r#"{
    "definition": {
        "name": "Gateways to 2.0.0",
        "base_image": {
            "system_model": "garden-gateway", "version": "2.0.0",
            "url": "https://images.example/2.0.0.bin", "starting_version_requirement": null
        },
        "channel": {"name": "stable", "groups": ["gardens"]},
        "rollout": {"push": {
            "limits": {
                "max_in_progress_operations": 50, "max_failure_percentage": "33.3",
                "operation": {
                    "request_retries": 3, "request_timeout_ms": 300000,
                    "stall_timeout_ms": null, "reboot_timeout_ms": 600000
                }
            },
            "gates": {"force_downgrade": false, "enforce_version_requirement": false}
        }}
    },
    "scheduled_at": null
}"#;

#[test]
fn a_campaign_stored_in_the_first_schema_is_brought_up_to_date() {
    for event_type in ["campaign_created", "campaign_edited"] {
        let old = stored(campaign_stream(), event_type, 1, CREATED_1.as_bytes());
        let definition = match CampaignEvent::from_stored(&old).unwrap() {
            CampaignEvent::CampaignCreated(event) => event.definition,
            CampaignEvent::CampaignEdited(event) => event.definition,
            other => panic!("{other:?}"),
        };
        let limits = definition.rollout.limits();
        assert_eq!(limits.max_pending_operations.get(), 50);
        assert_eq!(limits.operation.progress_interval, Duration::from_secs(60));
        assert_eq!(definition.when_running, WhenRunning::Supersede);
        assert_eq!(definition.rollout.minimum_targets(), 0);
    }
}

#[test]
fn a_campaign_stored_in_the_second_schema_asks_for_no_minimum_of_targets() {
    let second = CREATED_1
        .replace("max_in_progress_operations", "max_pending_operations")
        .replace("\"reboot_timeout_ms\"", "\"progress_interval_ms\": 60000, \"reboot_timeout_ms\"");
    let old = stored(campaign_stream(), "campaign_created", 2, second.as_bytes());
    let CampaignEvent::CampaignCreated(event) = CampaignEvent::from_stored(&old).unwrap() else {
        panic!("it was created");
    };
    assert_eq!(event.definition.rollout.minimum_targets(), 0);
}

#[test]
fn an_event_from_the_future_is_an_error_that_says_so() {
    let newer = stored(campaign_stream(), "campaign_started", 9, b"{}");
    let error = CampaignEvent::from_stored(&newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::NewerSchema { version: 7, schema_version: 9, newest: 1, .. }
    ));
    let unknown = stored(campaign_stream(), "campaign_sang", 1, b"{}");
    let error = CampaignEvent::from_stored(&unknown).unwrap_err();
    assert!(matches!(error, EventError::UnknownType { version: 7, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[test]
fn a_damaged_event_is_an_error_with_its_place() {
    for (schema, data) in [(3, "{"), (2, "[]"), (1, "{}"), (0, CREATED_1)] {
        let damaged = stored(campaign_stream(), "campaign_created", schema, data.as_bytes());
        let error = CampaignEvent::from_stored(&damaged).unwrap_err();
        assert!(matches!(error, EventError::Malformed { version: 7, .. }), "{error}");
    }
}
