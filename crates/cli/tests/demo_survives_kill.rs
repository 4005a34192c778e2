//! A demo that is killed again and again ends as one that is left alone (E4, E8), and over its
//! whole log no limit is passed (D7) and no device has two operations at once (D14).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, OperationFailure};
use hedgerow_core::{DeviceId, OperationId, StreamId};
use hedgerow_engine::store::EventStore;
use hedgerow_sim::random::Random;
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::Value;

#[path = "processes/newest.rs"]
mod newest;

use newest::newest;

const DEVICES: &str = "400";
const MAX_PENDING: usize = 40;
const KILLS: u64 = 24;

fn demo(db: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(["demo", "--json", "--speed", "max", "--seed", "11", "--devices", DEVICES]);
    command.arg("--max-pending").arg(MAX_PENDING.to_string()).arg("--db").arg(db);
    command
}

/// Runs a demo to its end, and returns its report.
fn finish(db: &Path) -> Value {
    let output = demo(db).output().expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

/// `kill -9`, as soon as the log has reached a place, or at some later moment.
fn kill_at(mut child: Child, db: &Path, place: u64, known: u64, linger: Duration) -> u64 {
    let mut reached = known;
    while reached < place && child.try_wait().expect("it is ours").is_none() {
        reached = newest(db, reached);
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(linger);
    child.kill().expect("it can be killed, also if it has ended");
    child.wait().expect("it ends");
    reached
}

#[test]
fn a_demo_killed_at_two_dozen_places_ends_as_one_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let undisturbed = finish(&folder.path().join("undisturbed.db"));
    let events = undisturbed["events"].as_u64().expect("a number");

    let db = folder.path().join("killed.db");
    let mut random = Random::new(20);
    let mut known = 0;
    for kill in 0..KILLS {
        let child = demo(&db).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        // Every other kill is at a place of the log, the others at a moment after it.
        let place = kill * events / (KILLS + 2);
        let linger = Duration::from_micros(if kill % 2 == 0 { 0 } else { random.below(30_000) });
        known = kill_at(child, &db, place, known, linger);
    }
    assert!(known < events, "the last kill was to come before the end");
    let killed = finish(&db);

    let excused = left_to_stall(&folder.path().join("undisturbed.db"), &db);
    assert_eq!(killed["outcome"], undisturbed["outcome"]);
    let count = |report: &Value, status: &str| report["targets"][status].as_u64();
    for (status, more) in [("successful", 0), ("failed", excused), ("idle", 0), ("total", 0)] {
        let fewer = if status == "successful" { excused } else { 0 };
        let expected = count(&undisturbed, status).map(|targets| targets + more - fewer);
        assert_eq!(count(&killed, status), expected, "{status}, {excused} left to stall");
    }
    let mut expected = reasons(&undisturbed);
    if excused > 0 {
        *expected.entry("\"stalled\"".to_owned()).or_default() += excused;
    }
    assert_eq!(reasons(&killed), expected);
    check_the_log(&db);
}

/// Devices that forgot their operation and connected just before a kill: a restart is no connection,
/// so that nobody asks them again and D9 ends their operations, where an engine that is left alone
/// asks again and they succeed (D24).
fn left_to_stall(undisturbed: &Path, killed: &Path) -> u64 {
    let asked_again = operations(undisturbed);
    let stalled = operations(killed);
    let excused = stalled.iter().filter(|(device, operation)| {
        let alone = &asked_again[device];
        operation.has_stalled && alone.was_asked_again && !alone.has_stalled
    });
    excused.count() as u64
}

/// What became of the operation of a device.
#[derive(Default)]
struct Course {
    has_reported: bool,
    was_asked_again: bool,
    has_stalled: bool,
}

fn operations(db: &Path) -> BTreeMap<DeviceId, Course> {
    let store = SqliteStore::open_read_only(db).expect("the log opens");
    let mut courses: BTreeMap<DeviceId, Course> = BTreeMap::new();
    for stored in wait(store.read_all(0, usize::MAX)).expect("the log reads") {
        let event = CampaignEvent::from_stored(&stored).expect("an event");
        let Some(device) = event.device() else { continue };
        let course = courses.entry(device).or_default();
        match event {
            CampaignEvent::OperationReported(_) => course.has_reported = true,
            CampaignEvent::RequestResent(_) => course.was_asked_again |= course.has_reported,
            CampaignEvent::OperationFailed(e) => {
                course.has_stalled = e.reason == OperationFailure::Stalled;
            }
            _ => {}
        }
    }
    courses
}

fn reasons(report: &Value) -> BTreeMap<String, u64> {
    let failures = report["failures"].as_array().expect("a list");
    let count = |failure: &Value| failure["targets"].as_u64().expect("a number");
    failures.iter().map(|failure| (failure["reason"].to_string(), count(failure))).collect()
}

/// Follows the operations of a whole log without the code that decides them.
fn check_the_log(db: &Path) {
    let store = SqliteStore::open_read_only(db).expect("the log opens");
    let mut in_progress: BTreeMap<DeviceId, OperationId> = BTreeMap::new();
    let mut open: BTreeMap<DeviceId, OperationId> = BTreeMap::new();
    let mut most = 0;
    let mut after = 0;
    loop {
        let page = wait(store.read_all(after, 10_000)).expect("the log reads");
        let Some(last) = page.last() else { break };
        after = last.position;
        for stored in &page {
            assert!(matches!(stored.stream, StreamId::Campaign(_)));
            match CampaignEvent::from_stored(stored).expect("an event") {
                CampaignEvent::OperationStarted(e) => {
                    let former = open.insert(e.device, e.operation);
                    let same = former.is_none_or(|former| former == e.operation);
                    assert!(same, "D14: {} gets a second operation at {after}", e.device);
                    in_progress.insert(e.device, e.operation);
                }
                CampaignEvent::OperationDeferred(e) => {
                    in_progress.remove(&e.device);
                }
                CampaignEvent::OperationReadmitted(e) => {
                    in_progress.insert(e.device, open[&e.device]);
                }
                CampaignEvent::OperationRefused(e) => {
                    in_progress.remove(&e.device);
                    open.remove(&e.device);
                }
                CampaignEvent::OperationSucceeded(e) => {
                    in_progress.remove(&e.device);
                    open.remove(&e.device);
                }
                CampaignEvent::OperationFailed(e) => {
                    in_progress.remove(&e.device);
                    open.remove(&e.device);
                }
                _ => {}
            }
            most = most.max(in_progress.len());
            assert!(in_progress.len() <= MAX_PENDING, "D7 is passed at event {}", stored.version);
        }
    }
    assert_eq!(most, MAX_PENDING, "the limit was reached, so that it was put to the test");
    assert!(open.is_empty(), "an operation has no end");
}
