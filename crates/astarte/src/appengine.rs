//! What Hedgerow asks of `AppEngine`: requests to devices, what they show, who they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hedgerow_core::{DeviceId, ImageUrl, OperationId, Timestamp};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ApiError;
use crate::client::{Answer, RealmClient, Request};
use crate::interfaces::{BASE_IMAGE, Introspection, OTA_EVENT, OTA_REQUEST};
use crate::token::Api;

/// Devices of one page of a list that is read with details.
const PAGE: usize = 500;
/// More pages than any list has; the bound that a server that lies runs into.
const MOST_PAGES: usize = 100_000;

/// `AppEngine`, for one realm.
#[derive(Clone, Debug)]
pub struct AppEngine {
    client: RealmClient,
}

/// What is to be done with an operation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OtaRequest {
    /// Update.
    Update,
    /// Cancel the update.
    Cancel,
}

#[derive(Serialize)]
struct OtaRequestData<'a> {
    operation: OtaRequest,
    url: &'a str,
    uuid: String,
}

/// What Astarte knows of a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct DeviceStatus {
    /// The device.
    pub id: DeviceId,
    /// Whether it is connected.
    #[serde(default)]
    connected: Option<bool>,
    /// When it last connected.
    #[serde(default)]
    last_connection: Option<DateTime<Utc>>,
    /// When it last disconnected.
    #[serde(default)]
    last_disconnection: Option<DateTime<Utc>>,
    /// The interfaces that it declares.
    #[serde(default)]
    pub introspection: Introspection,
    /// What people noted about it.
    #[serde(default)]
    pub attributes: BTreeMap<String, Value>,
    /// Whether it is being deleted.
    #[serde(default)]
    deletion_in_progress: Option<bool>,
}

impl DeviceStatus {
    /// Whether the device is connected, and not being deleted.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.connected == Some(true) && self.deletion_in_progress != Some(true)
    }

    /// When the device last connected.
    #[must_use]
    pub fn last_connection(&self) -> Option<Timestamp> {
        self.last_connection.map(Timestamp::from)
    }

    /// When the device last disconnected.
    #[must_use]
    pub fn last_disconnection(&self) -> Option<Timestamp> {
        self.last_disconnection.map(Timestamp::from)
    }

    /// Where the device is.
    #[must_use]
    pub fn presence(&self) -> hedgerow_core::Presence {
        if self.is_online() {
            let since = self.last_connection().unwrap_or_default();
            hedgerow_core::Presence::Online { since }
        } else {
            hedgerow_core::Presence::Offline
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it.
    pub entries: Vec<T>,
    /// The token of the next page; `None`: this is the last one.
    pub next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct BaseImageData {
    #[serde(default)]
    version: Option<String>,
}

impl AppEngine {
    /// Through that client.
    #[must_use]
    pub fn new(client: RealmClient) -> Self {
        Self { client }
    }

    /// The client.
    pub(crate) fn client(&self) -> &RealmClient {
        &self.client
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, ApiError> {
        self.client.call(Request { query, ..Request::get(Api::AppEngine, path) }).await
    }

    /// Sends a request to a device. That Astarte took it does not mean that the device gets it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn send_ota_request(
        &self,
        device: DeviceId,
        request: OtaRequest,
        operation: OperationId,
        url: &ImageUrl,
    ) -> Result<(), ApiError> {
        let device = device.to_string();
        let path = ["devices", &device, "interfaces", OTA_REQUEST, "request"];
        // A Cancel carries the URL too: without it old firmware ends its process, and with another
        // one the device takes it for a stranger's.
        let data = OtaRequestData {
            operation: request,
            url: url.as_str(),
            uuid: operation.as_uuid().to_string(),
        };
        let request = Request {
            method: Method::POST,
            api: Api::AppEngine,
            path: &path,
            query: &[],
            body: Some(data),
        };
        self.client.send(request).await.map(drop)
    }

    /// Sets an attribute of a device, such as its System Model. Hedgerow itself does not do this:
    /// tokens that it mints do not allow it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn set_attribute(
        &self,
        device: DeviceId,
        name: &str,
        value: &str,
    ) -> Result<(), ApiError> {
        let body = Some(serde_json::json!({ "attributes": { name: value } }));
        let path = ["devices", &device.to_string()];
        let (method, api) = (Method::PATCH, Api::AppEngine);
        self.client.send(Request { method, api, path: &path, query: &[], body }).await.map(drop)
    }

    /// Creates a group of at least one device. Hedgerow itself does not do this either.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_group(&self, name: &str, devices: &[DeviceId]) -> Result<(), ApiError> {
        let body = Some(serde_json::json!({ "group_name": name, "devices": devices }));
        let (method, api) = (Method::POST, Api::AppEngine);
        let request = Request { method, api, path: &["groups"], query: &[], body };
        self.client.send(request).await.map(drop)
    }

    /// What Astarte knows of a device.
    ///
    /// # Errors
    /// [`ApiError`]; it [is not found](ApiError::is_not_found) if there is no such device.
    pub async fn device_status(&self, device: DeviceId) -> Result<DeviceStatus, ApiError> {
        self.get(&["devices", &device.to_string()], &[]).await.map(|answer| answer.data)
    }

    /// A page of all devices.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn devices(&self, from: Option<String>) -> Result<Page<DeviceStatus>, ApiError> {
        self.list(&["devices"], from).await
    }

    /// A page of the devices of a group.
    ///
    /// # Errors
    /// [`ApiError`]; it [is not found](ApiError::is_not_found) if there is no such group, which is
    /// also so of one that lost its last device.
    pub async fn group_devices(
        &self,
        group: &str,
        from: Option<String>,
    ) -> Result<Page<DeviceStatus>, ApiError> {
        self.list(&["groups", group, "devices"], from).await
    }

    async fn list(
        &self,
        path: &[&str],
        from: Option<String>,
    ) -> Result<Page<DeviceStatus>, ApiError> {
        let mut query = vec![("details", "true".to_owned()), ("limit", PAGE.to_string())];
        query.extend(from.map(|token| ("from_token", token)));
        let answer: Answer<Vec<DeviceStatus>> = self.get(path, &query).await?;
        let next = answer.links.next.as_deref().and_then(from_token);
        Ok(Page { entries: answer.data, next })
    }

    /// Every device of a list, page by page, through `each`.
    pub(crate) async fn each_page(
        &self,
        group: Option<&str>,
        mut each: impl FnMut(Vec<DeviceStatus>),
    ) -> Result<(), ApiError> {
        let mut from = None;
        for _ in 0..MOST_PAGES {
            let page = match group {
                Some(group) => self.group_devices(group, from.clone()).await?,
                None => self.devices(from.clone()).await?,
            };
            each(page.entries);
            if page.next.is_none() {
                return Ok(());
            }
            if page.next == from {
                break;
            }
            from = page.next;
        }
        Err(ApiError::Unreadable {
            detail: "its pages go round in a circle".to_owned(),
            method: Method::GET.to_string(),
            path: group.map_or("devices".to_owned(), |group| format!("groups/{group}/devices")),
        })
    }

    /// The version that a device shows; `None` if it shows none. It is the property `/version`
    /// alone (D5): devices never unset `/buildId`, which may be that of an older image.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn base_image_version(&self, device: DeviceId) -> Result<Option<String>, ApiError> {
        let path = ["devices", &device.to_string(), "interfaces", BASE_IMAGE];
        let data: BaseImageData = match self.get(&path, &[]).await {
            Ok(answer) => answer.data,
            // A device that does not declare the interface shows no version.
            Err(ApiError::Refused { status: 404, detail, .. })
                if detail == "Interface not found in device introspection" =>
            {
                BaseImageData::default()
            }
            Err(error) => return Err(error),
        };
        Ok(data.version.filter(|version| !version.is_empty()))
    }

    /// A property of a device as text; `None` if it is not set, or neither text nor number.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn property(
        &self,
        device: DeviceId,
        interface: &str,
        path: &str,
    ) -> Result<Option<String>, ApiError> {
        let all = self.all_properties(device, interface).await?;
        Ok(all.pointer(&format!("/{}", path.trim_matches('/'))).and_then(as_text))
    }

    /// The properties of a device on one interface that are text or numbers, by their names; those of
    /// deeper paths are left out. None, if it does not declare the interface.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn properties(
        &self,
        device: DeviceId,
        interface: &str,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let Value::Object(all) = self.all_properties(device, interface).await? else {
            return Ok(BTreeMap::new());
        };
        let texts = all.into_iter().filter_map(|(name, value)| Some((name, as_text(&value)?)));
        Ok(texts.collect())
    }

    async fn all_properties(&self, device: DeviceId, interface: &str) -> Result<Value, ApiError> {
        let device = device.to_string();
        let whole = ["devices", &device, "interfaces", interface];
        // The whole interface is read: a path of it that is not set would be answered 404, and
        // that could not be told from a device that does not exist.
        match self.get(&whole, &[]).await {
            Ok(Answer { data, .. }) => Ok(data),
            Err(ApiError::Refused { status: 404, detail, .. })
                if detail == "Interface not found in device introspection" =>
            {
                Ok(Value::Null)
            }
            Err(error) => Err(error),
        }
    }

    /// The stored reports of a device, oldest first, as Astarte keeps them for a year.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) async fn stored_reports(
        &self,
        device: DeviceId,
        query: &[(&str, String)],
    ) -> Result<Vec<serde_json::Map<String, Value>>, ApiError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Series {
            Rows(Vec<serde_json::Map<String, Value>>),
            Nested { event: Vec<serde_json::Map<String, Value>> },
            Nothing {},
        }
        let device = device.to_string();
        let path = ["devices", &device, "interfaces", OTA_EVENT, "event"];
        match self.get(&path, query).await {
            Ok(Answer { data: Series::Rows(rows) | Series::Nested { event: rows }, .. }) => {
                Ok(rows)
            }
            Ok(Answer { data: Series::Nothing {}, .. }) => Ok(Vec::new()),
            // The device has never reported anything there.
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The token in the link to the next page.
fn from_token(link: &str) -> Option<String> {
    let base = reqwest::Url::parse("http://astarte.invalid/").ok()?;
    let url = base.join(link).ok()?;
    url.query_pairs().find(|(key, _)| key == "from_token").map(|(_, token)| token.into_owned())
}
