//! Why an installation was not made, or not wholly.

use super::Kind;
use crate::ApiError;

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
    /// Astarte refused one thing.
    #[error("{kind} {name}: {error}")]
    Refused {
        /// What kind of thing.
        kind: Kind,
        /// Its name.
        name: String,
        /// What Astarte said.
        error: Box<ApiError>,
    },
    /// Several things could not be done; all others are done.
    #[error("{}", .causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Incomplete {
        /// Why, one for each.
        causes: Vec<InstallError>,
    },
    /// A call failed for another reason.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Collects what goes wrong with single things, so that the others are done and all of it is told at
/// once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Problems {
    claim: &'static str,
    entries: Vec<String>,
    others: Vec<InstallError>,
}

impl Problems {
    /// The result, or `None` if it is a problem of this one thing.
    ///
    /// # Errors
    /// What is the matter with every call: that there is no way to Astarte, say.
    pub(super) fn note<T>(
        &mut self,
        kind: Kind,
        name: &str,
        result: Result<T, ApiError>,
    ) -> Result<Option<T>, InstallError> {
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
            Err(error @ ApiError::Refused { status, .. }) if status != 401 => {
                let (name, error) = (name.to_owned(), Box::new(error));
                self.add(InstallError::Refused { kind, name, error });
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn add(&mut self, problem: InstallError) {
        self.others.push(problem);
    }

    /// Tells what is forbidden, if anything is.
    pub(super) fn check_forbidden(&mut self) -> Result<(), InstallError> {
        let entries = std::mem::take(&mut self.entries);
        let claim = self.claim;
        if entries.is_empty() { Ok(()) } else { Err(InstallError::Forbidden { claim, entries }) }
    }

    /// Tells everything.
    pub(super) fn check(mut self) -> Result<(), InstallError> {
        if let Err(forbidden) = self.check_forbidden() {
            self.others.push(forbidden);
        }
        match self.others.len() {
            0 => Ok(()),
            1 => self.others.pop().map_or(Ok(()), Err),
            _ => Err(InstallError::Incomplete { causes: self.others }),
        }
    }
}
