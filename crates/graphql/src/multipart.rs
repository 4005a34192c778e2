//! Requests with files. Edgehog's clients send the parts `query` and `variables` and the files as
//! parts that a variable names; everybody else sends `operations`, `map` and the files, as the GraphQL
//! multipart request specification says. A file goes where files are kept as it comes, and never into
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use async_graphql::Request as Question;
use axum::body::Body;
use axum::extract::Multipart;
use axum::extract::multipart::Field;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::auth::Role;
use crate::errors::Failure;
use crate::http::{question, unreadable};
use crate::record::Ask;

/// The most files of one request.
const MOST_FILES: usize = 8;

/// The most parts that are no files: `query`, `variables`, `operations`, `map` and what else there is.
const MOST_TEXTS: usize = 16;

/// The most bytes that are read ahead of what has been taken in: of the head of a part, or of what is
/// between parts.
const READ_AHEAD: usize = 2 * 1024 * 1024;

/// A client that sends nothing for so long has given up.
const PATIENCE: Duration = Duration::from_secs(60);

type Refused = (StatusCode, Failure);

fn bad(failure: Failure) -> Refused {
    (StatusCode::BAD_REQUEST, failure)
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new("invalid_query", message)
}

/// How many bytes were read since anything came of them.
#[derive(Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicUsize>);

impl Ahead {
    /// A body that ends with an error where too much of it is read and nothing comes of it. Whoever
    /// reads it gets one piece at a time, and looks at that first.
    pub(crate) fn watch(&self, body: Body) -> Body {
        let (mut pieces, ahead) = (body.into_data_stream(), Arc::clone(&self.0));
        let mut rests = false;
        Body::from_stream(stream::poll_fn(move |context| {
            rests = !rests;
            if !rests {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = ready!(pieces.poll_next_unpin(context));
            Poll::Ready(piece.map(|piece| {
                let piece = piece.map_err(|error| error.to_string())?;
                if ahead.fetch_add(piece.len(), Ordering::Relaxed) > READ_AHEAD {
                    return Err(format!("the head of a part is longer than {READ_AHEAD} bytes"));
                }
                Ok::<_, String>(piece)
            }))
        }))
    }

    fn has_come(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Reads the parts of a request, whose body is watched by `ahead`.
pub(crate) async fn read(
    ask: &Arc<Ask>,
    mut parts: Multipart,
    ahead: &Ahead,
) -> Result<Question, Refused> {
    let (mut texts, mut files) = (Map::new(), Vec::new());
    let (mut left, mut count) = (ask.api.limits.request_bytes, 0);
    loop {
        let part = timeout(PATIENCE, parts.next_field()).await.map_err(|_| late())?;
        let Some(mut part) = part.map_err(|error| bad(unreadable(&error)))? else { break };
        ahead.has_come();
        let name = part.name().unwrap_or_default().to_owned();
        if let Some(file) = part.file_name().map(str::to_owned) {
            if files.len() == MOST_FILES {
                return Err(bad(invalid(format!("a request has at most {MOST_FILES} files"))));
            }
            files.push((name, take_file(ask, part, &file, ahead).await?));
            continue;
        }
        count += 1;
        if count > MOST_TEXTS {
            let why = format!("a request has at most {MOST_TEXTS} parts that are no files");
            return Err(bad(invalid(why)));
        }
        let mut text = Vec::new();
        while let Some(bytes) = chunk(&mut part, ahead).await? {
            left = left.checked_sub(bytes.len()).ok_or_else(|| {
                let most = ask.api.limits.request_bytes;
                let failure =
                    invalid(format!("without its files the request is longer than {most} bytes"));
                (StatusCode::PAYLOAD_TOO_LARGE, failure)
            })?;
            text.extend_from_slice(&bytes);
        }
        let text = String::from_utf8(text).map_err(|error| bad(unreadable(&error)))?;
        texts.insert(name, Value::String(text));
    }
    put_together(&texts, &files).map_err(bad)
}

fn late() -> Refused {
    (StatusCode::REQUEST_TIMEOUT, invalid("nothing more came of the request"))
}

async fn chunk(part: &mut Field<'_>, ahead: &Ahead) -> Result<Option<Bytes>, Refused> {
    let chunk = timeout(PATIENCE, part.chunk()).await.map_err(|_| late())?;
    ahead.has_come();
    chunk.map_err(|error| bad(unreadable(&error)))
}

/// Streams a file to where files are kept, and returns what a variable names it by.
async fn take_file(
    ask: &Arc<Ask>,
    mut part: Field<'_>,
    name: &str,
    ahead: &Ahead,
) -> Result<String, Refused> {
    let refused = |failure| (StatusCode::FORBIDDEN, failure);
    ask.needs(Role::Operator).map_err(refused)?;
    let Some(files) = &ask.api.files else {
        return Err(bad(invalid("there is no place for files here: give a URL instead")));
    };
    let failed = |error: hedgerow_catalogue::files::FileError| {
        let status = if error.is_retryable() {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::BAD_REQUEST
        };
        (status, Failure::new("invalid_argument", format!("failed to upload: {error}")))
    };
    let mut upload = files.upload(ask.tenant(), name).await.map_err(failed)?;
    while let Some(bytes) = chunk(&mut part, ahead).await? {
        let most = ask.api.limits.upload_bytes;
        if upload.size_bytes() + bytes.len() as u64 > most {
            upload.abort().await;
            let failure = Failure::new(
                "invalid_argument",
                format!("failed to upload: the file has more than {most} bytes"),
            );
            return Err((StatusCode::PAYLOAD_TOO_LARGE, failure));
        }
        upload.write(bytes).await.map_err(failed)?;
    }
    Ok(ask.has_uploaded(upload.finish().await.map_err(failed)?))
}

fn json(texts: &Map<String, Value>, name: &str) -> Result<Value, Failure> {
    match texts.get(name).and_then(Value::as_str) {
        None | Some("") => Ok(Value::Null),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::invalid_argument(name, format!("is no JSON: {error}"))),
    }
}

/// The question, with what files are named by where the variables have them.
fn put_together(
    texts: &Map<String, Value>,
    files: &[(String, String)],
) -> Result<Question, Failure> {
    if !texts.contains_key("operations") {
        let query = texts.get("query").cloned().unwrap_or_default();
        let mut variables = json(texts, "variables")?;
        for (part, file) in files {
            if !put_by_name(&mut variables, part, file) {
                return Err(Failure::invalid_argument(
                    "variables",
                    format!("no variable has the name of the file part {part:.64?} as its value"),
                ));
            }
        }
        return question(serde_json::json!({"query": query, "variables": variables}));
    }
    let (mut operations, map) = (json(texts, "operations")?, json(texts, "map")?);
    for (part, file) in files {
        let paths = map.get(part).and_then(Value::as_array);
        let paths = paths.ok_or_else(|| {
            Failure::invalid_argument("map", format!("does not say where {part:.64?} belongs"))
        })?;
        for path in paths {
            let path = path.as_str().unwrap_or_default();
            put_at(&mut operations, path, file).ok_or_else(|| {
                Failure::invalid_argument("map", format!("{path:.128?} leads nowhere"))
            })?;
        }
    }
    question(operations)
}

/// Puts the file wherever a variable has the name of its part.
fn put_by_name(value: &mut Value, part: &str, file: &str) -> bool {
    match value {
        Value::String(text) if text == part => {
            file.clone_into(text);
            true
        }
        Value::Array(values) => {
            let put = values.iter_mut().map(|value| put_by_name(value, part, file));
            put.filter(|put| *put).count() > 0
        }
        Value::Object(values) => {
            let put = values.values_mut().map(|value| put_by_name(value, part, file));
            put.filter(|put| *put).count() > 0
        }
        _ => false,
    }
}

fn put_at(value: &mut Value, path: &str, file: &str) -> Option<()> {
    let place = path.split('.').try_fold(value, |value, step| match value {
        Value::Array(values) => values.get_mut(step.parse::<usize>().ok()?),
        Value::Object(values) => values.get_mut(step),
        _ => None,
    })?;
    // What is not null is no place for a file (section 2.2 of the specification).
    place.is_null().then(|| *place = Value::from(file))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(all: &[(&str, Value)]) -> Map<String, Value> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.to_string())))
            .collect()
    }

    fn variables(question: &Question) -> Value {
        serde_json::to_value(&question.variables).unwrap()
    }

    #[test]
    fn a_file_stands_where_a_variable_has_the_name_of_its_part() {
        let mut parts =
            texts(&[("variables", json!({"input": {"version": "1.0.0", "file": "file"}}))]);
        parts.insert("query".to_owned(), json!("{ a }"));
        let files = [("file".to_owned(), "upload:0".to_owned())];
        let question = put_together(&parts, &files).unwrap();
        let put = json!({"input": {"version": "1.0.0", "file": "upload:0"}});
        assert_eq!(variables(&question), put);
        let other = [("other".to_owned(), "upload:0".to_owned())];
        assert_eq!(put_together(&parts, &other).unwrap_err().code, "invalid_argument");
    }

    #[test]
    fn a_map_says_where_files_belong() {
        let operations = json!({"query": "{ a }", "variables": {"files": [null, null]}});
        let parts = |path: &str| {
            texts(&[("operations", operations.clone()), ("map", json!({"0": [path]}))])
        };
        let files = [("0".to_owned(), "upload:0".to_owned())];
        let question = put_together(&parts("variables.files.1"), &files).unwrap();
        assert_eq!(variables(&question), json!({"files": [null, "upload:0"]}));
        for path in ["variables.files.2", "variables.other", "query", "", "variables.files.x"] {
            assert!(put_together(&parts(path), &files).is_err(), "{path}");
        }
    }
}
