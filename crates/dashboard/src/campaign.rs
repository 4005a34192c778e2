//! The page of a campaign: how it stands, what it waits for, what failed and why, and every device.
//!
//! What moves by itself is in parts, each an element with an id of its own: the page and the live feed
//! are rendered by the same functions.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use hedgerow_core::{CampaignId, CampaignStatus, HoldReason, TargetStatus, Timestamp, Why};
use hedgerow_engine::view::{CampaignEntry, TargetEntry, TargetQuery};
use hedgerow_graphql::auth::Role;
use maud::{Markup, html};
use serde::Deserialize;

use crate::Shared;
use crate::chart;
use crate::frame::{self, Problem, moment};
use crate::guard::Guest;
use crate::words;

/// How many devices are on a page.
const ON_A_PAGE: usize = 50;
/// Of so many targets that wait it is asked why: all of a large campaign would take too long.
const ASKED_WHY: usize = 200;
/// So many of those that take longest are shown.
const SLOWEST: usize = 5;

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
    after: Option<u32>,
}

/// The campaign that an address names.
pub(crate) async fn found(
    shared: &Shared,
    guest: &Guest,
    campaign: &str,
) -> Result<CampaignEntry, Problem> {
    let id: CampaignId = campaign.parse().map_err(|_| Problem::Unknown)?;
    let entry = shared.engine.campaign(guest.tenant(), id).await?;
    entry.filter(|entry| entry.status != CampaignStatus::Deleted).ok_or(Problem::Unknown)
}

pub(crate) async fn page(
    State(shared): State<Shared>,
    guest: Guest,
    Path((_, campaign)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Problem> {
    let entry = found(&shared, &guest, &campaign).await?;
    let parts = Parts::of(&shared, &guest, &entry).await?;
    let definition = &entry.definition;
    let limits = definition.rollout.limits();
    let base = format!("/t/{}/campaigns/{}", guest.tenant(), entry.campaign);
    let content = html! {
        p.crumbs { a href={ "/t/" (guest.tenant()) "/campaigns" } { "Campaigns" } " / " }
        h1 { (definition.name) }
        p {
            "Brings " b { (definition.base_image.system_model) " " (definition.base_image.version) }
            " to the devices of " b { (definition.channel.name()) } "."
        }
        div #live data-live={ (base) "/live" } data-status=(entry.status.name()) {
            div #state { (parts.state) }
            section aria-labelledby="progress-title" {
                h2 #progress-title { "Progress" }
                div #progress { (parts.progress) }
            }
            div.columns {
                section aria-labelledby="waits-title" {
                    h2 #waits-title { "Why devices wait" }
                    div #waits { (parts.waits) }
                }
                section aria-labelledby="failures-title" {
                    h2 #failures-title { "Why devices failed" }
                    div #failures { (parts.failures) }
                }
                section aria-labelledby="slowest-title" {
                    h2 #slowest-title { "At it for longest" }
                    div #slowest { (parts.slowest) }
                }
            }
        }
        (steering(&guest, &entry, &base))
        section aria-labelledby="limits-title" {
            h2 #limits-title { "Limits" }
            dl {
                dt { "At once at most" } dd { (limits.max_pending_operations) " devices" }
                dt { "Fails when more than" } dd { (limits.max_failure_percentage) " % of its devices have failed" }
                dt { "A silent device is asked again" } dd {
                    (limits.operation.request_retries) " times, each after "
                    (limits.operation.request_timeout.as_secs()) " s"
                }
                @if let Some(required) = &definition.base_image.starting_version_requirement {
                    dt { "Only for devices at" } dd { (required) }
                }
                dt { "Image" } dd { (definition.base_image.url) }
                dt { "Created" } dd { (moment(entry.created_at)) }
            }
        }
        section aria-labelledby="devices-title" {
            h2 #devices-title { "Devices" }
            (devices(&shared, &guest, &entry, &asked, &base).await?)
        }
    };
    Ok(frame::page(&guest, definition.name.as_str(), &content))
}

/// What moves by itself.
pub(crate) struct Parts {
    pub(crate) state: Markup,
    pub(crate) progress: Markup,
    pub(crate) waits: Markup,
    pub(crate) failures: Markup,
    pub(crate) slowest: Markup,
}

impl Parts {
    pub(crate) async fn of(
        shared: &Shared,
        guest: &Guest,
        entry: &CampaignEntry,
    ) -> Result<Self, Problem> {
        let (engine, tenant, id) = (&shared.engine, guest.tenant(), entry.campaign);
        let now = engine.now();
        let from = entry.started_at.unwrap_or(entry.created_at);
        let until = entry.finished_at.filter(|_| entry.targets.in_progress == 0).unwrap_or(now);
        let points = engine.counts_over_time(tenant, id, (from, until.max(from)), 60).await?;
        let most = entry.definition.rollout.limits().max_pending_operations;
        let is_down =
            engine.progress(tenant, id).await.is_ok_and(|progress| progress.transport_is_down);
        Ok(Self {
            state: state(entry, is_down),
            progress: html! {
                (chart::over_time(&points))
                (chart::legend(&entry.targets))
                p { b { (entry.targets.in_progress) } " of at most " (most) " are being updated at the same time." }
            },
            waits: waits(shared, guest, entry).await?,
            failures: failures(guest, entry),
            slowest: slowest(shared, guest, entry, now).await?,
        })
    }
}

fn state(entry: &CampaignEntry, transport_is_down: bool) -> Markup {
    let word = words::campaign(entry);
    html! {
        p.state role="status" { (word.badge()) " " (word.meaning) }
        @if transport_is_down {
            p.problem { "Astarte cannot be reached. It is tried again by itself, and nothing fails because of it." }
        }
        @if entry.contradictions > 0 {
            p.problem {
                (entry.contradictions) " devices show another version now than how their update ended."
            }
        }
        @if let Some(detail) = &entry.unreadable {
            p.problem { "Its log cannot be read to its end, so this is from before: " (detail) }
        }
        @if entry.misses_minimum() {
            p.problem {
                "It was to begin with " (entry.definition.rollout.minimum_targets())
                " devices at least, and there were " (entry.targets.total) "."
            }
        }
    }
}

async fn waits(shared: &Shared, guest: &Guest, entry: &CampaignEntry) -> Result<Markup, Problem> {
    if entry.targets.idle == 0 || entry.status == CampaignStatus::Finished {
        return Ok(html! { p.hint { "No device waits." } });
    }
    let query = TargetQuery {
        status: Some(TargetStatus::Idle),
        limit: ASKED_WHY,
        ..TargetQuery::default()
    };
    let page = shared.engine.targets(guest.tenant(), entry.campaign, &query).await?;
    let targets = page.map(|page| page.targets).unwrap_or_default();
    let whys = shared.engine.whys(guest.tenant(), entry.campaign, &targets).await?;
    let mut counted: BTreeMap<&'static str, (HoldReason, u32)> = BTreeMap::new();
    for why in whys.into_iter().flatten() {
        if let Why::Held(hold) = why {
            counted.entry(hold.reason.name()).or_insert((hold.reason, 0)).1 += 1;
        }
    }
    let mut counted: Vec<_> = counted.into_values().collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(html! {
        @if counted.is_empty() { p.hint { "Their turn is just coming." } }
        ul.reasons { @for (reason, count) in counted { li { b { (count) } " – " (reason.describe()) } } }
        @if entry.targets.idle as usize > targets.len() {
            p.hint { "Counted among the first " (targets.len()) " of " (entry.targets.idle) " that wait." }
        }
    })
}

fn failures(guest: &Guest, entry: &CampaignEntry) -> Markup {
    if entry.failures.is_empty() {
        return html! { p.hint { "No device has failed." } };
    }
    let mut all: Vec<_> = entry.failures.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    html! {
        ul.reasons {
            @for (reason, count) in all {
                @let word = words::failure(*reason);
                li {
                    a href=(format!("/t/{}/campaigns/{}?status=failed&reason={}#devices-title",
                        guest.tenant(), entry.campaign, reason.name())) {
                        b { (count) } " – " (word.name)
                    }
                    div.hint { (word.meaning) }
                }
            }
        }
    }
}

async fn slowest(
    shared: &Shared,
    guest: &Guest,
    entry: &CampaignEntry,
    now: Timestamp,
) -> Result<Markup, Problem> {
    let query = TargetQuery {
        status: Some(TargetStatus::InProgress),
        limit: ASKED_WHY,
        ..TargetQuery::default()
    };
    let page = shared.engine.targets(guest.tenant(), entry.campaign, &query).await?;
    let mut targets = page.map(|page| page.targets).unwrap_or_default();
    targets.retain(|target| began_at(target).is_some());
    targets.sort_by_key(began_at);
    Ok(html! {
        @if targets.is_empty() { p.hint { "No device is being updated." } }
        ul.reasons {
            @for target in targets.iter().take(SLOWEST) {
                li {
                    (device_link(guest, entry, target))
                    @if let Some(at) = began_at(target) { " – " (minutes(now.since(at))) }
                    div.hint { (standing(target)) }
                }
            }
        }
    })
}

fn minutes(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn began_at(target: &TargetEntry) -> Option<Timestamp> {
    let details = target.details.as_ref()?;
    details.operations.last().map(|operation| operation.began_at)
}

/// How far a target is, or why it failed, in a few words.
pub(crate) fn standing(target: &TargetEntry) -> String {
    let Some(details) = &target.details else { return String::new() };
    if let Some(failure) = &details.failure {
        return words::failure(failure.reason()).name.to_owned();
    }
    let operation = details.operations.last();
    match operation.filter(|operation| operation.ended.is_none()) {
        Some(operation) if operation.progress > 0 => {
            format!("{}, {} %", words::phase(operation.phase), operation.progress)
        }
        Some(operation) => words::phase(operation.phase).to_owned(),
        None => details.trouble.clone().unwrap_or_default(),
    }
}

fn device_link(guest: &Guest, entry: &CampaignEntry, target: &TargetEntry) -> Markup {
    html! {
        a href=(format!("/t/{}/campaigns/{}/devices/{}", guest.tenant(), entry.campaign, target.device)) {
            (target.device)
        }
    }
}

/// The buttons that a campaign's state allows, for who may use them.
fn steering(guest: &Guest, entry: &CampaignEntry, base: &str) -> Markup {
    if entry.status == CampaignStatus::Finished {
        return html! {};
    }
    if !guest.may(Role::Operator) {
        return html! { p.hint { "With the role operator you could pause, resume or cancel it." } };
    }
    let can_pause = entry.status == CampaignStatus::InProgress;
    let can_resume = matches!(entry.status, CampaignStatus::Pausing | CampaignStatus::Paused);
    html! {
        section.steer aria-label="Steer the campaign" {
            @if can_pause {
                form method="post" action={ (base) "/pause" } { button type="submit" { "Pause" } }
            }
            @if can_resume {
                form method="post" action={ (base) "/resume" } { button.primary type="submit" { "Resume" } }
            }
            details {
                summary { "Cancel …" }
                form method="post" action={ (base) "/cancel" } {
                    p { "It ends at once, and cannot be begun again. Devices that wait stay as they are." }
                    label { input type="checkbox" name="stop" value="true"; " Also ask the devices that are updating now to stop" }
                    button.danger type="submit" { "Cancel the campaign" }
                }
            }
        }
    }
}

async fn devices(
    shared: &Shared,
    guest: &Guest,
    entry: &CampaignEntry,
    asked: &Asked,
    base: &str,
) -> Result<Markup, Problem> {
    let status = STATUSES.into_iter().find(|(status, _)| status.name() == asked.status);
    let reason = entry.failures.keys().copied().find(|reason| reason.name() == asked.reason);
    let query = TargetQuery {
        status: status.map(|(status, _)| status),
        reason,
        after: asked.after,
        limit: ON_A_PAGE,
    };
    let page = shared.engine.targets(guest.tenant(), entry.campaign, &query).await?;
    let Some(mut page) = page else {
        return Ok(html! { p.empty { "Its devices are being selected." } });
    };
    // For a reason that is none of those that there are, no device has failed.
    if reason.is_none() && !asked.reason.is_empty() {
        (page.targets, page.next) = (Vec::new(), None);
    }
    Ok(html! {
        form.filter method="get" action={ (base) "#devices-title" } {
            label { "State "
                select name="status" {
                    option value="" { "all" }
                    @for (status, word) in STATUSES {
                        option value=(status.name()) selected[asked.status == status.name()] { (word) }
                    }
                }
            }
            label { "Failed because of "
                select name="reason" {
                    option value="" { "anything" }
                    @for reason in entry.failures.keys() {
                        option value=(reason.name()) selected[asked.reason == reason.name()] {
                            (words::failure(*reason).name)
                        }
                    }
                }
            }
            button type="submit" { "Show" }
        }
        @if page.targets.is_empty() { p.empty { "No device is to be shown here." } }
        @else {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Device" } th scope="col" { "State" } th scope="col" { "How far, or why" }
                    th scope="col" { "Had" } th scope="col" { "Last change" }
                } }
                tbody {
                    @for target in &page.targets {
                        tr {
                            td { (device_link(guest, entry, target)) }
                            td { (words::target(target.status, target.settlement).badge()) }
                            td { (standing(target)) }
                            td { (target.details.as_ref().and_then(|of| of.from_version.as_deref()).unwrap_or("")) }
                            td { @if let Some(details) = &target.details { (moment(details.changed_at)) } }
                        }
                    }
                }
            } }
        }
        @if let Some(next) = page.next {
            p { a rel="next" href=(format!("{base}?status={}&reason={}&after={next}#devices-title",
                frame::encoded(&asked.status), frame::encoded(&asked.reason))) { "More devices" } }
        }
    })
}

const STATUSES: [(TargetStatus, &str); 5] = [
    (TargetStatus::Idle, "waiting"),
    (TargetStatus::InProgress, "updating"),
    (TargetStatus::Successful, "updated"),
    (TargetStatus::Failed, "failed"),
    (TargetStatus::Cancelled, "cancelled"),
];
