//! How many cases each law is tried on.

use proptest::prelude::ProptestConfig;

/// 10,000 cases, or as many as `HEDGEROW_CASES` or `PROPTEST_CASES` says.
pub(crate) fn cases() -> ProptestConfig {
    let wanted = ["HEDGEROW_CASES", "PROPTEST_CASES"].into_iter().find_map(|name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number of cases")))
    });
    ProptestConfig { cases: wanted.unwrap_or(10_000), ..ProptestConfig::default() }
}
