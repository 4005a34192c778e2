//! What the streams have in common: operations, whose each device is (D14), and what each device
//! last showed the engine (D5, D12).

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::{DeviceId, OperationId, ReportStatus, Timestamp};

use super::gate::Stated;
use super::operation::Op;
use crate::simulate::invariant::{Broken, Checked, Invariant, ensure};

/// How long a version that was read is good for: an answer may wait while the store is slow.
const FRESH: Duration = Duration::from_secs(120);

/// A version could not be read, or the engine did not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) struct Unread;

/// What reading a version gave: what the device shows, if it shows one.
pub(in crate::simulate) type Read = Result<Option<String>, Unread>;

/// The answer to reading a version.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) version: Read,
    pub(super) at: Timestamp,
}

/// What the judge gets to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Witness {
    /// Everything: what is recorded, what leaves, what arrives, what is acknowledged.
    #[default]
    World,
    /// The log of a store alone, long after. What only the world could tell is believed.
    Log,
}

#[derive(Default)]
pub(super) struct Facts {
    pub(super) witness: Witness,
    pub(super) operations: BTreeMap<OperationId, Op>,
    /// The active operation of each device.
    pub(super) holders: BTreeMap<DeviceId, OperationId>,
    /// What each device last showed, to each of two engines.
    pub(super) shown: [BTreeMap<DeviceId, Shown>; 2],
    /// The engine that records just now.
    pub(super) slot: usize,
    /// When the engine was last told of each device that it is online, as it acknowledged.
    pub(super) told_online: BTreeMap<DeviceId, Timestamp>,
    /// When the engine started; `None` while another writes beside it, which was told other things.
    pub(super) alone_since: Option<Timestamp>,
    /// Since when neither the store, nor the clock, nor a start has disturbed the engine.
    pub(super) calm_since: Timestamp,
}

/// How long a request that is decided may take to leave: as long as calls before it, and the store.
const LEAVES: Duration = Duration::from_secs(60);

impl Facts {
    /// The version on which the gates are evaluated, which an event may state itself.
    pub(super) fn at_turn<'a>(
        &'a self,
        device: DeviceId,
        at: Timestamp,
        stated: Stated<'a>,
    ) -> Result<Stated<'a>, Broken> {
        if self.witness == Witness::Log {
            return Ok(stated);
        }
        let shown = self.shown[self.slot].get(&device);
        let read = match shown {
            Some(Shown { version: Ok(version), at: read_at }) if at.since(*read_at) <= FRESH => {
                version.as_deref().map_or(Stated::NoVersion, Stated::Version)
            }
            _ => {
                let message = format!("its turn comes, and last was read: {shown:?}");
                return Err((Invariant::Gates, message));
            }
        };
        ensure(stated.agrees(read), Invariant::Gates, || {
            format!("the record states {stated:?}, and last was read: {read:?}")
        })?;
        Ok(read)
    }

    /// Before when no roll-back can be inferred: the device was told to be back then, and that is
    /// counted anew after a restart (D12). `None`: it is not known for sure.
    pub(super) fn rollback_from(
        &self,
        device: DeviceId,
        reboot_timeout: Duration,
    ) -> Option<Timestamp> {
        let alone_since = self.alone_since.filter(|_| self.witness == Witness::World)?;
        let back = self.told_online.get(&device).copied().unwrap_or_default();
        Some(back.max(alone_since) + reboot_timeout)
    }

    /// A request is sent again after a restart: not before the device was looked at, which may
    /// have finished it (D12).
    pub(super) fn looked_before_reissue(&self, device: DeviceId) -> Checked {
        let looked = self.witness == Witness::Log || self.last_shown(device).is_ok();
        ensure(looked, Invariant::Reconciliation, || {
            "sent again after a restart without a look at what the device shows".to_owned()
        })
    }

    /// What the device last showed, however long ago.
    pub(super) fn last_shown(&self, device: DeviceId) -> Read {
        self.shown[self.slot].get(&device).map_or(Err(Unread), |shown| shown.version.clone())
    }

    pub(super) fn take_device(&mut self, device: DeviceId, operation: OperationId) -> Checked {
        let holder = *self.holders.entry(device).or_insert(operation);
        ensure(holder == operation, Invariant::OneOperation, || {
            format!("operation {operation} starts while operation {holder} is active")
        })
    }

    /// The operation has ended.
    pub(super) fn end(&mut self, id: OperationId, at: Timestamp) -> Checked {
        if let Some(operation) = self.operations.get_mut(&id) {
            let calm_since = self.calm_since;
            let waits = operation.request_waits_since().filter(|since| *since > calm_since);
            let waited = waits.map_or(Duration::ZERO, |since| at.since(since));
            let seen = self.witness == Witness::World && self.alone_since.is_some();
            ensure(!seen || waited < LEAVES, Invariant::RecordThenAct, || {
                format!(
                    "operation {id} ends {waited:?} after a request was decided that never left"
                )
            })?;
            let waits = operation.cancel_waits_since();
            let waited = waits.map_or(Duration::ZERO, |since| at.since(since.max(calm_since)));
            let believed = self.witness == Witness::Log;
            ensure(believed || waited < LEAVES, Invariant::Cancel, || {
                format!("operation {id} ends {waited:?} after a Cancel was wanted, and none left")
            })?;
            ensure(!operation.has_ended(), Invariant::ForwardOnly, || {
                format!("operation {id} ends a second time")
            })?;
            operation.ended_at = Some(at);
            let device = operation.device;
            if self.holders.get(&device) == Some(&id) {
                self.holders.remove(&device);
            }
        }
        Ok(())
    }

    /// A late report is recorded. One that says the same soon after is not, unless the engine has
    /// forgotten it over a start or a load.
    pub(super) fn late(&mut self, id: OperationId, status: ReportStatus, at: Timestamp) -> Checked {
        let is_known = self.alone_since.is_some() && self.witness == Witness::World;
        let since = self.calm_since;
        let again = self.operation(id)?.reported_late(status, at, since);
        ensure(!(again && is_known), Invariant::ForwardOnly, || {
            format!("the late report {status} is recorded again and again")
        })
    }

    pub(super) fn operation(&mut self, id: OperationId) -> Result<&mut Op, Broken> {
        self.operations
            .get_mut(&id)
            .ok_or_else(|| (Invariant::RecordThenAct, format!("operation {id} was never recorded")))
    }
}
