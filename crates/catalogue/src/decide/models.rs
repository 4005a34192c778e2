//! Hardware types and system models: each part number belongs to one of a kind.

use std::collections::BTreeSet;

use super::{
    Decided, changed, found, is_free, is_unused, lettered_handle, localized, localized_from,
    parsed, room, several,
};
use crate::command::{
    CreateHardwareType, CreateSystemModel, UnfinishedCampaign, UpdateHardwareType,
    UpdateSystemModel,
};
use crate::error::Refusal;
use crate::event::{
    HardwareTypeChanged, HardwareTypeCreated, HardwareTypeRemoved, SystemModelChanged,
    SystemModelCreated, SystemModelRemoved, VersionMappingChanged,
};
use crate::fleet::Fleet;
use crate::id::{HardwareTypeId, SystemModelId};
use crate::mapping::{MappingError, VersionMapping};
use crate::text::{Handle, PartNumber};

const PART_NUMBERS: &str = "part_numbers";

fn taken(part: &PartNumber, holder: &str) -> Refusal {
    let (field, value) = (PART_NUMBERS, part.to_string());
    Refusal::Taken { field, value, holder: format!("{holder:?}") }
}

/// Refuses part numbers that another hardware type has.
fn are_free_for_hardware(
    fleet: &Fleet,
    own: Option<HardwareTypeId>,
    parts: &BTreeSet<PartNumber>,
) -> Result<(), Refusal> {
    for other in fleet.hardware_types().filter(|other| Some(other.id) != own) {
        if let Some(part) = parts.intersection(&other.part_numbers).next() {
            return Err(taken(part, other.name.as_str()));
        }
    }
    Ok(())
}

pub(super) fn create_hardware_type(fleet: &Fleet, it: &CreateHardwareType) -> Decided {
    let (handle, name) = (parsed::<Handle>("handle", &it.handle)?, parsed("name", &it.name)?);
    let part_numbers = several(PART_NUMBERS, &it.part_numbers)?;
    room(&fleet.hardware_types)?;
    is_free(&fleet.hardware_types, None, Some(&handle), Some(&name))?;
    are_free_for_hardware(fleet, None, &part_numbers)?;
    let id = fleet.hardware_types.next();
    Ok(Some(HardwareTypeCreated { id, handle, name, part_numbers }.into()))
}

pub(super) fn update_hardware_type(fleet: &Fleet, it: &UpdateHardwareType) -> Decided {
    let id = it.id;
    let old = found(fleet.hardware_type(id), "id", "hardware type", id)?;
    let handle = it.handle.as_deref().map(|text| parsed("handle", text)).transpose()?;
    let name = it.name.as_deref().map(|text| parsed("name", text)).transpose()?;
    let parts = it.part_numbers.as_deref().map(|parts| several(PART_NUMBERS, parts)).transpose()?;
    is_free(&fleet.hardware_types, Some(id), handle.as_ref(), name.as_ref())?;
    if let Some(parts) = &parts {
        are_free_for_hardware(fleet, Some(id), parts)?;
    }
    let event = HardwareTypeChanged {
        id,
        handle: changed(handle, &old.handle),
        name: changed(name, &old.name),
        part_numbers: changed(parts, &old.part_numbers),
    };
    let same = HardwareTypeChanged { id, handle: None, name: None, part_numbers: None };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_hardware_type(fleet: &Fleet, id: HardwareTypeId) -> Decided {
    found(fleet.hardware_type(id), "id", "hardware type", id)?;
    if let Some(model) = fleet.system_models().find(|model| model.hardware_type == id) {
        let what = format!("the system model {:?}", model.name.as_str());
        return Err(Refusal::StillHas { field: "id", what });
    }
    Ok(Some(HardwareTypeRemoved { id }.into()))
}

/// Refuses part numbers that another system model has.
fn are_free_for_model(
    fleet: &Fleet,
    own: Option<SystemModelId>,
    parts: &BTreeSet<PartNumber>,
) -> Result<(), Refusal> {
    for part in parts {
        let holder = fleet.system_model_with_part_number(part.as_str());
        if let Some(holder) = holder.filter(|holder| Some(holder.id) != own) {
            return Err(taken(part, holder.name.as_str()));
        }
    }
    Ok(())
}

pub(super) fn create_system_model(fleet: &Fleet, it: &CreateSystemModel) -> Decided {
    let (handle, name) = (lettered_handle(&it.handle)?, parsed("name", &it.name)?);
    let hardware_type = it.hardware_type;
    let hardware = fleet.hardware_type(hardware_type);
    found(hardware, "hardware_type_id", "hardware type", hardware_type)?;
    let part_numbers = several(PART_NUMBERS, &it.part_numbers)?;
    let descriptions = localized_from("localized_descriptions", &it.descriptions)?;
    room(&fleet.system_models)?;
    is_free(&fleet.system_models, None, Some(&handle), Some(&name))?;
    are_free_for_model(fleet, None, &part_numbers)?;
    let (id, picture) = (fleet.system_models.next(), it.picture.clone());
    let event =
        SystemModelCreated { id, handle, name, hardware_type, part_numbers, picture, descriptions };
    Ok(Some(event.into()))
}

pub(super) fn update_system_model(fleet: &Fleet, it: &UpdateSystemModel) -> Decided {
    let id = it.id;
    let old = found(fleet.system_model(id), "id", "system model", id)?;
    let handle = it.handle.as_deref().map(lettered_handle).transpose()?;
    let name = it.name.as_deref().map(|text| parsed("name", text)).transpose()?;
    let parts = it.part_numbers.as_deref().map(|parts| several(PART_NUMBERS, parts)).transpose()?;
    let texts = localized("localized_descriptions", &old.descriptions, &it.descriptions)?;
    is_free(&fleet.system_models, Some(id), handle.as_ref(), name.as_ref())?;
    if let Some(parts) = &parts {
        are_free_for_model(fleet, Some(id), parts)?;
    }
    let handle = changed(handle, &old.handle);
    if handle.is_some() {
        is_unused("handle", &it.unfinished, |by| by.system_model == old.handle.as_str())?;
    }
    let event = SystemModelChanged {
        id,
        handle,
        name: changed(name, &old.name),
        part_numbers: changed(parts, &old.part_numbers),
        picture: changed(it.picture.clone(), &old.picture),
        descriptions: changed(Some(texts), &old.descriptions),
    };
    let (handle, name, part_numbers, picture, descriptions) = (None, None, None, None, None);
    let same = SystemModelChanged { id, handle, name, part_numbers, picture, descriptions };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_system_model(
    fleet: &Fleet,
    id: SystemModelId,
    unfinished: &[UnfinishedCampaign],
) -> Decided {
    let old = found(fleet.system_model(id), "id", "system model", id)?;
    if let Some(collection) = fleet.collection_of(id) {
        let what = format!("the base image collection {:?}", collection.name.as_str());
        return Err(Refusal::StillHas { field: "id", what });
    }
    is_unused("id", unfinished, |by| by.system_model == old.handle.as_str())?;
    Ok(Some(SystemModelRemoved { id }.into()))
}

pub(super) fn set_version_mapping(
    fleet: &Fleet,
    system_model: SystemModelId,
    lines: &[String],
) -> Decided {
    let old = found(fleet.system_model(system_model), "id", "system model", system_model)?;
    let invalid =
        |error: MappingError| Refusal::Invalid { field: "lines", detail: error.to_string() };
    let lines = VersionMapping::new(lines.iter().cloned()).map_err(invalid)?;
    let is_other = lines != old.version_mapping;
    Ok(is_other.then(|| VersionMappingChanged { system_model, lines }.into()))
}
