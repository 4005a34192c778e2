//! Following the log: events in, rows out, as far as the log goes and from where the rows are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{
    Campaign, CampaignId, ManualUpdate, OperationId, StoredEvent, StreamId, TenantId,
};

use super::fold::{Changes, FollowedCampaign, FollowedUpdate, json, update_key};
use super::key;
use super::row::{CampaignEntry, OperationPlace, TargetDetails};
use super::store::{Reached, RowKey, Step, StepError, ViewStore};
use crate::ports::Clock;
use crate::store::{EventStore, StoreError};
use crate::{LoadError, campaign_at, manual_update_at};

/// The form of keys and rows. Another one makes all rows anew.
pub(super) const FORMAT: u32 = 1;

/// Events read at once.
const PAGE: usize = 10_000;

/// With so many events a step is written although more could be read.
const STEP: usize = 400_000;

/// How long it rests after a failure, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many streams that have ended are kept at hand, for late reports.
const ENDED_KEPT: usize = 16;

/// A stream that is being followed.
enum Followed {
    Campaign(Box<FollowedCampaign>),
    Update(Box<FollowedUpdate>),
    /// Its log cannot be read to its end: what its rows show is from before (D21).
    Unreadable,
}

/// What cannot be gone on with.
enum Halt {
    /// This stream alone.
    Stream(LoadError),
    /// Everything, for now.
    All(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::All(error)
    }
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) if error.may_pass() => Self::All(error),
            error => Self::Stream(error),
        }
    }
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
/// # Ok::<(), hedgerow_engine::store::StoreError>(())
/// # }).unwrap();
/// ```
pub struct Follower {
    log: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    /// How far the rows are.
    reached: Option<Reached>,
    /// Whether that was looked at.
    has_looked: bool,
    followed: BTreeMap<(TenantId, StreamId), Followed>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("reached", &self.reached).finish_non_exhaustive()
    }
}

impl Follower {
    /// Follows this log into these rows.
    #[must_use]
    pub fn new(log: Arc<dyn EventStore>, views: Arc<dyn ViewStore>) -> Self {
        Self { log, views, reached: None, has_looked: false, followed: BTreeMap::new() }
    }

    /// Up to which position of the log the rows are made, as far as this follower knows.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reached.map_or(0, |reached| reached.position)
    }

    /// Goes on by one step, and says by how many events: none are left once that is 0. Rows of
    /// another form or of another log are thrown away and made anew.
    ///
    /// # Errors
    /// [`StoreError`] of the log or of the rows. Call again later: it goes on where the rows are.
    pub async fn step(&mut self) -> Result<usize, StoreError> {
        match self.try_step().await {
            Ok(events) => Ok(events),
            Err(error) => {
                self.forget();
                match error {
                    StepError::Store(error) => Err(error),
                    // Whoever moved them on has the lead.
                    StepError::Moved { .. } => Ok(1),
                }
            }
        }
    }

    /// Goes on until nothing is left.
    ///
    /// # Errors
    /// As [`Follower::step`].
    pub async fn catch_up(&mut self) -> Result<(), StoreError> {
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
                    failures = failures.saturating_add(1);
                    LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16)))
                }
            };
            clock.sleep(rest).await;
        }
    }

    fn forget(&mut self) {
        self.has_looked = false;
        self.followed.clear();
    }

    async fn try_step(&mut self) -> Result<usize, StepError> {
        if !self.has_looked {
            self.reached = self.look().await?;
            self.has_looked = true;
        }
        let from = self.reached;
        let mut position = from.map_or(0, |reached| reached.position);
        let (mut events, mut last) = (0, None);
        let mut changes = Changes::new();
        while events < STEP {
            let page = self.log.read_all(position, PAGE).await?;
            let is_last = page.len() < PAGE;
            for stored in &page {
                self.follow(stored, &mut changes).await?;
            }
            events += page.len();
            if let Some(stored) = page.last() {
                position = stored.position;
                last = Some(Reached::event(FORMAT, stored));
            }
            if is_last {
                break;
            }
        }
        let Some(to) = last else { return Ok(0) };
        self.flush(&mut changes);
        let rows = changes.into_iter().collect();
        self.views.write(Step { from, to, rows }).await?;
        self.reached = Some(to);
        self.let_go();
        Ok(events)
    }

    /// How far the rows are; throws away those that cannot be gone on with.
    async fn look(&self) -> Result<Option<Reached>, StoreError> {
        let Some(reached) = self.views.reached().await? else { return Ok(None) };
        if reached.format == FORMAT {
            let page = self.log.read_all(reached.position.saturating_sub(1), 1).await?;
            let is_there = page.first().is_some_and(|stored| {
                stored.position == reached.position && stored.checksum == reached.checksum
            });
            if is_there {
                return Ok(Some(reached));
            }
            tracing::warn!(
                position = reached.position,
                "the rows are of another log, perhaps of one that was restored from a backup: they are made anew"
            );
        }
        self.views.clear().await?;
        Ok(None)
    }

    /// Follows one stream by one event.
    async fn follow(
        &mut self,
        stored: &StoredEvent,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let key = (stored.tenant.clone(), stored.stream);
        match self.apply(&key, stored).await {
            Ok(()) => Ok(()),
            Err(Halt::All(error)) => Err(error),
            Err(Halt::Stream(error)) => {
                let stream = stored.stream;
                tracing::error!(%stream, tenant = %stored.tenant, %error, "a stream cannot be followed any further");
                if let Some(Followed::Campaign(followed)) = self.followed.get_mut(&key) {
                    let (tenant, id) = (&key.0, followed.campaign().id());
                    let before = Some(stored.version - 1);
                    if let Ok(Some(before)) = campaign_at(&*self.log, tenant, id, before).await {
                        followed.rewind(before);
                        followed.flush(changes);
                    }
                }
                self.mark(stored, &error, changes).await?;
                self.followed.insert(key, Followed::Unreadable);
                Ok(())
            }
        }
    }

    /// Says in a campaign's row that it is from before something that cannot be read.
    async fn mark(
        &self,
        stored: &StoredEvent,
        error: &LoadError,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        let StreamId::Campaign(id) = stored.stream else { return Ok(()) };
        let key = key::campaign(&stored.tenant, id);
        let row = match changes.get(&key) {
            Some(row) => row.clone(),
            None => self.one(key.clone()).await?,
        };
        // Of one whose first event cannot be read there is nothing to show.
        let Some(mut entry) = row.and_then(|row| read::<CampaignEntry>(&row).ok()) else {
            return Ok(());
        };
        entry.unreadable = Some(error.to_string());
        changes.insert(key, Some(json(&entry)));
        Ok(())
    }

    async fn apply(
        &mut self,
        key: &(TenantId, StreamId),
        stored: &StoredEvent,
    ) -> Result<(), Halt> {
        let at = stored.event.recorded_at;
        if !self.followed.contains_key(key) {
            let followed = self.begin(key, stored).await?;
            self.followed.insert(key.clone(), followed);
            if stored.version == 1 {
                return Ok(());
            }
        }
        let views = Arc::clone(&self.views);
        match self.followed.get_mut(key) {
            Some(Followed::Campaign(followed)) => {
                let event = CampaignEvent::from_stored(stored).map_err(LoadError::from)?;
                let wanted =
                    followed.wants_at_end(&event).into_iter().chain(followed.wants(&event));
                for place in wanted.collect::<Vec<_>>() {
                    let details = details(&*views, followed.campaign(), place).await?;
                    followed.know(place, details);
                }
                followed.apply(&event, at).map_err(LoadError::from)?;
            }
            Some(Followed::Update(followed)) => {
                let event = ManualUpdateEvent::from_stored(stored).map_err(LoadError::from)?;
                followed.apply(&event, at).map_err(LoadError::from)?;
            }
            Some(Followed::Unreadable) | None => {}
        }
        Ok(())
    }

    /// Takes up a stream with this event: from its beginning, or from what its rows were made of.
    async fn begin(
        &self,
        (tenant, stream): &(TenantId, StreamId),
        stored: &StoredEvent,
    ) -> Result<Followed, Halt> {
        let at = stored.event.recorded_at;
        if stored.version > 1 {
            return match *stream {
                StreamId::Campaign(id) => self.load_campaign(tenant, id, stored.version - 1).await,
                StreamId::ManualUpdate(id) => {
                    self.load_update(tenant, id, stored.version - 1).await
                }
            };
        }
        Ok(match *stream {
            StreamId::Campaign(id) => {
                let event = CampaignEvent::from_stored(stored).map_err(LoadError::from)?;
                let campaign =
                    Campaign::begin(tenant.clone(), id, &event, at).map_err(LoadError::from)?;
                Followed::Campaign(Box::new(FollowedCampaign::begun(campaign, at)))
            }
            StreamId::ManualUpdate(id) => {
                let event = ManualUpdateEvent::from_stored(stored).map_err(LoadError::from)?;
                let update =
                    ManualUpdate::begin(tenant.clone(), id, &event, at).map_err(LoadError::from)?;
                Followed::Update(Box::new(FollowedUpdate::begun(update)))
            }
        })
    }

    async fn load_campaign(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        version: u64,
    ) -> Result<Followed, Halt> {
        let row = self.one(key::campaign(tenant, id)).await?;
        let campaign = campaign_at(&*self.log, tenant, id, Some(version)).await?;
        // Without a row its first event could not be read.
        let (Some(row), Some(campaign)) = (row, campaign) else { return Ok(Followed::Unreadable) };
        let entry: CampaignEntry = read(&row)?;
        Ok(Followed::Campaign(Box::new(FollowedCampaign::loaded(campaign, &entry))))
    }

    async fn load_update(
        &self,
        tenant: &TenantId,
        id: OperationId,
        version: u64,
    ) -> Result<Followed, Halt> {
        let Some(update) = manual_update_at(&*self.log, tenant, id, Some(version)).await? else {
            return Ok(Followed::Unreadable);
        };
        let Some(row) = self.one(update_key(&update)).await? else {
            return Ok(Followed::Unreadable);
        };
        // Under its key is nothing else.
        let OperationPlace::Manual(entry) = read(&row)? else { return Ok(Followed::Unreadable) };
        Ok(Followed::Update(Box::new(FollowedUpdate::loaded(update, entry))))
    }

    async fn one(&self, key: RowKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.views.get(vec![key]).await?.pop().flatten())
    }

    fn flush(&mut self, changes: &mut Changes) {
        for followed in self.followed.values_mut() {
            match followed {
                Followed::Campaign(campaign) => campaign.flush(changes),
                Followed::Update(update) => update.flush(changes),
                Followed::Unreadable => {}
            }
        }
    }

    /// Lets go of streams that have ended, but for a few.
    fn let_go(&mut self) {
        let has_ended = |followed: &Followed| match followed {
            Followed::Campaign(campaign) => campaign.campaign().is_settled(),
            Followed::Update(update) => !update.is_active(),
            Followed::Unreadable => false,
        };
        let mut ended = self.followed.values().filter(|followed| has_ended(followed)).count();
        self.followed.retain(|_, followed| {
            let goes = ended > ENDED_KEPT && has_ended(followed);
            ended -= usize::from(goes);
            !goes
        });
    }
}

/// What the rows tell of a target.
async fn details(
    views: &dyn ViewStore,
    campaign: &Campaign,
    place: u32,
) -> Result<TargetDetails, StoreError> {
    let key = key::target(campaign.tenant(), campaign.id(), place);
    let row = views.get(vec![key]).await?.pop().flatten();
    row.map_or_else(|| Ok(TargetDetails::default()), |row| read(&row))
}

/// Reads a row.
pub(super) fn read<T: serde::de::DeserializeOwned>(row: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|error| StoreError::Corrupt {
        detail: format!(
            "a row that questions are answered from cannot be read: {error}; throw the rows away, they are made anew from the log"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt;
    use futures::future::{pending, ready};
    use hedgerow_core::{ManualUpdateDefinition, NewEvent, OperationLimits, Timestamp};

    use super::*;
    use crate::ports::BoxFuture;
    use crate::store::memory::MemoryStore;
    use crate::store::{Activity, StoreLayer, StreamAppend};
    use crate::view::{MemoryViews, Views};

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

    fn manual_update(store: &MemoryStore, data: Option<&[u8]>) -> (TenantId, OperationId) {
        let tenant: TenantId = "hedge".parse().expect("a tenant");
        let id = OperationId::from_uuid(uuid::Uuid::from_u128(7));
        let definition = ManualUpdateDefinition {
            request_id: "first".parse().expect("a request id"),
            device: hedgerow_core::DeviceId::from_bytes([7; 16]),
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
        let (tenant, id) = manual_update(&inner, None);
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

    #[test]
    fn a_stream_that_cannot_be_read_stops_no_other() {
        let log = MemoryStore::new();
        manual_update(&log, Some(b"{}"));
        let rows = Arc::new(MemoryViews::new());
        let mut follower = Follower::new(Arc::new(log), rows.clone());
        assert_eq!(follower.catch_up().now_or_never(), Some(Ok(())));
        assert!(rows.reached().now_or_never().is_some_and(|reached| reached != Ok(None)));
    }
}
