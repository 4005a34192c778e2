//! What is stored reads back (E6): every event with any values, older shapes, and state snapshots
//! that are damaged.

use std::time::Duration;

use hedgerow_core::event::*;
use hedgerow_core::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;
use uuid::Uuid;

use crate::story::{Setup, setup};
use crate::support::cases;

fn device() -> impl Strategy<Value = DeviceId> {
    any::<[u8; 16]>().prop_map(DeviceId::from_bytes)
}

fn operation() -> impl Strategy<Value = OperationId> {
    any::<u128>().prop_map(|bits| OperationId::from_uuid(Uuid::from_u128(bits)))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

/// Texts of every kind, JSON's own signs and what lies beyond the first plane included.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[\"\\\\{}\\[\\]:,/\u{0}-\u{1f}]{1,6}",
        "\\PC{0,12}",
        any::<String>().prop_map(|text| text.chars().take(40).collect()),
    ]
}

fn code() -> impl Strategy<Value = Option<StatusCode>> {
    let known = select(vec![
        "",
        "RequestTimeout",
        "InvalidRequest",
        "UpdateAlreadyInProgress",
        "NetworkError",
        "IOError",
        "InternalError",
        "InvalidBaseImage",
        "SystemRollback",
        "Canceled",
    ]);
    prop_oneof![known.prop_map(str::to_owned), text()].prop_map(|text| StatusCode::from_wire(&text))
}

fn status() -> impl Strategy<Value = ReportStatus> {
    select(vec![
        ReportStatus::Acknowledged,
        ReportStatus::Downloading,
        ReportStatus::Deploying,
        ReportStatus::Deployed,
        ReportStatus::Rebooting,
        ReportStatus::Error,
        ReportStatus::Success,
        ReportStatus::Failure,
    ])
}

fn failure() -> impl Strategy<Value = OperationFailure> {
    prop_oneof![
        select(vec![
            OperationFailure::RequestTimeout,
            OperationFailure::Stalled,
            OperationFailure::UpdateAlreadyInProgress,
            OperationFailure::DeviceRemoved,
        ]),
        text().prop_map(|detail| OperationFailure::RequestRejected { detail }),
        (code(), text()).prop_map(|(code, message)| OperationFailure::Reported { code, message }),
        prop::option::of(text()).prop_map(|version| OperationFailure::SystemRollback { version }),
    ]
}

fn refusal() -> impl Strategy<Value = GateRefusal> {
    prop_oneof![
        Just(GateRefusal::MissingVersion {}),
        text().prop_map(|current| GateRefusal::InvalidVersion { current }),
        text().prop_map(|current| GateRefusal::DowngradeNotAllowed { current }),
        text().prop_map(|current| GateRefusal::AmbiguousVersionOrdering { current }),
        text().prop_map(|current| GateRefusal::VersionRequirementNotMet { current }),
    ]
}

fn campaign_event() -> impl Strategy<Value = CampaignEvent> {
    let outcome =
        select(vec![Outcome::Success, Outcome::Failure, Outcome::Cancelled, Outcome::Superseded]);
    let confirmation = || select(vec![Confirmation::Reported, Confirmation::BaseImage]);
    let reported = (
        device(),
        select(Phase::ALL.to_vec()),
        any::<u8>(),
        code(),
        text(),
        prop::option::of(time()),
    );
    let of_campaign = prop_oneof![
        (setup(), prop::option::of(time())).prop_map(|(setup, at)| {
            let long_ago = Timestamp::from_millis(i64::MIN);
            Campaign::create(setup.definition(), at, long_ago).unwrap()
        }),
        Just(CampaignDeleted {}.into()),
        prop::collection::vec(device(), 0..5)
            .prop_map(|devices| SnapshotExtended { devices }.into()),
        any::<u32>().prop_map(|targets| CampaignStarted { targets }.into()),
        Just(CampaignPausing {}.into()),
        Just(CampaignPaused {}.into()),
        Just(CampaignResumed {}.into()),
        setup().prop_map(|setup| LimitsChanged { limits: setup.limits() }.into()),
        (outcome, any::<bool>()).prop_map(|(outcome, stop_operations)| {
            CampaignFinished { outcome, stop_operations }.into()
        }),
    ];
    let of_target = prop_oneof![
        device().prop_map(|device| TargetUpToDate { device }.into()),
        (device(), refusal()).prop_map(|(device, refusal)| {
            TargetFailed { device, reason: TargetFailure::Gate(refusal) }.into()
        }),
        device().prop_map(|device| {
            TargetFailed { device, reason: TargetFailure::DeviceRemoved }.into()
        }),
        (device(), time(), text()).prop_map(|(device, not_before, detail)| {
            AttemptDeferred { device, not_before, detail }.into()
        }),
        (device(), operation(), text(), prop::option::of(Just("https://images.example/x?key=%20")))
            .prop_map(|(device, operation, from_version, url)| {
                let url = url.map(|url| url.parse().unwrap());
                OperationStarted { device, operation, from_version, url }.into()
            }),
        device().prop_map(|device| RequestAccepted { device }.into()),
        (device(), time(), text()).prop_map(|(device, not_before, detail)| {
            OperationDeferred { device, not_before, detail }.into()
        }),
        device().prop_map(|device| RequestResent { device }.into()),
        device().prop_map(|device| ResendMissed { device }.into()),
        device().prop_map(|device| ResendKeptBack { device }.into()),
        device().prop_map(|device| RequestReissued { device }.into()),
    ];
    let of_operation = prop_oneof![
        (device(), text()).prop_map(|(device, detail)| ResendFailed { device, detail }.into()),
        (device(), text())
            .prop_map(|(device, version)| ContradictionSeen { device, version }.into()),
        reported.prop_map(|(device, phase, progress, code, message, observed_at)| {
            OperationReported { device, phase, progress, code, message, observed_at }.into()
        }),
        device().prop_map(|device| OperationReadmitted { device }.into()),
        (device(), time())
            .prop_map(|(device, not_before)| { OperationRefused { device, not_before }.into() }),
        (device(), confirmation()).prop_map(|(device, confirmation)| {
            OperationSucceeded { device, confirmation }.into()
        }),
        (device(), failure())
            .prop_map(|(device, reason)| OperationFailed { device, reason }.into()),
        (device(), prop::option::of(text()))
            .prop_map(|(device, refused)| { CancelSent { device, refused }.into() }),
        policy_fact().prop_map(|(device, fact)| PolicyFactRecorded { device, fact }.into()),
        (device(), operation(), status(), code()).prop_map(|(device, operation, status, code)| {
            LateReportReceived { device, operation, status, code }.into()
        }),
    ];
    prop_oneof![of_campaign, of_target, of_operation]
}

fn policy_fact() -> impl Strategy<Value = (Option<DeviceId>, PolicyFact)> {
    let answer = select(vec![ConsentAnswer::Granted, ConsentAnswer::Declined]);
    prop_oneof![
        (device(), answer, prop::option::of(text())).prop_map(|(device, answer, by)| {
            (Some(device), PolicyFact::Consent(Consent { answer, by }))
        }),
        select(vec![AtDeadline::Force, AtDeadline::GiveUp])
            .prop_map(|then| (None, PolicyFact::ConsentOver(ConsentOver { then }))),
    ]
}

fn manual_event() -> impl Strategy<Value = ManualUpdateEvent> {
    let definition = (
        "[!-~]{1,40}",
        device(),
        prop::option::of("[0-9]\\.[0-9]\\.[0-9](-rc\\.1)?(\\+b)?"),
        prop::option::of(text()),
        setup(),
    );
    let definition =
        definition.prop_map(|(request_id, device, expected, version_before, setup)| {
            let definition = ManualUpdateDefinition {
                request_id: RequestId::new(request_id).unwrap(),
                device,
                url: "https://images.example/x?key=%20".parse().unwrap(),
                expected_version: expected.map(|text| text.parse().unwrap()),
                version_before,
                limits: setup.limits().operation,
            };
            ManualStarted { definition }.into()
        });
    let reported =
        (select(Phase::ALL.to_vec()), any::<u8>(), code(), text(), prop::option::of(time()));
    prop_oneof![
        definition,
        Just(ManualRequestAccepted {}.into()),
        text().prop_map(|detail| ManualRequestFailed { detail }.into()),
        select(vec![
            ManualUpdateEvent::from(ManualRequestResent {}),
            ManualRequestReissued {}.into(),
            ManualCancelRequested {}.into(),
        ]),
        reported.prop_map(|(phase, progress, code, message, observed_at)| {
            ManualReported { phase, progress, code, message, observed_at }.into()
        }),
        prop::option::of(text()).prop_map(|refused| ManualCancelSent { refused }.into()),
        select(vec![Confirmation::Reported, Confirmation::BaseImage])
            .prop_map(|confirmation| ManualSucceeded { confirmation }.into()),
        failure().prop_map(|reason| ManualFailed { reason }.into()),
        (status(), code()).prop_map(|(status, code)| ManualLateReport { status, code }.into()),
    ]
}

fn new_event(event_type: &str, schema_version: u16, data: Vec<u8>) -> NewEvent {
    NewEvent {
        event_type: event_type.to_owned(),
        schema_version,
        recorded_at: Timestamp::from_millis(0),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data,
    }
}

fn campaign_stream() -> StreamId {
    StreamId::Campaign(CampaignId::from_uuid(Uuid::nil()))
}

/// A campaign's definition as the first schema stored it.
fn in_the_first_schema(mut data: Value) -> Value {
    let limits = data.pointer_mut("/definition/rollout/push/limits").unwrap();
    let limits = limits.as_object_mut().unwrap();
    let limit = limits.remove("max_pending_operations").unwrap();
    limits.insert("max_in_progress_operations".to_owned(), limit);
    let operation = limits.get_mut("operation").unwrap().as_object_mut().unwrap();
    operation.remove("progress_interval_ms").unwrap();
    let push = data.pointer_mut("/definition/rollout/push").unwrap().as_object_mut().unwrap();
    push.remove("minimum_targets").unwrap();
    data
}

fn definition_of(event: &CampaignEvent) -> CampaignDefinition {
    let state = Campaign::begin(
        "realm".parse().unwrap(),
        CampaignId::from_uuid(Uuid::nil()),
        event,
        Timestamp::from_millis(0),
    );
    state.unwrap().definition().clone()
}

/// A state in the middle of a rollout, as a store keeps it.
fn snapshot() -> Value {
    let now = Timestamp::from_millis(0);
    let created = Campaign::create(Setup::plain(2).definition(), None, now).unwrap();
    let id = CampaignId::from_uuid(Uuid::nil());
    let mut state = Campaign::begin("realm".parse().unwrap(), id, &created, now).unwrap();
    let [first, second] = [0, 1].map(Setup::device);
    let operation = OperationId::of_campaign(id, first, 0);
    for event in [
        SnapshotExtended { devices: vec![first, second] }.into(),
        CampaignStarted { targets: 2 }.into(),
        OperationStarted { device: first, operation, from_version: "1.0.0".into(), url: None }
            .into(),
        AttemptDeferred { device: second, not_before: now, detail: "down".into() }.into(),
    ] {
        let event: CampaignEvent = event;
        state.apply(&event, now).unwrap();
    }
    serde_json::to_value(&state).unwrap()
}

/// Everything in a JSON value that is a number or a list, by its pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            found.push(at.to_owned());
            for (place, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{place}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                places(item, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn e6_every_campaign_event_reads_back(event in campaign_event()) {
        let stored = new_event(event.event_type(), event.schema_version(), event.to_json());
        prop_assert_eq!(CampaignEvent::from_new(campaign_stream(), &stored), Ok(event));
    }

    #[test]
    fn e6_every_manual_update_event_reads_back(event in manual_event()) {
        let stored = new_event(event.event_type(), event.schema_version(), event.to_json());
        prop_assert_eq!(ManualUpdateEvent::from_new(campaign_stream(), &stored), Ok(event));
    }

    #[test]
    fn e6_an_older_shape_means_what_it_meant(setup in setup(), edited in any::<bool>()) {
        let now = Timestamp::from_millis(0);
        // There were no optional rollouts.
        let setup = crate::story::Setup { consent: None, ..setup };
        let event = Campaign::create(setup.definition(), None, now).unwrap();
        let event_type = if edited { "campaign_edited" } else { "campaign_created" };
        let newest = serde_json::from_slice(&event.to_json()).unwrap();
        let old = serde_json::to_vec(&in_the_first_schema(newest)).unwrap();
        let read = |event_type| {
            CampaignEvent::from_new(campaign_stream(), &new_event(event_type, 1, old.clone()))
        };
        prop_assert_eq!(read(event_type).unwrap().event_type(), event_type);
        // The first schema had no progress interval and no minimum; all else is as it was.
        let mut expected = setup;
        expected.progress_interval = 60;
        expected.minimum = 0;
        let definition = definition_of(&read("campaign_created").unwrap());
        prop_assert_eq!(&definition, &expected.definition());
        let interval = definition.rollout.limits().operation.progress_interval;
        prop_assert_eq!(interval, Duration::from_secs(60));
        // What is read is stored in the newest shape, and reads back without its upcaster.
        let again = read(event_type).unwrap();
        prop_assert!(again.schema_version() > 1);
        let stored = new_event(event_type, again.schema_version(), again.to_json());
        prop_assert_eq!(CampaignEvent::from_new(campaign_stream(), &stored), Ok(again));
    }

    #[test]
    fn e6_an_event_from_the_future_is_an_error_of_its_stream(
        event in campaign_event(), ahead in 1_u16..100,
    ) {
        let schema = event.schema_version() + ahead;
        let stored = new_event(event.event_type(), schema, event.to_json());
        let read = CampaignEvent::from_new(campaign_stream(), &stored);
        let is_newer = matches!(
            read,
            Err(EventError::NewerSchema { stream, schema_version, .. })
                if stream == campaign_stream() && schema_version == schema
        );
        prop_assert!(is_newer);
    }

    #[test]
    fn e6_a_damaged_event_is_an_error_or_another_event_and_no_panic(
        event in campaign_event(), schema in 0_u16..3, place in any::<prop::sample::Index>(),
        byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut data = event.to_json();
        let place = place.index(data.len());
        if cut { data.truncate(place) } else { data[place] = byte }
        let _ = CampaignEvent::from_new(campaign_stream(), &new_event(event.event_type(), schema, data));
    }

    #[test]
    fn e1_a_damaged_state_snapshot_is_refused_or_whole(
        place in any::<prop::sample::Index>(), number in 0_u32..5,
    ) {
        let mut value = snapshot();
        let mut found = Vec::new();
        places(&value, "", &mut found);
        let pointer = &found[place.index(found.len())];
        let damaged = value.pointer_mut(pointer).unwrap();
        match damaged {
            Value::Array(items) => drop(items.pop()),
            other => *other = Value::from(number),
        }
        let Ok(mut state) = serde_json::from_value::<Campaign>(value) else { return Ok(()) };
        if state.restore() {
            // Whatever it says now, it can be looked at, and its counts are those of its targets.
            let counts = state.counts();
            prop_assert_eq!(state.targets().len(), counts.total as usize);
            let idle = state.targets().filter(|target| target.status == TargetStatus::Idle);
            prop_assert_eq!(idle.count(), counts.idle as usize);
            let _ = state.active_operations().count();
        }
    }
}
