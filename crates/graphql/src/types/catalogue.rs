//! What campaigns are made from: channels, groups, images and their collections, models. All of it is
//! at hand, as of the moment at which the request came.

use std::sync::Arc;

use async_graphql::Value;
use futures::future::FutureExt;
use hedgerow_catalogue as catalogue;
use hedgerow_catalogue::{Fleet, PartNumber, Tag};
use hedgerow_engine::view::CampaignQuery;

use super::campaign;
use super::device::Device;
use super::plain::Plain;
use crate::record::{Answer, Ask, Call, Found, Record, Related};

/// A channel.
pub(crate) struct Channel(pub(crate) Arc<catalogue::Channel>);

impl Channel {
    fn campaigns(&self) -> CampaignQuery {
        CampaignQuery { channel: Some(self.0.handle.to_string()), ..CampaignQuery::default() }
    }
}

impl Record for Channel {
    fn type_name(&self) -> &'static str {
        "Channel"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match field {
            "id" => Answer::id("channel", self.0.id),
            "handle" => Answer::value(self.0.handle.as_str()),
            "name" => Answer::value(self.0.name.as_str()),
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "campaigns" => Some(campaign::page(self.campaigns(), call).boxed()),
            _ => None,
        }
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "targetGroups" => {
                let fleet = ask.fleet();
                let groups = self.0.groups.iter().filter_map(|group| fleet.group(*group));
                Related::now(groups.map(|group| Group(Arc::clone(group))))
            }
            "campaigns" => Related::Later(
                async move { campaign::collected(&self.campaigns(), ask).await }.boxed(),
            ),
            _ => Related::NotThis,
        }
    }
}

/// A group.
pub(crate) struct Group(pub(crate) Arc<catalogue::Group>);

impl Record for Group {
    fn type_name(&self) -> &'static str {
        "DeviceGroup"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let group = &self.0;
        Some(match field {
            "id" => Answer::id("device_group", group.id),
            "handle" => Answer::value(group.handle.as_str()),
            "name" => Answer::value(group.name.as_str()),
            "selector" => Answer::value(group.selector.to_string()),
            "channel" => {
                let fleet = ask.fleet();
                Answer::maybe(fleet.channel_of(group.id).map(|of| Channel(Arc::clone(of))))
            }
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "deviceCount" => Some(
                async move {
                    let fleet = call.ask.fleet();
                    // Each device is asked whether it is in.
                    call.ask.take(fleet.device_count())?;
                    Ok(Answer::count(fleet.devices_of(self.0.id).count()))
                }
                .boxed(),
            ),
            _ => None,
        }
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "devices" => Related::Later(
                async move {
                    let fleet = ask.fleet();
                    ask.take(fleet.device_count())?;
                    let devices = fleet.devices_of(self.0.id).map(|device| device.id());
                    let devices = devices.map(|id| Device::new(id, Arc::clone(&fleet)).shared());
                    Ok(devices.collect())
                }
                .boxed(),
            ),
            _ => Related::NotThis,
        }
    }
}

/// A collection of base images.
pub(crate) struct Collection(pub(crate) Arc<catalogue::BaseImageCollection>);

impl Record for Collection {
    fn type_name(&self) -> &'static str {
        "BaseImageCollection"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let collection = &self.0;
        Some(match field {
            "id" => Answer::id("base_image_collection", collection.id),
            "handle" => Answer::value(collection.handle.as_str()),
            "name" => Answer::value(collection.name.as_str()),
            "systemModel" => {
                let fleet = ask.fleet();
                let model = fleet.system_model(collection.system_model);
                Answer::maybe(model.map(|model| Model(Arc::clone(model))))
            }
            _ => return None,
        })
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "baseImages" => {
                let fleet = ask.fleet();
                let images = fleet.base_images_of(self.0.id);
                Related::now(images.map(|image| Image(Arc::clone(image))))
            }
            _ => Related::NotThis,
        }
    }
}

/// A base image.
pub(crate) struct Image(pub(crate) Arc<catalogue::BaseImage>);

impl Record for Image {
    fn type_name(&self) -> &'static str {
        "BaseImage"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let image = &self.0;
        Some(match field {
            "id" => Answer::id("base_image", image.id),
            "version" => Answer::value(image.version.to_string()),
            "startingVersionRequirement" => {
                Answer::text(image.starting_version_requirement.as_ref().map(ToString::to_string))
            }
            "url" => Answer::value(image.file.url.as_str()),
            "baseImageCollection" => {
                let fleet = ask.fleet();
                let collection = fleet.collection_of_image(image);
                Answer::maybe(collection.map(|collection| Collection(Arc::clone(collection))))
            }
            "name" => Answer::value(match image.release_names.values().next() {
                Some(name) => format!("{} ({name})", image.version),
                None => image.version.to_string(),
            }),
            "sha256" => Answer::text(image.file.sha256.as_deref()),
            "sizeBytes" => Answer::Value(image.file.size_bytes.map_or(Value::Null, Value::from)),
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "localizedDescriptions" => Some(localized(&self.0.descriptions, call)),
            "localizedReleaseDisplayNames" => Some(localized(&self.0.release_names, call)),
            _ => None,
        }
    }
}

/// Texts in the languages that are preferred, in that order, or in all.
fn localized<'a>(texts: &'a catalogue::Localized, call: Call<'a>) -> Found<'a> {
    async move {
        let preferred = call.input.texts("preferredLanguageTags")?.unwrap_or_default();
        let all = texts.iter().map(|(language, text)| (language.as_str(), text));
        let mut chosen: Vec<_> = all.collect();
        if !preferred.is_empty() {
            let place = |language: &str| {
                preferred.iter().position(|preferred| preferred.eq_ignore_ascii_case(language))
            };
            chosen.retain(|(language, _)| place(language).is_some());
            chosen.sort_by_key(|(language, _)| place(language));
        }
        Ok(Answer::objects(chosen.into_iter().map(|(language, text)| {
            Plain::new("LocalizedAttribute")
                .with("value", text.as_str())
                .with("languageTag", language)
        })))
    }
    .boxed()
}

/// A system model.
pub(crate) struct Model(pub(crate) Arc<catalogue::SystemModel>);

impl Record for Model {
    fn type_name(&self) -> &'static str {
        "SystemModel"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let model = &self.0;
        Some(match field {
            "id" => Answer::id("system_model", model.id),
            "handle" => Answer::value(model.handle.as_str()),
            "name" => Answer::value(model.name.as_str()),
            "pictureUrl" => {
                Answer::text(model.picture.as_ref().map(|picture| picture.url.as_str()))
            }
            "hardwareType" => {
                let fleet = ask.fleet();
                let kind = fleet.hardware_type(model.hardware_type);
                Answer::maybe(kind.map(|kind| Hardware(Arc::clone(kind))))
            }
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "localizedDescriptions" => Some(localized(&self.0.descriptions, call)),
            _ => None,
        }
    }

    fn related<'a>(&'a self, field: &'a str, _: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "partNumbers" => {
                let owner = ("systemModel", Answer::object(Self(Arc::clone(&self.0))));
                parts(
                    "SystemModelPartNumber",
                    "system_model_part_number",
                    &self.0.part_numbers,
                    owner,
                )
            }
            _ => Related::NotThis,
        }
    }
}

/// The part numbers of a system model or a hardware type, which each of them leads back to.
fn parts<'a>(
    type_name: &'static str,
    kind: &str,
    numbers: impl IntoIterator<Item = &'a PartNumber>,
    (field, owner): (&'static str, Answer),
) -> Related<'static> {
    Related::now(numbers.into_iter().map(|number| {
        Plain::new(type_name)
            .with("id", crate::id::global(kind, number))
            .with("partNumber", number.as_str())
            .answering(field, owner.clone())
    }))
}

/// A hardware type.
pub(crate) struct Hardware(pub(crate) Arc<catalogue::HardwareType>);

impl Record for Hardware {
    fn type_name(&self) -> &'static str {
        "HardwareType"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match field {
            "id" => Answer::id("hardware_type", self.0.id),
            "handle" => Answer::value(self.0.handle.as_str()),
            "name" => Answer::value(self.0.name.as_str()),
            _ => return None,
        })
    }

    fn related<'a>(&'a self, field: &'a str, _: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "partNumbers" => {
                let owner = ("hardwareType", Answer::object(Self(Arc::clone(&self.0))));
                parts(
                    "HardwareTypePartNumber",
                    "hardware_type_part_number",
                    &self.0.part_numbers,
                    owner,
                )
            }
            _ => Related::NotThis,
        }
    }
}

/// A tag.
pub(crate) fn tag(tag: &Tag) -> Plain {
    Plain::new("Tag").with("id", crate::id::global("tag", tag)).with("name", tag.as_str())
}

/// The tags in use.
pub(crate) fn tags(fleet: &Fleet) -> Related<'static> {
    Related::now(fleet.tags().map(tag))
}
