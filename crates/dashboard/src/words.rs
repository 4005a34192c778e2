//! What people read for the states and reasons of the engine: a word, and what it means.

use hedgerow_core::{CampaignStatus, FailureReason, Outcome, Phase, Settlement, TargetStatus};
use hedgerow_engine::view::CampaignEntry;
use maud::{Markup, html};

/// A word for a state, its sentence, and how it looks.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    look: &'static str,
}

const fn word(name: &'static str, look: &'static str, meaning: &'static str) -> Word {
    Word { name, meaning, look }
}

impl Word {
    pub(crate) fn badge(self) -> Markup {
        html! { span.badge.(self.look) title=(self.meaning) { (self.name) } }
    }
}

/// How a campaign stands.
pub(crate) fn campaign(entry: &CampaignEntry) -> Word {
    match (entry.status, entry.outcome) {
        (_, Some(Outcome::Success)) => {
            word("succeeded", "good", "Every device has come to its end, and few enough failed.")
        }
        (_, Some(Outcome::Failure)) => {
            word("failed", "bad", "More devices failed than may. Nothing starts any more.")
        }
        (_, Some(Outcome::Cancelled)) => word("cancelled", "over", "Somebody has ended it."),
        (_, Some(Outcome::Superseded)) => {
            word("replaced", "over", "A newer campaign for the same devices took its place.")
        }
        (CampaignStatus::Scheduled, _) => word("scheduled", "idle", "It starts later."),
        (CampaignStatus::Idle, _) => word("starting", "idle", "Its devices are being selected."),
        (CampaignStatus::InProgress, _) => {
            word("running", "busy", "Devices are updated as they come online.")
        }
        (CampaignStatus::Pausing, _) => word(
            "pausing",
            "held",
            "No further device starts; those that are being updated go on to their end.",
        ),
        (CampaignStatus::Paused, _) => {
            word("paused", "held", "No device starts until it is resumed.")
        }
        (CampaignStatus::Deleted, _) => {
            word("deleted", "over", "It was deleted before it started.")
        }
        (CampaignStatus::Finished, None) => word("finished", "over", "It has ended."),
    }
}

/// How a target stands.
pub(crate) fn target(status: TargetStatus, settlement: Settlement) -> Word {
    match (status, settlement) {
        (TargetStatus::Idle, _) => word("waiting", "idle", "Its update has not begun."),
        (TargetStatus::InProgress, _) => word("updating", "busy", "It was asked to update."),
        (TargetStatus::Successful, Settlement::UpToDate) => word(
            "up to date",
            "good",
            "It had this version already, so that nothing was sent to it.",
        ),
        (TargetStatus::Successful, Settlement::Confirmed) => {
            word("updated", "good", "It shows the new version, though its last report was lost.")
        }
        (TargetStatus::Successful, _) => word("updated", "good", "It has reported success."),
        (TargetStatus::Failed, _) => word("failed", "bad", "It was not updated."),
        (TargetStatus::Cancelled, _) => {
            word("cancelled", "over", "The campaign ended before its turn came.")
        }
    }
}

/// Why devices fail.
pub(crate) fn failure(reason: FailureReason) -> Word {
    let (name, meaning) = match reason {
        FailureReason::MissingVersion => (
            "no version",
            "The device shows no version, so that nobody can tell whether the image suits it.",
        ),
        FailureReason::InvalidVersion => {
            ("odd version", "What the device shows as its version is none.")
        }
        FailureReason::DowngradeNotAllowed => (
            "would go back",
            "The device runs a newer version. A campaign with \u{201c}force downgrade\u{201d} would update it.",
        ),
        FailureReason::AmbiguousVersionOrdering => (
            "versions alike",
            "Its version and the image's differ only in what stands behind the plus: neither is newer.",
        ),
        FailureReason::VersionRequirementNotMet => (
            "requirement not met",
            "Its version is not among those that the image may be installed on.",
        ),
        FailureReason::RequestTimeout => {
            ("no answer", "The device did not answer, however often it was asked.")
        }
        FailureReason::Stalled => {
            ("stalled", "The device began, and then reported nothing for too long.")
        }
        FailureReason::RequestRejected => {
            ("request refused", "Astarte refused the request for good.")
        }
        FailureReason::UpdateAlreadyInProgress => {
            ("busy", "The device was busy with another update each time.")
        }
        FailureReason::DeviceRemoved => ("removed", "The device does not exist any more."),
        FailureReason::InvalidRequest => {
            ("request not understood", "The device could not read what it was asked.")
        }
        FailureReason::NetworkError => ("network", "The device could not fetch the image."),
        FailureReason::IoError => ("disk", "The device could not write the image."),
        FailureReason::InternalError => ("device error", "The device's own software failed."),
        FailureReason::InvalidBaseImage => {
            ("image not taken", "The device found the image unfit or damaged.")
        }
        FailureReason::SystemRollback => {
            ("went back", "The device restarted and went back to what it had.")
        }
        FailureReason::Canceled => {
            ("cancelled on the device", "The device said that the update was cancelled.")
        }
        _ => ("other", "The device reported a failure of another kind."),
    };
    word(name, "bad", meaning)
}

/// How far an operation is.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "asked, no answer yet",
        Phase::Acknowledged => "has taken the request",
        Phase::Downloading => "downloading",
        Phase::Deploying => "installing",
        Phase::Deployed => "installed",
        Phase::Rebooting => "restarting",
        Phase::Error => "in trouble, going on",
        Phase::Success => "done",
        Phase::Failure => "failed",
    }
}
