//! The consent of devices' users: P15.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Mix, Story, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// Whose users have agreed, by the log alone.
#[derive(Default)]
pub(crate) struct Consents {
    asks: Option<ConsentPolicy>,
    answers: BTreeMap<DeviceId, ConsentAnswer>,
    started: BTreeSet<DeviceId>,
    is_over: bool,
}

impl Consents {
    pub(crate) fn begun(&mut self, campaign: &Campaign) {
        self.asks = campaign.definition().rollout.consent().copied();
    }

    pub(crate) fn event(&mut self, event: &CampaignEvent) {
        match event {
            CampaignEvent::OperationStarted(started) => drop(self.started.insert(started.device)),
            CampaignEvent::PolicyFactRecorded(recorded) => {
                match (&recorded.fact, recorded.device) {
                    (PolicyFact::Consent(consent), Some(device)) => {
                        self.answers.insert(device, consent.answer);
                    }
                    _ => self.is_over = true,
                }
            }
            _ => {}
        }
    }

    /// Whether an idle target may start, as far as its user goes.
    pub(crate) fn admit(&self, device: DeviceId) -> bool {
        let granted = self.answers.get(&device) == Some(&ConsentAnswer::Granted);
        self.asks.is_none() || self.is_over || granted
    }
}

/// P15.
#[derive(Default)]
struct Agreed {
    consents: Consents,
}

impl Agreed {
    fn is_due(&self, campaign: &Campaign, now: Timestamp) -> bool {
        let Some((policy, started_at)) = self.consents.asks.zip(campaign.started_at()) else {
            return false;
        };
        let waits = |target: &TargetView| {
            !target.status.is_final() && !self.consents.started.contains(&target.device)
        };
        let waiting = campaign.targets().any(|target| waits(&target));
        waiting && campaign.status().is_running() && now >= started_at + policy.deadline
    }

    fn over(&self, seen: &Recorded<'_>, over: &ConsentOver) {
        assert!(!self.consents.is_over, "P15: once");
        assert!(self.is_due(seen.before, seen.now), "P15: not before its time");
        let policy = self.consents.asks.unwrap();
        assert_eq!(over.then, policy.then, "P15");
        for (before, after) in seen.before.targets().zip(seen.after.targets()) {
            let granted = self.consents.admit(before.device);
            let waits = before.status == TargetStatus::Idle;
            if policy.then == AtDeadline::GiveUp && waits && !granted {
                let given_up = Settlement::GivenUp(GivenUp::NoConsent);
                assert_eq!(after.settlement, given_up, "P15: neither success nor failure");
                assert_eq!(after.status, TargetStatus::Cancelled, "P15");
                assert_eq!(after.operation, None, "P15: nothing of it has started");
            } else {
                assert_eq!(before, after, "P15: nothing becomes of the others");
            }
        }
    }
}

impl Law for Agreed {
    fn begun(&mut self, campaign: &Campaign, _: &CampaignEvent) {
        self.consents.begun(campaign);
    }

    fn event(&mut self, seen: &Recorded<'_>) {
        match seen.event {
            CampaignEvent::OperationStarted(e) if !self.consents.started.contains(&e.device) => {
                assert!(self.consents.admit(e.device), "P15: its user has not agreed");
            }
            CampaignEvent::PolicyFactRecorded(recorded) => match &recorded.fact {
                PolicyFact::Consent(consent) => {
                    let device = recorded.device.expect("P15: it is about a device");
                    let target = seen.before.target(device).unwrap();
                    assert_eq!(target.status, TargetStatus::Idle, "P15: later ones change nothing");
                    assert!(!self.consents.started.contains(&device), "P15: it lasts");
                    let before = self.consents.answers.get(&device);
                    assert_ne!(before, Some(&consent.answer), "it says nothing new");
                }
                PolicyFact::ConsentOver(over) => self.over(seen, over),
                other => panic!("{other:?} is no consent"),
            },
            _ => {}
        }
        self.consents.event(seen.event);
    }

    fn step(&mut self, seen: &Step<'_>) {
        if let Input::Command(Command::Record { device, .. }) = seen.input {
            let may_be_told = seen.before.status().is_running()
                && seen.before.target(*device).is_some()
                && self.consents.asks.is_some();
            assert_eq!(seen.decided.is_ok(), may_be_told, "P15: {:?}", seen.decided);
        }
        let is_due = self.is_due(seen.after, seen.now) && seen.decided.is_ok();
        assert!(!is_due || self.consents.is_over, "P15: its time has come");
        for device in seen.turns() {
            let started = self.consents.started.contains(&device);
            assert!(started || self.consents.admit(device), "P2: {device} waits for its user");
        }
    }
}

/// Stories in which users are asked.
fn asking(mix: Mix) -> impl Strategy<Value = Story> {
    let policy = (prop::sample::select(vec![60_u64, 600, 3_600]), any::<bool>());
    (story(mix), policy).prop_map(|(mut story, policy)| {
        story.setup.consent = Some(policy);
        story
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p15_a_target_starts_when_its_user_has_agreed_or_the_deadline_forces_it(
        story in asking(Mix { answer: 14, consent: 8, ..Mix::EVEN }),
    ) {
        play(&story, &mut Agreed::default());
    }

    #[test]
    fn p15_a_campaign_that_asks_users_comes_to_its_end(
        story in asking(Mix { consent: 4, ..Mix::UNDISTURBED }),
    ) {
        play_to_the_end(&story, &mut Agreed::default());
    }

    #[test]
    fn p15_a_campaign_that_asks_nobody_is_told_so(story in story(Mix::EVEN)) {
        let mut story = story;
        story.setup.consent = None;
        play(&story, &mut Agreed::default());
    }
}

#[test]
fn p15_a_deadline_out_of_its_range_is_refused_when_a_campaign_is_created() {
    let mut setup = crate::story::Setup::plain(1);
    setup.consent = Some((0, false));
    let refused = Campaign::create(setup.definition(), None, Timestamp::default()).unwrap_err();
    let given = Duration::ZERO;
    assert_eq!(refused, CreateError::Limits(RolloutError::ConsentDeadline { given }));
}
