//! What `hedgerow campaigns`, `targets` and `device` share: the rows that they answer from, made of
//! a log as far as it goes.
//!
//! Beside a log that `hedgerow views` was used on, they are kept in a file and only followed up;
//! of any other log they are made in memory, and nothing is left behind.

use std::path::Path;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use hedgerow_core::{TenantId, Timestamp};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::view::{Cursor, Follower, MemoryViews, ViewStore, Views};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use serde_json::Value;

use super::bar;
use super::reading::ReadError;

/// Which rows, and of whom.
pub(super) struct Rows {
    pub(super) views: Views,
    pub(super) tenant: TenantId,
}

/// The rows of a log, made as far as it goes, and the tenant that is asked about.
pub(super) fn of(file: &Path, tenant: Option<&TenantId>) -> Result<Rows, ReadError> {
    let log = Arc::new(SqliteStore::open_read_only(file)?);
    let beside = SqliteViews::beside(log.path());
    let rows: Arc<dyn ViewStore> = if beside.exists() {
        Arc::new(SqliteViews::open(beside)?)
    } else {
        Arc::new(MemoryViews::new())
    };
    let tenant = only_tenant(&log, file, tenant)?;
    follow(log, Arc::clone(&rows))?;
    Ok(Rows { views: Views::new(rows), tenant })
}

/// Makes rows as far as the log goes, with a bar on a terminal.
pub(super) fn follow(log: Arc<SqliteStore>, rows: Arc<dyn ViewStore>) -> Result<u64, ReadError> {
    let events = wait(log.streams())?.iter().map(|stream| stream.version).sum();
    let bar = bar::of(events);
    bar.set_message("events read");
    let mut following = Follower::new(log, rows);
    let mut events_read = 0;
    loop {
        let step = wait(following.step())?;
        if step == 0 {
            bar.finish_and_clear();
            return Ok(events_read);
        }
        events_read += u64::try_from(step).unwrap_or(0);
        bar.set_position(following.position().min(events));
    }
}

/// The tenant that was named, or the only one that the log has.
fn only_tenant(
    log: &SqliteStore,
    file: &Path,
    named: Option<&TenantId>,
) -> Result<TenantId, ReadError> {
    if let Some(named) = named {
        return Ok(named.clone());
    }
    let mut tenants: Vec<_> =
        wait(log.streams())?.into_iter().map(|stream| stream.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    match (tenants.pop(), tenants.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            tenants.push(last);
            let tenants = tenants.iter().map(ToString::to_string).collect();
            Err(ReadError::WhichTenant { file: file.to_owned(), tenants })
        }
        (None, _) => Err(ReadError::NoTenant { file: file.to_owned() }),
    }
}

/// Reads one of these values by the name that it has in events and in JSON.
pub(super) fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(|value| PossibleValue::new(name(*value)));
    PossibleValuesParser::new(names).try_map(move |text| {
        // The parser takes no other name.
        all.iter().copied().find(|value| name(*value) == text).ok_or("it is none of them")
    })
}

/// A time as people and programs read it.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

/// What leads to the next page, as JSON.
pub(super) fn next(next: Option<&Cursor>) -> Value {
    next.map_or(Value::Null, |next| Value::String(next.to_string()))
}
