//! The domain and the campaign state machine of Hedgerow.

mod id;
mod time;

pub use id::{CampaignId, DeviceId, IdError, OperationId, TenantId};
pub use semver::Version;
pub use time::Timestamp;
