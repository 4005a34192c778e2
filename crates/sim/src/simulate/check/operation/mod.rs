//! One operation, as naive bookkeeping sees it: what was recorded of it, what left for the device,
//! what the device said (D8, D9, D11, D17, E4). Campaigns and manual updates share it. What is recorded
//! is here, what happens in the world in `world`.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::OperationFailure;
use hedgerow_core::{
    DeviceId, OperationId, OperationLimits, Phase, ReportStatus, RequestAnswer, StatusCode,
    StreamId, Timestamp,
};

use super::facts::Read;
use super::gate;
use crate::simulate::invariant::{Broken, Checked, Invariant, ensure};

/// Longer than this a stream that has settled may not stay in memory, with what is remembered of
/// late reports.
const LATE_AGAIN: Duration = Duration::from_secs(60);

/// What the transport said to a call, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Accepted,
    Temporary,
    Permanent,
    /// Nothing, for longer than the engine waits, or the engine died meanwhile.
    Nothing,
}

impl Said {
    pub(crate) fn of(answer: &RequestAnswer) -> Self {
        match answer {
            RequestAnswer::Accepted => Self::Accepted,
            RequestAnswer::Temporary(_) => Self::Temporary,
            RequestAnswer::Permanent(_) => Self::Permanent,
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Op {
    pub(super) device: DeviceId,
    pub(super) stream: StreamId,
    /// The base image that it installs, if outcomes can be inferred from what the device shows.
    pub(super) image: Option<String>,
    /// Whether the transport's temporary errors count as nothing (D10): in campaigns only.
    pub(super) forgives_outages: bool,
    url: String,
    /// When the latest request may be sent again or given up.
    deadline: Option<Timestamp>,
    /// When the latest request was decided, until it leaves.
    decided_at: Option<Timestamp>,
    /// Requests that were decided, and those that were seen to leave.
    decided: u32,
    left: u32,
    /// Calls that have come to an end; the clock can step while one is under way.
    answers: u32,
    /// How many requests were sent, as D11 counts them.
    sends: u32,
    resends: u16,
    phase: Phase,
    progress: u8,
    newest_stamp: Option<Timestamp>,
    /// The newest stamp of all that its device was heard to say in the present phase.
    heard_stamp: Option<Timestamp>,
    /// The newest stamp that was told of each status, whatever the phase was then.
    heard: BTreeMap<u16, Option<Timestamp>>,
    /// What was told as it was said, and not fetched later: phase, progress and stamp.
    live: BTreeSet<(u8, u8, Option<Timestamp>)>,
    /// Something else than what is recorded was said since: what repeats the record is no duplicate
    /// of the latest then.
    heard_other: bool,
    reported_at: Option<Timestamp>,
    stalls_at: Option<Timestamp>,
    /// When a Cancel was recorded, whether one left, and whether its answer is recorded.
    cancel_wanted_at: Option<Timestamp>,
    cancel_left: bool,
    cancel_answered: bool,
    /// Its resend waits for its device (D8).
    kept_back: bool,
    /// When it was sent again after a report, how often, and when its device last said anything that
    /// was no repetition (D24).
    asked_again_at: Option<Timestamp>,
    asked_again: u32,
    alive_at: Option<Timestamp>,
    /// When its target, which had been idle, was put in progress again.
    readmitted_at: Option<Timestamp>,
    /// A call was accepted, refused for good, or left without an answer.
    accepted: bool,
    refused: bool,
    unanswered: bool,
    /// What the engine was told by the device: a bit for each status.
    told: u16,
    told_busy: bool,
    /// Only its log is known: what a device showed is as the log says.
    unwitnessed: bool,
    pub(super) ended_at: Option<Timestamp>,
    /// Its device was busy with another one (D14).
    pub(super) turned_away: bool,
    /// How many events speak of it.
    pub(super) events: u32,
    pub(super) late: u32,
    /// When each status was last recorded as late.
    late_at: BTreeMap<u16, Timestamp>,
    /// Whether its request was sent again after a restart.
    was_reissued: bool,
    /// When its latest request was decided, and how its latest call ended.
    latest_at: Option<Timestamp>,
    latest_said: Option<Said>,
}

impl Op {
    pub(super) fn new(device: DeviceId, stream: StreamId, url: &str) -> Self {
        Self {
            device,
            stream,
            image: None,
            forgives_outages: false,
            url: url.to_owned(),
            deadline: None,
            decided_at: None,
            decided: 0,
            left: 0,
            answers: 0,
            sends: 0,
            resends: 0,
            phase: Phase::Pending,
            progress: 0,
            newest_stamp: None,
            heard_stamp: None,
            heard: BTreeMap::new(),
            live: BTreeSet::new(),
            heard_other: false,
            reported_at: None,
            stalls_at: None,
            cancel_wanted_at: None,
            cancel_left: false,
            cancel_answered: false,
            kept_back: false,
            asked_again_at: None,
            readmitted_at: None,
            asked_again: 0,
            alive_at: None,
            accepted: false,
            refused: false,
            unanswered: false,
            told: 0,
            told_busy: false,
            unwitnessed: false,
            ended_at: None,
            turned_away: false,
            events: 0,
            late: 0,
            late_at: BTreeMap::new(),
            was_reissued: false,
            latest_at: None,
            latest_said: None,
        }
    }

    /// One of which only the log is known: everything may have been answered and told.
    pub(super) fn unwitnessed(mut self) -> Self {
        self.unwitnessed = true;
        (self.accepted, self.refused, self.unanswered) = (true, true, true);
        (self.told, self.told_busy) = (u16::MAX, true);
        self
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    pub(super) fn resends(&self) -> u16 {
        self.resends
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// When the latest request may be sent again or given up.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// When its device last reported.
    pub(super) fn reported_at(&self) -> Option<Timestamp> {
        self.reported_at
    }

    /// When it stalls without another report.
    pub(super) fn stalls_at(&self) -> Option<Timestamp> {
        self.stalls_at
    }

    pub(super) fn is_reported(&self) -> bool {
        self.phase != Phase::Pending
    }

    pub(super) fn is_rebooting(&self) -> bool {
        self.phase == Phase::Rebooting
    }

    // What is recorded.

    /// Another request is to leave.
    fn is_decided(&mut self, at: Timestamp) {
        self.decided += 1;
        self.decided_at = Some(at);
        self.latest_at = Some(at);
        self.sends += 1;
    }

    fn send_decided(&mut self, at: Timestamp, limits: &OperationLimits) {
        self.is_decided(at);
        if !self.is_reported() {
            self.deadline = Some(at + limits.request_timeout);
        }
    }

    pub(super) fn started(
        &mut self,
        url: &str,
        at: Timestamp,
        limits: &OperationLimits,
    ) -> Checked {
        ensure(url == self.url, Invariant::SameRequest, || {
            format!("started again with {url:?}, before with {:?}", self.url)
        })?;
        ensure(!self.is_cancel_wanted(), Invariant::Cancel, || {
            "started again after its Cancel was recorded".to_owned()
        })?;
        ensure(!self.is_reported(), Invariant::Resends, || {
            "started again although its device has reported".to_owned()
        })?;
        self.send_decided(at, limits);
        Ok(())
    }

    fn resend_is_due(&self, at: Timestamp) -> Checked {
        ensure(!self.is_cancel_wanted(), Invariant::Cancel, || {
            "its Update is sent again after its Cancel was recorded".to_owned()
        })?;
        ensure(!self.is_reported(), Invariant::Resends, || {
            format!("sent again although its device has reported {}", self.phase.name())
        })?;
        if self.kept_back {
            return Ok(());
        }
        let due = self.deadline.is_some_and(|deadline| deadline <= at);
        ensure(due, Invariant::Resends, || match self.deadline {
            Some(deadline) => format!("sent again at {at}, before its time-out at {deadline}"),
            None => "sent again while no request is under way".to_owned(),
        })
    }

    pub(super) fn resent(&mut self, at: Timestamp, limits: &OperationLimits) -> Checked {
        self.missed(at, limits)?;
        self.is_decided(at);
        Ok(())
    }

    /// A resend was due and nothing can leave: it counts all the same.
    pub(super) fn missed(&mut self, at: Timestamp, limits: &OperationLimits) -> Checked {
        self.resend_is_due(at)?;
        self.kept_back = false;
        self.resends += 1;
        self.deadline = Some(at + limits.request_timeout);
        ensure(self.resends <= limits.request_retries, Invariant::Resends, || {
            format!("resend {} of at most {}", self.resends, limits.request_retries)
        })
    }

    /// A resend was due and its device is offline: it waits for that.
    pub(super) fn keep_back(&mut self, at: Timestamp, limits: &OperationLimits) -> Checked {
        ensure(!self.kept_back, Invariant::Resends, || "it is kept back already".to_owned())?;
        self.resend_is_due(at)?;
        ensure(self.resends < limits.request_retries, Invariant::Resends, || {
            format!("kept back after {} resends of {}", self.resends, limits.request_retries)
        })?;
        (self.deadline, self.kept_back) = (None, true);
        Ok(())
    }

    pub(super) fn is_kept_back(&self) -> bool {
        self.kept_back
    }

    /// Whether its device can have forgotten it by losing its power (D24).
    pub(super) fn may_be_forgotten(&self) -> bool {
        (1..=4).contains(&rank(self.phase)) && !self.is_cancel_wanted()
    }

    /// Sent again after a report: its device came back, and has said nothing since. `back`: when the
    /// engine was told that it is online.
    pub(super) fn asked_again(
        &mut self,
        back: &[Timestamp],
        at: Timestamp,
        limits: &OperationLimits,
        edited: bool,
    ) -> Checked {
        ensure(self.may_be_forgotten(), Invariant::Forgotten, || {
            format!("sent again although its device has reported {}", self.phase.name())
        })?;
        // The time-out of when it came back counts (D19).
        let waited = edited || back.iter().any(|back| *back + limits.request_timeout <= at);
        ensure(waited || self.unwitnessed, Invariant::Forgotten, || {
            format!("sent again at {at} after a report, its device came back at {back:?}")
        })?;
        self.asked_again += 1;
        let often = usize::try_from(self.asked_again).unwrap_or(usize::MAX) <= back.len();
        ensure(often || self.unwitnessed, Invariant::Forgotten, || {
            format!("sent again {} times after reports, for {back:?}", self.asked_again)
        })?;
        self.resends += 1;
        ensure(self.resends <= limits.request_retries, Invariant::Resends, || {
            format!("resend {} of at most {}", self.resends, limits.request_retries)
        })?;
        self.asked_again_at = Some(at);
        self.is_decided(at);
        Ok(())
    }

    /// Its target, which had been idle, is in progress again (D10).
    pub(super) fn readmitted(&mut self, at: Timestamp) {
        self.readmitted_at = Some(at);
    }

    /// Whether its device should have been asked again: it came back at `back` while its operation
    /// was in progress, and has said nothing since (D24).
    pub(super) fn should_have_been_asked(&self, back: Timestamp, limits: &OperationLimits) -> bool {
        let since = |at: Option<Timestamp>| at.is_some_and(|at| at >= back);
        self.may_be_forgotten()
            && self.resends < limits.request_retries
            && self.reported_at.is_some_and(|at| at < back)
            && !since(self.alive_at)
            && !since(self.asked_again_at)
            && !since(self.readmitted_at)
    }

    /// `disturbed_at`: when the engine was last started or its store in trouble.
    pub(super) fn reissued(
        &mut self,
        at: Timestamp,
        limits: &OperationLimits,
        disturbed_at: Timestamp,
    ) -> Checked {
        let may_be_lost = self.unwitnessed || Some(disturbed_at) >= self.latest_at;
        ensure(may_be_lost, Invariant::Resends, || {
            format!(
                "sent again as after a restart, decided at {:?}, and nothing was in the way since                  {disturbed_at}",
                self.latest_at
            )
        })?;
        ensure(!self.is_cancel_wanted(), Invariant::Cancel, || {
            "its Update is sent again after its Cancel was recorded".to_owned()
        })?;
        let asked_again = self.asked_again_at.is_some_and(|at| Some(at) >= self.reported_at);
        ensure(!self.is_reported() || asked_again, Invariant::Resends, || {
            "sent again after a restart although its device has reported".to_owned()
        })?;
        self.send_decided(at, limits);
        self.was_reissued = true;
        Ok(())
    }

    /// Its first request came to nothing. `alone`: there is no other engine whose call that may be.
    pub(super) fn deferred(&mut self, alone: bool) -> Checked {
        ensure(!self.is_reported(), Invariant::ForwardOnly, || {
            format!("it is deferred although its device has reported {}", self.phase.name())
        })?;
        let failed = matches!(self.latest_said, Some(Said::Temporary | Said::Nothing));
        ensure(failed || !alone || self.unwitnessed, Invariant::Believed, || {
            format!("it is deferred, and its latest call was answered {:?}", self.latest_said)
        })?;
        self.deadline = None;
        Ok(())
    }

    pub(super) fn was_accepted(&self) -> Checked {
        ensure(self.accepted, Invariant::Believed, || {
            "an acceptance is recorded that the platform never gave".to_owned()
        })
    }

    pub(super) fn reported(
        &mut self,
        phase: Phase,
        progress: u8,
        stamp: Option<Timestamp>,
        at: Timestamp,
        limits: &OperationLimits,
    ) -> Checked {
        let said = self.was_told(phase)
            || (phase == Phase::Acknowledged && self.told_busy && self.sends > 1);
        ensure(said, Invariant::Believed, || {
            format!("{} is recorded, and the device never said so", phase.name())
        })?;
        let forward = self.goes_on(phase);
        let same = phase == self.phase;
        ensure(forward || same, Invariant::ForwardOnly, || {
            format!("it goes back from {} to {}", self.phase.name(), phase.name())
        })?;
        let newest = self.newest_stamp.filter(|_| same);
        if same {
            let since = at.since(self.reported_at.unwrap_or(at));
            ensure(since >= recording_interval(limits), Invariant::Stall, || {
                format!(
                    "progress within {} is recorded {since:?} after the last, the interval is {:?}",
                    phase.name(),
                    recording_interval(limits)
                )
            })?;
            let live = self.unwitnessed
                || self.told_busy
                || self.live.contains(&(rank(phase), progress, stamp));
            ensure(live, Invariant::Stall, || {
                format!("{} {progress} % from storage is a sign of life", phase.name())
            })?;
            let newer = stamp.is_some() && stamp > newest;
            let other = progress != self.progress || self.heard_other;
            ensure(other || newer, Invariant::Stall, || {
                format!("a duplicate of {} {progress} % is a sign of life", phase.name())
            })?;
        }
        let decided = !same && phase != Phase::Error && self.phase != Phase::Error;
        let stale = self.is_stale(stamp);
        ensure(!stale || decided, Invariant::ForwardOnly, || {
            format!("a report stamped before the newest one is recorded as {}", phase.name())
        })?;
        self.phase = phase;
        self.progress = progress;
        self.heard_other = false;
        self.newest_stamp = newest.max(stamp);
        self.heard_stamp = self.heard_stamp.filter(|_| same);
        self.reported_at = Some(at);
        self.deadline = None;
        self.kept_back = false;
        self.stalls_at = limits.stall_timeout.map(|stall| at + stall);
        Ok(())
    }

    /// Whether its device stamped it before the newest report recorded in the present phase.
    fn is_stale(&self, stamp: Option<Timestamp>) -> bool {
        stamp.zip(self.newest_stamp).is_some_and(|(stamp, newest)| stamp < newest)
    }

    pub(super) fn refused_by_device(&self) -> Checked {
        ensure(self.told_busy, Invariant::Believed, || {
            "a refusal is recorded that the device never gave".to_owned()
        })?;
        ensure(self.sends <= 1, Invariant::StillRunning, || {
            format!("\"already in progress\" ends an operation that was sent {} times", self.sends)
        })
    }

    pub(super) fn succeeded_by_report(&self) -> Checked {
        ensure(self.was_told(Phase::Success), Invariant::Believed, || {
            "a reported success is recorded, and the device never said so".to_owned()
        })
    }

    /// A success that is inferred from what the device last showed.
    pub(super) fn succeeded_by_image(&self, shown: Option<&str>) -> Checked {
        let image = self.image.as_deref();
        let confirmed = image.is_some_and(|image| self.unwitnessed || gate::shows(shown, image));
        ensure(confirmed, Invariant::Reconciliation, || {
            format!("success is inferred from {shown:?}, the image is {image:?}")
        })
    }

    /// `shown`: what the device last showed the engine. `rollback_from`: before when no roll-back
    /// can be inferred.
    pub(super) fn failed(
        &self,
        reason: &OperationFailure,
        at: Timestamp,
        limits: &OperationLimits,
        shown: &Read,
        rollback_from: Option<Timestamp>,
    ) -> Checked {
        match reason {
            OperationFailure::RequestTimeout => self.timed_out(at, limits),
            OperationFailure::Stalled => {
                ensure(self.is_reported(), Invariant::Stall, || {
                    "it stalls before its first report".to_owned()
                })?;
                let due = self.stalls_at.is_some_and(|due| due <= at);
                ensure(due, Invariant::Stall, || match self.stalls_at {
                    Some(due) => format!("it stalls at {at}, before {due}"),
                    None => "it stalls although the stall time-out is disabled".to_owned(),
                })
            }
            OperationFailure::RequestRejected { .. } => {
                let is_first = self.resends == 0 && !self.was_reissued && !self.is_reported();
                ensure(is_first, Invariant::Resends, || {
                    "an error on a resend ends the operation".to_owned()
                })?;
                ensure(self.refused, Invariant::OutageFailsNothing, || {
                    "it fails as rejected, and the platform never refused it for good".to_owned()
                })
            }
            OperationFailure::Reported {
                code: Some(StatusCode::UpdateAlreadyInProgress), ..
            } => Err((
                Invariant::StillRunning,
                "\"already in progress\" is taken for the end of the update".to_owned(),
            )),
            OperationFailure::Reported { .. } => {
                ensure(self.was_told(Phase::Failure), Invariant::Believed, || {
                    "a reported failure is recorded, and the device never said so".to_owned()
                })
            }
            OperationFailure::SystemRollback { version } => {
                let early = rollback_from.filter(|from| *from > at);
                ensure(early.is_none(), Invariant::Reconciliation, || {
                    format!("a roll-back is inferred at {at}, which cannot be before {early:?}")
                })?;
                let recorded = Ok(version.clone());
                let shown = if self.unwitnessed { &recorded } else { shown };
                let other = shown.as_ref().is_ok_and(|shown| {
                    let shown = shown.as_deref();
                    let cut = shown.map(|text| text.chars().take(256).collect::<String>());
                    let image = self.image.as_deref();
                    cut == *version && image.is_some_and(|image| !gate::shows(shown, image))
                });
                ensure(other && self.is_rebooting(), Invariant::Reconciliation, || {
                    format!(
                        "a roll-back is inferred in phase {} from {version:?}, last shown {shown:?}",
                        self.phase.name()
                    )
                })
            }
            OperationFailure::UpdateAlreadyInProgress => self.refused_by_device(),
            OperationFailure::DeviceRemoved => Ok(()),
        }
    }

    fn timed_out(&self, at: Timestamp, limits: &OperationLimits) -> Checked {
        ensure(!self.is_reported(), Invariant::Resends, || {
            "it times out although its device has reported".to_owned()
        })?;
        let due = self.kept_back || self.deadline.is_some_and(|deadline| deadline <= at);
        ensure(due, Invariant::Resends, || {
            format!("it times out at {at}, its time-out is {:?}", self.deadline)
        })?;
        let spent = self.is_cancel_wanted() || self.resends >= limits.request_retries;
        ensure(spent, Invariant::Resends, || {
            format!("given up after {} resends of {}", self.resends, limits.request_retries)
        })?;
        let heard = self.is_cancel_wanted()
            || self.accepted
            || self.refused
            || self.unanswered
            || self.answers < self.decided;
        ensure(heard || !self.forgives_outages, Invariant::OutageFailsNothing, || {
            format!("all its {} requests met a transport that failed for now", self.left)
        })
    }

    /// A late report is recorded; whether the same one was recorded just before, and since then.
    pub(super) fn reported_late(
        &mut self,
        status: ReportStatus,
        at: Timestamp,
        since: Timestamp,
    ) -> bool {
        self.late += 1;
        let last = self.late_at.insert(status as u16, at);
        last.is_some_and(|last| last > since && at.since(last) < LATE_AGAIN)
    }
}

/// How long after progress was recorded the next may be (D9).
fn recording_interval(limits: &OperationLimits) -> Duration {
    let half = limits.stall_timeout.map_or(Duration::MAX, |stall| stall / 2);
    limits.progress_interval.min(half)
}

/// How far a phase is; an error can come from everywhere, and everything but an acknowledgement
/// after it.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Acknowledged => 1,
        Phase::Downloading => 2,
        Phase::Deploying => 3,
        Phase::Deployed => 4,
        Phase::Rebooting => 5,
        Phase::Error => 6,
        Phase::Success | Phase::Failure => 7,
    }
}

/// A broken rule, with the operation that it is about.
pub(super) fn of(id: OperationId) -> impl Fn(Broken) -> Broken {
    move |(invariant, message)| (invariant, format!("operation {id}: {message}"))
}
