//! The domain and the campaign state machine of Hedgerow.

mod envelope;
mod id;
mod time;

pub use envelope::{NewEvent, StoredEvent, StreamId, StreamIdError};
pub use id::{CampaignId, DeviceId, IdError, OperationId, TenantId};
pub use semver::Version;
pub use time::Timestamp;
