//! The read side over logs of whole simulated fleets under faults: rows are the same however often
//! whoever makes them is interrupted, and what cannot be read stops nothing else. That they show what
//! the fold of the log shows is looked at by the judge of each run.

mod logs;

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::{StoredEvent, StreamId, TenantId};
use hedgerow_engine::campaign_at;
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::{EventStore, StoreError, StoreLayer};
use hedgerow_engine::view::{
    Follower, MemoryViews, Step, StepError, ViewError, ViewLayer, ViewStore, Views,
};
use hedgerow_sim::random::Random;
use hedgerow_sim::runtime::wait;
use logs::{InBits, log_of, rows};

#[test]
fn rows_show_the_same_when_whoever_makes_them_is_interrupted_anywhere() {
    for seed in 0..300 {
        let log = log_of(seed);
        let (whole, views) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let mut random = Random::new(seed);
        let most = usize::try_from(random.between(1..=40)).expect("small");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most });
        let mut follower = Follower::new(Arc::clone(&in_bits), views.clone());
        while wait(follower.step()).expect("followed") > 0 {
            if random.chance(300) {
                follower = Follower::new(Arc::clone(&in_bits), views.clone());
            }
        }
        assert_eq!(rows(&views), rows(&whole), "seed {seed}, {most} events at once");
    }
}

/// Rows that fail now and then: before a step was written, or after.
struct Unsteady {
    rows: MemoryViews,
    random: Mutex<Random>,
}

impl Unsteady {
    fn fails(&self) -> bool {
        self.random.lock().expect("no panic").chance(200)
    }
}

fn failure() -> ViewError {
    ViewError::Unavailable { detail: "it was drawn".to_owned() }
}

impl ViewLayer for Unsteady {
    fn inner(&self) -> &dyn ViewStore {
        &self.rows
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        if self.fails() {
            return Box::pin(ready(Err(failure().into())));
        }
        let written = self.rows.write(step);
        if self.fails() { Box::pin(ready(Err(failure().into()))) } else { written }
    }

    fn get(&self, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        if self.fails() { Box::pin(ready(Err(failure()))) } else { self.rows.get(keys) }
    }
}

#[test]
fn rows_show_the_same_when_they_fail_now_and_then_and_two_make_them() {
    for seed in 0..100 {
        let log = log_of(seed);
        let whole = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let unsteady = Unsteady { rows: MemoryViews::new(), random: Mutex::new(Random::new(seed)) };
        let unsteady = Arc::new(unsteady);
        let most = usize::try_from(1 + seed % 23).expect("small");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most });
        let mut two = [(); 2].map(|()| Follower::new(Arc::clone(&in_bits), unsteady.clone()));
        let mut done = [false; 2];
        while done != [true; 2] {
            for (follower, done) in two.iter_mut().zip(&mut done) {
                // What failed is tried again.
                *done = wait(follower.step()) == Ok(0);
            }
        }
        assert_eq!(rows(&unsteady.rows), rows(&whole), "seed {seed}, {most} events at once");
    }
}

/// A log with something else in one event: what another version wrote, or what was damaged and can
/// be read all the same.
struct Changed {
    can_be_read: bool,
    log: Arc<dyn EventStore>,
    stream: StreamId,
    version: u64,
    is_other: AtomicBool,
}

impl Changed {
    fn change(&self, mut page: Vec<StoredEvent>) -> Vec<StoredEvent> {
        let is_it = |stored: &&mut StoredEvent| {
            self.is_other.load(Ordering::Relaxed)
                && (stored.stream, stored.version) == (self.stream, self.version)
        };
        for stored in page.iter_mut().filter(is_it) {
            if self.can_be_read {
                stored.event.recorded_at = stored.event.recorded_at + Duration::from_millis(1);
            } else {
                stored.event.data = b"{\"of\": \"another version\"}".to_vec();
            }
        }
        page
    }
}

impl StoreLayer for Changed {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let page = self.log.read_all(after, limit.min(9));
        Box::pin(page.map(|page| page.map(|page| self.change(page))))
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let page = self.log.read_stream(tenant, stream, after, limit);
        Box::pin(page.map(|page| page.map(|page| self.change(page))))
    }
}

#[test]
fn a_campaign_that_cannot_be_read_stops_no_other_and_is_shown_whole_once_it_can_be() {
    for seed in 0..60 {
        let log = log_of(seed);
        let whole = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let streams = wait(log.streams()).expect("listed");
        let campaigns = streams.iter().filter(|of| matches!(of.stream, StreamId::Campaign(_)));
        let Some(chosen) = campaigns.max_by_key(|of| of.version) else { continue };
        let (StreamId::Campaign(id), tenant) = (chosen.stream, &chosen.tenant) else { continue };
        let version = 1 + seed % chosen.version;
        let is_other = AtomicBool::new(true);
        let changed = Changed {
            can_be_read: seed % 2 == 1,
            log: Arc::clone(&log),
            stream: chosen.stream,
            version,
            is_other,
        };
        let changed = Arc::new(changed);
        let rows_of_it = Arc::new(MemoryViews::new());
        let follow = |changed: Arc<Changed>| {
            wait(Follower::new(changed, rows_of_it.clone()).catch_up()).expect("followed");
        };
        follow(Arc::clone(&changed));
        let views = Views::new(rows_of_it.clone());
        match wait(views.campaign(tenant, id)).expect("read") {
            None => assert_eq!(version, 1, "seed {seed}"),
            Some(entry) => {
                assert_eq!(entry.events, version - 1, "seed {seed}: it is shown as it was before");
                let error = entry.unreadable.expect("it says so");
                assert!(error.contains(&format!("event {version} ")), "{error}");
                let then = wait(campaign_at(&*log, tenant, id, Some(version - 1)));
                let then = then.expect("folded").expect("a campaign");
                assert_eq!(entry.targets, then.counts(), "seed {seed}");
            }
        }
        for other in streams.iter().filter(|stream| stream.stream != chosen.stream) {
            let StreamId::Campaign(other_id) = other.stream else { continue };
            let entry = wait(views.campaign(&other.tenant, other_id)).expect("read");
            assert_eq!(entry.map(|entry| entry.events), Some(other.version), "seed {seed}");
        }
        // Somebody who still cannot read it changes nothing; somebody who can shows all of it.
        follow(Arc::clone(&changed));
        changed.is_other.store(false, Ordering::Relaxed);
        follow(changed);
        assert_eq!(rows(&rows_of_it), rows(&whole), "seed {seed}, event {version}");
    }
}

#[test]
fn rows_of_another_log_are_made_anew() {
    let (one, other) = (log_of(1), log_of(2));
    let (views, whole) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
    wait(Follower::new(one, views.clone()).catch_up()).expect("followed");
    wait(Follower::new(Arc::clone(&other), views.clone()).catch_up()).expect("followed");
    wait(Follower::new(other, whole.clone()).catch_up()).expect("followed");
    assert_eq!(rows(&views), rows(&whole));
}

#[test]
fn rows_that_were_damaged_are_made_anew_when_their_stream_goes_on() {
    for seed in 0..40 {
        let log = log_of(seed);
        let (whole, views) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most: 11 });
        let mut random = Random::new(seed);
        let mut was_damaged = false;
        loop {
            let mut follower = Follower::new(Arc::clone(&in_bits), views.clone());
            if wait(follower.step()).expect("followed") == 0 {
                break;
            }
            // Rows of campaigns and of targets are read again; the others are only written.
            let all = rows(&views);
            let read_again = all.keys().filter(|key| matches!(key[0], 1 | 6)).collect::<Vec<_>>();
            if read_again.is_empty() || was_damaged {
                continue;
            }
            let damaged = random.below(read_again.len() as u64);
            let key = read_again[usize::try_from(damaged).expect("small")].clone();
            let at = wait(views.reached()).expect("read");
            let rows = vec![(key, Some(b"nonsense".to_vec()))];
            wait(views.write(Step { from: at, to: at.expect("a step"), rows })).expect("written");
            was_damaged = true;
        }
        let shown = rows(&views);
        let differ = rows(&whole).into_iter().filter(|(key, row)| shown.get(key) != Some(row));
        // A row of what does not go on stays damaged, and says so to whoever asks.
        assert!(differ.count() <= 1, "seed {seed}");
    }
}
