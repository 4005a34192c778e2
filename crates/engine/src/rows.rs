//! The rows of an engine: made by a task of its own that follows the log, woken by what the engine
//! records, and waited for by whoever asks after a command.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::select;
use hedgerow_core::Timestamp;
use serde::Serialize;

use crate::EngineError;
use crate::loss::OnLoss;
use crate::ports::BoxFuture;
use crate::shared::Shared;
use crate::signal::Signal;
use crate::store::end_of_log;
use crate::sync::{Mutex, MutexGuard};
use crate::view::{FIRST_PAUSE, FollowError, Follower, LONGEST_PAUSE, ViewStore, Views};

/// So long the follower rests between two steps, unless somebody asks: what is recorded meanwhile is
/// one step, not many.
const REST: Duration = Duration::from_millis(50);
/// So long a question waits for what the engine had recorded before.
const OWN_WAIT: Duration = Duration::from_secs(1);
/// So long an engine that stops goes on making rows.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// How far the rows of an engine are, as of the last look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RowStats {
    /// Up to which position of the log rows are made.
    pub position: u64,
    /// The highest position of the log that was seen.
    pub log_position: u64,
    /// Appends of this engine that are in no row yet.
    pub appends_behind: u64,
    /// For how long rows have been behind what this engine has recorded, in milliseconds; 0: they are
    /// not.
    pub behind_ms: u64,
    /// The longest that they were, since the engine started and rows had reached the log's end once.
    pub longest_behind_ms: u64,
    /// How often rows could not be made, each tried again after a pause.
    pub failures: u64,
}

/// What an engine has to answer from.
pub(crate) struct Rows {
    pub(crate) views: Views,
    /// How many appends of the engine are in the rows, and one more; 0: rows have never been at the
    /// log's end, so that they may lack what was recorded before the engine started.
    followed: Signal,
    /// How often somebody waited for rows.
    wanted: Signal,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    stats: RowStats,
    behind_since: Option<Timestamp>,
    has_been_at_end: bool,
}

impl Rows {
    pub(crate) fn new(rows: Arc<dyn ViewStore>) -> Self {
        Self {
            views: Views::new(rows),
            followed: Signal::default(),
            wanted: Signal::default(),
            standing: Mutex::default(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Its numbers are set one by one, and none depends on another.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self, appends: u64, now: Timestamp) -> RowStats {
        let followed = self.followed.number().saturating_sub(1);
        let standing = self.standing();
        let behind = standing.behind_since.map_or(0, |since| millis(now.since(since)));
        RowStats {
            appends_behind: appends.saturating_sub(followed),
            behind_ms: behind,
            longest_behind_ms: standing.stats.longest_behind_ms,
            ..standing.stats
        }
    }

    /// Waits until rows show what the log had when the engine started, and what the engine had recorded
    /// when this was called, for so long and no longer.
    async fn show_own(&self, shared: &Shared) {
        let appends = shared.appends.number();
        if self.followed.number() > appends {
            return;
        }
        self.wanted.raise();
        let shown = pin!(self.followed.beyond(appends));
        select(shown, shared.clock.sleep(OWN_WAIT)).await;
    }

    /// Ends with the sleep, when somebody has asked since `wanted`, or when the engine stops.
    async fn rest(&self, wanted: u64, sleep: BoxFuture<'_, ()>) {
        select(pin!(self.wanted.beyond(wanted)), sleep).await;
    }

    /// The engine stops: whoever rests goes on at once.
    pub(crate) fn stop(&self) {
        self.wanted.end();
    }

    fn begins(&self, appends: u64, now: Timestamp) {
        if self.followed.number() <= appends {
            self.standing().behind_since.get_or_insert(now);
        }
    }

    fn made(&self, follower: &Follower, appends: u64, now: Timestamp) {
        {
            let standing = &mut *self.standing();
            let position = follower.position();
            standing.stats.position = position;
            standing.stats.log_position = standing.stats.log_position.max(position);
            if follower.is_at_end() {
                let since = standing.behind_since.take();
                let was = since.map_or(0, |since| millis(now.since(since)));
                if standing.has_been_at_end {
                    let longest = standing.stats.longest_behind_ms.max(was);
                    standing.stats.longest_behind_ms = longest;
                }
                standing.has_been_at_end = true;
            }
        }
        if follower.is_at_end() {
            self.followed.raise_to(appends + 1);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// Rows that show what this engine has recorded, or as much of it as was made in time.
    ///
    /// # Errors
    /// [`EngineError::NoRows`].
    pub(crate) async fn views(&self) -> Result<&Views, EngineError> {
        let rows = self.rows.as_ref().ok_or(EngineError::NoRows)?;
        rows.show_own(self).await;
        Ok(&rows.views)
    }

    /// Follows the log into the rows, in a task of its own, until the engine stops.
    pub(crate) fn follow(shared: &Arc<Self>, rows: Arc<dyn ViewStore>) {
        let (until_the_end, ended) = oneshot::channel();
        shared.background().push(ended);
        let follows = Arc::clone(shared);
        // Also one that is never polled.
        let lost = Arc::clone(shared);
        let following = OnLoss::new(move || {
            tracing::error!(
                "the task that makes rows was lost: they stay as they are until a restart"
            );
            if let Some(rows) = &lost.rows {
                rows.standing().stats.failures += 1;
                rows.followed.end();
            }
        });
        let task = async move {
            keep_up_in_spite_of_panics(&follows, &rows).await;
            following.ended();
            if let Some(rows) = &follows.rows {
                // Nobody waits for what comes no more.
                rows.followed.end();
            }
            // Whoever stops the engine may have gone.
            let _: Result<(), ()> = until_the_end.send(());
        };
        shared.spawner.spawn(task.boxed());
    }
}

/// Whatever panics, such as a store of somebody else's, is begun anew after a pause: nobody but this task
/// makes rows, and subscribers of the whole service are told by them.
async fn keep_up_in_spite_of_panics(shared: &Shared, rows: &Arc<dyn ViewStore>) {
    let mut panics = 0_u32;
    loop {
        let follower = Follower::new(Arc::clone(&shared.store), Arc::clone(rows));
        // What a panic left half done is in that follower alone.
        if AssertUnwindSafe(keep_up(shared, follower)).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(panics, "making rows panicked: it is begun anew after a pause");
        if let Some(rows) = &shared.rows {
            rows.standing().stats.failures += 1;
        }
        // Nobody rests in an engine that stops.
        if shared.appends.is_over() {
            return;
        }
        shared.rest_after(panics, FIRST_PAUSE, LONGEST_PAUSE).await;
        panics = panics.saturating_add(1);
    }
}

async fn keep_up(shared: &Shared, mut follower: Follower) {
    let Some(rows) = &shared.rows else { return };
    let mut failures = 0_u32;
    loop {
        if shared.appends.is_over() {
            let last = pin!(make(shared, rows, &mut follower, true));
            select(last, shared.clock.sleep(LAST_STEPS)).await;
            return;
        }
        let (appends, wanted) = (shared.appends.number(), rows.wanted.number());
        match make(shared, rows, &mut follower, false).await {
            Ok(()) => {
                failures = 0;
                shared.recorded_beyond(appends).await;
                rows.rest(wanted, shared.clock.sleep(REST)).await;
            }
            Err(error) => {
                tracing::warn!(%error, failures, "rows cannot be made any further for now");
                rows.standing().stats.failures += 1;
                shared.rest_after(failures, FIRST_PAUSE, LONGEST_PAUSE).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// Makes rows up to the end of the log, or until the engine stops, unless these are its last.
async fn make(
    shared: &Shared,
    rows: &Rows,
    follower: &mut Follower,
    are_last: bool,
) -> Result<(), FollowError> {
    loop {
        // What is recorded while the step is made may be missing in it.
        let appends = shared.appends.number();
        rows.begins(appends, shared.now());
        follower.step().await?;
        rows.made(follower, appends, shared.now());
        if follower.is_at_end() || (shared.appends.is_over() && !are_last) {
            return Ok(());
        }
        let seen = rows.standing().stats.log_position.max(follower.position());
        let end = end_of_log(&*shared.store, seen).await?;
        rows.standing().stats.log_position = end;
    }
}
