//! An update from its acknowledgement to the reboot, step by step.

use std::time::Duration;

use hedgerow_core::{OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::machine::{AfterBoot, Machine, Verdict};
use super::profile::{Fate, MAX_TRIES, Plan};
use super::{DeviceOutput, Event, Flavour, STREAM_ATTEMPTS, SimulatedDevice, esp32, linux};

/// Between the acknowledgement and the beginning of the download.
const PREPARATION: Duration = Duration::from_millis(20);
/// Between the report `Rebooting` and the end of the process.
const REBOOT_PAUSE: Duration = Duration::from_secs(5);
/// A Linux device reports progress when it has grown by so many points; the ESP32 in such steps.
const REPORTED_POINTS: u8 = 10;

/// The update that a device is working on. It lives in memory: a restart forgets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunningUpdate {
    pub(super) operation: OperationId,
    url: Box<str>,
    installs: Option<Box<str>>,
    pub(super) plan: Plan,
    phase: Phase,
    pub(super) next_step_at: Timestamp,
    pub(super) network_loss_at: Option<Timestamp>,
    /// A cancellation came too late: the update goes on, but the part of the Linux runtime that
    /// takes requests believes that there is none.
    pub(super) disowned: bool,
}

/// What the update is at. `tries` counts the tries to download that have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Acknowledged,
    Downloading { tries: u8, since: Timestamp, reported: u8 },
    BetweenTries { tries: u8 },
    Deploying { since: Timestamp, reported: u8 },
    Rebooting,
}

impl RunningUpdate {
    pub(super) fn is(&self, operation: OperationId, url: &str) -> bool {
        self.operation == operation && *self.url == *url
    }

    pub(super) const fn can_be_cancelled(&self) -> bool {
        matches!(
            self.phase,
            Phase::Acknowledged | Phase::Downloading { .. } | Phase::BetweenTries { .. }
        )
    }

    /// The percentage at which the present download ends before its time.
    fn download_ends_at(&self, tries: u8) -> Option<u8> {
        if tries < self.plan.failing_tries {
            Some(self.plan.breaks_off_at)
        } else {
            (self.plan.fate == Fate::PowerLossDownloading).then_some(self.plan.strikes_at)
        }
    }

    /// How long the whole download takes. A server that has no image answers with a few bytes.
    fn download_ms(&self) -> u32 {
        if self.installs.is_some() { self.plan.download_ms } else { 0 }
    }

    /// The percentage of the download at which something happens next.
    fn next_download_mark(&self, tries: u8, reported: u8) -> u8 {
        let steps = if self.installs.is_some() { self.plan.download_steps } else { 1 };
        next_mark(steps, reported, self.download_ends_at(tries))
    }

    /// The percentage at which the installation ends before its time.
    fn deploy_ends_at(&self) -> Option<u8> {
        matches!(self.plan.fate, Fate::PowerLossDeploying | Fate::InstallFails)
            .then_some(self.plan.strikes_at)
    }
}

/// The next percentage, of those that `steps` equal steps reach, that is worth a report after
/// `reported`; or `end` if that comes first.
fn next_mark(steps: u8, reported: u8, end: Option<u8>) -> u8 {
    let steps = u16::from(steps.clamp(1, 100));
    let wanted = u16::from(reported) + u16::from(REPORTED_POINTS);
    let mark = (1..=steps)
        .map(|step| step * 100 / steps)
        .find(|&percent| percent >= wanted)
        .and_then(|percent| u8::try_from(percent).ok())
        .unwrap_or(100);
    end.map_or(mark, |end| end.min(mark))
}

/// The time of a percentage of something that takes `total_ms`.
fn mark_time(since: Timestamp, total_ms: u32, percent: u8) -> Timestamp {
    since + Duration::from_millis(u64::from(total_ms) * u64::from(percent) / 100)
}

impl SimulatedDevice {
    /// Begins an update.
    pub(super) fn accept(
        &mut self,
        now: Timestamp,
        operation: OperationId,
        url: String,
        installs: Option<String>,
        output: &mut Vec<DeviceOutput>,
    ) {
        self.attempts = self.attempts.wrapping_add(1);
        let mut random = self.random(STREAM_ATTEMPTS | u64::from(self.attempts));
        let plan = Plan::draw(&self.profile, &mut random);
        let update = RunningUpdate {
            operation,
            url: url.into(),
            installs: installs.map(Into::into),
            plan,
            phase: Phase::Acknowledged,
            next_step_at: now + PREPARATION,
            network_loss_at: plan
                .network_loss_after_ms
                .map(|ms| now + Duration::from_millis(ms.into())),
            disowned: false,
        };
        if self.flavour == Flavour::Esp32 {
            // It stores the UUID first of all, and takes it for an accident if it finds it again.
            self.keep(&update, Verdict::InternalError, None);
        }
        self.update = Some(Box::new(update));
        self.report(now, operation, Event::status("Acknowledged"), output);
    }

    /// Takes the running update one step further.
    pub(super) fn step(&mut self, now: Timestamp, output: &mut Vec<DeviceOutput>) {
        let Some(mut update) = self.update.take() else { return };
        let next = match update.phase {
            Phase::Acknowledged if update.plan.fate == Fate::Dies => {
                self.lose_power(now, Machine::Off, output);
                None
            }
            Phase::Acknowledged => Some(self.begin_try(&mut update, 0, now, output)),
            Phase::Downloading { tries, since, reported } => {
                self.download(&mut update, (tries, since, reported), now, output)
            }
            Phase::BetweenTries { tries } => self.end_pause(&mut update, tries, now, output),
            Phase::Deploying { since, reported } => {
                self.deploy(&mut update, since, reported, now, output)
            }
            Phase::Rebooting => {
                self.lose_power(now, Machine::Boots(now + update.plan.boot()), output);
                None
            }
        };
        if let Some(at) = next {
            update.next_step_at = at;
            self.update = Some(update);
        }
    }

    // The steps below return when the next one is due; `None` if the update has ended.

    fn begin_try(
        &self,
        update: &mut RunningUpdate,
        tries: u8,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Timestamp {
        if tries == 0 || self.flavour == Flavour::Esp32 {
            self.report(now, update.operation, Event::status("Downloading"), output);
        }
        update.phase = Phase::Downloading { tries, since: now, reported: 0 };
        let mark = update.next_download_mark(tries, 0);
        mark_time(now, update.download_ms(), mark)
    }

    fn download(
        &mut self,
        update: &mut RunningUpdate,
        (tries, since, reported): (u8, Timestamp, u8),
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Option<Timestamp> {
        let mark = update.next_download_mark(tries, reported);
        if update.download_ends_at(tries) == Some(mark) {
            if tries < update.plan.failing_tries {
                return Some(self.fail_try(update, tries + 1, now, output));
            }
            self.lose_power_for_a_while(&update.plan, now, output);
            return None;
        }
        let percent = match self.flavour {
            Flavour::Esp32 => mark - mark % REPORTED_POINTS,
            Flavour::LinuxRuntime011 | Flavour::LinuxRuntime013 => mark,
        };
        self.report(now, update.operation, Event::progress("Downloading", percent, ""), output);
        if mark < 100 {
            update.phase = Phase::Downloading { tries, since, reported: percent };
            let next = update.next_download_mark(tries, percent);
            return Some(mark_time(since, update.download_ms(), next));
        }
        if update.installs.is_none() || update.plan.fate == Fate::BadImage {
            let message = match self.flavour {
                Flavour::Esp32 => "",
                _ => "Unable to get info from ota_file in /var/lib/edgehog/update.bin",
            };
            let failure = Event::failure("InvalidBaseImage", message);
            self.report(now, update.operation, failure, output);
            return None;
        }
        Some(self.begin_deploying(update, now, output))
    }

    fn fail_try(
        &self,
        update: &mut RunningUpdate,
        tries: u8,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Timestamp {
        update.phase = Phase::BetweenTries { tries };
        if self.flavour == Flavour::Esp32 {
            return now + esp32::pause_before_error(tries);
        }
        let message = match update.plan.breaks_off_at {
            0 => "Error downloading update",
            _ => "Unable to parse response",
        };
        self.report(now, update.operation, Event::error("NetworkError", message), output);
        now + linux::pause_after_error(tries)
    }

    fn end_pause(
        &self,
        update: &mut RunningUpdate,
        tries: u8,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Option<Timestamp> {
        let message = match self.flavour {
            Flavour::Esp32 => {
                // The code is not the one of the interface's description; devices send this one.
                self.report(now, update.operation, Event::error("ErrorNetwork", ""), output);
                ""
            }
            _ => "Too many attempts to download the OTA file",
        };
        if tries < MAX_TRIES {
            return Some(self.begin_try(update, tries, now, output));
        }
        self.report(now, update.operation, Event::failure("InternalError", message), output);
        None
    }

    fn begin_deploying(
        &mut self,
        update: &mut RunningUpdate,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Timestamp {
        if self.flavour != Flavour::Esp32 {
            // It stores the slot that runs: to find it again after a start means a rollback.
            self.keep(update, Verdict::SystemRollback, None);
        }
        self.report(now, update.operation, Event::status("Deploying"), output);
        update.phase = Phase::Deploying { since: now, reported: 0 };
        mark_time(now, update.plan.deploy_ms, self.next_deploy_mark(update, 0))
    }

    /// The ESP32 reports no progress here, and neither does a Linux device that has installed
    /// something since it booted: its installer still says 100 from that time.
    fn next_deploy_mark(&self, update: &RunningUpdate, reported: u8) -> u8 {
        let quiet = self.flavour == Flavour::Esp32 || self.installed_since_boot;
        let steps = if quiet { 1 } else { update.plan.deploy_steps };
        next_mark(steps, reported, update.deploy_ends_at())
    }

    fn deploy(
        &mut self,
        update: &mut RunningUpdate,
        since: Timestamp,
        reported: u8,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) -> Option<Timestamp> {
        let mark = self.next_deploy_mark(update, reported);
        if update.deploy_ends_at() == Some(mark) {
            if update.plan.fate == Fate::PowerLossDeploying {
                self.lose_power_for_a_while(&update.plan, now, output);
            } else {
                self.fail_installation(update, now, output);
            }
            return None;
        }
        if mark < 100 {
            let event = Event::progress("Deploying", mark, "Copying image to rootfs");
            self.report(now, update.operation, event, output);
            update.phase = Phase::Deploying { since, reported: mark };
            let next = self.next_deploy_mark(update, mark);
            return Some(mark_time(since, update.plan.deploy_ms, next));
        }
        self.installed_since_boot = true;
        if update.plan.fate == Fate::RollsBack {
            self.keep(update, Verdict::SystemRollback, None);
        } else {
            self.keep(update, Verdict::Success, update.installs.clone());
        }
        self.report(now, update.operation, Event::status("Deployed"), output);
        self.report(now, update.operation, Event::status("Rebooting"), output);
        update.phase = Phase::Rebooting;
        Some(now + REBOOT_PAUSE)
    }

    fn fail_installation(
        &mut self,
        update: &RunningUpdate,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) {
        self.installed_since_boot = true;
        let message = if self.flavour == Flavour::Esp32 {
            // Its stored UUID stays: the next boot reports the operation once more.
            ""
        } else {
            self.after_boot = None;
            "Update failed with signal 1"
        };
        self.report(now, update.operation, Event::failure("InvalidBaseImage", message), output);
    }

    fn keep(&mut self, update: &RunningUpdate, verdict: Verdict, boots: Option<Box<str>>) {
        self.after_boot = Some(Box::new(AfterBoot {
            operation: update.operation,
            verdict,
            boots,
            report_lost: update.plan.final_report_lost,
        }));
    }

    fn lose_power_for_a_while(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        output: &mut Vec<DeviceOutput>,
    ) {
        self.lose_power(now, Machine::Boots(now + plan.outage() + plan.boot()), output);
    }
}
