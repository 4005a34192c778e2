//! The directory as an engine calls it: it fails, it answers in pages, each as of its own moment, and
//! it names devices in another order each time.

use std::ops::Range;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending};
use hedgerow_core::{
    Channel, DeviceId, FleetDevice, Presence, SystemModelHandle, TenantId, TransportError,
    select_targets,
};
use hedgerow_engine::ports::FleetDirectory;
use hedgerow_engine::{Moment, Sighting};

use super::check::{self, Named, Said, Unread};
use super::fault::FaultKind;
use super::ports::{Call, Lens, Outcome, What};
use super::world::{Happening, Inner};
use crate::device::DeviceInput;

/// The longest that an answer in pages takes: longer than an engine waits.
const LONGEST_MS: u64 = 22_000;

/// A part of an answer, and when it is put together.
struct Page {
    devices: Range<usize>,
    after: Duration,
    due: oneshot::Receiver<()>,
}

/// What is said of a device, as of when.
#[derive(Clone, Copy)]
struct Seen {
    named: Named,
    as_of: Moment,
}

impl Inner {
    fn directory_fails(&mut self) -> Option<TransportError> {
        let fails = self.faults.happens(FaultKind::DirectoryFails);
        if fails {
            self.mark(None, || "directory_fails".to_owned());
        }
        (fails || self.is_down()).then(|| TransportError::new("the directory does not answer"))
    }

    /// The pages of an answer about so many devices, if the directory is slow.
    fn pages(&mut self, devices: usize) -> Vec<Page> {
        if !self.faults.happens(FaultKind::DirectorySlow) {
            return Vec::new();
        }
        let count = usize::try_from(self.faults.random().between(1..=4)).unwrap_or(1);
        let mut moments: Vec<Duration> = (0..count).map(|_| self.some_ms(LONGEST_MS)).collect();
        moments.sort();
        self.mark(None, || format!("directory_slow: pages come after {moments:?}"));
        let size = devices.div_ceil(count).max(1);
        let mut pages = Vec::with_capacity(count);
        for (number, moment) in moments.into_iter().enumerate() {
            let (sender, due) = oneshot::channel();
            self.schedule_in(moment, Happening::Answer(sender));
            let devices = (number * size).min(devices)..((number + 1) * size).min(devices);
            pages.push(Page { devices, after: moment, due });
        }
        pages
    }

    /// A device that is removed between its page and the last one, or goes or comes, is easily kept
    /// for what its page says, and a campaign that is cancelled meanwhile for one that goes on: such a
    /// time counts as minutes, or half an hour, for what does that.
    fn gone_meanwhile(&mut self, tenant: usize, seen: &[Seen], pages: &[Page]) {
        let [first, .., last] = pages else { return };
        let window = last.after.saturating_sub(first.after);
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        for (kind, times) in [
            (FaultKind::DeviceRemoved, 60),
            (FaultKind::NetworkLoss, 3),
            (FaultKind::OperatorCancels, 25),
        ] {
            let rate = self.faults.rate(kind).saturating_mul(times).min(1_000);
            let place = self.faults.random().below(first.devices.len() as u64);
            let after = first.after + self.some_ms(window);
            let seen = seen.get(usize::try_from(place).unwrap_or(0)).copied();
            let index = seen.and_then(|seen| Some(self.thing(tenant, seen.named.device)?.0));
            if rate == 0 || !self.faults.random().chance(rate) {
                continue;
            }
            match (kind, index) {
                (FaultKind::DeviceRemoved, Some(index)) => {
                    self.schedule_in(after, Happening::Removed(index));
                }
                (FaultKind::NetworkLoss, Some(index)) => self.moves(index, after),
                (FaultKind::OperatorCancels, _) => {
                    self.schedule_in(after, Happening::Fault(kind));
                }
                _ => {}
            }
        }
    }

    /// A device that is connected loses its network for a while; any other has it back.
    fn moves(&mut self, index: u32, after: Duration) {
        let lasts = self.some_ms(300_000);
        let connected = self.things[index as usize].device.is_connected();
        if !self.faults.inject(FaultKind::NetworkLoss) {
            return;
        }
        if connected {
            self.schedule_in(after, Happening::Device(index, DeviceInput::NetworkLost));
            self.schedule_in(after + lasts, Happening::Device(index, DeviceInput::NetworkRestored));
        } else {
            self.schedule_in(after, Happening::Device(index, DeviceInput::NetworkRestored));
        }
    }

    fn seen_now(&self, tenant: usize, device: DeviceId) -> Seen {
        let presence = self.presence(tenant, device);
        Seen { named: Named { device, presence, seen_in: self.step }, as_of: Moment::now() }
    }
}

impl Lens {
    /// Asks for the presence of devices, perhaps in pages; a dead engine never gets an answer.
    async fn ask(
        self,
        tenant: TenantId,
        make: impl FnOnce(&mut Inner, usize) -> Result<(Vec<DeviceId>, bool), TransportError>,
    ) -> Result<(usize, check::Moment, Vec<Seen>), TransportError> {
        let call = self.begin(&tenant, |inner, tenant| {
            let began = inner.moment();
            let (devices, in_time) = match make(inner, tenant) {
                Ok(asked) => asked,
                Err(error) => {
                    let outcome = Outcome { answer: Some(Err(error)), due: inner.due() };
                    return (What::Other, outcome);
                }
            };
            let pages = inner.pages(devices.len());
            if !pages.is_empty() {
                inner.judges.of(tenant).targets_not_named(began.now);
            }
            let seen: Vec<Seen> =
                devices.iter().map(|device| inner.seen_now(tenant, *device)).collect();
            inner.gone_meanwhile(tenant, &seen, &pages);
            let due = if pages.is_empty() && in_time { inner.due() } else { None };
            let answer = Some(Ok((tenant, began, seen, pages)));
            (What::Other, Outcome { answer, due })
        });
        let Some((mut call, outcome)) = call else { return pending().await };
        if let Some(due) = outcome.due {
            // The world never forgets an answer that it owes.
            let _ = due.await;
        }
        let (tenant, began, mut seen, pages) = match outcome.answer {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return self.give(&mut call, Err(error)).await,
            None => return pending().await,
        };
        for page in pages {
            let _ = page.due.await;
            let inner = self.world.inner();
            for seen in &mut seen[page.devices] {
                *seen = inner.seen_now(tenant, seen.named.device);
            }
        }
        self.give(&mut call, Ok((tenant, began, seen))).await
    }

    async fn give<T>(&self, call: &mut Call, answer: T) -> T {
        if !self.lives() {
            return pending().await;
        }
        call.ends(Said::Accepted, Err(Unread));
        answer
    }
}

impl FleetDirectory for Lens {
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let (lens, tenant) = (self.clone(), tenant.clone());
        let (channel, system_model) = (channel.clone(), system_model.clone());
        async move {
            let (wanted, model) = (channel.clone(), system_model.clone());
            let make = move |inner: &mut Inner, tenant: usize| {
                if let Some(error) = inner.directory_fails() {
                    let now = inner.engine_now();
                    inner.judges.of(tenant).targets_not_named(now);
                    return Err(error);
                }
                let fleet: Vec<FleetDevice> = inner
                    .things
                    .iter()
                    .filter(|thing| thing.tenant == tenant && !thing.removed)
                    .map(|thing| FleetDevice {
                        id: thing.device.id(),
                        system_model: Some(thing.system_model.clone()),
                        groups: thing.groups.clone(),
                    })
                    .collect();
                // Given at once, unless it is slow: what is told meanwhile is newer than the answer.
                Ok((select_targets(&fleet, &wanted, &model), false))
            };
            let (tenant, began, mut seen) = lens.clone().ask(tenant, make).await?;
            let inner = &mut *lens.world.inner();
            if inner.faults.happens(FaultKind::DirectoryShuffles) {
                inner.mark(None, || "directory_shuffles".to_owned());
                shuffle(inner, &mut seen);
            }
            let now = inner.engine_now();
            let judge = inner.judges.of(tenant);
            let named: Vec<Named> = seen.iter().map(|seen| seen.named).collect();
            judge.targets_named(&channel, &system_model, &named, began, now);
            // One that is gone is named all the same: the engine is told.
            let target = |Seen { named, as_of }| {
                let presence = named.presence.or(Some(Presence::Offline));
                (named.device, Sighting { presence, as_of })
            };
            Ok(seen.into_iter().map(target).collect())
        }
        .boxed()
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        let (lens, tenant) = (self.clone(), tenant.clone());
        async move {
            let make = move |inner: &mut Inner, tenant: usize| {
                // A stream was loaded, and starts nothing before it has the answer (E7).
                let now = inner.engine_now();
                inner.judges.of(tenant).trouble(now);
                inner.directory_fails().map_or(Ok((devices, true)), Err)
            };
            let (tenant, _, seen) = lens.clone().ask(tenant, make).await?;
            let inner = &mut *lens.world.inner();
            let now = inner.engine_now();
            inner.judges.of(tenant).trouble(now);
            let sighting = |Seen { named, as_of }| Sighting { presence: named.presence, as_of };
            Ok(seen.into_iter().map(sighting).collect())
        }
        .boxed()
    }
}

/// Puts devices into another order, and names some of them twice.
fn shuffle(inner: &mut Inner, seen: &mut Vec<Seen>) {
    let random = inner.faults.random();
    for last in (1..seen.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(0);
        seen.swap(last, other);
    }
    let twice = usize::try_from(random.below(3)).unwrap_or(0);
    seen.extend_from_within(..twice.min(seen.len()));
}
