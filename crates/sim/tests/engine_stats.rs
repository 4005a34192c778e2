//! What an engine counts for its operator: each count moves with what it counts, and with nothing
//! else.

mod common;

use common::{Fault, Rig, definition, operation, seconds, unavailable};
use hedgerow_core::{ReportStatus, RequestAnswer, TransportError};

#[test]
fn requests_reports_and_appends_are_counted_once_each() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    assert_eq!(engine.stats(), hedgerow_engine::EngineStats::default(), "nothing was done yet");
    rig.create(&engine, 1, definition(1));
    let begun = engine.stats();
    assert_eq!((begun.requests, begun.resends, begun.versions_read), (1, 0, 1));
    assert_eq!((begun.streams, begun.waiting), (1, 0));
    assert!(begun.bytes > begun.events && begun.largest_append_bytes <= begun.bytes);

    rig.pass(seconds(600));
    let resent = engine.stats();
    assert!(resent.resends > 0, "nobody has reported");
    assert_eq!(resent.requests, 1 + resent.resends);

    let foreign = operation(2, 1);
    rig.report(&engine, 1, foreign, ReportStatus::Success).expect_err("nobody started it");
    assert_eq!((engine.stats().reports, engine.stats().refused_reports), (1, 1));

    let recorded = rig.log().len() as u64;
    assert_eq!(engine.stats().events, recorded, "every event once");
}

#[test]
fn a_report_after_the_end_is_late_and_not_refused() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    for status in [ReportStatus::Success, ReportStatus::Failure] {
        rig.report(&engine, 1, operation(1, 1), status).expect("it is taken");
    }
    let stats = engine.stats();
    assert_eq!((stats.reports, stats.late_reports, stats.refused_reports), (2, 1, 0));
}

#[test]
fn what_fails_is_counted_by_its_class() {
    let mut rig = Rig::new(1);
    let error = || TransportError::new("down");
    let answers = [RequestAnswer::Temporary(error()), RequestAnswer::Permanent(error())];
    rig.world.scene().answers = answers.into();
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.pass(seconds(60));
    let errors = engine.stats().transport_errors;
    assert_eq!((errors.temporary, errors.permanent), (1, 1));
    assert_eq!((errors.timed_out, errors.panicked), (0, 0));
}

#[test]
fn a_call_without_an_answer_is_counted_when_its_time_is_over() {
    let mut rig = Rig::new(1);
    rig.world.scene().reads_hang = true;
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    assert_eq!(engine.stats().transport_errors.timed_out, 0);
    rig.pass(seconds(21));
    let errors = engine.stats().transport_errors;
    assert_eq!((errors.timed_out, errors.temporary), (1, 1));
}

#[test]
fn an_append_that_fails_is_none_that_is_durable() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let before = engine.stats();
    rig.store.next([Fault::Fails(unavailable())]);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Downloading).expect_err("it failed");
    let after = engine.stats();
    assert_eq!(after.appends_failed, before.appends_failed + 1);
    assert_eq!(after.appends, before.appends);
}
