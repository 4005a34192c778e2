//! Events per second when a campaign is folded from its log in memory: from decoded events, and
//! from the bytes that a store keeps.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use hedgerow_benches::{NOW, Script};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{NewEvent, StoredEvent};
use uuid::Uuid;

const TARGETS: [u32; 2] = [10_000, 100_000];

fn main() {
    divan::main();
}

#[divan::bench(args = TARGETS, sample_count = 20, sample_size = 1)]
fn fold_events(bencher: Bencher<'_, '_>, targets: u32) {
    let script = Script::new(targets);
    bencher.counter(ItemsCount::new(script.events.len())).bench_local(|| {
        let mut campaign = script.begin();
        for event in &script.events {
            campaign.apply(black_box(event), NOW).expect("it follows");
        }
        campaign
    });
}

#[divan::bench(args = TARGETS, sample_count = 20, sample_size = 1)]
fn decode_and_fold_stored_events(bencher: Bencher<'_, '_>, targets: u32) {
    let script = Script::new(targets);
    let stored = stored(&script);
    bencher.counter(ItemsCount::new(stored.len())).bench_local(|| {
        let mut campaign = script.begin();
        for stored in &stored {
            let event = CampaignEvent::from_stored(black_box(stored)).expect("it decodes");
            campaign.apply(&event, stored.event.recorded_at).expect("it follows");
        }
        campaign
    });
}

fn stored(script: &Script) -> Vec<StoredEvent> {
    let campaign = script.begin();
    (2..)
        .zip(&script.events)
        .map(|(version, event)| StoredEvent {
            tenant: campaign.tenant().clone(),
            stream: campaign.stream(),
            version,
            position: version,
            event: NewEvent {
                event_type: event.event_type().to_owned(),
                schema_version: event.schema_version(),
                recorded_at: NOW,
                correlation_id: Uuid::nil(),
                causation_id: Uuid::nil(),
                data: event.to_json(),
            },
        })
        .collect()
}
