//! What was told and acknowledged (E8, E10, D11): an acknowledgement is a promise that the log
//! keeps.

use hedgerow_core::{
    CampaignId, ConsentAnswer, DeviceId, OperationId, OperationLimits, Reaction, ReportStatus,
    RunningOperations, StatusCode, StreamId, Timestamp,
};
use hedgerow_engine::{EngineError, Observation};

use super::campaign::Recorded;
use super::owed::OwedLook;
use super::{Checker, Moment};
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// What was told, and what the log said then.
pub(crate) enum Told {
    Presence {
        device: DeviceId,
        online: bool,
        at: Timestamp,
        looks: Vec<OwedLook>,
    },
    /// With the streams that a target of the device was open in.
    Removed {
        device: DeviceId,
        open: Vec<StreamId>,
    },
    Report(ToldReport),
    Other,
}

pub(crate) struct ToldReport {
    device: DeviceId,
    operation: OperationId,
    /// The device means this operation, and it is one of its own.
    genuine: bool,
    /// What it says has to be recorded, if the limits stay as they are.
    news_under: Option<OperationLimits>,
    /// A report that ends an operation.
    is_final: bool,
    events: u32,
    late: u32,
}

/// What somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Create(CampaignId),
    Pause(CampaignId),
    Resume(CampaignId),
    /// With what becomes of the operations that run.
    Cancel(CampaignId, RunningOperations),
    Edit(CampaignId),
    Delete(CampaignId),
    /// What the user of a device has answered.
    Consent(CampaignId, DeviceId, ConsentAnswer),
    StartManual(OperationId, DeviceId),
    CancelManual(OperationId),
}

/// How often what was recorded when somebody asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before(Recorded, u32);

impl Checker {
    pub(crate) fn told(&mut self, observation: &Observation, moment: Moment) -> Told {
        match observation {
            Observation::Presence { device, presence } => {
                let online = matches!(presence, hedgerow_core::Presence::Online { .. });
                let looks = self.looks_owed(*device, *presence, moment.now);
                self.turns.notice_told(*device, online, moment.step);
                self.refresh_device(*device, moment);
                Told::Presence { device: *device, online, at: moment.now, looks }
            }
            Observation::DeviceRemoved { device } => {
                Told::Removed { device: *device, open: self.open_targets(*device) }
            }
            Observation::Report(report) => {
                let limits = self.limits_of(report.operation);
                let operation = self.facts.operations.get_mut(&report.operation);
                let genuine = operation.as_ref().is_some_and(|o| o.device == report.device);
                let (mut events, mut late) = (0, 0);
                let mut news_under = None;
                if let Some(operation) = operation.filter(|_| genuine) {
                    // One that was not alone may have seen less of the log.
                    news_under = limits.filter(|limits| {
                        self.facts.alone_since.is_some()
                            && operation.is_news(report, moment.now, limits)
                    });
                    operation.told(report, moment.now);
                    (events, late) = (operation.events, operation.late);
                }
                let busy = report.code == Some(StatusCode::UpdateAlreadyInProgress);
                let is_final = report.status == ReportStatus::Success
                    || report.status == ReportStatus::Failure && !busy;
                let (device, operation) = (report.device, report.operation);
                Told::Report(ToldReport {
                    device,
                    operation,
                    genuine,
                    news_under,
                    is_final,
                    events,
                    late,
                })
            }
            Observation::BaseImageChanged { .. } => Told::Other,
        }
    }

    /// The engine has answered. `false`: it is to be told again.
    pub(crate) fn acknowledged(
        &mut self,
        told: &Told,
        answer: &Result<Reaction, EngineError>,
        moment: Moment,
    ) -> bool {
        match told {
            Told::Presence { device, online, at, looks } => {
                if answer.is_ok() {
                    self.owes(looks);
                    let facts = &mut self.facts;
                    facts.went(*device, *online, *at);
                    let told =
                        if *online { &mut facts.told_online } else { &mut facts.told_offline };
                    let told = told.entry(*device).or_default();
                    *told = (*told).max(*at);
                }
                let online = answer.is_ok().then_some(*online);
                let models = self.campaigns.values();
                self.turns.notice_acknowledged(*device, online, models, moment.step);
                self.refresh_device(*device, moment);
            }
            Told::Report(report) => {
                let checked = self.report_acknowledged(report, answer);
                let stream = self.stream_of(report.operation);
                self.note(checked, moment.now, stream, Some(report.device));
            }
            Told::Removed { device, open } if answer.is_ok() && !self.turns.is_off(moment.now) => {
                let still = self.open_targets(*device);
                let kept = open.iter().find(|stream| still.contains(stream)).copied();
                let checked = ensure(kept.is_none(), Invariant::RemovedDevice, || {
                    "its removal is acknowledged, and its target has not ended".to_owned()
                });
                self.note(checked, moment.now, kept, Some(*device));
            }
            Told::Removed { .. } | Told::Other => {}
        }
        !answer.as_ref().is_err_and(EngineError::is_retryable)
    }

    fn report_acknowledged(
        &self,
        told: &ToldReport,
        answer: &Result<Reaction, EngineError>,
    ) -> Checked {
        let id = told.operation;
        if !told.genuine {
            return ensure(answer.is_err(), Invariant::Believed, || {
                format!("a report about another device's operation {id} is answered {answer:?}")
            });
        }
        let Some(operation) = self.facts.operations.get(&id) else { return Ok(()) };
        match answer {
            Ok(Reaction::Late) => {
                ensure(operation.late > told.late, Invariant::Acknowledged, || {
                    format!("a late report about operation {id} is acknowledged and not in the log")
                })
            }
            Ok(reaction) => {
                let limits = self.limits_of(id);
                let is_news = told.news_under.as_ref().is_some_and(|l| Some(l) == limits.as_ref());
                let may_be_nothing = *reaction == Reaction::Unchanged && !is_news;
                let kept =
                    may_be_nothing || operation.events > told.events || operation.has_ended();
                ensure(kept, Invariant::Acknowledged, || {
                    format!("a report about operation {id} is taken and not in the log")
                })?;
                ensure(!told.is_final || operation.has_ended(), Invariant::Acknowledged, || {
                    format!(
                        "the end of operation {id} is acknowledged as {reaction:?}, and it goes on"
                    )
                })
            }
            Err(error) => ensure(error.is_retryable(), Invariant::NeverUnknown, || {
                format!("a report about operation {id} is refused: {error}")
            }),
        }
    }

    /// The limits that an operation has now.
    fn limits_of(&self, operation: OperationId) -> Option<OperationLimits> {
        match self.stream_of(operation)? {
            StreamId::Campaign(id) => Some(self.campaigns.get(&id)?.limits().operation.clone()),
            StreamId::ManualUpdate(id) => Some(self.manuals.get(&id)?.definition.limits.clone()),
            StreamId::Catalogue => None,
        }
    }

    fn recorded_of(&self, asked: Asked) -> Before {
        let id = match asked {
            Asked::Create(id)
            | Asked::Pause(id)
            | Asked::Resume(id)
            | Asked::Cancel(id, _)
            | Asked::Edit(id)
            | Asked::Delete(id)
            | Asked::Consent(id, ..) => id,
            Asked::StartManual(id, _) | Asked::CancelManual(id) => {
                let cancels = self.manuals.get(&id).map_or(0, |manual| manual.cancels);
                return Before(Recorded::default(), cancels);
            }
        };
        Before(self.campaigns.get(&id).map(|model| model.recorded).unwrap_or_default(), 0)
    }

    /// Somebody asks for something.
    pub(crate) fn asked(&mut self, asked: Asked, now: Timestamp) -> Before {
        let before = self.recorded_of(asked);
        if let Asked::StartManual(_, device) = asked {
            self.outages.manual_update_wanted(device, now);
        }
        if let Asked::Cancel(id, running) = asked
            && let Some(model) = self.campaigns.get_mut(&id)
        {
            model.cancel_asked = true;
            model.stop_asked |= running == RunningOperations::Stop;
        }
        before
    }

    /// It is granted: the log must say so.
    pub(crate) fn granted(&mut self, asked: Asked, before: Before, moment: Moment) {
        let Before(now, cancels) = self.recorded_of(asked);
        let Before(then, cancels_then) = before;
        let (kept, stream) = match asked {
            Asked::Create(id) => (self.campaigns.contains_key(&id), StreamId::Campaign(id)),
            Asked::Pause(id) => (now.pausing > then.pausing, StreamId::Campaign(id)),
            Asked::Resume(id) => (now.resumed > then.resumed, StreamId::Campaign(id)),
            Asked::Cancel(id, _) => (now.finished > then.finished, StreamId::Campaign(id)),
            Asked::Edit(id) => (now.edited > then.edited, StreamId::Campaign(id)),
            Asked::Delete(id) => (now.deleted > then.deleted, StreamId::Campaign(id)),
            Asked::Consent(id, device, answer) => {
                let model = self.campaigns.get(&id);
                let heard =
                    model.and_then(|model| Some(model.has_heard(model.place(device)?, answer)));
                (heard == Some(true), StreamId::Campaign(id))
            }
            Asked::StartManual(id, _) => {
                (self.manuals.contains_key(&id), StreamId::ManualUpdate(id))
            }
            Asked::CancelManual(id) => {
                let known = self.manuals.contains_key(&id);
                // A repeated one changes nothing.
                (known && (cancels > cancels_then || cancels > 0), StreamId::ManualUpdate(id))
            }
        };
        let checked = ensure(kept, Invariant::Acknowledged, || {
            format!("{asked:?} is acknowledged and not in the log")
        });
        self.note(checked, moment.now, Some(stream), None);
    }
}
