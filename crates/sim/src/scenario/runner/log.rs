//! The log of a run: what became durable and which calls were made, in the words of the
//! observation format. It also notices where a crash was asked for.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::event::{CampaignEvent, OperationFailure};
use hedgerow_core::{
    AtDeadline, CampaignId, ConsentAnswer, DeviceId, GivenUp, OperationId, Outcome, PolicyFact,
    StatusCode,
};
use serde_json::{Map, Value, json};

/// A crash that was asked for.
#[derive(Clone, Debug)]
pub(super) struct CrashPoint {
    pub(super) values: Map<String, Value>,
    pub(super) down_ms: i64,
}

/// What the log remembers of a target between entries.
#[derive(Clone, Debug, Default)]
struct Target {
    retries: u32,
    operation: Option<OperationId>,
    accepted: bool,
    in_progress: bool,
    is_final: bool,
}

/// What the log remembers of a campaign between entries.
#[derive(Clone, Debug, Default)]
struct Shown {
    name: String,
    snapshot: Vec<DeviceId>,
    targets: BTreeMap<DeviceId, Target>,
    outcome: Option<Outcome>,
    /// Whose users have agreed.
    agreed: BTreeSet<DeviceId>,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Value>,
    pub(super) crash_points: Vec<CrashPoint>,
    /// How long the engine is to be down, once a crash point was met.
    pub(super) crashed: Option<i64>,
    pub(super) device_names: BTreeMap<DeviceId, String>,
    campaigns: BTreeMap<CampaignId, Shown>,
    /// The newest operation for a device, over all campaigns and of each.
    newest: BTreeMap<(DeviceId, Option<CampaignId>), OperationId>,
}

impl Log {
    pub(super) fn name_device(&mut self, id: DeviceId, name: &str) {
        self.device_names.insert(id, name.to_owned());
    }

    pub(super) fn name_campaign(&mut self, id: CampaignId, name: &str) {
        name.clone_into(&mut self.campaigns.entry(id).or_default().name);
    }

    pub(super) fn newest_operation(
        &self,
        device: DeviceId,
        campaign: Option<CampaignId>,
    ) -> Option<OperationId> {
        self.newest.get(&(device, campaign)).copied()
    }

    /// The campaign of an operation that is a target's latest.
    fn campaign_of(&self, device: DeviceId, operation: OperationId) -> Option<CampaignId> {
        self.campaigns
            .iter()
            .find(|(_, shown)| {
                shown.targets.get(&device).is_some_and(|t| t.operation == Some(operation))
            })
            .map(|(id, _)| *id)
    }

    fn device_name(&self, device: DeviceId) -> String {
        self.device_names.get(&device).cloned().unwrap_or_else(|| device.to_string())
    }

    pub(super) fn push(&mut self, entry: Value) {
        let met = self.crash_points.iter().position(|point| {
            point.values.iter().all(|(key, value)| entry.get(key) == Some(value))
        });
        if let Some(met) = met.filter(|_| self.crashed.is_none()) {
            self.crashed = Some(self.crash_points.remove(met).down_ms);
        }
        self.entries.push(entry);
    }

    /// A call to the platform.
    pub(super) fn call(
        &mut self,
        kind: &str,
        at_ms: i64,
        device: DeviceId,
        operation: OperationId,
        accepted: bool,
    ) {
        let campaign = self.campaign_of(device, operation);
        let campaign = campaign.and_then(|id| self.campaigns.get(&id)).map(|s| s.name.clone());
        self.push(json!({
            "at_ms": at_ms, "kind": kind, "campaign": campaign,
            "device": self.device_name(device), "operation": operation.to_string(),
            "result": if accepted { "ok" } else { "error" },
        }));
    }

    /// An event that has become durable.
    pub(super) fn recorded(&mut self, at_ms: i64, campaign: CampaignId, event: &CampaignEvent) {
        let mut entries = Vec::new();
        let shown = self.campaigns.entry(campaign).or_default();
        let names = &self.device_names;
        let mut writer = Writer { at_ms, shown, names, entries: &mut entries };
        writer.event(event);
        if let CampaignEvent::OperationStarted(started) = event {
            self.newest.insert((started.device, None), started.operation);
            self.newest.insert((started.device, Some(campaign)), started.operation);
        }
        for entry in entries {
            self.push(entry);
        }
    }
}

struct Writer<'a> {
    at_ms: i64,
    shown: &'a mut Shown,
    names: &'a BTreeMap<DeviceId, String>,
    entries: &'a mut Vec<Value>,
}

impl Writer<'_> {
    fn name(&self, device: DeviceId) -> String {
        self.names.get(&device).cloned().unwrap_or_else(|| device.to_string())
    }

    fn campaign(&mut self, status: &str) {
        let outcome = self.shown.outcome.map(Outcome::name);
        self.entries.push(json!({
            "at_ms": self.at_ms, "kind": "campaign", "campaign": self.shown.name,
            "status": status, "outcome": outcome,
        }));
    }

    fn target(&mut self, device: DeviceId, status: &str, reason: Option<&str>) {
        let name = self.name(device);
        let target = self.shown.targets.entry(device).or_default();
        target.is_final = !matches!(status, "idle" | "in_progress");
        let mut entry = json!({
            "at_ms": self.at_ms, "kind": "target", "campaign": self.shown.name, "device": name,
            "status": status, "retry_count": target.retries,
        });
        if let (Some(reason), Some(entry)) = (reason, entry.as_object_mut()) {
            entry.insert("reason".to_owned(), reason.into());
        }
        self.entries.push(entry);
    }

    fn operation(
        &mut self,
        device: DeviceId,
        status: &str,
        code: Option<&StatusCode>,
        inferred: bool,
    ) {
        let name = self.name(device);
        let operation = self.shown.targets.get(&device).and_then(|target| target.operation);
        self.entries.push(json!({
            "at_ms": self.at_ms, "kind": "operation", "campaign": self.shown.name, "device": name,
            "operation": operation.map(|id| id.to_string()), "status": status,
            "status_code": code.map(StatusCode::name), "inferred": inferred,
        }));
    }

    fn state(&mut self, device: DeviceId) -> &mut Target {
        self.shown.targets.entry(device).or_default()
    }

    fn event(&mut self, event: &CampaignEvent) {
        use CampaignEvent as E;
        match event {
            E::CampaignCreated(e) => {
                self.campaign(if e.scheduled_at.is_some() { "scheduled" } else { "idle" });
            }
            E::CampaignEdited(e) if e.scheduled_at.is_none() => self.campaign("idle"),
            E::CampaignDeleted(_) => self.campaign("deleted"),
            E::SnapshotExtended(e) => self.shown.snapshot.extend(&e.devices),
            E::CampaignStarted(_) => {
                let devices = self.shown.snapshot.clone();
                let names: Vec<_> = devices.iter().map(|device| self.name(*device)).collect();
                self.entries.push(json!({
                    "at_ms": self.at_ms, "kind": "snapshot", "campaign": self.shown.name,
                    "devices": names,
                }));
                for device in devices {
                    self.target(device, "idle", None);
                }
                self.campaign("in_progress");
            }
            E::CampaignPausing(_) => self.campaign("pausing"),
            E::CampaignPaused(_) => self.campaign("paused"),
            E::CampaignResumed(_) => self.campaign("in_progress"),
            E::CampaignFinished(e) => {
                self.shown.outcome = Some(e.outcome);
                self.campaign("finished");
                if matches!(e.outcome, Outcome::Cancelled | Outcome::Superseded) {
                    self.cancel_idle();
                }
            }
            E::TargetUpToDate(e) => self.target(e.device, "successful", None),
            E::TargetFailed(e) => self.target(e.device, "failed", Some(e.reason.reason().name())),
            E::PolicyFactRecorded(e) => match (&e.fact, e.device) {
                (PolicyFact::Consent(consent), Some(device)) => {
                    match consent.answer {
                        ConsentAnswer::Granted => self.shown.agreed.insert(device),
                        ConsentAnswer::Declined => self.shown.agreed.remove(&device),
                    };
                }
                (PolicyFact::ConsentOver(over), _) if over.then == AtDeadline::GiveUp => {
                    self.give_up();
                }
                _ => {}
            },
            _ => self.operation_event(event),
        }
    }

    fn cancel_idle(&mut self) {
        let snapshot = self.shown.snapshot.clone();
        for device in snapshot {
            let target = self.state(device);
            if !target.is_final && !target.in_progress {
                self.target(device, "cancelled", None);
            }
        }
    }

    /// Those whose users have not agreed are cancelled (P15).
    fn give_up(&mut self) {
        for device in self.shown.snapshot.clone() {
            let agreed = self.shown.agreed.contains(&device);
            let target = self.state(device);
            if !target.is_final && !target.in_progress && !agreed {
                self.target(device, "cancelled", Some(GivenUp::NoConsent.name()));
            }
        }
    }

    fn operation_event(&mut self, event: &CampaignEvent) {
        use CampaignEvent as E;
        match event {
            E::OperationStarted(e) => {
                let target = self.state(e.device);
                if target.operation != Some(e.operation) {
                    *target = Target { operation: Some(e.operation), ..Target::default() };
                }
                target.in_progress = true;
                self.target(e.device, "in_progress", None);
            }
            E::RequestAccepted(e) => {
                let known = std::mem::replace(&mut self.state(e.device).accepted, true);
                if !known {
                    self.operation(e.device, "pending", None, false);
                }
            }
            E::OperationDeferred(e) => {
                self.state(e.device).in_progress = false;
                self.idle_again(e.device);
            }
            E::RequestResent(e) => {
                self.state(e.device).in_progress = true;
                self.resent(e.device);
            }
            E::ResendMissed(e) => self.resent(e.device),
            E::ResendKeptBack(e) => {
                self.state(e.device).in_progress = false;
                self.target(e.device, "idle", None);
            }
            E::ContradictionSeen(e) => {
                let name = self.name(e.device);
                self.entries.push(json!({
                    "at_ms": self.at_ms, "kind": "contradiction", "campaign": self.shown.name,
                    "device": name, "version": e.version,
                }));
            }
            E::OperationReported(e) => {
                self.state(e.device).accepted = true;
                self.operation(e.device, e.phase.name(), e.code.as_ref(), false);
            }
            E::OperationReadmitted(e) => {
                self.state(e.device).in_progress = true;
                self.target(e.device, "in_progress", None);
            }
            E::OperationRefused(e) => {
                let code = StatusCode::UpdateAlreadyInProgress;
                self.operation(e.device, "failure", Some(&code), false);
                self.state(e.device).in_progress = false;
                self.idle_again(e.device);
            }
            E::OperationSucceeded(e) => {
                let inferred = e.confirmation == hedgerow_core::event::Confirmation::BaseImage;
                self.operation(e.device, "success", None, inferred);
                self.target(e.device, "successful", None);
            }
            E::OperationFailed(e) => {
                let rejected = matches!(e.reason, OperationFailure::RequestRejected { .. });
                if !rejected || self.state(e.device).accepted {
                    let (code, inferred) = (e.reason.status_code(), e.reason.is_inferred());
                    self.operation(e.device, "failure", code.as_ref(), inferred);
                }
                self.target(e.device, "failed", Some(e.reason.reason().name()));
            }
            _ => {}
        }
    }

    /// Idle targets of a campaign that was cancelled or superseded are cancelled.
    fn idle_again(&mut self, device: DeviceId) {
        let cancelled =
            matches!(self.shown.outcome, Some(Outcome::Cancelled | Outcome::Superseded));
        self.target(device, if cancelled { "cancelled" } else { "idle" }, None);
    }

    fn resent(&mut self, device: DeviceId) {
        self.state(device).retries += 1;
        self.target(device, "in_progress", None);
    }
}
