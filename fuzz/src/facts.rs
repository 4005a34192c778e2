//! Events of a campaign, made from numbers: most of them make sense somewhere in a log.

use std::num::NonZeroU32;
use std::time::Duration;

use arbitrary::Arbitrary;
use hedgerow_core::event::{
    AttemptDeferred, CampaignEvent, CampaignFinished, CampaignPaused, CampaignPausing,
    CampaignResumed, CampaignStarted, CancelSent, Confirmation, LateReportReceived, LimitsChanged,
    OperationDeferred, OperationFailed, OperationFailure, OperationReadmitted, OperationRefused,
    OperationReported, OperationStarted, OperationSucceeded, RequestAccepted, RequestReissued,
    RequestResent, ResendFailed, ResendMissed, SnapshotExtended, TargetFailed, TargetFailure,
    TargetUpToDate,
};
use hedgerow_core::{
    DeviceId, NewEvent, OperationId, Outcome, Phase, ReportStatus, RolloutLimits, StatusCode,
    StreamId, Timestamp,
};
use uuid::Uuid;

use crate::campaign_world::{CAMPAIGN, DEVICES, device, percentage};

/// One fact of a log, with the seconds since the one before.
#[derive(Arbitrary, Debug)]
pub struct Fact {
    seconds: u16,
    kind: u8,
    device: u8,
    number: u8,
    wait: u16,
}

impl Fact {
    /// The event, as it is read back from a store, and how long after the one before it happened.
    ///
    /// # Panics
    /// If the event is not read back equal.
    #[must_use]
    pub fn event(&self, at: Timestamp) -> (Duration, CampaignEvent) {
        let event = self.build(at);
        let stored = NewEvent {
            event_type: event.event_type().to_owned(),
            schema_version: event.schema_version(),
            recorded_at: at,
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            data: event.to_json(),
        };
        let read = CampaignEvent::from_new(StreamId::Campaign(CAMPAIGN), &stored);
        assert_eq!(read.as_ref(), Ok(&event), "an event is read back equal");
        (Duration::from_secs(self.seconds.into()), event)
    }

    fn build(&self, at: Timestamp) -> CampaignEvent {
        let device = device(self.device);
        let not_before = at + Duration::from_secs(self.wait.into());
        let detail = "down".to_owned();
        match self.kind % 26 {
            0 => {
                let devices = (0..=self.number % DEVICES).map(crate::campaign_world::device);
                SnapshotExtended { devices: devices.collect() }.into()
            }
            1 => CampaignStarted { targets: u32::from(self.number % (DEVICES + 1)) }.into(),
            2 => CampaignPausing {}.into(),
            3 => CampaignPaused {}.into(),
            4 => CampaignResumed {}.into(),
            5 => self.limits(),
            6 => self.finished(),
            7 => TargetUpToDate { device }.into(),
            8 => TargetFailed { device, reason: TargetFailure::DeviceRemoved }.into(),
            9 => AttemptDeferred { device, not_before, detail }.into(),
            // Twice, as most others need it before them.
            10 | 11 => self.started(device),
            12 => RequestAccepted { device }.into(),
            13 => OperationDeferred { device, not_before, detail }.into(),
            14 => RequestResent { device }.into(),
            15 => ResendMissed { device }.into(),
            16 => RequestReissued { device }.into(),
            17 => ResendFailed { device, detail }.into(),
            18 | 19 => self.reported(device),
            20 => OperationReadmitted { device }.into(),
            21 => OperationRefused { device, not_before }.into(),
            22 => {
                let shown = self.number.is_multiple_of(2);
                let confirmation =
                    if shown { Confirmation::BaseImage } else { Confirmation::Reported };
                OperationSucceeded { device, confirmation }.into()
            }
            23 => OperationFailed { device, reason: self.failure() }.into(),
            24 => CancelSent { device, refused: None }.into(),
            _ => self.late(device),
        }
    }

    fn limits(&self) -> CampaignEvent {
        let pending = NonZeroU32::MIN.saturating_add(u32::from(self.number % DEVICES));
        let Some(failed) = percentage(self.device) else { return CampaignResumed {}.into() };
        let mut limits = RolloutLimits::new(pending, failed);
        limits.operation.request_retries = self.wait % 4;
        limits.operation.stall_timeout =
            (self.wait % 8 > 3).then(|| Duration::from_secs(self.wait.into()));
        LimitsChanged { limits }.into()
    }

    fn finished(&self) -> CampaignEvent {
        let outcomes =
            [Outcome::Success, Outcome::Failure, Outcome::Cancelled, Outcome::Superseded];
        let outcome = outcomes[usize::from(self.number) % outcomes.len()];
        CampaignFinished { outcome, stop_operations: self.wait % 2 == 1 }.into()
    }

    fn operation(&self, device: DeviceId) -> OperationId {
        OperationId::of_campaign(CAMPAIGN, device, u16::from(self.number % 3))
    }

    fn started(&self, device: DeviceId) -> CampaignEvent {
        let operation = self.operation(device);
        OperationStarted { device, operation, from_version: "1.0.0".to_owned(), url: None }.into()
    }

    fn reported(&self, device: DeviceId) -> CampaignEvent {
        OperationReported {
            device,
            phase: Phase::ALL[usize::from(self.number) % Phase::ALL.len()],
            progress: self.number % 101,
            code: None,
            message: String::new(),
            observed_at: Some(Timestamp::from_millis(i64::from(self.wait))),
        }
        .into()
    }

    fn failure(&self) -> OperationFailure {
        match self.number % 6 {
            0 => OperationFailure::RequestTimeout,
            1 => OperationFailure::Stalled,
            2 => OperationFailure::RequestRejected { detail: "no".to_owned() },
            3 => OperationFailure::Reported {
                code: Some(StatusCode::IoError),
                message: String::new(),
            },
            4 => OperationFailure::SystemRollback { version: None },
            _ => OperationFailure::UpdateAlreadyInProgress,
        }
    }

    fn late(&self, device: DeviceId) -> CampaignEvent {
        let operation = self.operation(device);
        LateReportReceived { device, operation, status: ReportStatus::Failure, code: None }.into()
    }
}
