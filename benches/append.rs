//! Durable appends to SQLite in batches: through the store port, beside a bare `rusqlite` loop that
//! inserts the same rows with the same pragmas, beside `eventcore` with its SQLite store and
//! `cqrs-es` with `sqlite-es` (programs of their own in `libraries/`, as their SQLite bindings
//! cannot be linked together), and beside one fsync on the same disk.
//!
//! All take turns, append by append. Before, each writes so much that its write-ahead log is used
//! from the start again, as in a service that has run for a while. Every side has
//! `journal_mode = WAL` and `synchronous = FULL`: when an append has returned, it is durable. The
//! files are in the temporary folder; `TMPDIR` says where that is.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::bare::{events, open};
use hedgerow_benches::log::append_of;
use hedgerow_benches::measure::{median, rate, thousands, timed, whole};
use hedgerow_core::NewEvent;
use hedgerow_engine::store::EventStore;
use hedgerow_sqlite::SqliteStore;
use rusqlite::{Connection, params};

/// Events in an append, and how many appends each side has.
const BATCHES: [(usize, usize); 3] = [(1, 1_000), (100, 400), (1_000, 150)];
/// Appends of 1,000 events before the measured ones.
const WARM_UP: usize = 150;

/// Appends so many events, and tells how long that took.
type Side<'a> = &'a mut dyn FnMut(usize) -> Duration;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut eventcore = Library::start("eventcore", folder.path());
    let mut cqrs_es = Library::start("cqrs-es", folder.path());
    let store = SqliteStore::open(folder.path().join("store.db")).expect("it opens");
    let mut version = 0;
    let mut connection = open(&folder.path().join("bare.db"), "").expect("it opens");
    let mut inserted = 0;
    let mut file = File::create(folder.path().join("plain")).expect("it is created");
    let sides: [Side<'_>; 5] = [
        &mut |batch| {
            let append = vec![append_of(version, events(version, batch))];
            version += batch as u64;
            timed(|| block_on(store.append(append)).expect("it is durable")).0
        },
        &mut |batch| {
            let (first, events) = (inserted, events(inserted, batch));
            inserted += batch as u64;
            timed(|| insert(&mut connection, first, &events).expect("it is durable")).0
        },
        &mut |batch| eventcore.append(batch),
        &mut |batch| cqrs_es.append(batch),
        &mut |_| {
            timed(|| {
                file.write_all(&[7; 4_096]).expect("it is written");
                file.sync_data().expect("it is durable");
            })
            .0
        },
    ];
    measure(sides);
    store.close();
}

fn measure(mut sides: [Side<'_>; 5]) {
    for side in &mut sides {
        for _ in 0..WARM_UP {
            side(1_000);
        }
    }
    println!("| Events | Side | One append | Events/s | Beside bare rusqlite | Beside Hedgerow |");
    println!("|---:|---|---:|---:|---:|---:|");
    let mut fsyncs = Vec::new();
    for (batch, appends) in BATCHES {
        let mut times = [const { Vec::new() }; 5];
        for _ in 0..appends {
            for (side, times) in sides.iter_mut().zip(&mut times) {
                times.push(side(batch));
            }
        }
        let [hedgerow, bare, eventcore, cqrs_es, fsync] = times.map(median);
        fsyncs.push(fsync);
        for (name, time) in [
            ("Hedgerow", hedgerow),
            ("bare `rusqlite`", bare),
            ("`eventcore`", eventcore),
            ("`cqrs-es`", cqrs_es),
        ] {
            println!(
                "| {} | {name} | {:.0} µs | {} | {:.0} % | {:.0} % |",
                thousands(batch),
                micros(time),
                thousands(whole(rate(batch, time))),
                100.0 * bare.as_secs_f64() / time.as_secs_f64(),
                100.0 * hedgerow.as_secs_f64() / time.as_secs_f64(),
            );
        }
    }
    let fsyncs: Vec<_> = fsyncs.into_iter().map(|time| format!("{:.0}", micros(time))).collect();
    println!("\nOne fsync of a plain file that grows by 4 KiB: {} µs.", fsyncs.join(", "));
}

/// The program of a library, which appends as many events as each line that it reads says.
struct Library {
    child: Child,
}

impl Library {
    fn start(name: &str, folder: &Path) -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let command = |what| {
            let mut command = Command::new(env!("CARGO"));
            command.current_dir(manifest.join("libraries").join(name));
            command.args([what, "--release", "--locked"]);
            command
        };
        let built = command("build").status();
        assert!(built.is_ok_and(|status| status.success()), "{name} is built");
        let child = command("run")
            .args(["--quiet", "--"])
            .arg(folder.join(format!("{name}.db")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        Self { child }
    }

    fn append(&mut self, batch: usize) -> Duration {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{batch}").expect("it listens");
        let mut line = String::new();
        // It answers one line for each that it reads: nothing of the next one is read ahead.
        let output = self.child.stdout.as_mut().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it answers");
        Duration::from_nanos(line.trim().parse().expect("nanoseconds"))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // With nothing more to read it ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
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

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
