//! Proves that the simulation can fail: plants one deliberate defect after the other in a copy of
//! the sources, and counts the seeds that the simulation needs to find it.
//!
//! The defects are the patches in `crates/xtask/sabotage`. The simulation of the sources as they
//! are must find nothing in the same seeds, or the count would mean nothing.
//!
//! What the simulation cannot see, such as what stands in a file, a test finds: such a patch names
//! it above its changes, as `Test: ` and what `cargo test -p` takes, package first:
//! `Test: hedgerow-sqlite --test opening an_empty_file_becomes_a_store`. The test must pass without
//! the defect and fail with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::external::{External, ExternalError, INCREMENTAL};
use crate::report;
use crate::step::Failure;

const PATCHES: &str = "crates/xtask/sabotage";
const RESULT: &str = "target/sabotage/result.json";
/// What the simulation is built from.
const SOURCES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "crates", "rustfmt.toml"];
/// Fewer would prove too little.
const FEWEST_DEFECTS: usize = 12;
/// How many seeds a defect may need, unless the caller says otherwise.
pub(crate) const SEEDS: u32 = 1_000;

/// What to run.
pub(crate) struct Options {
    /// Only the defects whose names contain this.
    pub(crate) only: Option<String>,
    /// How many seeds each defect may need.
    pub(crate) seeds: u32,
    /// Also those that a test finds: each builds what its test is in.
    pub(crate) tests: bool,
}

/// Why the simulation has not proved itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SabotageError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{PATCHES} holds {found} defects, of which there must be {FEWEST_DEFECTS} at least")]
    TooFew { found: usize },
    #[error("no defect's name contains `{only}`: see {PATCHES}")]
    NoneOfThatName { only: String },
    #[error(
        "the defect `{name}` does not apply to the sources any more: {source}\nMake {PATCHES}/{name}.patch anew, so that it plants the same mistake in the code as it is now"
    )]
    Outdated { name: String, source: ExternalError },
    #[error("the defect `{name}` does not compile: {source}\nMend {PATCHES}/{name}.patch")]
    DoesNotCompile { name: String, source: ExternalError },
    #[error("what the simulation printed could not be understood: {source}: {text}")]
    Output { text: String, source: serde_json::Error },
    #[error(
        "without any defect, seed {seed} fails ({invariant}): mend that first, with `cargo xtask simulate`"
    )]
    Control { seed: u64, invariant: String },
    #[error("without any defect, the test that `{name}` names fails: {source}\nMend that first")]
    ControlTest { name: String, source: ExternalError },
    #[error(
        "the test that `{name}` names is not there: {test}\nMend the line `Test: ` of {PATCHES}/{name}.patch"
    )]
    NoSuchTest { name: String, test: String },
    #[error(
        "{} not found within {seeds} seeds, or by the tests that they name: {}\nAn invariant or a fault of the simulation is missing, or too rare", if names.len() == 1 { "a defect was" } else { "defects were" }, names.join(", ")
    )]
    NotFound { names: Vec<String>, seeds: u32 },
}

/// What the program `first_failure` of `hedgerow-sim` prints.
#[derive(Deserialize)]
struct FirstFailure {
    /// Seeds that were run, the failing one included.
    tried: u32,
    failure: Option<Broken>,
}

#[derive(Deserialize)]
struct Broken {
    seed: u64,
    invariant: String,
    /// The invariant that an audit of the log alone shows to be broken.
    in_log: Option<String>,
}

/// One line of the result.
#[derive(Serialize, Deserialize)]
struct Found {
    defect: String,
    rules: String,
    /// How many seeds the simulation needed; 0 for a defect that a test finds.
    seeds: u32,
    /// The invariant that is broken, or the test that fails.
    invariant: String,
    /// The invariant that the log of the failing seed alone shows to be broken.
    in_log: Option<String>,
}

/// What the last run found, by defect.
#[derive(Default)]
pub(crate) struct LastResult {
    /// How many seeds it took; 0: a test found it.
    pub(crate) seeds: BTreeMap<String, u32>,
    /// The invariant that an audit of the log alone finds, where it does.
    pub(crate) in_log: BTreeMap<String, String>,
}

/// One deliberate defect.
struct Defect {
    name: String,
    rules: String,
    /// What `cargo test -p` takes, for one that a test finds.
    test: Option<String>,
    patch: PathBuf,
}

/// Plants every defect that the simulation finds, and looks for it. Those that a test finds are left
/// to `cargo xtask sabotage`: building all those tests again and again takes longer than the rest of
/// all checks.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    run(root, &Options { only: None, seeds: SEEDS, tests: false })
}

/// Plants each defect and looks for it.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let all = defects(&root.join(PATCHES))?;
    if all.len() < FEWEST_DEFECTS {
        return Err(SabotageError::TooFew { found: all.len() }.into());
    }
    let wanted = |defect: &Defect| {
        let named = options.only.as_ref();
        named.is_none_or(|only| defect.name.contains(only.as_str()))
            && (options.tests || defect.test.is_none())
    };
    let chosen: Vec<Defect> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        let only = options.only.clone().unwrap_or_default();
        return Err(SabotageError::NoneOfThatName { only }.into());
    }
    let copy = Copy::new(root)?;
    copy.refresh()?;
    copy.control(&chosen, options.seeds)?;
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for defect in chosen {
        copy.refresh()?;
        let name = || defect.name.clone();
        copy.apply(&defect.patch)
            .map_err(|source| SabotageError::Outdated { name: name(), source })?;
        if let Some(test) = &defect.test {
            copy.build_test(test)
                .map_err(|source| SabotageError::DoesNotCompile { name: name(), source })?;
            if copy.test(test).run().is_err() {
                report::line(&format!("{}: found by the test {test}", defect.name));
                let (defect, rules, invariant) = (defect.name, defect.rules, test.clone());
                found.push(Found { defect, rules, seeds: 0, invariant, in_log: None });
            } else {
                report::line(&format!("{}: NOT FOUND by {test}", defect.name));
                missed.push(defect.name);
            }
            continue;
        }
        copy.build().map_err(|source| SabotageError::DoesNotCompile { name: name(), source })?;
        let outcome = copy.look_for(options.seeds)?;
        if let Some(Broken { invariant, in_log, .. }) = outcome.failure {
            let seeds = if outcome.tried == 1 { "seed" } else { "seeds" };
            let tried = outcome.tried;
            let shown = in_log.as_deref().unwrap_or("nothing");
            report::line(&format!(
                "{}: {tried} {seeds}, {invariant}; its log alone shows {shown}",
                defect.name
            ));
            let (defect, rules) = (defect.name, defect.rules);
            found.push(Found { defect, rules, seeds: tried, invariant, in_log });
        } else {
            report::line(&format!("{}: NOT FOUND in {} seeds", defect.name, outcome.tried));
            missed.push(defect.name);
        }
    }
    copy.keep(&found)?;
    if missed.is_empty() {
        report::line(&format!("all {} defects were found", found.len()));
        Ok(())
    } else {
        Err(SabotageError::NotFound { names: missed, seeds: options.seeds }.into())
    }
}

/// What the last run found; `None` if there was no run.
pub(crate) fn last_result(root: &Path) -> Option<LastResult> {
    let text = fs::read(root.join(RESULT)).ok()?;
    let found: Vec<Found> = serde_json::from_slice(&text).ok()?;
    let mut result = LastResult::default();
    for Found { defect, seeds, in_log, .. } in found {
        result.in_log.extend(in_log.map(|invariant| (defect.clone(), invariant)));
        result.seeds.insert(defect, seeds);
    }
    Some(result)
}

/// The names and the rules of the defects in a folder.
pub(crate) fn named(folder: &Path) -> Result<Vec<(String, String)>, SabotageError> {
    Ok(defects(folder)?.into_iter().map(|defect| (defect.name, defect.rules)).collect())
}

/// The defects of a folder, by name.
fn defects(folder: &Path) -> Result<Vec<Defect>, SabotageError> {
    let failed = |source| SabotageError::File { path: folder.to_path_buf(), source };
    let mut defects = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let patch = entry.map_err(failed)?.path();
        if patch.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = read(&patch)?;
        let text = String::from_utf8_lossy(&text);
        let rules = text.lines().find_map(|line| line.strip_prefix("Rules: "));
        let rules = rules.unwrap_or("none named").to_owned();
        let finder = text.lines().find_map(|line| line.strip_prefix("Test: "));
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        defects.push(Defect { name, rules, test: finder.map(str::to_owned), patch });
    }
    defects.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(defects)
}

/// The copy of the sources that the defects are planted in, with a target folder of its own.
struct Copy {
    root: PathBuf,
    folder: PathBuf,
}

impl Copy {
    fn new(root: &Path) -> Result<Self, SabotageError> {
        let folder = root.join("target/sabotage/source");
        fs::create_dir_all(&folder)
            .map_err(|source| SabotageError::File { path: folder.clone(), source })?;
        Ok(Self { root: root.to_path_buf(), folder })
    }

    /// Makes the copy like the sources. What is the same already is not touched, so that it is not
    /// built again.
    fn refresh(&self) -> Result<(), SabotageError> {
        for name in SOURCES {
            mirror(&self.root.join(name), &self.folder.join(name))?;
        }
        Ok(())
    }

    fn apply(&self, patch: &Path) -> Result<(), ExternalError> {
        External::program(Path::new("git"))
            .arguments(["apply"])
            .path_argument("-p1", patch)
            // The copy lies in the repository's folder, but is no part of it.
            .path_environment("GIT_CEILING_DIRECTORIES", self.folder.parent().unwrap_or(&self.root))
            .directory(&self.folder)
            .run()
    }

    fn build(&self) -> Result<(), ExternalError> {
        self.cargo(["build", "--quiet", "-p", "hedgerow-sim", "--example", "first_failure"]).run()
    }

    fn look_for(&self, seeds: u32) -> Result<FirstFailure, Failure> {
        let seeds = seeds.to_string();
        let text = self
            .cargo(["run", "--quiet", "-p", "hedgerow-sim", "--example", "first_failure"])
            .arguments(["--", seeds.as_str()])
            .read()?;
        let text = text.trim();
        serde_json::from_str(text)
            .map_err(|source| SabotageError::Output { text: text.to_owned(), source }.into())
    }

    /// Without a defect nothing may be found, or finding something would mean nothing.
    fn control(&self, chosen: &[Defect], seeds: u32) -> Result<(), Failure> {
        if chosen.iter().any(|defect| defect.test.is_none()) {
            self.build()?;
            let control = self.look_for(seeds)?;
            if let Some(Broken { seed, invariant, .. }) = control.failure {
                return Err(SabotageError::Control { seed, invariant }.into());
            }
            report::line(&format!("no defect planted: nothing found in {} seeds", control.tried));
        }
        for Defect { name, test, .. } in chosen {
            let Some(test) = test else { continue };
            let failed = |source| SabotageError::ControlTest { name: name.clone(), source };
            let output = self.test(test).read().map_err(failed)?;
            if !output.contains("1 passed") {
                let (name, test) = (name.clone(), test.clone());
                return Err(SabotageError::NoSuchTest { name, test }.into());
            }
        }
        Ok(())
    }

    /// Builds what the test of a patch is in.
    fn build_test(&self, test: &str) -> Result<(), ExternalError> {
        self.cargo(["test", "--quiet", "--no-run", "-p"]).arguments(test.split(' ')).run()
    }

    /// The test of a patch.
    fn test(&self, test: &str) -> External {
        self.cargo(["test", "-p"]).arguments(test.split(' '))
    }

    fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> External {
        External::cargo(arguments)
            .path_environment("CARGO_TARGET_DIR", &self.root.join("target/sabotage/build"))
            // Each defect is built once, after the one before it, and most run for a second.
            .environment("CARGO_PROFILE_DEV_DEBUG", "false")
            .environment(INCREMENTAL, "1")
            .directory(&self.folder)
    }

    /// Leaves the result for `cargo xtask guarantees`.
    fn keep(&self, found: &[Found]) -> Result<(), SabotageError> {
        let path = self.root.join(RESULT);
        let text = serde_json::to_string_pretty(found).unwrap_or_default();
        fs::write(&path, text).map_err(|source| SabotageError::File { path, source })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SabotageError> {
    fs::read(path).map_err(|source| SabotageError::File { path: path.to_path_buf(), source })
}

/// Makes `copy` like `original`, a file or a folder; what the original lacks is removed.
fn mirror(original: &Path, copy: &Path) -> Result<(), SabotageError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SabotageError::File { path, source }
    };
    if original.is_file() {
        let text = read(original)?;
        if fs::read(copy).is_ok_and(|old| old == text) {
            return Ok(());
        }
        return fs::write(copy, text).map_err(failed(copy));
    }
    fs::create_dir_all(copy).map_err(failed(copy))?;
    for entry in fs::read_dir(copy).map_err(failed(copy))? {
        let path = entry.map_err(failed(copy))?.path();
        let kept = path.file_name().is_some_and(|name| original.join(name).exists());
        match path.is_dir() {
            _ if kept => {}
            true => fs::remove_dir_all(&path).map_err(failed(&path))?,
            false => fs::remove_file(&path).map_err(failed(&path))?,
        }
    }
    for entry in fs::read_dir(original).map_err(failed(original))? {
        let path = entry.map_err(failed(original))?.path();
        if let Some(name) = path.file_name()
            && name != "target"
        {
            mirror(&path, &copy.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_what_the_original_has_and_nothing_else()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
        fs::create_dir_all(original.join("inner"))?;
        fs::write(original.join("inner/kept"), "new")?;
        fs::create_dir_all(copy.join("gone"))?;
        fs::create_dir_all(copy.join("inner"))?;
        fs::write(copy.join("inner/kept"), "old")?;
        fs::write(copy.join("gone/file"), "old")?;
        mirror(&original, &copy)?;
        assert_eq!(fs::read_to_string(copy.join("inner/kept"))?, "new");
        assert!(!copy.join("gone").exists());
        Ok(())
    }

    #[test]
    fn every_defect_says_which_rules_it_breaks() -> Result<(), Box<dyn std::error::Error>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sabotage");
        let defects = defects(&folder)?;
        assert!(defects.len() >= FEWEST_DEFECTS, "{}", defects.len());
        for defect in defects {
            for rule in defect.rules.split(", ") {
                let number = rule.strip_prefix(['D', 'E', 'C', 'P']).map(str::parse::<u8>);
                assert!(matches!(number, Some(Ok(1..))), "{}: {}", defect.name, defect.rules);
            }
            let words = defect.test.iter().map(|test| test.split(' ').count());
            assert!(words.into_iter().all(|words| words > 1), "{}: package and test", defect.name);
        }
        Ok(())
    }

    #[test]
    fn every_defect_is_planted_in_sources_that_are_compiled()
    -> Result<(), Box<dyn std::error::Error>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for defect in defects(&root.join(PATCHES))? {
            let text = fs::read_to_string(&defect.patch)?;
            let changed = text.lines().filter_map(|line| line.strip_prefix("+++ b/"));
            for path in changed {
                assert!(is_compiled(&root.join(path))?, "{}: {path}", defect.name);
            }
        }
        Ok(())
    }

    /// Whether a file beside or above it says that this one is a module; a root needs nobody.
    fn is_compiled(path: &Path) -> io::Result<bool> {
        let is_named = |what: &str| path.file_stem().is_some_and(|stem| stem == what);
        if is_named("lib") || is_named("main") || path.extension().is_none_or(|of| of != "rs") {
            return Ok(path.is_file());
        }
        let module = if is_named("mod") { path.parent() } else { Some(path) };
        let name = module.and_then(Path::file_stem).unwrap_or_default().to_string_lossy();
        let Some(folder) = module.and_then(Path::parent) else { return Ok(false) };
        let (long, short) = (format!("mod {name};"), format!("mod {name} {{"));
        let mut sources = vec![folder.with_extension("rs")];
        for entry in fs::read_dir(folder)? {
            sources.push(entry?.path());
        }
        let says_so = |source: &PathBuf| {
            let text = fs::read_to_string(source).unwrap_or_default();
            text.lines().any(|line| line.ends_with(&long) || line.ends_with(&short))
        };
        Ok(path.is_file() && sources.iter().any(says_so))
    }
}
