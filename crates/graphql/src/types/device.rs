//! A device: what people say of it, what was heard of it, and the operations that it has been through.

use std::sync::Arc;

use futures::future::FutureExt;
use hedgerow_catalogue::Fleet;
use hedgerow_core::DeviceId;

use super::catalogue::{Group, Model, tag};
use super::operation;
use super::plain::Plain;
use crate::record::{Answer, Ask, Object, Record, Related};

/// What a device has that can be updated.
const OTA_REQUEST: &str = "io.edgehog.devicemanager.OTARequest";
/// What a device has that says which image it runs.
const BASE_IMAGE: &str = "io.edgehog.devicemanager.BaseImage";

/// A device, as of one moment. One that is not known any more, or not yet, has an id and little else.
pub(crate) struct Device {
    id: DeviceId,
    fleet: Arc<Fleet>,
}

impl Device {
    pub(crate) fn new(id: DeviceId, fleet: Arc<Fleet>) -> Self {
        Self { id, fleet }
    }

    pub(crate) fn shared(self) -> Object {
        Arc::new(self)
    }

    /// What it can do, as far as that is answered here. Of one whose interfaces nobody has heard of it
    /// is not doubted that it can be updated.
    fn capabilities(&self) -> Answer {
        let device = self.fleet.device(self.id);
        let interfaces = device.map(|device| &device.known().interfaces);
        let has = |name: &str| {
            interfaces.is_none_or(|known| known.is_empty() || known.contains_key(name))
        };
        let base_image = has(BASE_IMAGE).then_some("BASE_IMAGE");
        Answer::texts(base_image.into_iter().chain(has(OTA_REQUEST).then_some("SOFTWARE_UPDATES")))
    }
}

impl Record for Device {
    fn type_name(&self) -> &'static str {
        "Device"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        let device = self.fleet.device(self.id);
        let known = device.map(|device| device.known());
        let connection = known.map(|known| &known.connection);
        let system = known.map(|known| &known.system);
        Some(match field {
            "id" => Answer::id("device", self.id),
            "deviceId" => Answer::value(self.id.to_string()),
            "name" => {
                let facts = self.fleet.device_facts(self.id);
                let name = facts.and_then(|facts| facts.name.as_ref());
                Answer::value(name.map_or_else(|| self.id.to_string(), ToString::to_string))
            }
            "online" => Answer::value(connection.is_some_and(|connection| connection.online)),
            "lastConnection" => Answer::seconds(connection.and_then(|of| of.last_connection)),
            "lastDisconnection" => Answer::seconds(connection.and_then(|of| of.last_disconnection)),
            "lastSeenIp" => Answer::text(connection.and_then(|of| of.last_seen_ip.as_deref())),
            "serialNumber" => Answer::text(system.and_then(|of| of.serial_number.as_deref())),
            "partNumber" => Answer::text(system.and_then(|of| of.part_number.as_deref())),
            "systemModel" => {
                let model = device.and_then(|device| device.system_model());
                Answer::maybe(model.map(|model| Model(Arc::clone(model))))
            }
            "capabilities" => self.capabilities(),
            "baseImage" => Answer::maybe(known.map(|known| {
                let image = &known.base_image;
                let text = |text: &Option<String>| Answer::text(text.as_deref());
                Plain::new("BaseImageInfo")
                    .answering("name", text(&image.name))
                    .answering("version", text(&image.version))
                    .answering("buildId", text(&image.build_id))
                    .answering("fingerprint", text(&image.fingerprint))
            })),
            _ => return None,
        })
    }

    fn related<'a>(&'a self, field: &'a str, ask: &'a Arc<Ask>) -> Related<'a> {
        match field {
            "tags" => {
                let facts = self.fleet.device_facts(self.id);
                Related::now(facts.into_iter().flat_map(|facts| &facts.tags).map(tag))
            }
            "deviceGroups" => {
                let device = self.fleet.device(self.id);
                let groups = device.into_iter().flat_map(hedgerow_catalogue::Device::groups);
                Related::now(groups.map(|group| Group(Arc::clone(group))))
            }
            "otaOperations" => Related::Later(operation::all_of(self.id, ask).boxed()),
            _ => Related::NotThis,
        }
    }
}
