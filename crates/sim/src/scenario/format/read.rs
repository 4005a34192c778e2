//! Reading a scenario file from text that anybody may have written: within limits, and with the
//! place of what is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Action, Device, FORMAT, Scenario, Script, abilities};

/// The size of the largest scenario file that is read: 16 MiB.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Why a text is not a scenario that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file is too large. Make the fleet smaller or split the scenario.
    #[error("the file has {bytes} bytes; make it smaller, at most {most} bytes are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// It is not JSON. Correct the syntax at the place given.
    #[error("not JSON at line {line}, column {column}: {detail}; correct the syntax there")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        detail: String,
    },
    /// It is JSON of another format. Give a scenario of the format expected.
    #[error("`format` is {found}; a scenario has \"{FORMAT}\": give a file of that format")]
    Format {
        /// The format that it states; `null` for none.
        found: String,
    },
    /// It asks for abilities that this program lacks. Leave the file out, or run it elsewhere.
    #[error("it requires what this program cannot do: {}", .lacking.join(", "))]
    Abilities {
        /// The `id` of the scenario; empty for none.
        scenario: String,
        /// The abilities, as the file names them.
        lacking: Vec<String>,
    },
    /// It uses a rollout policy, and this program has none. Take it out, or name `policies` under
    /// `requires`.
    #[error(
        "{path}: this program has no rollout policies, and without this one the run would mean \
         nothing; take it out, or name \"policies\" under `requires`, and the file is skipped"
    )]
    Policy {
        /// Where, such as `campaigns[0].policies.rate`.
        path: String,
    },
    /// A value is missing or of the wrong type. Correct it at the place given.
    #[error("{path}: {detail}; correct the value there as the format describes it")]
    Value {
        /// Where, such as `stimuli[3].at_ms`.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// A value is of the right type but cannot be meant. Correct it at the place given.
    #[error("{path}: {detail}")]
    Meaning {
        /// Where, such as `stimuli[3].at_ms`.
        path: String,
        /// What is wrong and what to do.
        detail: String,
    },
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// Says where the file is not a scenario of the format, and what to do.
    pub fn read(file: impl AsRef<[u8]>) -> Result<Self, ScenarioError> {
        let file = file.as_ref();
        if file.len() > MOST_BYTES {
            return Err(ScenarioError::TooLarge { bytes: file.len(), most: MOST_BYTES });
        }
        // Nesting is limited by the parser, to 128 levels.
        let value: Value = serde_json::from_slice(file).map_err(|error| ScenarioError::Syntax {
            line: error.line(),
            column: error.column(),
            detail: error.to_string(),
        })?;
        Self::from_value(&value)
    }

    /// Reads a scenario from JSON that is already parsed.
    ///
    /// # Errors
    ///
    /// Says where the value is not a scenario of the format, and what to do.
    pub fn from_value(value: &Value) -> Result<Self, ScenarioError> {
        let found = value.get("format").unwrap_or(&Value::Null);
        if found != FORMAT {
            return Err(ScenarioError::Format { found: found.to_string() });
        }
        abilities::check(value)?;
        let scenario: Self =
            serde_path_to_error::deserialize(value).map_err(|error| ScenarioError::Value {
                path: error.path().to_string(),
                detail: error.inner().to_string(),
            })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses what no run could make sense of, and nothing else.
    fn check(&self) -> Result<(), ScenarioError> {
        not_negative("run_until_ms", self.run_until_ms)?;
        let devices = self.fleet.devices.iter().map(|device| device.id.as_str());
        unique("fleet.devices", devices)?;
        unique("campaigns", self.campaigns.iter().map(|campaign| campaign.id.as_str()))?;
        for (index, device) in self.fleet.devices.iter().enumerate() {
            check_device(&format!("fleet.devices[{index}]"), device)?;
        }
        for (index, stimulus) in self.stimuli.iter().enumerate() {
            let path = format!("stimuli[{index}]");
            not_negative(&format!("{path}.at_ms"), stimulus.at_ms)?;
            match &stimulus.action {
                Action::CreateCampaign { campaign, .. }
                    if !self.campaigns.iter().any(|definition| definition.id == *campaign) =>
                {
                    let detail =
                        format!("no campaign {campaign:?} is defined; add it to `campaigns`");
                    return meaning(format!("{path}.campaign"), detail);
                }
                Action::AddDevice { device } => check_device(&format!("{path}.device"), device)?,
                Action::Restart { down_ms } | Action::CrashOn { down_ms, .. } => {
                    not_negative(&format!("{path}.down_ms"), *down_ms)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_device(path: &str, device: &Device) -> Result<(), ScenarioError> {
    check_scripts(&format!("{path}.on_request"), device.on_request.iter().flatten())?;
    for (index, scripts) in device.on_operation.iter().flatten().enumerate() {
        check_scripts(&format!("{path}.on_operation[{index}]"), scripts.iter())?;
    }
    check_script(&format!("{path}.on_cancel"), &device.on_cancel)
}

fn check_scripts<'a>(
    path: &str,
    scripts: impl Iterator<Item = &'a Script>,
) -> Result<(), ScenarioError> {
    scripts.enumerate().try_for_each(|(n, script)| check_script(&format!("{path}[{n}]"), script))
}

fn check_script(path: &str, script: &Script) -> Result<(), ScenarioError> {
    let mut steps = script.iter().enumerate();
    steps.try_for_each(|(n, step)| not_negative(&format!("{path}[{n}].after_ms"), step.after_ms))
}

fn not_negative(path: &str, time_ms: i64) -> Result<(), ScenarioError> {
    if time_ms < 0 {
        let detail = format!("the time {time_ms} is negative; give it in milliseconds from 0 on");
        return meaning(path.to_owned(), detail);
    }
    Ok(())
}

fn unique<'a>(path: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), ScenarioError> {
    let mut known = BTreeSet::new();
    for (index, id) in ids.enumerate() {
        if !known.insert(id) {
            let detail = format!("the id {id:?} is there twice; give every one its own");
            return meaning(format!("{path}[{index}].id"), detail);
        }
    }
    Ok(())
}

fn meaning<T>(path: String, detail: String) -> Result<T, ScenarioError> {
    Err(ScenarioError::Meaning { path, detail })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::format::Api;

    fn file() -> Value {
        json!({
            "format": FORMAT, "id": "a", "run_until_ms": 10, "unknown": [1],
            "fleet": {"devices": [{"id": "d1", "on_request": [[{"after_ms": 1}]]}]},
            "campaigns": [{"id": "c1", "rollout": {"max_failure_percentage": 33.3}}],
            "stimuli": [{"at_ms": 0, "do": "create_campaign", "campaign": "c1", "override": null}],
        })
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        let mut file = file();
        change(&mut file);
        Scenario::from_value(&file).expect_err("a refusal").to_string()
    }

    #[test]
    fn keys_for_people_and_unknown_keys_may_be_absent_or_there() {
        let scenario = Scenario::read(file().to_string()).expect("a scenario");
        assert_eq!(scenario.expect, None);
        let device = &scenario.fleet.devices[0];
        assert!(device.online);
        assert_eq!(device.api_update.nth(3), Api::Ok);
        assert_eq!(device.script(0, 5), device.script(0, 0));
        assert_eq!(scenario.campaigns[0].rollout["max_failure_percentage"].to_string(), "33.3");
    }

    #[test]
    fn percentages_keep_every_digit() {
        let mut file = file();
        for digits in ["33.333333333333336", "0.1", "99.99999999999999", "1e-7"] {
            file["campaigns"][0]["rollout"]["max_failure_percentage"] = json!("DIGITS");
            let text = file.to_string().replace("\"DIGITS\"", digits);
            let scenario = Scenario::read(text).expect("a scenario");
            let kept = scenario.campaigns[0].rollout["max_failure_percentage"].to_string();
            assert_eq!(kept, digits);
        }
    }

    #[test]
    fn answers_come_alone_or_in_lists() {
        let mut file = file();
        file["fleet"]["devices"][0]["api_update"] = json!(["timeout", {"http": 503}]);
        file["fleet"]["devices"][0]["version_read"] = json!("token_expired");
        let scenario = Scenario::from_value(&file).expect("a scenario");
        let device = &scenario.fleet.devices[0];
        assert_eq!(device.api_update.nth(0), Api::Timeout);
        assert_eq!(device.api_update.nth(9), Api::Http(503));
        assert_eq!(device.version_read.nth(0), Api::TokenExpired);
    }

    #[test]
    fn refusals_name_the_place() {
        let wrong_type = refusal(|file| file["stimuli"][0]["at_ms"] = json!("soon"));
        assert!(wrong_type.starts_with("stimuli[0].at_ms: "), "{wrong_type}");
        let negative = refusal(|file| file["stimuli"][0]["at_ms"] = json!(-1));
        assert!(negative.starts_with("stimuli[0].at_ms: the time -1 is negative"), "{negative}");
        let undefined = refusal(|file| file["stimuli"][0]["campaign"] = json!("c9"));
        assert!(undefined.starts_with("stimuli[0].campaign: no campaign \"c9\""), "{undefined}");
        let step = refusal(|file| {
            file["fleet"]["devices"][0]["on_request"][0][0]["after_ms"] = json!(-5);
        });
        assert!(step.starts_with("fleet.devices[0].on_request[0][0].after_ms: "), "{step}");
        let twice = refusal(|file| {
            let device = file["fleet"]["devices"][0].clone();
            file["fleet"]["devices"].as_array_mut().expect("a list").push(device);
        });
        assert!(twice.starts_with("fleet.devices[1].id: "), "{twice}");
        let format = refusal(|file| file["format"] = json!("ota-campaign-scenario/2"));
        assert!(format.starts_with("`format` is \"ota-campaign-scenario/2\""), "{format}");
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let error = Scenario::read("{\n  \"format\": }").expect_err("a refusal");
        assert!(matches!(error, ScenarioError::Syntax { line: 2, column: 13, .. }), "{error}");
    }

    #[test]
    fn size_and_depth_are_limited() {
        let large = vec![b' '; MOST_BYTES + 1];
        let error = Scenario::read(large).expect_err("a refusal");
        assert!(matches!(error, ScenarioError::TooLarge { .. }));
        let deep = "[".repeat(100_000);
        assert!(matches!(Scenario::read(deep), Err(ScenarioError::Syntax { .. })));
    }
}
