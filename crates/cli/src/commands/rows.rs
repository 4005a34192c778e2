//! What `hedgerow campaigns`, `targets` and `device` share: the rows that they answer from, made of
//! a log as far as it goes.
//!
//! Beside a log that `hedgerow views` was used on, they are kept in a file and only followed up;
//! of any other log they are made in memory, and nothing is left behind.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use hedgerow_core::TenantId;
use hedgerow_engine::store::{EventStore, StreamSummary};
use hedgerow_engine::view::{CampaignEntry, Cursor, Follower, MemoryViews, ViewStore, Views};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use serde_json::{Value, json};

use super::bar;
use super::output::print;
use super::reading::ReadError;

/// A log and what it holds.
pub(super) struct Log {
    pub(super) store: Arc<SqliteStore>,
    pub(super) streams: Vec<StreamSummary>,
}

impl Log {
    pub(super) fn open(file: &Path) -> Result<Self, ReadError> {
        let store = Arc::new(SqliteStore::open_read_only(file)?);
        let streams = wait(store.streams())?;
        Ok(Self { store, streams })
    }

    /// The tenant that was named, if the log has it, or the only one that it has.
    pub(super) fn tenant(
        &self,
        file: &Path,
        named: Option<&TenantId>,
    ) -> Result<TenantId, ReadError> {
        let mut tenants: Vec<_> = self.streams.iter().map(|stream| stream.tenant.clone()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let listed = || tenants.iter().map(ToString::to_string).collect();
        let file = || file.to_owned();
        match (&tenants[..], named) {
            ([], _) => Err(ReadError::NoTenant { file: file() }),
            (all, Some(named)) if all.contains(named) => Ok(named.clone()),
            (_, Some(named)) => {
                let (tenant, tenants) = (named.clone(), listed());
                Err(ReadError::UnknownTenant { file: file(), tenant, tenants })
            }
            ([only], None) => Ok(only.clone()),
            _ => Err(ReadError::WhichTenant { file: file(), tenants: listed() }),
        }
    }

    /// Its rows, made as far as it goes.
    pub(super) fn views(self) -> Result<Views, ReadError> {
        let rows = self.rows();
        self.follow(Arc::clone(&rows))?;
        Ok(Views::new(rows))
    }

    /// The rows beside it, or new ones in memory.
    fn rows(&self) -> Arc<dyn ViewStore> {
        let beside = SqliteViews::beside(self.store.path());
        if beside.exists() {
            match SqliteViews::open(beside) {
                Ok(rows) => return Arc::new(rows),
                Err(error) => eprintln!("warning: {error}; the whole log is read instead"),
            }
        }
        Arc::new(MemoryViews::new())
    }

    /// Makes rows as far as the log went when it was opened, with a bar on a terminal: while somebody
    /// writes there is always one event more.
    pub(super) fn follow(&self, rows: Arc<dyn ViewStore>) -> Result<u64, ReadError> {
        let events = wait(self.store.last_position())?;
        let bar = bar::of(events);
        bar.set_message("events read");
        let mut following = Follower::new(self.store.clone(), rows);
        let mut events_read = 0;
        loop {
            let step = wait(following.step())?;
            events_read += u64::try_from(step).unwrap_or(0);
            bar.set_position(following.position().min(events));
            if step == 0 || following.position() >= events {
                bar.finish_and_clear();
                return Ok(events_read);
            }
        }
    }
}

/// An error if what was printed of one of these is from before something that cannot be read.
pub(super) fn all_readable<'a>(
    entries: impl IntoIterator<Item = &'a CampaignEntry>,
) -> Result<(), ReadError> {
    let unreadable =
        |entry: &'a CampaignEntry| Some((entry.campaign, entry.unreadable.as_ref()?.clone()));
    let mut unreadable = entries.into_iter().filter_map(unreadable);
    match unreadable.next() {
        None => Ok(()),
        Some((campaign, detail)) => {
            Err(ReadError::Partly { campaign, detail, others: unreadable.count() })
        }
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

/// What leads to the next page, as JSON.
pub(super) fn next(next: Option<&Cursor>) -> Value {
    next.map_or(Value::Null, |next| Value::String(next.to_string()))
}

/// A page that is to be printed.
pub(super) struct Printed<'a, T> {
    /// What its entries are, as JSON calls them.
    pub(super) what: &'static str,
    /// What is on it.
    pub(super) entries: &'a [T],
    /// What leads to the next one; null: it is the last.
    pub(super) next: Value,
    /// What people are told where there is nothing.
    pub(super) none: String,
}

impl<T> Printed<'_, T> {
    /// Prints it as JSON, or a line for each entry.
    pub(super) fn print(
        self,
        json: bool,
        as_json: fn(&T) -> Value,
        line: fn(&T, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), ReadError> {
        let Self { what, entries, next, none } = self;
        print(|out| {
            if json {
                let entries: Vec<_> = entries.iter().map(as_json).collect();
                serde_json::to_writer_pretty(&mut *out, &json!({ what: entries, "next": next }))?;
                return writeln!(out);
            }
            if entries.is_empty() && next.is_null() {
                writeln!(out, "{none}")?;
            }
            for entry in entries {
                line(entry, out)?;
            }
            match next {
                Value::Null => Ok(()),
                Value::String(next) => writeln!(out, "more: the same with --after {next}"),
                next => writeln!(out, "more: the same with --after {next}"),
            }
        })?;
        Ok(())
    }
}
