//! Operations with URLs of their own: D23.

use std::collections::BTreeMap;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;

use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// D23: what was given for an operation is what is recorded with its start, and what is sent whenever
/// it is sent.
#[derive(Default)]
struct Urls {
    asks: bool,
    /// The operations of which the URL is asked for now.
    asked: BTreeMap<DeviceId, OperationId>,
    /// What each operation that has started is sent with.
    recorded: BTreeMap<OperationId, ImageUrl>,
}

impl Law for Urls {
    fn event(&mut self, seen: &Recorded<'_>) {
        let CampaignEvent::OperationStarted(started) = seen.event else { return };
        let image = &seen.before.definition().base_image.url;
        assert_ne!(started.url.as_ref(), Some(image), "the image's own is not recorded again");
        let url = started.url.as_ref().unwrap_or(image);
        let before = self.recorded.insert(started.operation, url.clone());
        if let Some(before) = before {
            assert_eq!(&before, url, "D8, D23: it stays the same");
            return;
        }
        let given = match seen.input {
            Input::BaseImageRead {
                answer: BaseImageAnswer::Prepared { operation, url, .. },
                ..
            } if self.asked.get(&started.device) == Some(operation) => Some((operation, url)),
            _ => None,
        };
        let given = given.map(|(operation, url)| (operation, url.as_ref().unwrap_or(image)));
        let expected = self.asks.then_some((&started.operation, url));
        assert_eq!(given, expected, "D23: it is what was given for this operation");
    }

    fn step(&mut self, seen: &Step<'_>) {
        if let Input::BaseImageRead { device, purpose: ReadPurpose::Gate, answer, .. } = seen.input
        {
            self.asked.remove(device);
            let failed = matches!(answer, BaseImageAnswer::Failed(_));
            let of_it = |(other, ..): &(DeviceId, _, _)| other == device;
            assert!(
                !failed || seen.sent().find(of_it).is_none(),
                "D23: without a URL nothing starts"
            );
        }
        for effect in seen.effects() {
            let has_operation =
                |device| seen.after.target(device).is_some_and(|target| target.operation.is_some());
            match effect {
                Effect::PrepareStart { device, operation, .. } => {
                    assert!(self.asks, "nobody gives URLs");
                    assert!(!has_operation(*device), "D23: its operation has a URL");
                    self.asked.insert(*device, *operation);
                }
                Effect::ReadBaseImage { device, purpose: ReadPurpose::Gate, .. } => {
                    assert!(!self.asks || has_operation(*device), "D23: its operation has no URL");
                }
                Effect::SendUpdate { operation, url, .. }
                | Effect::SendCancel { operation, url, .. } => {
                    assert_eq!(Some(url), self.recorded.get(operation), "D23: {operation}");
                }
                _ => {}
            }
        }
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.asked.clear();
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d23_an_operation_is_sent_with_the_url_that_was_given_for_it(
        story in story(Mix { crash: 3, steer: 2, ..Mix::EVEN }), asks in prop::bool::weighted(0.8),
    ) {
        let mut story = story;
        story.setup.urls = asks;
        play(&story, &mut Urls { asks, ..Urls::default() });
    }

    #[test]
    fn d23_a_campaign_whose_urls_often_fail_comes_to_its_end_all_the_same(
        story in story(Mix { answer: 16, faults: 7, ..Mix::UNDISTURBED }),
    ) {
        let mut story = story;
        story.setup.urls = true;
        play_to_the_end(&story, &mut Urls { asks: true, ..Urls::default() });
    }
}

/// As when a device turns its operation away while a URL is asked for: what is given is not that of the
/// operation that would start now.
#[test]
fn d23_a_url_that_was_asked_for_another_operation_starts_nothing() {
    let now = Timestamp::from_millis(0);
    let definition =
        crate::story::Setup { urls: true, ..crate::story::Setup::plain(1) }.definition();
    let created = Campaign::create(definition, None, now).unwrap();
    let id = CampaignId::from_uuid(uuid::Uuid::from_u128(1));
    let begun = Campaign::begin("realm".parse().unwrap(), id, &created, now).unwrap();
    let mut live = LiveCampaign::new(begun).asking_urls(true);
    let device = crate::story::Setup::device(0);
    let tell = |live: &mut LiveCampaign, input, at| live.handle(input, at).unwrap();

    let asked = tell(&mut live, Input::Tick, now).effects;
    let [Effect::TakeSnapshot { question }] = asked[..] else { panic!("{asked:?}") };
    tell(&mut live, Input::SnapshotChunk { question, devices: vec![device] }, now);
    let presence = Presence::Online { since: now };
    tell(&mut live, Input::Presence { device, presence }, now);
    let asked = tell(&mut live, Input::SnapshotComplete { question }, now).effects;
    let [Effect::PrepareStart { operation, question, .. }] = asked[..] else { panic!("{asked:?}") };
    let given = |question, operation, url: &str| Input::BaseImageRead {
        device,
        purpose: ReadPurpose::Gate,
        question,
        answer: BaseImageAnswer::Prepared {
            version: Some("1.0.0".to_owned()),
            operation,
            url: Some(url.parse().unwrap()),
        },
    };
    // Given for another operation, it starts nothing, and is asked for anew at once.
    let other = OperationId::of_campaign(id, device, 1);
    let decided = tell(&mut live, given(question, other, "https://images.example/other"), now);
    assert_eq!(decided.events, []);
    let [Effect::PrepareStart { operation: again, question, .. }] = decided.effects[..] else {
        panic!("{decided:?}")
    };
    assert_eq!(again, operation);
    let decided = tell(&mut live, given(question, operation, "https://images.example/own"), now);
    let [CampaignEvent::OperationStarted(started)] = &decided.events[..] else {
        panic!("{decided:?}")
    };
    assert_eq!(started.url, "https://images.example/own".parse().ok());
}
