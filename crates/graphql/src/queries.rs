//! The fields of `RootQueryType`.

use std::sync::Arc;

use futures::future::{FutureExt, ready};
use hedgerow_catalogue::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId, Thing,
};
use hedgerow_core::CampaignId;
use hedgerow_engine::view::CampaignQuery;

use crate::errors::Failure;
use crate::id;
use crate::record::{Answer, Ask, Call, Found, Record, Related};
use crate::types::campaign::{self, Campaign};
use crate::types::catalogue::{Channel, Collection, Group, Hardware, Model, tags};
use crate::types::device::Device;
use crate::types::plain::Plain;
use crate::types::thing;

/// The root of questions.
pub(crate) struct Query;

impl Record for Query {
    fn type_name(&self) -> &'static str {
        "RootQueryType"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        match field {
            "tenantInfo" => {
                let slug = ask.tenant().as_str();
                Some(Answer::object(
                    Plain::new("TenantInfo")
                        .with("id", id::global("tenant_info", slug))
                        .with("name", slug)
                        .with("slug", slug)
                        .with("defaultLocale", "en-US")
                        .with("role", ask.caller.role.name()),
                ))
            }
            _ => None,
        }
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        Some(match field {
            "campaign" => one_campaign(call).boxed(),
            "campaigns" | "updateCampaigns" => {
                campaign::page(CampaignQuery::default(), call).boxed()
            }
            "node" => node(call).boxed(),
            "channel" => ready(one("channel", call)).boxed(),
            "deviceGroup" => ready(one("device_group", call)).boxed(),
            "device" => ready(one("device", call)).boxed(),
            "systemModel" => ready(one("system_model", call)).boxed(),
            "hardwareType" => ready(one("hardware_type", call)).boxed(),
            "baseImage" => ready(one("base_image", call)).boxed(),
            "baseImageCollection" => ready(one("base_image_collection", call)).boxed(),
            _ => return None,
        })
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        let fleet = ask.fleet();
        match field {
            "channels" => Related::now(fleet.channels().map(|one| Channel(Arc::clone(one)))),
            "deviceGroups" => Related::now(fleet.groups().map(|one| Group(Arc::clone(one)))),
            "devices" => {
                let devices = fleet.devices().map(|device| device.id());
                Related::now(devices.map(|id| Device::new(id, Arc::clone(&fleet))))
            }
            "systemModels" => Related::now(fleet.system_models().map(|one| Model(Arc::clone(one)))),
            "hardwareTypes" => {
                Related::now(fleet.hardware_types().map(|one| Hardware(Arc::clone(one))))
            }
            "baseImageCollections" => {
                Related::now(fleet.base_image_collections().map(|one| Collection(Arc::clone(one))))
            }
            "existingDeviceTags" => tags(&fleet),
            _ => Related::NotThis,
        }
    }
}

async fn one_campaign(call: Call<'_>) -> Result<Answer, Failure> {
    let id: CampaignId = call.input.required_key("campaign", "id")?;
    let found = call.ask.campaign(id).await?;
    found.map(|found| Answer::object(Campaign(found))).ok_or_else(|| Failure::not_found("id"))
}

/// A thing of the catalogue of that kind.
fn one(kind: &str, call: Call<'_>) -> Result<Answer, Failure> {
    let text = call.input.required_text("id")?;
    let number = || id::key::<u32>(kind, text, "id");
    let what = match kind {
        "channel" => Thing::Channel(ChannelId::new(number()?)),
        "device_group" => Thing::Group(GroupId::new(number()?)),
        "system_model" => Thing::SystemModel(SystemModelId::new(number()?)),
        "hardware_type" => Thing::HardwareType(HardwareTypeId::new(number()?)),
        "base_image" => Thing::BaseImage(BaseImageId::new(number()?)),
        "base_image_collection" => {
            Thing::BaseImageCollection(BaseImageCollectionId::new(number()?))
        }
        "device" => Thing::Device(id::key(kind, text, "id")?),
        _ => return Err(Failure::not_found("id")),
    };
    let found = thing(what, &call.ask.fleet());
    found.map(Answer::Object).ok_or_else(|| Failure::not_found("id"))
}

async fn node(call: Call<'_>) -> Result<Answer, Failure> {
    let text = call.input.required_text("id")?;
    let (kind, _) = id::parse(text).ok_or_else(|| Failure::not_found("id"))?;
    match kind.as_str() {
        "campaign" => one_campaign(call).await,
        kind => one(kind, call),
    }
}
