//! What a run of a scenario shows, `ota-campaign-observation/1`: the log of a program, or the
//! reason why it skipped the scenario.

use serde::Serialize;
use serde_json::Value;

/// The `format` of every observation.
pub const FORMAT: &str = "ota-campaign-observation/1";

/// What a run of a scenario shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    format: &'static str,
    /// The scenario's id.
    pub scenario: String,
    /// What it shows.
    #[serde(flatten)]
    pub content: Content,
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// The program ran the scenario.
    Run {
        /// Name and version of the engine.
        engine: String,
        /// What happened, in order.
        log: Vec<Value>,
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
    pub fn of_run(scenario: String, engine: String, log: Vec<Value>) -> Self {
        Self { format: FORMAT, scenario, content: Content::Run { engine, log } }
    }

    /// The observation of a scenario that the program lacks an ability for.
    #[must_use]
    pub fn skipped(scenario: String, why: String) -> Self {
        Self { format: FORMAT, scenario, content: Content::Skipped { skipped: why } }
    }

    /// The log; empty if the scenario was skipped.
    #[must_use]
    pub fn log(&self) -> &[Value] {
        match &self.content {
            Content::Run { log, .. } => log,
            Content::Skipped { .. } => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_shows_its_log_and_the_engine() {
        let log = vec![json!({"at_ms": 5, "kind": "campaign"})];
        let observation = Observation::of_run("a".to_owned(), "engine 1".to_owned(), log);
        assert_eq!(
            serde_json::to_string(&observation).expect("JSON"),
            r#"{"format":"ota-campaign-observation/1","scenario":"a","engine":"engine 1","log":[{"at_ms":5,"kind":"campaign"}]}"#
        );
    }

    #[test]
    fn a_skipped_scenario_says_why() {
        let observation = Observation::skipped("a".to_owned(), "no clocks".to_owned());
        assert_eq!(
            serde_json::to_string(&observation).expect("JSON"),
            r#"{"format":"ota-campaign-observation/1","scenario":"a","skipped":"no clocks"}"#
        );
        assert!(observation.log().is_empty());
    }
}
