//! Checks licences, bans and sources of all dependencies with cargo-deny, whose rules are in
//! `deny.toml`. The tool is not part of a Rust installation, and different versions judge
//! differently, so one pinned version is found or installed here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::external::{External, ExternalError};
use crate::report;

const VERSION: &str = "0.20.2";

/// Runs cargo-deny, after installing it if need be. Advisories are not checked: their outcome
/// changes from day to day without a change in the project.
pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    External::program(&find_or_install(root)?)
        .arguments(["--all-features", "check", "licenses", "bans", "sources"])
        .directory(root)
        .run()
}

fn find_or_install(root: &Path) -> Result<PathBuf, ExternalError> {
    let tools = root.join("target").join("tools");
    let installed = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    for candidate in [installed.clone(), PathBuf::from("cargo-deny")] {
        if has_pinned_version(&candidate) {
            return Ok(candidate);
        }
    }
    report::line(&format!(
        "cargo-deny {VERSION} is neither in {} nor on the PATH: installing it there, once; \
         this takes some minutes",
        tools.display()
    ));
    // Forced: cargo would otherwise believe its own list even when the program was deleted.
    // The build directory is fixed so that an interrupted installation goes on where it was.
    External::cargo(["install", "cargo-deny", "--version", VERSION, "--locked", "--force"])
        .path_argument("--root", &tools)
        .path_argument("--target-dir", &tools.join("build"))
        .directory(root)
        .run()?;
    Ok(installed)
}

fn has_pinned_version(program: &Path) -> bool {
    // A program that cannot be started or that fails is as good as absent.
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && is_pinned_version(&output.stdout))
}

fn is_pinned_version(printed: &[u8]) -> bool {
    str::from_utf8(printed)
        .is_ok_and(|text| text.trim().strip_prefix("cargo-deny ") == Some(VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_version_is_accepted() {
        assert!(is_pinned_version(format!("cargo-deny {VERSION}\n").as_bytes()));
        assert!(!is_pinned_version(format!("cargo-deny {VERSION}0\n").as_bytes()));
        assert!(!is_pinned_version(b"cargo-deny 0.1.0\n"));
        assert!(!is_pinned_version(b""));
        assert!(!is_pinned_version(&[0xff]));
    }

    #[test]
    fn a_program_that_is_absent_does_not_have_the_pinned_version() {
        assert!(!has_pinned_version(Path::new("no-such-program-anywhere")));
    }
}
