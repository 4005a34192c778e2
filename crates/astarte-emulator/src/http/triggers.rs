//! The triggers of Realm Management.

use std::sync::Arc;

use super::realm_management::INSTALLED_MAX;
use super::reply::{ApiError, Reply};
use super::request::Request;
use crate::platform::Platform;
use crate::realm::Realm;
use crate::trigger::{Trigger, TriggerError};

/// `rest` is what follows `triggers`.
pub(super) fn handle(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    let mut state = realm.lock();
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::data(state.triggers.keys().collect::<Vec<_>>())),
        ("GET", [name]) => {
            let trigger =
                state.triggers.get(*name).ok_or_else(|| ApiError::not_found("Trigger"))?;
            Ok(Reply::data(trigger.definition()))
        }
        ("POST", []) => {
            let mut definition = request.data()?;
            if let Some(definition) = definition.as_object_mut()
                && !platform.version.has_policies()
            {
                // What a version does not know it passes over.
                definition.remove("policy");
            }
            let trigger = Trigger::parse(&definition, |name, major| state.interface(name, major))
                .map_err(|error| match error {
                TriggerError::Fields(fields) => ApiError::form(&fields),
                TriggerError::Unsupported(detail) => ApiError::detail(400, detail),
            })?;
            if !trigger.is_known_to(&platform.version) {
                return Err(ApiError::nested("simple_triggers", "on", "is invalid"));
            }
            if state.triggers.contains_key(&trigger.name) {
                return Err(ApiError::detail(409, "Trigger already exists"));
            }
            if let Some(policy) = &trigger.policy
                && !state.policies.contains_key(policy)
            {
                return Err(ApiError::not_found("Trigger policy"));
            }
            if state.triggers.len() >= INSTALLED_MAX {
                return Err(ApiError::field("name", format!("there are {INSTALLED_MAX} already")));
            }
            state.triggers.insert(trigger.name.clone(), Arc::new(trigger));
            Ok(Reply::created(definition))
        }
        ("DELETE", [name]) => {
            state.triggers.remove(*name).ok_or_else(|| ApiError::not_found("Trigger"))?;
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}
