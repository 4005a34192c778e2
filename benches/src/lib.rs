//! What the benchmarks share.
//!
//! | Where | What |
//! |---|---|
//! | `script` | the campaign that is measured, from its first input to its last |
//! | `by_hand` | the loop that the state machine is measured against |
//! | `ready` | a part of that loop: whose turn it is |
//! | `bare` | the same rows in a file of bare `rusqlite` |
//! | `log` | the campaign's events in a store |
//! | `campaigns` | the events of many campaigns in a store |
//! | `no_fleet` | a fleet that is offline |
//! | `measure` | taking turns, medians, rates |

pub mod bare;
mod by_hand;
pub mod campaigns;
pub mod log;
pub mod measure;
mod no_fleet;
mod ready;
mod script;

pub use by_hand::ByHand;
pub use no_fleet::NoFleet;
pub use script::{MAX_PENDING, NOW, Script, campaign_id, definition, device};
