//! What callers can grow is bounded: a full inbox, too many streams that are being loaded or begun and
//! too many subscribers are refused for now, are counted, and leave room again.

mod common;

use common::{Fault, Rig, campaign_id, definition, device, seconds, tenant, unavailable};
use futures::FutureExt;
use futures::channel::oneshot::{Receiver, channel};
use hedgerow_core::{CampaignId, Presence, StreamId, TenantId};
use hedgerow_engine::ports::Spawner;
use hedgerow_engine::{Engine, EngineError, Observation, Position};

/// A call that is waited for as long as it takes without time passing.
fn begin<T: Send + 'static>(
    rig: &mut Rig,
    call: impl Future<Output = T> + Send + 'static,
) -> Receiver<T> {
    let (send, answered) = channel();
    rig.executor.spawner().spawn(call.map(|answer| drop(send.send(answer))).boxed());
    rig.pass(seconds(0));
    answered
}

fn creates(rig: &mut Rig, engine: &Engine, number: u128) -> Result<(), EngineError> {
    let engine = engine.clone();
    rig.run(async move { engine.create(&tenant(), campaign_id(number), definition(1), None).await })
}

fn pauses(
    engine: &Engine,
    id: CampaignId,
) -> impl Future<Output = Result<(), EngineError>> + Send + 'static {
    let engine = engine.clone();
    async move { engine.pause(&tenant(), id).await }
}

fn looks(
    engine: &Engine,
    id: CampaignId,
) -> impl Future<Output = Result<(), EngineError>> + Send + 'static {
    let engine = engine.clone();
    async move { engine.progress(&tenant(), id).await.map(|_| ()) }
}

#[test]
fn an_inbox_takes_as_many_messages_as_the_engine_was_built_for() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.waiting_messages(2));
    rig.create(&engine, 1, definition(1));
    // The task waits for the store, and hears of nothing meanwhile.
    rig.store.next([Fault::Hangs]);
    let pausing = engine.clone();
    let paused = begin(&mut rig, async move { pausing.pause(&tenant(), campaign_id(1)).await });
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(begin(&mut rig, looks(&engine, campaign_id(1))));
    }
    let full = rig.run(looks(&engine, campaign_id(1)));
    assert_eq!(full, Err(EngineError::Busy));
    assert!(EngineError::Busy.is_retryable());
    let gone = Observation::Presence { device: device(1), presence: Presence::Offline };
    assert_eq!(rig.observe(&engine, gone), Err(EngineError::Busy));
    assert_eq!(engine.stats().refusals.messages, 2);
    assert!(paused.now_or_never().is_none(), "none of them has an answer yet");
    assert!(waiting.into_iter().all(|answer| answer.now_or_never().is_none()));
}

#[test]
fn as_many_streams_are_loaded_at_once_as_the_engine_was_built_for() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.opening_streams(1));
    rig.store.set_reads_hang(true);
    let first = pauses(&engine, campaign_id(1));
    let mut first = Box::pin(first);
    assert!(first.as_mut().now_or_never().is_none(), "it is being loaded");
    let stream = StreamId::Campaign(campaign_id(1));
    assert_eq!(rig.run(pauses(&engine, campaign_id(1))), Err(EngineError::NotReady { stream }));
    let refused = EngineError::TooManyOpening { most: 1 };
    assert!(refused.is_retryable());
    assert_eq!(rig.run(pauses(&engine, campaign_id(2))), Err(refused.clone()));
    assert_eq!(creates(&mut rig, &engine, 3), Err(refused));
    assert_eq!(engine.stats().refusals.opening, 2);
    // Whoever asked for it has gone: that leaves its place, and the stream is looked for anew.
    drop(first);
    rig.store.set_reads_hang(false);
    let unknown = Err(EngineError::UnknownStream { stream });
    assert_eq!(rig.run(pauses(&engine, campaign_id(1))), unknown);
    assert_eq!(creates(&mut rig, &engine, 3), Ok(()));
}

#[test]
fn what_was_begun_while_the_store_failed_holds_its_place_until_that_is_seen_to() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.opening_streams(1));
    rig.store.next([Fault::Fails(unavailable())]);
    rig.store.fail_reads(2);
    assert_eq!(creates(&mut rig, &engine, 1), Err(unavailable().into()));
    let refused = Err(EngineError::TooManyOpening { most: 1 });
    assert_eq!(creates(&mut rig, &engine, 2), refused);
    rig.pass(seconds(10));
    assert_eq!(creates(&mut rig, &engine, 2), Ok(()), "the first is known not to be there");
}

#[test]
fn as_many_subscribe_as_the_engine_was_built_for_and_one_that_goes_makes_room() {
    let mut rig = Rig::new(1);
    let engine = rig.start_with(|builder| builder.subscribers(2));
    let subscribe = |of: TenantId| {
        let engine = engine.clone();
        async move { engine.subscribe(&of, Position::Now).await }
    };
    let first = rig.run(subscribe(tenant())).expect("there is room");
    let mut second = rig.run(subscribe(tenant())).expect("there is room");
    let refused = EngineError::TooManySubscribers { most: 2 };
    assert!(refused.is_retryable());
    assert_eq!(rig.run(subscribe(tenant())).err(), Some(refused));
    assert_eq!(engine.stats().refusals.subscribers, 1);
    drop(first);
    let third = rig.run(subscribe("other".parse().unwrap()));
    assert!(third.is_ok(), "the first has gone");
    rig.create(&engine, 1, definition(1));
    assert!(second.next_if_ready().is_some(), "others are told as before");
}
