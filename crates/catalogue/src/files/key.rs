//! What a file is known by: `tenant/UUID/name`. The UUID is random and the file's alone, so that no
//! two uploads ever meet, and nobody guesses the URL of an image that was not shown to them.

use std::fmt;
use std::str::FromStr;

use hedgerow_core::TenantId;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name that a file keeps, in bytes.
const LONGEST_NAME: usize = 128;
/// What a file is called whose own name has nothing that could be kept.
const UNNAMED: &str = "image.bin";

/// What a file is known by in an image store, as in
/// `gardens/5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa/gateway-2.0.0.bin`. It is part of the file's URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileKey {
    tenant: TenantId,
    id: Uuid,
    name: String,
}

/// A text is no [`FileKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a file of the image store: give tenant/UUID/name")]
pub struct FileKeyError {
    /// What was given, cut after 200 characters.
    pub text: String,
}

impl FileKey {
    /// A new one. Of the name, which is whatever the uploader's machine calls the file, it keeps
    /// letters, digits, `.`, `-` and `_` of ASCII. `None` for a tenant that no place can be called
    /// after.
    pub(super) fn new(tenant: &TenantId, name: &str) -> Option<Self> {
        let (id, name) = (Uuid::new_v4(), kept_name(name));
        is_a_place(tenant).then(|| Self { tenant: tenant.clone(), id, name })
    }

    /// The tenant whose file it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The name, for people and for devices.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is in the store.
    pub(super) fn path(&self) -> Path {
        Path::from_iter([self.tenant.as_str(), &self.id.to_string(), &self.name])
    }

    /// The key of what is at that place; `None` if nothing of ours is there.
    pub(super) fn at(path: &Path) -> Option<Self> {
        path.as_ref().parse().ok()
    }
}

/// Whether something can lie below a tenant's name: `.` and `..` are tenants, and mean another place.
fn is_a_place(tenant: &TenantId) -> bool {
    tenant.as_str().bytes().any(|byte| byte != b'.')
}

/// The last part of a path, so that what a browser or a script on any system calls a file will do.
fn kept_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let keep = |letter: char| {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '_' }
    };
    let kept: String = last.trim().trim_start_matches('.').chars().map(keep).collect();
    // The end of a name tells what kind of file it is.
    let start = kept.len().saturating_sub(LONGEST_NAME);
    let kept = kept[start..].trim_start_matches('.');
    if kept.is_empty() { UNNAMED.to_owned() } else { kept.to_owned() }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.id, self.name)
    }
}

impl FromStr for FileKey {
    type Err = FileKeyError;

    fn from_str(text: &str) -> Result<Self, FileKeyError> {
        let refused = || FileKeyError { text: text.chars().take(200).collect() };
        let mut parts = text.split('/');
        let (Some(tenant), Some(id), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused());
        };
        let key = Self {
            tenant: tenant.parse().map_err(|_| refused())?,
            id: id.parse().map_err(|_| refused())?,
            name: name.to_owned(),
        };
        // One file has one text: no other spelling of the UUID, and no name that is not kept as it is.
        let is_one = kept_name(name) == name && key.to_string() == text && is_a_place(&key.tenant);
        if is_one { Ok(key) } else { Err(refused()) }
    }
}

impl TryFrom<String> for FileKey {
    type Error = FileKeyError;

    fn try_from(text: String) -> Result<Self, FileKeyError> {
        text.parse()
    }
}

impl From<FileKey> for String {
    fn from(key: FileKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_keeps_its_end_and_nothing_that_means_something_elsewhere() {
        for (given, kept) in [
            ("gateway-2.0.0.bin", "gateway-2.0.0.bin"),
            ("C:\\images\\gateway 2.bin", "gateway_2.bin"),
            ("../../etc/passwd", "passwd"),
            ("..", UNNAMED),
            ("", UNNAMED),
            (".hidden", "hidden"),
            ("größe.bin", "gr__e.bin"),
            ("staged#1", "staged_1"),
            ("?x=1&y=%2e%2e", "_x_1_y__2e_2e"),
        ] {
            assert_eq!(kept_name(given), kept, "{given}");
        }
        let long = kept_name(&format!("{}.tar.gz", "x".repeat(500)));
        assert!(long.len() == LONGEST_NAME && long.ends_with(".tar.gz"), "{long}");
    }

    proptest! {
        #[test]
        fn a_key_of_any_name_reads_back_and_is_one_place_three_levels_deep(name in ".{0,300}") {
            let tenant: TenantId = "gardens".parse().expect("a tenant");
            let key = FileKey::new(&tenant, &name).expect("a place");
            prop_assert_eq!(key.to_string().parse::<FileKey>(), Ok(key.clone()));
            prop_assert_eq!(key.path().parts().count(), 3);
            prop_assert_eq!(key.path().to_string(), key.to_string());
            prop_assert_eq!(FileKey::at(&key.path()), Some(key));
        }

        #[test]
        fn whatever_text_is_given_is_refused_or_names_its_place_exactly(text in "[a-z./%#-]{0,20}(/[0-9a-f-]{36})?(/.{0,20})?") {
            if let Ok(key) = text.parse::<FileKey>() {
                prop_assert_eq!(key.path().to_string(), text);
            }
        }
    }

    #[test]
    fn another_spelling_of_a_key_is_no_key() {
        let id = "5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa";
        assert!(format!("gardens/{id}/a.bin").parse::<FileKey>().is_ok());
        for text in [
            format!("gardens/{}/a.bin", id.to_uppercase()),
            format!("gardens/{}/a.bin", id.replace('-', "")),
            format!("gardens/{id}/.."),
            format!("gardens/{id}/a.bin#1"),
            format!("gardens/{id}/a.bin/"),
            format!("/gardens/{id}/a.bin"),
            format!("gardens/{id}"),
            format!("../{id}/a.bin"),
        ] {
            assert!(text.parse::<FileKey>().is_err(), "{text}");
        }
    }
}
