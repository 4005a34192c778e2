//! Writes the progress of the checks. A closed pipe (`cargo xtask test | head`) must not turn into a
//! panic, so failures to write are ignored: the exit status carries the outcome.

use std::io::Write;

/// Writes a line to the standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line to the standard error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
