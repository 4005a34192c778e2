//! An Astarte in this process, whose realm has everything, and devices at work in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_astarte::provisioning::{InstallSettings, Installation};
use hedgerow_astarte::{
    AppEngine, Astarte, Credentials, HttpConnections, HttpSettings, Realm, RealmClient,
    RealmManagement,
};
use hedgerow_astarte_devices::{DeviceSettings, Devices, RegisteredDevice};
use hedgerow_astarte_emulator::{Emulator, RealmKeys};
use hedgerow_core::{DeviceId, TenantId};
use hedgerow_sim::device::{DeviceProfile, Flavour, SimulatedDevice};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::AstarteDemoError;

/// The group that all devices are in.
pub(super) const GROUP: &str = "gardens";
/// The attribute that holds a device's System Model.
pub(super) const ATTRIBUTE: &str = "system_model";
pub(super) const SYSTEM_MODEL: &str = "garden-gateway";
pub(super) const IMAGE: &str = "https://images.example/garden-gateway/2.0.0.bin";
/// How much faster time goes for the firmware.
const SPEED: u32 = 30;
/// Devices registered at once.
const AT_ONCE: usize = 8;

pub(super) struct World {
    pub(super) emulator: Emulator,
    pub(super) astarte: Astarte,
    /// Where the triggers deliver to.
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) devices: Devices,
}

impl World {
    /// Begins with an empty realm.
    pub(super) async fn start(
        tenant: &TenantId,
        count: u32,
        seed: u64,
    ) -> Result<Self, AstarteDemoError> {
        let realm = tenant.as_str();
        let emulator =
            Emulator::builder().realm(realm, RealmKeys::generate()?).seed(seed).start().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(AstarteDemoError::Listen)?;
        let address = listener.local_addr().map_err(AstarteDemoError::Listen)?;
        let keys = emulator.realm_keys(realm)?;
        let connections = HttpConnections::new(&HttpSettings::default())?;
        let with_key = || Credentials::private_key(keys.private_key_pem().unwrap_or_default());
        let base = emulator.base_url();

        let installation =
            Installation::new(&InstallSettings::new(&format!("http://{address}/triggers"))?);
        let client = RealmClient::new(&connections, base, realm, with_key()?)?;
        let management = RealmManagement::new(client);
        installation.plan(&management).await?.apply(&management).await?;

        // What a service does not do, and its tokens do not allow.
        let owner = Credentials::token(&keys.all_access_token()?)?;
        let owner = AppEngine::new(RealmClient::new(&connections, base, realm, owner)?);
        let devices = register(&emulator, &owner, realm, count, seed).await?;
        let ids: Vec<_> = devices.iter().map(|registered| registered.device.id()).collect();
        owner.create_group(GROUP, &ids).await?;

        let settings = DeviceSettings {
            realm: realm.to_owned(),
            pairing_url: emulator.pairing_url(),
            interfaces: installation.interfaces().iter().map(ToString::to_string).collect(),
            images: BTreeMap::from([(IMAGE.to_owned(), "2.0.0".to_owned())]).into(),
            speed: SPEED,
        };
        let at =
            Realm { tenant: tenant.clone(), base_url: base.to_owned(), credentials: with_key()? };
        let astarte = Astarte::new(&connections, [at])?;
        let devices = Devices::start(settings, devices);
        Ok(Self { emulator, astarte, listener, address, devices })
    }
}

/// Registers devices of three kinds of firmware in the realm.
async fn register(
    emulator: &Emulator,
    owner: &AppEngine,
    realm: &str,
    count: u32,
    seed: u64,
) -> Result<Vec<RegisteredDevice>, AstarteDemoError> {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let attributes = (0..count).map(|number| {
        let (owner, at_once) = (owner.clone(), Arc::clone(&at_once));
        async move {
            // The semaphore is never closed.
            let _permit = at_once.acquire().await;
            owner.set_attribute(device_id(seed, number), ATTRIBUTE, SYSTEM_MODEL).await
        }
    });
    let mut registered = Vec::new();
    for number in 0..count {
        let id = device_id(seed, number);
        let emulated = hedgerow_astarte_emulator::DeviceId::from_bytes(*id.as_bytes());
        let credentials_secret = emulator.register_device(realm, emulated)?;
        let flavour = match number % 3 {
            0 => Flavour::LinuxRuntime013,
            1 => Flavour::LinuxRuntime011,
            _ => Flavour::Esp32,
        };
        let profile = DeviceProfile::typical();
        let device = SimulatedDevice::new(seed, number, id, flavour, "1.4.0", profile);
        registered.push(RegisteredDevice { system_info: None, device, credentials_secret });
    }
    futures::future::try_join_all(attributes).await?;
    Ok(registered)
}

fn device_id(seed: u64, number: u32) -> DeviceId {
    let name = format!("hedgerow demo device {seed} {number}");
    DeviceId::from_bytes(*Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes())
}
