//! How many calls are under way. An engine makes only so many at once for each campaign; while there
//! may be more, it cannot be told from outside what waits behind them.

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Calls {
    most: usize,
    under_way: usize,
    /// The latest step in which more may have waited.
    full_in: Option<u64>,
}

impl Calls {
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn begins(&mut self, step: u64) {
        self.under_way += 1;
        self.look(step);
    }

    pub(super) fn ends(&mut self, step: u64) {
        self.look(step);
        self.under_way -= 1;
    }

    fn look(&mut self, step: u64) {
        if self.are_full() {
            self.full_in = Some(step);
        }
    }

    /// Whether another call may have to wait.
    pub(super) fn are_full(&self) -> bool {
        self.under_way >= self.most
    }

    /// Whether a call of this step may have waited before.
    pub(super) fn were_full_in(&self, step: u64) -> bool {
        self.full_in == Some(step)
    }
}
