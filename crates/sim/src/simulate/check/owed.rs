//! What must have happened by a time: a device that is back with an operation is looked at once it
//! has settled (D12), one whose target is final is looked at for a contradiction (D22), and a
//! campaign that nothing is in the way of starts (D1, D18).
//!
//! A look is demanded only of an engine that nothing has disturbed since it was told of the
//! connection, and that could read the device whenever it tried.

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::{CampaignId, DeviceId, Presence, SETTLING, StreamId, TargetStatus, Timestamp};

use super::campaign::Model;
use super::facts::Facts;
use super::{Checker, Moment};
use crate::simulate::invariant::{Broken, Checked, Invariant, ensure};

/// How long what is due may take: a look may have to wait for two others.
const LOOKS: Duration = Duration::from_secs(60);
/// How long after its end what a campaign's devices show is looked at (D22), and somewhat less.
const WATCHED: Duration = Duration::from_secs(23 * 3_600);

/// Why a device is to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It has an operation, which it may have finished.
    Operation,
    /// Its target is final.
    Contradiction,
}

/// A look that is owed.
#[derive(Clone, Copy)]
struct Look {
    reason: Reason,
    device: DeviceId,
    campaign: CampaignId,
    place: usize,
    /// How often its target had changed its status.
    moved: u32,
    /// When the engine was told that the device is online.
    told_at: Timestamp,
    /// When the device has settled: an earlier look tells nothing.
    settled_at: Timestamp,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Owed {
    due: BTreeMap<(Timestamp, u64), Look>,
    count: u64,
}

impl Look {
    /// Whether nothing has happened since that could keep the engine from it.
    fn is_owed(&self, facts: &Facts) -> bool {
        let since = |at: Option<&Timestamp>| at.is_some_and(|at| *at >= self.told_at);
        facts.alone_since.is_some_and(|alone_since| alone_since < self.told_at)
            && facts.calm_since < self.told_at
            && !since(facts.unread_at.get(&self.device))
            && !since(facts.told_offline.get(&self.device))
            && facts.told_online.get(&self.device) == Some(&self.told_at)
            && facts.online.contains(&self.device)
    }

    /// Whether the target is as it was when the engine was told.
    fn is_of(&self, model: &Model) -> bool {
        model.targets.get(self.place).is_some_and(|target| target.moved == self.moved)
    }

    fn check(&self, model: &Model, facts: &Facts) -> Checked {
        match self.reason {
            Reason::Operation => {
                let looked = facts.read_began.get(&self.device);
                let looked = looked.is_some_and(|at| *at >= self.settled_at);
                ensure(looked, Invariant::Reconciliation, || {
                    format!(
                        "it came back with an operation, told at {}, and is not looked at after it \
                         has settled at {}",
                        self.told_at, self.settled_at
                    )
                })?;
                let shown = facts.shows.get(&self.device);
                let shown = shown.filter(|(_, since)| *since < self.settled_at);
                let done = shown.is_some_and(|(shown, _)| model.is_image(shown.as_deref()));
                ensure(!done, Invariant::Reconciliation, || {
                    format!(
                        "it came back, told at {}, showing its image {shown:?}, and its operation \
                         goes on",
                        self.told_at
                    )
                })
            }
            Reason::Contradiction => {
                let Some((shown, since)) = facts.shows.get(&self.device) else { return Ok(()) };
                let shown = shown.as_deref().filter(|_| *since < self.settled_at);
                let missed = model.would_contradict(self.place, shown);
                ensure(!missed, Invariant::Contradiction, || {
                    format!(
                        "it came back, told at {}, showing {shown:?} since {since}, and that is not \
                         recorded",
                        self.told_at
                    )
                })
            }
        }
    }
}

impl Checker {
    /// The looks that follow from telling the engine now that a device is online.
    pub(super) fn looks_owed(
        &mut self,
        device: DeviceId,
        presence: Presence,
        now: Timestamp,
    ) -> Vec<OwedLook> {
        let Presence::Online { since } = presence else { return Vec::new() };
        let facts = &self.facts;
        let settled_at = since.min(now) + SETTLING;
        // It connects if the engine knows it to be offline.
        let known = facts.calm_since.max(facts.alone_since.unwrap_or_default());
        let connects = facts.offline_since(device) > Some(known);
        let look = |model: &Model| {
            let place = model.place(device)?;
            let target = &model.targets[place];
            let reason = match target.status {
                TargetStatus::InProgress => Reason::Operation,
                TargetStatus::Successful | TargetStatus::Failed
                    if connects && model.is_watched(now, WATCHED) =>
                {
                    Reason::Contradiction
                }
                _ => return None,
            };
            let (campaign, moved) = (model.id, target.moved);
            let look = Look { reason, device, campaign, place, moved, told_at: now, settled_at };
            Some(OwedLook(look))
        };
        self.campaigns.values().filter_map(look).collect()
    }

    /// The engine has acknowledged that the device is online.
    pub(super) fn owes(&mut self, looks: &[OwedLook]) {
        for OwedLook(look) in looks {
            let at = look.told_at.max(look.settled_at) + LOOKS;
            self.owed.count += 1;
            self.owed.due.insert((at, self.owed.count), *look);
        }
    }

    /// At the end of a step of the only engine: what should have happened by now.
    pub(crate) fn overdue(&mut self, moment: Moment) {
        while let Some(first) = self.owed.due.first_entry()
            && first.key().0 <= moment.now
        {
            let look = first.remove();
            let model = self.campaigns.get(&look.campaign).filter(|model| look.is_of(model));
            if let Some(model) = model.filter(|_| look.is_owed(&self.facts)) {
                let checked = look.check(model, &self.facts);
                let stream = Some(StreamId::Campaign(look.campaign));
                self.note(checked, moment.now, stream, Some(look.device));
            }
        }
        if let Some((id, broken)) = self.waits_for_nothing(moment.now) {
            self.broken(broken, moment.now, Some(StreamId::Campaign(id)), None);
        }
    }

    /// A campaign whose time has come, with no other of its rollout in its way, that does not start.
    fn waits_for_nothing(&mut self, now: Timestamp) -> Option<(CampaignId, Broken)> {
        let waiting = self.campaigns.values().filter(|model| model.waits());
        let waiting: Vec<CampaignId> = waiting.map(|model| model.id).collect();
        for id in waiting {
            let model = &self.campaigns[&id];
            let mut others = self.campaigns.values().filter(|other| other.id != id);
            let blocked = others.any(|other| other.is_running() && other.is_same_rollout(model));
            let Some(model) = self.campaigns.get_mut(&id) else { continue };
            if blocked {
                model.waits_since = now;
            }
            let facts = &self.facts;
            let since = model.waits_since.max(model.scheduled_at().unwrap_or_default());
            let disturbed = facts.calm_since.max(facts.unnamed_at);
            let waited = now.since(since.max(disturbed));
            if facts.alone_since.is_some() && waited > LOOKS {
                let message =
                    format!("nothing is in its way for {waited:?}, and it does not start");
                return Some((id, (Invariant::Liveness, message)));
            }
        }
        None
    }
}

/// A look that will be owed once the engine has acknowledged what it is told.
pub(crate) struct OwedLook(Look);
