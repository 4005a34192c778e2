//! Answers in the form of Astarte: `{"data": ...}`, `{"errors": {"detail": ...}}`, or one list of
//! complaints per field.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is wrong with the fields of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<&'static str, Vec<String>>);

impl Fields {
    pub(crate) fn add(&mut self, field: &'static str, complaint: impl Into<String>) {
        self.0.entry(field).or_default().push(complaint.into());
    }

    /// `value` if nothing is wrong.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    #[cfg(test)]
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    body: Option<Value>,
    location: Option<String>,
}

impl Reply {
    /// 200 with `{"data": data}`.
    pub(super) fn data(data: impl Serialize) -> Self {
        Self { status: StatusCode::OK, body: Some(json!({"data": data})), location: None }
    }

    /// 200 with `{"data": data, "links": links}`.
    pub(super) fn page(data: &[Value], links: &Map<String, Value>) -> Self {
        let body = json!({"data": data, "links": links});
        Self { status: StatusCode::OK, body: Some(body), location: None }
    }

    /// 201 with `{"data": data}`.
    pub(super) fn created(data: impl Serialize) -> Self {
        Self { status: StatusCode::CREATED, ..Self::data(data) }
    }

    /// 201 without a body.
    pub(super) fn created_empty(location: Option<String>) -> Self {
        Self { status: StatusCode::CREATED, body: None, location }
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, location: None }
    }
}

impl Reply {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// `null` if there is none.
    pub(super) fn body(&self) -> Value {
        self.body.clone().unwrap_or_default()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => json_response(self.status, &body),
            None => self.status.into_response(),
        };
        if let Some(location) = self.location.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// An answer that says what is wrong.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    errors: Value,
}

impl ApiError {
    pub(super) fn detail(status: u16, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, errors: json!({"detail": detail.into()}) }
    }

    pub(super) fn bad_request() -> Self {
        Self::detail(400, "Bad request")
    }

    /// Astarte's template for it is named 404, but the status is 400.
    pub(super) fn endpoint_not_found() -> Self {
        Self::detail(400, "Endpoint not found")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::detail(404, format!("{what} not found"))
    }

    pub(super) fn unauthorized() -> Self {
        Self::detail(401, "Unauthorized")
    }

    pub(super) fn form(fields: &Fields) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, errors: json!(fields.0) }
    }

    pub(super) fn field(field: &'static str, complaint: impl Into<String>) -> Self {
        let mut fields = Fields::default();
        fields.add(field, complaint);
        Self::form(&fields)
    }

    /// A complaint about a field of the only element of a list.
    pub(super) fn nested(list: &str, field: &str, complaint: &str) -> Self {
        let errors = json!({list: [{field: [complaint]}]});
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, errors }
    }

    /// The fault of a rule.
    pub(super) fn injected(code: u16) -> Self {
        Self::detail(code, "Injected by a fault rule of the emulator")
    }

    /// With one more key beside the detail.
    pub(super) fn with(mut self, key: &str, value: impl Serialize) -> Self {
        self.errors[key] = json!(value);
        self
    }
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn body(&self) -> Value {
        json!({"errors": self.errors})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json_response(self.status, &self.body())
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, content_type, body.to_string()).into_response()
}
