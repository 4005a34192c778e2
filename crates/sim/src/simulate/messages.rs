//! Messages from devices and from the platform on their way to the engines: lost, late, twice, out of
//! order, or lies.

use hedgerow_core::{DeviceId, OperationReport, Presence, ReportStatus, StatusCode};
use hedgerow_engine::Observation;

use super::fault::FaultKind;
use super::world::{Happening, Inner};

/// The longest message of a device that lies.
const LONG_MESSAGE: usize = 20_000;

/// So many reports of each device are stored.
const STORED: usize = 3;

impl Inner {
    /// A device reports: what it says is stored, and is on its way; one that lies says other things.
    pub(super) fn report(&mut self, index: u32, mut report: OperationReport) {
        let (tenant, device) = self.who(index);
        self.note(Some(device), None, || {
            format!(
                "device reports {:?} {} % of {}",
                report.status, report.progress, report.operation
            )
        });
        let stored = &mut self.things[index as usize].stored;
        stored.truncate(STORED - 1);
        stored.push_front(report.clone());
        if !self.things[index as usize].liar {
            return self.message(tenant, Observation::Report(report));
        }
        if self.faults.happens(FaultKind::LieSuccess) {
            self.lied(device, "says Success instead");
            report.status = ReportStatus::Success;
            report.code = None;
        }
        if self.faults.happens(FaultKind::LieCode) {
            self.lied(device, "sends a code that there is not, and too much text");
            report.code = StatusCode::from_wire("ErrorÜnknown/\u{0}\u{1f41b}");
            report.message = "🐛".repeat(LONG_MESSAGE);
            report.progress = 255;
        }
        let backwards = self.faults.happens(FaultKind::LieBackwards).then(|| OperationReport {
            status: ReportStatus::Downloading,
            progress: report.progress / 2,
            ..report.clone()
        });
        let foreign = self.faults.happens(FaultKind::LieForeign);
        self.message(tenant, Observation::Report(report));
        if let Some(report) = backwards {
            self.lied(device, "goes back to Downloading");
            self.message(tenant, Observation::Report(report));
        }
        if foreign {
            self.lie_about_another(tenant, device);
        }
    }

    fn lied(&mut self, device: DeviceId, how: &'static str) {
        self.mark(Some(device), || format!("lie: device {how}"));
    }

    fn lie_about_another(&mut self, tenant: usize, device: DeviceId) {
        let known = self.sent.len() as u64;
        let place = usize::try_from(self.faults.random().below(known)).unwrap_or(0);
        let Some((of, other, operation)) = self.sent.get(place).copied() else { return };
        if (of, other) == (tenant, device) {
            return;
        }
        self.lied(device, "reports the success of another device's operation");
        let status = ReportStatus::Success;
        self.message(tenant, Observation::Report(OperationReport::new(device, operation, status)));
    }

    /// The platform tells that a device connected or disconnected.
    pub(super) fn notice(&mut self, index: u32) {
        let known = self.register.at(index);
        if known.removed {
            return;
        }
        let (presence, tenant, device) = (known.presence(), known.tenant, known.id);
        self.thing(index).notice_owed = true;
        let lost = self.faults.happens(FaultKind::NoticeLost);
        let mut delay = self.latency();
        let late = self.faults.happens(FaultKind::NoticeDelayed);
        if late {
            delay += self.some_ms(60_000);
        }
        let word = match presence {
            Presence::Online { .. } => "connects",
            Presence::Offline => "disconnects",
        };
        self.note(Some(device), None, || {
            let fate = match (lost, late) {
                (true, _) => ", and nobody is told",
                (false, true) => ", and that is told late",
                (false, false) => "",
            };
            format!("device {word}{fate}")
        });
        if !lost {
            self.schedule_in(
                delay,
                Happening::Tell(tenant, Observation::Presence { device, presence }),
            );
        }
    }

    /// A device sends something.
    pub(super) fn message(&mut self, tenant: usize, observation: Observation) {
        let device = device_of(&observation);
        if self.faults.happens(FaultKind::MessageLost) {
            self.mark(Some(device), || "message_lost".to_owned());
            return;
        }
        let mut delay = self.latency();
        if self.faults.happens(FaultKind::MessageReordered) {
            delay += self.some_ms(2_000);
            self.mark(Some(device), || format!("message_reordered by {delay:?}"));
        }
        if self.faults.happens(FaultKind::MessageDelayed) {
            delay += self.some_ms(300_000);
            self.mark(Some(device), || format!("message_delayed by {delay:?}"));
        }
        if self.faults.happens(FaultKind::MessageDuplicated) {
            let again = delay + self.some_ms(30_000);
            self.mark(Some(device), || "message_duplicated".to_owned());
            self.schedule_in(again, Happening::Tell(tenant, observation.clone()));
        }
        self.schedule_in(delay, Happening::Tell(tenant, observation));
    }

    /// Tells once more where devices are: all of them, or those of which the platform told last what
    /// is not so.
    pub(super) fn notices(&mut self) {
        for index in 0..u32::try_from(self.things.len()).unwrap_or(u32::MAX) {
            if self.tells_all_again || self.things[index as usize].notice_owed {
                self.notice(index);
            }
        }
    }

    /// Somebody is told where a device is: as it is, or as it was.
    pub(super) fn presence_told(&mut self, tenant: usize, device: DeviceId, told: Presence) {
        let now = self.register.presence(tenant, device);
        let is_online = now.map(|now| now != Presence::Offline);
        if let Some(index) = self.register.place(tenant, device) {
            self.thing(index).notice_owed =
                is_online.is_some_and(|now| now != (told != Presence::Offline));
        }
    }
}

/// The device that an observation is about.
pub(super) fn device_of(observation: &Observation) -> DeviceId {
    match observation {
        Observation::Report(report) => report.device,
        Observation::Presence { device, .. }
        | Observation::BaseImageChanged { device }
        | Observation::DeviceRemoved { device } => *device,
    }
}
