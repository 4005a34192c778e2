//! What a world says of itself, and what holds where it says nothing.

use std::ops::Range;

use hedgerow_core::{
    Channel, DeviceId, ImageUrl, Presence, RequestAnswer, SystemModelHandle, TenantId,
    TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::StartingOperation;

use super::{Call, End, Fate, Named, Register, Request, not_found};

/// The devices of a platform, and everything about a call that is not as it is by default. The hooks
/// of one call come in the order in which they stand here.
pub trait World: Sized + Send + 'static {
    /// Which engine calls.
    type Caller: Clone + Send + Sync + 'static;
    /// What is remembered of a call until it ends.
    type Noted: Send + 'static;

    /// The devices.
    fn register(&self) -> &Register;

    /// The number under which a tenant's devices are registered.
    fn tenant(&mut self, _tenant: &TenantId) -> usize {
        0
    }

    /// A call is made. `None`: by an engine that is dead, or dies of it, and never has an answer.
    fn begins(&mut self, caller: &Self::Caller, tenant: usize, call: &Call) -> Option<Self::Noted>;

    /// What is answered to a request.
    fn request(&mut self, tenant: usize, request: &Request) -> Fate<RequestAnswer> {
        let Some(index) = self.register().find(tenant, request.device) else {
            return Fate::now(not_found());
        };
        self.deliver(index, request);
        Fate::now(RequestAnswer::Accepted)
    }

    /// A request reaches its device.
    fn deliver(&mut self, _index: u32, _request: &Request) {}

    /// Which URL an operation gets, where the engine asks (D23); by default that of its image.
    fn url(
        &mut self,
        _tenant: usize,
        _starting: &StartingOperation,
    ) -> Fate<Result<Option<ImageUrl>, TransportError>> {
        Fate::now(Ok(None))
    }

    /// What is answered to a read.
    fn read(
        &mut self,
        tenant: usize,
        device: DeviceId,
    ) -> Fate<Result<Option<String>, TransportError>> {
        let register = self.register();
        let found = register.find(tenant, device).and_then(|index| register.get(index));
        let missing = || TransportError::new("HTTP status 404: Device not found");
        Fate::now(found.map(|device| device.version.clone()).ok_or_else(missing))
    }

    /// Which targets the directory names.
    fn targets(
        &mut self,
        tenant: usize,
        channel: &Channel,
        system_model: &SystemModelHandle,
        _noted: &mut Self::Noted,
    ) -> Fate<Named> {
        let register = self.register();
        let named = register.targets(tenant, channel, system_model).into_iter();
        let there = |device| register.presence(tenant, device).or(Some(Presence::Offline));
        Fate::now(Ok(named.map(|device| (device, Sighting::now(there(device)))).collect()))
    }

    /// Where the directory says that these devices are, in their order.
    fn presence(
        &mut self,
        tenant: usize,
        devices: &[DeviceId],
        _noted: &mut Self::Noted,
    ) -> Fate<Named> {
        let register = self.register();
        let there = |device: &DeviceId| Sighting::now(register.presence(tenant, *device));
        Fate::now(Ok(devices.iter().map(|device| (*device, there(device))).collect()))
    }

    /// The call was made; its answer may be on its way.
    fn made(&mut self, _caller: &Self::Caller, _noted: &Self::Noted) {}

    /// A page of what the directory answers is put together.
    fn page(&mut self, _tenant: usize, _noted: &mut Self::Noted, _devices: Range<usize>) {}

    /// The directory answers: what it names can still be changed.
    fn named(
        &mut self,
        _tenant: usize,
        _noted: &mut Self::Noted,
        _named: &mut Vec<(DeviceId, Sighting)>,
    ) {
    }

    /// Whether an engine is still there to be answered.
    fn lives(&self, _caller: &Self::Caller) -> bool {
        true
    }

    /// A call has come to its end.
    fn ends(&mut self, _caller: &Self::Caller, _noted: Self::Noted, _end: End<'_>) {}
}
