//! Checks that no dependency demands a newer Rust than the workspace states. Only one toolchain is
//! at hand, so nothing is built with the stated one; what the standard library had in that release
//! is checked by Clippy's `incompatible_msrv`.

use std::path::Path;

use serde::Deserialize;

use crate::external::{External, ExternalError};
use crate::report;

/// Why the stated Rust version does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MsrvError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("the output of `cargo metadata` could not be understood: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error(
        "`{package}` states no Rust version: add `rust-version.workspace = true` to its manifest"
    )]
    Unstated { package: String },
    #[error("`{package}` states the Rust version {version:?}, which is none")]
    NotAVersion { package: String, version: String },
    #[error("`cargo metadata` lists no package of the workspace: nothing was checked")]
    NoPackages,
    #[error(
        "the workspace states Rust {stated}, but:\n{demands}\n\
         Pin an older version (cargo update PACKAGE --precise VERSION), or state a newer Rust in \
         Cargo.toml and README.md"
    )]
    TooNew { stated: Release, demands: String },
}

/// A release of Rust, such as 1.89 or 1.89.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(u32, u32, u32);

impl Release {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let mut next = || numbers.next().unwrap_or(Some(0));
        let release = Self(next()?, next()?, next()?);
        numbers.next().is_none().then_some(release)
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    rust_version: Option<String>,
}

impl Package {
    fn release(&self) -> Result<Option<Release>, MsrvError> {
        let parse = |version: &String| {
            Release::parse(version).ok_or_else(|| MsrvError::NotAVersion {
                package: self.name.clone(),
                version: version.clone(),
            })
        };
        self.rust_version.as_ref().map(parse).transpose()
    }
}

/// Checks the dependencies of the workspace in `root`, those of tests and of every platform too.
pub(crate) fn check(root: &Path) -> Result<(), MsrvError> {
    let metadata = External::cargo(["metadata", "--format-version", "1", "--all-features"])
        .directory(root)
        .read()?;
    report::line(&check_metadata(&metadata)?);
    Ok(())
}

/// Returns what was checked.
fn check_metadata(metadata: &str) -> Result<String, MsrvError> {
    let Metadata { packages, workspace_members } = serde_json::from_str(metadata)?;
    let (members, dependencies): (Vec<_>, Vec<_>) =
        packages.iter().partition(|package| workspace_members.contains(&package.id));
    let stated = members.iter().map(|member| {
        member.release()?.ok_or_else(|| MsrvError::Unstated { package: member.name.clone() })
    });
    let stated: Vec<Release> = stated.collect::<Result<_, _>>()?;
    let stated = stated.into_iter().min().ok_or(MsrvError::NoPackages)?;

    let (mut demands, mut silent) = (Vec::new(), 0);
    for package in &dependencies {
        match package.release()? {
            Some(release) if release > stated => {
                let Package { name, version, .. } = package;
                demands.push(format!("  `{name}` {version} demands Rust {release}"));
            }
            Some(_) => {}
            None => silent += 1,
        }
    }
    if demands.is_empty() {
        let count = dependencies.len();
        Ok(format!(
            "none of {count} dependencies demands more than Rust {stated}; {silent} say nothing"
        ))
    } else {
        Err(MsrvError::TooNew { stated, demands: demands.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(member: Option<&str>, dependencies: &[(&str, Option<&str>)]) -> String {
        let mut packages = vec![package("member", member)];
        packages.extend(dependencies.iter().map(|(name, release)| package(name, *release)));
        json!({"packages": packages, "workspace_members": ["member"]}).to_string()
    }

    fn package(name: &str, release: Option<&str>) -> serde_json::Value {
        json!({"id": name, "name": name, "version": "1.0.0", "rust_version": release})
    }

    #[test]
    fn a_dependency_may_demand_what_is_stated_and_no_more() {
        let within = [("old", Some("1.31")), ("same", Some("1.89.0")), ("silent", None)];
        let checked = check_metadata(&metadata(Some("1.89"), &within)).ok();
        assert!(checked.is_some_and(|text| text.ends_with("Rust 1.89.0; 1 say nothing")));
        for newer in ["1.89.1", "1.90", "1.100.0", "2.0"] {
            let error = check_metadata(&metadata(Some("1.89"), &[("new", Some(newer))]));
            let message = error.map_err(|error| error.to_string());
            assert!(message.as_ref().is_err_and(|text| text.contains("`new` 1.0.0 demands Rust")));
        }
    }

    #[test]
    fn a_member_has_to_state_a_version() {
        let error = check_metadata(&metadata(None, &[]));
        assert!(matches!(error, Err(MsrvError::Unstated { package }) if package == "member"));
        for version in ["", "1.x", "1.2.3.4", "stable"] {
            let error = check_metadata(&metadata(Some(version), &[]));
            assert!(matches!(error, Err(MsrvError::NotAVersion { .. })), "{version}");
        }
    }

    #[test]
    fn a_workspace_without_members_is_an_error() {
        let empty = json!({"packages": [], "workspace_members": []}).to_string();
        assert!(matches!(check_metadata(&empty), Err(MsrvError::NoPackages)));
        assert!(matches!(check_metadata("{}"), Err(MsrvError::Metadata(_))));
    }
}
