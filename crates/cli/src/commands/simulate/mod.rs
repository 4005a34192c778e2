//! `hedgerow simulate`: whole fleets under faults, one seed after the other, and what was found.

#[cfg(feature = "plot")]
mod plot;
mod report;
mod seeds;
mod storage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hedgerow_engine::store::StoreError;
use hedgerow_sim::simulate::{FaultKind, Profile, ProfileError, Setup, SimulateError, Unit};
use hedgerow_sqlite::OpenError;

use self::seeds::{Failure, Plan};
use crate::commands::output;

/// Try whole fleets under faults, in virtual time, and judge every event
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", faults()))]
pub(crate) struct SimulateArgs {
    /// The one seed to try
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// The seeds to try, the last one left out [default: 0..100]
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// How many devices each fleet has
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// How many campaigns share them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    campaigns: u32,
    /// What goes wrong: calm, lossy, hostile, mixed (another one for each seed), or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "mixed")]
    profile: String,
    /// Where the log is kept
    #[arg(long, value_enum, default_value_t = Store::Memory)]
    store: Store,
    /// How many seeds are tried at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// After so many faults there are no more: to look for the smallest number that fails
    #[arg(long, value_name = "K", requires = "seed", conflicts_with = "seeds")]
    stop_faults_after: Option<u64>,
    /// Run every seed twice, and fail if the two logs differ
    #[arg(long)]
    twice: bool,
    /// Draw the rollout of the one seed as an SVG
    #[cfg_attr(not(feature = "plot"), doc = "(not in this build, which says how to have it)")]
    #[arg(long, value_name = "FILE", requires = "seed", conflicts_with = "seeds")]
    plot: Option<PathBuf>,
    /// Print everything that happens in the one seed
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    timeline: bool,
    /// Print what was tried and found as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  hedgerow simulate                                   100 seeds, each under another profile
  hedgerow simulate --seeds 0..2000 --profile hostile everything that can go wrong does
  hedgerow simulate --seed 7 --plot rollout.svg       a picture of one rollout
  hedgerow simulate --seeds 0..20 --store sqlite      on real files

A profile file is JSON, such as {\"faults\": {\"message_lost\": 200, \"engine_killed\": 50}}; --help
lists the faults, docs/simulate.md describes the rest.

Exit status: 0 every invariant held, 1 one did not, 2 wrong usage, 3 a file or store failed.";

/// The faults that a profile can name.
fn faults() -> String {
    let mut text = "Faults, with their rates in per mille:\n".to_owned();
    for kind in FaultKind::ALL {
        let unit = match kind.unit() {
            Unit::PerMille => "",
            Unit::PerMilleOfMinutes => " Of the virtual minutes.",
        };
        text = format!("{text}  {:<24} {}{unit}\n", kind.name(), kind.describe());
    }
    text
}

/// Where a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    /// In memory
    Memory,
    /// In a file on disk, thrown away afterwards
    Sqlite,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wanted = || "give two numbers, the first the smaller one, such as 0..2000".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wanted)?;
    let from = from.parse().map_err(|_| wanted())?;
    let to = to.parse().map_err(|_| wanted())?;
    if from < to { Ok((from, to)) } else { Err(wanted()) }
}

/// Why nothing was tried, or not all.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(
        "there is no profile {name:?} and no file of that name ({source}): give calm, lossy, hostile, mixed or a file"
    )]
    NoProfile { name: String, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Profile { path: PathBuf, source: ProfileError },
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[cfg(feature = "plot")]
    #[error("the picture {} could not be drawn: {detail}; give a file in a folder that exists", path.display())]
    Plot { path: PathBuf, detail: String },
}

/// The profiles of the seeds.
#[derive(Clone, Debug)]
enum Profiles {
    BuiltIn(String),
    File(Box<Profile>),
}

impl Profiles {
    fn read(name: &str) -> Result<Self, CommandError> {
        if Profile::BUILT_IN.contains(&name) {
            return Ok(Self::BuiltIn(name.to_owned()));
        }
        let path = Path::new(name).to_path_buf();
        let bytes = std::fs::read(&path)
            .map_err(|source| CommandError::NoProfile { name: name.to_owned(), source })?;
        let profile = Profile::from_json(&bytes);
        let profile = profile.map_err(|source| CommandError::Profile { path, source })?;
        Ok(Self::File(Box::new(profile)))
    }

    fn of(&self, seed: u64) -> Profile {
        match self {
            Self::BuiltIn(name) => Profile::built_in(name, seed).unwrap_or_default(),
            Self::File(profile) => (**profile).clone(),
        }
    }
}

/// Tries the seeds.
pub(crate) fn run(args: &SimulateArgs) -> ExitCode {
    #[cfg(not(feature = "plot"))]
    if args.plot.is_some() {
        return crate::commands::left_out::say("plot");
    }
    match try_seeds(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error @ (CommandError::NoProfile { .. } | CommandError::Profile { .. })) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

/// `true` if every invariant held.
fn try_seeds(args: &SimulateArgs) -> Result<bool, CommandError> {
    let profiles = Profiles::read(&args.profile)?;
    let (from, to) = match args.seed {
        Some(seed) => (seed, seed.saturating_add(1)),
        None => args.seeds.unwrap_or((0, 100)),
    };
    let jobs = args.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        usize::from,
    );
    let setup = |seed| Setup {
        devices: args.devices,
        campaigns: args.campaigns,
        stop_faults_after: args.stop_faults_after,
        timeline: args.timeline,
        samples: args.plot.is_some(),
        ..Setup::new(seed, profiles.of(seed))
    };
    let plan = Plan {
        from,
        to,
        jobs,
        twice: args.twice,
        sqlite: args.store == Store::Sqlite,
        quiet: args.json,
    };
    let tried = seeds::run(&plan, &setup)?;
    #[cfg(feature = "plot")]
    if let (Some(path), [single]) = (&args.plot, &tried.kept[..]) {
        plot::draw(path, single)?;
    }
    if args.timeline && !args.json {
        output::print(|out| report::print_timeline(&tried.kept, out))?;
    }
    let found = match &tried.failure {
        Some(Failure::Broken(failed)) => {
            let mut storage = storage::of(plan.sqlite)?;
            Some(report::Found::look_for(&setup(failed.seed), failed, &mut *storage)?)
        }
        _ => None,
    };
    if args.json {
        output::print(|out| report::print_json(&tried, found.as_ref(), args, out))?;
    } else {
        output::print(|out| report::print(&tried, found.as_ref(), args, out))?;
    }
    Ok(tried.failure.is_none())
}
