//! The checksums of events (E14): each is over its event and over the checksum before it in its
//! stream, so that whoever changes, removes, adds or moves an event leaves a chain that does not fit.
//!
//! A store computes them in the transaction of the append, with [`Chain::extend`], and hands them
//! back with the events; whoever reads checks them, with [`Chain::check`] for a stream and with
//! [`LogReader`] for a whole store. SHA-256 over these bytes, numbers with the highest byte first,
//! texts and data with their length in bytes before them, as eight bytes:
//!
//! 1. the text `hedgerow event 1`, without a length;
//! 2. the checksum before: a byte 1 and its 32 bytes, or a byte 0 if there is none;
//! 3. tenant and stream, each as text; the version, eight bytes;
//! 4. the type, as text; the schema version, two bytes; `recorded_at` in milliseconds, eight bytes;
//! 5. the correlation id and the causation id, 16 bytes each; the data.
//!
//! Streams that were begun by a version without checksums have none at first; the chain begins with
//! the first event that has one, and no event after that may lack it.
//!
//! A [`Note`] about a stream has the version 0, and the last checksum of the stream before it.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use hedgerow_core::{Checksum, NewEvent, StoredEvent, StreamId, TenantId};
use sha2::{Digest, Sha256};

use super::retention::{Note, NoteKind};
use super::{EventStore, StoreError, StreamSummary};

/// What a checksum begins with: another way of computing it would begin otherwise.
const WHAT: &[u8] = b"hedgerow event 1";
/// The bytes of a length.
const LENGTH: usize = size_of::<u64>();
/// What somebody can do about a log that does not fit.
const ADVICE: &str = "keep a copy of the store, and restore it from a backup";

/// How far a stream was followed: the version of its last event, and the checksum of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    version: u64,
    last: Option<Checksum>,
}

impl Chain {
    /// The chain of a stream whose event `version` has the checksum `last`. That of a stream
    /// without events is the default.
    #[must_use]
    pub fn after(version: u64, last: Option<Checksum>) -> Self {
        Self { version, last }
    }

    /// The version of the last event.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The checksum of the last event.
    #[must_use]
    pub fn last(&self) -> Option<Checksum> {
        self.last
    }

    /// Adds an event that is appended, and returns its checksum: for stores.
    pub fn extend(&mut self, tenant: &TenantId, stream: StreamId, event: &NewEvent) -> Checksum {
        self.version = self.version.saturating_add(1);
        let checksum = checksum(self.last, tenant, stream, self.version, event);
        self.last = Some(checksum);
        checksum
    }

    /// The checksum of a note about a stream whose last event has the checksum `last`: for stores.
    #[must_use]
    pub fn note(
        last: Option<Checksum>,
        tenant: &TenantId,
        stream: StreamId,
        note: &NewEvent,
    ) -> Checksum {
        checksum(last, tenant, stream, 0, note)
    }

    /// Adds an event that was read, if it is the next one and its checksum fits.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], naming tenant, stream and version; the chain stays as it was.
    pub fn check(&mut self, stored: &StoredEvent) -> Result<(), StoreError> {
        let StoredEvent { tenant, stream, version, .. } = stored;
        let due = self.version.saturating_add(1);
        if *version != due {
            let found = format!("event {version} of {stream} of tenant {tenant}");
            return Err(corrupt(&format!("{found} stands where event {due} is due")));
        }
        let wrong =
            |what| Err(corrupt(&format!("event {version} of {stream} of tenant {tenant} {what}")));
        match stored.checksum {
            None if self.last.is_some() => return wrong("has lost its checksum"),
            Some(found)
                if found != checksum(self.last, tenant, *stream, *version, &stored.event) =>
            {
                return wrong(
                    "does not fit its checksum: it, or the event before it, was changed or damaged",
                );
            }
            _ => {}
        }
        (self.version, self.last) = (*version, stored.checksum);
        Ok(())
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { detail: format!("{what}; {ADVICE}") }
}

fn checksum(
    before: Option<Checksum>,
    tenant: &TenantId,
    stream: StreamId,
    version: u64,
    event: &NewEvent,
) -> Checksum {
    // All of it in one piece: the hash is asked once.
    let mut bytes = Vec::with_capacity(256 + event.data.len());
    bytes.extend_from_slice(WHAT);
    match before {
        Some(before) => {
            bytes.push(1);
            bytes.extend_from_slice(before.as_bytes());
        }
        None => bytes.push(0),
    }
    add(&mut bytes, tenant.as_str().as_bytes());
    let length = bytes.len();
    bytes.extend_from_slice(&[0; LENGTH]);
    // Writing to bytes in memory does not fail.
    let _ = write!(bytes, "{stream}");
    let text = (bytes.len() - length - LENGTH) as u64;
    bytes[length..length + LENGTH].copy_from_slice(&text.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    add(&mut bytes, event.event_type.as_bytes());
    bytes.extend_from_slice(&event.schema_version.to_be_bytes());
    bytes.extend_from_slice(&event.recorded_at.as_millis().to_be_bytes());
    bytes.extend_from_slice(event.correlation_id.as_bytes());
    bytes.extend_from_slice(event.causation_id.as_bytes());
    add(&mut bytes, &event.data);
    Checksum::from_bytes(Sha256::digest(&bytes).into())
}

/// Bytes of any length, unambiguous whatever follows.
fn add(bytes: &mut Vec<u8>, some: &[u8]) {
    bytes.extend_from_slice(&(some.len() as u64).to_be_bytes());
    bytes.extend_from_slice(some);
}

/// Reads a whole store in the order of its positions and checks on the way that every event fits and
/// that none is missing: what a damaged store would leave out is an error, not a gap. Notes about
/// streams are handed out among the events.
pub struct LogReader<'a> {
    store: &'a dyn EventStore,
    position: u64,
    chains: HashMap<(TenantId, StreamId), Chain>,
    /// Streams that were removed, as far as was read.
    removed: HashSet<(TenantId, StreamId)>,
    /// The streams as they were when reading began: at least that much must come.
    due: Vec<StreamSummary>,
    /// What was wrong behind the events that were handed out last.
    failed: Option<StoreError>,
}

impl std::fmt::Debug for LogReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<'a> LogReader<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`StoreError`], if the streams cannot be listed.
    pub async fn new(store: &'a dyn EventStore) -> Result<Self, StoreError> {
        let due = store.streams().await?;
        let (chains, removed) = (HashMap::new(), HashSet::new());
        Ok(Self { store, position: 0, chains, removed, due, failed: None })
    }

    /// The next events, at most `limit`; none at the end of the log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] at the first event that does not fit or is missing, after what comes
    /// before it was handed out; any [`StoreError`] if the store cannot be read.
    pub async fn page(&mut self, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let mut page = self.store.read_all(self.position, limit).await?;
        if page.is_empty() && limit > 0 {
            self.look_for_what_is_missing()?;
        }
        for (index, stored) in page.iter().enumerate() {
            if let Err(failure) = self.take(stored) {
                page.truncate(index);
                if page.is_empty() {
                    return Err(failure);
                }
                self.failed = Some(failure);
                break;
            }
        }
        Ok(page)
    }

    fn take(&mut self, stored: &StoredEvent) -> Result<(), StoreError> {
        goes_on(self.position, stored)?;
        let key = (stored.tenant.clone(), stored.stream);
        if let Some(note) = Note::of(stored)? {
            // Whatever was read of it before was there before.
            self.chains.remove(&key);
            match note.kind {
                NoteKind::Removed => self.removed.insert(key),
                NoteKind::Imported => self.removed.remove(&key),
            };
        } else {
            self.chains.entry(key).or_default().check(stored)?;
        }
        self.position = stored.position;
        Ok(())
    }

    fn look_for_what_is_missing(&self) -> Result<(), StoreError> {
        for StreamSummary { tenant, stream, version, .. } in &self.due {
            let key = (tenant.clone(), *stream);
            let found = self.chains.get(&key).map_or(0, Chain::version);
            if found < *version && !self.removed.contains(&key) {
                let missing = found + 1;
                return Err(corrupt(&format!(
                    "event {missing} of {stream} of tenant {tenant} is missing"
                )));
            }
        }
        Ok(())
    }
}

/// Whether an event comes behind `position`, as it must: who reads on after one that does not would
/// read the same for ever.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn goes_on(position: u64, stored: &StoredEvent) -> Result<(), StoreError> {
    if stored.position > position {
        return Ok(());
    }
    let StoredEvent { tenant, stream, version, position: found, .. } = stored;
    Err(corrupt(&format!(
        "event {version} of {stream} of tenant {tenant} stands at position {found}, behind position {position}"
    )))
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use hedgerow_core::Timestamp;
    use uuid::Uuid;

    use super::super::conformance::{append, event, stream, tenant};
    use super::super::memory::MemoryStore;
    use super::*;

    /// Computed with Python's hashlib from what the module's documentation says.
    const FIRST: &str = "92f30c371b1146de61b0b93e4b97e9e374d97e92c521b3e1f4596d1111a84184";
    const SECOND: &str = "adc0ae47474ef3971083032dc399e492cd3acd9dfe8c1741bff32031133e39cf";

    fn vector(data: &str) -> NewEvent {
        NewEvent {
            event_type: "thing_happened".to_owned(),
            schema_version: 2,
            recorded_at: Timestamp::from_millis(1_700_000_000_000),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            data: data.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_checksum_is_what_another_program_computes_from_the_description() {
        let mut chain = Chain::default();
        let first = chain.extend(&tenant(), stream(7), &vector("{}"));
        assert_eq!(first.to_string(), FIRST);
        let second = chain.extend(&tenant(), stream(7), &vector("{\"a\":1}"));
        assert_eq!(second.to_string(), SECOND);
    }

    fn stored() -> Vec<StoredEvent> {
        let store = MemoryStore::new();
        let events = vec![append(stream(1), 0, (1..=3).map(event).collect())];
        block_on(store.append(events)).expect("appended");
        block_on(store.read_all(0, 10)).expect("read")
    }

    fn checked(events: &[StoredEvent]) -> Result<(), StoreError> {
        let mut chain = Chain::default();
        events.iter().try_for_each(|stored| chain.check(stored))
    }

    #[test]
    fn whatever_is_changed_in_an_event_is_noticed_there() {
        assert_eq!(checked(&stored()), Ok(()));
        let changes: [fn(&mut StoredEvent); 10] = [
            |stored| stored.tenant = "meadow".parse().expect("a tenant"),
            |stored| stored.stream = stream(2),
            |stored| stored.version += 1,
            |stored| stored.event.event_type.push('x'),
            |stored| stored.event.schema_version += 1,
            |stored| stored.event.recorded_at = Timestamp::from_millis(0),
            |stored| stored.event.correlation_id = Uuid::nil(),
            |stored| stored.event.causation_id = Uuid::nil(),
            |stored| stored.event.data[0] ^= 1,
            |stored| stored.checksum = None,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut events = stored();
            change(&mut events[1]);
            let Err(StoreError::Corrupt { detail }) = checked(&events) else {
                panic!("change {number} was not noticed");
            };
            assert!(detail.contains("event 2 of") || detail.contains("event 3 of"), "{detail}");
        }
    }

    #[test]
    fn an_event_that_is_left_out_moved_or_put_in_is_noticed() {
        for change in [
            |events: &mut Vec<StoredEvent>| drop(events.remove(0)),
            |events: &mut Vec<StoredEvent>| drop(events.remove(1)),
            |events: &mut Vec<StoredEvent>| events.swap(0, 1),
            |events: &mut Vec<StoredEvent>| events.insert(1, events[0].clone()),
        ] {
            let mut events = stored();
            change(&mut events);
            assert!(checked(&events).is_err());
            // Also when the versions were made to fit.
            for (version, stored) in (1..).zip(&mut events) {
                stored.version = version;
            }
            assert!(checked(&events).is_err());
        }
    }

    #[test]
    fn a_chain_may_begin_in_the_middle_of_a_stream_and_never_ends() {
        let mut events = stored();
        events[0].checksum = None;
        let mut chain = Chain::after(1, None);
        events[1].checksum = Some(chain.extend(&tenant(), stream(1), &event(2)));
        events[2].checksum = Some(chain.extend(&tenant(), stream(1), &event(3)));
        assert_eq!(checked(&events), Ok(()));
        events[2].checksum = None;
        assert!(checked(&events).is_err());
        events[1].checksum = None;
        assert_eq!(checked(&events), Ok(()), "a log without any is one of an older version");
    }
}
