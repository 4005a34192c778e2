//! Names, ids, limits and codes at the edge of what is taken: the last that fits, the first that
//! does not, and what each shows of itself.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::event::{OperationFailure, TargetFailure};
use hedgerow_core::{
    BaseImage, BaseImageCollection, CampaignId, CampaignName, CampaignStatus, Channel, Channels,
    DeviceId, FailureReason, FleetError, GateRefusal, GroupName, HoldReason, ImageUrl,
    ManualUpdateDefinition, OperationId, OperationLimits, Outcome, Percentage, Phase,
    RequestAnswer, RequestId, RolloutError, RolloutLimits, StatusCode, StreamId, SystemModelHandle,
    TargetStatus, TenantId, Timestamp, TransportError, Version, VersionRequirement, parse_version,
    same_build,
};
use uuid::Uuid;

fn letters(count: usize) -> String {
    "a".repeat(count)
}

#[test]
fn names_are_taken_up_to_their_longest() {
    assert!(letters(128).parse::<TenantId>().is_ok());
    assert!(letters(129).parse::<TenantId>().is_err());
    assert!(letters(255).parse::<CampaignName>().is_ok());
    assert!(letters(256).parse::<CampaignName>().is_err());
    assert!(letters(255).parse::<SystemModelHandle>().is_ok());
    assert!(letters(256).parse::<SystemModelHandle>().is_err());
    assert!(RequestId::new(letters(255)).is_ok());
    assert!(RequestId::new(letters(256)).is_err());
    assert!(RequestId::new("").is_err());
    assert!(RequestId::new("a b").is_err());
    assert_eq!(RequestId::new("a-1").expect("an id").to_string(), "a-1");
}

#[test]
fn a_url_is_taken_up_to_its_longest_in_either_case_of_its_scheme() {
    let url = |length: usize| format!("https://host/{}", letters(length - 13));
    assert!(url(4_096).parse::<ImageUrl>().is_ok());
    assert!(url(4_097).parse::<ImageUrl>().is_err());
    assert!("HTTP://host".parse::<ImageUrl>().is_ok());
    for nowhere in ["http://?x", "http://#x", "http://:80", "http:///x"] {
        assert!(nowhere.parse::<ImageUrl>().is_err(), "{nowhere}");
    }
    let signed: ImageUrl = "https://host/image?signature=1#part".parse().expect("a URL");
    assert_eq!(signed.without_query(), "https://host/image");
    assert_eq!(signed.as_str(), "https://host/image?signature=1#part");
}

#[test]
fn handles_have_digits_and_hyphens_after_a_letter() {
    for text in ["a", "a-1", "z9"] {
        assert_eq!(text.parse::<SystemModelHandle>().expect("a handle").as_str(), text);
    }
    for text in ["-a", "1a", "aB", "a_b"] {
        assert!(text.parse::<SystemModelHandle>().is_err(), "{text}");
    }
}

#[test]
fn d21_a_tenant_has_letters_digits_dots_underscores_and_hyphens() {
    for text in ["realm_1", "Realm", "1", "Acme-Gardens.eu", "_", "-x", ".."] {
        let tenant: TenantId = text.parse().expect("a tenant");
        assert_eq!(tenant.as_str(), text);
        assert_eq!(tenant.to_string(), text);
        let json = serde_json::to_string(&tenant).unwrap();
        assert_eq!(serde_json::from_str::<TenantId>(&json).unwrap(), tenant);
    }
    for text in ["", "a b", "a/b", "a@b", "ä", "a\n", "a%2f", "a:b", "a\u{0}"] {
        let refused = text.parse::<TenantId>().map_err(|error| error.to_string());
        assert!(refused.is_err_and(|error| error.contains(&format!("{text:?}"))), "{text}");
    }
    assert!(serde_json::from_str::<TenantId>("\"a/b\"").is_err());
}

#[test]
fn d21_what_is_derived_from_a_tenant_and_a_request_id_is_of_this_pair_alone() {
    let id = |tenant: &str, request: &str| {
        OperationId::of_manual_update(&tenant.parse().expect("a tenant"), request)
    };
    assert_ne!(id("a", "b/1"), id("b", "a/1"));
    assert_ne!(id("a", "1"), id("A", "1"), "in another case it is another tenant");
    assert_ne!(id("a", "b/1"), id("a-b", "1"));
}

#[test]
fn a_text_in_an_error_is_cut_after_64_characters() {
    let error = letters(129).parse::<TenantId>().expect_err("too long").to_string();
    assert!(error.contains(&letters(64)) && !error.contains(&letters(65)), "{error}");
}

#[test]
fn a_stream_is_read_as_it_is_shown() {
    let uuid = Uuid::from_u128(7);
    for (stream, text) in [
        (StreamId::Campaign(CampaignId::from_uuid(uuid)), format!("campaign/{uuid}")),
        (StreamId::ManualUpdate(OperationId::from_uuid(uuid)), format!("manual/{uuid}")),
        (StreamId::Catalogue, "catalogue".to_owned()),
    ] {
        assert_eq!(stream.to_string(), text);
        assert_eq!(String::from(stream), text);
        assert_eq!(text.parse(), Ok(stream));
        assert_eq!(StreamId::try_from(text), Ok(stream));
    }
    for text in [
        "campaign",
        "campaign/7",
        "other/00000000-0000-0000-0000-000000000007",
        "catalogue/",
        "Catalogue",
        "",
    ] {
        assert!(text.parse::<StreamId>().is_err(), "{text}");
    }
}

#[test]
fn a_device_id_is_128_bits_in_22_characters() {
    let bytes: [u8; 16] = std::array::from_fn(|n| u8::try_from(n * 17).expect("a byte"));
    let device = DeviceId::from_bytes(bytes);
    assert_eq!(device.to_string(), "ABEiM0RVZneImaq7zN3u_w");
    assert_eq!(format!("{device:?}"), "ABEiM0RVZneImaq7zN3u_w");
    assert_eq!(device.as_bytes(), &bytes);
    assert_eq!("ABEiM0RVZneImaq7zN3u_w".parse(), Ok(device));
    for text in ["ABEiM0RVZneImaq7zN3u_x", "ABEiM0RVZneImaq7zN3u_", "ABEiM0RVZneImaq7zN3u+w"] {
        assert!(text.parse::<DeviceId>().is_err(), "{text}");
    }
    let refused = serde_json::from_str::<DeviceId>("7").expect_err("a number").to_string();
    assert!(refused.contains("22 characters of unpadded URL-safe base64"), "{refused}");
}

#[test]
fn channels_and_collections_give_back_what_was_added() {
    let channel = Channel::new(
        "stable".parse().expect("a name"),
        ["a", "b"].map(|group| group.parse().expect("a group")),
    )
    .expect("a channel");
    let groups: Vec<_> = channel.groups().iter().map(GroupName::as_str).collect();
    assert_eq!((channel.name().as_str(), groups), ("stable", vec!["a", "b"]));
    let mut channels = Channels::default();
    channels.add(channel.clone()).expect("the first");
    assert_eq!(channels.get(channel.name()), Some(&channel));
    assert_eq!(channels.get(&"beta".parse().expect("a name")), None);
    assert!(matches!(channels.add(channel), Err(FleetError::ChannelExists { .. })));

    let image = |model: &str, version: &str| BaseImage {
        system_model: model.parse().expect("a model"),
        version: version.parse().expect("a version"),
        url: "https://images.example/1".parse().expect("a URL"),
        starting_version_requirement: None,
    };
    let mut collection = BaseImageCollection::new("gateway".parse().expect("a model"));
    collection.add(image("gateway", "1.0.0")).expect("the first");
    collection.add(image("gateway", "2.0.0")).expect("another version");
    let second = Version::new(2, 0, 0);
    assert_eq!(collection.get(&second).map(|image| &image.version), Some(&second));
    assert_eq!(collection.get(&Version::new(3, 0, 0)), None);
    let other = collection.add(image("sensor", "3.0.0"));
    assert!(matches!(other, Err(FleetError::OtherSystemModel { .. })));
}

#[test]
fn a_channel_has_from_one_to_ten_thousand_groups() {
    let channel = |count: u32| {
        let groups: BTreeSet<_> =
            (0..count).map(|n| format!("g{n}").parse().expect("a group")).collect();
        Channel::new("c".parse().expect("a name"), groups)
    };
    assert!(matches!(channel(0), Err(FleetError::NoGroup { .. })));
    assert!(channel(10_000).is_ok());
    assert!(matches!(channel(10_001), Err(FleetError::TooManyGroups { groups: 10_001, .. })));
}

#[test]
fn limits_are_taken_at_both_ends_of_their_range() {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3_600);
    const TICK: Duration = Duration::from_millis(1);
    let second = Duration::from_secs(1);
    let check = |change: &dyn Fn(&mut OperationLimits)| {
        let mut limits = RolloutLimits::new(NonZeroU32::MIN, Percentage::HUNDRED);
        change(&mut limits.operation);
        limits.validate()
    };
    for fits in [Duration::from_secs(30), YEAR] {
        assert_eq!(check(&|limits| limits.request_timeout = fits), Ok(()));
    }
    for given in [Duration::from_millis(29_999), YEAR + TICK] {
        let refused = Err(RolloutError::RequestTimeout { given });
        assert_eq!(check(&|limits| limits.request_timeout = given), refused);
    }
    for fits in [None, Some(second), Some(YEAR)] {
        assert_eq!(check(&|limits| limits.stall_timeout = fits), Ok(()));
    }
    for given in [Duration::from_millis(999), YEAR + TICK] {
        let refused = Err(RolloutError::StallTimeout { given });
        assert_eq!(check(&|limits| limits.stall_timeout = Some(given)), refused);
        let refused = Err(RolloutError::RebootTimeout { given });
        assert_eq!(check(&|limits| limits.reboot_timeout = given), refused);
    }
    assert_eq!(check(&|limits| limits.reboot_timeout = second), Ok(()));
    assert_eq!(check(&|limits| limits.reboot_timeout = YEAR), Ok(()));
    assert_eq!(check(&|limits| limits.progress_interval = Duration::ZERO), Ok(()));
    assert_eq!(check(&|limits| limits.progress_interval = YEAR), Ok(()));
    let given = YEAR + TICK;
    let refused = Err(RolloutError::ProgressInterval { given });
    assert_eq!(check(&|limits| limits.progress_interval = given), refused);
    assert_eq!(check(&|limits| limits.request_retries = 1_000), Ok(()));
    let refused = Err(RolloutError::RequestRetries { given: 1_001 });
    assert_eq!(check(&|limits| limits.request_retries = 1_001), refused);
    let refused = Err(RolloutError::RequestRetries { given: 5_000 });
    assert_eq!(check(&|limits| limits.request_retries = 5_000), refused);
}

#[test]
fn percentages_are_exact_up_to_a_hundred() {
    for (text, shown) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("100", "100"),
        ("100.0", "100"),
        ("33.3", "33.3"),
        ("0.00000000000000001", "0.00000000000000001"),
        ("2.5e-7", "0.00000025"),
        ("1E2", "100"),
        ("0000100", "100"),
        ("99.99999999999999999", "99.99999999999999999"),
    ] {
        let read = text.parse::<Percentage>();
        assert_eq!(read.map(|percentage| percentage.to_string()), Ok(shown.to_owned()), "{text}");
    }
    for text in [
        "",
        "-",
        ".",
        "1.",
        ".5",
        "1e",
        "e1",
        "+1",
        "1_0",
        "100.1",
        "101",
        "1e3",
        "-1",
        "-0.1",
        "0.000000000000000001",
        "100.00000000000000001",
        "1x",
        "99999999999999999999",
    ] {
        assert!(text.parse::<Percentage>().is_err(), "{text}");
    }
    let digits = |count: usize| format!("0.{}", "0".repeat(count - 2));
    assert!(digits(64).parse::<Percentage>().is_ok());
    assert!(digits(65).parse::<Percentage>().is_err());
}

#[test]
fn a_version_is_taken_up_to_its_longest() {
    let version = |length: usize| format!("1.0.0-{}", letters(length - 6));
    assert!(parse_version(&version(16 * 1_024)).is_ok());
    assert!(parse_version(&version(16 * 1_024 + 1)).is_err());
    let build = |text: &str| parse_version(text).expect("a version");
    assert!(same_build(&build("1.0.0+a"), &build("2.0.0+a")));
    assert!(!same_build(&build("1.0.0+a"), &build("1.0.0+b")));
    assert!(!same_build(&build("1.0.0+a"), &build("1.0.0")));
}

#[test]
fn a_requirement_gives_back_its_text() {
    let requirement: VersionRequirement = " >= 1.0.0  or ~> 2.1-dev ".parse().expect("valid");
    assert_eq!(requirement.as_str(), " >= 1.0.0  or ~> 2.1-dev ");
    assert_eq!(requirement.to_string(), requirement.as_str());
    let stored = serde_json::to_string(&requirement).expect("a text");
    assert_eq!(stored, "\" >= 1.0.0  or ~> 2.1-dev \"");
}

#[test]
fn a_requirement_is_taken_up_to_its_longest_and_what_is_wrong_with_another_is_said() {
    let requirement = |length: usize| format!("== 1.0.0-{}", letters(length - 9));
    assert!(requirement(16 * 1_024).parse::<VersionRequirement>().is_ok());
    let blanks = |length: usize| format!("== 1.0.0{}", " ".repeat(length - 8));
    assert!(blanks(64 * 1_024).parse::<VersionRequirement>().is_ok());
    assert!(blanks(64 * 1_024 + 1).parse::<VersionRequirement>().is_err());
    let wrong = |text: &str| {
        text.parse::<VersionRequirement>().map_or_else(|error| error.to_string(), |_| String::new())
    };
    let or = wrong(">= 1.0.0 | < 0.5.0");
    assert!(or.contains("(join conditions by \"or\")"), "{or}");
    assert!(wrong(">= 1.0").contains("all three numbers"));
    let word = wrong(">= beta");
    assert!(!word.is_empty() && !word.contains("all three numbers"), "{word}");
}

#[test]
fn times_are_counted_in_milliseconds_and_shown_as_dates() {
    let time = Timestamp::from_millis(1_500);
    assert_eq!(time.as_millis(), 1_500);
    assert_eq!(time.since(Timestamp::from_millis(500)), Duration::from_secs(1));
    assert_eq!(time.since(Timestamp::from_millis(2_000)), Duration::ZERO);
    assert_eq!(time.to_string(), "1970-01-01T00:00:01.500Z");
    let date = chrono::DateTime::from_timestamp_millis(1_500).expect("a date");
    assert_eq!(Timestamp::from(date), time);
    assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), format!("{} ms", i64::MAX));
    let far = Timestamp::from_millis(i64::MAX) + Duration::from_secs(1);
    assert_eq!(far, Timestamp::from_millis(i64::MAX));
}

#[test]
fn an_http_status_says_whether_to_try_again() {
    let answer = |status| RequestAnswer::of_http_status(status, TransportError::new("told"));
    for status in [200, 201, 204, 299] {
        assert_eq!(answer(status), RequestAnswer::Accepted, "{status}");
    }
    for status in [100, 199, 300, 399, 401, 403, 408, 429, 500, 503, 599] {
        assert!(matches!(answer(status), RequestAnswer::Temporary(_)), "{status}");
    }
    for status in [400, 402, 404, 409, 422, 499] {
        assert!(matches!(answer(status), RequestAnswer::Permanent(_)), "{status}");
    }
}

#[test]
fn a_failure_keeps_its_reason_and_its_code() {
    let reported =
        |code: Option<StatusCode>| OperationFailure::Reported { code, message: String::new() };
    let rolled_back = OperationFailure::SystemRollback { version: None };
    for (failure, reason, code) in [
        (
            OperationFailure::RequestTimeout,
            FailureReason::RequestTimeout,
            Some(StatusCode::RequestTimeout),
        ),
        (OperationFailure::Stalled, FailureReason::Stalled, None),
        (
            OperationFailure::RequestRejected { detail: String::new() },
            FailureReason::RequestRejected,
            None,
        ),
        (reported(None), FailureReason::ReportedFailure, None),
        (reported(Some(StatusCode::IoError)), FailureReason::IoError, Some(StatusCode::IoError)),
        (
            reported(Some(StatusCode::Other("E7".to_owned()))),
            FailureReason::ReportedFailure,
            Some(StatusCode::Other("E7".to_owned())),
        ),
        (rolled_back.clone(), FailureReason::SystemRollback, Some(StatusCode::SystemRollback)),
        (
            OperationFailure::UpdateAlreadyInProgress,
            FailureReason::UpdateAlreadyInProgress,
            Some(StatusCode::UpdateAlreadyInProgress),
        ),
        (OperationFailure::DeviceRemoved, FailureReason::DeviceRemoved, None),
    ] {
        assert_eq!((failure.reason(), failure.status_code()), (reason, code), "{failure:?}");
        assert_eq!(failure.is_inferred(), failure == rolled_back, "{failure:?}");
    }
    assert_eq!(TargetFailure::DeviceRemoved.reason(), FailureReason::DeviceRemoved);
}

#[test]
fn a_refused_gate_is_the_reason_of_its_target() {
    let current = || "1.0.0".to_owned();
    for (refusal, reason, name) in [
        (GateRefusal::MissingVersion {}, FailureReason::MissingVersion, "missing_version"),
        (
            GateRefusal::InvalidVersion { current: current() },
            FailureReason::InvalidVersion,
            "invalid_version",
        ),
        (
            GateRefusal::DowngradeNotAllowed { current: current() },
            FailureReason::DowngradeNotAllowed,
            "downgrade_not_allowed",
        ),
        (
            GateRefusal::AmbiguousVersionOrdering { current: current() },
            FailureReason::AmbiguousVersionOrdering,
            "ambiguous_version_ordering",
        ),
        (
            GateRefusal::VersionRequirementNotMet { current: current() },
            FailureReason::VersionRequirementNotMet,
            "version_requirement_not_met",
        ),
    ] {
        assert_eq!(refusal.reason(), name);
        assert_eq!(reason.name(), name);
        assert_eq!(TargetFailure::Gate(refusal).reason(), reason);
    }
}

#[test]
fn every_code_of_the_interface_is_read_as_it_is_written() {
    for (wire, name, reason) in [
        ("RequestTimeout", "request_timeout", FailureReason::RequestTimeout),
        ("InvalidRequest", "invalid_request", FailureReason::InvalidRequest),
        (
            "UpdateAlreadyInProgress",
            "update_already_in_progress",
            FailureReason::UpdateAlreadyInProgress,
        ),
        ("NetworkError", "network_error", FailureReason::NetworkError),
        ("IOError", "io_error", FailureReason::IoError),
        ("InternalError", "internal_error", FailureReason::InternalError),
        ("InvalidBaseImage", "invalid_base_image", FailureReason::InvalidBaseImage),
        ("SystemRollback", "system_rollback", FailureReason::SystemRollback),
        ("Canceled", "canceled", FailureReason::Canceled),
        ("Strange", "other", FailureReason::ReportedFailure),
    ] {
        let code = StatusCode::from_wire(wire).expect("a code");
        assert_eq!((code.as_wire(), code.name()), (wire, name));
        assert_eq!(code.to_string(), wire);
        let failure = OperationFailure::Reported { code: Some(code), message: String::new() };
        assert_eq!(failure.reason(), reason, "{wire}");
        if name != "other" {
            assert_eq!(reason.name(), name);
        }
    }
    assert_eq!(StatusCode::from_wire(""), None);
    let long = StatusCode::from_wire(&letters(65)).expect("a code");
    assert_eq!(long.as_wire(), letters(64));
}

#[test]
fn statuses_are_named_in_snake_case() {
    let names = |statuses: &[CampaignStatus]| -> Vec<_> {
        statuses.iter().map(|status| status.name()).collect()
    };
    assert_eq!(
        names(&CampaignStatus::ALL),
        ["scheduled", "idle", "in_progress", "pausing", "paused", "finished", "deleted"]
    );
    let targets: Vec<_> = TargetStatus::ALL.iter().map(|status| status.name()).collect();
    assert_eq!(targets, ["idle", "in_progress", "successful", "failed", "cancelled"]);
    let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Cancelled, Outcome::Superseded];
    let outcomes: Vec<_> = outcomes.iter().map(|outcome| outcome.name()).collect();
    assert_eq!(outcomes, ["success", "failure", "cancelled", "superseded"]);
    let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.name()).collect();
    let expected = [
        "pending",
        "acknowledged",
        "downloading",
        "deploying",
        "deployed",
        "rebooting",
        "error",
        "success",
        "failure",
    ];
    assert_eq!(phases, expected);
    for (shown, name) in
        CampaignStatus::ALL.iter().map(|status| (status.to_string(), status.name()))
    {
        assert_eq!(shown, name);
    }
    assert_eq!(TargetStatus::Idle.to_string(), "idle");
    assert_eq!(Outcome::Superseded.to_string(), "superseded");
    assert_eq!(FailureReason::SystemRollback.to_string(), "system_rollback");
}

#[test]
fn a_manual_update_can_be_reconciled_if_it_changes_the_version() {
    let definition = |expected: Option<&str>, before: Option<&str>| ManualUpdateDefinition {
        request_id: RequestId::new("r").expect("an id"),
        device: DeviceId::from_bytes([1; 16]),
        url: "https://images.example/2".parse().expect("a URL"),
        expected_version: expected.map(|text| text.parse().expect("a version")),
        version_before: before.map(str::to_owned),
        limits: OperationLimits::default(),
    };
    for (expected, before, can) in [
        (Some("2.0.0"), Some("1.0.0"), true),
        (Some("2.0.0"), Some("2.0.0"), false),
        (Some("2.0.0+a"), Some("2.0.0+b"), true),
        (Some("2.0.0"), Some("no version"), true),
        (Some("2.0.0"), None, false),
        (None, Some("1.0.0"), false),
        (None, Some("no version"), false),
        (None, None, false),
    ] {
        let definition = definition(expected, before);
        assert_eq!(definition.can_be_reconciled(), can, "{expected:?} after {before:?}");
        assert_eq!(definition.request_id.as_str(), "r");
    }
}

#[test]
fn a_reason_to_wait_has_in_json_the_name_that_it_has_elsewhere_and_a_sentence_of_its_own() {
    let reasons = [
        HoldReason::Scheduled,
        HoldReason::SelectingTargets,
        HoldReason::Recovering,
        HoldReason::Paused,
        HoldReason::Ended,
        HoldReason::BackingOff,
        HoldReason::Offline,
        HoldReason::DeviceBusy,
        HoldReason::NoSlot,
        HoldReason::TransportDown,
    ];
    for reason in reasons {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        assert!(!reason.describe().is_empty());
    }
    let sentences: BTreeSet<_> = reasons.iter().map(|reason| reason.describe()).collect();
    assert_eq!(sentences.len(), reasons.len());
}
