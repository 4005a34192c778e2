//! Rows as they are found in the file, and what of them is looked at before they are believed.

use hedgerow_core::{Checksum, NewEvent, StoredEvent, StreamId, TenantId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::append::StreamRow;
use crate::schema::Standing;
use crate::seal;

/// A column that is a text of a type of the core.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// A column that is a checksum, or nothing.
pub(crate) fn checksum(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Checksum>> {
    row.get::<_, Option<[u8; 32]>>(column).map(|bytes| bytes.map(Checksum::from_bytes))
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

const STREAM: &str = "
    SELECT streams.id, version, checksum, active, tenant, seal
    FROM streams JOIN tenants ON tenants.id = tenant
    WHERE tenants.name = ?1 AND streams.name = ?2";
/// An event whose first nine columns are these.
pub(crate) fn event(
    row: &Row<'_>,
    tenant: TenantId,
    stream: StreamId,
    event_type: String,
) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        tenant,
        stream,
        version: row.get(0)?,
        position: row.get(1)?,
        checksum: checksum(row, 8)?,
        event: NewEvent {
            event_type,
            schema_version: row.get(3)?,
            recorded_at: Timestamp::from_millis(row.get(4)?),
            correlation_id: uuid(row, 5)?,
            causation_id: uuid(row, 6)?,
            data: row.get(7)?,
        },
    })
}

/// As SQLite counts: a number beyond its range is no place in a store.
pub(crate) fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A stream's row.
pub(crate) fn stream_row(
    connection: &Connection,
    tenant: &TenantId,
    stream: StreamId,
) -> rusqlite::Result<Option<StreamRow>> {
    let name = stream.to_string();
    connection
        .prepare_cached(STREAM)?
        .query_row(params![tenant.as_str(), name], |row| {
            let (id, version, last) = (row.get(0)?, row.get(1)?, checksum(row, 2)?);
            let standing = Standing::read(row, 3)?;
            if standing.is_removed() {
                let last = last.as_ref().map(|last| &last.as_bytes()[..]);
                seal::check(row, 5, seal::of_stream(row.get(4)?, &name, version, standing, last))?;
            }
            Ok(StreamRow { id, version, checksum: last, standing })
        })
        .optional()
}

/// Whether a stream was removed whose row stands in these columns: its name, and from `at` on its
/// standing, tenant, version, checksum and seal. A row that is damaged hides nothing.
pub(crate) fn is_removed(row: &Row<'_>, name: usize, at: [usize; 5]) -> rusqlite::Result<bool> {
    let [standing, tenant, version, last, seal] = at;
    let standing = Standing::read(row, standing)?;
    if !standing.is_removed() {
        return Ok(false);
    }
    let (tenant, version, last) = (row.get(tenant)?, row.get(version)?, checksum(row, last)?);
    let last = last.as_ref().map(|last| &last.as_bytes()[..]);
    let name = row.get_ref(name)?.as_str()?;
    seal::check(row, seal, seal::of_stream(tenant, name, version, standing, last))?;
    Ok(true)
}
