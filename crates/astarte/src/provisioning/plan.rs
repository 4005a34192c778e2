//! What is to be done to a realm so that it has what is wanted.
//!
//! Policies and triggers cannot be changed. One that differs is made anew under a name that is free,
//! and only then the old one goes: nothing that happens in between is lost, and what Astarte still
//! remembers of the old name does no harm to the new one. So each has one name of ours, or that name
//! with a number.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::difference::{
    differences, interface_differences, kept_as_it_is, unchangeable_differences,
};
use super::problem::Problems;
use super::release::Release;
use super::wanted::Wanted;
use super::{InstallError, Installation, Kind};
use crate::RealmManagement;

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
    /// It differs: it is made anew under another name, and then the old one is deleted.
    Replace {
        /// How it differs.
        differences: Vec<String>,
    },
    /// This Astarte is too old to have it. Everything else works without.
    Unsupported {
        /// The first version of Astarte that has it.
        since: String,
    },
    /// The realm has another definition of it, which is not changed.
    Conflict {
        /// How it differs.
        differences: Vec<String>,
    },
    /// What is there could not be read: it is left as it is.
    Unread,
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
    /// What stays as it is there although it is not what is wanted, since nobody can change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// What is sent, if anything is.
    #[serde(skip)]
    pub(super) make: Option<Value>,
    /// What is deleted afterwards.
    #[serde(skip)]
    pub(super) remove: Vec<String>,
    /// Whether it is there as it would be made without a policy.
    #[serde(skip)]
    pub(super) is_there_without_policy: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is wanted can have a secret.
        write!(f, "{} {}: {:?}", self.kind, self.name, self.action)?;
        if self.kept.is_empty() { Ok(()) } else { write!(f, " (kept: {})", self.kept.join("; ")) }
    }
}

impl Change {
    fn new(kind: Kind, name: String, action: Action) -> Self {
        let (kept, remove) = (Vec::new(), Vec::new());
        Self { kind, name, action, kept, make: None, remove, is_there_without_policy: false }
    }

    fn is_done(&self) -> bool {
        matches!(self.action, Action::Keep | Action::Unsupported { .. })
    }
}

/// What is to be done to a realm, in the order in which it must be done: what updates cannot do
/// without comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) problems: Problems,
    astarte: Option<String>,
}

impl Plan {
    /// Everything that is wanted, and what is to be done about each.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is nothing to do: everything is there that this Astarte can have.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.changes.iter().all(Change::is_done)
    }

    /// Whether what is not done could be.
    ///
    /// # Errors
    /// [`InstallError`]: what is wrong with single things of the realm.
    pub fn check(&self) -> Result<(), InstallError> {
        self.problems.clone().check()
    }

    /// The version of the realm's Astarte, if it tells.
    #[must_use]
    pub fn astarte_version(&self) -> Option<&str> {
        self.astarte.as_deref()
    }
}

impl Installation {
    /// Looks at a realm: what is to be done so that it has what is wanted. Changes nothing.
    ///
    /// # Errors
    /// [`InstallError::Forbidden`] if the token does not allow to look, [`InstallError::Api`] if
    /// nothing can be asked. What is wrong with single things stands in the plan.
    pub async fn plan(&self, realm: &RealmManagement) -> Result<Plan, InstallError> {
        let mut look = Look { realm, problems: Problems::default(), release: None };
        let astarte = realm.version().await?;
        // Of one that does not tell, everything is tried.
        look.release = astarte.as_deref().and_then(Release::read);
        let mut changes = Vec::new();
        for wanted in &self.interfaces {
            changes.push(look.interface(wanted).await?);
        }
        let policy = look.named(&self.policy, None).await?;
        let policy_name = match (&policy.make, &policy.action) {
            (_, Action::Unsupported { .. }) => None,
            (Some(make), _) => Some(text(make, "name").to_owned()),
            (None, _) => Some(policy.name.clone()),
        };
        changes.push(policy);
        for wanted in &self.triggers {
            changes.push(look.named(wanted, policy_name.as_deref()).await?);
        }
        look.problems.check_forbidden()?;
        Ok(Plan { changes, problems: look.problems, astarte })
    }
}

/// A look at a realm.
struct Look<'a> {
    realm: &'a RealmManagement,
    problems: Problems,
    release: Option<Release>,
}

impl Look<'_> {
    /// What is there under a path: `Ok(None)` if that cannot be read.
    async fn get(
        &mut self,
        kind: Kind,
        name: &str,
        path: &[&str],
    ) -> Result<Option<Option<Value>>, InstallError> {
        let there = self.realm.get(path).await;
        self.problems.note(kind, name, there)
    }

    /// An interface is never replaced: devices and data hang on it.
    async fn interface(&mut self, wanted: &Value) -> Result<Change, InstallError> {
        let version = |of: &Value| format!("{}.{}", of["version_major"], of["version_minor"]);
        let interface = text(wanted, "interface_name");
        let name = format!("{interface} {}", version(wanted));
        let major = wanted["version_major"].to_string();
        let change = |action| Change::new(Kind::Interface, name.clone(), action);
        let path = ["interfaces", interface, &major];
        let Some(there) = self.get(Kind::Interface, &name, &path).await? else {
            return Ok(change(Action::Unread));
        };
        let Some(there) = there else {
            return Ok(Change { make: Some(wanted.clone()), ..change(Action::Create) });
        };
        let minor = |of: &Value| of["version_minor"].as_u64().unwrap_or(0);
        let (compared, differences) = match minor(&there).cmp(&minor(wanted)) {
            Ordering::Less => (Ordering::Less, unchangeable_differences(wanted, &there)),
            Ordering::Equal => (Ordering::Equal, interface_differences(wanted, &there)),
            // A later version has everything of this one.
            Ordering::Greater => (Ordering::Greater, Vec::new()),
        };
        if !differences.is_empty() {
            self.problems.add(InstallError::Conflict {
                name: interface.to_owned(),
                version: version(&there),
                differences: differences.clone(),
            });
            return Ok(change(Action::Conflict { differences }));
        }
        if compared != Ordering::Less {
            return Ok(change(Action::Keep));
        }
        let (make, kept) = kept_as_it_is(wanted, &there);
        let action = Action::Update { from: version(&there) };
        Ok(Change { make: Some(make), kept, ..change(action) })
    }

    /// A policy or a trigger, with the policy that it is to have.
    async fn named(
        &mut self,
        wanted: &Wanted,
        policy: Option<&str>,
    ) -> Result<Change, InstallError> {
        let (kind, name) = (wanted.kind, text(&wanted.body, "name"));
        let change = |action| Change::new(kind, name.to_owned(), action);
        if let (Some(since), Some(release)) = (wanted.since, self.release)
            && release < since
        {
            return Ok(change(Action::Unsupported { since: since.to_string() }));
        }
        let mut there = Vec::new();
        for name in self.names_of(kind, name).await? {
            match self.get(kind, &name, &[kind.collection(), &name]).await? {
                None => return Ok(change(Action::Unread)),
                Some(Some(found)) => there.push((name, found)),
                Some(None) => {}
            }
        }
        let named = |as_name: &str, policy: Option<&str>| {
            let mut body = wanted.body.clone();
            body["name"] = as_name.into();
            if let Some(policy) = policy {
                body["policy"] = policy.into();
            }
            body
        };
        let differs =
            |(name, found): &(String, Value), policy| differences(&named(name, policy), found);
        let wanted_one = there.iter().position(|found| differs(found, policy).is_empty());
        let is_there_without_policy = there.iter().any(|found| differs(found, None).is_empty());
        let free = || {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut all = std::iter::once(name.to_owned()).chain(numbered);
            all.find(|name| there.iter().all(|(taken, _)| taken != name)).unwrap_or_default()
        };
        let action = match (wanted_one, there.as_slice()) {
            (None, []) => Action::Create,
            (Some(_), [_]) => Action::Keep,
            (None, [first, ..]) => Action::Replace { differences: differs(first, policy) },
            (Some(kept), _) => {
                let others = there.iter().enumerate().filter(|(place, _)| *place != kept);
                let left = others.map(|(_, (name, _))| format!("{name} is left over"));
                Action::Replace { differences: left.collect() }
            }
        };
        let make = wanted_one.is_none().then(|| named(&free(), policy));
        // The name under which it is there.
        let name = wanted_one.map_or(name, |kept| there[kept].0.as_str()).to_owned();
        let remove = there.iter().enumerate().filter(|(place, _)| Some(*place) != wanted_one);
        let remove = remove.map(|(_, (name, _))| name.clone()).collect();
        Ok(Change { name, make, remove, is_there_without_policy, ..change(action) })
    }

    /// The names of this thing that are taken: its own, and its own with a number.
    async fn names_of(&mut self, kind: Kind, name: &str) -> Result<Vec<String>, InstallError> {
        let all = self.get(kind, name, &[kind.collection()]).await?;
        let Some(all) = all else { return Ok(vec![name.to_owned()]) };
        let all = all.unwrap_or_default();
        let all = all.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(all.filter(|taken| is_name_of(taken, name)).map(str::to_owned).collect())
    }
}

/// Whether it is that name, or that name with a number.
fn is_name_of(taken: &str, name: &str) -> bool {
    taken.strip_prefix(name).is_some_and(|rest| {
        let number = rest.strip_prefix('-').unwrap_or_default();
        rest.is_empty() || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_number_is_still_ours_and_another_one_is_not() {
        let name = "hedgerow-connected";
        for ours in ["hedgerow-connected", "hedgerow-connected-2", "hedgerow-connected-17"] {
            assert!(is_name_of(ours, name), "{ours}");
        }
        for other in
            ["hedgerow", "hedgerow-connected-", "hedgerow-connected-to", "hedgerow-connected2"]
        {
            assert!(!is_name_of(other, name), "{other}");
        }
    }
}
