//! The topics of Astarte's protocol, version 1: what a device means by the topic it publishes on,
//! and which topics a filter of a subscription takes in.

/// More levels than this no real topic has.
const LEVELS_MAX: usize = 64;

/// What a device publishes, by its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// Which interfaces it has.
    Introspection,
    /// Please send all server-owned properties.
    EmptyCache,
    /// Which of its own properties are set.
    ProducerProperties,
    /// What it can do beyond the protocol.
    Capabilities,
    /// An unknown control message.
    UnknownControl,
    /// A value.
    Data { interface: &'a str, path: &'a str },
}

/// Reads a topic; `prefix` is `{realm}/{device}`. `None` if it is outside the device's own part.
pub(crate) fn incoming<'a>(topic: &'a str, prefix: &str) -> Option<Incoming<'a>> {
    if topic.contains(['+', '#', '\0']) || topic.split('/').count() > LEVELS_MAX {
        return None;
    }
    let rest = topic.strip_prefix(prefix)?;
    if rest.is_empty() {
        return Some(Incoming::Introspection);
    }
    let rest = rest.strip_prefix('/')?;
    Some(match rest {
        "control/emptyCache" => Incoming::EmptyCache,
        "control/producer/properties" => Incoming::ProducerProperties,
        "capabilities" => Incoming::Capabilities,
        _ if rest.starts_with("control/") => Incoming::UnknownControl,
        _ => {
            let (interface, _) = rest.split_once('/')?;
            Incoming::Data { interface, path: &rest[interface.len()..] }
        }
    })
}

/// Whether a device may subscribe to the filter: only within its own part.
pub(crate) fn may_subscribe(filter: &str, prefix: &str) -> bool {
    filter.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && is_valid_filter(filter)
}

fn is_valid_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    levels.len() <= LEVELS_MAX
        && !filter.contains('\0')
        && levels.iter().enumerate().all(|(index, level)| match *level {
            "+" => true,
            "#" => index + 1 == levels.len(),
            _ => !level.contains(['+', '#']),
        })
}

/// Whether the filter takes the topic in.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for expected in filter.split('/') {
        if expected == "#" {
            return true;
        }
        match levels.next() {
            Some(actual) if expected == "+" || expected == actual => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "test/91JGyz9XRv5Esp6jNQFP7g";

    fn read(rest: &str) -> Option<String> {
        incoming(&format!("{PREFIX}{rest}"), PREFIX).map(|incoming| format!("{incoming:?}"))
    }

    #[test]
    fn topics_have_the_meaning_of_the_protocol() {
        let data = r#"Data { interface: "org.example.Event", path: "/event/one" }"#;
        for (rest, meaning) in [
            ("", "Introspection"),
            ("/control/emptyCache", "EmptyCache"),
            ("/control/producer/properties", "ProducerProperties"),
            ("/control/other", "UnknownControl"),
            ("/capabilities", "Capabilities"),
            ("/org.example.Event/event/one", data),
        ] {
            assert_eq!(read(rest).as_deref(), Some(meaning), "{rest}");
        }
    }

    #[test]
    fn topics_outside_the_devices_own_part_have_none() {
        for topic in
            ["", "other", "test", "test/other/interface/path", "test/91JGyz9XRv5Esp6jNQFP7gX/i/p"]
        {
            assert_eq!(incoming(topic, PREFIX), None, "{topic}");
        }
        for rest in ["/interface", "/interface/+/a", "/interface/#", &"/a".repeat(100)] {
            assert_eq!(read(rest), None, "{rest}");
        }
    }

    #[test]
    fn a_device_subscribes_within_its_own_part_only() {
        for rest in
            ["", "/#", "/control/consumer/properties", "/org.example.Request/#", "/+/request"]
        {
            assert!(may_subscribe(&format!("{PREFIX}{rest}"), PREFIX), "{rest}");
        }
        for filter in ["#", "test/#", "+/+/#", "test/91JGyz9XRv5Esp6jNQFP7gX/#"] {
            assert!(!may_subscribe(filter, PREFIX), "{filter}");
        }
        for rest in ["/#/a", "/a#", "/a+/b"] {
            assert!(!may_subscribe(&format!("{PREFIX}{rest}"), PREFIX), "{rest}");
        }
    }

    #[test]
    fn filters_take_in_what_mqtt_says() {
        for (filter, topic, taken) in [
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/b", true),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("ä/#", "ä/b", true),
        ] {
            assert_eq!(matches(filter, topic), taken, "{filter} {topic}");
        }
    }
}
