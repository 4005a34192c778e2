//! Counts the instructions of the hot paths and fails when one takes many more than recorded: time
//! is noisy on a build server, instructions are not.
//!
//! The paths are in `benches/instructions`, which gungraun runs under valgrind. Its own comparison
//! needs the files of an earlier run; here what was counted is compared with recorded figures, so
//! that a fresh clone can do it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::external::{External, ExternalError};
use crate::report;
use crate::tool::Tool;

/// Of the same version as the `gungraun` in `benches/instructions/Cargo.toml`.
const RUNNER: Tool = Tool { name: "gungraun-runner", version: "0.20.0" };

/// How much more than recorded is taken for a loss.
const TOLERATED_PERCENT: u64 = 5;

/// What was counted, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Figures {
    /// The release of Rust.
    rust: String,
    /// What it compiled for.
    target: String,
    /// For each path.
    instructions: BTreeMap<String, u64>,
}

/// Why the instructions could not be compared, or are not as recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InstructionsError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error(
        "valgrind, which counts the instructions, cannot be run; install it, on Debian as root: \
         apt-get install valgrind"
    )]
    NoValgrind,
    #[error("`rustc --version --verbose` tells neither its release nor its host")]
    NoRustVersion,
    #[error("gungraun printed what is no summary of a benchmark: {0}")]
    NotASummary(serde_json::Error),
    #[error("{} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} does not hold figures: {source}", path.display())]
    NotFigures { path: PathBuf, source: serde_json::Error },
    #[error(
        "the recorded figures are for {recorded}, this is {here}: they cannot be compared; count \
         on {recorded}"
    )]
    OtherTarget { recorded: String, here: String },
    #[error(
        "the hot paths are not as recorded:\n{problems}\n{compiler}\
         If that is meant, record it: cargo xtask instructions --update"
    )]
    Different { problems: String, compiler: String },
}

/// Counts, and compares with what is recorded.
pub(crate) fn check(root: &Path) -> Result<(), InstructionsError> {
    let path = figures_path(root);
    let recorded = std::fs::read(&path)
        .map_err(|source| InstructionsError::Read { path: path.clone(), source })?;
    let recorded = serde_json::from_slice(&recorded)
        .map_err(|source| InstructionsError::NotFigures { path, source })?;
    let comparison = compare(&recorded, &count(root)?)?;
    comparison.lines.iter().for_each(|line| report::line(line));
    comparison.verdict()
}

/// Counts, and records the figures.
pub(crate) fn update(root: &Path) -> Result<(), InstructionsError> {
    let figures = count(root)?;
    let path = figures_path(root);
    let written = serde_json::to_string_pretty(&figures)
        .map_err(io::Error::from)
        .and_then(|text| std::fs::write(&path, text + "\n"));
    written.map_err(|source| InstructionsError::Write { path: path.clone(), source })?;
    for (name, counted) in &figures.instructions {
        report::line(&format!("{name}: {counted}"));
    }
    report::line(&format!("wrote {}", path.display()));
    Ok(())
}

fn package(root: &Path) -> PathBuf {
    root.join("benches").join("instructions")
}

fn figures_path(root: &Path) -> PathBuf {
    package(root).join("figures.json")
}

fn count(root: &Path) -> Result<Figures, InstructionsError> {
    let valgrind = Command::new("valgrind")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !valgrind.is_ok_and(|status| status.success()) {
        return Err(InstructionsError::NoValgrind);
    }
    let runner = RUNNER.find_or_install(root)?;
    let printed = External::cargo(["bench", "--quiet", "--bench", "hot_paths"])
        .arguments(["--", "--output-format=json"])
        .path_environment("GUNGRAUN_RUNNER", &runner)
        .path_environment("CARGO_TARGET_DIR", &root.join("target").join("instructions"))
        .directory(&package(root))
        .read()?;
    let instructions =
        counted(&printed).map_err(InstructionsError::NotASummary)?.into_iter().collect();
    let version = External::program(Path::new("rustc"))
        .arguments(["--version", "--verbose"])
        .directory(root)
        .read()?;
    let told = |what: &str| {
        let told = version.lines().find_map(|line| line.strip_prefix(what));
        told.map(str::to_owned).ok_or(InstructionsError::NoRustVersion)
    };
    Ok(Figures { rust: told("release: ")?, target: told("host: ")?, instructions })
}

/// The name and the instructions of each path, from the summaries that gungraun prints: one on a
/// line.
fn counted(printed: &str) -> Result<Vec<(String, u64)>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Summary {
        function_name: String,
        id: Option<String>,
        profiles: [Profile; 1],
    }
    #[derive(Deserialize)]
    struct Profile {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        total: Total,
    }
    #[derive(Deserialize)]
    struct Total {
        metrics: Metrics,
    }
    #[derive(Deserialize)]
    struct Metrics {
        #[serde(rename = "Ir")]
        instructions: Metric,
    }
    #[derive(Deserialize)]
    struct Metric {
        values: Values,
    }
    #[derive(Deserialize)]
    struct Values {
        new: u64,
    }
    let summaries = printed.lines().map(serde_json::from_str::<Summary>);
    summaries
        .map(|summary| {
            let Summary { function_name, id, profiles: [profile] } = summary?;
            let name = id.map_or(function_name.clone(), |id| format!("{function_name}::{id}"));
            Ok((name, profile.data.total.metrics.instructions.values.new))
        })
        .collect()
}

/// What comparing figures came to.
struct Comparison {
    /// A line for each path that was compared, to be shown in any case.
    lines: Vec<String>,
    problems: Vec<String>,
    /// A word on the compiler, if it is another one.
    compiler: String,
}

impl Comparison {
    fn verdict(self) -> Result<(), InstructionsError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let (problems, compiler) = (self.problems.join("\n"), self.compiler);
        Err(InstructionsError::Different { problems, compiler })
    }
}

fn compare(recorded: &Figures, counted: &Figures) -> Result<Comparison, InstructionsError> {
    if recorded.target != counted.target {
        let (recorded, here) = (recorded.target.clone(), counted.target.clone());
        return Err(InstructionsError::OtherTarget { recorded, here });
    }
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (name, before) in &recorded.instructions {
        let Some(now) = counted.instructions.get(name) else {
            problems.push(format!("  {name} is recorded but was not counted"));
            continue;
        };
        let line =
            format!("  {name}: {before} recorded, {now} counted ({})", change(*before, *now));
        if exceeds(*now, *before) {
            problems.push(format!("{line}: more than {TOLERATED_PERCENT} % above"));
        }
        let won = exceeds(*before, *now);
        lines.push(line);
        if won {
            lines.push("    to keep what was won: cargo xtask instructions --update".to_owned());
        }
    }
    let is_new = |name: &&String| !recorded.instructions.contains_key(*name);
    let new = counted.instructions.keys().filter(is_new);
    problems.extend(new.map(|name| format!("  {name} was counted but is not recorded")));
    let compiler = if recorded.rust == counted.rust {
        String::new()
    } else {
        let (before, now) = (&recorded.rust, &counted.rust);
        format!("They were recorded with Rust {before}, this is {now}: that may be why.\n")
    };
    Ok(Comparison { lines, problems, compiler })
}

fn exceeds(more: u64, less: u64) -> bool {
    u128::from(more) * 100 > u128::from(less) * u128::from(100 + TOLERATED_PERCENT)
}

/// The change in per cent, rounded towards zero to a tenth.
fn change(before: u64, now: u64) -> String {
    let tenths = u128::from(before.abs_diff(now)) * 1_000 / u128::from(before.max(1));
    let sign = if now < before { '-' } else { '+' };
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(paths: &[(&str, u64)]) -> Figures {
        Figures {
            rust: "1.95.0".to_owned(),
            target: "here".to_owned(),
            instructions: paths.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    fn problems(recorded: &Figures, counted: &Figures) -> String {
        compare(recorded, counted)
            .and_then(Comparison::verdict)
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_rise_of_five_per_cent_is_taken_and_one_more_instruction_is_not() {
        let recorded = figures(&[("fold", 1_000), ("handle", 2_000)]);
        assert_eq!(problems(&recorded, &figures(&[("fold", 1_050), ("handle", 900)])), "");
        let found = problems(&recorded, &figures(&[("fold", 1_051), ("handle", 2_000)]));
        assert!(found.contains("fold: 1000 recorded, 1051 counted (+5.1 %)"), "{found}");
        assert!(!found.contains("handle") && found.contains("--update"), "{found}");
    }

    #[test]
    fn a_path_that_is_new_or_gone_is_a_difference() {
        let found = problems(&figures(&[("old", 1)]), &figures(&[("new", 1)]));
        assert!(found.contains("old is recorded but"), "{found}");
        assert!(found.contains("new was counted but"), "{found}");
    }

    #[test]
    fn another_compiler_is_named_and_another_target_is_not_compared() {
        let recorded = figures(&[("fold", 1_000)]);
        let newer = Figures { rust: "1.96.0".to_owned(), ..figures(&[("fold", 2_000)]) };
        assert!(problems(&recorded, &newer).contains("with Rust 1.95.0, this is 1.96.0"));
        let other = Figures { target: "elsewhere".to_owned(), ..recorded.clone() };
        assert!(problems(&recorded, &other).contains("are for here, this is elsewhere"));
    }

    #[test]
    fn a_summary_is_understood_and_anything_else_refused() {
        let summary = r#"{"function_name": "fold", "id": "campaign", "profiles": [{"data": {"total":
            {"metrics": {"Dr": {"values": {"new": 7}}, "Ir": {"values": {"new": 41}}}}}}]}"#;
        let line = summary.replace('\n', " ");
        assert_eq!(counted(&line).ok(), Some(vec![("fold::campaign".to_owned(), 41)]));
        assert!(counted("6 benchmarks finished").is_err());
        assert!(counted(r#"{"function_name": "fold", "profiles": []}"#).is_err());
    }
}
