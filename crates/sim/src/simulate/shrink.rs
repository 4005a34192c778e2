//! The smallest prefix of a failing run's faults that still fails.

use super::{Report, Setup, SimulateError, Storage, Violation, simulate};

/// How many runs are spent on the last steps, one fault fewer each.
const LAST_STEPS: u64 = 64;

/// Finds the smallest number of faults after which the run still breaks the same invariant, first
/// by halving, then by going down as long as that works; the report of that run has its timeline.
///
/// # Errors
/// [`SimulateError`] if a run could not be made.
pub fn smallest_prefix(
    setup: &Setup,
    failed: &Report,
    violation: &Violation,
    storage: &mut dyn Storage,
) -> Result<(u64, Report), SimulateError> {
    let mut fails = |faults: u64, timeline: bool| -> Result<Option<Report>, SimulateError> {
        let setup = Setup { stop_faults_after: Some(faults), timeline, ..setup.clone() };
        let report = simulate(&setup, storage)?;
        let same = report.violation.as_ref().is_some_and(|v| v.invariant == violation.invariant);
        Ok(same.then_some(report))
    };
    // With all faults up to the violation it fails for certain.
    let (mut low, mut high) = (0, failed.faults);
    while low < high {
        let middle = low + (high - low) / 2;
        if fails(middle, false)?.is_some() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // Fewer faults need not fail less: the world goes another way without them.
    let lowest = high.saturating_sub(LAST_STEPS);
    for faults in (lowest..high).rev() {
        if fails(faults, false)?.is_some() {
            high = faults;
        }
    }
    let report = match fails(high, true)? {
        Some(report) => report,
        None => simulate(&Setup { timeline: true, ..setup.clone() }, storage)?,
    };
    Ok((high, report))
}
