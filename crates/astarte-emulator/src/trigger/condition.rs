//! Which events are a trigger's: by kind, device, interface, path and value.

use bson::Bson;
use serde_json::Value;

use super::TriggerError;
use crate::device_id::DeviceId;
use crate::event::{Data, DeviceEvent, Event, EventKind};
use crate::http::Fields;
use crate::interface::Installed;
use crate::value::{LongIntegers, to_json};

/// Which events are a trigger's.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Device {
        on: EventKind,
        filter: Filter,
    },
    Data {
        on: EventKind,
        interface: Option<(String, i32)>,
        path: Vec<Level>,
        value: Comparison,
        filter: Filter,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Device(DeviceId),
    Group(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    Any,
    /// `/*`: whatever follows.
    Rest,
    Exactly(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    operator: Operator,
    known: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Any,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Contains,
    NotContains,
}

impl Condition {
    /// Reads a simple trigger. `None`: the complaints are in `fields`.
    pub(super) fn parse<'a>(
        fields: &mut Fields,
        simple: &Value,
        interface: impl Fn(&str, i32) -> Option<&'a Installed>,
    ) -> Result<Option<Condition>, TriggerError> {
        let on: Option<EventKind> = serde_json::from_value(simple["on"].clone()).ok();
        let filter = filter(fields, simple);
        match (simple["type"].as_str(), on) {
            (Some("device_trigger"), Some(on)) if !is_about_data(on) => {
                Ok(filter.map(|filter| Condition::Device { on, filter }))
            }
            (Some("data_trigger"), Some(on)) if is_about_data(on) => {
                data_condition(fields, simple, on, filter, interface)
            }
            (Some("device_trigger" | "data_trigger"), _) => {
                fields.add("on", "is invalid");
                Ok(None)
            }
            _ => {
                fields.add("type", "is invalid");
                Ok(None)
            }
        }
    }

    /// The kind of event.
    pub(super) fn on(&self) -> EventKind {
        let (Self::Device { on, .. } | Self::Data { on, .. }) = self;
        *on
    }

    /// Whether it is about `interface` in its major version.
    pub(super) fn is_about(&self, name: &str, major: i32) -> bool {
        matches!(self, Self::Data { interface: Some((other, their)), .. }
            if other == name && *their == major)
    }

    /// Whether the event fits; `is_member` tells whether its device is in a
    /// group.
    pub(super) fn holds(&self, event: &DeviceEvent, is_member: impl Fn(&str) -> bool) -> bool {
        let (on, filter) = match self {
            Self::Device { on, filter } | Self::Data { on, filter, .. } => (on, filter),
        };
        let concerns = match filter {
            Filter::All => true,
            Filter::Device(device) => *device == event.device,
            Filter::Group(group) => is_member(group),
        };
        if !concerns || *on != event.event.kind() {
            return false;
        }
        match (self, &event.event) {
            (Self::Device { .. }, _) => true,
            (Self::Data { interface, path, value, .. }, Event::Data { data, .. }) => {
                interface
                    .as_ref()
                    .is_none_or(|(name, major)| *name == data.interface && *major == data.major)
                    && matches_path(path, &data.path)
                    && value.holds(data)
            }
            (Self::Data { .. }, _) => false,
        }
    }
}

fn is_about_data(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::IncomingData
            | EventKind::ValueStored
            | EventKind::ValueChange
            | EventKind::ValueChangeApplied
            | EventKind::PathCreated
            | EventKind::PathRemoved
    )
}

fn filter(fields: &mut Fields, simple: &Value) -> Option<Filter> {
    match (simple["device_id"].as_str(), simple["group_name"].as_str()) {
        (None | Some("*"), None) => Some(Filter::All),
        (Some(device), None) => {
            let device = device.parse().ok();
            if device.is_none() {
                fields.add("device_id", "is not a valid device id");
            }
            device.map(Filter::Device)
        }
        (None, Some(group)) => Some(Filter::Group(group.to_owned())),
        (Some(_), Some(_)) => {
            fields.add("group_name", "must not be set if device_id is set");
            None
        }
    }
}

fn data_condition<'a>(
    fields: &mut Fields,
    simple: &Value,
    on: EventKind,
    filter: Option<Filter>,
    find: impl Fn(&str, i32) -> Option<&'a Installed>,
) -> Result<Option<Condition>, TriggerError> {
    let path_text = simple["match_path"].as_str().unwrap_or_default();
    if !path_text.starts_with('/') {
        fields.add("match_path", "is invalid");
    }
    let Some(operator) = Operator::parse(simple["value_match_operator"].as_str()) else {
        fields.add("value_match_operator", "is invalid");
        return Ok(None);
    };
    let known = simple.get("known_value").cloned().unwrap_or(Value::Null);
    if operator != Operator::Any && known.is_null() {
        fields.add("known_value", "can't be blank");
    }
    let change = matches!(on, EventKind::ValueChange | EventKind::ValueChangeApplied);
    if change && path_text == "/*" {
        return Err(TriggerError::Unsupported("Unsupported trigger type"));
    }
    let name = simple["interface_name"].as_str().unwrap_or_default();
    let interface = if name == "*" {
        None
    } else {
        let major = simple["interface_major"].as_i64().and_then(|major| i32::try_from(major).ok());
        let Some(installed) = major.and_then(|major| find(name, major)) else {
            fields.add("interface_name", "interface not found");
            return Ok(None);
        };
        if !installed.is_properties()
            && on != EventKind::IncomingData
            && on != EventKind::ValueStored
        {
            return Err(TriggerError::Unsupported("Invalid datastream trigger"));
        }
        let plain = on == EventKind::IncomingData && path_text == "/*" && operator == Operator::Any;
        if installed.is_object() && !plain {
            return Err(TriggerError::Unsupported("Invalid object aggregation trigger"));
        }
        if path_text != "/*" && !is_path_of(installed, path_text) {
            fields.add("match_path", "is not a path of the interface");
        }
        Some((name.to_owned(), installed.major()))
    };
    let path = levels(path_text);
    let value = Comparison { operator, known };
    Ok(filter.map(|filter| Condition::Data { on, interface, path, value, filter }))
}

/// Whether some endpoint of the interface has the shape of `path`, in which `%{name}` and `*` stand
/// for any level.
fn is_path_of(installed: &Installed, path: &str) -> bool {
    let given = levels(path);
    installed.endpoints().iter().any(|endpoint| {
        let endpoint = levels(endpoint);
        endpoint.len() == given.len()
            && endpoint.iter().zip(&given).all(|pair| match pair {
                (Level::Exactly(left), Level::Exactly(right)) => left == right,
                _ => true,
            })
    })
}

fn levels(path: &str) -> Vec<Level> {
    let levels: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if levels == ["*"] {
        return vec![Level::Rest];
    }
    levels
        .into_iter()
        .map(|level| match level {
            "*" => Level::Any,
            parameter if parameter.starts_with("%{") => Level::Any,
            exact => Level::Exactly(exact.to_owned()),
        })
        .collect()
}

fn matches_path(levels: &[Level], path: &str) -> bool {
    if levels == [Level::Rest] {
        return true;
    }
    let mut path = path.trim_start_matches('/').split('/');
    levels.iter().all(|level| {
        path.next().is_some_and(|actual| match level {
            Level::Exactly(expected) => expected == actual,
            Level::Any | Level::Rest => true,
        })
    }) && path.next().is_none()
}

impl Operator {
    fn parse(text: Option<&str>) -> Option<Self> {
        Some(match text? {
            "*" => Self::Any,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "contains" => Self::Contains,
            "not_contains" => Self::NotContains,
            _ => return None,
        })
    }
}

impl Comparison {
    fn holds(&self, data: &Data) -> bool {
        if self.operator == Operator::Any {
            return true;
        }
        let Some(value) = &data.value else { return false };
        let json = to_json(value, LongIntegers::Number);
        let order = || match (json.as_f64(), self.known.as_f64()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => Some(json.as_str()?.cmp(self.known.as_str()?)),
        };
        let equal = || order().map_or(json == self.known, std::cmp::Ordering::is_eq);
        match self.operator {
            Operator::Any => true,
            Operator::Equal => equal(),
            Operator::NotEqual => !equal(),
            Operator::Greater => order().is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => order().is_some_and(std::cmp::Ordering::is_ge),
            Operator::Less => order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => order().is_some_and(std::cmp::Ordering::is_le),
            Operator::Contains => self.contained_in(value, &json),
            Operator::NotContains => !self.contained_in(value, &json),
        }
    }

    fn contained_in(&self, value: &Bson, json: &Value) -> bool {
        match (value, json) {
            (Bson::String(text), _) => {
                self.known.as_str().is_some_and(|known| text.contains(known))
            }
            (_, Value::Array(elements)) => elements.contains(&self.known),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::bson;
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_and_stars_stand_for_any_level() {
        for (pattern, path, fits) in [
            ("/*", "/a/b/c", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/%{id}/c", "/a/b/c", true),
            ("/a/b", "/a/b/c", false),
            ("/a/b/c", "/a/b", false),
            ("/a/x", "/a/b", false),
        ] {
            assert_eq!(matches_path(&levels(pattern), path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn values_are_compared_by_their_kind() {
        for (value, operator, known, holds) in [
            (bson!(2), "==", json!(2), true),
            (bson!(2.0), "==", json!(2), true),
            (bson!("b"), ">", json!("a"), true),
            (bson!(10), "<", json!(9), false),
            (bson!(true), "!=", json!(false), true),
            (bson!(true), ">", json!(false), false),
            (bson!("1"), "==", json!(1), false),
            (bson!("abc"), "contains", json!("b"), true),
            (bson!([1, 2]), "contains", json!(2), true),
            (bson!([1, 2]), "not_contains", json!(2), false),
        ] {
            let operator = Operator::parse(Some(operator)).expect("an operator");
            let data = Data {
                interface: String::new(),
                major: 0,
                path: String::new(),
                value: Some(value.clone()),
                old: None,
            };
            let comparison = Comparison { operator, known: known.clone() };
            assert_eq!(comparison.holds(&data), holds, "{value} {operator:?} {known}");
        }
    }
}
