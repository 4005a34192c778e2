//! The tables, and the migrations that lead to them.

use rusqlite::{Connection, TransactionBehavior};

/// Marks a SQLite file as a store of Hedgerow: "Hdgr".
pub(crate) const APPLICATION_ID: i32 = 0x4864_6772;

/// Each brings a file from the schema of its place to the next one. What was released is never
/// changed: a file that was written then must come to the same tables.
const MIGRATIONS: [&str; 1] = [
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
];

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

/// Brings a file to the newest schema, in one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_by(connection, &MIGRATIONS)
}

fn migrate_by(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let (_, found) = marks(connection)?;
    if found >= newest(migrations) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(migrations))?;
    transaction.commit()
}

/// Looks at the first page of every table, so that a file that is damaged there is refused.
pub(crate) fn look(connection: &Connection) -> rusqlite::Result<()> {
    for table in
        ["tenants", "streams", "event_types", "events", "operations", "claims", "snapshots"]
    {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} LIMIT 1"))?;
        statement.exists([])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_gets_what_it_lacks_and_keeps_what_it_has() {
        let mut connection = Connection::open_in_memory().expect("opens");
        migrate(&mut connection).expect("a new file");
        connection.execute("INSERT INTO tenants (name) VALUES ('hedge')", []).expect("written");
        let longer = [MIGRATIONS[0], "ALTER TABLE tenants ADD COLUMN note TEXT"];
        migrate_by(&mut connection, &longer).expect("migrated");
        assert_eq!(marks(&connection), Ok((APPLICATION_ID, 2)));
        let name = connection.query_row("SELECT name FROM tenants WHERE note IS NULL", [], |row| {
            row.get::<_, String>(0)
        });
        assert_eq!(name.as_deref(), Ok("hedge"));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().expect("opens");
        migrate(&mut connection).expect("a new file");
        let wrong = [MIGRATIONS[0], "CREATE TABLE notes (id INTEGER); nonsense"];
        assert!(migrate_by(&mut connection, &wrong).is_err());
        assert_eq!(marks(&connection), Ok((APPLICATION_ID, 1)));
        assert!(connection.prepare("SELECT * FROM notes").is_err());
    }
}
