//! What becomes of a call of an engine, with everything that can go wrong with it: the hooks of the
//! platform, and those of the transport. `directory` has those of the directory.

use std::ops::Range;
use std::time::Duration;

use futures::channel::oneshot;
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, RequestAnswer, SystemModelHandle, TenantId,
    TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::StartingOperation;

use super::cast;
use super::check::{Moment, Said, Unread, UrlAsked};
use super::directory::Seen;
use super::fault::FaultKind;
use super::world::{Happening, Inner, World};
use crate::device::DeviceInput;
use crate::platform::{
    self, Call, End, Fate, Named, Platform, Register, Request, Wanted, not_found,
};

/// Which engine it is that calls, or is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

/// The world as one engine sees it. An engine that died sees nothing any more.
#[derive(Clone)]
pub(super) struct Lens {
    pub(super) world: World,
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl Lens {
    fn caller(&self) -> Caller {
        Caller { slot: self.slot, generation: self.generation }
    }

    /// Its transport and its directory.
    pub(super) fn platform(&self) -> Platform<Inner> {
        self.world.seen_by(self.caller())
    }

    pub(super) fn is_alive(&self, inner: &Inner) -> bool {
        inner.is_alive(self.caller())
    }

    pub(super) fn die(&self, inner: &mut Inner, what: &str) {
        inner.die(self.caller(), what);
    }
}

impl Inner {
    fn is_alive(&self, caller: Caller) -> bool {
        let engine = self.engines[caller.slot];
        engine.alive && !engine.doomed && engine.generation == caller.generation
    }

    fn die(&mut self, caller: Caller, what: &str) {
        let slot = caller.slot;
        self.engines[slot].doomed = true;
        self.mark(None, || format!("engine {slot} is killed {what}"));
    }

    /// The engine dies here, half of the times before the call, half after it.
    fn dies(&mut self) -> Option<Dies> {
        if !self.faults.happens(FaultKind::EngineKilledAtCall) {
            return None;
        }
        let before = self.faults.random().chance(500);
        Some(if before { Dies::Before } else { Dies::After })
    }
}

#[derive(PartialEq, Eq)]
enum Dies {
    Before,
    After,
}

impl Inner {
    /// When the answer to a call is given.
    pub(super) fn due(&mut self) -> Option<oneshot::Receiver<()>> {
        let mut delay = self.latency();
        if self.faults.happens(FaultKind::CallSlow) {
            delay += self.some_ms(15_000);
            self.mark(None, || format!("call_slow: {delay:?}"));
            self.meanwhile(delay);
        }
        if self.slow_until.is_some_and(|until| until > self.now) {
            delay += self.some_ms(15_000);
        }
        if delay.is_zero() {
            return None;
        }
        let (sender, due) = oneshot::channel();
        self.schedule_in(delay, Happening::Answer(sender));
        Some(due)
    }

    /// What happens while an answer is awaited is what engines are easily wrong about: such a time
    /// counts as four minutes for whatever people do, for what kills engines and devices, and for
    /// appends that fail.
    fn meanwhile(&mut self, delay: Duration) {
        const KINDS: [FaultKind; 9] = [
            FaultKind::OperatorPauses,
            FaultKind::OperatorResumes,
            FaultKind::OperatorCancels,
            FaultKind::OperatorEdits,
            FaultKind::OperatorStartsManual,
            FaultKind::OperatorCancelsManual,
            FaultKind::EngineKilled,
            FaultKind::DeviceRemoved,
            FaultKind::AppendFails,
        ];
        for kind in KINDS {
            let rate = self.faults.rate(kind).saturating_mul(4);
            if rate > 0 && self.faults.random().chance(rate) {
                let after = self.some_ms(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
                self.schedule_in(after, Happening::Fault(kind));
            }
        }
    }

    /// Some appends fail in a while of slow calls, if any do at all: what is answered after that, or
    /// leaves, was asked or decided before it (E11).
    pub(super) fn appends_fail_within(&mut self, lasts: Duration) {
        for _ in 0..3 {
            let at = self.some_ms(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
            if self.faults.rate(FaultKind::AppendFails) > 0 {
                self.schedule_in(at, Happening::Fault(FaultKind::AppendFails));
            }
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.down_until.is_some_and(|until| until > self.now)
    }

    /// A failure for now, if the platform has one.
    fn server_error(&mut self, device: Option<DeviceId>) -> Option<RequestAnswer> {
        const STATUSES: [u16; 7] = [500, 502, 503, 408, 429, 401, 403];
        let fails = self.faults.happens(FaultKind::ServerError);
        let choice = usize::try_from(self.faults.random().below(7)).unwrap_or(0);
        if self.is_down() {
            return Some(RequestAnswer::Temporary(TransportError::new("connection refused")));
        }
        if !fails {
            return None;
        }
        let status = STATUSES[choice];
        self.mark(device, || format!("server_error: HTTP {status}"));
        let error = TransportError::new(format!("HTTP status {status}"));
        Some(RequestAnswer::of_http_status(status, error))
    }

    fn client_error(&mut self, device: DeviceId) -> Option<RequestAnswer> {
        const STATUSES: [u16; 3] = [400, 409, 422];
        if !self.faults.happens(FaultKind::ClientError) {
            return None;
        }
        let status = STATUSES[usize::try_from(self.faults.random().below(3)).unwrap_or(0)];
        self.mark(Some(device), || format!("client_error: HTTP {status}"));
        let error = TransportError::new(format!("HTTP status {status}"));
        Some(RequestAnswer::of_http_status(status, error))
    }
}

/// What is remembered of a call.
pub(super) struct Noted {
    /// The number of the tenant.
    pub(super) tenant: usize,
    pub(super) what: What,
    dies: bool,
}

pub(super) enum What {
    Update(OperationId),
    /// With when it began.
    Read(DeviceId, Moment),
    /// With when it began.
    Url(DeviceId, OperationId, Moment),
    /// Of the directory, with when it began and what it has seen.
    Targets(Channel, SystemModelHandle, Moment, Vec<Seen>),
    Presence(Moment, Vec<Seen>),
    Other,
}

impl platform::World for Inner {
    type Caller = Caller;
    type Noted = Noted;

    fn register(&self) -> &Register {
        &self.register
    }

    fn tenant(&mut self, tenant: &TenantId) -> usize {
        let now = self.engine_now();
        self.judges.number(tenant, now)
    }

    fn begins(&mut self, caller: &Caller, tenant: usize, call: &Call) -> Option<Noted> {
        if !self.is_alive(*caller) {
            return None;
        }
        let dies = self.dies();
        if dies == Some(Dies::Before) {
            self.die(*caller, "before a call");
            return None;
        }
        let moment = self.moment();
        self.judges.of(tenant).call_begins(moment);
        let what = match call {
            Call::Request(request) => self.request_leaves(caller.slot, tenant, request),
            Call::Read(device) => {
                self.judges.of(tenant).read_began(*device, moment);
                What::Read(*device, moment)
            }
            Call::Url(StartingOperation { device, operation, .. }) => {
                self.judges.of(tenant).url_asked(*device, moment);
                What::Url(*device, *operation, moment)
            }
            Call::Targets(channel, system_model) => {
                What::Targets(channel.clone(), system_model.clone(), moment, Vec::new())
            }
            Call::Presence(_) => What::Presence(moment, Vec::new()),
        };
        Some(Noted { tenant, what, dies: dies == Some(Dies::After) })
    }

    /// A request to a device: what the platform answers, and whether it goes on to the device.
    fn request(&mut self, tenant: usize, request: &Request) -> Fate<RequestAnswer> {
        let device = request.device;
        let Some(index) = self.register.find(tenant, device) else {
            return self.answered(not_found());
        };
        if let Some(error) = self.server_error(Some(device)) {
            return self.answered(error);
        }
        if let Some(error) = self.client_error(device) {
            return self.answered(error);
        }
        if self.faults.happens(FaultKind::CallTimesOut) {
            let delivered = self.faults.random().chance(500);
            self.mark(Some(device), || {
                format!("call_times_out: the request is delivered: {delivered}")
            });
            if delivered {
                self.deliver(index, request);
            }
            self.meanwhile(CALL_TIMEOUT);
            return Fate::never();
        }
        let lost = self.faults.happens(FaultKind::AnswerLost);
        self.deliver(index, request);
        if !lost {
            return self.answered(RequestAnswer::Accepted);
        }
        self.mark(Some(device), || {
            "answer_lost: the request is delivered, the answer is an error".to_owned()
        });
        self.answered(RequestAnswer::Temporary(TransportError::new("HTTP status 504")))
    }

    fn deliver(&mut self, index: u32, request: &Request) {
        let device = request.device;
        if self.faults.happens(FaultKind::RequestLost) {
            self.mark(Some(device), || "request_lost".to_owned());
            return;
        }
        let (operation, url) = (request.operation, request.url.as_str().to_owned());
        let input = match request.wanted {
            Wanted::Update => {
                let installs = cast::installs(&url);
                DeviceInput::Update { operation, url, installs }
            }
            Wanted::Cancel => DeviceInput::Cancel { operation, url: Some(url) },
        };
        let mut delay = self.latency();
        if self.faults.happens(FaultKind::RequestDelayed) {
            delay += self.some_ms(120_000);
            self.mark(Some(device), || format!("request_delayed by {delay:?}"));
        }
        if self.faults.happens(FaultKind::RequestDuplicated) {
            let again = delay + self.some_ms(10_000);
            self.mark(Some(device), || "request_duplicated".to_owned());
            self.schedule_in(again, Happening::Request(index, input.clone()));
        }
        self.schedule_in(delay, Happening::Request(index, input));
    }

    fn url(
        &mut self,
        _tenant: usize,
        starting: &StartingOperation,
    ) -> Fate<Result<Option<ImageUrl>, TransportError>> {
        self.gives_url(starting)
    }

    fn read(
        &mut self,
        tenant: usize,
        device: DeviceId,
    ) -> Fate<Result<Option<String>, TransportError>> {
        let error = self.server_error(Some(device));
        let hangs = self.faults.happens(FaultKind::CallTimesOut);
        let there = self.register.find(tenant, device).map(|index| self.register.at(index));
        let answer = match (error, there) {
            (Some(RequestAnswer::Temporary(error) | RequestAnswer::Permanent(error)), _) => {
                Err(error)
            }
            (_, Some(device)) => Ok(device.version.clone()),
            (_, None) => Err(TransportError::new("HTTP status 404: Device not found")),
        };
        self.note(Some(device), None, || {
            format!("engine reads its version: {answer:?}, never answered: {hangs}")
        });
        if hangs { Fate::never() } else { self.answered(answer) }
    }

    fn targets(
        &mut self,
        tenant: usize,
        channel: &Channel,
        system_model: &SystemModelHandle,
        noted: &mut Noted,
    ) -> Fate<Named> {
        self.names_targets(tenant, channel, system_model, noted)
    }

    fn presence(&mut self, tenant: usize, devices: &[DeviceId], noted: &mut Noted) -> Fate<Named> {
        self.looks_up(tenant, devices, noted)
    }

    fn made(&mut self, caller: &Caller, noted: &Noted) {
        if noted.dies {
            self.die(*caller, "after a call");
        }
    }

    fn page(&mut self, tenant: usize, noted: &mut Noted, devices: Range<usize>) {
        self.looks_again(tenant, noted, devices);
    }

    fn named(&mut self, tenant: usize, noted: &mut Noted, named: &mut Vec<(DeviceId, Sighting)>) {
        self.gives(tenant, noted, named);
    }

    fn lives(&self, caller: &Caller) -> bool {
        self.is_alive(*caller)
    }

    fn ends(&mut self, caller: &Caller, noted: Noted, end: End<'_>) {
        let moment = self.moment();
        let judge = self.judges.of(noted.tenant);
        judge.coverage.inputs += 1;
        judge.call_ends(moment);
        match noted.what {
            What::Update(operation) => {
                let said = match end {
                    End::Answered(answer) => Said::of(answer),
                    _ => Said::Nothing,
                };
                judge.update_answered(operation, said, moment.now);
            }
            What::Read(device, since) => {
                let version = match end {
                    End::Shown(version) => version.clone().map_err(|_| Unread),
                    _ => Err(Unread),
                };
                judge.read_ended(caller.slot, device, since, version, moment);
            }
            What::Url(device, operation, since) => {
                let url = match end {
                    End::Given(Ok(url)) => Ok(url.as_ref().map(|url| url.as_str().to_owned())),
                    _ => Err(Unread),
                };
                let asked = UrlAsked { slot: caller.slot, device, operation, asked_in: since.step };
                judge.url_answered(asked, url, moment);
            }
            _ => {}
        }
    }
}

impl Inner {
    /// Whoever signs URLs gives another one each time, now and then the image's own, or fails.
    fn gives_url(
        &mut self,
        starting: &StartingOperation,
    ) -> Fate<Result<Option<ImageUrl>, TransportError>> {
        let fails = self.faults.happens(FaultKind::UrlFails);
        let hangs = self.faults.happens(FaultKind::CallTimesOut);
        self.urls_given += 1;
        let number = self.urls_given;
        let url = format!("{}?signature={number}", starting.image.url);
        let answer = match (fails, number % 5) {
            (true, _) => Err(TransportError::new("the key store does not answer")),
            (false, 0) => Ok(None),
            (false, _) => Ok(Some(cast::constant(&url))),
        };
        self.note(Some(starting.device), None, || {
            let operation = starting.operation;
            format!("engine asks for the URL of {operation}: {answer:?}, never answered: {hangs}")
        });
        if hangs { Fate::never() } else { self.answered(answer) }
    }

    /// An answer is given when it is due.
    pub(super) fn answered<T>(&mut self, answer: T) -> Fate<T> {
        Fate { due: self.due(), ..Fate::now(answer) }
    }

    /// A request leaves the engine.
    fn request_leaves(&mut self, slot: usize, tenant: usize, request: &Request) -> What {
        let moment = self.moment();
        let (device, operation, url) = (request.device, request.operation, request.url.as_str());
        let judge = self.judges.of(tenant);
        match request.wanted {
            Wanted::Update => judge.update_leaves(slot, device, operation, url, moment),
            Wanted::Cancel => judge.cancel_leaves(device, operation, url, moment.now),
        }
        let stream = judge.stream_of(operation);
        self.note(Some(device), stream, || {
            format!("engine sends {:?} {operation}", request.wanted)
        });
        match request.wanted {
            Wanted::Update => {
                self.sent.push((tenant, device, operation));
                What::Update(operation)
            }
            Wanted::Cancel => What::Other,
        }
    }
}

/// How long an engine waits for a call; see [`hedgerow_engine::EngineBuilder::call_timeout`].
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
