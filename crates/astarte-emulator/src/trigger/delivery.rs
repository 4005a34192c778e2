//! Brings events to the receivers of triggers, as Astarte's trigger engine does: a queue per policy,
//! and what the policy says when a receiver does not take an event.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HttpAction;
use super::policy::Policy;
use super::queue::{Queue, Waiting};
use crate::faults::{EventFault, delay};
use crate::recorder::{Recorded, Recorder};

/// A queue that is longer than this loses its newest events, whatever its policy says.
const QUEUE_LENGTH_MAX: usize = 100_000;

/// How the trigger engine behaves where Astarte's is configured or in doubt.
#[derive(Debug, Clone)]
pub(crate) struct DeliverySettings {
    pub(crate) connect_timeout: Duration,
    pub(crate) receive_timeout: Duration,
    /// Engines that consume each queue at the same time.
    pub(crate) engines: usize,
    /// Whether a policy's capacity and time to live have an effect.
    pub(crate) enforce_limits: bool,
}

/// What became of events, counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryCounts {
    /// Events that were put into a queue; copies count.
    pub queued: u64,
    /// Requests that were answered with a status below 400.
    pub delivered: u64,
    /// Requests that failed and were to be made again.
    pub retried: u64,
    /// Events that were given up after a failed request.
    pub discarded: u64,
    /// Events that a queue had no room for, or that waited too long in it.
    pub overflowed: u64,
    /// Events that a fault rule dropped.
    pub dropped_by_fault: u64,
}

#[derive(Default)]
struct Counters {
    queued: AtomicU64,
    delivered: AtomicU64,
    retried: AtomicU64,
    discarded: AtomicU64,
    overflowed: AtomicU64,
    dropped_by_fault: AtomicU64,
    /// Queued, held back, delayed or being sent.
    unfinished: AtomicU64,
}

/// One event on its way to one receiver.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) realm: Arc<str>,
    pub(crate) action: Arc<HttpAction>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) body: Bytes,
}

/// A realm and a policy; the empty name is Astarte's default policy.
type QueueKey = (Arc<str>, String);

#[derive(Default)]
struct PolicyQueue {
    queue: Mutex<Queue<Delivery>>,
    wake: Notify,
}

/// The trigger engine.
pub(crate) struct TriggerEngine {
    settings: DeliverySettings,
    client: reqwest::Client,
    client_without_checks: reqwest::Client,
    queues: Mutex<HashMap<QueueKey, Arc<PolicyQueue>>>,
    counters: Counters,
    recorder: Arc<Recorder>,
    idle: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl TriggerEngine {
    /// Receivers over HTTPS must show a certificate that `trusted` leads to.
    pub(crate) fn new(
        settings: DeliverySettings,
        trusted: Vec<reqwest::Certificate>,
        recorder: Arc<Recorder>,
        stop: CancellationToken,
    ) -> Result<Self, reqwest::Error> {
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(settings.connect_timeout)
                .read_timeout(settings.receive_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent("hedgerow-astarte-emulator")
        };
        Ok(Self {
            client: builder().tls_certs_only(trusted.clone()).build()?,
            client_without_checks: builder()
                .tls_certs_only(trusted)
                .tls_danger_accept_invalid_certs(true)
                .build()?,
            settings,
            queues: Mutex::default(),
            counters: Counters::default(),
            recorder,
            idle: Notify::new(),
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Takes an event on; never waits. The fault, if any, strikes here.
    pub(crate) fn offer(self: &Arc<Self>, delivery: Delivery, fault: Option<EventFault>) {
        let queue = self.queue_of(&delivery);
        match fault {
            None => self.push(&queue, delivery),
            Some(EventFault::Drop) => add(&self.counters.dropped_by_fault, 1),
            Some(EventFault::Duplicate { copies }) => {
                for _ in 0..=copies {
                    self.push(&queue, delivery.clone());
                }
            }
            Some(EventFault::Delay { milliseconds }) => {
                add(&self.counters.unfinished, 1);
                self.later(milliseconds, move |engine| {
                    engine.push(&queue, delivery);
                    engine.finish(1);
                });
            }
            Some(EventFault::Reorder { behind, milliseconds }) => {
                self.hold(queue, delivery, behind, milliseconds);
            }
        }
    }

    /// What became of events so far.
    pub(crate) fn counts(&self) -> DeliveryCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeliveryCounts {
            queued: get(&self.counters.queued),
            delivered: get(&self.counters.delivered),
            retried: get(&self.counters.retried),
            discarded: get(&self.counters.discarded),
            overflowed: get(&self.counters.overflowed),
            dropped_by_fault: get(&self.counters.dropped_by_fault),
        }
    }

    /// Waits until no event is on its way.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.counters.unfinished.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the workers have stopped, which they do when the token given to `new` is
    /// cancelled.
    pub(crate) async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn queue_of(self: &Arc<Self>, delivery: &Delivery) -> Arc<PolicyQueue> {
        let policy = delivery.policy.as_ref().map(|policy| policy.name.clone()).unwrap_or_default();
        let mut queues = lock(&self.queues);
        let key = (Arc::clone(&delivery.realm), policy);
        Arc::clone(queues.entry(key).or_insert_with(|| {
            let queue = Arc::new(PolicyQueue::default());
            for _ in 0..self.settings.engines {
                let (engine, queue) = (Arc::clone(self), Arc::clone(&queue));
                self.tasks.spawn(async move { engine.consume(&queue).await });
            }
            queue
        }))
    }

    fn push(&self, queue: &PolicyQueue, delivery: Delivery) {
        add(&self.counters.queued, 1);
        add(&self.counters.unfinished, 1);
        let capacity = match &delivery.policy {
            Some(policy) if self.settings.enforce_limits => {
                policy.maximum_capacity.min(QUEUE_LENGTH_MAX)
            }
            _ => QUEUE_LENGTH_MAX,
        };
        let lost = lock(&queue.queue).push(delivery, capacity, Instant::now());
        self.overflow(lost);
        queue.wake.notify_one();
    }

    fn hold(self: &Arc<Self>, queue: Arc<PolicyQueue>, delivery: Delivery, behind: u8, wait: u64) {
        add(&self.counters.queued, 1);
        add(&self.counters.unfinished, 1);
        let number = lock(&queue.queue).hold(delivery, behind);
        self.later(wait, move |_| {
            lock(&queue.queue).release(number, Instant::now());
            queue.wake.notify_one();
        });
    }

    fn later(self: &Arc<Self>, milliseconds: u64, work: impl FnOnce(&Self) + Send + 'static) {
        let engine = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay(milliseconds)) => work(&engine),
                () = engine.stop.cancelled() => {}
            }
        });
    }

    fn overflow(&self, lost: u64) {
        if lost > 0 {
            tracing::warn!(lost, "events overflowed their queue or waited too long in it");
            add(&self.counters.overflowed, lost);
            self.finish(lost);
        }
    }

    fn finish(&self, number: u64) {
        if self.counters.unfinished.fetch_sub(number, Ordering::AcqRel) == number {
            self.idle.notify_waiters();
        }
    }

    async fn consume(&self, queue: &PolicyQueue) {
        let work = async {
            loop {
                let notified = queue.wake.notified();
                let (next, expired) =
                    lock(&queue.queue).take(|delivery| self.time_to_live(delivery), Instant::now());
                self.overflow(expired);
                match next {
                    Some(waiting) => self.attempt(queue, waiting).await,
                    None => notified.await,
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }

    fn time_to_live(&self, delivery: &Delivery) -> Option<Duration> {
        let policy = delivery.policy.as_ref().filter(|_| self.settings.enforce_limits)?;
        policy.event_ttl_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    async fn attempt(&self, queue: &PolicyQueue, waiting: Waiting<Delivery>) {
        let status = self.send(&waiting.item).await;
        self.recorder.record(|| recorded(&waiting.item, status));
        if (200..400).contains(&status) {
            add(&self.counters.delivered, 1);
            return self.finish(1);
        }
        let attempts = waiting.attempts + 1;
        match &waiting.item.policy {
            Some(policy) if policy.retries(status, attempts) => {
                tracing::debug!(status, attempts, "a receiver refused an event; trying again");
                add(&self.counters.retried, 1);
                let prefetch = policy.prefetch_count;
                lock(&queue.queue).put_back(waiting, prefetch);
                queue.wake.notify_one();
            }
            _ => {
                tracing::debug!(status, attempts, "a receiver refused an event; given up");
                add(&self.counters.discarded, 1);
                self.finish(1);
            }
        }
    }

    /// The status of the answer; as in Astarte, 503 if there is none.
    async fn send(&self, delivery: &Delivery) -> u16 {
        let action = &delivery.action;
        let client =
            if action.ignore_ssl_errors { &self.client_without_checks } else { &self.client };
        let mut request = client
            .request(action.method.clone(), action.url.clone())
            .header("Astarte-Realm", &*delivery.realm)
            .header("Content-Type", "application/json")
            .body(delivery.body.clone());
        for (name, value) in &action.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            // The body is not read: it has no meaning, and might have no end.
            Ok(response) => response.status().as_u16(),
            Err(error) => {
                let error = error.without_url();
                tracing::debug!(%error, "a receiver cannot be reached");
                503
            }
        }
    }
}

fn recorded(delivery: &Delivery, status: u16) -> Recorded {
    let mut url = delivery.action.url.clone();
    // It may carry a secret.
    url.set_query(None);
    let body = serde_json::from_slice(&delivery.body).unwrap_or_default();
    let sent = [("astarte-realm", &*delivery.realm), ("content-type", "application/json")];
    let mut headers: BTreeMap<_, _> =
        sent.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for name in delivery.action.headers.keys() {
        headers.entry(name.to_lowercase()).or_default();
    }
    Recorded::Trigger { url: url.into(), headers, body, status }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::AcqRel);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is whole between any two statements, so a panic elsewhere does not matter.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
