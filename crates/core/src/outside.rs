//! Reading what people write: definitions and edits as JSON, within limits of size and depth, and
//! refused with the name of a key that nobody knows.

use serde::de::DeserializeOwned;

use crate::definition::CampaignDefinition;
use crate::edit::CampaignEdit;
use crate::id::excerpt;

/// The most bytes of a definition or an edit: a channel of 10,000 groups with the longest names
/// fits in.
const MOST_BYTES: usize = 4 * 1_024 * 1_024;
/// The most characters of an error that are kept.
const LONGEST_DETAIL: usize = 500;

/// JSON from outside that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is too large.
    #[error("{what} has {size} bytes: give at most {most}")]
    TooLarge {
        /// What was to be read.
        what: &'static str,
        /// How many bytes it has.
        size: usize,
        /// How many it may have.
        most: usize,
    },
    /// It is no JSON, lacks something, has a key that nobody knows, or a value out of its range.
    #[error("this is not {what}: {detail}")]
    Malformed {
        /// What was to be read.
        what: &'static str,
        /// What is wrong and where; for an unknown key, which keys there are.
        detail: String,
    },
}

/// Only known keys are gone into, so the depth is that of the type.
fn read<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, JsonError> {
    if json.len() > MOST_BYTES {
        return Err(JsonError::TooLarge { what, size: json.len(), most: MOST_BYTES });
    }
    serde_json::from_slice(json).map_err(|error| {
        let detail = error.to_string();
        // An unknown key may be as long as the whole text.
        let is_short = detail.chars().nth(LONGEST_DETAIL).is_none();
        let detail = if is_short {
            detail
        } else {
            let (line, column) = (error.line(), error.column());
            format!("{}… at line {line} column {column}", excerpt(&detail))
        };
        JsonError::Malformed { what, detail }
    })
}

impl CampaignDefinition {
    /// Reads what a person or another program gives as a definition. It may have at most 4 MiB, and
    /// no key that is not known. (The same holds for its `Deserialize`, without the limit of size.)
    ///
    /// ```
    /// use hedgerow_core::CampaignDefinition;
    ///
    /// let json = r#"{"name": "to 2.0.0", "base_image": {"system_model": "gateway",
    ///     "version": "2.0.0", "url": "https://images.example/2.bin",
    ///     "starting_version_requirment": ">= 1.0.0"}}"#;
    /// let error = CampaignDefinition::from_json(json.as_bytes()).unwrap_err().to_string();
    /// assert!(error.contains("unknown field `starting_version_requirment`"));
    /// assert!(error.contains("expected one of `system_model`, `version`, `url`, `starting_version_requirement`"));
    /// ```
    ///
    /// # Errors
    /// [`JsonError`]. Whether its limits are within their range is looked at when it is created.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        read("the definition of a campaign", json)
    }
}

impl CampaignEdit {
    /// Reads what a person or another program gives as an edit: keys that are left out leave
    /// things as they are, and no key that is not known. It may have at most 4 MiB.
    ///
    /// ```
    /// use hedgerow_core::CampaignEdit;
    ///
    /// let edit = CampaignEdit::from_json(br#"{"limits": {"request_retries": 5}}"#)?;
    /// assert_eq!(edit.limits.request_retries, Some(5));
    /// assert!(CampaignEdit::from_json(br#"{"limits": {"retries": 5}}"#).is_err());
    /// # Ok::<(), hedgerow_core::JsonError>(())
    /// ```
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        read("the edit of a campaign", json)
    }
}
