//! `hedgerow log` and `hedgerow show` on the log of a demo, and on files that are none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

fn hedgerow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The log of a small demo, made once.
fn demo() -> &'static Path {
    static DEMO: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, db) = DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("demo.db");
        let output = hedgerow(&["demo", "--devices", "60", "--json", "--db", path(&db)]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (folder, db)
    });
    db
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn json(args: &[&str]) -> Value {
    let output = hedgerow(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn campaign() -> String {
    let all = json(&["show", path(demo()), "--json"]);
    all[0]["campaign"].as_str().expect("an id").to_owned()
}

#[test]
fn a_log_prints_every_event_in_order_and_those_of_one_device() {
    let output = hedgerow(&["log", path(demo()), "--json"]);
    let printed = text(&output.stdout);
    let events: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().zip(1..).all(|(event, version)| event["version"] == version));
    assert_eq!(events[0]["type"], "campaign_created");
    let device = events[1]["data"]["devices"][0].as_str().expect("a device");
    let output = hedgerow(&["log", path(demo()), "--json", "--device", device]);
    let of_device = text(&output.stdout);
    assert!(of_device.lines().count() > 1);
    assert!(of_device.lines().all(|line| line.contains(device)));
    let by_campaign = hedgerow(&["log", path(demo()), "--json", "--campaign", &campaign()]);
    assert_eq!(text(&by_campaign.stdout), printed);
    let for_people = hedgerow(&["log", path(demo())]);
    assert_eq!(text(&for_people.stdout).lines().count(), events.len());
}

#[test]
fn an_id_that_the_log_prints_short_is_accepted_short() {
    let (db, id) = (path(demo()), campaign());
    let printed = text(&hedgerow(&["log", db]).stdout);
    let short = printed.split_whitespace().find(|word| word.starts_with("campaign/"));
    let short = short.expect("the log names its campaign");
    for name in [short, &id[..8], &id[..4], &id[..8].to_uppercase()] {
        let shown = json(&["show", db, name, "--json"]);
        assert_eq!(shown["campaign"], id.as_str(), "{name}");
        assert_eq!(text(&hedgerow(&["log", db, "--campaign", name]).stdout), printed, "{name}");
        let targets = json(&["targets", db, name, "--limit", "1", "--json"]);
        assert_eq!(targets["targets"].as_array().map(Vec::len), Some(1), "{name}");
    }
    let unknown = hedgerow(&["show", db, "ffff0000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no campaign ffff0000…"), "{unknown:?}");
    let no_name = hedgerow(&["targets", db, "stable"]);
    assert_eq!(no_name.status.code(), Some(2));
    assert!(text(&no_name.stderr).contains("or how it begins"), "{no_name:?}");
}

#[test]
fn every_time_that_is_printed_is_rfc_3339() {
    let (db, id) = (path(demo()), campaign());
    for args in [
        &["log", db][..],
        &["log", db, "--json"],
        &["show", db, &id, "--json"],
        &["targets", db, &id, "--json"],
        &["campaigns", db, "--json"],
    ] {
        let printed = text(&hedgerow(args).stdout);
        // Today in milliseconds: thirteen digits. No other number in a demo has as many.
        let is_number = |word: &&str| word.len() == 13 && word.bytes().all(|b| b.is_ascii_digit());
        let mut words = printed.split(|c: char| !c.is_ascii_alphanumeric());
        assert_eq!(words.find(is_number), None, "{args:?}");
        assert!(printed.contains('Z'), "{args:?}: {printed}");
    }
    let reported = text(&hedgerow(&["log", db, "--json"]).stdout);
    let reported = reported.lines().find(|line| line.contains("operation_reported"));
    let event: Value = serde_json::from_str(reported.expect("a report")).expect("JSON");
    assert!(event["data"]["observed_at"].is_string(), "{event}");
}

#[test]
fn a_state_is_shown_as_of_any_event() {
    let id = campaign();
    let now = json(&["show", path(demo()), &id, "--json"]);
    assert_eq!(now["status"], "finished");
    assert_eq!(now["targets"].as_array().map(Vec::len), Some(60));
    let first = json(&["show", path(demo()), &id, "--at", "1", "--json"]);
    assert_eq!(first["status"], "idle");
    assert_eq!(first["counts"]["total"], 0);
    let events = now["events"].as_u64().expect("a number");
    let middle = (events / 2).to_string();
    let half = json(&["show", path(demo()), &id, "--at", &middle, "--json"]);
    assert_eq!(half["status"], "in_progress");
    assert_eq!(half["events"], events / 2);
    let beyond = hedgerow(&["show", path(demo()), &id, "--at", &(events + 1).to_string()]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(text(&beyond.stderr).contains(&events.to_string()), "it says how far it goes");
}

#[test]
fn what_a_device_waits_for_is_told_as_of_any_event() {
    let id = campaign();
    let now = json(&["show", path(demo()), &id, "--json"]);
    let target = &now["targets"][0];
    let device = target["device"].as_str().expect("a device");
    let why = |at: &str| json(&["show", path(demo()), &id, "--why", device, "--at", at, "--json"]);
    let events = now["events"].to_string();
    let ended = why(&events);
    assert_eq!(ended["why"]["standing"], "settled", "{ended}");
    let told = hedgerow(&["show", path(demo()), &id, "--why", device]);
    let status = target["status"].as_str().expect("a status");
    let said = if status == "failed" { "has failed" } else { status };
    let told = text(&told.stdout);
    assert!(told.starts_with(device) && told.contains(said), "{told}");
    // The snapshot is taken, and the campaign has not started yet.
    assert_eq!(why("2")["why"]["reason"], "selecting_targets");
    // At every event it has a standing; at some it is in progress, at some it waits.
    let standings: Vec<Value> = (2..=now["events"].as_u64().expect("a number"))
        .map(|at| why(&at.to_string())["why"]["standing"].clone())
        .collect();
    for standing in ["held", "free", "in_progress", "settled"] {
        assert!(standings.contains(&Value::from(standing)), "{standing}: {standings:?}");
    }
    let nobody = "AAAAAAAAAAAAAAAAAAAAAA";
    let refused = hedgerow(&["show", path(demo()), &id, "--why", nobody]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--json` lists its targets"), "it says what to do");
    let then = hedgerow(&["show", path(demo()), &id, "--why", device, "--at", "1"]);
    assert_eq!(then.status.code(), Some(1), "its targets are not selected yet");
    assert!(text(&then.stderr).contains("at its event 1"), "{}", text(&then.stderr));
    let without = hedgerow(&["show", path(demo()), "--why", device]);
    assert_eq!(without.status.code(), Some(2), "of which campaign?");
}

#[test]
fn what_is_no_log_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("foreign.db");
    std::fs::write(&foreign, "a letter to a friend, of some length, and nothing else at all")
        .expect("it is written");
    let before = std::fs::read(&foreign).expect("it reads");
    let missing = folder.path().join("missing.db");
    for command in ["log", "show"] {
        for file in [&foreign, &missing, &folder.path().to_owned()] {
            let output = hedgerow(&[command, path(file)]);
            assert_eq!(output.status.code(), Some(3), "{command} {}", file.display());
            let error = text(&output.stderr);
            assert!(error.starts_with("error: ") && error.contains(path(file)), "{error}");
        }
    }
    let demo = hedgerow(&["demo", "--db", path(&foreign)]);
    assert_eq!(demo.status.code(), Some(3), "{}", text(&demo.stderr));
    assert_eq!(std::fs::read(&foreign).expect("it reads"), before);
    assert!(!missing.exists());
}

#[test]
fn ids_that_do_not_exist_and_flags_that_contradict_the_file_are_refused() {
    let nobody = "00000000-0000-0000-0000-000000000000";
    for command in [
        ["show", path(demo()), nobody],
        ["log", path(demo()), "--campaign=00000000-0000-0000-0000-000000000000"],
    ] {
        let output = hedgerow(&command);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    }
    assert_eq!(hedgerow(&["show", path(demo()), "x"]).status.code(), Some(2));
    assert_eq!(hedgerow(&["log", path(demo()), "--device", "x"]).status.code(), Some(2));
    for flags in [["--devices", "61"], ["--seed", "9"], ["--max-pending", "3"]] {
        let output = hedgerow(&[&["demo", "--db", path(demo())], flags.as_slice()].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(flags[0]));
    }
    let again = hedgerow(&["demo", "--db", path(demo()), "--json"]);
    assert!(again.status.success(), "a demo that has ended says so once more");
}

#[test]
fn a_second_process_that_wants_to_run_campaigns_on_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("busy.db");
    let store = hedgerow_sqlite::SqliteStore::open(&db).expect("it opens");
    let output = hedgerow(&["demo", "--db", path(&db)]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("in use"), "{}", text(&output.stderr));
    drop(store);
}

#[test]
fn what_a_demo_says_to_do_next_can_be_pasted_also_for_a_device_that_begins_with_a_hyphen() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("it's a log.db");
    let shown = hedgerow(&["demo", "--devices", "20", "--seed", "22", "--db", path(&db)]);
    let shown = text(&shown.stdout);
    let next: Vec<&str> =
        shown.lines().map(str::trim).filter(|line| line.starts_with("hedgerow ")).collect();
    assert!(next.iter().any(|line| line.contains("--device -")), "{shown}");
    for line in next {
        let command = line.replacen("hedgerow", env!("CARGO_BIN_EXE_hedgerow"), 1);
        let output = Command::new("sh").args(["-c", &command]).output().expect("a shell");
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        assert!(!output.stdout.is_empty(), "{command}");
    }
    let device = shown.rsplit(' ').next().expect("a device").trim();
    let output = hedgerow(&["log", path(&db), &format!("--device={device}"), "--json"]);
    assert!(text(&output.stdout).lines().all(|line| line.contains(device)));
    let output = hedgerow(&["log", path(&db), "--device", "--json"]);
    assert_eq!(output.status.code(), Some(2), "an option is no device");
}

const ID: &str = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";
const ALIKE: &str = "5f0c7a0e-4d0b-5a7e-9f6d-8a41c2d410aa";

/// A log of one scheduled campaign, of one id, in each of these tenants.
fn scheduled(db: &Path, tenants: &[&str]) -> String {
    for tenant in tenants {
        schedule(db, tenant, ID);
    }
    ID.to_owned()
}

/// Adds a scheduled campaign to a log.
fn schedule(db: &Path, tenant: &str, id: &str) {
    use hedgerow_core::{Campaign, CampaignDefinition, NewEvent, StreamId, Timestamp};
    use hedgerow_engine::store::{Activity, EventStore, StreamAppend};

    let definition = serde_json::json!({
        "name": "to 2.0.0",
        "base_image": {"system_model": "gateway", "version": "2.0.0", "url": "https://host/2.bin",
            "starting_version_requirement": null},
        "channel": {"name": "stable", "groups": ["gardens"]},
        "rollout": {"push": {"gates": {}, "limits": {
            "max_pending_operations": 10, "max_failure_percentage": "5", "operation": {
                "request_retries": 3, "request_timeout_ms": 300_000, "stall_timeout_ms": null,
                "reboot_timeout_ms": 600_000, "progress_interval_ms": 60_000}}}},
    });
    let definition =
        CampaignDefinition::from_json(definition.to_string().as_bytes()).expect("a definition");
    let (now, at) = (Timestamp::from_millis(1_000), Timestamp::from_millis(86_400_000));
    let created = Campaign::create(definition, Some(at), now).expect("it can be created");
    let store = hedgerow_sqlite::SqliteStore::open(db).expect("it opens");
    let event = NewEvent {
        event_type: created.event_type().to_owned(),
        schema_version: created.schema_version(),
        recorded_at: now,
        correlation_id: uuid::Uuid::nil(),
        causation_id: uuid::Uuid::nil(),
        data: created.to_json(),
    };
    let append = StreamAppend {
        tenant: tenant.parse().expect("a tenant"),
        stream: StreamId::Campaign(id.parse().expect("an id")),
        expected_version: 0,
        events: vec![event],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    };
    hedgerow_sim::runtime::wait(store.append(vec![append])).expect("it is recorded");
}

#[test]
fn a_scheduled_campaign_is_shown_with_the_time_at_which_it_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("scheduled.db");
    let id = scheduled(&db, &["gardens"]);
    for args in [vec!["show", path(&db)], vec!["show", path(&db), &id]] {
        let shown = text(&hedgerow(&args).stdout);
        assert!(shown.contains("  status      scheduled"), "{shown}");
        assert!(shown.contains("  starts      1970-01-02T00:00:00.000Z"), "{shown}");
    }
    let all = json(&["show", path(&db), "--json"]);
    assert_eq!(all[0]["scheduled_at"], "1970-01-02T00:00:00.000Z");
    assert!(!text(&hedgerow(&["show", path(demo())]).stdout).contains("starts "));
}

#[test]
fn a_beginning_that_two_ids_have_names_neither_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("alike.db");
    for (tenant, id) in [("gardens", ID), ("gardens", ALIKE), ("parks", ALIKE)] {
        schedule(&db, tenant, id);
    }
    let both = hedgerow(&["show", path(&db), "5f0c7a0e"]);
    assert_eq!(both.status.code(), Some(2));
    let error = text(&both.stderr);
    assert!(error.contains(&format!("{ID} or {ALIKE}: give more of its id")), "{error}");
    assert_eq!(json(&["show", path(&db), "5f0c7a0e-3", "--json"])["campaign"], ID);
    let tenants = hedgerow(&["show", path(&db), "5f0c7a0e-4"]);
    assert!(text(&tenants.stderr).contains("one of gardens, parks"), "{tenants:?}");
    let parks = json(&["show", path(&db), "5f0c7a0e", "--tenant", "parks", "--json"]);
    assert_eq!(parks["campaign"], ALIKE);
}

#[test]
fn d21_a_campaign_that_exists_in_two_tenants_is_shown_of_the_one_that_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("tenants.db");
    let id = scheduled(&db, &["gardens", "-Acme.Parks"]);
    for args in [vec!["show", path(&db), &id], vec!["log", path(&db), "--campaign", &id]] {
        let output = hedgerow(&args);
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert!(error.contains("--tenant and one of gardens, -Acme.Parks"), "{error}");
        for tenant in ["gardens", "-Acme.Parks"] {
            let output = hedgerow(&[args.as_slice(), &["--tenant", tenant, "--json"]].concat());
            let printed = text(&output.stdout);
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(printed.contains(&format!("\"{tenant}\"")), "{printed}");
        }
    }
    for command in ["show", "log"] {
        let of_one = hedgerow(&[command, path(&db), "--tenant", "gardens", "--json"]);
        assert!(!text(&of_one.stdout).contains("Acme"), "{}", text(&of_one.stdout));
    }
    let nobody = hedgerow(&["show", path(&db), &id, "--tenant", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
}
