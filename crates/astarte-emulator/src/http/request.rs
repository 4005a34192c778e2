//! A request in the parts that the APIs look at, with limits on each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::body::to_bytes;
use axum::extract::Query;
use axum::http::{HeaderName, Method, header};
use bytes::Bytes;
use serde_json::Value;

use super::reply::ApiError;

/// A longer body is answered with 413.
pub(crate) const BODY_LENGTH_MAX: usize = 1024 * 1024;
/// A longer path or query is answered with 414.
const URI_LENGTH_MAX: usize = 8192;
/// Headers that are secrets, or about the connection.
const UNRECORDED: [HeaderName; 4] =
    [header::AUTHORIZATION, header::CONNECTION, header::CONTENT_LENGTH, header::HOST];

#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The path's parts, decoded.
    pub(super) segments: Vec<String>,
    /// What follows the realm, as it was sent: what the claims of a token are about.
    pub(super) path_in_realm: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    /// The query as it was sent.
    pub(super) raw_query: String,
    /// The headers that are no secrets, nor about the connection.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) authorization: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) address: IpAddr,
}

impl Request {
    pub(super) async fn read(
        request: axum::extract::Request,
        address: IpAddr,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if parts.uri.to_string().len() > URI_LENGTH_MAX {
            return Err(ApiError::detail(414, "URI too long"));
        }
        let body = to_bytes(body, BODY_LENGTH_MAX)
            .await
            .map_err(|_| ApiError::detail(413, "Request entity too large"))?;
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| ApiError::bad_request())?;
        let path = parts.uri.path().to_owned();
        let raw: Vec<&str> = path.trim_matches('/').split('/').collect();
        let segments = raw
            .iter()
            .map(|segment| decode(segment))
            .collect::<Option<_>>()
            .ok_or_else(ApiError::bad_request)?;
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let others = parts.headers.iter().filter(|(name, _)| !UNRECORDED.contains(name));
        let headers = others
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let headers = headers.collect();
        let header =
            |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self {
            segments,
            path_in_realm: raw.get(3..).unwrap_or_default().join("/"),
            query,
            raw_query,
            headers,
            authorization: header(header::AUTHORIZATION),
            content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
            body,
            address,
            method: parts.method,
            path,
        })
    }

    /// The `data` of a JSON body.
    pub(super) fn data(&self) -> Result<Value, ApiError> {
        let mut body: Value =
            serde_json::from_slice(&self.body).map_err(|_| ApiError::bad_request())?;
        match body.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => Err(ApiError::bad_request()),
        }
    }

    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }
}

/// Decodes `%41` and the like; `None` if what comes out is not text.
fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            // A sign would be taken, too.
            let digits = Some(digits).filter(|digits| !digits.starts_with('+'))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded() {
        assert_eq!(decode("a%20b%2Fc").as_deref(), Some("a b/c"));
        assert_eq!(decode("caf%C3%A9").as_deref(), Some("café"));
        for broken in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
