//! A device of the model: as little of one as the rules speak of.

use hedgerow_core::OperationId;

use crate::network::{Body, Report};

/// What a device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doing {
    /// Nothing. It forgot every operation that it had.
    Nothing,
    /// It has taken a request.
    Updating(OperationId),
    /// It restarts and is not online.
    Rebooting(OperationId),
}

/// A device: what it is at, what it shows, whether it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    pub(crate) doing: Doing,
    pub(crate) online: bool,
    /// Whether it shows the campaign's version now.
    pub(crate) updated: bool,
    /// Whether it ever did.
    pub(crate) was_updated: bool,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { doing: Doing::Nothing, online: true, updated: false, was_updated: false }
    }

    pub(crate) fn version(&self) -> &'static str {
        if self.updated { "2.0.0" } else { "1.0.0" }
    }

    /// Takes a message of the engine; returns what it says to it. Like a real device it performs an
    /// operation again that it has forgotten, and answers a request that it is at work on with a
    /// failure of that very operation (D11).
    pub(crate) fn receive(&mut self, operation: OperationId, body: Body) -> Option<Report> {
        match (body, self.doing) {
            (Body::Update, Doing::Nothing) => {
                self.doing = Doing::Updating(operation);
                Some(Report::Acknowledged)
            }
            (Body::Update, _) => Some(Report::Busy),
            (Body::Cancel, Doing::Updating(own)) if own == operation => {
                self.doing = Doing::Nothing;
                Some(Report::Canceled)
            }
            _ => None,
        }
    }

    /// It shows the campaign's version from now on.
    pub(crate) fn update(&mut self) {
        self.updated = true;
        self.was_updated = true;
    }
}
