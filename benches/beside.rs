//! Rows beside a writer: what they make appends cost, and how far they are behind the log.
//!
//! One writer appends to twenty campaigns in turn and waits for each append, once alone and once
//! beside a follower, which looks at the log every 20 ms as that of an engine does. `TMPDIR` says
//! where the files lie.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use hedgerow_benches::campaigns::{BESIDE_EACH_OTHER, Log};
use hedgerow_benches::measure::{median, thousands, whole};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::view::{Follower, ViewStore};
use hedgerow_sqlite::{SqliteStore, SqliteViews};

const TARGETS: u32 = 5_000;
const ROUNDS: usize = 3;
const LONGEST: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_millis(50);

/// What a round came to.
struct Round {
    /// One append.
    append: Duration,
    events_a_second: f64,
    /// The longest that an append was in no row.
    behind: Duration,
}

/// As in the `hedgerow` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    println!(
        "| Events in an append | Pause | Alone | Beside a follower | More | Events/s | Behind |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let logs: Vec<_> = (0..BESIDE_EACH_OTHER).map(|number| Log::new(number, TARGETS)).collect();
    // Of 100 events every 2 ms there are 50,000 a second: what a whole engine records.
    for (events, every) in [(1, 0), (100, 0), (100, 2)] {
        let every = Duration::from_millis(every);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(round(logs.clone(), events, every, false));
            beside.push(round(logs.clone(), events, every, true));
        }
        let middle = |rounds: &[Round]| median(rounds.iter().map(|round| round.append).collect());
        let (one, other) = (middle(&alone), middle(&beside));
        let more = 100.0 * (other.as_secs_f64() / one.as_secs_f64() - 1.0);
        let rate = beside.iter().map(|round| round.events_a_second).fold(0.0, f64::max);
        let behind = beside.iter().map(|round| round.behind).max().unwrap_or_default();
        println!(
            "| {events} | {} ms | {} µs | {} µs | {more:.0} % | {} | {} ms |",
            every.as_millis(),
            one.as_micros(),
            other.as_micros(),
            thousands(whole(rate)),
            behind.as_millis()
        );
    }
}

fn round(mut logs: Vec<Log>, events: usize, every: Duration, is_followed: bool) -> Round {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path).expect("it opens"));
    let rows = Arc::new(SqliteViews::open(SqliteViews::beside(&path)).expect("it opens"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let following = is_followed.then(|| {
        let clock = Arc::new(TokioRuntime::new(runtime.handle().clone()));
        let log: Arc<dyn EventStore> = store.clone();
        runtime.spawn(Follower::new(log, rows.clone()).keep_up(clock, REST))
    });
    let open: Mutex<VecDeque<(u64, Instant)>> = Mutex::default();
    let has_ended = AtomicBool::new(false);
    let (appends, total, spent, all, behind) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&rows, &open, &has_ended, is_followed));
        let (mut appends, mut position, mut spent) = (0_u32, 0, Duration::ZERO);
        let began = Instant::now();
        while began.elapsed() < LONGEST && !logs.iter().any(Log::is_empty) {
            for log in &mut logs {
                let append = log.append(events);
                position += append.events.len() as u64;
                let began = Instant::now();
                block_on(store.append(vec![append])).expect("it is written");
                spent += began.elapsed();
                open.lock().expect("no panic").push_back((position, Instant::now()));
                appends += 1;
                std::thread::sleep(every.saturating_sub(began.elapsed()));
            }
        }
        let all = began.elapsed();
        has_ended.store(true, Ordering::Relaxed);
        (appends, position, spent, all, watching.join().expect("no panic"))
    });
    if let Some(following) = following {
        following.abort();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let events_a_second = total as f64 / all.as_secs_f64();
    Round { append: spent / appends, events_a_second, behind }
}

/// Looks how far rows are until they have all, and says for how long an append was in none at most.
fn watch(
    rows: &SqliteViews,
    open: &Mutex<VecDeque<(u64, Instant)>>,
    has_ended: &AtomicBool,
    is_followed: bool,
) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let ended = has_ended.load(Ordering::Relaxed);
        let reached = block_on(rows.reached()).expect("read").map_or(0, |reached| reached.position);
        let mut open = open.lock().expect("no panic");
        while let Some((position, since)) = open.front()
            && *position <= reached
        {
            longest = longest.max(since.elapsed());
            open.pop_front();
        }
        if ended && (open.is_empty() || !is_followed) {
            return longest;
        }
        drop(open);
        std::thread::sleep(Duration::from_millis(5));
    }
}
