//! Inputs per second through a campaign that runs to completion, beside the same work by hand.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use hedgerow_benches::{ByHand, NOW, Script, campaign_id};
use hedgerow_core::Version;
use hedgerow_core::event::CampaignEvent;

const TARGETS: [u32; 2] = [10_000, 100_000];

fn main() {
    let script = Script::new(2_500);
    assert_eq!(by_hand(&script), script.events, "the loop by hand does the same work");
    divan::main();
}

#[divan::bench(args = TARGETS, sample_count = 20, sample_size = 1)]
fn live_campaign(bencher: Bencher<'_, '_>, targets: u32) {
    let script = Script::new(targets);
    bencher
        .counter(ItemsCount::new(script.inputs.len()))
        .with_inputs(|| (script.live(), script.inputs.clone(), Vec::new(), Vec::new()))
        .bench_local_values(|(mut live, inputs, mut events, mut effects)| {
            for input in inputs {
                if let Ok(decision) = live.handle(black_box(input), NOW) {
                    events.extend(decision.events);
                    effects.extend(decision.effects);
                }
            }
            (live, events, effects)
        });
}

#[divan::bench(args = TARGETS, sample_count = 20, sample_size = 1)]
fn vectors_by_hand(bencher: Bencher<'_, '_>, targets: u32) {
    let script = Script::new(targets);
    bencher
        .counter(ItemsCount::new(script.inputs.len()))
        .with_inputs(|| (empty(&script), script.inputs.clone(), Vec::new(), Vec::new()))
        .bench_local_values(|(mut by_hand, inputs, mut events, mut effects)| {
            for input in inputs {
                by_hand.handle(black_box(input), &mut events, &mut effects);
            }
            (by_hand, events, effects)
        });
}

fn by_hand(script: &Script) -> Vec<CampaignEvent> {
    let (mut by_hand, mut events, mut effects) = (empty(script), Vec::new(), Vec::new());
    for input in script.inputs.clone() {
        by_hand.handle(input, &mut events, &mut effects);
    }
    events
}

fn empty(script: &Script) -> ByHand {
    let url = script.begin().definition().base_image.url.clone();
    ByHand::new(campaign_id(), Version::new(2, 0, 0), url)
}
