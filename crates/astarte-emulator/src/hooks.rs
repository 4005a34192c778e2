//! All the ways to let something go wrong, and how often each was used: so that a test can say that
//! it used every one of them, and notices when there is a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::{EventFault, RequestFault};

macro_rules! hooks {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// A way to let something go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Hook {
            $($(#[doc = $what])+ $name,)+
        }

        impl Hook {
            /// Every hook that there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

hooks! {
    /// An event was never sent: [`EventFault::Drop`].
    DropEvent,
    /// An event was sent late: [`EventFault::Delay`].
    DelayEvent,
    /// An event was sent more than once: [`EventFault::Duplicate`].
    DuplicateEvent,
    /// An event was overtaken: [`EventFault::Reorder`].
    ReorderEvent,
    /// A request was answered with an error: [`RequestFault::Status`].
    FailRequest,
    /// A request was performed late: [`RequestFault::Delay`].
    DelayRequest,
    /// A request was performed, but not answered: [`RequestFault::LoseAnswer`].
    LoseAnswer,
    /// A request was answered well, but the message to the device was lost:
    /// [`RequestFault::LoseMessage`].
    LoseMessage,
    /// A device was disconnected: [`Emulator::disconnect`](crate::Emulator::disconnect).
    Disconnect,
    /// A session was forgotten: [`Emulator::lose_session`](crate::Emulator::lose_session).
    LoseSession,
    /// The broker went down: [`Emulator::set_broker_down`](crate::Emulator::set_broker_down).
    BrokerDown,
    /// A device's clock was set wrong:
    /// [`Emulator::set_device_clock_offset`](crate::Emulator::set_device_clock_offset).
    DeviceClock,
    /// Astarte's own clock was set wrong:
    /// [`Emulator::set_clock_offset`](crate::Emulator::set_clock_offset).
    Clock,
}

impl From<EventFault> for Hook {
    fn from(fault: EventFault) -> Self {
        match fault {
            EventFault::Drop => Self::DropEvent,
            EventFault::Delay { .. } => Self::DelayEvent,
            EventFault::Duplicate { .. } => Self::DuplicateEvent,
            EventFault::Reorder { .. } => Self::ReorderEvent,
        }
    }
}

impl From<RequestFault> for Hook {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::Status { .. } => Self::FailRequest,
            RequestFault::Delay { .. } => Self::DelayRequest,
            RequestFault::LoseAnswer => Self::LoseAnswer,
            RequestFault::LoseMessage => Self::LoseMessage,
        }
    }
}

/// Counts the uses of each hook.
#[derive(Debug, Default)]
pub(crate) struct HookCounters([AtomicU64; Hook::ALL.len()]);

impl HookCounters {
    pub(crate) fn used(&self, hook: impl Into<Hook>) {
        self.0[hook.into() as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uses(&self, hook: Hook) -> u64 {
        self.0[hook as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_is_counted_by_itself() {
        let counters = HookCounters::default();
        for (times, hook) in Hook::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.used(*hook));
        }
        for (times, hook) in Hook::ALL.iter().enumerate() {
            assert_eq!(counters.uses(*hook), times as u64, "{hook:?}");
        }
    }
}
