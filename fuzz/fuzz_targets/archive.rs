//! Archives from outside: what is read ends with an error or whole, and what is whole is imported
//! into an empty store so that it can be archived and imported again.
//!
//! An input is the text of an archive; its last line and its compression are made here, as nothing
//! would get beyond their sums otherwise. One that begins with a zero byte is read as it is.

#![no_main]

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::executor::block_on;
use hedgerow_core::Timestamp;
use hedgerow_engine::archive::{
    ArchiveIndex, ArchiveReader, ArchiveSelection, Imported, Run, archive, import,
};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    if let [0, raw @ ..] = bytes {
        read(raw);
        return;
    }
    let archived = compressed(bytes);
    read(&archived);
    let mut index = ArchiveIndex::default();
    if index.add(&archived[..]).is_err() {
        return;
    }
    let store = MemoryStore::new();
    let Ok(first) = put_back(&store, &index, archived) else { return };
    let written = written(&store);
    let events: u64 = index.streams().map(|stream| stream.events).sum();
    assert!(first.events <= events, "no more than there were");
    let other = MemoryStore::new();
    let mut index = ArchiveIndex::default();
    index.add(&written[..]).expect("an archive that was just written is whole");
    let second = put_back(&other, &index, written).expect("and can be imported");
    assert!(second.refused.is_empty(), "{second:?}");
    assert_eq!(block_on(other.streams()).expect("read").len() as u64, second.imported);
});

/// Reads to the end, or to what is wrong.
fn read(archive: &[u8]) {
    let Ok(mut reader) = ArchiveReader::new(archive) else { return };
    while let Ok(Some(_)) = reader.stream() {
        while let Ok(Some(_)) = reader.event() {}
    }
}

fn compressed(lines: &[u8]) -> Vec<u8> {
    let count = |word: &[u8]| {
        lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(word)).count()
    };
    let sum: String = Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = format!(
        "{{\"end\":{{\"streams\":{},\"events\":{},\"sha256\":\"{sum}\"}}}}\n",
        count(b"{\"stream\""),
        count(b"{\"version\"")
    );
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    archive.write_all(lines).and_then(|()| archive.write_all(end.as_bytes())).expect("in memory");
    archive.finish().expect("in memory")
}

fn put_back(
    store: &MemoryStore,
    index: &ArchiveIndex,
    archive: Vec<u8>,
) -> Result<Imported, hedgerow_engine::archive::ArchiveError> {
    let run = Run { at: Timestamp::from_millis(1), id: Uuid::from_u128(1) };
    block_on(import(store, index, Box::new(Cursor::new(archive)), run, &mut |_| {}))
}

fn written(store: &MemoryStore) -> Vec<u8> {
    let mut file = Vec::new();
    let all = ArchiveSelection::default();
    block_on(archive(store, &mut file, &all, Timestamp::from_millis(2), &mut |_| {}))
        .expect("a store in memory is read");
    file
}
