//! Runs that showed faults of an engine in the field, played again: each profile says what it plays.

use hedgerow_sim::simulate::{MemoryStorage, Profile, Setup, simulate};

/// How many devices and campaigns.
const SMALL: (u32, u32) = (20, 3);
const LARGE: (u32, u32) = (200, 6);

#[track_caller]
fn holds(profile: &'static [u8], seed: u64, stop_faults_after: Option<u64>, fleet: (u32, u32)) {
    let (devices, campaigns) = fleet;
    let profile = Profile::from_json(profile).unwrap();
    let setup = Setup { devices, campaigns, stop_faults_after, ..Setup::new(seed, profile) };
    let report = simulate(&setup, &mut MemoryStorage::default()).unwrap();
    assert_eq!(report.violation, None, "seed {seed} of {}", setup.profile.name);
    assert!(report.events > 0);
}

macro_rules! profile {
    ($name:literal) => {
        include_bytes!(concat!("profiles/", $name, ".json"))
    };
}

#[test]
fn e11_no_update_leaves_for_an_answer_from_before_the_store_failed() {
    for seed in [245, 324] {
        holds(profile!("store-out-of-reach"), seed, None, SMALL);
    }
}

#[test]
fn e11_no_gate_is_decided_on_a_version_from_before_a_load() {
    holds(profile!("appends-reads-and-directory-fail"), 7_000_105, Some(107), SMALL);
    holds(profile!("appends-reads-and-directory-fail"), 7_000_118, Some(350), SMALL);
}

#[test]
fn e5_an_append_that_is_refused_for_a_claim_does_not_go_round_for_ever() {
    holds(profile!("two-engines-scheduled-successors"), 10, None, SMALL);
    holds(profile!("two-engines-always-and-people"), 7_000_012, Some(387), SMALL);
}

#[test]
fn d10_nothing_times_out_of_which_every_call_met_a_transport_that_was_down() {
    holds(profile!("crashes-in-an-outage-with-a-failing-store"), 38, None, SMALL);
}

#[test]
fn e11_presence_that_is_told_between_two_look_ups_of_a_large_fleet_is_not_lost() {
    holds(profile!("everything-at-once"), 6_200_173, Some(2_191), LARGE);
    holds(profile!("everything-at-once"), 6_101_482, Some(617), LARGE);
}

#[test]
fn e5_nothing_leaves_the_memory_whose_end_the_store_has_not_taken() {
    holds(profile!("store-down-while-updates-end"), 31, None, (20, 5));
}

/// The newer of two campaigns is the one that starts later, also if its devices were named before
/// the older one started.
#[test]
fn d18_a_campaign_gives_way_to_one_that_was_named_before_it_and_starts_after_it() {
    for seed in [4_154_036, 4_154_237] {
        let profile = profile!("scheduled-campaign-overtaken-while-the-store-is-held");
        holds(profile, seed, None, (4, 1));
    }
}

#[test]
fn e4_subscribers_are_told_of_an_append_whose_answer_comes_after_everything_has_ended() {
    for seed in [4_193_502, 4_193_507, 4_193_734] {
        holds(profile!("last-append-answered-late"), seed, None, (4, 5));
    }
}

/// The judge remembers every answer on which something may still be decided.
#[test]
fn d5_and_d12_are_judged_however_many_campaigns_look_at_a_device_at_once() {
    holds(profile!("many-campaigns-look-at-one-device"), 7_710_041, None, (7, 6));
    holds(profile!("many-campaigns-and-late-appends"), 7_710_663, None, (12, 2));
}

#[test]
fn e12_a_scheduled_campaign_starts_by_the_clock_of_the_engine_however_far_that_was_put_back() {
    let profile = profile!("clock-put-back-before-anything-is-recorded");
    holds(profile, 7_710_210, Some(329), (2, 6));
}

/// What a device shows and that it comes back mean nothing while its target is idle and waits for a
/// slot: its operation is not in progress.
#[test]
fn d24_a_device_that_comes_back_while_its_operation_waits_for_a_slot_is_not_asked_again() {
    holds(profile!("back-while-waiting-for-a-slot"), 7_720_763, None, (40, 1));
}
