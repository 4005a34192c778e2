//! Which version of Astarte the emulator plays, and what that one has.

use crate::event::EventKind;

/// The version that is played unless another one is asked for.
const NEWEST: &str = "1.3.0";

#[derive(Debug, Clone)]
pub(crate) struct Version {
    text: String,
    numbers: (u32, u32, u32),
}

impl Default for Version {
    fn default() -> Self {
        Self { text: NEWEST.to_owned(), numbers: (1, 3, 0) }
    }
}

impl Version {
    /// `None`: it has not three numbers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').next()?.split('.').map(|number| number.parse().ok());
        let numbers = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Self { text: text.to_owned(), numbers })
    }

    /// As it is told.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Trigger delivery policies.
    pub(crate) fn has_policies(&self) -> bool {
        self.numbers >= (1, 1, 1)
    }

    /// Triggers on that event.
    pub(crate) fn has_triggers_on(&self, event: EventKind) -> bool {
        let is_new = matches!(
            event,
            EventKind::DeviceRegistered
                | EventKind::DeviceDeletionStarted
                | EventKind::DeviceDeletionFinished
        );
        !is_new || self.numbers >= (1, 3, 0)
    }
}
