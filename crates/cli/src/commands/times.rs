//! Times as people and programs read them: RFC 3339, also in what was stored as a number.

use hedgerow_core::Timestamp;
use serde_json::Value;

/// Whether the value under this key is a time.
fn is_time(key: &str) -> bool {
    key.ends_with("_at") || matches!(key, "not_before" | "deadline" | "newest_stamp")
}

/// A time.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

/// Puts times in place of the milliseconds within a value.
pub(super) fn readable(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(readable),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_i64().filter(|_| is_time(key)) {
                    Some(millis) => *value = time(Timestamp::from_millis(millis)),
                    None => readable(value),
                }
            }
        }
        _ => {}
    }
}

/// Puts times in place of the milliseconds within JSON that has no spaces between its parts, and
/// leaves everything else as it is, such as the order of the fields.
pub(super) fn readable_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    // A quotation mark within a string has a backslash before it: this is the end of a key.
    while let Some(end) = rest.find("\":") {
        let (before, after) = rest.split_at(end + 2);
        text.push_str(before);
        let key = before[..end].rsplit('"').next().unwrap_or_default();
        let is_digit = |c: char| c.is_ascii_digit() || c == '-';
        let length = after.find(|c| !is_digit(c)).unwrap_or(after.len());
        let ends = after[length..].starts_with([',', '}']);
        match after[..length].parse().ok().filter(|_| ends && is_time(key)) {
            Some(millis) => text.push_str(&time(Timestamp::from_millis(millis)).to_string()),
            None => text.push_str(&after[..length]),
        }
        rest = &after[length..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"device":"x","reported_at":1767225600000,"deadline":null,"progress":0,"of":[{"not_before":0}],"message":"\"observed_at\":1767225600000,"}"#;

    #[test]
    fn times_are_printed_as_such_wherever_they_are_and_nothing_else_is() {
        let wanted = r#"{"device":"x","reported_at":"2026-01-01T00:00:00.000Z","deadline":null,"progress":0,"of":[{"not_before":"1970-01-01T00:00:00.000Z"}],"message":"\"observed_at\":1767225600000,"}"#;
        assert_eq!(readable_text(STORED), wanted);
        let mut value = serde_json::from_str(STORED).unwrap();
        readable(&mut value);
        assert_eq!(value, serde_json::from_str::<Value>(wanted).unwrap());
    }
}
