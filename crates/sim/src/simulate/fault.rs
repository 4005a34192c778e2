//! What can go wrong in a simulation: one name for each fault, and the dice that decide when it
//! happens. Every fault is counted as it is injected, so that a run can be repeated with only the
//! first so many of them.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// How the rate of a fault is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of a thousand messages, calls, appends or devices, as the fault's description says.
    PerMille,
    /// Of a thousand virtual minutes.
    PerMilleOfMinutes,
}

macro_rules! faults {
    ($( $name:ident = $key:literal, $unit:ident, $text:literal; )*) => {
        /// A fault that a simulation injects.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum FaultKind {
            $( #[doc = $text] $name ),*
        }

        impl FaultKind {
            /// All kinds, in the order of this file.
            pub const ALL: &[Self] = &[ $( Self::$name ),* ];

            /// The name, as a profile writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $key ),* }
            }

            /// How its rate is meant.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $( Self::$name => Unit::$unit ),* }
            }

            /// What happens, and of what the rate speaks.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $( Self::$name => $text ),* }
            }
        }
    };
}

faults! {
    MessageLost = "message_lost", PerMille,
        "A report or a notice of a new base image is lost. Of the messages of devices.";
    MessageDelayed = "message_delayed", PerMille,
        "It arrives up to five minutes late. Of the messages of devices.";
    MessageReordered = "message_reordered", PerMille,
        "It is overtaken by what comes within two seconds. Of the messages of devices.";
    MessageDuplicated = "message_duplicated", PerMille,
        "It arrives twice. Of the messages of devices.";
    NoticeLost = "notice_lost", PerMille,
        "Nobody is told that a device connected or disconnected. Of the notices.";
    NoticeDelayed = "notice_delayed", PerMille,
        "A notice arrives up to a minute late, perhaps after newer ones. Of the notices.";
    RequestLost = "request_lost", PerMille,
        "An accepted request never reaches the device. Of the requests.";
    RequestDelayed = "request_delayed", PerMille,
        "It reaches the device up to two minutes late. Of the requests.";
    RequestDuplicated = "request_duplicated", PerMille,
        "It reaches the device twice. Of the requests.";
    ServerError = "server_error", PerMille,
        "The platform answers 500, 502, 503, 408, 429, 401 or 403. Of the calls.";
    ClientError = "client_error", PerMille,
        "The platform refuses a request for good, with 400, 409 or 422. Of the requests.";
    AnswerLost = "answer_lost", PerMille,
        "A request is delivered and answered with an error all the same. Of the requests.";
    CallTimesOut = "call_times_out", PerMille,
        "A call is never answered; a request may have been delivered. Of the calls.";
    CallSlow = "call_slow", PerMille,
        "A call is answered after up to 15 seconds. Of the calls.";
    TransportSlow = "transport_slow", PerMilleOfMinutes,
        "The platform takes up to 15 seconds for each call, for up to three minutes; appends may fail in the middle of that.";
    TransportDown = "transport_down", PerMilleOfMinutes,
        "The platform cannot be reached for one to ten minutes.";
    DirectoryFails = "directory_fails", PerMille,
        "The directory of devices fails. Of its calls.";
    DirectorySlow = "directory_slow", PerMille,
        "The directory answers in pages within up to 22 seconds, each as of its own moment. Of its calls.";
    DirectoryShuffles = "directory_shuffles", PerMille,
        "The directory names targets in another order than before, some of them twice. Of its answers.";
    PowerLoss = "power_loss", PerMilleOfMinutes,
        "A device loses its power, in whatever phase it is, for up to ten minutes.";
    NetworkLoss = "network_loss", PerMilleOfMinutes,
        "A device loses its network for up to five minutes.";
    PresenceFlaps = "presence_flaps", PerMilleOfMinutes,
        "A device disconnects and connects three times within seconds.";
    DeviceRemoved = "device_removed", PerMilleOfMinutes,
        "A device is removed from the platform.";
    ClockWrong = "clock_wrong", PerMille,
        "The clock of a device is up to ten years off. Of the devices.";
    ClockJumps = "clock_jumps", PerMilleOfMinutes,
        "The clock of a device jumps, by up to a day or by years.";
    ClockPutBack = "clock_put_back", PerMilleOfMinutes,
        "The clock of a device is put back by up to an hour in the middle of an update.";
    StaleVersion = "stale_version", PerMille,
        "A device that is back with another base image shows the former one for up to eight seconds more. Of the base images that are shown.";
    DeviceBusy = "device_busy", PerMilleOfMinutes,
        "A device is busy with something else for up to twenty minutes, and turns requests away.";
    StoredReports = "stored_reports", PerMilleOfMinutes,
        "What the platform has stored of a device's latest reports is told, the lost ones for the first time.";
    Liar = "liar", PerMille,
        "A device's software is broken: some of its reports are lies. Of the devices.";
    LieSuccess = "lie_success", PerMille,
        "A report says Success, whatever the device runs. Of the reports of liars.";
    LieForeign = "lie_foreign", PerMille,
        "A device reports the end of another device's operation, or of one of another tenant. Of the reports of liars.";
    LieBackwards = "lie_backwards", PerMille,
        "A report is followed by one of an earlier phase with less progress. Of the reports of liars.";
    LieCode = "lie_code", PerMille,
        "A report carries a code that there is not, or megabytes of message. Of the reports of liars.";
    OperatorPauses = "operator_pauses", PerMilleOfMinutes,
        "Somebody pauses a campaign, and mostly somebody resumes one within half a minute.";
    OperatorResumes = "operator_resumes", PerMilleOfMinutes,
        "Somebody resumes a campaign.";
    OperatorCancels = "operator_cancels", PerMilleOfMinutes,
        "Somebody cancels a campaign, with or without stopping what runs.";
    OperatorEdits = "operator_edits", PerMilleOfMinutes,
        "Somebody edits the limits of a campaign, or all of one that is scheduled.";
    OperatorCreates = "operator_creates", PerMilleOfMinutes,
        "Somebody creates another campaign, which may supersede an older one.";
    OperatorStartsManual = "operator_starts_manual", PerMilleOfMinutes,
        "Somebody starts a manual update of a device.";
    OperatorCancelsManual = "operator_cancels_manual", PerMilleOfMinutes,
        "Somebody cancels a manual update.";
    EngineKilled = "engine_killed", PerMilleOfMinutes,
        "The engine is killed between two steps, and started again within two minutes, or within two seconds.";
    KilledAfterCommand = "killed_after_command", PerMille,
        "The engine is killed when what a person asked for is written, and nothing of it has left. Of what people ask for.";
    EngineKilledAtCall = "engine_killed_at_call", PerMille,
        "The engine is killed just before or just after a call. Of the calls.";
    SecondEngine = "second_engine", PerMilleOfMinutes,
        "A second engine runs on the same store for up to ten minutes.";
    EngineClockSteps = "engine_clock_steps", PerMilleOfMinutes,
        "The wall clock of the engine is put forward, by up to an hour.";
    EngineClockSetBack = "engine_clock_set_back", PerMilleOfMinutes,
        "It is put back, by up to a day; the monotonic clock goes on.";
    SecondTenant = "second_tenant", PerMille,
        "A second tenant has devices, campaigns and manual updates with the same ids. Of the runs.";
    SmallChunks = "small_chunks", PerMille,
        "Snapshots are recorded and presence is looked up for three devices at a time. Of the runs.";
    DeviceClaimed = "device_claimed", PerMilleOfMinutes,
        "Another program has claims to some devices for up to two minutes.";
    AppendFails = "append_fails", PerMille,
        "The store fails an append before anything is written. Of the appends.";
    AppendAnswerLost = "append_answer_lost", PerMille,
        "The store writes an append and answers with an error. Of the appends.";
    AppendKills = "append_kills", PerMille,
        "The engine is killed during an append, which may have been written. Of the appends.";
    AppendSlow = "append_slow", PerMille,
        "An append takes up to 20 seconds. Of the appends.";
    AppendAnsweredLate = "append_answered_late", PerMille,
        "The store writes an append and answers up to 20 seconds later. Of the appends.";
    ReadFails = "read_fails", PerMille,
        "The store fails to read. Of its reads.";
    ReadSlow = "read_slow", PerMille,
        "A read takes up to 20 seconds, and tells what was there when it began. Of the reads.";
    StoreDown = "store_down", PerMilleOfMinutes,
        "The store fails all calls for up to two minutes, also those that are under way.";
    StoreHeld = "store_held", PerMilleOfMinutes,
        "Another program holds the store for up to a minute: calls wait five seconds for it and fail. Also of the starts.";
    OwnUrls = "own_urls", PerMille,
        "Each operation of a campaign gets a URL of its own, which is asked for when it starts. Of the runs.";
    UrlFails = "url_fails", PerMille,
        "The URL of an operation cannot be had. Of the URLs.";
    AsksUsers = "asks_users", PerMille,
        "The users of a campaign's devices are asked for their consent; some agree, some decline, some change their minds or say nothing. Of the campaigns.";
}

/// The number of kinds.
pub(super) const KINDS: usize = FaultKind::ALL.len();

/// A number for each kind of fault.
pub(super) type PerKind<T> = [T; KINDS];

/// The dice: whether a fault happens, drawn from the seed.
pub(super) struct Faults {
    rates: PerKind<u16>,
    random: Random,
    injected: PerKind<u64>,
    total: u64,
    /// After so many faults there are no more.
    stop_after: Option<u64>,
    /// The time of faults is over.
    over: bool,
}

impl Faults {
    pub(super) fn new(rates: PerKind<u16>, random: Random, stop_after: Option<u64>) -> Self {
        Self { rates, random, injected: [0; KINDS], total: 0, stop_after, over: false }
    }

    /// Whether a fault of this kind happens now. It draws in every case, so that stopping the
    /// faults shifts nothing before.
    pub(super) fn happens(&mut self, kind: FaultKind) -> bool {
        let rate = self.rates[kind as usize];
        rate > 0 && self.random.chance(rate) && self.inject(kind)
    }

    /// Counts a fault, unless there are to be no more.
    pub(super) fn inject(&mut self, kind: FaultKind) -> bool {
        if !self.are_on() {
            return false;
        }
        self.injected[kind as usize] += 1;
        self.total += 1;
        true
    }

    pub(super) fn are_on(&self) -> bool {
        !self.over && self.stop_after.is_none_or(|most| self.total < most)
    }

    pub(super) fn end(&mut self) {
        self.over = true;
    }

    pub(super) fn rate(&self, kind: FaultKind) -> u16 {
        self.rates[kind as usize]
    }

    /// What faults are made of: how long, which device.
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn injected(&self) -> &PerKind<u64> {
        &self.injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_profile_are_those_of_serde_and_all_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in FaultKind::ALL {
            let written = serde_json::to_string(kind).unwrap();
            assert_eq!(written, format!("{:?}", kind.name()));
            assert!(seen.insert(kind.name()));
        }
    }

    #[test]
    fn after_the_last_allowed_fault_nothing_happens_and_nothing_before_it_is_shifted() {
        let run = |stop_after| {
            let mut faults = Faults::new([500; KINDS], Random::new(3), stop_after);
            (0..100).map(|_| faults.happens(FaultKind::MessageLost)).collect::<Vec<_>>()
        };
        let (all, five) = (run(None), run(Some(5)));
        assert_eq!(five.iter().filter(|happened| **happened).count(), 5);
        let last = five.iter().rposition(|happened| *happened).unwrap();
        assert_eq!(all[..=last], five[..=last]);
    }
}
