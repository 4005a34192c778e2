//! The objects of the API, one file for each that has a life of its own.

use hedgerow_core::DeviceId;

use crate::id;
use crate::record::{Answer, Ask};

pub(crate) mod campaign;
pub(crate) mod operation;
pub(crate) mod plain;
pub(crate) mod target;

/// A device, also one that nobody knows anything of.
pub(crate) fn device(device: DeviceId, _: &Ask) -> Answer {
    Answer::object(
        plain::Plain::new("Device")
            .with("id", id::global("device", device))
            .with("deviceId", device.to_string())
            .with("name", device.to_string())
            .with("online", false),
    )
}
