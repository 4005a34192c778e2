//! State is the fold of the log (E1), deciding is pure (E2), ids are derived (E3), and in calm a
//! campaign comes to its end.

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;
use uuid::Uuid;

use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// The log as a store keeps it, folded in two more ways beside the live state.
struct Replay {
    /// After this many events the state is serialised, read back, and the tail folded into that.
    snapshot_after: usize,
    log: Vec<(Timestamp, NewEvent)>,
    from_log: Option<Campaign>,
    from_snapshot: Option<Campaign>,
}

impl Replay {
    fn stored(&mut self, event: &CampaignEvent, now: Timestamp) -> CampaignEvent {
        let stored = NewEvent {
            event_type: event.event_type().to_owned(),
            schema_version: event.schema_version(),
            recorded_at: now,
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            data: event.to_json(),
        };
        let stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(1)));
        let read = CampaignEvent::from_new(stream, &stored).expect("what was stored is read");
        assert_eq!(&read, event, "an event reads back as it was");
        self.log.push((now, stored));
        read
    }

    fn take_snapshot(&mut self, state: &Campaign) {
        if self.log.len() == self.snapshot_after {
            let bytes = postcard::to_allocvec(state).unwrap();
            let mut restored: Campaign = postcard::from_bytes(&bytes).unwrap();
            assert!(restored.restore(), "a state snapshot is whole");
            self.from_snapshot = Some(restored);
        }
    }

    fn fold_all(&self, created: &Campaign) -> Campaign {
        let mut state: Option<Campaign> = None;
        for (at, stored) in &self.log {
            let event = CampaignEvent::from_new(created.stream(), stored).unwrap();
            if let Some(state) = &mut state {
                state.apply(&event, *at).unwrap();
            } else {
                let tenant = created.tenant().clone();
                state = Some(Campaign::begin(tenant, created.id(), &event, *at).unwrap());
            }
        }
        state.unwrap()
    }
}

impl Law for Replay {
    fn begun(&mut self, campaign: &Campaign, event: &CampaignEvent) {
        self.stored(event, campaign.created_at());
        self.from_log = Some(campaign.clone());
        self.take_snapshot(campaign);
    }

    fn event(&mut self, seen: &Recorded<'_>) {
        let read = self.stored(seen.event, seen.now);
        for state in [&mut self.from_log, &mut self.from_snapshot].into_iter().flatten() {
            state.apply(&read, seen.now).expect("a stored event follows");
            assert_eq!(state, seen.after, "E1: at {:?}", seen.event);
        }
        assert_eq!(seen.after.version(), seen.before.version() + 1);
        assert_eq!(seen.after.version(), self.log.len() as u64, "the version counts the events");
        self.take_snapshot(seen.after);
    }

    fn step(&mut self, seen: &Step<'_>) {
        assert_eq!(Some(seen.live.campaign()), self.from_log.as_ref(), "E1: {:?}", seen.input);
        if seen.events().is_empty() {
            assert_eq!(seen.live.campaign(), seen.before, "without an event nothing has changed");
        }
    }

    fn restarted(&mut self, state: &Campaign, _: Timestamp) {
        assert_eq!(&self.fold_all(state), state, "E1: the whole log once more");
    }
}

/// A second campaign that is told the same.
#[derive(Default)]
struct Twin {
    live: Option<LiveCampaign>,
    asks_urls: bool,
}

impl Law for Twin {
    fn begun(&mut self, campaign: &Campaign, _: &CampaignEvent) {
        self.live = Some(LiveCampaign::new(campaign.clone()).asking_urls(self.asks_urls));
    }

    fn step(&mut self, seen: &Step<'_>) {
        let twin = self.live.as_mut().unwrap();
        let mut again = seen.live.clone();
        assert_eq!(&twin.handle(seen.input.clone(), seen.now), seen.decided, "E2");
        assert_eq!(twin, seen.live, "E2: {:?}", seen.input);
        assert_eq!(twin.next_deadline(), seen.live.next_deadline(), "E2");
        // A state that was copied in the middle decides like the one that grew there.
        let next = || Input::Tick;
        assert_eq!(again.handle(next(), seen.now), twin.clone().handle(next(), seen.now), "E2");
    }

    fn restarted(&mut self, state: &Campaign, _: Timestamp) {
        let latest = self.live.as_ref().unwrap().latest_question();
        let loaded = LiveCampaign::loaded(state.clone()).asking_after(latest);
        self.live = Some(loaded.asking_urls(self.asks_urls));
    }
}

/// Only watches that the story can be played.
struct NoLaw;

impl Law for NoLaw {}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn e1_the_fold_of_the_log_is_the_live_state_at_every_event(
        story in story(Mix::EVEN), snapshot_after in 1_usize..40,
    ) {
        let (log, from_log, from_snapshot) = (Vec::new(), None, None);
        play_to_the_end(&story, &mut Replay { snapshot_after, log, from_log, from_snapshot });
    }

    #[test]
    fn e2_the_same_state_and_input_decide_the_same(story in story(Mix::EVEN)) {
        let asks_urls = story.setup.urls;
        play(&story, &mut Twin { asks_urls, ..Twin::default() });
    }

    #[test]
    fn in_calm_every_campaign_comes_to_its_end(story in story(Mix::EVEN)) {
        play_to_the_end(&story, &mut NoLaw);
    }

    #[test]
    fn e3_operations_have_the_same_id_only_if_they_are_the_same(
        a in (0_u128..3, 0_u8..3, 0_u16..300), b in (0_u128..3, 0_u8..3, 0_u16..300),
    ) {
        let id = |(campaign, device, series): (u128, u8, u16)| {
            let campaign = CampaignId::from_uuid(Uuid::from_u128(campaign));
            OperationId::of_campaign(campaign, DeviceId::from_bytes([device; 16]), series)
        };
        prop_assert_eq!(id(a) == id(b), a == b);
        prop_assert_eq!(id(a).as_uuid().get_version_num(), 5);
    }
}
