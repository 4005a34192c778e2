//! A campaign, as naive bookkeeping sees it: its targets and their counts from the events alone,
//! with every rule about an event looked at when it is recorded.

mod consent;
mod operations;
mod outcome;

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, TargetFailure};
use hedgerow_core::{
    Campaign, CampaignDefinition, CampaignId, CampaignStatus, ChannelName, DeviceId, ImageUrl,
    OperationId, Outcome, RolloutLimits, SystemModelHandle, TargetCounts, TargetStatus, Timestamp,
};
use uuid::Uuid;

use self::consent::Consents;
use crate::simulate::check::facts::{Facts, Witness};
use crate::simulate::check::gate::{Expected, Gates, Stated, expected};
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// The namespace of the operations of campaigns, as the documentation gives it (E3).
const OPERATIONS: Uuid = Uuid::from_u128(0x5f0c_7a0e_3d0b_5a7e_9f6d_8a41_c2d4_10aa);

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) device: DeviceId,
    pub(super) status: TargetStatus,
    /// The place in the order of attempts; 0: never attempted.
    pub(super) attempt: u32,
    /// How many operations its device turned away.
    series: u16,
    /// How often it was deferred since its device last reported.
    deferrals: u32,
    pub(super) not_before: Option<Timestamp>,
    pub(super) operation: Option<OperationId>,
    /// What its device shows was recorded to contradict its end.
    contradicted: bool,
    /// How often its status changed.
    pub(super) moved: u32,
}

/// How often what was recorded, for what was acknowledged (E8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) pausing: u32,
    pub(super) resumed: u32,
    pub(super) edited: u32,
    pub(super) finished: u32,
    pub(super) deleted: u32,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Model {
    pub(super) id: CampaignId,
    pub(super) definition: CampaignDefinition,
    image: String,
    pub(super) status: CampaignStatus,
    pub(super) outcome: Option<Outcome>,
    pub(super) targets: Vec<Target>,
    pub(super) places: BTreeMap<DeviceId, u32>,
    pub(super) counts: [u32; 5],
    attempts: u32,
    pub(super) version: u64,
    pub(super) recorded: Recorded,
    /// Somebody asked to cancel it.
    pub(super) cancel_asked: bool,
    /// And to stop its operations.
    pub(super) stop_asked: bool,
    /// Another rollout for its System Model and channel began after it (D18).
    pub(super) newer: bool,
    /// The devices that the directory named when it was last asked for the channel.
    pub(super) named: Option<Vec<DeviceId>>,
    scheduled_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// Its limits were changed while it ran.
    limits_changed: bool,
    /// Since when nothing has been in the way of its start, its time aside.
    pub(super) waits_since: Timestamp,
    /// The shortest and the longest that it ever was.
    reboot_timeouts: (Duration, Duration),
    /// The core's own fold of the same events (E1).
    pub(super) fold: Campaign,
    /// Whose users have agreed.
    consents: Consents,
    /// What its targets came to in each minute in which anything was recorded.
    pub(super) minutes: BTreeMap<i64, TargetCounts>,
}

/// The delay after the first deferral, and the longest, each up to a quarter less or more (D10).
const FIRST_DELAY: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(240);
/// The same for a device that was busy, each up to a quarter less (D14).
const FIRST_BUSY_DELAY: Duration = Duration::from_secs(60);
const LONGEST_BUSY_DELAY: Duration = Duration::from_secs(600);

/// Whether the target of `device` may be attempted, and what the gates say.
fn gates(definition: &CampaignDefinition) -> (Option<&str>, bool, bool) {
    let policy = definition.rollout.gates();
    let requirement = definition.base_image.starting_version_requirement.as_ref();
    (
        requirement.map(hedgerow_core::VersionRequirement::as_str),
        policy.force_downgrade,
        policy.enforce_version_requirement,
    )
}

impl Model {
    /// Of its first event, recorded at `at`.
    pub(super) fn new(fold: Campaign, at: Timestamp) -> Self {
        let definition = fold.definition().clone();
        let reboot_timeout = definition.rollout.limits().operation.reboot_timeout;
        Self {
            id: fold.id(),
            image: definition.base_image.version.to_string(),
            scheduled_at: fold.scheduled_at(),
            finished_at: None,
            limits_changed: false,
            waits_since: at,
            reboot_timeouts: (reboot_timeout, reboot_timeout),
            consents: Consents::of(&definition),
            definition,
            status: fold.status(),
            outcome: None,
            targets: Vec::new(),
            places: BTreeMap::new(),
            counts: [0; 5],
            attempts: 0,
            version: 1,
            recorded: Recorded::default(),
            cancel_asked: false,
            stop_asked: false,
            newer: false,
            named: None,
            fold,
            minutes: BTreeMap::new(),
        }
    }

    /// Whether it is for that System Model and channel.
    pub(super) fn is_of(&self, channel: &ChannelName, system_model: &SystemModelHandle) -> bool {
        let definition = &self.definition;
        definition.channel.name() == channel && definition.base_image.system_model == *system_model
    }

    /// Whether it has not started.
    pub(super) fn waits(&self) -> bool {
        matches!(self.status, CampaignStatus::Idle | CampaignStatus::Scheduled)
    }

    /// Whether it has not started and its devices have been named, so many that it will have
    /// something to do: any other supersedes nothing (D3).
    pub(super) fn begins(&self) -> bool {
        let minimum = self.definition.rollout.minimum_targets().max(1);
        let named = self.named.as_ref().map(|named| named.len().max(self.targets.len()));
        self.waits() && named.is_some_and(|all| u32::try_from(all).unwrap_or(u32::MAX) >= minimum)
    }

    pub(super) fn limits(&self) -> &RolloutLimits {
        self.definition.rollout.limits()
    }

    pub(super) fn count(&self, status: TargetStatus) -> u32 {
        self.counts[status as usize]
    }

    pub(super) fn is_running(&self) -> bool {
        use CampaignStatus::{InProgress, Paused, Pausing};
        matches!(self.status, InProgress | Pausing | Paused)
    }

    pub(super) fn scheduled_at(&self) -> Option<Timestamp> {
        self.scheduled_at
    }

    /// Whether only one of the two may run at a time (D18).
    pub(super) fn is_same_rollout(&self, other: &Self) -> bool {
        let (own, other) = (&self.definition, &other.definition);
        own.base_image.system_model == other.base_image.system_model
            && own.channel.name() == other.channel.name()
    }

    /// Whether it has not ended, or not longer ago than that.
    pub(super) fn is_watched(&self, now: Timestamp, watched: Duration) -> bool {
        self.finished_at.is_none_or(|ended| now < ended + watched)
    }

    /// Whether it has not come to its end with all its operations.
    pub(super) fn is_open(&self) -> bool {
        match self.status {
            CampaignStatus::Finished => self.count(TargetStatus::InProgress) > 0,
            CampaignStatus::Deleted => false,
            _ => true,
        }
    }

    pub(super) fn place(&self, device: DeviceId) -> Option<usize> {
        self.places.get(&device).map(|place| *place as usize)
    }

    fn target(&self, device: DeviceId) -> Result<usize, (Invariant, String)> {
        self.place(device).ok_or_else(|| {
            (Invariant::FixedSnapshot, "an event is about a device that is no target".to_owned())
        })
    }

    fn set(&mut self, place: usize, status: TargetStatus) {
        let target = &mut self.targets[place];
        self.counts[target.status as usize] -= 1;
        self.counts[status as usize] += 1;
        target.status = status;
        target.moved += 1;
    }

    fn become_final(&mut self, place: usize, status: TargetStatus) {
        self.set(place, status);
        self.targets[place].operation = None;
        self.targets[place].not_before = None;
    }

    /// The operation of an idle target ends with it.
    fn end_deferred(&mut self, place: usize, at: Timestamp, facts: &mut Facts) -> Checked {
        match self.targets[place].operation.take() {
            Some(operation) => facts.end(operation, at),
            None => Ok(()),
        }
    }

    fn attempted(&mut self, place: usize, not_before: Option<Timestamp>) {
        self.attempts += 1;
        self.targets[place].attempt = self.attempts;
        self.targets[place].not_before = not_before;
    }

    /// The device was busy, and is waited for: longer each time (D14).
    fn refused(
        &mut self,
        place: usize,
        at: Timestamp,
        not_before: Timestamp,
        believed: bool,
    ) -> Checked {
        let doublings = u32::from(self.targets[place].series).saturating_sub(1).min(10);
        let longest = (FIRST_BUSY_DELAY * 2_u32.pow(doublings)).min(LONGEST_BUSY_DELAY);
        let delay = not_before.since(at);
        let waits = delay >= longest * 3 / 4 && delay <= longest;
        ensure(waits || believed, Invariant::Deferral, || {
            format!("refusal {} is waited for {delay:?}, not {longest:?}", doublings + 1)
        })?;
        self.targets[place].deferrals += 1;
        self.attempted(place, Some(not_before));
        Ok(())
    }

    /// The attempt came to nothing, and the next one waits: longer each time.
    fn deferred(&mut self, place: usize, at: Timestamp, not_before: Timestamp) -> Checked {
        let doublings = self.targets[place].deferrals.min(10);
        let nominal = (FIRST_DELAY * 2_u32.pow(doublings)).min(LONGEST_DELAY);
        let delay = not_before.since(at);
        ensure(delay >= nominal * 3 / 4 && delay <= nominal * 5 / 4, Invariant::Deferral, || {
            format!("deferral {} in a row is for {delay:?}, not {nominal:?}", doublings + 1)
        })?;
        self.targets[place].deferrals += 1;
        self.attempted(place, Some(not_before));
        Ok(())
    }

    fn active(&self, place: usize) -> Result<OperationId, (Invariant, String)> {
        self.targets[place].operation.ok_or_else(|| {
            (Invariant::ForwardOnly, "an event is about an operation that has ended".to_owned())
        })
    }

    /// Looks at one event, recorded at `at`, and takes it in.
    pub(super) fn take(
        &mut self,
        event: &CampaignEvent,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Checked {
        self.version += 1;
        let before = self.status;
        self.take_in(event, at, facts)?;
        self.goes_on(before)
    }

    /// Whether its status may follow on the one before.
    fn goes_on(&self, before: CampaignStatus) -> Checked {
        use CampaignStatus::{Deleted, Finished, Idle, InProgress, Paused, Pausing, Scheduled};
        let may_follow: &[CampaignStatus] = match before {
            Idle | Paused => &[InProgress, Finished],
            Scheduled => &[Idle, InProgress, Finished, Deleted],
            InProgress => &[Pausing, Paused, Finished],
            Pausing => &[InProgress, Paused, Finished],
            Finished | Deleted => &[],
        };
        let may = self.status == before || may_follow.contains(&self.status);
        ensure(may, Invariant::Pause, || {
            format!("the campaign, {} before, is {}", before.name(), self.status.name())
        })
    }

    fn take_in(&mut self, event: &CampaignEvent, at: Timestamp, facts: &mut Facts) -> Checked {
        use CampaignEvent as E;
        match event {
            E::CampaignCreated(_) => {}
            E::CampaignEdited(edited) => {
                self.definition = CampaignDefinition::clone(&edited.definition);
                let timeout = self.limits().operation.reboot_timeout;
                self.reboot_timeouts = (timeout, timeout);
                self.image = self.definition.base_image.version.to_string();
                self.consents = Consents::of(&self.definition);
                self.named = None;
                self.scheduled_at = edited.scheduled_at;
                self.waits_since = at;
                self.recorded.edited += 1;
                self.status = if edited.scheduled_at.is_some() {
                    CampaignStatus::Scheduled
                } else {
                    CampaignStatus::Idle
                };
            }
            E::CampaignDeleted(_) => {
                self.status = CampaignStatus::Deleted;
                self.recorded.deleted += 1;
            }
            E::SnapshotExtended(chunk) => {
                self.is_time(at)?;
                self.extend(&chunk.devices)?;
            }
            E::CampaignStarted(started) => {
                self.is_time(at)?;
                self.start(started.targets)?;
                self.consents.started_at = Some(at);
            }
            E::CampaignPausing(_) => {
                self.status = CampaignStatus::Pausing;
                self.recorded.pausing += 1;
            }
            E::CampaignPaused(_) => {
                let in_progress = self.count(TargetStatus::InProgress);
                ensure(in_progress == 0, Invariant::Pause, || {
                    format!("paused with {in_progress} targets in progress")
                })?;
                self.status = CampaignStatus::Paused;
            }
            E::CampaignResumed(_) => {
                self.status = CampaignStatus::InProgress;
                self.recorded.resumed += 1;
            }
            E::LimitsChanged(changed) => {
                self.definition.rollout.limits_mut().clone_from(&changed.limits);
                let timeout = changed.limits.operation.reboot_timeout;
                let (shortest, longest) = self.reboot_timeouts;
                self.reboot_timeouts = (shortest.min(timeout), longest.max(timeout));
                self.recorded.edited += 1;
                self.limits_changed = true;
            }
            E::CampaignFinished(finished) => {
                self.finished_at = Some(at);
                self.finish(finished.outcome, finished.stop_operations, at, facts)?;
            }
            E::TargetUpToDate(e) => {
                let place = self.turn(e.device, at)?;
                self.gate(e.device, at, facts, &Expected::UpToDate, Stated::Nothing)?;
                self.end_deferred(place, at, facts)?;
                self.become_final(place, TargetStatus::Successful);
            }
            E::TargetFailed(e) => {
                let place = self.target(e.device)?;
                if let TargetFailure::Gate(refusal) = &e.reason {
                    self.turn(e.device, at)?;
                    let refused = Expected::Refused(refusal.reason());
                    self.gate(e.device, at, facts, &refused, Stated::by(refusal))?;
                }
                self.end_deferred(place, at, facts)?;
                self.become_final(place, TargetStatus::Failed);
            }
            E::AttemptDeferred(e) => {
                let place = self.turn(e.device, at)?;
                self.deferred(place, at, e.not_before)?;
            }
            E::OperationStarted(e) => {
                let place = self.turn(e.device, at)?;
                let stated = Stated::Version(&e.from_version);
                self.gate(e.device, at, facts, &Expected::Start, stated)?;
                self.starts_agreed(place)?;
                let own_url = e.url.as_ref().map(ImageUrl::as_str);
                self.start_operation(place, e.operation, own_url, at, facts)?;
            }
            E::PolicyFactRecorded(recorded) => self.take_policy_fact(recorded, at)?,
            _ => self.take_operation(event, at, facts)?,
        }
        Ok(())
    }

    fn extend(&mut self, devices: &[DeviceId]) -> Checked {
        let before = matches!(self.status, CampaignStatus::Idle | CampaignStatus::Scheduled);
        ensure(before, Invariant::FixedSnapshot, || {
            format!("the snapshot grows while the campaign is {}", self.status.name())
        })?;
        for device in devices {
            let place = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
            let twice = self.places.contains_key(device);
            ensure(!twice, Invariant::FixedSnapshot, || format!("{device} is a target twice"))?;
            self.places.insert(*device, place);
            self.targets.push(Target {
                device: *device,
                status: TargetStatus::Idle,
                attempt: 0,
                series: 0,
                deferrals: 0,
                not_before: None,
                operation: None,
                contradicted: false,
                moved: 0,
            });
            self.counts[TargetStatus::Idle as usize] += 1;
        }
        Ok(())
    }

    /// The snapshot is not taken before the time for which the campaign is scheduled.
    fn is_time(&self, at: Timestamp) -> Checked {
        let early = self.scheduled_at.filter(|scheduled_at| *scheduled_at > at);
        ensure(early.is_none(), Invariant::FixedSnapshot, || {
            format!("the snapshot is taken at {at}, it is scheduled for {early:?}")
        })
    }

    fn start(&mut self, targets: u32) -> Checked {
        let found = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        ensure(targets == found, Invariant::FixedSnapshot, || {
            format!("it starts with {targets} targets, {found} are recorded")
        })?;
        if let Some(named) = &self.named {
            // A snapshot that a crash cut in two may hold devices of an earlier answer as well.
            let missing = named.iter().find(|device| !self.places.contains_key(device));
            ensure(missing.is_none(), Invariant::FixedSnapshot, || {
                format!("it starts without {missing:?}, which the directory named")
            })?;
        }
        self.status = CampaignStatus::InProgress;
        Ok(())
    }

    /// An idle target has its turn: may it?
    fn turn(&self, device: DeviceId, at: Timestamp) -> Result<usize, (Invariant, String)> {
        let place = self.target(device)?;
        self.may_start()?;
        let target = &self.targets[place];
        ensure(target.status == TargetStatus::Idle, Invariant::ForwardOnly, || {
            format!("a target that is {} has its turn", target.status.name())
        })?;
        let waits = target.not_before.filter(|not_before| *not_before > at);
        ensure(waits.is_none(), Invariant::Deferral, || {
            format!("its turn comes at {at}, it was deferred until {waits:?}")
        })?;
        Ok(place)
    }

    fn may_start(&self) -> Checked {
        let invariant = match self.status {
            CampaignStatus::Pausing | CampaignStatus::Paused => Invariant::Pause,
            _ if self.outcome == Some(Outcome::Failure) => Invariant::FailureLimit,
            _ => Invariant::Cancel,
        };
        ensure(self.status == CampaignStatus::InProgress, invariant, || {
            format!("a target has its turn while the campaign is {}", self.status.name())
        })
    }

    fn gate(
        &self,
        device: DeviceId,
        at: Timestamp,
        facts: &Facts,
        recorded: &Expected,
        stated: Stated<'_>,
    ) -> Checked {
        let read = facts.at_turn(device, at, stated)?;
        if facts.witness == Witness::Log && !stated.is_whole() {
            return Ok(());
        }
        let (requirement, force_downgrade, enforce_requirement) = gates(&self.definition);
        let gates = Gates { image: &self.image, requirement, force_downgrade, enforce_requirement };
        let wanted: Vec<_> = read.iter().map(|read| expected(read.version(), &gates)).collect();
        ensure(wanted.contains(recorded), Invariant::Gates, || {
            format!(
                "{read:?} to {} ({requirement:?}, force {force_downgrade}) is {wanted:?}, recorded is {recorded:?}",
                self.image
            )
        })
    }
}
