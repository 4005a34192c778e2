//! What a demo says in the end.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hedgerow_core::{CampaignId, DeviceId, Settlement, TargetCounts};
use hedgerow_engine::Progress;
use hedgerow_sim::fleet_run::FleetRun;
use serde::Serialize;

use super::DemoError;
use super::world_file::WorldFile;
use crate::commands::bar::clock;
use crate::commands::output::to_paste;

/// How many devices are named for each reason.
const EXAMPLES: usize = 3;

/// Why some targets failed.
#[derive(Serialize)]
struct Reason {
    #[serde(rename = "reason")]
    name: &'static str,
    targets: u32,
    examples: Vec<DeviceId>,
}

#[derive(Serialize)]
pub(super) struct Report {
    campaign: CampaignId,
    outcome: Option<&'static str>,
    targets: TargetCounts,
    failures: Vec<Reason>,
    events: u64,
    simulated_seconds: u64,
    real_seconds: f64,
    log: PathBuf,
}

pub(super) fn make(
    run: &mut FleetRun<WorldFile>,
    id: CampaignId,
    progress: &Progress,
    real_time: Duration,
    db: &Path,
) -> Result<Report, DemoError> {
    let mut failures = Vec::new();
    if let Some(campaign) = run.campaign(id)? {
        for (reason, targets) in campaign.failure_reasons() {
            let failed = Settlement::Failed(reason);
            let examples = campaign.targets().filter(|target| target.settlement == failed);
            let examples = examples.take(EXAMPLES).map(|target| target.device).collect();
            failures.push(Reason { name: reason.name(), targets, examples });
        }
    }
    let ended = progress.finished_at.unwrap_or(run.now()).max(run.now());
    Ok(Report {
        campaign: id,
        outcome: progress.outcome.map(hedgerow_core::Outcome::name),
        targets: progress.targets,
        failures,
        events: progress.events,
        simulated_seconds: progress.started_at.map_or(0, |started| ended.since(started).as_secs()),
        real_seconds: (real_time.as_secs_f64() * 1_000.0).round() / 1_000.0,
        log: db.to_owned(),
    })
}

impl Report {
    pub(super) fn print_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let targets = self.targets;
        writeln!(out, "campaign {}: {}", self.campaign, self.outcome.unwrap_or("unfinished"))?;
        writeln!(
            out,
            "  {} targets: {} successful, {} failed, {} cancelled, {} idle",
            targets.total, targets.successful, targets.failed, targets.cancelled, targets.idle
        )?;
        let mut examples: BTreeMap<&str, &DeviceId> = BTreeMap::new();
        if !self.failures.is_empty() {
            writeln!(out, "  why targets failed:")?;
        }
        for failure in &self.failures {
            let named: Vec<_> = failure.examples.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "    {:>6}  {:<28} such as {}",
                failure.targets,
                failure.name,
                named.join(", ")
            )?;
            examples.extend(failure.examples.first().map(|device| (failure.name, device)));
        }
        writeln!(
            out,
            "  {} events; {} simulated in {:.1} s",
            self.events,
            clock(Duration::from_secs(self.simulated_seconds)),
            self.real_seconds
        )?;
        writeln!(out, "  the log is in {}; next:", self.log.display())?;
        let log = to_paste(&self.log);
        writeln!(out, "    hedgerow show {log}")?;
        if let Some(device) = examples.values().next() {
            writeln!(out, "    hedgerow log {log} --device {device}")?;
        }
        Ok(())
    }
}
