//! What an append is made of: events with their surroundings, and the ids that tell whose they are
//! (E13).

use hedgerow_core::{NewEvent, OperationId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::live::EncodedEvent;
use crate::shared::Shared;
use crate::store::{Activity, Claim, StreamAppend};

/// The namespace of correlation and causation ids.
const CAUSES: Uuid = Uuid::from_u128(0x3c1f_0b8e_66a5_5c0d_a1f4_7f7a_0c93_d2b1);

/// The id of an append: the same whenever this engine tries the same append again, and another one
/// for another engine, which may decide the very same at the very same instant (E13). Without that,
/// a writer whose append failed would take the other's events for its own.
fn cause(shared: &Shared, tenant: &TenantId, stream: StreamId, expected: u64) -> Uuid {
    let writer = shared.writer;
    Uuid::new_v5(&CAUSES, format!("{tenant}/{stream}@{expected} by {writer}").as_bytes())
}

/// Puts the surroundings to events that are to be appended behind version `expected`; `inputs[i]` is
/// the number of the input that led to event `i`.
pub(crate) fn stamp(
    shared: &Shared,
    (tenant, stream, expected): (&TenantId, StreamId, u64),
    events: Vec<EncodedEvent>,
    inputs: &[usize],
    now: Timestamp,
) -> Vec<NewEvent> {
    let cause = cause(shared, tenant, stream, expected);
    events
        .into_iter()
        .zip(inputs)
        .map(|(event, input)| NewEvent {
            event_type: event.event_type.to_owned(),
            schema_version: event.schema_version,
            recorded_at: now,
            // As many bytes on every machine.
            correlation_id: Uuid::new_v5(&cause, &(*input as u64).to_be_bytes()),
            causation_id: cause,
            data: event.data,
        })
        .collect()
}

/// The append that begins a stream.
pub(crate) fn beginning(
    shared: &Shared,
    tenant: &TenantId,
    stream: StreamId,
    first: EncodedEvent,
    (claims_taken, operations): (Vec<Claim>, Vec<OperationId>),
    now: Timestamp,
) -> StreamAppend {
    StreamAppend {
        tenant: tenant.clone(),
        stream,
        expected_version: 0,
        events: stamp(shared, (tenant, stream, 0), vec![first], &[0], now),
        claims_taken,
        claims_released: Vec::new(),
        operations,
        activity: Activity::Active,
    }
}
