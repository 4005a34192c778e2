//! The campaign's real state machine, checked in every order of what can happen to it within small
//! bounds: three devices, messages delivered, lost and told twice, calls that fail, crashes of the
//! engine, devices that fail or lose power, pauses and cancels. See `docs/model-checking.md`.
//!
//! The small bounds run with every `cargo test`; `cargo xtask model` runs the larger ones.

mod act;
mod audit;
mod device;
mod network;
mod setup;
mod world;

use std::time::Instant;

use hedgerow_core::{CampaignStatus, Outcome};
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::act::Act;
use crate::audit::Promise;
use crate::setup::Bounds;
use crate::world::World;

/// All worlds within some bounds, and what is to hold in them.
struct Worlds {
    beginnings: Vec<World>,
    properties: fn() -> Vec<Property<Worlds>>,
}

impl Model for Worlds {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        self.beginnings.clone()
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        world.acts(acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        Some(world.after(act))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        (self.properties)()
    }
}

fn all_properties() -> Vec<Property<Worlds>> {
    let mut properties = promises();
    properties.push(Property::always(
        "nothing stands still but an end or a pause",
        |_, world: &World| {
            let campaign = world.live.campaign();
            let may_rest = campaign.is_settled() || campaign.status() == CampaignStatus::Paused;
            may_rest || world.broken.is_some() || !world.is_still()
        },
    ));
    properties
        .push(Property::always("liveness: in calm every campaign ends", |_, world: &World| {
            world.broken.is_some() || world.ends_in_calm()
        }));
    properties.extend(examples());
    properties
}

fn promises() -> Vec<Property<Worlds>> {
    // A condition is a plain function, so each promise needs one of its own.
    macro_rules! kept {
        ($($promise:ident),*) => {
            Promise::ALL.into_iter().map(|(promise, name)| match promise {
                $(Promise::$promise => Property::always(name, |_: &Worlds, world: &World| {
                    world.broken != Some(Promise::$promise)
                })),*
            }).collect()
        };
    }
    kept!(
        Bound,
        Attempts,
        Spacing,
        SameRequest,
        RecordedFirst,
        Outage,
        Final,
        Refused,
        Truth,
        FailureLimit,
        OneOperation,
        Pause,
        Cancel,
        Fold
    )
}

/// What must have been seen, or the bounds are so small that the promises mean nothing.
fn examples() -> Vec<Property<Worlds>> {
    fn ended(world: &World, outcome: Outcome) -> bool {
        world.live.campaign().outcome() == Some(outcome) && world.live.campaign().is_settled()
    }
    vec![
        Property::sometimes("it succeeds", |_, world| ended(world, Outcome::Success)),
        Property::sometimes("it fails", |_, world| ended(world, Outcome::Failure)),
        Property::sometimes("it is cancelled", |_, world| ended(world, Outcome::Cancelled)),
        Property::sometimes("it is paused", |_, world: &World| {
            world.live.campaign().status() == CampaignStatus::Paused
        }),
        Property::sometimes("a request is resent", |_, world: &World| world.audit.has_resent()),
        Property::sometimes("a request is sent again after a crash", |_, world: &World| {
            world.audit.has_reissued()
        }),
    ]
}

fn worlds(bounds: &[Bounds], properties: fn() -> Vec<Property<Worlds>>) -> Worlds {
    let beginnings: Result<_, _> = bounds.iter().map(|bounds| World::new(*bounds)).collect();
    Worlds { beginnings: beginnings.expect("the bounds make a campaign"), properties }
}

fn explore(bounds: &[Bounds]) {
    let begun = Instant::now();
    let checker = worlds(bounds, all_properties)
        .checker()
        .threads(std::thread::available_parallelism().map_or(1, usize::from))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{} different states, reached in {} steps, at most {} one after the other, in {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

/// Limit of pending operations, retries, faults, commands.
fn bounds(list: &[(u32, u16, u8, u8)]) -> Vec<Bounds> {
    let bounds = |&(max_pending, retries, faults, commands)| Bounds {
        max_pending,
        retries,
        faults,
        commands,
    };
    list.iter().map(bounds).collect()
}

#[test]
fn the_promises_hold_in_every_order_of_what_can_happen_with_one_fault() {
    explore(&bounds(&[(1, 1, 1, 0), (2, 2, 0, 1)]));
}

#[test]
#[ignore = "a minute with optimisation: cargo xtask model"]
fn the_promises_hold_in_every_order_of_what_can_happen_within_larger_bounds() {
    explore(&bounds(&[
        (1, 0, 1, 1),
        (1, 1, 1, 1),
        (1, 2, 1, 1),
        (1, 1, 2, 0),
        (2, 0, 0, 2),
        (2, 0, 1, 0),
        (2, 1, 1, 0),
        (2, 2, 1, 0),
    ]));
}

#[test]
#[ignore = "long, and takes gigabytes of memory: cargo xtask model --deep"]
fn the_promises_hold_in_every_order_of_what_can_happen_within_deep_bounds() {
    explore(&bounds(&[
        (1, 0, 2, 1),
        (1, 1, 2, 1),
        (1, 2, 2, 1),
        (2, 0, 1, 1),
        (2, 1, 1, 1),
        (2, 2, 1, 1),
    ]));
}

#[test]
fn what_does_not_hold_is_found() {
    fn wrong() -> Vec<Property<Worlds>> {
        vec![
            Property::always("no request is sent again", |_, world: &World| {
                !world.audit.has_resent() && !world.audit.has_reissued()
            }),
            Property::always("no campaign fails", |_, world: &World| {
                world.live.campaign().outcome() != Some(Outcome::Failure)
            }),
        ]
    }
    let checker = worlds(&bounds(&[(1, 1, 1, 0)]), wrong).checker().spawn_bfs().join();
    checker.assert_any_discovery("no request is sent again");
    checker.assert_any_discovery("no campaign fails");
}
