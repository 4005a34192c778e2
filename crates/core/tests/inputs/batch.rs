//! Inputs that wait together: what fails or stops the campaign comes before what it starts (D13, D16).

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;

use crate::given::{Given, all, device, report};

fn fails() -> Input {
    report(1, ReportStatus::Failure)
}

fn command(command: Command) -> Input {
    Input::Command(command)
}

fn cancels() -> Input {
    command(Command::Cancel { running: RunningOperations::Finish })
}

/// The answer that starts an operation on device 2.
fn starts(given: &mut Given) -> Input {
    given.read(2, "1.0.0")
}

/// Other limits from now on.
fn edits(limits: LimitsEdit) -> Input {
    command(Command::Edit(Box::new(CampaignEdit { limits, ..Default::default() })))
}

/// All orders of some things.
fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let with = |first: usize| {
        let mut rest = things.to_vec();
        let first = rest.remove(first);
        orders(&rest).into_iter().map(move |order| [vec![first.clone()], order].concat())
    };
    (0..things.len()).flat_map(with).collect()
}

#[test]
fn inputs_that_wait_together() {
    let with = |when: &str, others: Vec<Input>| {
        let mut given = Given::reading_another();
        let inputs = [vec![starts(&mut given)], others].concat();
        given.told_together(when, inputs)
    };
    insta::assert_snapshot!(all([
        with("its version passes", Vec::new()),
        with("its version passes, device 1 fails, and a person cancels", vec![fails(), cancels()]),
        with("its version passes, and a person pauses", vec![command(Command::Pause)]),
    ]));
}

#[test]
fn d13_d16_nothing_starts_beside_what_stops_the_campaign_in_whatever_order_they_arrive() {
    let none_may_fail =
        edits(LimitsEdit { max_failure_percentage: Some(Percentage::ZERO), ..Default::default() });
    for (others, status) in [
        (vec![fails(), cancels()], CampaignStatus::Finished),
        (vec![fails(), none_may_fail], CampaignStatus::Finished),
        (vec![command(Command::Pause)], CampaignStatus::Pausing),
        (vec![command(Command::Pause), fails()], CampaignStatus::Paused),
        (vec![command(Command::Supersede)], CampaignStatus::Finished),
    ] {
        let mut given = Given::reading_another();
        let inputs = [vec![starts(&mut given)], others].concat();
        let mut ends: Vec<Campaign> = Vec::new();
        for order in orders(&inputs) {
            let mut live = given.live().clone();
            for (place, decision) in live.handle_batch(order.clone(), given.now()) {
                let events = decision.expect("it is taken").events;
                let started =
                    |event: &CampaignEvent| matches!(event, CampaignEvent::OperationStarted(_));
                assert!(!events.iter().any(started), "input {place} of {order:?}");
            }
            assert_eq!(live.campaign().status(), status, "{order:?}");
            ends.push(live.campaign().clone());
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "they differ: {inputs:?}");
    }
}

#[test]
fn only_an_answer_that_starts_an_operation_is_told_last() {
    let given = Given::reading_another();
    let places = |input: Input| {
        let told = given.live().clone().handle_batch([input, Input::Tick], given.now());
        told.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
    };
    let reads = |answer| Given::reading_another().read_answered(2, answer);
    let version = |text: &str| BaseImageAnswer::Version(Some(text.to_owned()));
    let with = |number, question| Input::BaseImageRead {
        device: device(number),
        purpose: ReadPurpose::Gate,
        question,
        answer: version("1.0.0"),
    };
    let starting = reads(version("1.0.0"));
    let question = starting.question().expect("it is an answer");
    for input in [
        reads(version("2.0.0")),
        reads(version("3.0.0")),
        reads(BaseImageAnswer::Held(DeviceFact::Busy)),
        with(2, Question::numbered(99)),
        with(9, question),
        fails(),
        cancels(),
    ] {
        assert_eq!(places(input.clone()), [0, 1], "{input:?}");
    }
    assert_eq!(places(starting), [1, 0]);
}

#[test]
fn d8_a_resend_that_was_kept_back_is_told_last_while_a_retry_is_left_when_its_turn_comes() {
    // Device 1 was silent until the deadline, and is offline: its resend is kept back until it is back.
    let gone = Input::Presence { device: device(1), presence: Presence::Offline };
    let mut due = Given::accepted().after(gone).later(300).after(Input::Tick);
    let read = due.read(1, "1.0.0");
    let mut given = due.after(read).online(1);
    let resends = given.read(1, "1.0.0");
    let no_retry = edits(LimitsEdit { request_retries: Some(0), ..Default::default() });
    for order in orders(&[resends, no_retry, Input::Tick]) {
        let mut together = given.live().clone();
        let mut apart = together.clone();
        let told = together.handle_batch(order.clone(), given.now());
        assert!(matches!(order[told[2].0], Input::BaseImageRead { .. }), "{order:?}");
        for (place, decision) in told {
            assert_eq!(apart.handle(order[place].clone(), given.now()), decision, "{order:?}");
        }
        assert_eq!(together, apart);
        assert_eq!(together.campaign().counts().failed, 1, "no retry is left: {order:?}");
    }
}
