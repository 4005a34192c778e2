//! The platform as an engine calls it, and the transport, with everything that can go wrong with a
//! call. `directory` has the other port.

use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending};
use hedgerow_core::{DeviceId, ImageUrl, OperationId, RequestAnswer, TenantId, TransportError};
use hedgerow_engine::ports::DeviceTransport;

use super::cast;
use super::check::{Moment, Read, Said, Unread};
use super::fault::FaultKind;
use super::world::{Happening, Inner, World};
use crate::device::DeviceInput;

/// The world as one engine sees it. An engine that died sees nothing any more.
#[derive(Clone)]
pub(super) struct Lens {
    pub(super) world: World,
    pub(super) slot: usize,
    pub(super) generation: u64,
}

impl Lens {
    pub(super) fn is_alive(&self, inner: &Inner) -> bool {
        let engine = inner.engines[self.slot];
        engine.running && !engine.doomed && engine.generation == self.generation
    }

    /// The engine dies here, half of the times before the call, half after it.
    fn dies(inner: &mut Inner) -> Option<Dies> {
        if !inner.faults.happens(FaultKind::EngineKilledAtCall) {
            return None;
        }
        let before = inner.faults.random().chance(500);
        Some(if before { Dies::Before } else { Dies::After })
    }

    pub(super) fn die(&self, inner: &mut Inner, what: &str) {
        inner.engines[self.slot].doomed = true;
        let slot = self.slot;
        inner.mark(None, || format!("engine {slot} is killed {what}"));
    }
}

#[derive(PartialEq, Eq)]
enum Dies {
    Before,
    After,
}

/// What becomes of a call: an answer and when it is given, or none.
pub(super) struct Outcome<T> {
    pub(super) answer: Option<T>,
    /// Opens when the answer is due.
    pub(super) due: Option<oneshot::Receiver<()>>,
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

    /// A request to a device: what the platform answers, and whether it goes on to the device.
    fn request(
        &mut self,
        tenant: usize,
        device: DeviceId,
        input: DeviceInput,
    ) -> Outcome<RequestAnswer> {
        let Some(index) =
            self.thing(tenant, device).filter(|(_, thing)| !thing.removed).map(|(i, _)| i)
        else {
            let error = TransportError::new("HTTP status 404: Device not found");
            let answer = Some(RequestAnswer::of_http_status(404, error));
            return Outcome { answer, due: self.due() };
        };
        if let Some(error) = self.server_error(Some(device)) {
            return Outcome { answer: Some(error), due: self.due() };
        }
        if let Some(error) = self.client_error(device) {
            return Outcome { answer: Some(error), due: self.due() };
        }
        if self.faults.happens(FaultKind::CallTimesOut) {
            let delivered = self.faults.random().chance(500);
            self.mark(Some(device), || {
                format!("call_times_out: the request is delivered: {delivered}")
            });
            if delivered {
                self.deliver(index, input);
            }
            self.meanwhile(CALL_TIMEOUT);
            return Outcome { answer: None, due: None };
        }
        let lost = self.faults.happens(FaultKind::AnswerLost);
        self.deliver(index, input);
        let answer = if lost {
            self.mark(Some(device), || {
                "answer_lost: the request is delivered, the answer is an error".to_owned()
            });
            RequestAnswer::Temporary(TransportError::new("HTTP status 504"))
        } else {
            RequestAnswer::Accepted
        };
        Outcome { answer: Some(answer), due: self.due() }
    }

    fn deliver(&mut self, index: u32, input: DeviceInput) {
        let device = self.things[index as usize].device.id();
        if self.faults.happens(FaultKind::RequestLost) {
            self.mark(Some(device), || "request_lost".to_owned());
            return;
        }
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
}

/// Notes the end of a call, also of one that nobody waits for any more.
pub(super) struct Call {
    lens: Lens,
    /// The number of the tenant.
    tenant: usize,
    what: What,
    answered: bool,
}

pub(super) enum What {
    Update(OperationId),
    /// With when it began.
    Read(DeviceId, Moment),
    Other,
}

impl Call {
    pub(super) fn ends(&mut self, said: Said, version: Read) {
        self.answered = true;
        let mut inner = self.lens.world.inner();
        let moment = inner.moment();
        let judge = inner.judges.of(self.tenant);
        judge.coverage.inputs += 1;
        judge.call_ends(moment);
        match self.what {
            What::Update(operation) => judge.update_answered(operation, said, moment.now),
            What::Read(device, since) => {
                let slot = self.lens.slot;
                judge.read_ended(slot, device, since, version, moment);
            }
            What::Other => {}
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.answered {
            self.ends(Said::Nothing, Err(Unread));
        }
    }
}

impl Lens {
    /// Makes a call; `None`: the engine is dead, or died of it.
    pub(super) fn begin<T>(
        &self,
        tenant: &TenantId,
        make: impl FnOnce(&mut Inner, usize) -> (What, Outcome<T>),
    ) -> Option<(Call, Outcome<T>)> {
        let mut inner = self.world.inner();
        if !self.is_alive(&inner) {
            return None;
        }
        let dies = Self::dies(&mut inner);
        if dies == Some(Dies::Before) {
            self.die(&mut inner, "before a call");
            return None;
        }
        let moment = inner.moment();
        let tenant = inner.judges.number(tenant, moment.now);
        inner.judges.of(tenant).call_begins(moment);
        let (what, outcome) = make(&mut inner, tenant);
        if dies == Some(Dies::After) {
            self.die(&mut inner, "after a call");
        }
        Some((Call { lens: self.clone(), tenant, what, answered: false }, outcome))
    }

    pub(super) fn lives(&self) -> bool {
        self.is_alive(&self.world.inner())
    }

    /// Makes a call when it is first polled, and gives its answer when that is due; a dead engine
    /// never gets one.
    pub(super) async fn call<T>(
        self,
        tenant: TenantId,
        make: impl FnOnce(&mut Inner, usize) -> (What, Outcome<T>),
        said: impl FnOnce(&T) -> (Said, Read),
    ) -> T {
        let Some((mut call, outcome)) = self.begin(&tenant, make) else { return pending().await };
        if let Some(due) = outcome.due {
            // The world never forgets an answer that it owes.
            let _ = due.await;
        }
        let Some(answer) = outcome.answer.filter(|_| self.lives()) else { return pending().await };
        let (said, version) = said(&answer);
        call.ends(said, version);
        answer
    }
}

fn said(answer: &RequestAnswer) -> (Said, Read) {
    (Said::of(answer), Err(Unread))
}

impl DeviceTransport for Lens {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = url.as_str().to_owned();
        let slot = self.slot;
        let make = move |inner: &mut Inner, tenant: usize| {
            let moment = inner.moment();
            inner.judges.of(tenant).update_leaves(slot, device, operation, &url, moment);
            inner.note(Some(device), inner.judges.get(tenant).stream_of(operation), || {
                format!("engine sends Update {operation}")
            });
            inner.sent.push((tenant, device, operation));
            let installs = cast::installs(&url);
            let update = DeviceInput::Update { operation, url, installs };
            let outcome = inner.request(tenant, device, update);
            (What::Update(operation), outcome)
        };
        self.clone().call(tenant.clone(), make, said).boxed()
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = url.as_str().to_owned();
        let make = move |inner: &mut Inner, tenant: usize| {
            let now = inner.engine_now();
            inner.judges.of(tenant).cancel_leaves(device, operation, &url, now);
            inner.note(Some(device), inner.judges.get(tenant).stream_of(operation), || {
                format!("engine sends Cancel {operation}")
            });
            let url = Some(url);
            (What::Other, inner.request(tenant, device, DeviceInput::Cancel { operation, url }))
        };
        self.clone().call(tenant.clone(), make, said).boxed()
    }

    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let make = move |inner: &mut Inner, tenant: usize| {
            let moment = inner.moment();
            inner.judges.of(tenant).read_began(device, moment);
            let error = inner.server_error(Some(device));
            let hangs = inner.faults.happens(FaultKind::CallTimesOut);
            let version = inner.thing(tenant, device);
            let version = version
                .filter(|(_, thing)| !thing.removed)
                .map(|(_, t)| (!t.reports_no_version).then(|| t.shown.clone()));
            let answer = match (error, version) {
                (Some(RequestAnswer::Temporary(error) | RequestAnswer::Permanent(error)), _) => {
                    Err(error)
                }
                (_, Some(version)) => Ok(version),
                (_, None) => Err(TransportError::new("HTTP status 404: Device not found")),
            };
            inner.note(Some(device), None, || {
                format!("engine reads its version: {answer:?}, never answered: {hangs}")
            });
            let outcome = if hangs {
                Outcome { answer: None, due: None }
            } else {
                Outcome { answer: Some(answer), due: inner.due() }
            };
            (What::Read(device, moment), outcome)
        };
        let said = |answer: &Result<Option<String>, TransportError>| {
            (Said::Accepted, answer.clone().map_err(|_| Unread))
        };
        self.clone().call(tenant.clone(), make, said).boxed()
    }
}

/// How long an engine waits for a call; see [`hedgerow_engine::EngineBuilder::call_timeout`].
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(20);
