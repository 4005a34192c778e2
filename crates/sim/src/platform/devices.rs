//! Devices that behave as real ones do, and when each of them wants to act by itself.

use std::collections::BTreeSet;

use hedgerow_core::{DeviceId, OperationReport, ReportStatus, StatusCode, Timestamp};

use crate::device::{DeviceOutput, SimulatedDevice};

/// Devices, each in its place, as in the register.
#[derive(Debug, Default)]
pub struct Devices {
    each: Vec<SimulatedDevice>,
    /// When each wants to act next, as it stands among the wakes.
    armed: Vec<Option<Timestamp>>,
    wakes: BTreeSet<(Timestamp, u32)>,
}

impl Devices {
    /// Devices that have not acted yet.
    #[must_use]
    pub fn new(devices: Vec<SimulatedDevice>) -> Self {
        Self { armed: vec![None; devices.len()], wakes: BTreeSet::new(), each: devices }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[SimulatedDevice] {
        &self.each
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&SimulatedDevice> {
        self.each.get(index as usize)
    }

    /// The one in a place that there is.
    pub(crate) fn at(&self, index: u32) -> &SimulatedDevice {
        &self.each[index as usize]
    }

    /// Changes all of them, without letting them act.
    pub fn change_all(&mut self, change: impl FnMut(&mut SimulatedDevice)) {
        self.each.iter_mut().for_each(change);
    }

    /// Puts a device in the place of another.
    pub fn put(&mut self, index: u32, device: SimulatedDevice) {
        if let Some(place) = self.each.get_mut(index as usize) {
            *place = device;
            self.arm(index);
        }
    }

    /// When one of them acts by itself.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The first that wants to act by `now`, and when it wanted to.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.wakes.first().copied().filter(|(at, _)| *at <= now)
    }

    /// Lets a device act, and returns what it lets the outside see.
    pub fn act(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut SimulatedDevice, &mut Vec<DeviceOutput>),
    ) -> Vec<DeviceOutput> {
        let mut outputs = Vec::new();
        if let Some(device) = self.each.get_mut(index as usize) {
            act(device, &mut outputs);
            self.arm(index);
        }
        outputs
    }

    fn arm(&mut self, index: u32) {
        let place = index as usize;
        let (Some(device), Some(armed)) = (self.each.get(place), self.armed.get_mut(place)) else {
            return;
        };
        let wake = device.next_wake();
        if *armed == wake {
            return;
        }
        if let Some(at) = std::mem::replace(armed, wake) {
            self.wakes.remove(&(at, index));
        }
        if let Some(at) = wake {
            self.wakes.insert((at, index));
        }
    }
}

/// What a device reports, as the platform hands it on; `None`: it is no report, or says nothing that
/// there is (D11).
#[must_use]
pub fn report_of(device: DeviceId, output: &DeviceOutput) -> Option<OperationReport> {
    let DeviceOutput::Report { operation, status, progress, code, message, stamp } = output else {
        return None;
    };
    Some(OperationReport {
        progress: *progress,
        code: StatusCode::from_wire(code),
        message: (*message).to_owned(),
        observed_at: Some(*stamp),
        ..OperationReport::new(device, *operation, ReportStatus::from_wire(status).ok()?)
    })
}
