//! Scenarios: files that say what happens to a fleet and what must be seen, the observations that
//! a run of one gives, and the judge that compares the two.

pub mod format;
pub mod judge;
pub mod observation;
pub mod runner;
