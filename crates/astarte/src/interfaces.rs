//! The Astarte interfaces of OTA updates, and whether a device has them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The interface through which a device is asked to update or to cancel.
pub const OTA_REQUEST: &str = "io.edgehog.devicemanager.OTARequest";
/// The interface on which a device reports about its operations.
pub const OTA_EVENT: &str = "io.edgehog.devicemanager.OTAEvent";
/// The legacy interface on which old firmware reports.
pub const OTA_RESPONSE: &str = "io.edgehog.devicemanager.OTAResponse";
/// The interface on which a device shows its base image.
pub const BASE_IMAGE: &str = "io.edgehog.devicemanager.BaseImage";

/// The interface on which a device shows its serial number and its part number.
pub const SYSTEM_INFO: &str = "io.edgehog.devicemanager.SystemInfo";

/// The version of one interface in a device's introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct InterfaceVersion {
    /// The major version: another one is another interface.
    pub major: u32,
    /// The minor version: a later one has everything of an earlier one.
    pub minor: u32,
}

/// The interfaces that a device declares, by name.
pub type Introspection = BTreeMap<String, InterfaceVersion>;

/// Why a device cannot be updated, or `None` if it can: it must understand `OTARequest` 1.0 and
/// report on `OTAEvent` 0.1, or later minor versions of these.
#[must_use]
pub fn lacks_ota_updates(introspection: &Introspection) -> Option<String> {
    let needed = [
        (OTA_REQUEST, InterfaceVersion { major: 1, minor: 0 }),
        (OTA_EVENT, InterfaceVersion { major: 0, minor: 1 }),
    ];
    needed.into_iter().find_map(|(name, needed)| {
        let InterfaceVersion { major, minor } = needed;
        match introspection.get(name) {
            Some(found) if found.major == major && found.minor >= minor => None,
            Some(found) => Some(format!(
                "the device has {name} {}.{}, and updates need {major}.{minor} or a later minor version",
                found.major, found.minor
            )),
            None => Some(format!(
                "the device does not declare {name}, and updates need {major}.{minor}"
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introspection(entries: &[(&str, u32, u32)]) -> Introspection {
        let entry = |&(name, major, minor): &(&str, u32, u32)| {
            (name.to_owned(), InterfaceVersion { major, minor })
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_later_minor_version_will_do_and_another_major_version_will_not() {
        let able = introspection(&[(OTA_REQUEST, 1, 2), (OTA_EVENT, 0, 1)]);
        assert_eq!(lacks_ota_updates(&able), None);
        for (unable, named) in [
            (introspection(&[(OTA_REQUEST, 1, 0)]), OTA_EVENT),
            (introspection(&[(OTA_EVENT, 0, 2)]), OTA_REQUEST),
            (introspection(&[(OTA_REQUEST, 0, 1), (OTA_EVENT, 0, 1)]), OTA_REQUEST),
            (introspection(&[(OTA_REQUEST, 1, 0), (OTA_EVENT, 0, 0)]), OTA_EVENT),
            (introspection(&[(OTA_REQUEST, 1, 0), (OTA_EVENT, 1, 0)]), OTA_EVENT),
        ] {
            let why = lacks_ota_updates(&unable);
            assert!(why.as_ref().is_some_and(|why| why.contains(named)), "{why:?}");
        }
    }
}
