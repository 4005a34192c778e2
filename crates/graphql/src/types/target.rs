//! A target of a campaign, and pages of them: in the order of the snapshot, from the engine's rows.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use hedgerow_core::{DeviceId, Hold, Settlement, TargetStatus, Why};
use hedgerow_engine::view::{CampaignEntry, Failure as Failed, TargetEntry, TargetQuery};

use super::campaign::Campaign;
use super::operation::Operation;
use super::plain::Plain;
use crate::connection::{self, Page, Wanted};
use crate::errors::Failure;
use crate::id;
use crate::record::{Answer, Ask, Call, Found, Object, Record, Related};

/// How many targets are read at once.
const READ: usize = 1_000;

/// A target of a campaign.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) campaign: Arc<CampaignEntry>,
    pub(crate) entry: Arc<TargetEntry>,
    /// Why it waits, if that was looked up with others.
    hold: LookedUp,
}

/// Whether something was looked up already, and what there was.
#[derive(Clone, Copy)]
enum LookedUp {
    NotYet,
    Found(Option<Hold>),
}

impl Target {
    pub(crate) fn new(campaign: Arc<CampaignEntry>, entry: TargetEntry) -> Self {
        Self { campaign, entry: Arc::new(entry), hold: LookedUp::NotYet }
    }
}

/// The status, as Edgehog names it: there, a cancelled target has failed.
pub(crate) fn status(status: TargetStatus) -> &'static str {
    match status {
        TargetStatus::Idle => "IDLE",
        TargetStatus::InProgress => "IN_PROGRESS",
        TargetStatus::Successful => "SUCCESSFUL",
        TargetStatus::Failed | TargetStatus::Cancelled => "FAILED",
    }
}

fn settlement(settlement: Settlement) -> &'static str {
    match settlement {
        Settlement::Open => "OPEN",
        Settlement::UpToDate => "UP_TO_DATE",
        Settlement::Reported => "REPORTED",
        Settlement::Confirmed => "CONFIRMED",
        Settlement::Failed(_) => "FAILED",
        Settlement::Cancelled | Settlement::GivenUp(_) => "CANCELLED",
    }
}

/// The key of a target in ids.
pub(crate) fn key(campaign: hedgerow_core::CampaignId, device: DeviceId) -> String {
    format!("{campaign}/{device}")
}

fn held(hold: Hold) -> Plain {
    Plain::new("Hold")
        .with("reason", hold.reason.name())
        .with("description", hold.reason.describe())
        .answering("until", Answer::time(hold.until))
}

fn failure(failed: &Failed) -> Plain {
    let (description, details) = match failed {
        Failed::Target(hedgerow_core::event::TargetFailure::Gate(refusal)) => {
            (refusal.to_string(), serde_json::to_value(refusal))
        }
        Failed::Target(failure) => {
            ("the device does not exist any more".to_owned(), serde_json::to_value(failure))
        }
        Failed::Operation(failure) => {
            (super::operation::described(failure), serde_json::to_value(failure))
        }
        // There may be more kinds one day.
        other => (other.reason().name().to_owned(), serde_json::to_value(other)),
    };
    Plain::new("Failure")
        .with("reason", failed.reason().name())
        .with("description", description)
        .with("details", crate::record::from_json(details.unwrap_or_default()))
}

impl Record for Target {
    fn type_name(&self) -> &'static str {
        "CampaignTarget"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let entry = &self.entry;
        let details = entry.details.as_ref();
        let operation = || details.and_then(|details| details.operations.last());
        Some(match field {
            "id" => Answer::id("campaign_target", key(self.campaign.campaign, entry.device)),
            "status" => Answer::value(status(entry.status)),
            "retryCount" => Answer::value(details.map_or(0, |details| details.retry_count)),
            "latestAttempt" => Answer::time(operation().map(|operation| operation.began_at)),
            "completionTimestamp" => {
                let changed = || details.map(|details| details.changed_at);
                let ended = || operation().and_then(|last| last.ended.as_ref()).map(|end| end.0);
                // Of those that were cancelled with their campaign nothing was recorded by itself.
                let finished = || self.campaign.finished_at;
                let at = || match entry.status {
                    TargetStatus::Cancelled => finished(),
                    _ => ended().or_else(changed),
                };
                Answer::time(if entry.status.is_final() { at() } else { None })
            }
            "campaign" => Answer::object(Campaign(Arc::clone(&self.campaign))),
            "device" => super::device(entry.device, ask),
            "otaOperation" => {
                Answer::maybe(operation().map(|entry| Operation::of(self, entry.clone())))
            }
            "state" => Answer::value(entry.status.name().to_uppercase()),
            "settlement" => Answer::value(settlement(entry.settlement)),
            "failure" => {
                Answer::maybe(details.and_then(|details| details.failure.as_ref()).map(failure))
            }
            "hold" if entry.status != TargetStatus::Idle => Answer::NULL,
            "hold" => match self.hold {
                LookedUp::Found(hold) => Answer::maybe(hold.map(held)),
                LookedUp::NotYet => return None,
            },
            "notBefore" => Answer::time(details.and_then(|details| details.not_before)),
            "fromVersion" => Answer::text(details.and_then(|of| of.from_version.as_deref())),
            "trouble" => Answer::text(details.and_then(|of| of.trouble.as_deref())),
            "contradiction" => Answer::text(details.and_then(|of| of.contradiction.as_deref())),
            "operations" => {
                let all = details.map(|details| &details.operations[..]).unwrap_or_default();
                Answer::objects(all.iter().map(|entry| Operation::of(self, entry.clone())))
            }
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "hold" => Some(
                async move {
                    let (ask, device) = (call.ask, self.entry.device);
                    let why =
                        ask.engine().why(ask.tenant(), self.campaign.campaign, device).await?;
                    Ok(Answer::maybe(hold(why).map(held)))
                }
                .boxed(),
            ),
            _ => None,
        }
    }

    fn related<'a>(&'a self, _: &'a str, _: &'a Arc<Ask>) -> Related<'a> {
        Related::NotThis
    }
}

fn hold(why: Option<Why>) -> Option<Hold> {
    match why {
        Some(Why::Held(hold)) => Some(hold),
        _ => None,
    }
}

/// A part of a list of targets that is kept for each status.
struct Reader<'a> {
    campaign: &'a Arc<CampaignEntry>,
    ask: &'a Arc<Ask>,
    statuses: Vec<Option<TargetStatus>>,
}

impl<'a> Reader<'a> {
    /// For targets of a status that is Edgehog's; there, those that were cancelled have failed.
    fn new(campaign: &'a Arc<CampaignEntry>, ask: &'a Arc<Ask>, wanted: Option<&[String]>) -> Self {
        let statuses = match wanted {
            None => vec![None],
            Some(names) => TargetStatus::ALL
                .into_iter()
                .filter(|one| names.iter().any(|name| name == status(*one)))
                .map(Some)
                .collect(),
        };
        Self { campaign, ask, statuses }
    }

    /// How many there are, by the campaign's own counts.
    fn count(&self) -> usize {
        let counts = self.campaign.targets;
        let of = |status: &Option<TargetStatus>| match status {
            None => counts.total,
            Some(TargetStatus::Idle) => counts.idle,
            Some(TargetStatus::InProgress) => counts.in_progress,
            Some(TargetStatus::Successful) => counts.successful,
            Some(TargetStatus::Failed) => counts.failed,
            Some(TargetStatus::Cancelled) => counts.cancelled,
        };
        self.statuses.iter().map(|status| of(status) as usize).sum()
    }

    /// The targets behind a place, at most so many, and whether there are more.
    async fn read(
        &self,
        after: Option<u32>,
        limit: usize,
    ) -> Result<(Vec<TargetEntry>, bool), Failure> {
        let (mut found, mut has_more) = (Vec::new(), false);
        for status in &self.statuses {
            let query = TargetQuery { status: *status, after, limit, ..TargetQuery::default() };
            let (engine, tenant) = (self.ask.engine(), self.ask.tenant());
            let page = engine.targets(tenant, self.campaign.campaign, &query).await?;
            let Some(page) = page else { continue };
            has_more |= page.next.is_some();
            found.extend(page.targets);
        }
        // Each list is in the order of the snapshot; together they are to be, too.
        found.sort_by_key(|target| target.place);
        has_more |= found.len() > limit;
        found.truncate(limit);
        self.ask.take(found.len())?;
        Ok((found, has_more))
    }
}

/// A page of the targets of a campaign.
pub(crate) async fn page(campaign: &Arc<CampaignEntry>, call: Call<'_>) -> Result<Answer, Failure> {
    let ask = call.ask;
    let wanted = Wanted::read("CampaignTarget", call.input)?;
    let (statuses, rest) = wanted.filter.clone().split("status");
    let selects_count = call.selects(&["count"]);
    let is_cut = !wanted.is_forwards() || (selects_count && !rest.is_none());
    if is_cut && wanted.has_cursor() {
        // What a cursor names may have another status by now.
        let all = collected(&Reader::new(campaign, ask, None)).await?;
        return connection::cut(all, &wanted, call).await;
    }
    let wanted = Wanted { filter: rest, ..wanted };
    let reader = Reader::new(campaign, ask, statuses.as_deref());
    if is_cut {
        let all = collected(&reader).await?;
        return connection::cut(all, &wanted, call).await;
    }
    let mut place = match &wanted.after {
        Some(after) => Some(place_of(campaign, after, ask).await?),
        None => None,
    };
    let (mut found, mut has_next) = (Vec::new(), false);
    loop {
        // One more than is wanted tells whether there is one.
        let limit = if wanted.filter.is_none() { wanted.most + 1 } else { READ };
        let (targets, has_more) = reader.read(place, limit).await?;
        place = targets.last().map(|target| target.place).or(place);
        for target in targets {
            let target = Target::new(Arc::clone(campaign), target);
            let record: Object = Arc::new(target.clone());
            if !wanted.filter.passes(&record, ask).await? {
                continue;
            }
            has_next |= found.len() == wanted.most;
            if !has_next {
                found.push(target);
            }
        }
        if has_next || !has_more {
            break;
        }
    }
    if call.selects(&["edges", "node", "hold"]) {
        look_up_holds(campaign, &mut found, ask).await?;
    }
    let edges = found.into_iter().map(|target| {
        let record: Object = Arc::new(target);
        (connection::id(&record, ask), record)
    });
    Ok(Answer::object(Page {
        edges: edges.collect(),
        has_previous: wanted.after.is_some(),
        has_next,
        count: selects_count.then(|| reader.count()),
    }))
}

/// Asks a campaign once why its targets wait, for all that are on a page.
async fn look_up_holds(
    campaign: &Arc<CampaignEntry>,
    targets: &mut [Target],
    ask: &Arc<Ask>,
) -> Result<(), Failure> {
    let idle = |target: &&mut Target| target.entry.status == TargetStatus::Idle;
    let mut idle: Vec<_> = targets.iter_mut().filter(idle).collect();
    let entries: Vec<_> = idle.iter().map(|target| TargetEntry::clone(&target.entry)).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let whys = ask.engine().whys(ask.tenant(), campaign.campaign, &entries).await?;
    for (target, why) in idle.iter_mut().zip(whys) {
        target.hold = LookedUp::Found(hold(why));
    }
    Ok(())
}

/// The place of a cursor, which is the id of a target.
async fn place_of(
    campaign: &Arc<CampaignEntry>,
    cursor: &str,
    ask: &Arc<Ask>,
) -> Result<u32, Failure> {
    let none = || Failure::new("invalid_keyset", "the list has no such place: begin it anew");
    let key: String = id::key("campaign_target", cursor, "after").map_err(|_| none())?;
    let (own, device) = key.split_once('/').ok_or_else(none)?;
    let device = device.parse().map_err(|_| none())?;
    if own != campaign.campaign.to_string() {
        return Err(none());
    }
    let target = ask.engine().target(ask.tenant(), campaign.campaign, device).await?;
    target.map(|target| target.place).ok_or_else(none)
}

async fn collected(reader: &Reader<'_>) -> Result<Vec<Object>, Failure> {
    let (mut all, mut after): (Vec<Object>, _) = (Vec::new(), None);
    loop {
        let (targets, has_more) = reader.read(after, READ).await?;
        after = targets.last().map(|target| target.place).or(after);
        all.extend(
            targets
                .into_iter()
                .map(|target| Arc::new(Target::new(Arc::clone(reader.campaign), target)) as Object),
        );
        if !has_more {
            return Ok(all);
        }
    }
}

/// All targets of a campaign.
pub(crate) fn all<'a>(
    campaign: &'a Arc<CampaignEntry>,
    ask: &'a Arc<Ask>,
) -> BoxFuture<'a, Result<Vec<Object>, Failure>> {
    async move { collected(&Reader::new(campaign, ask, None)).await }.boxed()
}
