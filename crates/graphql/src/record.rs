//! What the schema's fields are answered from. Each object of the API is a [`Record`], which answers
//! its fields by their names; [`Ask`] is what one request knows: who asks, what the catalogue had when
//! it came, and how much it may still be given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use async_graphql::indexmap::IndexMap;
use async_graphql::{Context, Name, Value};
use chrono::{DateTime, SecondsFormat};
use futures::future::BoxFuture;
use futures::lock::Mutex;
use hedgerow_catalogue::Fleet;
use hedgerow_catalogue::files::StoredFile;
use hedgerow_core::{CampaignId, ImageUrl, TenantId, Timestamp};
use hedgerow_engine::Engine;
use hedgerow_engine::view::CampaignEntry;

use crate::api::Shared;
use crate::auth::{Caller, Role};
use crate::errors::Failure;

/// An object of the API.
pub(crate) type Object = Arc<dyn Record>;

/// Something that answers fields.
pub(crate) trait Record: Send + Sync + 'static {
    /// The name of its type in the schema.
    fn type_name(&self) -> &'static str;

    /// A field that is at hand; `None`: it has to be looked up, or is always empty.
    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer>;

    /// All records that a field leads to, if it leads to a list: for its pages and for filters.
    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        let _ = (field, ask);
        Related::NotThis
    }

    /// A field that has to be looked up; `None`: it is always empty.
    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        let _ = (field, call);
        None
    }
}

/// A field that is being looked up.
pub(crate) type Found<'a> = BoxFuture<'a, Result<Answer, Failure>>;

/// The records that a field leads to.
pub(crate) enum Related<'a> {
    /// The field leads to no list.
    NotThis,
    Now(Vec<Object>),
    Later(BoxFuture<'a, Result<Vec<Object>, Failure>>),
}

impl Related<'_> {
    pub(crate) fn now(records: impl IntoIterator<Item = impl Record>) -> Self {
        Self::Now(records.into_iter().map(|record| Arc::new(record) as Object).collect())
    }
}

/// What a field has.
#[derive(Clone)]
pub(crate) enum Answer {
    Value(Value),
    Object(Object),
    Objects(Vec<Object>),
}

impl Answer {
    pub(crate) const NULL: Self = Self::Value(Value::Null);

    pub(crate) fn object(record: impl Record) -> Self {
        Self::Object(Arc::new(record))
    }

    pub(crate) fn maybe(record: Option<impl Record>) -> Self {
        record.map_or(Self::NULL, Self::object)
    }

    pub(crate) fn objects(records: impl IntoIterator<Item = impl Record>) -> Self {
        Self::Objects(records.into_iter().map(|record| Arc::new(record) as Object).collect())
    }

    pub(crate) fn value(value: impl Into<Value>) -> Self {
        Self::Value(value.into())
    }

    /// A text, such as one of an enum, or nothing.
    pub(crate) fn text(text: Option<impl Into<String>>) -> Self {
        Self::Value(text.map_or(Value::Null, |text| Value::String(text.into())))
    }

    pub(crate) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::Value(Value::List(texts.into_iter().map(|text| Value::String(text.into())).collect()))
    }

    pub(crate) fn count(count: usize) -> Self {
        Self::value(u64::try_from(count).unwrap_or(u64::MAX))
    }

    pub(crate) fn id(kind: &str, key: impl std::fmt::Display) -> Self {
        Self::value(crate::id::global(kind, key))
    }

    /// A time with microseconds, as campaigns have them.
    pub(crate) fn time(time: Option<Timestamp>) -> Self {
        Self::text(time.and_then(|time| date_time(time, SecondsFormat::Micros)))
    }

    /// A time with whole seconds, as devices have them.
    pub(crate) fn seconds(time: Option<Timestamp>) -> Self {
        Self::text(time.and_then(|time| date_time(time, SecondsFormat::Secs)))
    }
}

fn date_time(time: Timestamp, format: SecondsFormat) -> Option<String> {
    let time = DateTime::from_timestamp_millis(time.as_millis())?;
    Some(time.to_rfc3339_opts(format, true))
}

/// What one request knows.
pub(crate) struct Ask {
    pub(crate) api: Arc<Shared>,
    pub(crate) caller: Caller,
    /// How many objects it may still be given.
    left: AtomicUsize,
    /// Campaigns that were looked up for it: each is, once.
    campaigns: Mutex<HashMap<CampaignId, Option<Arc<CampaignEntry>>>>,
    /// The catalogue as it was when the request came, or when it last changed something.
    fleet: Lock<Arc<Fleet>>,
    /// The files that came with it, and whether something names them by now.
    files: Lock<Vec<(StoredFile, bool)>>,
}

fn locked<T>(lock: &Lock<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ask {
    pub(crate) async fn begin(api: Arc<Shared>, caller: Caller) -> Result<Self, Failure> {
        let left = AtomicUsize::new(api.limits.objects);
        let fleet = Lock::new(api.catalogue.tenant(&caller.tenant).await?);
        let (campaigns, files) = (Mutex::default(), Lock::default());
        Ok(Self { api, caller, left, campaigns, fleet, files })
    }

    /// The catalogue.
    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&locked(&self.fleet))
    }

    /// Goes on with that catalogue.
    pub(crate) fn use_fleet(&self, fleet: Arc<Fleet>) {
        *locked(&self.fleet) = fleet;
    }

    /// Takes a file that came with the request, and returns what a variable names it by.
    pub(crate) fn has_uploaded(&self, file: StoredFile) -> String {
        let mut files = locked(&self.files);
        files.push((file, false));
        format!("upload:{}", files.len() - 1)
    }

    /// The file that a variable names, and where devices fetch it.
    pub(crate) fn uploaded(
        &self,
        named: &str,
        field: &str,
    ) -> Result<(StoredFile, ImageUrl), Failure> {
        let number = named.strip_prefix("upload:").and_then(|number| number.parse::<usize>().ok());
        let stored = number.and_then(|number| locked(&self.files).get(number).cloned());
        let stored = stored.map(|(stored, _)| stored).ok_or_else(|| {
            Failure::invalid_argument(field, "is no file: send one as a part of the request")
        })?;
        let files = self.api.files.as_ref();
        let files = files.ok_or_else(|| Failure::invalid_argument(field, "failed to upload"))?;
        let url = files.url(&stored.key).map_err(|error| {
            Failure::invalid_argument(field, format!("failed to upload: {error}"))
        })?;
        Ok((stored, url))
    }

    /// Something names that file by now.
    pub(crate) fn keep(&self, stored: &StoredFile) {
        let mut files = locked(&self.files);
        files.iter_mut().filter(|(file, _)| file.key == stored.key).for_each(|file| file.1 = true);
    }

    /// Removes the files that nothing has come to name.
    pub(crate) async fn remove_the_rest(&self) {
        let files = std::mem::take(&mut *locked(&self.files));
        let Some(store) = &self.api.files else { return };
        for (stored, _) in files.into_iter().filter(|(_, is_named)| !is_named) {
            // What stays for now is removed in a later round.
            if let Err(error) = store.remove(&stored.key).await {
                tracing::warn!(key = %stored.key, %error, "a file that nothing names stays");
            }
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.api.engine
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.caller.tenant
    }

    /// Forgets what was looked up, and begins to count anew: for the next answer of a subscription.
    pub(crate) async fn refresh(&self) -> Result<(), Failure> {
        self.campaigns.lock().await.clear();
        self.left.store(self.api.limits.objects, Ordering::Relaxed);
        self.use_fleet(self.api.catalogue.tenant(self.tenant()).await?);
        Ok(())
    }

    /// Takes so many objects from what the request may be given.
    pub(crate) fn take(&self, objects: usize) -> Result<(), Failure> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(objects));
        taken.map(drop).map_err(|_| {
            let most = self.api.limits.objects;
            Failure::new(
                "invalid_query",
                format!("the answer would have, or look at, more than {most} objects: ask for less at once"),
            )
        })
    }

    /// Refuses a caller with less than that role.
    pub(crate) fn needs(&self, role: Role) -> Result<(), Failure> {
        if self.caller.role >= role { Ok(()) } else { Err(Failure::forbidden(role)) }
    }

    /// A campaign, looked up once for the whole request. One that was deleted is none.
    pub(crate) async fn campaign(
        &self,
        id: CampaignId,
    ) -> Result<Option<Arc<CampaignEntry>>, Failure> {
        let mut known = self.campaigns.lock().await;
        if let Some(campaign) = known.get(&id) {
            return Ok(campaign.clone());
        }
        let found = self.engine().campaign(self.tenant(), id).await?;
        let found =
            found.filter(|campaign| campaign.status != hedgerow_core::CampaignStatus::Deleted);
        let found = found.map(Arc::new);
        known.insert(id, found.clone());
        Ok(found)
    }
}

/// A field as it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) ask: &'a Arc<Ask>,
    pub(crate) input: Input<'a>,
    /// The place in the document; a filter that follows a relation has none.
    pub(crate) context: Option<&'a Context<'a>>,
}

impl Call<'_> {
    /// Whether the document selects a field, by the names that lead to it.
    pub(crate) fn selects(&self, path: &[&str]) -> bool {
        self.context.is_none_or(|context| {
            let here = context.look_ahead();
            path.iter().fold(here, |here, name| here.field(name)).exists()
        })
    }
}

/// The arguments of a field, or an input object. Their types were checked by the schema.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a IndexMap<Name, Value>);

impl<'a> Input<'a> {
    /// A value that was given and is not null.
    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| **value != Value::Null)
    }

    /// Whether it was given as null.
    pub(crate) fn is_null(self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Null)
    }

    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Failure> {
        self.get(name).map(|value| text(value).ok_or_else(|| wrong(name))).transpose()
    }

    pub(crate) fn required_text(self, name: &str) -> Result<&'a str, Failure> {
        self.text(name)?.ok_or_else(|| Failure::required(name))
    }

    pub(crate) fn texts(self, name: &str) -> Result<Option<Vec<&'a str>>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::List(values)) => values
                .iter()
                .map(|value| text(value).ok_or_else(|| wrong(name)))
                .collect::<Result<_, _>>()
                .map(Some),
            // A single value stands for a list of it.
            Some(value) => Ok(Some(vec![text(value).ok_or_else(|| wrong(name))?])),
        }
    }

    pub(crate) fn integer<T: TryFrom<i64>>(self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Value::Number(number) = value else { return Err(wrong(name)) };
        let whole = number.as_i64().and_then(|whole| T::try_from(whole).ok());
        whole.map(Some).ok_or_else(|| Failure::invalid(name, format!("{number} is out of range")))
    }

    pub(crate) fn boolean(self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(crate) fn object(self, name: &str) -> Result<Option<Input<'a>>, Failure> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Input(values))),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(crate) fn required_object(self, name: &str) -> Result<Input<'a>, Failure> {
        self.object(name)?.ok_or_else(|| Failure::required(name))
    }

    pub(crate) fn time(self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
            Failure::invalid(
                name,
                format!("{text:.40?} is no time: give one such as 2026-11-30T12:00:00Z"),
            )
        })?;
        Ok(Some(Timestamp::from_millis(time.timestamp_millis())))
    }

    /// The key of a thing of that kind, from its id.
    pub(crate) fn key<T: std::str::FromStr>(
        self,
        kind: &str,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        self.text(name)?.map(|id| crate::id::key(kind, id, name)).transpose()
    }

    pub(crate) fn required_key<T: std::str::FromStr>(
        self,
        kind: &str,
        name: &str,
    ) -> Result<T, Failure> {
        self.key(kind, name)?.ok_or_else(|| Failure::required(name))
    }
}

/// A string or the name of an enum's value: variables have it as a string, documents as a name.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Enum(name) => Some(name),
        _ => None,
    }
}

fn wrong(name: &str) -> Failure {
    Failure::invalid_argument(name, "is of another type than the schema says")
}

/// A JSON value, for fields of the type `Json`.
pub(crate) fn from_json(value: serde_json::Value) -> Value {
    Value::from_json(value).unwrap_or_default()
}
