//! From a scenario's definition of a campaign to the engine's, and its edits. A value that no
//! campaign can have is the answer to a command, not an error of the file.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignEdit, Channel, ConsentPolicy, GatePolicy, LimitsEdit,
    OptionalRollout, Percentage, PushRollout, RolloutError, RolloutLimits, RolloutMechanism,
    Timestamp, WhenRunning, parse_version,
};
use serde_json::{Map, Value};

/// The field that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) field: String,
    pub(super) why: String,
}

type Read<T> = Result<T, Refused>;

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over, not kept")]
fn refused(field: &str, why: impl ToString) -> Refused {
    Refused { field: field.to_owned(), why: why.to_string() }
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Read<&'a str> {
    object.get(field).and_then(Value::as_str).ok_or_else(|| refused(field, "a text is expected"))
}

fn object<'a>(from: &'a Map<String, Value>, field: &str) -> Read<&'a Map<String, Value>> {
    from.get(field).and_then(Value::as_object).ok_or_else(|| refused(field, "it does not exist"))
}

fn parsed<T: std::str::FromStr<Err: ToString>>(field: &str, text: &str) -> Read<T> {
    text.parse().map_err(|error: T::Err| refused(field, error.to_string()))
}

pub(super) fn name(value: &Value) -> Read<hedgerow_core::CampaignName> {
    parsed("name", value.as_str().ok_or_else(|| refused("name", "a text is expected"))?)
}

pub(super) fn base_image(image: &Map<String, Value>) -> Read<BaseImage> {
    let version =
        parse_version(text(image, "version")?).map_err(|e| refused("base_image.version", e))?;
    let requirement = match image.get("starting_version_requirement") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(parsed("base_image.starting_version_requirement", text)?),
        Some(_) => return Err(refused("starting_version_requirement", "a text is expected")),
    };
    Ok(BaseImage {
        system_model: parsed("system_model", text(image, "system_model")?)?,
        version,
        url: parsed("url", text(image, "url")?)?,
        starting_version_requirement: requirement,
    })
}

/// Two channels are the same exactly if their sets of groups are.
pub(super) fn channel(channel: &Map<String, Value>) -> Read<Channel> {
    let groups = channel.get("groups").and_then(Value::as_array);
    let groups = groups.ok_or_else(|| refused("channel", "groups are expected"))?;
    let groups: BTreeSet<&str> = groups.iter().filter_map(Value::as_str).collect();
    let name = groups.iter().copied().collect::<Vec<_>>().join("+");
    let groups = groups.into_iter().map(|group| parsed("channel", group));
    let groups = groups.collect::<Read<Vec<_>>>()?;
    Channel::new(parsed("channel", &name)?, groups).map_err(|error| refused("channel", error))
}

fn whole<T: TryFrom<u64>>(field: &str, value: &Value) -> Read<T> {
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| refused(field, format!("{value} is outside its range")))
}

fn seconds(field: &str, value: &Value) -> Read<Duration> {
    whole(field, value).map(Duration::from_secs)
}

fn minimum(value: &Value) -> Read<u32> {
    if value.is_null() { Ok(0) } else { whole("minimum_targets", value) }
}

/// The limits that a rollout's keys set.
pub(super) fn limits(rollout: &Map<String, Value>) -> Read<LimitsEdit> {
    let mut limits = LimitsEdit::default();
    for (field, value) in rollout {
        match field.as_str() {
            "max_in_progress_operations" => {
                let number: u32 = whole(field, value)?;
                let number = NonZeroU32::new(number);
                limits.max_pending_operations =
                    Some(number.ok_or_else(|| refused(field, "it is at least 1"))?);
            }
            "max_failure_percentage" => {
                limits.max_failure_percentage =
                    Some(parsed::<Percentage>(field, &value.to_string())?);
            }
            "request_retries" => limits.request_retries = Some(whole(field, value)?),
            "request_timeout_seconds" => limits.request_timeout = Some(seconds(field, value)?),
            "stall_timeout_seconds" => {
                limits.stall_timeout =
                    Some(if value.is_null() { None } else { Some(seconds(field, value)?) });
            }
            "reboot_timeout_seconds" => limits.reboot_timeout = Some(seconds(field, value)?),
            _ => {}
        }
    }
    Ok(limits)
}

/// The key of the limit that an error is about.
pub(super) fn limit_field(error: &RolloutError) -> &'static str {
    match error {
        RolloutError::RequestTimeout { .. } => "request_timeout_seconds",
        RolloutError::StallTimeout { .. } => "stall_timeout_seconds",
        RolloutError::RebootTimeout { .. } => "reboot_timeout_seconds",
        RolloutError::RequestRetries { .. } => "request_retries",
        RolloutError::ConsentDeadline { .. } => "mechanism",
        _ => "rollout",
    }
}

fn gates(rollout: &Map<String, Value>) -> GatePolicy {
    let is_set = |field: &str| rollout.get(field).and_then(Value::as_bool).unwrap_or(false);
    GatePolicy {
        force_downgrade: is_set("force_downgrade"),
        enforce_version_requirement: is_set("enforce_version_requirement"),
    }
}

fn schedule(value: &Value) -> Read<Option<Timestamp>> {
    match value {
        Value::Null => Ok(None),
        value => {
            let at = value.as_i64().map(Timestamp::from_millis);
            at.map(Some).ok_or_else(|| refused("schedule_at_ms", "a time is expected"))
        }
    }
}

/// Whether devices' users are asked first (P15).
fn mechanism_of(mechanism: Option<&Value>, push: PushRollout) -> Read<RolloutMechanism> {
    let Some(Value::Object(mechanism)) = mechanism else {
        return Ok(RolloutMechanism::Push(push));
    };
    match text(mechanism, "type").map_err(|_| refused("mechanism", "its type is expected"))? {
        "push" => Ok(RolloutMechanism::Push(push)),
        "optional" => {
            // Without a deadline it needs an end, and there are none.
            let deadline = mechanism.get("deadline_ms").unwrap_or(&Value::Null);
            let deadline = Duration::from_millis(whole("mechanism", deadline)?);
            let then = mechanism.get("then").cloned().unwrap_or_else(|| "force".into());
            let then = serde_json::from_value(then).map_err(|error| refused("mechanism", error))?;
            let consent = ConsentPolicy { deadline, then };
            Ok(RolloutMechanism::Optional(OptionalRollout { push, consent }))
        }
        other => Err(refused("mechanism", format!("there is no {other:?}"))),
    }
}

/// The definition and the schedule.
pub(super) fn definition(
    campaign: &Map<String, Value>,
    when_running: WhenRunning,
) -> Read<(CampaignDefinition, Option<Timestamp>)> {
    let rollout = object(campaign, "rollout")?;
    let edit = limits(rollout)?;
    let required = |field| refused(field, "it is required");
    let least = RolloutLimits::new(
        edit.max_pending_operations.ok_or_else(|| required("max_in_progress_operations"))?,
        edit.max_failure_percentage.ok_or_else(|| required("max_failure_percentage"))?,
    );
    let limits = edit.of(&least);
    limits.validate().map_err(|error| refused(limit_field(&error), error))?;
    let minimum_targets = rollout.get("minimum_targets").map_or(Ok(0), minimum)?;
    let push = PushRollout { limits, gates: gates(rollout), minimum_targets };
    let mechanism = campaign.get("policies").and_then(|policies| policies.get("mechanism"));
    let rollout = mechanism_of(mechanism, push)?;
    rollout.validate().map_err(|error| refused(limit_field(&error), error))?;
    let definition = CampaignDefinition {
        name: name(campaign.get("name").unwrap_or(&Value::Null))?,
        base_image: base_image(object(campaign, "base_image")?)?,
        channel: channel(object(campaign, "channel")?)?,
        rollout,
        when_running,
    };
    Ok((definition, schedule(campaign.get("schedule_at_ms").unwrap_or(&Value::Null))?))
}

/// The edit that `set` asks for; `edited` is the campaign with it.
pub(super) fn edit(set: &Map<String, Value>, edited: &Map<String, Value>) -> Read<CampaignEdit> {
    let mut edit = CampaignEdit { limits: limits(set)?, ..CampaignEdit::default() };
    for (field, value) in set {
        match field.as_str() {
            "name" => edit.name = Some(name(value)?),
            "base_image" => edit.base_image = Some(base_image(object(edited, "base_image")?)?),
            "channel" => edit.channel = Some(channel(object(edited, "channel")?)?),
            "schedule_at_ms" => edit.scheduled_at = Some(schedule(value)?),
            "minimum_targets" => edit.minimum_targets = Some(minimum(value)?),
            "force_downgrade" | "enforce_version_requirement" => {
                edit.gates = Some(gates(object(edited, "rollout")?));
            }
            _ => {}
        }
    }
    Ok(edit)
}
