//! Work that takes longer than one call of the engine may: it goes on when the call that began it is
//! given up, and the next call of the same kind joins it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use hedgerow_core::TransportError;
use tokio::time::Instant;

/// A result that nobody fetched is stale after this.
const FRESH: Duration = Duration::from_secs(60);

type Outcome<T> = Result<Arc<T>, TransportError>;

pub(crate) struct Jobs<K, T> {
    jobs: Mutex<BTreeMap<K, Job<T>>>,
}

struct Job<T> {
    outcome: Shared<BoxFuture<'static, Outcome<T>>>,
    ended: Arc<OnceLock<Instant>>,
}

impl<T> Job<T> {
    fn is_fresh(&self) -> bool {
        self.ended.get().is_none_or(|ended| ended.elapsed() < FRESH)
    }
}

impl<K, T> Default for Jobs<K, T> {
    fn default() -> Self {
        Self { jobs: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord + Clone, T: Send + Sync + 'static> Jobs<K, T> {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<K, Job<T>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the work under that key, which is begun with `begin` unless it is under way. Who
    /// gets the result takes it away: the next call begins anew.
    pub(crate) async fn join<F>(&self, key: K, begin: impl FnOnce() -> F) -> Outcome<T>
    where
        F: Future<Output = Result<T, TransportError>> + Send + 'static,
    {
        let outcome = {
            let mut jobs = self.jobs();
            jobs.retain(|_, job| job.is_fresh());
            let job = jobs.entry(key.clone()).or_insert_with(|| {
                let ended = Arc::new(OnceLock::new());
                let noted = Arc::clone(&ended);
                let work = begin();
                let task = tokio::spawn(async move {
                    let result = work.await;
                    let _ = noted.set(Instant::now());
                    result
                });
                let outcome = async move {
                    match task.await {
                        Ok(result) => result.map(Arc::new),
                        Err(error) => Err(TransportError::new(format!("the work ended: {error}"))),
                    }
                };
                Job { outcome: outcome.boxed().shared(), ended }
            });
            job.outcome.clone()
        };
        let result = outcome.await;
        let mut jobs = self.jobs();
        if jobs.get(&key).is_some_and(|job| job.ended.get().is_some()) {
            jobs.remove(&key);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_its_call_is_given_up_and_the_next_call_gets_its_result() {
        let jobs: Jobs<u8, u32> = Jobs::default();
        let slow = |result| {
            move || async move {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Ok(result)
            }
        };
        let first = tokio::time::timeout(Duration::from_secs(20), jobs.join(1, slow(1))).await;
        assert!(first.is_err(), "given up");
        let before = Instant::now();
        assert_eq!(jobs.join(1, slow(2)).await, Ok(Arc::new(1)));
        assert_eq!(before.elapsed(), Duration::from_secs(10));
        assert_eq!(jobs.join(1, slow(3)).await, Ok(Arc::new(3)), "taken away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_nobody_fetched_for_a_minute_is_not_given_out() {
        let jobs: Jobs<u8, u32> = Jobs::default();
        let quick = |result| {
            move || async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(result)
            }
        };
        let given_up = tokio::time::timeout(Duration::from_secs(1), jobs.join(1, quick(1)));
        assert!(given_up.await.is_err());
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(jobs.join(1, quick(2)).await, Ok(Arc::new(2)));
    }
}
