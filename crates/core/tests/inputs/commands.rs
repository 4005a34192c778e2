//! What people want (D16 to D19).

use hedgerow_core::*;

use crate::given::{Given, all};

#[test]
fn commands() {
    let pause = || Input::Command(Command::Pause);
    let cancel = |running| Input::Command(Command::Cancel { running });
    let edit = |edit| Input::Command(Command::Edit(Box::new(edit)));
    let more = CampaignEdit {
        limits: LimitsEdit {
            max_pending_operations: std::num::NonZeroU32::new(2),
            ..LimitsEdit::default()
        },
        ..CampaignEdit::default()
    };
    let renamed = CampaignEdit { name: Some("summer".parse().unwrap()), ..CampaignEdit::default() };
    let paused = || Given::started().after(pause()).named("a campaign that is paused");
    insta::assert_snapshot!(all([
        Given::started().told("it is paused", pause()),
        Given::acknowledged().told("it is paused", pause()),
        paused().told("it is paused again", pause()),
        paused().told("it is resumed", Input::Command(Command::Resume)),
        paused()
            .online(1)
            .named("a paused campaign with device 1 online")
            .told("it is resumed", Input::Command(Command::Resume),),
        Given::acknowledged()
            .told("it is cancelled, and what runs is to finish", cancel(RunningOperations::Finish)),
        Given::acknowledged()
            .told("it is cancelled, and what runs is to stop", cancel(RunningOperations::Stop)),
        Given::asked()
            .told("it is cancelled, and what runs is to stop", cancel(RunningOperations::Stop)),
        Given::acknowledged().told("a newer one supersedes it", Input::Command(Command::Supersede)),
        Given::acknowledged()
            .online(2)
            .named("device 1 is at work, device 2 online, one slot")
            .told("one more slot is allowed", edit(more)),
        Given::started().told("its name is edited", edit(renamed)),
        Given::started().told("it is deleted", Input::Command(Command::Delete)),
    ]));
}

#[test]
fn d19_once_the_selection_of_the_targets_is_recorded_the_name_is_fixed() {
    let renamed = CampaignEdit { name: Some("summer".parse().unwrap()), ..CampaignEdit::default() };
    let edit = || Input::Command(Command::Edit(Box::new(renamed.clone())));
    let mut selecting = Given::scheduled().later(60).after(Input::Tick);
    let told = selecting.clone().told("its name is edited", edit());
    assert!(told.contains("event     campaign_edited"), "{told}");
    let question = selecting.snapshot_question();
    let chunk = Input::SnapshotChunk { question, devices: vec![crate::given::device(1)] };
    let told = selecting.after(chunk).told("its name is edited", edit());
    assert!(told.contains("refused"), "{told}");
}
