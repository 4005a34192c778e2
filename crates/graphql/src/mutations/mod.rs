//! The fields of `RootMutationType`: who may is asked first, then what is given is read, and what came
//! of it is answered.

mod campaign;
mod catalogue;
mod operation;

use futures::future::FutureExt;

use crate::auth::Role;
use crate::errors::Failure;
use crate::record::{Answer, Ask, Call, Found, Object, Record};

/// The root of changes.
pub(crate) struct Mutation;

/// What came of a change. That there are no errors is because those stand at the root.
struct Changed(Object);

impl Record for Changed {
    fn type_name(&self) -> &'static str {
        "Result"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        match field {
            "result" => Some(Answer::Object(self.0.clone())),
            _ => None,
        }
    }
}

impl Record for Mutation {
    fn type_name(&self) -> &'static str {
        "RootMutationType"
    }

    fn at_hand(&self, _: &str, _: &Ask) -> Option<Answer> {
        None
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        Some(
            async move {
                let changed = changed(field, call).await?;
                Ok(Answer::object(Changed(changed)))
            }
            .boxed(),
        )
    }
}

async fn changed(field: &str, call: Call<'_>) -> Result<Object, Failure> {
    call.ask.needs(role(field))?;
    match field {
        "createCampaign" => campaign::create(call).await,
        "updateCampaign" => campaign::update(call).await,
        "deleteCampaign" => campaign::delete(call).await,
        "pauseCampaign" => campaign::pause(call).await,
        "resumeCampaign" => campaign::resume(call).await,
        "cancelCampaign" => campaign::cancel(call).await,
        "createManualOtaOperation" => operation::start(call).await,
        "cancelOtaOperation" => operation::cancel(call).await,
        "updateDevice" => catalogue::update_device(call).await,
        "addDeviceTags" => catalogue::tag_device(call, true).await,
        "removeDeviceTags" => catalogue::tag_device(call, false).await,
        "createChannel" => catalogue::create_channel(call).await,
        "updateChannel" => catalogue::update_channel(call).await,
        "deleteChannel" => catalogue::delete_channel(call).await,
        "createDeviceGroup" => catalogue::create_group(call).await,
        "updateDeviceGroup" => catalogue::update_group(call).await,
        "deleteDeviceGroup" => catalogue::delete_group(call).await,
        "createSystemModel" => catalogue::create_system_model(call).await,
        "updateSystemModel" => catalogue::update_system_model(call).await,
        "deleteSystemModel" => catalogue::delete_system_model(call).await,
        "createHardwareType" => catalogue::create_hardware_type(call).await,
        "updateHardwareType" => catalogue::update_hardware_type(call).await,
        "deleteHardwareType" => catalogue::delete_hardware_type(call).await,
        "createBaseImageCollection" => catalogue::create_collection(call).await,
        "updateBaseImageCollection" => catalogue::update_collection(call).await,
        "deleteBaseImageCollection" => catalogue::delete_collection(call).await,
        "createBaseImage" => catalogue::create_image(call).await,
        "updateBaseImage" => catalogue::update_image(call).await,
        "deleteBaseImage" => catalogue::delete_image(call).await,
        _ => Err(Failure::new("internal_error", format!("{field} has no resolver"))),
    }
}

/// The role that a change takes.
fn role(field: &str) -> Role {
    let is_operation = field.ends_with("Campaign") || field.ends_with("OtaOperation");
    let is_device = matches!(field, "updateDevice" | "addDeviceTags" | "removeDeviceTags");
    if is_operation || is_device { Role::Operator } else { Role::Admin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_steers_campaigns_need_not_change_what_they_are_made_from() {
        for field in
            ["createCampaign", "cancelCampaign", "createManualOtaOperation", "addDeviceTags"]
        {
            assert_eq!(role(field), Role::Operator, "{field}");
        }
        for field in ["createChannel", "deleteBaseImage", "updateDeviceGroup", "createSystemModel"]
        {
            assert_eq!(role(field), Role::Admin, "{field}");
        }
    }
}
