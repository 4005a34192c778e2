//! Decides what becomes of a delivery, and answers it only when what follows is durable (E8).

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use hedgerow_core::{DeviceId, Presence, TenantId, Timestamp};
use hedgerow_engine::{Engine, EngineError, Moment, Observation};
use subtle::ConstantTimeEq;

use super::answer::Counters;
use super::limit::Limiter;
use super::{Happening, TriggerAnswer, TriggerCounts, TriggerEvent};
use crate::presence::{Found, Judgement, Standing};
use crate::realms::RealmState;
use crate::redact::excerpt;
use crate::told::Told;
use crate::{Astarte, Reconciler};

/// The header that names the realm.
const REALM: HeaderName = HeaderName::from_static("astarte-realm");

/// What the endpoint takes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TriggerSettings {
    /// A header that every delivery must have: a static header of the triggers.
    pub secret: Option<(HeaderName, HeaderValue)>,
    /// The largest body, in bytes; default 256 KiB. A device's message has at most 64 KiB.
    pub largest_body: usize,
    /// How long the body of a delivery may take to arrive; default 10 s.
    pub body_timeout: Duration,
    /// How many deliveries are handled at once; default 1,024.
    pub concurrent_deliveries: usize,
    /// How many deliveries are taken in a second; default: as many as come.
    pub deliveries_per_second: Option<NonZeroU32>,
}

impl Default for TriggerSettings {
    fn default() -> Self {
        Self {
            secret: None,
            largest_body: 256 * 1024,
            body_timeout: Duration::from_secs(10),
            concurrent_deliveries: 1_024,
            deliveries_per_second: None,
        }
    }
}

/// Hears every event of a tenant that Astarte delivers, whatever the engine makes of it, and as of
/// when it came. It is called before the engine is told, and is to return at once.
pub type TriggerListener = Box<dyn Fn(&TenantId, &TriggerEvent, Moment) + Send + Sync>;

/// Takes deliveries of triggers for an engine. Clones share everything.
#[derive(Clone)]
pub struct TriggerReceiver {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    astarte: Astarte,
    engine: Engine,
    reconciler: OnceLock<Reconciler>,
    listener: OnceLock<TriggerListener>,
    told: Told,
    pub(super) settings: TriggerSettings,
    pub(super) limiter: Limiter,
    pub(super) counters: Counters,
}

impl fmt::Debug for TriggerReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerReceiver")
            .field("astarte", &self.shared.astarte)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl TriggerReceiver {
    /// For that engine and the realms of that `Astarte`.
    #[must_use]
    pub fn new(astarte: Astarte, engine: Engine, mut settings: TriggerSettings) -> Self {
        if let Some((_, secret)) = &mut settings.secret {
            // Kept out of debug output.
            secret.set_sensitive(true);
        }
        let limiter = Limiter::new(settings.concurrent_deliveries, settings.deliveries_per_second);
        let shared = Shared {
            astarte,
            engine,
            reconciler: OnceLock::new(),
            listener: OnceLock::new(),
            told: Told::default(),
            settings,
            limiter,
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Fetches what a device reported while it was out of reach whenever one with an operation in
    /// progress connects (D12). The first that was given stays.
    #[must_use]
    pub fn with_reconciler(self, reconciler: Reconciler) -> Self {
        // A second one could only do the same again.
        let _ = self.shared.reconciler.set(reconciler);
        self
    }

    /// Has somebody else hear what Astarte tells: who keeps a list of devices, for example. The first
    /// that was given stays. An event may come twice, and one may overtake another.
    #[must_use]
    pub fn with_listener(self, listener: TriggerListener) -> Self {
        let _ = self.shared.listener.set(listener);
        self
    }

    /// How often each answer was given since the start, and how often Astarte's clock was seen to
    /// be far ahead.
    #[must_use]
    pub fn counts(&self) -> TriggerCounts {
        let stamped_ahead = self.shared.astarte.stamped_ahead();
        TriggerCounts { stamped_ahead, ..self.shared.counters.counts() }
    }

    /// Takes one delivery: its headers and its body. It returns when what follows from it is
    /// durable.
    pub async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> TriggerAnswer {
        let answer = match self.admit(headers) {
            Ok(tenant) => self.take(&tenant, body).await,
            Err(answer) => answer,
        };
        self.counted(answer)
    }

    pub(super) fn counted(&self, answer: TriggerAnswer) -> TriggerAnswer {
        self.shared.counters.count(&answer);
        match &answer {
            TriggerAnswer::Taken | TriggerAnswer::Passed => {}
            other => {
                let (status, why) = (other.status(), other.text());
                tracing::debug!(status, why, "a delivery was turned away");
            }
        }
        answer
    }

    /// Looks at the headers: the secret, and the tenant that the delivery is for.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<TenantId, TriggerAnswer> {
        if let Some((name, secret)) = &self.shared.settings.secret {
            let given = headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
            // In a time that does not tell how much of it was right.
            if !bool::from(given.ct_eq(secret.as_bytes())) {
                return Err(TriggerAnswer::Unauthorized);
            }
        }
        let Some(realm) = headers.get(REALM) else {
            return Err(TriggerAnswer::Malformed("the header Astarte-Realm is missing".to_owned()));
        };
        let named = String::from_utf8_lossy(realm.as_bytes());
        let tenant = named.parse::<TenantId>().ok();
        tenant.filter(|tenant| self.shared.astarte.realm(tenant).is_ok()).ok_or_else(|| {
            TriggerAnswer::Foreign(format!(
                "realm {:?} is not one that updates are rolled out to here",
                excerpt(&named, 64)
            ))
        })
    }

    /// Takes a body of that tenant.
    pub(super) async fn take(&self, tenant: &TenantId, body: &[u8]) -> TriggerAnswer {
        if body.len() > self.shared.settings.largest_body {
            return TriggerAnswer::TooLarge;
        }
        let event = match TriggerEvent::read(body) {
            Ok(event) => event,
            Err(error) => return TriggerAnswer::Malformed(error.to_string()),
        };
        if let Some(listener) = self.shared.listener.get() {
            listener(tenant, &event, Moment::now());
        }
        match self.handle(tenant, &event).await {
            Ok(true) => TriggerAnswer::Taken,
            Ok(false) => TriggerAnswer::Passed,
            Err(error) if error.is_retryable() => TriggerAnswer::NotNow(error.to_string()),
            Err(error) => TriggerAnswer::Refused(error.to_string()),
        }
    }

    /// Tells the engine what an event means; `false` if it means nothing.
    async fn handle(&self, tenant: &TenantId, event: &TriggerEvent) -> Result<bool, EngineError> {
        let (device, stamp) = (event.device, event.at);
        let Some(realm) = self.realm(tenant) else { return Ok(false) };
        // Before anything waits: what is asked of Astarte from here on is newer.
        let heard = Moment::now();
        // Two deliveries about one device must not overtake each other on the way to the engine.
        let turn = realm.turns.take(device).await;
        match event.happening {
            Happening::Connected | Happening::Disconnected => {
                let is_online = event.happening == Happening::Connected;
                self.presence(tenant, device, Standing { is_online, stamp }, heard).await
            }
            Happening::BaseImageShown { .. } => {
                let seen = self.seen(tenant, device, stamp, heard).await?;
                drop(turn);
                Ok(self.tell(tenant, event, heard).await? || seen)
            }
            Happening::DeletionFinished => {
                realm.presence.removed(device, heard);
                let told = self.tell(tenant, event, heard).await?;
                self.told().note(tenant, device, None);
                Ok(told)
            }
            _ => {
                drop(turn);
                self.tell(tenant, event, heard).await
            }
        }
    }

    async fn tell(
        &self,
        tenant: &TenantId,
        event: &TriggerEvent,
        heard: Moment,
    ) -> Result<bool, EngineError> {
        let Some(observation) = event.observation() else { return Ok(false) };
        self.shared.engine.observe_as_of(tenant, observation, heard).await?;
        Ok(true)
    }

    fn realm(&self, tenant: &TenantId) -> Option<&RealmState> {
        self.shared.astarte.realm(tenant).ok()
    }

    /// What the engine was told of where devices are, by this receiver and by the rounds.
    fn told(&self) -> &Told {
        self.shared.reconciler.get().map_or(&self.shared.told, Reconciler::told)
    }

    /// Tells the engine where a device is by the newest that is known of it, unless it was told
    /// exactly that. That somebody else knows it already, such as a campaign whose snapshot was taken
    /// meanwhile, is no reason to keep it from the others.
    async fn presence(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        standing: Standing,
        heard: Moment,
    ) -> Result<bool, EngineError> {
        let Some(realm) = self.realm(tenant) else { return Ok(false) };
        let mut told = self.told().last(tenant, device);
        if told == Some(standing) {
            // A repetition.
            return Ok(false);
        }
        let now = self.shared.engine.now();
        let found = match realm.presence.notice(device, standing, heard, now) {
            Judgement::News(found) | Judgement::Known(found) => found,
            Judgement::Doubtful => match self.shared.astarte.whereabouts_of(tenant, device).await {
                Ok(found) => {
                    told = told.or(found.first);
                    found
                }
                Err(error) => {
                    tracing::debug!(%device, %error, "taking an event as told, without a look");
                    realm.presence.believe(device, standing, heard, now)
                }
            },
        };
        let Found { presence: Some(presence), standing, as_of, .. } = found else {
            return Ok(false);
        };
        if told == standing {
            return Ok(false);
        }
        let seen = Observation::Presence { device, presence };
        self.shared.engine.observe_as_of(tenant, seen, as_of).await?;
        // Noted only now: should the engine not take it, the delivery comes again and is told.
        self.told().note(tenant, device, standing);
        if presence != Presence::Offline
            && let Some(reconciler) = self.shared.reconciler.get()
        {
            reconciler.connected(tenant, device);
        }
        Ok(true)
    }

    /// A device that shows a property is online, whatever became of the event that it connected.
    async fn seen(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        stamp: Timestamp,
        heard: Moment,
    ) -> Result<bool, EngineError> {
        let Some(realm) = self.realm(tenant) else { return Ok(false) };
        let known = realm.presence.known(device);
        let is_online = |standing: &Standing| standing.is_online;
        let told = self.told().last(tenant, device).or(known.and_then(|known| known.first));
        if told.as_ref().is_some_and(is_online) {
            return Ok(false);
        }
        // If somebody has seen it connect, it is that connection.
        let seen = known.and_then(|known| known.standing).filter(is_online);
        let standing = seen.unwrap_or(Standing { is_online: true, stamp });
        self.presence(tenant, device, standing, heard).await
    }
}
