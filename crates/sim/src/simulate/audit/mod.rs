//! The judge over the log of a store: every event of every stream is looked at once, in the order in
//! which it became durable, and what the store keeps beside the log is compared with it.
//!
//! The judge is that of the simulation. What only the world could tell, such as what a device said,
//! is believed here: see [`Evidence`](super::Evidence).
//!
//! ```
//! use hedgerow_engine::store::memory::MemoryStore;
//! use hedgerow_sim::simulate::audit;
//!
//! let audited = audit(&MemoryStore::new(), &mut |_events| {})?;
//! assert!(audited.findings.is_empty());
//! # Ok::<(), hedgerow_engine::store::StoreError>(())
//! ```

mod beside;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hedgerow_core::event::{CampaignEvent, EventError, ManualUpdateEvent};
use hedgerow_core::{DeviceId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::checksum::{Chain, goes_on};
use hedgerow_engine::store::retention::{Note, NoteKind};
use hedgerow_engine::store::{EventStore, StoreError};
use serde::Serialize;
use uuid::Uuid;

use super::check::{Checker, Event};
use super::invariant::{Invariant, Violation};
use crate::runtime::wait;

/// Events read at once.
const PAGE: usize = 10_000;
/// Findings that are kept; those beyond are counted only.
const MOST_FINDINGS: usize = 1_000;

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Audit {
    /// How many campaigns the log has.
    pub campaigns: u64,
    /// How many manual updates the log has.
    pub manual_updates: u64,
    /// How many OTA operations were started.
    pub operations: u64,
    /// How many appends were made.
    pub appends: u64,
    /// How many events were read.
    pub events: u64,
    /// How many of them have no checksum, as they were recorded by a version without.
    pub events_without_checksum: u64,
    /// The position of the last of them.
    pub position: u64,
    /// How many streams were archived and removed.
    pub removed: u64,
    /// How many streams were imported from an archive: each is judged alone, as the log does not tell
    /// what happened beside it.
    pub imported: u64,
    /// What does not hold: the first finding of each stream, and what the store keeps beside the
    /// log and should not.
    pub findings: Vec<Finding>,
    /// How many findings there were beyond those that are kept.
    pub more_findings: u64,
    /// What could not be looked at, and why.
    pub unread: Vec<Remark>,
    /// What is worth knowing, and is no finding.
    pub remarks: Vec<Remark>,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// An event, or the events of an append together.
    Event,
    /// What the store says of a stream as a whole.
    Stream,
    /// A claim.
    Claim,
    /// The index from operations to streams.
    OperationIndex,
    /// A state snapshot.
    Snapshot,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// The invariant.
    pub invariant: Invariant,
    /// The rule that it follows from.
    pub rule: &'static str,
    /// The tenant.
    pub tenant: TenantId,
    /// The stream, if it is about one.
    pub stream: Option<StreamId>,
    /// The event's number in its stream, if it is about one.
    pub version: Option<u64>,
    /// The event's number in the whole store.
    pub position: Option<u64>,
    /// When the event was recorded.
    pub at: Option<Timestamp>,
    /// The device, if it is about one.
    pub device: Option<DeviceId>,
    /// What was seen.
    pub message: String,
}

/// Something about a stream that is not a broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Remark {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The stream.
    pub stream: Option<StreamId>,
    /// What there is to say.
    pub message: String,
}

/// Audits a store, which may be written to meanwhile. `progress` is told how many events were read.
///
/// # Errors
/// If the store cannot be read.
pub fn audit(store: &dyn EventStore, progress: &mut dyn FnMut(u64)) -> Result<Audit, StoreError> {
    let mut auditor = Auditor {
        store,
        progress,
        judges: BTreeMap::new(),
        given_up: BTreeSet::new(),
        changed: BTreeSet::new(),
        append: None,
        chains: HashMap::new(),
        apart: BTreeSet::new(),
        is_partial: false,
        audit: Audit::default(),
    };
    auditor.is_partial = auditor.has_gaps()?;
    auditor.read_on()?;
    auditor.look_beside()?;
    let operations: usize = auditor.judges.values().map(|judge| judge.checker.operations()).sum();
    auditor.audit.operations = operations as u64;
    Ok(auditor.audit)
}

/// The judge of one tenant, or of a stream that was imported.
struct Judge {
    checker: Checker,
    /// The appends that there were.
    causes: HashSet<Uuid>,
}

/// The append that the last event was in.
struct Append {
    tenant: TenantId,
    stream: StreamId,
    cause: Uuid,
    version: u64,
    position: u64,
    at: Timestamp,
}

struct Auditor<'a> {
    store: &'a dyn EventStore,
    progress: &'a mut dyn FnMut(u64),
    /// One for each tenant, and one for each stream that is judged apart.
    judges: BTreeMap<(TenantId, Option<StreamId>), Judge>,
    /// Streams with a finding, or that could not be read: what follows in them says nothing.
    given_up: BTreeSet<(TenantId, StreamId)>,
    /// Streams that have grown since that was last looked at.
    changed: BTreeSet<(TenantId, StreamId)>,
    append: Option<Append>,
    chains: HashMap<(TenantId, StreamId), Chain>,
    /// Streams that were imported: what happened beside them stands elsewhere in the log, or nowhere.
    apart: BTreeSet<(TenantId, StreamId)>,
    /// Whether streams were removed: what the others tell of them is believed.
    is_partial: bool,
    audit: Audit,
}

impl Auditor<'_> {
    /// Reads up to the end of the log.
    fn read_on(&mut self) -> Result<(), StoreError> {
        loop {
            let page = wait(self.store.read_all(self.audit.position, PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                goes_on(self.audit.position, stored)?;
                self.audit.position = stored.position;
                self.audit.events_without_checksum += u64::from(stored.checksum.is_none());
                self.take(stored);
            }
            self.audit.events += page.len() as u64;
            (self.progress)(self.audit.events);
        }
        // An append becomes visible as a whole: the last one is complete.
        self.append_ends();
        Ok(())
    }

    /// Whether positions are missing, as they are once something was removed.
    fn has_gaps(&self) -> Result<bool, StoreError> {
        let counted =
            || wait(self.store.streams()).map(|all| all.iter().map(|of| of.version).sum());
        let events: u64 = counted()?;
        // Somebody may write meanwhile: what is there now was counted by then.
        let behind = wait(self.store.read_all(events, 1))?;
        let Some(behind) = behind.first() else { return Ok(false) };
        Ok(behind.position > counted()?)
    }

    /// Which judge a stream has.
    fn judge_of(&self, tenant: &TenantId, stream: StreamId) -> (TenantId, Option<StreamId>) {
        let is_apart = !self.apart.is_empty() && self.apart.contains(&(tenant.clone(), stream));
        (tenant.clone(), is_apart.then_some(stream))
    }

    /// A stream was removed, or is told anew from here on: what was read of it says nothing any more.
    fn noted(&mut self, stored: &StoredEvent, note: &Note) {
        self.append_ends();
        let key = (stored.tenant.clone(), stored.stream);
        self.give_up(&key.0, key.1);
        self.given_up.remove(&key);
        self.chains.remove(&key);
        self.judges.remove(&(key.0.clone(), Some(key.1)));
        self.changed.insert(key.clone());
        match note.kind {
            NoteKind::Removed => {
                self.audit.removed += 1;
                self.apart.remove(&key);
            }
            NoteKind::Imported => {
                self.audit.imported += 1;
                self.apart.insert(key);
            }
        }
    }

    fn take(&mut self, stored: &StoredEvent) {
        match Note::of(stored) {
            Ok(None) => {}
            Ok(Some(note)) => return self.noted(stored, &note),
            Err(error) => {
                self.append_ends();
                let invariant = Invariant::Checksums;
                let (rule, at) = (invariant.rule(), stored.event.recorded_at);
                let (stream, device) = (Some(stored.stream), None);
                let message = error.to_string();
                let violation = Violation { invariant, rule, at, stream, device, message };
                return self.found_at(stored, violation);
            }
        }
        let (stream, version) = (stored.stream, stored.version);
        let cause = stored.event.causation_id;
        let goes_on = self.append.as_ref().is_some_and(|append| {
            append.cause == cause && append.stream == stream && append.tenant == stored.tenant
        });
        if !goes_on {
            self.append_ends();
            self.audit.appends += 1;
            self.changed.insert((stored.tenant.clone(), stream));
        }
        if let Some(append) = self.append.as_mut().filter(|_| goes_on) {
            append.version = version;
            append.position = stored.position;
            append.at = stored.event.recorded_at;
        } else {
            let (tenant, position) = (stored.tenant.clone(), stored.position);
            let at = stored.event.recorded_at;
            self.append = Some(Append { tenant, stream, cause, version, position, at });
        }
        if !self.given_up.is_empty() && self.given_up.contains(&(stored.tenant.clone(), stream)) {
            return;
        }
        if let Err(broken) = self.judge(stored, !goes_on) {
            match broken {
                Broken::Rule(violation) => self.found_at(stored, violation),
                Broken::Unread(message) => {
                    let (tenant, stream) = (Some(stored.tenant.clone()), Some(stream));
                    self.audit.unread.push(Remark { tenant, stream, message });
                    self.give_up(&stored.tenant, stored.stream);
                }
            }
        }
    }

    /// Looks at one event. `begins`: it is the first of its append.
    fn judge(&mut self, stored: &StoredEvent, begins: bool) -> Result<(), Broken> {
        let (stream, version, at) = (stored.stream, stored.version, stored.event.recorded_at);
        let key = self.judge_of(&stored.tenant, stream);
        let is_partial = self.is_partial || key.1.is_some();
        let judge = match self.judges.get_mut(&key) {
            Some(judge) => judge,
            None => self.judges.entry(key).or_insert_with(|| Judge {
                checker: Checker::of_log(stored.tenant.clone(), is_partial),
                causes: HashSet::new(),
            }),
        };
        let last = judge.checker.version_of(stream);
        if last == 0 {
            match stream {
                StreamId::Campaign(_) => self.audit.campaigns += 1,
                StreamId::ManualUpdate(_) => self.audit.manual_updates += 1,
                StreamId::Catalogue => {}
            }
        }
        let broken = |invariant: Invariant, message| {
            Broken::Rule(Violation {
                invariant,
                rule: invariant.rule(),
                at,
                stream: Some(stream),
                device: None,
                message,
            })
        };
        if version != last + 1 {
            let message = format!("event {version} follows on event {last}: some are missing");
            return Err(broken(Invariant::ExpectedVersion, message));
        }
        if begins && !judge.causes.insert(stored.event.causation_id) {
            let message = "its append is in the log a second time".to_owned();
            return Err(broken(Invariant::ExpectedVersion, message));
        }
        let chain = self.chains.entry((stored.tenant.clone(), stream)).or_default();
        chain.check(stored).map_err(|error| broken(Invariant::Checksums, error.to_string()))?;
        let event = match stream {
            StreamId::Campaign(_) => CampaignEvent::from_stored(stored).map(Event::Campaign),
            StreamId::ManualUpdate(_) => ManualUpdateEvent::from_stored(stored).map(Event::Manual),
            StreamId::Catalogue => {
                judge.checker.read_catalogue();
                return Ok(());
            }
        };
        let event = event.map_err(|error| match error {
            EventError::UnknownType { .. } | EventError::NewerSchema { .. } => {
                Broken::Unread(error.to_string())
            }
            error => broken(Invariant::StateIsFold, error.to_string()),
        })?;
        judge.checker.read(stream, &event, at).map_err(Broken::Rule)
    }

    /// What must hold after every append.
    fn append_ends(&mut self) {
        let Some(append) = self.append.take() else { return };
        let key = self.judge_of(&append.tenant, append.stream);
        let Some(judge) = self.judges.get_mut(&key) else { return };
        if let Err(violation) = judge.checker.append_ends(append.stream, append.at) {
            let Append { tenant, stream, version, position, at, .. } = append;
            let place = Place::of_event(version, position, at);
            let stream = violation.stream.or(Some(stream));
            self.found(tenant, stream, place, violation);
        }
    }

    fn found_at(&mut self, stored: &StoredEvent, violation: Violation) {
        let place = Place::of_event(stored.version, stored.position, stored.event.recorded_at);
        self.found(stored.tenant.clone(), Some(stored.stream), place, violation);
    }

    /// Notes a finding, and leaves the rest of its stream out.
    fn found(
        &mut self,
        tenant: TenantId,
        stream: Option<StreamId>,
        place: Place,
        violation: Violation,
    ) {
        if let Some(stream) = stream {
            self.give_up(&tenant, stream);
        }
        if self.audit.findings.len() >= MOST_FINDINGS {
            self.audit.more_findings += 1;
            return;
        }
        let Violation { invariant, rule, device, message, .. } = violation;
        let Place { subject, version, position, at } = place;
        self.audit.findings.push(Finding {
            subject,
            invariant,
            rule,
            tenant,
            stream,
            version,
            position,
            at,
            device,
            message,
        });
    }

    fn give_up(&mut self, tenant: &TenantId, stream: StreamId) {
        let key = self.judge_of(tenant, stream);
        if let Some(judge) = self.judges.get_mut(&key) {
            judge.checker.give_up(stream);
        }
        self.given_up.insert((tenant.clone(), stream));
    }
}

/// Where something was found.
#[derive(Clone, Copy)]
struct Place {
    subject: Subject,
    version: Option<u64>,
    position: Option<u64>,
    at: Option<Timestamp>,
}

impl Place {
    fn of_event(version: u64, position: u64, at: Timestamp) -> Self {
        let (version, position, at) = (Some(version), Some(position), Some(at));
        Self { subject: Subject::Event, version, position, at }
    }

    fn beside(subject: Subject, version: Option<u64>) -> Self {
        Self { subject, version, position: None, at: None }
    }
}

/// Why a stream is not followed any further.
enum Broken {
    Rule(Violation),
    /// This version does not read it.
    Unread(String),
}
