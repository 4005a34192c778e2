//! How a campaign is named on the command line: by its id, or by the beginning of it that
//! `hedgerow log` prints.

use std::fmt;
use std::str::FromStr;

use hedgerow_core::CampaignId;

/// With fewer characters too many campaigns would be meant by chance.
const SHORTEST: usize = 4;

/// A campaign as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CampaignName {
    /// Its id.
    Whole(CampaignId),
    /// How its id begins.
    Beginning(String),
}

/// A text that names no campaign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no campaign: give its id, such as 5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa, or how it begins, such as 5f0c7a0e, of {SHORTEST} characters or more"
)]
pub(super) struct CampaignNameError(String);

impl CampaignName {
    /// Whether this campaign may be meant.
    pub(super) fn fits(&self, campaign: CampaignId) -> bool {
        match self {
            Self::Whole(id) => campaign == *id,
            Self::Beginning(text) => campaign.to_string().starts_with(text.as_str()),
        }
    }
}

impl FromStr for CampaignName {
    type Err = CampaignNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.strip_prefix("campaign/").unwrap_or(text);
        if let Ok(id) = id.parse() {
            return Ok(Self::Whole(id));
        }
        let is_beginning = id.len() >= SHORTEST
            && id.len() < 36
            && id.chars().enumerate().all(|(place, c)| match place {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            });
        if !is_beginning {
            return Err(CampaignNameError(text.chars().take(64).collect()));
        }
        Ok(Self::Beginning(id.to_ascii_lowercase()))
    }
}

impl fmt::Display for CampaignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(id) => id.fmt(f),
            Self::Beginning(text) => write!(f, "{text}…"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";

    #[test]
    fn a_campaign_is_named_by_its_id_or_by_how_that_begins() {
        let campaign: CampaignId = ID.parse().unwrap();
        for text in [ID, "campaign/5f0c7a0e", "5f0c7a0e", "5F0C", "5f0c7a0e-", "5f0c7a0e-3d0b-5"] {
            let name: CampaignName = text.parse().unwrap();
            assert!(name.fits(campaign), "{text}");
        }
        for text in ["5f0d", "5f0c7a0e-3d0c"] {
            assert!(!text.parse::<CampaignName>().unwrap().fits(campaign), "{text}");
        }
    }

    #[test]
    fn what_is_no_beginning_of_an_id_is_refused_with_what_to_give() {
        for text in
            ["", "5f0", "campaign/", "garden", "5f0c7a0e3d0b", "5f0c-7a0e", "-5f0c", "é5f0c"]
        {
            let error = text.parse::<CampaignName>().unwrap_err().to_string();
            assert!(error.contains("such as 5f0c7a0e"), "{text}: {error}");
        }
    }
}
