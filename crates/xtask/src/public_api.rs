//! Compares the public API of the libraries with the listings in `docs/api`, so that a change of it
//! is a line in a diff that somebody reads, never a side effect.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use public_api::{Builder, PublicItem};
use serde::Deserialize;
use similar::TextDiff;

use crate::external::{External, ExternalError};
use crate::report;

/// The libraries that others build on.
const PACKAGES: [&str; 4] =
    ["hedgerow-core", "hedgerow-engine", "hedgerow-sqlite", "hedgerow-astarte"];

/// The release whose rustdoc writes what the `public-api` crate, in the version that the manifest
/// pins, can read. The format is not stable: another release may write another.
const RUST: &str = "1.95";
const FORMAT_VERSION: u32 = 57;

/// Set for the processes that are to be rustdoc.
const AS_RUSTDOC: &str = "HEDGEROW_XTASK_AS_RUSTDOC";

/// Why the public API could not be compared, or is not as listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PublicApiError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("the path of this program is unknown: {0}")]
    Unlocated(io::Error),
    #[error("{} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not rustdoc's JSON: {source}", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error(
        "this rustdoc writes format {found}, the comparison reads format {FORMAT_VERSION}, which \
         Rust {RUST} writes.\n\
         With rustup: cargo +{RUST} xtask api\n\
         To move the project to your toolchain: in crates/xtask, pin the `public-api` that reads \
         format {found} and change RUST and FORMAT_VERSION in src/public_api.rs"
    )]
    Format { found: u32 },
    #[error("the listing of {package} could not be made: {source}")]
    Listing { package: &'static str, source: Box<public_api::Error> },
    #[error(
        "the public API is not as listed in docs/api (- listed, + found):\n{0}\
         If the change is meant, record it: cargo xtask api --update"
    )]
    Different(String),
}

/// Compares the public API of every library with its listing.
pub(crate) fn check(root: &Path) -> Result<(), PublicApiError> {
    let mut differences = String::new();
    rustdoc_json(root)?;
    for package in PACKAGES {
        let path = listing_path(root, package);
        let listed = match std::fs::read_to_string(&path) {
            // Without a listing, all is new.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| PublicApiError::Read { path, source })?,
        };
        differences.push_str(&difference(package, &listed, &listing(root, package)?));
    }
    if differences.is_empty() { Ok(()) } else { Err(PublicApiError::Different(differences)) }
}

/// Writes the listings anew.
pub(crate) fn update(root: &Path) -> Result<(), PublicApiError> {
    rustdoc_json(root)?;
    for package in PACKAGES {
        let text = listing(root, package)?;
        let path = listing_path(root, package);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| PublicApiError::Write { path: path.clone(), source })?;
        report::line(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn listing_path(root: &Path, package: &str) -> PathBuf {
    root.join("docs").join("api").join(format!("{package}.txt"))
}

fn listing(root: &Path, package: &'static str) -> Result<String, PublicApiError> {
    let file = format!("{}.json", package.replace('-', "_"));
    let path = root.join("target").join("doc").join(file);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| PublicApiError::Read { path: path.clone(), source })?;
    let found = format_version(&text)
        .map_err(|source| PublicApiError::NotJson { path: path.clone(), source })?;
    if found != FORMAT_VERSION {
        return Err(PublicApiError::Format { found });
    }
    let api = Builder::from_rustdoc_json(path)
        .omit_blanket_impls(true)
        // `Send` and `Sync` are asserted by tests of the crates; the others tell nothing.
        .omit_auto_trait_impls(true)
        .include_function_parameter_names(true)
        .build()
        .map_err(|source| PublicApiError::Listing { package, source: Box::new(source) })?;
    Ok(render(api.items()))
}

/// Has rustdoc describe the workspace, with the dependencies as `cargo xtask docs` has them built.
fn rustdoc_json(root: &Path) -> Result<(), PublicApiError> {
    let this = this_program().map_err(PublicApiError::Unlocated)?;
    External::cargo(["doc", "--quiet", "--workspace", "--no-deps", "--all-features", "--lib"])
        .environment("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
        .environment(AS_RUSTDOC, "1")
        .path_environment("RUSTDOC", this)
        .directory(root)
        .run()?;
    Ok(())
}

/// Where this program lies, or lay when it was first asked, which is when it starts: an earlier step
/// may have built the program anew, and then the system knows the file that runs as a deleted one.
pub(crate) fn this_program() -> io::Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let found = std::env::current_exe()?;
    Ok(PROGRAM.get_or_init(|| found))
}

/// Whether this process was started by cargo in place of rustdoc.
pub(crate) fn is_rustdoc() -> bool {
    std::env::var_os(AS_RUSTDOC).is_some()
}

/// Does what rustdoc does, its unstable options included. Only rustdoc is told that it may: build
/// scripts look at `RUSTC_BOOTSTRAP`, so that half of the dependencies would be built once more if
/// cargo were.
pub(crate) fn as_rustdoc() -> ExitCode {
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(std::env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1");
    match rustdoc.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            report::error(&format!("error: rustdoc could not be started: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn format_version(json: &str) -> Result<u32, serde_json::Error> {
    #[derive(Deserialize)]
    struct Format {
        format_version: u32,
    }
    serde_json::from_str::<Format>(json).map(|format| format.format_version)
}

/// One line for each item, and one for all the traits that a type implements.
fn render<'a>(items: impl Iterator<Item = &'a PublicItem>) -> String {
    let items: Vec<(&PublicItem, String)> = items.map(|item| (item, item.to_string())).collect();
    let trait_impls: Vec<_> = items
        .iter()
        .filter(|(_, text)| trait_and_type(text).is_some())
        .map(|(item, _)| item.id())
        .collect();
    let lines = items.iter().filter(|(item, _)| {
        // What a trait demands needs no line for each type that implements it.
        item.parent_id().is_none_or(|parent| !trait_impls.contains(&parent))
    });
    joined(lines.map(|(_, text)| text.as_str()))
}

/// The lines, where those that follow each other with traits of one type become one.
fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut written = Vec::new();
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let Some((first, of_type)) = trait_and_type(line) else {
            written.push(format!("{line}\n"));
            continue;
        };
        let mut traits = vec![first];
        while let Some((next, _)) =
            lines.peek().and_then(|line| trait_and_type(line)).filter(|(_, next)| *next == of_type)
        {
            traits.push(next);
            lines.next();
        }
        // The compiler derives it beside `PartialEq`; nobody can name it.
        traits.retain(|name| *name != "StructuralPartialEq");
        written.push(format!("impl {} for {of_type}\n", traits.join(" + ")));
    }
    written.concat()
}

/// The trait without its path, and the type, of a line like `impl core::fmt::Debug for Type`.
fn trait_and_type(line: &str) -> Option<(&str, &str)> {
    let implemented = line.strip_prefix("impl")?;
    // The parameters of the implementation, such as `<'de>`.
    let implemented = match implemented.strip_prefix('<') {
        Some(parameters) => parameters.split_once("> ")?.1,
        None => implemented.trim_start(),
    };
    let (name, of_type) = implemented.split_once(" for ")?;
    let path = name.split_once('<').map_or(name, |(path, _)| path);
    let module = path.rfind("::").map_or(0, |separator| separator + 2);
    Some((&name[module..], of_type))
}

fn difference(package: &str, listed: &str, found: &str) -> String {
    if listed == found {
        return String::new();
    }
    let diff = TextDiff::from_lines(listed, found);
    let text = diff.unified_diff().context_radius(1).header(package, package).to_string();
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traits_of_a_type_share_one_line() {
        let lines = [
            "pub struct core::Id(_)",
            "impl core::Id",
            "pub fn core::Id::new() -> Self",
            "impl core::clone::Clone for core::Id",
            "impl core::marker::StructuralPartialEq for core::Id",
            "impl core::convert::From<core::Id> for core::Other",
            "impl<'de> serde_core::de::Deserialize<'de> for core::Other",
            "pub struct core::Other",
        ];
        let expected = "\
pub struct core::Id(_)
impl core::Id
pub fn core::Id::new() -> Self
impl Clone for core::Id
impl From<core::Id> + Deserialize<'de> for core::Other
pub struct core::Other
";
        assert_eq!(joined(lines.into_iter()), expected);
    }

    #[test]
    fn a_difference_shows_what_went_and_what_came() {
        let shown = difference("core", "pub fn a()\npub fn b()\n", "pub fn a()\npub fn c()\n");
        assert!(shown.contains("-pub fn b()\n+pub fn c()\n"), "{shown}");
        assert_eq!(difference("core", "pub fn a()\n", "pub fn a()\n"), "");
    }

    #[test]
    fn a_file_without_a_format_is_refused_and_another_format_tells_what_to_do() {
        assert!(format_version("{}").is_err());
        assert_eq!(format_version(r#"{"index": {}, "format_version": 60}"#).ok(), Some(60));
        let message = PublicApiError::Format { found: 60 }.to_string();
        assert!(message.contains("format 60") && message.contains("cargo +1.95 xtask api"));
    }
}
