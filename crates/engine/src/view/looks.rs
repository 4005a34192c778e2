//! How much is looked at for an answer: one range, however many targets there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use hedgerow_core::event::{CampaignStarted, SnapshotExtended, TargetUpToDate};
use hedgerow_core::*;
use uuid::Uuid;

use super::golden::{at, campaign, created, tenant};
use super::*;
use crate::ports::BoxFuture;
use crate::store::memory::MemoryStore;

/// Rows that count how often they are asked, and how many they gave.
#[derive(Default)]
struct Counting {
    inner: MemoryViews,
    asked: AtomicUsize,
    given: AtomicUsize,
}

impl Counting {
    /// How often it was asked since, and how many rows it gave.
    fn looks(&self) -> (usize, usize) {
        (self.asked.swap(0, Ordering::Relaxed), self.given.swap(0, Ordering::Relaxed))
    }
}

impl ViewLayer for Counting {
    fn inner(&self) -> &dyn ViewStore {
        &self.inner
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.given.fetch_add(keys.len(), Ordering::Relaxed);
        self.inner.get(keys)
    }

    fn scan(
        &self,
        range: std::ops::Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let rows = self.inner.scan(range, direction, limit).now_or_never().expect("in memory");
        self.given.fetch_add(rows.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
        std::future::ready(rows).boxed()
    }
}

/// Devices that lie in another order than they are numbered.
fn device(number: u32) -> DeviceId {
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes(spread.to_be_bytes())
}

fn followed(log: MemoryStore) -> (Views, Arc<Counting>) {
    let rows = Arc::new(Counting::default());
    let mut follower = Follower::new(Arc::new(log), rows.clone());
    follower.catch_up().now_or_never().expect("at once").expect("followed");
    rows.looks();
    (Views::new(rows.clone()), rows)
}

fn id(number: u8) -> CampaignId {
    CampaignId::from_uuid(Uuid::from_bytes([number; 16]))
}

#[test]
fn a_target_is_found_by_its_device_in_one_look_however_many_there_are() {
    const TARGETS: u32 = 20_000;
    let log = MemoryStore::new();
    let devices = |range: std::ops::Range<u32>| range.map(device).collect();
    campaign(
        &log,
        1,
        &[
            created(),
            SnapshotExtended { devices: devices(0..TARGETS / 2) }.into(),
            SnapshotExtended { devices: devices(TARGETS / 2..TARGETS) }.into(),
            CampaignStarted { targets: TARGETS }.into(),
            TargetUpToDate { device: device(4_711) }.into(),
        ],
    );
    // One whose snapshot is being taken.
    campaign(&log, 2, &[created(), SnapshotExtended { devices: devices(0..5_000) }.into()]);
    let (views, rows) = followed(log);
    let target = |number, device| {
        views.target(&tenant(), id(number), device).now_or_never().expect("at once").expect("read")
    };
    for place in (0..TARGETS).step_by(7).chain([4_711, TARGETS - 1]) {
        let found = target(1, device(place)).expect("it is one");
        assert_eq!((found.place, found.device), (place, device(place)));
        assert_eq!(found.details.is_some(), place == 4_711);
        let (asked, given) = rows.looks();
        assert!(asked <= 2 && given <= 3, "{asked} looks at {given} rows");
    }
    for number in [0, 1, u128::MAX / 3, u128::MAX] {
        let device = DeviceId::from_bytes(number.to_be_bytes());
        let is_one = number == 0;
        assert_eq!(target(1, device).is_some(), is_one, "{device}");
        assert!(rows.looks().0 <= 2);
    }
    assert_eq!(target(2, device(4_999)).map(|found| found.place), Some(4_999));
    assert_eq!(target(2, device(5_000)), None);
    assert_eq!(target(3, device(1)), None, "there is no such campaign");
}

#[test]
fn a_chart_is_read_as_one_range_where_its_points_are_near_each_other() {
    let log = MemoryStore::new();
    let minutes = 600_u32;
    let mut events = vec![
        created(),
        SnapshotExtended { devices: (0..minutes).map(device).collect() }.into(),
        CampaignStarted { targets: minutes }.into(),
    ];
    events.extend((0..minutes).map(|number| TargetUpToDate { device: device(number) }.into()));
    // An event each minute.
    super::golden::campaign_over(&log, 1, 60, &events);
    let (views, rows) = followed(log);
    let from = at(0);
    let until = at(60 * i64::from(minutes + 2));
    let tenant = tenant();
    let chart = |points| {
        let chart = views.counts_over_time(&tenant, id(1), (from, until), points);
        chart.now_or_never().expect("at once").expect("read")
    };
    for points in [2, 3, 61, 603, 1_000] {
        let shown = chart(points);
        let (asked, given) = rows.looks();
        let is_near = points > 38;
        assert!(if is_near { asked <= 2 } else { asked <= points as usize }, "{asked} looks");
        assert!(given <= (minutes + 3) as usize, "{given} rows");
        assert_eq!(shown.len(), points as usize);
        for (time, counts) in shown {
            let minute = u32::try_from(time.since(from).as_secs() / 60).expect("few");
            assert_eq!(counts.successful, minute.saturating_sub(2), "at {time}");
        }
    }
}
