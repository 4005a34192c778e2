//! What is to be done to a realm so that it has what is wanted, and doing it.

use std::fmt;

use serde_json::Value;

use super::difference::{differences, interface_differences};
use super::wanted::POLICY;
use super::{Installation, Kind};
use crate::{ApiError, RealmManagement};

/// Why an installation was not made, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The token does not allow it.
    #[error(
        "the token does not allow this: its claim {claim} needs {}",
        .entries.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>().join(", ")
    )]
    Forbidden {
        /// The claim.
        claim: &'static str,
        /// What the claim lacks, as it would stand there.
        entries: Vec<String>,
    },
    /// The realm has another definition of an interface.
    #[error(
        "the realm has another definition of {name} {version}, which only its owner can change: {}",
        .differences.join("; ")
    )]
    Conflict {
        /// The interface.
        name: String,
        /// Its version.
        version: String,
        /// How it differs.
        differences: Vec<String>,
    },
    /// A call failed for another reason.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What is to be done about one thing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It is as wanted.
    Keep,
    /// It is missing.
    Create,
    /// It is an older version.
    Update {
        /// The version that is there.
        from: String,
    },
    /// It differs, and is deleted and made anew.
    Replace {
        /// How it differs.
        differences: Vec<String>,
    },
}

/// One thing of the realm, and what is to be done about it.
#[derive(Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Its name; that of an interface with its version.
    pub name: String,
    /// What is to be done.
    #[serde(flatten)]
    pub action: Action,
    #[serde(skip)]
    wanted: Value,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is wanted can have a secret.
        write!(f, "{} {}: {:?}", self.kind, self.name, self.action)
    }
}

/// What is to be done to a realm, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    changes: Vec<Change>,
}

/// Collects what a token does not allow, so that all of it is told at once.
#[derive(Default)]
struct Forbidden {
    claim: &'static str,
    entries: Vec<String>,
}

impl Forbidden {
    /// The result, or `None` if it was forbidden.
    fn note<T>(&mut self, result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ApiError::Refused { status: 403, method, path, claim, .. }) => {
                self.claim = claim;
                let entry = format!("{method}::{path}");
                if !self.entries.contains(&entry) {
                    self.entries.push(entry);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn check(self) -> Result<(), InstallError> {
        let Self { claim, entries } = self;
        if entries.is_empty() { Ok(()) } else { Err(InstallError::Forbidden { claim, entries }) }
    }
}

impl Installation {
    /// Looks at a realm: what is to be done so that it has what is wanted. Changes nothing.
    ///
    /// # Errors
    /// [`InstallError`].
    pub async fn plan(&self, realm: &RealmManagement) -> Result<Plan, InstallError> {
        let mut forbidden = Forbidden::default();
        let mut changes = Vec::new();
        for wanted in &self.interfaces {
            let (name, major) =
                (text(wanted, "interface_name"), wanted["version_major"].to_string());
            if let Some(there) = forbidden.note(realm.get(&["interfaces", name, &major]).await)? {
                changes.push(interface_change(wanted, there.as_ref())?);
            }
        }
        let there = forbidden.note(realm.get(&["policies", POLICY]).await)?;
        let policy = there.map(|there| change(Kind::Policy, &self.policy, there.as_ref()));
        let policy_goes = matches!(&policy, Some(Change { action: Action::Replace { .. }, .. }));
        changes.extend(policy);
        for wanted in &self.triggers {
            let path = ["triggers", text(wanted, "name")];
            let Some(there) = forbidden.note(realm.get(&path).await)? else { continue };
            let mut change = change(Kind::Trigger, wanted, there.as_ref());
            if policy_goes && change.action == Action::Keep {
                // A policy cannot go while a trigger uses it.
                let differences = vec!["its policy is made anew".to_owned()];
                change.action = Action::Replace { differences };
            }
            changes.push(change);
        }
        forbidden.check()?;
        Ok(Plan { changes })
    }
}

impl Plan {
    /// Everything that is wanted, and what is to be done about each.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.changes.iter().all(|change| change.action == Action::Keep)
    }

    /// Does what is to be done.
    ///
    /// # Errors
    /// [`InstallError`]. What was done by then stays: doing it again goes on from there.
    pub async fn apply(&self, realm: &RealmManagement) -> Result<(), InstallError> {
        let mut forbidden = Forbidden::default();
        for change in self.replaced(Kind::Trigger).chain(self.replaced(Kind::Policy)) {
            let path = [collection(change.kind), change.name.as_str()];
            forbidden.note(realm.delete(&path).await)?;
        }
        for change in &self.changes {
            let wanted = &change.wanted;
            let done = match change.action {
                Action::Keep => continue,
                Action::Create | Action::Replace { .. } => {
                    realm.post(collection(change.kind), wanted).await
                }
                Action::Update { .. } => {
                    let major = wanted["version_major"].to_string();
                    let path = ["interfaces", text(wanted, "interface_name"), &major];
                    realm.put(&path, wanted).await
                }
            };
            forbidden.note(done)?;
        }
        forbidden.check()
    }

    fn replaced(&self, kind: Kind) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| {
            change.kind == kind && matches!(change.action, Action::Replace { .. })
        })
    }
}

fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::Interface => "interfaces",
        Kind::Policy => "policies",
        Kind::Trigger => "triggers",
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn change(kind: Kind, wanted: &Value, there: Option<&Value>) -> Change {
    let action = match there.map(|there| differences(wanted, there)) {
        None => Action::Create,
        Some(differences) if differences.is_empty() => Action::Keep,
        Some(differences) => Action::Replace { differences },
    };
    Change { kind, name: text(wanted, "name").to_owned(), action, wanted: wanted.clone() }
}

/// An interface is never replaced: devices and data hang on it.
fn interface_change(wanted: &Value, there: Option<&Value>) -> Result<Change, InstallError> {
    let version = |of: &Value| format!("{}.{}", of["version_major"], of["version_minor"]);
    let name = text(wanted, "interface_name");
    let action = match there {
        None => Action::Create,
        Some(there) => {
            let minor = |of: &Value| of["version_minor"].as_u64().unwrap_or(0);
            let mut differences = Vec::new();
            match minor(there).cmp(&minor(wanted)) {
                std::cmp::Ordering::Less => Action::Update { from: version(there) },
                // A later version has everything of this one.
                std::cmp::Ordering::Greater => Action::Keep,
                std::cmp::Ordering::Equal => {
                    differences.extend(interface_differences(wanted, there));
                    if !differences.is_empty() {
                        let (name, version) = (name.to_owned(), version(wanted));
                        return Err(InstallError::Conflict { name, version, differences });
                    }
                    Action::Keep
                }
            }
        }
    };
    let name = format!("{name} {}", version(wanted));
    Ok(Change { kind: Kind::Interface, name, action, wanted: wanted.clone() })
}
