//! The states of a campaign and of an operation: drawn and listed from the tables in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use hedgerow_core::event::{CampaignEvent, SnapshotExtended};
use hedgerow_core::*;

use super::diagram::{Look, State, Way, draw};
use super::{check_file, check_part};

/// Which state may follow on which, as a table of Markdown.
fn table<S: Copy>(all: &[S], name: fn(S) -> &'static str, may_become: fn(S, S) -> bool) -> String {
    let mut text = "| from ↓ to → |".to_owned();
    for state in all {
        let _ = write!(text, " `{}` |", name(*state));
    }
    let _ = write!(text, "\n|---|{}\n", ":-:|".repeat(all.len()));
    for from in all {
        let _ = write!(text, "| `{}` |", name(*from));
        for to in all {
            text += if may_become(*from, *to) { " ● |" } else { " |" };
        }
        text.push('\n');
    }
    text
}

/// The events that take a campaign from one status to another, found by folding every event that
/// changes a status onto a campaign in every status.
fn campaign_ways() -> BTreeMap<(usize, usize), BTreeSet<&'static str>> {
    let now = Timestamp::from_millis(0);
    let id: CampaignId = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("an id");
    let tenant: TenantId = "realm".parse().expect("a tenant");
    let created = |scheduled_at| {
        Campaign::create(super::shapes::definition(), scheduled_at, now).expect("it is valid")
    };
    let (scheduled, at_once) = (created(Some(Timestamp::from_millis(1))), created(None));
    let event = |event_type: &str, data: &str| {
        let event = NewEvent {
            event_type: event_type.to_owned(),
            schema_version: CampaignEvent::TYPES
                .iter()
                .find(|(known, _)| *known == event_type)
                .map_or(1, |(_, schema)| *schema),
            recorded_at: now,
            correlation_id: uuid::Uuid::nil(),
            causation_id: uuid::Uuid::nil(),
            data: data.as_bytes().to_vec(),
        };
        CampaignEvent::from_new(StreamId::Campaign(id), &event).expect("it reads")
    };
    let text = |event: &CampaignEvent| String::from_utf8(event.to_json()).expect("UTF-8");
    let changes = [
        event("campaign_edited", &text(&scheduled)),
        event("campaign_edited", &text(&at_once)),
        event("campaign_deleted", "{}"),
        event("campaign_started", r#"{"targets":1}"#),
        event("campaign_pausing", "{}"),
        event("campaign_paused", "{}"),
        event("campaign_resumed", "{}"),
        event("campaign_finished", r#"{"outcome":"success"}"#),
    ];
    let device = DeviceId::from_bytes([1; 16]);
    let snapshot = CampaignEvent::from(SnapshotExtended { devices: vec![device] });
    let mut ways: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut reached: Vec<Campaign> = [scheduled, at_once]
        .iter()
        .map(|created| Campaign::begin(tenant.clone(), id, created, now).expect("it begins"))
        .collect();
    while let Some(campaign) = reached.pop() {
        if !seen.insert((place(campaign.status()), campaign.counts().total)) {
            continue;
        }
        for change in changes.iter().chain([&snapshot]) {
            let mut next = campaign.clone();
            if next.apply(change, now).is_err() {
                continue;
            }
            let way = (place(campaign.status()), place(next.status()));
            if way.0 != way.1 {
                ways.entry(way).or_default().insert(change.event_type());
            }
            reached.push(next);
        }
    }
    ways
}

fn place(status: CampaignStatus) -> usize {
    CampaignStatus::ALL.iter().position(|other| *other == status).expect("ALL has all of them")
}

#[test]
fn the_events_of_a_campaign_change_its_status_just_as_the_table_says() {
    let ways = campaign_ways();
    assert!(ways.values().all(|events| events.len() == 1), "one event each: {ways:?}");
    let by_events: BTreeSet<_> = ways.into_keys().collect();
    let by_table: BTreeSet<_> = CampaignStatus::ALL
        .into_iter()
        .flat_map(|from| CampaignStatus::ALL.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from.may_become(*to))
        .map(|(from, to)| (place(from), place(to)))
        .collect();
    assert_eq!(by_events, by_table);
}

#[test]
fn the_book_shows_where_a_campaign_can_stand() {
    let states = CampaignStatus::ALL.map(|status| {
        let (row, columns) = match status {
            CampaignStatus::Deleted => (0, (0, 0)),
            CampaignStatus::Scheduled => (1, (0, 0)),
            CampaignStatus::Idle => (1, (1, 1)),
            CampaignStatus::InProgress => (1, (2, 2)),
            CampaignStatus::Pausing => (1, (3, 3)),
            CampaignStatus::Paused => (1, (4, 4)),
            CampaignStatus::Finished => (2, (0, 4)),
        };
        let follows = CampaignStatus::ALL.into_iter().any(|next| status.may_become(next));
        let look = if follows { Look::Open } else { Look::Final };
        State { name: status.name(), row, columns, pitch: 160, look }
    });
    let ways: Vec<_> = campaign_ways()
        .into_iter()
        .map(|((from, to), events)| {
            let events: Vec<_> =
                events.into_iter().map(|event| event.trim_start_matches("campaign_")).collect();
            Way { from, to, label: events.join(", ") }
        })
        .collect();
    let title = "Where a campaign can stand, and the events that take it there";
    check_file("diagrams/campaign.svg", &draw(title, &states, &ways));
    check_part(
        "concepts.md",
        "campaign table",
        &table(&CampaignStatus::ALL, CampaignStatus::name, CampaignStatus::may_become),
    );
}

/// Of the ways that the table allows, those that cannot be gone in smaller steps, errors left out.
fn smallest_steps() -> Vec<(Phase, Phase)> {
    let forward =
        |from: Phase, to: Phase| from != Phase::Error && to != Phase::Error && from.may_become(to);
    let pairs = Phase::ALL.into_iter().flat_map(|from| Phase::ALL.map(|to| (from, to)));
    pairs
        .filter(|(from, to)| {
            let between = |step: Phase| forward(*from, step) && forward(step, *to);
            forward(*from, *to) && !Phase::ALL.into_iter().any(between)
        })
        .collect()
}

#[test]
fn the_book_shows_where_an_operation_can_stand() {
    let place = |phase| Phase::ALL.iter().position(|other| *other == phase).expect("one of ALL");
    let mut states: Vec<_> = Phase::ALL
        .into_iter()
        .map(|phase| {
            let (row, column) = match phase {
                Phase::Pending => (1, 0),
                Phase::Acknowledged => (1, 1),
                Phase::Downloading => (1, 2),
                Phase::Deploying => (1, 3),
                Phase::Deployed => (1, 4),
                Phase::Rebooting => (1, 5),
                Phase::Error => (2, 3),
                Phase::Success => (0, 6),
                Phase::Failure => (2, 6),
            };
            let look = if phase.is_final() { Look::Final } else { Look::Open };
            State { name: phase.name(), row, columns: (column, column), pitch: 132, look }
        })
        .collect();
    states.push(State { name: "", row: 1, columns: (0, 5), pitch: 132, look: Look::Frame });
    let way = |from, to| Way { from, to, label: String::new() };
    let mut ways: Vec<_> =
        smallest_steps().into_iter().map(|(from, to)| way(place(from), place(to))).collect();

    // The frame stands for all phases inside; the text beside the picture says what it leaves out.
    let inside = Phase::ALL.into_iter().filter(|phase| !phase.is_final() && *phase != Phase::Error);
    assert!(inside.clone().all(|phase| phase.may_become(Phase::Error)));
    ways.push(Way { from: Phase::ALL.len(), to: place(Phase::Error), label: "error".to_owned() });
    let first = inside.clone().find(|phase| Phase::Error.may_become(*phase)).expect("it goes on");
    let after = |phase: &Phase| Phase::Error.may_become(*phase);
    assert!(
        Phase::ALL.into_iter().filter(after).eq(Phase::ALL
            .into_iter()
            .filter(|phase| *phase == first || first.may_become(*phase))
            .filter(|phase| *phase != Phase::Error)),
        "an error is followed by its first phase or what may follow on that"
    );
    ways.push(Way { from: place(Phase::Error), to: place(first), label: "goes on".to_owned() });

    let title = "Where an operation can stand";
    check_file("diagrams/operation.svg", &draw(title, &states, &ways));
    check_part(
        "concepts.md",
        "operation table",
        &table(&Phase::ALL, Phase::name, Phase::may_become),
    );
}
