//! What the store costs on this machine: time of an fsync, appends and reads per second, bytes on
//! disk per event. Give a folder on the disk to measure; without one it is the temporary one.
//!
//! ```text
//! cargo run --release -p hedgerow-sqlite --example measure -- FOLDER
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::join_all;
use hedgerow_core::{CampaignId, DeviceId, NewEvent, OperationId, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::{Activity, Claim, EventStore, StreamAppend};
use hedgerow_sqlite::SqliteStore;
use uuid::Uuid;

/// As many events as a campaign of 100,000 devices makes.
const EVENTS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "fsync of 4 KiB: {:?} in the middle", fsync(folder.path())?)?;
    for (size, total) in [(1, 4_000), (100, 200_000), (1_000, EVENTS)] {
        let path = folder.path().join(format!("{size}.db"));
        let store = SqliteStore::open(&path)?;
        let started = Instant::now();
        for first in (0..total).step_by(usize::try_from(size)?) {
            block_on(store.append(vec![append(1, first, size)?]))?;
        }
        let rate = per_second(total, started.elapsed());
        writeln!(out, "appended in batches of {size}: {rate} events/s")?;
        store.close();
        let bytes = std::fs::metadata(&path)?.len();
        writeln!(
            out,
            "  {} bytes on disk per event, {} of them its payload",
            bytes / total,
            payload(total / 2).len()
        )?;
    }
    waiting_together(&mut out, folder.path())?;
    reading(&mut out, &folder.path().join("1000.db"))?;
    operations(&mut out, folder.path())
}

/// Campaigns that append one event each at the same time: they share commits.
fn waiting_together(out: &mut impl Write, folder: &Path) -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::open(folder.join("together.db"))?;
    let started = Instant::now();
    for version in 0..500 {
        let batches =
            (0..100).map(|stream| append(stream, version, 1)).collect::<Result<Vec<_>, _>>()?;
        let appends = batches.into_iter().map(|batch| store.append(vec![batch]));
        block_on(join_all(appends)).into_iter().collect::<Result<(), _>>()?;
    }
    let rate = per_second(50_000, started.elapsed());
    writeln!(out, "appended one by one by 100 streams at once: {rate} events/s")?;
    Ok(())
}

fn reading(out: &mut impl Write, path: &Path) -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::open(path)?;
    for page in [100, 1_000, 10_000] {
        let (started, mut after) = (Instant::now(), 0);
        loop {
            let events = block_on(store.read_stream(&tenant()?, stream(1), after, page))?;
            let Some(last) = events.last() else { break };
            after = last.version;
        }
        let rate = per_second(after, started.elapsed());
        writeln!(out, "read a stream in pages of {page}: {rate} events/s")?;
    }
    let (started, mut after) = (Instant::now(), 0);
    loop {
        let events = block_on(store.read_all(after, 1_000))?;
        let Some(last) = events.last() else { break };
        after = last.position;
    }
    let rate = per_second(after, started.elapsed());
    writeln!(out, "read all in pages of 1000: {rate} events/s")?;
    store.close();
    let (started, mut bytes) = (Instant::now(), 0);
    let connection = rusqlite::Connection::open(path)?;
    let mut statement = connection.prepare(
        "SELECT version, position, event_type, schema_version, recorded_at, correlation_id,
                causation_id, data
         FROM events WHERE stream = 1 ORDER BY version",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let numbers: [i64; 5] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        let ids: [[u8; 16]; 2] = [row.get(5)?, row.get(6)?];
        let data: Vec<u8> = row.get(7)?;
        bytes += std::hint::black_box((numbers, ids, data)).2.len();
    }
    let rate = per_second(EVENTS, started.elapsed());
    writeln!(out, "a bare loop over the same {} MB: {rate} events/s", bytes / 1_000_000)?;
    Ok(())
}

/// Operations that start, each with its claim and its place in the index.
fn operations(out: &mut impl Write, folder: &Path) -> Result<(), Box<dyn Error>> {
    let path = folder.join("operations.db");
    let store = SqliteStore::open(&path)?;
    let started = Instant::now();
    for first in (0..100_000).step_by(100) {
        let numbers = || first..first + 100;
        let campaign = CampaignId::from_uuid(Uuid::from_u128(1));
        let devices = || numbers().map(device);
        let starting = StreamAppend {
            claims_taken: devices().map(Claim::Device).collect(),
            operations: devices().map(|d| OperationId::of_campaign(campaign, d, 0)).collect(),
            ..append(1, first, 100)?
        };
        block_on(store.append(vec![starting]))?;
    }
    let rate = per_second(100_000, started.elapsed());
    store.close();
    let bytes = std::fs::metadata(&path)?.len() / 100_000;
    writeln!(
        out,
        "operations started in batches of 100: {rate}/s, {bytes} bytes each with event, claim and index"
    )?;
    Ok(())
}

/// An append of `count` events after the first `version`, shaped as those of a campaign are.
fn append(number: u128, version: u64, count: u64) -> Result<StreamAppend, hedgerow_core::IdError> {
    Ok(StreamAppend {
        tenant: tenant()?,
        stream: stream(number),
        expected_version: version,
        events: (version..version + count).map(event).collect(),
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    })
}

fn event(number: u64) -> NewEvent {
    let cause = Uuid::new_v5(&Uuid::nil(), &(number / 100).to_be_bytes());
    NewEvent {
        event_type: ["operation_started", "report_recorded", "target_succeeded"]
            [usize::try_from(number % 3).unwrap_or(0)]
        .to_owned(),
        schema_version: 1,
        recorded_at: Timestamp::from_millis(1_800_000_000_000 + number.cast_signed()),
        correlation_id: Uuid::new_v5(&cause, &number.to_be_bytes()),
        causation_id: cause,
        data: payload(number),
    }
}

fn payload(number: u64) -> Vec<u8> {
    let device = device(number / 3);
    format!(r#"{{"device":"{device}","status":"deploying","percentage":{}}}"#, number % 101)
        .into_bytes()
}

/// The middle one of many.
fn fsync(folder: &Path) -> std::io::Result<Duration> {
    let mut file = File::create(folder.join("fsync"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4_096])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn per_second(count: u64, time: Duration) -> u128 {
    u128::from(count) * 1_000_000 / time.as_micros().max(1)
}

fn tenant() -> Result<TenantId, hedgerow_core::IdError> {
    "hedge".parse()
}

fn stream(number: u128) -> StreamId {
    StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(number)))
}

/// The device with this number, somewhere among all that there can be.
fn device(number: u64) -> DeviceId {
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes(spread.to_be_bytes())
}
