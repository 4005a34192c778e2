//! Which Astarte it is, since older ones lack some of what is wanted.

use std::fmt;

/// A version of Astarte, without what stands behind its three numbers: a release candidate has what
/// its release has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Release(pub(super) u32, pub(super) u32, pub(super) u32);

/// The first with trigger delivery policies.
pub(super) const WITH_POLICIES: Release = Release(1, 1, 1);
/// The first with triggers about registered and deleted devices.
pub(super) const WITH_REGISTRATION: Release = Release(1, 3, 0);

impl Release {
    /// Reads what `GET /version` tells; `None` for what is no version.
    pub(super) fn read(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = numbers.next().unwrap_or(Some(0))?;
        numbers.next().is_none().then_some(Self(major, minor, patch))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_in_the_order_of_their_numbers_and_a_candidate_counts_as_its_release() {
        let read = |text| Release::read(text).expect("a version");
        assert!(read("1.10.0") > read("1.3.0"));
        assert!(read("1.3.0-rc.0") >= WITH_REGISTRATION);
        assert!(read("1.2.9") < WITH_REGISTRATION && read("1.2") < WITH_REGISTRATION);
        assert!(read("1.1.0") < WITH_POLICIES && read("1.1.1") >= WITH_POLICIES);
        for text in ["", "1", "master", "1.x.0", "1.2.3.4", "-1.0.0", "1.2.99999999999"] {
            assert_eq!(Release::read(text), None, "{text}");
        }
    }
}
