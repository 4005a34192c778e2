//! How a campaign comes to its end, and what must hold after every append until then (D3, D13, D16,
//! D17).

use hedgerow_core::{CampaignStatus, Outcome, TargetStatus, Timestamp};

use super::Model;
use crate::simulate::check::facts::Facts;
use crate::simulate::invariant::{Checked, Invariant, ensure};

impl Model {
    /// Whether more than the limit has failed (D13), from the decimals of the limit.
    pub(super) fn exceeds_failure_limit(&self) -> bool {
        let text = self.limits().max_failure_percentage.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{fraction}").parse::<u128>().unwrap_or(u128::MAX);
        let scale = 10_u128.saturating_pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX));
        let total: u32 = self.counts.iter().sum();
        let failed = u128::from(self.count(TargetStatus::Failed));
        failed * 100 * scale > digits.saturating_mul(u128::from(total))
    }

    /// Whether there are fewer targets than were asked for (D3).
    pub(in crate::simulate::check) fn misses_minimum(&self) -> bool {
        let targets = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        targets < self.definition.rollout.minimum_targets()
    }

    pub(super) fn finish(
        &mut self,
        outcome: Outcome,
        stop: bool,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Checked {
        self.recorded.finished += 1;
        let open = self.count(TargetStatus::Idle) + self.count(TargetStatus::InProgress);
        let exceeded = self.exceeds_failure_limit();
        match outcome {
            Outcome::Success => {
                ensure(open == 0 && !exceeded, Invariant::FailureLimit, || {
                    format!("success with {open} open targets, limit exceeded: {exceeded}")
                })?;
                ensure(!self.misses_minimum(), Invariant::NothingToDo, || {
                    format!("success with {} targets, more were asked for", self.targets.len())
                })?;
            }
            Outcome::Failure => {
                ensure(exceeded || self.misses_minimum(), Invariant::FailureLimit, || {
                    let failed = self.count(TargetStatus::Failed);
                    format!("failure with {failed} of {} failed", self.targets.len())
                })?;
            }
            Outcome::Cancelled => ensure(self.cancel_asked, Invariant::Cancel, || {
                "cancelled, and nobody asked for it".to_owned()
            })?,
            // One of two engines may not know that the newer one has been cancelled.
            Outcome::Superseded => {
                ensure(self.newer || !facts.is_alone(), Invariant::Cancel, || {
                    "superseded, and there is no newer rollout".to_owned()
                })?;
            }
        }
        ensure(!stop || self.stop_asked, Invariant::Cancel, || {
            "its operations are to stop, and nobody asked for it".to_owned()
        })?;
        ensure(self.outcome.is_none(), Invariant::Cancel, || "it finishes again".to_owned())?;
        self.status = CampaignStatus::Finished;
        self.outcome = Some(outcome);
        // What is idle ends: no operation of it is sent again, and its device is free (D14).
        let cancels = matches!(outcome, Outcome::Cancelled | Outcome::Superseded);
        for place in 0..self.targets.len() {
            if self.targets[place].status != TargetStatus::Idle {
                continue;
            }
            if let Some(operation) = self.targets[place].operation.take() {
                facts.end(operation, at)?;
            }
            self.targets[place].not_before = None;
            if cancels {
                self.become_final(place, TargetStatus::Cancelled);
            }
        }
        if stop {
            for target in &self.targets {
                if let Some(operation) = target.operation {
                    facts.operation(operation)?.cancel_is_wanted(at);
                }
            }
        }
        Ok(())
    }

    /// What must hold after every append.
    pub(in crate::simulate::check) fn committed(&self) -> Checked {
        if self.is_running() {
            let open = self.count(TargetStatus::Idle) + self.count(TargetStatus::InProgress);
            ensure(!self.targets.is_empty(), Invariant::NothingToDo, || {
                "a campaign without targets goes on".to_owned()
            })?;
            ensure(!self.misses_minimum(), Invariant::NothingToDo, || {
                format!(
                    "a campaign goes on with {} targets, more were asked for",
                    self.targets.len()
                )
            })?;
            ensure(open > 0, Invariant::FailureLimit, || {
                "every target is final and the campaign goes on".to_owned()
            })?;
            ensure(!self.exceeds_failure_limit(), Invariant::FailureLimit, || {
                let failed = self.count(TargetStatus::Failed);
                let limit = self.limits().max_failure_percentage;
                format!(
                    "{failed} of {} failed, above {limit} %, and it goes on",
                    self.targets.len()
                )
            })?;
        }
        let ends =
            self.status == CampaignStatus::Pausing && self.count(TargetStatus::InProgress) == 0;
        ensure(!ends, Invariant::Pause, || {
            "nothing is in progress and the campaign is still pausing".to_owned()
        })?;
        let folded = self.fold.counts();
        let counts =
            [folded.idle, folded.in_progress, folded.successful, folded.failed, folded.cancelled];
        let agrees = counts == self.counts
            && self.fold.status() == self.status
            && self.fold.outcome() == self.outcome
            && self.fold.version() == self.version;
        ensure(agrees, Invariant::StateIsFold, || {
            format!(
                "the fold is {} with {counts:?} at {}, the events say {} with {:?} at {}",
                self.fold.status().name(),
                self.fold.version(),
                self.status.name(),
                self.counts,
                self.version
            )
        })
    }
}
