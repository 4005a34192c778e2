//! Runs other programs (cargo, cargo-deny) and keeps what is needed to say which one failed.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::step::Failure;

/// Why a program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ExternalError {
    #[error("`{command}` could not be started: {source}; is the program installed?")]
    NotStarted { command: String, source: io::Error },
    #[error("`{command}` failed ({status}); its own messages are above")]
    Failed { command: String, status: ExitStatus },
    #[error("`{command}` printed text that is not UTF-8")]
    NotText { command: String },
}

/// What cargo calls it.
pub(crate) const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// A program with its arguments, to run in the root of the workspace.
pub(crate) struct External {
    command: Command,
    environment: Vec<(&'static str, &'static str)>,
}

impl External {
    /// The cargo that runs this program, so that all steps use the same toolchain. What it keeps for
    /// compiling incrementally would be half of what is in `target`, and a check builds most things
    /// once: it keeps nothing, unless the caller of this program wants it.
    pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut external = Self::program(Path::new(&program)).arguments(arguments);
        if std::env::var_os(INCREMENTAL).is_none() {
            external.command.env(INCREMENTAL, "0");
        }
        external
    }

    pub(crate) fn program(program: &Path) -> Self {
        Self { command: Command::new(program), environment: Vec::new() }
    }

    pub(crate) fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn path(mut self, path: &Path) -> Self {
        self.command.arg(path);
        self
    }

    pub(crate) fn path_argument(mut self, option: &str, path: &Path) -> Self {
        self.command.arg(option).arg(path);
        self
    }

    pub(crate) fn environment(mut self, name: &'static str, value: &'static str) -> Self {
        self.command.env(name, value);
        self.environment.push((name, value));
        self
    }

    /// Sets a variable that would make the shown command no clearer.
    pub(crate) fn path_environment(mut self, name: &str, value: &Path) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs the program with the output going straight to the user.
    pub(crate) fn run(mut self) -> Result<(), ExternalError> {
        let status = self.command.stdin(Stdio::null()).status();
        let status = status.map_err(|source| self.not_started(source))?;
        self.succeeded(status)
    }

    /// Runs the program and returns what it printed; its error messages go to the user.
    pub(crate) fn read(mut self) -> Result<String, ExternalError> {
        let output = self.command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|source| self.not_started(source))?;
        self.succeeded(output.status)?;
        String::from_utf8(output.stdout)
            .map_err(|_| ExternalError::NotText { command: self.shown() })
    }

    /// The command as one would type it.
    pub(crate) fn shown(&self) -> String {
        let program = Path::new(self.command.get_program());
        // The full path of the toolchain's cargo would only hide what matters.
        let program = program.file_name().unwrap_or(program.as_os_str());
        let mut words: Vec<String> = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        words.push(quoted(&program.to_string_lossy()));
        words.extend(self.command.get_args().map(|word| quoted(&word.to_string_lossy())));
        words.join(" ")
    }

    fn not_started(&self, source: io::Error) -> ExternalError {
        ExternalError::NotStarted { command: self.shown(), source }
    }

    fn succeeded(&self, status: ExitStatus) -> Result<(), ExternalError> {
        if status.success() {
            Ok(())
        } else {
            Err(ExternalError::Failed { command: self.shown(), status })
        }
    }
}

/// The root of the workspace, found by cargo from the current directory.
pub(crate) fn workspace_root() -> Result<PathBuf, Failure> {
    let manifest =
        External::cargo(["locate-project", "--workspace", "--message-format", "plain"]).read()?;
    let manifest = Path::new(manifest.trim_end());
    Ok(manifest.parent().unwrap_or(manifest).to_path_buf())
}

fn quoted(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./=:,".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let external = External::program(Path::new("/somewhere/bin/cargo"))
            .arguments(["doc", "--workspace"])
            .environment("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(external.shown(), "RUSTDOCFLAGS='-D warnings' cargo doc --workspace");
    }

    #[test]
    fn a_missing_program_is_named_in_the_error() {
        let error = External::program(Path::new("no-such-program-anywhere")).run();
        let message = error.map_err(|error| error.to_string());
        assert!(
            message
                .as_ref()
                .is_err_and(|text| text.starts_with("`no-such-program-anywhere` could not be")),
            "{message:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_fails_is_an_error_with_its_command() {
        let error = External::program(Path::new("false")).arguments(["--quietly"]).read();
        assert!(
            matches!(&error, Err(ExternalError::Failed { command, .. }) if command == "false --quietly"),
            "{error:?}"
        );
    }
}
