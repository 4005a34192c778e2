//! The questions that `hedgerow version` answers, and their answers in words and as fields.

use std::cmp::Ordering;

use hedgerow_core::{
    GateDecision, GatePolicy, PreReleases, Version, VersionRequirement, evaluate_gates,
    parse_version, precedence, same_build,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// A question: its fields are those of a line of input.
pub(super) trait Question: DeserializeOwned {
    /// What to give, for an input that is no such question.
    const FIELDS: &'static str;

    /// The answer, or why there is none and what to do about it.
    fn answer(&self) -> Result<Answer, String>;
}

/// An answer, in both forms.
pub(super) struct Answer {
    /// For programs.
    pub(super) fields: Fields,
    /// For people.
    pub(super) words: String,
    /// What the exit status says.
    pub(super) is_yes: bool,
}

/// The fields of an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Fields {
    Validity {
        ok: bool,
    },
    Parts {
        ok: bool,
        major: String,
        minor: String,
        patch: String,
        pre: Vec<Identifier>,
        build: Option<String>,
    },
    Order {
        order: &'static str,
        build_equal: bool,
    },
    Match {
        result: bool,
    },
    NoMatch {
        result: &'static str,
    },
    Decision {
        decision: &'static str,
    },
}

/// An identifier of a pre-release.
#[derive(Serialize)]
pub(super) enum Identifier {
    #[serde(rename = "n")]
    Number(String),
    #[serde(rename = "s")]
    Text(String),
}

#[derive(Deserialize)]
pub(super) struct Parse {
    pub(super) input: String,
}

impl Question for Parse {
    const FIELDS: &'static str = "`input`, a text";

    fn answer(&self) -> Result<Answer, String> {
        Ok(match parse_version(&self.input) {
            Ok(version) => {
                Answer { fields: parts(&version), words: parts_in_words(&version), is_yes: true }
            }
            Err(error) => invalid(&error),
        })
    }
}

fn parts(version: &Version) -> Fields {
    let identifier = |text: &str| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            Identifier::Number(text.to_owned())
        } else {
            Identifier::Text(text.to_owned())
        }
    };
    let identifiers = version.pre.split('.').filter(|text| !text.is_empty());
    Fields::Parts {
        ok: true,
        major: version.major.to_string(),
        minor: version.minor.to_string(),
        patch: version.patch.to_string(),
        pre: identifiers.map(identifier).collect(),
        build: (!version.build.is_empty()).then(|| version.build.to_string()),
    }
}

fn parts_in_words(version: &Version) -> String {
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    format!(
        "valid\n  major        {}\n  minor        {}\n  patch        {}\n  pre-release  {}\n  build        {}",
        version.major,
        version.minor,
        version.patch,
        or_none(&version.pre),
        or_none(&version.build),
    )
}

fn invalid(error: &dyn std::error::Error) -> Answer {
    let words = format!("invalid: {error}");
    Answer { fields: Fields::Validity { ok: false }, words, is_yes: false }
}

#[derive(Deserialize)]
pub(super) struct Requirement {
    pub(super) input: String,
}

impl Question for Requirement {
    const FIELDS: &'static str = "`input`, a text";

    fn answer(&self) -> Result<Answer, String> {
        Ok(match self.input.parse::<VersionRequirement>() {
            Ok(_) => Answer {
                fields: Fields::Validity { ok: true },
                words: "valid".to_owned(),
                is_yes: true,
            },
            Err(error) => invalid(&error),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Compare {
    pub(super) a: String,
    pub(super) b: String,
}

impl Question for Compare {
    const FIELDS: &'static str = "`a` and `b`, texts";

    fn answer(&self) -> Result<Answer, String> {
        let [a, b] = [&self.a, &self.b].map(|text| parse_version(text));
        let a = a.map_err(|error| error.to_string())?;
        let b = b.map_err(|error| error.to_string())?;
        let build_equal = same_build(&a, &b);
        let (order, words) = match (precedence(&a, &b), build_equal) {
            (Ordering::Less, _) => ("lt", format!("{a} is lower than {b}")),
            (Ordering::Greater, _) => ("gt", format!("{a} is higher than {b}")),
            (Ordering::Equal, true) => ("eq", format!("{a} is the same as {b}")),
            (Ordering::Equal, false) => {
                ("eq", format!("{a} is neither lower nor higher than {b}, but another build"))
            }
        };
        Ok(Answer { fields: Fields::Order { order, build_equal }, words, is_yes: true })
    }
}

#[derive(Deserialize)]
pub(super) struct Match {
    pub(super) version: String,
    pub(super) requirement: String,
    #[serde(default = "as_campaigns_do")]
    pub(super) allow_pre: bool,
}

/// Campaigns let pre-releases match (D6).
fn as_campaigns_do() -> bool {
    true
}

impl Question for Match {
    const FIELDS: &'static str =
        "`version` and `requirement`, texts, and if wanted `allow_pre`, true or false";

    fn answer(&self) -> Result<Answer, String> {
        let cannot = |result: &'static str, error: &dyn std::error::Error| Answer {
            fields: Fields::NoMatch { result },
            words: format!("{result}: {error}"),
            is_yes: false,
        };
        let requirement = match self.requirement.parse::<VersionRequirement>() {
            Ok(requirement) => requirement,
            Err(error) => return Ok(cannot("invalid_requirement", &error)),
        };
        let version = match parse_version(&self.version) {
            Ok(version) => version,
            Err(error) => return Ok(cannot("invalid_version", &error)),
        };
        let pre_releases =
            if self.allow_pre { PreReleases::Allow } else { PreReleases::OnlyIfNamed };
        let result = requirement.matches(&version, pre_releases);
        let verb = if result { "meets" } else { "does not meet" };
        let words = format!("{version} {verb} {:?}", requirement.as_str());
        Ok(Answer { fields: Fields::Match { result }, words, is_yes: result })
    }
}

#[derive(Deserialize)]
pub(super) struct Gate {
    // Required even if it is null: a misspelt name must not pass for a device without a version.
    #[serde(deserialize_with = "text_or_null")]
    pub(super) current: Option<String>,
    pub(super) base_image: String,
    #[serde(default)]
    pub(super) requirement: Option<String>,
    #[serde(default)]
    pub(super) force_downgrade: bool,
    #[serde(default)]
    pub(super) enforce_version_requirement: bool,
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

impl Question for Gate {
    const FIELDS: &'static str = "`current`, a text or null, `base_image`, a text, and if wanted `requirement`, a text or null, `force_downgrade` and `enforce_version_requirement`, true or false";

    fn answer(&self) -> Result<Answer, String> {
        let image =
            parse_version(&self.base_image).map_err(|error| format!("the base image: {error}"))?;
        let requirement = self.requirement.as_deref().map(str::parse::<VersionRequirement>);
        let requirement = requirement.transpose().map_err(|error| error.to_string())?;
        let policy = GatePolicy {
            force_downgrade: self.force_downgrade,
            enforce_version_requirement: self.enforce_version_requirement,
        };
        let current = self.current.as_deref();
        let decision = evaluate_gates(current, &image, requirement.as_ref(), policy);
        let (name, why) = match &decision {
            GateDecision::AlreadyUpToDate => {
                ("already_up_to_date", format!("the device runs {image}, nothing is to be done"))
            }
            GateDecision::Start => ("start_operation", format!("the update to {image} starts")),
            GateDecision::Refused(refusal) => (refusal.reason(), refusal.to_string()),
        };
        Ok(Answer {
            fields: Fields::Decision { decision: name },
            words: format!("{name}: {why}"),
            is_yes: !matches!(decision, GateDecision::Refused(_)),
        })
    }
}
