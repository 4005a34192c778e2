//! The objects of the API, one file for each that has a life of its own.

pub(crate) mod campaign;
pub(crate) mod catalogue;
pub(crate) mod device;
pub(crate) mod operation;
pub(crate) mod plain;
pub(crate) mod target;

use std::sync::Arc;

use hedgerow_catalogue::{Fleet, Thing};
use hedgerow_core::DeviceId;

use crate::record::{Answer, Ask, Object};

/// A thing of the catalogue; `None`: there is no such thing.
pub(crate) fn thing(thing: Thing, fleet: &Arc<Fleet>) -> Option<Object> {
    Some(match thing {
        Thing::HardwareType(id) => {
            Arc::new(catalogue::Hardware(Arc::clone(fleet.hardware_type(id)?)))
        }
        Thing::SystemModel(id) => Arc::new(catalogue::Model(Arc::clone(fleet.system_model(id)?))),
        Thing::BaseImageCollection(id) => {
            Arc::new(catalogue::Collection(Arc::clone(fleet.base_image_collection(id)?)))
        }
        Thing::BaseImage(id) => Arc::new(catalogue::Image(Arc::clone(fleet.base_image(id)?))),
        Thing::Group(id) => Arc::new(catalogue::Group(Arc::clone(fleet.group(id)?))),
        Thing::Channel(id) => Arc::new(catalogue::Channel(Arc::clone(fleet.channel(id)?))),
        Thing::Device(id) => {
            fleet.device(id)?;
            device::Device::new(id, Arc::clone(fleet)).shared()
        }
        // There may be more kinds one day.
        _ => return None,
    })
}

/// A device, also one that nobody knows anything of any more.
pub(crate) fn device(id: DeviceId, ask: &Ask) -> Answer {
    Answer::object(device::Device::new(id, ask.fleet()))
}
