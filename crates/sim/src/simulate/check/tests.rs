//! Small stories with planted errors, each beside the story without it: at least one for every
//! invariant that an observation of a scenario can be judged by (I1 to I22).

use std::time::Duration;

use hedgerow_core::event::{
    CampaignCreated, CampaignFinished, CampaignPausing, CampaignResumed, CampaignStarted,
    Confirmation, ContradictionSeen, OperationDeferred, OperationFailed, OperationFailure,
    OperationRefused, OperationReported, OperationStarted, OperationSucceeded, RequestAccepted,
    RequestReissued, RequestResent, ResendKeptBack, SnapshotExtended,
};
use hedgerow_core::{
    BaseImage, CampaignDefinition, Channel, GatePolicy, OperationReport, Outcome, Presence,
    PushRollout, Reaction, ReportStatus, RolloutLimits, RolloutMechanism, RunningOperations,
    WhenRunning,
};
use hedgerow_engine::Observation;
use uuid::Uuid;

use super::*;

const URL: &str = "https://images.example/2.bin";
/// Long enough after its start that the engine is known to know everything.
const BEGINNING: u64 = 100_000;
const SLOT: usize = 0;

enum Step {
    /// An append of the first campaign, or of the second.
    Append(u8, Vec<CampaignEvent>),
    Leaves(u8, OperationId),
    CancelLeaves(u8, OperationId),
    Answered(OperationId, Said),
    Reads(u8, &'static str),
    /// The engine is told that a device is online or offline, as it is.
    Notice(u8, bool),
    Reports(u8, OperationId, ReportStatus),
    Asks(Asked),
}

use Step::{Answered, Append, Asks, CancelLeaves, Leaves, Notice, Reads, Reports};

/// Each step with its time after the beginning, in milliseconds.
type Story = Vec<(u64, Step)>;

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn campaign(number: u8) -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(number.into()))
}

fn operation(number: u8, series: u16) -> OperationId {
    OperationId::of_campaign(campaign(1), device(number), series)
}

fn definition(change: impl FnOnce(&mut RolloutLimits)) -> CampaignDefinition {
    let mut limits = RolloutLimits::new(1.try_into().unwrap(), "50".parse().unwrap());
    limits.operation.request_retries = 1;
    limits.operation.request_timeout = Duration::from_secs(60);
    change(&mut limits);
    let gates = GatePolicy::default();
    CampaignDefinition {
        name: "c".parse().unwrap(),
        base_image: BaseImage {
            system_model: "gateway".parse().unwrap(),
            version: "2.0.0".parse().unwrap(),
            url: URL.parse().unwrap(),
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse().unwrap(), ["all".parse().unwrap()]).unwrap(),
        rollout: RolloutMechanism::Push(PushRollout { limits, gates, minimum_targets: 0 }),
        when_running: WhenRunning::Supersede,
    }
}

fn created(definition: CampaignDefinition) -> CampaignEvent {
    CampaignCreated { definition: Box::new(definition), scheduled_at: None }.into()
}

fn snapshot(devices: &[u8]) -> CampaignEvent {
    SnapshotExtended { devices: devices.iter().copied().map(device).collect() }.into()
}

fn starts(number: u8, series: u16) -> CampaignEvent {
    let operation = operation(number, series);
    OperationStarted { device: device(number), operation, from_version: "1.0.0".into(), url: None }
        .into()
}

fn accepted(number: u8) -> CampaignEvent {
    RequestAccepted { device: device(number) }.into()
}

fn resent(number: u8) -> CampaignEvent {
    RequestResent { device: device(number) }.into()
}

fn succeeded(number: u8) -> CampaignEvent {
    let confirmation = Confirmation::Reported;
    OperationSucceeded { device: device(number), confirmation }.into()
}

fn failed(number: u8) -> CampaignEvent {
    let reason = OperationFailure::Reported { code: None, message: String::new() };
    OperationFailed { device: device(number), reason }.into()
}

fn finished(outcome: Outcome, stop_operations: bool) -> CampaignEvent {
    CampaignFinished { outcome, stop_operations }.into()
}

fn one(event: CampaignEvent) -> Step {
    Append(1, vec![event])
}

/// The first device succeeds at once, the second one after a second request.
fn story() -> Story {
    let (first, second) = (operation(1, 0), operation(2, 0));
    vec![
        (0, one(created(definition(|_| {})))),
        (0, Append(1, vec![snapshot(&[1, 2]), CampaignStarted { targets: 2 }.into()])),
        (0, Reads(1, "1.0.0")),
        (0, one(starts(1, 0))),
        (0, Leaves(1, first)),
        (0, Answered(first, Said::Accepted)),
        (0, one(accepted(1))),
        (1_000, Reports(1, first, ReportStatus::Success)),
        (1_000, one(succeeded(1))),
        (1_000, Reads(2, "1.0.0")),
        (1_000, one(starts(2, 0))),
        (1_000, Leaves(2, second)),
        (1_000, Answered(second, Said::Accepted)),
        (1_000, one(accepted(2))),
        (61_000, Reads(2, "1.0.0")),
        (61_000, one(resent(2))),
        (61_000, Leaves(2, second)),
        (61_000, Answered(second, Said::Accepted)),
        (70_000, Reports(2, second, ReportStatus::Success)),
        (70_000, Append(1, vec![succeeded(2), finished(Outcome::Success, false)])),
    ]
}

// The places of steps in the story above.
const CREATED: usize = 0;
const BEGINS: usize = 1;
const FIRST_STARTS: usize = 3;
const FIRST_ACCEPTED: usize = 6;
const FIRST_REPORTS: usize = 7;
const SECOND_READ: usize = 9;
const SECOND_STARTS: usize = 10;
const SECOND_ACCEPTED: usize = 13;
const RESENT: usize = 15;
const LEAVES_AGAIN: usize = 16;
const SECOND_REPORTS: usize = 18;
const ENDS: usize = 19;

/// What the judge says of a story.
fn judged(story: &Story) -> Option<Invariant> {
    let mut judge = Checker::new("acme".parse().unwrap(), 64);
    judge.engine_starts(false, Timestamp::from_millis(0));
    for number in [1, 2] {
        judge.device_went(device(number), true, Moment { now: Timestamp::from_millis(1), step: 0 });
    }
    let mut versions = [0, 0];
    for (step, (at, what)) in (1..).zip(story) {
        if judge.violation().is_some() {
            break;
        }
        let now = Timestamp::from_millis(i64::try_from(BEGINNING + at).unwrap());
        let moment = Moment { now, step };
        match what {
            Append(number, events) => {
                let stream = StreamId::Campaign(campaign(*number));
                let version = &mut versions[usize::from(*number - 1)];
                judge.append_begins(SLOT, stream, step);
                let recorded: Vec<_> =
                    events.iter().map(|event| (Event::Campaign(event.clone()), now)).collect();
                judge.recorded(SLOT, stream, *version, &recorded, moment);
                *version += events.len() as u64;
            }
            Leaves(number, id) => {
                judge.update_leaves(SLOT, device(*number), *id, URL, moment);
            }
            CancelLeaves(number, id) => judge.cancel_leaves(device(*number), *id, URL, now),
            Answered(id, said) => judge.update_answered(*id, *said, now),
            Reads(number, version) => {
                judge.read_began(device(*number), moment);
                let version = Ok(Some((*version).to_owned()));
                judge.read_ended(SLOT, device(*number), moment, version, moment);
            }
            Notice(number, online) => {
                let device = device(*number);
                judge.device_went(device, *online, moment);
                let presence = match online {
                    true => Presence::Online { since: now },
                    false => Presence::Offline,
                };
                let told = judge.told(&Observation::Presence { device, presence }, moment);
                judge.acknowledged(&told, &Ok(Reaction::Unchanged), moment);
            }
            Reports(number, id, status) => {
                let report = OperationReport::new(device(*number), *id, *status);
                let _ = judge.told(&Observation::Report(report), moment);
            }
            Asks(asked) => drop(judge.asked(*asked, now)),
        }
    }
    judge.violation().map(|violation| violation.invariant)
}

type Plant = fn(&mut Story);

#[test]
fn a_story_without_errors_is_not_accused() {
    assert_eq!(judged(&story()), None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_planted_error_is_found() {
    use Invariant as I;
    let planted: &[(u8, &str, Invariant, Plant)] = &[
        (1, "the snapshot grows after the start", I::FixedSnapshot, |story| {
            story.insert(BEGINS + 1, (0, one(snapshot(&[3]))));
        }),
        (1, "a device is in the snapshot twice", I::FixedSnapshot, |story| {
            story.insert(BEGINS, (0, one(snapshot(&[1]))));
        }),
        (1, "an event is about no target", I::FixedSnapshot, |story| {
            story[FIRST_ACCEPTED].1 = one(accepted(3));
        }),
        (2, "the campaign is resumed after its end", I::Pause, |story| {
            story.push((70_000, one(CampaignResumed {}.into())));
        }),
        (2, "the campaign pauses before it has begun", I::Pause, |story| {
            story.insert(BEGINS, (0, one(CampaignPausing {}.into())));
        }),
        (3, "the campaign finishes again", I::Cancel, |story| {
            story.push((70_000, Asks(Asked::Cancel(campaign(1), RunningOperations::Finish))));
            story.push((70_000, one(finished(Outcome::Cancelled, false))));
        }),
        (4, "success with an open target", I::FailureLimit, |story| {
            story[ENDS].1 = one(finished(Outcome::Success, false));
        }),
        (4, "success beyond the limit", I::FailureLimit, |story| {
            let limit = |limits: &mut RolloutLimits| {
                limits.max_failure_percentage = "49.999".parse().unwrap();
            };
            story[CREATED].1 = one(created(definition(limit)));
            story[SECOND_REPORTS].1 = Reports(2, operation(2, 0), ReportStatus::Failure);
            story[ENDS].1 = Append(1, vec![failed(2), finished(Outcome::Success, false)]);
        }),
        (4, "failure within the limit", I::FailureLimit, |story| {
            story[ENDS].1 = Append(1, vec![succeeded(2), finished(Outcome::Failure, false)]);
        }),
        (5, "a settled target changes", I::ForwardOnly, |story| {
            story.insert(ENDS, (70_000, one(failed(1))));
        }),
        (5, "a target whose request was accepted is idle again", I::Believed, |story| {
            let not_before = Timestamp::from_millis(105_000);
            let deferred =
                OperationDeferred { device: device(1), not_before, detail: String::new() };
            story.insert(FIRST_ACCEPTED + 1, (0, one(deferred.into())));
        }),
        (5, "a target that has reported is idle again", I::ForwardOnly, |story| {
            let not_before = Timestamp::from_millis(105_000);
            let deferred =
                OperationDeferred { device: device(1), not_before, detail: String::new() };
            let reported = OperationReported {
                device: device(1),
                phase: Phase::Acknowledged,
                progress: 0,
                code: None,
                message: String::new(),
                observed_at: None,
            };
            let status = ReportStatus::Acknowledged;
            story.insert(FIRST_ACCEPTED + 1, (0, Reports(1, operation(1, 0), status)));
            story.insert(FIRST_ACCEPTED + 2, (0, one(reported.into())));
            story.insert(FIRST_ACCEPTED + 3, (0, one(deferred.into())));
        }),
        (5, "a resend is kept back before it is due", I::Resends, |story| {
            let kept_back = ResendKeptBack { device: device(1) };
            story.insert(FIRST_ACCEPTED + 1, (0, one(kept_back.into())));
        }),
        (5, "a resend is kept back from a device that is online", I::Resends, |story| {
            story.insert(SECOND_READ, (1_000, Notice(2, true)));
            story[RESENT + 1].1 = one(ResendKeptBack { device: device(2) }.into());
        }),
        (6, "too many targets are in progress", I::InFlightBound, |story| {
            story.insert(FIRST_REPORTS, (500, one(starts(2, 0))));
            story.insert(FIRST_REPORTS, (500, Reads(2, "1.0.0")));
        }),
        (6, "a request leaves without a slot", I::RecordThenAct, |story| {
            story.insert(FIRST_REPORTS, (500, Leaves(2, operation(2, 0))));
        }),
        (7, "a settled target gets a request", I::RecordThenAct, |story| {
            story.insert(ENDS, (70_000, Leaves(1, operation(1, 0))));
        }),
        (8, "a settled target gets a second operation", I::ForwardOnly, |story| {
            story.insert(SECOND_READ, (1_000, one(starts(1, 1))));
        }),
        (8, "an operation comes while the former one is open", I::ForwardOnly, |story| {
            story[RESENT].1 = one(starts(2, 1));
        }),
        (8, "an operation has another id than its series", I::DerivedId, |story| {
            story[SECOND_STARTS].1 = one(starts(2, 1));
        }),
        (8, "a refusal that the device never gave", I::Believed, |story| {
            let not_before = Timestamp::from_millis(200_000);
            let refused = OperationRefused { device: device(2), not_before };
            story.insert(SECOND_ACCEPTED + 1, (1_000, one(refused.into())));
        }),
        (9, "an operation is requested too often", I::Resends, |story| {
            let limit = |limits: &mut RolloutLimits| limits.operation.request_retries = 0;
            story[CREATED].1 = one(created(definition(limit)));
        }),
        (9, "an operation is requested again without a restart", I::Resends, |story| {
            let reissued = RequestReissued { device: device(2) };
            story.insert(SECOND_ACCEPTED + 1, (30_000, one(reissued.into())));
        }),
        (9, "a request leaves again by itself", I::RecordThenAct, |story| {
            story.insert(SECOND_REPORTS, (65_000, Leaves(2, operation(2, 0))));
        }),
        (10, "a first request is decided in a pause", I::Pause, |story| {
            let pausing = CampaignPausing {}.into();
            story.insert(FIRST_STARTS, (0, one(pausing)));
            story[FIRST_STARTS].1 = one(CampaignPausing {}.into());
        }),
        (10, "a first request is decided before the start", I::Cancel, |story| {
            story[BEGINS].1 = one(snapshot(&[1, 2]));
        }),
        (10, "a first request is decided after a failure", I::FailureLimit, |story| {
            let limit = |limits: &mut RolloutLimits| {
                limits.max_failure_percentage = "0".parse().unwrap();
            };
            story[CREATED].1 = one(created(definition(limit)));
            story[FIRST_REPORTS].1 = Reports(1, operation(1, 0), ReportStatus::Failure);
            story[FIRST_REPORTS + 1].1 =
                Append(1, vec![failed(1), finished(Outcome::Failure, false)]);
        }),
        (11, "a device that is offline gets a first request", I::OnlineFirst, |story| {
            story.insert(SECOND_READ, (500, Notice(2, false)));
        }),
        (11, "a device that is offline gets another request", I::Resends, |story| {
            story.insert(SECOND_ACCEPTED + 1, (10_000, Notice(2, false)));
        }),
        (12, "two requests leave in one instant", I::RecordThenAct, |story| {
            story.insert(LEAVES_AGAIN, (61_000, Leaves(2, operation(2, 0))));
        }),
        (12, "a request is sent again at once", I::Resends, |story| {
            story[RESENT].0 = 61_000;
            story.insert(RESENT, (61_000, one(resent(2))));
        }),
        (
            13,
            "a device gets an operation of another campaign meanwhile",
            I::OneOperation,
            |story| {
                let mut other = definition(|_| {});
                other.channel =
                    Channel::new("beta".parse().unwrap(), ["all".parse().unwrap()]).unwrap();
                let begins = vec![snapshot(&[2]), CampaignStarted { targets: 1 }.into()];
                let id = OperationId::of_campaign(campaign(2), device(2), 0);
                let started = OperationStarted {
                    device: device(2),
                    operation: id,
                    from_version: "1.0.0".into(),
                    url: None,
                };
                let place = SECOND_ACCEPTED + 1;
                story.insert(place, (30_000, Append(2, vec![started.into()])));
                story.insert(place, (30_000, Reads(2, "1.0.0")));
                story.insert(place, (30_000, Append(2, begins)));
                story.insert(place, (30_000, Append(2, vec![created(other)])));
            },
        ),
        (14, "a Cancel leaves that nobody recorded", I::RecordThenAct, |story| {
            story.insert(FIRST_REPORTS, (500, CancelLeaves(1, operation(1, 0))));
        }),
        (14, "operations are stopped, and nobody asked for it", I::Cancel, |story| {
            let asked = Asked::Cancel(campaign(1), RunningOperations::Finish);
            story.insert(RESENT, (61_000, one(finished(Outcome::Cancelled, true))));
            story.insert(RESENT, (61_000, Asks(asked)));
        }),
        (21, "a version that contradicts nothing", I::Contradiction, |story| {
            let seen = ContradictionSeen { device: device(1), version: "2.0.0".into() };
            story.insert(SECOND_READ, (1_000, one(seen.into())));
        }),
        (21, "the same contradiction again", I::Contradiction, |story| {
            let seen = ContradictionSeen { device: device(1), version: "1.0.0".into() };
            story.insert(SECOND_READ, (1_000, one(seen.clone().into())));
            story.insert(SECOND_READ, (1_000, one(seen.into())));
        }),
        (22, "a request after a report", I::Forgotten, |story| {
            let reported = OperationReported {
                device: device(2),
                phase: Phase::Acknowledged,
                progress: 0,
                code: None,
                message: String::new(),
                observed_at: None,
            };
            let place = SECOND_ACCEPTED + 1;
            story.insert(place, (2_000, one(reported.into())));
            story.insert(place, (2_000, Reports(2, operation(2, 0), ReportStatus::Acknowledged)));
        }),
    ];
    let mut missed = Vec::new();
    for (number, name, invariant, plant) in planted {
        let mut story = story();
        plant(&mut story);
        let found = judged(&story);
        if found != Some(*invariant) {
            missed.push(format!("I{number}, {name}: {found:?} instead of {invariant:?}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    for number in (1..=14).chain([21, 22]) {
        assert!(planted.iter().any(|(planted, ..)| *planted == number), "I{number}");
    }
}

/// Whoever ends in the append that starts it never holds the rollout.
#[test]
fn d18_a_campaign_that_starts_beside_a_running_one_is_accused_unless_it_ends_at_once() {
    let beside = |ends: bool| {
        let mut story = story();
        let mut events = vec![snapshot(&[3]), CampaignStarted { targets: 1 }.into()];
        if ends {
            events.push(finished(Outcome::Cancelled, false));
        }
        let created = Append(2, vec![created(definition(|_| {}))]);
        let asked = Asks(Asked::Cancel(campaign(2), RunningOperations::Finish));
        let steps = [created, asked, Append(2, events)];
        story.splice(FIRST_ACCEPTED..FIRST_ACCEPTED, steps.map(|step| (0, step)));
        judged(&story)
    };
    assert_eq!(beside(false), Some(Invariant::Claims));
    assert_eq!(beside(true), None);
}
