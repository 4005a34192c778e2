//! What can happen in the model.

use crate::network::{Answer, Call, Course, Message};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// A recorded call leaves.
    Perform(Call, Course),
    /// The transport's answer comes back.
    Answer(Answer),
    /// A message arrives.
    Deliver(Message),
    /// A message arrives, and will arrive again.
    DeliverTwice(Message),
    Lose(Message),
    /// The device has written the image and restarts.
    Restart(usize),
    /// The device is back with the new image.
    ComeBack(usize),
    /// The device is back with the old image.
    RollBack(usize),
    /// The device cannot write the image.
    Break(usize),
    LosePower(usize),
    Connect(usize),
    /// Nothing else is under way: the campaign's next deadline comes.
    Tick,
    /// The campaign's next deadline comes before what is under way.
    Overtake,
    /// The engine dies and is started again: what had not left is lost, the log is not.
    Crash,
    Pause,
    Resume,
    Cancel {
        stop: bool,
    },
}

impl Act {
    /// Whether it is one of those that the bounds count as faults.
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::Perform(_, course) => course != Course::Well,
            Self::DeliverTwice(_)
            | Self::Lose(_)
            | Self::RollBack(_)
            | Self::Break(_)
            | Self::LosePower(_)
            | Self::Overtake
            | Self::Crash => true,
            _ => false,
        }
    }
}
