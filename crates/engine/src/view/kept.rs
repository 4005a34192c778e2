//! What is known of a target, as its row holds it: there are as many as targets, so it takes few
//! bytes, and is written and read in little time. What a campaign's rows have anyway is left out.
//!
//! It is Postcard, in which any bytes can mean something, so a sum of them stands before it. A type
//! of the core that Postcard cannot hold, as it leaves out what is empty, is a text of JSON in it.

use std::borrow::Cow;

use hedgerow_core::event::Confirmation;
use hedgerow_core::{DeviceId, Operation, OperationId, Phase, ReportStatus, StreamId, Timestamp};
use serde::{Deserialize, Serialize};

use super::row::{OperationEnd, OperationEntry, TargetDetails};
use super::store::ViewError;

#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    changed_at: Timestamp,
    retry_count: u16,
    operation: Option<Cow<'a, Operation>>,
    not_before: Option<Timestamp>,
    #[serde(borrow)]
    from_version: Option<Cow<'a, str>>,
    failure: Option<String>,
    #[serde(borrow)]
    trouble: Option<Cow<'a, str>>,
    #[serde(borrow)]
    contradiction: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operations: Vec<KeptOperation<'a>>,
}

#[derive(Serialize, Deserialize)]
struct KeptOperation<'a> {
    operation: OperationId,
    device: DeviceId,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from_version: Option<Cow<'a, str>>,
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
    let kept = Kept {
        changed_at: details.changed_at,
        retry_count: details.retry_count,
        operation: details.operation.as_ref().map(Cow::Borrowed),
        not_before: details.not_before,
        from_version: borrowed(details.from_version.as_ref()),
        failure: details.failure.as_ref().map(text),
        trouble: borrowed(details.trouble.as_ref()),
        contradiction: borrowed(details.contradiction.as_ref()),
        operations: details.operations.iter().map(kept_operation).collect(),
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

fn borrowed(text: Option<&String>) -> Option<Cow<'_, str>> {
    text.map(|text| Cow::Borrowed(text.as_str()))
}

fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}

fn kept_operation(entry: &OperationEntry) -> KeptOperation<'_> {
    KeptOperation {
        operation: entry.operation,
        device: entry.device,
        version: borrowed(entry.version.as_ref()),
        from_version: borrowed(entry.from_version.as_ref()),
        began_at: entry.began_at,
        phase: entry.phase,
        progress: entry.progress,
        resends: entry.resends,
        reported_at: entry.reported_at,
        ended: entry.ended.as_ref().map(|(at, end)| (*at, kept_end(end))),
        late_report: entry.late_report,
    }
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
    let operation = |kept: KeptOperation<'_>| {
        let ended = match kept.ended {
            Some((at, end)) => Some((at, end_of(end)?)),
            None => None,
        };
        Ok::<_, ViewError>(OperationEntry {
            operation: kept.operation,
            stream,
            device: kept.device,
            version: owned(kept.version),
            from_version: owned(kept.from_version),
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
        operation: kept.operation.map(Cow::into_owned),
        not_before: kept.not_before,
        from_version: owned(kept.from_version),
        failure: kept.failure.as_deref().map(value).transpose()?,
        trouble: owned(kept.trouble),
        contradiction: owned(kept.contradiction),
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
