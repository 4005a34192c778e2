//! Groups and channels: a group is in one channel at most.

use std::collections::BTreeSet;

use super::{Decided, changed, found, is_free, is_unused, parsed, room};
use crate::command::{CreateChannel, CreateGroup, UnfinishedCampaign, UpdateChannel, UpdateGroup};
use crate::error::Refusal;
use crate::event::{
    ChannelChanged, ChannelCreated, ChannelRemoved, GroupChanged, GroupCreated, GroupRemoved,
};
use crate::fleet::Fleet;
use crate::id::{ChannelId, GroupId};
use crate::selector::Selector;
use crate::text::Handle;

fn selector(text: &str) -> Result<Selector, Refusal> {
    let parsed = text.parse::<Selector>();
    parsed.map_err(|error| Refusal::Invalid { field: "selector", detail: error.to_string() })
}

pub(super) fn create_group(fleet: &Fleet, it: &CreateGroup) -> Decided {
    let (handle, name) = (parsed::<Handle>("handle", &it.handle)?, parsed("name", &it.name)?);
    let selector = selector(&it.selector)?;
    room(&fleet.groups)?;
    is_free(&fleet.groups, None, Some(&handle), Some(&name))?;
    let id = fleet.groups.next();
    Ok(Some(GroupCreated { id, handle, name, selector }.into()))
}

pub(super) fn update_group(fleet: &Fleet, it: &UpdateGroup) -> Decided {
    let id = it.id;
    let old = found(fleet.group(id), "id", "group", id)?;
    let handle = it.handle.as_deref().map(|text| parsed("handle", text)).transpose()?;
    let name = it.name.as_deref().map(|text| parsed("name", text)).transpose()?;
    let selector = it.selector.as_deref().map(selector).transpose()?;
    is_free(&fleet.groups, Some(id), handle.as_ref(), name.as_ref())?;
    let handle = changed(handle, &old.handle);
    if handle.is_some() {
        is_unused("handle", &it.unfinished, |by| by.groups.contains(old.handle.as_str()))?;
    }
    let event = GroupChanged {
        id,
        handle,
        name: changed(name, &old.name),
        selector: changed(selector, &old.selector),
    };
    let same = GroupChanged { id, handle: None, name: None, selector: None };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_group(
    fleet: &Fleet,
    id: GroupId,
    unfinished: &[UnfinishedCampaign],
) -> Decided {
    let old = found(fleet.group(id), "id", "group", id)?;
    is_unused("id", unfinished, |by| by.groups.contains(old.handle.as_str()))?;
    Ok(Some(GroupRemoved { id }.into()))
}

/// Groups that are there, and in no channel but the own one.
fn free_groups(
    fleet: &Fleet,
    own: Option<ChannelId>,
    groups: &[GroupId],
) -> Result<BTreeSet<GroupId>, Refusal> {
    for id in groups {
        let group = found(fleet.group(*id), "target_group_ids", "device group", id)?;
        if let Some(channel) = fleet.channel_of(*id).filter(|channel| Some(channel.id) != own) {
            let (group, channel) = (group.name.to_string(), channel.name.to_string());
            return Err(Refusal::GroupInAnotherChannel { group, channel });
        }
    }
    Ok(groups.iter().copied().collect())
}

pub(super) fn create_channel(fleet: &Fleet, it: &CreateChannel) -> Decided {
    let (handle, name) = (parsed::<Handle>("handle", &it.handle)?, parsed("name", &it.name)?);
    room(&fleet.channels)?;
    is_free(&fleet.channels, None, Some(&handle), Some(&name))?;
    let groups = free_groups(fleet, None, &it.groups)?;
    let id = fleet.channels.next();
    Ok(Some(ChannelCreated { id, handle, name, groups }.into()))
}

pub(super) fn update_channel(fleet: &Fleet, it: &UpdateChannel) -> Decided {
    let id = it.id;
    let old = found(fleet.channel(id), "id", "channel", id)?;
    let handle = it.handle.as_deref().map(|text| parsed("handle", text)).transpose()?;
    let name = it.name.as_deref().map(|text| parsed("name", text)).transpose()?;
    is_free(&fleet.channels, Some(id), handle.as_ref(), name.as_ref())?;
    let groups = it.groups.as_deref().map(|groups| free_groups(fleet, Some(id), groups));
    let handle = changed(handle, &old.handle);
    if handle.is_some() {
        is_unused("handle", &it.unfinished, |by| by.channel == old.handle.as_str())?;
    }
    let event = ChannelChanged {
        id,
        handle,
        name: changed(name, &old.name),
        groups: changed(groups.transpose()?, &old.groups),
    };
    let same = ChannelChanged { id, handle: None, name: None, groups: None };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_channel(
    fleet: &Fleet,
    id: ChannelId,
    unfinished: &[UnfinishedCampaign],
) -> Decided {
    let old = found(fleet.channel(id), "id", "channel", id)?;
    is_unused("id", unfinished, |by| by.channel == old.handle.as_str())?;
    Ok(Some(ChannelRemoved { id }.into()))
}
