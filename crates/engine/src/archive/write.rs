//! Writing an archive.

use std::collections::BTreeSet;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{StoredEvent, StreamId, TenantId, Timestamp};
use sha2::{Digest, Sha256};

use super::line::{End, EndLine, EventLine, Head, LONGEST, StreamLine, hexadecimal};
use super::{ArchiveError, ArchivedStream, FORMAT};
use crate::store::checksum::Chain;
use crate::store::{Activity, EventStore, StoreError, StreamSummary};

/// Events read at once.
const PAGE: usize = 1_000;

/// Which of the streams that have ended are archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSelection {
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those whose last event was recorded before.
    pub ended_before: Option<Timestamp>,
}

/// What was archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archived {
    /// How many campaigns.
    pub campaigns: u64,
    /// How many manual updates.
    pub manual_updates: u64,
    /// How many events all of them have.
    pub events: u64,
    /// Those that were left out, and why.
    pub left_out: Vec<(TenantId, StreamId, LeftOut)>,
}

/// Why a stream that has ended was not archived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeftOut {
    /// It is damaged.
    #[error(transparent)]
    Damaged(StoreError),
    /// An event is so large that no archive could be read that has it.
    #[error(
        "its event {version} is too large for an archive, which has at most {LONGEST} bytes a line: it stays in the store, and in backups"
    )]
    TooLarge {
        /// The event.
        version: u64,
    },
}

/// What a stream is before it is written.
enum Looked {
    Whole(ArchivedStream),
    /// Somebody removed it since it was listed.
    Removed,
    LeftOut(LeftOut),
}

fn failed(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Write { detail: error.to_string() }
}

/// Writes the lines of an archive.
struct Lines<W: Write> {
    to: GzEncoder<W>,
    sum: Sha256,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &impl serde::Serialize) -> Result<(), ArchiveError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(failed)?;
        self.line.push(b'\n');
        self.sum.update(&self.line);
        self.to.write_all(&self.line).map_err(failed)
    }

    fn event(&mut self, stored: &StoredEvent) -> Result<(), ArchiveError> {
        self.write(&EventLine::of(stored.version, &stored.event, stored.checksum))
    }

    fn end(mut self, streams: u64, events: u64) -> io::Result<()> {
        let sha256 = hexadecimal(&self.sum.finalize());
        serde_json::to_writer(&mut self.to, &EndLine { end: End { streams, events, sha256 } })?;
        self.to.write_all(b"\n")?;
        self.to.finish()?.flush()
    }
}

/// Writes the streams of a store that have ended into an archive, as they are now. `progress` is told
/// how many events were written so far.
///
/// The store may be written to meanwhile. What is damaged, or too large, is left out and named.
///
/// # Errors
/// [`ArchiveError`]; what was written until then is no archive.
pub async fn archive(
    store: &dyn EventStore,
    to: impl Write,
    selection: &ArchiveSelection,
    now: Timestamp,
    progress: &mut dyn FnMut(u64),
) -> Result<Archived, ArchiveError> {
    let to = GzEncoder::new(to, Compression::fast());
    let mut lines = Lines { to, sum: Sha256::new(), line: Vec::new() };
    lines.write(&Head { hedgerow_archive: FORMAT.into(), written_at: now.to_string() })?;
    let mut archived = Archived::default();
    let streams = ended(store, selection).await?;
    for summary in streams {
        let (tenant, stream) = (&summary.tenant, summary.stream);
        let head = match look(store, &summary).await {
            Ok(Looked::Whole(head)) => head,
            Ok(Looked::Removed) => continue,
            Ok(Looked::LeftOut(why)) => {
                archived.left_out.push((tenant.clone(), stream, why));
                continue;
            }
            Err(error @ StoreError::Corrupt { .. }) => {
                archived.left_out.push((tenant.clone(), stream, LeftOut::Damaged(error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if selection.ended_before.is_some_and(|before| head.ended_at >= before) {
            continue;
        }
        lines.write(&StreamLine::from(&head))?;
        let mut chain = Chain::default();
        while chain.version() < head.events {
            let page = match read(store, &summary, &mut chain).await {
                // Its first line is written: what is here is no archive any more.
                Err(_) if store.removed(tenant, stream).await?.is_some() => {
                    return Err(ArchiveError::Removed { stream });
                }
                page => page?,
            };
            page.iter().try_for_each(|stored| lines.event(stored))?;
            archived.events += page.len() as u64;
            progress(archived.events);
        }
        match stream {
            StreamId::Campaign(_) => archived.campaigns += 1,
            StreamId::ManualUpdate(_) => archived.manual_updates += 1,
            // It is not among those that have ended.
            StreamId::Catalogue => {}
        }
    }
    lines.end(archived.campaigns + archived.manual_updates, archived.events).map_err(failed)?;
    Ok(archived)
}

/// The streams in which nothing can happen any more by itself.
async fn ended(
    store: &dyn EventStore,
    selection: &ArchiveSelection,
) -> Result<Vec<StreamSummary>, StoreError> {
    let mut streams = store.streams().await?;
    let claims = store.claims().await?;
    let holders: BTreeSet<_> =
        claims.into_iter().map(|(tenant, _, holder)| (tenant, holder)).collect();
    streams.retain(|of| {
        of.activity == Activity::Settled
            && of.stream != StreamId::Catalogue
            && of.version > 0
            && selection.tenant.as_ref().is_none_or(|tenant| of.tenant == *tenant)
            && !holders.contains(&(of.tenant.clone(), of.stream))
    });
    Ok(streams)
}

/// The next events of a stream up to where it was listed, checked.
async fn read(
    store: &dyn EventStore,
    of: &StreamSummary,
    chain: &mut Chain,
) -> Result<Vec<StoredEvent>, StoreError> {
    let left = usize::try_from(of.version - chain.version()).unwrap_or(PAGE).min(PAGE);
    let page = store.read_stream(&of.tenant, of.stream, chain.version(), left).await?;
    page.iter().try_for_each(|stored| chain.check(stored))?;
    if page.is_empty() {
        let (stream, tenant) = (of.stream, &of.tenant);
        let detail = format!("{stream} of tenant {tenant} has lost events since it was listed");
        return Err(StoreError::Unavailable { detail });
    }
    Ok(page)
}

/// Reads a stream through: whatever is written before its events is right, and what is left out is
/// known before it is written.
async fn look(store: &dyn EventStore, of: &StreamSummary) -> Result<Looked, StoreError> {
    let mut chain = Chain::default();
    let mut head: Option<ArchivedStream> = None;
    while chain.version() < of.version {
        let page = match read(store, of, &mut chain).await {
            Err(_) if store.removed(&of.tenant, of.stream).await?.is_some() => {
                return Ok(Looked::Removed);
            }
            page => page?,
        };
        if let Some(large) = page.iter().find(|stored| !has_room(stored)) {
            return Ok(Looked::LeftOut(LeftOut::TooLarge { version: large.version }));
        }
        let head = head.get_or_insert_with(|| first(of, &page[0]));
        if let Some(last) = page.last() {
            (head.checksum, head.ended_at) = (last.checksum, last.event.recorded_at);
        }
    }
    Ok(head.map_or(Looked::Removed, Looked::Whole))
}

/// Whether a line can hold an event.
fn has_room(stored: &StoredEvent) -> bool {
    let StoredEvent { version, event, checksum, .. } = stored;
    // Twice as long as hexadecimal, and six times as long where each letter is escaped; the rest of the
    // line is far shorter than this.
    if event.data.len() * 2 + event.event_type.len() * 6 < LONGEST / 2 {
        return true;
    }
    let line = serde_json::to_vec(&EventLine::of(*version, event, *checksum));
    line.is_ok_and(|line| line.len() < LONGEST)
}

/// What the first event of a stream says of it.
fn first(of: &StreamSummary, stored: &StoredEvent) -> ArchivedStream {
    let (mut name, mut device) = (None, None);
    match of.stream {
        StreamId::Campaign(_) => {
            if let Ok(CampaignEvent::CampaignCreated(created)) = CampaignEvent::from_stored(stored)
            {
                name = Some(created.definition.name.to_string());
            }
        }
        StreamId::ManualUpdate(_) => {
            if let Ok(ManualUpdateEvent::ManualStarted(started)) =
                ManualUpdateEvent::from_stored(stored)
            {
                name = Some(started.definition.request_id.to_string());
                device = Some(started.definition.device);
            }
        }
        StreamId::Catalogue => {}
    }
    ArchivedStream {
        tenant: of.tenant.clone(),
        stream: of.stream,
        name,
        device,
        events: of.version,
        checksum: stored.checksum,
        began_at: stored.event.recorded_at,
        ended_at: stored.event.recorded_at,
    }
}
