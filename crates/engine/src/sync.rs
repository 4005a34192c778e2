//! The locks of what tasks share. With the feature `schedules` they are those of a schedule explorer,
//! which may run another thread whenever one is taken or was given back.

#[cfg(not(feature = "schedules"))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(feature = "schedules")]
pub(crate) use explored::{Mutex, MutexGuard};

#[cfg(feature = "schedules")]
mod explored {
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError};

    /// A lock of the explorer, which by itself lets nobody go first after it was given back.
    pub(crate) struct Mutex<T> {
        kept: shuttle::sync::Mutex<T>,
        given_back: shuttle::sync::Mutex<()>,
    }

    pub(crate) struct MutexGuard<'a, T> {
        kept: Option<shuttle::sync::MutexGuard<'a, T>>,
        given_back: &'a shuttle::sync::Mutex<()>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            let given_back = shuttle::sync::Mutex::new(());
            Self { kept: shuttle::sync::Mutex::new(value), given_back }
        }

        #[expect(clippy::unnecessary_wraps, reason = "as the lock of the standard library has it")]
        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(MutexGuard { kept: Some(kept), given_back: &self.given_back })
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.kept = None;
            if !std::thread::panicking() {
                drop(self.given_back.lock());
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.kept.as_deref().unwrap_or_else(|| unreachable!("kept until it is dropped"))
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.kept.as_deref_mut().unwrap_or_else(|| unreachable!("kept until it is dropped"))
        }
    }
}
