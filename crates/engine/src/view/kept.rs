//! What is known of a target, as its row holds it: there are as many as targets, so it takes few
//! bytes, and is written and read in little time. What a campaign's rows have anyway is left out.
//!
//! It is Postcard, in which any bytes can mean something, so a sum of them stands before it. A type
//! of the core that Postcard cannot hold, as it leaves out what is empty, is a text of JSON in it.

use hedgerow_core::event::Confirmation;
use hedgerow_core::{DeviceId, Operation, OperationId, Phase, ReportStatus, StreamId, Timestamp};
use serde::{Deserialize, Serialize};

use super::row::{OperationEnd, OperationEntry, TargetDetails};
use super::store::ViewError;

#[derive(Serialize, Deserialize)]
struct Kept {
    changed_at: Timestamp,
    retry_count: u16,
    operation: Option<Operation>,
    not_before: Option<Timestamp>,
    from_version: Option<String>,
    failure: Option<String>,
    trouble: Option<String>,
    contradiction: Option<String>,
    operations: Vec<KeptOperation>,
}

#[derive(Serialize, Deserialize)]
struct KeptOperation {
    operation: OperationId,
    device: DeviceId,
    version: Option<String>,
    from_version: Option<String>,
    began_at: Timestamp,
    phase: Phase,
    progress: u8,
    resends: u16,
    reported_at: Option<Timestamp>,
    ended: Option<(Timestamp, KeptEnd)>,
    late_report: Option<(Timestamp, ReportStatus)>,
}

#[derive(Serialize, Deserialize)]
enum KeptEnd {
    Succeeded(Confirmation),
    Failed(String),
    Refused,
    Abandoned,
}

fn damaged(detail: &(impl ToString + ?Sized)) -> ViewError {
    ViewError::Damaged { detail: detail.to_string() }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn value<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ViewError> {
    serde_json::from_str(text).map_err(|error| damaged(&error))
}

/// Not against anybody: for bytes that were damaged by chance.
fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^= sum >> 29;
    }
    let [.., a, b, c, d] = sum.to_le_bytes();
    [a, b, c, d]
}

/// The row of a target.
pub(super) fn row(details: &TargetDetails) -> Vec<u8> {
    let operation = |entry: &OperationEntry| KeptOperation {
        operation: entry.operation,
        device: entry.device,
        version: entry.version.clone(),
        from_version: entry.from_version.clone(),
        began_at: entry.began_at,
        phase: entry.phase,
        progress: entry.progress,
        resends: entry.resends,
        reported_at: entry.reported_at,
        ended: entry.ended.as_ref().map(|(at, end)| (*at, kept_end(end))),
        late_report: entry.late_report,
    };
    let kept = Kept {
        changed_at: details.changed_at,
        retry_count: details.retry_count,
        operation: details.operation.clone(),
        not_before: details.not_before,
        from_version: details.from_version.clone(),
        failure: details.failure.as_ref().map(text),
        trouble: details.trouble.clone(),
        contradiction: details.contradiction.clone(),
        operations: details.operations.iter().map(operation).collect(),
    };
    let mut row = Vec::with_capacity(192);
    row.extend_from_slice(&[0; 4]);
    // If it could not be written, the row would say so to whoever reads it.
    let mut row = postcard::to_extend(&kept, row).unwrap_or_default();
    if let Some((first, rest)) = row.split_first_chunk_mut::<4>() {
        *first = sum(rest);
    }
    row
}

fn kept_end(end: &OperationEnd) -> KeptEnd {
    match end {
        OperationEnd::Succeeded(confirmation) => KeptEnd::Succeeded(*confirmation),
        OperationEnd::Failed(failure) => KeptEnd::Failed(text(failure)),
        OperationEnd::Refused => KeptEnd::Refused,
        OperationEnd::Abandoned => KeptEnd::Abandoned,
    }
}

/// What the row of a target of that campaign holds.
pub(super) fn details(row: &[u8], stream: StreamId) -> Result<TargetDetails, ViewError> {
    let (found, rest) = row.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if *found != sum(rest) {
        return Err(damaged("its bytes do not fit their sum"));
    }
    let kept: Kept = postcard::from_bytes(rest).map_err(|error| damaged(&error))?;
    let operation = |kept: KeptOperation| {
        let ended = match kept.ended {
            Some((at, end)) => Some((at, end_of(end)?)),
            None => None,
        };
        Ok::<_, ViewError>(OperationEntry {
            operation: kept.operation,
            stream,
            device: kept.device,
            version: kept.version,
            from_version: kept.from_version,
            began_at: kept.began_at,
            phase: kept.phase,
            progress: kept.progress,
            resends: kept.resends,
            reported_at: kept.reported_at,
            ended,
            late_report: kept.late_report,
        })
    };
    Ok(TargetDetails {
        changed_at: kept.changed_at,
        retry_count: kept.retry_count,
        operation: kept.operation,
        not_before: kept.not_before,
        from_version: kept.from_version,
        failure: kept.failure.as_deref().map(value).transpose()?,
        trouble: kept.trouble,
        contradiction: kept.contradiction,
        operations: kept.operations.into_iter().map(operation).collect::<Result<_, _>>()?,
    })
}

fn end_of(end: KeptEnd) -> Result<OperationEnd, ViewError> {
    Ok(match end {
        KeptEnd::Succeeded(confirmation) => OperationEnd::Succeeded(confirmation),
        KeptEnd::Failed(failure) => OperationEnd::Failed(value(&failure)?),
        KeptEnd::Refused => OperationEnd::Refused,
        KeptEnd::Abandoned => OperationEnd::Abandoned,
    })
}
