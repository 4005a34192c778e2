//! Checks that the crates are ready for crates.io: what a registry shows of each is stated, and cargo
//! packs them all. It is not asked for anything, and nothing is published. What is packed is not
//! built once more: the tests have built the same sources.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::external::{External, ExternalError};

/// Files that every package has.
const FILES: [&str; 2] = ["README.md", "LICENSE"];
/// More keywords, or categories, are refused by the registry.
const MOST: usize = 5;
/// Longer ones are, too.
const LONGEST_KEYWORD: usize = 20;

/// Why a crate could not be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PackageError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("the output of `cargo metadata` could not be understood: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("no crate may be published: nothing was checked")]
    NoPackages,
    #[error("what a registry needs is missing:\n{}", .0.join("\n"))]
    Incomplete(Vec<String>),
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    description: Option<String>,
    license: Option<String>,
    documentation: Option<String>,
    readme: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
    /// The registries that it may go to; `None`: any.
    publish: Option<Vec<String>>,
}

/// Checks what the manifests of the workspace say, and packs the crates.
pub(crate) fn check(root: &Path) -> Result<(), PackageError> {
    let metadata = External::cargo(["metadata", "--format-version", "1", "--no-deps"])
        .directory(root)
        .read()?;
    check_metadata(&metadata)?;
    External::cargo(["package", "--quiet", "--workspace", "--exclude", "xtask"])
        // Offline: what the crates here need of each other is in no registry.
        .arguments(["--no-verify", "--allow-dirty", "--offline"])
        .directory(root)
        .run()?;
    Ok(())
}

fn check_metadata(metadata: &str) -> Result<(), PackageError> {
    let Metadata { packages } = serde_json::from_str(metadata)?;
    let may_go = |package: &&Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
    let packages: Vec<&Package> = packages.iter().filter(may_go).collect();
    if packages.is_empty() {
        return Err(PackageError::NoPackages);
    }
    let problems: Vec<String> = packages
        .iter()
        .flat_map(|package| {
            missing(package).into_iter().map(|what| format!("  - {}: {what}", package.name))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(PackageError::Incomplete(problems)) }
}

fn missing(package: &Package) -> Vec<String> {
    let mut missing = Vec::new();
    for (what, stated) in [
        ("description", &package.description),
        ("license", &package.license),
        ("documentation", &package.documentation),
        ("readme", &package.readme),
    ] {
        if stated.as_ref().is_none_or(|text| text.trim().is_empty()) {
            missing.push(format!("no `{what}` in its manifest"));
        }
    }
    for (what, stated) in [("keywords", &package.keywords), ("categories", &package.categories)] {
        if !(1..=MOST).contains(&stated.len()) {
            missing.push(format!("one to {MOST} `{what}` in its manifest"));
        }
    }
    let too_long = package.keywords.iter().filter(|keyword| keyword.len() > LONGEST_KEYWORD);
    missing.extend(too_long.map(|keyword| format!("the keyword `{keyword}` is too long")));
    let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
    let absent = FILES.iter().filter(|file| !folder.join(file).is_file());
    missing.extend(absent.map(|file| format!("no {file} beside its manifest")));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str) -> String {
        match check_metadata(&format!("{{\"packages\": [{package}]}}")) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_a_registry_needs_is_asked_for() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let package = |license: &str, keyword: &str| {
            serde_json::json!({
                "name": "one", "manifest_path": folder.path().join("Cargo.toml"),
                "description": "It is one.", "license": license, "documentation": "https://docs.rs/one",
                "readme": "README.md", "keywords": [keyword], "categories": ["embedded"],
                "publish": null,
            })
            .to_string()
        };
        let found = problems(&package("Apache-2.0", "ota"));
        assert!(found.contains("one: no README.md beside") && found.contains("no LICENSE"));
        for file in FILES {
            std::fs::write(folder.path().join(file), "text")?;
        }
        assert_eq!(problems(&package("Apache-2.0", "ota")), "");
        assert!(problems(&package("", "ota")).contains("one: no `license`"));
        assert!(problems(&package("MIT", "a-very-very-very-long-one")).contains("too long"));
        Ok(())
    }

    #[test]
    fn a_workspace_of_which_nothing_may_go_is_an_error() {
        let package = r#"{"name": "x", "manifest_path": "x", "keywords": [], "categories": [], "publish": []}"#;
        assert!(problems(package).contains("nothing was checked"));
        assert!(problems("").contains("nothing was checked"));
    }
}
