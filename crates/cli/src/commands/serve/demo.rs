//! `hedgerow serve --demo`: the service with an Astarte and devices in the same process.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hedgerow_astarte::provisioning::{InstallSettings, Installation};
use hedgerow_astarte::{
    AppEngine, Credentials, HttpConnections, HttpSettings, RealmClient, RealmManagement,
};
use hedgerow_astarte_devices::{
    DeviceSettings, Devices, Images, RegisteredDevice, SystemInfo, version_in_name,
};
use hedgerow_astarte_emulator::{Emulator, RealmKeys};
use hedgerow_catalogue::Catalogue;
use hedgerow_core::{DeviceId, TenantId};
use hedgerow_graphql::auth::TenantAccess;
use hedgerow_service::logs;
use hedgerow_service::{ImagePlace, LogConfig, LogFormat, Service, Setup, TenantSetup};
use hedgerow_sim::device::{DeviceProfile, Flavour, SimulatedDevice};
use uuid::Uuid;

use super::furnish::{self, Kind};
use super::{ServeArgs, ServeError, say_where, stop};
use crate::commands::output::to_paste;

/// How much faster time goes for the firmware.
const SPEED: u32 = 15;
/// How often everything that Astarte knows is compared.
const ROUND: Duration = Duration::from_secs(30);

pub(super) async fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let mut log = LogConfig::default();
    log.format = LogFormat::Text;
    log.filter = std::env::var("HEDGEROW_LOG").unwrap_or_else(|_| "error".to_owned());
    logs::begin(&log)?;
    if !args.listen.ip().is_loopback() {
        return Err(ServeError::NotLoopback(args.listen));
    }
    let stop = stop()?;
    let temporary = tempfile::tempdir()?;
    let folder = args.data.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    if folder.join("hedgerow.db").exists() {
        return Err(ServeError::Exists(folder.to_owned()));
    }
    let tenant: TenantId = furnish::constant("demo");
    let realm = tenant.as_str();
    let emulator =
        Emulator::builder().realm(realm, RealmKeys::generate()?).seed(args.seed).start().await?;
    let keys = emulator.realm_keys(realm)?;
    let with_key = || Credentials::private_key(keys.private_key_pem().unwrap_or_default());
    let connections = HttpConnections::new(&HttpSettings::default())?;
    let owner = Credentials::token(&keys.all_access_token()?)?;
    let owner = RealmClient::new(&connections, emulator.base_url(), realm, owner)?;
    let devices = register(args, &emulator, &AppEngine::new(owner), realm).await?;

    let setup = setup(folder, args.listen, &emulator, connections.clone(), with_key()?);
    let service = Service::start(setup).await?;
    // Where triggers are delivered to is known only now, if the system chose the port.
    let triggers_url = format!("http://{}/triggers", service.address());
    let settings = InstallSettings::new(&triggers_url)?.with_system_info();
    let installation = Installation::new(&settings);
    let client = RealmClient::new(&connections, emulator.base_url(), realm, with_key()?)?;
    let management = RealmManagement::new(client);
    installation.plan(&management).await?.apply(&management).await?;
    let ids: Vec<_> = devices.iter().map(|registered| registered.device.id()).collect();
    furnish::furnish(service.catalogue(), service.files(), &tenant, &ids).await?;
    let settings = DeviceSettings {
        realm: realm.to_owned(),
        pairing_url: emulator.pairing_url(),
        interfaces: installation.interfaces().iter().map(ToString::to_string).collect(),
        images: images(service.catalogue().clone(), tenant.clone()),
        speed: SPEED,
    };
    let fleet = Devices::start(settings, devices);
    if !args.no_campaign {
        let (engine, catalogue) = (service.engine().clone(), service.catalogue().clone());
        tokio::spawn(async move {
            if let Err(error) =
                furnish::first_campaign(&engine, &catalogue, &tenant, ids.len()).await
            {
                tracing::warn!(%error, "the demonstration has no campaign");
            }
        });
    }
    say_where(&service);
    say_what(args, &service, &emulator);
    service.run(stop).await;
    fleet.stop().await;
    emulator.shutdown().await;
    Ok(())
}

fn setup(
    folder: &Path,
    listen: SocketAddr,
    emulator: &Emulator,
    connections: HttpConnections,
    credentials: Credentials,
) -> Setup {
    let name = furnish::constant("demo");
    let tenant = TenantSetup::new(name, TenantAccess::default(), emulator.base_url(), credentials);
    let images = ImagePlace::Folder(folder.join("images"));
    let store = folder.join("hedgerow.db");
    let mut setup = Setup::new(store, listen, images, connections, vec![tenant]);
    setup.round = ROUND;
    setup.stop_within = Duration::from_secs(2);
    setup
}

/// Registers devices of two system models and two kinds of firmware.
async fn register(
    args: &ServeArgs,
    emulator: &Emulator,
    owner: &AppEngine,
    realm: &str,
) -> Result<Vec<RegisteredDevice>, ServeError> {
    let mut registered = Vec::new();
    for number in 0..args.devices {
        let id = device_id(args.seed, number);
        let emulated = hedgerow_astarte_emulator::DeviceId::from_bytes(*id.as_bytes());
        let credentials_secret = emulator.register_device(realm, emulated)?;
        owner.set_attribute(id, "site", furnish::site(number)).await?;
        // Not the newest runtime, which loses its last report: of an update by hand that expects no
        // version nobody would ever learn how it ended.
        let flavour = match number % 3 {
            0 => Flavour::Esp32,
            _ => Flavour::LinuxRuntime011,
        };
        let profile =
            if args.no_faults { DeviceProfile::flawless() } else { DeviceProfile::typical() };
        let device = SimulatedDevice::new(args.seed, number, id, flavour, "1.4.0", profile);
        let system_info = Some(SystemInfo {
            serial_number: format!("SN-{:05}", number + 1),
            part_number: Kind::of(number).part_number().to_owned(),
        });
        registered.push(RegisteredDevice { system_info, device, credentials_secret });
    }
    Ok(registered)
}

fn device_id(seed: u64, number: u32) -> DeviceId {
    let name = format!("hedgerow serve --demo device {seed} {number}");
    DeviceId::from_bytes(*Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes())
}

/// An image has the version that the catalogue says, also one that is uploaded later. Firmware finds
/// the version of what it installs inside; of a file that was uploaded for one device alone, and of
/// one that lies elsewhere, there is only the name to go by. Without a version in that the device
/// installs it, and shows the version that it had.
fn images(catalogue: Catalogue, tenant: TenantId) -> Images {
    Images::looked_up(move |url, shown| {
        let fleet = catalogue.heard(&tenant);
        let recorded = fleet.base_images().find(|image| image.file.url.as_str() == url);
        let recorded = recorded.map(|image| image.version.to_string());
        Some(recorded.unwrap_or_else(|| version_in_name(url).unwrap_or(shown).to_owned()))
    })
}

fn say_what(args: &ServeArgs, service: &Service, emulator: &Emulator) {
    let address = service.address();
    let data = match &args.data {
        Some(folder) => format!("what is recorded is in {}", to_paste(folder)),
        None => "what is recorded is removed at the end".to_owned(),
    };
    let more =
        if address.port() == 4080 { String::new() } else { format!(" --url http://{address}") };
    let _ = writeln!(
        std::io::stderr(),
        "GraphQL is at http://{address}/tenants/demo/api, metrics at http://{address}/metrics\n\
         {} devices on the real device SDK connect to an Astarte emulator at {}\n\
         {data}; Ctrl-C ends everything. In another terminal:\n    hedgerow campaign watch{more}\n\
         or in a browser:\n    http://{address}/",
        args.devices,
        emulator.base_url(),
    );
}
