//! Triggers in: what Astarte tells over HTTP becomes what the engine is told.
//!
//! `event` and `report` read a delivery, `receiver` decides what becomes of it, `router` puts the
//! receiver behind an HTTP endpoint.

mod answer;
mod event;
mod limit;
mod receiver;
mod report;
mod router;

pub use answer::{TriggerAnswer, TriggerCounts};
pub use event::{Happening, TriggerError, TriggerEvent};
pub use receiver::{TriggerListener, TriggerReceiver, TriggerSettings};
pub use report::ReportError;
pub(crate) use report::read_event;
