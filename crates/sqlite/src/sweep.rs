//! Clearing what removed streams left behind, in steps that are small however much there is: another
//! process may wait to append.
//!
//! A sweep goes through the streams that were removed and clears their events, then once through the index
//! of operations, which are not found by their streams, and then notes of each stream that nothing is left
//! of it. Each of them remembers where it is.

use std::mem;

use hedgerow_core::StreamId;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::append::stream_row;
use crate::found::parsed;
use crate::keep::stand;
use crate::schema::Standing;

/// So many rows are looked at in one transaction, of whatever table: some ten milliseconds' work.
pub(crate) const STEP: usize = 2_000;

/// A stream that was removed, and where its note stands: one that is imported, and removed again while
/// the sweep goes on, has another note.
type Left = (i64, Option<i64>);

/// How far a sweep is.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    place: Place,
    /// The streams whose events were cleared, by number.
    cleared: Vec<Left>,
}

#[derive(Debug)]
enum Place {
    /// The stream that was cleared last.
    Events {
        after: i64,
    },
    /// The operation that was looked at last.
    Operations {
        after: (i64, Vec<u8>),
    },
    Streams,
}

impl Default for Place {
    fn default() -> Self {
        Self::Events { after: i64::MIN }
    }
}

/// Clears some of what removed streams left behind, and says how many rows it looked at. `None`:
/// nothing is left.
pub(crate) fn sweep(
    transaction: &Transaction<'_>,
    sweep: &mut Sweep,
) -> rusqlite::Result<Option<usize>> {
    match mem::take(&mut sweep.place) {
        Place::Events { after } => sweep_events(transaction, sweep, after),
        Place::Operations { after } => sweep_operations(transaction, sweep, &after).map(Some),
        Place::Streams => sweep_streams(transaction, sweep).map(Some),
    }
}

fn sweep_events(
    transaction: &Transaction<'_>,
    sweep: &mut Sweep,
    mut after: i64,
) -> rusqlite::Result<Option<usize>> {
    let mut looked_at = 0;
    while looked_at < STEP {
        let Some(left) = next_left(transaction, after)? else {
            if sweep.cleared.is_empty() {
                return Ok(None);
            }
            sweep.place = Place::Operations { after: (i64::MIN, Vec::new()) };
            return Ok(Some(looked_at));
        };
        transaction.prepare_cached("DELETE FROM snapshots WHERE stream = ?1")?.execute([left.0])?;
        // The stream and its snapshot.
        looked_at += 2;
        let most = STEP.saturating_sub(looked_at).max(1);
        let deleted = transaction
            .prepare_cached(
                "DELETE FROM events WHERE position IN (
                     SELECT position FROM events WHERE stream = ?1 AND version > 0
                     ORDER BY version LIMIT ?2)",
            )?
            .execute(params![left.0, i64::try_from(most).unwrap_or(i64::MAX)])?;
        looked_at += deleted;
        if deleted == most {
            // There may be more of them.
            break;
        }
        after = left.0;
        sweep.cleared.push(left);
    }
    sweep.place = Place::Events { after };
    Ok(Some(looked_at))
}

/// The next stream that was removed and not swept.
fn next_left(transaction: &Transaction<'_>, after: i64) -> rusqlite::Result<Option<Left>> {
    let stream = transaction
        .prepare_cached(
            "SELECT id FROM streams INDEXED BY unswept_streams
             WHERE active = 2 AND id > ?1 ORDER BY id LIMIT 1",
        )?
        .query_row([after], |row| row.get(0))
        .optional()?;
    let Some(stream) = stream else { return Ok(None) };
    Ok(Some((stream, note_of(transaction, stream)?)))
}

fn note_of(transaction: &Transaction<'_>, stream: i64) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT position FROM events WHERE stream = ?1 AND version = 0")?
        .query_row([stream], |row| row.get(0))
        .optional()
}

fn sweep_operations(
    transaction: &Transaction<'_>,
    sweep: &mut Sweep,
    (tenant, operation): &(i64, Vec<u8>),
) -> rusqlite::Result<usize> {
    let page: Vec<(i64, Vec<u8>, i64)> = transaction
        .prepare_cached(
            "SELECT tenant, operation, stream FROM operations
             WHERE (tenant, operation) > (?1, ?2) ORDER BY tenant, operation LIMIT ?3",
        )?
        .query_map(params![tenant, operation, i64::try_from(STEP).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (tenant, operation, stream) in &page {
        let Ok(place) = sweep.cleared.binary_search_by_key(stream, |left| left.0) else { continue };
        if is_left(transaction, sweep.cleared[place])? {
            transaction
                .prepare_cached("DELETE FROM operations WHERE tenant = ?1 AND operation = ?2")?
                .execute(params![tenant, operation])?;
        }
    }
    let looked_at = page.len();
    sweep.place = match page.into_iter().next_back() {
        Some((tenant, operation, _)) => Place::Operations { after: (tenant, operation) },
        None => Place::Streams,
    };
    Ok(looked_at)
}

fn sweep_streams(transaction: &Transaction<'_>, sweep: &mut Sweep) -> rusqlite::Result<usize> {
    // Each is looked for, read and written.
    let rest = sweep.cleared.len().saturating_sub(STEP / 4);
    let cleared = sweep.cleared.split_off(rest);
    for left in &cleared {
        if is_left(transaction, *left)? {
            swept(transaction, left.0)?;
        }
    }
    if !sweep.cleared.is_empty() {
        sweep.place = Place::Streams;
    }
    Ok(cleared.len())
}

/// Whether a stream was removed, and not imported since.
fn is_left(transaction: &Transaction<'_>, (stream, note): Left) -> rusqlite::Result<bool> {
    let standing = transaction
        .prepare_cached("SELECT active FROM streams WHERE id = ?1")?
        .query_row([stream], |row| Standing::read(row, 0))
        .optional()?;
    Ok(standing == Some(Standing::Removed) && note_of(transaction, stream)? == note)
}

/// Notes that nothing is left of a stream.
fn swept(transaction: &Transaction<'_>, stream: i64) -> rusqlite::Result<()> {
    let (tenant, stream): (i64, StreamId) = transaction
        .prepare_cached("SELECT tenant, name FROM streams WHERE id = ?1")?
        .query_row([stream], |row| Ok((row.get(0)?, parsed(row, 1)?)))?;
    match stream_row(transaction, tenant, stream)? {
        Some(row) => stand(transaction, (tenant, stream), &row, Standing::Swept),
        None => Ok(()),
    }
}
