//! Seals on rows that no event's checksum covers: streams, claims, and the index of operations. A
//! damaged row is told, instead of a campaign that is left alone or a claim that nobody can take.
//!
//! Rows of the first schema have none until they are written again.

use rusqlite::Row;

use crate::schema::Standing;
use sha2::{Digest, Sha256};

/// What a row says, for its seal: each part with its length before it.
pub(crate) fn seal(parts: &[&[u8]]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// The seal of a stream's row.
pub(crate) fn of_stream(
    tenant: i64,
    name: &str,
    version: u64,
    standing: Standing,
    checksum: Option<&[u8]>,
) -> i64 {
    seal(&[
        &tenant.to_be_bytes(),
        name.as_bytes(),
        &version.to_be_bytes(),
        &[standing as u8],
        checksum.unwrap_or_default(),
    ])
}

/// The seal of a claim's row.
pub(crate) fn of_claim(tenant: i64, key: &str, stream: i64) -> i64 {
    seal(&[b"claim", &tenant.to_be_bytes(), key.as_bytes(), &stream.to_be_bytes()])
}

/// The seal of a row of the index of operations.
pub(crate) fn of_operation(tenant: i64, operation: &[u8], stream: i64) -> i64 {
    seal(&[b"operation", &tenant.to_be_bytes(), operation, &stream.to_be_bytes()])
}

/// Compares the seal in a column with what it should be.
pub(crate) fn check(row: &Row<'_>, column: usize, wanted: i64) -> rusqlite::Result<()> {
    match row.get::<_, Option<i64>>(column)? {
        Some(found) if found != wanted => {
            Err(rusqlite::Error::IntegralValueOutOfRange(column, found))
        }
        _ => Ok(()),
    }
}
