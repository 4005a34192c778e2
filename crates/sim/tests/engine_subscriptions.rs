//! Subscriptions: every event of a tenant behind a position, in order and once, however slow the
//! subscriber is, however often it is cut and comes back, and whoever records.

mod common;

use common::{FaultyStore, Rig, campaign_id, definition, operation, seconds, tenant};
use futures::StreamExt;
use hedgerow_core::{
    NewEvent, OperationId, ReportStatus, StoredEvent, StreamId, TenantId, Timestamp,
};
use hedgerow_engine::store::{Activity, EventStore, StoreError, StreamAppend};
use hedgerow_engine::{Engine, EngineError, Position, Subscription, SubscriptionError};
use proptest::prelude::*;
use uuid::Uuid;

fn subscribe(rig: &mut Rig, engine: &Engine, of: &TenantId, from: Position) -> Subscription {
    let (engine, of) = (engine.clone(), of.clone());
    rig.run(async move { engine.subscribe(&of, from).await }).expect("there is room")
}

/// What is there for a subscriber now.
fn drain(events: &mut Subscription) -> Vec<StoredEvent> {
    std::iter::from_fn(|| events.next_if_ready()).map(|told| told.expect("an event")).collect()
}

fn log_of(rig: &mut Rig, of: &TenantId, after: u64) -> Vec<StoredEvent> {
    let log = rig.log().into_iter();
    log.filter(|stored| stored.tenant == *of && stored.position > after).collect()
}

/// A campaign of so many devices, with everything that happens in it.
fn campaign(rig: &mut Rig, engine: &Engine, number: u128, devices: u8) {
    rig.create(engine, number, definition(u32::from(devices)));
    for of in 1..=devices {
        rig.report(engine, of, operation(number, of), ReportStatus::Success).unwrap();
    }
}

/// Another program records an event, of which no engine is told.
fn append(store: &FaultyStore, of: &TenantId, stream: u128, version: u64) {
    let event = NewEvent {
        event_type: "any".to_owned(),
        schema_version: 1,
        recorded_at: Timestamp::default(),
        correlation_id: Uuid::from_u128(stream),
        causation_id: Uuid::nil(),
        data: format!("{{\"version\":{version}}}").into_bytes(),
    };
    let append = StreamAppend {
        tenant: of.clone(),
        stream: StreamId::ManualUpdate(OperationId::from_uuid(Uuid::from_u128(stream))),
        expected_version: version,
        events: vec![event],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Settled,
    };
    futures::executor::block_on(store.memory.append(vec![append])).expect("it is appended");
}

#[test]
fn e8_subscribers_see_every_event_in_order_and_once() {
    let mut rig = Rig::new(3);
    let engine = rig.start();
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    campaign(&mut rig, &engine, 1, 3);
    assert_eq!(drain(&mut events), rig.log());
    assert_eq!(engine.stats().subscribers, 1);
}

#[test]
fn d21_a_subscriber_sees_the_events_of_its_tenant_alone() {
    let other: TenantId = "umbrella".parse().unwrap();
    let mut rig = Rig::new(1);
    rig.world.add(&other, 1, "1.0.0");
    let engine = rig.start();
    let mut ours = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    let mut theirs = subscribe(&mut rig, &engine, &other, Position::Now);
    let mut nobodys = subscribe(&mut rig, &engine, &"nobody".parse().unwrap(), Position::Start);
    rig.create(&engine, 1, definition(1));
    let (creating, of) = (engine.clone(), other.clone());
    rig.run(async move { creating.create(&of, campaign_id(1), definition(1), None).await })
        .unwrap();
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    for (events, of) in [(&mut ours, &tenant()), (&mut theirs, &other)] {
        let log = log_of(&mut rig, of, 0);
        assert!(!log.is_empty());
        assert_eq!(drain(events), log, "of {of}");
    }
    assert_eq!(nobodys.next_if_ready(), None);
    assert_eq!(nobodys.position(), rig.log().len() as u64, "it need not look at that again");
}

#[test]
fn who_comes_back_behind_any_position_sees_the_rest_and_nothing_twice() {
    let mut rig = Rig::new(3);
    for kept in [0, 1, 4, 1_000] {
        let engine = rig.start_with(|builder| builder.kept_events(kept));
        campaign(&mut rig, &engine, 1 + kept as u128, 3);
        let end = rig.log().len() as u64;
        let mut live = subscribe(&mut rig, &engine, &tenant(), Position::Now);
        assert_eq!((drain(&mut live), live.position()), (vec![], end));
        for after in 0..=end {
            let mut back = subscribe(&mut rig, &engine, &tenant(), Position::After(after));
            assert_eq!(drain(&mut back), log_of(&mut rig, &tenant(), after), "behind {after}");
        }
    }
}

#[test]
fn a_subscriber_that_is_slow_loses_nothing_and_holds_nobody_up() {
    let mut rig = Rig::new(3);
    let engine = rig.start_with(|builder| builder.kept_events(2));
    let mut slow = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    let mut quick = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    let mut seen = Vec::new();
    for number in 1..=4 {
        campaign(&mut rig, &engine, number, 3);
        seen.extend(drain(&mut quick));
    }
    assert_eq!(seen, rig.log());
    assert_eq!(drain(&mut slow), rig.log());
}

#[test]
fn a_subscriber_that_is_behind_by_several_pages_is_told_all_of_them() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.kept_events(10));
    let mut live = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    for version in 0..700 {
        append(&rig.store, &tenant(), 77, version);
        append(&rig.store, &tenant(), 78, version);
    }
    rig.create(&engine, 1, definition(1));
    let log = rig.log();
    let mut back = subscribe(&mut rig, &engine, &tenant(), Position::Start);
    let one = StreamId::ManualUpdate(OperationId::from_uuid(Uuid::from_u128(78)));
    let asked = engine.clone();
    let own = rig.run(async move { asked.subscribe_to(&tenant(), one, Position::After(2)).await });
    let mut own = own.expect("there is room");
    assert!(drain(&mut live) == log && drain(&mut back) == log);
    let of_one: Vec<_> = log[2..].iter().filter(|stored| stored.stream == one).cloned().collect();
    assert!(drain(&mut own) == of_one);
    assert_eq!(own.position(), log.len() as u64);
}

#[test]
fn a_subscriber_of_one_campaign_sees_its_events_alone_from_wherever_it_begins() {
    let mut rig = Rig::new(3);
    let engine = rig.start_with(|builder| builder.kept_events(3));
    for number in 1..=2 {
        campaign(&mut rig, &engine, number, 3);
    }
    let stream = StreamId::Campaign(campaign_id(1));
    for after in 0..=rig.log().len() as u64 {
        let asked = engine.clone();
        let mut own = rig
            .run(async move { asked.subscribe_to(&tenant(), stream, Position::After(after)).await })
            .expect("there is room");
        let log = log_of(&mut rig, &tenant(), after).into_iter();
        let log: Vec<_> = log.filter(|stored| stored.stream == stream).collect();
        assert_eq!(drain(&mut own), log, "behind {after}");
    }
}

#[test]
fn what_another_program_records_is_told_after_a_moment_in_the_order_of_the_log() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.look_for_others(Some(seconds(1))));
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    append(&rig.store, &tenant(), 77, 0);
    assert_eq!(events.next_if_ready(), None);
    rig.pass(seconds(2));
    append(&rig.store, &tenant(), 77, 1);
    rig.create(&engine, 1, definition(1));
    assert_eq!(drain(&mut events), rig.log());
}

#[test]
fn a_subscriber_waits_while_the_store_fails_and_misses_nothing() {
    let mut rig = Rig::new(2);
    let engine = rig.start_with(|builder| builder.kept_events(1));
    let mut live = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    rig.store.fail_log_reads(3);
    campaign(&mut rig, &engine, 1, 2);
    assert_eq!(live.next_if_ready(), None);
    rig.pass(seconds(60));
    assert_eq!(drain(&mut live), rig.log());
    // And while it reads the past.
    let mut back = subscribe(&mut rig, &engine, &tenant(), Position::Start);
    rig.store.fail_log_reads(3);
    assert_eq!(back.next_if_ready(), None);
    rig.pass(seconds(60));
    let mut seen = drain(&mut back);
    // Who reads the past sleeps by itself: it is polled once for each time that it is woken.
    for _ in 0..3 {
        rig.pass(seconds(60));
        seen.extend(drain(&mut back));
    }
    assert_eq!(seen, rig.log());
}

#[test]
fn e14_a_damaged_event_is_told_as_damaged_and_the_rest_goes_on() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    campaign(&mut rig, &engine, 1, 2);
    let log = rig.log();
    rig.store.damage(|mut stored| {
        if stored.position == 3 {
            stored.event.data = b"{}".to_vec();
        }
        Some(stored)
    });
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::Start);
    let mut seen = Vec::new();
    while let Some(told) = events.next_if_ready() {
        match told {
            Ok(stored) => seen.push(stored),
            Err(SubscriptionError::Damaged { position, stream, .. }) => {
                assert_eq!((position, stream), (3, log[2].stream));
                seen.push(log[2].clone());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen, log);
}

#[test]
fn d21_a_stream_with_a_gap_ends_nobodys_subscription() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    campaign(&mut rig, &engine, 1, 2);
    let log = rig.log();
    rig.store.break_stream(log[0].stream);
    // The first event that it is told of has one before it, which cannot be read.
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::After(1));
    let damaged = events.next_if_ready().expect("it goes on").expect_err("nothing to compare with");
    assert!(matches!(damaged, SubscriptionError::Damaged { position: 2, .. }), "{damaged}");
    assert_eq!(drain(&mut events), log[2..]);
}

#[test]
fn a_log_that_cannot_be_read_ends_a_subscription_with_the_reason_and_another_one_begins() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    let detail = "a page of the file".to_owned();
    let corrupt = StoreError::Corrupt { detail };
    rig.store.break_log(Some(corrupt.clone()));
    rig.create(&engine, 1, definition(1));
    assert_eq!(events.next_if_ready(), Some(Err(SubscriptionError::Log(corrupt))));
    assert_eq!(events.next_if_ready(), None);
    let at = events.position();
    rig.store.break_log(None);
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::After(at));
    assert_eq!(drain(&mut events), rig.log());
}

#[test]
fn what_was_recorded_while_nobody_could_read_the_log_is_told_to_who_comes_back() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.kept_events(2));
    let mut events = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    campaign(&mut rig, &engine, 1, 1);
    assert_eq!(drain(&mut events), rig.log());
    let at = events.position();
    rig.store.break_log(Some(StoreError::Corrupt { detail: "a page of the file".to_owned() }));
    campaign(&mut rig, &engine, 2, 1);
    assert!(events.next_if_ready().is_some_and(|told| told.is_err()));
    rig.store.break_log(None);
    let mut others = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    append(&rig.store, &tenant(), 77, 0);
    rig.create(&engine, 3, definition(1));
    assert!(!drain(&mut others).is_empty());
    let mut back = subscribe(&mut rig, &engine, &tenant(), Position::After(at));
    assert_eq!(drain(&mut back), log_of(&mut rig, &tenant(), at));
}

#[test]
fn a_position_that_the_log_does_not_have_is_of_another_log_and_refused() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let end = rig.log().len() as u64;
    let others = subscribe(&mut rig, &engine, &tenant(), Position::After(end));
    let asked = engine.clone();
    let position = end + 1;
    let refused =
        rig.run(async move { asked.subscribe(&tenant(), Position::After(position)).await });
    let behind = EngineError::BehindTheLog { position, end };
    assert_eq!(refused.err(), Some(behind.clone()));
    assert!(!behind.is_retryable());
    assert_eq!(engine.stats().subscribers, 1);
    drop(others);
}

#[test]
fn an_engine_that_stops_tells_what_it_recorded_last_and_then_the_end() {
    let mut rig = Rig::new(2);
    let engine = rig.start_with(|builder| builder.kept_events(1));
    let events = subscribe(&mut rig, &engine, &tenant(), Position::Now);
    campaign(&mut rig, &engine, 1, 2);
    let stopped = engine.clone();
    rig.run(async move { stopped.shutdown().await });
    let seen: Vec<_> = rig.run(events.collect::<Vec<_>>());
    assert_eq!(seen.into_iter().collect::<Result<Vec<_>, _>>(), Ok(rig.log()));
    let late = rig.run(async move { engine.subscribe(&tenant(), Position::Now).await.err() });
    assert_eq!(late, Some(EngineError::ShuttingDown));
}

#[test]
fn with_the_last_subscriber_the_log_is_read_no_more() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    drop(subscribe(&mut rig, &engine, &tenant(), Position::Start));
    assert_eq!(engine.stats().subscribers, 0);
    rig.create(&engine, 1, definition(1));
    let read = rig.store.take_log_reads();
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    assert_eq!(rig.store.take_log_reads(), 0, "after {read}");
}

/// What happens around subscribers.
#[derive(Clone, Debug)]
enum Step {
    /// The engine records a campaign, with what happens in it.
    Engine,
    /// Another program records so many events, of either tenant.
    Other(bool, u8),
    /// A subscriber takes so many events.
    Take(usize, usize),
    /// A subscriber goes and comes back behind what it has seen.
    Return(usize),
    /// One more subscribes.
    Subscribe(bool, Begin),
    /// Reading fails so often.
    Fail(u8),
    Pass(u8),
}

#[derive(Clone, Copy, Debug)]
enum Begin {
    Start,
    Now,
    After(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin =
        prop_oneof![Just(Begin::Start), Just(Begin::Now), (0..60_u64).prop_map(Begin::After)];
    let step = prop_oneof![
        2 => Just(Step::Engine),
        2 => (any::<bool>(), 1..4_u8).prop_map(|(ours, events)| Step::Other(ours, events)),
        6 => (any::<usize>(), 1..12_usize).prop_map(|(who, most)| Step::Take(who, most)),
        2 => any::<usize>().prop_map(Step::Return),
        2 => (any::<bool>(), begin).prop_map(|(ours, begin)| Step::Subscribe(ours, begin)),
        1 => (1..4_u8).prop_map(Step::Fail),
        2 => (0..20_u8).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..40)
}

/// A subscriber, and what it should see and has seen.
struct Subscriber {
    events: Subscription,
    of: TenantId,
    from: u64,
    seen: Vec<StoredEvent>,
}

impl Subscriber {
    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let Some(told) = self.events.next_if_ready() else { return };
            self.seen.push(told.expect("an event"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn subscribers_that_are_slow_cut_and_come_back_see_the_log_once_and_in_order(
        kept in 0..6_usize,
        steps in steps(),
    ) {
        let other: TenantId = "umbrella".parse().unwrap();
        let mut rig = Rig::new(2);
        let engine = rig.start_with(|builder| {
            builder.kept_events(kept).look_for_others(Some(seconds(5)))
        });
        let (mut subscribers, mut campaigns, mut versions) =
            (Vec::<Subscriber>::new(), 0, [0_u64; 2]);
        let of = |ours: bool| if ours { tenant() } else { other.clone() };
        for step in steps {
            match step {
                Step::Engine => {
                    campaigns += 1;
                    campaign(&mut rig, &engine, campaigns, 2);
                }
                Step::Other(ours, events) => {
                    for _ in 0..events {
                        let version = &mut versions[usize::from(ours)];
                        append(&rig.store, &of(ours), 77, *version);
                        *version += 1;
                    }
                }
                Step::Take(who, most) => {
                    let among = subscribers.len().max(1);
                    if let Some(subscriber) = subscribers.get_mut(who % among) {
                        subscriber.take(most);
                    }
                }
                Step::Return(who) => {
                    let among = subscribers.len().max(1);
                    if let Some(subscriber) = subscribers.get_mut(who % among) {
                        rig.store.fail_log_reads(0);
                        let at = Position::After(subscriber.events.position());
                        let of = subscriber.of.clone();
                        subscriber.events = subscribe(&mut rig, &engine, &of, at);
                    }
                }
                Step::Subscribe(ours, begin) => {
                    rig.store.fail_log_reads(0);
                    let end = rig.log().len() as u64;
                    let (from, position) = match begin {
                        Begin::Start => (0, Position::Start),
                        Begin::Now => (end, Position::Now),
                        Begin::After(after) => (after.min(end), Position::After(after.min(end))),
                    };
                    let of = of(ours);
                    let events = subscribe(&mut rig, &engine, &of, position);
                    subscribers.push(Subscriber { events, of, from, seen: Vec::new() });
                }
                Step::Fail(times) => rig.store.fail_log_reads(times.into()),
                Step::Pass(time) => rig.pass(seconds(time.into())),
            }
        }
        rig.store.fail_log_reads(0);
        for subscriber in &mut subscribers {
            for _ in 0..4 {
                rig.pass(seconds(60));
                subscriber.take(usize::MAX);
            }
            let log = log_of(&mut rig, &subscriber.of, subscriber.from);
            prop_assert_eq!(&subscriber.seen, &log);
        }
    }
}
