//! What rows show of a tenant (E1): every campaign, target, operation and count is that of the fold
//! of its log, in the order that was asked for, each once, however long the pages are.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use hedgerow_core::{
    Campaign, DeviceId, FailureReason, OperationId, Settlement, StreamId, TargetStatus, TargetView,
    TenantId, Timestamp,
};
use hedgerow_engine::view::{
    AskError, CampaignEntry, CampaignOrder, CampaignQuery, OperationEnd, TargetEntry, TargetQuery,
    Views,
};

use super::Checker;
use super::campaign::Model;
use super::operation::Op;
use crate::random::Random;
use crate::runtime::wait;
use crate::simulate::invariant::Invariant;

/// In milliseconds: what one count over time stands for.
const MINUTE: i64 = 60_000;

/// What differs, in words.
type Same = Result<(), String>;

/// Something that rows show otherwise than the log says.
struct Differs {
    message: String,
    stream: Option<StreamId>,
    device: Option<DeviceId>,
}

impl Differs {
    fn of_all(message: String) -> Self {
        Self { message, stream: None, device: None }
    }
}

fn same<T: PartialEq + Debug>(what: &str, shown: &T, told: &T) -> Same {
    if shown == told {
        return Ok(());
    }
    Err(format!("rows show {what} {shown:?}, the log says {told:?}"))
}

fn asked<T>(answer: Result<T, AskError>) -> Result<T, String> {
    answer.map_err(|error| format!("rows do not answer: {error}"))
}

/// The minute that a time is in.
pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(MINUTE)
}

impl Checker {
    /// Compares what the rows show with the log, in lists and pages that are drawn: everything, or, as
    /// that is asked for often, one list, one campaign, and a few devices.
    pub(crate) fn rows_shown(
        &mut self,
        views: &Views,
        everything: bool,
        random: &mut Random,
        now: Timestamp,
    ) {
        let compared = self.compare_rows(views, everything, random, now);
        if let Err(Differs { message, stream, device }) = compared {
            self.broken((Invariant::Rows, message), now, stream, device);
        }
    }

    fn compare_rows(
        &self,
        views: &Views,
        everything: bool,
        random: &mut Random,
        now: Timestamp,
    ) -> Result<(), Differs> {
        let mut models: Vec<&Model> = self.campaigns.values().collect();
        let one = models.get(usize::try_from(random.below(models.len() as u64)).unwrap_or(0));
        let one = one.copied();
        let query = one.map(|model| list_of(&model.fold, random)).unwrap_or_default();
        if everything {
            let all = CampaignQuery::default();
            same_list(views, &self.tenant, &all, &mut models, random).map_err(Differs::of_all)?;
        }
        same_list(views, &self.tenant, &query, &mut models, random).map_err(Differs::of_all)?;
        let chosen = |model: &&Model| everything || one.is_some_and(|one| one.id == model.id);
        for model in self.campaigns.values().filter(chosen) {
            let filter = match random.below(2) {
                0 => TargetQuery { status: some(&TargetStatus::ALL, random), ..Default::default() },
                _ => {
                    TargetQuery { reason: some(&FailureReason::ALL, random), ..Default::default() }
                }
            };
            same_targets(views, &model.fold, TargetQuery::default(), random)
                .and_then(|()| same_targets(views, &model.fold, filter, random))
                .and_then(|()| same_counts(views, model, now))
                .map_err(|message| Differs {
                    message,
                    stream: Some(StreamId::Campaign(model.id)),
                    device: None,
                })?;
        }
        let mut of_devices: BTreeMap<DeviceId, BTreeMap<OperationId, &Op>> = BTreeMap::new();
        for (id, operation) in &self.facts.operations {
            of_devices.entry(operation.device).or_default().insert(*id, operation);
        }
        let share = if everything { 1_000 } else { 100 };
        for (device, operations) in of_devices {
            if random.chance(share) {
                let limit = page_size(random);
                self.same_operations(views, device, &operations, limit)
                    .map_err(|message| Differs { message, stream: None, device: Some(device) })?;
            }
        }
        Ok(())
    }

    /// Compares all operations that a device ever had, the latest first.
    fn same_operations(
        &self,
        views: &Views,
        device: DeviceId,
        operations: &BTreeMap<OperationId, &Op>,
        limit: usize,
    ) -> Same {
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let page = views.operations(&self.tenant, device, after.as_ref(), limit);
            let page = asked(wait(page))?;
            shown.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let is_sorted = shown.windows(2).all(|pair| pair[0].began_at >= pair[1].began_at);
        same("in order", &is_sorted, &true)?;
        same("operations", &shown.len(), &operations.len())?;
        for entry in &shown {
            let told = operations.get(&entry.operation);
            let told = told.ok_or_else(|| format!("rows show {entry:?}, which there is not"))?;
            same("of a stream", &entry.stream, &told.stream)?;
            let open = match entry.stream {
                StreamId::Campaign(id) => {
                    let target = self.fold(id).and_then(|campaign| campaign.target(device));
                    target.and_then(|target| target.operation)
                }
                StreamId::ManualUpdate(id) => {
                    self.manuals.get(&id).and_then(|manual| manual.fold.operation().cloned())
                }
                StreamId::Catalogue => None,
            };
            let open = open.filter(|open| open.id == entry.operation);
            same("an end", &entry.ended.is_some(), &open.is_none())?;
            same("a late report", &entry.late_report.is_some(), &(told.late > 0))?;
            if let Some((at, end)) = &entry.ended {
                same("an end at", &Some(*at), &told.ended_at)?;
                let was_turned_away = *end == OperationEnd::Refused;
                same("a device that was busy", &was_turned_away, &told.turned_away)?;
            }
            if let Some(open) = open {
                same("the phase", &entry.phase, &open.phase)?;
                same("the progress", &entry.progress, &open.progress)?;
                same("resends", &entry.resends, &open.resends)?;
                same("a report at", &entry.reported_at, &open.reported_at)?;
            }
        }
        Ok(())
    }
}

fn some<T: Copy>(all: &[T], random: &mut Random) -> Option<T> {
    all.get(usize::try_from(random.below(all.len() as u64)).unwrap_or(0)).copied()
}

fn page_size(random: &mut Random) -> usize {
    usize::try_from(random.between(1..=9)).unwrap_or(1)
}

/// A list that this campaign is in.
fn list_of(campaign: &Campaign, random: &mut Random) -> CampaignQuery {
    let definition = campaign.definition();
    let query = CampaignQuery::default();
    match random.below(4) {
        0 => CampaignQuery { status: Some(campaign.status()), ..query },
        1 => CampaignQuery { outcome: campaign.outcome(), ..query },
        2 => CampaignQuery { channel: Some(definition.channel.name().to_string()), ..query },
        _ => {
            let system_model = Some(definition.base_image.system_model.to_string());
            CampaignQuery { system_model, ..query }
        }
    }
}

fn is_wanted(query: &CampaignQuery, campaign: &Campaign) -> bool {
    let definition = campaign.definition();
    let (channel, model) = (definition.channel.name(), &definition.base_image.system_model);
    query.status.is_none_or(|status| status == campaign.status())
        && (query.outcome.is_none() || query.outcome == campaign.outcome())
        && query.channel.as_ref().is_none_or(|name| name == channel.as_str())
        && query.system_model.as_ref().is_none_or(|name| name == model.as_str())
}

/// Compares a list of campaigns, in an order that is drawn.
fn same_list(
    views: &Views,
    tenant: &TenantId,
    query: &CampaignQuery,
    models: &mut [&Model],
    random: &mut Random,
) -> Same {
    let orders = [CampaignOrder::Newest, CampaignOrder::Oldest, CampaignOrder::Name];
    let order = some(&orders, random).unwrap_or_default();
    models.sort_by_cached_key(|model| match order {
        CampaignOrder::Name => {
            let name = model.definition.name.to_string().to_lowercase();
            (name, Timestamp::default(), model.id)
        }
        _ => (String::new(), model.fold.created_at(), model.id),
    });
    if order == CampaignOrder::Newest {
        models.reverse();
    }
    let query = CampaignQuery { order, limit: page_size(random), ..query.clone() };
    let mut expected = models.iter().filter(|model| is_wanted(&query, &model.fold));
    let mut asked_for = query.clone();
    loop {
        let page = asked(wait(views.campaigns(tenant, &asked_for)))?;
        same("a page longer than", &(page.entries.len() > query.limit), &false)?;
        for entry in &page.entries {
            let told = expected.next();
            same("in a list", &Some(entry.campaign), &told.map(|model| model.id))?;
            told.map_or(Ok(()), |model| same_entry(entry, &model.fold))?;
        }
        let Some(next) = page.next else { break };
        asked_for.after = Some(next.to_string().parse().map_err(|error| format!("{error}"))?);
    }
    same("in a list no more than", &None, &expected.next().map(|model| model.id))
        .map_err(|message| format!("{message} ({query:?})"))
}

fn same_entry(entry: &CampaignEntry, campaign: &Campaign) -> Same {
    let failures: BTreeMap<_, _> = campaign.failure_reasons().into_iter().collect();
    same("as many events as", &entry.events, &campaign.version())?;
    same("the definition", &&entry.definition, &campaign.definition())?;
    same("the status", &entry.status, &campaign.status())?;
    same("the outcome", &entry.outcome, &campaign.outcome())?;
    same("its beginning at", &entry.created_at, &campaign.created_at())?;
    same("its time at", &entry.scheduled_at, &campaign.scheduled_at())?;
    same("its start at", &entry.started_at, &campaign.started_at())?;
    same("its end at", &entry.finished_at, &campaign.finished_at())?;
    same("the counts", &entry.targets, &campaign.counts())?;
    same("the failures", &entry.failures, &failures)?;
    same("contradictions", &entry.contradictions, &campaign.contradictions())?;
    same("as unreadable", &entry.unreadable, &None)
}

fn same_targets(
    views: &Views,
    campaign: &Campaign,
    mut query: TargetQuery,
    random: &mut Random,
) -> Same {
    query.limit = page_size(random) * 3;
    let (status, reason) = (query.status, query.reason);
    let mut expected = campaign.targets().filter(|target: &TargetView| {
        status.is_none_or(|status| target.status == status)
            && reason.is_none_or(|of| target.settlement == Settlement::Failed(of))
    });
    loop {
        let page = asked(wait(views.targets(campaign.tenant(), campaign.id(), &query)))?;
        let Some(page) = page else { return Err("rows do not have its targets".to_owned()) };
        same("a page longer than", &(page.targets.len() > query.limit), &false)?;
        for entry in &page.targets {
            let told = expected.next();
            let device = told.as_ref().map(|target| target.device);
            same("the target", &Some(entry.device), &device)?;
            told.map_or(Ok(()), |target| same_target(entry, &target))
                .map_err(|message| format!("of target {}: {message}", entry.device))?;
            if random.chance(200) {
                let alone = views.target(campaign.tenant(), campaign.id(), entry.device);
                same("alone", &asked(wait(alone))?.as_ref(), &Some(entry))?;
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    same("no target beyond", &None, &expected.next().map(|target| target.device))
}

fn same_target(entry: &TargetEntry, target: &TargetView) -> Same {
    same("the status", &entry.status, &target.status)?;
    same("the settlement", &entry.settlement, &target.settlement)?;
    let Some(details) = &entry.details else {
        same("resends", &0, &target.retry_count)?;
        same("the operation", &None, &target.operation)?;
        same("a wait until", &None, &target.not_before)?;
        same("a contradiction", &None, &target.contradiction)?;
        let is_without = matches!(
            target.settlement,
            Settlement::Open | Settlement::Cancelled | Settlement::GivenUp(_)
        );
        return same("no details", &is_without, &true);
    };
    same("resends", &details.retry_count, &target.retry_count)?;
    same("the operation", &details.operation, &target.operation)?;
    same("a wait until", &details.not_before, &target.not_before)?;
    same("a contradiction", &details.contradiction, &target.contradiction)?;
    let failed = |settlement| match settlement {
        Settlement::Failed(reason) => Some(reason),
        _ => None,
    };
    let reason = details.failure.as_ref().map(hedgerow_engine::view::Failure::reason);
    same("the reason", &reason, &failed(target.settlement))?;
    let Some((_, end)) = details.operations.last().and_then(|latest| latest.ended.as_ref()) else {
        return Ok(());
    };
    match end {
        OperationEnd::Failed(failure) => {
            same("the end", &Some(failure.reason()), &failed(target.settlement))
        }
        OperationEnd::Succeeded(_) => same("a success", &target.status, &TargetStatus::Successful),
        _ => Ok(()),
    }
}

/// Compares how many targets stood how at some points between its beginning and now.
fn same_counts(views: &Views, model: &Model, now: Timestamp) -> Same {
    let (tenant, id) = (model.fold.tenant(), model.id);
    let over = (model.fold.created_at(), now + Duration::from_secs(60));
    // Of points that are far from each other, and of some that are near.
    for points in [5, 90] {
        let shown = asked(wait(views.counts_over_time(tenant, id, over, points)))?;
        same("so many points", &shown.len(), &(points as usize))?;
        for (at, counts) in shown {
            let told = model.minutes.range(..=minute(at)).next_back().map(|(_, counts)| *counts);
            same(&format!("counts at {at}"), &Some(counts), &told)?;
        }
    }
    Ok(())
}
