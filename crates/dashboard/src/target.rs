//! The page of a device in a campaign: how it stands, why, and each operation that it was through.

use axum::extract::{Path, State};
use hedgerow_core::{DeviceId, Why};
use hedgerow_engine::view::{OperationEnd, OperationEntry};
use maud::{Markup, html};

use crate::Shared;
use crate::campaign::{found, standing};
use crate::frame::{self, Problem, moment};
use crate::guard::Guest;
use crate::words;

pub(crate) async fn page(
    State(shared): State<Shared>,
    guest: Guest,
    Path((_, campaign, device)): Path<(String, String, String)>,
) -> Result<Markup, Problem> {
    let device: DeviceId = device.parse().map_err(|_| Problem::Unknown)?;
    let entry = found(&shared, &guest, &campaign).await?;
    let (engine, tenant) = (&shared.engine, guest.tenant());
    let target = engine.target(tenant, entry.campaign, device).await?.ok_or(Problem::Unknown)?;
    let why = engine.why(tenant, entry.campaign, device).await.ok().flatten();
    let fleet = shared.catalogue.tenant(tenant).await.ok();
    let name = fleet.as_ref().and_then(|fleet| fleet.device(device)).map(|device| device.name());
    let name = name.unwrap_or_else(|| device.to_string());
    let word = words::target(target.status, target.settlement);
    let details = target.details.as_ref();
    let content = html! {
        p.crumbs {
            a href={ "/t/" (tenant) "/campaigns" } { "Campaigns" } " / "
            a href={ "/t/" (tenant) "/campaigns/" (entry.campaign) } { (entry.definition.name) } " / "
        }
        h1 { (name) }
        p.state { (word.badge()) " " (word.meaning) }
        dl {
            dt { "Device" } dd { code { (device) } }
            @if let Some(version) = details.and_then(|of| of.from_version.as_deref()) {
                dt { "Had version" } dd { (version) }
            }
            @if let Some(failure) = details.and_then(|of| of.failure.as_ref()) {
                @let failed = words::failure(failure.reason());
                dt { "Failed because of" } dd { (failed.name) div.hint { (failed.meaning) } }
            }
            @if let Some(Why::Held(hold)) = why {
                dt { "Waits because" } dd {
                    (hold.reason.describe())
                    @if let Some(until) = hold.until { " Until " (moment(until)) "." }
                }
            }
            @if let Some(trouble) = details.and_then(|of| of.trouble.as_deref()) {
                dt { "Astarte said last" } dd { (trouble) }
            }
            @if let Some(version) = details.and_then(|of| of.contradiction.as_deref()) {
                dt { "Shows now" } dd { (version) ", which is not how its update ended" }
            }
            @if !standing(&target).is_empty() { dt { "How far" } dd { (standing(&target)) } }
        }
        h2 { "Operations" }
        @match details.map(|details| &details.operations[..]) {
            None | Some([]) => { p.empty { "Nothing was sent to it in this campaign." } }
            Some(operations) => { ol.operations { @for entry in operations.iter().rev() { (operation(entry)) } } }
        }
    };
    Ok(frame::page(&guest, &name, &content))
}

fn operation(entry: &OperationEntry) -> Markup {
    html! {
        li {
            p {
                "Begun " (moment(entry.began_at)) ", " (words::phase(entry.phase))
                @if entry.progress > 0 { ", " (entry.progress) " %" }
                @if entry.resends > 0 { ", asked again " (entry.resends) " times" }
                "."
            }
            @if let Some((at, end)) = &entry.ended { p { "Ended " (moment(*at)) ": " (ended(end)) } }
            p.hint { code { (entry.operation) } }
        }
    }
}

fn ended(end: &OperationEnd) -> String {
    match end {
        OperationEnd::Succeeded(_) => "the device has the new version.".to_owned(),
        OperationEnd::Failed(failure) => words::failure(failure.reason()).meaning.to_owned(),
        OperationEnd::Refused => "the device was busy with another update.".to_owned(),
        OperationEnd::Abandoned => "its campaign ended while it waited.".to_owned(),
        _ => "it has ended.".to_owned(),
    }
}
