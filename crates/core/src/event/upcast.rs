//! Older shapes of events, brought up to date one schema version at a time (E6).

use serde_json::Value;

/// Rewrites a payload of `event_type` from schema `from` to schema `to`.
pub(super) fn upcast(event_type: &str, from: u16, to: u16, data: &mut Value) -> Result<(), String> {
    for schema in from..to {
        match (event_type, schema) {
            ("campaign_created" | "campaign_edited", 1) => {
                name_max_pending_operations(data)?;
            }
            ("campaign_created" | "campaign_edited", 2) => ask_for_no_minimum(data)?,
            // A fact of an older schema is as it was: others were added since.
            ("policy_fact_recorded", _) => {}
            _ => return Err(format!("there is no schema {schema} of it")),
        }
    }
    Ok(())
}

/// Schema 1 called the limit `max_in_progress_operations` and had no progress interval.
fn name_max_pending_operations(data: &mut Value) -> Result<(), String> {
    let limits = data
        .pointer_mut("/definition/rollout/push/limits")
        .and_then(Value::as_object_mut)
        .ok_or("it has no push limits")?;
    let limit = limits
        .remove("max_in_progress_operations")
        .ok_or("it has no max_in_progress_operations")?;
    limits.insert("max_pending_operations".to_owned(), limit);
    limits
        .get_mut("operation")
        .and_then(Value::as_object_mut)
        .ok_or("it has no limits of operations")?
        .insert("progress_interval_ms".to_owned(), Value::from(60_000));
    Ok(())
}

/// Schema 2 knew of no `minimum_targets` (D3).
fn ask_for_no_minimum(data: &mut Value) -> Result<(), String> {
    data.pointer_mut("/definition/rollout/push")
        .and_then(Value::as_object_mut)
        .ok_or("it has no push rollout")?
        .insert("minimum_targets".to_owned(), Value::from(0));
    Ok(())
}
