//! Filters: which records of a list are wanted. A filter is read once and then asked of each record;
//! one that follows a relation wants that some related record passes.

use std::cmp::Ordering;
use std::sync::Arc;

use async_graphql::Value;
use chrono::DateTime;
use futures::future::{BoxFuture, FutureExt};

use crate::errors::Failure;
use crate::lists;
use crate::record::{Answer, Ask, Call, Input, Object, Related, text};

/// How deep filters may be nested.
const DEEPEST: usize = 16;

/// How many tests a filter may have, each value of an `in` being one: as many as a page has records.
const MOST_TESTS: usize = 250;

/// The longest text that a filter looks for, in bytes.
const LONGEST_TEXT: usize = 1_024;

/// A filter, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Field(String, Vec<Test>),
    Relation(String, Box<Filter>),
}

/// One test of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    IsNil(bool),
    In(Vec<Value>),
    Compared(Compared, Value),
    Text(TextTest, String),
    /// A pattern, and whether it makes no difference between upper and lower case.
    Like(Vec<Part>, bool),
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Any,
    One,
    Letter(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Equal,
    Unequal,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Distinct,
    NotDistinct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

impl Filter {
    /// Lets everything pass.
    pub(crate) const NONE: Self = Self::All(Vec::new());

    /// The filter among the arguments of a list of that type.
    pub(crate) fn of(of: &str, input: Input<'_>) -> Result<Self, Failure> {
        let filter =
            input.object("filter")?.map_or(Ok(Self::NONE), |input| Self::read(of, input, 0))?;
        if filter.tests() > MOST_TESTS {
            let why = format!("has more than {MOST_TESTS} tests: ask in several parts");
            return Err(Failure::invalid_argument("filter", why));
        }
        Ok(filter)
    }

    fn tests(&self) -> usize {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().map(Self::tests).sum::<usize>() + 1,
            Self::Not(filter) | Self::Relation(_, filter) => filter.tests(),
            Self::Field(_, tests) => {
                let values = tests.iter().map(|test| match test {
                    Test::In(values) => values.len().max(1),
                    _ => 1,
                });
                values.sum::<usize>().max(1)
            }
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    fn read(of: &str, input: Input<'_>, depth: usize) -> Result<Self, Failure> {
        if depth == DEEPEST {
            return Err(Failure::invalid_argument(
                "filter",
                format!("is nested deeper than {DEEPEST}: write it flatter"),
            ));
        }
        let mut all = Vec::new();
        for (name, value) in input.0 {
            if *value == Value::Null {
                continue;
            }
            let several = || -> Result<Vec<Self>, Failure> {
                let one = std::slice::from_ref(value);
                let values = if let Value::List(values) = value { &values[..] } else { one };
                let values = values.iter().filter_map(|value| match value {
                    Value::Object(values) => Some(Self::read(of, Input(values), depth + 1)),
                    _ => None,
                });
                values.collect()
            };
            match name.as_str() {
                "and" => all.extend(several()?),
                "or" => all.push(Self::Any(several()?)),
                "not" => {
                    all.extend(several()?.into_iter().map(|filter| Self::Not(Box::new(filter))));
                }
                name => {
                    let Some(tests) = input.object(name)? else { continue };
                    all.push(match lists::relation(of, name) {
                        Some(other) => Self::Relation(
                            name.to_owned(),
                            Box::new(Self::read(other, tests, depth + 1)?),
                        ),
                        None => Self::Field(name.to_owned(), self::tests(tests)?),
                    });
                }
            }
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Self::All(all) })
    }

    /// Splits off what it wants of one field by `eq` or `in`, where it stands at the root: a list that
    /// is kept by that field need not look at the others. What is left is still to be asked.
    pub(crate) fn split(self, field: &str) -> (Option<Vec<String>>, Self) {
        let wanted = |filter: &Self| match filter {
            Self::Field(name, tests) if name == field => match &tests[..] {
                [Test::Compared(Compared::Equal, value)] => Some(vec![text(value)?.to_owned()]),
                [Test::In(values)] => {
                    values.iter().map(|value| text(value).map(str::to_owned)).collect()
                }
                _ => None,
            },
            _ => None,
        };
        match self {
            Self::All(mut all) => {
                let place = all.iter().position(|filter| wanted(filter).is_some());
                let found = place.and_then(|place| wanted(&all.swap_remove(place)));
                (found, if all.len() == 1 { all.swap_remove(0) } else { Self::All(all) })
            }
            filter => match wanted(&filter) {
                Some(values) => (Some(values), Self::NONE),
                None => (None, filter),
            },
        }
    }

    /// Whether a record passes.
    pub(crate) async fn passes(&self, record: &Object, ask: &Arc<Ask>) -> Result<bool, Failure> {
        Ok(self.asked(record, ask).await? == Some(true))
    }

    /// Whether a record passes; `None`: that is not known, as what is asked about is null.
    fn asked<'a>(
        &'a self,
        record: &'a Object,
        ask: &'a Arc<Ask>,
    ) -> BoxFuture<'a, Result<Option<bool>, Failure>> {
        async move {
            match self {
                Self::All(all) => {
                    let mut passes = Some(true);
                    for filter in all {
                        match filter.asked(record, ask).await? {
                            Some(false) => return Ok(Some(false)),
                            None => passes = None,
                            Some(true) => {}
                        }
                    }
                    Ok(passes)
                }
                Self::Any(any) => {
                    // Of nothing, nothing is asked.
                    let mut passes = Some(any.is_empty());
                    for filter in any {
                        match filter.asked(record, ask).await? {
                            Some(true) => return Ok(Some(true)),
                            None => passes = None,
                            Some(false) => {}
                        }
                    }
                    Ok(passes)
                }
                Self::Not(filter) => Ok(filter.asked(record, ask).await?.map(|passes| !passes)),
                Self::Field(name, tests) => {
                    let value = value(record, name, ask).await?;
                    let mut passes = Some(true);
                    for test in tests {
                        match test.passes(&value) {
                            Some(false) => return Ok(Some(false)),
                            None => passes = None,
                            Some(true) => {}
                        }
                    }
                    Ok(passes)
                }
                Self::Relation(name, filter) => {
                    for record in related(record, name, ask).await? {
                        if filter.passes(&record, ask).await? {
                            return Ok(Some(true));
                        }
                    }
                    Ok(Some(false))
                }
            }
        }
        .boxed()
    }
}

/// A field of a record without arguments.
async fn answer(record: &Object, name: &str, ask: &Arc<Ask>) -> Result<Answer, Failure> {
    if let Some(answer) = record.at_hand(name, ask) {
        return Ok(answer);
    }
    let nothing = async_graphql::indexmap::IndexMap::new();
    let call = Call { ask, input: Input(&nothing), context: None };
    match record.look_up(name, call) {
        Some(found) => found.await,
        None => Ok(Answer::NULL),
    }
}

pub(crate) async fn value(record: &Object, name: &str, ask: &Arc<Ask>) -> Result<Value, Failure> {
    Ok(match answer(record, name, ask).await? {
        Answer::Value(value) => value,
        _ => Value::Null,
    })
}

async fn related(record: &Object, name: &str, ask: &Arc<Ask>) -> Result<Vec<Object>, Failure> {
    match record.related(name, ask) {
        Related::Now(records) => Ok(records),
        Related::Later(records) => records.await,
        Related::NotThis => Ok(match answer(record, name, ask).await? {
            Answer::Object(record) => vec![record],
            Answer::Objects(records) => records,
            Answer::Value(_) => Vec::new(),
        }),
    }
}

fn tests(input: Input<'_>) -> Result<Vec<Test>, Failure> {
    let mut all = Vec::new();
    for (name, value) in input.0 {
        if *value == Value::Null {
            continue;
        }
        let compared = |how| Test::Compared(how, value.clone());
        let given = || {
            let given = text(value)
                .ok_or_else(|| Failure::invalid_argument("filter", format!("{name} takes a text")));
            given.and_then(|given| {
                if given.len() <= LONGEST_TEXT {
                    return Ok(given);
                }
                let why = format!("{name} takes a text of at most {LONGEST_TEXT} bytes");
                Err(Failure::invalid_argument("filter", why))
            })
        };
        let wording = |how| given().map(|given| Test::Text(how, given.to_owned()));
        all.push(match name.as_str() {
            "isNil" => Test::IsNil(*value == Value::Boolean(true)),
            "in" => Test::In(match value {
                Value::List(values) => values.clone(),
                value => vec![value.clone()],
            }),
            "eq" => compared(Compared::Equal),
            "notEq" => compared(Compared::Unequal),
            "lessThan" => compared(Compared::Less),
            "greaterThan" => compared(Compared::Greater),
            "lessThanOrEqual" => compared(Compared::LessOrEqual),
            "greaterThanOrEqual" => compared(Compared::GreaterOrEqual),
            "isDistinctFrom" => compared(Compared::Distinct),
            "isNotDistinctFrom" => compared(Compared::NotDistinct),
            "contains" => wording(TextTest::Contains)?,
            "stringStartsWith" => wording(TextTest::StartsWith)?,
            "stringEndsWith" => wording(TextTest::EndsWith)?,
            "like" => Test::Like(pattern(given()?), false),
            "ilike" => Test::Like(pattern(&given()?.to_lowercase()), true),
            other => {
                return Err(Failure::invalid_argument("filter", format!("{other} is no test")));
            }
        });
    }
    Ok(all)
}

impl Test {
    /// Whether a value passes; `None`: there is none, so that nobody knows.
    fn passes(&self, value: &Value) -> Option<bool> {
        match self {
            Self::IsNil(wanted) => return Some((*value == Value::Null) == *wanted),
            Self::Compared(Compared::Distinct, other) => {
                return Some(compare(value, other) != Some(Ordering::Equal));
            }
            Self::Compared(Compared::NotDistinct, other) => {
                return Some(compare(value, other) == Some(Ordering::Equal));
            }
            _ if *value == Value::Null => return None,
            _ => {}
        }
        Some(match self {
            Self::In(values) => {
                values.iter().any(|one| compare(value, one) == Some(Ordering::Equal))
            }
            Self::Compared(how, other) => {
                let order = compare(value, other);
                match how {
                    Compared::Equal => order == Some(Ordering::Equal),
                    Compared::Unequal => order.is_some_and(Ordering::is_ne),
                    Compared::Less => order.is_some_and(Ordering::is_lt),
                    Compared::Greater => order.is_some_and(Ordering::is_gt),
                    Compared::LessOrEqual => order.is_some_and(Ordering::is_le),
                    Compared::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
                    Compared::Distinct | Compared::NotDistinct => false,
                }
            }
            Self::Text(how, given) => text(value).is_some_and(|text| match how {
                TextTest::Contains => text.contains(given.as_str()),
                TextTest::StartsWith => text.starts_with(given.as_str()),
                TextTest::EndsWith => text.ends_with(given.as_str()),
            }),
            Self::Like(parts, false) => text(value).is_some_and(|text| like(text, parts)),
            Self::Like(parts, true) => {
                text(value).is_some_and(|text| like(&text.to_lowercase(), parts))
            }
            Self::IsNil(_) => false,
        })
    }
}

/// How two values stand to each other; `None`: one of them is none, or they are of two kinds.
pub(crate) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        // Two times may be written in two ways.
        let is_time = |text: &str| text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T');
        if is_time(left)
            && is_time(right)
            && let (Ok(left), Ok(right)) =
                (DateTime::parse_from_rfc3339(left), DateTime::parse_from_rfc3339(right))
        {
            return Some(left.cmp(&right));
        }
        return Some(left.cmp(right));
    }
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::Boolean(left), Value::Boolean(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// A pattern, in which `%` is any run of characters, `_` any one, and a backslash takes the meaning
/// from what follows.
fn pattern(given: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut letters = given.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            '%' if parts.last() == Some(&Part::Any) => continue,
            '%' => Part::Any,
            '_' => Part::One,
            '\\' => Part::Letter(letters.next().unwrap_or('\\')),
            letter => Part::Letter(letter),
        });
    }
    parts
}

/// Whether a text fits a pattern.
fn like(text: &str, parts: &[Part]) -> bool {
    let text: Vec<char> = text.chars().collect();
    // One place to come back to is enough, as a later `%` can do all that an earlier one can.
    let (mut at, mut part, mut back) = (0, 0, None);
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                back = Some((at, part + 1));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Letter(letter)) if *letter == text[at] => (at, part) = (at + 1, part + 1),
            _ => match back {
                Some((from, after)) => {
                    back = Some((from + 1, after));
                    (at, part) = (from + 1, after);
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    fn read(filter: &Value) -> Result<Filter, Failure> {
        let Value::Object(input) = value!({"filter": filter.clone()}) else { unreachable!() };
        Filter::of("Campaign", Input(&input))
    }

    #[test]
    fn a_pattern_fits_the_whole_text() {
        for (text, pattern, fits) in [
            ("", "%%", true),
            ("", "_", false),
            ("gateway", "%way%", true),
            ("gateway", "gate", false),
            ("gateway", "g_t%", true),
            ("50%", "50\\%", true),
            ("500", "50\\%", false),
            ("ababac", "%abac", true),
            ("äö", "__", true),
        ] {
            assert_eq!(like(text, &super::pattern(pattern)), fits, "{text:?} like {pattern:?}");
        }
        let Filter::Field(_, ilike) = read(&value!({"name": {"ilike": "%WAY%"}})).unwrap() else {
            unreachable!()
        };
        assert_eq!(ilike[0].passes(&value!("gateWay")), Some(true));
    }

    #[test]
    fn null_and_nothing_are_no_filter() {
        for filter in [value!(null), value!({}), value!({"name": null, "and": null})] {
            assert_eq!(read(&filter), Ok(Filter::NONE));
        }
    }

    #[test]
    fn what_a_list_is_kept_by_is_split_off() {
        let filter = read(&value!({"status": {"eq": "PAUSED"}, "name": {"ilike": "%a%"}})).unwrap();
        let (status, rest) = filter.split("status");
        assert_eq!(status, Some(vec!["PAUSED".to_owned()]));
        assert!(matches!(&rest, Filter::Field(name, _) if name == "name"), "{rest:?}");
        let either = read(&value!({"or": [{"status": {"eq": "PAUSED"}}, {"name": {"eq": "a"}}]}));
        let (status, rest) = either.clone().unwrap().split("status");
        assert_eq!((status, rest), (None, either.unwrap()), "one of two is not enough");
    }

    #[test]
    fn times_are_compared_as_times() {
        let (left, right) =
            (value!("2026-11-30T12:00:00Z"), value!("2026-11-30T13:00:00.000+01:00"));
        assert_eq!(compare(&left, &right), Some(Ordering::Equal));
        assert_eq!(compare(&value!(null), &right), None);
    }

    #[test]
    fn of_what_is_null_only_that_is_known() {
        let passes = |test: Value, given: &Value| {
            let Filter::Field(_, tests) = read(&value!({"outcome": test})).unwrap() else {
                unreachable!()
            };
            tests[0].passes(given)
        };
        let (null, success) = (value!(null), value!("SUCCESS"));
        for test in [
            value!({"eq": "SUCCESS"}),
            value!({"notEq": "SUCCESS"}),
            value!({"in": ["SUCCESS"]}),
            value!({"ilike": "%"}),
            value!({"lessThan": "SUCCESS"}),
        ] {
            assert_eq!(passes(test.clone(), &null), None, "{test}");
            assert!(passes(test, &success).is_some());
        }
        assert_eq!(passes(value!({"isNil": true}), &null), Some(true));
        assert_eq!(passes(value!({"isDistinctFrom": "SUCCESS"}), &null), Some(true));
    }

    #[test]
    fn a_filter_has_only_so_many_tests_and_so_long_texts() {
        let values = |count: usize| Value::List(vec![value!("a"); count]);
        assert!(read(&value!({"name": {"in": values(MOST_TESTS)}})).is_ok());
        let many = vec![value!({"name": {"eq": "a"}}); MOST_TESTS + 1];
        for filter in [
            value!({"name": {"in": values(MOST_TESTS + 1)}}),
            value!({"or": many.clone()}),
            value!({"and": many}),
            value!({"name": {"ilike": "%".repeat(LONGEST_TEXT + 1)}}),
        ] {
            assert_eq!(read(&filter).unwrap_err().code, "invalid_argument");
        }
    }

    #[test]
    fn a_filter_is_nested_only_so_deep() {
        let mut filter = value!({"name": {"eq": "a"}});
        for _ in 0..DEEPEST {
            filter = value!({"and": [filter]});
        }
        assert_eq!(read(&filter).unwrap_err().code, "invalid_argument");
    }
}
