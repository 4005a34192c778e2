//! A follower on a log that fails, and on one that cannot be read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::{pending, ready};
use hedgerow_core::{
    ManualUpdate, ManualUpdateDefinition, NewEvent, OperationId, OperationLimits, TenantId,
    Timestamp,
};

use super::*;
use crate::ports::BoxFuture;
use crate::store::memory::MemoryStore;
use crate::store::retention::{NoteKind, StreamRemoval};
use crate::store::{Activity, StoreLayer, StreamAppend};
use crate::view::{MemoryViews, ViewLayer, Views};

/// A store that fails so many times before it works.
struct Failing {
    inner: MemoryStore,
    failures: AtomicU32,
}

impl StoreLayer for Failing {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            let detail = "the disk is away".to_owned();
            return ready(Err(StoreError::Unavailable { detail })).boxed();
        }
        self.inner.read_all(after, limit)
    }
}

/// A clock on which time passes at once, until it has been slept so often.
struct Sleeps {
    slept: Mutex<Vec<Duration>>,
    most: usize,
}

impl Clock for Sleeps {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut slept = self.slept.lock().expect("no panic");
        slept.push(duration);
        if slept.len() < self.most { ready(()).boxed() } else { pending().boxed() }
    }
}

fn manual_update(store: &MemoryStore, number: u8, data: Option<&[u8]>) -> (TenantId, OperationId) {
    let tenant: TenantId = "hedge".parse().expect("a tenant");
    let id = OperationId::from_uuid(uuid::Uuid::from_u128(u128::from(number)));
    let definition = ManualUpdateDefinition {
        request_id: "first".parse().expect("a request id"),
        device: hedgerow_core::DeviceId::from_bytes([number; 16]),
        url: "https://images.example/a.bin".parse().expect("a URL"),
        expected_version: None,
        version_before: None,
        limits: OperationLimits::default(),
    };
    let event = ManualUpdate::create(definition).expect("valid");
    let event = NewEvent {
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at: Timestamp::default(),
        correlation_id: uuid::Uuid::nil(),
        causation_id: uuid::Uuid::nil(),
        data: data.map_or_else(|| event.to_json(), <[u8]>::to_vec),
    };
    let append = StreamAppend {
        tenant: tenant.clone(),
        stream: StreamId::ManualUpdate(id),
        expected_version: 0,
        events: vec![event],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: vec![id],
        activity: Activity::Active,
    };
    store.append(vec![append]).now_or_never().expect("at once").expect("written");
    (tenant, id)
}

#[test]
fn it_goes_on_after_failures_with_pauses_that_grow() {
    let inner = MemoryStore::new();
    let (tenant, id) = manual_update(&inner, 7, None);
    let log = Arc::new(Failing { inner, failures: AtomicU32::new(12) });
    let rows = Arc::new(MemoryViews::new());
    let clock = Arc::new(Sleeps { slept: Mutex::new(Vec::new()), most: 14 });
    let pause = Duration::from_millis(100);
    let follower = Follower::new(log, rows.clone());
    assert_eq!(follower.keep_up(clock.clone(), pause).now_or_never(), None, "it never ends");
    let slept = clock.slept.lock().expect("no panic");
    let (failed, after) = slept.split_at(12);
    assert!(failed.windows(2).all(|pair| pair[0] <= pair[1]), "{failed:?}");
    assert_eq!(failed.last(), Some(&LONGEST_PAUSE));
    assert_eq!(after, [pause, pause]);
    let device = hedgerow_core::DeviceId::from_bytes([7; 16]);
    let views = Views::new(rows);
    let page = views.operations(&tenant, device, None, 0).now_or_never().expect("at once");
    let page = page.expect("a page");
    assert_eq!(page.entries.iter().map(|entry| entry.operation).collect::<Vec<_>>(), [id]);
}

/// A log whose events were read before their stream was removed.
struct RemovedMeanwhile {
    inner: Arc<MemoryStore>,
    read_before: Vec<StoredEvent>,
    has_read: AtomicU32,
}

impl StoreLayer for RemovedMeanwhile {
    fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        if after == 2 && self.has_read.fetch_add(1, Ordering::Relaxed) == 0 {
            return ready(Ok(self.read_before.clone())).boxed();
        }
        self.inner.read_all(after, limit)
    }
}

#[test]
fn a_stream_that_is_removed_while_it_is_followed_is_gone_and_not_damaged() {
    let inner = MemoryStore::new();
    let (tenant, id) = manual_update(&inner, 7, None);
    // The event that rows stop at is another's: it stays.
    manual_update(&inner, 8, None);
    let rows = Arc::new(MemoryViews::new());
    let stream = StreamId::ManualUpdate(id);
    let first = inner.read_all(0, PAGE).now_or_never().expect("at once").expect("events");
    let mut append = StreamAppend {
        tenant: tenant.clone(),
        stream,
        expected_version: 1,
        events: vec![first[0].event.clone()],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Settled,
    };
    let before = Arc::new(inner);
    let mut follower = Follower::new(before.clone(), rows.clone());
    assert_eq!(follower.catch_up().now_or_never(), Some(Ok(())));
    append.events[0].data = b"{}".to_vec();
    before.append(vec![append]).now_or_never().expect("at once").expect("written");
    let read_before = before.read_all(2, PAGE).now_or_never().expect("at once").expect("events");
    let checksum = read_before[0].checksum;
    let device = hedgerow_core::DeviceId::from_bytes([7; 16]);
    let update = Some((device, Timestamp::default()));
    let note = Note { kind: NoteKind::Removed, events: 2, checksum, update };
    let note = note.event(Timestamp::default(), uuid::Uuid::nil());
    let removal = StreamRemoval { tenant, stream, version: 2, checksum, note };
    let removed = before.remove(vec![removal]).now_or_never().expect("at once");
    assert_eq!(removed, Ok(vec![Ok(())]));
    let log = RemovedMeanwhile { inner: before, read_before, has_read: AtomicU32::new(0) };
    let mut follower = Follower::new(Arc::new(log), rows.clone());
    assert_eq!(follower.step().now_or_never(), Some(Ok(1)), "the event that was read before");
    let unreadable = || {
        rows.scan(key::all_unreadable(), Direction::Forwards, 10).now_or_never().expect("at once")
    };
    assert_eq!(unreadable(), Ok(Vec::new()));
    assert_eq!(follower.catch_up().now_or_never(), Some(Ok(())));
    assert_eq!(unreadable(), Ok(Vec::new()));
}

/// Rows whose first write never ends.
struct Stuck {
    inner: MemoryViews,
    writes: AtomicU32,
}

impl ViewLayer for Stuck {
    fn inner(&self) -> &dyn ViewStore {
        &self.inner
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        if self.writes.fetch_add(1, Ordering::Relaxed) == 0 {
            return pending().boxed();
        }
        self.inner.write(step)
    }
}

#[test]
fn a_step_that_is_dropped_half_way_is_taken_again() {
    let log = MemoryStore::new();
    let (tenant, id) = manual_update(&log, 7, None);
    let rows = Arc::new(Stuck { inner: MemoryViews::new(), writes: AtomicU32::new(0) });
    let mut follower = Follower::new(Arc::new(log), rows.clone());
    assert_eq!(follower.step().now_or_never(), None, "it is dropped while it writes");
    assert_eq!(follower.step().now_or_never(), Some(Ok(1)));
    let device = hedgerow_core::DeviceId::from_bytes([7; 16]);
    let all = rows.inner.scan(key::all_unreadable(), Direction::Forwards, 10).now_or_never();
    assert_eq!(all, Some(Ok(Vec::new())));
    let views = Views::new(rows);
    let page = views.operations(&tenant, device, None, 0).now_or_never().expect("at once");
    let page = page.expect("a page");
    assert_eq!(page.entries.iter().map(|entry| entry.operation).collect::<Vec<_>>(), [id]);
}

#[test]
fn a_stream_that_cannot_be_read_stops_no_other() {
    let log = MemoryStore::new();
    manual_update(&log, 1, Some(b"{}"));
    let (tenant, id) = manual_update(&log, 2, None);
    let rows = Arc::new(MemoryViews::new());
    let mut follower = Follower::new(Arc::new(log), rows.clone());
    assert_eq!(follower.catch_up().now_or_never(), Some(Ok(())));
    let views = Views::new(rows);
    for (number, operations) in [(1, vec![]), (2, vec![id])] {
        let device = hedgerow_core::DeviceId::from_bytes([number; 16]);
        let page = views.operations(&tenant, device, None, 0).now_or_never().expect("at once");
        let listed = page.expect("a page").entries;
        let listed: Vec<_> = listed.iter().map(|entry| entry.operation).collect();
        assert_eq!(listed, operations, "device {number}");
    }
}

/// Rows whose writes take their time: each ends only when it is polled once more.
#[derive(Default)]
struct Slow {
    inner: MemoryViews,
    most_at_once: AtomicU32,
    writing: Arc<AtomicU32>,
}

impl ViewLayer for Slow {
    fn inner(&self) -> &dyn ViewStore {
        &self.inner
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        let writing = self.writing.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(writing, Ordering::Relaxed);
        async move {
            yielded().await;
            let written = self.inner.write(step).await;
            self.writing.fetch_sub(1, Ordering::Relaxed);
            written
        }
        .boxed()
    }
}

/// Whatever the log's pages and the steps are, rows are the same, also where what is read again is
/// still being written.
#[test]
fn rows_are_the_same_while_the_step_before_is_being_written() {
    let log = Arc::new(super::super::golden::eventful_log());
    let all = |rows: &MemoryViews| {
        let all = Vec::new()..vec![u8::MAX];
        let all = rows.scan(all, Direction::Forwards, usize::MAX).now_or_never();
        all.expect("at once").expect("read")
    };
    let whole = MemoryViews::new();
    let mut follower = Follower::new(log.clone(), Arc::new(whole.clone()));
    assert_eq!(follower.catch_up().now_or_never(), Some(Ok(())));
    for page in 1..9 {
        for step in 1..12 {
            let rows = Arc::new(Slow::default());
            let mut follower = Follower::new(log.clone(), rows.clone());
            follower.sizes = (page, step);
            let mut is_behind = false;
            while futures::executor::block_on(follower.step()).expect("followed") > 0 {
                let reached = rows.inner.reached().now_or_never().expect("at once").expect("read");
                assert_eq!(follower.position(), reached.map_or(0, |reached| reached.position));
                is_behind |= rows.writing.load(Ordering::Relaxed) > 0;
                assert!(!follower.is_at_end() || rows.writing.load(Ordering::Relaxed) == 0);
            }
            assert!(is_behind, "a step was written while it went on");
            assert_eq!(rows.most_at_once.load(Ordering::Relaxed), 1, "one after the other");
            assert_eq!(all(&rows.inner), all(&whole), "pages of {page}, steps of {step}");
        }
    }
}

/// A log of which streams cannot be read.
struct NoStreams(MemoryStore);

impl StoreLayer for NoStreams {
    fn inner(&self) -> &dyn EventStore {
        &self.0
    }

    fn read_stream(
        &self,
        _: &TenantId,
        _: StreamId,
        _: u64,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        ready(Err(StoreError::Closed)).boxed()
    }
}

#[test]
fn a_stream_that_is_followed_from_its_first_event_is_read_once() {
    let log = Arc::new(NoStreams(super::super::golden::eventful_log()));
    let rows = Arc::new(MemoryViews::new());
    let mut follower = Follower::new(log, rows);
    assert_eq!(follower.step().now_or_never().map(|stepped| stepped.is_ok()), Some(true));
}
