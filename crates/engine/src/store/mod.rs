//! The store port: where events, claims and state snapshots are kept.
//!
//! A store appends a batch atomically, checks the expected version of every stream and every claim
//! in the same transaction (E5), and hands events back in order, each with the [`checksum`] that it
//! computed when it was appended (E14). It does not look into payloads.
//! Every implementation runs the suite in [`conformance`], also after `kill -9`.

pub mod checksum;
pub mod conformance;
mod end;
mod layer;
pub mod memory;
pub mod retention;

use std::fmt;

use futures::FutureExt;
use futures::future::ready;
use hedgerow_core::{DeviceId, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};

pub(crate) use end::end_of_log;
pub use layer::StoreLayer;

use self::retention::{ImportError, NotRemoved, StreamImport, StreamRemoval};
use crate::ports::BoxFuture;

/// What must be unique over all streams of a tenant (E5). A stream holds a claim from the append
/// that takes it to the append that releases it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The one active OTA operation of a device (D14).
    Device(DeviceId),
    /// The one started campaign of a System Model and a channel (D18).
    Rollout {
        /// The handle of the System Model.
        system_model: String,
        /// The name of the channel.
        channel: String,
    },
}

impl Claim {
    /// The claim as the text that a store keeps; different claims have different texts.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Device(device) => format!("device/{device}"),
            // A handle has no slash, so the first one ends it.
            Self::Rollout { system_model, channel } => format!("rollout/{system_model}/{channel}"),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// A claim that is held: its tenant, its text ([`Claim::key`]) and the stream that has it.
pub type HeldClaim = (TenantId, String, StreamId);

/// Whether the engine must load a stream when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something may still happen by itself: it is loaded.
    Active,
    /// Only a late report can still touch it: it is loaded when one arrives.
    Settled,
}

/// What one append adds to one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The version of the last event that the writer knows: 0 for a new stream.
    pub expected_version: u64,
    /// The events, in order. May be empty only when claims are released.
    pub events: Vec<NewEvent>,
    /// Claims that the stream takes. One that it holds already is kept.
    pub claims_taken: Vec<Claim>,
    /// Claims that the stream gives back, before `claims_taken` of any stream of this batch are
    /// looked at. One that it does not hold is passed over.
    pub claims_released: Vec<Claim>,
    /// Operations that start here: the index from an operation to its stream (E10). One that is
    /// named again is no error.
    pub operations: Vec<OperationId>,
    /// The stream's activity after this append.
    pub activity: Activity,
}

/// Why an append changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Somebody else wrote to the stream: load it again and decide again (E5).
    #[error(
        "stream {stream} is at version {actual}, not {expected}: another engine writes to it; load it again and decide again"
    )]
    VersionConflict {
        /// The stream.
        stream: StreamId,
        /// What the writer expected.
        expected: u64,
        /// What the store has.
        actual: u64,
    },
    /// Another stream holds a claim.
    #[error("{claim} is held by {holder}: wait until that stream releases it")]
    ClaimConflict {
        /// The claim.
        claim: Claim,
        /// The stream that has it.
        holder: StreamId,
    },
    /// The stream was archived and removed: its id is not used again.
    #[error("{stream} was archived and removed: import its archive to go on with it")]
    Removed {
        /// The stream.
        stream: StreamId,
    },
    /// The store failed. Unless the error says otherwise the append may have been written all the
    /// same: load the stream and look before appending again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A store that cannot do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It failed, and may work again later.
    #[error("the event store failed: {detail}")]
    Unavailable {
        /// What the store said, and what can be done.
        detail: String,
    },
    /// There is no room.
    #[error("the event store is full: {detail}; free some space, nothing recorded so far is lost")]
    Full {
        /// What the store said.
        detail: String,
    },
    /// It may only be read.
    #[error("the event store is read-only: {detail}")]
    ReadOnly {
        /// What the store said, and what can be done.
        detail: String,
    },
    /// What it holds is damaged.
    #[error("the event store is damaged: {detail}")]
    Corrupt {
        /// What is damaged, and what can be done.
        detail: String,
    },
    /// It was closed.
    #[error("the event store is closed: open it again")]
    Closed,
    /// It is of a kind that does not do this.
    #[error("this event store cannot {what}: use one that can, such as the one in a SQLite file")]
    Unsupported {
        /// What it was asked.
        what: &'static str,
    },
}

impl StoreError {
    /// Whether the same call may work later, without anybody closing or repairing the store.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }
}

/// A stream, as far as recovery and listings need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The version of its last event.
    pub version: u64,
    /// As its last append said.
    pub activity: Activity,
}

/// A state saved beside the log, to make opening a long stream fast. Disposable: with none, or one
/// of another format, the stream is folded from its first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSnapshot {
    /// The version of the last event folded into it.
    pub version: u64,
    /// The format of `data`.
    pub format: u32,
    /// The state.
    pub data: Vec<u8>,
}

/// A store of events. See the module's documentation.
///
/// Every method may be called at any time from any thread; a future that is dropped may or may not
/// have taken effect.
pub trait EventStore: Send + Sync + 'static {
    /// Adds to all these streams, or to none: each at its expected version, each claim free or its
    /// own. Durable when it returns `Ok`. A stream occurs at most once in a batch.
    ///
    /// # Errors
    /// [`AppendError::Removed`] and [`AppendError::VersionConflict`] are looked for before
    /// [`AppendError::ClaimConflict`].
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>>;

    /// At most `limit` events of a stream with versions above `after`, in order; fewer only where there
    /// are no more. A stream that does not exist has no events.
    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>>;

    /// At most `limit` events of the whole store with positions above `after`, in order of
    /// position; fewer only where there are no more. An event never appears below one that a reader has already seen. Among them are the
    /// notes about streams that were removed or imported: see [`Note`](retention::Note).
    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>>;

    /// When the event with the highest position was recorded; `None` of an empty store. An engine
    /// that starts does not begin before that (E12). What was imported has times of long ago: behind
    /// it, the time of the note before it counts.
    ///
    /// A store that can look this up answers it so; what is here finds it by bisection, in at most
    /// 128 reads of one event.
    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        async move {
            let (mut newest, mut lowest, mut highest) = (None, 0_u64, 1_u64);
            // No event is above `highest` when this ends.
            while let Some(found) = self.read_all(highest - 1, 1).await?.pop() {
                lowest = found.position;
                newest = Some(found.event.recorded_at);
                if lowest == u64::MAX {
                    break;
                }
                highest = lowest.saturating_mul(2).max(lowest + 1);
            }
            highest -= 1;
            while lowest < highest {
                let middle = lowest + (highest - lowest) / 2;
                match self.read_all(middle, 1).await?.pop() {
                    Some(found) => {
                        lowest = found.position;
                        newest = Some(found.event.recorded_at);
                    }
                    None => highest = middle,
                }
            }
            Ok(newest)
        }
        .boxed()
    }

    /// All streams, in the order in which they were created, but for those that were removed.
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>>;

    /// All claims that are held, with their holders, ordered by tenant and key.
    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>>;

    /// The stream that holds a claim of a tenant, by the claim's text; `None`: nobody does.
    ///
    /// A store that can look this up answers it so; what is here reads all claims.
    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.claims()
            .map(move |claims| {
                let mut claims = claims?.into_iter();
                let held = claims.find(|(of, held, _)| *of == tenant && *held == key);
                Ok(held.map(|(_, _, holder)| holder))
            })
            .boxed()
    }

    /// The stream in which an operation was started (E10).
    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>>;

    /// The newest state snapshot of a stream.
    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>>;

    /// Keeps a state snapshot in place of an older one; one that is older than what the store has,
    /// or of a stream that does not exist, is passed over.
    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes streams, each if it is exactly as its removal says, is settled and holds no claim, and
    /// says of each what became of it. In its place comes the removal's note, at a position of its
    /// own behind all others. Durable when it returns. Quick however long the streams are: what they
    /// leave behind is hidden, and cleared by [`sweep`](EventStore::sweep).
    ///
    /// # Errors
    /// [`StoreError`]; some may have been removed all the same.
    fn remove(
        &self,
        batch: Vec<StreamRemoval>,
    ) -> BoxFuture<'_, Result<Vec<Result<(), NotRemoved>>, StoreError>> {
        drop(batch);
        ready(Err(StoreError::Unsupported { what: "remove streams" })).boxed()
    }

    /// Clears some of what removed streams left behind: so much that who appends meanwhile hardly
    /// waits. `false`: nothing is left.
    fn sweep(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        ready(Ok(false)).boxed()
    }

    /// Puts a stream back, whole or not at all, as one that is settled and holds no claim: its note,
    /// and its events at new positions with the times and checksums that they had. The stream is one
    /// that the store never had, or one that was removed with the same last event.
    ///
    /// # Errors
    /// [`ImportError`]
    fn import(&self, import: StreamImport) -> BoxFuture<'_, Result<(), ImportError>> {
        drop(import);
        ready(Err(StoreError::Unsupported { what: "import streams" }.into())).boxed()
    }

    /// The note of a stream, which says that it was removed, or imported; `None` of one that was
    /// neither.
    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        let _ = (tenant, stream);
        ready(Ok(None)).boxed()
    }

    /// The note of a stream that was removed, and not imported since; `None` of any other.
    fn removed(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        let note = self.note(tenant, stream);
        async { Ok(note.await?.filter(|note| note.event.event_type == retention::REMOVED)) }.boxed()
    }
}
