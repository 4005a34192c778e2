//! The targets are selected (D1 to D3).

use hedgerow_core::*;

use crate::given::{Given, all, device};

#[test]
fn snapshot() {
    let chunk = |given: &mut Given, devices| {
        let question = given.snapshot_question();
        Input::SnapshotChunk { question, devices }
    };
    let mut two = Given::asking();
    let names_two = chunk(&mut two, vec![device(1), device(2), device(1)]);
    let mut again = Given::asking();
    let first = chunk(&mut again, vec![device(1)]);
    let mut again = again.after(first).named("device 1 is a target already");
    let names_again = chunk(&mut again, vec![device(1), device(2)]);
    let mut complete = Given::asking();
    let first = chunk(&mut complete, vec![device(1)]);
    let mut complete = complete.after(first).named("device 1 is a target already");
    let completes = Input::SnapshotComplete { question: complete.snapshot_question() };
    let mut nobody = Given::asking();
    let empty = Input::SnapshotComplete { question: nobody.snapshot_question() };
    let mut unavailable = Given::asking();
    let fails = Input::SnapshotUnavailable { question: unavailable.snapshot_question() };
    insta::assert_snapshot!(all([
        Given::created().told("time has passed", Input::Tick),
        two.told("two devices are named, one of them twice", names_two),
        again.told("it is named once more", names_again),
        complete.told("the targets are complete", completes),
        nobody.told("there are no targets", empty),
        unavailable.told("the targets cannot be resolved", fails),
    ]));
}
