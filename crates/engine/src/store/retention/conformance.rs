//! What every store must do that removes and imports streams, as checks like those of
//! [`store::conformance`](crate::store::conformance).
//!
//! [`retention_conformance_tests!`](crate::retention_conformance_tests) makes one test of each.

// Every check panics where the store is wrong: the module says so once for all of them.
#![allow(clippy::missing_panics_doc)]

use hedgerow_core::{Checksum, DeviceId, OperationId, StoredEvent, StreamId, Timestamp};
use uuid::Uuid;

use super::{ImportError, ImportedEvent, NotRemoved, Note, NoteKind, StreamImport, StreamRemoval};
use crate::store::checksum::LogReader;
use crate::store::conformance::{append, event, stream, tenant};
use crate::store::{
    Activity, AppendError, Claim, EventStore, StateSnapshot, StreamAppend, StreamSummary,
};

/// Makes one test of each check of [`store::retention::conformance`](crate::store::retention::conformance).
///
/// The argument is that of [`store_conformance_tests!`](crate::store_conformance_tests).
///
/// ```
/// use hedgerow_engine::store::memory::MemoryStore;
///
/// hedgerow_engine::retention_conformance_tests!((MemoryStore::new(), ()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! retention_conformance_tests {
    ($make:expr) => {
        $crate::retention_conformance_tests! { @test $make;
            a_removed_stream_leaves_its_note_alone
            a_stream_is_removed_only_as_it_was_archived
            a_stream_that_goes_on_or_holds_a_claim_is_not_removed
            nothing_is_appended_to_a_removed_stream
            a_removed_stream_and_its_operations_are_unknown
            an_imported_stream_is_what_it_was
            an_import_is_as_a_whole_or_not_at_all
            what_is_there_is_not_imported_again
            an_import_takes_no_operation_from_another_stream
            what_has_no_checksums_is_told_apart_by_its_events
            another_stream_does_not_come_in_the_place_of_a_removed_one
            a_stream_that_came_back_goes_on_and_is_removed_again
            the_newest_time_does_not_go_back_with_an_import
            whoever_follows_by_position_sees_each_note_behind_what_was_there
        }
    };
    (@test $make:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                let (store, _kept) = $make;
                $crate::store::conformance::block_on(
                    $crate::store::retention::conformance::$check(&store)
                );
            }
        )*
    };
}

/// A time after that of every [`event`].
#[must_use]
pub fn later() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

/// All events of a stream of [`tenant`].
pub async fn events_of(store: &dyn EventStore, of: StreamId) -> Vec<StoredEvent> {
    store.read_stream(&tenant(), of, 0, usize::MAX).await.expect("can be read")
}

async fn all(store: &impl EventStore) -> Vec<StoredEvent> {
    store.read_all(0, usize::MAX).await.expect("can be read")
}

fn note(kind: NoteKind, events: &[StoredEvent]) -> Note {
    let checksum = events.last().and_then(|last| last.checksum);
    Note { kind, events: events.len() as u64, checksum, update: None }
}

/// The removal of a stream of which these are all events.
#[must_use]
pub fn removal(of: StreamId, events: &[StoredEvent]) -> StreamRemoval {
    let note = note(NoteKind::Removed, events);
    let (version, checksum) = (note.events, note.checksum);
    let note = note.event(later(), Uuid::from_u128(8));
    StreamRemoval { tenant: tenant(), stream: of, version, checksum, note }
}

/// The import of a stream of which these are all events; with the first one an operation started.
#[must_use]
pub fn import(of: StreamId, events: &[StoredEvent], operation: OperationId) -> StreamImport {
    let note = note(NoteKind::Imported, events);
    let (version, checksum) = (note.events, note.checksum);
    let note = note.event(later(), Uuid::from_u128(9));
    let mut first = Some(operation);
    let events: Vec<_> = events
        .iter()
        .map(|stored| {
            let (event, checksum) = (stored.event.clone(), stored.checksum);
            Ok(ImportedEvent { event, checksum, operation: first.take() })
        })
        .collect();
    let events = Box::new(events.into_iter());
    StreamImport { tenant: tenant(), stream: of, version, checksum, note, events }
}

/// The operation that the stream of campaign `number` starts.
#[must_use]
pub fn operation(number: u128) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(number << 64))
}

fn device(number: u8) -> Claim {
    Claim::Device(DeviceId::from_bytes([number; 16]))
}

async fn put(store: &impl EventStore, appends: Vec<StreamAppend>) {
    assert_eq!(store.append(appends).await, Ok(()));
}

/// Appends `events` events to the stream of campaign `number`, which ends with them.
pub async fn ended(store: &impl EventStore, number: u128, events: u64) -> Vec<StoredEvent> {
    let first = u64::try_from(number).unwrap_or(0) * 1_000;
    let append = StreamAppend {
        operations: vec![operation(number)],
        activity: Activity::Settled,
        ..append(stream(number), 0, (first..first + events).map(event).collect())
    };
    put(store, vec![append]).await;
    events_of(store, stream(number)).await
}

async fn remove(store: &impl EventStore, removal: StreamRemoval) -> Result<(), NotRemoved> {
    let mut removed = store.remove(vec![removal]).await.expect("can be removed");
    assert_eq!(removed.len(), 1, "an answer for each");
    removed.remove(0)
}

/// Sweeps until nothing is left.
pub async fn sweep(store: &impl EventStore) {
    let mut steps = 0;
    while store.sweep().await.expect("can be swept") {
        steps += 1;
        assert!(steps < 10_000, "it comes to an end");
    }
}

/// Reads the log as an audit does.
async fn is_whole(store: &impl EventStore) {
    let mut reader = LogReader::new(store).await.expect("can be listed");
    while !reader.page(3).await.expect("it fits").is_empty() {}
}

fn without_position(events: &[StoredEvent]) -> Vec<StoredEvent> {
    events.iter().cloned().map(|stored| StoredEvent { position: 0, ..stored }).collect()
}

/// At once, and after what is left was cleared; the others stay as they are.
pub async fn a_removed_stream_leaves_its_note_alone(store: &impl EventStore) {
    let first = ended(store, 1, 40).await;
    let second = ended(store, 2, 3).await;
    assert_eq!(remove(store, removal(stream(1), &first)).await, Ok(()));
    let last = second.last().expect("three").position;
    for _ in 0..2 {
        let log = all(store).await;
        assert_eq!(log[..3], second[..]);
        assert_eq!(log.len(), 4);
        let left = &log[3];
        assert_eq!((left.stream, left.version), (stream(1), 0));
        assert!(left.position > last);
        assert_eq!(Note::of(left), Ok(Some(note(NoteKind::Removed, &first))));
        assert_eq!(store.removed(&tenant(), stream(1)).await, Ok(Some(left.clone())));
        for limit in [1, 2, 100] {
            let (mut read, mut after) = (Vec::new(), 0);
            while let Ok(page) = store.read_all(after, limit).await {
                let Some(last) = page.last() else { break };
                assert!(page.len() <= limit);
                after = last.position;
                read.extend(page);
            }
            assert_eq!(read, log, "in pages of {limit}");
        }
        is_whole(store).await;
        sweep(store).await;
    }
    assert_eq!(store.removed(&tenant(), stream(2)).await, Ok(None));
    assert_eq!(store.removed(&tenant(), stream(3)).await, Ok(None));
}

/// One that has gone on, and one with other events of the same number, stay.
pub async fn a_stream_is_removed_only_as_it_was_archived(store: &impl EventStore) {
    let archived = ended(store, 1, 3).await;
    let more =
        StreamAppend { activity: Activity::Settled, ..append(stream(1), 3, vec![event(77)]) };
    put(store, vec![more]).await;
    let other = ended(store, 2, 3).await;
    let before = all(store).await;
    let changed = NotRemoved::Changed { expected: 3, actual: 4 };
    assert_eq!(remove(store, removal(stream(1), &archived)).await, Err(changed));
    assert_eq!(remove(store, removal(stream(2), &archived)).await, Err(NotRemoved::Differs));
    let none = StreamRemoval { checksum: None, ..removal(stream(2), &other) };
    assert_eq!(remove(store, none).await, Err(NotRemoved::Differs));
    assert_eq!(remove(store, removal(stream(3), &archived)).await, Err(NotRemoved::Absent));
    assert_eq!(all(store).await, before);
    // Each of a batch is looked at alone.
    let batch = vec![removal(stream(1), &archived), removal(stream(2), &other)];
    assert_eq!(store.remove(batch).await, Ok(vec![Err(changed), Ok(())]));
    assert_eq!(remove(store, removal(stream(2), &other)).await, Err(NotRemoved::Absent));
}

/// Whatever the archive says.
pub async fn a_stream_that_goes_on_or_holds_a_claim_is_not_removed(store: &impl EventStore) {
    put(store, vec![append(stream(1), 0, vec![event(1)])]).await;
    let holds = StreamAppend {
        activity: Activity::Settled,
        claims_taken: vec![device(1)],
        ..append(stream(2), 0, vec![event(2)])
    };
    put(store, vec![holds]).await;
    for (number, why) in [(1, NotRemoved::Active), (2, NotRemoved::HoldsClaim)] {
        let events = events_of(store, stream(number)).await;
        assert_eq!(remove(store, removal(stream(number), &events)).await, Err(why));
    }
    let release = StreamAppend {
        activity: Activity::Settled,
        claims_released: vec![device(1)],
        ..append(stream(2), 1, Vec::new())
    };
    put(store, vec![release]).await;
    let events = events_of(store, stream(2)).await;
    assert_eq!(remove(store, removal(stream(2), &events)).await, Ok(()));
}

/// Its id is taken: neither is it begun anew, nor does an engine go on with what it has in memory.
pub async fn nothing_is_appended_to_a_removed_stream(store: &impl EventStore) {
    let events = ended(store, 1, 3).await;
    assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
    let log = all(store).await;
    let refused = Err(AppendError::Removed { stream: stream(1) });
    for _ in 0..2 {
        for version in [0, 3, 4, 9] {
            let batch = vec![
                append(stream(5), 0, vec![event(5)]),
                StreamAppend {
                    claims_taken: vec![device(1)],
                    ..append(stream(1), version, vec![event(9)])
                },
            ];
            assert_eq!(store.append(batch).await, refused, "at version {version}");
        }
        assert_eq!(all(store).await, log);
        assert_eq!(store.claims().await, Ok(Vec::new()));
        sweep(store).await;
    }
}

/// As if they had never been.
pub async fn a_removed_stream_and_its_operations_are_unknown(store: &impl EventStore) {
    let events = ended(store, 1, 3).await;
    ended(store, 2, 1).await;
    let snapshot = StateSnapshot { version: 3, format: 1, data: vec![1] };
    assert_eq!(store.save_snapshot(&tenant(), stream(1), snapshot.clone()).await, Ok(()));
    assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
    for _ in 0..2 {
        assert_eq!(events_of(store, stream(1)).await, []);
        assert_eq!(store.stream_of_operation(&tenant(), operation(1)).await, Ok(None));
        let found = store.stream_of_operation(&tenant(), operation(2)).await;
        assert_eq!(found, Ok(Some(stream(2))));
        assert_eq!(store.load_snapshot(&tenant(), stream(1)).await, Ok(None));
        assert_eq!(store.save_snapshot(&tenant(), stream(1), snapshot.clone()).await, Ok(()));
        assert_eq!(store.load_snapshot(&tenant(), stream(1)).await, Ok(None));
        let listed = store.streams().await.expect("can be listed");
        assert_eq!(listed.iter().map(|of| of.stream).collect::<Vec<_>>(), [stream(2)]);
        sweep(store).await;
    }
}

/// In another store as in the same one, before and after what was left is cleared: events, times,
/// checksums, the index of operations.
pub async fn an_imported_stream_is_what_it_was(store: &impl EventStore) {
    let events = ended(store, 1, 30).await;
    let mut position = all(store).await.last().expect("thirty").position;
    for swept in [false, true] {
        assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
        if swept {
            sweep(store).await;
        }
        assert_eq!(store.import(import(stream(1), &events, operation(1))).await, Ok(()));
        let back = events_of(store, stream(1)).await;
        assert_eq!(without_position(&back), without_position(&events));
        let log = all(store).await;
        assert_eq!(log[1..], back);
        assert_eq!(Note::of(&log[0]), Ok(Some(note(NoteKind::Imported, &events))));
        assert!(log[0].position > position, "behind all that was there");
        assert!(log.is_sorted_by(|a, b| a.position < b.position));
        position = log.last().expect("all").position;
        let found = store.stream_of_operation(&tenant(), operation(1)).await;
        assert_eq!(found, Ok(Some(stream(1))));
        let activity = Activity::Settled;
        let summary = StreamSummary { tenant: tenant(), stream: stream(1), version: 30, activity };
        assert_eq!(store.streams().await, Ok(vec![summary]));
        assert_eq!(store.removed(&tenant(), stream(1)).await, Ok(None));
        is_whole(store).await;
        sweep(store).await;
        assert_eq!(all(store).await, log, "nothing of it is swept");
    }
    // One that this store never had.
    let there: Vec<_> = chained(stream(7), 3);
    assert_eq!(store.import(import(stream(7), &there, operation(7))).await, Ok(()));
    assert_eq!(without_position(&events_of(store, stream(7)).await), there);
}

/// Three events as another store had them.
fn chained(of: StreamId, count: u64) -> Vec<StoredEvent> {
    let mut chain = crate::store::checksum::Chain::default();
    (1..=count)
        .map(|version| {
            let event = event(version + 500);
            let checksum = Some(chain.extend(&tenant(), of, &event));
            StoredEvent { tenant: tenant(), stream: of, version, position: 0, checksum, event }
        })
        .collect()
}

/// What ends early, breaks off or was changed leaves nothing.
pub async fn an_import_is_as_a_whole_or_not_at_all(store: &impl EventStore) {
    ended(store, 2, 1).await;
    let log = all(store).await;
    let events = chained(stream(1), 5);
    let damages: [fn(&mut StreamImport, &[StoredEvent]); 5] = [
        |import, events| {
            let whole = std::mem::replace(&mut import.events, Box::new(std::iter::empty()));
            import.events = Box::new(whole.take(events.len() - 1));
        },
        |import, _| {
            let whole = std::mem::replace(&mut import.events, Box::new(std::iter::empty()));
            import.events = Box::new(whole.take(3).chain([Err("broke off".to_owned())]));
        },
        |import, _| {
            let whole = std::mem::replace(&mut import.events, Box::new(std::iter::empty()));
            import.events = Box::new(whole.enumerate().map(|(place, event)| {
                event.map(|mut event| {
                    event.event.data[0] ^= u8::from(place == 2);
                    event
                })
            }));
        },
        |import, _| import.version += 1,
        |import, _| import.checksum = Some(Checksum::from_bytes([1; 32])),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut import = import(stream(1), &events, operation(1));
        damage(&mut import, &events);
        let refused = store.import(import).await;
        assert!(matches!(refused, Err(ImportError::Damaged { .. })), "{number}: {refused:?}");
        assert_eq!(all(store).await, log, "{number}");
        assert_eq!(store.stream_of_operation(&tenant(), operation(1)).await, Ok(None));
        assert_eq!(store.streams().await.map(|streams| streams.len()), Ok(1));
    }
    assert_eq!(store.import(import(stream(1), &events, operation(1))).await, Ok(()));
}

/// Also if the stream has gone on since; another stream of that id is told.
pub async fn what_is_there_is_not_imported_again(store: &impl EventStore) {
    let events = ended(store, 1, 3).await;
    let more =
        StreamAppend { activity: Activity::Settled, ..append(stream(1), 3, vec![event(77)]) };
    for _ in 0..2 {
        let log = all(store).await;
        let again = store.import(import(stream(1), &events, operation(1))).await;
        assert_eq!(again, Err(ImportError::Present));
        let other = chained(stream(1), 3);
        let other = store.import(import(stream(1), &other, operation(9))).await;
        assert_eq!(other, Err(ImportError::Differs));
        assert_eq!(all(store).await, log);
        if log.len() == 3 {
            put(store, vec![more.clone()]).await;
        }
    }
    let longer = chained(stream(1), 9);
    let longer = store.import(import(stream(1), &longer, operation(9))).await;
    assert_eq!(longer, Err(ImportError::Differs));
}

/// Whatever the archive says: reports of it would not reach its stream any more.
pub async fn an_import_takes_no_operation_from_another_stream(store: &impl EventStore) {
    let theirs = ended(store, 2, 3).await;
    let log = all(store).await;
    let import_ = || import(stream(1), &chained(stream(1), 5), operation(2));
    let refused = store.import(import_()).await;
    assert!(matches!(refused, Err(ImportError::Damaged { .. })), "{refused:?}");
    assert_eq!(all(store).await, log);
    let holder = || store.stream_of_operation(&tenant(), operation(2));
    assert_eq!(holder().await, Ok(Some(stream(2))));
    // One that was removed has none.
    assert_eq!(remove(store, removal(stream(2), &theirs)).await, Ok(()));
    assert_eq!(store.import(import_()).await, Ok(()));
    sweep(store).await;
    assert_eq!(holder().await, Ok(Some(stream(1))));
    let refused = store.import(import(stream(2), &theirs, operation(2))).await;
    assert!(matches!(refused, Err(ImportError::Damaged { .. })), "{refused:?}");
}

/// As those of the first version had none.
pub async fn what_has_no_checksums_is_told_apart_by_its_events(store: &impl EventStore) {
    let without = |numbers: std::ops::Range<u64>| -> Vec<StoredEvent> {
        let bare = chained(stream(1), numbers.end);
        let bare = bare.into_iter().skip(usize::try_from(numbers.start).unwrap_or(0));
        (1..).zip(bare).map(|(version, of)| StoredEvent { version, checksum: None, ..of }).collect()
    };
    let (events, other) = (without(0..3), without(1..4));
    let again = |events: &[StoredEvent]| store.import(import(stream(1), events, operation(1)));
    assert_eq!(again(&events).await, Ok(()));
    for _ in 0..2 {
        let log = all(store).await;
        assert_eq!(again(&events).await, Err(ImportError::Present));
        assert_eq!(again(&other).await, Err(ImportError::Differs));
        let only_the_last = [&events[..2], &other[2..]].concat();
        assert_eq!(again(&only_the_last).await, Err(ImportError::Differs));
        assert_eq!(all(store).await, log);
        if log.len() == 4 {
            // It goes on, with a checksum, which says nothing of the events before it.
            let more = StreamAppend {
                activity: Activity::Settled,
                ..append(stream(1), 3, vec![event(77)])
            };
            put(store, vec![more]).await;
            let longer = events_of(store, stream(1)).await;
            assert!(longer[3].checksum.is_some());
            assert_eq!(again(&longer).await, Err(ImportError::Present));
            let forged = [&other[..], &longer[3..]].concat();
            assert_eq!(again(&forged).await, Err(ImportError::Differs));
        }
    }
}

/// Its operations would have the same ids.
pub async fn another_stream_does_not_come_in_the_place_of_a_removed_one(store: &impl EventStore) {
    let events = ended(store, 1, 3).await;
    assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
    for count in [2, 3, 4] {
        let other = chained(stream(1), count);
        let other = store.import(import(stream(1), &other, operation(9))).await;
        assert_eq!(other, Err(ImportError::Differs));
    }
    let shorter = store.import(import(stream(1), &events[..2], operation(9))).await;
    assert_eq!(shorter, Err(ImportError::Differs));
}

/// As one that had never been away.
pub async fn a_stream_that_came_back_goes_on_and_is_removed_again(store: &impl EventStore) {
    let mut events = ended(store, 1, 3).await;
    for round in 0..3 {
        assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
        assert_eq!(store.import(import(stream(1), &events, operation(1))).await, Ok(()));
        let more = StreamAppend {
            activity: Activity::Settled,
            ..append(stream(1), 3 + round, vec![event(50 + round)])
        };
        put(store, vec![more]).await;
        let known = events;
        events = events_of(store, stream(1)).await;
        let changed = NotRemoved::Changed { expected: 3 + round, actual: 4 + round };
        assert_eq!(remove(store, removal(stream(1), &known)).await, Err(changed));
        is_whole(store).await;
    }
    assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
    sweep(store).await;
    assert_eq!(all(store).await.len(), 1, "of each stream the newest note alone");
}

/// An engine that starts sets its time by it (E12).
pub async fn the_newest_time_does_not_go_back_with_an_import(store: &impl EventStore) {
    let events = ended(store, 1, 3).await;
    let mut newest = event(5);
    newest.recorded_at = Timestamp::from_millis(1_900_000_000_000);
    put(store, vec![append(stream(2), 0, vec![newest.clone()])]).await;
    let newest = newest.recorded_at;
    for _ in 0..2 {
        assert_eq!(remove(store, removal(stream(1), &events)).await, Ok(()));
        assert_eq!(store.last_recorded_at().await, Ok(Some(newest)), "no note is before it");
        assert_eq!(store.import(import(stream(1), &events, operation(1))).await, Ok(()));
        assert_eq!(store.last_recorded_at().await, Ok(Some(newest)));
        let there = chained(stream(7), 3);
        let again = store.import(import(stream(7), &there, operation(7))).await;
        assert!(matches!(again, Ok(()) | Err(ImportError::Present)));
        assert_eq!(store.last_recorded_at().await, Ok(Some(newest)));
    }
    let mut late = event(6);
    late.recorded_at = newest;
    let late = StreamAppend { activity: Activity::Settled, ..append(stream(7), 3, vec![late]) };
    put(store, vec![late]).await;
    assert_eq!(store.last_recorded_at().await, Ok(Some(newest)));
}

/// A reader that goes on where it was misses none.
pub async fn whoever_follows_by_position_sees_each_note_behind_what_was_there(
    store: &impl EventStore,
) {
    let first = ended(store, 1, 3).await;
    let second = ended(store, 2, 3).await;
    let mut after = 0;
    let mut seen = Vec::new();
    for round in 0..4 {
        match round {
            1 => assert_eq!(remove(store, removal(stream(2), &second)).await, Ok(())),
            2 => {
                sweep(store).await;
                assert_eq!(store.import(import(stream(2), &second, operation(2))).await, Ok(()));
            }
            3 => assert_eq!(remove(store, removal(stream(1), &first)).await, Ok(())),
            _ => {}
        }
        for stored in store.read_all(after, usize::MAX).await.expect("can be read") {
            assert!(stored.position > after, "behind what was seen");
            after = stored.position;
            let kind = Note::of(&stored).expect("whole").map(|note| note.kind);
            seen.push((round, stored.stream, stored.version, kind));
        }
    }
    let events = |round, of| (1..4).map(move |version| (round, stream(of), version, None));
    let mut expected: Vec<_> = events(0, 1).chain(events(0, 2)).collect();
    expected.push((1, stream(2), 0, Some(NoteKind::Removed)));
    expected.push((2, stream(2), 0, Some(NoteKind::Imported)));
    expected.extend(events(2, 2));
    expected.push((3, stream(1), 0, Some(NoteKind::Removed)));
    assert_eq!(seen, expected);
}
