//! The Realm Management API: interfaces, policies, and the way to triggers and the deletion of
//! devices.

use std::sync::Arc;

use serde_json::{Value, json};

use super::app_engine::parse_id;
use super::reply::{ApiError, Reply};
use super::request::Request;
use super::{triggers, version};
use crate::interface::Installed;
use crate::platform::Platform;
use crate::realm::{Realm, State};
use crate::trigger::policy::Policy;

/// Interfaces, policies and triggers of one realm, each.
pub(super) const INSTALLED_MAX: usize = 10_000;

pub(super) fn handle(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    match (request.method.as_str(), rest) {
        ("GET", ["version"]) => Ok(version(platform)),
        ("DELETE", ["devices", id]) => {
            if platform.delete_device(realm, parse_id(id)?) {
                Ok(Reply::no_content())
            } else {
                Err(ApiError::not_found("Device"))
            }
        }
        ("GET", ["config", "auth"]) => {
            Ok(Reply::data(json!({"jwt_public_key_pem": realm.keys.public_key_pem()})))
        }
        (_, ["interfaces", rest @ ..]) => interfaces(realm, request, rest),
        (_, ["triggers", rest @ ..]) => triggers::handle(platform, realm, request, rest),
        (_, ["policies", rest @ ..]) if platform.version.has_policies() => {
            policies(realm, request, rest)
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

fn interfaces(realm: &Realm, request: &Request, rest: &[&str]) -> Result<Reply, ApiError> {
    let mut state = realm.lock();
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::data(state.interfaces.keys().collect::<Vec<_>>())),
        ("GET", [name]) => {
            let majors =
                state.interfaces.get(*name).ok_or_else(|| ApiError::not_found("Interface"))?;
            Ok(Reply::data(majors.keys().collect::<Vec<_>>()))
        }
        ("GET", [name, major]) => {
            let installed = find(&state, name, major)?;
            Ok(Reply::data(installed.definition()))
        }
        ("POST", []) => {
            let definition = request.data()?;
            let interface = parse(&definition)?;
            let location =
                format!("/v1/{}/interfaces/{}/{}", realm.name, interface.name(), interface.major());
            install(&mut state, interface)?;
            Ok(Reply::created_empty(Some(location)))
        }
        ("PUT", [name, major]) => {
            let definition = request.data()?;
            update(&mut state, name, major, parse(&definition)?)
        }
        ("DELETE", [name, major]) => {
            let major = find(&state, name, major)?.major();
            let is_used = state.devices.values().any(|device| {
                device.introspection.get(*name).is_some_and(|known| known.major == major)
            });
            if major != 0 || is_used {
                return Err(ApiError::detail(403, "Interface can't be deleted"));
            }
            if state.triggers.values().any(|trigger| trigger.is_about(name, major)) {
                return Err(ApiError::detail(403, "Interface can't be deleted"));
            }
            remove(&mut state, name, major);
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

fn find<'a>(state: &'a State, name: &str, major: &str) -> Result<&'a Installed, ApiError> {
    let major = major.parse().map_err(|_| ApiError::bad_request())?;
    let majors = state.interfaces.get(name).ok_or_else(|| ApiError::not_found("Interface"))?;
    majors.get(&major).ok_or_else(|| ApiError::not_found("Interface major"))
}

fn remove(state: &mut State, name: &str, major: i32) {
    if let Some(majors) = state.interfaces.get_mut(name) {
        majors.remove(&major);
        if majors.is_empty() {
            state.interfaces.remove(name);
        }
    }
}

fn parse(definition: &Value) -> Result<Installed, ApiError> {
    Installed::parse(&definition.to_string())
        .map_err(|error| ApiError::field("interface", error.to_string()))
}

fn install(state: &mut State, interface: Installed) -> Result<(), ApiError> {
    if state.interface(interface.name(), interface.major()).is_some() {
        return Err(ApiError::detail(409, "Interface already exists"));
    }
    let folded = |name: &str| name.to_lowercase().replace('-', "");
    let collides = state
        .interfaces
        .keys()
        .any(|other| other != interface.name() && folded(other) == folded(interface.name()));
    if collides {
        return Err(ApiError::detail(
            409,
            "Interface name collision detected. Make sure that the difference between two interface names is not limited to the casing or the presence of hyphens.",
        ));
    }
    if state.interfaces.len() >= INSTALLED_MAX {
        return Err(ApiError::field("interface", format!("there are {INSTALLED_MAX} already")));
    }
    let majors = state.interfaces.entry(interface.name().to_owned()).or_default();
    majors.insert(interface.major(), interface);
    Ok(())
}

fn update(
    state: &mut State,
    name: &str,
    major: &str,
    interface: Installed,
) -> Result<Reply, ApiError> {
    let conflict = |detail| Err(ApiError::detail(409, detail));
    let installed = find(state, name, major)?;
    if interface.name() != name {
        return conflict("Interface name doesn't match the one in the interface json");
    }
    if interface.major() != installed.major() {
        return conflict("Interface major doesn't match the one in the interface json");
    }
    match interface.minor().cmp(&installed.minor()) {
        std::cmp::Ordering::Equal => return conflict("Interface minor version was not increased"),
        std::cmp::Ordering::Less => return conflict("Interface downgrade not allowed"),
        std::cmp::Ordering::Greater => {}
    }
    let (old, new) = (installed.interface(), interface.interface());
    if old.interface_type() != new.interface_type()
        || old.ownership() != new.ownership()
        || old.aggregation() != new.aggregation()
    {
        return conflict("Invalid update");
    }
    for mapping in installed.mappings() {
        let endpoint = &mapping["endpoint"];
        let Some(updated) = interface.mappings().iter().find(|new| new["endpoint"] == *endpoint)
        else {
            return conflict("Interface update has missing endpoints");
        };
        if fixed_part(mapping) != fixed_part(updated) {
            return conflict("Interface update contains incompatible endpoint changes");
        }
    }
    let majors = state.interfaces.entry(name.to_owned()).or_default();
    majors.insert(interface.major(), interface);
    Ok(Reply::no_content())
}

/// A mapping without what a minor version may change, and without what says the default.
fn fixed_part(mapping: &Value) -> Value {
    let mut mapping = mapping.clone();
    if let Some(mapping) = mapping.as_object_mut() {
        for key in ["doc", "description", "explicit_timestamp", "retention", "expiry"] {
            mapping.remove(key);
        }
        for (key, default) in [
            ("reliability", json!("unreliable")),
            ("allow_unset", json!(false)),
            ("database_retention_policy", json!("no_ttl")),
            ("required", json!(false)),
        ] {
            if mapping.get(key) == Some(&default) {
                mapping.remove(key);
            }
        }
    }
    mapping
}

fn policies(realm: &Realm, request: &Request, rest: &[&str]) -> Result<Reply, ApiError> {
    let not_found = || ApiError::not_found("Trigger policy");
    let mut state = realm.lock();
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::data(state.policies.keys().collect::<Vec<_>>())),
        ("GET", [name]) => {
            let policy = state.policies.get(*name).ok_or_else(not_found)?;
            Ok(Reply::data(policy.definition()))
        }
        ("POST", []) => {
            let definition = request.data()?;
            let policy = Policy::parse(&definition).map_err(|fields| ApiError::form(&fields))?;
            if state.policies.contains_key(&policy.name) {
                return Err(ApiError::detail(409, "Trigger policy already exists"));
            }
            if state.policies.len() >= INSTALLED_MAX {
                return Err(ApiError::field("name", format!("there are {INSTALLED_MAX} already")));
            }
            state.policies.insert(policy.name.clone(), Arc::new(policy));
            Ok(Reply::created(definition))
        }
        ("DELETE", [name]) => {
            if !state.policies.contains_key(*name) {
                return Err(not_found());
            }
            if state.triggers.values().any(|trigger| trigger.policy.as_deref() == Some(*name)) {
                return Err(ApiError::detail(
                    409,
                    "Cannot delete policy as it is being currently used by triggers",
                ));
            }
            state.policies.remove(*name);
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}
