//! Bytes per target that stay allocated, counted by the allocator: `LiveCampaign` with its index,
//! ready queue and deadlines, beside the map of structs that one writes without a second thought
//! (with a queue and deadlines of the same kind).

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;

use hedgerow_benches::measure::thousands;
use hedgerow_benches::{NOW, Script, device};
use hedgerow_core::{DeviceId, LiveCampaign, OperationId, Phase, TargetStatus, Timestamp};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const TARGETS: u32 = 1_000_000;
const IN_PROGRESS: u32 = 10_000;

fn main() {
    println!("| {} targets | Bytes per target |", thousands(TARGETS as usize));
    println!("|---|---:|");
    live_campaign();
    map_of_structs();
}

fn live_campaign() {
    let script = Script::new(TARGETS, TARGETS, IN_PROGRESS);
    let before = ALLOCATED.current_usage();
    let mut live = script.live();
    let mut moments = [
        ("all idle, all online", (|c, _| c.started_at().is_some()) as Moment),
        ("10,000 in progress", |c, _| c.counts().in_progress >= IN_PROGRESS - IN_PROGRESS / 100),
        ("half done, the rest in progress or idle", |c, _| c.counts().successful >= TARGETS / 2),
        ("done", |_, live| live.campaign().is_settled()),
    ]
    .into_iter();
    let mut next = moments.next();
    for input in script.batches(1).flatten() {
        drop(live.handle(input, NOW).expect("nothing is refused"));
        while let Some((name, is_reached)) = next
            && is_reached(live.campaign(), &live)
        {
            report("`LiveCampaign`", name, before);
            next = moments.next();
        }
    }
    assert!(next.is_none(), "every moment is reached");
}

type Moment = fn(&hedgerow_core::Campaign, &LiveCampaign) -> bool;

/// A target as people write it.
#[derive(Clone)]
struct Target {
    status: TargetStatus,
    online: bool,
    current_version: Option<String>,
    operation: Option<Operation>,
    retry_count: u32,
    latest_attempt: Option<Timestamp>,
    failure: Option<String>,
}

#[derive(Clone)]
#[expect(dead_code, reason = "it takes its room, whether it is read or not")]
struct Operation {
    id: OperationId,
    phase: Phase,
    progress: u8,
    message: String,
    reported_at: Option<Timestamp>,
    deadline: Timestamp,
}

fn map_of_structs() {
    let before = ALLOCATED.current_usage();
    let mut targets = HashMap::new();
    let mut ready = BTreeSet::new();
    let mut deadlines = BTreeSet::new();
    for device in (0..TARGETS).map(device) {
        targets.insert(device, idle());
        ready.insert((None::<Timestamp>, device));
    }
    report("Map of structs", "all idle, all online", before);
    for device in (0..IN_PROGRESS).map(device) {
        begin(&mut targets, &mut ready, &mut deadlines, device);
    }
    report("Map of structs", "10,000 in progress", before);
    for number in 0..TARGETS / 2 {
        finish(&mut targets, &mut deadlines, device(number));
        begin(&mut targets, &mut ready, &mut deadlines, device(number + IN_PROGRESS));
    }
    report("Map of structs", "half done, the rest in progress or idle", before);
    black_box((targets, ready, deadlines));
}

fn idle() -> Target {
    Target {
        status: TargetStatus::Idle,
        online: true,
        current_version: None,
        operation: None,
        retry_count: 0,
        latest_attempt: None,
        failure: None,
    }
}

fn begin(
    targets: &mut HashMap<DeviceId, Target>,
    ready: &mut BTreeSet<(Option<Timestamp>, DeviceId)>,
    deadlines: &mut BTreeSet<(Timestamp, DeviceId)>,
    device: DeviceId,
) {
    let target = targets.get_mut(&device).expect("it is a target");
    assert!(target.online && target.retry_count == 0 && target.failure.is_none());
    ready.remove(&(target.latest_attempt, device));
    target.status = TargetStatus::InProgress;
    target.current_version = Some("1.0.0".to_owned());
    target.latest_attempt = Some(NOW);
    target.operation = Some(Operation {
        id: OperationId::from_uuid(uuid::Uuid::nil()),
        phase: Phase::Pending,
        progress: 0,
        message: String::new(),
        reported_at: None,
        deadline: NOW,
    });
    deadlines.insert((NOW, device));
}

fn finish(
    targets: &mut HashMap<DeviceId, Target>,
    deadlines: &mut BTreeSet<(Timestamp, DeviceId)>,
    device: DeviceId,
) {
    let target = targets.get_mut(&device).expect("it is a target");
    assert_eq!(target.status, TargetStatus::InProgress);
    assert!(target.current_version.is_some());
    target.status = TargetStatus::Successful;
    if let Some(operation) = target.operation.take() {
        deadlines.remove(&(operation.deadline, device));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn report(what: &str, when: &str, before: usize) {
    let bytes = ALLOCATED.current_usage() - before;
    println!("| {what}: {when} | {:.1} |", bytes as f64 / f64::from(TARGETS));
}
