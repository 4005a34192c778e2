//! How what is in a realm differs from what is wanted. What Astarte adds of its own, such as
//! defaults, is no difference.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where the values of a trigger's headers stand, which may be secret.
const SECRET: &str = "http_static_headers";

/// The differences, each as `place: there -> wanted`; empty if everything wanted is there.
pub(super) fn differences(wanted: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", wanted, there, &mut found);
    found.extend(headers_too_many(wanted, there));
    found
}

/// The headers that deliveries have and should not: an old secret, that whoever reads the trigger
/// would take for one that is asked for.
fn headers_too_many(wanted: &Value, there: &Value) -> Vec<String> {
    let headers = |of: &Value| of["action"][SECRET].as_object().cloned().unwrap_or_default();
    let wanted = headers(wanted);
    let there = headers(there);
    let too_many = there.keys().filter(|name| !wanted.contains_key(*name));
    too_many.map(|name| format!("action.{SECRET}.{name}: there -> none")).collect()
}

fn compare(place: &str, wanted: &Value, there: &Value, found: &mut Vec<String>) {
    match (wanted, there) {
        // What is missing as a whole is named part by part: a part may be secret.
        (Value::Object(wanted), Value::Object(_) | Value::Null) => {
            for (key, wanted) in wanted {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                compare(&place, wanted, &there[key], found);
            }
        }
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            for (index, (wanted, there)) in wanted.iter().zip(there).enumerate() {
                compare(&format!("{place}[{index}]"), wanted, there, found);
            }
        }
        (wanted, there) if wanted == there => {}
        (wanted, there) => {
            let secret = place.contains(SECRET);
            found.push(if secret {
                format!("{place}: differs")
            } else {
                format!("{place}: {there} -> {wanted}")
            });
        }
    }
}

/// What two definitions of one version of an interface must agree on: everything but the words.
pub(super) fn interface_differences(wanted: &Value, there: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let defaults = [("aggregation", "individual")];
    for key in ["type", "ownership", "aggregation"] {
        compare_with_default(key, wanted, there, key, &defaults, &mut found);
    }
    let defaults =
        [("reliability", "unreliable"), ("retention", "discard"), ("explicit_timestamp", "false")];
    let none = Vec::new();
    let mappings = |of: &Value| of["mappings"].as_array().unwrap_or(&none).clone();
    let there = mappings(there);
    for wanted in &mappings(wanted) {
        let endpoint = wanted["endpoint"].as_str().unwrap_or_default();
        let Some(there) = there.iter().find(|there| there["endpoint"] == endpoint) else {
            found.push(format!("{endpoint}: missing"));
            continue;
        };
        for key in ["type", "reliability", "retention", "explicit_timestamp"] {
            let place = format!("{endpoint} {key}");
            compare_with_default(&place, wanted, there, key, &defaults, &mut found);
        }
    }
    found
}

/// What a minor version may change of a mapping; Astarte refuses any other change.
const CHANGEABLE: [&str; 5] = ["doc", "description", "explicit_timestamp", "retention", "expiry"];

/// How an older definition differs in what no newer one can change, and updates cannot do with.
pub(super) fn unchangeable_differences(wanted: &Value, there: &Value) -> Vec<String> {
    let newer = kept_as_it_is(wanted, there).0;
    let mut differences = interface_differences(wanted, &newer);
    differences.sort();
    differences
}

/// The wanted definition as one that Astarte takes for an update of the one that is there: with what
/// a minor version cannot change as it is there, such as how long values are stored. And that, in
/// words, where it is not what is wanted.
pub(super) fn kept_as_it_is(wanted: &Value, there: &Value) -> (Value, Vec<String>) {
    let mut newer = there.clone();
    newer["version_minor"] = wanted["version_minor"].clone();
    let mut kept = BTreeMap::new();
    let none = Vec::new();
    let mappings = |of: &Value| of["mappings"].as_array().unwrap_or(&none).clone();
    let mut merged = mappings(there);
    for wanted in mappings(wanted) {
        let place = merged.iter_mut().find(|there| there["endpoint"] == wanted["endpoint"]);
        let Some(mapping) = place.and_then(Value::as_object_mut) else {
            merged.push(wanted);
            continue;
        };
        for key in CHANGEABLE {
            match wanted.get(key) {
                Some(value) => drop(mapping.insert(key.to_owned(), value.clone())),
                None => drop(mapping.remove(key)),
            }
        }
        for (key, value) in mapping.iter().filter(|(key, _)| wanted.get(key.as_str()).is_none()) {
            *kept.entry(format!("{key} stays {value}")).or_insert(0) += 1;
        }
    }
    newer["mappings"] = merged.into();
    let in_words = kept.into_iter().map(|(what, times)| format!("{what} (mappings: {times})"));
    (newer, in_words.collect())
}

fn compare_with_default(
    place: &str,
    wanted: &Value,
    there: &Value,
    key: &str,
    defaults: &[(&str, &str)],
    found: &mut Vec<String>,
) {
    let default = defaults.iter().find(|(of, _)| *of == key).map_or("", |(_, default)| default);
    let text = |value: &Value| match &value[key] {
        Value::Null => default.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (wanted, there) = (text(wanted), text(there));
    if wanted != there {
        found.push(format!("{place}: {there} -> {wanted}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_astarte_adds_is_no_difference_and_what_it_lacks_is() {
        let wanted = json!({"name": "a", "list": [{"x": 1}], "deep": {"y": true}});
        let more = json!({"name": "a", "list": [{"x": 1, "z": 2}], "deep": {"y": true}, "q": 0});
        assert!(differences(&wanted, &more).is_empty());
        let other = json!({"name": "b", "list": [{"x": 1}, {}]});
        let found = differences(&wanted, &other);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.contains(&r#"name: "b" -> "a""#.to_owned()), "{found:?}");
    }

    #[test]
    fn a_secret_that_differs_is_not_shown() {
        let wanted = json!({"action": {"http_static_headers": {"x": "s3cret"}}});
        for there in [json!({}), json!({"action": {"http_static_headers": {"x": "0ld-s3cret"}}})] {
            let found = differences(&wanted, &there).join(" ");
            assert!(!found.is_empty() && !found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn an_old_secret_header_is_a_difference_and_no_headers_are_none() {
        let old =
            json!({"action": {"http_url": "u", "http_static_headers": {"x-old": "0ld-s3cret"}}});
        for wanted in [
            json!({"action": {"http_url": "u"}}),
            json!({"action": {"http_url": "u", "http_static_headers": {"x-new": "s3cret"}}}),
        ] {
            let found = differences(&wanted, &old);
            let named = "action.http_static_headers.x-old: there -> none".to_owned();
            assert!(found.contains(&named), "{found:?}");
            assert!(!found.join(" ").contains("s3cret"), "{found:?}");
        }
        let wanted = json!({"action": {"http_url": "u"}});
        for none in [json!(null), json!({})] {
            let there = json!({"action": {"http_url": "u", "http_static_headers": none}});
            assert!(differences(&wanted, &there).is_empty());
        }
    }

    #[test]
    fn an_update_keeps_what_no_minor_version_can_change_and_says_so() {
        let there = json!({
            "version_minor": 1, "type": "datastream", "ownership": "device",
            "mappings": [
                {
                    "endpoint": "/a", "type": "string", "doc": "x", "reliability": "unique",
                    "database_retention_policy": "use_ttl", "database_retention_ttl": 60,
                },
                {"endpoint": "/more", "type": "string"},
            ],
        });
        let wanted = json!({
            "version_minor": 2, "type": "datastream", "ownership": "device",
            "mappings": [
                {"endpoint": "/a", "type": "string", "reliability": "unique", "retention": "stored"},
                {"endpoint": "/new", "type": "string"},
            ],
        });
        let (newer, kept) = kept_as_it_is(&wanted, &there);
        let expected = json!([
            {
                "endpoint": "/a", "type": "string", "reliability": "unique", "retention": "stored",
                "database_retention_policy": "use_ttl", "database_retention_ttl": 60,
            },
            {"endpoint": "/more", "type": "string"},
            {"endpoint": "/new", "type": "string"},
        ]);
        assert_eq!((&newer["version_minor"], &newer["mappings"]), (&json!(2), &expected));
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept.contains(&"database_retention_ttl stays 60 (mappings: 1)".to_owned()));
        assert!(unchangeable_differences(&wanted, &there).is_empty());
        let mut other = there.clone();
        other["mappings"][0]["type"] = json!("integer");
        other["ownership"] = json!("server");
        assert_eq!(unchangeable_differences(&wanted, &other).len(), 2);
    }

    #[test]
    fn definitions_that_say_the_same_in_other_words_do_not_differ() {
        let wanted = json!({
            "type": "datastream", "ownership": "device", "description": "one",
            "mappings": [{"endpoint": "/a", "type": "string", "doc": "x"}],
        });
        let same = json!({
            "type": "datastream", "ownership": "device", "aggregation": "individual",
            "mappings": [
                {"endpoint": "/b", "type": "string"},
                {
                    "endpoint": "/a", "type": "string", "reliability": "unreliable",
                    "explicit_timestamp": false, "retention": "discard",
                },
            ],
        });
        assert!(interface_differences(&wanted, &same).is_empty());
        let mut other = same.clone();
        other["mappings"][1]["reliability"] = json!("unique");
        other["ownership"] = json!("server");
        assert_eq!(interface_differences(&wanted, &other).len(), 2);
        other["mappings"] = json!([]);
        assert_eq!(interface_differences(&wanted, &other).len(), 2);
    }
}
