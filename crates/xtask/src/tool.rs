//! Tools from crates.io that are no part of a Rust installation. Different versions judge
//! differently, so one pinned version of each is found or installed here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::external::{External, ExternalError};
use crate::report;

/// A sub-command of cargo, in one version.
pub(crate) struct Tool {
    /// The crate and the program.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// The program: the one that was installed here before, the one on the PATH, or a new one.
    pub(crate) fn find_or_install(&self, root: &Path) -> Result<PathBuf, ExternalError> {
        self.find_or_install_with(root, &[])
    }

    /// The same, with options for `cargo install`, such as features. Without optimisation and debug
    /// information: what these tools do takes seconds, building them takes minutes.
    pub(crate) fn find_or_install_with(
        &self,
        root: &Path,
        options: &[&str],
    ) -> Result<PathBuf, ExternalError> {
        let tools = root.join("target").join("tools");
        let program = format!("{}{}", self.name, std::env::consts::EXE_SUFFIX);
        let installed = tools.join("bin").join(program);
        for candidate in [installed.clone(), PathBuf::from(self.name)] {
            if self.is_pinned(&candidate) {
                return Ok(candidate);
            }
        }
        let (name, version) = (self.name, self.version);
        report::line(&format!(
            "{name} {version} is neither in {} nor on the PATH: installing it there, once; \
             this takes some minutes",
            tools.display()
        ));
        let build = tools.join("build");
        // Forced: cargo would otherwise believe its own list even when the program was deleted.
        // The build directory is fixed so that an interrupted installation goes on where it was.
        External::cargo(["install", name, "--version", version, "--locked", "--force", "--debug"])
            .environment("CARGO_PROFILE_DEV_DEBUG", "false")
            .arguments(options.iter().copied())
            .path_argument("--root", &tools)
            .path_argument("--target-dir", &build)
            .directory(root)
            .run()?;
        // What is left of building it is many times the size of the program. If it stays, it does no
        // harm.
        let _ = std::fs::remove_dir_all(&build);
        Ok(installed)
    }

    fn is_pinned(&self, program: &Path) -> bool {
        // The program's own name is what cargo would give it as its first argument. A program that
        // cannot be started or that fails is as good as absent.
        let command = self.name.strip_prefix("cargo-").unwrap_or(self.name);
        [vec!["--version"], vec![command, "--version"]].iter().any(|arguments| {
            Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
                .is_ok_and(|output| output.status.success() && self.is_printed(&output.stdout))
        })
    }

    fn is_printed(&self, printed: &[u8]) -> bool {
        str::from_utf8(printed).is_ok_and(|text| {
            let version = text.trim().strip_prefix(self.name).map(str::trim_start);
            version.map(|version| version.strip_prefix('v').unwrap_or(version))
                == Some(self.version)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

    #[test]
    fn only_the_pinned_version_is_accepted() {
        assert!(TOOL.is_printed(b"cargo-deny 0.20.2\n"));
        assert!(TOOL.is_printed(b"cargo-deny v0.20.2\n"));
        assert!(!TOOL.is_printed(b"cargo-deny 0.20.20\n"));
        assert!(!TOOL.is_printed(b"cargo-deny 0.1.0\n"));
        assert!(!TOOL.is_printed(b"0.20.2\n"));
        assert!(!TOOL.is_printed(b""));
        assert!(!TOOL.is_printed(&[0xff]));
    }

    #[test]
    fn a_program_that_is_absent_does_not_have_the_pinned_version() {
        assert!(!TOOL.is_pinned(Path::new("no-such-program-anywhere")));
    }
}
