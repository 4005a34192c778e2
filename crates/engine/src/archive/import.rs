//! Putting back into a store what is in an archive.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{Checksum, NewEvent, OperationId, StreamId, TenantId};

use super::prune::note;
use super::{ArchiveError, ArchiveIndex, ArchiveReader, ArchivedStream, Run};
use crate::store::EventStore;
use crate::store::retention::{ImportError, ImportedEvent, NoteKind, StreamImport};

type Archive = Box<dyn Read + Send>;
/// Shared with the events that a store pulls while it writes.
type Shared = Arc<Mutex<ArchiveReader<Archive>>>;

/// What was imported, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// How many streams were put into the store.
    pub imported: u64,
    /// How many events they have.
    pub events: u64,
    /// How many streams were in the store already.
    pub present: u64,
    /// How many streams another of the archives has with more events.
    pub shorter: u64,
    /// Those that could not be imported, and why.
    pub refused: Vec<(TenantId, StreamId, ImportError)>,
}

/// Puts the streams of an archive into a store, each as a whole, if `index` has them: it was made from
/// this archive, which was checked by that, and from those that are imported with it. Of a stream that
/// several archives have, the longest is imported, whatever the order; the others must be its beginning.
/// `progress` is told how many events were read.
///
/// Call it again if it fails, or is killed: what is in the store already is passed over.
///
/// # Errors
/// [`ArchiveError`]; streams that were imported until then stay.
pub async fn import(
    store: &dyn EventStore,
    index: &ArchiveIndex,
    archive: Box<dyn Read + Send>,
    run: Run,
    progress: &mut dyn FnMut(u64),
) -> Result<Imported, ArchiveError> {
    let reader: Shared = Arc::new(Mutex::new(ArchiveReader::new(archive)?));
    let mut imported = Imported::default();
    loop {
        let Some(head) = lock(&reader).stream()? else { return Ok(imported) };
        let (tenant, stream, events) = (head.tenant.clone(), head.stream, head.events);
        match index.length(&tenant, stream) {
            None => return Err(ArchiveError::NotIndexed { stream }),
            Some(longest) if longest > events => imported.shorter += 1,
            Some(_) if index.seen(&tenant, stream, events).goes_on => {
                let detail = "they do not end it, and nobody would go on with it".to_owned();
                imported.refused.push((tenant, stream, ImportError::Damaged { detail }));
            }
            Some(_) => match store.import(of(head, &reader, index, run)).await {
                Ok(()) => {
                    imported.imported += 1;
                    imported.events += events;
                }
                Err(ImportError::Present) => imported.present += 1,
                Err(ImportError::Store(error)) => return Err(error.into()),
                Err(why) => imported.refused.push((tenant, stream, why)),
            },
        }
        progress(lock(&reader).events());
    }
}

fn lock(reader: &Shared) -> MutexGuard<'_, ArchiveReader<Archive>> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The import of the stream that the reader has come to.
fn of(head: ArchivedStream, reader: &Shared, index: &ArchiveIndex, run: Run) -> StreamImport {
    let beginnings = index.beginnings(&head.tenant, head.stream);
    let note = note(NoteKind::Imported, &head).event(run.at, run.id);
    let ArchivedStream { tenant, stream, events: version, checksum, .. } = head;
    let reader = Arc::clone(reader);
    let mut place = 0;
    let events = std::iter::from_fn(move || {
        let read = lock(&reader).event();
        place += 1;
        let read = read.map_err(|error| error.to_string()).transpose()?;
        Some(read.and_then(|(event, checksum)| {
            if beginnings.get(&place).is_some_and(|ends| ends.iter().any(|end| *end != checksum)) {
                return Err(format!("another archive has another event {place}"));
            }
            imported(stream, place == 1, (event, checksum))
        }))
    });
    StreamImport { tenant, stream, version, checksum, note, events: Box::new(events) }
}

fn imported(
    stream: StreamId,
    is_first: bool,
    (event, checksum): (NewEvent, Option<Checksum>),
) -> Result<ImportedEvent, String> {
    let operation = started(stream, is_first, &event)?;
    Ok(ImportedEvent { event, checksum, operation })
}

/// The operation that an event starts. Of a manual update it is the update itself.
fn started(
    stream: StreamId,
    is_first: bool,
    event: &NewEvent,
) -> Result<Option<OperationId>, String> {
    match stream {
        StreamId::ManualUpdate(id) => Ok(is_first.then_some(id)),
        // The others need not be read.
        StreamId::Campaign(_) if event.event_type != "operation_started" => Ok(None),
        StreamId::Campaign(_) => match CampaignEvent::from_new(stream, event) {
            Ok(CampaignEvent::OperationStarted(started)) => Ok(Some(started.operation)),
            Ok(_) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        StreamId::Catalogue => Ok(None),
    }
}
