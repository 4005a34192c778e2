//! The paths that a campaign of a million targets goes a million times. What a function is given
//! was made before it is counted, and what it returns is dropped after: a function that only reads
//! something returns it too.

#![expect(missing_docs, reason = "gungraun's macros make items that nobody sees")]

use std::hint::black_box;

use futures::executor::block_on;
use gungraun::prelude::*;
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    Campaign, Input, LiveCampaign, NewEvent, PreReleases, StoredEvent, Timestamp, Version,
    VersionRequirement, parse_version,
};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{Activity, AppendError, EventStore, StreamAppend};
use hedgerow_instructions::{Script, encode};

const TARGETS: usize = 1_000;
/// Makes glibc take the same way whatever happened before, and on whichever processor. Its
/// allocator keeps freed blocks of each size in a list of their own, never to be merged or searched
/// for, and maps large ones; its `memcpy` is the one for all processors.
const GLIBC: &str = "glibc.malloc.tcache_count=65535:glibc.malloc.mmap_threshold=131072:\
     glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-ERMS";
/// As many as the engine may append at once when it is busy.
const EVENTS_AT_ONCE: usize = 100;

fn script() -> Script {
    Script::new(TARGETS)
}

fn inputs() -> (LiveCampaign, Vec<(Input, Timestamp)>) {
    let script = script();
    (script.live(), script.inputs)
}

/// The state before the first of these events, and the events.
type Events = (Campaign, Vec<(CampaignEvent, Timestamp)>);

fn events() -> Events {
    let script = script();
    (script.begin(), script.events)
}

fn stored() -> Vec<StoredEvent> {
    script().stored()
}

#[library_benchmark]
#[bench::campaign(inputs())]
fn handle((mut live, inputs): (LiveCampaign, Vec<(Input, Timestamp)>)) -> LiveCampaign {
    for (input, now) in inputs {
        black_box(live.handle(input, now).expect("nothing is refused"));
    }
    live
}

#[library_benchmark]
#[bench::campaign(events())]
fn fold((mut campaign, events): Events) -> Events {
    for (event, at) in &events {
        campaign.apply(black_box(event), *at).expect("it follows");
    }
    (campaign, events)
}

#[library_benchmark]
#[bench::campaign(events())]
fn encode_events(events: Events) -> (Vec<NewEvent>, Events) {
    (events.1.iter().map(|(event, at)| encode(black_box(event), *at)).collect(), events)
}

#[library_benchmark]
#[bench::campaign(stored())]
fn decode_events(stored: Vec<StoredEvent>) -> (Vec<CampaignEvent>, Vec<StoredEvent>) {
    let decode = |stored| CampaignEvent::from_stored(black_box(stored)).expect("it decodes");
    (stored.iter().map(decode).collect(), stored)
}

fn requirements() -> (Vec<&'static str>, Vec<Version>) {
    let versions = ["0.9.0", "1.2.3", "1.2.3-rc.1", "1.10.0+build.7", "2.0.0", "10.20.30"];
    let requirements = [">= 1.2.0", "~> 1.2", "~> 1.2.3", ">= 1.0.0 and < 2.0.0", "!= 1.2.3"];
    let versions = versions.iter().map(|text| parse_version(text).expect("a version")).collect();
    (requirements.to_vec(), versions)
}

#[library_benchmark]
#[bench::of_every_kind(requirements())]
fn match_requirements((requirements, versions): (Vec<&'static str>, Vec<Version>)) -> usize {
    let mut matches = 0;
    for text in requirements {
        let requirement: VersionRequirement = black_box(text).parse().expect("a requirement");
        for version in &versions {
            matches += usize::from(requirement.matches(black_box(version), PreReleases::Allow));
        }
    }
    matches
}

fn appends() -> (MemoryStore, Vec<StreamAppend>) {
    let events = stored();
    let append = |events: &[StoredEvent]| {
        let first = &events[0];
        StreamAppend {
            tenant: first.tenant.clone(),
            stream: first.stream,
            // The first event of the campaign is none of these.
            expected_version: first.version - 2,
            events: events.iter().map(|stored| stored.event.clone()).collect(),
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
            operations: Vec::new(),
            activity: Activity::Active,
        }
    };
    (MemoryStore::new(), events.chunks(EVENTS_AT_ONCE).map(append).collect())
}

#[library_benchmark]
#[bench::in_batches(appends())]
fn append((store, appends): (MemoryStore, Vec<StreamAppend>)) -> Result<MemoryStore, AppendError> {
    for append in appends {
        block_on(store.append(vec![black_box(append)]))?;
    }
    Ok(store)
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [handle, fold, encode_events, decode_events, match_requirements, append]
);

main!(
    config = LibraryBenchmarkConfig::default().env("GLIBC_TUNABLES", GLIBC);
    library_benchmark_groups = hot_paths
);
