//! Why a text is no selector, and where.

use std::fmt;

/// How much of a line is shown on each side of the place.
const SHOWN: usize = 60;

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectorError {
    /// Where it stopped to be one, in bytes from its beginning.
    pub offset: usize,
    /// The line of that place, from 1.
    pub line: usize,
    /// The character of that place in its line, from 1.
    pub column: usize,
    /// What was expected there, or what is wrong with what is there.
    pub problem: String,
    /// What is there, cut after a few characters; empty at the end of the text.
    pub found: String,
}

impl SelectorError {
    pub(super) fn at(text: &str, offset: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let rest = text.get(offset..).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: problem.into(),
            found: rest.split_whitespace().next().unwrap_or_default().chars().take(20).collect(),
        }
    }

    /// The line of the selector with a caret under the place, for people; two lines.
    ///
    /// ```
    /// use hedgerow_catalogue::Selector;
    ///
    /// let text = r#""garden" in tags AND "beta" inn tags"#;
    /// let error = text.parse::<Selector>().expect_err("misspelt");
    /// assert_eq!(error.offset, 28);
    /// assert_eq!(
    ///     error.rendered(text),
    ///     "\"garden\" in tags AND \"beta\" inn tags\n                            ^"
    /// );
    /// ```
    #[must_use]
    pub fn rendered(&self, text: &str) -> String {
        let line = text.split('\n').nth(self.line - 1).unwrap_or_default();
        let skipped = (self.column - 1).saturating_sub(SHOWN);
        // Whatever would move the caret away from its place is shown as a blank.
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(SHOWN * 2)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let blanks = self.column - 1 - skipped;
        format!("{shown}\n{:blanks$}^", "")
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, problem, found, .. } = self;
        write!(f, "line {line}, character {column}: {problem}")?;
        if found.is_empty() { write!(f, ", at its end") } else { write!(f, ", at {found:?}") }
    }
}

impl std::error::Error for SelectorError {}
