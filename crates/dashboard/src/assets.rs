//! The two files that pages load, under names that change with what is in them, so that a browser may
//! keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/live.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| name(STYLE, "css"));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| name(SCRIPT, "js"));

fn name(content: &str, kind: &str) -> String {
    let sum = Sha256::digest(content.as_bytes());
    let short = sum.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{short:016x}.{kind}")
}

/// Where the style sheet is.
pub(crate) fn style() -> String {
    format!("/assets/{}", *STYLE_NAME)
}

/// Where the script is.
pub(crate) fn script() -> String {
    format!("/assets/{}", *SCRIPT_NAME)
}

pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, content) = if name == *STYLE_NAME {
        ("text/css; charset=utf-8", STYLE)
    } else if name == *SCRIPT_NAME {
        ("text/javascript; charset=utf-8", SCRIPT)
    } else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], content).into_response()
}
