//! What people want of a campaign: create, pause, resume, cancel, supersede, edit, delete
//! (D16 to D19).

use super::{CreateError, Rejection, policy};
use crate::campaign::Campaign;
use crate::definition::CampaignDefinition;
use crate::edit::CampaignEdit;
use crate::event::{
    CampaignCreated, CampaignDeleted, CampaignEdited, CampaignEvent, CampaignFinished,
    CampaignPausing, CampaignResumed, LimitsChanged,
};
use crate::input::{Command, RunningOperations};
use crate::status::{CampaignStatus, Outcome};
use crate::time::Timestamp;

type Decided = Result<CampaignEvent, Rejection>;

impl Campaign {
    /// Decides the event that begins a campaign: at `scheduled_at`, or at once if that is `None`
    /// or past.
    ///
    /// # Errors
    /// [`CreateError`] if a limit is outside its range.
    pub fn create(
        definition: CampaignDefinition,
        scheduled_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CampaignEvent, CreateError> {
        definition.rollout.validate()?;
        let scheduled_at = scheduled_at.filter(|at| *at > now);
        Ok(CampaignCreated { definition: Box::new(definition), scheduled_at }.into())
    }
}

/// What a command leads to, nothing if it changes nothing; or why it is refused.
pub(in crate::campaign) fn command(
    campaign: &Campaign,
    command: &Command,
    now: Timestamp,
) -> Result<Option<CampaignEvent>, Rejection> {
    let event = match command {
        Command::Pause => pause(campaign),
        Command::Resume => resume(campaign),
        Command::Cancel { running } => {
            let stop_operations = *running == RunningOperations::Stop;
            finish(campaign, "cancelled", Outcome::Cancelled, stop_operations)
        }
        Command::Supersede => finish(campaign, "superseded", Outcome::Superseded, false),
        Command::Edit(edit) => self::edit(campaign, edit, now),
        Command::Delete => delete(campaign),
        Command::Record { device, fact } => return policy::told(campaign, *device, fact),
    };
    event.map(Some)
}

fn refused(campaign: &Campaign, what: &'static str, hint: &'static str) -> Decided {
    Err(Rejection::WrongStatus { campaign: campaign.id, what, status: campaign.status, hint })
}

fn pause(campaign: &Campaign) -> Decided {
    match campaign.status {
        CampaignStatus::InProgress => Ok(CampaignPausing {}.into()),
        _ => refused(campaign, "paused", "only one that is in progress can"),
    }
}

fn resume(campaign: &Campaign) -> Decided {
    match campaign.status {
        CampaignStatus::Paused | CampaignStatus::Pausing => Ok(CampaignResumed {}.into()),
        _ => refused(campaign, "resumed", "only one that is paused or pausing can"),
    }
}

fn finish(
    campaign: &Campaign,
    what: &'static str,
    outcome: Outcome,
    stop_operations: bool,
) -> Decided {
    match campaign.status {
        CampaignStatus::Finished | CampaignStatus::Deleted => {
            refused(campaign, what, "only an unfinished one can")
        }
        _ => Ok(CampaignFinished { outcome, stop_operations }.into()),
    }
}

fn delete(campaign: &Campaign) -> Decided {
    match campaign.status {
        CampaignStatus::Scheduled if campaign.targets.len() == 0 => Ok(CampaignDeleted {}.into()),
        CampaignStatus::Scheduled => {
            refused(campaign, "deleted", "but its start has begun: cancel it")
        }
        _ => refused(campaign, "deleted", "only a scheduled one can: cancel it instead"),
    }
}

fn edit(campaign: &Campaign, edit: &CampaignEdit, now: Timestamp) -> Decided {
    let definition = edit.of(&campaign.definition);
    definition.rollout.validate()?;
    match campaign.status {
        CampaignStatus::Scheduled if campaign.targets.len() == 0 => {
            let scheduled_at = edit.scheduled_at.unwrap_or(campaign.scheduled_at);
            let scheduled_at = scheduled_at.filter(|at| *at > now);
            Ok(CampaignEdited { definition: Box::new(definition), scheduled_at }.into())
        }
        CampaignStatus::Finished | CampaignStatus::Deleted => {
            refused(campaign, "edited", "only an unfinished one can")
        }
        status => {
            if let Some(field) = edit.fixed_field() {
                return Err(Rejection::NotEditable { campaign: campaign.id, field, status });
            }
            let limits = definition.rollout.limits().clone();
            Ok(LimitsChanged { limits }.into())
        }
    }
}
