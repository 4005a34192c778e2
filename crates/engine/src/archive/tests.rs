//! Archives of a store in memory, whole and damaged in every way.

use std::io::{Cursor, Write};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::{BoxFuture, ready};
use hedgerow_core::event::{CampaignDeleted, Confirmation, ManualSucceeded, ManualUpdateEvent};
use hedgerow_core::{
    BaseImage, Campaign, CampaignDefinition, Channel, GatePolicy, ManualUpdate,
    ManualUpdateDefinition, NewEvent, OperationId, OperationLimits, PushRollout, RolloutLimits,
    RolloutMechanism, StoredEvent, WhenRunning,
};

use super::line::LONGEST;
use super::*;
use crate::store::conformance::{append, event, stream, tenant};
use crate::store::memory::MemoryStore;
use crate::store::retention::conformance::{ended, events_of};
use crate::store::retention::{ImportError, NotRemoved};
use crate::store::{Activity, EventStore, StoreLayer, StreamAppend};

fn late() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn run() -> Run {
    Run { at: late(), id: Uuid::from_u128(7) }
}

fn written(store: &MemoryStore) -> (Vec<u8>, Archived) {
    let mut file = Vec::new();
    let selection = ArchiveSelection::default();
    let archived = block_on(archive(store, &mut file, &selection, late(), &mut |_| {}));
    (file, archived.expect("written"))
}

fn indexed(file: &[u8]) -> Result<ArchiveIndex, ArchiveError> {
    let mut index = ArchiveIndex::default();
    index.add(file).map(|()| index)
}

fn pruned(store: &MemoryStore, file: &[u8], before: Timestamp) -> Pruned {
    let index = indexed(file).expect("whole");
    block_on(prune(store, &index, before, run(), &mut |_| {})).expect("pruned")
}

fn imported(store: &MemoryStore, file: &[u8]) -> Result<Imported, ArchiveError> {
    let index = indexed(file)?;
    block_on(import(store, &index, Box::new(Cursor::new(file.to_vec())), run(), &mut |_| {}))
}

/// A manual update that has ended, as far as the store knows.
fn manual(store: &MemoryStore) -> (StreamId, OperationId) {
    let id = OperationId::of_manual_update(&tenant(), "a");
    let started = ManualUpdate::create(ManualUpdateDefinition {
        request_id: "a".parse().expect("an id"),
        device: DeviceId::from_bytes([3; 16]),
        url: "https://example.com/a".parse().expect("a URL"),
        expected_version: None,
        version_before: None,
        limits: OperationLimits::default(),
    });
    let started: ManualUpdateEvent = started.expect("in order");
    let first = NewEvent {
        event_type: started.event_type().to_owned(),
        schema_version: started.schema_version(),
        data: started.to_json(),
        ..event(5)
    };
    let stream = StreamId::ManualUpdate(id);
    let ended = ManualUpdateEvent::from(ManualSucceeded { confirmation: Confirmation::Reported });
    let last = NewEvent {
        event_type: ended.event_type().to_owned(),
        schema_version: ended.schema_version(),
        data: ended.to_json(),
        ..event(5)
    };
    let append = StreamAppend {
        operations: vec![id],
        activity: Activity::Settled,
        ..append(stream, 0, vec![first, last])
    };
    block_on(store.append(vec![append])).expect("appended");
    (stream, id)
}

/// Two streams that have ended, with data of every kind, one that has not, and a manual update.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    block_on(ended(&store, 1, 3));
    let datas: [&[u8]; 7] = [
        b"",
        b"{}",
        b" {\"a\" : 1.50e3, \"b\":\"\\u00e9\"}",
        b"{\"a\":\n1}",
        &[0xff, 0],
        b"nonsense",
        b"1 ",
    ];
    let events = datas.map(|data| NewEvent { data: data.to_vec(), ..event(9) });
    let append_ =
        StreamAppend { activity: Activity::Settled, ..append(stream(2), 0, events.to_vec()) };
    block_on(store.append(vec![append_])).expect("appended");
    block_on(store.append(vec![append(stream(3), 0, vec![event(1)])])).expect("appended");
    manual(&store);
    store
}

fn plain(events: &[StoredEvent]) -> Vec<StoredEvent> {
    events.iter().map(|stored| StoredEvent { position: 0, ..stored.clone() }).collect()
}

#[test]
fn what_is_archived_pruned_and_imported_is_what_it_was_here_and_elsewhere() {
    let store = store();
    let (update, operation) = (manual_stream(), manual_operation());
    let streams = [stream(1), stream(2), update];
    let before = streams.map(|of| plain(&block_on(events_of(&store, of))));
    let (file, archived) = written(&store);
    assert_eq!((archived.campaigns, archived.manual_updates, archived.events), (2, 1, 12));

    let elsewhere = MemoryStore::new();
    assert_eq!(imported(&elsewhere, &file).expect("imported").imported, 3);

    let done = pruned(&store, &file, late());
    assert_eq!((done.removed, done.events, done.refused), (3, 12, 0));
    assert_eq!(done.kept, Kept { active: 1, ..Kept::default() });
    for of in streams {
        assert_eq!(block_on(events_of(&store, of)), []);
    }
    let indexed = block_on(store.stream_of_operation(&tenant(), operation));
    assert_eq!(indexed, Ok(None));
    let back = imported(&store, &file).expect("imported");
    assert_eq!((back.imported, back.events, back.present), (3, 12, 0));

    for store in [&store, &elsewhere] {
        for (of, before) in streams.into_iter().zip(&before) {
            assert_eq!(plain(&block_on(events_of(store, of))), *before);
        }
        let indexed = block_on(store.stream_of_operation(&tenant(), operation));
        assert_eq!(indexed, Ok(Some(update)));
        // Nothing tells it from the first one: an archive of an import is the archive.
        assert_eq!(imported(store, &file).expect("read").present, 3);
    }
    assert_eq!(written(&elsewhere).0, file, "byte for byte");
    let again = pruned(&store, &file, late());
    assert_eq!(again.removed, 3);
}

fn manual_operation() -> OperationId {
    OperationId::of_manual_update(&tenant(), "a")
}

fn manual_stream() -> StreamId {
    StreamId::ManualUpdate(manual_operation())
}

#[test]
fn only_what_is_in_the_archive_as_it_is_and_old_enough_is_pruned() {
    let store = store();
    let (file, _) = written(&store);
    // A late report to one, and another one that ended since.
    let late_report =
        StreamAppend { activity: Activity::Settled, ..append(stream(1), 3, vec![event(8)]) };
    block_on(store.append(vec![late_report])).expect("appended");
    block_on(ended(&store, 4, 2));
    let newest = event(9).recorded_at;
    let done = pruned(&store, &file, newest);
    assert_eq!(done.kept, Kept { active: 1, not_archived: 1, recent: 2 });
    assert_eq!((done.removed, done.refused), (1, 0), "the manual update ended before");
    let done = pruned(&store, &file, late());
    assert_eq!((done.removed, done.refused), (1, 1));
    let changed = NotRemoved::Changed { expected: 3, actual: 4 };
    assert_eq!(done.reasons, [(tenant(), stream(1), changed)]);
    // Together with the newer archive it goes.
    let mut index = indexed(&file).expect("whole");
    index.add(&written(&store).0[..]).expect("whole");
    let done = block_on(prune(&store, &index, late(), run(), &mut |_| {})).expect("pruned");
    assert_eq!((done.removed, done.refused, done.kept.active), (2, 0, 1));
}

/// A store of the first version, whose events have no checksums, with a stream of these. In later
/// versions it goes on, or does not.
fn without_checksums(numbers: &[u64], goes_on: bool) -> MemoryStore {
    let store = MemoryStore::new();
    let stored = |(version, number): (u64, &u64)| StoredEvent {
        tenant: tenant(),
        stream: stream(1),
        version,
        position: 0,
        checksum: None,
        event: event(*number),
    };
    let events: Vec<_> = (1..).zip(numbers).map(stored).collect();
    let operation = OperationId::from_uuid(Uuid::from_u128(1));
    let import = crate::store::retention::conformance::import(stream(1), &events, operation);
    block_on(store.import(import)).expect("imported");
    if goes_on {
        let version = events.len() as u64;
        let append = append(stream(1), version, vec![event(9)]);
        let append = StreamAppend { activity: Activity::Settled, ..append };
        block_on(store.append(vec![append])).expect("appended");
    }
    store
}

#[test]
fn a_campaign_that_the_archive_does_not_end_is_not_imported() {
    let limits = RolloutLimits::new(NonZeroU32::MIN, "10".parse().expect("a share"));
    let created = Campaign::create(
        CampaignDefinition {
            name: "a".parse().expect("a name"),
            base_image: BaseImage {
                system_model: "b".parse().expect("a model"),
                version: "1.0.0".parse().expect("a version"),
                url: "https://example.com/a".parse().expect("a URL"),
                starting_version_requirement: None,
            },
            channel: Channel::new("c".parse().expect("a name"), ["d".parse().expect("a group")])
                .expect("in order"),
            rollout: RolloutMechanism::Push(PushRollout {
                limits,
                gates: GatePolicy::default(),
                minimum_targets: 0,
            }),
            when_running: WhenRunning::Refuse,
        },
        Some(late()),
        event(1).recorded_at,
    );
    let created = created.expect("in order");
    for ends in [false, true] {
        let store = MemoryStore::new();
        let mut events = vec![created.clone()];
        if ends {
            events.push(CampaignDeleted {}.into());
        }
        let events = events.iter().map(|of| NewEvent {
            event_type: of.event_type().to_owned(),
            schema_version: of.schema_version(),
            data: of.to_json(),
            ..event(1)
        });
        // As somebody marked it who had a hand in it.
        let append = append(stream(1), 0, events.collect());
        let append = StreamAppend { activity: Activity::Settled, ..append };
        block_on(store.append(vec![append])).expect("appended");
        let (file, _) = written(&store);
        let elsewhere = MemoryStore::new();
        let done = imported(&elsewhere, &file).expect("whole");
        assert_eq!(done.imported, u64::from(ends));
        let refused: Vec<_> = done.refused.iter().map(|(_, stream, _)| *stream).collect();
        assert_eq!(refused, if ends { vec![] } else { vec![stream(1)] });
    }
}

#[test]
fn a_stream_without_checksums_is_pruned_only_if_each_of_its_events_is_in_the_archive() {
    for goes_on in [false, true] {
        let store = without_checksums(&[1, 2, 3], goes_on);
        let (file, _) = written(&store);
        let mut others = vec![[4, 2, 3], [1, 4, 3], [2, 1, 3]];
        if !goes_on {
            others.push([1, 2, 4]);
        }
        for other in others {
            let done = pruned(&without_checksums(&other, goes_on), &file, late());
            assert_eq!((done.removed, done.refused), (0, 1), "{other:?}");
            assert_eq!(done.reasons, [(tenant(), stream(1), NotRemoved::Differs)]);
        }
        let more = pruned(&without_checksums(&[1, 2, 3, 4], goes_on), &file, late());
        assert_eq!((more.removed, more.refused), (0, 1));
        assert_eq!(pruned(&store, &file, late()).removed, 1);
    }
}

#[test]
fn what_differs_is_refused_by_name_and_the_others_are_imported() {
    let (file, _) = written(&store());
    let other = MemoryStore::new();
    block_on(ended(&other, 1, 2));
    let done = imported(&other, &file).expect("read");
    assert_eq!(done.imported, 2);
    assert_eq!(done.refused, [(tenant(), stream(1), ImportError::Differs)]);
}

#[test]
fn an_archive_that_ends_anywhere_before_its_end_is_noticed() {
    let (file, _) = written(&store());
    for length in 0..file.len() {
        let cut = indexed(&file[..length]).map(|index| index.len());
        assert!(
            matches!(cut, Err(ArchiveError::Cut { .. } | ArchiveError::Foreign)),
            "{length} of {}: {cut:?}",
            file.len()
        );
    }
    // Also if it is cut between two lines, and packed again.
    let text = unpacked(&file);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for count in 1..lines.len() {
        let cut = indexed(&packed(&lines[..count].concat())).map(|index| index.len());
        assert_eq!(cut, Err(ArchiveError::Cut { line: count as u64 }));
    }
}

fn unpacked(file: &[u8]) -> String {
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(file);
    std::io::Read::read_to_string(&mut reader, &mut text).expect("UTF-8");
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(text.as_bytes()).expect("in memory");
    writer.finish().expect("in memory")
}

#[test]
fn whatever_is_changed_in_an_archive_is_noticed_before_anything_is_imported() {
    let (file, _) = written(&store());
    let text = unpacked(&file);
    for place in (0..text.len()).step_by(7) {
        if !text.is_char_boundary(place) || !text.is_char_boundary(place + 1) {
            continue;
        }
        let mut changed = text.clone();
        let other = if &text[place..=place] == "1" { "2" } else { "1" };
        changed.replace_range(place..=place, other);
        let store = MemoryStore::new();
        // When it was written is the only thing that is for people alone, and part of the sum.
        let done = imported(&store, &packed(&changed));
        assert!(done.is_err(), "{place}: {done:?}");
        assert_eq!(block_on(store.read_all(0, 1)), Ok(Vec::new()));
    }
    for place in 0..file.len() {
        let mut changed = file.clone();
        changed[place] ^= 0x10;
        // gzip has a few bits that mean nothing.
        if indexed(&changed).is_ok() {
            assert_eq!(unpacked(&changed), text, "{place}");
        }
    }
}

#[test]
fn lines_that_are_moved_left_out_or_added_are_noticed() {
    let text = unpacked(&written(&store()).0);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = lines.len() - 1;
    for place in 1..last {
        let mut left_out = lines.clone();
        left_out.remove(place);
        let mut twice = lines.clone();
        twice.insert(place, lines[place]);
        let mut moved = lines.clone();
        moved.swap(place, place + 1);
        for changed in [left_out, twice, moved] {
            assert!(indexed(&packed(&changed.concat())).is_err(), "{place}");
        }
    }
    let behind = format!("{text}{}", lines[1]);
    let error = indexed(&packed(&behind)).map(|index| index.len());
    assert!(matches!(error, Err(ArchiveError::Damaged { .. })), "{error:?}");
}

#[test]
fn what_is_no_archive_is_told_apart_and_nothing_unpacks_without_bound() {
    for foreign in [&b""[..], b"nonsense", &packed("nonsense\n"), &packed("{}\n"), b"\x1f\x8b\x08"]
    {
        let error = indexed(foreign).map(|index| index.len());
        assert!(
            matches!(error, Err(ArchiveError::Foreign | ArchiveError::Cut { line: 0 })),
            "{error:?}"
        );
    }
    let newer = packed("{\"hedgerow_archive\":2,\"written_at\":\"\"}\n");
    assert_eq!(indexed(&newer).map(|index| index.len()), Err(ArchiveError::Newer { found: 2 }));
    let head = "{\"hedgerow_archive\":1,\"written_at\":\"\"}\n";
    let long = packed(&format!("{head}{}", " ".repeat(LONGEST + 1)));
    assert!(long.len() < 100_000, "it unpacks to 16 MiB");
    let error = indexed(&long).map(|index| index.len());
    assert_eq!(error, Err(ArchiveError::TooLong { line: 2, most: LONGEST }));
    let deep = packed(&format!("{head}{}\n", "[".repeat(1_000_000)));
    let error = indexed(&deep).map(|index| index.len());
    assert!(matches!(error, Err(ArchiveError::Damaged { line: 2, .. })), "{error:?}");
}

#[test]
fn a_catalogue_is_in_no_archive_and_is_taken_from_none() {
    let store = MemoryStore::new();
    let of = StreamAppend { activity: Activity::Settled, ..append(stream(1), 0, vec![event(1)]) };
    let catalogue = StreamAppend { stream: StreamId::Catalogue, ..of.clone() };
    block_on(store.append(vec![of, catalogue])).expect("appended");
    let (file, archived) = written(&store);
    assert_eq!((archived.campaigns, archived.events, archived.left_out.len()), (1, 1, 0));
    let text = unpacked(&file).replace(&stream(1).to_string(), "catalogue");
    let error = indexed(&packed(&text)).map(|index| index.len());
    let detail = "a catalogue never ends, and is in no archive".to_owned();
    assert_eq!(error, Err(ArchiveError::Damaged { line: 2, detail }));
}

#[test]
fn an_event_whose_line_could_not_be_read_is_not_written() {
    let store = MemoryStore::new();
    let large = NewEvent { data: vec![0xff; LONGEST / 2], ..event(1) };
    let added = StreamAppend { activity: Activity::Settled, ..append(stream(1), 0, vec![large]) };
    block_on(store.append(vec![added])).expect("appended");
    let selection = ArchiveSelection::default();
    let fits = NewEvent { data: vec![0xff; LONGEST / 2 - 1_000], ..event(2) };
    let added = StreamAppend { activity: Activity::Settled, ..append(stream(2), 0, vec![fits]) };
    block_on(store.append(vec![added])).expect("appended");
    let mut file = Vec::new();
    let written = block_on(archive(&store, &mut file, &selection, late(), &mut |_| {}));
    let written = written.expect("written");
    assert_eq!(written.left_out, [(tenant(), stream(1), LeftOut::TooLarge { version: 1 })]);
    assert_eq!(written.campaigns, 1);
    assert_eq!(indexed(&file).map(|index| index.len()), Ok(1));
}

#[test]
fn an_archive_reads_as_its_description_says() {
    let store = MemoryStore::new();
    block_on(ended(&store, 1, 1));
    is_of_form_1(&unpacked(&written(&store).0));
}

/// The form is stable: archives are kept for years.
fn is_of_form_1(text: &str) {
    let expected = concat!(
        r#"{"hedgerow_archive":1,"written_at":"2027-01-15T08:00:00.000Z"}"#,
        "\n",
        r#"{"stream":"campaign/00000000-0000-0000-0000-000000000001","tenant":"hedge","events":1,"checksum":"CHECKSUM","began_at":1700000001000,"ended_at":1700000001000}"#,
        "\n",
        r#"{"version":1,"type":"thing_1_happened","schema":1,"recorded_at":1700000001000,"correlation_id":"00000000-0000-03e8-0000-000000000001","causation_id":"00000000-0000-03e8-0000-000000000002","checksum":"CHECKSUM","data":{"number":1000}}"#,
        "\n",
        r#"{"end":{"streams":1,"events":1,"sha256":"SUM"}}"#,
        "\n",
    );
    let after = |name: &str| {
        let from = text.rfind(name).expect("it is there") + name.len();
        text[from..from + 64].to_owned()
    };
    let expected = expected
        .replace("CHECKSUM", &after("\"checksum\":\""))
        .replace("SUM", &after("\"sha256\":\""));
    assert_eq!(text, expected);
}

/// A store in which something happens between two calls.
struct Between<F>(MemoryStore, F);

impl<F: Fn(&MemoryStore, Call) -> Result<(), StoreError> + Send + Sync + 'static> StoreLayer
    for Between<F>
{
    fn inner(&self) -> &dyn EventStore {
        &self.0
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        match self.1(&self.0, Call::Read(stream)) {
            Ok(()) => self.0.read_stream(tenant, stream, after, limit),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn sweep(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        match self.1(&self.0, Call::Sweep) {
            Ok(()) => self.0.sweep(),
            Err(error) => ready(Err(error)).boxed(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Read(StreamId),
    Sweep,
}

#[test]
fn a_stream_that_is_removed_while_it_is_archived_is_named_and_not_there_the_next_time() {
    let (file, _) = written(&store());
    for (read, fails) in [(1, false), (2, true)] {
        let (file, reads) = (file.clone(), AtomicU32::new(0));
        let between = Between(store(), move |store: &MemoryStore, call| {
            let is_it = call == Call::Read(stream(2));
            if is_it && reads.fetch_add(1, Ordering::Relaxed) + 1 == read {
                let index = indexed(&file).expect("whole");
                // A store in memory never waits.
                let done = prune(store, &index, late(), run(), &mut |_| {}).now_or_never();
                assert_eq!(done.and_then(Result::ok).map(|done| done.removed), Some(3));
            }
            Ok(())
        });
        let selection = ArchiveSelection::default();
        let archived =
            || block_on(archive(&between, std::io::sink(), &selection, late(), &mut |_| {}));
        if fails {
            assert_eq!(archived(), Err(ArchiveError::Removed { stream: stream(2) }));
        }
        assert_eq!(archived().map(|archived| archived.left_out), Ok(Vec::new()));
    }
}

#[test]
fn a_prune_that_fails_says_what_was_removed_by_then() {
    let store = store();
    let (file, _) = written(&store);
    let failure = StoreError::Unavailable { detail: "the disk is gone".to_owned() };
    let fails = failure.clone();
    let between = Between(
        store,
        move |_: &MemoryStore, call| {
            if call == Call::Sweep { Err(fails.clone()) } else { Ok(()) }
        },
    );
    let index = indexed(&file).expect("whole");
    let done = block_on(prune(&between, &index, late(), run(), &mut |_| {}));
    let error = done.expect_err("it fails");
    assert_eq!((error.pruned.removed, error.pruned.events, &error.source), (3, 12, &failure));
    assert!(error.to_string().contains("3 with 12 events were removed"), "{error}");
}
