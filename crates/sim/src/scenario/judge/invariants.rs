//! The invariants of one campaign (I1 to I12), checked on the way through its log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fleet::{TARGET_IS_SETTLED, is_one_of};
use super::log::Record;
use super::loose::{Decimal, Key, NULL, Unusable, Usable, contains, elements, number, same};
use super::operations::Operations;
use super::presence::Presence;
use super::settings::Settings;
use super::verdict::Finding;

/// How long after its end what a campaign's devices show is looked at (D22).
const DAY_MS: i64 = 86_400_000;
/// How many requests to a device within a second are no busy loop yet.
const MOST_REQUESTS_IN_A_SECOND: usize = 20;

/// The statuses that may follow one.
fn may_follow(status: &Value) -> &'static [&'static str] {
    match status.as_str() {
        None if status.is_null() => &["idle", "scheduled", "in_progress", "finished"],
        Some("scheduled") => &["idle", "in_progress", "finished", "deleted"],
        Some("in_progress") => &["pausing", "paused", "finished"],
        Some("pausing") => &["in_progress", "paused", "finished"],
        Some("idle" | "paused") => &["in_progress", "finished"],
        _ => &[],
    }
}

/// What is known of a campaign on the way through its log.
pub(super) struct CampaignChecks<'c, 'a> {
    campaign: &'c str,
    settings: &'c Settings,
    presence: &'c Presence<'a>,
    crashes: usize,
    findings: &'c mut Vec<Finding>,
    /// When operations of a device ended with `update_already_in_progress`, and which did.
    refused_at: BTreeSet<(Key, Decimal)>,
    refused: BTreeSet<Key>,
    /// How often each device has ended an operation so, and when it did last.
    refusals: BTreeMap<Key, (u32, Decimal)>,
    snapshot: Option<&'a Value>,
    status: &'a Value,
    outcome: &'a Value,
    operations: Operations<'a>,
    /// The latest request to each device: its operation and its result.
    latest: BTreeMap<Key, (Key, &'a Value)>,
    /// The latest accepted operation for each device.
    accepted: BTreeMap<Key, Key>,
    /// The calls of each operation, from the first accepted one on.
    calls: BTreeMap<Key, usize>,
    calls_at: BTreeMap<(Key, Decimal), usize>,
    contradicted: BTreeSet<Key>,
    ended: Option<Decimal>,
    /// The version of its image, if that was never changed.
    image: Option<&'c str>,
}

impl<'c, 'a> CampaignChecks<'c, 'a> {
    pub(super) fn new(
        campaign: &'c str,
        settings: &'c Settings,
        presence: &'c Presence<'a>,
        crashes: usize,
        log: &[Record<'a>],
        findings: &'c mut Vec<Finding>,
    ) -> Usable<Self> {
        let mut refused_at = BTreeSet::new();
        let mut refused = BTreeSet::new();
        for entry in log.iter().filter(|entry| entry.kind == "operation") {
            if entry.is("status", "failure")?
                && entry.get("status_code") == "update_already_in_progress"
            {
                refused_at.insert((entry.key("device")?, entry.at));
                refused.insert(entry.key("operation")?);
            }
        }
        Ok(Self {
            campaign,
            settings,
            presence,
            crashes,
            findings,
            refused_at,
            refused,
            refusals: BTreeMap::new(),
            snapshot: None,
            status: &NULL,
            outcome: &NULL,
            operations: Operations::default(),
            latest: BTreeMap::new(),
            accepted: BTreeMap::new(),
            calls: BTreeMap::new(),
            calls_at: BTreeMap::new(),
            contradicted: BTreeSet::new(),
            ended: None,
            image: settings.image(),
        })
    }

    pub(super) fn check(mut self, log: &[Record<'a>]) -> Usable<()> {
        for entry in log {
            match entry.kind {
                "snapshot" => self.snapshot(entry)?,
                "campaign" => self.campaign(entry)?,
                "target" => self.target(entry)?,
                "request" => self.request(entry)?,
                "contradiction" => self.contradiction(entry)?,
                "operation" => {
                    let operation = entry.key("operation")?;
                    self.count_refusal(entry, &operation)?;
                    self.operations.set_status(operation, entry.field("status")?);
                }
                _ => {}
            }
        }
        self.busy_loops(log)
    }

    fn report(
        &mut self,
        invariant: u8,
        entry: &Record<'_>,
        expected: impl std::fmt::Display,
        seen: impl std::fmt::Display,
    ) {
        let finding = Finding::invariant(invariant, Some(self.campaign), expected, seen);
        self.findings.push(finding.at(entry));
    }

    fn snapshot(&mut self, entry: &Record<'a>) -> Usable<()> {
        if self.snapshot.is_some() {
            self.report(1, entry, "one snapshot", "another one");
        }
        let devices = entry.field("devices")?;
        self.snapshot = Some(devices);
        let list = elements(devices)?;
        let different: Usable<BTreeSet<_>> = list.iter().map(|device| Key::of(device)).collect();
        if different?.len() != list.len() {
            self.report(1, entry, "every device once in the snapshot", devices);
        }
        Ok(())
    }

    fn campaign(&mut self, entry: &Record<'a>) -> Usable<()> {
        let (status, outcome) = (entry.field("status")?, entry.get("outcome"));
        let (old_status, old_outcome) = (self.status, self.outcome);
        if !same(status, old_status) {
            Key::of(old_status)?;
            Key::of(status)?;
            let allowed = may_follow(old_status);
            if !is_one_of(status, allowed) {
                let expected = format!("one of {allowed:?} after {old_status}");
                self.report(2, entry, expected, status);
            }
        }
        if old_status == "finished" && !(same(status, old_status) && same(outcome, old_outcome)) {
            let expected = format!("finished with {old_outcome} for ever");
            self.report(3, entry, expected, format!("{status} with {outcome}"));
        }
        (self.status, self.outcome) = (status, outcome);
        if (status == "finished") == outcome.is_null() {
            let expected = "an outcome exactly when finished";
            self.report(3, entry, expected, format!("{status} with {outcome}"));
        }
        if status == "finished" {
            self.ended.get_or_insert(entry.at);
            self.outcome(entry)?;
        }
        Ok(())
    }

    /// I4: at the instant of an edit either limit will do.
    fn outcome(&mut self, entry: &Record<'a>) -> Usable<()> {
        let targets = self.operations.targets();
        let failed = targets.values().filter(|status| ***status == "failed").count();
        let total = targets.len();
        let open = |status: &&&Value| is_one_of(status, &["idle", "in_progress"]);
        let open = targets.values().filter(open).count();
        let limits = self.settings.values("max_failure_percentage", entry.at)?;
        let mut beyond = Vec::new();
        for limit in &limits {
            // More than `limit` per cent: failed × 100 > limit × total, without a division.
            let hundredfold = Decimal::whole(failed).times(100)?;
            beyond.push(total > 0 && hundredfold > percentage(limit)?.times(total)?);
        }
        let (least, most) = self.settings.range("minimum_targets")?;
        let targets = Decimal::whole(total);
        if self.outcome == "success" && targets < least {
            let expected = "success with at least minimum_targets targets";
            self.report(4, entry, expected, format!("{total} targets"));
        }
        let limits = limits.iter().map(|limit| format!("{limit} %")).collect::<Vec<_>>();
        let limits = limits.join(" or ");
        let seen = format!("{failed} of {total} failed, {open} open");
        if self.outcome == "success" && (beyond.iter().all(|beyond| *beyond) || open > 0) {
            let expected = format!("success with at most {limits} failed and nothing open");
            self.report(4, entry, expected, &seen);
        }
        if self.outcome == "failure" && !beyond.contains(&true) && targets >= most {
            self.report(4, entry, format!("failure with more than {limits} failed"), &seen);
        }
        Ok(())
    }

    fn target(&mut self, entry: &Record<'a>) -> Usable<()> {
        let device = entry.key("device")?;
        let status = entry.field("status")?;
        let old = self.operations.target(&device);
        let name = entry.get("device");
        if let Some(snapshot) = self.snapshot
            && !contains(snapshot, name)?
        {
            self.report(1, entry, "targets of the snapshot only", format!("target {name}"));
        }
        if is_one_of(old, &TARGET_IS_SETTLED) && !same(status, old) {
            self.report(5, entry, format!("target {name} {old} for ever"), status);
        }
        if old == "in_progress"
            && is_one_of(status, &["idle", "cancelled"])
            && !self.refused_at.contains(&(device.clone(), entry.at))
            && !self.first_request_failed(&device)
            && !(status == "idle" && self.is_kept_back(&device, entry.at)?)
        {
            let expected = format!("target {name} in progress until its operation ends");
            self.report(5, entry, expected, status);
        }
        if status == "cancelled"
            && self.status == "finished"
            && !is_one_of(self.outcome, &["cancelled", "superseded"])
        {
            let expected = format!("no target cancelled by the outcome {}", self.outcome);
            self.report(5, entry, expected, format!("target {name} {status}"));
        }
        self.operations.set_target(&device, status);
        let limit = self.settings.largest("max_in_progress_operations", entry.at)?;
        if status == "in_progress" && old != "in_progress" {
            let in_progress = self.operations.in_progress();
            if Decimal::whole(in_progress) > number(limit)? {
                let expected = format!("at most {limit} targets in progress");
                self.report(6, entry, expected, in_progress);
            }
        }
        Ok(())
    }

    /// Whether its resend is kept back, as it is offline (D8).
    fn is_kept_back(&self, device: &Key, at: Decimal) -> Usable<bool> {
        let status = self.latest.get(device).map(|(id, _)| self.operations.status(id));
        let crashed = self.crashes > 0 && status.is_none_or(Value::is_null);
        let pending = status.is_some_and(|status| status == "pending");
        // It can have gone offline, or have come back, in the very instant of its deadline.
        let offline =
            self.presence.is_offline(device, at)? || !self.presence.is_online(device, at)?;
        Ok((pending || crashed) && offline)
    }

    fn first_request_failed(&self, device: &Key) -> bool {
        self.latest.get(device).is_some_and(|(operation, result)| {
            *result == "error" && !self.operations.was_accepted(operation)
        })
    }

    fn request(&mut self, entry: &Record<'a>) -> Usable<()> {
        let (device, operation) = (entry.key("device")?, entry.key("operation")?);
        let name = entry.get("device");
        let target = self.operations.target(&device);
        if is_one_of(target, &TARGET_IS_SETTLED) {
            self.report(7, entry, "no request to a settled target", format!("{name} is {target}"));
        }
        let is_first = !self.operations.was_accepted(&operation);
        let result = entry.field("result")?;
        self.latest.insert(device.clone(), (operation.clone(), result));
        if let Some(former) = self.accepted.get(&device)
            && *former != operation
            && !self.refused.contains(former)
        {
            let seen = format!("{} for {name}, after {former:?}", entry.get("operation"));
            self.report(8, entry, "no second operation", seen);
        }
        if result == "ok" {
            self.accepted_request(entry, &device, &operation, is_first)?;
        }
        if self.operations.was_accepted(&operation) {
            self.call(entry, &operation)?;
        }
        if is_first {
            self.first_request(entry, &device)?;
            self.delay_of_busy(entry, &device)?;
        } else if self.crashes == 0 {
            self.repeated(entry, &device, &operation)?;
        }
        let calls = self.calls_at.entry((device, entry.at)).or_default();
        *calls += 1;
        if *calls == 2 {
            self.report(12, entry, "one request in an instant", format!("two to {name}"));
        }
        Ok(())
    }

    fn accepted_request(
        &mut self,
        entry: &Record<'a>,
        device: &Key,
        operation: &Key,
        is_first: bool,
    ) -> Usable<()> {
        if is_first {
            let former = self.operations.accepted_for(device);
            let retries = self.settings.largest("request_retries", entry.at)?;
            if Decimal::whole(former) > number(retries)? {
                let expected = format!("at most 1 + {retries} operations of a target");
                self.report(8, entry, expected, former + 1);
            }
        }
        self.accepted.insert(device.clone(), operation.clone());
        self.operations.accept(operation, device);
        let limit = self.settings.largest("max_in_progress_operations", entry.at)?;
        if is_first {
            // Its own target may be logged after it.
            let own = usize::from(self.operations.target(device) == "idle");
            let open = self.operations.open() + own;
            if Decimal::whole(open) > number(limit)? {
                self.report(6, entry, format!("at most {limit} accepted requests open"), open);
            }
        }
        Ok(())
    }

    /// One more call of an operation that was accepted, now or before.
    fn call(&mut self, entry: &Record<'a>, operation: &Key) -> Usable<()> {
        let calls = self.calls.entry(operation.clone()).or_default();
        *calls += 1;
        let calls = *calls;
        let retries = self.settings.largest("request_retries", entry.at)?;
        let limit = number(retries)?.plus(Decimal::whole(1 + self.crashes))?;
        if Decimal::whole(calls) > limit {
            let expected = format!("at most 1 + {retries} requests, {} crashes", self.crashes);
            let seen = format!("{calls} for {}", entry.get("operation"));
            self.report(9, entry, expected, seen);
        }
        Ok(())
    }

    /// A request that is repeated, and no crash was asked for.
    fn repeated(&mut self, entry: &Record<'a>, device: &Key, operation: &Key) -> Usable<()> {
        let name = entry.get("device");
        if self.status != "finished" && !self.presence.is_online(device, entry.at)? {
            let expected = "repeated requests to online devices only";
            self.report(11, entry, expected, format!("one to {name}, which is offline"));
        }
        let status = self.operations.status(operation);
        let reported = ["acknowledged", "downloading", "deploying", "deployed", "rebooting"];
        if !is_one_of(status, &reported) {
            return Ok(());
        }
        let mut waited = false;
        for timeout in self.settings.values("request_timeout_seconds", entry.at)? {
            let timeout = number(timeout)?.times(1_000)?;
            for connected in self.presence.connections(device)? {
                waited |= connected.plus(timeout)? <= entry.at;
            }
        }
        if status == "rebooting" || !waited {
            let expected = "no request after a report, unless the device has come back";
            self.report(22, entry, expected, format!("one to {name}, which has reported {status}"));
        }
        Ok(())
    }

    /// I21: the first contradiction of a settled target, and a real one (D22).
    fn contradiction(&mut self, entry: &Record<'a>) -> Usable<()> {
        let device = entry.key("device")?;
        let (name, shown) = (entry.get("device"), entry.get("version"));
        let target = self.operations.target(&device);
        if !self.contradicted.insert(device) {
            self.report(21, entry, "one contradiction of a target", format!("another of {name}"));
        }
        if !is_one_of(target, &["successful", "failed"]) {
            let seen = format!("one of {name}, which is {target}");
            self.report(21, entry, "contradictions of settled targets only", seen);
        } else if let Some(image) = self.image
            && (shown == image) != (target == "failed")
        {
            let seen = format!("{name} is {target} and shows {shown}");
            self.report(21, entry, "a version that contradicts the outcome", seen);
        }
        let latest = self.ended.map(|at| at.plus(Decimal::whole(DAY_MS + 121_000))).transpose()?;
        if latest.is_some_and(|latest| entry.at > latest) {
            let seen = format!("one of {name} at {}", entry.at_ms());
            self.report(21, entry, "contradictions within a day of the end", seen);
        }
        Ok(())
    }

    fn count_refusal(&mut self, entry: &Record<'a>, operation: &Key) -> Usable<()> {
        let refused = entry.is("status", "failure")?
            && entry.get("status_code") == "update_already_in_progress";
        if refused && self.operations.status(operation) != "failure" {
            let zero = (0, entry.at);
            let refusals = self.refusals.entry(entry.key("device")?).or_insert(zero);
            *refusals = (refusals.0 + 1, entry.at);
        }
        Ok(())
    }

    /// I8: a new operation for a device that said that it was busy comes after a delay (D14).
    fn delay_of_busy(&mut self, entry: &Record<'a>, device: &Key) -> Usable<()> {
        let Some((refusals, at)) = self.refusals.get(device).copied() else { return Ok(()) };
        let nominal = (60_000_u64 << refusals.saturating_sub(1).min(10)).min(600_000);
        let since = entry.at.minus(at)?;
        if since < Decimal::whole(nominal * 3 / 4) {
            let expected = format!("no new operation for {} ms", nominal * 3 / 4);
            let seen = format!("one after refusal {refusals}, at {}", entry.at_ms());
            self.report(8, entry, expected, seen);
        }
        Ok(())
    }

    fn first_request(&mut self, entry: &Record<'a>, device: &Key) -> Usable<()> {
        let name = entry.get("device");
        if self.status != "in_progress" {
            let seen = format!("one to {name} while {}", self.status);
            self.report(10, entry, "first requests while in progress only", seen);
        }
        if !self.presence.is_online(device, entry.at)? {
            let expected = "first requests to online devices only";
            self.report(11, entry, expected, format!("one to {name}, which is offline"));
        }
        Ok(())
    }

    /// The other part of I12: calls that follow one another without a pause.
    fn busy_loops(&mut self, log: &[Record<'a>]) -> Usable<()> {
        let mut calls: BTreeMap<Key, Vec<Record<'_>>> = BTreeMap::new();
        for entry in log.iter().filter(|entry| entry.kind == "request") {
            calls.entry(entry.key("device")?).or_default().push(*entry);
        }
        // Calls to no device at all are calls to any: they are judged among all of the campaign.
        if let Some(unnamed) = calls.get_mut(&Key::Null) {
            *unnamed = log.iter().filter(|entry| entry.kind == "request").copied().collect();
        }
        for calls in calls.values() {
            for pair in calls.windows(MOST_REQUESTS_IN_A_SECOND + 1) {
                let (Some(first), Some(last)) = (pair.first(), pair.last()) else { continue };
                if last.at.minus(first.at)? < Decimal::whole(1000) {
                    let expected = format!("at most {MOST_REQUESTS_IN_A_SECOND} requests a second");
                    let seen = format!("more to {}", first.get("device"));
                    self.report(12, last, expected, seen);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A limit as it is written, in per cent.
fn percentage(limit: &Value) -> Usable<Decimal> {
    let percentage = match limit {
        Value::Number(number) => Decimal::parse(&number.to_string()),
        Value::String(text) => Decimal::parse(text.trim()),
        _ => None,
    };
    percentage.ok_or_else(|| Unusable(format!("{limit} is not a percentage")))
}
