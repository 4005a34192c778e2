//! What an outage is like (D10): after three calls in a row that failed, a campaign tries one target
//! at a time, each after a pause.
//!
//! Only reads that can be for nothing but a target's turn count: its device is in one running campaign
//! alone, has no operation, and is not looked at for what contradicts an outcome (D22).

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::{CampaignId, DeviceId, TargetStatus, Timestamp};

use super::campaign::Model;
use super::facts::Facts;
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// Failures in a row after which the transport is known to be down.
const FAILURES: u32 = 3;
/// The shortest pause before a trial.
const PAUSE: Duration = Duration::from_secs(5);

/// What one campaign has seen of the transport.
#[derive(Default)]
struct Seen {
    reads_failed: u32,
    sends_failed: u32,
    failed_at: Timestamp,
    /// When a read went well: one that failed at the same instant may have been told before it.
    read_at: Option<Timestamp>,
    trials: u32,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Outages {
    seen: BTreeMap<CampaignId, Seen>,
    /// Reads for a turn that are under way; `true`: as a trial.
    turns: BTreeMap<DeviceId, (CampaignId, bool)>,
    /// Until when a device may be read for a manual update that is about to start.
    wanted_until: BTreeMap<DeviceId, Timestamp>,
}

/// How long it may take until the device of a manual update is read.
const STARTS: Duration = Duration::from_secs(60);

/// The campaign whose turn alone can be meant by a read of this device.
fn whose_turn<'a>(
    device: DeviceId,
    models: impl Iterator<Item = &'a Model>,
    facts: &Facts,
) -> Option<CampaignId> {
    let mut open = None;
    for model in models {
        let Some(place) = model.place(device) else { continue };
        let status = model.targets[place].status;
        if matches!(status, TargetStatus::Successful | TargetStatus::Failed) {
            return None;
        }
        if model.is_open() && open.replace((model, place)).is_some() {
            return None;
        }
    }
    let (model, place) = open?;
    let target = &model.targets[place];
    let waits = target.status == TargetStatus::Idle
        && target.operation.is_none()
        && !facts.holders.contains_key(&device);
    waits.then_some(model.id)
}

impl Outages {
    /// Nothing is known for sure any more.
    pub(super) fn trouble(&mut self) {
        self.seen.clear();
        self.turns.clear();
    }

    /// Somebody wants to start a manual update of this device.
    pub(super) fn manual_update_wanted(&mut self, device: DeviceId, now: Timestamp) {
        self.wanted_until.insert(device, now + STARTS);
    }

    pub(super) fn read_began<'a>(
        &mut self,
        device: DeviceId,
        models: impl Iterator<Item = &'a Model>,
        facts: &Facts,
        now: Timestamp,
    ) -> Checked {
        let wanted = self.wanted_until.get(&device).is_some_and(|until| now < *until);
        let id = whose_turn(device, models, facts).filter(|_| !wanted);
        let Some(id) = id else { return Ok(()) };
        let seen = self.seen.entry(id).or_default();
        let failed = seen.reads_failed >= FAILURES || seen.sends_failed >= FAILURES;
        // What leaves at the instant of a failure was decided before it.
        let is_known = failed && seen.failed_at < now;
        self.turns.insert(device, (id, is_known));
        if !is_known {
            return Ok(());
        }
        let (since, trials) = (now.since(seen.failed_at), seen.trials);
        seen.trials += 1;
        ensure(since >= PAUSE && trials == 0, Invariant::OutageSlows, || {
            format!(
                "its turn comes {since:?} after the latest of at least {FAILURES} calls in a row \
                 that failed, with {trials} other trials under way"
            )
        })
    }

    pub(super) fn read_ended<'a>(
        &mut self,
        device: DeviceId,
        failed: bool,
        mut models: impl Iterator<Item = &'a Model> + Clone,
        facts: &Facts,
        now: Timestamp,
    ) {
        let turn = self.turns.remove(&device);
        if let Some(seen) = turn.and_then(|(id, trial)| self.seen.get_mut(&id).filter(|_| trial)) {
            seen.trials -= 1;
        }
        if !failed {
            for model in models.by_ref().filter(|model| model.place(device).is_some()) {
                let seen = self.seen.entry(model.id).or_default();
                seen.reads_failed = 0;
                seen.read_at = Some(now);
            }
        } else if let Some((id, _)) = turn
            && whose_turn(device, models, facts) == Some(id)
        {
            let seen = self.seen.entry(id).or_default();
            seen.reads_failed += u32::from(seen.read_at != Some(now));
            seen.failed_at = now;
        }
    }

    /// A request of this campaign was answered.
    pub(super) fn request_answered(&mut self, id: CampaignId, failed: bool, now: Timestamp) {
        let seen = self.seen.entry(id).or_default();
        if failed {
            seen.sends_failed += 1;
            seen.failed_at = now;
        } else {
            (seen.reads_failed, seen.sends_failed) = (0, 0);
        }
    }
}
