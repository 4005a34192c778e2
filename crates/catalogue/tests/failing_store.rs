//! A store that fails: what was recorded without an answer is there once, and what was not can be
//! entered again.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use futures::executor::block_on;
use futures::future::ready;
use hedgerow_core::{StoredEvent, StreamId, TenantId};
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{AppendError, EventStore, StoreError, StoreLayer, StreamAppend};

/// Fails as it is told to.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    appends_nothing: AtomicBool,
    loses_answers: AtomicBool,
    /// From the next append on.
    goes_away: AtomicBool,
    cannot_read: AtomicBool,
}

fn set(fault: &AtomicBool, on: bool) {
    fault.store(on, Ordering::SeqCst);
}

fn down() -> StoreError {
    StoreError::Unavailable { detail: "the disk is away".to_owned() }
}

impl StoreLayer for Failing {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        if self.appends_nothing.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(down().into())));
        }
        set(&self.cannot_read, self.goes_away.load(Ordering::SeqCst));
        let answer = self.inner.append(batch);
        let is_lost = self.loses_answers.load(Ordering::SeqCst);
        Box::pin(async move {
            let answer = answer.await;
            if is_lost { Err(down().into()) } else { answer }
        })
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        if self.cannot_read.load(Ordering::SeqCst) {
            return Box::pin(ready(Err(down())));
        }
        self.inner.read_stream(tenant, stream, after, limit)
    }
}

async fn boards(store: &Arc<Failing>) -> usize {
    Desk::on(store.clone()).fleet().await.hardware_types().count()
}

#[test]
fn what_was_recorded_without_an_answer_is_found_and_is_there_once() {
    block_on(async {
        let store = Arc::new(Failing::default());
        let desk = Desk::on(store.clone());
        set(&store.loses_answers, true);
        desk.done(hardware("board")).await;
        assert_eq!(boards(&store).await, 1);
    });
}

#[test]
fn what_was_not_recorded_can_be_entered_again() {
    block_on(async {
        let store = Arc::new(Failing::default());
        let desk = Desk::on(store.clone());
        set(&store.appends_nothing, true);
        let error = desk.record(hardware("board")).await.expect_err("the store failed");
        assert!(!error.to_string().contains("may have been recorded"), "{error}");
        set(&store.appends_nothing, false);
        desk.done(hardware("board")).await;
        assert_eq!(boards(&store).await, 1);
    });
}

#[test]
fn where_nobody_can_tell_the_error_says_that_it_may_be_there() {
    block_on(async {
        let store = Arc::new(Failing::default());
        let desk = Desk::on(store.clone());
        set(&store.loses_answers, true);
        set(&store.goes_away, true);
        let error = desk.record(hardware("board")).await.expect_err("the store failed");
        assert!(error.to_string().contains("may have been recorded"), "{error}");
        set(&store.loses_answers, false);
        set(&store.cannot_read, false);
        assert_eq!(boards(&store).await, 1, "it was");
        desk.refused(hardware("board")).await;
    });
}
