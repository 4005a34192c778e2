//! Faults on demand: rules that say which events, requests and messages go wrong and how. With a
//! seed, what goes wrong for the n-th candidate is the same in every run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device_id::DeviceId;
use crate::event::{DeviceEvent, EventKind};
use crate::hooks::HookCounters;

/// More rules than these are refused, since every event and request is held against all of them.
pub const RULES_MAX: usize = 1000;

/// How often a rule applies to what it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Frequency {
    /// Of every candidate, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// At most so often; `None`: without end.
    #[serde(default)]
    pub times: Option<u32>,
}

fn always() -> f64 {
    1.0
}

impl Frequency {
    /// Every time.
    pub const ALWAYS: Self = Self { probability: 1.0, times: None };
    /// The first time only.
    pub const ONCE: Self = Self { probability: 1.0, times: Some(1) };

    /// Each time with this probability.
    #[must_use]
    pub const fn probability(probability: f64) -> Self {
        Self { probability, times: None }
    }
}

impl Default for Frequency {
    fn default() -> Self {
        Self::ALWAYS
    }
}

/// What becomes of an event on its way to the trigger's receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventFault {
    /// It is never sent.
    Drop,
    /// It is sent so much later; events after it are not held up.
    Delay {
        /// How much later.
        milliseconds: u64,
    },
    /// It is sent again right after itself.
    Duplicate {
        /// How often more.
        copies: u8,
    },
    /// It is sent after so many later events of its queue, or after `milliseconds` if so many do
    /// not come.
    Reorder {
        /// How many events overtake it.
        behind: u8,
        /// How long it waits for them.
        milliseconds: u64,
    },
}

/// A fault for the events that fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRule {
    /// Only these kinds; empty: all.
    #[serde(default)]
    pub events: Vec<EventKind>,
    /// Only of this device.
    #[serde(default)]
    pub device: Option<DeviceId>,
    /// Only about this interface.
    #[serde(default)]
    pub interface: Option<String>,
    /// How often.
    #[serde(default, flatten)]
    pub frequency: Frequency,
    /// What goes wrong.
    pub fault: EventFault,
}

impl EventRule {
    /// The fault for every event of every device.
    #[must_use]
    pub const fn new(fault: EventFault) -> Self {
        Self {
            events: Vec::new(),
            device: None,
            interface: None,
            frequency: Frequency::ALWAYS,
            fault,
        }
    }

    fn fits(&self, event: &DeviceEvent) -> bool {
        (self.events.is_empty() || self.events.contains(&event.event.kind()))
            && self.device.is_none_or(|device| device == event.device)
            && self.interface.as_ref().is_none_or(|name| event.event.interface() == Some(name))
    }
}

/// An HTTP API of Astarte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Api {
    /// Where a backend sends to devices and reads from them.
    AppEngine,
    /// Where interfaces, triggers and policies are installed.
    RealmManagement,
    /// Where devices get their credentials.
    Pairing,
}

/// What becomes of a request to one of the APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestFault {
    /// It is not performed and answered with this status.
    Status {
        /// From 400 to 599.
        code: u16,
    },
    /// It is performed so much later.
    Delay {
        /// How much later.
        milliseconds: u64,
    },
    /// It is performed, but the answer never comes.
    LoseAnswer,
    /// It is answered with 200, but no message goes to the device.
    LoseMessage,
}

/// A fault for the requests that fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRule {
    /// Only of this API.
    #[serde(default)]
    pub api: Option<Api>,
    /// Only with this method, such as `POST`.
    #[serde(default)]
    pub method: Option<String>,
    /// Only when the path after the realm contains this.
    #[serde(default)]
    pub path_contains: Option<String>,
    /// Only when the body contains this: the name of what is to be installed, say.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// How often.
    #[serde(default, flatten)]
    pub frequency: Frequency,
    /// What goes wrong.
    pub fault: RequestFault,
}

impl RequestRule {
    /// The fault for every request.
    #[must_use]
    pub const fn new(fault: RequestFault) -> Self {
        Self {
            api: None,
            method: None,
            path_contains: None,
            body_contains: None,
            frequency: Frequency::ALWAYS,
            fault,
        }
    }

    fn fits(&self, api: Api, method: &str, path: &str, body: &[u8]) -> bool {
        self.api.is_none_or(|wanted| wanted == api)
            && self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path_contains.as_ref().is_none_or(|part| path.contains(part.as_str()))
            && self
                .body_contains
                .as_ref()
                .is_none_or(|part| String::from_utf8_lossy(body).contains(part.as_str()))
    }
}

/// A rule cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Give a probability from 0 to 1.
    #[error("the probability {0} is not from 0 to 1")]
    Probability(f64),
    /// Give a status of an error.
    #[error("the status {0} is not from 400 to 599")]
    Status(u16),
    /// Clear the rules that are no longer needed.
    #[error("there are {RULES_MAX} rules already: clear them first")]
    TooMany,
}

/// The rules in force, and how often something was made to go wrong.
pub(crate) struct Faults {
    state: Mutex<State>,
    pub(crate) hooks: HookCounters,
}

struct State {
    random: fastrand::Rng,
    events: Vec<Counted<EventRule>>,
    requests: Vec<Counted<RequestRule>>,
}

struct Counted<T> {
    rule: T,
    applied: u32,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let state = Mutex::new(State { random, events: Vec::new(), requests: Vec::new() });
        Self { state, hooks: HookCounters::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A rule that panicked half way cannot have left anything behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seed(&self, seed: u64) {
        self.lock().random = fastrand::Rng::with_seed(seed);
    }

    pub(crate) fn add_event_rule(&self, rule: EventRule) -> Result<(), RuleError> {
        check_probability(rule.frequency)?;
        let mut state = self.lock();
        if state.events.len() >= RULES_MAX {
            return Err(RuleError::TooMany);
        }
        state.events.push(Counted { rule, applied: 0 });
        Ok(())
    }

    pub(crate) fn add_request_rule(&self, rule: RequestRule) -> Result<(), RuleError> {
        check_probability(rule.frequency)?;
        if let RequestFault::Status { code } = rule.fault
            && !(400..=599).contains(&code)
        {
            return Err(RuleError::Status(code));
        }
        let mut state = self.lock();
        if state.requests.len() >= RULES_MAX {
            return Err(RuleError::TooMany);
        }
        state.requests.push(Counted { rule, applied: 0 });
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.events.clear();
        state.requests.clear();
    }

    /// What becomes of the event: the first rule that fits and strikes.
    pub(crate) fn on_event(&self, event: &DeviceEvent) -> Option<EventFault> {
        let State { random, events, .. } = &mut *self.lock();
        let struck = events.iter_mut().find_map(|counted| {
            (counted.rule.fits(event)
                && strikes(random, counted.rule.frequency, &mut counted.applied))
            .then_some(counted.rule.fault)
        });
        struck.inspect(|fault| self.hooks.used(*fault))
    }

    /// What becomes of the request: the first rule that fits and strikes.
    pub(crate) fn on_request(
        &self,
        api: Api,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Option<RequestFault> {
        let State { random, requests, .. } = &mut *self.lock();
        let struck = requests.iter_mut().find_map(|counted| {
            (counted.rule.fits(api, method, path, body)
                && strikes(random, counted.rule.frequency, &mut counted.applied))
            .then_some(counted.rule.fault)
        });
        struck.inspect(|fault| self.hooks.used(*fault))
    }
}

fn check_probability(frequency: Frequency) -> Result<(), RuleError> {
    let probability = frequency.probability;
    if (0.0..=1.0).contains(&probability) {
        Ok(())
    } else {
        Err(RuleError::Probability(probability))
    }
}

fn strikes(random: &mut fastrand::Rng, frequency: Frequency, applied: &mut u32) -> bool {
    if frequency.times.is_some_and(|times| *applied >= times) {
        return false;
    }
    // Drawn even when it is certain, so that the draws of other rules do not depend on it.
    let strikes = random.f64() < frequency.probability;
    *applied += u32::from(strikes);
    strikes
}

/// The length of a delay, which input from outside gives: at most an hour.
pub(crate) fn delay(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.min(3_600_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::at_millis;
    use crate::event::Event;

    fn event(device: u8) -> DeviceEvent {
        DeviceEvent {
            device: DeviceId::from_bytes([device; 16]),
            timestamp: at_millis(0),
            event: Event::DeviceDisconnected,
        }
    }

    #[test]
    fn the_same_seed_strikes_the_same_candidates() {
        let struck = |seed| -> Vec<bool> {
            let faults = Faults::new(seed);
            let mut rule = EventRule::new(EventFault::Drop);
            rule.frequency = Frequency::probability(0.5);
            faults.add_event_rule(rule).expect("a rule");
            (0..64).map(|_| faults.on_event(&event(1)).is_some()).collect()
        };
        assert_eq!(struck(1), struck(1));
        assert_ne!(struck(1), struck(2));
    }

    #[test]
    fn a_rule_applies_only_to_what_fits_and_only_so_often() {
        let faults = Faults::new(0);
        let mut rule = EventRule::new(EventFault::Duplicate { copies: 1 });
        rule.device = Some(DeviceId::from_bytes([2; 16]));
        rule.events = vec![EventKind::DeviceDisconnected];
        rule.frequency = Frequency::ONCE;
        faults.add_event_rule(rule).expect("a rule");
        assert_eq!(faults.on_event(&event(1)), None);
        assert_eq!(faults.on_event(&event(2)), Some(EventFault::Duplicate { copies: 1 }));
        assert_eq!(faults.on_event(&event(2)), None);
    }

    #[test]
    fn a_request_rule_looks_at_api_method_and_path() {
        let faults = Faults::new(0);
        let rule = RequestRule {
            api: Some(Api::AppEngine),
            method: Some("post".to_owned()),
            path_contains: Some("OTARequest".to_owned()),
            ..RequestRule::new(RequestFault::LoseMessage)
        };
        faults.add_request_rule(rule).expect("a rule");
        let path = "devices/x/interfaces/io.edgehog.devicemanager.OTARequest/request";
        assert_eq!(faults.on_request(Api::AppEngine, "GET", path, b""), None);
        assert_eq!(faults.on_request(Api::Pairing, "POST", path, b""), None);
        assert_eq!(faults.on_request(Api::AppEngine, "POST", "devices", b""), None);
        assert_eq!(
            faults.on_request(Api::AppEngine, "POST", path, b""),
            Some(RequestFault::LoseMessage)
        );
        faults.clear();
        assert_eq!(faults.on_request(Api::AppEngine, "POST", path, b""), None);
        let rule = RequestRule {
            body_contains: Some("the second".to_owned()),
            ..RequestRule::new(RequestFault::Status { code: 422 })
        };
        faults.add_request_rule(rule).expect("a rule");
        let post = |body: &str| {
            faults.on_request(Api::RealmManagement, "POST", "triggers", body.as_bytes())
        };
        assert_eq!(post("the first"), None);
        assert_eq!(post("the second"), Some(RequestFault::Status { code: 422 }));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let faults = Faults::new(0);
        let mut rule = EventRule::new(EventFault::Drop);
        rule.frequency = Frequency::probability(f64::NAN);
        assert!(matches!(faults.add_event_rule(rule), Err(RuleError::Probability(_))));
        let rule = RequestRule::new(RequestFault::Status { code: 200 });
        assert_eq!(faults.add_request_rule(rule), Err(RuleError::Status(200)));
    }

    #[test]
    fn rules_are_read_from_json() {
        let rule: EventRule = serde_json::from_str(
            r#"{"events": ["incoming_data"], "probability": 0.5, "fault": {"delay": {"milliseconds": 20}}}"#,
        )
        .expect("a rule");
        assert_eq!(rule.fault, EventFault::Delay { milliseconds: 20 });
        assert_eq!(rule.frequency, Frequency::probability(0.5));
        let rule: RequestRule = serde_json::from_str(
            r#"{"api": "app_engine", "times": 2, "fault": {"status": {"code": 503}}}"#,
        )
        .expect("a rule");
        assert_eq!(rule.frequency, Frequency { probability: 1.0, times: Some(2) });
    }
}
