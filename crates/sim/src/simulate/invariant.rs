//! What must hold in every run, each with the rule that it follows from.

use hedgerow_core::{DeviceId, StreamId, Timestamp};
use serde::Serialize;

macro_rules! invariants {
    ($( $name:ident = $key:literal, $rule:literal, $text:literal; )*) => {
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

            /// What must hold.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $( Self::$name => $text ),* }
            }
        }
    };
}

invariants! {
    FixedSnapshot = "fixed_snapshot", "D1",
        "The targets are the devices that the directory named, each once, and none is added after the start.";
    NothingToDo = "nothing_to_do", "D3",
        "A campaign without targets finishes with success in the append that starts it.";
    OnlineFirst = "online_first", "D4",
        "No first request goes to a device that the engine knows to be offline.";
    FairOrder = "fair_order", "D4",
        "No target's turn comes before that of one that was ready and has waited longer.";
    NoSlotUnused = "no_slot_unused", "D4",
        "While a slot is free, a target that is ready gets its turn at once.";
    Gates = "gates", "D5",
        "Each target's turn ends as an independent model of the gates says, on the version read for it.";
    InFlightBound = "in_flight_bound", "D7",
        "No target is put in progress beyond the limit, and what the engine shows is what the log says.";
    Resends = "resends", "D8",
        "A request is sent again only after its time-out, at most so often, never after a report, and given up not before.";
    SameRequest = "same_request", "D8",
        "Every request of an operation carries the same UUID and, byte for byte, the same URL.";
    Stall = "stall", "D9",
        "An operation stalls only after a report and a silence of the stall time-out; progress is recorded once per interval.";
    OutageFailsNothing = "outage_fails_nothing", "D10",
        "A target fails only for something that a device or the platform said or that time took away, never because the transport was down.";
    Deferral = "deferral", "D10",
        "A deferred target is not tried again before the time that was recorded.";
    ForwardOnly = "forward_only", "D11",
        "An operation moves forward only and ends once; what comes later is recorded as late.";
    Believed = "believed", "D11",
        "What is recorded of a report was said by that device about that operation; lies about others' operations are refused.";
    StillRunning = "still_running", "D11",
        "A device that is busy with a request that was sent more than once is at work, not refusing.";
    Reconciliation = "reconciliation", "D12",
        "An outcome is inferred only from the version last read, and a device that shows the image is not asked again.";
    FailureLimit = "failure_limit", "D13",
        "A campaign fails in the very append that exceeds its failure limit, and no other does; success needs all targets final.";
    OneOperation = "one_operation", "D14",
        "No device has two active operations, whatever campaigns and manual updates want of it.";
    RemovedDevice = "removed_device", "D15",
        "The target of a removed device ends, and frees its slot.";
    Pause = "pause", "D16",
        "No operation starts after a recorded pause, and a pause ends when nothing is in progress.";
    Cancel = "cancel", "D17",
        "No operation starts after the outcome, idle targets are cancelled, and after a recorded Cancel no Update is sent again.";
    StateIsFold = "state_is_fold", "E1",
        "The state that the engine shows is the fold of its log, at every commit, and after every restart.";
    DerivedId = "derived_id", "E3",
        "An operation's id is the UUID derived from campaign, device and series.";
    RecordThenAct = "record_then_act", "E4",
        "No request leaves before the event that decides it is durable, and none twice for one decision.";
    ExpectedVersion = "expected_version", "E5",
        "Every append continues its stream at the version that it expects.";
    Claims = "claims", "E5",
        "The store's claims are those of the active operations and the running rollouts.";
    Acknowledged = "acknowledged", "E8",
        "What was acknowledged is in the log.";
    NeverUnknown = "never_unknown", "E10",
        "A report about an operation that the log has is never refused as unknown.";
    Liveness = "liveness", "D7 to D17",
        "Once faults have stopped and devices are online, every campaign and manual update ends within a bound.";
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
