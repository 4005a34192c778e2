//! The tables, and the migrations that lead to them.

use rusqlite::{Connection, Row};

/// Marks a SQLite file as a store of Hedgerow: "Hdgr".
pub(crate) const APPLICATION_ID: i32 = 0x4864_6772;

/// Each brings a file from the schema of its place to the next one. What was released is never
/// changed: a file that was written then must come to the same tables.
const MIGRATIONS: [&str; 3] = [
    // An event repeats nothing that its stream or its type can say once, and has one index: a
    // million events are written and kept as cheaply as two identifiers in each of them allow.
    "CREATE TABLE tenants (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        tenant INTEGER NOT NULL REFERENCES tenants (id),
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        active INTEGER NOT NULL,
        UNIQUE (tenant, name)
    ) STRICT;
    CREATE TABLE event_types (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL REFERENCES streams (id),
        version INTEGER NOT NULL,
        event_type INTEGER NOT NULL REFERENCES event_types (id),
        schema_version INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        correlation_id BLOB NOT NULL,
        causation_id BLOB NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX events_of_stream ON events (stream, version);
    CREATE TABLE operations (
        tenant INTEGER NOT NULL REFERENCES tenants (id),
        operation BLOB NOT NULL,
        stream INTEGER NOT NULL REFERENCES streams (id),
        PRIMARY KEY (tenant, operation)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE claims (
        tenant INTEGER NOT NULL REFERENCES tenants (id),
        key TEXT NOT NULL,
        stream INTEGER NOT NULL REFERENCES streams (id),
        PRIMARY KEY (tenant, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE snapshots (
        stream INTEGER PRIMARY KEY REFERENCES streams (id),
        version INTEGER NOT NULL,
        format INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;",
    // Checksums (E14): of each event, and in its stream's row that of the last one, on which the
    // next one builds. Events that are there already stay without. Seals are for the rows that no
    // event's checksum covers, the session for the log beside the file.
    "ALTER TABLE events ADD COLUMN checksum BLOB;
    ALTER TABLE streams ADD COLUMN checksum BLOB;
    ALTER TABLE streams ADD COLUMN seal INTEGER;
    ALTER TABLE operations ADD COLUMN seal INTEGER;
    ALTER TABLE claims ADD COLUMN seal INTEGER;
    CREATE TABLE session (id INTEGER PRIMARY KEY, mark BLOB NOT NULL) STRICT;",
    // Streams that were removed: their rows stay, with another standing, and their notes are events
    // of the version 0, which older versions would take for damage.
    "CREATE INDEX unswept_streams ON streams (id) WHERE active = 2;",
];

/// How a stream stands: the column `active` of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Settled = 0,
    Active = 1,
    /// It was removed, and its events may be there still.
    Removed = 2,
    /// It was removed, and nothing of it is left but its note.
    Swept = 3,
}

impl Standing {
    pub(crate) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        match row.get(column)? {
            0 => Ok(Self::Settled),
            1 => Ok(Self::Active),
            2 => Ok(Self::Removed),
            3 => Ok(Self::Swept),
            other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
        }
    }

    pub(crate) fn is_removed(self) -> bool {
        matches!(self, Self::Removed | Self::Swept)
    }
}

/// The newest schema.
pub(crate) const NEWEST: i64 = newest(&MIGRATIONS);

// A handful of migrations is far from wrapping.
#[allow(clippy::cast_possible_wrap)]
const fn newest(migrations: &[&str]) -> i64 {
    migrations.len() as i64
}

/// The marks of a file: its application id and its schema.
pub(crate) fn marks(connection: &Connection) -> rusqlite::Result<(i32, i64)> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((application, schema))
}

/// Brings a file to the newest schema, within a transaction of the caller.
pub(crate) fn migrate(transaction: &Connection) -> rusqlite::Result<()> {
    migrate_by(transaction, &MIGRATIONS)
}

fn migrate_by(transaction: &Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let (_, found) = marks(transaction)?;
    if found >= newest(migrations) {
        return Ok(());
    }
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(migrations))
}

/// What the tables of an older file lack, as a reader sees them: the file itself stays as it is.
const LACKS: [&str; 2] = [
    "PRAGMA temp_store = MEMORY;
    CREATE TEMP VIEW events AS SELECT *, NULL AS checksum FROM main.events;
    CREATE TEMP VIEW streams AS SELECT *, NULL AS checksum, NULL AS seal FROM main.streams;
    CREATE TEMP VIEW operations AS SELECT *, NULL AS seal FROM main.operations;
    CREATE TEMP VIEW claims AS SELECT *, NULL AS seal FROM main.claims;
    CREATE TEMP VIEW session AS SELECT 1 AS id, NULL AS mark;",
    "",
];

/// Makes an older file look like one of the newest schema on this connection, without changing it.
pub(crate) fn look_newer(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    let lacking = usize::try_from(found - 1).ok().and_then(|schema| LACKS.get(schema));
    lacking.map_or(Ok(()), |views| connection.execute_batch(views))
}

/// Every table with the columns that are used.
const TABLES: [(&str, &str); 8] = [
    ("tenants", "id, name"),
    ("streams", "id, tenant, name, version, active, checksum, seal"),
    ("event_types", "id, name"),
    (
        "events",
        "position, stream, version, event_type, schema_version, recorded_at, correlation_id, \
         causation_id, data, checksum",
    ),
    ("operations", "tenant, operation, stream, seal"),
    ("claims", "tenant, key, stream, seal"),
    ("snapshots", "stream, version, format, data"),
    ("session", "id, mark"),
];

/// Looks at the first page of every table, so that a file that is damaged there is refused.
pub(crate) fn look(connection: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        let mut statement =
            connection.prepare(&format!("SELECT {columns} FROM {table} LIMIT 1"))?;
        statement.exists([])?;
    }
    Ok(())
}

/// Looks at all of the tables that rows are looked up in, so that none is passed over because of
/// damage beside it. The first damage that was found.
pub(crate) fn look_over(connection: &Connection) -> rusqlite::Result<Option<String>> {
    for table in ["tenants", "streams", "event_types", "operations", "claims"] {
        let check = format!("PRAGMA main.integrity_check('{table}')");
        let found: String = connection.query_row(&check, [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(format!("the table of {table}: {found}")));
        }
    }
    Ok(None)
}

/// Looks at the whole file. The first damage that was found.
pub(crate) fn look_at_all(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String =
        connection.query_row("PRAGMA main.integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_gets_what_it_lacks_and_keeps_what_it_has() {
        let connection = Connection::open_in_memory().expect("opens");
        migrate(&connection).expect("a new file");
        connection.execute("INSERT INTO tenants (name) VALUES ('hedge')", []).expect("written");
        let [first, second, third] = MIGRATIONS;
        let longer = [first, second, third, "ALTER TABLE tenants ADD COLUMN note TEXT"];
        migrate_by(&connection, &longer).expect("migrated");
        assert_eq!(marks(&connection), Ok((APPLICATION_ID, 4)));
        let name = connection.query_row("SELECT name FROM tenants WHERE note IS NULL", [], |row| {
            row.get::<_, String>(0)
        });
        assert_eq!(name.as_deref(), Ok("hedge"));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().expect("opens");
        migrate(&connection).expect("a new file");
        let [first, second, third] = MIGRATIONS;
        let wrong = [first, second, third, "CREATE TABLE notes (id INTEGER); nonsense"];
        let transaction = connection.transaction().expect("begun");
        assert!(migrate_by(&transaction, &wrong).is_err());
        transaction.rollback().expect("taken back");
        assert_eq!(marks(&connection), Ok((APPLICATION_ID, 3)));
        assert!(connection.prepare("SELECT * FROM notes").is_err());
    }
}
