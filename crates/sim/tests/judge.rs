//! The judge against a small log: every key that an expectation can have, once as the log has it and
//! once otherwise; and against runs in which a rule was broken.

use std::sync::Arc;

use futures::future::BoxFuture;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{AppendError, EventStore, StoreLayer, StreamAppend};
use hedgerow_sim::scenario::format::Scenario;
use hedgerow_sim::scenario::judge::{Rule, Strictness, Verdict, compare, judge};
use hedgerow_sim::scenario::runner::run;
use hedgerow_sim::simulate::Invariant;
use serde_json::{Value, json};

fn scenario() -> Value {
    json!({
        "format": "ota-campaign-scenario/1", "id": "planted",
        "fleet": {"devices": [{"id": "d1"}, {"id": "d2"}]},
        "campaigns": [{"id": "c1", "rollout": {
            "max_failure_percentage": 50, "max_in_progress_operations": 1, "request_retries": 1,
        }}],
        "stimuli": [{"at_ms": 0, "do": "create_campaign", "campaign": "c1"}],
        "run_until_ms": 100_000,
        "expect": {},
    })
}

fn campaign(at_ms: i64, status: &str, outcome: Option<&str>) -> Value {
    json!({"at_ms": at_ms, "kind": "campaign", "campaign": "c1", "status": status,
        "outcome": outcome})
}

fn target(at_ms: i64, device: &str, status: &str, retry_count: u32) -> Value {
    json!({"at_ms": at_ms, "kind": "target", "campaign": "c1", "device": device, "status": status,
        "retry_count": retry_count})
}

fn request(at_ms: i64, device: &str, operation: &str, result: &str) -> Value {
    json!({"at_ms": at_ms, "kind": "request", "campaign": "c1", "device": device,
        "operation": operation, "result": result})
}

fn operation(at_ms: i64, device: &str, id: &str, status: &str, code: Option<&str>) -> Value {
    json!({"at_ms": at_ms, "kind": "operation", "campaign": "c1", "device": device,
        "operation": id, "status": status, "status_code": code, "inferred": false})
}

/// A log without any error: d1 succeeds at once, d2 after a second request.
fn log() -> Vec<Value> {
    vec![
        campaign(0, "idle", None),
        json!({"at_ms": 0, "kind": "snapshot", "campaign": "c1", "devices": ["d1", "d2"]}),
        target(0, "d1", "idle", 0),
        target(0, "d2", "idle", 0),
        campaign(0, "in_progress", None),
        json!({"at_ms": 0, "kind": "command", "stimulus": 0, "command": "create_campaign",
            "campaign": "c1", "result": "ok"}),
        target(0, "d1", "in_progress", 0),
        request(0, "d1", "op1", "ok"),
        operation(0, "d1", "op1", "pending", None),
        operation(1_000, "d1", "op1", "success", None),
        target(1_000, "d1", "successful", 0),
        target(1_000, "d2", "in_progress", 0),
        request(1_000, "d2", "op2", "ok"),
        operation(1_000, "d2", "op2", "pending", None),
        request(60_000, "d2", "op2", "ok"),
        target(60_000, "d2", "in_progress", 1),
        operation(70_000, "d2", "op2", "success", None),
        target(70_000, "d2", "successful", 1),
        campaign(70_000, "finished", Some("success")),
    ]
}

/// The place of an entry in the log above.
const D1_REQUEST: usize = 7;

fn verdict(scenario: &Value, log: &[Value], strictness: Strictness) -> Verdict {
    let scenario = Scenario::from_value(scenario).expect("a scenario");
    compare(&scenario, log, strictness)
}

fn rules(verdict: &Verdict) -> Vec<String> {
    let mut rules: Vec<String> = verdict.failures.iter().map(|f| f.rule.to_string()).collect();
    rules.dedup();
    rules
}

#[test]
fn a_log_without_errors_passes() {
    assert_eq!(rules(&verdict(&scenario(), &log(), Strictness::Strict)), Vec::<String>::new());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_expectation_of_a_campaign_is_compared() {
    // What is expected, once as the log has it and once otherwise, and the finding of the latter.
    let table = [
        (
            json!({"final": {"status": "finished"}}),
            json!({"final": {"status": "paused"}}),
            "final: status",
        ),
        (
            json!({"final": {"outcome": ["failure", "success"]}}),
            json!({"final": {"outcome": ["failure", null]}}),
            "final: outcome",
        ),
        (
            json!({"final": {"counts": {"total": 2, "successful": {"min": 1, "max": 2}}}}),
            json!({"final": {"counts": {"total": 2, "successful": {"min": 3}}}}),
            "final: count of successful",
        ),
        (
            json!({"final": {"counts": {"failed": 0}}}),
            json!({"final": {"counts": {"failed": 1}}}),
            "final: count of failed",
        ),
        (
            json!({"final": {"targets": {"d1": "successful"}}}),
            json!({"final": {"targets": {"d1": "failed"}}}),
            "final: target d1 status",
        ),
        (
            json!({"final": {"targets": {"d2": {"retry_count": 1}}}}),
            json!({"final": {"targets": {"d2": {"retry_count": 0}}}}),
            "final: target d2 retry_count",
        ),
        (
            json!({"final": {"targets": {"d2": {"reason": null}}}}),
            json!({"final": {"targets": {"d2": {"reason": "stalled"}}}}),
            "final: target d2 reason",
        ),
        (
            json!({"final": {"operations": {"d1": "success"}}}),
            json!({"final": {"operations": {"d1": null}}}),
            "final: operation of d1",
        ),
        (
            json!({"final": {"operations": {"d9": null}}}),
            json!({"final": {"operations": {"d9": "success"}}}),
            "final: operation of d9 status",
        ),
        (
            json!({"final": {"operations": {"d1": {"status_code": null}}}}),
            json!({"final": {"operations": {"d1": {"status_code": "other"}}}}),
            "final: operation of d1 status_code",
        ),
        (
            json!({"final": {"operations": {"d1": {"inferred": false}}}}),
            json!({"final": {"operations": {"d1": {"inferred": true}}}}),
            "final: operation of d1 inferred",
        ),
        (
            json!({"checkpoints": [{"at_ms": 999, "operations": {"d1": "pending"}}]}),
            json!({"checkpoints": [{"at_ms": 1_000, "operations": {"d1": "pending"}}]}),
            "checkpoint at 1000 ms: operation of d1 status",
        ),
        (json!({"snapshot": ["d2", "d1"]}), json!({"snapshot": ["d1"]}), "snapshot"),
        (
            json!({"status_path": ["in_progress", "finished"]}),
            json!({"status_path": ["idle", "in_progress", "finished"]}),
            "status_path",
        ),
        (
            json!({"finish_ms": [70_000, 70_000]}),
            json!({"finish_ms": [70_001, 80_000]}),
            "finish_ms",
        ),
        (
            json!({"requests": {"total": 3}}),
            json!({"requests": {"total": {"max": 2}}}),
            "requests.total",
        ),
        (
            json!({"requests": {"by": [{"at_ms": 59_999, "total": 2}]}}),
            json!({"requests": {"by": [{"at_ms": 60_000, "total": 2}]}}),
            "requests by 60000 ms",
        ),
        (
            json!({"requests": {"per_device": {"d2": 2}}}),
            json!({"requests": {"per_device": {"d2": 1}}}),
            "requests.per_device.d2.total",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"total": {"min": 2}}}}}),
            json!({"requests": {"per_device": {"d2": {"total": {"min": 3}}}}}),
            "requests.per_device.d2.total",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"ok": 2}}}}),
            json!({"requests": {"per_device": {"d2": {"ok": 1}}}}),
            "requests.per_device.d2.ok",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"times": [[1_000, 1_000], [0, 60_000]]}}}}),
            json!({"requests": {"per_device": {"d2": {"times": [[0, 9_000], [0, 59_999]]}}}}),
            "requests.per_device.d2.times[1]",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"gaps": [[59_000, 59_000]]}}}}),
            json!({"requests": {"per_device": {"d2": {"gaps": [[60_000, 60_000]]}}}}),
            "requests.per_device.d2.gaps[0]",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"one_operation": true}}}}),
            json!({"requests": {"per_device": {"d9": {"one_operation": true}}}}),
            "requests.per_device.d9.one_operation",
        ),
        (
            json!({"requests": {"per_device": {"d2": {"operations": {"min": 1, "max": 1}}}}}),
            json!({"requests": {"per_device": {"d2": {"operations": {"min": 2}}}}}),
            "requests.per_device.d2.operations",
        ),
        (
            json!({"requests": {"first_order": [["d1", "d2"]]}}),
            json!({"requests": {"first_order": [["d2", "d1"]]}}),
            "requests.first_order",
        ),
        (
            json!({"requests": {"ok_order": [["d1", "d2"]]}}),
            json!({"requests": {"ok_order": [["d1", "d9"]]}}),
            "requests.ok_order",
        ),
        (
            json!({"cancel_requests": {"d1": 0}}),
            json!({"cancel_requests": {"d1": {"min": 1}}}),
            "cancel_requests: d1",
        ),
    ];
    for (right, wrong, finding) in table {
        let mut scenario = scenario();
        scenario["expect"] = json!({"campaigns": {"c1": right}});
        let nothing = rules(&verdict(&scenario, &log(), Strictness::Lenient));
        assert_eq!(nothing, Vec::<String>::new(), "{right}");
        scenario["expect"] = json!({"campaigns": {"c1": wrong}});
        assert_eq!(rules(&verdict(&scenario, &log(), Strictness::Lenient)), [finding]);
    }
}

#[test]
fn commands_are_compared_and_fields_only_if_the_log_has_them() {
    let mut scenario = scenario();
    scenario["expect"] = json!({"commands": {"0": {"result": "ok", "field": "name"}}});
    let mut log = log();
    assert!(verdict(&scenario, &log, Strictness::Lenient).passes());
    log[5]["field"] = json!("rollout");
    assert_eq!(rules(&verdict(&scenario, &log, Strictness::Lenient)), ["command 0: field"]);
    scenario["expect"] = json!({"commands": {"0": "error"}});
    assert_eq!(rules(&verdict(&scenario, &log, Strictness::Lenient)), ["command 0: result"]);
    scenario["expect"] = json!({"commands": {"7": "ok"}});
    assert_eq!(rules(&verdict(&scenario, &log, Strictness::Lenient)), ["command 7: result"]);
}

#[test]
fn soft_expectations_fail_only_a_strict_judge() {
    let mut scenario = scenario();
    scenario["expect"] = json!({"soft": {"campaigns": {"c1": {"requests": {"total": 2}}}}});
    let lenient = verdict(&scenario, &log(), Strictness::Lenient);
    assert!(lenient.passes());
    assert_eq!(lenient.soft.len(), 1);
    let strict = verdict(&scenario, &log(), Strictness::Strict);
    assert_eq!(rules(&strict), ["requests.total"]);
}

#[test]
fn a_log_that_lacks_what_a_check_needs_is_unusable() {
    let mut scenario = scenario();
    scenario["expect"] = json!({"campaigns": {"c1": {"requests": {"per_device": {"d1": 1}}}}});
    let mut log = log();
    log[D1_REQUEST].as_object_mut().expect("an object").remove("device");
    let verdict = verdict(&scenario, &log, Strictness::Lenient);
    assert_eq!(verdict.failures.last().map(|finding| &finding.rule), Some(&Rule::Usable));
}

#[test]
fn a_verdict_shows_the_log_around_each_finding() {
    let mut scenario = scenario();
    scenario["expect"] = json!({"campaigns": {"c1": {"finish_ms": [0, 0]}}});
    let log = log();
    let text = verdict(&scenario, &log, Strictness::Lenient).render("planted", &log);
    assert!(text.starts_with("planted: fail, 1 findings"), "{text}");
    assert!(text.contains("finish_ms of c1 at 70000 ms: expected [0,0], seen 70000"), "{text}");
    assert!(text.contains(">    18     70000 ms campaign"), "{text}");
    assert!(text.contains("     17     70000 ms target"), "{text}");
}

/// A store that keeps no claims.
#[derive(Clone, Default)]
struct WithoutClaims(MemoryStore);

impl StoreLayer for WithoutClaims {
    fn inner(&self) -> &dyn EventStore {
        &self.0
    }

    fn append(&self, mut batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        for append in &mut batch {
            append.claims_taken.clear();
        }
        self.0.append(batch)
    }
}

#[test]
fn a_run_whose_store_does_not_stand_up_to_an_audit_fails() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios/i03-restart-with-acknowledged.json");
    let mut scenario = Scenario::read(std::fs::read(file).expect("a file")).expect("a scenario");
    // It is over while the operations are under way.
    scenario.run_until_ms = 1_000;
    scenario.expect = None;
    let played = run(&scenario, Arc::new(MemoryStore::new())).expect("it ends");
    assert!(judge(&scenario, &played, Strictness::Strict).passes());
    let played = run(&scenario, Arc::new(WithoutClaims::default())).expect("it ends");
    assert_eq!(played.violation, None, "the judge who looks on does not see the store");
    let verdict = judge(&scenario, &played, Strictness::Strict);
    assert_eq!(verdict.failures[0].rule, Rule::Invariant(Invariant::Claims));
    let text = verdict.render(&scenario.id, &played.log);
    assert!(text.contains("claims (E5) of c1"), "{text}");
    assert!(text.contains("rule: The store's claims are those of"), "{text}");
}

#[test]
fn every_scenario_file_is_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut number = 0;
    for file in std::fs::read_dir(folder).expect("the scenarios") {
        let path = file.expect("an entry").path();
        let text = std::fs::read(&path).expect("a file");
        if let Err(error) = Scenario::read(text) {
            panic!("{}: {error}", path.display());
        }
        number += 1;
    }
    assert_eq!(number, 76);
}
