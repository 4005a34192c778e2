//! The directory as an engine calls it: it fails, it answers in pages, each as of its own moment, and
//! it names devices in another order each time.

use std::ops::Range;
use std::time::Duration;

use futures::channel::oneshot;
use hedgerow_core::{Channel, DeviceId, Presence, SystemModelHandle, TransportError};
use hedgerow_engine::{Moment, Sighting};

use super::check;
use super::fault::FaultKind;
use super::ports::{Noted, What};
use super::world::{Happening, Inner};
use crate::device::DeviceInput;
use crate::platform::{Fate, Named, Page};

/// The longest that an answer in pages takes: longer than an engine waits.
const LONGEST_MS: u64 = 22_000;

/// What is said of a device, as of when.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    named: check::Named,
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
    fn pages(&mut self, devices: usize) -> Vec<(Duration, Page)> {
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
            pages.push((moment, Page { devices, due }));
        }
        pages
    }

    /// A device that is removed between its page and the last one, or goes or comes, is easily kept
    /// for what its page says, and a campaign that is cancelled meanwhile for one that goes on: such a
    /// time counts as minutes, or half an hour, for what does that.
    fn gone_meanwhile(&mut self, tenant: usize, seen: &[Seen], pages: &[(Duration, Page)]) {
        let [(begins, first), .., (ends, _)] = pages else { return };
        let window = ends.saturating_sub(*begins);
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        for (kind, times) in [
            (FaultKind::DeviceRemoved, 60),
            (FaultKind::NetworkLoss, 3),
            (FaultKind::OperatorCancels, 25),
        ] {
            let rate = self.faults.rate(kind).saturating_mul(times).min(1_000);
            let place = self.faults.random().below(first.devices.len() as u64);
            let after = *begins + self.some_ms(window);
            let seen = seen.get(usize::try_from(place).unwrap_or(0)).copied();
            let index = seen.and_then(|seen| self.register.place(tenant, seen.named.device));
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
        let connected = self.devices.at(index).is_connected();
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
        let presence = self.register.presence(tenant, device);
        Seen { named: check::Named { device, presence, seen_in: self.step }, as_of: Moment::now() }
    }

    fn fails(&mut self, error: TransportError) -> Fate<Named> {
        self.answered(Err(error))
    }

    /// Looks at devices, and answers perhaps in pages. `in_time`: not at once, unless it is slow.
    fn says(
        &mut self,
        tenant: usize,
        devices: &[DeviceId],
        began: check::Moment,
        in_time: bool,
    ) -> (Fate<Named>, Vec<Seen>) {
        let pages = self.pages(devices.len());
        if !pages.is_empty() {
            self.judges.of(tenant).targets_not_named(began.now);
        }
        let seen: Vec<Seen> = devices.iter().map(|id| self.seen_now(tenant, *id)).collect();
        self.gone_meanwhile(tenant, &seen, &pages);
        let due = if pages.is_empty() && in_time { self.due() } else { None };
        let pages = pages.into_iter().map(|(_, page)| page).collect();
        // What is named is put in when it is given.
        (Fate { due, pages, ..Fate::now(Ok(Vec::new())) }, seen)
    }

    /// Given at once, unless it is slow: what is told meanwhile is newer than the answer.
    pub(super) fn names_targets(
        &mut self,
        tenant: usize,
        channel: &Channel,
        system_model: &SystemModelHandle,
        noted: &mut Noted,
    ) -> Fate<Named> {
        let What::Targets(.., began, seen) = &mut noted.what else { return Fate::never() };
        if let Some(error) = self.directory_fails() {
            let now = self.engine_now();
            self.judges.of(tenant).targets_not_named(now);
            return self.fails(error);
        }
        let devices = self.register.targets(tenant, channel, system_model);
        let (fate, now_seen) = self.says(tenant, &devices, *began, false);
        *seen = now_seen;
        fate
    }

    pub(super) fn looks_up(
        &mut self,
        tenant: usize,
        devices: &[DeviceId],
        noted: &mut Noted,
    ) -> Fate<Named> {
        let What::Presence(began, seen) = &mut noted.what else { return Fate::never() };
        // A stream was loaded, and starts nothing before it has the answer (E7).
        let now = self.engine_now();
        self.judges.of(tenant).trouble(now);
        if let Some(error) = self.directory_fails() {
            return self.fails(error);
        }
        let (fate, now_seen) = self.says(tenant, devices, *began, true);
        *seen = now_seen;
        fate
    }

    /// A page is as of its own moment.
    pub(super) fn looks_again(&self, tenant: usize, noted: &mut Noted, devices: Range<usize>) {
        let (What::Targets(.., seen) | What::Presence(_, seen)) = &mut noted.what else { return };
        for seen in &mut seen[devices] {
            let now = self.seen_now(tenant, seen.named.device);
            // One that is gone by now is named by what it was when it was selected: that is no newer
            // than what is told of its end.
            let as_of = if now.named.presence.is_none() { seen.as_of } else { now.as_of };
            *seen = Seen { as_of, ..now };
        }
    }

    /// The answer is given.
    pub(super) fn gives(
        &mut self,
        tenant: usize,
        noted: &mut Noted,
        answer: &mut Vec<(DeviceId, Sighting)>,
    ) {
        match &mut noted.what {
            What::Targets(channel, system_model, began, seen) => {
                if self.faults.happens(FaultKind::DirectoryShuffles) {
                    self.mark(None, || "directory_shuffles".to_owned());
                    shuffle(self, seen);
                }
                let now = self.engine_now();
                let named: Vec<check::Named> = seen.iter().map(|seen| seen.named).collect();
                let judge = self.judges.of(tenant);
                judge.targets_named(channel, system_model, &named, *began, now);
                // One that is gone is named all the same: the engine is told.
                answer.extend(seen.iter().map(|Seen { named, as_of }| {
                    let presence = named.presence.or(Some(Presence::Offline));
                    (named.device, Sighting { presence, as_of: *as_of })
                }));
            }
            What::Presence(_, seen) => {
                let now = self.engine_now();
                self.judges.of(tenant).trouble(now);
                answer.extend(seen.iter().map(|Seen { named, as_of }| {
                    (named.device, Sighting { presence: named.presence, as_of: *as_of })
                }));
            }
            _ => {}
        }
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
