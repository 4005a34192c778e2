//! The realms that a service rolls out to: each tenant's `AppEngine`, and what is remembered of its
//! devices beside what the engine keeps.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hedgerow_core::{DeviceId, TenantId, Timestamp};

use crate::jobs::Jobs;
use crate::presence::{Found, PresenceTable};
use crate::whereabouts::Turns;
use crate::{ApiError, AppEngine, Credentials, HttpConnections, RealmClient, SettingsError};

/// Devices of a realm that are remembered to be able to update, 16 bytes each.
const MOST_CAPABLE: usize = 1_000_000;

/// How one realm is reached.
#[derive(Debug)]
pub struct Realm {
    /// The tenant, which has the realm's name (D21).
    pub tenant: TenantId,
    /// What Astarte's APIs lie below, as in `{base_url}/appengine/v1/{realm}`.
    pub base_url: String,
    /// What it is entered with.
    pub credentials: Credentials,
}

/// The realms that a service rolls out to. It is the engine's `DeviceTransport`, and
/// [`AstarteFleet`](crate::AstarteFleet) makes it the engine's `FleetDirectory`. Clones share
/// everything.
#[derive(Clone)]
pub struct Astarte {
    realms: Arc<BTreeMap<TenantId, RealmState>>,
}

pub(crate) struct RealmState {
    pub(crate) appengine: AppEngine,
    pub(crate) presence: PresenceTable,
    /// Who tells an engine of a device takes its turn first.
    pub(crate) turns: Turns,
    pub(crate) listing: Jobs<(), BTreeMap<DeviceId, Found>>,
    capable: Mutex<HashSet<DeviceId>>,
}

impl fmt::Debug for Astarte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Astarte").field("realms", &self.realms.keys()).finish()
    }
}

impl Astarte {
    /// With these realms.
    ///
    /// # Errors
    /// [`SettingsError::BaseUrl`]; [`SettingsError::Realm`] for a tenant that no realm can be.
    pub fn new(
        connections: &HttpConnections,
        realms: impl IntoIterator<Item = Realm>,
    ) -> Result<Self, SettingsError> {
        let now = now();
        let mut states = BTreeMap::new();
        for Realm { tenant, base_url, credentials } in realms {
            let client = RealmClient::new(connections, &base_url, tenant.as_str(), credentials)?;
            let state = RealmState {
                appengine: AppEngine::new(client),
                presence: PresenceTable::new(now),
                turns: Turns::default(),
                listing: Jobs::default(),
                capable: Mutex::default(),
            };
            states.insert(tenant, state);
        }
        Ok(Self { realms: Arc::new(states) })
    }

    /// The tenants, in order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.realms.keys()
    }

    /// The `AppEngine` of a tenant.
    ///
    /// # Errors
    /// [`ApiError::UnknownTenant`].
    pub fn appengine(&self, tenant: &TenantId) -> Result<&AppEngine, ApiError> {
        self.realm(tenant).map(|realm| &realm.appengine)
    }

    /// How often Astarte stamped something far ahead of our clock, in all realms.
    pub(crate) fn stamped_ahead(&self) -> u64 {
        self.realms.values().map(|realm| realm.presence.stamped_ahead()).sum()
    }

    pub(crate) fn realm(&self, tenant: &TenantId) -> Result<&RealmState, ApiError> {
        self.realms
            .get(tenant)
            .ok_or_else(|| ApiError::UnknownTenant { tenant: tenant.to_string() })
    }
}

/// The time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since
}

impl RealmState {
    /// Whether the device is known to declare what updates need.
    pub(crate) fn is_capable(&self, device: DeviceId) -> bool {
        self.capable.lock().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    /// Remembers that it does. If it stops doing so, Astarte itself refuses the request.
    pub(crate) fn note_capable(&self, device: DeviceId) {
        let mut capable = self.capable.lock().unwrap_or_else(PoisonError::into_inner);
        if capable.len() >= MOST_CAPABLE {
            // What is forgotten is read again.
            capable.clear();
        }
        capable.insert(device);
    }
}
