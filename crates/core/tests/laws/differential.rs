//! The campaign beside the reference: the same inputs to both, the same to be seen of both after
//! every input.

use std::collections::BTreeSet;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::reference::{Reference, Sent, Target, Volatile};
use crate::story::{Mix, Story, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play_to_the_end};

#[derive(Default)]
struct Compared {
    reference: Option<Reference>,
    /// Until the campaign starts: who is online.
    online: BTreeSet<DeviceId>,
    /// Whether operations get URLs of their own (D23).
    urls: bool,
}

impl Law for Compared {
    fn event(&mut self, seen: &Recorded<'_>) {
        if let CampaignEvent::CampaignStarted(_) = seen.event {
            self.reference = Some(self.begin(seen.after, seen.now));
        }
    }

    fn step(&mut self, seen: &Step<'_>) {
        let Some(reference) = &mut self.reference else {
            match seen.input {
                Input::Presence { device, presence: Presence::Online { .. } } => {
                    self.online.insert(*device);
                }
                Input::Presence { device, .. } | Input::DeviceRemoved { device } => {
                    self.online.remove(device);
                }
                _ => {}
            }
            return;
        };
        reference.now = seen.now;
        reference.down = (seen.knew_of_outage, seen.live.knows_of_outage());
        (reference.turns, reference.reads, reference.calls) = Default::default();
        // The start itself is not the reference's.
        reference.events = usize::from(seen.before.started_at().is_none());
        let taken = reference.tell(seen.input);
        assert_eq!(taken, seen.decided.is_ok(), "{:?}", seen.input);
        compare_effects(reference, seen);
        compare_states(reference, seen);
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.online.clear();
        if let Some(reference) = &mut self.reference {
            reference.recovered = false;
            for target in &mut reference.targets {
                target.volatile = Volatile::default();
                target.operation.iter_mut().for_each(Sent::restarted);
            }
        }
    }
}

impl Compared {
    fn begin(&self, campaign: &Campaign, now: Timestamp) -> Reference {
        let rollout = &campaign.definition().rollout;
        let target = |view: TargetView| {
            let mut target = Target::idle();
            target.volatile.online = self.online.contains(&view.device);
            if view.status == TargetStatus::Failed {
                (target.status, target.how) = (TargetStatus::Failed, "device_removed");
            }
            target
        };
        Reference {
            id: campaign.id(),
            image: campaign.definition().base_image.clone(),
            urls: self.urls,
            gates: rollout.gates(),
            limits: rollout.limits().clone(),
            minimum_targets: rollout.minimum_targets(),
            started_at: now,
            consent: rollout.consent().copied(),
            consent_is_over: false,
            status: CampaignStatus::InProgress,
            outcome: None,
            devices: campaign.devices().to_vec(),
            targets: campaign.targets().map(target).collect(),
            attempts: 0,
            events: 0,
            now,
            recovered: true,
            down: (false, false),
            turns: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
        }
    }
}

fn compare_effects(reference: &mut Reference, seen: &Step<'_>) {
    let place = |device: &DeviceId| reference.devices.iter().position(|d| d == device).unwrap();
    let (mut turns, mut reads, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut calls = Vec::new();
    for effect in seen.effects() {
        match effect {
            Effect::PrepareStart { device, operation, .. } => {
                reference.targets[place(device)].volatile.prepares = Some(*operation);
                turns.push(place(device));
            }
            Effect::ReadBaseImage { device, purpose, .. } => match purpose {
                ReadPurpose::Gate => turns.push(place(device)),
                ReadPurpose::Deadline => reads.push(place(device)),
                _ => others.push((place(device), *purpose)),
            },
            Effect::SendUpdate { device, .. } => calls.push(place(device)),
            _ => {}
        }
    }
    reads.sort_unstable();
    if reference.down.1 {
        // Whose turn it is in an outage is left to the campaign.
        for turn in &turns {
            reference.targets[*turn].volatile.reading = Some(ReadPurpose::Gate);
        }
    } else {
        assert_eq!(turns, reference.turns, "whose turn it is after {:?}", seen.input);
    }
    assert_eq!(reads, reference.reads, "what is read at a deadline after {:?}", seen.input);
    assert_eq!(calls, reference.calls, "what is sent after {:?}", seen.input);
    for (n, purpose) in others {
        if purpose == ReadPurpose::Contradiction {
            continue; // left to a law of its own (D22)
        }
        let volatile = &mut reference.targets[n].volatile;
        volatile.settling &= purpose != ReadPurpose::Settled;
        let reading = volatile.reading.replace(purpose);
        assert_eq!(reading, None, "one read at a time");
    }
}

fn compare_states(reference: &Reference, seen: &Step<'_>) {
    let campaign = seen.after;
    let input = seen.input;
    assert_eq!(campaign.status(), reference.status, "{input:?}");
    assert_eq!(campaign.outcome(), reference.outcome, "{input:?}");
    assert_eq!(campaign.limits(), &reference.limits, "{input:?}");
    let all = campaign.targets().zip(&reference.targets).enumerate();
    for (n, (view, target)) in all {
        let how = match view.settlement {
            Settlement::Open => "",
            Settlement::UpToDate => "up_to_date",
            Settlement::Reported => "reported",
            Settlement::Confirmed => "confirmed",
            Settlement::Failed(reason) => reason.name(),
            Settlement::Cancelled => "cancelled",
            Settlement::GivenUp(reason) => reason.name(),
        };
        assert_eq!((view.status, how), (target.status, target.how), "target {n} after {input:?}");
        assert_eq!(view.not_before, target.not_before, "target {n} after {input:?}");
        compare_operations(view.operation.as_ref(), target.operation.as_ref(), n, input);
    }
    // An answer to a Cancel, and what contradicts an outcome, is left to the campaign.
    let counts = |event: &&CampaignEvent| {
        !matches!(event, CampaignEvent::CancelSent(_) | CampaignEvent::ContradictionSeen(_))
    };
    assert_eq!(seen.events().iter().filter(counts).count(), reference.events, "{input:?}");
}

fn compare_operations(real: Option<&Operation>, simple: Option<&Sent>, n: usize, input: &Input) {
    let shown = real.map(|operation| {
        let phase = Some(operation.phase).filter(|phase| *phase != Phase::Pending);
        let stop = operation.cancellation != Cancellation::NotWanted;
        let unanswered = operation.delivery == Delivery::Unanswered;
        let numbers = (operation.resends, operation.sends, operation.progress);
        (phase, numbers, operation.deadline, stop, unanswered)
    });
    let expected = simple.map(|sent| {
        (
            sent.phase,
            (sent.resends, sent.sends, sent.progress),
            sent.due,
            sent.stop,
            sent.unanswered,
        )
    });
    assert_eq!(shown, expected, "the operation of target {n} after {input:?}");
}

/// Stories of several kinds.
fn any_story() -> impl Strategy<Value = Story> {
    let answered = Mix { answer: 13, ..Mix::EVEN };
    prop_oneof![
        story(answered),
        story(Mix { faults: 6, ..answered }),
        story(Mix { report: 12, crash: 2, version: 4, ..answered }),
        story(Mix { pass: 9, report: 3, ..Mix::UNDISTURBED }),
        story(Mix { steer: 3, edit: 3, ..answered }),
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_campaign_does_what_the_reference_does(story in any_story()) {
        let urls = story.setup.urls;
        play_to_the_end(&story, &mut Compared { urls, ..Compared::default() });
    }
}
