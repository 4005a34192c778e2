//! The whole engine with SQLite in virtual time: a campaign over simulated devices from its
//! creation to its end, by default 1,000,000 of them (`cargo bench --bench fleet -- 100000` takes
//! another number). Wall time, peak memory of the process (the simulated devices included) and
//! bytes on disk, for each target. Beside nothing: there is no other engine of this kind to take.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow_benches::log::tenant;
use hedgerow_benches::measure::{rate, thousands};
use hedgerow_benches::{NOW, campaign_id, definition};
use hedgerow_core::Timestamp;
use hedgerow_engine::Progress;
use hedgerow_sim::device::{DeviceProfile, SimulatedDevice};
use hedgerow_sim::fleet::{Fleet, FleetPlan};
use hedgerow_sim::fleet_run::{FleetRun, KeepWorld};
use hedgerow_sqlite::SqliteStore;

/// Where the devices are after a restart does not matter here.
struct KeepNothing;

impl KeepWorld for KeepNothing {
    type Error = Infallible;

    fn keep(&mut self, _: Timestamp, _: &[(u32, SimulatedDevice)]) -> Result<(), Infallible> {
        Ok(())
    }
}

fn main() {
    let devices = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let plan = FleetPlan {
        seed: 1,
        devices,
        system_model: "model".parse().expect("a handle"),
        version: "1.4.0".to_owned(),
        image_version: "2.0.0".to_owned(),
        profile: DeviceProfile::typical(),
    };
    let fleet = Fleet::new(plan, NOW);
    let memory_of_devices = memory("VmRSS");

    let began = Instant::now();
    let store = Arc::new(SqliteStore::open(&path).expect("it opens"));
    let (progress, simulated) = roll_out(fleet, Arc::clone(&store), devices);
    let wall = began.elapsed();
    store.close();

    let targets = progress.targets.total as usize;
    let events = usize::try_from(progress.events).unwrap_or(usize::MAX);
    println!("| {} devices | Whole | For each target |", thousands(devices as usize));
    println!("|---|---:|---:|");
    println!("| wall time | {:.1} s | {:.1} µs |", wall.as_secs_f64(), 1e6 / rate(targets, wall));
    println!("| simulated time | {} h | |", simulated.as_secs() / 3_600);
    let per_second = rate(events, wall) / 1e3;
    println!("| events recorded | {} | {per_second:.0} k/s |", thousands(events));
    row("bytes on disk", on_disk(folder.path()), targets);
    row("peak memory, devices included", memory("VmHWM"), targets);
    row("simulated devices alone, before the start", memory_of_devices, targets);
    println!(
        "\n{} successful, {} failed; outcome {:?}.",
        thousands(progress.targets.successful as usize),
        thousands(progress.targets.failed as usize),
        progress.outcome,
    );
}

fn roll_out(fleet: Fleet, store: Arc<SqliteStore>, devices: u32) -> (Progress, Duration) {
    let mut run = FleetRun::start(tenant(), fleet, KeepNothing, store, NOW).expect("it starts");
    let engine = run.engine();
    let definition = definition(NonZeroU32::new(devices / 20).unwrap_or(NonZeroU32::MIN), "10");
    let create = async move { engine.create(&tenant(), campaign_id(), definition, None).await };
    run.ask(create).expect("it answers").expect("it is created");
    loop {
        let engine = run.engine();
        let ask = async move { engine.progress(&tenant(), campaign_id()).await };
        let progress = run.ask(ask).expect("it answers").expect("it runs");
        if progress.outcome.is_some() && progress.targets.in_progress == 0 {
            return (progress, run.now().since(NOW));
        }
        run.step(Duration::from_secs(1)).expect("it goes on").expect("something happens");
    }
}

fn row(name: &str, bytes: usize, targets: usize) {
    println!("| {name} | {} MB | {} B |", thousands(bytes / 1_000_000), thousands(bytes / targets));
}

fn on_disk(folder: &Path) -> usize {
    let files = folder.read_dir().expect("the folder is read");
    let length = |file: std::fs::DirEntry| file.metadata().expect("it is there").len();
    let bytes: u64 = files.map(|file| length(file.expect("it is there"))).sum();
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A line of what Linux knows of this process, in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says it");
    let kilobytes: usize =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1_024
}
