//! Durable appends to SQLite in batches: through the store port, beside a bare `rusqlite` loop that
//! inserts the same rows with the same pragmas, beside `eventcore` with its SQLite store and
//! `cqrs-es` with `sqlite-es` (programs of their own in `libraries/`, as their SQLite bindings
//! cannot be linked together), and beside one fsync on the same disk.
//!
//! All take turns. Before each is measured it writes so much that its write-ahead log has been
//! used from the start again, as it is in a service that has run for a while: an fsync of a file
//! that still grows takes longer. Every side has `journal_mode = WAL` and `synchronous = FULL`: when an append has
//! returned, it is durable. The files are in the temporary folder; `TMPDIR` says where that is.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::device;
use hedgerow_benches::log::{append_of, encoded};
use hedgerow_benches::measure::{median, rate, thousands, timed};
use hedgerow_core::NewEvent;
use hedgerow_core::event::{CampaignEvent, RequestAccepted};
use hedgerow_engine::store::EventStore;
use hedgerow_sqlite::SqliteStore;
use rusqlite::{Connection, params};

/// Events in an append, and how many appends one turn has.
const BATCHES: [(usize, usize); 3] = [(1, 400), (100, 100), (1_000, 40)];
const TURNS: usize = 5;
/// Appends of 1,000 events before the measured ones.
const WARM_UP: usize = 100;
const LIBRARIES: [&str; 2] = ["eventcore", "cqrs-es"];

fn main() {
    for library in LIBRARIES {
        build(library);
    }
    println!("| Events | Side | One append | Events/s | Beside bare rusqlite | Beside Hedgerow |");
    println!("|---:|---|---:|---:|---:|---:|");
    for (batch, appends) in BATCHES {
        measure(batch, appends);
    }
    let fsync = median((0..TURNS).flat_map(|_| one_fsync()).collect());
    println!("\nOne fsync of a plain file that grows by 4 KiB: {:.1} µs.", micros(fsync));
}

fn measure(batch: usize, appends: usize) {
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..TURNS {
        times[0].extend(store(batch, appends));
        times[1].extend(bare(batch, appends));
        for (library, times) in LIBRARIES.into_iter().zip(&mut times[2..]) {
            times.extend(run(library, batch, appends));
        }
    }
    let times = times.map(median);
    let [hedgerow, bare, ..] = times.map(|time| time.as_secs_f64());
    for (name, time) in ["Hedgerow", "bare rusqlite", LIBRARIES[0], LIBRARIES[1]].iter().zip(times)
    {
        println!(
            "| {} | {name} | {:.1} µs | {} | {:.0} % | {:.0} % |",
            thousands(batch),
            micros(time),
            thousands(whole(rate(batch, time))),
            100.0 * bare / time.as_secs_f64(),
            100.0 * hedgerow / time.as_secs_f64(),
        );
    }
}

fn store(batch: usize, appends: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(folder.path().join("store.db")).expect("it opens");
    let mut append = |events: Range<usize>| {
        let append = vec![append_of(events.start as u64, encoded_events(events))];
        timed(|| block_on(store.append(append)).expect("it is durable")).0
    };
    let times = in_steady_state(batch, appends, &mut append);
    store.close();
    times
}

fn bare(batch: usize, appends: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut connection = open(&folder.path().join("bare.db")).expect("it opens");
    let mut append = |events: Range<usize>| {
        let (first, events) = (events.start as u64, encoded_events(events));
        timed(|| insert(&mut connection, first, &events).expect("it is durable")).0
    };
    in_steady_state(batch, appends, &mut append)
}

/// The times of appends after those that warm the file up.
fn in_steady_state(
    batch: usize,
    appends: usize,
    append: &mut dyn FnMut(Range<usize>) -> Duration,
) -> Vec<Duration> {
    for number in 0..WARM_UP {
        append(number * 1_000..(number + 1) * 1_000);
    }
    let first = WARM_UP * 1_000;
    (0..appends).map(|n| append(first + n * batch..first + (n + 1) * batch)).collect()
}

/// One page more in a plain file, and the wait until it is on the disk.
fn one_fsync() -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = File::create(folder.path().join("plain")).expect("it is created");
    let mut write = || {
        file.write_all(&[7; 4_096]).expect("it is written");
        file.sync_data().expect("it is durable");
    };
    (0..100).map(|_| timed(&mut write).0).collect()
}

/// A file with the table of events, its index and the pragmas of the store's writer.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    connection.execute_batch(
        "CREATE TABLE events (
            position INTEGER PRIMARY KEY,
            stream INTEGER NOT NULL,
            version INTEGER NOT NULL,
            event_type INTEGER NOT NULL,
            schema_version INTEGER NOT NULL,
            recorded_at INTEGER NOT NULL,
            correlation_id BLOB NOT NULL,
            causation_id BLOB NOT NULL,
            data BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX events_of_stream ON events (stream, version);",
    )?;
    Ok(connection)
}

fn insert(connection: &mut Connection, first: u64, events: &[NewEvent]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO events (stream, version, event_type, schema_version, recorded_at,
                                 correlation_id, causation_id, data)
             VALUES (1, ?1, 1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (version, event) in (first + 1..).zip(events) {
            statement.execute(params![
                version,
                event.schema_version,
                event.recorded_at.as_millis(),
                event.correlation_id.as_bytes(),
                event.causation_id.as_bytes(),
                event.data,
            ])?;
        }
    }
    transaction.commit()
}

fn encoded_events(numbers: Range<usize>) -> Vec<NewEvent> {
    let event = |number| {
        let device = device(u32::try_from(number).unwrap_or(u32::MAX));
        encoded(&CampaignEvent::from(RequestAccepted { device }))
    };
    numbers.map(event).collect()
}

fn build(library: &str) {
    let status = cargo(library).arg("build").args(options(library)).status();
    assert!(status.is_ok_and(|status| status.success()), "{library} is built");
}

/// Lets a library do so many appends, and reads the nanoseconds that each took.
fn run(library: &str, batch: usize, appends: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = cargo(library)
        .arg("run")
        .args(options(library))
        .args(["--quiet", "--"])
        .arg(folder.path().join("library.db"))
        .args([batch, appends, WARM_UP].map(|number| number.to_string()))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{library}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<_> =
        text.lines().map(|line| Duration::from_nanos(line.parse().expect("nanoseconds"))).collect();
    assert_eq!(times.len(), appends, "one time for each append");
    times
}

fn cargo(library: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("libraries").join(library));
    command
}

fn options(library: &str) -> [String; 3] {
    ["--release".to_owned(), "--bin".to_owned(), format!("append-{library}")]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
fn whole(rate: f64) -> usize {
    rate as usize
}
