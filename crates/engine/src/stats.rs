//! What an engine counts for its operator, and the events of `tracing` that go with it.
//!
//! Counting is no part of deciding: nothing here is ever asked by the engine itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use hedgerow_core::{
    BaseImageAnswer, Input, Reaction, RequestAnswer, StreamId, TenantId, TransportError,
};
use serde::Serialize;

use crate::Engine;
use crate::inbox::Answer;
use crate::ports::BoxFuture;
use crate::registry::StreamState;
use crate::rows::RowStats;
use crate::signal::Signal;
use crate::store::{AppendError, EventStore, StoreLayer, StreamAppend};

/// Events that send a request again.
const RESENT: [&str; 4] =
    ["request_resent", "request_reissued", "manual_request_resent", "manual_request_reissued"];
/// Events that an operator wants to hear of, few in the life of a campaign or a manual update.
const TURNING_POINTS: [&str; 12] = [
    "campaign_created",
    "campaign_edited",
    "campaign_deleted",
    "campaign_started",
    "campaign_pausing",
    "campaign_paused",
    "campaign_resumed",
    "limits_changed",
    "campaign_finished",
    "manual_started",
    "manual_succeeded",
    "manual_failed",
];

/// What an engine has done since it started, and what waits in it now; see [`Engine::stats`].
///
/// Counts only grow; `streams` and the two of inboxes are as of now. All of them are of this engine
/// alone and of all tenants, and begin at 0 with each start: the log is what lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EngineStats {
    /// Update requests that the transport has answered or failed to answer, resends included.
    pub requests: u64,
    /// Resends and reissued requests that were recorded (D8, E4).
    pub resends: u64,
    /// Cancel requests, counted as `requests` are.
    pub cancels: u64,
    /// Versions that were read, or failed to be read, from a device.
    pub versions_read: u64,
    /// Calls of the transport and of the directory that failed, by class.
    pub transport_errors: TransportErrors,
    /// Reports of devices that the engine was told, whatever became of them.
    pub reports: u64,
    /// Those of them about an operation that had ended (D11).
    pub late_reports: u64,
    /// Those of them that were refused for good, such as one about an operation that nobody started.
    pub refused_reports: u64,
    /// What callers were refused because as much was under way as may be.
    pub refusals: Refusals,
    /// Appends that the store said are durable.
    pub appends: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of the payloads in them.
    pub bytes: u64,
    /// The most bytes of payloads that one of them had.
    pub largest_append_bytes: u64,
    /// Appends that the store refused: another engine writes to the stream, or holds a claim (E5).
    pub appends_refused: u64,
    /// Appends that failed, of which it is not known whether they are durable (E13).
    pub appends_failed: u64,
    /// Campaigns and manual updates in memory.
    pub streams: u64,
    /// Messages that wait in the inboxes of all of them.
    pub waiting: u64,
    /// Messages that wait in the fullest inbox.
    pub waiting_in_fullest: u64,
    /// Subscriptions, of all tenants.
    pub subscribers: u64,
    /// How far the rows are that questions are answered from; `None`: there are none.
    pub rows: Option<RowStats>,
}

/// Calls of the transport and of the directory that failed, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TransportErrors {
    /// A request was not taken for now, a version could not be read, or a URL not be had (D10, D23): calls of the transport
    /// that were not answered in time, or that panicked, are among them.
    pub temporary: u64,
    /// A request was refused for good (D10).
    pub permanent: u64,
    /// A call of the transport or of the directory was not answered in time.
    pub timed_out: u64,
    /// The adapter panicked in a call of the transport or of the directory.
    pub panicked: u64,
}

/// Calls that were refused because as much was under way as may be. Each may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusals {
    /// Commands, questions, reports and other observations that a full inbox did not take:
    /// [`EngineError::Busy`](crate::EngineError::Busy).
    pub messages: u64,
    /// Campaigns and manual updates that were not loaded or begun:
    /// [`EngineError::TooManyOpening`](crate::EngineError::TooManyOpening).
    pub opening: u64,
    /// Subscriptions: [`EngineError::TooManySubscribers`](crate::EngineError::TooManySubscribers).
    pub subscribers: u64,
}

/// The counters behind [`EngineStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    resends: AtomicU64,
    cancels: AtomicU64,
    versions_read: AtomicU64,
    failed_for_now: AtomicU64,
    refused_for_good: AtomicU64,
    timed_out: AtomicU64,
    panicked: AtomicU64,
    reports: AtomicU64,
    late_reports: AtomicU64,
    refused_reports: AtomicU64,
    refused_messages: AtomicU64,
    refused_openings: AtomicU64,
    refused_subscribers: AtomicU64,
    appends: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    largest_append_bytes: AtomicU64,
    appends_refused: AtomicU64,
    appends_failed: AtomicU64,
}

fn add(counter: &AtomicU64, number: u64) {
    // No other memory depends on what is counted.
    counter.fetch_add(number, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// What became of an effect.
    pub(crate) fn answered(&self, input: &Input) {
        match input {
            Input::RequestAnswered { answer, .. } => {
                add(&self.requests, 1);
                self.requested(answer);
            }
            Input::CancelAnswered { answer, .. } => {
                add(&self.cancels, 1);
                self.requested(answer);
            }
            Input::BaseImageRead { answer, .. } => {
                add(&self.versions_read, 1);
                if let BaseImageAnswer::Failed(error) = answer {
                    self.failed(error);
                }
            }
            _ => {}
        }
    }

    fn requested(&self, answer: &RequestAnswer) {
        match answer {
            RequestAnswer::Accepted => {}
            RequestAnswer::Temporary(error) => self.failed(error),
            RequestAnswer::Permanent(error) => {
                add(&self.refused_for_good, 1);
                tracing::info!(%error, "the transport refused a request for good");
            }
        }
    }

    fn failed(&self, error: &TransportError) {
        add(&self.failed_for_now, 1);
        tracing::debug!(%error, "the transport failed for now");
    }

    /// A call of the transport or the directory was not answered in time.
    pub(crate) fn timed_out(&self) {
        add(&self.timed_out, 1);
    }

    /// The transport or the directory panicked.
    pub(crate) fn panicked(&self) {
        add(&self.panicked, 1);
    }

    /// What became of a report.
    pub(crate) fn reported(&self, answer: &Answer) {
        add(&self.reports, 1);
        match answer {
            Ok(Reaction::Late) => add(&self.late_reports, 1),
            Err(error) if !error.is_retryable() => add(&self.refused_reports, 1),
            _ => {}
        }
    }

    /// An inbox was full.
    pub(crate) fn refused_message(&self) {
        add(&self.refused_messages, 1);
    }

    /// As many streams were being loaded or begun as may be.
    pub(crate) fn refused_opening(&self) {
        add(&self.refused_openings, 1);
    }

    /// There were as many subscribers as may be.
    pub(crate) fn refused_subscriber(&self) {
        add(&self.refused_subscribers, 1);
    }

    fn appended(&self, appended: &Appended, outcome: &Result<(), AppendError>) {
        match outcome {
            Ok(()) => {
                add(&self.appends, 1);
                add(&self.events, appended.events);
                add(&self.bytes, appended.bytes);
                add(&self.resends, appended.resends);
                self.largest_append_bytes.fetch_max(appended.bytes, Ordering::Relaxed);
            }
            Err(AppendError::Store(_)) => add(&self.appends_failed, 1),
            Err(_) => add(&self.appends_refused, 1),
        }
    }
}

impl Engine {
    /// What this engine has done since it started, and what waits in it now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let counters = &self.shared.counters;
        let mut stats = EngineStats {
            requests: read(&counters.requests),
            resends: read(&counters.resends),
            cancels: read(&counters.cancels),
            versions_read: read(&counters.versions_read),
            transport_errors: TransportErrors {
                temporary: read(&counters.failed_for_now),
                permanent: read(&counters.refused_for_good),
                timed_out: read(&counters.timed_out),
                panicked: read(&counters.panicked),
            },
            reports: read(&counters.reports),
            late_reports: read(&counters.late_reports),
            refused_reports: read(&counters.refused_reports),
            refusals: Refusals {
                messages: read(&counters.refused_messages),
                opening: read(&counters.refused_openings),
                subscribers: read(&counters.refused_subscribers),
            },
            appends: read(&counters.appends),
            events: read(&counters.events),
            bytes: read(&counters.bytes),
            largest_append_bytes: read(&counters.largest_append_bytes),
            appends_refused: read(&counters.appends_refused),
            appends_failed: read(&counters.appends_failed),
            ..EngineStats::default()
        };
        stats.subscribers = self.shared.tail.subscribers() as u64;
        if let Some(rows) = &self.shared.rows {
            stats.rows = Some(rows.stats(self.shared.appends.number(), self.now()));
        }
        for state in self.shared.registry().streams.values() {
            let StreamState::Loaded(inbox) = state else { continue };
            let waiting = inbox.waiting() as u64;
            stats.streams += 1;
            stats.waiting += waiting;
            stats.waiting_in_fullest = stats.waiting_in_fullest.max(waiting);
        }
        stats
    }
}

/// The store of an engine, which counts what is appended and wakes those who follow the log.
pub(crate) struct Counted {
    pub(crate) inner: Arc<dyn EventStore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) appends: Arc<Signal>,
}

/// What there is to count of an append.
struct Appended {
    events: u64,
    bytes: u64,
    resends: u64,
    /// Told once it is durable.
    turning_points: Vec<TurningPoint>,
}

struct TurningPoint {
    tenant: TenantId,
    stream: StreamId,
    event: String,
}

impl Appended {
    fn of(batch: &[StreamAppend]) -> Self {
        let mut appended = Self { events: 0, bytes: 0, resends: 0, turning_points: Vec::new() };
        for StreamAppend { tenant, stream, events, .. } in batch {
            for event in events {
                let is = |types: &[&str]| types.contains(&event.event_type.as_str());
                appended.events += 1;
                appended.bytes += event.data.len() as u64;
                appended.resends += u64::from(is(&RESENT));
                if is(&TURNING_POINTS) {
                    let (tenant, event) = (tenant.clone(), event.event_type.clone());
                    appended.turning_points.push(TurningPoint { tenant, stream: *stream, event });
                }
            }
        }
        appended
    }

    fn tell(&self) {
        for TurningPoint { tenant, stream, event } in &self.turning_points {
            tracing::info!(%tenant, %stream, event, "recorded");
        }
    }
}

impl StoreLayer for Counted {
    fn inner(&self) -> &dyn EventStore {
        &*self.inner
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        let appended = Appended::of(&batch);
        async move {
            let outcome = self.inner.append(batch).await;
            self.counters.appended(&appended, &outcome);
            if outcome.is_ok() {
                appended.tell();
            }
            // Also one that failed may have been written.
            self.appends.raise();
            outcome
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};

    use super::*;

    #[test]
    fn the_events_that_are_counted_and_told_exist() {
        let known = |name: &&str| {
            let types = CampaignEvent::TYPES.iter().chain(ManualUpdateEvent::TYPES);
            types.into_iter().any(|(event, _)| event == name)
        };
        assert!(RESENT.iter().chain(&TURNING_POINTS).all(known));
    }
}
