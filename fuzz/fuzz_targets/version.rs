//! Texts as versions and as version requirements, one on each of two lines.

#![no_main]

use std::cmp::Ordering;

use hedgerow_core::{PreReleases, VersionRequirement, parse_version, precedence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\n').unwrap_or((text, "1.0.0"));
    let versions = [first, second].map(|text| parse_version(text).ok());
    for (version, text) in versions.iter().zip([first, second]) {
        let Some(version) = version else { continue };
        assert_eq!(version.to_string(), text, "a version is shown as it was read");
        assert_eq!(precedence(version, version), Ordering::Equal);
    }
    if let [Some(a), Some(b)] = &versions {
        assert_eq!(precedence(a, b), precedence(b, a).reverse(), "the order is antisymmetric");
    }
    for text in [first, second] {
        let Ok(requirement) = text.parse::<VersionRequirement>() else { continue };
        let shown = requirement.to_string();
        assert_eq!(shown.parse().as_ref(), Ok(&requirement), "what is shown reads back equal");
        for version in versions.iter().flatten() {
            let named = requirement.matches(version, PreReleases::OnlyIfNamed);
            let allowed = requirement.matches(version, PreReleases::Allow);
            assert!(allowed || !named, "allowing pre-releases never takes a match away");
        }
    }
});
