//! Inputs per second through a campaign that runs to completion on one core: `LiveCampaign::handle`
//! (decide and apply) beside `ByHand`, a loop over plain vectors that does the same work, at
//! several sizes and shares of devices that are online at once.
//!
//! The two take turns, and processor time is what is counted. Making the inputs is not counted;
//! taking what was decided and throwing it away is, on both sides.

use std::hint::black_box;
use std::time::Duration;

use hedgerow_benches::measure::{in_turns, rate, thousands, worked};
use hedgerow_benches::{ByHand, MAX_PENDING, NOW, Script, campaign_id};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{Effect, Version};

/// Inputs that lie ready at once; what they led to is thrown away after them.
const BATCH: usize = 256;

fn main() {
    check();
    println!("| Targets | Online | `LiveCampaign` | Inputs/s | By hand | Inputs/s | Ratio |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for targets in [1_000, 10_000, 100_000, 1_000_000_u32] {
        for (share, online) in
            [("0.1 %", targets / 1_000), ("10 %", targets / 10), ("100 %", targets)]
        {
            measure(targets, share, online);
        }
    }
}

fn measure(targets: u32, share: &str, online: u32) {
    let script = Script::new(targets, online, MAX_PENDING);
    let inputs = script.inputs();
    // About a second for each side, and at least three turns.
    let rounds = (1_000_000 / targets as usize).clamp(5, 301) | 1;
    let sides: [&mut dyn FnMut() -> Duration; 2] =
        [&mut || live_campaign(&script).0, &mut || by_hand(&script).0];
    let [live, bare] = in_turns(rounds, sides);
    println!(
        "| {} | {share} | {:.0} ns | {:.2} M | {:.0} ns | {:.2} M | {:.2} |",
        thousands(targets as usize),
        1e9 / rate(inputs, live),
        rate(inputs, live) / 1e6,
        1e9 / rate(inputs, bare),
        rate(inputs, bare) / 1e6,
        live.as_secs_f64() / bare.as_secs_f64(),
    );
}

/// The time that the whole campaign takes, and how many events and effects came of it.
fn live_campaign(script: &Script) -> (Duration, usize, usize) {
    let mut live = script.live();
    let (mut time, mut all_events, mut all_effects) = (Duration::ZERO, 0, 0);
    let (mut events, mut effects) = (Vec::new(), Vec::new());
    for inputs in script.batches(BATCH) {
        time += worked(|| {
            for input in inputs {
                let decision = live.handle(black_box(input), NOW).expect("nothing is refused");
                events.extend(decision.events);
                effects.extend(decision.effects);
            }
            throw_away(&mut events, &mut effects, &mut all_events, &mut all_effects);
        })
        .0;
    }
    assert!(live.campaign().is_settled());
    (time, all_events, all_effects)
}

fn by_hand(script: &Script) -> (Duration, usize, usize) {
    let mut by_hand = empty();
    let (mut time, mut all_events, mut all_effects) = (Duration::ZERO, 0, 0);
    let (mut events, mut effects) = (Vec::new(), Vec::new());
    for inputs in script.batches(BATCH) {
        time += worked(|| {
            for input in inputs {
                by_hand.handle(black_box(input), &mut events, &mut effects);
            }
            throw_away(&mut events, &mut effects, &mut all_events, &mut all_effects);
        })
        .0;
    }
    (time, all_events, all_effects)
}

fn throw_away(
    events: &mut Vec<CampaignEvent>,
    effects: &mut Vec<Effect>,
    all_events: &mut usize,
    all_effects: &mut usize,
) {
    *all_events += black_box(&*events).len();
    *all_effects += black_box(&*effects).len();
    events.clear();
    effects.clear();
}

/// Both sides must do the same work, event by event, or the ratio says nothing.
fn check() {
    for online in [3, 250, 2_500] {
        let script = Script::new(2_500, online, MAX_PENDING);
        let (mut by_hand, mut live) = (empty(), script.live());
        for input in script.batches(1).flatten() {
            let (mut events, mut effects) = (Vec::new(), Vec::new());
            by_hand.handle(input.clone(), &mut events, &mut effects);
            let decision = live.handle(input, NOW).expect("nothing is refused");
            assert_eq!(events, decision.events, "the loop by hand records the same");
            assert_eq!(effects, decision.effects, "the loop by hand asks for the same");
        }
    }
}

fn empty() -> ByHand {
    let url = "https://images.example/2.0.0.bin".parse().expect("a URL");
    ByHand::new(campaign_id(), Version::new(2, 0, 0), url)
}
