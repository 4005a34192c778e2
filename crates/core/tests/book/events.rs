//! The event reference: every event with what its source says about it and a sample from its
//! golden file.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use serde_json::{Map, Value};

use super::check_part;
use super::shapes::{describe_all, describe_fields};
use super::source::{Member, find};

/// The longest sample that stays in one line.
const LONGEST_LINE: usize = 160;

/// When each event is recorded.
const RECORDED: &[(&str, &str)] = &[
    ("campaign_created", "Somebody creates a campaign. Always the first event of its stream."),
    ("campaign_edited", "Somebody edits a scheduled campaign."),
    ("campaign_deleted", "Somebody deletes a scheduled campaign."),
    (
        "snapshot_extended",
        "The campaign is due and the directory has answered: once for each chunk of devices.",
    ),
    ("campaign_started", "All devices of the snapshot are recorded."),
    ("campaign_pausing", "Somebody pauses a campaign that is in progress."),
    ("campaign_paused", "A campaign is pausing and the last operation in progress has ended."),
    ("campaign_resumed", "Somebody resumes a campaign that is pausing or paused."),
    ("limits_changed", "Somebody edits a campaign that is no longer scheduled."),
    (
        "campaign_finished",
        "Every target is final, the failure limit is exceeded, or somebody cancels or supersedes the campaign.",
    ),
    (
        "target_up_to_date",
        "A target's turn has come and its device shows the campaign's version and build already.",
    ),
    (
        "target_failed",
        "A target's turn has come and a gate refuses it, or its device is removed while it is idle.",
    ),
    ("attempt_deferred", "A target's turn has come and its version cannot be read for now."),
    (
        "operation_started",
        "A target's turn has come and its device has passed the gates; or the request of a deferred operation is due again. The request leaves once this is durable.",
    ),
    ("request_accepted", "The transport answers a request with success."),
    (
        "operation_deferred",
        "The transport answers the first request of an operation with a temporary error.",
    ),
    (
        "request_resent",
        "The request time-out has passed without a report, and a resend is left; or a resend that was kept back has its turn; or a device that came back has reported nothing for as long.",
    ),
    (
        "resend_kept_back",
        "The request time-out has passed without a report, a resend is left, and the device is offline.",
    ),
    ("resend_missed", "The same, in a finished campaign."),
    (
        "request_reissued",
        "After a restart of the engine, once the device is online and was looked at.",
    ),
    ("resend_failed", "The transport answers a resend with an error, temporary or permanent."),
    (
        "operation_reported",
        "A device reports something that moves its operation forward; for progress within a phase, at most once in each progress interval.",
    ),
    (
        "operation_readmitted",
        "A device reports about an operation that was deferred: the request had arrived after all, and a slot is free.",
    ),
    (
        "operation_refused",
        "A device answers the only request of an operation with `UpdateAlreadyInProgress`.",
    ),
    (
        "operation_succeeded",
        "A device reports success, or shows the campaign's image once it has settled.",
    ),
    (
        "operation_failed",
        "A device reports a failure, shows another image too long after it restarted, is removed, or a time-out has passed with no resend left; or the transport refuses its request for good.",
    ),
    (
        "policy_fact_recorded",
        "Something happens that a policy of the rollout goes by: the user of a device has answered, or the time to answer is over.",
    ),
    ("cancel_sent", "The transport answers a Cancel request."),
    (
        "contradiction_seen",
        "A target is final, its device connects or its base image changes, and what it shows then does not agree. Only the first is.",
    ),
    ("late_report_received", "A device reports about an operation that has ended."),
    ("manual_started", "Somebody starts a manual update. Always the first event of its stream."),
    ("manual_request_accepted", "The transport answers a request with success."),
    (
        "manual_request_failed",
        "The transport answers the first request with a temporary error, or a resend with any error.",
    ),
    (
        "manual_request_resent",
        "The request time-out has passed without a report, and a resend is left.",
    ),
    ("manual_resend_kept_back", "The same, while the device is offline."),
    (
        "manual_request_reissued",
        "After a restart of the engine, once the device is online and was looked at.",
    ),
    ("manual_reported", "The device reports something that moves the operation forward."),
    ("manual_cancel_requested", "Somebody cancels the update."),
    ("manual_cancel_sent", "The transport answers the Cancel request."),
    ("manual_succeeded", "The device reports success, or shows the expected version."),
    (
        "manual_failed",
        "The device reports a failure, shows another version too long after it restarted, is removed, or a time-out has passed with no resend left; or the transport refuses the request for good.",
    ),
    ("manual_late_report", "The device reports after the end."),
];

#[test]
fn the_event_reference_has_every_event_as_the_golden_files_have_it() {
    let campaign = find(include_str!("../../src/event/campaign.rs"), "CampaignEvent;").inner;
    let manual = find(include_str!("../../src/event/manual.rs"), "ManualUpdateEvent;").inner;
    check_part("events.md", "campaign events", &describe(&campaign, CampaignEvent::TYPES));
    check_part("events.md", "manual update events", &describe(&manual, ManualUpdateEvent::TYPES));
    check_part("events.md", "shapes", &describe_all());
}

fn describe(events: &[Member], types: &[(&str, u16)]) -> String {
    assert_eq!(events.len(), types.len(), "the source has every event type");
    let mut text = String::new();
    for (event, (event_type, schema)) in events.iter().zip(types) {
        // A policy's facts say themselves which schema they have.
        let heads = [schema.to_string(), "PolicyFact::SCHEMA".to_owned()]
            .map(|schema| format!(" = \"{event_type}\", schema {schema} {{"));
        let is_found = heads.iter().any(|head| event.rest.starts_with(head));
        assert!(is_found, "{event_type} is {:?} in the source", event.rest);
        let samples = golden(event_type, *schema);
        check_fields(event_type, &event.inner, &samples);
        let recorded = RECORDED.iter().find(|(known, _)| known == event_type);
        let (_, recorded) =
            recorded.unwrap_or_else(|| panic!("RECORDED does not say when {event_type} is"));
        let older = if *schema > 1 { "; older ones are read too" } else { "" };
        let _ = write!(text, "### {event_type}\n\n{}\n\n", event.docs);
        let _ = write!(text, "*Recorded when:* {recorded}\n\n*Schema:* {schema}{older}.\n\n");
        let fields = describe_fields(&event.inner);
        text += if fields.is_empty() { "It has no fields.\n" } else { &fields };
        text += "\n```json\n";
        for sample in &samples {
            text += &broken(sample);
            text.push('\n');
        }
        text += "```\n\n";
    }
    text
}

/// A long JSON text over several lines, its fields in the order in which they are stored.
fn broken(json: &str) -> String {
    if json.len() <= LONGEST_LINE {
        return json.to_owned();
    }
    let mut text = String::new();
    let (mut depth, mut inside_text) = (0, false);
    for character in json.chars() {
        // No golden file has a quotation mark within a text.
        inside_text ^= character == '"';
        if !inside_text && character == '}' {
            depth -= 1;
            let _ = write!(text, "\n{}", "  ".repeat(depth));
        }
        text.push(character);
        if !inside_text && character == '{' {
            depth += 1;
        }
        if !inside_text && (character == '{' || character == ',') {
            let _ = write!(text, "\n{}", "  ".repeat(depth));
        }
        if !inside_text && character == ':' {
            text.push(' ');
        }
    }
    assert_eq!(
        serde_json::from_str::<Value>(&text).ok(),
        serde_json::from_str::<Value>(json).ok(),
        "only blanks were added"
    );
    text
}

/// The payloads in an event's golden file.
fn golden(event_type: &str, schema: u16) -> Vec<String> {
    let file = format!("tests/snapshots/golden_events__{event_type}.snap");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{event_type} has no golden file: {error}"));
    let text = text.splitn(3, "---\n").nth(2).expect("a snapshot of insta").to_owned();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(&*format!("{event_type}, schema {schema}")));
    lines.map(str::to_owned).collect()
}

/// The source and the samples must agree about which fields there are.
fn check_fields(event_type: &str, fields: &[Member], samples: &[String]) {
    let documented: BTreeSet<_> = fields.iter().map(|field| field.name.clone()).collect();
    let stored: BTreeSet<_> = samples
        .iter()
        .map(|sample| serde_json::from_str::<Map<String, Value>>(sample).expect("a JSON object"))
        .flat_map(|sample| sample.into_iter().map(|(name, _)| name))
        .collect();
    assert_eq!(documented, stored, "the fields of {event_type}");
    assert!(fields.iter().all(|field| !field.docs.is_empty()), "of {event_type}: undocumented");
}
