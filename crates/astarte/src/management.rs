//! Realm Management, for one realm: interfaces, delivery policies, triggers.

use reqwest::Method;
use serde_json::Value;

use crate::ApiError;
use crate::client::{RealmClient, Request};
use crate::token::Api;

/// Realm Management of one realm.
#[derive(Clone, Debug)]
pub struct RealmManagement {
    client: RealmClient,
}

impl RealmManagement {
    /// Through that client.
    #[must_use]
    pub fn new(client: RealmClient) -> Self {
        Self { client }
    }

    /// What stands under a path; `None` if nothing does.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Option<Value>, ApiError> {
        match self.client.call(Request::get(Api::RealmManagement, path)).await {
            Ok(answer) => Ok(Some(answer.data)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which version of Astarte this is, as it tells; `None` if it does not tell this token.
    pub(crate) async fn version(&self) -> Result<Option<String>, ApiError> {
        match self.get(&["version"]).await {
            Ok(version) => Ok(version.and_then(|version| version.as_str().map(str::to_owned))),
            Err(ApiError::Refused { status, .. }) if status != 401 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds something to a collection, and waits until it is there.
    pub(crate) async fn post(&self, collection: &str, body: &Value) -> Result<(), ApiError> {
        self.write(Method::POST, &[collection], body).await
    }

    /// Changes what stands under a path, and waits until it is changed.
    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<(), ApiError> {
        self.write(Method::PUT, path, body).await
    }

    /// Removes what stands under a path, if anything does.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), ApiError> {
        match self.client.send(Request::delete(Api::RealmManagement, path)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn write(&self, method: Method, path: &[&str], body: &Value) -> Result<(), ApiError> {
        let is_interface = path.first() == Some(&"interfaces");
        let query = [("async_operation", "false".to_owned())];
        let request = Request {
            method,
            api: Api::RealmManagement,
            path,
            // What is put into the realm next needs it.
            query: if is_interface { &query } else { &[] },
            body: Some(body),
        };
        self.client.send(request).await.map(drop)
    }
}
