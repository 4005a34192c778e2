//! `hedgerow version`: asks the rules about versions (D5, D6) a question, so that a requirement can
//! be tried before a fleet meets it.

mod lines;
mod question;

use std::io::Write;
use std::process::ExitCode;

use self::question::{Answer, Compare, Gate, Match, Parse, Question, Requirement};

/// Ask about versions, version requirements and gates
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version parse 1.4.0-rc.1+build5
  hedgerow version compare 1.4.0-rc.1 1.4.0
  hedgerow version requirement '>= 1.2.0 and < 2.0.0 or ~> 3.1'
  hedgerow version match 1.4.0 '~> 1.2'
  hedgerow version gate --image 2.0.0 --current 1.4.0 --requirement '>= 1.2.0'
  hedgerow version parse --jsonl < versions.jsonl

Requirements are in the language of Elixir's Version.Requirement: ==, !=, >, >=, <, <=, ~>, and, or.

With --jsonl each line of standard input is a JSON object with an `id` and the question, and each
line of output the `id` and the answer, or the `id` (null if it cannot be read) and an `error`.
`hedgerow version COMMAND --help` names the fields.

Exit status: 0 yes, 1 no (invalid, no match, refused), 2 wrong usage or, with --jsonl, a line that
could not be answered, 3 standard input or output failed.")]
pub(crate) struct VersionArgs {
    #[command(subcommand)]
    command: VersionCommand,
}

#[derive(clap::Subcommand)]
enum VersionCommand {
    Parse(ParseArgs),
    Compare(CompareArgs),
    Requirement(RequirementArgs),
    Match(MatchArgs),
    Gate(GateArgs),
}

/// Read a version and show its parts
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version parse 1.4.0-rc.1+build5
  echo '{\"id\":1,\"input\":\"1.4.0\"}' | hedgerow version parse --jsonl

Lines have `input`; the answer has `ok` and, if that is true, `major`, `minor`, `patch` (decimal
strings), `pre` (a list of {\"n\": number} or {\"s\": text}) and `build` (null if there is none).")]
struct ParseArgs {
    /// The version
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    version: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Say which of two versions is lower
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version compare 1.4.0-rc.1 1.4.0
  echo '{\"id\":1,\"a\":\"1.4.0+a\",\"b\":\"1.4.0+b\"}' | hedgerow version compare --jsonl

Lines have `a` and `b`; the answer has `order` (lt, eq, gt: how `a` stands to `b`) and `build_equal`.
Build metadata plays no part in the order.")]
struct CompareArgs {
    /// One version
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    a: Option<String>,
    /// The other
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    b: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Say whether a version requirement is valid
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version requirement '>= 1.2.0 and < 2.0.0 or ~> 3.1'
  echo '{\"id\":1,\"input\":\"~> 3.1\"}' | hedgerow version requirement --jsonl

Lines have `input`; the answer has `ok`.")]
struct RequirementArgs {
    /// The requirement, in quotes
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    requirement: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Say whether a version meets a requirement
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version match 1.4.0 '~> 1.2'
  hedgerow version match 2.0.0-rc.1 '>= 1.0.0' --pre-releases only-if-named
  echo '{\"id\":1,\"version\":\"1.4.0\",\"requirement\":\"~> 1.2\",\"allow_pre\":true}' |
    hedgerow version match --jsonl

Lines have `version`, `requirement` and, if wanted, `allow_pre` (true unless given); the answer has
`result`: true, false, \"invalid_requirement\" or \"invalid_version\".")]
struct MatchArgs {
    /// The version
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    version: Option<String>,
    /// The requirement, in quotes
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    requirement: Option<String>,
    /// Whether a pre-release meets a condition that names none; campaigns allow it
    #[arg(long, value_enum, default_value = "allow", conflicts_with = "jsonl")]
    pre_releases: PreReleaseRule,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PreReleaseRule {
    Allow,
    OnlyIfNamed,
}

/// Say what a campaign would do with a device
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow version gate --image 2.0.0 --current 1.4.0 --requirement '>= 1.2.0'
  hedgerow version gate --image 1.0.0 --current 1.4.0 --force-downgrade
  echo '{\"id\":1,\"current\":null,\"base_image\":\"2.0.0\"}' | hedgerow version gate --jsonl

Lines have `current` (null if the device reports none), `base_image` and, if wanted, `requirement`
(or null), `force_downgrade` and `enforce_version_requirement`; the answer has `decision`:
missing_version, invalid_version, already_up_to_date, downgrade_not_allowed,
ambiguous_version_ordering, version_requirement_not_met or start_operation.")]
struct GateArgs {
    /// The version of the base image
    #[arg(
        long,
        value_name = "VERSION",
        required_unless_present = "jsonl",
        conflicts_with = "jsonl"
    )]
    image: Option<String>,
    /// What the device reports as its version; leave it out if it reports none
    #[arg(long, value_name = "TEXT", conflicts_with = "jsonl", allow_hyphen_values = true)]
    current: Option<String>,
    /// The base image's starting version requirement
    #[arg(long, value_name = "REQUIREMENT", conflicts_with = "jsonl")]
    requirement: Option<String>,
    /// Go on to a lower version or another build, whatever the requirement
    #[arg(long, conflicts_with = "jsonl")]
    force_downgrade: bool,
    /// Keep the requirement even if a downgrade is forced
    #[arg(long, conflicts_with = "jsonl")]
    enforce_version_requirement: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(clap::Args)]
struct Format {
    /// Print the answer as JSON
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
    /// Answer each line of standard input with a line of JSON
    #[arg(long)]
    jsonl: bool,
}

/// Runs `hedgerow version`.
pub(crate) fn run(args: VersionArgs) -> ExitCode {
    match args.command {
        VersionCommand::Parse(args) => {
            answer(&args.format, args.version.map(|input| Parse { input }))
        }
        VersionCommand::Compare(args) => {
            answer(&args.format, args.a.zip(args.b).map(|(a, b)| Compare { a, b }))
        }
        VersionCommand::Requirement(args) => {
            answer(&args.format, args.requirement.map(|input| Requirement { input }))
        }
        VersionCommand::Match(args) => {
            let allow_pre = args.pre_releases == PreReleaseRule::Allow;
            let both = args.version.zip(args.requirement);
            let question =
                both.map(|(version, requirement)| Match { version, requirement, allow_pre });
            answer(&args.format, question)
        }
        VersionCommand::Gate(args) => {
            let question = args.image.map(|base_image| Gate {
                current: args.current,
                base_image,
                requirement: args.requirement,
                force_downgrade: args.force_downgrade,
                enforce_version_requirement: args.enforce_version_requirement,
            });
            answer(&args.format, question)
        }
    }
}

/// Answers one question or, if there is none, those of standard input.
fn answer<Q: Question>(format: &Format, question: Option<Q>) -> ExitCode {
    let Some(question) = question else { return answer_lines::<Q>() };
    match question.answer() {
        Ok(answer) => match print(format, &answer) {
            Ok(()) if answer.is_yes => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(1),
            Err(error) => failed(&error),
        },
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn print(format: &Format, answer: &Answer) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if format.json {
        serde_json::to_writer(&mut out, &answer.fields)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", answer.words)?;
    }
    out.flush()
}

fn answer_lines<Q: Question>() -> ExitCode {
    let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
    match lines::answer_lines::<Q>(input, output) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unanswered) => {
            eprintln!(
                "error: lines that could not be answered: {unanswered}; see `error` in the output"
            );
            ExitCode::from(2)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &std::io::Error) -> ExitCode {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        // Whoever reads has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: standard input or output failed: {error}");
    ExitCode::from(3)
}
