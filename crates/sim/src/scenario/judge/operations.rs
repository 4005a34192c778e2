//! The accepted operations of one campaign, counted as they open and end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fleet::{OPERATION_IS_FINAL, TARGET_IS_SETTLED, is_one_of};
use super::loose::Key;

/// The accepted operations and the targets that they are for.
#[derive(Debug, Default)]
pub(super) struct Operations<'a> {
    device_of: BTreeMap<Key, Key>,
    of_device: BTreeMap<Key, BTreeSet<Key>>,
    status: BTreeMap<Key, &'a Value>,
    targets: BTreeMap<Key, &'a Value>,
    /// Operations that did not end and whose target is not settled.
    open: usize,
    /// Targets that are in progress.
    in_progress: usize,
}

impl<'a> Operations<'a> {
    pub(super) fn was_accepted(&self, operation: &Key) -> bool {
        self.device_of.contains_key(operation)
    }

    pub(super) fn accepted_for(&self, device: &Key) -> usize {
        self.of_device.get(device).map_or(0, BTreeSet::len)
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn in_progress(&self) -> usize {
        self.in_progress
    }

    pub(super) fn targets(&self) -> &BTreeMap<Key, &'a Value> {
        &self.targets
    }

    pub(super) fn target(&self, device: &Key) -> &'a Value {
        self.targets.get(device).copied().unwrap_or(&super::loose::NULL)
    }

    /// The latest status of an operation.
    pub(super) fn status(&self, operation: &Key) -> &'a Value {
        self.status.get(operation).copied().unwrap_or(&super::loose::NULL)
    }

    fn open_for(&self, device: &Key) -> usize {
        // One that is kept back holds no slot (D8).
        let target = self.target(device);
        if is_one_of(target, &TARGET_IS_SETTLED) || target == "idle" {
            return 0;
        }
        let ended = |operation: &Key| {
            self.status.get(operation).is_some_and(|status| is_one_of(status, &OPERATION_IS_FINAL))
        };
        let operations = self.of_device.get(device);
        operations.into_iter().flatten().filter(|operation| !ended(operation)).count()
    }

    /// Changes something about a device and counts its open operations anew.
    fn recount(&mut self, device: &Key, change: impl FnOnce(&mut Self)) {
        self.open -= self.open_for(device);
        change(self);
        self.open += self.open_for(device);
    }

    pub(super) fn accept(&mut self, operation: &Key, device: &Key) {
        if let Some(former) = self.device_of.get(operation).cloned() {
            self.recount(&former, |all| {
                if let Some(operations) = all.of_device.get_mut(&former) {
                    operations.remove(operation);
                }
            });
        }
        self.device_of.insert(operation.clone(), device.clone());
        self.recount(device, |all| {
            all.of_device.entry(device.clone()).or_default().insert(operation.clone());
        });
    }

    pub(super) fn set_status(&mut self, operation: Key, status: &'a Value) {
        match self.device_of.get(&operation).cloned() {
            Some(device) => self.recount(&device, |all| {
                all.status.insert(operation, status);
            }),
            None => {
                self.status.insert(operation, status);
            }
        }
    }

    pub(super) fn set_target(&mut self, device: &Key, status: &'a Value) {
        self.recount(device, |all| {
            let former = all.targets.insert(device.clone(), status);
            all.in_progress += usize::from(status == "in_progress");
            all.in_progress -= usize::from(former.is_some_and(|former| former == "in_progress"));
        });
    }
}
