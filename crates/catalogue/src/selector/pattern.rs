//! What the tags of a device are compared with: a pattern with wildcards, or a regular expression.

use regex::{Regex, RegexBuilder};

#[derive(Debug)]
pub(super) enum Pattern {
    /// Over the whole tag: `*` is any run of characters, `?` is one.
    Wildcards(Vec<char>),
    /// Found anywhere in the tag.
    Regex(Regex),
}

impl Pattern {
    pub(super) fn wildcards(text: &str) -> Self {
        Self::Wildcards(text.chars().collect())
    }

    /// A regular expression, on an engine that takes time linear in the tag; or what is wrong.
    /// `largest` is how many bytes it may have when it is compiled, and what looks for it.
    pub(super) fn regex(text: &str, largest: usize) -> Result<Self, String> {
        let built = RegexBuilder::new(text)
            .size_limit(largest)
            .dfa_size_limit(largest)
            .nest_limit(50)
            .build();
        built.map(Self::Regex).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "a regular expression that is too large: write a simpler one".to_owned()
            }
            // It shows the expression over several lines; the last one says what is wrong.
            error => {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or_default();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                format!("a regular expression that cannot be read: {why}")
            }
        })
    }

    pub(super) fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Wildcards(pattern) => matches_wildcards(pattern, tag),
            Self::Regex(regex) => regex.is_match(tag),
        }
    }
}

/// Goes back to the latest `*` alone, which is enough: time is at most the product of the lengths.
fn matches_wildcards(pattern: &[char], tag: &str) -> bool {
    let (mut at, mut rest) = (0, tag.chars());
    // Behind the latest `*`, and what was left of the tag there.
    let mut back: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            back = Some((at, rest.clone()));
            continue;
        }
        let here = rest.clone().next();
        let goes_on = match (pattern.get(at), here) {
            (None, None) => return true,
            (Some('?'), Some(_)) => true,
            (Some(wanted), Some(found)) => *wanted == found,
            _ => false,
        };
        if goes_on {
            at += 1;
            rest.next();
            continue;
        }
        // The run of the latest `*` is longer by one.
        let Some((behind, run)) = &mut back else { return false };
        if run.next().is_none() {
            return false;
        }
        (at, rest) = (*behind, run.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wildcards_match_as_the_regular_expression_that_they_stand_for(
            pattern in "[ab*?\n]{0,8}",
            tag in "[ab\n]{0,8}",
        ) {
            let parts = pattern.chars().map(|c| match c {
                '*' => "(?s:.*)".to_owned(),
                '?' => "(?s:.)".to_owned(),
                c => regex::escape(&c.to_string()),
            });
            let same = Regex::new(&format!("^{}$", parts.collect::<String>())).expect("it can be read");
            let chars: Vec<char> = pattern.chars().collect();
            prop_assert_eq!(matches_wildcards(&chars, &tag), same.is_match(&tag));
        }
    }
}
