//! Reading a selector: by recursive descent, as deep as parentheses may be in each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use hedgerow_core::Timestamp;

use super::pattern::Pattern;
use super::{
    Comparison, DEEPEST, Expression, LONGEST, MOST_FILTERS, MOST_REGEXES, Namespace, Operand,
    SelectorError,
};
use crate::attribute::AttributeValue;

/// What a filter begins with.
const A_FILTER: &str = "expected a filter: \"TAG\" in tags, \"PATTERN\" ~= tags, /REGEX/ ~= tags, attributes[\"custom:KEY\"] == VALUE, or one in parentheses";
/// Longer spellings first, as a shorter one may begin a longer one.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

type Parsed<T> = Result<T, SelectorError>;

/// Reads a whole text, with compiled regular expressions of at most so many bytes each.
pub(super) fn parse(text: &str, largest_regex: usize) -> Parsed<Expression> {
    if text.len() > LONGEST {
        let problem = format!("a selector of {} bytes: give at most {LONGEST}", text.len());
        return Err(SelectorError::at(text, floor(text, LONGEST), problem));
    }
    let mut parser = Parser { text, at: 0, depth: 0, filters: 0, regexes: 0, largest_regex };
    let expression = parser.any()?;
    if parser.rest().is_empty() {
        return Ok(expression);
    }
    Err(parser.expected("expected AND, OR, or the end of the selector"))
}

/// The place of a character at or before a byte.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// An instant in ISO 8601; without an offset it is in UTC, without a time of day it begins a day.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc().into());
    }
    let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
    let naive = naive.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"));
    let day =
        || NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN));
    naive.or_else(|_| day()).ok().map(|time| time.and_utc().into())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    filters: usize,
    regexes: usize,
    largest_regex: usize,
}

impl<'a> Parser<'a> {
    /// What is left, without the blanks before it.
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn expected(&mut self, problem: impl Into<String>) -> SelectorError {
        self.rest();
        SelectorError::at(self.text, self.at, problem)
    }

    /// Takes a sign, if it is next.
    fn sign(&mut self, sign: &str) -> bool {
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.at += sign.len();
        }
        is_next
    }

    fn sign_or(&mut self, sign: &str, problem: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.expected(problem)) }
    }

    /// The word that is next, if one is.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    /// Takes a keyword, in any case, if it is next as a whole word.
    fn keyword(&mut self, keyword: &str) -> bool {
        let is_next = self.word().eq_ignore_ascii_case(keyword);
        if is_next {
            self.at += keyword.len();
        }
        is_next
    }

    fn any(&mut self) -> Parsed<Expression> {
        let first = self.all()?;
        let mut some = vec![first];
        while self.keyword("or") {
            some.push(self.all()?);
        }
        Ok(one_or(some, Expression::Any))
    }

    fn all(&mut self) -> Parsed<Expression> {
        let first = self.factor()?;
        let mut all = vec![first];
        while self.keyword("and") {
            all.push(self.factor()?);
        }
        Ok(one_or(all, Expression::All))
    }

    fn factor(&mut self) -> Parsed<Expression> {
        if !self.rest().starts_with('(') {
            return self.filter();
        }
        if self.depth == DEEPEST {
            return Err(self.expected(format!("more than {DEEPEST} parentheses in each other")));
        }
        self.depth += 1;
        self.at += 1;
        let inner = self.any()?;
        self.sign_or(")", "expected AND, OR or \")\"")?;
        self.depth -= 1;
        Ok(inner)
    }

    fn filter(&mut self) -> Parsed<Expression> {
        if self.filters == MOST_FILTERS {
            return Err(self.expected(format!("more than {MOST_FILTERS} filters")));
        }
        self.filters += 1;
        if self.rest().starts_with('"') {
            let text = self.string()?;
            if let Some(wanted) = self.matching() {
                self.tags()?;
                return Ok(Expression::TagMatches(Pattern::wildcards(&text), wanted));
            }
            let wanted = !self.keyword("not");
            if !self.keyword("in") {
                let problem = if wanted { "expected in, not in, ~= or !~=" } else { "expected in" };
                return Err(self.expected(problem));
            }
            self.tags()?;
            return Ok(Expression::HasTag(text, wanted));
        }
        if self.rest().starts_with('/') {
            let pattern = self.regex()?;
            let Some(wanted) = self.matching() else {
                return Err(self.expected("expected ~= or !~="));
            };
            self.tags()?;
            return Ok(Expression::TagMatches(pattern, wanted));
        }
        if self.keyword("attributes") {
            return self.attribute();
        }
        Err(self.expected(A_FILTER))
    }

    /// Takes `~=` or `!~=`: whether it is the first.
    fn matching(&mut self) -> Option<bool> {
        if self.sign("~=") { Some(true) } else { self.sign("!~=").then_some(false) }
    }

    fn tags(&mut self) -> Parsed<()> {
        if self.keyword("tags") { Ok(()) } else { Err(self.expected("expected tags")) }
    }

    fn attribute(&mut self) -> Parsed<Expression> {
        self.sign_or("[", "expected [\"NAMESPACE:KEY\"]")?;
        let begin = self.expected("").offset;
        let name = self.string_or("expected \"NAMESPACE:KEY\"")?;
        let wrong = |problem: &str| Err(SelectorError::at(self.text, begin, problem));
        let Some((namespace, key)) = name.split_once(':') else {
            return wrong("expected \"NAMESPACE:KEY\"");
        };
        let namespace = match namespace {
            "custom" => Namespace::Custom,
            "astarte-attributes" => Namespace::Astarte,
            _ => return wrong("expected the namespace custom or astarte-attributes"),
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b"_-".contains(&b)) {
            return wrong("expected a key of lower case letters, hyphens or underscores");
        }
        let key = key.to_owned();
        self.sign_or("]", "expected ]")?;
        let found = COMPARISONS.into_iter().find(|(sign, _)| self.sign(sign));
        let Some((_, comparison)) = found else {
            return Err(self.expected("expected ==, !=, >, >=, < or <="));
        };
        let with = self.operand()?;
        Ok(Expression::Attribute { namespace, key, comparison, with })
    }

    fn operand(&mut self) -> Parsed<Operand> {
        const A_VALUE: &str = "expected a value: \"TEXT\", a number, true, false, now(), datetime(\"…\") or binaryblob(\"…\")";
        let rest = self.rest();
        let value = match rest.bytes().next() {
            Some(b'"') => AttributeValue::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.keyword("true") => AttributeValue::Boolean(true),
            _ if self.keyword("false") => AttributeValue::Boolean(false),
            _ if self.keyword("now") => {
                self.sign_or("(", "expected ()")?;
                self.sign_or(")", "expected )")?;
                return Ok(Operand::Now);
            }
            _ if self.keyword("datetime") => {
                let (text, at) = self.argument()?;
                let problem = "expected a time in ISO 8601, such as 2026-11-30T12:00:00Z";
                let time = instant(&text);
                let time = time.ok_or_else(|| SelectorError::at(self.text, at, problem))?;
                AttributeValue::Time(time)
            }
            _ if self.keyword("binaryblob") => {
                let (text, at) = self.argument()?;
                let bytes = STANDARD.decode(text);
                let problem = "expected bytes in base64, padded";
                let bytes = bytes.map_err(|_| SelectorError::at(self.text, at, problem))?;
                AttributeValue::Bytes(bytes)
            }
            _ => return Err(self.expected(A_VALUE)),
        };
        Ok(Operand::Value(value))
    }

    /// A text in parentheses, and where it begins.
    fn argument(&mut self) -> Parsed<(String, usize)> {
        self.sign_or("(", "expected (")?;
        let at = self.expected("").offset;
        let text = self.string_or("expected a text in quotes")?;
        self.sign_or(")", "expected )")?;
        Ok((text, at))
    }

    fn number(&mut self) -> Parsed<AttributeValue> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        let value = match text.parse() {
            Ok(whole) => Some(AttributeValue::Integer(whole)),
            Err(_) => text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(AttributeValue::Number),
        };
        let value = value.ok_or_else(|| self.expected("expected a number"))?;
        self.at += end;
        Ok(value)
    }

    fn string_or(&mut self, problem: &str) -> Parsed<String> {
        if self.rest().starts_with('"') { self.string() } else { Err(self.expected(problem)) }
    }

    /// Takes a text in quotes, which is known to be next.
    fn string(&mut self) -> Parsed<String> {
        self.quoted('"', |escaped| matches!(escaped, '"' | '\\'))
    }

    fn regex(&mut self) -> Parsed<Pattern> {
        let begin = self.at;
        if self.regexes == MOST_REGEXES {
            return Err(self.expected(format!("more than {MOST_REGEXES} regular expressions")));
        }
        self.regexes += 1;
        let text = self.quoted('/', |escaped| escaped == '/')?;
        Pattern::regex(&text, self.largest_regex)
            .map_err(|problem| SelectorError::at(self.text, begin, problem))
    }

    /// What stands between two quotes, a backslash taken from before what it may escape.
    fn quoted(&mut self, quote: char, is_escaped: fn(char) -> bool) -> Parsed<String> {
        let begin = self.at;
        let mut chars = self.rest().char_indices();
        chars.next();
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + c.len_utf8();
                return Ok(text);
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some((_, next)) => {
                    if !is_escaped(next) {
                        text.push(c);
                    }
                    text.push(next);
                }
                None => text.push(c),
            }
        }
        Err(SelectorError::at(self.text, begin, format!("nothing ends what begins with {quote}")))
    }
}

fn one_or(mut many: Vec<Expression>, together: fn(Vec<Expression>) -> Expression) -> Expression {
    match many.pop() {
        Some(only) if many.is_empty() => only,
        Some(last) => {
            many.push(last);
            together(many)
        }
        None => together(many),
    }
}
