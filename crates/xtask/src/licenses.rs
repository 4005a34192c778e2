//! Checks licences, bans and sources of all dependencies with cargo-deny, whose rules are in
//! `deny.toml`.

use std::path::Path;

use crate::external::{External, ExternalError};
use crate::tool::Tool;

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Runs cargo-deny, after installing it if need be. Advisories are not checked: their outcome
/// changes from day to day without a change in the project.
pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    External::program(&CARGO_DENY.find_or_install(root)?)
        .arguments(["--all-features", "check", "licenses", "bans", "sources"])
        .directory(root)
        .run()
}
