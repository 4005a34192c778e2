//! What a command comes to: the events that follow from it on a fleet, or why it is refused.
//!
//! Every rule of the catalogue is here, and is asked of the fleet as its stream has it: who appends
//! expects that version.

mod devices;
mod groups;
mod images;
mod models;

use std::collections::BTreeSet;

use crate::command::{Command, LocalizedUpdate, UnfinishedCampaign};
use crate::error::Refusal;
use crate::event::CatalogueEvent;
use crate::fleet::Fleet;
use crate::id::Number;
use crate::text::{Handle, LanguageTag, Name, TextError, excerpt};
use crate::thing::Localized;
use crate::things::Things;

/// The most things of a kind.
const MOST_THINGS: usize = 10_000;
/// The most part numbers of a thing, tags or attributes of a device.
const MOST_PARTS: usize = 1_000;
/// The most languages of a text.
const MOST_LANGUAGES: usize = 100;
/// The longest text for people, in bytes.
const LONGEST_TEXT: usize = 4_096;
/// So many campaigns are named that use something.
const MOST_NAMED: usize = 10;

/// What a command comes to; nothing if all is as it asks already.
type Decided = Result<Option<CatalogueEvent>, Refusal>;

/// Decides a command on a fleet.
pub(crate) fn decide(fleet: &Fleet, command: &Command) -> Decided {
    match command {
        Command::CreateHardwareType(it) => models::create_hardware_type(fleet, it),
        Command::UpdateHardwareType(it) => models::update_hardware_type(fleet, it),
        Command::RemoveHardwareType { id } => models::remove_hardware_type(fleet, *id),
        Command::CreateSystemModel(it) => models::create_system_model(fleet, it),
        Command::UpdateSystemModel(it) => models::update_system_model(fleet, it),
        Command::RemoveSystemModel { id, unfinished } => {
            models::remove_system_model(fleet, *id, unfinished)
        }
        Command::SetVersionMapping { system_model, lines } => {
            models::set_version_mapping(fleet, *system_model, lines)
        }
        Command::CreateBaseImageCollection(it) => images::create_collection(fleet, it),
        Command::UpdateBaseImageCollection(it) => images::update_collection(fleet, it),
        Command::RemoveBaseImageCollection { id } => images::remove_collection(fleet, *id),
        Command::CreateBaseImage(it) => images::create_image(fleet, it),
        Command::UpdateBaseImage(it) => images::update_image(fleet, it),
        Command::RemoveBaseImage { id, unfinished } => images::remove_image(fleet, *id, unfinished),
        Command::CreateGroup(it) => groups::create_group(fleet, it),
        Command::UpdateGroup(it) => groups::update_group(fleet, it),
        Command::RemoveGroup { id, unfinished } => groups::remove_group(fleet, *id, unfinished),
        Command::CreateChannel(it) => groups::create_channel(fleet, it),
        Command::UpdateChannel(it) => groups::update_channel(fleet, it),
        Command::RemoveChannel { id, unfinished } => groups::remove_channel(fleet, *id, unfinished),
        Command::NameDevice { device, name } => devices::name(fleet, *device, name.as_deref()),
        Command::AddDeviceTags { device, tags } => devices::tag(fleet, *device, tags),
        Command::RemoveDeviceTags { device, tags } => devices::untag(fleet, *device, tags),
        Command::SetDeviceAttributes { device, attributes } => {
            devices::set_attributes(fleet, *device, attributes)
        }
        Command::RemoveDeviceAttributes { device, keys } => {
            devices::remove_attributes(fleet, *device, keys)
        }
    }
}

fn parsed<T: std::str::FromStr<Err = TextError>>(
    field: &'static str,
    text: &str,
) -> Result<T, Refusal> {
    text.parse().map_err(|error| Refusal::text(field, &error))
}

/// A handle that begins with a letter.
fn lettered_handle(text: &str) -> Result<Handle, Refusal> {
    let handle: Handle = parsed("handle", text)?;
    if handle.begins_with_letter() {
        return Ok(handle);
    }
    let detail = format!("{:?} does not begin with a letter: give one that does", excerpt(text));
    Err(Refusal::Invalid { field: "handle", detail })
}

/// At least one of these, each parsed, and not too many.
fn several<T: std::str::FromStr<Err = TextError> + Ord>(
    field: &'static str,
    texts: &[String],
) -> Result<BTreeSet<T>, Refusal> {
    match texts.len() {
        0 => return Err(Refusal::Required { field }),
        1..=MOST_PARTS => {}
        _ => return Err(Refusal::TooMany { field, most: MOST_PARTS }),
    }
    texts.iter().map(|text| parsed(field, text)).collect()
}

/// Whether there is room for one more.
fn room<I: Number, T: Clone>(things: &Things<I, T>) -> Result<(), Refusal> {
    if things.len() < MOST_THINGS {
        return Ok(());
    }
    Err(Refusal::TooMany { field: "id", most: MOST_THINGS })
}

/// A thing that has names.
trait Named {
    type Id: Number;
    fn id(&self) -> Self::Id;
    fn handle(&self) -> &Handle;
    fn name(&self) -> &Name;
}

macro_rules! named {
    ($( $thing:ident: $id:ident ),*) => { $(
        impl Named for crate::thing::$thing {
            type Id = crate::id::$id;
            fn id(&self) -> Self::Id {
                self.id
            }
            fn handle(&self) -> &Handle {
                &self.handle
            }
            fn name(&self) -> &Name {
                &self.name
            }
        }
    )* };
}

named! {
    HardwareType: HardwareTypeId, SystemModel: SystemModelId,
    BaseImageCollection: BaseImageCollectionId, Group: GroupId, Channel: ChannelId
}

/// Refuses what another thing of the kind is called.
fn is_free<T: Named + Clone>(
    things: &Things<T::Id, T>,
    own: Option<T::Id>,
    handle: Option<&Handle>,
    name: Option<&Name>,
) -> Result<(), Refusal> {
    for other in things.iter().filter(|other| Some(other.id()) != own) {
        let holder = || format!("{:?}", other.name().as_str());
        if let Some(handle) = handle.filter(|handle| *handle == other.handle()) {
            let value = handle.to_string();
            return Err(Refusal::Taken { field: "handle", value, holder: holder() });
        }
        if let Some(name) = name.filter(|name| *name == other.name()) {
            let value = name.to_string();
            return Err(Refusal::Taken { field: "name", value, holder: holder() });
        }
    }
    Ok(())
}

/// What is there, or the refusal.
fn found<T>(
    thing: Option<T>,
    field: &'static str,
    what: &'static str,
    id: impl std::fmt::Display + Copy,
) -> Result<T, Refusal> {
    thing.ok_or_else(|| Refusal::NotFound { field, what, id: id.to_string() })
}

/// What is other than it was.
fn changed<T: PartialEq>(new: Option<T>, old: &T) -> Option<T> {
    new.filter(|new| new != old)
}

/// Refuses what campaigns that have not finished use.
fn is_unused(
    field: &'static str,
    unfinished: &[UnfinishedCampaign],
    is_user: impl Fn(&UnfinishedCampaign) -> bool,
) -> Result<(), Refusal> {
    let users = unfinished.iter().filter(|campaign| is_user(campaign));
    let campaigns: Vec<_> = users.map(|campaign| campaign.name.clone()).take(MOST_NAMED).collect();
    if campaigns.is_empty() { Ok(()) } else { Err(Refusal::InUse { field, campaigns }) }
}

/// Texts by language, changed.
fn localized(
    field: &'static str,
    old: &Localized,
    update: &LocalizedUpdate,
) -> Result<Localized, Refusal> {
    let mut texts = old.clone();
    for (language, text) in update {
        let language: LanguageTag = parsed(field, language)?;
        match text {
            Some(text) if text.is_empty() || text.len() > LONGEST_TEXT => {
                let length = text.len();
                let detail = format!("a text of {length} bytes: give 1 to {LONGEST_TEXT}");
                return Err(Refusal::Invalid { field, detail });
            }
            Some(text) => drop(texts.insert(language, text.clone())),
            None => drop(texts.remove(&language)),
        }
        if texts.len() > MOST_LANGUAGES {
            return Err(Refusal::TooMany { field, most: MOST_LANGUAGES });
        }
    }
    Ok(texts)
}

/// Texts by language, from nothing.
fn localized_from(field: &'static str, input: &[(String, String)]) -> Result<Localized, Refusal> {
    let update = input.iter().map(|(language, text)| (language.clone(), Some(text.clone())));
    localized(field, &Localized::new(), &update.collect())
}
