//! The judges of a run, one for each tenant: each knows of its own tenant and of nothing else, so
//! that whatever one tenant has of another shows (D21).

use std::time::Duration;

use hedgerow_core::{StreamId, TargetCounts, TenantId, Timestamp};

use super::{Checker, Moment, Standing};
use crate::simulate::coverage::Coverage;
use crate::simulate::invariant::{Invariant, Violation};

/// See the module's documentation. Tenants are counted from 0.
pub(crate) struct Judges {
    each: Vec<Checker>,
}

impl Judges {
    /// `calls`: how many an engine makes at once for each campaign.
    pub(crate) fn new(tenants: &[TenantId], calls: usize) -> Self {
        Self { each: tenants.iter().map(|tenant| Checker::new(tenant.clone(), calls)).collect() }
    }

    pub(crate) fn count(&self) -> usize {
        self.each.len()
    }

    pub(crate) fn of(&mut self, tenant: usize) -> &mut Checker {
        &mut self.each[tenant]
    }

    pub(crate) fn get(&self, tenant: usize) -> &Checker {
        &self.each[tenant]
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, &Checker)> {
        self.each.iter().enumerate()
    }

    /// The number of a tenant. One that there is not is a violation.
    pub(crate) fn number(&mut self, tenant: &TenantId, now: Timestamp) -> usize {
        let number = self.each.iter().position(|judge| judge.tenant == *tenant);
        number.unwrap_or_else(|| {
            let message = format!("it speaks of tenant {tenant}, which there is not");
            self.each[0].broken((Invariant::Tenants, message), now, None, None);
            0
        })
    }

    /// The first thing that did not hold.
    pub(crate) fn violation(&self) -> Option<Violation> {
        let found = self.each.iter().find_map(|judge| Some((judge, judge.violation()?)));
        found.map(|(judge, violation)| {
            let mut violation = violation.clone();
            if self.each.len() > 1 {
                violation.message = format!("{} (tenant {})", violation.message, judge.tenant);
            }
            violation
        })
    }

    pub(crate) fn has_violation(&self) -> bool {
        self.each.iter().any(|judge| judge.violation().is_some())
    }

    /// What was tried, all tenants together.
    pub(crate) fn take_coverage(&mut self) -> Coverage {
        let mut coverage = Coverage::default();
        for judge in &mut self.each {
            coverage.add(&std::mem::take(&mut judge.coverage));
        }
        coverage
    }

    /// What is counted of no tenant.
    pub(crate) fn coverage(&mut self) -> &mut Coverage {
        &mut self.each[0].coverage
    }

    /// See [`Checker::trouble`].
    pub(crate) fn trouble(&mut self, now: Timestamp) {
        self.each.iter_mut().for_each(|judge| judge.trouble(now));
    }

    /// See [`Checker::clock_steps`].
    pub(crate) fn clock_steps(&mut self, by: Duration, now: Timestamp) {
        self.each.iter_mut().for_each(|judge| judge.clock_steps(by, now));
    }

    /// See [`Checker::engine_starts`].
    pub(crate) fn engine_starts(&mut self, beside_another: bool, now: Timestamp) {
        self.each.iter_mut().for_each(|judge| judge.engine_starts(beside_another, now));
    }

    /// See [`Checker::engine_died`].
    pub(crate) fn engine_died(&mut self, slot: usize, now: Timestamp) {
        self.each.iter_mut().for_each(|judge| judge.engine_died(slot, now));
    }

    /// Whether anything has not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.each.iter().any(Checker::is_open)
    }

    /// How long everything may still take once nothing goes wrong any more.
    pub(crate) fn bound(&self) -> Duration {
        self.each.iter().map(Checker::bound).max().unwrap_or_default()
    }

    /// All targets by status, and how many may be in progress.
    pub(crate) fn standing(&self) -> Standing {
        let none = TargetCounts {
            idle: 0,
            in_progress: 0,
            successful: 0,
            failed: 0,
            cancelled: 0,
            total: 0,
        };
        let mut sum = Standing { counts: none, limit: 0 };
        for Standing { counts, limit } in self.each.iter().map(Checker::standing) {
            sum.counts.idle += counts.idle;
            sum.counts.in_progress += counts.in_progress;
            sum.counts.successful += counts.successful;
            sum.counts.failed += counts.failed;
            sum.counts.cancelled += counts.cancelled;
            sum.counts.total += counts.total;
            sum.limit += limit;
        }
        sum
    }

    /// The claims that a store must have (E5).
    pub(crate) fn claims(&self) -> Vec<(TenantId, String, StreamId)> {
        let mut claims = Vec::new();
        for judge in &self.each {
            let own = judge.claims().into_iter();
            claims.extend(own.map(|(key, holder)| (judge.tenant.clone(), key, holder)));
        }
        claims.sort();
        claims
    }

    /// See [`Checker::overdue`].
    pub(crate) fn overdue(&mut self, moment: Moment) {
        self.each.iter_mut().for_each(|judge| judge.overdue(moment));
    }

    /// At the end of a step: campaigns in which a target should have had its turn.
    pub(crate) fn passed_over(
        &mut self,
        moment: Moment,
    ) -> Vec<(usize, hedgerow_core::CampaignId, hedgerow_core::DeviceId)> {
        let each = self.each.iter_mut().enumerate();
        each.flat_map(|(tenant, judge)| {
            let found = judge.passed_over(moment).into_iter();
            found.map(move |(campaign, device)| (tenant, campaign, device))
        })
        .collect()
    }
}
