//! The fields of `RootMutationType`: who may is asked first, then what is given is read, and what came
//! of it is answered.

mod campaign;

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
    let ask = call.ask;
    let operator = || ask.needs(Role::Operator);
    match field {
        "createCampaign" => operator().map(|()| campaign::create(call))?.await,
        "updateCampaign" => operator().map(|()| campaign::update(call))?.await,
        "deleteCampaign" => operator().map(|()| campaign::delete(call))?.await,
        "pauseCampaign" => operator().map(|()| campaign::pause(call))?.await,
        "resumeCampaign" => operator().map(|()| campaign::resume(call))?.await,
        "cancelCampaign" => operator().map(|()| campaign::cancel(call))?.await,
        _ => Err(Failure::new("invalid_query", "this cannot be done here yet")),
    }
}

/// The base image that an input names.
fn catalogue_base_image(
    _: Call<'_>,
    input: crate::record::Input<'_>,
) -> Result<hedgerow_core::BaseImage, Failure> {
    input.text("baseImageId")?.ok_or_else(|| {
        let failure = Failure::required("base_image_id");
        Failure { message: "is required for firmware upgrade operations".to_owned(), ..failure }
    })?;
    Err(Failure::not_found("base_image_id"))
}

/// The channel that an input names.
fn catalogue_channel(
    _: Call<'_>,
    input: crate::record::Input<'_>,
) -> Result<hedgerow_core::Channel, Failure> {
    input.required_text("channelId")?;
    Err(Failure::not_found("channel_id"))
}
