//! Pausing, resuming, cancelling and superseding: D16, D17, D18.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Reads, Recorded, Step, play};

/// D16: the statuses of a running campaign.
#[derive(Default)]
struct Pauses {
    paused: bool,
}

impl Law for Pauses {
    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::CampaignPausing(_) => self.paused = true,
            CampaignEvent::CampaignResumed(_) => self.paused = false,
            CampaignEvent::OperationStarted(_) | CampaignEvent::OperationReadmitted(_) => {
                assert!(!self.paused, "D16: {:?} in a pause", seen.event);
                assert_eq!(seen.before.status(), CampaignStatus::InProgress, "D16");
            }
            CampaignEvent::CampaignPaused(_) => {
                assert!(self.paused, "D16: nobody asked for it");
                assert_eq!(seen.before.counts().in_progress, 0, "D16: none left in progress");
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        let status = seen.before.status();
        match seen.input {
            Input::Command(Command::Pause) => {
                let allowed = status == CampaignStatus::InProgress;
                assert_eq!(seen.decided.is_ok(), allowed, "D16: pausing anything else is refused");
                if allowed {
                    // A deadline has its effect in a pause, too (P3).
                    let closed = |t: &TargetView| matches!(t.settlement, Settlement::GivenUp(_));
                    let all = seen.before.targets().zip(seen.after.targets());
                    for (before, after) in all.filter(|(_, after)| !closed(after)) {
                        assert_eq!(before, after, "D16: those recorded before go on");
                    }
                }
            }
            Input::Command(Command::Resume) => {
                let allowed = matches!(status, CampaignStatus::Paused | CampaignStatus::Pausing);
                assert_eq!(seen.decided.is_ok(), allowed, "D16");
            }
            _ => {}
        }
        if self.paused {
            assert_eq!(seen.turns().count(), 0, "D16: nobody's turn comes in a pause");
        }
        if seen.recovered && seen.after.status() == CampaignStatus::Pausing {
            assert!(seen.after.counts().in_progress > 0, "D16: it is paused when none is left");
        }
    }
}

/// D17, D18.
#[derive(Default)]
struct Ends {
    over: bool,
    /// Operations that are to be cancelled on their devices.
    stopped: BTreeSet<(DeviceId, OperationId)>,
    /// Update and Cancel calls under way.
    calling: BTreeSet<OperationId>,
    cancelling: BTreeSet<OperationId>,
    urls: BTreeMap<OperationId, ImageUrl>,
    reads: Reads,
}

impl Ends {
    fn ended(&mut self, seen: &Step<'_>, outcome: Outcome, stop: bool) {
        let was_over =
            matches!(seen.before.status(), CampaignStatus::Finished | CampaignStatus::Deleted);
        assert_eq!(seen.decided.is_ok(), !was_over, "D17: from any unfinished status");
        if was_over {
            return;
        }
        self.over = true;
        assert_eq!(seen.after.status(), CampaignStatus::Finished, "D17: at once");
        assert_eq!(seen.after.outcome(), Some(outcome));
        assert_eq!(seen.events().len(), 1, "E9: one event");
        for (before, after) in seen.before.targets().zip(seen.after.targets()) {
            if before.status == TargetStatus::Idle {
                assert_eq!(after.status, TargetStatus::Cancelled, "D17: idle targets");
                assert_eq!(after.operation, None);
                continue;
            }
            assert_eq!(after.status, before.status, "D17: the others run on");
            if let Some(operation) = after.operation.filter(|_| stop) {
                assert_eq!(operation.cancellation, Cancellation::Wanted, "D17");
                self.stopped.insert((after.device, operation.id));
            }
        }
    }
}

impl Law for Ends {
    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::OperationStarted(_)
            | CampaignEvent::OperationReadmitted(_)
            | CampaignEvent::TargetUpToDate(_)
            | CampaignEvent::AttemptDeferred(_)
            | CampaignEvent::CampaignFinished(_) => {
                assert!(!self.over, "D17: {:?} after the end", seen.event);
            }
            CampaignEvent::CancelSent(e) => {
                let operation = seen.before.target(e.device).unwrap().operation.unwrap();
                assert!(self.stopped.contains(&(e.device, operation.id)), "D17: {e:?}");
                assert_eq!(operation.cancellation, Cancellation::Wanted, "D17: once");
            }
            _ => {}
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        match seen.input {
            Input::Command(Command::Cancel { running }) => {
                self.ended(seen, Outcome::Cancelled, *running == RunningOperations::Stop);
            }
            Input::Command(Command::Supersede) => self.ended(seen, Outcome::Superseded, false),
            Input::RequestAnswered { operation, .. } => drop(self.calling.remove(operation)),
            Input::CancelAnswered { operation, .. } => drop(self.cancelling.remove(operation)),
            _ => {}
        }
        for effect in seen.effects() {
            match effect {
                Effect::SendUpdate { device, operation, url, .. } => {
                    let stopped = self.stopped.contains(&(*device, *operation));
                    assert!(!stopped, "D17: sent again after a Cancel");
                    self.calling.insert(*operation);
                    self.urls.insert(*operation, url.clone());
                }
                Effect::SendCancel { device, operation, url, .. } => {
                    assert!(self.stopped.contains(&(*device, *operation)), "D17: nobody asked");
                    assert!(!self.calling.contains(operation), "D17: it overtakes its Update");
                    assert!(self.cancelling.insert(*operation), "D17: one at a time");
                    assert_eq!(url, &self.urls[operation], "D17: with UUID and URL");
                }
                _ => {}
            }
        }
        self.reads.step(seen);
        if !seen.recovered {
            return;
        }
        // Each is asked, at once or when the answer to its Update is there.
        for (device, id) in &self.stopped {
            let target = seen.after.target(*device).unwrap();
            let Some(operation) = target.operation.filter(|operation| operation.id == *id) else {
                continue;
            };
            let wanted = operation.cancellation == Cancellation::Wanted;
            let failed = match seen.input {
                Input::CancelAnswered { operation, answer, .. } => {
                    operation == id && matches!(answer, RequestAnswer::Temporary(_))
                }
                _ => false,
            };
            let at_once = match seen.input {
                Input::Command(Command::Cancel { .. }) => seen.decided.is_ok(),
                Input::RequestAnswered { operation, .. } => operation == id,
                Input::Recovered => true,
                _ => false,
            };
            let under_way = self.calling.contains(id) || self.cancelling.contains(id);
            assert!(!at_once || !wanted || under_way || failed, "D17: {device} is not asked");
            let reading = self.reads.is_under_way(*device);
            let tried_again = reading || seen.live.next_deadline().is_some();
            assert!(!failed || tried_again || !wanted, "D17: a Cancel that failed is sent again");
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.calling.clear();
        self.cancelling.clear();
        self.reads.clear();
    }
}

/// Steers a lot, and cancels in the end if nobody did.
const STEERED: Mix = Mix { steer: 4, answer: 14, ..Mix::EVEN };

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d16_in_a_pause_no_operation_starts_and_those_in_progress_go_on(story in story(STEERED)) {
        play(&story, &mut Pauses::default());
    }

    #[test]
    fn d17_cancelling_ends_it_at_once_and_operations_run_on_or_are_asked_to_stop(
        story in story(STEERED), stop in any::<bool>(), after in any::<prop::sample::Index>(),
    ) {
        let mut story = story;
        let place = after.index(story.acts.len() + 1);
        story.acts.insert(place, crate::story::Act::Wish(crate::story::Wish::Cancel { stop }));
        play(&story, &mut Ends::default());
    }

    #[test]
    fn d18_a_superseded_campaign_gives_up_its_idle_targets(
        story in story(Mix { answer: 14, ..Mix::EVEN }), after in any::<prop::sample::Index>(),
    ) {
        let mut story = story;
        let place = after.index(story.acts.len() + 1);
        story.acts.insert(place, crate::story::Act::Wish(crate::story::Wish::Supersede));
        play(&story, &mut Ends::default());
    }
}
