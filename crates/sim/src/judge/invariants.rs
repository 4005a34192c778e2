//! The rules that hold for every campaign of every scenario, whether listed there or not: I1 to
//! I12.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::findings::Findings;
use super::limits::Limits;
use super::presence::is_online;
use super::rational::Decimal;
use super::shared_devices::{FINAL, SETTLED};
use super::values::{
    Judged, Key, Number, contains, elements, is, is_one_of, member, number, same, short,
};
use super::view::{Entry, View};

/// More requests to a device than this within a second are a busy loop.
const REQUESTS_PER_SECOND: usize = 20;
const SECOND_MS: i128 = 1_000;

/// Checks I1 to I12 for each campaign that the log speaks of.
pub(super) fn check(scenario: &Value, log: &[Value], findings: &mut Findings) -> Judged<()> {
    let crashes = crash_points(scenario)?;
    for definition in elements(Some(member(scenario, "campaigns")?))? {
        let view = View::new(member(&definition, "id")?, log)?;
        if view.entries.is_empty() {
            continue;
        }
        let limits = Limits::new(scenario, &definition, log)?;
        let mut campaign = Campaign::new(scenario, log, &limits, crashes, &view)?;
        for entry in &view.entries {
            campaign.see(*entry, findings)?;
        }
        check_pace(&view, findings)?;
    }
    Ok(())
}

fn crash_points(scenario: &Value) -> Judged<i128> {
    let mut crashes = 0;
    for stimulus in elements(Some(member(scenario, "stimuli")?))? {
        crashes += i128::from(is(member(&stimulus, "do")?, "crash_on"));
    }
    Ok(crashes)
}

/// I12, over more than an instant.
fn check_pace(view: &View, findings: &mut Findings) -> Judged<()> {
    let mut devices = BTreeMap::new();
    for entry in view.of_kind("request")? {
        let device = entry.get("device")?;
        devices.insert(Key::of(device)?, device);
    }
    for device in devices.into_values() {
        let requests = view.requests_to(device)?;
        for span in requests.windows(REQUESTS_PER_SECOND + 1) {
            let [first, .., last] = span else { continue };
            let passed = number(last.at()?)?.minus(number(first.at()?)?);
            if passed.order(Number::Whole(SECOND_MS)).is_lt() {
                let expected =
                    format!("at most {REQUESTS_PER_SECOND} requests to {device} within a second");
                let actual = format!("{} within {passed} ms", span.len());
                findings.add("I12", expected, actual, Some(last.index));
                break;
            }
        }
    }
    Ok(())
}

/// What a campaign's log has shown up to an entry.
struct Campaign<'a> {
    scenario: &'a Value,
    log: &'a [Value],
    limits: &'a Limits,
    crashes: i128,
    status: &'a Value,
    outcome: &'a Value,
    snapshot: Option<&'a Value>,
    targets: BTreeMap<Key, &'a Value>,
    /// The latest status of each operation.
    operations: BTreeMap<Key, &'a Value>,
    /// Each accepted operation, with its device.
    accepted: BTreeMap<Key, &'a Value>,
    /// The operation that each device accepted last.
    newest: BTreeMap<Key, &'a Value>,
    /// The latest request to each device: its operation and its result.
    latest: BTreeMap<Key, (Key, &'a Value)>,
    /// How many requests each operation has had since its first accepted one.
    requests: BTreeMap<Key, i128>,
    /// How many requests a device has had in an instant.
    in_instant: BTreeMap<(Key, Key), usize>,
    /// The operations that the device refused because it was busy, and when.
    busy_operations: BTreeSet<Key>,
    busy_instants: BTreeSet<(Key, Key)>,
}

impl<'a> Campaign<'a> {
    fn new(
        scenario: &'a Value,
        log: &'a [Value],
        limits: &'a Limits,
        crashes: i128,
        view: &View<'a>,
    ) -> Judged<Self> {
        let mut busy_operations = BTreeSet::new();
        let mut busy_instants = BTreeSet::new();
        for entry in view.of_kind("operation")? {
            let is_busy = is(entry.get("status")?, "failure")
                && is(entry.or_null("status_code")?, "update_already_in_progress");
            if is_busy {
                busy_operations.insert(Key::of(entry.get("operation")?)?);
                busy_instants.insert((Key::of(entry.get("device")?)?, Key::of(entry.at()?)?));
            }
        }
        Ok(Self {
            scenario,
            log,
            limits,
            crashes,
            status: &Value::Null,
            outcome: &Value::Null,
            snapshot: None,
            targets: BTreeMap::new(),
            operations: BTreeMap::new(),
            accepted: BTreeMap::new(),
            newest: BTreeMap::new(),
            latest: BTreeMap::new(),
            requests: BTreeMap::new(),
            in_instant: BTreeMap::new(),
            busy_operations,
            busy_instants,
        })
    }

    fn see(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        match entry.get("kind")?.as_str() {
            Some("snapshot") => self.see_snapshot(entry, findings),
            Some("campaign") => self.see_campaign(entry, findings),
            Some("target") => self.see_target(entry, findings),
            Some("request") => self.see_request(entry, findings),
            Some("operation") => {
                let operation = Key::of(entry.get("operation")?)?;
                self.operations.insert(operation, entry.get("status")?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn see_snapshot(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let devices = entry.get("devices")?;
        if self.snapshot.is_some() {
            findings.add("I1", "one snapshot", "another one", Some(entry.index));
        }
        self.snapshot = Some(devices);
        let mut different = BTreeSet::new();
        for device in elements(Some(devices))? {
            if !different.insert(Key::of(&device)?) {
                let actual = format!("{} twice", short(&device));
                findings.add("I1", "each device once in the snapshot", actual, Some(entry.index));
            }
        }
        Ok(())
    }

    fn see_campaign(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let index = Some(entry.index);
        let status = entry.get("status")?;
        let outcome = entry.or_null("outcome")?;
        if !same(status, self.status) {
            Key::of(status)?;
            let legal = legal_after(self.status);
            if !is_one_of(status, legal) {
                let expected = match legal {
                    [] => format!("nothing after {}", self.status),
                    legal => format!("after {}: {}", self.status, legal.join(", ")),
                };
                findings.add("I2", expected, short(status), index);
            }
        }
        let was_finished = is(self.status, "finished");
        if was_finished && !(same(status, self.status) && same(outcome, self.outcome)) {
            let expected = format!("still finished with outcome {}", short(self.outcome));
            let actual = format!("{} with outcome {}", short(status), short(outcome));
            findings.add("I3", expected, actual, index);
        }
        (self.status, self.outcome) = (status, outcome);
        let is_finished = is(status, "finished");
        if is_finished == outcome.is_null() {
            let expected = "an outcome exactly when the campaign is finished";
            let actual = format!("{} with outcome {}", short(status), short(outcome));
            findings.add("I3", expected, actual, index);
        }
        if is_finished {
            self.check_outcome(entry, findings)?;
        }
        Ok(())
    }

    /// I4.
    fn check_outcome(&self, entry: Entry, findings: &mut Findings) -> Judged<()> {
        let total = self.targets.len();
        let failed = self.targets.values().filter(|status| is(status, "failed")).count();
        let percentages = self.limits.in_force("max_failure_percentage", entry.at()?)?;
        let mut exceeded = Vec::new();
        for percentage in &percentages {
            exceeded.push(total > 0 && Decimal::of(percentage)?.is_exceeded_by(failed, total));
        }
        let limit: Vec<_> =
            percentages.iter().map(|percentage| format!("{percentage} %")).collect();
        let actual = format!("{failed} of {total} failed");
        if is(self.outcome, "success") {
            let open = self
                .targets
                .values()
                .filter(|status| is_one_of(status, &["idle", "in_progress"]))
                .count();
            if open > 0 || exceeded.iter().all(|exceeded| *exceeded) {
                let expected = format!(
                    "success only with at most {} failed and no target open",
                    limit.join(" or ")
                );
                findings.add("I4", expected, format!("{actual}, {open} open"), Some(entry.index));
            }
        } else if is(self.outcome, "failure") && !exceeded.iter().any(|exceeded| *exceeded) {
            let expected = format!("failure only with more than {} failed", limit.join(" or "));
            findings.add("I4", expected, actual, Some(entry.index));
        }
        Ok(())
    }

    fn see_target(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let index = Some(entry.index);
        let device = entry.get("device")?;
        let key = Key::of(device)?;
        let status = entry.get("status")?;
        let old = self.targets.get(&key).copied().unwrap_or(&Value::Null);
        if let Some(snapshot) = self.snapshot
            && !contains(snapshot, device)?
        {
            let actual = format!("a target {}", short(device));
            findings.add("I1", "targets only for devices of the snapshot", actual, index);
        }
        if is_one_of(old, &SETTLED) && !same(status, old) {
            findings.add("I5", format!("still {}", short(old)), short(status), index);
        }
        let goes_back = is(old, "in_progress") && is_one_of(status, &["idle", "cancelled"]);
        if goes_back && !self.may_go_back(&key, entry)? {
            let expected =
                "in_progress until settled, unless the request was refused or the device busy";
            findings.add("I5", expected, short(status), index);
        }
        if is(status, "cancelled")
            && is(self.status, "finished")
            && !is_one_of(self.outcome, &["cancelled", "superseded"])
        {
            let expected =
                format!("no cancelled target in a campaign with outcome {}", short(self.outcome));
            findings.add("I5", expected, short(status), index);
        }
        let starts = is(status, "in_progress") && !is(old, "in_progress");
        self.targets.insert(key, status);
        let limit = self.limits.highest("max_in_progress_operations", entry.at()?)?;
        let in_progress = self.targets.values().filter(|status| is(status, "in_progress")).count();
        if starts && is_beyond(in_progress, number(limit)?) {
            let actual = format!("{in_progress} in progress");
            findings.add("I6", format!("at most {limit} targets in progress"), actual, index);
        }
        Ok(())
    }

    /// Whether a target that was in progress may become idle or cancelled.
    fn may_go_back(&self, device: &Key, entry: Entry) -> Judged<bool> {
        if self.busy_instants.contains(&(device.clone(), Key::of(entry.at()?)?)) {
            return Ok(true);
        }
        Ok(self.latest.get(device).is_some_and(|(operation, result)| {
            is(result, "error") && !self.accepted.contains_key(operation)
        }))
    }

    fn see_request(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let index = Some(entry.index);
        let (device, operation) = (entry.get("device")?, entry.get("operation")?);
        let (device_key, operation_key) = (Key::of(device)?, Key::of(operation)?);
        let (at, result) = (entry.at()?, entry.get("result")?);
        if let Some(status) = self.targets.get(&device_key)
            && is_one_of(status, &SETTLED)
        {
            let actual = format!("one to {}, which is {}", short(device), short(status));
            findings.add("I7", "no request to a settled target", actual, index);
        }
        let is_first = !self.accepted.contains_key(&operation_key);
        self.latest.insert(device_key.clone(), (operation_key.clone(), result));
        if let Some(newest) = self.newest.get(&device_key)
            && !same(newest, operation)
            && !self.busy_operations.contains(&Key::of(newest)?)
        {
            let expected = format!("operation {} again", short(newest));
            findings.add("I8", expected, format!("operation {}", short(operation)), index);
        }
        if is(result, "ok") {
            self.accept(entry, is_first, findings)?;
        }
        if self.accepted.contains_key(&operation_key) {
            let requests = self.requests.entry(operation_key).or_default();
            *requests += 1;
            let retries = number(self.limits.highest("request_retries", at)?)?;
            let limit = retries.plus(Number::Whole(1 + self.crashes));
            if Number::Whole(*requests).order(limit).is_gt() {
                let expected = format!("at most {limit} requests for {}", short(operation));
                findings.add("I9", expected, requests.to_string(), index);
            }
        }
        if is_first {
            if !is(self.status, "in_progress") {
                let actual = format!("one to {} while it is {}", short(device), short(self.status));
                findings.add(
                    "I10",
                    "a first request only while the campaign is in_progress",
                    actual,
                    index,
                );
            }
            if !is_online(self.scenario, self.log, device, at)? {
                let actual = format!("one to {}, which is offline", short(device));
                findings.add(
                    "I11",
                    "a first request only to a device that is online",
                    actual,
                    index,
                );
            }
        }
        let in_instant = self.in_instant.entry((device_key, Key::of(at)?)).or_default();
        *in_instant += 1;
        if *in_instant == 2 {
            let actual = format!("another one to {}", short(device));
            findings.add("I12", "one request to a device in an instant", actual, index);
        }
        Ok(())
    }

    /// A request was accepted: the number of operations, of the device and at a time.
    fn accept(&mut self, entry: Entry<'a>, is_first: bool, findings: &mut Findings) -> Judged<()> {
        let (device, operation, at) = (entry.get("device")?, entry.get("operation")?, entry.at()?);
        if is_first {
            let earlier = self.accepted.values().filter(|of| same(of, device)).count();
            let retries = self.limits.highest("request_retries", at)?;
            if is_beyond(earlier, number(retries)?) {
                let expected = format!("at most 1 + {retries} operations for {}", short(device));
                findings.add("I8", expected, (earlier + 1).to_string(), Some(entry.index));
            }
        }
        self.newest.insert(Key::of(device)?, operation);
        self.accepted.insert(Key::of(operation)?, device);
        let limit = self.limits.highest("max_in_progress_operations", at)?;
        let mut open = 0;
        for (operation, device) in &self.accepted {
            let has_ended =
                self.operations.get(operation).is_some_and(|status| is_one_of(status, &FINAL));
            let has_settled = self
                .targets
                .get(&Key::of(device)?)
                .is_some_and(|status| is_one_of(status, &SETTLED));
            open += usize::from(!has_ended && !has_settled);
        }
        if is_first && is_beyond(open, number(limit)?) {
            let expected = format!("at most {limit} accepted requests open");
            findings.add("I6", expected, open.to_string(), Some(entry.index));
        }
        Ok(())
    }
}

/// The statuses that a campaign may take after one, which is null at first.
fn legal_after(status: &Value) -> &'static [&'static str] {
    if status.is_null() {
        return &["idle", "scheduled", "in_progress", "finished"];
    }
    match status.as_str() {
        Some("idle" | "paused") => &["in_progress", "finished"],
        Some("scheduled") => &["idle", "in_progress", "finished", "deleted"],
        Some("in_progress") => &["pausing", "paused", "finished"],
        Some("pausing") => &["in_progress", "paused", "finished"],
        _ => &[],
    }
}

fn is_beyond(count: usize, limit: Number) -> bool {
    let count = i128::try_from(count).unwrap_or(i128::MAX);
    Number::Whole(count).order(limit).is_gt()
}
