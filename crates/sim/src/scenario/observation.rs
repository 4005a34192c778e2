//! What a run of a scenario shows, `ota-campaign-observation/1`: the log of a program, or the
//! reason why it skipped the scenario.

use serde::Serialize;

/// The `format` of every observation.
pub const FORMAT: &str = "ota-campaign-observation/1";

/// What a run of a scenario shows. Serialized, its keys always come in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    format: &'static str,
    /// The scenario's id.
    pub scenario: String,
    /// What it shows.
    #[serde(flatten)]
    pub content: Content,
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// The program ran the scenario.
    Run {
        /// Name and version of the engine.
        engine: String,
        /// What happened, in order.
        log: Vec<Entry>,
    },
    /// The program cannot run the scenario.
    Skipped {
        /// Why.
        skipped: String,
    },
}

impl Observation {
    /// The observation of a run.
    #[must_use]
    pub fn of_run(scenario: String, engine: String, log: Vec<Entry>) -> Self {
        Self { format: FORMAT, scenario, content: Content::Run { engine, log } }
    }

    /// The observation of a scenario that the program lacks an ability for.
    #[must_use]
    pub fn skipped(scenario: String, why: String) -> Self {
        Self { format: FORMAT, scenario, content: Content::Skipped { skipped: why } }
    }

    /// The log; empty if the scenario was skipped.
    #[must_use]
    pub fn log(&self) -> &[Entry] {
        match &self.content {
            Content::Run { log, .. } => log,
            Content::Skipped { .. } => &[],
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in milliseconds of virtual time.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A campaign took its snapshot, when it started.
    Snapshot {
        /// Which campaign.
        campaign: String,
        /// The targets.
        devices: Vec<String>,
    },
    /// A campaign changed.
    Campaign {
        /// Which.
        campaign: String,
        /// Its status from now on.
        status: CampaignStatus,
        /// Its outcome; exactly when it is finished.
        outcome: Option<Outcome>,
    },
    /// A target changed.
    Target {
        /// Of which campaign.
        campaign: String,
        /// Which device.
        device: String,
        /// Its status from now on.
        status: TargetStatus,
        /// How often its request was sent again.
        retry_count: u32,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A call to the platform to send an Update request.
    Request(Call),
    /// A call to the platform to send a Cancel request.
    CancelRequest(Call),
    /// An operation changed; first when it was accepted.
    Operation {
        /// Of which campaign.
        campaign: String,
        /// For which device.
        device: String,
        /// Its id.
        operation: String,
        /// Its status from now on.
        status: OperationStatus,
        /// The code of a failure or error, by its name in the format.
        status_code: Option<String>,
        /// Whether the status was inferred instead of reported.
        inferred: bool,
    },
    /// What a device shows contradicts how its target ended.
    Contradiction {
        /// Of which campaign.
        campaign: String,
        /// Which device.
        device: String,
        /// What it shows.
        version: String,
    },
    /// The answer to a command stimulus.
    Command {
        /// The index of the stimulus.
        stimulus: usize,
        /// Its `do`.
        command: String,
        /// The campaign that it is about.
        campaign: String,
        /// The answer.
        result: CallResult,
        /// The field that was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
}

/// A call to the platform about an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Of which campaign.
    pub campaign: String,
    /// For which device.
    pub device: String,
    /// The operation's id.
    pub operation: String,
    /// The answer.
    pub result: CallResult,
}

/// The answer to a call or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallResult {
    /// It was accepted.
    Ok,
    /// It was not.
    Error,
}

/// The status of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    /// It exists.
    Idle,
    /// It waits for its time.
    Scheduled,
    /// It rolls out.
    InProgress,
    /// It waits for operations to end, to be paused then.
    Pausing,
    /// It is paused.
    Paused,
    /// It is finished.
    Finished,
    /// It was deleted.
    Deleted,
}

/// The outcome of a finished campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All targets settled within the limit of failures.
    Success,
    /// More targets failed than allowed.
    Failure,
    /// A user ended it.
    Cancelled,
    /// Another campaign took its place.
    Superseded,
}

/// The status of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// It waits for its turn.
    Idle,
    /// Its operation is open.
    InProgress,
    /// It failed.
    Failed,
    /// It has the base image.
    Successful,
    /// Its campaign ended before its turn.
    Cancelled,
}

/// The status of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// The platform accepted it.
    Pending,
    /// The device has it.
    Acknowledged,
    /// The device downloads the image.
    Downloading,
    /// The device writes the image.
    Deploying,
    /// The image is written.
    Deployed,
    /// The device reboots.
    Rebooting,
    /// The device met an error and goes on.
    Error,
    /// It ended without the base image.
    Failure,
    /// It ended with the base image.
    Success,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_the_format() {
        let event = Event::Campaign {
            campaign: "c1".to_owned(),
            status: CampaignStatus::InProgress,
            outcome: None,
        };
        let log = vec![Entry { at_ms: 5, event }];
        let observation = Observation::of_run("a".to_owned(), "engine 1".to_owned(), log);
        assert_eq!(
            serde_json::to_string(&observation).expect("JSON"),
            r#"{"format":"ota-campaign-observation/1","scenario":"a","engine":"engine 1","log":[{"at_ms":5,"kind":"campaign","campaign":"c1","status":"in_progress","outcome":null}]}"#
        );
    }

    #[test]
    fn a_skipped_scenario_says_why() {
        let observation = Observation::skipped("a".to_owned(), "no clocks".to_owned());
        assert_eq!(
            serde_json::to_string(&observation).expect("JSON"),
            r#"{"format":"ota-campaign-observation/1","scenario":"a","skipped":"no clocks"}"#
        );
    }
}
