//! The groups of AppEngine.

use serde_json::json;

use super::app_engine::{Paging, parse_id};
use super::reply::{ApiError, Reply};
use super::request::Request;
use crate::device_id::DeviceId;
use crate::realm::Realm;

/// Groups of one realm, and the length of their names.
const GROUPS_MAX: usize = 10_000;
const NAME_LENGTH_MAX: usize = 256;

/// `rest` is what follows `groups`.
pub(super) fn handle(realm: &Realm, request: &Request, rest: &[&str]) -> Result<Reply, ApiError> {
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::data(realm.lock().groups.keys().collect::<Vec<_>>())),
        ("POST", []) => create(realm, request),
        ("GET", [group]) => {
            exists(realm, group)?;
            Ok(Reply::data(json!({"group_name": group})))
        }
        ("GET", [group, "devices"]) => members(realm, request, group),
        ("POST", [group, "devices"]) => add(realm, request, group),
        ("DELETE", [group, "devices", id]) => {
            let id = parse_id(id)?;
            exists(realm, group)?;
            let mut state = realm.lock();
            if !state.is_member(group, id) {
                return Err(ApiError::not_found("Device"));
            }
            state.remove_member(group, id);
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

fn exists(realm: &Realm, group: &str) -> Result<(), ApiError> {
    let exists = realm.lock().groups.contains_key(group);
    if exists { Ok(()) } else { Err(ApiError::not_found("Group")) }
}

fn create(realm: &Realm, request: &Request) -> Result<Reply, ApiError> {
    let data = request.data()?;
    let group = data["group_name"].as_str().unwrap_or_default();
    if group.is_empty() {
        return Err(ApiError::field("group_name", "can't be blank"));
    }
    if group.starts_with(['~', '@']) || group.len() > NAME_LENGTH_MAX {
        return Err(ApiError::field("group_name", "is not valid"));
    }
    let ids = data["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ids.is_empty() {
        return Err(ApiError::field("devices", "should have at least 1 item(s)"));
    }
    let mut state = realm.lock();
    if state.groups.contains_key(group) {
        return Err(ApiError::detail(409, "Group already exists"));
    }
    if state.groups.len() >= GROUPS_MAX {
        return Err(ApiError::field("group_name", format!("there are {GROUPS_MAX} groups")));
    }
    let mut members: Vec<DeviceId> = Vec::with_capacity(ids.len());
    for id in ids {
        let member = id
            .as_str()
            .and_then(|id| id.parse().ok())
            .filter(|id| state.devices.contains_key(id))
            .ok_or_else(|| ApiError::field("devices", format!("must exist (device: {id})")))?;
        if !members.contains(&member) {
            members.push(member);
        }
    }
    for member in &members {
        state.add_member(group, *member);
    }
    Ok(Reply::created(json!({"group_name": group, "devices": members})))
}

fn members(realm: &Realm, request: &Request, group: &str) -> Result<Reply, ApiError> {
    let paging = Paging::read(request)?;
    let state = realm.lock();
    let members = state.groups.get(group).ok_or_else(|| ApiError::not_found("Group"))?;
    paging.page(request, &state, members)
}

fn add(realm: &Realm, request: &Request, group: &str) -> Result<Reply, ApiError> {
    let data = request.data()?;
    let id =
        data["device_id"].as_str().ok_or_else(|| ApiError::field("device_id", "can't be blank"))?;
    let id = parse_id(id)?;
    exists(realm, group)?;
    let mut state = realm.lock();
    if !state.devices.contains_key(&id) {
        return Err(ApiError::not_found("Device"));
    }
    if state.is_member(group, id) {
        return Err(ApiError::detail(409, "Device already in group"));
    }
    state.add_member(group, id);
    Ok(Reply::created_empty(None))
}
