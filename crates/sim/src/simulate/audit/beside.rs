//! What a store keeps beside the log: how far each stream is, claims, the index of operations, state
//! snapshots. All of it follows from the log, and is compared with it.

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{StreamId, TenantId, Timestamp};
use hedgerow_engine::campaign_in_snapshot;
use hedgerow_engine::store::{Activity, HeldClaim, StoreError, StreamSummary};

use super::{Auditor, PAGE, Place, Remark, Subject};
use crate::runtime::wait;
use crate::simulate::invariant::{Broken, Invariant, Violation};

/// How often claims and streams are compared while somebody writes.
const TRIES: u32 = 3;

/// Something that differs from the log.
struct Difference {
    tenant: TenantId,
    stream: StreamId,
    subject: Subject,
    broken: Broken,
}

impl Auditor<'_> {
    pub(super) fn look_beside(&mut self) -> Result<(), StoreError> {
        let mut differences = Vec::new();
        for _ in 0..TRIES {
            self.changed.clear();
            let streams = wait(self.store.streams())?;
            let claims = wait(self.store.claims())?;
            // Of streams that grow meanwhile nothing is said.
            self.read_on()?;
            differences = self.of_streams(&streams);
            differences.extend(self.of_claims(&claims));
            if differences.is_empty() {
                break;
            }
        }
        self.of_operations(&mut differences)?;
        for Difference { tenant, stream, subject, broken } in differences {
            // The first of each stream: the others follow from it, or can wait.
            if self.given_up.contains(&(tenant.clone(), stream)) {
                continue;
            }
            self.differs(tenant, stream, Place::beside(subject, None), broken);
        }
        for summary in wait(self.store.streams())? {
            self.snapshot(&summary)?;
        }
        Ok(())
    }

    fn differs(&mut self, tenant: TenantId, stream: StreamId, place: Place, broken: Broken) {
        let (invariant, message) = broken;
        let (rule, at) = (invariant.rule(), Timestamp::default());
        let stream = Some(stream);
        let violation = Violation { invariant, rule, at, stream, device: None, message };
        self.found(tenant, stream, place, violation);
    }

    fn is_left_out(&self, tenant: &TenantId, stream: StreamId) -> bool {
        let key = (tenant.clone(), stream);
        self.changed.contains(&key) || self.given_up.contains(&key)
    }

    fn of_streams(&self, streams: &[StreamSummary]) -> Vec<Difference> {
        let mut differences = Vec::new();
        for summary in streams {
            let (tenant, stream) = (&summary.tenant, summary.stream);
            if self.is_left_out(tenant, stream) {
                continue;
            }
            let judge = self.judges.get(&self.judge_of(tenant, stream));
            let checker = judge.map(|judge| &judge.checker);
            let found = checker.map_or(0, |checker| checker.version_of(stream));
            let goes_on = checker.is_some_and(|checker| checker.goes_on(stream));
            let broken = if found != summary.version {
                let message = format!(
                    "the store counts {} events, the log ends after event {found}",
                    summary.version
                );
                (Invariant::ExpectedVersion, message)
            } else if goes_on != (summary.activity == Activity::Active) {
                let message = if goes_on {
                    "it goes on, and is marked as settled: no engine would load it".to_owned()
                } else {
                    "it has ended, and is marked as active".to_owned()
                };
                (Invariant::StateIsFold, message)
            } else {
                continue;
            };
            let (tenant, subject) = (tenant.clone(), Subject::Stream);
            differences.push(Difference { tenant, stream, subject, broken });
        }
        differences
    }

    fn of_claims(&self, held: &[HeldClaim]) -> Vec<Difference> {
        let mut wanted: Vec<HeldClaim> = Vec::new();
        for ((tenant, _), judge) in &self.judges {
            let claims = judge.checker.claims();
            wanted.extend(claims.into_iter().map(|(key, stream)| (tenant.clone(), key, stream)));
        }
        wanted.sort();
        let mut held = held.to_vec();
        held.sort();
        let missing = wanted.iter().filter(|claim| held.binary_search(claim).is_err());
        let missing = missing.map(|claim| (claim, "is missing"));
        let extra = held.iter().filter(|claim| wanted.binary_search(claim).is_err());
        let extra = extra.map(|claim| (claim, "is held without need"));
        let mut differences = Vec::new();
        for ((tenant, key, stream), what) in missing.chain(extra) {
            if !self.is_left_out(tenant, *stream) {
                let broken = (Invariant::Claims, format!("its claim {key} {what}"));
                let (tenant, stream, subject) = (tenant.clone(), *stream, Subject::Claim);
                differences.push(Difference { tenant, stream, subject, broken });
            }
        }
        differences
    }

    /// Reports of active operations must find their stream (E10).
    fn of_operations(&self, differences: &mut Vec<Difference>) -> Result<(), StoreError> {
        for ((tenant, _), judge) in &self.judges {
            for (operation, stream) in judge.checker.active() {
                let indexed = wait(self.store.stream_of_operation(tenant, operation))?;
                if indexed != Some(stream) {
                    let place = indexed.map_or("nowhere".to_owned(), |stream| stream.to_string());
                    let message = format!("the index has its operation {operation} in {place}");
                    let broken = (Invariant::NeverUnknown, message);
                    let (tenant, subject) = (tenant.clone(), Subject::OperationIndex);
                    differences.push(Difference { tenant, stream, subject, broken });
                }
            }
        }
        Ok(())
    }

    /// Compares a state snapshot, with the events after it, with the whole log.
    fn snapshot(&mut self, summary: &StreamSummary) -> Result<(), StoreError> {
        let (tenant, stream) = (&summary.tenant, summary.stream);
        let key = (tenant.clone(), stream);
        let judge = self.judges.get(&self.judge_of(tenant, stream));
        let Some(judge) = judge.filter(|_| !self.given_up.contains(&key)) else {
            return Ok(());
        };
        let Some(folded) = judge.checker.folded(stream) else { return Ok(()) };
        let Some(snapshot) = wait(self.store.load_snapshot(tenant, stream))? else {
            return Ok(());
        };
        let place = Place::beside(Subject::Snapshot, Some(snapshot.version));
        let known = folded.version();
        let Some(mut campaign) = campaign_in_snapshot(&snapshot) else {
            let message = format!(
                "its state snapshot at event {} is damaged, or not one of this version: an engine passes it over and folds the whole log",
                snapshot.version
            );
            let (tenant, stream) = (Some(tenant.clone()), Some(stream));
            self.audit.remarks.push(Remark { tenant, stream, message });
            return Ok(());
        };
        if snapshot.version > known {
            let newer = wait(self.store.read_stream(tenant, stream, known, 1))?;
            if newer.is_empty() {
                let message = format!(
                    "its state snapshot is of event {}, the log ends before",
                    snapshot.version
                );
                self.differs(key.0, key.1, place, (Invariant::StateIsFold, message));
            }
            return Ok(());
        }
        let mut broken = None;
        'tail: while campaign.version() < known {
            let page = wait(self.store.read_stream(tenant, stream, campaign.version(), PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in page.iter().filter(|stored| stored.version <= known) {
                let applied = CampaignEvent::from_stored(stored)
                    .map_err(|error| error.to_string())
                    .and_then(|event| {
                        let at = stored.event.recorded_at;
                        campaign.apply(&event, at).map_err(|error| error.to_string())
                    });
                if let Err(error) = applied {
                    broken = Some(error);
                    break 'tail;
                }
            }
        }
        let message = match broken {
            Some(error) => format!("its state snapshot does not lead on: {error}"),
            None if campaign != *folded => {
                "its state snapshot is not what the events before it say".to_owned()
            }
            None => return Ok(()),
        };
        self.differs(key.0, key.1, place, (Invariant::StateIsFold, message));
        Ok(())
    }
}
