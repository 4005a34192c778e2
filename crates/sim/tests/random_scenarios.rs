//! Random scenarios through the real engine: whatever happens, every rule is kept, as the judge of
//! the simulation and the audit of the store see it, and the same scenario gives the same log.
//!
//! `HEDGEROW_SEEDS=100000 cargo test -p hedgerow-sim --test random_scenarios` tries more.

use std::sync::Arc;

use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_sim::random::Random;
use hedgerow_sim::scenario::format::Scenario;
use hedgerow_sim::scenario::judge::{Strictness, judge};
use hedgerow_sim::scenario::runner::run;
use serde_json::{Map, Value, json};

struct Chance(Random);

impl Chance {
    fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }

    fn pick(&mut self, choices: &[Value]) -> Value {
        let count = u64::try_from(choices.len()).expect("few");
        choices[usize::try_from(self.0.below(count)).expect("few")].clone()
    }

    fn number(&mut self, below: u64) -> u64 {
        self.0.below(below)
    }
}

const STATUSES: [&str; 8] = [
    "Acknowledged",
    "Downloading",
    "Deploying",
    "Deployed",
    "Rebooting",
    "Error",
    "Success",
    "Failure",
];

fn step(chance: &mut Chance, after_ms: u64) -> Value {
    let mut step = Map::new();
    step.insert("after_ms".to_owned(), after_ms.into());
    if !chance.one_in(5) {
        let status = STATUSES.map(Value::from);
        step.insert("status".to_owned(), chance.pick(&status));
        if chance.one_in(3) {
            let codes = ["NetworkError", "UpdateAlreadyInProgress", "Bogus"].map(Value::from);
            step.insert("code".to_owned(), chance.pick(&codes));
        }
        if chance.one_in(4) {
            step.insert("stamp_ms".to_owned(), chance.number(200_000).into());
        }
    }
    if chance.one_in(6) {
        step.insert("set_online".to_owned(), (!chance.one_in(3)).into());
    }
    if chance.one_in(6) {
        let versions = [json!("2.0.0"), json!("1.0.0"), json!("3.0.0"), json!(null), json!("x")];
        step.insert("set_version".to_owned(), chance.pick(&versions));
    }
    Value::Object(step)
}

fn script(chance: &mut Chance) -> Value {
    let mut after_ms = 0;
    let mut steps = Vec::new();
    if chance.one_in(2) {
        for status in &STATUSES[..5] {
            after_ms += [0, 1_000, 30_000, 60_000][usize::try_from(chance.number(4)).expect("few")];
            steps.push(
                json!({"after_ms": after_ms, "status": status, "progress": chance.number(101)}),
            );
            if chance.one_in(8) {
                return Value::Array(steps);
            }
        }
        steps.push(json!({"after_ms": after_ms, "status": "Success", "set_version": "2.0.0"}));
    } else {
        for _ in 0..chance.number(6) {
            after_ms += [0, 500, 20_000, 60_000][usize::try_from(chance.number(4)).expect("few")];
            steps.push(step(chance, after_ms));
        }
    }
    Value::Array(steps)
}

fn api(chance: &mut Chance) -> Value {
    chance.pick(&[
        json!("ok"),
        json!("ok"),
        json!("connection_refused"),
        json!("timeout"),
        json!("token_expired"),
        json!({"http": 503}),
        json!({"http": 404}),
    ])
}

fn device(chance: &mut Chance, number: u64) -> Value {
    let groups = [json!(["g"]), json!(["g", "h"]), json!(["h"]), json!([])];
    let versions = [json!("1.0.0"), json!("1.0.0"), json!("2.0.0"), json!("bad"), json!(null)];
    let mut device = json!({
        "id": format!("d{number}"),
        "system_model": chance.pick(&[json!("sm"), json!("sm"), json!("sm"), json!(null)]),
        "groups": chance.pick(&groups),
        "version": chance.pick(&versions),
        "online": !chance.one_in(4),
        "on_operation": [[script(chance), script(chance)], [script(chance)]],
    });
    if chance.one_in(3) {
        device["api_update"] = json!([api(chance), api(chance), "ok"]);
    }
    if chance.one_in(3) {
        device["on_cancel"] = json!([{"after_ms": 1_000, "status": "Failure", "code": "Canceled"}]);
    }
    device
}

fn campaign(chance: &mut Chance, number: u64) -> Value {
    json!({
        "id": format!("c{number}"), "name": "random",
        "base_image": {
            "system_model": "sm", "version": chance.pick(&[json!("2.0.0"), json!("2.1.0")]),
            "starting_version_requirement": chance.pick(&[json!(null), json!(">= 1.0.0")]),
            "url": "https://images.example/x"
        },
        "channel": {"groups": chance.pick(&[json!(["g"]), json!(["h"]), json!(["g", "h"])])},
        "rollout": {
            "max_failure_percentage": chance.pick(&[json!(0), json!(33.3), json!(50), json!(100)]),
            "max_in_progress_operations": chance.number(3) + 1,
            "request_retries": chance.number(4),
            "request_timeout_seconds": chance.pick(&[json!(30), json!(60)]),
            "stall_timeout_seconds": chance.pick(&[json!(600), json!(86_400), json!(null)]),
            "reboot_timeout_seconds": chance.pick(&[json!(60), json!(600)])
        },
        "schedule_at_ms": chance.pick(&[json!(null), json!(null), json!(50_000)])
    })
}

fn stimulus(chance: &mut Chance, devices: u64, campaigns: u64) -> Value {
    let times = [0, 1_000, 5_000, 30_000, 60_000, 90_000, 120_000, 400_000];
    let at_ms = times[usize::try_from(chance.number(8)).expect("few")];
    let campaign = format!("c{}", chance.number(campaigns));
    let device = format!("d{}", chance.number(devices));
    match chance.number(10) {
        0 => json!({"at_ms": at_ms, "do": "pause", "campaign": campaign}),
        1 => json!({"at_ms": at_ms, "do": "resume", "campaign": campaign}),
        2 if chance.one_in(2) => json!({
            "at_ms": at_ms, "do": "cancel", "campaign": campaign,
            "stop_operations": chance.one_in(2)
        }),
        3 => {
            let limits = [
                json!({"max_in_progress_operations": 1}),
                json!({"max_in_progress_operations": 4}),
                json!({"max_failure_percentage": 10}),
                json!({"request_retries": 0}),
                json!({"schedule_at_ms": 70_000}),
            ];
            let set = chance.pick(&limits);
            json!({"at_ms": at_ms, "do": "update_campaign", "campaign": campaign, "set": set})
        }
        4 if chance.one_in(3) => {
            json!({"at_ms": at_ms, "do": "remove_device", "device": device})
        }
        5 => json!({"at_ms": at_ms, "do": "api", "device": "*", "update": api(chance)}),
        6 => json!({"at_ms": at_ms, "do": "restart", "down_ms": chance.number(2) * 70_000}),
        7 => {
            let matches = [
                json!({"kind": "target", "status": "in_progress"}),
                json!({"kind": "target", "status": "idle"}),
                json!({"kind": "request", "result": "ok"}),
                json!({"kind": "request", "result": "error"}),
                json!({"kind": "operation", "status": "pending"}),
                json!({"kind": "operation", "status": "downloading"}),
                json!({"kind": "campaign", "status": "in_progress"}),
                json!({"kind": "campaign", "status": "pausing"}),
                json!({"kind": "campaign", "status": "finished"}),
            ];
            let down_ms = chance.number(2) * 70_000;
            let values = chance.pick(&matches);
            json!({"at_ms": at_ms, "do": "crash_on", "match": values, "down_ms": down_ms})
        }
        8 => {
            let status = STATUSES.map(Value::from);
            json!({
                "at_ms": at_ms, "do": "ota_event", "device": device, "operation": "unknown",
                "status": chance.pick(&status)
            })
        }
        _ => json!({
            "at_ms": at_ms, "do": "device", "device": device,
            "set": {"online": !chance.one_in(3)}
        }),
    }
}

fn scenario(seed: u64) -> Value {
    let mut chance = Chance(Random::new(seed));
    let (devices, campaigns) = (chance.number(6) + 1, chance.number(2) + 1);
    let mut stimuli: Vec<Value> = (0..campaigns)
        .map(|n| json!({"at_ms": 0, "do": "create_campaign", "campaign": format!("c{n}")}))
        .collect();
    for _ in 0..chance.number(9) {
        stimuli.push(stimulus(&mut chance, devices, campaigns));
    }
    stimuli.sort_by_key(|stimulus| stimulus["at_ms"].as_u64());
    json!({
        "format": "ota-campaign-scenario/1", "id": format!("seed-{seed}"), "requires": [],
        "fleet": {"devices": (0..devices).map(|n| device(&mut chance, n)).collect::<Vec<_>>()},
        "campaigns": (0..campaigns).map(|n| campaign(&mut chance, n)).collect::<Vec<_>>(),
        "stimuli": stimuli,
        "run_until_ms": 2_000_000
    })
}

#[test]
fn in_random_scenarios_every_rule_is_kept() {
    let seeds = std::env::var("HEDGEROW_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds: u64 = seeds.unwrap_or(3_000);
    let mut requests = 0;
    for seed in 0..seeds {
        let file = scenario(seed);
        let read = Scenario::from_value(&file).expect("a scenario");
        let played = run(&read, Arc::new(MemoryStore::new())).expect("it ends");
        if seed % 10 == 0 {
            let again = run(&read, Arc::new(MemoryStore::new())).expect("it ends");
            assert_eq!(played, again, "seed {seed} gives another log the second time (E2)");
        }
        requests += played.log.iter().filter(|entry| entry["kind"] == "request").count();
        let verdict = judge(&read, &played, Strictness::Strict);
        assert!(verdict.passes(), "{}\n{file}", verdict.render(&read.id, &played.log));
    }
    assert!(requests > 0, "nothing ever happened");
}
