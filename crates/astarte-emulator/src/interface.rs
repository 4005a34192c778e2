//! An interface as a realm has it installed: its definition as it was given, and what the rest of
//! the emulator asks of it.

use std::str::FromStr;
use std::time::Duration;

use astarte_interfaces::interface::InterfaceTypeAggregation;
use astarte_interfaces::schema::{MappingType, Ownership, Reliability};
use astarte_interfaces::{AggregationIndividual, Interface, InterfaceMapping, MappingPath, Schema};
use mqttbytes::QoS;
use serde_json::Value;

/// A definition that is longer is not parsed.
pub(crate) const DEFINITION_LENGTH_MAX: usize = 256 * 1024;

/// The definition of an interface is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// It is longer than any real one.
    #[error("the definition is {length} bytes long, more than {DEFINITION_LENGTH_MAX}")]
    TooLong {
        /// In bytes.
        length: usize,
    },
    /// It is not JSON.
    #[error("the definition is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It breaks a rule of Astarte's interfaces.
    #[error("the definition is not one of an interface: {0}")]
    Definition(#[from] astarte_interfaces::error::Error),
}

/// An installed interface.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    definition: Value,
    interface: Interface,
}

/// What a path of an interface takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `None` for an object, whose keys have types of their own.
    pub(crate) kind: Option<MappingType>,
    pub(crate) quality: QoS,
    pub(crate) explicit_timestamp: bool,
    pub(crate) allow_unset: bool,
    /// How long values are kept; `None`: for ever.
    pub(crate) time_to_live: Option<Duration>,
}

impl Installed {
    pub(crate) fn parse(text: &str) -> Result<Self, InterfaceError> {
        if text.len() > DEFINITION_LENGTH_MAX {
            return Err(InterfaceError::TooLong { length: text.len() });
        }
        let definition = serde_json::from_str(text)?;
        let interface = Interface::from_str(text)?;
        Ok(Self { definition, interface })
    }

    /// The definition as it was given.
    pub(crate) fn definition(&self) -> &Value {
        &self.definition
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    pub(crate) fn name(&self) -> &str {
        self.interface.interface_name()
    }

    pub(crate) fn major(&self) -> i32 {
        self.interface.version_major()
    }

    pub(crate) fn minor(&self) -> i32 {
        self.interface.version_minor()
    }

    pub(crate) fn is_server_owned(&self) -> bool {
        self.interface.ownership() == Ownership::Server
    }

    pub(crate) fn is_properties(&self) -> bool {
        self.interface.is_properties()
    }

    pub(crate) fn is_object(&self) -> bool {
        self.interface.is_datastream_object()
    }

    /// What `path` takes, if the interface has it.
    pub(crate) fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let path = MappingPath::try_from(path).ok()?;
        match self.interface.inner() {
            InterfaceTypeAggregation::DatastreamIndividual(interface) => {
                let mapping = interface.mapping(&path)?;
                Some(Endpoint {
                    kind: Some(mapping.mapping_type()),
                    quality: quality(mapping.reliability()),
                    explicit_timestamp: mapping.explicit_timestamp(),
                    allow_unset: false,
                    time_to_live: mapping.database_retention().as_ttl().copied(),
                })
            }
            InterfaceTypeAggregation::DatastreamObject(interface) => {
                interface.is_object_path(&path).then(|| Endpoint {
                    kind: None,
                    quality: quality(interface.reliability()),
                    explicit_timestamp: interface.explicit_timestamp(),
                    allow_unset: false,
                    time_to_live: interface.database_retention().as_ttl().copied(),
                })
            }
            InterfaceTypeAggregation::Properties(interface) => {
                let mapping = interface.mapping(&path)?;
                Some(Endpoint {
                    kind: Some(mapping.mapping_type()),
                    quality: QoS::ExactlyOnce,
                    explicit_timestamp: false,
                    allow_unset: mapping.allow_unset(),
                    time_to_live: None,
                })
            }
        }
    }

    /// The type of a key of an object interface.
    pub(crate) fn key(&self, key: &str) -> Option<MappingType> {
        self.interface.as_datastream_object()?.mapping(key).map(InterfaceMapping::mapping_type)
    }

    /// The mappings as the definition writes them.
    pub(crate) fn mappings(&self) -> &[Value] {
        self.definition["mappings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// All endpoints as the definition writes them.
    pub(crate) fn endpoints(&self) -> Vec<&str> {
        self.mappings().iter().filter_map(|mapping| mapping["endpoint"].as_str()).collect()
    }

    /// The keys that an object must have.
    pub(crate) fn required_keys(&self) -> Vec<String> {
        let Some(object) = self.interface.as_datastream_object() else { return Vec::new() };
        object
            .iter_mappings()
            .filter(|mapping| mapping.required())
            .filter_map(|mapping| mapping.endpoint().iter().last().map(ToString::to_string))
            .collect()
    }
}

fn quality(reliability: Reliability) -> QoS {
    match reliability {
        Reliability::Unreliable => QoS::AtMostOnce,
        Reliability::Guaranteed => QoS::AtLeastOnce,
        Reliability::Unique => QoS::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{
        "interface_name": "org.example.Event", "version_major": 0, "version_minor": 1,
        "type": "datastream", "ownership": "device", "aggregation": "object",
        "mappings": [
            {"endpoint": "/%{room}/event/status", "type": "string", "reliability": "unique",
             "explicit_timestamp": true, "database_retention_policy": "use_ttl",
             "database_retention_ttl": 3600},
            {"endpoint": "/%{room}/event/progress", "type": "integer", "reliability": "unique",
             "explicit_timestamp": true, "database_retention_policy": "use_ttl",
             "database_retention_ttl": 3600}
        ]}"#;

    #[test]
    fn the_path_of_an_object_is_its_endpoints_without_the_last_level() {
        let interface = Installed::parse(OBJECT).expect("an interface");
        let endpoint = interface.endpoint("/kitchen/event").expect("an endpoint");
        assert_eq!(
            endpoint,
            Endpoint {
                kind: None,
                quality: QoS::ExactlyOnce,
                explicit_timestamp: true,
                allow_unset: false,
                time_to_live: Some(Duration::from_secs(3600)),
            }
        );
        for path in
            ["/kitchen", "/kitchen/event/status", "kitchen/event", "//event", "", "/kitchen/event/"]
        {
            assert_eq!(interface.endpoint(path), None, "{path}");
        }
        assert_eq!(interface.key("progress"), Some(MappingType::Integer));
        assert_eq!(interface.key("other"), None);
    }

    #[test]
    fn properties_are_exactly_once_and_kept_for_ever() {
        let interface = Installed::parse(
            r#"{"interface_name": "org.example.Image", "version_major": 1, "version_minor": 0,
                "type": "properties", "ownership": "server",
                "mappings": [{"endpoint": "/name", "type": "string", "allow_unset": true}]}"#,
        )
        .expect("an interface");
        let endpoint = interface.endpoint("/name").expect("an endpoint");
        assert_eq!((endpoint.quality, endpoint.time_to_live), (QoS::ExactlyOnce, None));
        assert!(endpoint.allow_unset && interface.is_server_owned());
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        for text in ["", "[]", "{}", &OBJECT.replace("datastream", "stream"), &OBJECT[..100]] {
            assert!(Installed::parse(text).is_err(), "{text}");
        }
        assert!(matches!(
            Installed::parse(&" ".repeat(DEFINITION_LENGTH_MAX + 1)),
            Err(InterfaceError::TooLong { .. })
        ));
    }
}
