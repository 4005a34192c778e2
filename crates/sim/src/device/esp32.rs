//! How the ESP32 firmware takes requests: it knows an update by its UUID alone, and answers every
//! request that it does not follow.

use std::time::Duration;

use hedgerow_core::OperationId;

use super::update::RunningUpdate;
use super::{Answer, Event};

pub(super) fn answer_update(running: Option<&RunningUpdate>) -> Answer {
    match running {
        None => Answer::Obey,
        Some(_) => Answer::Refuse(Event::failure("UpdateAlreadyInProgress", "")),
    }
}

pub(super) fn answer_cancel(
    running: Option<&RunningUpdate>,
    operation: OperationId,
    url: Option<&str>,
) -> Answer {
    let refuse = |message| Answer::Refuse(Event::failure("InvalidRequest", message));
    match running {
        _ if url.is_none() => refuse("Unable to extract the URL"),
        None => refuse("Unable to cancel OTA update, no update is running"),
        Some(running) if running.operation != operation => {
            refuse("Unable to cancel OTA update, another one is running")
        }
        Some(running) if running.can_be_cancelled() => Answer::Obey,
        // Looked at between the pieces of a download only.
        Some(_) => Answer::Ignore,
    }
}

/// The pause before the error of a try, counted from 1.
pub(super) fn pause_before_error(tries: u8) -> Duration {
    Duration::from_secs(2 * u64::from(tries.saturating_sub(1)))
}
