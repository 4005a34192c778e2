//! Registers devices in a realm and runs them until it is interrupted. `docs/astarte.md` and
//! `docs/serving.md` use it.
//!
//! ```text
//! fleet [--part-number PART] BASE_URL REALM TOKEN_FILE INTERFACES_DIRECTORY DEVICES \
//!     [IMAGE_URL VERSION]...
//! ```
//!
//! The token must allow to register devices. Each device runs 1.0.0, and installs VERSION from
//! `IMAGE_URL`; at any other URL it finds the version that the name of the file has, or no image. With
//! a part number it shows that, and a serial number; the realm has to have `SystemInfo` then.

use std::collections::BTreeMap;

use hedgerow_astarte_devices::{
    DeviceSettings, Devices, Images, RegisteredDevice, SystemInfo, version_in_name,
};
use hedgerow_core::DeviceId;
use hedgerow_sim::device::{DeviceProfile, Flavour, SimulatedDevice};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "give [--part-number PART] BASE_URL REALM TOKEN_FILE INTERFACES_DIRECTORY DEVICES, and IMAGE_URL VERSION for each image";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (part_number, arguments) = match &arguments[..] {
        [option, part, rest @ ..] if option == "--part-number" => (Some(part), rest),
        all => (None, all),
    };
    let [base_url, realm, token_file, interfaces, devices, images @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let (images, []) = images.as_chunks::<2>() else { return Err(USAGE.into()) };
    let images: BTreeMap<_, _> =
        images.iter().cloned().map(|[url, version]| (url, version)).collect();
    let mut definitions = Vec::new();
    for entry in std::fs::read_dir(interfaces)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            definitions.push(std::fs::read_to_string(path)?);
        }
    }
    let settings = DeviceSettings {
        realm: realm.clone(),
        pairing_url: format!("{base_url}/pairing"),
        interfaces: definitions,
        images: Images::looked_up(move |url, _| {
            let given = images.get(url).map(String::as_str);
            given.or_else(|| version_in_name(url)).map(str::to_owned)
        }),
        speed: 10,
    };
    let token = std::fs::read_to_string(token_file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut registered = Vec::new();
        for number in 0..devices.parse::<u32>()? {
            let id = DeviceId::from_bytes((u128::from(number) << 64 | 0xface).to_be_bytes());
            let url = format!("{base_url}/pairing/v1/{realm}/agent/devices");
            let credentials_secret = register(&url, token.trim(), id).await?;
            let flavour = if number % 2 == 0 { Flavour::LinuxRuntime013 } else { Flavour::Esp32 };
            let profile = DeviceProfile::flawless();
            let device = SimulatedDevice::new(1, number, id, flavour, "1.0.0", profile);
            let system_info = part_number.map(|part_number| SystemInfo {
                serial_number: format!("SN-{number:05}"),
                part_number: part_number.clone(),
            });
            registered.push(RegisteredDevice { system_info, device, credentials_secret });
            println!("{id}");
        }
        let devices = Devices::start(settings, registered);
        tokio::signal::ctrl_c().await?;
        devices.stop().await;
        Ok(())
    })
}

async fn register(url: &str, token: &str, device: DeviceId) -> Result<String, Error> {
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(json!({"data": {"hw_id": device}}).to_string())
        .send()
        .await?
        .error_for_status()?;
    let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let secret = answer["data"]["credentials_secret"].as_str().ok_or("no credentials secret")?;
    Ok(secret.to_owned())
}
