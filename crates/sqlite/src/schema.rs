//! The tables, and the migrations that lead to them.

use rusqlite::Connection;

/// Marks a SQLite file as a store of Hedgerow: "Hdgr".
pub(crate) const APPLICATION_ID: i32 = 0x4864_6772;

/// Each brings a file from the schema of its place to the next one.
const MIGRATIONS: [&str; 1] = [
    // An event repeats nothing that its stream or its type can say once.
    "CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        active INTEGER NOT NULL,
        UNIQUE (tenant, stream)
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
        operation BLOB NOT NULL,
        stream INTEGER NOT NULL REFERENCES streams (id),
        PRIMARY KEY (operation, stream)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE claims (
        tenant TEXT NOT NULL,
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
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Brings a file to the newest schema, in one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(missing) {
        transaction.execute_batch(migration)?;
    }
    if found < NEWEST {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", NEWEST)?;
    }
    transaction.commit()
}
