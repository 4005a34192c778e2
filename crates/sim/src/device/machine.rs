//! Power, processes and the connection: when a device runs, connects and boots, and what it tells
//! right after that.

use std::time::Duration;

use hedgerow_core::{OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{DeviceOutput, Event, Flavour, STREAM_BOOTS, SimulatedDevice};

/// How long after the stale base image the new one follows.
const STALE_BASE_IMAGE: Duration = Duration::from_millis(25);
/// How long a service manager takes to start a process again that has ended.
const PROCESS_RESTART: Duration = Duration::from_secs(1);

/// Whether the device's software runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Machine {
    On,
    Off,
    /// It has power and runs its software from that time on.
    Boots(Timestamp),
    /// Only the process ended; it is started again at that time.
    Restarts(Timestamp),
}

/// What a device keeps in storage for its next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AfterBoot {
    pub(super) operation: OperationId,
    pub(super) verdict: Verdict,
    /// The version in the slot that boots next, where it is not the running one.
    pub(super) boots: Option<Box<str>>,
    /// Chance takes the report away.
    pub(super) report_lost: bool,
}

/// What a device concludes about an operation when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    Success,
    SystemRollback,
    InternalError,
    /// It has been reported already; only the boot slot is still to change.
    Told,
}

impl Verdict {
    const fn event(self) -> Option<Event> {
        match self {
            Self::Success => Some(Event::status("Success")),
            Self::SystemRollback => Some(Event::failure("SystemRollback", "Unable to switch slot")),
            Self::InternalError => Some(Event::failure("InternalError", "")),
            Self::Told => None,
        }
    }
}

/// What can be due, in the order in which it is done when due at the same time.
#[derive(Clone, Copy)]
enum Due {
    Start,
    OutageEnd,
    NetworkLoss,
    BaseImage,
    Step,
}

impl SimulatedDevice {
    /// When the device is to be woken; `None` if nothing happens without an input.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.next_due().map(|(at, _)| at)
    }

    /// Does what is due until `now`, each at its own time.
    pub fn wake(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        while let Some((at, due)) = self.next_due().filter(|&(at, _)| at <= now) {
            match due {
                Due::Start => self.start(at, output),
                Due::OutageEnd => self.change(at, output, |device| device.outage_until = None),
                Due::NetworkLoss => self.lose_network(at, output),
                Due::BaseImage => self.publish_base_image(output),
                Due::Step => self.step(at, output),
            }
        }
    }

    fn next_due(&self) -> Option<(Timestamp, Due)> {
        let start = match self.machine {
            Machine::Boots(at) | Machine::Restarts(at) => Some(at),
            Machine::On | Machine::Off => None,
        };
        let update = self.update.as_ref();
        [
            (start, Due::Start),
            (self.outage_until, Due::OutageEnd),
            (update.and_then(|update| update.network_loss_at), Due::NetworkLoss),
            (self.publish_at, Due::BaseImage),
            (update.map(|update| update.next_step_at), Due::Step),
        ]
        .into_iter()
        .filter_map(|(at, due)| at.map(|at| (at, due)))
        .min_by_key(|&(at, _)| at)
    }

    /// Makes a change and tells what it does to the connection.
    pub(super) fn change(
        &mut self,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
        change: impl FnOnce(&mut Self),
    ) {
        let was_connected = self.is_connected();
        change(self);
        match (was_connected, self.is_connected()) {
            (true, false) => output.push(DeviceOutput::Disconnected),
            (false, true) => self.connected(now, output),
            _ => {}
        }
    }

    fn connected(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        output.push(DeviceOutput::Connected);
        if std::mem::take(&mut self.fresh_session) {
            if self.flavour != Flavour::LinuxRuntime011 {
                self.published = None;
            }
            let version = self.published_version().to_owned();
            output.push(DeviceOutput::BaseImage { version });
        }
        if self.published.is_some() {
            self.publish_at = Some(now + STALE_BASE_IMAGE);
        }
    }

    fn publish_base_image(&mut self, output: &mut Vec<DeviceOutput>) {
        self.publish_at = None;
        // Without a connection it is left for the next one.
        if self.is_connected() {
            self.published = None;
            output.push(DeviceOutput::BaseImage { version: self.version.clone().into() });
        }
    }

    fn lose_network(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        let Some(update) = self.update.as_mut() else { return };
        update.network_loss_at = None;
        let until = now + update.plan.outage();
        self.change(now, output, |device| device.outage_until = Some(until));
    }

    /// Ends everything that lives in memory and leaves the machine in the given state.
    pub(super) fn lose_power(
        &mut self,
        now: Timestamp,
        then: Machine,
        output: &mut Vec<DeviceOutput>,
    ) {
        self.update = None;
        self.publish_at = None;
        self.change(now, output, |device| device.machine = then);
    }

    pub(super) fn restore_power(&mut self, now: Timestamp) {
        if self.machine == Machine::Off {
            let mut random = self.random(STREAM_BOOTS | u64::from(self.attempts));
            let boot = Duration::from_millis(self.profile.boot.draw(&mut random).into());
            self.machine = Machine::Boots(now + boot);
        }
    }

    /// The process ends with an error and is started again: what it was doing is lost.
    pub(super) fn exit_process(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        self.lose_power(now, Machine::Restarts(now + PROCESS_RESTART), output);
    }

    fn start(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        let after_boot = self.after_boot.take();
        let booted = matches!(self.machine, Machine::Boots(_));
        let concluded = after_boot.and_then(|kept| {
            if booted { self.boot(*kept) } else { self.check_without_reboot(*kept) }
        });
        if booted {
            self.installed_since_boot = false;
        }
        self.fresh_session = true;
        self.change(now, output, |device| device.machine = Machine::On);
        if let Some((operation, event)) = concluded {
            // Runtime 0.13 reports before its connection is up, and so the report is dropped.
            if self.flavour != Flavour::LinuxRuntime013 {
                self.report(now, operation, event, output);
            }
        }
    }

    /// Boots the slot that is up, and concludes what became of an operation.
    fn boot(&mut self, kept: AfterBoot) -> Option<(OperationId, Event)> {
        if let Some(version) = kept.boots {
            let before = std::mem::replace(&mut self.version, version);
            let published = self.published.take().unwrap_or(before);
            self.published = (published != self.version).then_some(published);
        }
        if kept.report_lost { None } else { Some((kept.operation, kept.verdict.event()?)) }
    }

    /// A Linux process that starts without a boot finds that the slot has not changed, and takes
    /// that for a rollback. The next boot changes the slot all the same.
    fn check_without_reboot(&mut self, kept: AfterBoot) -> Option<(OperationId, Event)> {
        let told = kept.verdict == Verdict::Told;
        let operation = kept.operation;
        if kept.boots.is_some() {
            self.after_boot = Some(Box::new(AfterBoot { verdict: Verdict::Told, ..kept }));
        }
        if told { None } else { Some((operation, Verdict::SystemRollback.event()?)) }
    }
}
