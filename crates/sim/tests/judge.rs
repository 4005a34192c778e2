//! The judge against small logs with planted errors: one at least for every invariant and for
//! every key that an expectation can have, each beside the log without the error.

use hedgerow_sim::scenario::format::Scenario;
use hedgerow_sim::scenario::judge::{Rule, Strictness, Verdict, judge_foreign};
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

fn cancel_request(at_ms: i64, device: &str, operation: &str) -> Value {
    json!({"at_ms": at_ms, "kind": "cancel_request", "campaign": "c1", "device": device,
        "operation": operation, "result": "ok"})
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

// The places of entries in the log above.
const SNAPSHOT: usize = 1;
const STARTED: usize = 4;
const D1_PENDING: usize = 8;
const D1_ENDS: usize = 9;
const D2_IN_PROGRESS: usize = 11;
const D2_REQUEST: usize = 12;
const D2_PENDING: usize = 13;
const D2_AGAIN: usize = 14;
const D2_SETTLED: usize = 17;
const FINISHED: usize = 18;

fn verdict(scenario: &Value, log: &[Value], strictness: Strictness) -> Verdict {
    let scenario = Scenario::from_value(scenario).expect("a scenario");
    let observation = json!({"format": "ota-campaign-observation/1", "scenario": "planted",
        "engine": "none", "log": log});
    judge_foreign(&scenario, &observation, strictness)
}

fn rules(verdict: &Verdict) -> Vec<String> {
    let mut rules: Vec<String> = verdict.failures.iter().map(|f| f.rule.to_string()).collect();
    rules.dedup();
    rules
}

type Plant = fn(&mut Value, &mut Vec<Value>);

#[test]
fn a_log_without_errors_passes() {
    assert_eq!(rules(&verdict(&scenario(), &log(), Strictness::Strict)), Vec::<String>::new());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_invariant_is_watched() {
    let planted: &[(u8, &str, Plant)] = &[
        (0, "an entry comes late", |_, log| log.swap(D2_PENDING, D2_AGAIN)),
        (0, "the log goes on after the end", |scenario, _| {
            scenario["run_until_ms"] = json!(69_999);
        }),
        (1, "the snapshot is taken twice", |_, log| log.insert(STARTED, log[SNAPSHOT].clone())),
        (1, "a device is in the snapshot twice", |_, log| {
            log[SNAPSHOT]["devices"] = json!(["d1", "d2", "d1"]);
        }),
        (1, "a target is outside the snapshot", |_, log| log[SNAPSHOT]["devices"] = json!(["d1"])),
        (2, "the campaign is idle again", |_, log| {
            log.insert(STARTED + 1, campaign(0, "in_progress", None));
            log.insert(STARTED + 1, campaign(0, "idle", None));
        }),
        (3, "a finished campaign changes", |_, log| {
            log.push(campaign(70_000, "finished", Some("cancelled")));
        }),
        (3, "a running campaign has an outcome", |_, log| {
            log[STARTED]["outcome"] = "success".into();
        }),
        (4, "success with an open target", |_, log| {
            log.remove(D2_SETTLED);
        }),
        (4, "success beyond the limit", |scenario, log| {
            scenario["campaigns"][0]["rollout"]["max_failure_percentage"] = json!(49.999);
            log[D2_SETTLED]["status"] = json!("failed");
        }),
        (4, "failure within the limit", |_, log| {
            log[D2_SETTLED]["status"] = json!("failed");
            log[FINISHED]["outcome"] = json!("failure");
        }),
        (5, "a settled target changes", |_, log| {
            log.insert(FINISHED, target(70_000, "d1", "failed", 0));
        }),
        (5, "an open target is idle again", |_, log| {
            log.insert(D1_ENDS, target(0, "d1", "in_progress", 0));
            log.insert(D1_ENDS, target(0, "d1", "idle", 0));
        }),
        (5, "a target is cancelled in a campaign that was not", |_, log| {
            log.push(target(70_000, "d2", "cancelled", 1));
        }),
        (6, "too many targets are in progress", |_, log| {
            let entry = log.remove(D2_IN_PROGRESS);
            log.insert(D1_ENDS, entry);
            log[D1_ENDS]["at_ms"] = json!(0);
        }),
        (6, "too many operations are open", |_, log| {
            let entry = log.remove(D2_REQUEST);
            log.insert(D1_ENDS, entry);
            log[D1_ENDS]["at_ms"] = json!(0);
        }),
        (7, "a settled target gets a request", |_, log| {
            log.insert(FINISHED, request(70_000, "d1", "op1", "ok"));
        }),
        (8, "a target gets a second operation", |_, log| {
            log[D2_AGAIN]["operation"] = json!("op3");
            log.insert(D2_AGAIN, operation(50_000, "d2", "op2", "failure", Some("io_error")));
        }),
        (8, "a target gets more operations than retries allow", |scenario, log| {
            scenario["campaigns"][0]["rollout"]["request_retries"] = json!(0);
            log[D2_AGAIN]["operation"] = json!("op3");
            let code = Some("update_already_in_progress");
            log.insert(D2_AGAIN, operation(50_000, "d2", "op2", "failure", code));
        }),
        (9, "an operation is requested too often", |scenario, _| {
            scenario["campaigns"][0]["rollout"]["request_retries"] = json!(0);
        }),
        (10, "requests come before the campaign starts", |_, log| {
            log.remove(STARTED);
        }),
        (11, "a device that is offline gets a request", |scenario, _| {
            scenario["fleet"]["devices"][1]["online"] = json!(false);
        }),
        (11, "a device that has gone offline gets a request", |scenario, _| {
            let stimulus = json!({"at_ms": 999, "do": "device", "device": "d2",
                "set": {"online": false}});
            scenario["stimuli"].as_array_mut().expect("a list").push(stimulus);
        }),
        (12, "two requests come in one instant", |_, log| log[D2_AGAIN]["at_ms"] = json!(1_000)),
        (12, "requests come in a busy loop", |_, log| {
            for at in [D2_REQUEST, D2_PENDING] {
                log[at]["at_ms"] = json!(2_000);
            }
            for time in (1_000..=1_025).rev() {
                log.insert(D2_REQUEST, request(time, "d2", "op2", "error"));
            }
        }),
        (13, "a device gets an operation of another campaign meanwhile", |_, log| {
            let mut other = request(30_000, "d2", "op9", "ok");
            other["campaign"] = json!("c2");
            log.insert(D2_AGAIN, other);
        }),
        (14, "a Cancel request nobody asked for", |_, log| {
            log.insert(D1_ENDS, cancel_request(500, "d1", "op1"));
        }),
        (14, "a Cancel request for an operation that has ended", |scenario, log| {
            let stimulus = json!({"at_ms": 500, "do": "cancel", "campaign": "c1",
                "stop_operations": true});
            scenario["stimuli"].as_array_mut().expect("a list").push(stimulus);
            log.insert(D1_ENDS + 1, cancel_request(1_000, "d1", "op1"));
        }),
    ];
    for (invariant, name, plant) in planted {
        let (mut scenario, mut log) = (scenario(), log());
        plant(&mut scenario, &mut log);
        let verdict = verdict(&scenario, &log, Strictness::Lenient);
        // Every plant breaks its own rule and no other.
        assert_eq!(rules(&verdict), [format!("I{invariant}")], "{name}: {:?}", verdict.failures);
        assert!(verdict.failures.iter().all(|finding| !finding.entries.is_empty()), "{name}");
        assert!(verdict.failures.iter().all(|finding| finding.at_ms.is_some()), "{name}");
    }
    for invariant in 0..=14 {
        assert!(planted.iter().any(|(number, ..)| *number == invariant), "I{invariant}");
    }
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
fn percentages_are_compared_exactly() {
    let mut log = log();
    log[SNAPSHOT]["devices"] = json!(["d1", "d2", "d3"]);
    log[D2_SETTLED]["status"] = json!("failed");
    log.insert(SNAPSHOT + 1, target(0, "d3", "successful", 0));
    let mut scenario = scenario();
    // One of three is 33.3… per cent: more than the first of these, less than the second.
    for (limit, passes) in [(33.333_333_333_333_33, false), (33.333_333_333_333_336, true)] {
        scenario["campaigns"][0]["rollout"]["max_failure_percentage"] = json!(limit);
        assert_eq!(verdict(&scenario, &log, Strictness::Lenient).passes(), passes, "{limit}");
    }
}

#[test]
fn a_log_that_lacks_what_a_check_needs_is_unusable() {
    let mut log = log();
    log[D1_PENDING].as_object_mut().expect("an object").remove("operation");
    let verdict = verdict(&scenario(), &log, Strictness::Lenient);
    assert_eq!(verdict.failures.last().map(|finding| &finding.rule), Some(&Rule::Usable));
}

#[test]
fn a_skipped_scenario_is_not_judged() {
    let scenario = Scenario::from_value(&scenario()).expect("a scenario");
    let skipped = json!({"format": "ota-campaign-observation/1", "skipped": "no clocks"});
    let verdict = judge_foreign(&scenario, &skipped, Strictness::Lenient);
    assert_eq!(verdict.skipped.as_deref(), Some("no clocks"));
    assert!(!verdict.passes() && verdict.failures.is_empty());
}

#[test]
fn a_verdict_shows_the_log_around_each_finding() {
    let mut log = log();
    log.insert(FINISHED, request(70_000, "d1", "op1", "ok"));
    let text = verdict(&scenario(), &log, Strictness::Lenient)
        .render_foreign(&json!({"scenario": "planted", "log": log}));
    assert!(text.starts_with("planted: fail, 1 findings"), "{text}");
    assert!(
        text.contains("I7 of c1 at 70000 ms: expected no request to a settled target"),
        "{text}"
    );
    assert!(text.contains("rule: a settled target gets no request"), "{text}");
    assert!(text.contains(">    18     70000 ms request"), "{text}");
    assert!(text.contains("     19     70000 ms campaign"), "{text}");
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
    assert_eq!(number, 74);
}
