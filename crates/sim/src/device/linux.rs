//! How the Linux runtime takes requests: it knows an update by its UUID *and* its URL.

use std::time::Duration;

use hedgerow_core::OperationId;

use super::update::RunningUpdate;
use super::{Answer, Event};

pub(super) fn answer_update(
    running: Option<&RunningUpdate>,
    operation: OperationId,
    url: &str,
) -> Answer {
    match running {
        None => Answer::Obey,
        // Taken into a queue that the coming reboot empties.
        Some(running) if running.disowned => Answer::Ignore,
        Some(running) if running.is(operation, url) => Answer::Ignore,
        Some(_) => Answer::Refuse(Event::failure("UpdateAlreadyInProgress", "")),
    }
}

pub(super) fn answer_cancel(
    running: Option<&mut RunningUpdate>,
    operation: OperationId,
    url: &str,
) -> Answer {
    match running.filter(|running| !running.disowned) {
        None => Answer::Refuse(Event::failure(
            "InternalError",
            "Unable to cancel OTA request, internal request is empty",
        )),
        Some(running) if !running.is(operation, url) => Answer::Refuse(Event::failure(
            "InternalError",
            "Unable to cancel OTA request, they have different identifier",
        )),
        Some(running) if running.can_be_cancelled() => Answer::Obey,
        Some(running) => {
            running.disowned = true;
            Answer::Ignore
        }
    }
}

/// The pause after the error of a try, counted from 1, and before the next.
pub(super) fn pause_after_error(tries: u8) -> Duration {
    Duration::from_secs(1 << tries.min(6))
}
