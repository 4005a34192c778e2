//! Installs the Astarte device SDK for Python, as it is published, into a virtual environment of its
//! own, and runs the test of the emulator that needs it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::external::{External, ExternalError};
use crate::report;

/// What is installed.
const SDK: Environment = Environment {
    what: "the Python SDK",
    requirements: "crates/astarte-emulator/tests/python/requirements.txt",
    folder: "target/python-sdk",
    options: &["--only-binary", ":all:", "--no-binary", "bson"],
};
/// Tells the test where the Python with the SDK is.
const PYTHON: &str = "HEDGEROW_PYTHON_WITH_SDK";

/// Why a device on the Python SDK could not be tried, or does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PythonError {
    #[error(
        "there is no Python 3 with its module for virtual environments; install it, on Debian as \
         root: apt-get install python3-venv"
    )]
    NoPython,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{what} could not be installed from PyPI, which is needed once: {source}")]
    NotInstalled { what: &'static str, source: ExternalError },
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// Runs the test; what it needs is installed first, unless it is there.
pub(crate) fn check(root: &Path) -> Result<(), PythonError> {
    let python = SDK.installed(root)?;
    // Of the whole workspace, so that what the other tests have built is not built anew.
    External::cargo(["test", "--workspace", "--test", "emulator"])
        .arguments(["python_device", "--", "--ignored"])
        .path_environment(PYTHON, &python)
        .directory(root)
        .run()?;
    Ok(())
}

/// A virtual environment of Python with packages from `PyPI`.
pub(crate) struct Environment {
    /// What is in it, for people.
    pub(crate) what: &'static str,
    /// The file with the packages, each with its version.
    pub(crate) requirements: &'static str,
    /// Where it is.
    pub(crate) folder: &'static str,
    /// How `pip` is to install the packages.
    pub(crate) options: &'static [&'static str],
}

impl Environment {
    /// The Python that has the packages, which are installed unless they are there.
    pub(crate) fn installed(&self, root: &Path) -> Result<PathBuf, PythonError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| PythonError::File { path, source }
        };
        let requirements = root.join(self.requirements);
        let wanted = fs::read_to_string(&requirements).map_err(failed(&requirements))?;
        let folder = root.join(self.folder);
        let python = folder.join("bin/python");
        // Written last, so that an installation that was cut short is not taken for one.
        let mark = folder.join("installed.txt");
        if python.exists() && fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
            return Ok(python);
        }
        if !has_virtual_environments() {
            return Err(PythonError::NoPython);
        }
        report::line(&format!("installing {} into {}", self.what, self.folder));
        External::program(Path::new("python3"))
            .arguments(["-m", "venv", "--clear"])
            .path(&folder)
            .directory(root)
            .run()?;
        External::program(&python)
            .arguments(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arguments(["--timeout", "30", "--retries", "3"])
            .arguments(self.options.iter().copied())
            .path_argument("--requirement", &requirements)
            .directory(root)
            .run()
            .map_err(|source| PythonError::NotInstalled { what: self.what, source })?;
        fs::write(&mark, wanted).map_err(failed(&mark))?;
        Ok(python)
    }
}

fn has_virtual_environments() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import ensurepip, venv"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
