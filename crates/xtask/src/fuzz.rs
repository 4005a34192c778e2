//! A short, bounded run of every fuzz target (`fuzz/README.md`), from the committed inputs and with
//! a fixed seed, so that two runs of one commit try the same. Longer runs are cargo-fuzz's own.

use std::io;
use std::path::{Path, PathBuf};

use crate::external::{External, ExternalError};
use crate::report;

/// What `cargo fuzz build --sanitizer none` tells rustc: libFuzzer learns from the code which of its
/// edges an input took and what it compared.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions";

/// An input that takes longer than this many seconds is a failure.
const TIMEOUT: &str = "-timeout=60";

struct Target {
    name: &'static str,
    /// How many inputs are tried: together well below a minute.
    runs: u32,
    longest: &'static str,
    /// A directory of the project whose files are inputs too.
    more_inputs: Option<&'static str>,
}

const TARGETS: [Target; 13] = [
    Target { name: "version", runs: 300_000, longest: "-max_len=512", more_inputs: None },
    Target { name: "device_id", runs: 500_000, longest: "-max_len=512", more_inputs: None },
    Target { name: "event", runs: 200_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "inputs", runs: 20_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "emulator", runs: 20_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "log", runs: 60_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "trigger", runs: 300_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "window", runs: 20_000, longest: "-max_len=1024", more_inputs: None },
    Target { name: "selector", runs: 100_000, longest: "-max_len=1024", more_inputs: None },
    Target { name: "outside", runs: 100_000, longest: "-max_len=4096", more_inputs: None },
    Target { name: "archive", runs: 20_000, longest: "-max_len=16384", more_inputs: None },
    Target { name: "profile", runs: 200_000, longest: "-max_len=4096", more_inputs: None },
    Target {
        name: "scenario",
        runs: 400_000,
        longest: "-max_len=16384",
        more_inputs: Some("crates/sim/tests/scenarios"),
    },
];

/// Why the fuzz targets did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FuzzError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("`rustc --version --verbose` does not tell its host")]
    NoHost,
    #[error("{path} cannot be prepared for new inputs: {source}; is the disk full?")]
    Directory { path: String, source: io::Error },
}

/// How many inputs a run tries.
pub(crate) fn runs() -> u64 {
    TARGETS.iter().map(|target| u64::from(target.runs)).sum()
}

/// Builds the targets and runs each. Without a sanitizer the stable toolchain is enough, and the
/// project's own code has no `unsafe` for one to watch.
pub(crate) fn check(root: &Path) -> Result<(), FuzzError> {
    let triple = host(root)?;
    let built = root.join("target").join("fuzz");
    // A triple, though it is this machine's: what runs while building is not instrumented then.
    External::cargo(["build", "--release", "--bins", "--target", &triple])
        .path_argument("--target-dir", &built)
        .environment("RUSTFLAGS", INSTRUMENTED)
        // Optimising the dependencies takes longer than running so few inputs.
        .environment("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .directory(&root.join("fuzz"))
        .run()?;
    let programs = built.join(&triple).join("release");
    for target in TARGETS {
        let found = empty_directory(root, target.name)?;
        let program = format!("{}{}", target.name, std::env::consts::EXE_SUFFIX);
        // New inputs go to the first directory; the others are only read.
        let mut run = External::program(&programs.join(program))
            .path(&found)
            .path(&root.join("fuzz").join("corpus").join(target.name));
        if let Some(more) = target.more_inputs {
            run = run.path(&root.join(more));
        }
        let artifacts = root.join("fuzz").join("artifacts").join(target.name);
        directory(&artifacts, std::fs::create_dir_all(&artifacts))?;
        let artifacts = format!("-artifact_prefix={}/", artifacts.display());
        let runs = format!("-runs={}", target.runs);
        let options = [&runs, target.longest, "-seed=1", TIMEOUT, "-verbosity=0", &artifacts];
        run.arguments(options).directory(root).run()?;
        report::line(&format!("{}: {} inputs tried", target.name, target.runs));
    }
    Ok(())
}

/// What rustc compiles for, here.
fn host(root: &Path) -> Result<String, FuzzError> {
    let version = External::program(Path::new("rustc"))
        .arguments(["--version", "--verbose"])
        .directory(root)
        .read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or(FuzzError::NoHost)
}

fn empty_directory(root: &Path, target: &str) -> Result<PathBuf, FuzzError> {
    let path = root.join("target").join("fuzz").join("found").join(target);
    let prepared = match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&path),
    };
    directory(&path, prepared)?;
    Ok(path)
}

fn directory(path: &Path, prepared: io::Result<()>) -> Result<(), FuzzError> {
    prepared.map_err(|source| FuzzError::Directory { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external::workspace_root;

    #[test]
    fn every_fuzz_target_is_run() -> Result<(), Box<dyn std::error::Error>> {
        let sources = workspace_root()?.join("fuzz").join("fuzz_targets");
        let mut there = Vec::new();
        for source in std::fs::read_dir(sources)? {
            let path = source?.path();
            there.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        there.sort();
        let mut run: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        run.sort_unstable();
        assert_eq!(run, there);
        Ok(())
    }
}
