//! One manual update, followed event by event: its row.

use hedgerow_core::event::ManualUpdateEvent;
use hedgerow_core::{ApplyError, ManualStatus, ManualUpdate, Timestamp};

use super::fold::Changed;
use super::key;
use super::row::{OperationEnd, OperationEntry, OperationPlace};
use super::store::RowKey;

/// A manual update that is being followed: one row.
pub(super) struct FollowedUpdate {
    update: ManualUpdate,
    entry: OperationEntry,
    is_changed: bool,
}

impl FollowedUpdate {
    pub(super) fn begun(update: ManualUpdate) -> Self {
        let definition = update.definition();
        let mut entry = OperationEntry {
            operation: update.id(),
            stream: update.stream(),
            device: definition.device,
            version: definition.expected_version.as_ref().map(ToString::to_string),
            from_version: definition.version_before.clone(),
            began_at: update.started_at(),
            phase: hedgerow_core::Phase::Pending,
            progress: 0,
            resends: 0,
            reported_at: None,
            ended: None,
            late_report: None,
        };
        if let Some(operation) = update.operation() {
            entry.follow(operation);
        }
        Self { update, entry, is_changed: true }
    }

    pub(super) fn apply(
        &mut self,
        event: &ManualUpdateEvent,
        at: Timestamp,
    ) -> Result<(), ApplyError> {
        self.update.apply(event, at)?;
        self.is_changed = true;
        if let Some(operation) = self.update.operation() {
            self.entry.follow(operation);
        }
        match event {
            ManualUpdateEvent::ManualSucceeded(e) => {
                self.entry.ended = Some((at, OperationEnd::Succeeded(e.confirmation)));
            }
            ManualUpdateEvent::ManualFailed(e) => {
                self.entry.ended = Some((at, OperationEnd::Failed(e.reason.clone())));
            }
            ManualUpdateEvent::ManualLateReport(e) => {
                self.entry.late_report = Some((at, e.status));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.update.status(), ManualStatus::Active(_))
    }

    pub(super) fn flush(&mut self, rows: &mut Changed) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let row = OperationPlace::Manual(self.entry.clone()).row();
        rows.push((update_key(&self.update), Some(row)));
    }
}

/// The key of a manual update's row.
fn update_key(update: &ManualUpdate) -> RowKey {
    let device = update.definition().device;
    key::operation(update.tenant(), device, update.started_at(), update.id())
}
