//! The task that runs one stream: it drains its inbox in batches, decides each input, appends all
//! resulting events in one commit, then answers the senders and lets the effects go (E4, E8).
//! [`commit`] has the deciding and the commit, [`mend`] what follows when the store refuses or fails,
//! [`sightings`] where devices are.

mod commit;
mod mend;
mod sightings;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use hedgerow_core::{
    BaseImageAnswer, DeviceFact, DeviceId, Effect, Input, Question, Reaction, ReadPurpose,
    StreamId, TenantId, Timestamp,
};

use tracing::Instrument as _;

use self::commit::Pending;
use self::mend::Mending;
pub(crate) use self::sightings::LookUp;
use self::sightings::{Full, Sightings};
use crate::inbox::{Arrivals, Inbox, Message, inbox};
use crate::interest::Member;
use crate::live::Live;
use crate::registry::{Reserved, StreamState};
use crate::shared::Shared;
use crate::store::Activity;
use crate::{EngineError, LoadError, effects, load};

/// The most inputs of one batch.
const BATCH: usize = 4_096;
/// Of how many devices is kept what is told of them while devices are looked up: as many as a
/// campaign may have targets. While its targets are selected it is told of all of its tenant.
const MOST_TOLD: usize = 1_000_000;
/// How long another engine's claim is believed before it is looked at again.
const FOREIGN_CLAIM: Duration = Duration::from_secs(15);
/// How long a settled stream stays in memory.
const LINGER: Duration = Duration::from_secs(600);
/// After how many events the state is saved when a stream settles or the engine stops: fewer are
/// read as fast.
const SHORT_TAIL: u64 = 1_000;
pub(crate) struct Task {
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    live: Live,
    arrivals: Arrivals,
    own_inbox: Inbox,
    queued: VecDeque<Effect>,
    /// Effects and look-ups whose answer is still to come.
    under_way: usize,
    stopping: bool,
    /// Dropped when the task ends, for those who wait for that.
    until_the_end: Vec<oneshot::Sender<()>>,
    snapshot_version: u64,
    /// Its place in the index of devices, how many of its devices are there, and whether it is told
    /// of all devices.
    member: Member,
    indexed: usize,
    listens: bool,
    sightings: Sightings,
    /// The snapshot that is waited for, and where it says so to who looks up the targets.
    snapshot: Option<(Question, Arc<AtomicBool>)>,
    mending: Mending,
    /// The sleep until the next deadline.
    alarm: Option<(Timestamp, BoxFuture<'static, ()>)>,
    /// When a settled stream leaves the memory.
    unload_at: Option<Timestamp>,
}

/// Whether the task goes on.
enum Flow {
    Go,
    End,
}

impl Task {
    /// Registers the stream and starts its task.
    pub(crate) fn spawn(shared: &Arc<Shared>, tenant: TenantId, live: Live, first: Start) {
        let (own_inbox, arrivals) = inbox(shared.settings.waiting_messages);
        let stream = live.stream();
        let member = {
            let mut registry = shared.registry();
            for (device, operation) in live.operations() {
                registry.set_holder(&tenant, device, stream, Some(operation));
            }
            let state = StreamState::Loaded(own_inbox.clone());
            registry.streams.insert((tenant.clone(), stream), state);
            // Who is asked after this is where everybody is (E7).
            let member = registry.interest.join(tenant.clone(), stream, own_inbox.clone());
            registry.interest.add(member, live.devices());
            if registry.shutting_down {
                // The shutdown did not see it any more. The task holds the other end.
                let _ = own_inbox.post(Message::Stop(None));
            }
            member
        };
        let snapshot_version = match first {
            Start::Created(_) => 0,
            Start::Loaded { saved } => saved,
        };
        let task = Self {
            shared: Arc::clone(shared),
            tenant,
            stream,
            arrivals,
            own_inbox,
            queued: VecDeque::new(),
            under_way: 0,
            stopping: false,
            until_the_end: Vec::new(),
            snapshot_version,
            member,
            indexed: live.devices().len(),
            live,
            listens: false,
            sightings: Sightings::keeping(MOST_TOLD),
            snapshot: None,
            mending: Mending::default(),
            alarm: None,
            unload_at: None,
        };
        let span = tracing::info_span!("stream", tenant = %task.tenant, stream = %task.stream);
        shared.spawner.spawn(task.run_safely(first).instrument(span).boxed());
    }

    /// Runs the stream; should its task panic, it is out of service, and whoever asks is told so.
    async fn run_safely(self, first: Start) {
        let (shared, key) = (Arc::clone(&self.shared), (self.tenant.clone(), self.stream));
        let member = self.member;
        let Err(panic) = AssertUnwindSafe(self.run(first)).catch_unwind().await else { return };
        let detail = effects::panic_message(&*panic);
        tracing::error!(stream = %key.1, %detail, "a task panicked; its stream is out of service");
        let quarantined = StreamState::Quarantined(LoadError::Panicked { detail });
        let mut registry = shared.registry();
        registry.interest.forget(member);
        registry.streams.insert(key, quarantined);
    }

    async fn run(mut self, first: Start) {
        match first {
            Start::Created(effects) => self.queued.extend(effects),
            Start::Loaded { .. } => self.ask_for_presence(),
        }
        self.launch();
        loop {
            let batch = self.next_batch().await;
            if matches!(self.process(batch).await, Flow::End) {
                break;
            }
            self.save_snapshot().await;
            if self.under_way == 0 && (self.stopping || self.may_unload()) {
                break;
            }
        }
        self.finish().await;
    }

    /// Whether the stream has been settled, and no report has come, for so long that it leaves the
    /// memory; a late report loads it again.
    fn may_unload(&mut self) -> bool {
        // What is settled here and not known to be so in the store would be settled by nobody.
        if self.live.activity() == Activity::Active || !self.mending.is_sound() {
            self.unload_at = None;
            return false;
        }
        let now = self.shared.now();
        // What its devices show is looked at for a while longer (D22).
        let watched = self.live.campaign().and_then(|live| live.campaign().watched_until());
        let stays = watched.max(Some(now + LINGER)).unwrap_or(now);
        *self.unload_at.get_or_insert(stays) <= now
    }

    /// After the last batch: keep the state, take the stream off the list, and give back devices
    /// that were only reserved.
    async fn finish(mut self) {
        if self.stopping {
            self.save_snapshot().await;
        }
        let kept: Vec<DeviceId> = self.live.operations().into_iter().map(|(d, _)| d).collect();
        let reserved = self.shared.registry().reserved(&self.tenant, self.stream);
        for device in reserved.into_iter().filter(|device| !kept.contains(device)) {
            self.shared.release_device(&self.tenant, device, self.stream);
        }
        let mut registry = self.shared.registry();
        let devices = self.live.devices();
        registry.interest.leave(self.member, devices.get(..self.indexed).unwrap_or(devices));
        let key = (self.tenant.clone(), self.stream);
        if matches!(registry.streams.get(&key), Some(StreamState::Loaded(_))) {
            registry.streams.remove(&key);
        }
    }

    /// Everything that waits in the inbox, after waiting for the first thing; then a tick, if it is
    /// time.
    async fn next_batch(&mut self) -> Vec<Message> {
        // While a call is under way the stream stays, so that there is nothing to wake for.
        let unload_at = self.unload_at.filter(|_| self.under_way == 0);
        let deadline = match self.mending.next_try() {
            Some(at) => Some(at),
            None => self.live.next_deadline().filter(|_| !self.stopping).or(unload_at),
        };
        if self.alarm.as_ref().map(|(at, _)| *at) != deadline {
            self.alarm = deadline.map(|at| (at, self.shared.clock.sleep_until(at)));
        }
        let mut batch = Vec::new();
        self.drain(&mut batch);
        let mut rang = false;
        if let Some((_, sleep)) = &mut self.alarm {
            if batch.is_empty() {
                match select(pin!(self.arrivals.next()), sleep).await {
                    Either::Left((message, _)) => batch.extend(message),
                    Either::Right(_) => rang = true,
                }
            } else {
                rang = sleep.now_or_never().is_some();
            }
        } else if batch.is_empty() {
            batch.extend(self.arrivals.next().await);
        }
        // What has arrived is looked at before the time is: a report at the very instant of a
        // deadline is in time (D8).
        self.drain(&mut batch);
        if rang {
            self.alarm = None;
            if self.mending.next_try().is_none() {
                batch.push(Message::input(Input::Tick));
            }
        }
        batch
    }

    fn drain(&mut self, batch: &mut Vec<Message>) {
        while batch.len() < BATCH
            && let Some(Some(message)) = self.arrivals.next().now_or_never()
        {
            batch.push(message);
        }
    }

    async fn process(&mut self, batch: Vec<Message>) -> Flow {
        let mut pending = Vec::with_capacity(batch.len());
        let mut queries = Vec::new();
        for message in batch {
            match message {
                Message::Input { input, reply, ends_effect } => {
                    self.under_way -= usize::from(ends_effect);
                    if matches!(input, Input::Report(_)) {
                        // Loaded again, it would record a late report that is repeated once more.
                        self.unload_at = None;
                    }
                    pending.push(Pending { input, reply });
                }
                Message::Seen { device, sighting, reply } => {
                    match self.sightings.told(device, sighting) {
                        Ok(Some(input)) => pending.push(Pending { input, reply: Some(reply) }),
                        // A sender that has gone does not want to know.
                        Ok(None) => drop(reply.send(Ok(Reaction::Unchanged))),
                        Err(Full) => {
                            self.shared.counters.refused_message();
                            let _ = reply.send(Err(EngineError::Busy));
                        }
                    }
                }
                Message::LookUp { look_up, found, then, is_last } => {
                    self.under_way -= usize::from(is_last);
                    let mut give = |input| pending.push(Pending { input, reply: None });
                    if self.sightings.looked_up(look_up, &found, is_last, &mut give) {
                        give(then);
                    }
                }
                Message::Query(query) => queries.push(query),
                Message::Stop(until_the_end) => {
                    self.stopping = true;
                    self.until_the_end.extend(until_the_end);
                }
            }
        }
        let flow = match self.mend(pending, !queries.is_empty()).await {
            Ok(pending) => self.decide_and_commit(pending).await,
            Err(flow) => flow,
        };
        for query in queries {
            query(self.mending.failure().map_or(Ok(&self.live), Err));
        }
        self.note_snapshot();
        if self.listens && !self.sightings.is_under_way() {
            self.listen(false);
        }
        self.launch();
        flow
    }

    fn ask_for_presence(&mut self) {
        self.under_way += 1;
        let look_up = effects::presence(
            Arc::clone(&self.shared),
            self.tenant.clone(),
            self.live.devices().to_vec(),
            self.sightings.begin(),
            self.own_inbox.clone(),
        );
        self.shared.spawner.spawn(look_up.boxed());
    }

    /// Whether an Update waited so long to leave that its operation has ended: the device would
    /// perform it from the start (D11).
    fn comes_too_late(&self, effect: &Effect) -> bool {
        match effect {
            Effect::SendUpdate { device, operation, .. } => {
                self.live.operation_on(*device) != Some(*operation)
            }
            _ => false,
        }
    }

    /// Lets queued effects go, in order, as many at once as the settings allow.
    fn launch(&mut self) {
        while !self.stopping && self.under_way < self.shared.settings.concurrent_calls {
            let Some(effect) = self.queued.pop_front() else { return };
            if self.comes_too_late(&effect) {
                continue;
            }
            self.under_way += 1;
            if self.is_busy(&effect) {
                continue;
            }
            let (shared, inbox) = (Arc::clone(&self.shared), self.own_inbox.clone());
            let (tenant, stream) = (self.tenant.clone(), self.stream);
            let mut listens = self.listens;
            let performed = match (&effect, self.live.campaign()) {
                (Effect::TakeSnapshot { question }, Some(live)) => {
                    let campaign = live.campaign();
                    let planned = effects::Planned {
                        definition: campaign.definition().clone(),
                        recorded: campaign.devices().iter().copied().collect(),
                        is_awaited: Arc::new(AtomicBool::new(live.awaits_snapshot(*question))),
                    };
                    let (question, look_up) = (*question, self.sightings.begin());
                    self.snapshot = Some((question, Arc::clone(&planned.is_awaited)));
                    listens = true;
                    effects::snapshot(shared, tenant, stream, planned, question, look_up, inbox)
                        .boxed()
                }
                (Effect::PrepareStart { .. }, Some(live)) => {
                    let image = Some(live.campaign().definition().base_image.clone());
                    effects::perform(shared, tenant, stream, effect, image, inbox).boxed()
                }
                _ => effects::perform(shared, tenant, stream, effect, None, inbox).boxed(),
            };
            if listens && !self.listens {
                self.listen(true);
            }
            self.shared.spawner.spawn(performed);
        }
    }

    /// Whether it is told of every device of its tenant: while its targets are selected it does not
    /// know which of them will be its own.
    fn listen(&mut self, listens: bool) {
        self.listens = listens;
        self.shared.registry().interest.listen(self.member, listens);
    }

    /// Tells who looks up the targets whether they are still wanted: a campaign that was cancelled or
    /// edited meanwhile supersedes nothing (D18).
    fn note_snapshot(&mut self) {
        let live = self.live.campaign();
        let awaits = |question| live.is_some_and(|live| live.awaits_snapshot(question));
        if let Some((_, is_awaited)) = self.snapshot.take_if(|(question, _)| !awaits(*question)) {
            is_awaited.store(false, Ordering::Release);
        }
    }

    /// Is told of the devices that have become targets, once they are recorded.
    fn index_targets(&mut self) {
        if let Some(new) = self.live.devices().get(self.indexed..).filter(|new| !new.is_empty()) {
            self.shared.registry().interest.add(self.member, new);
            self.indexed += new.len();
        }
    }

    /// Reserves the device whose version is to be read for the gates (D14). If it is another's, that
    /// is answered at once, while the registry is locked: what is told of the device after that,
    /// such as that it is free, arrives after that.
    fn is_busy(&self, effect: &Effect) -> bool {
        let (device, question) = match effect {
            Effect::ReadBaseImage { device, purpose: ReadPurpose::Gate, question }
            | Effect::PrepareStart { device, question, .. } => (*device, *question),
            _ => return false,
        };
        let purpose = ReadPurpose::Gate;
        let mut registry = self.shared.registry();
        if let Reserved::Ours = registry.reserve(&self.tenant, device, self.stream) {
            return false;
        }
        let answer = BaseImageAnswer::Held(DeviceFact::Busy);
        let busy = Input::BaseImageRead { device, purpose, question, answer };
        // The task holds the other end.
        let _ = self.own_inbox.post(Message::answer(busy));
        true
    }

    /// Saves the state if the log has grown by so much that reading it would take long.
    async fn save_snapshot(&mut self) {
        let Some(live) = self.live.campaign().filter(|_| self.mending.is_sound()) else { return };
        let grown = live.campaign().version().saturating_sub(self.snapshot_version);
        let every = self.shared.settings.snapshot_every;
        let ends = self.stopping || live.campaign().is_settled();
        if grown < if ends { every.min(SHORT_TAIL) } else { every } {
            return;
        }
        let version = live.campaign().version();
        self.snapshot_version = version;
        if let Some(state) = load::encoded(live.campaign()) {
            let store = &*self.shared.store;
            if let Err(error) = load::save(store, &self.tenant, self.stream, version, state).await {
                tracing::warn!(stream = %self.stream, %error, "a state snapshot was not saved");
            }
        }
    }
}

/// How a task begins.
pub(crate) enum Start {
    /// Its first event was just recorded; these effects follow from it.
    Created(Vec<Effect>),
    /// It was loaded: its devices' presence is to be looked up (E7).
    Loaded {
        /// The version of its newest state snapshot, or 0.
        saved: u64,
    },
}
