//! Runs the test of real processes (`crates/cli/tests/real_processes.rs`) for more rounds than every
//! build does, and counts what it tried.

use std::collections::BTreeMap;
use std::path::Path;

use crate::external::{External, ExternalError};

/// Rounds of each of its tests.
pub(crate) const ROUNDS: &str = "20";

/// What was tried how often, in the words of the test.
pub(crate) fn tried(root: &Path) -> Result<BTreeMap<String, u64>, ExternalError> {
    let test = External::cargo(["test", "--package", "hedgerow", "--test", "real_processes"])
        .arguments(["--", "--nocapture"])
        .environment("HEDGEROW_ROUNDS", ROUNDS)
        .directory(root);
    Ok(sum(&test.read()?))
}

/// Adds up lines such as `tried: 6 kills; 7 audits;`, one of each test.
fn sum(text: &str) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (_, line) in text.lines().filter_map(|line| line.split_once("tried: ")) {
        for item in line.split(';') {
            if let Some((count, what)) = item.trim().split_once(' ')
                && let Ok(count) = count.parse::<u64>()
            {
                *sum.entry(what.to_owned()).or_default() += count;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_test_tried_is_added_up() {
        let printed = "running 2 tests\n\
            test a ... tried: 6 kills; 7 audits;\n\
            tried: 4 audits; 2 read-only files;\n\
            test result: ok. 2 passed\n";
        let of = |what: &str| sum(printed).get(what).copied();
        assert_eq!(of("kills"), Some(6));
        assert_eq!(of("audits"), Some(11));
        assert_eq!(of("read-only files"), Some(2));
        assert_eq!(sum(printed).len(), 3);
    }
}
