//! Following the log: events in, rows out, as far as the log goes and from where the rows are.
//!
//! While rows are written, the events behind them are read and folded: a store that works on threads
//! of its own reads, writes, and leaves the folding to this one.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::ready;
use hedgerow_core::{StoredEvent, StreamId};

use super::fold::{Changed, Changes, json};
use super::hand::{AtHand, Name};
use super::key;
use super::removal;
use super::row::CampaignEntry;
use super::store::{Direction, Reached, Step, StepError, ViewError, ViewStore};
use super::stream::{Halt, Sources, Stream, Writing, read};
use crate::LoadError;
use crate::ports::{BoxFuture, Clock};
use crate::store::checksum::goes_on;
use crate::store::retention::Note;
use crate::store::{EventStore, StoreError};
use crate::time::growing_pause;

/// The form of keys and rows. Another one makes all rows anew.
pub(super) const FORMAT: u32 = 4;

/// Events read at once: one of a snapshot can be a quarter of a megabyte.
const PAGE: usize = 1_000;

/// With so many events a step is written although more could be read.
const STEP: usize = 800_000;

/// How long it rests after a failure, at first and at most.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(250);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many streams that could not be read to their ends are tried again.
const RETRIED: usize = 1_000;

/// What keeps rows from being made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The rows cannot be read or written.
    #[error(transparent)]
    Rows(#[from] ViewError),
}

/// Makes rows of the events of a log, step by step.
///
/// ```
/// use std::sync::Arc;
/// use hedgerow_engine::store::memory::MemoryStore;
/// use hedgerow_engine::view::{Follower, MemoryViews};
///
/// # futures::executor::block_on(async {
/// let mut follower = Follower::new(Arc::new(MemoryStore::new()), Arc::new(MemoryViews::new()));
/// while follower.step().await? > 0 {}
/// # Ok::<(), hedgerow_engine::view::FollowError>(())
/// # }).unwrap();
/// ```
pub struct Follower {
    log: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    /// How far the rows are.
    reached: Option<Reached>,
    /// Whether that was looked at.
    has_looked: bool,
    /// What is being written, and how far the rows are with it.
    writing: Option<(Reached, Writing)>,
    streams: AtHand,
    /// Those whose logs cannot be read to their ends: what their rows show is from before (D21).
    unreadable: BTreeSet<Name>,
    /// Events read at once, and events of a step.
    sizes: (usize, usize),
    /// Whether the last step came to where the log ended then.
    is_at_end: bool,
    /// Whether a step has begun and not ended.
    is_stepping: bool,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("reached", &self.reached).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows this log into these rows. Of several that follow into the same rows one has the lead,
    /// and the others do its work once more for nothing: one is enough.
    #[must_use]
    pub fn new(log: Arc<dyn EventStore>, views: Arc<dyn ViewStore>) -> Self {
        Self {
            log,
            views,
            reached: None,
            has_looked: false,
            writing: None,
            streams: AtHand::default(),
            unreadable: BTreeSet::new(),
            sizes: (PAGE, STEP),
            is_at_end: false,
            is_stepping: false,
        }
    }

    /// Up to which position of the log the rows are made, as far as this follower knows.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reached.map_or(0, |reached| reached.position)
    }

    /// Whether the last step came to where the log ended while it was made.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Goes on by one step, and says by how many events: none are left once that is 0. Of a step that
    /// does not come to the end of the log the rows may still be being written when it returns;
    /// [`Follower::position`] says how far they are. Rows of another form or of another log are thrown
    /// away and made anew.
    ///
    /// # Errors
    /// [`FollowError`]. Call again later: it goes on where the rows are.
    pub async fn step(&mut self) -> Result<usize, FollowError> {
        loop {
            // One that was dropped half way left streams at hand that are ahead of their rows.
            if std::mem::replace(&mut self.is_stepping, true) {
                self.forget();
            }
            let stepped = self.try_step().await;
            self.is_stepping = false;
            match stepped {
                Ok(events) => return Ok(events),
                Err(Stopped::Moved) => self.forget(),
                Err(Stopped::By(error)) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
    }

    /// Goes on until nothing is left.
    ///
    /// # Errors
    /// As [`Follower::step`].
    pub async fn catch_up(&mut self) -> Result<(), FollowError> {
        while self.step().await? > 0 {}
        Ok(())
    }

    /// Goes on for as long as it is polled: looks at the log, makes rows as far as it goes, and rests
    /// for `pause`. Spawn it beside an engine, and drop it to end it. It stands what fails, and tries
    /// again after a pause that grows to a minute.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # use hedgerow_engine::ports::Clock;
    /// # use hedgerow_engine::store::EventStore;
    /// # use hedgerow_engine::view::{Follower, MemoryViews, Views};
    /// # async fn serve(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) {
    /// let rows = Arc::new(MemoryViews::new());
    /// let views = Views::new(rows.clone());
    /// let following = Follower::new(store, rows).keep_up(clock, Duration::from_millis(100));
    /// # let _ = (views, following);
    /// # }
    /// ```
    pub async fn keep_up(mut self, clock: Arc<dyn Clock>, pause: Duration) {
        let mut failures = 0_u32;
        loop {
            let rest = match self.catch_up().await {
                Ok(()) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    tracing::warn!(%error, failures, "the rows cannot be made any further for now");
                    let rest = growing_pause(failures, FIRST_PAUSE, LONGEST_PAUSE);
                    failures = failures.saturating_add(1);
                    rest
                }
            };
            clock.sleep(rest).await;
        }
    }

    fn forget(&mut self) {
        self.has_looked = false;
        self.writing = None;
        self.streams.clear();
        self.unreadable.clear();
    }

    async fn try_step(&mut self) -> Result<usize, Stopped> {
        self.streams.begin_step();
        self.is_at_end = false;
        // Rows that are removed; what is written of the same key is newer.
        let (mut changes, mut gone) = (Changes::new(), Changes::new());
        if !self.has_looked {
            self.reached = self.look().await?;
            self.retry(&mut changes).await?;
            self.has_looked = true;
        }
        let from = self.writing.as_ref().map(|(to, _)| *to).or(self.reached);
        let mut position = from.map_or(0, |from| from.position);
        let (mut events, mut last) = (0, from.filter(|_| !changes.is_empty()));
        let mut is_at_end = false;
        let (log, (at_once, most)) = (Arc::clone(&self.log), self.sizes);
        let mut next = Some(log.read_all(position, at_once));
        while let Some(page) = next.take() {
            let page = page.await?;
            if let Some(end) = page.last()
                && page.len() == at_once
                && events + page.len() < most
            {
                next = Some(begun(log.read_all(end.position, at_once)));
                // A step is long: whoever shares a thread with it has its turn.
                yielded().await;
            }
            for stored in &page {
                goes_on(position, stored)?;
                position = stored.position;
                self.follow(stored, &mut changes, &mut gone).await?;
            }
            events += page.len();
            last = page.last().map(|stored| Reached::event(FORMAT, stored)).or(last);
            is_at_end = page.len() < at_once;
        }
        if let Some(to) = last {
            let rows = merged(self.streams.flush(), changes, gone);
            self.settle().await?;
            self.write(Step { from, to, rows });
        }
        if is_at_end || last.is_none() {
            self.settle().await?;
        }
        self.is_at_end = is_at_end;
        Ok(events)
    }

    /// Begins to write a step, when the one before is written.
    fn write(&mut self, step: Step) {
        let (to, views) = (step.to, Arc::clone(&self.views));
        let writing = async move { views.write(step).await }.boxed().shared();
        // From now on it is under way; whoever waits for it learns what became of it.
        let _: Option<Result<(), StepError>> = writing.clone().now_or_never();
        self.writing = Some((to, writing));
    }

    /// Waits for what is being written.
    async fn settle(&mut self) -> Result<(), Stopped> {
        if let Some((to, writing)) = &self.writing {
            writing.clone().await?;
            self.reached = Some(*to);
            self.writing = None;
        }
        Ok(())
    }

    /// How far the rows are; throws away those that cannot be gone on with.
    async fn look(&self) -> Result<Option<Reached>, Stopped> {
        let Some(reached) = self.views.reached().await? else { return Ok(None) };
        if reached.format > FORMAT {
            let detail = format!(
                "a newer version of Hedgerow makes them, in form {}, and this one knows up to {FORMAT}: use that version, or rows of your own",
                reached.format
            );
            return Err(ViewError::Unavailable { detail }.into());
        }
        if reached.format == FORMAT {
            let page = self.log.read_all(reached.position.saturating_sub(1), 1).await?;
            let is_there =
                page.first().is_some_and(|stored| Reached::event(FORMAT, stored) == reached);
            if is_there {
                return Ok(Some(reached));
            }
            tracing::warn!(
                position = reached.position,
                "the rows are of another log, perhaps of one that was restored from a backup, or what they stopped at was removed: they are made anew"
            );
        }
        self.views.clear(Some(reached)).await?;
        Ok(None)
    }

    /// Tries again those streams that could not be read to their ends: this version may read what
    /// another one could not, and what was damaged may have been restored.
    async fn retry(&mut self, changes: &mut Changes) -> Result<(), FollowError> {
        let rows = self.views.scan(key::all_unreadable(), Direction::Forwards, RETRIED).await?;
        let sources = Sources { log: &*self.log, views: &*self.views, writing: None };
        for (key, row) in rows {
            let name: Name = read(&row)?;
            match Stream::again(&sources, &name, self.position()).await {
                Ok(stream) => {
                    changes.insert(key, None);
                    self.streams.insert(name, stream);
                }
                Err(Halt::Stream(error)) => {
                    tracing::warn!(stream = %name.1, %error, "a stream can still not be followed");
                    self.unreadable.insert(name);
                }
                Err(Halt::All(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A stream was removed, or is told anew: its rows go away.
    async fn noted(
        &mut self,
        stored: &StoredEvent,
        note: &Note,
        changes: &mut Changes,
        gone: &mut Changes,
    ) -> Result<(), Stopped> {
        let of = (&stored.tenant, stored.stream);
        self.streams.remove(of.0, of.1);
        self.unreadable.remove(&(of.0.clone(), of.1));
        // It reads rows, and writes where they end.
        self.settle().await?;
        removal::remove(&*self.views, self.reached, of, note, changes, gone).await
    }

    /// Follows one stream by one event.
    async fn follow(
        &mut self,
        stored: &StoredEvent,
        changes: &mut Changes,
        gone: &mut Changes,
    ) -> Result<(), Stopped> {
        // No row tells of it.
        if stored.stream == StreamId::Catalogue {
            return Ok(());
        }
        let note = Note::of(stored);
        if let Ok(Some(note)) = &note {
            return self.noted(stored, note, changes, gone).await;
        }
        let (tenant, id) = (&stored.tenant, stored.stream);
        if !self.unreadable.is_empty() && self.unreadable.contains(&(tenant.clone(), id)) {
            return Ok(());
        }
        let writing = self.writing.as_ref().map(|(_, writing)| writing);
        let sources = Sources { log: &*self.log, views: &*self.views, writing };
        let followed = match self.streams.change(tenant, id) {
            _ if note.is_err() => note.map(|_| ()).map_err(Halt::from),
            Some(stream) => stream.apply(&sources, stored).await,
            None => Stream::up_to(&sources, stored).await.map(|stream| {
                self.streams.insert((tenant.clone(), id), stream);
            }),
        };
        let error = match followed {
            Ok(()) => return Ok(()),
            Err(Halt::All(error)) => return Err(error.into()),
            Err(Halt::Stream(error)) => error,
        };
        // Its events were removed since this one was read: the note is still to come.
        if self.log.removed(tenant, id).await?.is_some() {
            self.streams.remove(tenant, id);
            return Ok(());
        }
        tracing::error!(stream = %id, %tenant, %error, "a stream cannot be followed any further");
        if let Some(mut stream) = self.streams.remove(tenant, id)
            && stream.rewind(&sources, stored.version.saturating_sub(1)).await?
        {
            let mut rows = Changed::new();
            stream.flush(&mut rows);
            changes.extend(rows);
        }
        let name = (tenant.clone(), id);
        mark(&sources, stored, &error, changes).await?;
        changes.insert(key::unreadable(tenant, id), Some(json(&name)));
        self.unreadable.insert(name);
        Ok(())
    }
}

/// Says in a campaign's row that it is from before something that cannot be read.
async fn mark(
    sources: &Sources<'_>,
    stored: &StoredEvent,
    error: &LoadError,
    changes: &mut Changes,
) -> Result<(), ViewError> {
    let StreamId::Campaign(id) = stored.stream else { return Ok(()) };
    let key = key::campaign(&stored.tenant, id);
    let row = match changes.get(&key) {
        Some(row) => row.clone(),
        None => sources.get(vec![key.clone()]).await?.pop().flatten(),
    };
    // Of one whose first event cannot be read there is nothing to show.
    if let Some(mut entry) = row.and_then(|row| read::<CampaignEntry>(&row).ok()) {
        entry.unreadable = Some(error.to_string());
        changes.insert(key, Some(json(&entry)));
    }
    Ok(())
}

/// The rows of a step: what is removed first, and what has changed last.
fn merged(newest: Changed, changes: Changes, gone: Changes) -> Changed {
    if changes.is_empty() && gone.is_empty() {
        return newest;
    }
    let mut rows = gone;
    rows.extend(changes);
    rows.extend(newest);
    rows.into_iter().collect()
}

/// Lets others that share the thread have their turn.
async fn yielded() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A read that is under way from now on, so that a store that works on a thread of its own reads
/// while something else is done here.
fn begun<T: Clone + Send + 'static>(mut read: BoxFuture<'_, T>) -> BoxFuture<'_, T> {
    match (&mut read).now_or_never() {
        Some(done) => ready(done).boxed(),
        None => read,
    }
}

/// Why a step came to nothing.
pub(super) enum Stopped {
    /// Somebody else moved the rows on, and has the lead.
    Moved,
    By(FollowError),
}

impl<E: Into<FollowError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::By(error.into())
    }
}

impl From<StepError> for Stopped {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Moved { .. } => Self::Moved,
            StepError::Rows(error) => Self::By(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
