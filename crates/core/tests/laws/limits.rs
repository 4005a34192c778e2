//! The failure limit, and limits that are edited: D13, D19.

use std::collections::BTreeSet;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, play_to_the_end};

/// The decimal as a fraction.
fn rational(text: &str) -> BigRational {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().unwrap();
    let scale = BigInt::from(10).pow(u32::try_from(fraction.len()).unwrap());
    BigRational::new(digits, scale)
}

/// D13, with fractions of whole numbers.
pub(crate) fn is_exceeded(limit: &str, failed: u32, total: u32) -> bool {
    let share = BigRational::new(BigInt::from(failed) * 100, BigInt::from(total.max(1)));
    share > rational(limit)
}

fn exceeds(campaign: &Campaign) -> bool {
    let failed = campaign.targets().filter(|target| target.status == TargetStatus::Failed).count();
    let limit = campaign.limits().max_failure_percentage.to_string();
    let total = u32::try_from(campaign.targets().count()).unwrap();
    is_exceeded(&limit, u32::try_from(failed).unwrap(), total)
}

fn is_open(target: &TargetView) -> bool {
    matches!(target.status, TargetStatus::Idle | TargetStatus::InProgress)
}

/// D13.
#[derive(Default)]
struct FailureLimit {
    outcome: Option<Outcome>,
}

impl Law for FailureLimit {
    fn event(&mut self, seen: &Recorded<'_>) {
        assert_eq!(seen.after.failure_limit_is_exceeded(), exceeds(seen.after), "D13");
        match seen.event {
            CampaignEvent::CampaignFinished(e) => {
                match e.outcome {
                    Outcome::Success => {
                        assert!(!exceeds(seen.before), "D13");
                        assert!(!seen.before.targets().any(|target| is_open(&target)), "D13");
                    }
                    Outcome::Failure => {
                        let missed = seen.before.misses_minimum();
                        assert!(exceeds(seen.before) || missed, "D3, D13");
                    }
                    _ => {}
                }
                if e.outcome == Outcome::Failure || e.outcome == Outcome::Success {
                    let in_progress =
                        |target: &TargetView| target.status == TargetStatus::InProgress;
                    let before = seen.before.targets().filter(in_progress);
                    let same = before.eq(seen.after.targets().filter(in_progress));
                    assert!(same, "D13: operations in progress are followed to their end");
                    let idle = seen.before.counts().idle == seen.after.counts().idle;
                    assert!(idle, "D13: idle targets stay idle");
                }
                assert_eq!(seen.after.finished_at(), Some(seen.now));
                self.outcome = Some(e.outcome);
            }
            CampaignEvent::OperationStarted(_) => {
                assert_eq!(self.outcome, None, "D13: no new operation starts");
                assert!(!exceeds(seen.before), "D13: beyond the limit");
            }
            _ => {}
        }
        assert_eq!(seen.after.outcome(), self.outcome, "D13: the outcome does not change");
    }

    fn step(&mut self, seen: &Step<'_>) {
        if seen.recovered && seen.after.status().is_running() {
            assert!(!exceeds(seen.after), "D13: it finishes as soon as the limit is exceeded");
            let open = seen.after.targets().any(|target| is_open(&target));
            assert!(open, "D13: it finishes when every target is final");
        }
    }
}

/// D19.
#[derive(Default)]
struct Edits;

impl Edits {
    fn edited(seen: &Step<'_>, edit: &CampaignEdit) {
        let (before, after) = (seen.before, seen.after);
        let expected = edit.limits.of(before.limits());
        let fixed = CampaignEdit { limits: LimitsEdit::default(), ..edit.clone() };
        let only_limits = fixed == CampaignEdit::default();
        let has_no_snapshot = before.devices().is_empty();
        let scheduled = before.status() == CampaignStatus::Scheduled && has_no_snapshot;
        let is_over = matches!(before.status(), CampaignStatus::Finished | CampaignStatus::Deleted);
        let allowed = expected.validate().is_ok() && !is_over && (scheduled || only_limits);
        assert_eq!(seen.decided.is_ok(), allowed, "D19: {edit:?}, {:?}", before.status());
        if !allowed {
            assert_eq!(after, before, "D19: what is refused changes nothing");
            return;
        }
        assert_eq!(after.limits(), &expected, "D19");
        if scheduled {
            assert_eq!(
                after.definition().name,
                edit.name.clone().unwrap_or(before.definition().name.clone())
            );
            let at = edit.scheduled_at.unwrap_or(before.scheduled_at());
            assert_eq!(after.scheduled_at(), at.filter(|at| *at > seen.now), "D19");
            return;
        }
        let CampaignEvent::LimitsChanged(_) = &seen.events()[0] else {
            panic!("D19: {:?}", seen.events());
        };
        let readmitted: BTreeSet<_> = seen.events()[1..]
            .iter()
            .filter(|event| matches!(event, CampaignEvent::OperationReadmitted(_)))
            .filter_map(CampaignEvent::device)
            .collect();
        for (before, after) in before.targets().zip(after.targets()) {
            // Lowering a limit never interrupts; time-outs hold from the next deadline on.
            let idle = before.status == TargetStatus::Idle && after.status == TargetStatus::Idle;
            let ends = idle && seen.after.outcome() == Some(Outcome::Failure);
            let same = before == after || readmitted.contains(&before.device) || ends;
            assert!(same, "D19: {before:?} became {after:?}");
        }
        if seen.recovered && before.status().is_running() {
            let failed = after.outcome() == Some(Outcome::Failure);
            assert_eq!(failed, exceeds(after), "D19: the failure limit is re-evaluated at once");
        }
    }
}

impl Law for Edits {
    fn step(&mut self, seen: &Step<'_>) {
        match seen.input {
            Input::Command(Command::Edit(edit)) => Self::edited(seen, edit),
            Input::Command(Command::Delete) => {
                let allowed = seen.before.status() == CampaignStatus::Scheduled
                    && seen.before.devices().is_empty();
                assert_eq!(seen.decided.is_ok(), allowed, "D19");
                let deleted = seen.after.status() == CampaignStatus::Deleted;
                assert!(!allowed || deleted && seen.after.is_settled(), "D19");
            }
            _ => {}
        }
        if seen.before.status() == CampaignStatus::Deleted {
            assert_eq!(seen.events(), [], "D19: a deleted campaign does nothing");
        }
    }
}

/// A limit close to `failed` of `total`: at it, or a few of its smallest parts beside it.
fn nearby(failed: u32, total: u32, parts: i8) -> String {
    let scale = BigInt::from(10).pow(17);
    let share: BigInt =
        BigInt::from(failed) * 100 * &scale / BigInt::from(total) + BigInt::from(parts);
    let share = share.clamp(BigInt::from(0), &scale * 100);
    let digits = format!("{share:0>18}");
    let (whole, fraction) = digits.split_at(digits.len() - 17);
    format!("{whole}.{fraction}")
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d13_the_limit_compares_as_fractions_of_whole_numbers_do(
        (failed, total) in (1..=u32::MAX).prop_flat_map(|total| (0..=total, Just(total))),
        parts in -2_i8..=2,
        small in any::<bool>(),
    ) {
        let (failed, total) = if small { (failed % 20, total % 20 + 1) } else { (failed, total) };
        let failed = failed.min(total);
        let limit = nearby(failed, total, parts);
        let percentage: Percentage = limit.parse().unwrap();
        let expected = is_exceeded(&limit, failed, total);
        prop_assert_eq!(percentage.is_exceeded_by(failed, total), expected, "{}", limit);
        let shown = percentage.to_string();
        prop_assert_eq!(rational(&shown), rational(&limit), "it is shown as it was given");
    }

    #[test]
    fn d13_the_campaign_fails_as_soon_as_too_many_have_failed(
        story in story(Mix { answer: 14, report: 9, edit: 2, ..Mix::EVEN }),
    ) {
        play_to_the_end(&story, &mut FailureLimit::default());
    }

    #[test]
    fn d19_limits_can_be_edited_at_any_time_and_interrupt_nothing(
        story in story(Mix { edit: 6, answer: 12, ..Mix::EVEN }),
    ) {
        play(&story, &mut Edits);
    }
}
