//! An engine whose campaigns are archived and removed beside it, as another process does: whatever
//! comes for them later is refused for good, and nothing goes out of service.

mod common;

use common::{Rig, campaign_id, definition, device, operation, seconds, tenant};
use hedgerow_core::{Presence, ReportStatus, StreamId, Timestamp};
use hedgerow_engine::archive::{ArchiveIndex, ArchiveSelection, Run, archive, import, prune};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::{Engine, EngineError, Observation, Position};
use hedgerow_sim::runtime::wait;
use uuid::Uuid;

fn run(rig: &Rig) -> Run {
    Run { at: rig.now(), id: Uuid::from_u128(1) }
}

/// Archives everything that has ended, and removes it.
fn remove_all(rig: &Rig) -> Vec<u8> {
    let (mut file, selection) = (Vec::new(), ArchiveSelection::default());
    wait(archive(&rig.store, &mut file, &selection, rig.now(), &mut |_| {})).expect("written");
    let mut index = ArchiveIndex::default();
    index.add(&file[..]).expect("whole");
    let before = Timestamp::from_millis(i64::MAX);
    let pruned = wait(prune(&rig.store, &index, before, run(rig), &mut |_| {})).expect("pruned");
    assert_eq!((pruned.removed, pruned.refused), (index.len() as u64, 0));
    assert!(pruned.removed > 0);
    file
}

/// Imports what was archived, which is one campaign.
fn put_back(rig: &Rig, file: &[u8]) {
    let mut index = ArchiveIndex::default();
    index.add(file).expect("whole");
    let file = Box::new(std::io::Cursor::new(file.to_vec()));
    let imported = wait(import(&rig.store, &index, file, run(rig), &mut |_| {}));
    assert_eq!(imported.expect("imported").imported, 1);
}

/// A campaign of one device that has succeeded; the engine has it in memory still.
fn ended() -> (Rig, Engine) {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).expect("taken");
    (rig, engine)
}

fn is_in_service(rig: &mut Rig, engine: &Engine) {
    assert_eq!(engine.quarantined(&tenant()), []);
    rig.pass(seconds(3_600));
    assert_eq!(engine.quarantined(&tenant()), []);
    // Its device is free for others.
    rig.create(engine, 2, definition(1));
    rig.world.set_version(1, "1.0.0");
    rig.pass(seconds(60));
    assert_eq!(rig.progress(engine, 2).outcome, None);
}

fn pause(rig: &mut Rig, engine: &Engine) -> EngineError {
    let engine = engine.clone();
    let paused = async move { engine.pause(&tenant(), campaign_id(1)).await };
    rig.run_within(seconds(60), paused).expect_err("it has ended, or is not there")
}

#[test]
fn a_report_of_a_removed_campaign_is_refused_for_good_whether_or_not_it_is_in_memory() {
    for is_in_memory in [true, false] {
        let (mut rig, mut engine) = ended();
        if !is_in_memory {
            rig.pass(seconds(2 * 86_400));
            engine = rig.restart();
        }
        remove_all(&rig);
        let refused = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure);
        let refused = refused.expect_err("nobody knows it");
        assert!(matches!(refused, EngineError::UnknownOperation { .. }), "{refused}");
        assert!(!refused.is_retryable());
        is_in_service(&mut rig, &engine);
    }
}

#[test]
fn a_campaign_that_is_removed_while_it_is_in_memory_records_nothing_more_and_leaves_it() {
    let (mut rig, engine) = ended();
    // Its device contradicts the outcome (D22): what is noted of that comes too late.
    remove_all(&rig);
    rig.world.set_version(1, "1.0.0");
    let gone = Observation::Presence { device: device(1), presence: Presence::Offline };
    for seen in [gone, common::online_now(&rig, 1)] {
        rig.observe(&engine, seen).expect("nothing is to be sent again");
    }
    rig.pass(seconds(600));
    assert_eq!(rig.log().iter().filter(|stored| stored.version > 0).count(), 0);
    let stream = StreamId::Campaign(campaign_id(1));
    assert_eq!(pause(&mut rig, &engine), EngineError::Removed { stream }, "it left the memory");
    is_in_service(&mut rig, &engine);
}

#[test]
fn a_command_to_a_removed_campaign_says_what_became_of_it() {
    let (mut rig, _) = ended();
    rig.pass(seconds(2 * 86_400));
    let engine = rig.restart();
    let file = remove_all(&rig);
    let refused = pause(&mut rig, &engine);
    let stream = StreamId::Campaign(campaign_id(1));
    assert_eq!(refused, EngineError::Removed { stream });
    // Put back, it is what it was.
    put_back(&rig, &file);
    let late = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure);
    assert!(late.is_ok(), "{late:?}");
}

#[test]
fn a_subscriber_to_one_campaign_is_told_that_it_was_removed_and_that_it_is_told_again() {
    let (mut rig, _) = ended();
    let engine = rig.start_with(|builder| builder.kept_events(0).look_for_others(Some(seconds(1))));
    let seen = rig.log();
    let subscribe = |rig: &mut Rig, after: u64| {
        let (engine, stream) = (engine.clone(), StreamId::Campaign(campaign_id(1)));
        let asked =
            async move { engine.subscribe_to(&tenant(), stream, Position::After(after)).await };
        let mut events = rig.run(asked).expect("there is room");
        let told = std::iter::from_fn(move || events.next_if_ready());
        told.map(|told| told.expect("an event")).collect::<Vec<_>>()
    };
    let last = seen.last().expect("an event").position;
    assert_eq!(subscribe(&mut rig, 0), seen);
    let file = remove_all(&rig);
    // What another program writes is seen a moment later.
    rig.pass(seconds(2));
    let removed = rig.log();
    assert_eq!(removed.len(), 1);
    for after in [0, 1, last] {
        assert_eq!(subscribe(&mut rig, after), removed, "behind {after}");
    }
    put_back(&rig, &file);
    rig.pass(seconds(2));
    let back = rig.log();
    assert_eq!((back[0].version, back.len()), (0, 1 + seen.len()), "a note, and all events");
    for after in [0, 1, last, removed[0].position] {
        assert_eq!(subscribe(&mut rig, after), back, "behind {after}");
    }
    assert_eq!(subscribe(&mut rig, back[0].position), back[1..]);
}

#[test]
fn e3_the_id_of_a_removed_campaign_and_of_a_removed_manual_update_is_not_used_again() {
    let (mut rig, mut engine) = ended();
    rig.start_manual(&engine, 1).expect("the device is free");
    let update = wait(rig.store.streams()).expect("listed").pop().expect("two").stream;
    let StreamId::ManualUpdate(id) = update else { panic!("{update}") };
    rig.report(&engine, 1, id, ReportStatus::Success).expect("taken");
    for restarts in [false, true] {
        if restarts {
            engine = rig.restart();
        } else {
            remove_all(&rig);
        }
        let refused = rig.try_create(&engine, 1, definition(1));
        assert_eq!(refused, Err(EngineError::CampaignExists { campaign: campaign_id(1) }));
        // As long as it is in memory, a repeated call is told that it was done (D20).
        let removed = EngineError::Removed { stream: update };
        assert!(!removed.is_retryable());
        let expected = if restarts { Err(removed) } else { Ok(()) };
        assert_eq!(rig.start_manual(&engine, 1), expected);
    }
    assert_eq!(wait(rig.store.claims()), Ok(Vec::new()), "the device was given back");
    is_in_service(&mut rig, &engine);
}
