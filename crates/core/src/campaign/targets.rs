//! The snapshot's targets: struct of arrays, indexed by a dense number (C2).
//!
//! How many targets there are of each status is counted in one place, the private `set_status`,
//! which is the only one that changes a status: the two cannot drift apart (D7), and a state that
//! was read back is checked against a count anew.

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::status::{Settlement, TargetStatus};

/// How many targets there are of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCounts {
    /// All targets.
    pub total: u32,
    /// See [`TargetStatus::Idle`].
    pub idle: u32,
    /// See [`TargetStatus::InProgress`].
    pub in_progress: u32,
    /// See [`TargetStatus::Successful`].
    pub successful: u32,
    /// See [`TargetStatus::Failed`].
    pub failed: u32,
    /// See [`TargetStatus::Cancelled`].
    pub cancelled: u32,
}

/// The targets of a campaign.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Targets {
    devices: Vec<DeviceId>,
    status: Vec<TargetStatus>,
    settlement: Vec<Settlement>,
    /// The place of the latest attempt among all attempts of the campaign; 0: never attempted (D4).
    attempt: Vec<u32>,
    /// Resends of the latest operation.
    retries: Vec<u16>,
    /// Operations that the device turned away as it was busy (D14).
    series: Vec<u16>,
    /// Attempts deferred in a row (D10).
    deferrals: Vec<u8>,
    sizes: [u32; 5],
    attempts: u32,
    #[serde(skip)]
    index: HashTable<u32>,
}

impl PartialEq for Targets {
    /// The index is left out: it follows from the devices.
    fn eq(&self, other: &Self) -> bool {
        self.devices == other.devices
            && self.status == other.status
            && self.settlement == other.settlement
            && self.attempt == other.attempt
            && self.retries == other.retries
            && self.series == other.series
            && self.deferrals == other.deferrals
            && self.sizes == other.sizes
            && self.attempts == other.attempts
    }
}

/// A fixed mix of a device's bits: no seed, so that nothing depends on the run (E2).
fn hash(device: DeviceId) -> u64 {
    let half = |from: usize| {
        device.as_bytes()[from..from + 8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    let mut mixed = half(8) ^ half(0).rotate_left(32);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

impl Targets {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.devices.len()).unwrap_or(u32::MAX)
    }

    /// Adds an idle target; `false` if it is one already.
    pub(crate) fn add(&mut self, device: DeviceId) -> bool {
        if self.find(device).is_some() {
            return false;
        }
        let target = self.len();
        self.devices.push(device);
        self.status.push(TargetStatus::Idle);
        self.settlement.push(Settlement::Open);
        self.attempt.push(0);
        self.retries.push(0);
        self.series.push(0);
        self.deferrals.push(0);
        self.sizes[TargetStatus::Idle as usize] += 1;
        let devices = &self.devices;
        self.index.insert_unique(hash(device), target, |&i| hash(devices[i as usize]));
        true
    }

    /// Makes room for `more` targets at once.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.devices.reserve(more);
        self.status.reserve(more);
        self.settlement.reserve(more);
        self.attempt.reserve(more);
        self.retries.reserve(more);
        self.series.reserve(more);
        self.deferrals.reserve(more);
        let devices = &self.devices;
        self.index.reserve(more, |&i| hash(devices[i as usize]));
    }

    /// Hashes all targets; of their attempts the order, which is all that D4 looks at.
    pub(crate) fn hash_order(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.devices, &self.status, &self.settlement).hash(hasher);
        (&self.retries, &self.series, &self.deferrals).hash(hasher);
        let mut attempted: Vec<_> =
            (0..self.len()).filter(|target| self.attempt(*target) > 0).collect();
        attempted.sort_unstable_by_key(|target| self.attempt(*target));
        attempted.hash(hasher);
    }

    /// Builds the index again after the rest was read from a state snapshot. `false` if the arrays
    /// do not belong together.
    pub(crate) fn rebuild(&mut self) -> bool {
        let length = self.devices.len();
        let lengths = [
            self.status.len(),
            self.settlement.len(),
            self.attempt.len(),
            self.retries.len(),
            self.series.len(),
            self.deferrals.len(),
        ];
        if lengths.iter().any(|other| *other != length) || u32::try_from(length).is_err() {
            return false;
        }
        let mut sizes = [0; 5];
        for status in &self.status {
            sizes[*status as usize] += 1;
        }
        self.index = HashTable::with_capacity(length);
        for (target, &device) in (0..).zip(&self.devices) {
            let devices = &self.devices;
            self.index.insert_unique(hash(device), target, |&i: &u32| hash(devices[i as usize]));
        }
        sizes == self.sizes
    }

    pub(crate) fn find(&self, device: DeviceId) -> Option<u32> {
        self.index.find(hash(device), |&i| self.devices[i as usize] == device).copied()
    }

    pub(crate) fn device(&self, target: u32) -> DeviceId {
        self.devices[target as usize]
    }

    pub(crate) fn devices(&self) -> &[DeviceId] {
        &self.devices
    }

    pub(crate) fn status(&self, target: u32) -> TargetStatus {
        self.status[target as usize]
    }

    pub(crate) fn settlement(&self, target: u32) -> Settlement {
        self.settlement[target as usize]
    }

    /// The place of its latest attempt among all of the campaign; 0: never attempted (D4).
    pub(crate) fn attempt(&self, target: u32) -> u32 {
        self.attempt[target as usize]
    }

    pub(crate) fn retries(&self, target: u32) -> u16 {
        self.retries[target as usize]
    }

    pub(crate) fn set_retries(&mut self, target: u32, retries: u16) {
        self.retries[target as usize] = retries;
    }

    /// How many of its operations the device turned away (D14): part of the next one's id (E3).
    pub(crate) fn series(&self, target: u32) -> u16 {
        self.series[target as usize]
    }

    pub(crate) fn next_series(&mut self, target: u32) {
        let series = &mut self.series[target as usize];
        *series = series.saturating_add(1);
    }

    /// How many of its attempts were deferred in a row (D10).
    pub(crate) fn deferrals(&self, target: u32) -> u8 {
        self.deferrals[target as usize]
    }

    pub(crate) fn count_deferral(&mut self, target: u32) {
        let deferrals = &mut self.deferrals[target as usize];
        *deferrals = deferrals.saturating_add(1);
    }

    pub(crate) fn forget_deferrals(&mut self, target: u32) {
        self.deferrals[target as usize] = 0;
    }

    /// Puts the target behind all that were attempted before (D4).
    pub(crate) fn attempted(&mut self, target: u32) {
        self.attempts = self.attempts.saturating_add(1);
        self.attempt[target as usize] = self.attempts;
    }

    pub(crate) fn counts(&self) -> TargetCounts {
        let size = |status: TargetStatus| self.sizes[status as usize];
        TargetCounts {
            total: self.len(),
            idle: size(TargetStatus::Idle),
            in_progress: size(TargetStatus::InProgress),
            successful: size(TargetStatus::Successful),
            failed: size(TargetStatus::Failed),
            cancelled: size(TargetStatus::Cancelled),
        }
    }

    /// Moves a target that is not final to idle or in progress.
    pub(crate) fn reopen(&mut self, target: u32, status: TargetStatus) {
        debug_assert!(!status.is_final() && !self.status(target).is_final());
        self.set_status(target, status);
    }

    /// Makes a target final. It stays so.
    pub(crate) fn settle(&mut self, target: u32, settlement: Settlement) {
        debug_assert!(!self.status(target).is_final());
        if let Some(status) = settlement.status() {
            self.settlement[target as usize] = settlement;
            self.set_status(target, status);
        }
    }

    fn set_status(&mut self, target: u32, status: TargetStatus) {
        let place = &mut self.status[target as usize];
        self.sizes[*place as usize] -= 1;
        self.sizes[status as usize] += 1;
        *place = status;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_differ_in_anything_are_not_equal() {
        let device = |byte| DeviceId::from_bytes([byte; 16]);
        let mut targets = Targets::default();
        for byte in 0..3 {
            assert!(targets.add(device(byte)));
        }
        assert_eq!(targets, targets.clone());
        let changes: [fn(&mut Targets); 9] = [
            |targets| targets.devices[1] = DeviceId::from_bytes([9; 16]),
            |targets| targets.status[1] = TargetStatus::Failed,
            |targets| targets.settlement[1] = Settlement::Cancelled,
            |targets| targets.attempt[1] = 1,
            |targets| targets.retries[1] = 1,
            |targets| targets.series[1] = 1,
            |targets| targets.deferrals[1] = 1,
            |targets| targets.sizes[0] = 1,
            |targets| targets.attempts = 1,
        ];
        for change in changes {
            let mut other = targets.clone();
            change(&mut other);
            assert_ne!(targets, other);
        }
    }
}
