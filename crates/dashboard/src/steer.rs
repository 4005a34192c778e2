//! What buttons do: each is a form that is sent, and leads back to the page.

use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use hedgerow_core::RunningOperations;
use hedgerow_graphql::auth::Role;
use serde::Deserialize;

use crate::Shared;
use crate::campaign::found;
use crate::frame::Problem;
use crate::guard::Guest;

#[derive(Deserialize)]
pub(crate) struct Act {
    /// Whether operations in progress are cancelled, too.
    #[serde(default)]
    stop: bool,
}

pub(crate) async fn act(
    State(shared): State<Shared>,
    guest: Guest,
    Path((_, campaign, act)): Path<(String, String, String)>,
    Form(form): Form<Act>,
) -> Result<Redirect, Problem> {
    guest.must(Role::Operator)?;
    let id = found(&shared, &guest, &campaign).await?.campaign;
    let (engine, tenant) = (&shared.engine, guest.tenant());
    let running = if form.stop { RunningOperations::Stop } else { RunningOperations::Finish };
    match act.as_str() {
        "pause" => engine.pause(tenant, id).await?,
        "resume" => engine.resume(tenant, id).await?,
        "cancel" => engine.cancel(tenant, id, running).await?,
        _ => return Err(Problem::Unknown),
    }
    tracing::info!(
        %tenant, campaign = %id, act, by = guest.caller.subject.as_deref().unwrap_or("somebody"),
        "a campaign was steered on its page"
    );
    Ok(Redirect::to(&format!("/t/{tenant}/campaigns/{id}")))
}
