//! The end of the log, read once for all who subscribe: the newest events are kept in memory, and
//! who is farther behind reads the store.
//!
//! Events come from the log alone and by position, never from the tasks that record them. So they
//! come in one order, each once, those of other engines among them, and none before it is durable.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::select;
use hedgerow_core::{StoredEvent, StreamId, TenantId};

use crate::loss::OnLoss;
use crate::shared::Shared;
use crate::store::checksum::Chain;
use crate::store::retention::Note;
use crate::store::{EventStore, StoreError};
use crate::sync::{Mutex, MutexGuard};

/// Events read at once: one of a snapshot can be a quarter of a megabyte.
const PAGE: usize = 200;
/// So many bytes of payloads are kept for those who are a little behind.
const MOST_BYTES: usize = 16 << 20;
/// How many events a subscriber takes over at once, and how many bytes of payloads, but for one event
/// that has more.
const MOST_TAKEN: usize = 200;
const MOST_BYTES_TAKEN: usize = 1 << 20;
/// How many streams are known by their checksums; a forgotten one costs a read.
const MOST_CHAINS: usize = 4_096;
/// How long reading rests after a failure, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So long an engine that stops goes on reading.
const LAST_READS: Duration = Duration::from_secs(5);

/// An event as the log has it, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) stored: StoredEvent,
    /// It does not fit its checksum (E14).
    pub(crate) damage: Option<StoreError>,
}

/// Whose events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantId,
    /// Those of one stream alone.
    pub(crate) stream: Option<StreamId>,
}

impl Wanted {
    pub(crate) fn is(&self, stored: &StoredEvent) -> bool {
        stored.tenant == self.tenant && self.stream.is_none_or(|stream| stored.stream == stream)
    }
}

/// Checks events against the checksum of the one before in their stream (E14).
#[derive(Debug, Default)]
pub(crate) struct Checked {
    chains: BTreeMap<(TenantId, StreamId), Chain>,
}

impl Checked {
    /// What is wrong with an event. The event before it is read where it is not known. `None`: its
    /// stream was removed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be read.
    async fn check(
        &mut self,
        store: &dyn EventStore,
        stored: StoredEvent,
    ) -> Result<Option<Read>, StoreError> {
        let key = (stored.tenant.clone(), stored.stream);
        let known = self.chains.remove(&key);
        if stored.version == 0 {
            let damage = Note::of(&stored).err();
            return Ok(Some(Read { stored, damage }));
        }
        let mut chain = match known.filter(|chain| chain.version() + 1 == stored.version) {
            Some(chain) => chain,
            None => match before(store, &stored).await {
                Ok(Some(chain)) => chain,
                Ok(None) => return Ok(None),
                // The one before is missing or cannot be read: that is this stream's affair (D21).
                Err(damage @ StoreError::Corrupt { .. }) => {
                    self.chains.insert(key, Chain::after(stored.version, stored.checksum));
                    return Ok(Some(Read { stored, damage: Some(damage) }));
                }
                Err(error) => return Err(error),
            },
        };
        let damage = chain.check(&stored).err();
        if self.chains.len() >= MOST_CHAINS {
            self.chains.clear();
        }
        // What follows is compared with what stands there, as it was recorded.
        self.chains.insert(key, Chain::after(stored.version, stored.checksum));
        Ok(Some(Read { stored, damage }))
    }

    /// As [`Checked::check`], of those of a page that are wanted.
    async fn check_all(
        &mut self,
        store: &dyn EventStore,
        page: impl Iterator<Item = StoredEvent>,
    ) -> Result<Vec<Arc<Read>>, StoreError> {
        let mut all = Vec::new();
        for stored in page {
            all.extend(self.check(store, stored).await?.map(Arc::new));
        }
        Ok(all)
    }
}

/// The chain up to the event before; `None`: the stream is not there any more.
async fn before(store: &dyn EventStore, stored: &StoredEvent) -> Result<Option<Chain>, StoreError> {
    let Some(after) = stored.version.checked_sub(2) else { return Ok(Some(Chain::default())) };
    let page = store.read_stream(&stored.tenant, stored.stream, after, 1).await?;
    Ok(page.first().map(|found| match found.version.cmp(&stored.version) {
        Ordering::Less => Chain::after(found.version, found.checksum),
        // The one before is missing: nothing fits.
        Ordering::Equal | Ordering::Greater => Chain::default(),
    }))
}

/// What there is behind a position.
pub(crate) enum Looked {
    /// These events, and nothing else that is wanted up to that position.
    Found(Vec<Arc<Read>>, u64),
    /// It is farther behind than what is kept: everything up to that position is in the store.
    Behind(u64),
    /// Nothing yet.
    Nothing,
    /// Nothing, and nothing comes any more: the engine has stopped, or the log cannot be read.
    Ended(Option<StoreError>),
}

/// The newest events.
pub(crate) struct Tail {
    state: Mutex<State>,
    /// So many are kept.
    kept: usize,
}

/// Whether a task reads on.
#[derive(Default)]
enum Reading {
    /// Nobody subscribes.
    #[default]
    Rests,
    GoesOn,
    /// The engine has stopped, or the log cannot be read.
    Ended(Option<StoreError>),
}

#[derive(Default)]
struct State {
    /// Every event behind `from` up to `to`, in order.
    events: VecDeque<Arc<Read>>,
    bytes: usize,
    from: u64,
    to: u64,
    reading: Reading,
    subscribers: usize,
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl Tail {
    pub(crate) fn keeping(kept: usize) -> Self {
        Self { state: Mutex::default(), kept }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done with it can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.state().subscribers
    }

    /// Up to where events were read, while somebody reads on.
    pub(crate) fn read_up_to(&self) -> Option<u64> {
        let state = self.state();
        matches!(state.reading, Reading::GoesOn).then_some(state.to)
    }

    /// Counts one more subscriber, if there is room, and names its place.
    pub(crate) fn join(&self, most: usize) -> Option<u64> {
        let mut state = self.state();
        if state.subscribers >= most {
            return None;
        }
        state.subscribers += 1;
        state.next += 1;
        Some(state.next)
    }

    pub(crate) fn leave(&self, place: u64) {
        let mut state = self.state();
        state.subscribers -= 1;
        state.waiting.remove(&place);
    }

    /// Begins to read behind `end`, if nobody does.
    fn begin(&self, end: u64) -> bool {
        let mut state = self.state();
        if let Reading::GoesOn = state.reading {
            return false;
        }
        state.events.clear();
        (state.bytes, state.from, state.to, state.reading) = (0, end, end, Reading::GoesOn);
        true
    }

    /// What is wanted and behind `seen`; if there is nothing yet, the waker is woken once there is
    /// more.
    pub(crate) fn look(&self, wanted: &Wanted, seen: u64, place: u64, waker: &Waker) -> Looked {
        let mut state = self.state();
        if seen < state.from {
            return Looked::Behind(state.from);
        }
        if seen < state.to {
            let at = state.events.partition_point(|read| read.stored.position <= seen);
            let (mut found, mut bytes) = (Vec::new(), 0);
            for read in state.events.range(at..) {
                if wanted.is(&read.stored) {
                    found.push(Arc::clone(read));
                    bytes += read.stored.event.data.len();
                    if found.len() == MOST_TAKEN || bytes >= MOST_BYTES_TAKEN {
                        return Looked::Found(found, read.stored.position);
                    }
                }
            }
            return Looked::Found(found, state.to);
        }
        if let Reading::Ended(why) = &state.reading {
            return Looked::Ended(why.clone());
        }
        state.waiting.insert(place, waker.clone());
        Looked::Nothing
    }

    /// Adds what was read next, up to a position, lets go of the oldest, and wakes those who wait.
    fn add(&self, page: Vec<Arc<Read>>, upto: u64) {
        self.change(|state| {
            state.to = upto;
            for read in page {
                state.bytes += read.stored.event.data.len();
                state.events.push_back(read);
            }
            while state.events.len() > self.kept || state.bytes > MOST_BYTES {
                let Some(oldest) = state.events.pop_front() else { break };
                state.bytes -= oldest.stored.event.data.len();
                state.from = oldest.stored.position;
            }
        });
    }

    /// The task that read on is gone, though it did not say so: who waits is told, and who comes back
    /// begins another one.
    fn lost(&self) {
        tracing::error!("the task that reads the log for subscribers was lost");
        let detail = "the task that reads the log panicked or was dropped: subscribe again";
        self.end(Some(StoreError::Unavailable { detail: detail.to_owned() }));
    }

    /// Nobody reads on.
    fn end(&self, why: Option<StoreError>) {
        self.change(|state| state.reading = Reading::Ended(why));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiting = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Whether anybody is there to read for; if not, what is kept is let go.
    fn is_wanted(&self) -> bool {
        let mut state = self.state();
        if state.subscribers == 0 {
            state.reading = Reading::Rests;
            state.events.clear();
            state.bytes = 0;
            state.from = state.to;
        }
        state.subscribers > 0
    }

    /// Reads up to the end of the log.
    async fn catch_up(
        &self,
        store: &dyn EventStore,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        loop {
            let to = self.state().to;
            let page = store.read_all(to, PAGE).await?;
            let is_last = page.len() < PAGE;
            if let Some(upto) = page.last().map(|last| last.position) {
                let read = checked.check_all(store, page.into_iter()).await?;
                self.add(read, upto);
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Shared {
    /// Sees to it that the log is read behind its end for those who subscribe, by a task that ends
    /// with the last of them.
    pub(crate) fn read_behind(shared: &Arc<Self>, end: u64) {
        if !shared.tail.begin(end) {
            return;
        }
        let (until_the_end, ended) = oneshot::channel();
        {
            let mut background = shared.background();
            // Those that have ended are nobody's concern.
            background.retain_mut(|ended| matches!(ended.try_recv(), Ok(None)));
            background.push(ended);
        }
        let reads = Arc::clone(shared);
        // Also one that is never polled.
        let lost = Arc::clone(shared);
        let reading = OnLoss::new(move || lost.tail.lost());
        let task = async move {
            read_on(&reads).await;
            reading.ended();
            // Whoever stops the engine may have gone.
            let _: Result<(), ()> = until_the_end.send(());
        };
        shared.spawner.spawn(task.boxed());
    }
}

async fn read_on(shared: &Shared) {
    let (tail, mut checked, mut failures) = (&shared.tail, Checked::default(), 0_u32);
    while tail.is_wanted() {
        if shared.appends.is_over() {
            let last = pin!(tail.catch_up(&*shared.store, &mut checked));
            select(last, shared.clock.sleep(LAST_READS)).await;
            return tail.end(None);
        }
        let appends = shared.appends.number();
        match tail.catch_up(&*shared.store, &mut checked).await {
            Ok(()) => {
                failures = 0;
                shared.recorded_beyond(appends).await;
            }
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, failures, "the log cannot be read for subscribers for now");
                shared.rest_after(failures, FIRST_PAUSE, LONGEST_PAUSE).await;
                failures = failures.saturating_add(1);
            }
            Err(error) => {
                tracing::error!(%error, "the log cannot be read for subscribers");
                return tail.end(Some(error));
            }
        }
    }
}

/// A page of the past behind `seen`: what is wanted of it, and how far it goes. Everything up to
/// `floor` is in the store.
pub(crate) async fn page_of_the_past(
    shared: &Shared,
    wanted: &Wanted,
    (seen, floor): (u64, u64),
    checked: &mut Checked,
) -> Result<(Vec<Arc<Read>>, u64), StoreError> {
    let mut failures = 0;
    loop {
        match try_page(shared, wanted, (seen, floor), checked).await {
            Err(error) if error.may_pass() && !shared.appends.is_over() => {
                tracing::warn!(%error, failures, "the log cannot be read for a subscriber for now");
                shared.rest_after(failures, FIRST_PAUSE, LONGEST_PAUSE).await;
                failures = failures.saturating_add(1);
            }
            read => return read,
        }
    }
}

async fn try_page(
    shared: &Shared,
    wanted: &Wanted,
    (seen, floor): (u64, u64),
    checked: &mut Checked,
) -> Result<(Vec<Arc<Read>>, u64), StoreError> {
    let store = &*shared.store;
    let page = match wanted.stream {
        None => store.read_all(seen, PAGE).await?,
        Some(stream) => of_stream(store, &wanted.tenant, stream, seen).await?,
    };
    let last = page.last().map_or(seen, |last| last.position);
    // With a page that is not full there is no more that was there when this began.
    let upto = if page.len() < PAGE { last.max(floor) } else { last };
    let mut page: Vec<_> = page.into_iter().filter(|stored| wanted.is(stored)).collect();
    let cut = cut(&mut page);
    Ok((checked.check_all(store, page.into_iter()).await?, cut.unwrap_or(upto)))
}

/// Leaves so many events that their payloads are not more than a subscriber takes over at once, and
/// says behind which position the others are.
fn cut(page: &mut Vec<StoredEvent>) -> Option<u64> {
    let mut bytes = 0;
    let is_enough = |stored: &StoredEvent| {
        bytes += stored.event.data.len();
        bytes >= MOST_BYTES_TAKEN
    };
    let last = page.iter().position(is_enough).filter(|last| last + 1 < page.len())?;
    page.truncate(last + 1);
    page.last().map(|last| last.position)
}

/// A page of one stream behind a position, with the note of one that was removed or imported.
async fn of_stream(
    store: &dyn EventStore,
    tenant: &TenantId,
    stream: StreamId,
    seen: u64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let after = version_at(store, tenant, stream, seen).await?;
    let page = store.read_stream(tenant, stream, after, PAGE).await?;
    if after > 0 && !page.is_empty() {
        return Ok(page);
    }
    let note = store.note(tenant, stream).await?.filter(|note| note.position > seen);
    // One that was removed since the page was read has its turn behind it.
    let is_next =
        |note: &StoredEvent| page.first().is_none_or(|next| note.position < next.position);
    Ok(note.filter(is_next).into_iter().chain(page).collect())
}

/// How many events of a stream are at or before a position, found by bisection.
async fn version_at(
    store: &dyn EventStore,
    tenant: &TenantId,
    stream: StreamId,
    position: u64,
) -> Result<u64, StoreError> {
    let (mut lowest, mut highest, mut stride) = (0_u64, u64::MAX, 1_u64);
    while lowest < highest {
        let middle = lowest + stride.min((highest - lowest) / 2);
        let found = store.read_stream(tenant, stream, middle, 1).await?;
        match found.first().filter(|found| found.position <= position) {
            Some(found) => lowest = found.version,
            None => highest = middle,
        }
        stride = stride.saturating_mul(2);
    }
    Ok(lowest)
}

#[cfg(all(test, not(feature = "schedules")))]
mod tests {
    use super::*;
    use crate::store::conformance::{append, block_on, event, stream};
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_page_has_no_more_bytes_than_a_subscriber_takes_over_and_one_event_at_least() {
        let page = |sizes: &[usize]| {
            let store = MemoryStore::new();
            let mut events: Vec<_> = (1..).map(event).take(sizes.len()).collect();
            for (event, size) in events.iter_mut().zip(sizes) {
                event.data = vec![0; *size];
            }
            block_on(store.append(vec![append(stream(1), 0, events)])).expect("appended");
            block_on(store.read_all(0, 100)).expect("read")
        };
        let half = MOST_BYTES_TAKEN / 2;
        for (sizes, left, behind) in [
            (&[][..], 0, None),
            (&[1, 1], 2, None),
            (&[half, half], 2, None),
            (&[half, half, 1], 2, Some(2)),
            (&[half, 1, half, half], 3, Some(3)),
            (&[9 * half], 1, None),
            (&[9 * half, 0], 1, Some(1)),
        ] {
            let mut page = page(sizes);
            let first = page.first().map_or(0, |first| first.position);
            assert_eq!(cut(&mut page), behind.map(|behind: u64| first + behind - 1), "{sizes:?}");
            assert_eq!(page.len(), left, "{sizes:?}");
        }
    }
}
