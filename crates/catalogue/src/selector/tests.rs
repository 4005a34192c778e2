//! The language by example.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::Timestamp;

use super::*;

/// A device of nothing but what selectors ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    pub(super) tags: BTreeSet<String>,
    pub(super) custom: BTreeMap<String, AttributeValue>,
    pub(super) astarte: BTreeMap<String, String>,
}

impl Subject for Plain {
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains(tag)
    }

    fn some_tag(&self, is_it: &mut dyn FnMut(&str) -> bool) -> bool {
        self.tags.iter().any(|tag| is_it(tag))
    }

    fn custom(&self, key: &str) -> Option<&AttributeValue> {
        self.custom.get(key)
    }

    fn astarte(&self, key: &str) -> Option<&str> {
        self.astarte.get(key).map(String::as_str)
    }
}

/// 2026-11-30T12:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_796_040_000_000);

fn plain() -> Plain {
    let custom = [
        ("floor", AttributeValue::Integer(3)),
        ("height", AttributeValue::Number(2.5)),
        ("wet", AttributeValue::Boolean(true)),
        ("owner", AttributeValue::Text("Ada \"the\" Great".into())),
        ("planted", AttributeValue::Time(Timestamp::from_millis(1_000))),
        ("blob", AttributeValue::Bytes(vec![1, 2])),
    ];
    Plain {
        tags: ["garden", "north wing", "v1.2", "Ünder"].map(str::to_owned).into(),
        custom: custom.map(|(key, value)| (key.to_owned(), value)).into(),
        astarte: [("site", "Berlin"), ("row", "7"), ("since", "2026-01-01")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    }
}

#[test]
fn what_is_selected() {
    let cases = [
        (r#""garden" in tags"#, true),
        (r#""Garden" in tags"#, false),
        (r#""beta" not in tags"#, true),
        (r#""beta" NOT In TAGS"#, true),
        (r#""beta" in tags or "garden" in tags and "v1.2" in tags"#, true),
        (r#"("beta" in tags or "garden" in tags) and "beta" in tags"#, false),
        (r#""garden" in tags AND "x" in tags OR "v1.2" in tags"#, true),
        (r#""v?.*" ~= tags"#, true),
        (r#""north" ~= tags"#, false),
        (r#""north*" ~= tags"#, true),
        (r#""?nder" ~= tags"#, true),
        (r#""beta*" !~= tags"#, true),
        (r"/^v\d+\.\d+$/ ~= tags", true),
        (r"/NORTH/ ~= tags", false),
        (r"/(?i)NORTH/ ~= tags", true),
        (r"/a\/b/ !~= tags", true),
        (r#"attributes["custom:floor"] == 3"#, true),
        (r#"attributes["custom:floor"] == 3.0"#, true),
        (r#"attributes["custom:floor"] > 2.5"#, true),
        (r#"attributes["custom:height"] < 3"#, true),
        (r#"attributes["custom:height"] != 2.5"#, false),
        (r#"attributes["custom:height"] >= -1e3"#, true),
        (r#"attributes["custom:wet"] == TRUE"#, true),
        (r#"attributes["custom:owner"] == "Ada \"the\" Great""#, true),
        (r#"attributes["custom:planted"] < now()"#, true),
        (r#"attributes["custom:planted"] == datetime("1970-01-01T01:00:01+01:00")"#, true),
        (r#"attributes["custom:blob"] == binaryblob("AQI=")"#, true),
        // Nothing is so of what is not there, or of another kind.
        (r#"attributes["custom:nothing"] != 1"#, false),
        (r#"attributes["custom:floor"] != "3""#, false),
        (r#"attributes["astarte-attributes:site"] == "Berlin""#, true),
        (r#"attributes["astarte-attributes:row"] <= 7"#, true),
        (r#"attributes["astarte-attributes:row"] > "61""#, true),
        (r#"attributes["astarte-attributes:site"] != 3"#, false),
        (r#"attributes["astarte-attributes:since"] < now()"#, true),
        (r#"  (((  "garden" in tags)))  "#, true),
        ("\"garden\"in tags\nand\t\"v1.2\"in tags", true),
    ];
    for (text, expected) in cases {
        let selector: Selector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(&plain(), NOW), expected, "{text}");
    }
}

#[test]
fn an_error_says_where_and_what_to_write() {
    let cases = [
        ("", "line 1, character 1: expected a filter", 0),
        (r#""a" in tags and"#, "line 1, character 16: expected a filter", 15),
        (r#""a" in tags "b" in tags"#, "expected AND, OR, or the end of the selector", 12),
        (r#"("a" in tags"#, "expected AND, OR or \")\"", 12),
        (r#""a" is tags"#, "expected in, not in, ~= or !~=", 4),
        (r#""a" in tag"#, "expected tags", 7),
        ("\"a\" in tags and\n  b", "line 2, character 3: expected a filter", 18),
        (r#""a in tags"#, "nothing ends what begins with \"", 0),
        ("/a in tags", "nothing ends what begins with /", 0),
        ("/(/ ~= tags", "a regular expression that cannot be read: unclosed group", 0),
        (r#"attributes["floor"] == 1"#, "expected \"NAMESPACE:KEY\"", 11),
        (r#"attributes["other:floor"] == 1"#, "expected the namespace custom or", 11),
        (r#"attributes["custom:Floor"] == 1"#, "expected a key of lower case", 11),
        (r#"attributes["custom:floor"] = 1"#, "expected ==, !=", 27),
        (r#"attributes["custom:floor"] == nothing"#, "expected a value", 30),
        (r#"attributes["custom:floor"] == 1.2.3"#, "expected a number", 30),
        (r#"attributes["custom:floor"] == -inf"#, "expected a number", 30),
        (r#"attributes["custom:a"] == datetime("soon")"#, "expected a time in ISO 8601", 35),
        (r#"attributes["custom:a"] == binaryblob("?")"#, "expected bytes in base64", 37),
        ("ä", "expected a filter", 0),
    ];
    for (text, problem, offset) in cases {
        let error = text.parse::<Selector>().expect_err(text);
        assert!(error.to_string().contains(problem), "{text}: {error}");
        assert_eq!(error.offset, offset, "{text}: {error}");
    }
}

#[test]
fn what_was_recorded_is_read_also_if_it_would_be_too_large_to_enter_now() {
    let text = r"/^\pL{20}$/ ~= tags";
    let refused = text.parse::<Selector>().expect_err("it is too large");
    assert!(refused.to_string().contains("too large"), "{refused}");
    let recorded = serde_json::to_value(text).expect("a text");
    let selector: Selector = serde_json::from_value(recorded).expect("it was recorded");
    assert_eq!(selector.as_str(), text);
}

#[test]
fn what_is_too_large_is_refused() {
    let deep = |depth| format!("{}\"a\" in tags{}", "(".repeat(depth), ")".repeat(depth));
    assert!(deep(DEEPEST).parse::<Selector>().is_ok());
    assert!(deep(DEEPEST + 1).parse::<Selector>().is_err());
    let many = |filter: &str, count| vec![filter; count].join(" or ");
    assert!(many("\"a\"in tags", MOST_FILTERS).parse::<Selector>().is_ok());
    assert!(many("\"a\"in tags", MOST_FILTERS + 1).parse::<Selector>().is_err());
    assert!(many("/a/~=tags", MOST_REGEXES).parse::<Selector>().is_ok());
    assert!(many("/a/~=tags", MOST_REGEXES + 1).parse::<Selector>().is_err());
    let long = format!("\"{}\" in tags", "ä".repeat(LONGEST / 2));
    assert_eq!(long.parse::<Selector>().expect_err("too long").offset, LONGEST - 1);
    let large = r"/(?:\pL{100}){100}/ ~= tags";
    assert!(large.parse::<Selector>().expect_err("large").to_string().contains("too large"));
}
