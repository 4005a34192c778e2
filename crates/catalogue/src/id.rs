//! The ids of what people enter: numbers from 1, one sequence for each kind and tenant. They are
//! given when a thing is recorded, and never again when it is removed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An id that counts.
pub(crate) trait Number: Copy + Ord + fmt::Debug {
    fn of(number: u32) -> Self;
}

macro_rules! ids {
    ($( $(#[$meta:meta])* $name:ident; )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u32);

        impl $name {
            /// The id with this number.
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> u32 {
                self.0
            }
        }

        impl Number for $name {
            fn of(number: u32) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )* };
}

ids! {
    /// A hardware type.
    HardwareTypeId;
    /// A system model.
    SystemModelId;
    /// A base image collection.
    BaseImageCollectionId;
    /// A base image.
    BaseImageId;
    /// A channel.
    ChannelId;
    /// A group.
    GroupId;
}
