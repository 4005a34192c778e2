//! `kill -9` in the middle of appends, and of creating a file: what was acknowledged is there, and
//! nothing is there by half.
//!
//! The test runs itself again as a child, which writes; the child's part is a test that does
//! nothing unless it is told a file.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use hedgerow_core::{DeviceId, OperationId, StreamId};
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::{Claim, EventStore, StreamAppend};
use hedgerow_sqlite::SqliteStore;
use uuid::Uuid;

/// Tells the child its file.
const FILE: &str = "HEDGEROW_SQLITE_KILL_TEST_FILE";
/// A pair of streams gets one batch at a time; several pairs write at once.
const PAIRS: u128 = 4;

fn first_of(pair: u128) -> StreamId {
    stream(2 * pair)
}

fn second_of(pair: u128) -> StreamId {
    stream(2 * pair + 1)
}

fn claim(pair: u128, batch: u64) -> Claim {
    Claim::Device(DeviceId::from_bytes((pair << 64 | u128::from(batch)).to_be_bytes()))
}

fn operation(pair: u128, batch: u64) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(pair << 64 | u128::from(batch)))
}

/// Batch number `batch` of a pair, from 1: two events for the first stream, one for the second,
/// and a claim that takes the place of the one before.
fn batch(pair: u128, batch: u64) -> Vec<StreamAppend> {
    let first = StreamAppend {
        claims_taken: vec![claim(pair, batch)],
        claims_released: vec![claim(pair, batch - 1)],
        operations: vec![operation(pair, batch)],
        ..append(first_of(pair), 2 * (batch - 1), vec![event(2 * batch), event(2 * batch + 1)])
    };
    vec![first, append(second_of(pair), batch - 1, vec![event(batch)])]
}

/// The child: appends for ever, and says what was acknowledged.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = SqliteStore::open(path).expect("the one before is dead");
    let streams = block_on(store.streams()).expect("readable");
    let written: BTreeMap<_, _> = streams.into_iter().map(|s| (s.stream, s.version)).collect();
    let put = |pair: u128, number: u64| {
        store.append(batch(pair, number)).map(move |result| (pair, number, result))
    };
    let mut waiting: FuturesUnordered<_> =
        (0..PAIRS).map(|pair| put(pair, written.get(&second_of(pair)).unwrap_or(&0) + 1)).collect();
    block_on(async {
        while let Some((pair, number, result)) = waiting.next().await {
            result.expect("nobody else writes");
            // One write call for one line, past the test harness: a kill cannot cut it.
            let line = format!("\nacknowledged {pair} {number}\n");
            std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            waiting.push(put(pair, number + 1));
        }
    });
}

fn start_child(path: &Path) -> Child {
    let this = std::env::current_exe().expect("this test is a file");
    Command::new(this)
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs")
}

/// A number that is another one each time.
fn random_below(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

/// Kills a child some time after its first acknowledgement; what it acknowledged, by pair.
fn run_and_kill(path: &Path) -> BTreeMap<u128, u64> {
    let mut child = start_child(path);
    let output = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || BufReader::new(output).lines().collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(20 + random_below(150)));
    child.kill().expect("it runs for ever");
    child.wait().expect("it was killed");
    let mut acknowledged = BTreeMap::new();
    for line in reader.join().expect("reads").into_iter().flatten() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["acknowledged", pair, number] = words[..] {
            acknowledged.insert(pair.parse().expect("whole"), number.parse().expect("whole"));
        }
    }
    acknowledged
}

fn check(store: &SqliteStore, acknowledged: &BTreeMap<u128, u64>) {
    let mut expected_claims = Vec::new();
    for pair in 0..PAIRS {
        let read = |stream| {
            let read = block_on(store.read_stream(&tenant(), stream, 0, usize::MAX));
            read.expect("readable").into_iter().map(|stored| stored.event).collect::<Vec<_>>()
        };
        let (first, second) = (read(first_of(pair)), read(second_of(pair)));
        let batches = second.len() as u64;
        let least = acknowledged.get(&pair).copied().unwrap_or(0);
        assert!(
            least <= batches,
            "{least} batches of {pair} were acknowledged, {batches} are there"
        );
        assert!(batches <= least + 1, "one batch of a pair is written at a time");
        let of_first: Vec<_> = (2..2 * batches + 2).map(event).collect();
        let of_second: Vec<_> = (1..=batches).map(event).collect();
        assert!(first == of_first && second == of_second, "a batch of {pair} is there by half");
        if batches > 0 {
            expected_claims.push((tenant(), claim(pair, batches).key(), first_of(pair)));
        }
        for (number, holder) in [(batches, Some(first_of(pair))), (batches + 1, None)] {
            if number > 0 {
                let found = block_on(store.stream_of_operation(&tenant(), operation(pair, number)));
                assert_eq!(found, Ok(holder));
            }
        }
    }
    expected_claims.sort();
    assert_eq!(block_on(store.claims()), Ok(expected_claims));
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_nothing_is_there_by_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let (mut acknowledged, started) = (BTreeMap::new(), Instant::now());
    for kill in 0..20 {
        acknowledged.extend(run_and_kill(&path));
        if !path.exists() {
            continue;
        }
        // A reader comes to what a killed writer left, or a writer does, which folds the log in.
        let store = if kill % 2 == 0 {
            SqliteStore::open_read_only(&path).expect("readable")
        } else {
            SqliteStore::open(&path).expect("the lock went with the child")
        };
        check(&store, &acknowledged);
        // What was written without an answer counts from now on.
        for pair in 0..PAIRS {
            let read = block_on(store.read_stream(&tenant(), second_of(pair), 0, usize::MAX));
            acknowledged.insert(pair, read.expect("readable").len() as u64);
        }
    }
    assert!(acknowledged.values().sum::<u64>() > 20, "too little was written: {acknowledged:?}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_file_is_there_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..20 {
        let path = folder.path().join(format!("{number}.db"));
        let mut child = start_child(&path);
        std::thread::sleep(Duration::from_micros(random_below(15_000)));
        child.kill().expect("it runs for ever");
        child.wait().expect("it was killed");
        if path.exists() {
            SqliteStore::open_read_only(&path).expect("a whole file");
        }
        SqliteStore::open(&path).expect("what is left does not hinder");
    }
}
