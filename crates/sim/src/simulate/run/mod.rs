//! One run: engines on a store, in a world, step by step through virtual time.
//!
//! | File | What |
//! |---|---|
//! | this one | the loop: one thing happens, engines work, everything is looked at |
//! | `engines` | engines start, die and are told |
//! | `faults` | faults that happen by themselves, and their end |
//! | `look` | what is looked at between steps |

mod engines;
mod faults;
mod look;

use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{TenantId, Timestamp};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::{Engine, Subscription};

use crate::random::Random;
use crate::runtime::{Executor, VirtualClock, wait};
use crate::simulate::cast::{
    self, BEGINNING, CampaignPart, Casting, concurrent_calls, tells_all_again,
};
use crate::simulate::check::Judges;
use crate::simulate::fault::{FaultKind, Faults};
use crate::simulate::invariant::{Invariant, Violation};
use crate::simulate::operator;
use crate::simulate::rows::Rows;
use crate::simulate::trace::Trace;
use crate::simulate::world::{Happening, World};
use crate::simulate::{Setup, SimulateError, Storage};

/// How many devices engines name at once: usually, and so few that a small fleet takes many.
const CHUNK: usize = 10_000;
const SMALL_CHUNK: usize = 3;
/// So many steps at one instant can only be a circle.
const MOST_STEPS_AT_ONCE: u64 = 50_000;
/// So many rounds of tasks that start others, too.
const MOST_ROUNDS: usize = 50_000;
/// After that long nothing is on its way any more that was delayed.
const LATEST: Duration = Duration::from_secs(420);
/// Every so many steps the claims of the store are looked at (E5).
const CLAIMS_EVERY: u64 = 512;

#[derive(Default)]
struct Slot {
    engine: Option<Engine>,
    /// Those of the tenants.
    subscriptions: Vec<Option<Subscription>>,
    executor: Executor,
}

pub(super) struct Run<'a> {
    setup: &'a Setup,
    /// Those of the tenants.
    castings: Vec<Casting<'a>>,
    campaigns: Vec<CampaignPart>,
    /// How many campaigns each tenant has created.
    created: Vec<u32>,
    /// How many calls an engine makes at once for each campaign.
    calls: usize,
    /// How many devices an engine names at once.
    chunk: usize,
    /// Whether operations get URLs of their own (D23).
    gives_urls: bool,
    /// What users say, and when (P15).
    users: Random,
    /// How many manual updates each tenant has started.
    manuals: Vec<u32>,
    world: World,
    clock: VirtualClock,
    storage: &'a mut dyn Storage,
    store: Arc<dyn EventStore>,
    slots: [Slot; 2],
    /// When everything has to be over, once faults have stopped.
    deadline: Option<Timestamp>,
    messages: u64,
    calmed: bool,
    rows: Rows,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        setup: &'a Setup,
        storage: &'a mut dyn Storage,
        trace: Trace,
    ) -> Result<Self, SimulateError> {
        let profile = &setup.profile;
        let mut casting = Casting::new(setup.seed, profile, setup.devices, setup.campaigns);
        let mut parts = casting.devices();
        let mut campaigns = casting.campaigns();
        let random = Random::for_device(setup.seed, 2, 1 << 41);
        let mut faults = Faults::new(profile.rates(), random, setup.stop_faults_after);
        let mut liars = Vec::with_capacity(parts.len());
        let small = faults.happens(FaultKind::SmallChunks);
        let mut castings = vec![casting];
        let twin = faults.happens(FaultKind::SecondTenant).then(|| castings[0].twin());
        if let Some(mut twin) = twin {
            let twins = twin.devices_like(&parts);
            parts.extend(twins);
            campaigns.extend(twin.campaigns());
            castings.push(twin);
        }
        for part in &mut parts {
            let wrong = faults.happens(FaultKind::ClockWrong);
            let years = faults.random().between(0..=20);
            if wrong {
                part.clock_offset_ms = (i64::try_from(years).unwrap_or(0) - 10) * 31_557_600_000;
            }
            liars.push(faults.happens(FaultKind::Liar));
        }
        let tenants: Vec<TenantId> = (0..castings.len()).map(cast::tenant).collect();
        let calls = concurrent_calls(setup.seed);
        for part in &mut campaigns {
            let rate = faults.rate(FaultKind::AsksUsers);
            let (changed, asks) = cast::asking_users(setup.seed, rate, part.clone());
            if asks && faults.inject(FaultKind::AsksUsers) {
                *part = changed;
            }
        }
        let gives_urls = cast::gives_urls(setup.seed, faults.rate(FaultKind::OwnUrls))
            && faults.inject(FaultKind::OwnUrls);
        let mut judges = Judges::new(&tenants, calls);
        for tenant in 0..tenants.len() {
            judges.of(tenant).urls_are_given(gives_urls);
        }
        let all = tells_all_again(setup.seed);
        let world = World::new(BEGINNING, parts, faults, judges, trace, all);
        for (thing, liar) in world.inner().things.iter_mut().zip(liars) {
            thing.liar = liar;
        }
        let store = storage.open()?;
        Ok(Self {
            setup,
            created: castings.iter().map(Casting::planned).collect(),
            manuals: vec![0; castings.len()],
            castings,
            calls,
            chunk: if small { SMALL_CHUNK } else { CHUNK },
            gives_urls,
            users: Random::for_device(setup.seed, 7, 1 << 41),
            campaigns,
            world,
            clock: VirtualClock::new(BEGINNING),
            storage,
            store,
            slots: [Slot::default(), Slot::default()],
            deadline: None,
            messages: 0,
            calmed: false,
            rows: Rows::new(setup.seed, profile),
        })
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Runs to the end, or to the first thing that does not hold.
    pub(super) fn run(&mut self) -> Result<(), SimulateError> {
        {
            let mut inner = self.world.inner();
            let minutes = u64::from(self.setup.profile.minutes);
            inner.schedule(BEGINNING, Happening::EngineStarts(0));
            inner.schedule(BEGINNING, Happening::Minute);
            inner.schedule_in(Duration::from_secs(60 * minutes), Happening::Heal);
            for (number, part) in self.campaigns.iter().enumerate() {
                inner.schedule(part.created_at, Happening::Create(number));
            }
        }
        let mut at_once = 0;
        loop {
            if self.world.inner().judges.has_violation() {
                return Ok(());
            }
            if self.deadline.is_some() && self.is_over() {
                self.look_at_the_end();
                return Ok(());
            }
            let ahead = self.world.inner().wall_ahead;
            let sleep = self.clock.next_sleep().map(|at| back(at, ahead));
            let next = [self.world.inner().next(), sleep].into_iter().flatten().min();
            let Some(next) = next else {
                self.stuck("nothing is left to happen");
                return Ok(());
            };
            let before = self.now();
            at_once = if next > before { 0 } else { at_once + 1 };
            if at_once > MOST_STEPS_AT_ONCE {
                self.stuck("it goes in circles at one instant");
                return Ok(());
            }
            let now = next.max(before);
            if self.deadline.is_some_and(|deadline| now > deadline) {
                self.stuck("the time is over");
                return Ok(());
            }
            self.step(now)?;
        }
    }

    fn now(&self) -> Timestamp {
        self.world.inner().now
    }

    /// One thing that is due happens, and engines work until nothing is left to do.
    fn step(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        let happening = {
            self.goes_on_to(now);
            let mut inner = self.world.inner();
            inner.step += 1;
            inner.judges.coverage().steps += 1;
            inner.take_due()
        };
        if let Some(happening) = happening {
            self.happen(happening)?;
        } else {
            let woken = self.world.inner().wake_device();
            if !woken {
                self.world.inner().judges.coverage().inputs += 1;
                self.clock.ring();
            }
        }
        self.work();
        self.listen()?;
        self.bury()?;
        self.look();
        self.rows.go_on();
        Ok(())
    }

    /// Lets time pass, and looks at what the engine makes of it (E12).
    fn goes_on_to(&mut self, now: Timestamp) {
        let engine = self.slots[0].engine.clone();
        let mut inner = self.world.inner();
        let passed = now.since(inner.now);
        inner.now = now;
        let wall = inner.wall();
        self.clock.advance_to(wall);
        let before = inner.engine_time;
        let Some(engine) = engine else {
            inner.engine_time = wall.max(before + passed);
            return;
        };
        let time = engine.now();
        inner.engine_time = time;
        let (least, most) = (wall.max(before + passed / 2), wall.max(before + passed));
        // What is less than a millisecond adds up.
        let slack = Duration::from_millis(1);
        // What another engine has written, or one that has died since, may have a later time: whoever
        // loads it does not go on before that.
        let is_written = || {
            let log = wait(self.store.read_all(0, usize::MAX)).ok();
            let newest = log.iter().flatten().map(|stored| stored.event.recorded_at).max();
            newest.is_some_and(|newest| time <= newest + passed + slack)
        };
        if time + slack < least || (time > most + slack && !is_written()) {
            let message = format!("after {passed:?} it is at {time}, and was at {before}");
            inner.judges.of(0).broken((Invariant::Time, message), time, None, None);
        }
    }

    fn work(&mut self) {
        for slot in &mut self.slots {
            if slot.engine.is_some() && !slot.executor.run_rounds(MOST_ROUNDS) {
                self.stuck("an engine works without end at one instant");
                return;
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), SimulateError> {
        match happening {
            Happening::Minute => {
                self.minute();
                self.users_answer();
            }
            Happening::Fault(kind) => self.fault(kind)?,
            Happening::Tell(tenant, observation) => self.tell(tenant, observation),
            Happening::TellAgain(slot, tenant, observation) => {
                self.tell_again(slot, tenant, observation);
            }
            Happening::Request(index, input) => self.world.inner().receive(index, input),
            Happening::Device(index, input) => {
                let mut inner = self.world.inner();
                let now = inner.now;
                inner.act(index, |device, output| device.handle(now, input, output));
            }
            Happening::Removed(index) => {
                let mut inner = self.world.inner();
                let (_, device) = inner.who(index);
                let there = !inner.register.at(index).removed;
                if there && inner.faults.inject(FaultKind::DeviceRemoved) {
                    inner.mark(Some(device), || FaultKind::DeviceRemoved.name().to_owned());
                    inner.remove(index);
                }
            }
            Happening::Shows(index, number, version) => {
                self.world.inner().shows(index, number, version);
            }
            Happening::Answer(due) => {
                // Whoever waited may be gone.
                let _ = due.send(());
            }
            Happening::EngineStarts(slot) => self.start_engine(slot)?,
            Happening::EngineEnds(slot) => {
                let mut inner = self.world.inner();
                if inner.engines[slot].alive {
                    inner.engines[slot].doomed = true;
                }
            }
            Happening::Create(number) => {
                let part = self.campaigns[number].clone();
                self.ask(operator::create(part), true);
            }
            Happening::Heal => self.heal()?,
            Happening::Resume => self.resume(),
            Happening::Notices => self.world.inner().notices(),
        }
        Ok(())
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.world.inner().judges.violation()
    }
}

fn back(at: Timestamp, ahead: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
}
