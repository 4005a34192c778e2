//! What is due when: the named timers of an operation and of the target that it is for, in one table.
//! All of it is volatile (E7).

use super::Operation;
use crate::answer::ReadPurpose;
use crate::time::Timestamp;

/// A timer. Of several that are due at once the one that stands first here fires first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// When the resend of a manual update that was kept back leaves, as the device is back (D8).
    Resend,
    /// When no report came in time (D8), or none for too long (D9). The time is the operation's own
    /// deadline, which is recorded; here stands until when it rests, as the device could not be read.
    Deadline,
    /// When the device will have been back for `reboot_timeout` (D12).
    Reboot,
    /// When what the device shows will have settled (D12).
    Settled,
    /// When the operation is taken for forgotten, if its device reports nothing until then (D24).
    Forgotten,
    /// When a Cancel request that failed is sent again (D17).
    Cancel,
    /// When the device of a final target is looked at (D22).
    Look,
    /// When a target may have its turn again whose attempt failed in an outage (D10): such failures are
    /// not recorded.
    BackOff,
}

/// Where that stands which the timers are for: some of them count, the others stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The target is idle.
    Idle,
    /// The target is idle while its device is at the update already, and waits for a slot (D10).
    WaitsForSlot,
    /// The operation is in progress.
    InProgress,
    /// The operation is in progress, and its resend was kept back. Only a manual update's: a target is
    /// idle then (D8).
    KeptBack,
    /// The target is final.
    Ended,
}

impl Stage {
    /// The timers that count.
    const fn timers(self) -> &'static [Timer] {
        use Timer::{BackOff, Cancel, Deadline, Forgotten, Look, Reboot, Resend, Settled};
        match self {
            Self::Idle => &[BackOff],
            Self::WaitsForSlot => &[Deadline],
            Self::InProgress => &[Deadline, Reboot, Settled, Forgotten, Cancel],
            Self::KeptBack => &[Resend, Deadline, Reboot, Settled, Forgotten, Cancel],
            Self::Ended => &[Look],
        }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The base image is to be read.
    Read(ReadPurpose),
    /// A Cancel is to be sent again.
    SendCancel,
    /// A target waits no longer: its turn may come.
    Turn,
}

/// When each timer is due. One that is never due is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timers([Timestamp; COUNT]);

const COUNT: usize = Timer::BackOff as usize + 1;
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

impl Default for Timers {
    fn default() -> Self {
        Self([NEVER; COUNT])
    }
}

impl Timers {
    /// When a timer is due, if it is set.
    pub(crate) fn get(&self, timer: Timer) -> Option<Timestamp> {
        let at = self.0[timer as usize];
        (at != NEVER).then_some(at)
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.0[timer as usize] = at;
    }

    /// Sets a timer that is not set.
    pub(crate) fn begin(&mut self, timer: Timer, at: Timestamp) {
        if self.get(timer).is_none() {
            self.set(timer, at);
        }
    }

    /// Lets a timer that is set be due at `at`, unless it is later.
    pub(crate) fn put_off(&mut self, timer: Timer, at: Timestamp) {
        self.0[timer as usize] = self.0[timer as usize].max(at);
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.set(timer, NEVER);
    }

    /// Stops a timer that is due at `now`, and says whether it was.
    pub(crate) fn stop_if_due(&mut self, timer: Timer, now: Timestamp) -> bool {
        let is_due = is_due(self.0[timer as usize], now);
        if is_due {
            self.stop(timer);
        }
        is_due
    }

    /// Stops all others.
    pub(crate) fn keep_only(&mut self, timer: Timer) {
        let at = self.0[timer as usize];
        *self = Self::default();
        self.set(timer, at);
    }

    /// All times, with those that are not set.
    pub(crate) fn all(&self) -> impl Iterator<Item = Option<Timestamp>> {
        self.0.map(|at| (at != NEVER).then_some(at)).into_iter()
    }

    /// When the first of those that count is due.
    pub(crate) fn next(&self, stage: Stage, operation: Option<&Operation>) -> Option<Timestamp> {
        let times = stage.timers().iter().map(|timer| self.at(*timer, operation));
        times.min().filter(|at| *at != NEVER)
    }

    /// What is due at `now`, and what that leads to.
    pub(crate) fn fire(
        &mut self,
        stage: Stage,
        operation: Option<&Operation>,
        now: Timestamp,
    ) -> Option<Due> {
        let mut timers = stage.timers().iter().copied();
        let timer = timers.find(|timer| is_due(self.at(*timer, operation), now))?;
        // One that is left set is stopped, or set anew, by the answer to what it leads to.
        Some(match timer {
            Timer::Resend | Timer::Deadline => {
                self.stop(timer);
                Due::Read(ReadPurpose::Deadline)
            }
            Timer::Reboot => Due::Read(ReadPurpose::RebootTimeout),
            Timer::Settled => {
                self.stop(timer);
                Due::Read(ReadPurpose::Settled)
            }
            Timer::Forgotten => Due::Read(ReadPurpose::Forgotten),
            Timer::Cancel => Due::SendCancel,
            Timer::Look => {
                self.stop(timer);
                Due::Read(ReadPurpose::Contradiction)
            }
            Timer::BackOff => {
                self.stop(timer);
                Due::Turn
            }
        })
    }

    fn at(&self, timer: Timer, operation: Option<&Operation>) -> Timestamp {
        let at = self.0[timer as usize];
        if timer != Timer::Deadline {
            return at;
        }
        let deadline = operation.and_then(|operation| operation.deadline);
        deadline.map_or(NEVER, |deadline| if at == NEVER { deadline } else { deadline.max(at) })
    }
}

fn is_due(at: Timestamp, now: Timestamp) -> bool {
    at <= now && at != NEVER
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OperationId;
    use crate::rollout::OperationLimits;

    const STAGES: [Stage; 5] =
        [Stage::Idle, Stage::WaitsForSlot, Stage::InProgress, Stage::KeptBack, Stage::Ended];

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn operation() -> Operation {
        let id = OperationId::from_uuid(uuid::Uuid::from_u128(1));
        Operation::started(id, at(0), &OperationLimits::default())
    }

    #[test]
    fn each_timer_counts_somewhere_and_those_that_count_fire_in_their_order() {
        let mut counted = [false; COUNT];
        for timers in STAGES.map(Stage::timers) {
            assert!(timers.is_sorted_by_key(|timer| *timer as usize), "{timers:?}");
            for timer in timers {
                counted[*timer as usize] = true;
            }
        }
        assert_eq!(counted, [true; COUNT]);
    }

    #[test]
    fn what_is_told_as_next_is_when_something_fires() {
        let operation = operation();
        for stage in STAGES {
            for timer in stage.timers() {
                let mut timers = Timers::default();
                timers.set(*timer, at(1_000_000));
                let next = timers.next(stage, Some(&operation)).expect("it is set");
                assert_eq!(timers.fire(stage, Some(&operation), at(next.as_millis() - 1)), None);
                assert!(
                    timers.fire(stage, Some(&operation), next).is_some(),
                    "{stage:?}, {timer:?}"
                );
            }
        }
        let timers = Timers::default();
        assert_eq!(timers.next(Stage::InProgress, Some(&operation)), operation.deadline);
        assert_eq!(timers.next(Stage::InProgress, None), None, "nothing is set");
        assert_eq!(timers.next(Stage::Ended, Some(&operation)), None, "nothing that counts");
    }

    #[test]
    fn the_recorded_deadline_rests_while_the_device_cannot_be_read() {
        let operation = operation();
        let deadline = operation.deadline.expect("it has one");
        let rests = deadline + std::time::Duration::from_secs(10);
        let mut timers = Timers::default();
        timers.set(Timer::Deadline, rests);
        assert_eq!(timers.fire(Stage::InProgress, Some(&operation), deadline), None);
        let due = timers.fire(Stage::InProgress, Some(&operation), rests);
        assert_eq!(due, Some(Due::Read(ReadPurpose::Deadline)));
        assert_eq!(timers, Timers::default(), "it rests no longer");
    }

    #[test]
    fn a_timer_is_set_put_off_and_stopped_alone() {
        let mut timers = Timers::default();
        timers.put_off(Timer::Reboot, at(5));
        assert_eq!(timers.get(Timer::Reboot), None, "it was not set");
        timers.begin(Timer::Settled, at(1));
        timers.begin(Timer::Settled, at(2));
        assert_eq!(timers.get(Timer::Settled), Some(at(1)));
        timers.put_off(Timer::Settled, at(3));
        timers.put_off(Timer::Settled, at(2));
        assert_eq!(timers.get(Timer::Settled), Some(at(3)));
        assert!(!timers.stop_if_due(Timer::Settled, at(2)));
        assert!(timers.stop_if_due(Timer::Settled, at(3)));
        assert_eq!(timers, Timers::default());
        timers.set(Timer::Look, at(7));
        timers.set(Timer::Cancel, at(7));
        timers.keep_only(Timer::Look);
        assert_eq!(timers.all().flatten().collect::<Vec<_>>(), [at(7)]);
    }
}
