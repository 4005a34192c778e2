//! Installs an S3 server from `PyPI` into a virtual environment of its own, starts it in a folder that
//! is removed afterwards, and runs the tests of images in buckets against it.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::external::{External, ExternalError};
use crate::python_device::{Environment, PythonError};

/// What is installed, with versions, and where.
const SERVER: Environment = Environment {
    what: "an S3 server",
    requirements: "crates/catalogue/tests/python/requirements.txt",
    folder: "target/s3-server",
    options: &["--only-binary", ":all:"],
};
/// Starts it, says where it listens, and ends with its standard input.
const START: &str = "crates/catalogue/tests/python/s3_server.py";
/// Tells the tests where the server is.
const ENDPOINT: &str = "HEDGEROW_S3_ENDPOINT";

/// Why images in buckets could not be tried, or do not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum S3Error {
    #[error(transparent)]
    Python(#[from] PythonError),
    #[error("the S3 server could not be started: {0}")]
    NotStarted(#[from] io::Error),
    #[error("the S3 server ended before it listened; what it says is above")]
    NotThere,
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// A server, which ends with this, and by itself should this process be killed.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// The server, and where it is.
    fn start(python: &Path, script: &Path, folder: &Path) -> Result<(Self, String), S3Error> {
        let mut child = Command::new(python)
            .arg(script)
            .current_dir(folder)
            .env("TMPDIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let server = Self { child, input };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        let endpoint = line.trim();
        if endpoint.is_empty() { Err(S3Error::NotThere) } else { Ok((server, endpoint.to_owned())) }
    }
}

/// Runs the tests; what they need is installed first, unless it is there.
pub(crate) fn check(root: &Path) -> Result<(), S3Error> {
    let python = SERVER.installed(root)?;
    let folder = tempfile::tempdir()?;
    let (_server, endpoint) = Server::start(&python, &root.join(START), folder.path())?;
    // Of the whole workspace, so that no dependency of others is built anew.
    External::cargo(["test", "--workspace", "--features", "hedgerow-catalogue/s3"])
        .arguments(["--test", "bucket", "--", "--ignored"])
        .path_environment(ENDPOINT, Path::new(&endpoint))
        .directory(root)
        .run()?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_before_it_listens_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("none");
        let started = Server::start(Path::new("true"), &script, folder.path());
        assert!(matches!(started, Err(S3Error::NotThere)));
        let started = Server::start(&folder.path().join("none"), &script, folder.path());
        assert!(matches!(started, Err(S3Error::NotStarted(_))));
    }

    #[test]
    fn a_server_ends_with_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "echo http://127.0.0.1:9\ncat > ended\n").expect("written");
        let (server, endpoint) =
            Server::start(Path::new("sh"), &script, folder.path()).expect("it starts");
        assert_eq!(endpoint, "http://127.0.0.1:9");
        let process = format!("/proc/{}", server.child.id());
        drop(server);
        assert!(!Path::new(&process).exists());
    }
}
