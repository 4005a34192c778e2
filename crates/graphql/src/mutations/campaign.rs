//! Campaigns are created, changed, paused, resumed, cancelled, deleted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Value;
use hedgerow_core::{
    CampaignDefinition, CampaignEdit, CampaignId, GatePolicy, LimitsEdit, OperationLimits,
    Percentage, PushRollout, RolloutLimits, RolloutMechanism, RunningOperations, WhenRunning,
};
use hedgerow_engine::view::CampaignEntry;
use uuid::Uuid;

use crate::errors::{Failure, of_fleet};
use crate::record::{Call, Input, Object};
use crate::types::campaign::Campaign;

/// The campaign as it stands now.
async fn shown(call: Call<'_>, id: CampaignId) -> Result<Object, Failure> {
    call.ask.refresh().await?;
    let entry = call.ask.campaign(id).await?.ok_or_else(|| Failure::not_found("id"))?;
    Ok(Arc::new(Campaign(entry)))
}

async fn there(call: Call<'_>) -> Result<Arc<CampaignEntry>, Failure> {
    let id = call.input.required_key("campaign", "id")?;
    call.ask.campaign(id).await?.ok_or_else(|| Failure::not_found("id"))
}

pub(super) async fn pause(call: Call<'_>) -> Result<Object, Failure> {
    let id = there(call).await?.campaign;
    call.ask.engine().pause(call.ask.tenant(), id).await?;
    shown(call, id).await
}

pub(super) async fn resume(call: Call<'_>) -> Result<Object, Failure> {
    let id = there(call).await?.campaign;
    call.ask.engine().resume(call.ask.tenant(), id).await?;
    shown(call, id).await
}

pub(super) async fn cancel(call: Call<'_>) -> Result<Object, Failure> {
    let id = there(call).await?.campaign;
    let input = call.input.object("input")?;
    let running = match input.map(|input| input.text("runningOperations")).transpose()?.flatten() {
        Some("STOP") => RunningOperations::Stop,
        _ => RunningOperations::Finish,
    };
    call.ask.engine().cancel(call.ask.tenant(), id, running).await?;
    shown(call, id).await
}

pub(super) async fn delete(call: Call<'_>) -> Result<Object, Failure> {
    // It is shown as it was: afterwards there is nothing to show.
    let entry = there(call).await?;
    call.ask.engine().delete(call.ask.tenant(), entry.campaign).await?;
    Ok(Arc::new(Campaign(entry)))
}

/// A percentage, exactly as it was written.
fn percentage(input: Input<'_>, name: &str) -> Result<Option<Percentage>, Failure> {
    match input.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            number.to_string().parse().map(Some).map_err(|error| Failure::invalid(name, error))
        }
        Some(_) => Err(Failure::invalid(name, "is no number")),
    }
}

fn at_least_one(input: Input<'_>, name: &str) -> Result<Option<NonZeroU32>, Failure> {
    let Some(number) = input.integer::<u32>(name)? else { return Ok(None) };
    let number = NonZeroU32::new(number);
    number.map(Some).ok_or_else(|| Failure::invalid(name, "must be greater than or equal to 1"))
}

fn seconds(input: Input<'_>, name: &str) -> Result<Option<Duration>, Failure> {
    Ok(input.integer::<u32>(name)?.map(|seconds| Duration::from_secs(seconds.into())))
}

/// The limits that are named, whether something is created or changed.
fn limits(input: Input<'_>) -> Result<LimitsEdit, Failure> {
    let edit = LimitsEdit {
        max_pending_operations: at_least_one(input, "maxInProgressOperations")?,
        max_failure_percentage: percentage(input, "maxFailurePercentage")?,
        request_retries: input.integer("requestRetries")?,
        request_timeout: seconds(input, "requestTimeoutSeconds")?,
        stall_timeout: match seconds(input, "stallTimeoutSeconds")? {
            None if input.is_null("stallTimeoutSeconds") => Some(None),
            None => None,
            given => Some(given),
        },
        reboot_timeout: seconds(input, "rebootTimeoutSeconds")?,
        ..LimitsEdit::default()
    };
    Ok(edit)
}

pub(super) async fn create(call: Call<'_>) -> Result<Object, Failure> {
    let ask = call.ask;
    let input = call.input.required_object("input")?;
    let mechanism = input.required_object("campaignMechanism")?;
    let Some(mechanism) = mechanism.object("firmwareUpgrade")? else {
        let failure = Failure::required("campaign_mechanism");
        return Err(Failure { message: "only firmware_upgrade is possible".to_owned(), ..failure });
    };
    let name = input.required_text("name")?;
    let edit = limits(mechanism)?;
    let required = |given: Option<_>, field| given.ok_or_else(|| Failure::required(field));
    let limits = RolloutLimits {
        max_pending_operations: required(edit.max_pending_operations, "maxInProgressOperations")?,
        max_failure_percentage: edit
            .max_failure_percentage
            .ok_or_else(|| Failure::required("maxFailurePercentage"))?,
        operation: OperationLimits::default(),
    };
    let limits = edit.of(&limits);
    limits.validate()?;
    let flag = |name| Ok::<_, Failure>(mechanism.boolean(name)?.unwrap_or(false));
    let gates = GatePolicy {
        force_downgrade: flag("forceDowngrade")?,
        enforce_version_requirement: flag("enforceVersionRequirement")?,
    };
    let definition = CampaignDefinition {
        name: name.parse().map_err(of_fleet("name"))?,
        base_image: super::catalogue::base_image(&ask.fleet(), mechanism)?,
        channel: super::catalogue::channel(&ask.fleet(), input)?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates,
            minimum_targets: input.integer("minimumTargetCount")?.unwrap_or(0),
        }),
        when_running: match input.text("whenRunning")? {
            Some("REFUSE") => WhenRunning::Refuse,
            _ => WhenRunning::Supersede,
        },
    };
    let scheduled_at = input.time("scheduledAtTimestamp")?;
    let id = CampaignId::from_uuid(Uuid::new_v4());
    ask.engine().create(ask.tenant(), id, definition, scheduled_at).await?;
    shown(call, id).await
}

pub(super) async fn update(call: Call<'_>) -> Result<Object, Failure> {
    let ask = call.ask;
    let entry = there(call).await?;
    let Some(input) = call.input.object("input")? else { return shown(call, entry.campaign).await };
    let was = &entry.definition;
    let mut edit = CampaignEdit { limits: limits(input)?, ..CampaignEdit::default() };
    // The page sends all fields that it shows: what is as it was is not changed, and so does not stand
    // in the way of a change of the limits while it runs.
    if let Some(name) = input.text("name")? {
        let name = name.parse().map_err(of_fleet("name"))?;
        edit.name = Some(name).filter(|name| *name != was.name);
    }
    let gates = was.rollout.gates();
    let given = GatePolicy {
        force_downgrade: input.boolean("forceDowngrade")?.unwrap_or(gates.force_downgrade),
        enforce_version_requirement: input
            .boolean("enforceVersionRequirement")?
            .unwrap_or(gates.enforce_version_requirement),
    };
    edit.gates = Some(given).filter(|given| *given != gates);
    let minimum = input.integer("minimumTargetCount")?;
    edit.minimum_targets = minimum.filter(|minimum| *minimum != was.rollout.minimum_targets());
    if let Some(at) = input.time("scheduledAtTimestamp")? {
        // One that was never scheduled is shown with the time at which it was created.
        let shown = entry.scheduled_at.or(Some(entry.created_at));
        edit.scheduled_at = Some(Some(at)).filter(|at| *at != shown);
    } else if input.is_null("scheduledAtTimestamp") {
        edit.scheduled_at = Some(None).filter(|_| entry.scheduled_at.is_some());
    }
    if input.get("baseImageId").is_some() {
        let image = super::catalogue::base_image(&ask.fleet(), input)?;
        edit.base_image = Some(image).filter(|image| *image != was.base_image);
    }
    if input.get("channelId").is_some() {
        let channel = super::catalogue::channel(&ask.fleet(), input)?;
        edit.channel = Some(channel).filter(|channel| *channel != was.channel);
    }
    edit.limits.of(was.rollout.limits()).validate()?;
    if edit != CampaignEdit::default() {
        ask.engine().edit(ask.tenant(), entry.campaign, edit).await?;
    }
    shown(call, entry.campaign).await
}
