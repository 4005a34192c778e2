//! Doing what a plan says: one thing after the other, what updates cannot do without first, and on
//! past what is refused.

use serde_json::Value;

use super::plan::{Change, text};
use super::{Action, InstallError, Kind, Plan};
use crate::{ApiError, RealmManagement};

impl Plan {
    /// Does what is to be done. What Astarte refuses stops nothing else, and is told at the end.
    ///
    /// # Errors
    /// [`InstallError`]. What was done stays: doing it again goes on from there.
    pub async fn apply(&self, realm: &RealmManagement) -> Result<(), InstallError> {
        let mut problems = self.problems.clone();
        let mut has_policy = self
            .changes
            .iter()
            .all(|change| change.kind != Kind::Policy || change.action != Action::Unread);
        for change in &self.changes {
            let Change { kind, name, .. } = change;
            if let Some(mut wanted) = change.make.clone() {
                if *kind == Kind::Trigger && !has_policy {
                    if change.is_there_without_policy {
                        continue;
                    }
                    // It loses what cannot be delivered at once; without it everything is lost.
                    if let Some(wanted) = wanted.as_object_mut() {
                        wanted.remove("policy");
                    }
                }
                let made = make(realm, change, &wanted).await;
                if problems.note(*kind, name, made)?.is_none() {
                    has_policy &= *kind != Kind::Policy;
                    // What is there stays rather than nothing.
                    continue;
                }
            }
            if *kind == Kind::Trigger {
                for old in &change.remove {
                    let gone = realm.delete(&[kind.collection(), old]).await;
                    problems.note(*kind, old, gone)?;
                }
            }
        }
        // A policy can go only when no trigger has it any more.
        let policies = self.changes.iter().filter(|change| change.kind == Kind::Policy);
        for old in policies.filter(|_| has_policy).flat_map(|change| &change.remove) {
            let gone = realm.delete(&[Kind::Policy.collection(), old]).await;
            problems.note(Kind::Policy, old, gone)?;
        }
        problems.check()
    }
}

async fn make(realm: &RealmManagement, change: &Change, wanted: &Value) -> Result<(), ApiError> {
    if let Action::Update { .. } = change.action {
        let major = wanted["version_major"].to_string();
        let path = ["interfaces", text(wanted, "interface_name"), &major];
        return realm.put(&path, wanted).await;
    }
    realm.post(change.kind.collection(), wanted).await
}
