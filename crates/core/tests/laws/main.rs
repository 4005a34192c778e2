//! Laws that hold whatever happens to a campaign: random fleets, rollouts, answers, reports, crashes
//! and commands, one property for each rule.
//!
//! | Module | Rules |
//! |---|---|
//! | `replay` | E1, E2, E3, and that in calm a campaign comes to its end |
//! | `rollout` | D1, D3, D4, D7 |
//! | `admission` | P2 |
//! | `gates` | D5, D6 |
//! | `requests` | D8, D9, D10, E4 |
//! | `reports` | D11, D12 |
//! | `devices` | D14, D15 |
//! | `limits` | D13, D19 |
//! | `steering` | D16, D17, D18 |
//! | `stored` | E6, state snapshots |
//! | `consent` | P15 |
//! | `urls` | D23 |
//! | `manual` | D20, and of the others what concerns manual OTA updates |
//! | `differential` | all of them: the campaign beside the `reference`, after every input |
//!
//! `HEDGEROW_CASES=100000 cargo test -p hedgerow-core --test laws` tries more.

mod admission;
mod consent;
mod devices;
mod differential;
mod gates;
mod limits;
mod manual;
mod questions;
mod reference;
mod replay;
mod reports;
mod requests;
mod rollout;
mod steering;
mod stored;
mod story;
mod support;
mod urls;
mod world;
