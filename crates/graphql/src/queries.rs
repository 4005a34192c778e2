//! The fields of `RootQueryType`.

use futures::future::FutureExt;
use hedgerow_core::CampaignId;
use hedgerow_engine::view::CampaignQuery;

use crate::errors::Failure;
use crate::id;
use crate::record::{Answer, Ask, Call, Found, Record};
use crate::types::campaign::{self, Campaign};
use crate::types::plain::Plain;

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
            _ => return None,
        })
    }
}

async fn one_campaign(call: Call<'_>) -> Result<Answer, Failure> {
    let id: CampaignId = call.input.required_key("campaign", "id")?;
    let found = call.ask.campaign(id).await?;
    found.map(|found| Answer::object(Campaign(found))).ok_or_else(|| Failure::not_found("id"))
}

async fn node(call: Call<'_>) -> Result<Answer, Failure> {
    let text = call.input.required_text("id")?;
    let (kind, _) = id::parse(text).ok_or_else(|| Failure::not_found("id"))?;
    match kind.as_str() {
        "campaign" => one_campaign(call).await,
        _ => Err(Failure::not_found("id")),
    }
}
