//! The numbers by which an answer is told from the answer to another question (E11).

/// The number of something that was asked of the world: every effect carries one, and its answer
/// hands it back. Within the life of a stream's task none is used twice, also when the stream is
/// loaded again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question(u64);

impl Question {
    /// The question of that number: for tests and tools that tell a campaign what nobody asked.
    #[must_use]
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Hands out numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    latest: Question,
}

impl Questions {
    /// Goes on after a number that was used.
    pub(crate) fn after(latest: Question) -> Self {
        Self { latest }
    }

    /// A number that was not used before.
    pub(crate) fn ask(&mut self) -> Question {
        self.latest = Question(self.latest.0 + 1);
        self.latest
    }

    /// The number that was used last.
    pub(crate) fn latest(&self) -> Question {
        self.latest
    }
}
