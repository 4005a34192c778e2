//! What is told when something cannot be done, in the shape that Edgehog's clients read: every error
//! stands at the root of the answer and has `code`, `fields`, `short_message` and `vars` beside its
//! message, not in `extensions`.

use std::fmt::Display;

use async_graphql::{ErrorExtensionValues, Pos, Response, ServerError, Value};
use hedgerow_catalogue::CatalogueError;
use hedgerow_core::{FleetError, VersionError};
use hedgerow_engine::EngineError;
use hedgerow_engine::view::AskError;
use serde_json::{Map, json};

/// Why something was not done, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// One of Edgehog's codes.
    pub(crate) code: &'static str,
    /// What is wrong, and what can be done.
    pub(crate) message: String,
    /// The input fields that it is about, in snake case.
    pub(crate) fields: Vec<String>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), fields: Vec::new() }
    }

    /// There is nothing of that id.
    pub(crate) fn not_found(field: &str) -> Self {
        Self::new("not_found", "could not be found").of(field)
    }

    /// An input is missing.
    pub(crate) fn required(field: &str) -> Self {
        Self::new("required", "is required").of(field)
    }

    /// An input, or the state of a thing, does not allow it.
    pub(crate) fn invalid(field: &str, why: impl Display) -> Self {
        Self::new("invalid_attribute", format!("{why}")).of(field)
    }

    pub(crate) fn invalid_argument(field: &str, why: impl Display) -> Self {
        Self::new("invalid_argument", format!("{why}")).of(field)
    }

    /// The caller's role does not allow it.
    pub(crate) fn forbidden(needed: crate::Role) -> Self {
        Self::new("forbidden", format!("forbidden: it takes the role {}", needed.name()))
    }

    /// Names an input field that it is about, as clients write it or in snake case.
    pub(crate) fn of(mut self, field: &str) -> Self {
        self.fields.push(snake_case(field));
        self
    }

    pub(crate) fn into_server_error(self, at: Pos) -> ServerError {
        let mut error = ServerError::new(self.message, Some(at));
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code);
        extensions.set("fields", Value::List(self.fields.into_iter().map(Value::from).collect()));
        error.extensions = Some(extensions);
        error
    }
}

/// `maxFailurePercentage` as `max_failure_percentage`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        use hedgerow_core::Rejection;
        let message = error.to_string();
        match error {
            EngineError::UnknownStream { .. } | EngineError::Removed { .. } => {
                Self::not_found("id")
            }
            EngineError::Rejected(rejection) => match rejection {
                Rejection::WrongStatus { .. } => Self::invalid("status", message),
                Rejection::NotEditable { field, .. } => Self::invalid(field, message),
                Rejection::Limits(error) => error.into(),
                _ => Self::new("invalid_changes", message),
            },
            EngineError::ManualRejected(_) => Self::invalid("status", message),
            EngineError::Create(_) => Self::new("invalid_changes", message),
            EngineError::RolloutTaken { .. } => Self::invalid("channel_id", message),
            EngineError::DeviceBusy { .. } => Self::invalid("device_id", message),
            EngineError::RequestIdTaken { .. } => Self::invalid("request_id", message),
            EngineError::Rows(AskError::OtherList { .. }) => Self::new("invalid_keyset", message),
            // Edgehog gives no code when it cannot answer. Whoever reads ours knows to come back.
            error if error.is_retryable() => Self::new("try_again", message),
            _ => Self::new("internal_error", message),
        }
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        match &error {
            CatalogueError::Refused(refusal) => {
                Self::new(refusal.code(), refusal.to_string()).of(refusal.field())
            }
            CatalogueError::Store(_) | CatalogueError::Contended => {
                Self::new("try_again", error.to_string())
            }
            _ => Self::new("internal_error", error.to_string()),
        }
    }
}

impl From<hedgerow_core::RolloutError> for Failure {
    fn from(error: hedgerow_core::RolloutError) -> Self {
        use hedgerow_core::RolloutError;
        let field = match error {
            RolloutError::RequestTimeout { .. } => "request_timeout_seconds",
            RolloutError::RequestRetries { .. } => "request_retries",
            RolloutError::StallTimeout { .. } => "stall_timeout_seconds",
            RolloutError::RebootTimeout { .. } => "reboot_timeout_seconds",
            _ => return Self::new("invalid_attribute", error.to_string()),
        };
        Self::invalid(field, error)
    }
}

/// What is wrong with a name, a handle, a URL.
pub(crate) fn of_fleet(field: &str) -> impl Fn(FleetError) -> Failure + '_ {
    move |error| Failure::invalid(field, error)
}

pub(crate) fn of_version(field: &str) -> impl Fn(VersionError) -> Failure + '_ {
    move |error| Failure::invalid(field, format!("is not a valid version: {error}"))
}

/// An answer as it is sent: with every error in Edgehog's shape.
pub(crate) fn answer(response: Response) -> serde_json::Value {
    let mut answer = Map::new();
    let is_document_error = response.data == Value::Null && !response.errors.is_empty();
    if !is_document_error || response.errors.iter().any(|error| !error.path.is_empty()) {
        answer.insert("data".to_owned(), response.data.into_json().unwrap_or_default());
    }
    if !response.errors.is_empty() {
        let errors = response.errors.iter().map(shaped).collect();
        answer.insert("errors".to_owned(), serde_json::Value::Array(errors));
    }
    serde_json::Value::Object(answer)
}

/// An answer that has nothing but that error, for requests that are none.
pub(crate) fn only(failure: &Failure) -> serde_json::Value {
    json!({"errors": [{
        "message": failure.message,
        "short_message": failure.message,
        "code": failure.code,
        "fields": failure.fields,
        "vars": {},
    }]})
}

fn shaped(error: &ServerError) -> serde_json::Value {
    let extension = |name| error.extensions.as_ref().and_then(|all| all.get(name).cloned());
    let code = extension("code").unwrap_or_else(|| Value::from("invalid_query"));
    let fields = extension("fields").unwrap_or_else(|| Value::List(Vec::new()));
    json!({
        "message": error.message,
        "short_message": error.message,
        "code": code,
        "fields": fields,
        "vars": {},
        "path": error.path,
        "locations": error.locations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_snake_case_however_they_were_named() {
        for (given, snake) in
            [("maxFailurePercentage", "max_failure_percentage"), ("channel_id", "channel_id")]
        {
            assert_eq!(Failure::required(given).fields, [snake]);
        }
    }

    #[test]
    fn every_error_has_its_code_and_fields_at_the_top() {
        let own = Failure::not_found("id").into_server_error(Pos::default());
        let foreign = ServerError::new("Unknown field", None);
        let told = answer(Response::from_errors(vec![own, foreign]));
        assert!(told.get("data").is_none(), "a document that is none has no data: {told}");
        let errors = told["errors"].as_array().unwrap();
        assert_eq!(
            (&errors[0]["code"], &errors[0]["fields"]),
            (&json!("not_found"), &json!(["id"]))
        );
        assert_eq!(
            (&errors[1]["code"], &errors[1]["fields"]),
            (&json!("invalid_query"), &json!([]))
        );
    }
}
