//! Durable appends through the store port, beside a bare loop that inserts the same rows with the
//! same pragmas, and beside one fsync on the same disk. The files are in the temporary folder;
//! `TMPDIR` says where that is.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use futures::executor::block_on;
use hedgerow_benches::{NOW, campaign_id, device};
use hedgerow_core::event::{CampaignEvent, RequestAccepted};
use hedgerow_core::{NewEvent, StreamId};
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_sqlite::SqliteStore;
use rusqlite::{Connection, params};
use uuid::Uuid;

const BATCHES: [u64; 3] = [1, 100, 1_000];

fn main() {
    divan::main();
}

#[divan::bench(args = BATCHES, sample_count = 500, sample_size = 1)]
fn sqlite_store(bencher: Bencher<'_, '_>, batch: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(folder.path().join("store.db")).expect("it opens");
    let version = Cell::new(0);
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| {
            let expected_version = version.replace(version.get() + batch);
            vec![StreamAppend {
                tenant: "realm".parse().expect("a tenant"),
                stream: StreamId::Campaign(campaign_id()),
                expected_version,
                events: (expected_version..version.get()).map(event).collect(),
                claims_taken: Vec::new(),
                claims_released: Vec::new(),
                operations: Vec::new(),
                activity: Activity::Active,
            }]
        })
        .bench_local_values(|append| block_on(store.append(append)).expect("it is durable"));
    store.close();
}

#[divan::bench(args = BATCHES, sample_count = 500, sample_size = 1)]
fn bare_rusqlite(bencher: Bencher<'_, '_>, batch: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut connection = bare(&folder.path().join("bare.db")).expect("it opens");
    let version = Cell::new(0);
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| {
            let first = version.replace(version.get() + batch);
            (first, (first..version.get()).map(event).collect::<Vec<_>>())
        })
        .bench_local_values(|(first, events)| {
            insert(&mut connection, first, &events).expect("it is durable");
        });
}

/// One page more in a plain file, and the wait until it is on the disk.
#[divan::bench(sample_count = 500, sample_size = 1)]
fn one_fsync(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut file = File::create(folder.path().join("plain")).expect("it is created");
    bencher.bench_local(|| {
        file.write_all(&[7; 4_096]).expect("it is written");
        file.sync_data().expect("it is durable");
    });
}

/// A file with the table of events, its index and the pragmas of the store's writer.
fn bare(path: &Path) -> rusqlite::Result<Connection> {
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

fn event(number: u64) -> NewEvent {
    let device = device(u32::try_from(number).unwrap_or(u32::MAX));
    let event = CampaignEvent::from(RequestAccepted { device });
    NewEvent {
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at: NOW,
        correlation_id: Uuid::from_u128(number.into()),
        causation_id: Uuid::from_u128((number / 100).into()),
        data: event.to_json(),
    }
}
