//! What must hold in every run, each with the rule that it follows from.

use hedgerow_core::{DeviceId, StreamId, Timestamp};
use serde::Serialize;

/// What it takes to look at an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// The log of a store tells, as far as it has what a decision was made on.
    Log,
    /// Only whoever sees what leaves, arrives and is acknowledged can tell.
    World,
}

macro_rules! invariants {
    ($( $name:ident = $key:literal, $rule:literal, $evidence:ident, $text:literal; )*) => {
        /// Something that must hold, whatever goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Invariant {
            $( #[doc = $text] $name ),*
        }

        impl Invariant {
            /// All of them, in the order of this file.
            pub const ALL: &[Self] = &[ $( Self::$name ),* ];

            /// The name, in snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $key ),* }
            }

            /// The rule of `docs/rules.md` that it follows from.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $( Self::$name => $rule ),* }
            }

            /// What it takes to look at it.
            #[must_use]
            pub const fn evidence(self) -> Evidence {
                match self { $( Self::$name => Evidence::$evidence ),* }
            }

            /// What must hold.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $( Self::$name => $text ),* }
            }
        }
    };
}

invariants! {
    FixedSnapshot = "fixed_snapshot", "D1", Log,
        "The targets are the devices that the directory named, each once; none is added after the start, and none before the time of a scheduled one.";
    NothingToDo = "nothing_to_do", "D3", Log,
        "A campaign without targets finishes with success, one with fewer than its minimum with failure, in the append that starts it.";
    OnlineFirst = "online_first", "D4", World,
        "No first request goes to a device that the engine knows to be offline.";
    FairOrder = "fair_order", "D4", World,
        "No target's turn comes before that of one that was ready and has waited longer.";
    NoSlotUnused = "no_slot_unused", "D4", World,
        "While a slot is free, a target that is ready gets its turn at once.";
    Gates = "gates", "D5", Log,
        "Each target's turn ends as an independent model of the gates says, on the version read for it.";
    InFlightBound = "in_flight_bound", "D7", Log,
        "No target is put in progress beyond the limit, and what the engine shows is what the log says.";
    Resends = "resends", "D8", Log,
        "A request is sent again when its time-out is over, not before and not much later, at most so often, never after a report unless D24 says so; then it is given up. It is kept back from a device that is known to be offline, and from no other. Beside that it is sent again only after a restart or trouble of the store.";
    SameRequest = "same_request", "D8", World,
        "Every request of an operation carries the same UUID and, byte for byte, the same URL.";
    OwnUrl = "own_url", "D23", World,
        "An operation is recorded with the URL that was last given for it, asked for since the state was loaded, or with none if it is the image's own.";
    Stall = "stall", "D9", Log,
        "An operation stalls when a report is followed by a silence of the stall time-out, not before and not much later; progress is recorded once per interval, which is at most half of the stall time-out, and not if it was only fetched from storage.";
    Forgotten = "forgotten", "D24", World,
        "A device that came back before it was rebooting, and says nothing, is asked again once per connection, after the request time-out and before its operation stalls.";
    Contradiction = "contradiction", "D22", World,
        "What is recorded to contradict an outcome was shown, does contradict it, is the first of its target, and changes nothing; what a device shows when it connects is not missed.";
    OutageFailsNothing = "outage_fails_nothing", "D10", World,
        "A target fails only for something that a device or the platform said or that time took away, never because the transport was down.";
    OutageSlows = "outage_slows", "D10", World,
        "While the transport is known to be down, one target at a time is tried, and each only after a pause.";
    Deferral = "deferral", "D10", Log,
        "A deferred target is not tried again before the time that was recorded, and each further delay is twice as long, up to a limit.";
    ForwardOnly = "forward_only", "D11", Log,
        "An operation moves forward only and ends once; what comes later is recorded as late, and not again and again.";
    Believed = "believed", "D11", World,
        "What is recorded of a report was said by that device about that operation; lies about others' operations are refused.";
    StillRunning = "still_running", "D11", Log,
        "A device that is busy with a request that was sent more than once is at work, not refusing.";
    Reconciliation = "reconciliation", "D12", Log,
        "An outcome is inferred only from the version last read, a roll-back only after the reboot time-out, and a device that shows the image is not asked again; one that is back is looked at once it has settled.";
    FailureLimit = "failure_limit", "D13", Log,
        "A campaign fails in the very append that exceeds its failure limit, and no other does; success needs all targets final.";
    OneOperation = "one_operation", "D14", Log,
        "No device has two active operations, whatever campaigns and manual updates want of it; a target that it turns away is tried so often, not more and not less.";
    RemovedDevice = "removed_device", "D15", World,
        "The target of a removed device ends, and frees its slot.";
    Pause = "pause", "D16", Log,
        "No operation starts after a recorded pause, a pause ends when nothing is in progress, and a campaign goes only to a status that may follow.";
    Consent = "consent", "P15", Log,
        "In an optional rollout no operation starts before its device's user has agreed, or the deadline forces it; answers are recorded until then; at the deadline, once, those without are given up if they are to be, and nobody else.";
    Cancel = "cancel", "D17", Log,
        "No operation starts after the outcome, idle targets are cancelled, operations are stopped only if somebody asked for that, and after a recorded Cancel, which leaves, no Update is sent again.";
    Tenants = "tenants", "D21", World,
        "Tenants with the same devices, campaigns and requests have nothing of each other.";
    StateIsFold = "state_is_fold", "E1", Log,
        "The state that the engine shows is the fold of its log, at every commit, and after every restart.";
    DerivedId = "derived_id", "E3", Log,
        "An operation's id is the UUID derived from campaign, device and series, or from tenant and request.";
    RecordThenAct = "record_then_act", "E4", World,
        "No request leaves before the event that decides it is durable, none twice for one decision, none after the end of its operation; and what is decided leaves.";
    VoidAnswers = "void_answers", "E11", World,
        "Nothing is decided on a version that was asked for before the state was loaded, and no request leaves that was decided before it.";
    Time = "time", "E12", World,
        "The engine's time never goes back while it runs, never goes at less than half speed, and follows a clock that is put forward at once.";
    ExpectedVersion = "expected_version", "E5", Log,
        "Every append continues its stream at the version that it expects.";
    Claims = "claims", "E5", Log,
        "The store's claims are those of the active operations and the running rollouts.";
    Subscribers = "subscribers", "E4", World,
        "What a subscriber is told is durable, of its tenant and as it is recorded; in order, once, and nothing is left out.";
    Rows = "rows", "E1", World,
        "What rows show of campaigns, targets, operations and counts is the fold of the log, after restarts and at the end, however whoever makes them is interrupted.";
    Acknowledged = "acknowledged", "E8", World,
        "What was acknowledged is in the log, a report as far as it says more than the log.";
    NeverUnknown = "never_unknown", "E10", Log,
        "A report about an operation that the log has is never refused as unknown.";
    Checksums = "checksums", "E14", Log,
        "Every event carries the checksum that follows from it and from the event before it in its stream.";
    Liveness = "liveness", "D7 to D17", World,
        "Once faults have stopped and devices are online, every campaign and manual update ends within a bound; a campaign starts when its time has come and nothing is in its way.";
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// The rule that it follows from.
    pub rule: &'static str,
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// The stream that it is about.
    pub stream: Option<StreamId>,
    /// The device that it is about.
    pub device: Option<DeviceId>,
    /// What was seen.
    pub message: String,
}

/// An invariant that did not hold, before it is known where.
pub(super) type Broken = (Invariant, String);
pub(super) type Checked = Result<(), Broken>;

/// Fails with a message that is made only then.
pub(super) fn ensure(
    holds: bool,
    invariant: Invariant,
    message: impl FnOnce() -> String,
) -> Checked {
    if holds { Ok(()) } else { Err((invariant, message())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde_and_all_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for invariant in Invariant::ALL {
            assert_eq!(
                serde_json::to_string(invariant).unwrap(),
                format!("{:?}", invariant.name())
            );
            assert!(seen.insert(invariant.name()));
        }
    }
}
