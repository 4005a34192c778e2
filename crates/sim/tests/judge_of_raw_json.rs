//! The judge of raw JSON: for every invariant and every key of an expectation, a pair of scenario
//! and observation that passes and the same pair with one planted error, which must be found under
//! the right rule.

use hedgerow_sim::judge::{Strictness, Verdict, judge};
use serde_json::{Value, json};

/// Two devices, two slots, and a campaign that brings both of them to success; d2 needs a second
/// request.
fn scenario() -> Value {
    json!({
        "format": "ota-campaign-scenario/1", "id": "planted",
        "fleet": {"devices": [
            {"id": "d1", "online": true}, {"id": "d2", "online": true}, {"id": "d3", "online": false},
        ]},
        "campaigns": [{"id": "c1", "rollout": {
            "max_failure_percentage": 50, "max_in_progress_operations": 2, "request_retries": 1,
        }}],
        "stimuli": [
            {"at_ms": 0, "do": "create_campaign", "campaign": "c1"},
            {"at_ms": 90_000, "do": "cancel", "campaign": "c1", "stop_operations": true},
        ],
        "run_until_ms": 100_000,
        "expect": {},
    })
}

fn observation() -> Value {
    json!({"format": "ota-campaign-observation/1", "scenario": "planted", "engine": "test 1", "log": [
        {"at_ms": 0, "kind": "campaign", "campaign": "c1", "status": "idle", "outcome": null},
        {"at_ms": 0, "kind": "snapshot", "campaign": "c1", "devices": ["d1", "d2"]},
        {"at_ms": 0, "kind": "target", "campaign": "c1", "device": "d1", "status": "idle", "retry_count": 0},
        {"at_ms": 0, "kind": "target", "campaign": "c1", "device": "d2", "status": "idle", "retry_count": 0},
        {"at_ms": 0, "kind": "campaign", "campaign": "c1", "status": "in_progress", "outcome": null},
        {"at_ms": 0, "kind": "command", "stimulus": 0, "command": "create_campaign", "campaign": "c1", "result": "ok"},
        {"at_ms": 0, "kind": "target", "campaign": "c1", "device": "d1", "status": "in_progress", "retry_count": 0},
        {"at_ms": 0, "kind": "request", "campaign": "c1", "device": "d1", "operation": "o1", "result": "ok"},
        {"at_ms": 0, "kind": "operation", "campaign": "c1", "device": "d1", "operation": "o1", "status": "pending", "status_code": null},
        {"at_ms": 0, "kind": "target", "campaign": "c1", "device": "d2", "status": "in_progress", "retry_count": 0},
        {"at_ms": 0, "kind": "request", "campaign": "c1", "device": "d2", "operation": "o2", "result": "ok"},
        {"at_ms": 0, "kind": "operation", "campaign": "c1", "device": "d2", "operation": "o2", "status": "pending", "status_code": null},
        {"at_ms": 1_000, "kind": "operation", "campaign": "c1", "device": "d1", "operation": "o1", "status": "success", "status_code": null},
        {"at_ms": 1_000, "kind": "target", "campaign": "c1", "device": "d1", "status": "successful", "retry_count": 0},
        {"at_ms": 60_000, "kind": "request", "campaign": "c1", "device": "d2", "operation": "o2", "result": "ok"},
        {"at_ms": 60_000, "kind": "target", "campaign": "c1", "device": "d2", "status": "in_progress", "retry_count": 1},
        {"at_ms": 70_000, "kind": "operation", "campaign": "c1", "device": "d2", "operation": "o2", "status": "success", "status_code": null},
        {"at_ms": 70_000, "kind": "target", "campaign": "c1", "device": "d2", "status": "successful", "retry_count": 1},
        {"at_ms": 70_000, "kind": "campaign", "campaign": "c1", "status": "finished", "outcome": "success"},
        {"at_ms": 90_000, "kind": "command", "stimulus": 1, "command": "cancel", "campaign": "c1", "result": "error", "field": "status"},
    ]})
}

// The places of entries in the log above.
const SNAPSHOT: usize = 1;
const STARTED: usize = 4;
const D1_REQUEST: usize = 7;
const D2_IN_PROGRESS: usize = 9;
const D2_REQUEST: usize = 10;
const D1_SUCCESS: usize = 12;
const D2_AGAIN: usize = 14;
const D2_ENDS: usize = 16;
const D2_SUCCESSFUL: usize = 17;
const FINISHED: usize = 18;

type Change = fn(&mut Value, &mut Vec<Value>);

fn changed(change: Change) -> (Value, Value) {
    let (mut scenario, mut observation) = (scenario(), observation());
    change(&mut scenario, observation["log"].as_array_mut().expect("a log"));
    (scenario, observation)
}

fn rules(verdict: &Verdict) -> Vec<&str> {
    verdict.failures.iter().map(|finding| finding.rule.as_str()).collect()
}

fn request(at_ms: i64, device: &str, operation: &str) -> Value {
    json!({"at_ms": at_ms, "kind": "request", "campaign": "c1", "device": device,
        "operation": operation, "result": "ok"})
}

fn cancel_request(at_ms: i64, device: &str, operation: &str) -> Value {
    json!({"at_ms": at_ms, "kind": "cancel_request", "campaign": "c1", "device": device,
        "operation": operation, "result": "ok"})
}

fn target(at_ms: i64, device: &str, status: &str) -> Value {
    json!({"at_ms": at_ms, "kind": "target", "campaign": "c1", "device": device, "status": status})
}

fn set_limit(scenario: &mut Value, key: &str, value: Value) {
    scenario["campaigns"][0]["rollout"][key] = value;
}

/// Adds a second campaign, so that two of them can meet on a device.
fn add_campaign(scenario: &mut Value) {
    let mut second = scenario["campaigns"][0].clone();
    second["id"] = json!("c2");
    scenario["campaigns"].as_array_mut().expect("campaigns").push(second);
}

#[test]
fn a_log_without_errors_passes() {
    let verdict = judge(&scenario(), &observation(), Strictness::Strict);
    assert!(verdict.passed(), "{}", verdict.render(&observation()));
    assert!(verdict.soft.is_empty());
    assert_eq!(verdict.render(&observation()), "passed\n");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_invariant_is_found_broken_under_its_own_number() {
    let table: &[(&str, &str, Change)] = &[
        ("I0", "the log goes back in time", |_, log| log[D1_SUCCESS]["at_ms"] = json!(-5)),
        ("I0", "an entry after the end", |scenario, _| scenario["run_until_ms"] = json!(89_999)),
        ("I1", "a second snapshot", |_, log| log.insert(SNAPSHOT, log[SNAPSHOT].clone())),
        ("I1", "a device twice in the snapshot", |_, log| {
            log[SNAPSHOT]["devices"] = json!(["d1", "d2", "d2"]);
        }),
        ("I1", "a target outside the snapshot", |_, log| log[SNAPSHOT]["devices"] = json!(["d1"])),
        ("I2", "from idle to paused", |_, log| {
            let mut paused = log[STARTED].clone();
            paused["status"] = json!("paused");
            log.insert(STARTED, paused);
        }),
        ("I3", "finished twice with different outcomes", |_, log| {
            let mut again = log[FINISHED].clone();
            again["outcome"] = json!("cancelled");
            log.insert(FINISHED + 1, again);
        }),
        ("I3", "finished without an outcome", |_, log| log[FINISHED]["outcome"] = Value::Null),
        ("I3", "an outcome before the end", |_, log| log[STARTED]["outcome"] = json!("success")),
        ("I4", "success with an open target", |_, log| {
            log.remove(D2_SUCCESSFUL);
        }),
        ("I4", "success with too many failed", |scenario, log| {
            set_limit(scenario, "max_failure_percentage", json!(49.999_999));
            log[D2_SUCCESSFUL]["status"] = json!("failed");
        }),
        ("I4", "failure with just as many failed as allowed", |_, log| {
            log[D2_SUCCESSFUL]["status"] = json!("failed");
            log[FINISHED]["outcome"] = json!("failure");
        }),
        ("I5", "a settled target changes", |_, log| {
            log.insert(FINISHED, target(70_000, "d2", "failed"));
        }),
        ("I5", "a target goes back to idle", |_, log| {
            log.insert(D2_AGAIN, target(60_000, "d2", "idle"));
            log.insert(D2_AGAIN + 1, target(60_000, "d2", "in_progress"));
        }),
        ("I5", "a target cancelled in a campaign with success", |_, log| {
            log[SNAPSHOT]["devices"] = json!(["d1", "d2", "d3"]);
            log.insert(FINISHED + 1, target(70_000, "d3", "cancelled"));
        }),
        ("I6", "too many targets in progress", |scenario, log| {
            set_limit(scenario, "max_in_progress_operations", json!(1));
            let request = log.remove(D2_REQUEST);
            log.insert(D1_SUCCESS + 1, request);
            log[D1_SUCCESS + 1]["at_ms"] = json!(1_000);
        }),
        ("I6", "too many accepted requests open", |scenario, log| {
            set_limit(scenario, "max_in_progress_operations", json!(1));
            log.remove(D2_IN_PROGRESS);
        }),
        ("I7", "a request to a settled target", |_, log| {
            log.insert(D1_SUCCESS + 2, request(1_000, "d1", "o1"));
        }),
        ("I8", "another operation without a reason", |_, log| {
            log[D2_AGAIN]["operation"] = json!("o3");
            log.insert(
                D2_AGAIN,
                json!({"at_ms": 60_000, "kind": "operation", "campaign": "c1", "device": "d2",
                    "operation": "o2", "status": "failure", "status_code": "io_error"}),
            );
        }),
        ("I8", "more operations than allowed", |scenario, log| {
            set_limit(scenario, "request_retries", json!(0));
            log[D2_AGAIN]["operation"] = json!("o3");
            log.insert(
                D2_AGAIN,
                json!({"at_ms": 60_000, "kind": "operation", "campaign": "c1", "device": "d2",
                    "operation": "o2", "status": "failure",
                    "status_code": "update_already_in_progress"}),
            );
        }),
        ("I9", "one request too many", |_, log| log.insert(D2_AGAIN, request(50_000, "d2", "o2"))),
        ("I10", "a first request before the start", |_, log| {
            let request = log.remove(D1_REQUEST);
            log.insert(STARTED, request);
        }),
        ("I11", "a first request to an offline device", |scenario, _| {
            scenario["fleet"]["devices"][1]["online"] = json!(false);
        }),
        ("I12", "two requests in one instant", |_, log| log[D2_AGAIN]["at_ms"] = json!(0)),
        ("I12", "more than twenty requests within a second", |scenario, log| {
            set_limit(scenario, "request_retries", json!(50));
            for count in 0..20 {
                log.insert(D2_AGAIN, request(60_000 - 10 * (count + 1), "d2", "o2"));
            }
        }),
        ("I13", "two campaigns update a device at once", |scenario, log| {
            add_campaign(scenario);
            let mut started = log[STARTED].clone();
            started["campaign"] = json!("c2");
            log.insert(D2_REQUEST + 1, started);
            let mut request = request(0, "d2", "other");
            request["campaign"] = json!("c2");
            log.insert(D2_REQUEST + 2, request);
        }),
        ("I14", "a Cancel request that nobody asked for", |scenario, log| {
            scenario["stimuli"][1]["stop_operations"] = json!(false);
            log.insert(D2_ENDS, cancel_request(65_000, "d2", "o2"));
        }),
        ("I14", "a Cancel request for an operation that has ended", |_, log| {
            log.insert(D2_ENDS, cancel_request(65_000, "d1", "o1"));
        }),
    ];
    for (rule, what, change) in table {
        let (scenario, observation) = changed(*change);
        let verdict = judge(&scenario, &observation, Strictness::Lenient);
        let found = rules(&verdict);
        assert!(found.contains(rule), "{what}: {found:?}\n{}", verdict.render(&observation));
    }
}

#[test]
fn what_the_invariants_allow_is_not_found() {
    let table: &[(&str, Change)] = &[
        ("a share exactly at the limit", |_, log| log[D2_SUCCESSFUL]["status"] = json!("failed")),
        ("failure just beyond the limit", |scenario, log| {
            set_limit(scenario, "max_failure_percentage", json!(49.999_999));
            log[D2_SUCCESSFUL]["status"] = json!("failed");
            log[FINISHED]["outcome"] = json!("failure");
        }),
        ("a Cancel request that was asked for", |_, log| {
            log.insert(D2_ENDS, cancel_request(65_000, "d2", "o2"));
        }),
        ("one more request for a crash", |scenario, log| {
            let crash = json!({"at_ms": 0, "do": "crash_on", "match": {}, "down_ms": 0});
            scenario["stimuli"].as_array_mut().expect("stimuli").push(crash);
            log.insert(D2_AGAIN, request(50_000, "d2", "o2"));
        }),
        ("back to idle after a refused request", |_, log| {
            let mut refused = log[D2_REQUEST].clone();
            refused["result"] = json!("error");
            refused["at_ms"] = json!(-1);
            log[..D2_REQUEST].iter_mut().for_each(|entry| entry["at_ms"] = json!(-1));
            log.insert(D2_REQUEST, refused);
            log.insert(D2_REQUEST + 1, target(-1, "d2", "idle"));
            log.insert(D2_REQUEST + 2, target(0, "d2", "in_progress"));
        }),
        ("a new operation after the device was busy", |_, log| {
            log[D2_AGAIN]["operation"] = json!("o3");
            log.insert(
                D2_AGAIN,
                json!({"at_ms": 60_000, "kind": "operation", "campaign": "c1", "device": "d2",
                    "operation": "o2", "status": "failure",
                    "status_code": "update_already_in_progress"}),
            );
        }),
        ("a limit raised by an accepted command", |scenario, log| {
            set_limit(scenario, "max_in_progress_operations", json!(1));
            scenario["stimuli"][1] = json!({"at_ms": 0, "do": "update_campaign", "campaign": "c1",
                "set": {"max_in_progress_operations": 2}});
            log.last_mut().expect("a command")["result"] = json!("ok");
        }),
        ("a device that a script takes offline after its first request", |scenario, _| {
            scenario["fleet"]["devices"][1]["on_request"] =
                json!([[{"after_ms": 1, "set_online": false}], []]);
        }),
    ];
    for (what, change) in table {
        let (scenario, observation) = changed(*change);
        let verdict = judge(&scenario, &observation, Strictness::Lenient);
        assert!(verdict.passed(), "{what}:\n{}", verdict.render(&observation));
    }
}

/// Each row: the place of the finding, an expectation that holds, and one that does not.
#[expect(clippy::too_many_lines, reason = "a table")]
fn campaign_expectations() -> Vec<(&'static str, Value, Value)> {
    let state = |key: &str, value: Value| json!({"final": {key: value}});
    let requests = |key: &str, value: Value| json!({"requests": {key: value}});
    let to_d2 = |key: &str, value: Value| json!({"requests": {"per_device": {"d2": {key: value}}}});
    vec![
        ("final.status", state("status", json!("finished")), state("status", json!("paused"))),
        (
            "final.outcome",
            state("outcome", json!(["failure", "success"])),
            state("outcome", json!(["failure", null])),
        ),
        (
            "final.counts.successful",
            state("counts", json!({"total": 2, "successful": {"min": 2, "max": 2}})),
            state("counts", json!({"successful": {"min": 3}})),
        ),
        (
            "final.targets.d2.status",
            state("targets", json!({"d1": "successful", "d2": "successful"})),
            state("targets", json!({"d1": "successful", "d2": "failed"})),
        ),
        (
            "final.targets.d2.retry_count",
            state("targets", json!({"d2": {"retry_count": [1, 2], "reason": null}})),
            state("targets", json!({"d2": {"retry_count": 0, "reason": null}})),
        ),
        (
            "final.targets.d3.status",
            state("targets", json!({})),
            state("targets", json!({"d3": "idle"})),
        ),
        (
            "final.operations.d1.status_code",
            state("operations", json!({"d1": {"status_code": null, "inferred": false}})),
            state("operations", json!({"d1": {"status_code": "other"}})),
        ),
        (
            "final.operations.d1",
            state("operations", json!({"d3": null})),
            state("operations", json!({"d1": null})),
        ),
        (
            "checkpoints[1].counts.in_progress",
            json!({"checkpoints": [
                {"at_ms": 0, "counts": {"in_progress": 2}}, {"at_ms": 1_000, "counts": {"in_progress": 1}},
            ]}),
            json!({"checkpoints": [
                {"at_ms": 0, "counts": {"in_progress": 2}}, {"at_ms": 999, "counts": {"in_progress": 1}},
            ]}),
        ),
        ("snapshot", json!({"snapshot": ["d2", "d1"]}), json!({"snapshot": ["d1", "d2", "d3"]})),
        (
            "status_path",
            json!({"status_path": ["in_progress", "finished"]}),
            json!({"status_path": ["idle", "in_progress", "finished"]}),
        ),
        ("finish_ms", json!({"finish_ms": [70_000, 70_000]}), json!({"finish_ms": [0, 69_999]})),
        ("requests.total", requests("total", json!(3)), requests("total", json!({"max": 2}))),
        (
            "requests.by[0].total",
            requests("by", json!([{"at_ms": 60_000, "total": 3}])),
            requests("by", json!([{"at_ms": 59_999, "total": 3}])),
        ),
        (
            "requests.per_device.d2.total",
            requests("per_device", json!({"d1": 1, "d2": 2})),
            requests("per_device", json!({"d1": 1, "d2": 1})),
        ),
        (
            "requests.per_device.d2.total",
            to_d2("total", json!(2)),
            to_d2("total", json!({"min": 3})),
        ),
        ("requests.per_device.d2.ok", to_d2("ok", json!({"min": 2})), to_d2("ok", json!(0))),
        (
            "requests.per_device.d2.times[1]",
            to_d2("times", json!([[0, 0], [60_000, 60_001]])),
            to_d2("times", json!([[0, 0], [60_001, 60_002]])),
        ),
        (
            "requests.per_device.d2.times[2]",
            to_d2("times", json!([])),
            to_d2("times", json!([[0, 0], [60_000, 60_000], [0, 100_000]])),
        ),
        (
            "requests.per_device.d2.gaps[0]",
            to_d2("gaps", json!([[60_000, 60_000]])),
            to_d2("gaps", json!([[0, 59_999]])),
        ),
        (
            "requests.per_device.d2.operations",
            to_d2("operations", json!(1)),
            to_d2("operations", json!(2)),
        ),
        (
            "requests.first_order[0]",
            requests("first_order", json!([["d1", "d2"]])),
            requests("first_order", json!([["d2", "d1"]])),
        ),
        (
            "requests.ok_order[0]",
            requests("ok_order", json!([["d1", "d2"]])),
            requests("ok_order", json!([["d1", "d3"]])),
        ),
        (
            "cancel_requests.d2",
            json!({"cancel_requests": {"d2": 0}}),
            json!({"cancel_requests": {"d2": {"min": 1}}}),
        ),
    ]
}

fn expecting(expect: &Value) -> Value {
    let mut scenario = scenario();
    scenario["expect"] = expect.clone();
    scenario
}

#[test]
fn every_key_of_an_expectation_is_compared() {
    for (place, good, bad) in campaign_expectations() {
        let verdict = judge(
            &expecting(&json!({"campaigns": {"c1": good}})),
            &observation(),
            Strictness::Strict,
        );
        assert!(verdict.passed(), "{place}:\n{}", verdict.render(&observation()));
        let expect = json!({"campaigns": {"c1": bad}});
        let verdict = judge(&expecting(&expect), &observation(), Strictness::Lenient);
        assert_eq!(rules(&verdict), [format!("expect.campaigns.c1.{place}")]);
    }
}

#[test]
fn one_operation_is_wanted_only_of_requests_that_exist() {
    let expect = |flag: bool| {
        expecting(&json!({"campaigns": {"c1": {"requests": {"per_device": {
            "d2": {"one_operation": true}, "d3": {"one_operation": flag},
        }}}}}))
    };
    assert!(judge(&expect(false), &observation(), Strictness::Lenient).passed());
    let verdict = judge(&expect(true), &observation(), Strictness::Lenient);
    assert_eq!(rules(&verdict), ["expect.campaigns.c1.requests.per_device.d3.one_operation"]);
}

#[test]
fn every_side_matter_fails_only_a_strict_judgement() {
    for (place, good, bad) in campaign_expectations() {
        let expect = json!({"soft": {"campaigns": {"c1": good}}});
        assert!(judge(&expecting(&expect), &observation(), Strictness::Strict).passed(), "{place}");
        let expect = json!({"soft": {"campaigns": {"c1": bad}}});
        let lenient = judge(&expecting(&expect), &observation(), Strictness::Lenient);
        assert!(lenient.passed(), "{place}");
        assert_eq!(lenient.soft.len(), 1, "{place}");
        assert!(lenient.render(&observation()).contains("side matter: expect.soft.campaigns.c1."));
        let strict = judge(&expecting(&expect), &observation(), Strictness::Strict);
        assert_eq!(rules(&strict), [format!("expect.soft.campaigns.c1.{place}")]);
    }
}

#[test]
fn answers_to_commands_are_compared() {
    let table = [
        ("result", json!({"0": "ok", "1": "error"}), json!({"1": "ok"})),
        ("result", json!({"1": {"result": "error"}}), json!({"1": {"result": "ok"}})),
        (
            "field",
            json!({"0": {"field": "x"}, "1": {"field": "status"}}),
            json!({"1": {"field": "x"}}),
        ),
    ];
    for (key, good, bad) in table {
        let verdict =
            judge(&expecting(&json!({"commands": good})), &observation(), Strictness::Lenient);
        assert!(verdict.passed(), "{}", verdict.render(&observation()));
        let verdict =
            judge(&expecting(&json!({"commands": bad})), &observation(), Strictness::Lenient);
        assert_eq!(rules(&verdict), [format!("expect.commands.1.{key}")]);
    }
    let unanswered = expecting(&json!({"commands": {"7": "ok"}}));
    let verdict = judge(&unanswered, &observation(), Strictness::Lenient);
    assert_eq!(rules(&verdict), ["expect.commands.7.result"]);
}

#[test]
fn what_cannot_be_judged_fails() {
    let mut table = vec![
        json!(null),
        json!([]),
        json!({}),
        json!({"format": "ota-campaign-observation/2", "log": []}),
        json!({"format": "ota-campaign-observation/1"}),
        json!({"format": "ota-campaign-observation/1", "log": null}),
        json!({"format": "ota-campaign-observation/1", "log": [1]}),
        json!({"format": "ota-campaign-observation/1", "log": [{"kind": "campaign"}]}),
    ];
    for (key, value) in [("at_ms", json!("0")), ("device", json!(["d1"])), ("operation", json!({}))]
    {
        let (_, mut broken) = changed(|_, _| {});
        broken["log"][D1_REQUEST][key] = value;
        table.push(broken);
    }
    for observation in table {
        let verdict = judge(&scenario(), &observation, Strictness::Lenient);
        assert_eq!(rules(&verdict), ["observation"], "{observation}");
        assert!(!verdict.passed());
    }
    for scenario in [json!(null), json!({"expect": 1}), json!({"expect": {"campaigns": {"c1": 5}}})]
    {
        assert!(!judge(&scenario, &observation(), Strictness::Lenient).passed(), "{scenario}");
    }
}

#[test]
fn a_finding_shows_people_the_entries_around_it() {
    let (scenario, observation) =
        changed(|_, log| log.insert(D2_AGAIN, request(50_000, "d2", "o2")));
    let verdict = judge(&scenario, &observation, Strictness::Lenient);
    let [finding] = verdict.failures.as_slice() else { panic!("{:?}", verdict.failures) };
    assert_eq!(finding.rule, "I9");
    assert_eq!(finding.at_ms, Some(60_000));
    assert!(finding.entries.contains(&(D2_AGAIN + 1)) && finding.entries.len() <= 6);
    insta::assert_snapshot!(verdict.render(&observation), @r#"
    failed: I9 at 60000 ms
      expected: at most 2 requests for "o2"
      actual:   3
      log[10] 0 ms request campaign=c1 device=d2 operation=o2 result=ok
      log[11] 0 ms operation campaign=c1 device=d2 operation=o2 status=pending status_code=null
      log[14] 50000 ms request campaign=c1 device=d2 operation=o2 result=ok
      log[15] 60000 ms request campaign=c1 device=d2 operation=o2 result=ok
      log[16] 60000 ms target campaign=c1 device=d2 retry_count=1 status=in_progress
      log[17] 70000 ms operation campaign=c1 device=d2 operation=o2 status=success status_code=null
    "#);
}
