//! Selectors that are made up, written down in any of the ways in which they can be, and evaluated
//! beside by the simplest means.

use hedgerow_core::Timestamp;
use proptest::prelude::*;

use super::tests::Plain;
use super::*;

const NOW: i64 = 50;

/// A selector as its meaning.
#[derive(Clone, Debug)]
enum Meaning {
    Or(Box<Meaning>, Box<Meaning>),
    And(Box<Meaning>, Box<Meaning>),
    Has(String, bool),
    Wildcards(String, bool),
    Regex(usize, bool),
    Attribute(bool, &'static str, &'static str, Value),
    /// In one more pair of parentheses than it needs.
    Wrapped(Box<Meaning>),
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Whole(i32),
    Halves(i32),
    Boolean(bool),
    Millis(i64),
    Now,
}

/// Regular expressions with what they mean.
type Meant = (&'static str, fn(&str) -> bool);
const REGEXES: [Meant; 4] = [
    ("^a", |tag| tag.starts_with('a')),
    (r"b$", |tag| tag.ends_with('b')),
    (r"\/", |tag| tag.contains('/')),
    ("a.?b", |tag| {
        let chars: Vec<char> = tag.chars().collect();
        let near = |gap: usize| {
            chars
                .windows(gap + 2)
                .any(|w| w[0] == 'a' && w[gap + 1] == 'b' && !w[1..=gap].contains(&'\n'))
        };
        near(0) || near(1)
    }),
];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Whole(number) => number.to_string(),
            Self::Halves(number) => format!("{:.1}", f64::from(*number) / 2.0),
            Self::Boolean(is) => if *is { "TRUE" } else { "false" }.to_owned(),
            Self::Millis(millis) => format!("datetime(\"{}\")", Timestamp::from_millis(*millis)),
            Self::Now => "now ( )".to_owned(),
        }
    }
}

/// Writes a meaning down, with a blank of that kind where one may stand.
fn written(meaning: &Meaning, blank: &str, is_factor: bool) -> String {
    let not = |wanted: &bool| if *wanted { "" } else { "!" };
    match meaning {
        Meaning::Or(a, b) => {
            let text =
                format!("{} OR{blank} {}", written(a, blank, false), written(b, blank, false));
            if is_factor { format!("({blank}{text})") } else { text }
        }
        Meaning::And(a, b) => {
            format!("{}{blank} and {}", written(a, blank, true), written(b, blank, true))
        }
        Meaning::Has(tag, true) => format!("{}{blank}in{blank} tags", quoted(tag)),
        Meaning::Has(tag, false) => format!("{}{blank}Not{blank} IN tags", quoted(tag)),
        Meaning::Wildcards(pattern, wanted) => {
            format!("{}{blank}{}~={blank}tags", quoted(pattern), not(wanted))
        }
        Meaning::Regex(number, wanted) => {
            format!("/{}/{blank}{}~=tags", REGEXES[*number].0, not(wanted))
        }
        Meaning::Attribute(is_custom, key, comparison, value) => {
            let namespace = if *is_custom { "custom" } else { "astarte-attributes" };
            let value = value.text();
            format!("attributes{blank}[\"{namespace}:{key}\"]{comparison}{blank}{value}")
        }
        Meaning::Wrapped(inner) => format!("({blank}{})", written(inner, blank, false)),
    }
}

fn wildcards(pattern: &[char], tag: &[char]) -> bool {
    match pattern.split_first() {
        None => tag.is_empty(),
        Some(('*', rest)) => (0..=tag.len()).any(|skipped| wildcards(rest, &tag[skipped..])),
        Some(('?', rest)) => !tag.is_empty() && wildcards(rest, &tag[1..]),
        Some((c, rest)) => tag.first() == Some(c) && wildcards(rest, &tag[1..]),
    }
}

/// A value as a number and as a text, of one kind.
fn compared(left: &AttributeValue, right: &Value) -> Option<std::cmp::Ordering> {
    use AttributeValue as Left;
    let number = |value: &Left| match value {
        Left::Integer(whole) => i32::try_from(*whole).ok().map(f64::from),
        Left::Number(number) => Some(*number),
        _ => None,
    };
    match (left, right) {
        (Left::Text(a), Value::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Left::Boolean(a), Value::Boolean(b)) => Some(u8::from(*a).cmp(&u8::from(*b))),
        (Left::Time(a), Value::Millis(b)) => Some(a.as_millis().cmp(b)),
        (Left::Time(a), Value::Now) => Some(a.as_millis().cmp(&NOW)),
        (_, Value::Whole(b)) => number(left)?.partial_cmp(&f64::from(*b)),
        (_, Value::Halves(b)) => number(left)?.partial_cmp(&(f64::from(*b) / 2.0)),
        _ => None,
    }
}

/// A text of Astarte, as what it is compared with.
fn read_as(text: &str, right: &Value) -> Option<AttributeValue> {
    match right {
        Value::Text(_) => Some(AttributeValue::Text(text.to_owned())),
        Value::Whole(_) | Value::Halves(_) => text.parse().ok().map(AttributeValue::Number),
        Value::Boolean(_) => match text {
            "true" => Some(AttributeValue::Boolean(true)),
            "false" => Some(AttributeValue::Boolean(false)),
            _ => None,
        },
        Value::Millis(_) | Value::Now => None,
    }
}

fn is_so(meaning: &Meaning, device: &Plain) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    match meaning {
        Meaning::Or(a, b) => is_so(a, device) | is_so(b, device),
        Meaning::And(a, b) => is_so(a, device) & is_so(b, device),
        Meaning::Has(tag, wanted) => device.tags.iter().any(|it| it == tag) == *wanted,
        Meaning::Wildcards(pattern, wanted) => {
            let matches = |tag: &String| wildcards(&chars(pattern), &chars(tag));
            device.tags.iter().any(matches) == *wanted
        }
        Meaning::Regex(number, wanted) => {
            device.tags.iter().any(|tag| REGEXES[*number].1(tag)) == *wanted
        }
        Meaning::Attribute(is_custom, key, comparison, value) => {
            let left = if *is_custom {
                device.custom.get(*key).cloned()
            } else {
                device.astarte.get(*key).and_then(|text| read_as(text, value))
            };
            let Some(order) = left.and_then(|left| compared(&left, value)) else { return false };
            match *comparison {
                "==" => order.is_eq(),
                "!=" => order.is_ne(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "<" => order.is_lt(),
                _ => order.is_le(),
            }
        }
        Meaning::Wrapped(inner) => is_so(inner, device),
    }
}

fn tag() -> impl Strategy<Value = String> {
    "[ab/\"\\\\ü]{1,3}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a\"\\\\2]{0,2}".prop_map(Value::Text),
        (-3_i32..4).prop_map(Value::Whole),
        (-6_i32..7).prop_map(Value::Halves),
        any::<bool>().prop_map(Value::Boolean),
        (0_i64..100).prop_map(Value::Millis),
        Just(Value::Now),
    ]
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let comparison = proptest::sample::select(vec!["==", "!=", ">", ">=", "<", "<="]);
    let key = proptest::sample::select(vec!["a", "b-c_d"]);
    let filter = prop_oneof![
        (tag(), any::<bool>()).prop_map(|(tag, wanted)| Meaning::Has(tag, wanted)),
        ("[ab*?]{1,4}", any::<bool>()).prop_map(|(it, wanted)| Meaning::Wildcards(it, wanted)),
        (0..REGEXES.len(), any::<bool>()).prop_map(|(it, wanted)| Meaning::Regex(it, wanted)),
        (any::<bool>(), key, comparison, value()).prop_map(|(is_custom, key, how, value)| {
            Meaning::Attribute(is_custom, key, how, value)
        }),
    ];
    filter.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Meaning::Or(a.into(), b.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Meaning::And(a.into(), b.into())),
            inner.prop_map(|it| Meaning::Wrapped(it.into())),
        ]
    })
}

fn device() -> impl Strategy<Value = Plain> {
    let kept = prop_oneof![
        "[a\"\\\\2]{0,2}".prop_map(AttributeValue::Text),
        (-3_i64..4).prop_map(AttributeValue::Integer),
        (-6_i32..7).prop_map(|it| AttributeValue::Number(f64::from(it) / 2.0)),
        any::<bool>().prop_map(AttributeValue::Boolean),
        (0_i64..100).prop_map(|it| AttributeValue::Time(Timestamp::from_millis(it))),
    ];
    let key = || proptest::sample::select(vec!["a".to_owned(), "b-c_d".to_owned()]);
    let astarte = proptest::sample::select(vec!["true", "a", "2", "-1.5", "0", ""]);
    (
        proptest::collection::btree_set(tag(), 0..3),
        proptest::collection::btree_map(key(), kept, 0..3),
        proptest::collection::btree_map(key(), astarte.prop_map(str::to_owned), 0..3),
    )
        .prop_map(|(tags, custom, astarte)| Plain { tags, custom, astarte })
}

proptest! {
    #[test]
    fn a_selector_selects_what_it_means_however_it_is_written(
        meaning in meaning(),
        blank in proptest::sample::select(vec!["", " ", "\n\t "]),
        devices in proptest::collection::vec(device(), 1..5),
    ) {
        let text = written(&meaning, blank, false);
        let selector: Selector = text.parse().map_err(|error: SelectorError| {
            TestCaseError::fail(format!("{error}\n{}", error.rendered(&text)))
        })?;
        for device in devices {
            let selected = selector.matches(&device, Timestamp::from_millis(NOW));
            prop_assert_eq!(selected, is_so(&meaning, &device), "{} of {:?}", text, device);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_error_has_its_place(
        text in r#"([ab"/\\() \n*]|in|not|and|or|tags|~=|attributes\["custom:a"\]|==|ü|1e|now\(\)){0,20}"#,
    ) {
        if let Err(error) = text.parse::<Selector>() {
            prop_assert!(text.is_char_boundary(error.offset));
            prop_assert_eq!(error.rendered(&text).split('\n').count(), 2);
        }
    }
}
