//! The files of a folder over HTTP, for devices: whole, or the rest of one whose connection broke.
//!
//! Who knows the URL may fetch the file: the UUID in it is random, and it is the one that devices are
//! told.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hedgerow_catalogue::files::{ByteRange, FileError, FileKey, ImageFiles};

/// A router that serves every file at `/images/{key}`: whole, in ranges, and only where it changed.
/// It is for files in a folder, whose URLs lead here; a bucket serves its files itself.
pub fn router(files: ImageFiles) -> Router {
    Router::new().route("/images/{tenant}/{id}/{name}", get(serve)).with_state(files)
}

async fn serve(
    State(files): State<ImageFiles>,
    Path((tenant, id, name)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Ok(key) = format!("{tenant}/{id}/{name}").parse::<FileKey>() else {
        return refused(StatusCode::NOT_FOUND, "there is no such file");
    };
    // What is behind a URL never changes.
    let tag = format!("\"{id}\"");
    let is_ours = |header: &HeaderValue| header.as_bytes() == tag.as_bytes();
    if headers.get(header::IF_NONE_MATCH).is_some_and(is_ours) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let range = headers
        .get(header::RANGE)
        .filter(|_| headers.get(header::IF_RANGE).is_none_or(is_ours))
        .and_then(|range| ByteRange::from_header(range.to_str().ok()?));
    let opened = match files.open(&key, range).await {
        Ok(opened) => opened,
        Err(FileError::Missing { .. }) => {
            return refused(StatusCode::NOT_FOUND, "there is no such file");
        }
        Err(FileError::Range { size_bytes }) => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{size_bytes}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, all).into_response();
        }
        Err(error) => {
            tracing::error!(%key, %error, "a file cannot be served");
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the file cannot be read now");
        }
    };
    let part = &opened.range;
    let length = part.end - part.start;
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, &tag)
        .header(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", key.name()))
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if length < opened.size_bytes {
        let last = part.end.saturating_sub(1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(
            header::CONTENT_RANGE,
            format!("bytes {}-{last}/{}", part.start, opened.size_bytes),
        );
    }
    let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(opened.bytes) };
    // Every header above is of visible ASCII characters.
    response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn refused(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
