//! Texts as selectors of groups.

#![no_main]

use hedgerow_catalogue::selector::Subject;
use hedgerow_catalogue::{AttributeValue, Selector};
use hedgerow_core::Timestamp;
use libfuzzer_sys::fuzz_target;

/// A device with some of everything.
struct Garden {
    number: AttributeValue,
    text: AttributeValue,
}

impl Subject for Garden {
    fn has_tag(&self, tag: &str) -> bool {
        tag == "garden"
    }

    fn some_tag(&self, is_it: &mut dyn FnMut(&str) -> bool) -> bool {
        is_it("garden") | is_it("v1.2")
    }

    fn custom(&self, key: &str) -> Option<&AttributeValue> {
        match key.len() {
            1 => Some(&self.number),
            2 => Some(&self.text),
            _ => None,
        }
    }

    fn astarte(&self, key: &str) -> Option<&str> {
        Some(if key.len() == 1 { "7" } else { "2026-11-30T00:00:00Z" })
    }
}

fuzz_target!(|text: &str| {
    let device =
        Garden { number: AttributeValue::Integer(7), text: AttributeValue::Text("a".to_owned()) };
    let now = Timestamp::from_millis(1_796_040_000_000);
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "an error stands before a character");
            assert_eq!(error.rendered(text).lines().count(), 2, "a line and a caret");
            return;
        }
    };
    assert_eq!(selector.to_string(), text, "a selector is shown as it was read");
    let is_met = selector.matches(&device, now);
    for (same, expected) in [
        (format!("({text})"), is_met),
        (format!("{text} or {text}"), is_met),
        (format!("({text}) and ({text})"), is_met),
        (format!("({text}) or \"garden\" in tags"), true),
    ] {
        // It may be too large, or too deep.
        if let Ok(same) = same.parse::<Selector>() {
            assert_eq!(same.matches(&device, now), expected, "{same} beside {text}");
        }
    }
});
