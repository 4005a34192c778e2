//! What is done when a task is lost: it panicked, or whoever runs tasks dropped it. Who waits for what
//! it does would wait for ever.

/// Does something when it is dropped, unless the task came to its end.
pub(crate) struct OnLoss<F: FnOnce()> {
    lost: Option<F>,
}

impl<F: FnOnce()> OnLoss<F> {
    pub(crate) fn new(lost: F) -> Self {
        Self { lost: Some(lost) }
    }

    /// The task came to its end.
    pub(crate) fn ended(mut self) {
        self.lost = None;
    }
}

impl<F: FnOnce()> Drop for OnLoss<F> {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            lost();
        }
    }
}
