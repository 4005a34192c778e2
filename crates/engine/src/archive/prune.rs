//! Removing from a store what is in archives.

use std::collections::BTreeMap;
use std::io::Read;

use hedgerow_core::{Checksum, StreamId, TenantId, Timestamp};

use super::seen::Seen;
use super::{ArchiveError, ArchiveReader, ArchivedStream, Run};
use crate::store::retention::{NotRemoved, Note, NoteKind, StreamRemoval};
use crate::store::{Activity, EventStore, StoreError};

/// So many streams are removed in one transaction.
const AT_ONCE: usize = 100;
/// Streams that are named of those that differ from the archive.
const NAMED: usize = 100;

/// What archives hold, each of which was read to its end and found whole.
#[derive(Clone, Debug, Default)]
pub struct ArchiveIndex {
    streams: BTreeMap<(TenantId, StreamId), ArchivedStream>,
    /// Those that another archive has with more events.
    shorter: BTreeMap<(TenantId, StreamId), Beginnings>,
    /// What is remarkable of those of so many events.
    seen: BTreeMap<(TenantId, StreamId, u64), Seen>,
}

/// Where shorter archives of a stream end, and with which checksums.
pub(super) type Beginnings = BTreeMap<u64, Vec<Option<Checksum>>>;

impl ArchiveIndex {
    /// Reads an archive through, checks it, and adds what it holds. Of a stream that several archives
    /// have, the longest counts.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was added.
    pub fn add(&mut self, archive: impl Read) -> Result<(), ArchiveError> {
        let mut reader = ArchiveReader::new(archive)?;
        let mut found = Vec::new();
        let mut remarkable = Vec::new();
        while let Some(stream) = reader.stream()? {
            let seen = Seen::in_archive(&mut reader, &stream)?;
            if seen != Seen::default() {
                remarkable.push(((stream.tenant.clone(), stream.stream, stream.events), seen));
            }
            found.push(stream);
        }
        for (stream, seen) in remarkable {
            self.seen.entry(stream).or_insert(seen);
        }
        for stream in found {
            let key = (stream.tenant.clone(), stream.stream);
            let shorter = match self.streams.get(&key) {
                Some(known) if known.events == stream.events => continue,
                Some(known) if known.events > stream.events => Some(stream),
                _ => self.streams.insert(key.clone(), stream),
            };
            if let Some(shorter) = shorter {
                let beginnings = self.shorter.entry(key).or_default();
                beginnings.entry(shorter.events).or_default().push(shorter.checksum);
            }
        }
        Ok(())
    }

    /// How many events the longest archive of a stream has.
    pub(super) fn length(&self, tenant: &TenantId, stream: StreamId) -> Option<u64> {
        self.streams.get(&(tenant.clone(), stream)).map(|longest| longest.events)
    }

    /// What was seen in a stream of so many events.
    pub(super) fn seen(&self, tenant: &TenantId, stream: StreamId, events: u64) -> Seen {
        self.seen.get(&(tenant.clone(), stream, events)).copied().unwrap_or_default()
    }

    /// What the longest archive of a stream must begin with.
    pub(super) fn beginnings(&self, tenant: &TenantId, stream: StreamId) -> Beginnings {
        self.shorter.get(&(tenant.clone(), stream)).cloned().unwrap_or_default()
    }

    /// How many streams they hold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether they hold none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// What they hold, by tenant and stream.
    pub fn streams(&self) -> impl Iterator<Item = &ArchivedStream> {
        self.streams.values()
    }
}

/// Why streams stayed, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// They have not ended.
    pub active: u64,
    /// They have ended, and are in none of the archives.
    pub not_archived: u64,
    /// They ended too short a time ago.
    pub recent: u64,
}

/// What was removed, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// How many streams were removed.
    pub removed: u64,
    /// How many events they had.
    pub events: u64,
    /// What stayed.
    pub kept: Kept,
    /// How many streams are in an archive and could not be removed all the same.
    pub refused: u64,
    /// The first hundred of them, and why.
    pub reasons: Vec<(TenantId, StreamId, NotRemoved)>,
}

/// The store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{source}; {} with {} events were removed before that, and stay so: call it again for the others", pruned.removed, pruned.events
)]
pub struct PruneError {
    /// What was removed before.
    pub pruned: Pruned,
    /// What the store says.
    pub source: StoreError,
}

/// Removes from a store what archives hold exactly as the store has it, if its last event was
/// recorded before `ended_before`. `progress` is told how many streams were looked at.
///
/// An engine may run on the store meanwhile, here or in another process. Call it again if it fails,
/// or is killed: what was removed stays so, and is cleared by the next call.
///
/// # Errors
/// [`PruneError`], with what was removed before it.
pub async fn prune(
    store: &dyn EventStore,
    archives: &ArchiveIndex,
    ended_before: Timestamp,
    run: Run,
    progress: &mut dyn FnMut(u64),
) -> Result<Pruned, PruneError> {
    let mut pruned = Pruned::default();
    match remove_all(store, archives, ended_before, run, &mut pruned, progress).await {
        Ok(()) => Ok(pruned),
        Err(source) => Err(PruneError { pruned, source }),
    }
}

async fn remove_all(
    store: &dyn EventStore,
    archives: &ArchiveIndex,
    ended_before: Timestamp,
    run: Run,
    pruned: &mut Pruned,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    for (place, summary) in (1..).zip(store.streams().await?) {
        let held = archives.streams.get(&(summary.tenant, summary.stream));
        match held {
            _ if summary.activity == Activity::Active => pruned.kept.active += 1,
            None => pruned.kept.not_archived += 1,
            Some(held) if held.ended_at >= ended_before => pruned.kept.recent += 1,
            Some(held) if is_other(store, archives, held).await? => {
                pruned.refuse(held, NotRemoved::Differs);
            }
            Some(held) => batch.push(held),
        }
        if batch.len() == AT_ONCE {
            remove(store, std::mem::take(&mut batch), run, pruned).await?;
            progress(place);
        }
    }
    remove(store, batch, run, pruned).await?;
    while store.sweep().await? {}
    Ok(())
}

impl Pruned {
    fn refuse(&mut self, held: &ArchivedStream, why: NotRemoved) {
        self.refused += 1;
        if self.reasons.len() < NAMED {
            self.reasons.push((held.tenant.clone(), held.stream, why));
        }
    }
}

/// Whether a stream that has events without checksums has others than the archive. One that has fewer
/// is left to the store to judge, and what is as it was archived stays so: nothing is appended but
/// behind it.
async fn is_other(
    store: &dyn EventStore,
    archives: &ArchiveIndex,
    held: &ArchivedStream,
) -> Result<bool, StoreError> {
    let Some(bare) = archives.seen(&held.tenant, held.stream, held.events).bare else {
        return Ok(false);
    };
    Ok(Seen::in_store(store, held).await?.is_some_and(|found| found != bare))
}

async fn remove(
    store: &dyn EventStore,
    streams: Vec<&ArchivedStream>,
    run: Run,
    pruned: &mut Pruned,
) -> Result<(), StoreError> {
    let removals = streams.iter().map(|held| removal(held, run)).collect();
    for (held, removed) in streams.iter().zip(store.remove(removals).await?) {
        match removed {
            Ok(()) => {
                pruned.removed += 1;
                pruned.events += held.events;
            }
            // Somebody else was first.
            Err(NotRemoved::Absent) => {}
            Err(why) => pruned.refuse(held, why),
        }
    }
    Ok(())
}

/// The removal of a stream as an archive has it.
fn removal(held: &ArchivedStream, run: Run) -> StreamRemoval {
    let note = note(NoteKind::Removed, held).event(run.at, run.id);
    let (tenant, stream) = (held.tenant.clone(), held.stream);
    StreamRemoval { tenant, stream, version: held.events, checksum: held.checksum, note }
}

/// The note about a stream that is in an archive.
pub(super) fn note(kind: NoteKind, held: &ArchivedStream) -> Note {
    let update = held.device.map(|device| (device, held.began_at));
    Note { kind, events: held.events, checksum: held.checksum, update }
}
