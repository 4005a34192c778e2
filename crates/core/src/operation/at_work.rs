//! One operation at work, the same for campaigns and manual OTA updates: resends and time-outs (D8,
//! D9), what its device shows (D12) and may have forgotten (D24), its Cancel (D17), what the transport
//! says to it (D10), and what leaves again after a restart (E4).
//!
//! What it is told leads to a [`Fact`], which its owner records as an event of its own and acts upon.
//! It knows of no targets or slots, and records and sends nothing itself. All of [`AtWork`] is
//! volatile (E7).

use std::time::Duration;

use super::timer::{Timer, Timers};
use super::{Cancellation, Heard, Operation, OperationReport, Phase, Verdict};
use crate::answer::{ReadPurpose, RequestAnswer};
use crate::question::Question;
use crate::rollout::OperationLimits;
use crate::time::Timestamp;

/// How long a base image must have been shown before it is believed (D12): an old value can come
/// first after a connection.
pub const SETTLING: Duration = Duration::from_secs(10);

/// After a restart nothing leaves in the very instant of the crash: a request whose answer was lost
/// with it may have left just then.
pub(crate) const AFTER_RESTART: Duration = Duration::from_millis(500);

/// What is known of an operation and its device beyond what is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtWork {
    /// A read of the base image under way.
    pub(crate) reading: Option<(ReadPurpose, Question)>,
    /// An Update call under way.
    pub(crate) calling: Option<Question>,
    /// A Cancel call under way.
    pub(crate) cancelling: Option<Question>,
    /// What is due when.
    pub(crate) timers: Timers,
    /// Whether the device connected while its operation was in progress, and has neither settled nor
    /// reported since (D24).
    pub(crate) returned: bool,
    /// What was heard of the present phase, recorded or not (D9, D11).
    pub(crate) heard: Option<Heard>,
    /// Attempts that failed in a row, for growing delays.
    pub(crate) failures: u8,
}

/// Whether the device is there, as far as was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is connected.
    Online,
    /// It is not.
    Offline,
    /// Nobody has told yet: it is tried.
    Unknown,
}

/// What an operation is judged by, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) limits: &'a OperationLimits,
    pub(crate) reach: Reach,
    pub(crate) now: Timestamp,
}

/// What was read of the base image.
#[derive(Clone, Copy)]
pub(crate) struct Looked<'a> {
    /// The version that the device shows, if any.
    pub(crate) version: Result<Option<&'a str>, Unreadable>,
    /// Whether that is the operation's.
    pub(crate) is_shown: bool,
    /// Whether another one after a reboot means that the device was rolled back (D12).
    pub(crate) tells_roll_back: bool,
}

/// The base image could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// A Cancel request that the transport has taken, or refused for good (D17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelAnswered {
    /// What it said, if it refused.
    pub(crate) refused: Option<String>,
}

/// A connection of the device.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// Since when, by the platform's clock.
    pub(crate) since: Timestamp,
    /// Whether the state knows already who is online: before that nothing leaves at once.
    pub(crate) recovered: bool,
    /// Whether the device may have lost its power since it was seen last (D24).
    pub(crate) may_forget: bool,
}

/// What has become of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Its device shows the image (D12).
    Confirmed,
    /// Its device is back for long enough, and shows another image (D12).
    RolledBack {
        /// What it shows.
        version: Option<String>,
    },
    /// Its device has gone silent (D9).
    Stalled,
    /// Its request was never answered by a report (D8).
    RequestTimeout,
    /// The request leaves again, and uses up a retry (D8, D24).
    Resend,
    /// A resend is due, and the device is offline (D8).
    ResendWhileOffline,
    /// The request leaves again, as the call before may not have left (E4).
    Reissue,
}

/// What the transport said to an Update request (D10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It has taken the request.
    Accepted,
    /// It refuses for good what no earlier call can have brought to the device.
    Refused {
        /// What it said.
        detail: String,
    },
    /// The call failed.
    Failed {
        /// What the transport said.
        detail: String,
        /// Whether nothing but this call can have reached the device: the attempt may be made anew.
        is_only: bool,
    },
}

impl AtWork {
    /// The device connected, or is found to be connected. While it waits for a slot (`is_in_progress`
    /// is false) only a reboot is counted (D10).
    pub(crate) fn connected(
        &mut self,
        situation: Situation<'_>,
        is_in_progress: bool,
        connection: Connection,
    ) {
        let Situation { operation, limits, now, .. } = situation;
        if is_in_progress {
            self.timers.set(Timer::Settled, connection.settled_at(now));
            if connection.may_forget {
                self.returned = operation.may_be_forgotten();
                self.timers.stop(Timer::Forgotten);
            }
        }
        if operation.phase == Phase::Rebooting {
            self.timers.set(Timer::Reboot, now + limits.reboot_timeout);
        }
    }

    /// The device went away: nothing is concluded from how long it has been back.
    pub(crate) fn disconnected(&mut self) {
        self.timers.stop(Timer::Reboot);
        self.timers.stop(Timer::Forgotten);
        self.returned = false;
    }

    /// What a report leads to (D11). What it tells of the device beside that is kept.
    pub(crate) fn reported(
        &mut self,
        situation: Situation<'_>,
        report: &OperationReport,
    ) -> Verdict {
        let Situation { operation, limits, now, .. } = situation;
        if operation.is_sign_of_life(report, self.heard) {
            // A device that goes on reporting has forgotten nothing (D24).
            self.returned = false;
            self.timers.stop(Timer::Forgotten);
        }
        let verdict = operation.judge(report, self.heard, now, limits);
        match verdict {
            Verdict::Unchanged => {}
            Verdict::TooSoon => self.heard = Some(operation.heard(report, self.heard)),
            _ => {
                self.heard = operation.heard_on(report, self.heard);
                // A device that went on after a reboot is not judged by that one any more (D12).
                if verdict != Verdict::Now(Phase::Rebooting) {
                    self.timers.stop(Timer::Reboot);
                }
            }
        }
        verdict
    }

    /// The base image was read for the operation (D8, D9, D12, D24).
    pub(crate) fn looked(
        &mut self,
        situation: Situation<'_>,
        purpose: ReadPurpose,
        looked: Looked<'_>,
    ) -> Option<Fact> {
        let Situation { operation, limits, now, .. } = situation;
        if looked.is_shown {
            return Some(Fact::Confirmed);
        }
        match (purpose, looked.version) {
            (ReadPurpose::Deadline, version) => {
                // A report may have come while the base image was read.
                operation.deadline.filter(|deadline| *deadline <= now)?;
                if !self.is_owed(situation) {
                    return Some(at_deadline(operation, limits, situation.reach));
                }
                // The engine was down for so long: no time-out of a request that never left.
                if version.is_err() {
                    self.timers.set(Timer::Deadline, now + SETTLING);
                }
                version.ok().map(|_| Fact::Reissue)
            }
            (ReadPurpose::RebootTimeout, Ok(version)) => {
                // Judged once: a device that went on meanwhile is not looked at again and again.
                let is_due = self.timers.stop_if_due(Timer::Reboot, now);
                let is_back = is_due && operation.phase == Phase::Rebooting;
                let version = || version.map(|text| text.chars().take(256).collect());
                (is_back && looked.tells_roll_back).then(|| Fact::RolledBack { version: version() })
            }
            (ReadPurpose::RebootTimeout, Err(Unreadable)) => {
                // One that came back once more meanwhile has its whole time (D12).
                self.timers.put_off(Timer::Reboot, now + SETTLING);
                None
            }
            (ReadPurpose::Forgotten, version) => self.forgotten(situation, version.is_ok()),
            (_, Ok(_)) => {
                // Not if it has connected again since this was asked.
                let is_settled = self.timers.get(Timer::Settled).is_none();
                if is_settled && std::mem::take(&mut self.returned) {
                    if operation.may_be_forgotten() {
                        self.timers.set(Timer::Forgotten, now + limits.request_timeout);
                    } else {
                        self.timers.stop(Timer::Forgotten);
                    }
                }
                self.is_owed(situation).then_some(Fact::Reissue)
            }
            (_, Err(Unreadable)) => {
                self.timers.set(Timer::Settled, now + SETTLING);
                None
            }
        }
    }

    /// A device that came back has reported nothing for a while, and does not show the image: unless
    /// it could not be read, it is asked again (D24).
    fn forgotten(&mut self, situation: Situation<'_>, was_read: bool) -> Option<Fact> {
        let Situation { operation, limits, now, reach } = situation;
        if !was_read {
            self.timers.put_off(Timer::Forgotten, now + SETTLING);
            return None;
        }
        // A report may have come while the base image was read, or it has gone again.
        let is_due = self.timers.stop_if_due(Timer::Forgotten, now);
        let is_free = self.calling.is_none() && reach == Reach::Online;
        let left = operation.resends < limits.request_retries && operation.may_be_forgotten();
        (is_due && is_free && left).then_some(Fact::Resend)
    }

    /// Whether its request may never have left before a restart, and can leave now (E4).
    fn is_owed(&self, situation: Situation<'_>) -> bool {
        situation.operation.may_not_have_left()
            && !situation.operation.kept_back
            && self.calling.is_none()
            && situation.reach == Reach::Online
    }

    /// The transport answered a Cancel request (D17). `None`: it is sent again after the delay for so
    /// many failures.
    pub(crate) fn cancel_answered(
        &mut self,
        answer: &RequestAnswer,
        now: Timestamp,
        delay: impl FnOnce(u8) -> Duration,
    ) -> Option<CancelAnswered> {
        match answer {
            RequestAnswer::Temporary(_) => {
                self.timers.set(Timer::Cancel, now + delay(self.failures));
                self.failures = self.failures.saturating_add(1);
                None
            }
            RequestAnswer::Accepted => Some(CancelAnswered { refused: None }),
            RequestAnswer::Permanent(error) => {
                Some(CancelAnswered { refused: Some(error.short()) })
            }
        }
    }
}

impl Connection {
    /// When what the device shows will have settled. The stamp is of another clock, which may be
    /// ahead of this one.
    pub(crate) fn settled_at(self, now: Timestamp) -> Timestamp {
        let earliest = if self.recovered { now } else { now + AFTER_RESTART };
        (self.since.min(now) + SETTLING).max(earliest)
    }
}

/// What follows at an operation's deadline, once its device was read and does not show the image (D8,
/// D9).
pub(crate) fn at_deadline(operation: &Operation, limits: &OperationLimits, reach: Reach) -> Fact {
    // Once a Cancel is recorded, the Update is never sent again (D17).
    let is_cancelled = operation.cancellation != Cancellation::NotWanted;
    if operation.is_reported() {
        Fact::Stalled
    } else if is_cancelled || operation.resends >= limits.request_retries {
        Fact::RequestTimeout
    } else if reach == Reach::Offline {
        Fact::ResendWhileOffline
    } else {
        Fact::Resend
    }
}

/// What the transport said to the latest call of an operation (D10).
pub(crate) fn request_answered(operation: &Operation, answer: &RequestAnswer) -> Answered {
    // The first request is one of which no earlier call can have been accepted. A report proves
    // that one was.
    let is_only_request = operation.resends == 0 && !operation.is_reported();
    let is_first = is_only_request && !operation.reissued;
    match answer {
        RequestAnswer::Accepted => Answered::Accepted,
        RequestAnswer::Permanent(error) if is_first => Answered::Refused { detail: error.short() },
        // The one before a restart may have left, and failed for all that is known: an outage fails
        // nothing. If it arrived its device will say so, unless it is to be told to stop.
        RequestAnswer::Temporary(error) => Answered::Failed {
            detail: error.short(),
            is_only: is_first
                || is_only_request && operation.cancellation == Cancellation::NotWanted,
        },
        RequestAnswer::Permanent(error) => {
            Answered::Failed { detail: error.short(), is_only: false }
        }
    }
}
