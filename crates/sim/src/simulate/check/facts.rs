//! What the streams have in common: operations, whose each device is (D14), and what each device
//! last showed the engine (D5, D12).

use std::collections::BTreeMap;

use hedgerow_core::{DeviceId, OperationId, Timestamp};

use super::operation::Op;
use crate::simulate::invariant::{Broken, Checked, Invariant, ensure};

/// How long a version that was read is good for: an answer may wait while the store is slow.
const FRESH: std::time::Duration = std::time::Duration::from_secs(120);

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

#[derive(Default)]
pub(super) struct Facts {
    pub(super) operations: BTreeMap<OperationId, Op>,
    /// The active operation of each device.
    pub(super) holders: BTreeMap<DeviceId, OperationId>,
    /// What each device last showed, to each of two engines.
    pub(super) shown: [BTreeMap<DeviceId, Shown>; 2],
    /// The engine that records just now.
    pub(super) slot: usize,
}

impl Facts {
    /// The version on which the gates are evaluated.
    pub(super) fn fresh(
        &self,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<Option<&str>, (Invariant, String)> {
        let shown = self.shown[self.slot].get(&device);
        match shown {
            Some(Shown { version: Ok(version), at: read_at }) if at.since(*read_at) <= FRESH => {
                Ok(version.as_deref())
            }
            _ => Err((Invariant::Gates, format!("its turn comes, and last was read: {shown:?}"))),
        }
    }

    /// What the device last showed, however long ago.
    pub(super) fn last_shown(&self, device: DeviceId) -> Read {
        self.shown[self.slot].get(&device).map_or(Err(Unread), |shown| shown.version.clone())
    }

    pub(super) fn take_device(&mut self, device: DeviceId, operation: OperationId) -> Checked {
        match self.holders.insert(device, operation) {
            Some(other) if other != operation => Err((
                Invariant::OneOperation,
                format!("operation {operation} starts while operation {other} is active"),
            )),
            _ => Ok(()),
        }
    }

    /// The operation has ended.
    pub(super) fn end(&mut self, id: OperationId) -> Checked {
        if let Some(operation) = self.operations.get_mut(&id) {
            ensure(!operation.ended, Invariant::ForwardOnly, || {
                format!("operation {id} ends a second time")
            })?;
            operation.ended = true;
            let device = operation.device;
            if self.holders.get(&device) == Some(&id) {
                self.holders.remove(&device);
            }
        }
        Ok(())
    }

    pub(super) fn operation(&mut self, id: OperationId) -> Result<&mut Op, Broken> {
        self.operations
            .get_mut(&id)
            .ok_or_else(|| (Invariant::RecordThenAct, format!("operation {id} was never recorded")))
    }
}
