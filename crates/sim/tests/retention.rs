//! Archives over logs of whole simulated fleets under faults: what was archived, pruned and imported
//! again is what it was, an audit finds nothing to say, and rows that followed all of it are those
//! that are made from zero.

mod logs;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use hedgerow_core::{StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::archive::{
    ArchiveIndex, ArchiveSelection, Imported, Pruned, Run, archive, import, prune,
};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{Activity, EventStore};
use hedgerow_engine::view::{Follower, MemoryViews};
use hedgerow_sim::random::Random;
use hedgerow_sim::runtime::wait;
use hedgerow_sim::simulate::audit;
use logs::{InBits, log_of, rows};
use uuid::Uuid;

fn run() -> Run {
    Run { at: Timestamp::from_millis(4_000_000_000_000), id: Uuid::from_u128(3) }
}

fn archived(log: &dyn EventStore) -> Vec<u8> {
    let mut file = Vec::new();
    let selection = ArchiveSelection::default();
    wait(archive(log, &mut file, &selection, run().at, &mut |_| {})).expect("written");
    file
}

fn index(file: &[u8]) -> ArchiveIndex {
    let mut index = ArchiveIndex::default();
    index.add(file).expect("whole");
    index
}

fn pruned(log: &dyn EventStore, file: &[u8], before: Timestamp) -> Pruned {
    let done = wait(prune(log, &index(file), before, run(), &mut |_| {})).expect("pruned");
    assert_eq!(done.refused, 0, "{done:?}");
    done
}

fn imported(log: &dyn EventStore, file: &[u8]) -> Imported {
    let archive = Box::new(Cursor::new(file.to_vec()));
    let done = wait(import(log, &index(file), archive, run(), &mut |_| {})).expect("imported");
    assert_eq!(done.refused, []);
    done
}

type Events = BTreeMap<(TenantId, StreamId), (Activity, Vec<StoredEvent>)>;

/// All streams, wherever their events stand.
fn streams(log: &dyn EventStore) -> Events {
    let all = wait(log.streams()).expect("listed");
    let events = |tenant: &TenantId, stream| {
        let events = wait(log.read_stream(tenant, stream, 0, usize::MAX)).expect("read");
        events.into_iter().map(|stored| StoredEvent { position: 0, ..stored }).collect()
    };
    let entry = |tenant: TenantId, stream, activity| {
        let events = events(&tenant, stream);
        ((tenant, stream), (activity, events))
    };
    all.into_iter().map(|of| entry(of.tenant, of.stream, of.activity)).collect()
}

/// The time before which about half of what is archived ended.
fn half(file: &[u8]) -> Timestamp {
    let mut ends: Vec<_> = index(file).streams().map(|of| of.ended_at).collect();
    ends.sort_unstable();
    ends.get(ends.len() / 2).copied().unwrap_or_default()
}

fn nothing_is_found(log: &dyn EventStore, seed: u64, when: &str) {
    let audited = audit(log, &mut |_| {}).expect("read");
    assert_eq!(audited.findings, [], "seed {seed}, {when}");
    assert_eq!(audited.unread, [], "seed {seed}, {when}");
}

#[test]
fn a_log_that_was_pruned_and_imported_is_what_it_was_and_keeps_every_rule() {
    let (mut removed, mut superseded) = (0, 0);
    for seed in 0..150 {
        let log = log_of(seed);
        let (before, claims) = (streams(&*log), wait(log.claims()));
        let file = archived(&*log);
        removed += pruned(&*log, &file, half(&file)).removed;
        nothing_is_found(&*log, seed, "half of it pruned");
        pruned(&*log, &file, run().at);
        nothing_is_found(&*log, seed, "all of it pruned");
        assert_eq!(wait(log.claims()), claims);
        let left = streams(&*log);
        assert!(left.values().all(|(activity, _)| *activity == Activity::Active));

        let back = imported(&*log, &file);
        nothing_is_found(&*log, seed, "imported");
        assert_eq!((streams(&*log), wait(log.claims())), (before.clone(), claims));
        assert_eq!(imported(&*log, &file).present, back.imported);

        let elsewhere = MemoryStore::new();
        assert_eq!(imported(&elsewhere, &file).imported, back.imported);
        nothing_is_found(&elsewhere, seed, "imported elsewhere");
        assert_eq!(archived(&elsewhere).len(), file.len());
        let is_archived = |(activity, _): &(Activity, _)| *activity == Activity::Settled;
        let wanted: Events = before.into_iter().filter(|(_, of)| is_archived(of)).collect();
        superseded += wanted
            .values()
            .flat_map(|(_, events)| events)
            .filter(|stored| String::from_utf8_lossy(&stored.event.data).contains("superseded"))
            .count();
        assert_eq!(streams(&elsewhere), wanted, "seed {seed}");
    }
    assert!(removed > 100 && superseded > 10, "{removed} removed, {superseded} superseded");
}

#[test]
fn rows_that_followed_removals_and_imports_are_those_that_are_made_from_zero() {
    let mut removed = 0;
    for seed in 0..150 {
        let log = log_of(seed);
        let mut random = Random::new(seed);
        let most = usize::try_from(random.between(1..=60)).expect("small");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most });
        let views = Arc::new(MemoryViews::new());
        let follower = || Follower::new(Arc::clone(&in_bits), views.clone());
        let mut following = follower();
        for _ in 0..4 {
            let steps = random.below(20);
            for _ in 0..steps {
                if wait(following.step()).expect("followed") == 0 {
                    break;
                }
                if random.chance(200) {
                    following = follower();
                }
            }
            let file = archived(&*log);
            let all = random.chance(500);
            removed += pruned(&*log, &file, if all { run().at } else { half(&file) }).removed;
            if random.chance(500) {
                wait(following.catch_up()).expect("followed");
            }
            if random.chance(600) {
                imported(&*log, &file);
            }
        }
        wait(following.catch_up()).expect("followed");
        let whole = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let (kept, whole) = (rows(&views), rows(&whole));
        let keys = |rows: &BTreeMap<Vec<u8>, _>| rows.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&kept), keys(&whole), "seed {seed}, {most} events at once");
        assert_eq!(kept, whole, "seed {seed}, {most} events at once");
    }
    assert!(removed > 100, "{removed}");
}
