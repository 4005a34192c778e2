//! What the chained SHA-256 of every event costs a durable append (E14): the same rows inserted with
//! bare `rusqlite`, without checksums, with a checksum computed and kept, and with 32 bytes that
//! nobody computed; beside the store port. All take turns, append by append, with the pragmas of the
//! store's writer; and what computing alone takes, without a file.
//!
//! The files are in the temporary folder; `TMPDIR` says where that is.

use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::bare::{events, open};
use hedgerow_benches::log::{append_of, stream, tenant};
use hedgerow_benches::measure::{in_turns, median, rate, thousands, timed, whole};
use hedgerow_core::NewEvent;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::checksum::Chain;
use hedgerow_sqlite::SqliteStore;
use rusqlite::{Connection, params};

/// Events in an append, and how many appends each side has.
const BATCHES: [(usize, usize); 3] = [(1, 600), (100, 300), (1_000, 120)];
/// Appends of 1,000 events before the measured ones: the write-ahead log goes round by then.
const WARM_UP: usize = 60;

/// What a bare loop keeps beside each event.
#[derive(Clone, Copy)]
enum Keeps {
    Nothing,
    Bytes,
    Checksum,
}

struct Bare {
    connection: Connection,
    keeps: Keeps,
    chain: Chain,
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(folder.path().join("store.db")).expect("it opens");
    let bare = |name: &str, keeps| Bare {
        connection: open(&folder.path().join(name), ", checksum BLOB").expect("it opens"),
        keeps,
        chain: Chain::default(),
    };
    let mut without = bare("without.db", Keeps::Nothing);
    let mut bytes = bare("bytes.db", Keeps::Bytes);
    let mut with = bare("with.db", Keeps::Checksum);
    let mut version = 0;
    let mut through_the_port = |batch: usize| {
        let append = vec![append_of(version, events(version, batch))];
        version += batch as u64;
        timed(|| block_on(store.append(append)).expect("it is durable")).0
    };
    for _ in 0..WARM_UP {
        through_the_port(1_000);
        for bare in [&mut without, &mut bytes, &mut with] {
            bare.append(1_000);
        }
    }
    println!("| Events | Side | One append | Events/s | Beside no checksum |");
    println!("|---:|---|---:|---:|---:|");
    for (batch, appends) in BATCHES {
        let times = in_turns(
            appends,
            [
                &mut || without.append(batch),
                &mut || bytes.append(batch),
                &mut || with.append(batch),
                &mut || through_the_port(batch),
            ],
        );
        let names = ["bare, no checksum", "bare, 32 bytes", "bare, SHA-256", "Hedgerow"];
        for (name, time) in names.into_iter().zip(times) {
            println!(
                "| {} | {name} | {:.0} µs | {} | {:.0} % |",
                thousands(batch),
                time.as_secs_f64() * 1e6,
                thousands(whole(rate(batch, time))),
                100.0 * times[0].as_secs_f64() / time.as_secs_f64(),
            );
        }
    }
    let mut chain = Chain::default();
    let computed = (0..200).map(|_| {
        let events = events(chain.version(), 1_000);
        timed(|| {
            for event in &events {
                extend(&mut chain, event);
            }
        })
        .0
    });
    let each = median(computed.collect()) / 1_000;
    println!("\nComputing alone: {} ns for each event.", each.as_nanos());
    store.close();
}

impl Bare {
    fn append(&mut self, batch: usize) -> Duration {
        let events = events(self.chain.version(), batch);
        timed(|| self.insert(&events).expect("it is durable")).0
    }

    fn insert(&mut self, events: &[NewEvent]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO events (stream, version, event_type, schema_version, recorded_at,
                                     correlation_id, causation_id, data, checksum)
                 VALUES (1, ?1, 1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for event in events {
                let checksum = match self.keeps {
                    Keeps::Checksum => Some(extend(&mut self.chain, event)),
                    keeps => {
                        self.chain = Chain::after(self.chain.version() + 1, None);
                        matches!(keeps, Keeps::Bytes).then_some([7; 32])
                    }
                };
                statement.execute(params![
                    self.chain.version(),
                    event.schema_version,
                    event.recorded_at.as_millis(),
                    event.correlation_id.as_bytes(),
                    event.causation_id.as_bytes(),
                    event.data,
                    checksum,
                ])?;
            }
        }
        transaction.commit()
    }
}

fn extend(chain: &mut Chain, event: &NewEvent) -> [u8; 32] {
    *chain.extend(&tenant(), stream(), event).as_bytes()
}
