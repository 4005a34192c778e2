//! The platform between devices and engines, as an engine calls it: its transport, its directory and
//! who gives operations URLs, once for every world of this crate.
//!
//! A world is what implements [`World`]. By default everything works: a request reaches its device
//! and is accepted at once, a read gives what the device shows, the directory names who is
//! registered. A world says by its hooks only what is otherwise: what an answer is and when it is
//! given, what a request sets off, and whether the engine that calls is still alive.
//!
//! ```
//! use hedgerow_sim::platform::{Fate, Platform, Register, Request, World};
//! use hedgerow_core::RequestAnswer;
//!
//! /// Counts the requests that reach a device.
//! #[derive(Default)]
//! struct Counting {
//!     register: Register,
//!     requests: u32,
//! }
//!
//! impl World for Counting {
//!     type Caller = ();
//!     type Noted = ();
//!
//!     fn register(&self) -> &Register {
//!         &self.register
//!     }
//!
//!     fn begins(&mut self, _: &(), _: usize, _: &hedgerow_sim::platform::Call) -> Option<()> {
//!         Some(())
//!     }
//!
//!     fn deliver(&mut self, _: u32, _: &Request) {
//!         self.requests += 1;
//!     }
//! }
//!
//! // It is the transport and the directory of an engine.
//! let platform = Platform::new(Counting::default(), ());
//! assert_eq!(platform.world().requests, 0);
//! ```

mod call;
mod devices;
mod register;
#[cfg(test)]
mod tests;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, RequestAnswer, SystemModelHandle, TenantId,
    TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory, ImageUrls, StartingOperation};

pub use self::call::{Call, End, Fate, Named, Page, Request, Wanted, not_found};
pub use self::devices::{Devices, report_of};
pub use self::register::{Register, Registered};
pub use self::world::World;

/// A handle to a world, as one engine sees it.
pub struct Platform<W: World> {
    world: Arc<Mutex<W>>,
    caller: W::Caller,
}

impl<W: World> Clone for Platform<W> {
    fn clone(&self) -> Self {
        Self { world: Arc::clone(&self.world), caller: self.caller.clone() }
    }
}

impl<W: World> std::fmt::Debug for Platform<W> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Platform").finish_non_exhaustive()
    }
}

impl<W: World> Platform<W> {
    /// A world, as `caller` sees it.
    pub fn new(world: W, caller: W::Caller) -> Self {
        Self { world: Arc::new(Mutex::new(world)), caller }
    }

    /// The same world, as another engine sees it.
    #[must_use]
    pub fn seen_by(&self, caller: W::Caller) -> Self {
        Self { world: Arc::clone(&self.world), caller }
    }

    /// The world. Whoever holds it keeps every call from being made, and a call that is dropped
    /// meanwhile waits for ever.
    pub fn world(&self) -> MutexGuard<'_, W> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which engine this is.
    pub fn caller(&self) -> &W::Caller {
        &self.caller
    }

    /// Makes a call when it is first polled, and gives its answer when that is due; an engine that
    /// is dead never has one.
    async fn call<T>(self, tenant: TenantId, call: Call, way: Way<W, T>) -> T {
        let begun = {
            let mut world = self.world();
            let tenant = world.tenant(&tenant);
            world.begins(&self.caller, tenant, &call).map(|mut noted| {
                let fate = (way.make)(&mut world, tenant, &call, &mut noted);
                world.made(&self.caller, &noted);
                (tenant, noted, fate)
            })
        };
        let Some((tenant, noted, fate)) = begun else { return pending().await };
        let mut under_way = UnderWay { platform: self, noted: Some(noted) };
        if let Some(due) = fate.due {
            // A world never forgets an answer that it owes; one that is gone has no secrets.
            let _ = due.await;
        }
        for page in fate.pages {
            let _ = page.due.await;
            under_way.with(|world, noted| world.page(tenant, noted, page.devices));
        }
        let lives = under_way.platform.world().lives(&under_way.platform.caller);
        let Some(mut answer) = fate.answer.filter(|_| lives) else { return pending().await };
        under_way.with(|world, noted| (way.finish)(world, tenant, noted, &mut answer));
        under_way.ends((way.end)(&answer));
        answer
    }
}

/// How one kind of call goes: what is asked of the world, first and last, and how it ends.
struct Way<W: World, T> {
    make: fn(&mut W, usize, &Call, &mut W::Noted) -> Fate<T>,
    finish: fn(&mut W, usize, &mut W::Noted, &mut T),
    end: fn(&T) -> End<'_>,
}

/// A call that is under way: its world is told of its end, also if nobody waits for it any more.
struct UnderWay<W: World> {
    platform: Platform<W>,
    noted: Option<W::Noted>,
}

impl<W: World> UnderWay<W> {
    fn with(&mut self, act: impl FnOnce(&mut W, &mut W::Noted)) {
        if let Some(noted) = &mut self.noted {
            act(&mut self.platform.world(), noted);
        }
    }

    fn ends(&mut self, end: End<'_>) {
        if let Some(noted) = self.noted.take() {
            self.platform.world().ends(&self.platform.caller, noted, end);
        }
    }
}

impl<W: World> Drop for UnderWay<W> {
    fn drop(&mut self) {
        self.ends(End::GivenUp);
    }
}

impl<W: World> Platform<W> {
    fn send(&self, tenant: &TenantId, request: Request) -> BoxFuture<'static, RequestAnswer> {
        let way = Way {
            make: |world: &mut W, tenant, call, _| match call {
                Call::Request(request) => world.request(tenant, request),
                _ => Fate::never(),
            },
            finish: |_, _, _, _| {},
            end: |answer| End::Answered(answer),
        };
        self.clone().call(tenant.clone(), Call::Request(request), way).boxed()
    }

    fn ask(&self, tenant: &TenantId, call: Call) -> BoxFuture<'static, Named> {
        let way = Way {
            make: |world: &mut W, tenant, call, noted| match call {
                Call::Targets(channel, model) => world.targets(tenant, channel, model, noted),
                Call::Presence(devices) => world.presence(tenant, devices, noted),
                _ => Fate::never(),
            },
            finish: |world: &mut W, tenant, noted, answer: &mut Named| {
                if let Ok(named) = answer {
                    world.named(tenant, noted, named);
                }
            },
            end: |_| End::Told,
        };
        self.clone().call(tenant.clone(), call, way).boxed()
    }
}

impl<W: World> DeviceTransport for Platform<W> {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = url.clone();
        self.send(tenant, Request { wanted: Wanted::Update, device, operation, url })
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = url.clone();
        self.send(tenant, Request { wanted: Wanted::Cancel, device, operation, url })
    }

    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let way = Way {
            make: |world: &mut W, tenant, call, _| match call {
                Call::Read(device) => world.read(tenant, *device),
                _ => Fate::never(),
            },
            finish: |_, _, _, _| {},
            end: |shown| End::Shown(shown),
        };
        self.clone().call(tenant.clone(), Call::Read(device), way).boxed()
    }
}

impl<W: World> ImageUrls for Platform<W> {
    fn url(
        &self,
        tenant: &TenantId,
        starting: StartingOperation,
    ) -> BoxFuture<'static, Result<Option<ImageUrl>, TransportError>> {
        let way = Way {
            make: |world: &mut W, tenant, call, _| match call {
                Call::Url(starting) => world.url(tenant, starting),
                _ => Fate::never(),
            },
            finish: |_, _, _, _| {},
            end: |url| End::Given(url),
        };
        self.clone().call(tenant.clone(), Call::Url(starting), way).boxed()
    }
}

impl<W: World> FleetDirectory for Platform<W> {
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Named> {
        self.ask(tenant, Call::Targets(channel.clone(), system_model.clone()))
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        let asked = self.ask(tenant, Call::Presence(devices));
        asked.map(|named| Ok(named?.into_iter().map(|(_, seen)| seen).collect())).boxed()
    }
}
