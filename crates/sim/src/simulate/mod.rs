//! A whole fleet under faults: the real engine on a real store, simulated devices, virtual time,
//! everything that goes wrong drawn from a seed, and a judge that looks at every event.
//!
//! ```
//! use hedgerow_sim::simulate::{MemoryStorage, Profile, Setup, simulate};
//!
//! let setup = Setup { devices: 6, campaigns: 2, ..Setup::new(7, Profile::lossy()) };
//! let report = simulate(&setup, &mut MemoryStorage::default())?;
//! assert_eq!(report.violation, None);
//! # Ok::<(), hedgerow_sim::simulate::SimulateError>(())
//! ```
//!
//! | File | What |
//! |---|---|
//! | `profile`, `fault` | what goes wrong and how often; the dice |
//! | `cast`, `operator` | devices, images, campaigns; what people do |
//! | `world`, `messages`, `ports`, `directory`, `store` | devices, what they say, calls, the directory, the store, and what becomes of them: hooks of the [platform](crate::platform) |
//! | `run` | one run, step by step |
//! | `rows` | rows beside the engines, and what becomes of them |
//! | `invariant`, `check` | what must hold; the judge |
//! | `audit` | the judge over the log of a real store |
//! | `coverage`, `trace`, `shrink` | what was tried; what happened; the smallest prefix that fails |

mod audit;
mod cast;
pub(crate) mod check;
mod coverage;
mod directory;
mod fault;
mod invariant;
mod messages;
mod operator;
mod ports;
mod profile;
mod rows;
mod run;
mod shrink;
mod store;
mod trace;
mod world;

use std::fmt::Write as _;
use std::sync::Arc;

use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{EventStore, StoreError};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use audit::{Audit, Finding, Remark, Subject, audit};
pub use coverage::{Coverage, Transition};
pub use fault::{FaultKind, Unit};
pub use invariant::{Evidence, Invariant, Violation};
pub use profile::{Profile, ProfileError};
pub use shrink::smallest_prefix;
pub use trace::{Line, LineKind, Sample};

use self::fault::KINDS;
use self::run::Run;
use self::trace::Trace;
use crate::runtime::wait;

/// Events read at once.
const PAGE: usize = 4_096;

/// What is simulated. The same setup gives the same run, on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What everything by chance follows from.
    pub seed: u64,
    /// What goes wrong.
    pub profile: Profile,
    /// How many devices there are; at least 1.
    pub devices: u32,
    /// How many campaigns are planned; operators may create more.
    pub campaigns: u32,
    /// After so many faults there are no more.
    pub stop_faults_after: Option<u64>,
    /// Whether a second engine may write to the same store; a store that only one process may open
    /// at a time need not stand it.
    pub second_engine: bool,
    /// After how many events the engine saves its state beside the log.
    pub snapshot_every: u64,
    /// Whether the report tells everything that happened, line by line.
    pub timeline: bool,
    /// Whether the report has what a picture needs.
    pub samples: bool,
}

impl Setup {
    /// A seed under a profile, with 20 devices and 3 campaigns.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Self {
        Self {
            seed,
            profile,
            devices: 20,
            campaigns: 3,
            stop_faults_after: None,
            second_engine: true,
            snapshot_every: 200,
            timeline: false,
            samples: false,
        }
    }
}

/// Why a simulation could not be run. That an invariant does not hold is none: see
/// [`Report::violation`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The store failed by itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the store of a run is kept.
pub trait Storage {
    /// Opens the store: the same one each time. Called at the beginning, and again whenever no
    /// engine is left after a crash: what was opened before may be closed then.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&mut self) -> Result<Arc<dyn EventStore>, StoreError>;

    /// Throws the store away: the next one opened is empty.
    ///
    /// # Errors
    /// If that fails.
    fn reset(&mut self) -> Result<(), StoreError>;
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStorage {
    store: MemoryStore,
}

impl Storage for MemoryStorage {
    fn open(&mut self) -> Result<Arc<dyn EventStore>, StoreError> {
        Ok(Arc::new(self.store.clone()))
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.store = MemoryStore::new();
        Ok(())
    }
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The name of the profile.
    pub profile: String,
    /// What did not hold, if anything.
    pub violation: Option<Violation>,
    /// How many faults were injected.
    pub faults: u64,
    /// How many events the log has.
    pub events: u64,
    /// SHA-256 over the whole log: the same setup gives the same one.
    pub log_hash: String,
    /// What was tried.
    #[serde(skip)]
    pub coverage: Coverage,
    /// What happened, if [`Setup::timeline`] was set.
    #[serde(skip)]
    pub timeline: Vec<Line>,
    /// How the rollout stood, if [`Setup::samples`] was set.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// When faults were injected, if [`Setup::samples`] was set.
    #[serde(skip)]
    pub marks: Vec<hedgerow_core::Timestamp>,
}

/// Runs a simulation to its end, or to the first thing that does not hold. The store is thrown
/// away first.
///
/// # Errors
/// [`SimulateError`] if it could not be run.
pub fn simulate(setup: &Setup, storage: &mut dyn Storage) -> Result<Report, SimulateError> {
    storage.reset()?;
    let trace = Trace::keeping(setup.timeline, setup.samples);
    let mut run = Run::new(setup, storage, trace)?;
    run.run()?;
    let (events, log_hash) = hash(&**run.store())?;
    let violation = run.violation();
    let mut inner = run.world().inner();
    let mut coverage = inner.judges.take_coverage();
    let passed = inner.now.since(cast::BEGINNING).as_millis();
    coverage.virtual_ms = u64::try_from(passed).unwrap_or(u64::MAX);
    let injected = inner.faults.injected();
    coverage.faults = (0..KINDS)
        .filter(|kind| injected[*kind] > 0)
        .map(|kind| (FaultKind::ALL[kind], injected[kind]))
        .collect();
    let (samples, marks) = inner.trace.take_samples();
    Ok(Report {
        seed: setup.seed,
        profile: setup.profile.name.clone(),
        violation,
        faults: inner.faults.total(),
        events,
        log_hash,
        coverage,
        timeline: inner.trace.take_lines(),
        samples,
        marks,
    })
}

/// The number of events and the hash of everything that is stored of them.
fn hash(store: &dyn EventStore) -> Result<(u64, String), StoreError> {
    let mut hash = Sha256::new();
    let mut events = 0;
    let mut after = 0;
    loop {
        let page = wait(store.read_all(after, PAGE))?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for stored in &page {
            events += 1;
            let event = &stored.event;
            hash.update(stored.tenant.as_str());
            hash.update([0]);
            hash.update(stored.stream.to_string());
            hash.update([0]);
            hash.update(event.event_type.as_bytes());
            hash.update([0]);
            hash.update(stored.version.to_be_bytes());
            hash.update(event.schema_version.to_be_bytes());
            hash.update(event.recorded_at.as_millis().to_be_bytes());
            hash.update(event.correlation_id.as_bytes());
            hash.update(event.causation_id.as_bytes());
            hash.update((event.data.len() as u64).to_be_bytes());
            hash.update(&event.data);
        }
    }
    let text = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok((events, text))
}
