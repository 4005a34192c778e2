//! What tells two campaigns apart from some time on: for model checkers, whose state space would
//! have no end if every instant made a state of its own.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::{Campaign, LiveCampaign};
use crate::fleet::ImageUrl;
use crate::operation::Operation;
use crate::time::Timestamp;

impl LiveCampaign {
    /// Feeds into `hasher` what can make a difference to anything that is decided at `now` or
    /// later, with times as distances from `now`. Two campaigns of one id and definition that hash
    /// alike behave alike for ever after, each from its own `now` on.
    ///
    /// Left out are therefore: the time of day, how many events were folded once the snapshot is
    /// complete, how long a deadline has been overdue, and how often exactly something happened
    /// where only "more than once" or the order is looked at.
    pub fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        self.campaign.hash_from(now, hasher);
        self.observations.hash_from(&self.campaign, now, hasher);
        self.schedule.hash_from(now, hasher);
        (self.recovered, self.asks_urls).hash(hasher);
    }
}

impl Campaign {
    fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        (self.status, self.outcome).hash(hasher);
        ahead(self.scheduled_at, now).hash(hasher);
        self.started_at.map_or(Some(self.version), |_| None).hash(hasher);
        self.targets.hash_order(hasher);
        self.policies.hash(hasher);
        ahead(self.policies.due_at(self.started_at), now).hash(hasher);
        let interval = self.limits().operation.progress_interval;
        for (target, operation) in self.operations.iter() {
            target.hash(hasher);
            operation.hash_from(now, interval, hasher);
            self.urls.get(target).map(ImageUrl::as_str).hash(hasher);
        }
        u32::MAX.hash(hasher);
        for (target, at) in self.not_before.iter() {
            (target, ahead(Some(*at), now)).hash(hasher);
        }
        u32::MAX.hash(hasher);
    }
}

impl Operation {
    fn hash_from(&self, now: Timestamp, interval: Duration, hasher: &mut impl Hasher) {
        let Self { id, phase, progress, resends, sends, delivery, accepted, reissued, .. } = self;
        (id, phase, progress, resends, delivery, accepted, reissued).hash(hasher);
        (self.cancellation, sends.min(&2)).hash(hasher);
        let stamp = self.newest_stamp.map(|stamp| stamp.as_millis() - now.as_millis());
        let reported = self.reported_at.map(|at| now.since(at).min(interval));
        (stamp, reported, ahead(self.deadline, now)).hash(hasher);
    }
}

/// How far ahead of `now`; everything due is alike.
pub(super) fn ahead(at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    at.map(|at| at.since(now))
}
