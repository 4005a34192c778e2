//! The reader threads: every look at the file, beside what is being written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::retention::Note;
use hedgerow_engine::store::{Activity, HeldClaim, StateSnapshot, StoreError, StreamSummary};
use rusqlite::{Connection, Error, OptionalExtension, params};

use crate::OpenError;
use crate::append::StreamRow;
use crate::error::{corrupt, placed};
use crate::found::{checksum, count, event, is_removed, parsed, stream_row};
use crate::schema::{self, Standing};
use crate::source::Source;
use crate::{back_up, seal};

/// Something to do with a reader.
pub(crate) type Read = Box<dyn FnOnce(&mut Reader) + Send>;

/// Starts one thread for each source. They end when every sender is gone.
pub(crate) fn spawn(
    sources: impl IntoIterator<Item = Source>,
    path: &Path,
) -> Result<(Sender<Read>, Vec<JoinHandle<()>>), OpenError> {
    let (sender, receiver) = channel::<Read>();
    let queue = Arc::new(Mutex::new(receiver));
    let spawn = |source| {
        let queue = Arc::clone(&queue);
        let mut reader = Reader { source, types: Types::default(), looked_over: false };
        std::thread::Builder::new()
            .name("hedgerow-sqlite-reader".to_owned())
            .spawn(move || {
                while let Some(read) = next(&queue) {
                    read(&mut reader);
                }
            })
            .map_err(|error| OpenError::of_system(path, &error))
    };
    let threads = sources.into_iter().map(spawn).collect::<Result<_, _>>()?;
    Ok((sender, threads))
}

fn next(queue: &Mutex<Receiver<Read>>) -> Option<Read> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// What a thread reads with.
pub(crate) struct Reader {
    source: Source,
    types: Types,
    /// Whether the tables that rows are looked up in were looked over.
    looked_over: bool,
}

/// The names of event types that were met. A name that was given to a number never changes, and
/// joining it to every event would take a third of the time of reading.
#[derive(Default)]
struct Types(BTreeMap<i64, String>);

impl Types {
    fn name(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<String> {
        if let Some(name) = self.0.get(&id) {
            return Ok(name.clone());
        }
        let name: String = connection
            .prepare_cached("SELECT name FROM event_types WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// Whose an event is.
struct Owner {
    tenant: TenantId,
    stream: StreamId,
    is_removed: bool,
}

/// The streams of one page, by their numbers in the file, and the one that was asked for last.
#[derive(Default)]
struct Owners {
    places: BTreeMap<i64, usize>,
    found: Vec<Owner>,
    last: Option<(i64, usize)>,
}

impl Owners {
    fn of(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<&Owner> {
        let place = match (self.last, self.places.get(&id)) {
            (Some((last, place)), _) if last == id => place,
            (_, Some(place)) => *place,
            (_, None) => {
                let owner = connection.prepare_cached(OWNER)?.query_row([id], |row| {
                    let is_removed = is_removed(row, 1, [2, 3, 4, 5, 6])?;
                    Ok(Owner { tenant: parsed(row, 0)?, stream: parsed(row, 1)?, is_removed })
                })?;
                self.found.push(owner);
                self.places.insert(id, self.found.len() - 1);
                self.found.len() - 1
            }
        };
        self.last = Some((id, place));
        // It was found or put there just now.
        Ok(&self.found[place])
    }
}

/// [`event`] reads the first nine columns.
const EVENTS_OF_STREAM: &str = "
    SELECT version, position, event_type, schema_version, recorded_at,
           correlation_id, causation_id, data, checksum
    FROM events WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
const ALL_EVENTS: &str = "
    SELECT version, position, event_type, schema_version, recorded_at,
           correlation_id, causation_id, data, checksum, stream
    FROM events WHERE position > ?1 ORDER BY position";
/// Looked up once for each stream of a page: joining it to every event would take half of the time of
/// reading.
const OWNER: &str = "
    SELECT tenants.name, streams.name, active, tenant, version, checksum, seal
    FROM streams LEFT JOIN tenants ON tenants.id = tenant WHERE streams.id = ?1";
/// One look-up at the end of the table.
const LAST_POSITION: &str = "SELECT max(position) FROM events";
/// What leads nowhere is damage: an inner join would leave it out without a word.
const STREAMS: &str = "
    SELECT tenants.name, streams.name, version, active, streams.id, tenant, checksum, seal
    FROM streams LEFT JOIN tenants ON tenants.id = tenant ORDER BY streams.id";
const LAST_STREAM: &str = "SELECT max(stream) FROM events";
/// In the order of the table: what is damaged must not be sorted first, it may have no end.
const CLAIMS: &str = "
    SELECT tenants.name, key, streams.name, claims.tenant, claims.stream, claims.seal
    FROM claims LEFT JOIN streams ON streams.id = stream
                LEFT JOIN tenants ON tenants.id = claims.tenant
    ORDER BY claims.tenant, key";
const CLAIM_HOLDER: &str = "
    SELECT streams.name, claims.tenant, claims.stream, claims.seal
    FROM tenants JOIN claims ON claims.tenant = tenants.id
                 LEFT JOIN streams ON streams.id = stream
    WHERE tenants.name = ?1 AND key = ?2";
const STREAM_OF_OPERATION: &str = "
    SELECT streams.name, operations.tenant, operations.stream, operations.seal, streams.active,
           streams.tenant, streams.version, streams.checksum, streams.seal
    FROM tenants JOIN operations ON operations.tenant = tenants.id
                 LEFT JOIN streams ON streams.id = stream
    WHERE tenants.name = ?1 AND operation = ?2";
const SNAPSHOT: &str = "SELECT version, format, data FROM snapshots WHERE stream = ?1";

impl Reader {
    pub(crate) fn stream(
        &mut self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let Self { source, types, .. } = self;
        let mut reached = after;
        let read = source.read(|connection| {
            // The stream's row and its events as of one moment.
            let transaction = connection.unchecked_transaction()?;
            let row = stream_row(&transaction, tenant, stream)?;
            let Some(row) = row.filter(|row| !row.standing.is_removed()) else {
                return Ok((Vec::new(), 0, None));
            };
            let StreamRow { id, version: last, checksum, .. } = row;
            let mut statement = transaction.prepare_cached(EVENTS_OF_STREAM)?;
            let mut rows = statement.query(params![id, count(after), count(limit)])?;
            let mut events = Vec::new();
            reached = after;
            while let Some(row) = rows.next()? {
                let event_type = types.name(connection, row.get(2)?)?;
                events.push(event(row, tenant.clone(), stream, event_type)?);
                reached = reached.saturating_add(1);
            }
            Ok((events, last, checksum))
        });
        let place = || format!("event {} of {stream} of tenant {tenant}", reached + 1);
        let (events, last, checksum) = read.map_err(|error| placed(error, place))?;
        // A state folded over a gap would be wrong without a sign of it.
        let mut expected = after;
        for event in &events {
            expected = expected.saturating_add(1);
            if event.version != expected {
                return Err(self.missing(tenant, stream, expected));
            }
        }
        if events.len() < limit && expected < last {
            return Err(self.missing(tenant, stream, expected + 1));
        }
        let ends = events.last().filter(|event| event.version >= last);
        if ends.is_some_and(|event| event.version > last || event.checksum != checksum) {
            let path = self.source.path().display();
            return Err(corrupt(&format!(
                "{path}: event {expected} of {stream} of tenant {tenant} is not the last one, event {last}, that the store knows of"
            )));
        }
        Ok(events)
    }

    fn missing(&self, tenant: &TenantId, stream: StreamId, version: u64) -> StoreError {
        let path = self.source.path().display();
        corrupt(&format!("{path}: event {version} of {stream} of tenant {tenant} is missing"))
    }

    pub(crate) fn all(&mut self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let Self { source, types, .. } = self;
        let mut reached = after;
        let read = source.read(|connection| {
            // Events and streams as of one moment.
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction.prepare_cached(ALL_EVENTS)?;
            let mut rows = statement.query(params![count(after)])?;
            let mut events = Vec::new();
            reached = after;
            let mut owners = Owners::default();
            while events.len() < limit
                && let Some(row) = rows.next()?
            {
                let position = row.get(1)?;
                if position <= reached {
                    // Whoever reads on after it would never come to an end.
                    return Err(Error::IntegralValueOutOfRange(1, row.get(1)?));
                }
                reached = position;
                let owner = owners.of(&transaction, row.get(9)?)?;
                if owner.is_removed && row.get::<_, i64>(0)? != 0 {
                    continue;
                }
                let event_type = types.name(connection, row.get(2)?)?;
                events.push(event(row, owner.tenant.clone(), owner.stream, event_type)?);
            }
            Ok(events)
        });
        read.map_err(|error| placed(error, || format!("the event behind position {reached}")))
    }

    /// The engine sets its time by this: a damaged stamp would move all deadlines, so the event is
    /// checked first.
    pub(crate) fn last_recorded_at(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<u64> = self.source.read(|connection| {
            connection.prepare_cached(LAST_POSITION)?.query_row([], |row| row.get(0))
        })?;
        let Some(position) = last else { return Ok(None) };
        let Some(last) = self.all(position.saturating_sub(1), 1)?.pop() else { return Ok(None) };
        let note = self.note(&last.tenant, last.stream)?;
        if let Some(note) = &note {
            Note::of(note)?;
        }
        let noted = note.map_or(last.event.recorded_at, |note| note.event.recorded_at);
        if last.version == 0 {
            return Ok(Some(noted));
        }
        let before = last.version.saturating_sub(1);
        let mut chain = Chain::default();
        if before > 0 {
            let before = self.stream(&last.tenant, last.stream, before - 1, 1)?.pop();
            chain = before.map_or(chain, |before| Chain::after(before.version, before.checksum));
        }
        chain.check(&last)?;
        Ok(Some(last.event.recorded_at.max(noted)))
    }

    /// The note of a stream, if it has one.
    pub(crate) fn note(
        &mut self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let Self { source, types, .. } = self;
        source.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let row = stream_row(&transaction, tenant, stream)?;
            let Some(StreamRow { id, .. }) = row else { return Ok(None) };
            let mut statement = transaction.prepare_cached(EVENTS_OF_STREAM)?;
            let mut rows = statement.query(params![id, -1, 1])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            if row.get::<_, i64>(0)? != 0 {
                return Ok(None);
            }
            let event_type = types.name(connection, row.get(2)?)?;
            event(row, tenant.clone(), stream, event_type).map(Some)
        })
    }

    /// The highest position of the log; 0: it is empty.
    pub(crate) fn last_position(&mut self) -> Result<u64, StoreError> {
        let last: Option<u64> = self.source.read(|connection| {
            connection.prepare_cached(LAST_POSITION)?.query_row([], |row| row.get(0))
        })?;
        Ok(last.unwrap_or(0))
    }

    /// Copies the whole file.
    pub(crate) fn back_up(&mut self, to: &Path) -> Result<(), StoreError> {
        let unavailable = |detail| StoreError::Unavailable { detail };
        let to = &std::path::absolute(to).map_err(|error| unavailable(error.to_string()))?;
        if std::fs::metadata(to).is_ok_and(|found| found.len() > 0) {
            let detail = format!("{} is there already: give another name", to.display());
            return Err(unavailable(detail));
        }
        self.source.read(|connection| {
            // What was copied of a file that changed meanwhile.
            if let Ok(copy) = std::fs::OpenOptions::new().write(true).open(to) {
                copy.set_len(0).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
            }
            back_up::copy(connection, to)
        })
    }

    /// Looks at the whole file.
    pub(crate) fn look_at_all(&mut self) -> Result<(), StoreError> {
        self.look(schema::look_at_all)
    }

    fn look(
        &mut self,
        look: impl Fn(&Connection) -> rusqlite::Result<Option<String>>,
    ) -> Result<(), StoreError> {
        let damage = self.source.read(look)?;
        let path = self.source.path().display();
        damage.map_or(Ok(()), |damage| Err(corrupt(&format!("{path}: {damage}"))))
    }

    /// Also the first look at a file by whoever reads all of it or starts an engine on it.
    pub(crate) fn streams(&mut self) -> Result<Vec<StreamSummary>, StoreError> {
        if !self.looked_over {
            self.look(schema::look_over)?;
            self.looked_over = true;
        }
        let read = self.source.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction.prepare_cached(STREAMS)?;
            let mut rows = statement.query([])?;
            let mut streams = Vec::new();
            let mut number = 0;
            while let Some(row) = rows.next()? {
                // They are numbered as they are created, and the row of a removed one stays.
                let id: i64 = row.get(4)?;
                number += 1;
                if id != number {
                    return Err(Error::IntegralValueOutOfRange(4, id));
                }
                let (version, standing) = (row.get(2)?, Standing::read(row, 3)?);
                let checksum = checksum(row, 6)?;
                let checksum = checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]);
                let (tenant, name) = (row.get(5)?, row.get_ref(1)?.as_str()?);
                seal::check(row, 7, seal::of_stream(tenant, name, version, standing, checksum))?;
                if standing.is_removed() {
                    continue;
                }
                let active = standing == Standing::Active;
                streams.push(StreamSummary {
                    tenant: parsed(row, 0)?,
                    stream: parsed(row, 1)?,
                    version,
                    activity: if active { Activity::Active } else { Activity::Settled },
                });
            }
            let last: Option<i64> = transaction.query_row(LAST_STREAM, [], |row| row.get(0))?;
            match last {
                Some(last) if last > number => Err(Error::IntegralValueOutOfRange(0, last)),
                _ => Ok(streams),
            }
        });
        read.map_err(|error| placed(error, || "the list of streams".to_owned()))
    }

    pub(crate) fn claims(&mut self) -> Result<Vec<HeldClaim>, StoreError> {
        let read = self.source.read(|connection| {
            let mut statement = connection.prepare_cached(CLAIMS)?;
            let mut rows = statement.query([])?;
            let mut claims: Vec<HeldClaim> = Vec::new();
            let mut last: Option<(i64, String)> = None;
            while let Some(row) = rows.next()? {
                let (key, tenant, stream) = (row.get::<_, String>(1)?, row.get(3)?, row.get(4)?);
                seal::check(row, 5, seal::of_claim(tenant, &key, stream))?;
                claims.push((parsed(row, 0)?, key.clone(), parsed(row, 2)?));
                let this = Some((tenant, key));
                if this <= last {
                    return Err(Error::IntegralValueOutOfRange(3, tenant));
                }
                last = this;
            }
            claims.sort_unstable();
            Ok(claims)
        });
        read.map_err(|error| placed(error, || "the list of claims".to_owned()))
    }

    pub(crate) fn claim_holder(
        &mut self,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<StreamId>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(CLAIM_HOLDER)?
                .query_row(params![tenant.as_str(), key], |row| {
                    seal::check(row, 3, seal::of_claim(row.get(1)?, key, row.get(2)?))?;
                    parsed(row, 0)
                })
                .optional()
        })
    }

    pub(crate) fn stream_of_operation(
        &mut self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> Result<Option<StreamId>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(STREAM_OF_OPERATION)?
                .query_row(params![tenant.as_str(), operation.as_uuid().as_bytes()], |row| {
                    let id = operation.as_uuid();
                    let wanted = seal::of_operation(row.get(1)?, id.as_bytes(), row.get(2)?);
                    seal::check(row, 3, wanted)?;
                    let removed = is_removed(row, 0, [4, 5, 6, 7, 8])?;
                    if removed { Ok(None) } else { parsed(row, 0).map(Some) }
                })
                .optional()
                .map(Option::flatten)
        })
    }

    pub(crate) fn snapshot(
        &mut self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<Option<StateSnapshot>, StoreError> {
        self.source.read(|connection| {
            let row = stream_row(connection, tenant, stream)?;
            let there = row.filter(|row| !row.standing.is_removed());
            let Some(StreamRow { id, .. }) = there else { return Ok(None) };
            connection
                .prepare_cached(SNAPSHOT)?
                .query_row([id], |row| {
                    Ok(StateSnapshot {
                        version: row.get(0)?,
                        format: row.get(1)?,
                        data: row.get(2)?,
                    })
                })
                .optional()
        })
    }
}
