//! What holds of a platform whatever its world is.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::channel::oneshot;
use hedgerow_core::{Presence, Timestamp};
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};

use super::*;

/// Two devices, of which the second is offline, and a note of everything that happens.
#[derive(Default)]
struct Noting {
    register: Register,
    notes: Vec<String>,
    dead: bool,
    /// What becomes of the next request; accepted at once if nothing is said.
    fates: BTreeMap<u32, Fate<RequestAnswer>>,
    pages: Vec<Page>,
}

impl World for Noting {
    type Caller = &'static str;
    type Noted = &'static str;

    fn register(&self) -> &Register {
        &self.register
    }

    fn begins(&mut self, caller: &&'static str, _: usize, call: &Call) -> Option<&'static str> {
        let what = match call {
            Call::Request(_) => "request",
            Call::Read(_) => "read",
            Call::Url(_) => "url",
            Call::Targets(..) => "targets",
            Call::Presence(_) => "presence",
        };
        self.notes.push(format!("{caller} begins {what}"));
        (!self.dead).then_some(what)
    }

    fn request(&mut self, tenant: usize, request: &Request) -> Fate<RequestAnswer> {
        let Some(index) = self.register.find(tenant, request.device) else {
            return Fate::now(not_found());
        };
        self.deliver(index, request);
        self.fates.remove(&index).unwrap_or(Fate::now(RequestAnswer::Accepted))
    }

    fn deliver(&mut self, index: u32, request: &Request) {
        self.notes.push(format!("device {index} hears {:?}", request.wanted));
    }

    fn presence(
        &mut self,
        tenant: usize,
        devices: &[DeviceId],
        _: &mut &'static str,
    ) -> Fate<Named> {
        let there = |device: &DeviceId| Sighting::now(self.register.presence(tenant, *device));
        let there = devices.iter().map(|device| (*device, there(device))).collect();
        Fate { pages: std::mem::take(&mut self.pages), ..Fate::now(Ok(there)) }
    }

    fn page(&mut self, _: usize, _: &mut &'static str, devices: std::ops::Range<usize>) {
        self.notes.push(format!("page {devices:?}"));
    }

    fn named(&mut self, _: usize, noted: &mut &'static str, named: &mut Vec<(DeviceId, Sighting)>) {
        self.notes.push(format!("{noted} names {}", named.len()));
    }

    fn lives(&self, _: &&'static str) -> bool {
        !self.dead
    }

    fn ends(&mut self, _: &&'static str, noted: &'static str, end: End<'_>) {
        let how = match end {
            End::Answered(_) => "answered",
            End::Shown(_) => "shown",
            End::Given(_) => "given",
            End::Told => "told",
            End::GivenUp => "given up",
        };
        self.notes.push(format!("{noted} is {how}"));
    }
}

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn platform() -> Platform<Noting> {
    let mut world = Noting::default();
    for (number, online) in [(1, true), (2, false)] {
        world.register.add(Registered {
            system_model: Some("gateway".parse().unwrap()),
            groups: ["all".parse().unwrap()].into(),
            online_since: online.then_some(Timestamp::from_millis(5)),
            version: Some("1.0.0".to_owned()),
            ..Registered::new(device(number))
        });
    }
    Platform::new(world, "one")
}

fn update(platform: &Platform<Noting>, number: u8) -> BoxFuture<'static, RequestAnswer> {
    let (operation, url) =
        (OperationId::from_uuid(uuid::Uuid::from_u128(1)), "https://x.example/1".parse().unwrap());
    platform.send_update(&tenant(), device(number), operation, &url)
}

fn notes(platform: &Platform<Noting>) -> Vec<String> {
    std::mem::take(&mut platform.world().notes)
}

#[test]
fn a_request_reaches_its_device_when_the_call_is_first_polled() {
    let platform = platform();
    let call = update(&platform, 2);
    assert_eq!(notes(&platform), [""; 0]);
    assert_eq!(call.now_or_never(), Some(RequestAnswer::Accepted));
    let expected = ["one begins request", "device 1 hears Update", "request is answered"];
    assert_eq!(notes(&platform), expected);
}

#[test]
fn a_device_that_there_is_not_or_no_more_is_not_found() {
    let platform = platform();
    assert_eq!(update(&platform, 3).now_or_never(), Some(not_found()));
    platform.world().register.get_mut(0).unwrap().removed = true;
    assert_eq!(update(&platform, 1).now_or_never(), Some(not_found()));
    let read = platform.base_image_version(&tenant(), device(1)).now_or_never().unwrap();
    assert!(read.is_err());
    let there = platform.presence(&tenant(), vec![device(1), device(2)]).now_or_never();
    let there: Vec<_> = there.unwrap().unwrap().iter().map(|seen| seen.presence).collect();
    assert_eq!(there, [None, Some(Presence::Offline)]);
}

#[test]
fn the_directory_names_the_devices_of_a_channel_and_where_they_are() {
    let platform = platform();
    let named = |group: &str, model: &str| {
        let channel = Channel::new("c".parse().unwrap(), [group.parse().unwrap()]).unwrap();
        let named = platform.targets(&tenant(), &channel, &model.parse().unwrap()).now_or_never();
        let named = named.unwrap().unwrap().into_iter();
        named.map(|(device, seen)| (device, seen.presence.unwrap())).collect::<Vec<_>>()
    };
    let since = Timestamp::from_millis(5);
    let both = [(device(1), Presence::Online { since }), (device(2), Presence::Offline)];
    assert_eq!(named("all", "gateway"), both);
    assert_eq!(named("others", "gateway"), []);
    assert_eq!(named("all", "sensor"), []);
}

#[test]
fn an_answer_comes_when_it_is_due_and_one_that_nobody_waits_for_has_ended() {
    let platform = platform();
    let (open, due) = oneshot::channel();
    platform.world().fates.insert(0, Fate::when(due, RequestAnswer::Accepted));
    let mut call = update(&platform, 1);
    assert_eq!((&mut call).now_or_never(), None);
    open.send(()).unwrap();
    assert_eq!(call.now_or_never(), Some(RequestAnswer::Accepted));
    assert_eq!(notes(&platform).last().unwrap(), "request is answered");

    platform.world().fates.insert(0, Fate::never());
    let mut call = update(&platform, 1);
    assert_eq!((&mut call).now_or_never(), None);
    drop(call);
    assert_eq!(notes(&platform).last().unwrap(), "request is given up");
}

#[test]
fn a_dead_engine_has_no_answer_also_if_it_died_while_it_waited() {
    let platform = platform();
    let (open, due) = oneshot::channel();
    platform.world().fates.insert(0, Fate::when(due, RequestAnswer::Accepted));
    let mut call = update(&platform, 1);
    assert_eq!((&mut call).now_or_never(), None);
    platform.world().dead = true;
    open.send(()).unwrap();
    assert_eq!((&mut call).now_or_never(), None);
    drop(call);
    assert_eq!(notes(&platform).last().unwrap(), "request is given up");
    let other = platform.seen_by("two");
    assert_eq!(update(&other, 1).now_or_never(), None);
    assert_eq!(notes(&platform), ["two begins request"], "it never was a call");
}

#[test]
fn pages_are_put_together_one_after_the_other_before_the_answer_is_given() {
    let platform = platform();
    let (first, one) = oneshot::channel();
    let (second, two) = oneshot::channel();
    platform.world().pages =
        vec![Page { devices: 0..1, due: one }, Page { devices: 1..2, due: two }];
    let mut call = platform.presence(&tenant(), vec![device(1), device(2)]);
    second.send(()).unwrap();
    assert!((&mut call).now_or_never().is_none(), "the first page is not there");
    first.send(()).unwrap();
    assert_eq!(call.now_or_never().unwrap().unwrap().len(), 2);
    let expected =
        ["one begins presence", "page 0..1", "page 1..2", "presence names 2", "presence is told"];
    assert_eq!(notes(&platform), expected);
}

#[test]
fn a_device_that_is_registered_again_takes_its_former_place() {
    let platform = platform();
    let world = &mut *platform.world();
    world.register.get_mut(0).unwrap().removed = true;
    assert_eq!(
        (world.register.find(0, device(1)), world.register.place(0, device(1))),
        (None, Some(0))
    );
    assert_eq!(world.register.add(Registered::new(device(1))), 0);
    assert_eq!(world.register.find(0, device(1)), Some(0));
    assert_eq!(world.register.find(1, device(1)), None, "another tenant has none of it");
    assert_eq!(world.register.all().count(), 2);
}
