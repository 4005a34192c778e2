//! What campaigns are made from is entered, changed and removed.

use async_graphql::Value;
use hedgerow_catalogue::files::StoredFile;
use hedgerow_catalogue::{
    Actor, Command, CreateBaseImage, CreateBaseImageCollection, CreateChannel, CreateGroup,
    CreateHardwareType, CreateSystemModel, Fleet, ImageFile, LocalizedInput, LocalizedUpdate,
    Picture, Recorded, Thing, UnfinishedCampaign, UpdateBaseImage, UpdateBaseImageCollection,
    UpdateChannel, UpdateGroup, UpdateHardwareType, UpdateSystemModel,
};
use hedgerow_catalogue::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
use hedgerow_core::{CampaignStatus, DeviceId};
use hedgerow_engine::view::CampaignQuery;

use crate::errors::{Failure, of_fleet};
use crate::id;
use crate::record::{Ask, Call, Input, Object};
use crate::types::thing;

/// A number that an id of the catalogue is made of.
pub(super) fn number(kind: &str, input: Input<'_>, name: &str) -> Result<u32, Failure> {
    input.required_key(kind, name)
}

fn texts(given: Vec<&str>) -> Vec<String> {
    given.into_iter().map(str::to_owned).collect()
}

fn owned(input: Input<'_>, name: &str) -> Result<Option<String>, Failure> {
    Ok(input.text(name)?.map(str::to_owned))
}

fn required(input: Input<'_>, name: &str) -> Result<String, Failure> {
    input.required_text(name).map(str::to_owned)
}

/// Texts by language, each of which may be taken away.
fn localized(input: Input<'_>, name: &str) -> Result<LocalizedUpdate, Failure> {
    let Some(Value::List(all)) = input.get(name) else { return Ok(Vec::new()) };
    let texts = all.iter().filter_map(|one| match one {
        Value::Object(one) => Some(Input(one)),
        _ => None,
    });
    texts.map(|one| Ok((required(one, "languageTag")?, owned(one, "value")?))).collect()
}

/// Texts by language.
fn localized_input(input: Input<'_>, name: &str) -> Result<LocalizedInput, Failure> {
    let all = localized(input, name)?.into_iter();
    Ok(all.filter_map(|(language, text)| Some((language, text?))).collect())
}

/// The campaigns that have not finished: what they use may not be taken from under them.
async fn unfinished(ask: &Ask) -> Result<Vec<UnfinishedCampaign>, Failure> {
    let mut all = Vec::new();
    for status in CampaignStatus::ALL {
        if matches!(status, CampaignStatus::Finished | CampaignStatus::Deleted) {
            continue;
        }
        let mut query =
            CampaignQuery { status: Some(status), limit: 1_000, ..CampaignQuery::default() };
        loop {
            let page = ask.engine().campaigns(ask.tenant(), &query).await?;
            all.extend(page.entries.iter().map(|entry| {
                let has_started = entry.started_at.is_some();
                UnfinishedCampaign::new(entry.campaign, &entry.definition, has_started)
            }));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    Ok(all)
}

/// Who asks, as it is recorded.
fn actor(ask: &Ask) -> Result<Actor, Failure> {
    let name = ask.caller.subject.as_deref().unwrap_or(ask.caller.role.name());
    name.parse::<Actor>()
        .or_else(|_| ask.caller.role.name().parse())
        .map_err(|error| Failure::new("internal_error", format!("who asks has no name: {error}")))
}

async fn record(ask: &Ask, command: Command) -> Result<Recorded, Failure> {
    let recorded = ask.api.catalogue.record(ask.tenant(), &actor(ask)?, command).await?;
    ask.use_fleet(recorded.fleet.clone());
    Ok(recorded)
}

/// Records a command that creates something, and shows it.
async fn create(call: Call<'_>, command: Command) -> Result<Object, Failure> {
    let created = record(call.ask, command).await?.created();
    let created = created.and_then(|thing| self::thing(thing, &call.ask.fleet()));
    created.ok_or_else(|| Failure::not_found("id"))
}

/// Records a command that changes a thing, and shows it.
async fn change(call: Call<'_>, what: Thing, command: Command) -> Result<Object, Failure> {
    // What is not there is not there, whatever is wrong with what is asked of it.
    thing(what, &call.ask.fleet()).ok_or_else(|| Failure::not_found("id"))?;
    record(call.ask, command).await?;
    thing(what, &call.ask.fleet()).ok_or_else(|| Failure::not_found("id"))
}

/// Records a command that removes a thing, and shows it as it was.
async fn remove(call: Call<'_>, what: Thing, command: Command) -> Result<Object, Failure> {
    let was = thing(what, &call.ask.fleet()).ok_or_else(|| Failure::not_found("id"))?;
    record(call.ask, command).await?;
    // What it leads to is looked up among what there was.
    Ok(was)
}

/// What is to be changed of a thing; nothing, if nothing is said.
fn changes(call: Call<'_>) -> Result<Option<Input<'_>>, Failure> {
    call.input.object("input")
}

/// Shows a thing that nothing is to be changed of.
fn unchanged(call: Call<'_>, what: Thing) -> Result<Object, Failure> {
    thing(what, &call.ask.fleet()).ok_or_else(|| Failure::not_found("id"))
}

fn group_ids(input: Input<'_>, name: &str) -> Result<Option<Vec<GroupId>>, Failure> {
    let Some(ids) = input.texts(name)? else { return Ok(None) };
    let ids = ids.into_iter().map(|text| id::key("device_group", text, name).map(GroupId::new));
    let ids: Result<Vec<_>, _> = ids.collect();
    ids.map(Some).map_err(|failure| Failure {
        message: "One or more target groups could not be found".to_owned(),
        ..failure
    })
}

// Channels and groups.

pub(super) async fn create_channel(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let command = Command::CreateChannel(CreateChannel {
        handle: required(input, "handle")?,
        name: required(input, "name")?,
        groups: group_ids(input, "targetGroupIds")?.unwrap_or_default(),
    });
    create(call, command).await
}

pub(super) async fn update_channel(call: Call<'_>) -> Result<Object, Failure> {
    let id = ChannelId::new(number("channel", call.input, "id")?);
    let Some(input) = changes(call)? else { return unchanged(call, Thing::Channel(id)) };
    let command = Command::UpdateChannel(UpdateChannel {
        id,
        handle: owned(input, "handle")?,
        name: owned(input, "name")?,
        groups: group_ids(input, "targetGroupIds")?,
        unfinished: unfinished(call.ask).await?,
    });
    change(call, Thing::Channel(id), command).await
}

pub(super) async fn delete_channel(call: Call<'_>) -> Result<Object, Failure> {
    let id = ChannelId::new(number("channel", call.input, "id")?);
    let unfinished = unfinished(call.ask).await?;
    remove(call, Thing::Channel(id), Command::RemoveChannel { id, unfinished }).await
}

pub(super) async fn create_group(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let command = Command::CreateGroup(CreateGroup {
        handle: required(input, "handle")?,
        name: required(input, "name")?,
        selector: required(input, "selector")?,
    });
    create(call, command).await
}

pub(super) async fn update_group(call: Call<'_>) -> Result<Object, Failure> {
    let id = GroupId::new(number("device_group", call.input, "id")?);
    let Some(input) = changes(call)? else { return unchanged(call, Thing::Group(id)) };
    let command = Command::UpdateGroup(UpdateGroup {
        id,
        handle: owned(input, "handle")?,
        name: owned(input, "name")?,
        selector: owned(input, "selector")?,
        unfinished: unfinished(call.ask).await?,
    });
    change(call, Thing::Group(id), command).await
}

pub(super) async fn delete_group(call: Call<'_>) -> Result<Object, Failure> {
    let id = GroupId::new(number("device_group", call.input, "id")?);
    let unfinished = unfinished(call.ask).await?;
    remove(call, Thing::Group(id), Command::RemoveGroup { id, unfinished }).await
}

// Models.

pub(super) async fn create_hardware_type(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let command = Command::CreateHardwareType(CreateHardwareType {
        handle: required(input, "handle")?,
        name: required(input, "name")?,
        part_numbers: texts(input.texts("partNumbers")?.unwrap_or_default()),
    });
    create(call, command).await
}

pub(super) async fn update_hardware_type(call: Call<'_>) -> Result<Object, Failure> {
    let id = HardwareTypeId::new(number("hardware_type", call.input, "id")?);
    let Some(input) = changes(call)? else { return unchanged(call, Thing::HardwareType(id)) };
    let command = Command::UpdateHardwareType(UpdateHardwareType {
        id,
        handle: owned(input, "handle")?,
        name: owned(input, "name")?,
        part_numbers: input.texts("partNumbers")?.map(texts),
    });
    change(call, Thing::HardwareType(id), command).await
}

pub(super) async fn delete_hardware_type(call: Call<'_>) -> Result<Object, Failure> {
    let id = HardwareTypeId::new(number("hardware_type", call.input, "id")?);
    remove(call, Thing::HardwareType(id), Command::RemoveHardwareType { id }).await
}

/// A picture, uploaded or elsewhere.
fn picture(
    call: Call<'_>,
    input: Input<'_>,
) -> Result<(Option<Picture>, Option<StoredFile>), Failure> {
    if let Some(upload) = input.text("pictureFile")? {
        let (stored, url) = call.ask.uploaded(upload, "pictureFile")?;
        return Ok((Some(Picture { url, key: Some(stored.key.to_string()) }), Some(stored)));
    }
    let Some(url) = input.text("pictureUrl")? else { return Ok((None, None)) };
    let url = url.parse().map_err(of_fleet("pictureUrl"))?;
    Ok((Some(Picture { url, key: None }), None))
}

pub(super) async fn create_system_model(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let (picture, stored) = picture(call, input)?;
    let command = Command::CreateSystemModel(CreateSystemModel {
        handle: required(input, "handle")?,
        name: required(input, "name")?,
        hardware_type: HardwareTypeId::new(number("hardware_type", input, "hardwareTypeId")?),
        part_numbers: texts(input.texts("partNumbers")?.unwrap_or_default()),
        picture,
        descriptions: localized_input(input, "localizedDescriptions")?,
    });
    let created = create(call, command).await?;
    if let Some(stored) = stored {
        call.ask.keep(&stored);
    }
    Ok(created)
}

pub(super) async fn update_system_model(call: Call<'_>) -> Result<Object, Failure> {
    let id = SystemModelId::new(number("system_model", call.input, "id")?);
    let Some(input) = changes(call)? else { return unchanged(call, Thing::SystemModel(id)) };
    let (given, stored) = picture(call, input)?;
    let is_taken_away = input.is_null("pictureUrl") && given.is_none();
    let command = Command::UpdateSystemModel(UpdateSystemModel {
        id,
        handle: owned(input, "handle")?,
        name: owned(input, "name")?,
        part_numbers: input.texts("partNumbers")?.map(texts),
        picture: if is_taken_away { Some(None) } else { given.map(Some) },
        descriptions: localized(input, "localizedDescriptions")?,
        unfinished: unfinished(call.ask).await?,
    });
    let changed = change(call, Thing::SystemModel(id), command).await?;
    if let Some(stored) = stored {
        call.ask.keep(&stored);
    }
    Ok(changed)
}

pub(super) async fn delete_system_model(call: Call<'_>) -> Result<Object, Failure> {
    let id = SystemModelId::new(number("system_model", call.input, "id")?);
    let unfinished = unfinished(call.ask).await?;
    remove(call, Thing::SystemModel(id), Command::RemoveSystemModel { id, unfinished }).await
}

// Images.

pub(super) async fn create_collection(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let command = Command::CreateBaseImageCollection(CreateBaseImageCollection {
        handle: required(input, "handle")?,
        name: required(input, "name")?,
        system_model: SystemModelId::new(number("system_model", input, "systemModelId")?),
    });
    create(call, command).await
}

pub(super) async fn update_collection(call: Call<'_>) -> Result<Object, Failure> {
    let id = BaseImageCollectionId::new(number("base_image_collection", call.input, "id")?);
    let Some(input) = changes(call)? else {
        return unchanged(call, Thing::BaseImageCollection(id));
    };
    let command = Command::UpdateBaseImageCollection(UpdateBaseImageCollection {
        id,
        handle: owned(input, "handle")?,
        name: owned(input, "name")?,
    });
    change(call, Thing::BaseImageCollection(id), command).await
}

pub(super) async fn delete_collection(call: Call<'_>) -> Result<Object, Failure> {
    let id = BaseImageCollectionId::new(number("base_image_collection", call.input, "id")?);
    let command = Command::RemoveBaseImageCollection { id };
    remove(call, Thing::BaseImageCollection(id), command).await
}

pub(super) async fn create_image(call: Call<'_>) -> Result<Object, Failure> {
    let input = call.input.required_object("input")?;
    let collection = number("base_image_collection", input, "baseImageCollectionId")?;
    // Held until it is recorded: what no record names may be removed.
    let (stored, url) = call.ask.uploaded(input.required_text("file")?, "file")?;
    let command = Command::CreateBaseImage(CreateBaseImage {
        collection: BaseImageCollectionId::new(collection),
        version: required(input, "version")?,
        starting_version_requirement: owned(input, "startingVersionRequirement")?
            .filter(|requirement| !requirement.trim().is_empty()),
        file: ImageFile {
            url,
            key: Some(stored.key.to_string()),
            size_bytes: Some(stored.size_bytes),
            sha256: Some(stored.sha256.clone()),
        },
        descriptions: localized_input(input, "localizedDescriptions")?,
        release_names: localized_input(input, "localizedReleaseDisplayNames")?,
    });
    let created = create(call, command).await?;
    call.ask.keep(&stored);
    Ok(created)
}

pub(super) async fn update_image(call: Call<'_>) -> Result<Object, Failure> {
    let id = BaseImageId::new(number("base_image", call.input, "id")?);
    let Some(input) = changes(call)? else { return unchanged(call, Thing::BaseImage(id)) };
    let requirement = owned(input, "startingVersionRequirement")?;
    let is_none = requirement.as_ref().is_none_or(|given| given.trim().is_empty());
    let is_given = input.0.contains_key("startingVersionRequirement");
    let command = Command::UpdateBaseImage(UpdateBaseImage {
        id,
        starting_version_requirement: is_given.then_some(requirement.filter(|_| !is_none)),
        descriptions: localized(input, "localizedDescriptions")?,
        release_names: localized(input, "localizedReleaseDisplayNames")?,
    });
    change(call, Thing::BaseImage(id), command).await
}

pub(super) async fn delete_image(call: Call<'_>) -> Result<Object, Failure> {
    let id = BaseImageId::new(number("base_image", call.input, "id")?);
    let unfinished = unfinished(call.ask).await?;
    remove(call, Thing::BaseImage(id), Command::RemoveBaseImage { id, unfinished }).await
}

// Devices.

fn known_device(call: Call<'_>) -> Result<DeviceId, Failure> {
    let device: DeviceId = call.input.required_key("device", "id")?;
    let is_known = call.ask.fleet().device(device).is_some();
    if is_known { Ok(device) } else { Err(Failure::not_found("id")) }
}

pub(super) async fn update_device(call: Call<'_>) -> Result<Object, Failure> {
    let device = known_device(call)?;
    let Some(input) = changes(call)? else { return unchanged(call, Thing::Device(device)) };
    if !input.0.contains_key("name") {
        return unchanged(call, Thing::Device(device));
    }
    let name = owned(input, "name")?;
    change(call, Thing::Device(device), Command::NameDevice { device, name }).await
}

pub(super) async fn tag_device(call: Call<'_>, add: bool) -> Result<Object, Failure> {
    let device = known_device(call)?;
    let input = call.input.required_object("input")?;
    let tags = texts(input.texts("tags")?.unwrap_or_default());
    let command = if add {
        Command::AddDeviceTags { device, tags }
    } else {
        Command::RemoveDeviceTags { device, tags }
    };
    change(call, Thing::Device(device), command).await
}

// What campaigns take.

/// The base image that an input names.
pub(super) fn base_image(
    fleet: &Fleet,
    input: Input<'_>,
) -> Result<hedgerow_core::BaseImage, Failure> {
    let Some(given) = input.text("baseImageId")? else {
        let failure = Failure::required("baseImageId");
        let message = "is required for firmware upgrade operations".to_owned();
        return Err(Failure { message, ..failure });
    };
    let id = id::key("base_image", given, "baseImageId").map(BaseImageId::new)?;
    fleet.image_for_campaign(id).ok_or_else(|| Failure::not_found("baseImageId"))
}

/// The channel that an input names.
pub(super) fn channel(fleet: &Fleet, input: Input<'_>) -> Result<hedgerow_core::Channel, Failure> {
    let id = number("channel", input, "channelId").map(ChannelId::new)?;
    let channel = fleet.channel_for_campaign(id).ok_or_else(|| Failure::not_found("channelId"))?;
    channel.map_err(of_fleet("channelId"))
}
