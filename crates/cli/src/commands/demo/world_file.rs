//! Where the simulated devices are kept: a `SQLite` file beside the log. Each step of the simulation
//! is kept whole or not at all.

use std::path::{Path, PathBuf};

use hedgerow_core::Timestamp;
use hedgerow_sim::device::SimulatedDevice;
use hedgerow_sim::fleet::Fleet;
use hedgerow_sim::fleet_run::KeepWorld;
use rusqlite::{Connection, OptionalExtension, params};

/// Marks the file: "Hdwd".
const APPLICATION_ID: i32 = 0x4864_7764;
/// The shape of what it holds.
const VERSION: i32 = 1;

/// What a demo was begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) devices: u32,
    pub(super) max_pending: u32,
}

/// Why the devices could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorldError {
    #[error(
        "{} cannot be used ({source}): look at its permissions, at the room on its disk, at quotas, and at limits on the size of files", path.display()
    )]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error(
        "{} does not hold the simulated devices of this version of the demo: give another --db, the file was left as it is", path.display()
    )]
    Foreign { path: PathBuf },
    #[error("{} is damaged ({what}): remove it and its log, or give another --db", path.display())]
    Damaged { path: PathBuf, what: String },
}

/// An open world.
pub(super) struct WorldFile {
    path: PathBuf,
    connection: Connection,
}

impl WorldFile {
    /// Opens the file, or creates it with these settings, and tells with which it was created.
    pub(super) fn open(path: &Path, wanted: &Settings) -> Result<(Self, Settings), WorldError> {
        let failed = |source| failure(path, source);
        let connection = Connection::open(path).map_err(failed)?;
        let mut world = Self { path: path.to_owned(), connection };
        world.prepare(wanted).map_err(failed)??;
        let settings = world.settings().map_err(failed)?;
        let settings = settings.ok_or_else(|| WorldError::Foreign { path: path.to_owned() })?;
        Ok((world, settings))
    }

    fn prepare(&mut self, wanted: &Settings) -> rusqlite::Result<Result<(), WorldError>> {
        let transaction = self.connection.transaction()?;
        let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (pragma("application_id")?, pragma("user_version")?);
        let tables: u32 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 && (application != APPLICATION_ID || version != VERSION) {
            return Ok(Err(WorldError::Foreign { path: self.path.clone() }));
        }
        if tables == 0 {
            transaction.execute_batch(
                "CREATE TABLE world (
                    seed INTEGER NOT NULL,
                    devices INTEGER NOT NULL,
                    max_pending INTEGER NOT NULL,
                    now INTEGER NOT NULL
                ) STRICT;
                CREATE TABLE devices (id INTEGER PRIMARY KEY, state BLOB NOT NULL) STRICT;",
            )?;
            transaction.execute(
                "INSERT INTO world VALUES (?1, ?2, ?3, ?4)",
                params![
                    wanted.seed.cast_signed(),
                    wanted.devices,
                    wanted.max_pending,
                    super::BEGINNING.as_millis()
                ],
            )?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(Ok(()))
    }

    fn settings(&self) -> rusqlite::Result<Option<Settings>> {
        let query = "SELECT seed, devices, max_pending FROM world";
        let read = self.connection.query_row(query, [], |row| {
            let seed: i64 = row.get(0)?;
            Ok(Settings {
                seed: seed.cast_unsigned(),
                devices: row.get(1)?,
                max_pending: row.get(2)?,
            })
        });
        read.optional()
    }

    /// The time that was last kept.
    pub(super) fn now(&self) -> Result<Timestamp, WorldError> {
        self.connection
            .query_row("SELECT now FROM world", [], |row| row.get(0))
            .map(Timestamp::from_millis)
            .map_err(|source| failure(&self.path, source))
    }

    /// Puts the devices into the state that was kept of them.
    pub(super) fn restore(&self, fleet: &Fleet) -> Result<(), WorldError> {
        let failed = |source| failure(&self.path, source);
        let mut statement =
            self.connection.prepare("SELECT id, state FROM devices").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let index: u32 = row.get(0).map_err(failed)?;
            let state: Vec<u8> = row.get(1).map_err(failed)?;
            let device: Option<SimulatedDevice> = postcard::from_bytes(&state).ok();
            if !device.is_some_and(|device| fleet.restore(index, device)) {
                let what = format!("the state of device {index} cannot be read");
                return Err(WorldError::Damaged { path: self.path.clone(), what });
            }
        }
        Ok(())
    }

    fn write(&mut self, now: Timestamp, states: &[(u32, Vec<u8>)]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction
                .prepare_cached("INSERT OR REPLACE INTO devices (id, state) VALUES (?1, ?2)")?;
            for (index, state) in states {
                statement.execute(params![index, state])?;
            }
        }
        transaction.execute("UPDATE world SET now = ?1", [now.as_millis()])?;
        transaction.commit()
    }
}

impl KeepWorld for WorldFile {
    type Error = WorldError;

    fn keep(
        &mut self,
        now: Timestamp,
        changed: &[(u32, SimulatedDevice)],
    ) -> Result<(), WorldError> {
        if changed.is_empty() {
            return Ok(());
        }
        let mut states = Vec::with_capacity(changed.len());
        for (index, device) in changed {
            let state = postcard::to_stdvec(device).map_err(|error| WorldError::Damaged {
                path: self.path.clone(),
                what: error.to_string(),
            })?;
            states.push((*index, state));
        }
        self.write(now, &states).map_err(|source| failure(&self.path, source))
    }
}

fn failure(path: &Path, source: rusqlite::Error) -> WorldError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => WorldError::Foreign { path },
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            WorldError::Damaged { path, what: source.to_string() }
        }
        _ => WorldError::Sqlite { path, source },
    }
}
