//! Requests with files. Edgehog's clients send the parts `query` and `variables` and the files as
//! parts that a variable names; everybody else sends `operations`, `map` and the files, as the GraphQL
//! multipart request specification says. A file goes where files are kept as it comes, and never into
//! memory.

use std::sync::Arc;

use async_graphql::Request as Question;
use axum::extract::Multipart;
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::errors::Failure;
use crate::http::{question, unreadable};
use crate::record::Ask;

type Refused = (StatusCode, Failure);

fn bad(failure: Failure) -> Refused {
    (StatusCode::BAD_REQUEST, failure)
}

/// Reads the parts of a request.
pub(crate) async fn read(ask: &Arc<Ask>, mut parts: Multipart) -> Result<Question, Refused> {
    let mut texts = Map::new();
    let mut left = ask.api.limits.request_bytes;
    while let Some(part) = parts.next_field().await.map_err(|error| bad(unreadable(&error)))? {
        let name = part.name().unwrap_or_default().to_owned();
        let mut part = part;
        let mut text = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|error| bad(unreadable(&error)))? {
            left = left.checked_sub(chunk.len()).ok_or_else(|| {
                let most = ask.api.limits.request_bytes;
                let failure = Failure::new(
                    "invalid_query",
                    format!("without its files the request is longer than {most} bytes"),
                );
                (StatusCode::PAYLOAD_TOO_LARGE, failure)
            })?;
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(text).map_err(|error| bad(unreadable(&error)))?;
        texts.insert(name, Value::String(text));
    }
    put_together(&texts).map_err(bad)
}

fn json(texts: &Map<String, Value>, name: &str) -> Result<Value, Failure> {
    match texts.get(name).and_then(Value::as_str) {
        None | Some("") => Ok(Value::Null),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::invalid_argument(name, format!("is no JSON: {error}"))),
    }
}

fn put_together(texts: &Map<String, Value>) -> Result<Question, Failure> {
    if texts.contains_key("operations") {
        return question(json(texts, "operations")?);
    }
    let query = texts.get("query").cloned().unwrap_or_default();
    question(serde_json::json!({"query": query, "variables": json(texts, "variables")?}))
}
