//! Any sequence of inputs to a campaign of a few devices: wanted answers, and things told out of
//! turn that no sound engine would say. Nothing panics, the counts add up, the limit of pending
//! operations holds (D7), and the recorded events fold to the live state (E1).

#![no_main]

use hedgerow_fuzz::campaign_world::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: Plan| plan.run());
