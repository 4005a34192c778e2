//! The log of a script's campaign in a store, and reading it without one.

use futures::executor::block_on;
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{NewEvent, StreamId, TenantId};
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use rusqlite::{Connection, OpenFlags, Row};
use uuid::Uuid;

use crate::{NOW, campaign_id};

/// Events of one append when a log is written.
const BATCH: usize = 10_000;

/// The tenant of every campaign here.
///
/// # Panics
/// Never: it is a realm's name.
#[must_use]
pub fn tenant() -> TenantId {
    "realm".parse().expect("a tenant")
}

/// The stream of the script's campaign.
#[must_use]
pub fn stream() -> StreamId {
    StreamId::Campaign(campaign_id())
}

/// An event as it is handed to a store.
#[must_use]
pub fn encoded(event: &CampaignEvent) -> NewEvent {
    NewEvent {
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at: NOW,
        correlation_id: Uuid::from_u128(1),
        causation_id: Uuid::from_u128(2),
        data: event.to_json(),
    }
}

/// An append of these events and nothing else.
#[must_use]
pub fn append_of(expected_version: u64, events: Vec<NewEvent>) -> StreamAppend {
    StreamAppend {
        tenant: tenant(),
        stream: stream(),
        expected_version,
        events,
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    }
}

/// Writes events behind the `version` events that the stream has.
///
/// # Panics
/// If the store fails: there is nothing to measure then.
pub fn write(store: &dyn EventStore, version: u64, events: &[CampaignEvent]) {
    let mut version = version;
    for batch in events.chunks(BATCH) {
        let append = append_of(version, batch.iter().map(encoded).collect());
        block_on(store.append(vec![append])).expect("it is written");
        version += batch.len() as u64;
    }
}

/// Reads and decodes all events of a store's file with rusqlite alone, and gives each to `take`.
///
/// # Errors
/// What rusqlite says.
///
/// # Panics
/// If the log is damaged.
pub fn read_bare(
    path: &std::path::Path,
    mut take: impl FnMut(CampaignEvent),
) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(
        "SELECT events.version, event_types.name, schema_version, recorded_at,
                correlation_id, causation_id, data
         FROM events JOIN event_types ON event_types.id = events.event_type
         WHERE stream = 1 ORDER BY version",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let event = decoded(row)?;
        take(event);
    }
    Ok(())
}

fn decoded(row: &Row<'_>) -> rusqlite::Result<CampaignEvent> {
    let event = NewEvent {
        event_type: row.get(1)?,
        schema_version: row.get(2)?,
        recorded_at: hedgerow_core::Timestamp::from_millis(row.get(3)?),
        correlation_id: Uuid::from_bytes(row.get(4)?),
        causation_id: Uuid::from_bytes(row.get(5)?),
        data: row.get(6)?,
    };
    Ok(CampaignEvent::from_new(stream(), &event).expect("it decodes"))
}
