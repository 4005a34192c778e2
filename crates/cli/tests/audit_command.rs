//! `hedgerow audit` on the log of a demo, and on logs that somebody changed: it names the rule that
//! is broken and the place.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hedgerow_core::event::{ManualStarted, ManualUpdateEvent};
use hedgerow_core::{
    ManualUpdateDefinition, NewEvent, OperationId, OperationLimits, StreamId, TenantId, Timestamp,
};
use hedgerow_engine::campaign_at;
use hedgerow_engine::store::{Activity, EventStore, StateSnapshot, StreamAppend};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use rusqlite::{Connection, params};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

fn hedgerow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A copy of the log of a small demo.
fn demo() -> (tempfile::TempDir, PathBuf) {
    static DEMO: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("demo.db");
        let output = hedgerow(&["demo", "--devices", "60", "--json", "--db", path(&db)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(&db).expect("it was closed")
    });
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    std::fs::write(&db, bytes).expect("written");
    (folder, db)
}

/// The log of a demo that was killed while its first devices update.
fn killed_demo() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["demo", "--devices", "20", "--speed", "1", "--json", "--db", path(&db)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let patience = Instant::now() + Duration::from_secs(120);
    let started = |db: &Path| {
        let store = SqliteStore::open_read_only(db).ok()?;
        let events = wait(store.read_all(0, 1_000)).ok()?;
        Some(events.iter().any(|stored| stored.event.event_type == "operation_started"))
    };
    while started(&db) != Some(true) {
        assert!(Instant::now() < patience, "no operation starts");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    (folder, db)
}

fn audit(db: &Path) -> (Option<i32>, Value) {
    let output = hedgerow(&["audit", path(db), "--json"]);
    let audit = serde_json::from_slice(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), audit.unwrap_or_else(|_| panic!("{errors}")))
}

/// The one finding of an audit.
fn finding(db: &Path) -> Value {
    let (code, audit) = audit(db);
    assert_eq!(code, Some(1), "{audit:#}");
    assert_eq!(audit["holds"], false);
    let findings = audit["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let name = findings[0]["invariant"].as_str().expect("a name");
    let invariants = audit["invariants"].as_array().expect("a list");
    let broken: Vec<&Value> = invariants.iter().filter(|looked| looked["holds"] == false).collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0]["invariant"], name);
    findings[0].clone()
}

/// Takes away what tells of a change by itself, so that the rules alone judge the log, as they do one
/// of a version without checksums.
fn without_checksums(connection: &Connection) {
    let all = "UPDATE events SET checksum = NULL; UPDATE claims SET seal = NULL;
        UPDATE streams SET checksum = NULL, seal = NULL; UPDATE operations SET seal = NULL";
    connection.execute_batch(all).expect("SQL");
}

/// The one finding in a demo whose file somebody changed who knew of the checksums.
fn finding_after(change: impl FnOnce(&Connection)) -> Value {
    let (_folder, db) = demo();
    let connection = Connection::open(&db).expect("it opens");
    without_checksums(&connection);
    change(&connection);
    connection.close().expect("it closes");
    finding(&db)
}

/// The first events of a type: their numbers.
fn versions(connection: &Connection, event_type: &str) -> Vec<u64> {
    let mut statement = connection
        .prepare(
            "SELECT version FROM events JOIN event_types ON event_types.id = event_type
             WHERE name = ?1 ORDER BY version",
        )
        .expect("SQL");
    let rows = statement.query_map([event_type], |row| row.get(0)).expect("SQL");
    rows.map(|row| row.expect("a number")).collect()
}

/// Changes a text in what is stored of an event.
fn replace(connection: &Connection, version: u64, from: &str, to: &str) {
    let data: Vec<u8> = connection
        .query_row("SELECT data FROM events WHERE version = ?1", [version], |row| row.get(0))
        .expect("the event");
    let data = String::from_utf8(data).expect("JSON");
    assert!(data.contains(from), "{data}");
    let changed = data.replace(from, to).into_bytes();
    connection
        .execute("UPDATE events SET data = ?2 WHERE version = ?1", params![version, changed])
        .expect("SQL");
}

/// Makes an event another one.
fn become_another(connection: &Connection, version: u64, event_type: &str, data: &str) {
    connection
        .execute("INSERT OR IGNORE INTO event_types (name) VALUES (?1)", [event_type])
        .expect("SQL");
    connection
        .execute(
            "UPDATE events SET data = ?3, schema_version = 1,
                event_type = (SELECT id FROM event_types WHERE name = ?2) WHERE version = ?1",
            params![version, event_type, data.as_bytes()],
        )
        .expect("SQL");
}

#[test]
fn the_log_of_a_demo_keeps_every_rule() {
    let (_folder, db) = demo();
    let output = hedgerow(&["audit", path(&db)]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(": 1 campaign, 0 manual updates, "), "{text}");
    assert!(text.ends_with("all 21 invariants that a log can show hold\n"), "{text}");
    let (code, audit) = audit(&db);
    assert_eq!(code, Some(0));
    assert_eq!(audit["holds"], true);
    assert_eq!(audit["events"], audit["position"]);
    assert_eq!(audit["events_without_checksum"], 0);
}

#[test]
fn the_first_event_that_does_not_fit_its_checksum_is_told_with_its_place() {
    for change in [
        "UPDATE events SET data = CAST(CAST(data AS TEXT) || ' ' AS BLOB) WHERE version = 77",
        "UPDATE events SET recorded_at = recorded_at + 1 WHERE version = 77",
        "UPDATE events SET checksum = NULL WHERE version = 77",
    ] {
        let (_folder, db) = demo();
        let connection = Connection::open(&db).expect("it opens");
        connection.execute_batch(change).expect("SQL");
        connection.close().expect("it closes");
        let finding = finding(&db);
        assert_eq!((&finding["invariant"], &finding["rule"]), (&"checksums".into(), &"E14".into()));
        assert_eq!((&finding["subject"], &finding["version"]), (&"event".into(), &77.into()));
        assert!(finding["message"].as_str().is_some_and(|text| text.contains("tenant demo")));
    }
}

#[test]
fn events_without_a_checksum_are_counted_and_are_no_finding() {
    let (_folder, db) = demo();
    let connection = Connection::open(&db).expect("it opens");
    without_checksums(&connection);
    connection.close().expect("it closes");
    let (code, report) = audit(&db);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["events_without_checksum"], report["events"]);
    let output = hedgerow(&["audit", path(&db)]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains(" events without a checksum, recorded by a version"), "{text}");
}

#[test]
fn a_log_that_was_left_in_the_middle_keeps_every_rule() {
    let (_folder, db) = killed_demo();
    let (code, audit) = audit(&db);
    assert_eq!((code, &audit["holds"]), (Some(0), &Value::Bool(true)), "{audit:#}");
}

#[test]
fn a_file_that_cannot_be_read_is_no_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("none.db");
    let output = hedgerow(&["audit", path(&db)]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(errors.contains("none.db does not exist: look at the path"), "{errors}");
}

#[test]
fn a_missing_event_is_told_with_its_place() {
    let finding = finding_after(|connection| {
        connection.execute("DELETE FROM events WHERE version = 77", []).expect("SQL");
    });
    assert_eq!(finding["invariant"], "expected_version");
    assert_eq!((&finding["rule"], &finding["subject"]), (&"E5".into(), &"event".into()));
    assert_eq!((&finding["version"], &finding["position"]), (&78.into(), &78.into()));
}

#[test]
fn a_log_whose_end_is_missing_is_told() {
    let finding = finding_after(|connection| {
        connection.execute("DELETE FROM events WHERE version > 100", []).expect("SQL");
    });
    assert_eq!(finding["invariant"], "expected_version");
    assert_eq!(finding["subject"], "stream");
}

#[test]
fn an_event_that_cannot_follow_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        place = versions(connection, "operation_succeeded")[3];
        become_another(connection, place, "campaign_resumed", "{}");
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"state_is_fold".into(), &"E1".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn one_operation_beyond_the_limit_is_told() {
    let finding = finding_after(|connection| {
        replace(connection, 1, "\"max_pending_operations\":10", "\"max_pending_operations\":9");
    });
    assert_eq!(
        (&finding["invariant"], &finding["rule"]),
        (&"in_flight_bound".into(), &"D7".into())
    );
    assert!(finding["message"].as_str().is_some_and(|text| text.starts_with("10 targets")));
    assert!(finding["device"].is_string());
}

#[test]
fn a_failure_beyond_the_limit_that_ends_nothing_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        let failed = versions(connection, "operation_failed");
        let refused = versions(connection, "target_failed");
        place = failed.into_iter().chain(refused).min().expect("something fails");
        replace(
            connection,
            1,
            "\"max_failure_percentage\":\"10\"",
            "\"max_failure_percentage\":\"0\"",
        );
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"failure_limit".into(), &"D13".into()));
    // It is looked at after the whole append.
    assert!(finding["version"].as_u64().is_some_and(|version| version >= place));
}

#[test]
fn a_gate_that_should_have_been_closed_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        place = versions(connection, "operation_started")[0];
        replace(connection, 1, ">= 1.2.0", ">= 1.4.1");
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"gates".into(), &"D5".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn an_operation_that_starts_in_a_pause_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        let pause = versions(connection, "request_accepted")[0];
        place = *versions(connection, "operation_started")
            .iter()
            .find(|started| **started > pause)
            .expect("more start");
        become_another(connection, pause, "campaign_pausing", "{}");
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"pause".into(), &"D16".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn an_operation_with_another_id_is_told() {
    let finding = finding_after(|connection| {
        let started = versions(connection, "operation_started")[5];
        let data: Vec<u8> = connection
            .query_row("SELECT data FROM events WHERE version = ?1", [started], |row| row.get(0))
            .expect("the event");
        let mut event: Value = serde_json::from_slice(&data).expect("JSON");
        event["operation"] = Uuid::from_u128(7).to_string().into();
        become_another(connection, started, "operation_started", &event.to_string());
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"derived_id".into(), &"E3".into()));
}

#[test]
fn a_resend_before_its_time_is_told() {
    let finding = finding_after(|connection| {
        let accepted = versions(connection, "request_accepted")[0];
        let device: String = connection
            .query_row(
                "SELECT json_extract(CAST(data AS TEXT), '$.device') FROM events WHERE version = ?1",
                [accepted],
                |row| row.get(0),
            )
            .expect("the event");
        let data = format!("{{\"device\":\"{device}\"}}");
        become_another(connection, accepted, "request_resent", &data);
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"resends".into(), &"D8".into()));
}

/// Changes what is stored of the first event of a type that has a text, and finds what is told.
fn finding_after_replacing(event_type: &str, from: &str, to: &str) -> (Value, u64) {
    let mut place = 0;
    let finding = finding_after(|connection| {
        let query = "SELECT version FROM events JOIN event_types ON event_types.id = event_type
             WHERE name = ?1 AND instr(CAST(data AS TEXT), ?2) > 0 ORDER BY version";
        place = connection.query_row(query, [event_type, from], |row| row.get(0)).expect("SQL");
        replace(connection, place, from, to);
    });
    (finding, place)
}

#[test]
fn a_phase_that_goes_back_is_told() {
    let (finding, place) =
        finding_after_replacing("operation_reported", "\"rebooting\"", "\"downloading\"");
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"forward_only".into(), &"D11".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn a_stall_before_its_time_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        place = versions(connection, "operation_failed")[0];
        let data: Vec<u8> = connection
            .query_row("SELECT data FROM events WHERE version = ?1", [place], |row| row.get(0))
            .expect("the event");
        let mut event: Value = serde_json::from_slice(&data).expect("JSON");
        event["reason"] = "stalled".into();
        become_another(connection, place, "operation_failed", &event.to_string());
    });
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"stall".into(), &"D9".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn a_roll_back_of_a_device_that_shows_the_image_is_told() {
    let mut place = 0;
    let finding = finding_after(|connection| {
        place = versions(connection, "operation_succeeded")[0];
        let data: Vec<u8> = connection
            .query_row("SELECT data FROM events WHERE version = ?1", [place], |row| row.get(0))
            .expect("the event");
        let event: Value = serde_json::from_slice(&data).expect("JSON");
        let device = event["device"].as_str().expect("a device");
        let data = format!(
            r#"{{"device":"{device}","reason":{{"system_rollback":{{"version":"2.0.0"}}}}}}"#
        );
        become_another(connection, place, "operation_failed", &data);
    });
    assert_eq!(
        (&finding["invariant"], &finding["rule"]),
        (&"reconciliation".into(), &"D12".into())
    );
    assert_eq!(finding["version"], place);
}

#[test]
fn a_campaign_that_nothing_newer_superseded_is_told() {
    let (finding, place) =
        finding_after_replacing("campaign_finished", "\"success\"", "\"superseded\"");
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"cancel".into(), &"D17".into()));
    assert_eq!(finding["version"], place);
}

#[test]
fn a_target_that_is_missing_in_the_snapshot_is_told() {
    let (finding, _) =
        finding_after_replacing("campaign_started", "\"targets\":60", "\"targets\":61");
    // The fold refuses it as well, but the rule says more.
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"fixed_snapshot".into(), &"D1".into()));
}

#[test]
fn a_second_operation_on_a_device_is_told() {
    let (_folder, db) = killed_demo();
    let store = SqliteStore::open(&db).expect("it opens");
    let tenant: TenantId = "demo".parse().expect("a tenant");
    let events = wait(store.read_all(0, 1_000)).expect("it reads");
    let started = events.iter().find(|stored| stored.event.event_type == "operation_started");
    let started = started.expect("an operation");
    let data: Value = serde_json::from_slice(&started.event.data).expect("JSON");
    // An engine that does not know of claims starts a manual update.
    let definition = ManualUpdateDefinition {
        request_id: "the-second".parse().expect("an id"),
        device: data["device"].as_str().expect("a device").parse().expect("an id"),
        url: "https://images.example/other.bin".parse().expect("a URL"),
        expected_version: None,
        version_before: None,
        limits: OperationLimits::default(),
    };
    let event = ManualUpdateEvent::from(ManualStarted { definition });
    let operation = OperationId::of_manual_update(&tenant, "the-second");
    let append = StreamAppend {
        tenant,
        stream: StreamId::ManualUpdate(operation),
        expected_version: 0,
        events: vec![NewEvent {
            event_type: event.event_type().to_owned(),
            schema_version: 1,
            recorded_at: Timestamp::from_millis(1_767_225_700_000),
            correlation_id: Uuid::from_u128(2),
            causation_id: Uuid::from_u128(2),
            data: event.to_json(),
        }],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: vec![operation],
        activity: Activity::Active,
    };
    wait(store.append(vec![append])).expect("nothing is in its way");
    store.close();
    let finding = finding(&db);
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"one_operation".into(), &"D14".into()));
    assert_eq!(finding["stream"], StreamId::ManualUpdate(operation).to_string());
    assert_eq!(finding["device"], data["device"]);
}

#[test]
fn a_claim_that_nobody_needs_and_one_that_is_missing_are_told() {
    let extra = finding_after(|connection| {
        connection
            .execute("INSERT INTO claims SELECT tenant, 'device/x', id, NULL FROM streams", [])
            .expect("SQL");
    });
    assert_eq!((&extra["invariant"], &extra["subject"]), (&"claims".into(), &"claim".into()));
    let (_folder, db) = killed_demo();
    let connection = Connection::open(&db).expect("it opens");
    connection.execute("DELETE FROM claims WHERE key LIKE 'device/%'", []).expect("SQL");
    drop(connection);
    let missing = finding(&db);
    assert_eq!((&missing["invariant"], &missing["rule"]), (&"claims".into(), &"E5".into()));
}

#[test]
fn operations_that_reports_would_not_find_are_told() {
    let (_folder, db) = killed_demo();
    let connection = Connection::open(&db).expect("it opens");
    connection.execute("DELETE FROM operations", []).expect("SQL");
    drop(connection);
    let finding = finding(&db);
    assert_eq!((&finding["invariant"], &finding["rule"]), (&"never_unknown".into(), &"E10".into()));
    assert_eq!(finding["subject"], "operation_index");
}

#[test]
fn a_campaign_that_no_engine_would_load_is_told() {
    let (_folder, db) = killed_demo();
    let connection = Connection::open(&db).expect("it opens");
    without_checksums(&connection);
    connection.execute("UPDATE streams SET active = 0", []).expect("SQL");
    drop(connection);
    let finding = finding(&db);
    assert_eq!(
        (&finding["invariant"], &finding["subject"]),
        (&"state_is_fold".into(), &"stream".into())
    );
}

/// Saves a state snapshot of event 100 as an engine does, with a state after `change`.
fn save_snapshot(db: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    save_changed(db, change, |_| {});
}

fn save_changed(
    db: &Path,
    change: impl FnOnce(&mut Vec<u8>),
    damage: impl FnOnce(&mut StateSnapshot),
) {
    let store = SqliteStore::open(db).expect("it opens");
    let stream = wait(store.streams()).expect("it reads").remove(0);
    let StreamId::Campaign(id) = stream.stream else { panic!("a campaign") };
    let campaign = wait(campaign_at(&store, &stream.tenant, id, Some(100)));
    let campaign = campaign.expect("it folds").expect("it is there");
    let mut state = postcard::to_stdvec(&campaign).expect("a state");
    change(&mut state);
    let stands_on = wait(store.read_stream(&stream.tenant, stream.stream, 99, 1));
    let event = stands_on.expect("it reads")[0].checksum.expect("a new event");
    let mut hash = Sha256::new_with_prefix("hedgerow state 1");
    hash.update(100_u64.to_be_bytes());
    hash.update(event.as_bytes());
    hash.update(&state);
    let data = [&hash.finalize()[..], event.as_bytes(), &state].concat();
    let mut snapshot = StateSnapshot { version: 100, format: 6, data };
    damage(&mut snapshot);
    wait(store.save_snapshot(&stream.tenant, stream.stream, snapshot)).expect("it is saved");
}

#[test]
fn a_state_snapshot_is_compared_with_the_log() {
    let (_folder, db) = demo();
    save_snapshot(&db, |_| {});
    let (code, report) = audit(&db);
    assert_eq!((code, &report["remarks"]), (Some(0), &Value::Array(Vec::new())), "{report:#}");

    save_snapshot(&db, |state| {
        let name = b"Gateways to 2.0.0";
        let place = state.windows(name.len()).position(|window| window == name);
        state[place.expect("the name")] = b'K';
    });
    let finding = finding(&db);
    assert_eq!(
        (&finding["invariant"], &finding["subject"]),
        (&"state_is_fold".into(), &"snapshot".into())
    );
    assert_eq!(finding["version"], 100);

    // One of another version of Hedgerow harms nobody, nor does a damaged one.
    let damages: [fn(&mut StateSnapshot); 3] = [
        |snapshot| snapshot.format = 999,
        |snapshot| snapshot.data[70] ^= 1,
        |snapshot| snapshot.data.truncate(50),
    ];
    for damage in damages {
        save_changed(&db, |_| {}, damage);
        let (code, report) = audit(&db);
        assert_eq!(code, Some(0));
        assert_eq!(report["remarks"].as_array().map(Vec::len), Some(1), "{report:#}");
    }
}

#[test]
fn an_event_of_a_newer_version_is_not_looked_at_and_is_no_finding() {
    let (_folder, db) = demo();
    let connection = Connection::open(&db).expect("it opens");
    without_checksums(&connection);
    become_another(&connection, 50, "devices_teleported", "{}");
    drop(connection);
    let output = hedgerow(&["audit", path(&db)]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("not looked at: event 50 of campaign/"), "{text}");
    assert!(text.contains("use that one"), "{text}");
}

#[test]
fn people_are_told_where_to_look_and_what_to_do() {
    let (_folder, db) = demo();
    let connection = Connection::open(&db).expect("it opens");
    without_checksums(&connection);
    replace(&connection, 1, "\"max_pending_operations\":10", "\"max_pending_operations\":9");
    drop(connection);
    let output = hedgerow(&["audit", path(&db)]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "\nin_flight_bound (D7): 10 targets are in progress, at most 9 may be\n",
        "\n  where   campaign/",
        " of tenant demo, event ",
        "\n  look    hedgerow log ",
        "\n  do      the log was changed, or the engine that wrote it is wrong: ",
        "\n1 finding\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}
