//! What is to be in a realm.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::release::{Release, WITH_POLICIES, WITH_REGISTRATION};
use crate::interfaces::{BASE_IMAGE, OTA_EVENT, SYSTEM_INFO};
use crate::redact::{excerpt, without_queries};

const OTA_REQUEST_DEFINITION: &str = include_str!("../../interfaces/OTARequest.json");
const OTA_EVENT_DEFINITION: &str = include_str!("../../interfaces/OTAEvent.json");
const STORED_OTA_EVENT_DEFINITION: &str = include_str!("../../interfaces/stored/OTAEvent.json");
const BASE_IMAGE_DEFINITION: &str = include_str!("../../interfaces/BaseImage.json");
const SYSTEM_INFO_DEFINITION: &str = include_str!("../../interfaces/SystemInfo.json");

/// The name of the delivery policy.
const POLICY: &str = "hedgerow-keep-trying";
/// The longest URL that Astarte takes.
const LONGEST_URL: usize = 8_192;

/// What the triggers are to do.
#[derive(Clone)]
pub struct InstallSettings {
    events_url: String,
    secret: Option<(HeaderName, HeaderValue)>,
    stored_events: bool,
    system_info: bool,
}

impl fmt::Debug for InstallSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallSettings")
            .field("events_url", &without_queries(&self.events_url))
            .field("stored_events", &self.stored_events)
            .finish_non_exhaustive()
    }
}

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallSettingsError {
    /// The URL is none that Astarte can deliver to.
    #[error(
        "{text:?} is not a URL for triggers: give the http or https URL of the service's trigger endpoint, at most 8192 bytes"
    )]
    EventsUrl {
        /// What was given, without its query, cut after 200 characters.
        text: String,
    },
    /// The secret header cannot be one.
    #[error(
        "this secret header cannot be sent: give a name such as X-Hedgerow-Secret and a value of visible ASCII characters"
    )]
    Secret,
}

impl InstallSettings {
    /// Triggers that deliver to that URL.
    ///
    /// # Errors
    /// [`InstallSettingsError::EventsUrl`].
    pub fn new(events_url: &str) -> Result<Self, InstallSettingsError> {
        let url = Url::parse(events_url).ok();
        let is_http = url.is_some_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http || events_url.len() > LONGEST_URL {
            let text = excerpt(&without_queries(events_url), 200);
            return Err(InstallSettingsError::EventsUrl { text });
        }
        Ok(Self {
            events_url: events_url.to_owned(),
            secret: None,
            stored_events: false,
            system_info: false,
        })
    }

    /// Every delivery has this header, which the endpoint asks for.
    ///
    /// # Errors
    /// [`InstallSettingsError::Secret`].
    pub fn with_secret(mut self, name: &str, value: &str) -> Result<Self, InstallSettingsError> {
        let name = HeaderName::from_str(name).map_err(|_| InstallSettingsError::Secret)?;
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(value).ok().filter(|_| is_plain);
        self.secret = Some((name, value.ok_or(InstallSettingsError::Secret)?));
        Ok(self)
    }

    /// `OTAEvent` 0.2, whose reports a device keeps until they are sent, in place of 0.1. Devices
    /// need it too: it cures that the newest Linux runtime loses its final report.
    #[must_use]
    pub fn with_stored_events(mut self) -> Self {
        self.stored_events = true;
        self
    }

    /// Also `SystemInfo`, on which devices show their part numbers, and a trigger for it: for a
    /// service that finds the System Model of a device by its part number.
    #[must_use]
    pub fn with_system_info(mut self) -> Self {
        self.system_info = true;
        self
    }
}

/// What is to be in a realm.
#[derive(Clone)]
pub struct Installation {
    pub(super) interfaces: Vec<Value>,
    pub(super) policy: Wanted,
    /// What updates cannot do without comes first.
    pub(super) triggers: Vec<Wanted>,
}

/// A policy or a trigger as it is to be, apart from its name and its policy.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) body: Value,
    /// The first Astarte that has such.
    pub(super) since: Option<Release>,
}

impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The triggers can have a secret.
        f.debug_struct("Installation").finish_non_exhaustive()
    }
}

/// What kind of thing of a realm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An interface.
    Interface,
    /// A trigger delivery policy.
    Policy,
    /// A trigger.
    Trigger,
}

impl Kind {
    /// Where such things stand in Realm Management.
    pub(super) fn collection(self) -> &'static str {
        match self {
            Self::Interface => "interfaces",
            Self::Policy => "policies",
            Self::Trigger => "triggers",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interface => "interface",
            Self::Policy => "policy",
            Self::Trigger => "trigger",
        })
    }
}

impl Installation {
    /// What these settings ask for.
    #[must_use]
    pub fn new(settings: &InstallSettings) -> Self {
        let event =
            if settings.stored_events { STORED_OTA_EVENT_DEFINITION } else { OTA_EVENT_DEFINITION };
        let mut definitions = vec![OTA_REQUEST_DEFINITION, event, BASE_IMAGE_DEFINITION];
        if settings.system_info {
            definitions.push(SYSTEM_INFO_DEFINITION);
        }
        let interfaces = definitions.iter().map(|text| serde_json::from_str(text));
        let device = |on: &str| json!({"type": "device_trigger", "on": on});
        let data = |interface: &str| {
            json!({
                "type": "data_trigger", "on": "incoming_data", "interface_name": interface,
                "interface_major": 0, "match_path": "/*", "value_match_operator": "*",
            })
        };
        let later = Some(WITH_REGISTRATION);
        let triggers = [
            ("hedgerow-ota-event", data(OTA_EVENT), None),
            ("hedgerow-base-image", data(BASE_IMAGE), None),
            ("hedgerow-connected", device("device_connected"), None),
            ("hedgerow-disconnected", device("device_disconnected"), None),
            ("hedgerow-deletion-finished", device("device_deletion_finished"), later),
            ("hedgerow-registered", device("device_registered"), later),
        ];
        let system_info =
            settings.system_info.then(|| ("hedgerow-system-info", data(SYSTEM_INFO), None));
        let triggers = triggers.into_iter().chain(system_info).map(|(name, simple, since)| {
            let body =
                json!({"name": name, "action": action(settings), "simple_triggers": [simple]});
            Wanted { kind: Kind::Trigger, body, since }
        });
        Self {
            // The definitions are part of this crate, and a test reads each.
            interfaces: interfaces.filter_map(Result::ok).collect(),
            policy: Wanted { kind: Kind::Policy, body: policy(), since: Some(WITH_POLICIES) },
            triggers: triggers.collect(),
        }
    }

    /// The definitions of the interfaces, as devices need them too.
    #[must_use]
    pub fn interfaces(&self) -> &[Value] {
        &self.interfaces
    }
}

fn action(settings: &InstallSettings) -> Value {
    let mut action = json!({"http_url": settings.events_url, "http_method": "post"});
    if let Some((name, value)) = &settings.secret {
        action["http_static_headers"] = json!({
            name.as_str(): String::from_utf8_lossy(value.as_bytes())
        });
    }
    action
}

/// Astarte tries again at once, without a pause, and gives up after so many times: as many as it
/// allows. What is refused with 4xx is refused for good.
fn policy() -> Value {
    json!({
        "name": POLICY,
        "maximum_capacity": 1_000_000,
        "retry_times": 100,
        "event_ttl": 86_400,
        "error_handlers": [
            {"on": "server_error", "strategy": "retry"},
            {"on": "client_error", "strategy": "discard"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use astarte_interfaces::Interface;

    fn read(text: &str) -> Interface {
        text.parse().expect("a definition that Astarte's own library takes")
    }

    #[test]
    fn the_definitions_are_those_of_the_protocol() {
        let expected = [
            (OTA_REQUEST_DEFINITION, "OTARequest", (1, 0), 3),
            (OTA_EVENT_DEFINITION, "OTAEvent", (0, 1), 5),
            (STORED_OTA_EVENT_DEFINITION, "OTAEvent", (0, 2), 5),
            (BASE_IMAGE_DEFINITION, "BaseImage", (0, 1), 4),
            (SYSTEM_INFO_DEFINITION, "SystemInfo", (0, 1), 2),
        ];
        for (text, name, (major, minor), mappings) in expected {
            let interface = read(text);
            assert_eq!(interface.interface_name(), format!("io.edgehog.devicemanager.{name}"));
            assert_eq!((interface.version_major(), interface.version_minor()), (major, minor));
            assert_eq!(interface.ownership().is_server(), name == "OTARequest");
            let is_shown = matches!(name, "BaseImage" | "SystemInfo");
            assert_eq!(interface.is_properties(), is_shown);
            assert_eq!(interface.is_datastream_object(), !is_shown);
            let value: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(value["mappings"].as_array().map(Vec::len), Some(mappings));
        }
    }

    #[test]
    fn stored_events_are_a_legal_minor_update() {
        let (plain, stored) = (read(OTA_EVENT_DEFINITION), read(STORED_OTA_EVENT_DEFINITION));
        assert!(stored.validate_with(&plain).is_ok());
        let retention = |text| {
            let value: Value = serde_json::from_str(text).expect("JSON");
            value["mappings"][0]["retention"].clone()
        };
        assert_eq!(retention(OTA_EVENT_DEFINITION), Value::Null);
        assert_eq!(retention(STORED_OTA_EVENT_DEFINITION), "stored");
    }

    #[test]
    fn an_installation_has_everything_and_shows_no_secret() {
        let settings = InstallSettings::new("https://service.example/triggers").expect("a URL");
        let settings = settings.with_secret("X-Secret", "s3cret").expect("a header");
        let installation = Installation::new(&settings);
        assert_eq!(installation.interfaces.len(), 3);
        assert_eq!(installation.triggers.len(), 6);
        let with_more = Installation::new(&settings.clone().with_system_info());
        assert_eq!((with_more.interfaces.len(), with_more.triggers.len()), (4, 7));
        let headers = &installation.triggers[0].body["action"]["http_static_headers"];
        assert_eq!(headers, &json!({"x-secret": "s3cret"}));
        assert!(!format!("{settings:?} {installation:?}").contains("s3cret"));
    }

    #[test]
    fn settings_that_astarte_could_not_use_are_refused() {
        let long = format!("https://a.example/{}", "a".repeat(9_000));
        for url in ["", "service.example/triggers", "ftp://a.example/", long.as_str()] {
            assert!(InstallSettings::new(url).is_err(), "{url}");
        }
        for (name, value) in [("", "v"), ("a b", "v"), ("X-Secret", ""), ("X-Secret", "a b\n")] {
            let settings = InstallSettings::new("https://a.example/").expect("a URL");
            let refused = settings.with_secret(name, value);
            assert_eq!(refused.err(), Some(InstallSettingsError::Secret), "{name:?} {value:?}");
        }
    }
}
