//! The commands that answer without a log or a campaign.

pub(crate) mod version;
