//! A campaign: Edgehog's fields say as much as its closed enums can, ours say the rest.

use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use hedgerow_core::{CampaignStatus, Outcome, TargetCounts, Timestamp, WhenRunning};
use hedgerow_engine::view::{CampaignEntry, CampaignOrder, CampaignQuery};

use super::catalogue::{Channel, Image};
use super::plain::Plain;
use super::target;
use crate::connection::{self, Page, Wanted};
use crate::errors::Failure;
use crate::id;
use crate::record::{Answer, Ask, Call, Found, Object, Record, Related};

/// Over how long the pace is looked at.
const PACE: Duration = Duration::from_secs(10 * 60);

/// How many campaigns are read at once.
const READ: usize = 1_000;

/// A campaign, as its row shows it.
#[derive(Clone)]
pub(crate) struct Campaign(pub(crate) Arc<CampaignEntry>);

/// The status, as Edgehog names it; `None`: there is no such campaign any more.
pub(crate) fn status(status: CampaignStatus) -> Option<&'static str> {
    Some(match status {
        CampaignStatus::Scheduled => "SCHEDULED",
        CampaignStatus::Idle => "IDLE",
        CampaignStatus::InProgress => "IN_PROGRESS",
        CampaignStatus::Pausing => "PAUSING",
        CampaignStatus::Paused => "PAUSED",
        CampaignStatus::Finished => "FINISHED",
        CampaignStatus::Deleted => return None,
    })
}

/// The outcome, as Edgehog names it: there, whatever is no success is a failure.
fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "SUCCESS",
        Outcome::Failure | Outcome::Cancelled | Outcome::Superseded => "FAILURE",
    }
}

impl Record for Campaign {
    fn type_name(&self) -> &'static str {
        "Campaign"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let entry = &self.0;
        let (definition, targets) = (&entry.definition, entry.targets);
        Some(match field {
            "id" => Answer::id("campaign", entry.campaign),
            "name" => Answer::value(definition.name.as_str()),
            "status" => Answer::text(status(entry.status)),
            "outcome" => Answer::text(entry.outcome.map(outcome)),
            "campaignMechanism" => Answer::object(FirmwareUpgrade(Arc::clone(entry))),
            "scheduledAtTimestamp" => Answer::time(entry.scheduled_at.or(Some(entry.created_at))),
            "channel" => channel(entry, ask),
            "totalTargetCount" => Answer::value(targets.total),
            "idleTargetCount" => Answer::value(targets.idle),
            "inProgressTargetCount" => Answer::value(targets.in_progress),
            "failedTargetCount" => Answer::value(targets.failed.saturating_add(targets.cancelled)),
            "successfulTargetCount" => Answer::value(targets.successful),
            "end" => Answer::text(entry.outcome.map(|end| end.name().to_uppercase())),
            "cancelledTargetCount" => Answer::value(targets.cancelled),
            "createdAt" => Answer::time(Some(entry.created_at)),
            "startedAt" => Answer::time(entry.started_at),
            "finishedAt" => Answer::time(entry.finished_at),
            "whenRunning" => Answer::value(match definition.when_running {
                WhenRunning::Supersede => "SUPERSEDE",
                WhenRunning::Refuse => "REFUSE",
            }),
            "minimumTargetCount" => Answer::value(definition.rollout.minimum_targets()),
            "missesMinimum" => Answer::value(entry.misses_minimum()),
            "contradictionCount" => Answer::count(entry.contradictions),
            "failureReasons" => Answer::objects(entry.failures.iter().map(|(reason, count)| {
                Plain::new("FailureReasonCount").with("reason", reason.name()).with("count", *count)
            })),
            "unreadable" => Answer::text(entry.unreadable.as_deref()),
            "eventCount" => Answer::value(entry.events),
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        Some(match field {
            "campaignTargets" => target::page(&self.0, call).boxed(),
            "countsOverTime" => self.counts_over_time(call).boxed(),
            "pace" => self.pace(call).boxed(),
            "transportIsDown" => async move {
                let ask = call.ask;
                let progress = ask.engine().progress(ask.tenant(), self.0.campaign).await;
                // Of one that cannot be read nothing is known of its transport either.
                Ok(Answer::value(progress.is_ok_and(|progress| progress.transport_is_down)))
            }
            .boxed(),
            _ => return None,
        })
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "campaignTargets" => Related::Later(target::all(&self.0, ask).boxed()),
            _ => Related::NotThis,
        }
    }
}

/// The channel that the campaign names, as it is now, or was when it was removed. One that was made
/// beside the catalogue has only its name.
fn channel(entry: &CampaignEntry, ask: &Ask) -> Answer {
    let (fleet, name) = (ask.fleet(), entry.definition.channel.name().as_str());
    // A campaign that is scheduled may name what came after it.
    let named = fleet.channel_called(name, entry.created_at);
    let named = named.or_else(|| fleet.channel_called(name, ask.engine().now()));
    if let Some(channel) = named {
        let channel = fleet.channel(channel.id).unwrap_or(channel);
        return Answer::object(Channel(Arc::clone(channel)));
    }
    Answer::object(
        Plain::new("Channel")
            .with("id", id::global("channel", format!("~{name}")))
            .with("name", name)
            .with("handle", name),
    )
}

impl Campaign {
    async fn counts_over_time(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let (ask, entry) = (call.ask, &self.0);
        let from = call.input.time("from")?.or(entry.started_at).unwrap_or(entry.created_at);
        let now = ask.engine().now();
        let until = call.input.time("until")?.or(entry.finished_at).unwrap_or(now);
        let points = call.input.integer::<u32>("points")?.unwrap_or(60).clamp(2, 1_000);
        ask.take(points as usize)?;
        let within = (from, until.max(from));
        let counts =
            ask.engine().counts_over_time(ask.tenant(), entry.campaign, within, points).await?;
        Ok(Answer::objects(counts.into_iter().map(|(at, counts)| {
            Plain::new("TargetCountsAt")
                .answering("at", Answer::time(Some(at)))
                .with("total", counts.total)
                .with("idle", counts.idle)
                .with("inProgress", counts.in_progress)
                .with("successful", counts.successful)
                .with("failed", counts.failed)
                .with("cancelled", counts.cancelled)
        })))
    }

    /// How many targets became final in the last minutes, and when the last would be.
    async fn pace(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let (ask, entry) = (call.ask, &self.0);
        let Some(started) = entry.started_at.filter(|_| entry.status.is_running()) else {
            return Ok(Answer::NULL);
        };
        let now = ask.engine().now();
        let back = PACE.as_millis().try_into().unwrap_or(i64::MAX);
        let from = started.max(Timestamp::from_millis(now.as_millis().saturating_sub(back)));
        let counts =
            ask.engine().counts_over_time(ask.tenant(), entry.campaign, (from, now), 2).await?;
        let ended = |counts: &TargetCounts| counts.successful + counts.failed + counts.cancelled;
        let before = counts.first().map_or(0, |(_, counts)| ended(counts));
        // From the end of the minute that the first count is of.
        let since = counts.first().map_or(from, |(at, _)| *at);
        let during = now.since(since).max(Duration::from_secs(60));
        let rate =
            f64::from(ended(&entry.targets).saturating_sub(before)) * 60.0 / during.as_secs_f64();
        if rate == 0.0 {
            return Ok(Answer::NULL);
        }
        let open = f64::from(entry.targets.idle + entry.targets.in_progress);
        let left = Duration::try_from_secs_f64(open / rate * 60.0).ok();
        Ok(Answer::object(
            Plain::new("CampaignPace")
                .with("targetsPerMinute", rate)
                .answering("expectedEnd", Answer::time(left.map(|left| now + left))),
        ))
    }
}

/// The image that the campaign names, if it is still there.
fn image(entry: &CampaignEntry, ask: &Ask) -> Option<Image> {
    let (fleet, named) = (ask.fleet(), &entry.definition.base_image);
    let called = |at| fleet.base_image_called(named.system_model.as_str(), &named.version, at);
    let image = called(entry.created_at).or_else(|| called(ask.engine().now()))?;
    fleet.base_image(image.id).map(|image| Image(Arc::clone(image)))
}

/// What a campaign does and within which limits.
struct FirmwareUpgrade(Arc<CampaignEntry>);

impl Record for FirmwareUpgrade {
    fn type_name(&self) -> &'static str {
        "FirmwareUpgrade"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let definition = &self.0.definition;
        let rollout = &definition.rollout;
        let (limits, operation) = (rollout.limits(), &rollout.limits().operation);
        let seconds = |time: Duration| Answer::value(time.as_secs());
        Some(match field {
            "forceDowngrade" => Answer::value(rollout.gates().force_downgrade),
            "maxFailurePercentage" => {
                let text = limits.max_failure_percentage.to_string();
                Answer::value(text.parse::<f64>().unwrap_or_default())
            }
            "maxInProgressOperations" => Answer::value(limits.max_pending_operations.get()),
            "requestRetries" => Answer::value(operation.request_retries),
            "requestTimeoutSeconds" => seconds(operation.request_timeout),
            "baseImage" => Answer::maybe(image(&self.0, ask)),
            "baseImageId" => {
                let id = image(&self.0, ask).map(|image| image.0.id.number());
                id.map_or(Answer::NULL, Answer::value)
            }
            "version" => Answer::value(definition.base_image.version.to_string()),
            "systemModelHandle" => Answer::value(definition.base_image.system_model.as_str()),
            "startingVersionRequirement" => {
                let requirement = definition.base_image.starting_version_requirement.as_ref();
                Answer::text(requirement.map(ToString::to_string))
            }
            "enforceVersionRequirement" => {
                Answer::value(rollout.gates().enforce_version_requirement)
            }
            "stallTimeoutSeconds" => operation.stall_timeout.map_or(Answer::NULL, seconds),
            "rebootTimeoutSeconds" => seconds(operation.reboot_timeout),
            _ => return None,
        })
    }
}

/// A page of campaigns. The newest come first.
pub(crate) async fn page(mut query: CampaignQuery, call: Call<'_>) -> Result<Answer, Failure> {
    let wanted = Wanted::read("Campaign", call.input)?;
    let ask = call.ask;
    query.order = CampaignOrder::Newest;
    if !wanted.is_forwards() && wanted.has_cursor() {
        // What a cursor names may have another status by now.
        return connection::cut(collected(&query, ask).await?, &wanted, call).await;
    }
    let (statuses, rest) = wanted.filter.clone().split("status");
    let statuses = statuses.map(|names| names.iter().filter_map(|name| named(name)).collect());
    let one: Option<Vec<CampaignStatus>> = statuses;
    match one.as_deref() {
        Some([]) => return Ok(Answer::object(Page::empty())),
        Some([status]) => query.status = Some(*status),
        _ => {}
    }
    let wanted = Wanted {
        filter: if query.status.is_some() { rest } else { wanted.filter.clone() },
        ..wanted
    };
    if !wanted.is_forwards() {
        let all = collected(&query, ask).await?;
        return connection::cut(all, &wanted, call).await;
    }
    let count = if call.selects(&["count"]) {
        let mut count = 0;
        for record in collected(&query, ask).await? {
            count += usize::from(wanted.filter.passes(&record, ask).await?);
        }
        Some(count)
    } else {
        None
    };
    if let Some(after) = &wanted.after {
        let id = id::key("campaign", after, "after")?;
        let entry = ask.engine().campaign(ask.tenant(), id).await?;
        let entry =
            entry.ok_or_else(|| Failure::new("invalid_keyset", "there is no such place"))?;
        query.after = Some(query.place_of(ask.tenant(), &entry));
    }
    let (mut edges, mut has_next) = (Vec::new(), false);
    // One more than is wanted tells whether there is one.
    query.limit = if wanted.filter.is_none() { wanted.most + 1 } else { READ };
    'pages: loop {
        let found = ask.engine().campaigns(ask.tenant(), &query).await?;
        ask.take(found.entries.len())?;
        for entry in found.entries {
            if entry.status == CampaignStatus::Deleted {
                continue;
            }
            let record: Object = Arc::new(Campaign(Arc::new(entry)));
            if !wanted.filter.passes(&record, ask).await? {
                continue;
            }
            if edges.len() == wanted.most {
                has_next = true;
                break 'pages;
            }
            edges.push((connection::id(&record, ask), record));
        }
        query.after = found.next;
        if query.after.is_none() {
            break;
        }
    }
    let has_previous = wanted.after.is_some();
    Ok(Answer::object(Page { edges, has_previous, has_next, count }))
}

fn named(name: &str) -> Option<CampaignStatus> {
    CampaignStatus::ALL.into_iter().find(|one| status(*one) == Some(name))
}

/// All campaigns of a question, however many.
pub(crate) async fn collected(
    query: &CampaignQuery,
    ask: &Arc<Ask>,
) -> Result<Vec<Object>, Failure> {
    let mut query = CampaignQuery { limit: READ, after: None, ..query.clone() };
    let mut all: Vec<Object> = Vec::new();
    loop {
        let found = ask.engine().campaigns(ask.tenant(), &query).await?;
        ask.take(found.entries.len())?;
        let there = found.entries.into_iter();
        let there = there.filter(|entry| entry.status != CampaignStatus::Deleted);
        all.extend(there.map(|entry| Arc::new(Campaign(Arc::new(entry))) as Object));
        query.after = found.next;
        if query.after.is_none() {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_but_deleted_has_the_name_that_edgehog_gives_it() {
        for one in CampaignStatus::ALL {
            assert_eq!(status(one).and_then(named), status(one).map(|_| one));
        }
        assert_eq!(status(CampaignStatus::Deleted), None);
    }
}
