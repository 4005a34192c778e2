//! The commands of a scenario: what is asked of the engine, and what the log says of its answer.

use futures::FutureExt;
use futures::future::BoxFuture;
use hedgerow_core::{
    Command, Consent, PolicyFact, Rejection, RunningOperations, TenantId, WhenRunning,
};
use hedgerow_engine::{Engine, EngineError};
use serde_json::{Map, Value, json};

use super::campaign::{self, Refused};
use super::world::device_id;
use super::{Run, campaign_id};
use crate::scenario::format::{Action, merge};
use crate::simulate::check::Asked;

impl Run<'_> {
    pub(super) fn command(&mut self, index: usize, action: &Action) {
        let Some(campaign) = action.commanded_campaign() else { return };
        let name = action.name();
        let result = match action {
            Action::CreateCampaign { changes, refuse_if_running, .. } => {
                self.create(campaign, changes, *refuse_if_running)
            }
            Action::UpdateCampaign { set, .. } => self.update(campaign, set),
            Action::Cancel { stop_operations, .. } => {
                let running = if *stop_operations {
                    RunningOperations::Stop
                } else {
                    RunningOperations::Finish
                };
                self.ask(campaign, Command::Cancel { running })
            }
            Action::Consent { device, answer, by, .. } => {
                let consent = Consent { answer: *answer, by: by.clone() };
                let fact = PolicyFact::Consent(consent);
                self.ask(campaign, Command::Record { device: device_id(device), fact })
            }
            Action::Pause { .. } => self.ask(campaign, Command::Pause),
            Action::Resume { .. } => self.ask(campaign, Command::Resume),
            _ => self.ask(campaign, Command::Delete),
        };
        let mut entry = json!({
            "at_ms": self.now_ms, "kind": "command", "stimulus": index, "command": name,
            "campaign": campaign, "result": if result.is_ok() { "ok" } else { "error" },
        });
        if let (Err(Some(refused)), Some(entry)) = (result, entry.as_object_mut()) {
            entry.insert("field".to_owned(), refused.field.into());
            entry.insert("message".to_owned(), refused.why.into());
        }
        self.platform.world().log.push(entry);
        self.settle();
    }

    /// Waits for the engine's answer to a command; an engine that is down gives none.
    fn answered(
        &mut self,
        asked: Asked,
        ask: impl FnOnce(Engine, TenantId) -> BoxFuture<'static, Result<(), EngineError>>,
    ) -> Result<(), Option<Refused>> {
        let Some(engine) = self.engine.clone() else { return Err(None) };
        match self.ask_engine(engine, asked, ask) {
            Some(Ok(())) => Ok(()),
            Some(Err(EngineError::Rejected(Rejection::NotEditable { field, .. }))) => {
                let why = "only the limits of a started campaign can be edited".to_owned();
                Err(Some(Refused { field: field.to_owned(), why }))
            }
            Some(Err(EngineError::Rejected(Rejection::Limits(error)))) => {
                let field = campaign::limit_field(&error).to_owned();
                Err(Some(Refused { field, why: error.to_string() }))
            }
            Some(Err(_)) | None => Err(None),
        }
    }

    fn ask(&mut self, campaign: &str, command: Command) -> Result<(), Option<Refused>> {
        let id = campaign_id(campaign);
        let asked = match &command {
            Command::Pause => Asked::Pause(id),
            Command::Resume => Asked::Resume(id),
            Command::Cancel { running } => Asked::Cancel(id, *running),
            Command::Edit(_) => Asked::Edit(id),
            Command::Record { device, fact: PolicyFact::Consent(consent) } => {
                Asked::Consent(id, *device, consent.answer)
            }
            _ => Asked::Delete(id),
        };
        self.answered(asked, move |engine, tenant| {
            async move {
                match command {
                    Command::Pause => engine.pause(&tenant, id).await,
                    Command::Resume => engine.resume(&tenant, id).await,
                    Command::Cancel { running } => engine.cancel(&tenant, id, running).await,
                    Command::Edit(edit) => engine.edit(&tenant, id, *edit).await,
                    Command::Record { device, fact: PolicyFact::Consent(consent) } => {
                        engine.consent(&tenant, id, device, consent).await
                    }
                    _ => engine.delete(&tenant, id).await,
                }
            }
            .boxed()
        })
    }

    fn create(
        &mut self,
        name: &str,
        changes: &Map<String, Value>,
        refuse_if_running: bool,
    ) -> Result<(), Option<Refused>> {
        let defined = self.scenario.campaigns.iter().find(|campaign| campaign.id == name);
        let campaign = defined.ok_or(None)?.merged(changes);
        let when_running =
            if refuse_if_running { WhenRunning::Refuse } else { WhenRunning::Supersede };
        let (definition, schedule) = campaign::definition(&campaign, when_running)?;
        let id = campaign_id(name);
        self.platform.world().log.name_campaign(id, name);
        let created = self.answered(Asked::Create(id), move |engine, tenant| {
            async move { engine.create(&tenant, id, definition, schedule).await }.boxed()
        });
        // An engine that died before it answered may have created it all the same.
        if created.is_ok() || self.platform.world().log.crashed.is_some() {
            self.campaigns.insert(name.to_owned(), campaign);
        }
        created
    }

    fn update(&mut self, name: &str, set: &Map<String, Value>) -> Result<(), Option<Refused>> {
        let mut edited = self.campaigns.get(name).ok_or(None)?.clone();
        let top = ["name", "base_image", "channel", "schedule_at_ms"];
        let mut changes = Map::new();
        let mut rollout = Map::new();
        for (field, value) in set {
            let place = if top.contains(&field.as_str()) { &mut changes } else { &mut rollout };
            place.insert(field.clone(), value.clone());
        }
        changes.insert("rollout".to_owned(), Value::Object(rollout));
        merge(&mut edited, &changes);
        let edit = campaign::edit(set, &edited)?;
        self.ask(name, Command::Edit(Box::new(edit)))?;
        self.campaigns.insert(name.to_owned(), edited);
        Ok(())
    }
}
