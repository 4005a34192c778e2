//! Questions that are answered from rows: they show what was recorded, wake no stream and read none,
//! and rows follow the log by themselves.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Rig, campaign_id, definition, device, operation, seconds, tenant};
use futures::FutureExt;
use futures::future::ready;
use hedgerow_core::{
    CampaignStatus, FailureReason, HoldReason, Outcome, ReportStatus, StreamId, TargetStatus, Why,
};
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::view::{
    CampaignQuery, MemoryViews, OperationEntry, Step, StepError, TargetEntries, TargetQuery,
    ViewError, ViewLayer, ViewStore, Views,
};
use hedgerow_engine::{Engine, EngineError};

/// An engine with rows in memory.
fn start(rig: &mut Rig) -> (Engine, Arc<MemoryViews>) {
    let rows = Arc::new(MemoryViews::new());
    let kept = Arc::clone(&rows);
    (rig.start_with(|builder| builder.views(kept)), rows)
}

/// Rows that cannot be written while that is so.
#[derive(Default)]
struct Refusing {
    rows: MemoryViews,
    refuses: AtomicBool,
    /// Panics instead.
    panics: AtomicBool,
}

impl ViewLayer for Refusing {
    fn inner(&self) -> &dyn ViewStore {
        &self.rows
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        assert!(!self.panics.load(Ordering::SeqCst), "the store of rows has a mistake");
        if self.refuses.load(Ordering::SeqCst) {
            let detail = "the disk went away".to_owned();
            return ready(Err(ViewError::Unavailable { detail }.into())).boxed();
        }
        self.rows.write(step)
    }
}

fn targets(rig: &mut Rig, engine: &Engine, number: u128, query: TargetQuery) -> TargetEntries {
    let engine = engine.clone();
    rig.run(async move { engine.targets(&tenant(), campaign_id(number), &query).await })
        .expect("the targets can be looked at")
        .expect("there is such a campaign")
}

fn history(rig: &mut Rig, engine: &Engine, of: u8) -> Vec<OperationEntry> {
    let engine = engine.clone();
    let page = rig.run(async move { engine.device_history(&tenant(), device(of), None, 0).await });
    page.expect("it can be looked at").entries
}

fn why(rig: &mut Rig, engine: &Engine, of: u8) -> Option<Why> {
    let engine = engine.clone();
    rig.run(async move { engine.why(&tenant(), campaign_id(1), device(of)).await })
        .expect("it can be looked at")
}

#[test]
fn targets_are_listed_in_snapshot_order_page_by_page() {
    let mut rig = Rig::new(7);
    let (engine, _) = start(&mut rig);
    rig.create(&engine, 1, definition(2));
    for limit in 1..=8 {
        let mut query = TargetQuery { limit, ..TargetQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = targets(&mut rig, &engine, 1, query.clone());
            assert!(page.targets.len() <= limit);
            seen.extend(page.targets.iter().map(|target| target.device));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(seen, (1..=7).map(device).collect::<Vec<_>>(), "pages of {limit}");
    }
    let beyond = TargetQuery { after: Some(u32::MAX), ..TargetQuery::default() };
    let page = targets(&mut rig, &engine, 1, beyond);
    assert_eq!((page.targets.len(), page.next), (0, None));
}

#[test]
fn targets_are_filtered_by_status_and_by_reason() {
    let mut rig = Rig::new(4);
    rig.world.set_version(2, "3.0.0");
    rig.world.set_version(4, "not a version");
    let (engine, _) = start(&mut rig);
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    let mut devices = |filter| -> Vec<_> {
        let page = targets(&mut rig, &engine, 1, filter);
        assert_eq!(page.next, None);
        page.targets.into_iter().map(|target| target.device).collect()
    };
    let of = |status| TargetQuery { status: Some(status), ..TargetQuery::default() };
    assert_eq!(devices(of(TargetStatus::Successful)), [device(1)]);
    assert_eq!(devices(of(TargetStatus::InProgress)), [device(3)]);
    assert_eq!(devices(of(TargetStatus::Failed)), [device(2)]);
    assert_eq!(devices(of(TargetStatus::Idle)), [device(4)]);
    let because = |reason| TargetQuery { reason: Some(reason), ..TargetQuery::default() };
    assert_eq!(devices(because(FailureReason::DowngradeNotAllowed)), [device(2)]);
    assert_eq!(devices(because(FailureReason::InvalidVersion)), []);
    let both = TargetQuery {
        status: Some(TargetStatus::Successful),
        ..because(FailureReason::DowngradeNotAllowed)
    };
    assert_eq!(devices(both), []);
}

#[test]
fn the_history_of_a_device_is_what_it_has_been_through_in_all_campaigns() {
    let mut rig = Rig::new(2);
    let (engine, _) = start(&mut rig);
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Downloading).unwrap();
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(1));
    rig.start_manual(&engine, 1).expect("the device is free");
    let own = history(&mut rig, &engine, 1);
    assert_eq!(own.len(), 2);
    assert!(matches!(own[0].stream, StreamId::ManualUpdate(_)), "the latest first");
    assert_eq!((own[1].operation, own[0].ended.is_some()), (operation(1, 1), false));
    assert!(own[1].ended.is_some());
    assert_eq!(history(&mut rig, &engine, 9), []);
}

#[test]
fn whoever_asks_after_a_command_sees_what_came_of_it() {
    let mut rig = Rig::new(1);
    let (engine, _) = start(&mut rig);
    for number in 1..=3 {
        rig.create(&engine, number, definition(1));
        let asked = engine.clone();
        let id = campaign_id(number);
        let found = rig.run(async move { asked.definition(&tenant(), id).await });
        assert_eq!(found, Ok(Some(definition(1))));
        let paused = engine.clone();
        let status = rig.run(async move {
            paused.pause(&tenant(), id).await.expect("it runs");
            paused.campaign(&tenant(), id).await.expect("an answer").expect("it is there").status
        });
        assert!(
            matches!(status, CampaignStatus::Pausing | CampaignStatus::Paused),
            "it is {status:?}"
        );
    }
    let asked = engine.clone();
    let page = rig.run(async move { asked.campaigns(&tenant(), &CampaignQuery::default()).await });
    assert_eq!(page.expect("an answer").entries.len(), 3);
    let stats = engine.stats().rows.expect("there are rows");
    assert_eq!((stats.appends_behind, stats.behind_ms, stats.failures), (0, 0, 0));
    assert_eq!((stats.position, stats.log_position), (rig.log().len() as u64, stats.position));
}

/// A campaign of two devices that has ended long ago: one is updated, one failed.
fn ended(rig: &mut Rig, engine: &Engine) {
    rig.create(engine, 1, definition(2));
    rig.report(engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.report(engine, 2, operation(1, 2), ReportStatus::Failure).unwrap();
    rig.pass(seconds(3 * 86_400));
    assert_eq!(engine.stats().streams, 0, "it has left the memory");
}

#[test]
fn no_question_wakes_a_stream_or_reads_one() {
    let mut rig = Rig::new(2);
    let (engine, _) = start(&mut rig);
    ended(&mut rig, &engine);
    let log = rig.log();
    // Whoever reads a stream has no answer from now on.
    rig.store.set_reads_hang(true);
    assert_eq!(rig.progress(&engine, 1).targets.successful, 1);
    assert!(matches!(why(&mut rig, &engine, 1), Some(Why::Settled { .. })));
    assert_eq!(why(&mut rig, &engine, 3), None);
    assert_eq!(targets(&mut rig, &engine, 1, TargetQuery::default()).targets.len(), 2);
    assert_eq!(history(&mut rig, &engine, 2).len(), 1);
    let asked = engine.clone();
    rig.run(async move {
        let (tenant, id) = (tenant(), campaign_id(1));
        let all = CampaignQuery::default();
        assert_eq!(asked.campaigns(&tenant, &all).await.expect("a page").entries.len(), 1);
        let entry = asked.campaign(&tenant, id).await.expect("an answer").expect("a campaign");
        assert!(asked.definition(&tenant, id).await.expect("an answer").is_some());
        let reasons = asked.failure_reasons(&tenant, id).await.expect("an answer");
        assert_eq!(reasons, Some(entry.failures));
        let one = asked.target(&tenant, id, device(2)).await.expect("an answer");
        assert_eq!(one.expect("a target").status, TargetStatus::Failed);
        let within = (entry.created_at, entry.finished_at.expect("an end"));
        assert!(!asked.counts_over_time(&tenant, id, within, 3).await.expect("points").is_empty());
        assert_eq!(asked.state(&tenant, id).await, Ok(None));
    });
    assert_eq!(engine.stats().streams, 0);
    rig.store.set_reads_hang(false);
    assert_eq!(rig.log(), log);
}

#[test]
fn what_is_in_no_log_is_unknown_and_not_an_error() {
    let mut rig = Rig::new(1);
    let (engine, _) = start(&mut rig);
    rig.create(&engine, 1, definition(1));
    let asked = engine.clone();
    rig.run(async move {
        let (tenant, id) = (tenant(), campaign_id(7));
        assert_eq!(asked.campaign(&tenant, id).await, Ok(None));
        assert_eq!(asked.definition(&tenant, id).await, Ok(None));
        assert_eq!(asked.failure_reasons(&tenant, id).await, Ok(None));
        assert_eq!(asked.target(&tenant, id, device(1)).await, Ok(None));
        assert_eq!(asked.targets(&tenant, id, &TargetQuery::default()).await, Ok(None));
        let unknown = EngineError::UnknownStream { stream: StreamId::Campaign(id) };
        assert_eq!(asked.progress(&tenant, id).await, Err(unknown.clone()));
        assert_eq!(asked.why(&tenant, id, device(1)).await, Err(unknown));
        assert_eq!(asked.manual_update(&tenant, operation(7, 1)).await, Ok(None));
        // Of one tenant nothing is another's (D21).
        let other = "umbrella".parse().expect("a tenant");
        assert_eq!(asked.campaign(&other, campaign_id(1)).await, Ok(None));
    });
}

#[test]
fn without_rows_only_campaigns_at_work_answer_and_the_rest_says_what_is_missing() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.progress(&engine, 1).targets.in_progress, 1);
    let held = Some(Why::Held(hedgerow_core::Hold { reason: HoldReason::NoSlot, until: None }));
    assert_eq!(why(&mut rig, &engine, 2), held);
    let asked = engine.clone();
    let lists = rig.run(async move { asked.campaign(&tenant(), campaign_id(1)).await });
    assert_eq!(lists, Err(EngineError::NoRows));
    assert!(!EngineError::NoRows.is_retryable());
    assert!(EngineError::NoRows.to_string().contains("EngineBuilder::views"));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap();
    rig.pass(seconds(3 * 86_400));
    let asked = engine.clone();
    let ended = rig.run(async move { asked.progress(&tenant(), campaign_id(1)).await });
    assert_eq!(ended, Err(EngineError::NoRows));
    assert_eq!(engine.stats().rows, None);
}

#[test]
fn an_engine_that_stops_has_made_rows_of_its_last_append() {
    let mut rig = Rig::new(2);
    let (engine, rows) = start(&mut rig);
    rig.create(&engine, 1, definition(2));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap();
    rig.run(async move { engine.shutdown().await });
    let last = rig.log().last().map(|stored| stored.position);
    let reached = rig.run({
        let rows = Arc::clone(&rows);
        async move { rows.reached().await }
    });
    assert_eq!(reached.expect("they can be read").map(|reached| reached.position), last);
    let views = Views::new(rows);
    let campaign = rig.run(async move { views.campaign(&tenant(), campaign_id(1)).await });
    assert_eq!(campaign.unwrap().unwrap().outcome, Some(Outcome::Success));
}

#[test]
fn rows_are_made_on_when_what_panicked_works_again() {
    let mut rig = Rig::new(1);
    let rows: Arc<Refusing> = Arc::default();
    let kept = Arc::clone(&rows);
    let engine = rig.start_with(|builder| builder.views(kept));
    rig.create(&engine, 1, definition(1));
    rows.panics.store(true, Ordering::SeqCst);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(10));
    let stats = engine.stats().rows.expect("there are rows");
    assert!(stats.failures > 1 && stats.appends_behind > 0, "{stats:?}");
    rows.panics.store(false, Ordering::SeqCst);
    rig.pass(seconds(120));
    let asked = engine.clone();
    let found = rig.run(async move { asked.campaign(&tenant(), campaign_id(1)).await });
    let found = found.expect("an answer").expect("a campaign");
    assert_eq!(found.outcome, Some(Outcome::Success));
    assert_eq!(engine.stats().rows.expect("there are rows").appends_behind, 0);
}

#[test]
fn an_engine_stops_although_making_rows_panics() {
    let mut rig = Rig::new(1);
    let rows: Arc<Refusing> = Arc::default();
    rows.panics.store(true, Ordering::SeqCst);
    let kept = Arc::clone(&rows);
    let engine = rig.start_with(|builder| builder.views(kept));
    rig.create(&engine, 1, definition(1));
    rig.run_within(seconds(60), async move { engine.shutdown().await });
}

#[test]
fn the_first_question_after_a_start_waits_for_what_was_recorded_before() {
    let mut rig = Rig::new(1);
    let before = rig.start();
    rig.create(&before, 1, definition(1));
    rig.run(async move { before.shutdown().await });
    let (engine, _) = start(&mut rig);
    let asked = engine.clone();
    let page = rig.run(async move { asked.campaigns(&tenant(), &CampaignQuery::default()).await });
    assert_eq!(page.expect("an answer").entries.len(), 1);
}

#[test]
fn what_another_engine_records_is_in_the_rows_after_a_moment() {
    let mut rig = Rig::new(1);
    let rows: Arc<MemoryViews> = Arc::default();
    let kept = Arc::clone(&rows);
    let engine = rig.start_with(|builder| builder.views(kept).look_for_others(Some(seconds(1))));
    let other = rig.start();
    rig.create(&other, 1, definition(1));
    rig.pass(seconds(2));
    let asked = engine.clone();
    let found = rig.run(async move { asked.campaign(&tenant(), campaign_id(1)).await });
    assert!(found.expect("an answer").is_some());
}

#[test]
fn what_rows_do_not_show_yet_is_not_said_to_be_unknown() {
    let mut rig = Rig::new(1);
    let rows: Arc<Refusing> = Arc::default();
    rows.refuses.store(true, Ordering::SeqCst);
    let kept = Arc::clone(&rows);
    let engine = rig.start_with(|builder| builder.views(kept));
    rig.create(&engine, 1, definition(1));
    let ask = async move {
        let (tenant, query) = (tenant(), TargetQuery::default());
        for id in [campaign_id(1), campaign_id(9)] {
            let not_ready = EngineError::NotReady { stream: StreamId::Campaign(id) };
            let error = (id == campaign_id(1)).then_some(not_ready);
            assert_eq!(engine.campaign(&tenant, id).await.err(), error);
            assert_eq!(engine.definition(&tenant, id).await.err(), error);
            assert_eq!(engine.failure_reasons(&tenant, id).await.err(), error);
            assert_eq!(engine.targets(&tenant, id, &query).await.err(), error);
            assert_eq!(engine.target(&tenant, id, device(1)).await.err(), error);
        }
    };
    rig.run_within(seconds(60), ask);
}

#[test]
fn a_question_waits_for_rows_that_cannot_be_made_a_second_and_no_longer() {
    let mut rig = Rig::new(1);
    let log: Arc<dyn EventStore> = Arc::new(rig.store.memory.clone());
    let rows: Arc<Refusing> = Arc::default();
    let kept = Arc::clone(&rows);
    let engine = rig.start_with(|builder| builder.views(kept));
    rig.create(&engine, 1, definition(1));
    rig.pass(seconds(1));
    rows.refuses.store(true, Ordering::SeqCst);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    let asked = engine.clone();
    let ask = async move { asked.campaign(&tenant(), campaign_id(1)).await };
    let shown = rig.run_within(seconds(2), ask).expect("an answer").expect("what there is");
    assert_eq!(shown.outcome, None, "as far as rows are made");
    let stats = engine.stats().rows.expect("there are rows");
    assert!(
        stats.appends_behind > 0 && stats.behind_ms >= 1_000 && stats.failures > 0,
        "{stats:?}"
    );
    rows.refuses.store(false, Ordering::SeqCst);
    rig.pass(seconds(120));
    let stats = engine.stats().rows.expect("there are rows");
    assert_eq!((stats.appends_behind, stats.behind_ms), (0, 0), "{stats:?}");
    assert!(stats.longest_behind_ms >= 1_000, "{stats:?}");
    let newest = rig.run(async move { log.read_all(stats.position, 1).await });
    assert_eq!(newest, Ok(vec![]));
}
