//! Base images and their collections: one collection for a system model, each version once in it.

use hedgerow_core::{VersionRequirement, parse_version};

use super::{
    Decided, changed, found, is_free, is_unused, lettered_handle, localized, localized_from,
    parsed, room,
};
use crate::command::{
    CreateBaseImage, CreateBaseImageCollection, UnfinishedCampaign, UpdateBaseImage,
    UpdateBaseImageCollection,
};
use crate::error::Refusal;
use crate::event::{
    BaseImageChanged, BaseImageCollectionChanged, BaseImageCollectionCreated,
    BaseImageCollectionRemoved, BaseImageCreated, BaseImageRemoved,
};
use crate::fleet::Fleet;
use crate::id::{BaseImageCollectionId, BaseImageId};
use crate::thing::ImageFile;

/// The longest key of a file, in bytes.
const LONGEST_KEY: usize = 1_024;

pub(super) fn create_collection(fleet: &Fleet, it: &CreateBaseImageCollection) -> Decided {
    let (handle, name) = (lettered_handle(&it.handle)?, parsed("name", &it.name)?);
    let (field, system_model) = ("system_model_id", it.system_model);
    let model = found(fleet.system_model(system_model), field, "system model", system_model)?;
    room(&fleet.collections)?;
    is_free(&fleet.collections, None, Some(&handle), Some(&name))?;
    if let Some(other) = fleet.collection_of(system_model) {
        let (value, holder) = (model.name.to_string(), format!("{:?}", other.name.as_str()));
        return Err(Refusal::Taken { field, value, holder });
    }
    let id = fleet.collections.next();
    Ok(Some(BaseImageCollectionCreated { id, handle, name, system_model }.into()))
}

pub(super) fn update_collection(fleet: &Fleet, it: &UpdateBaseImageCollection) -> Decided {
    let id = it.id;
    let old = found(fleet.base_image_collection(id), "id", "base image collection", id)?;
    let handle = it.handle.as_deref().map(lettered_handle).transpose()?;
    let name = it.name.as_deref().map(|text| parsed("name", text)).transpose()?;
    is_free(&fleet.collections, Some(id), handle.as_ref(), name.as_ref())?;
    let event = BaseImageCollectionChanged {
        id,
        handle: changed(handle, &old.handle),
        name: changed(name, &old.name),
    };
    let same = BaseImageCollectionChanged { id, handle: None, name: None };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_collection(fleet: &Fleet, id: BaseImageCollectionId) -> Decided {
    let old = found(fleet.base_image_collection(id), "id", "base image collection", id)?;
    if let Some(image) = fleet.base_images_of(old.id).next() {
        let what = format!("the base image {}", image.version);
        return Err(Refusal::StillHas { field: "id", what });
    }
    Ok(Some(BaseImageCollectionRemoved { id }.into()))
}

fn requirement(text: Option<&str>) -> Result<Option<VersionRequirement>, Refusal> {
    let field = "starting_version_requirement";
    // A form sends an empty text where nothing was entered.
    let text = text.filter(|text| !text.trim().is_empty());
    let parsed = text.map(str::parse::<VersionRequirement>).transpose();
    parsed.map_err(|error| Refusal::Invalid { field, detail: error.to_string() })
}

fn check(file: &ImageFile) -> Result<(), Refusal> {
    let refused = |detail: &str| Err(Refusal::Invalid { field: "file", detail: detail.to_owned() });
    if file.key.as_ref().is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY) {
        return refused("the key of a file has 1 to 1024 bytes: store it under another one");
    }
    let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !file.sha256.as_ref().is_none_or(is_digest) {
        return refused("a SHA-256 has 64 hexadecimal digits: compute it from the file");
    }
    Ok(())
}

pub(super) fn create_image(fleet: &Fleet, it: &CreateBaseImage) -> Decided {
    let collection = it.collection;
    let holder = fleet.base_image_collection(collection);
    let holder = found(holder, "base_image_collection_id", "base image collection", collection)?;
    let invalid = |detail| Refusal::Invalid { field: "version", detail };
    let version = parse_version(&it.version).map_err(|error| invalid(error.to_string()))?;
    let starting_version_requirement = requirement(it.starting_version_requirement.as_deref())?;
    check(&it.file)?;
    let descriptions = localized_from("localized_descriptions", &it.descriptions)?;
    let release_names = localized_from("localized_release_display_names", &it.release_names)?;
    room(&fleet.images)?;
    if fleet.base_images_of(collection).any(|other| other.version == version) {
        let holder = format!("an image of {:?}", holder.name.as_str());
        return Err(Refusal::Taken { field: "version", value: version.to_string(), holder });
    }
    let event = BaseImageCreated {
        id: fleet.images.next(),
        collection,
        version,
        starting_version_requirement,
        file: it.file.clone(),
        descriptions,
        release_names,
    };
    Ok(Some(event.into()))
}

pub(super) fn update_image(fleet: &Fleet, it: &UpdateBaseImage) -> Decided {
    let id = it.id;
    let old = found(fleet.base_image(id), "id", "base image", id)?;
    let given = it.starting_version_requirement.as_ref();
    let new = given.map(|text| requirement(text.as_deref())).transpose()?;
    let texts = localized("localized_descriptions", &old.descriptions, &it.descriptions)?;
    let field = "localized_release_display_names";
    let names = localized(field, &old.release_names, &it.release_names)?;
    let event = BaseImageChanged {
        id,
        starting_version_requirement: changed(new, &old.starting_version_requirement),
        descriptions: changed(Some(texts), &old.descriptions),
        release_names: changed(Some(names), &old.release_names),
    };
    let (starting_version_requirement, descriptions, release_names) = (None, None, None);
    let same = BaseImageChanged { id, starting_version_requirement, descriptions, release_names };
    Ok((event != same).then(|| event.into()))
}

pub(super) fn remove_image(
    fleet: &Fleet,
    id: BaseImageId,
    unfinished: &[UnfinishedCampaign],
) -> Decided {
    let old = found(fleet.base_image(id), "id", "base image", id)?;
    let collection = fleet.base_image_collection(old.collection);
    let model = collection.and_then(|collection| fleet.system_model(collection.system_model));
    is_unused("id", unfinished, |by| {
        let of_model = model.is_none_or(|model| by.system_model == model.handle.as_str());
        of_model && by.version == old.version
    })?;
    Ok(Some(BaseImageRemoved { id }.into()))
}
