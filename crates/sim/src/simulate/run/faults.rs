//! Faults that happen by themselves: drawn minute by minute, done at their moment, and healed at last.

use std::time::Duration;

use hedgerow_core::{CampaignId, CampaignStatus, ConsentAnswer, DeviceId};

use super::{LATEST, Run};
use crate::device::DeviceInput;
use crate::simulate::SimulateError;
use crate::simulate::cast;
use crate::simulate::check::Checker;
use crate::simulate::fault::{FaultKind, Unit};
use crate::simulate::operator;
use crate::simulate::world::Happening;

impl Run<'_> {
    /// Draws the faults of the next minute.
    pub(super) fn minute(&mut self) {
        let inner = &mut *self.world.inner();
        for kind in FaultKind::ALL.iter().copied() {
            let rate = inner.faults.rate(kind);
            if kind.unit() == Unit::PerMilleOfMinutes && rate > 0 {
                let random = inner.faults.random();
                let (happens, after) = (random.chance(rate), random.below(60_000));
                if happens {
                    inner.schedule_in(Duration::from_millis(after), Happening::Fault(kind));
                }
            }
        }
        let exhausted = self.setup.stop_faults_after.is_some() && !inner.faults.are_on();
        if exhausted && !self.calmed {
            self.calmed = true;
            inner.calm_devices();
        }
        if self.deadline.is_none() {
            inner.schedule_in(Duration::from_secs(60), Happening::Minute);
        }
    }

    /// Users who are asked answer, or change their minds, or say nothing (P15).
    pub(super) fn users_answer(&mut self) {
        let mut answers = Vec::new();
        for tenant in 0..self.castings.len() {
            let asked = self.world.inner().judges.of(tenant).asked_users();
            for (id, device) in asked {
                if self.users.chance(150) {
                    let granted = self.users.chance(600);
                    let answer =
                        if granted { ConsentAnswer::Granted } else { ConsentAnswer::Declined };
                    answers.push(operator::consent(tenant, id, device, answer));
                }
            }
        }
        for answer in answers {
            self.ask(answer, false);
        }
    }

    pub(super) fn fault(&mut self, kind: FaultKind) -> Result<(), SimulateError> {
        use FaultKind as F;
        match kind {
            F::OperatorCreates => {
                let tenant = self.some_tenant();
                let now = self.now();
                let part = self.castings[tenant].campaign(self.created[tenant], now);
                self.created[tenant] += 1;
                let rate = self.setup.profile.rates()[F::AsksUsers as usize];
                let (changed, asks) = cast::asking_users(self.setup.seed, rate, part.clone());
                let asks = asks && self.world.inner().faults.inject(F::AsksUsers);
                let part = if asks { changed } else { part };
                if self.world.inner().faults.inject(kind) {
                    self.mark(kind, None);
                    self.ask(operator::create(part), false);
                }
                Ok(())
            }
            F::OperatorPauses
            | F::OperatorResumes
            | F::OperatorCancels
            | F::OperatorEdits
            | F::OperatorStartsManual
            | F::OperatorCancelsManual => {
                self.operate(kind);
                Ok(())
            }
            F::EngineKilled => {
                let mut inner = self.world.inner();
                if inner.engines[0].alive && inner.faults.inject(kind) {
                    inner.engines[0].doomed = true;
                    inner.mark(None, || "engine 0 is killed".to_owned());
                }
                Ok(())
            }
            F::SecondEngine => self.start_second_engine(),
            F::DeviceClaimed => {
                self.claim_devices();
                Ok(())
            }
            F::EngineClockSteps | F::EngineClockSetBack => {
                self.put_clock_right(kind);
                Ok(())
            }
            F::StoreDown | F::StoreHeld => {
                let mut inner = self.world.inner();
                let longest = if kind == F::StoreDown { 120_000 } else { 60_000 };
                let until = inner.now + inner.some_ms(longest);
                if inner.faults.inject(kind) {
                    inner.mark(None, || format!("{} until {until}", kind.name()));
                    let until_then = if kind == F::StoreDown {
                        &mut inner.store_down_until
                    } else {
                        &mut inner.store_held_until
                    };
                    *until_then = (*until_then).max(Some(until));
                }
                Ok(())
            }
            F::AppendFails => {
                self.world.inner().next_append_fails = true;
                Ok(())
            }
            F::TransportSlow => {
                let inner = &mut *self.world.inner();
                let lasts = inner.some_ms(180_000);
                if inner.faults.inject(kind) {
                    inner.slow_until = inner.slow_until.max(Some(inner.now + lasts));
                    inner.mark(None, || format!("transport_slow for {lasts:?}"));
                    inner.appends_fail_within(lasts);
                }
                Ok(())
            }
            F::TransportDown => {
                let mut inner = self.world.inner();
                let lasts = Duration::from_secs(60) + inner.some_ms(540_000);
                if inner.faults.inject(kind) {
                    inner.down_until = inner.down_until.max(Some(inner.now + lasts));
                    inner.mark(None, || format!("transport_down for {lasts:?}"));
                }
                Ok(())
            }
            _ => {
                self.device_fault(kind);
                Ok(())
            }
        }
    }

    /// Somebody puts the wall clock forward or back. Two engines would not go by the same time
    /// then, so there is only one.
    fn put_clock_right(&mut self, kind: FaultKind) {
        let mut inner = self.world.inner();
        let forward = kind == FaultKind::EngineClockSteps;
        let step = inner.some_ms(if forward { 3_600_000 } else { 86_400_000 });
        if !forward && inner.engines[1].alive || !inner.faults.inject(kind) {
            return;
        }
        let ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
        inner.wall_ahead += if forward { ms } else { -ms };
        inner.mark(None, move || format!("{} by {step:?}", kind.name()));
        let wall = inner.wall();
        self.clock.put_right(wall);
        let before = inner.engine_time;
        inner.engine_time = before.max(wall);
        let (followed, now) = (inner.engine_time.since(before), inner.engine_time);
        inner.judges.clock_steps(followed, now);
    }

    fn mark(&self, kind: FaultKind, device: Option<DeviceId>) {
        let mut inner = self.world.inner();
        inner.mark(device, || kind.name().to_owned());
    }

    fn operate(&mut self, kind: FaultKind) {
        let tenant = self.some_tenant();
        let devices: Vec<DeviceId> = {
            let inner = self.world.inner();
            let all = inner.register.all();
            let own = all.filter(|device| device.tenant == tenant && !device.removed);
            own.map(|device| device.id).collect()
        };
        self.manuals[tenant] += 1;
        let request = {
            let inner = &mut *self.world.inner();
            let number = self.manuals[tenant];
            let casting = &mut self.castings[tenant];
            let judge = inner.judges.get(tenant);
            let drawn = operator::draw(kind, tenant, casting, judge, &devices, number);
            drawn.filter(|_| inner.faults.inject(kind))
        };
        if let Some(request) = request {
            self.mark(kind, None);
            self.ask(request, false);
            let inner = &mut *self.world.inner();
            if kind == FaultKind::OperatorPauses && inner.faults.random().chance(700) {
                let after = inner.some_ms(30_000);
                inner.schedule_in(after, Happening::Fault(FaultKind::OperatorResumes));
            }
        }
    }

    /// The tenant of which somebody does something.
    fn some_tenant(&self) -> usize {
        if self.castings.len() == 1 {
            return 0;
        }
        usize::from(self.world.inner().faults.random().chance(400))
    }

    fn start_second_engine(&mut self) -> Result<(), SimulateError> {
        {
            let mut inner = self.world.inner();
            let lasts = inner.some_ms(600_000);
            let may = self.setup.second_engine && !inner.engines[1].alive && !inner.is_behind();
            if !may || !inner.faults.inject(FaultKind::SecondEngine) {
                return Ok(());
            }
            inner.mark(None, || format!("second_engine for {lasts:?}"));
            inner.schedule_in(lasts, Happening::EngineEnds(1));
        }
        self.start_engine(1)
    }

    /// Another program takes the claims to up to four devices: this engine's operations on them are
    /// refused until it lets go (E5).
    fn claim_devices(&mut self) {
        let inner = &mut *self.world.inner();
        let count = inner.faults.random().between(1..=4);
        let devices: Vec<u32> = (0..count).filter_map(|_| inner.some_device()).collect();
        let until = inner.now + inner.some_ms(120_000);
        if devices.is_empty() || !inner.faults.inject(FaultKind::DeviceClaimed) {
            return;
        }
        for index in devices {
            let (tenant, device) = inner.who(index);
            inner.mark(Some(device), || format!("device_claimed until {until}"));
            inner.claimed.insert((tenant, device), until);
        }
    }

    fn device_fault(&mut self, kind: FaultKind) {
        let mut inner = self.world.inner();
        let device = match kind {
            // In the middle of an update, if there is one.
            FaultKind::ClockPutBack | FaultKind::StoredReports => inner.some_device_at_work(),
            _ => inner.some_device(),
        };
        let lasts = inner.some_ms(600_000);
        let jump = inner.faults.random().between(0..=2_000);
        let Some(index) = device.filter(|_| inner.faults.inject(kind)) else { return };
        let now = inner.now;
        let (_, id) = inner.who(index);
        inner.mark(Some(id), || kind.name().to_owned());
        match kind {
            FaultKind::PowerLoss => {
                inner.schedule(now, Happening::Device(index, DeviceInput::PowerLoss));
                inner.schedule(now + lasts, Happening::Device(index, DeviceInput::PowerRestored));
            }
            FaultKind::NetworkLoss => {
                inner.schedule(now, Happening::Device(index, DeviceInput::NetworkLost));
                let back = now + lasts / 2;
                inner.schedule(back, Happening::Device(index, DeviceInput::NetworkRestored));
            }
            FaultKind::PresenceFlaps => {
                for flap in 0..3 {
                    let lost = now + Duration::from_millis(flap * 1_900);
                    inner.schedule(lost, Happening::Device(index, DeviceInput::NetworkLost));
                    let back = lost + Duration::from_millis(1 + jump % 1_800);
                    inner.schedule(back, Happening::Device(index, DeviceInput::NetworkRestored));
                }
            }
            FaultKind::DeviceRemoved => inner.remove(index),
            FaultKind::ClockJumps => {
                let days = i64::try_from(jump).unwrap_or(0) - 1_000;
                let ms = if jump.is_multiple_of(2) { days * 86_400 } else { days * 86_400_000 };
                inner.thing(index).clock_offset_ms += ms;
            }
            FaultKind::ClockPutBack => {
                let ms = i64::try_from(jump).unwrap_or(0) * 1_800;
                inner.thing(index).clock_offset_ms -= ms;
            }
            FaultKind::DeviceBusy => {
                inner.thing(index).busy_until = Some(now + lasts * 2);
            }
            FaultKind::StoredReports => inner.tell_stored_reports(index),
            _ => {}
        }
    }

    /// Faults stop, and everything that can come back does.
    pub(super) fn heal(&mut self) -> Result<(), SimulateError> {
        self.rows.heal();
        {
            let mut inner = self.world.inner();
            inner.faults.end();
            inner.healed_at = Some(inner.now);
            inner.down_until = None;
            inner.slow_until = None;
            inner.store_down_until = None;
            inner.store_held_until = None;
            inner.claimed.clear();
            inner.note(None, None, || "faults stop, everything heals".to_owned());
            inner.heal_devices();
            if inner.engines[1].alive {
                inner.engines[1].doomed = true;
            }
            inner.schedule_in(Duration::from_secs(60), Happening::Resume);
            inner.schedule_in(LATEST, Happening::Notices);
            // Engines go by a clock that may have been put back, and campaigns are scheduled by it.
            let behind = u64::try_from(-inner.wall_ahead).unwrap_or_default();
            let bound = inner.judges.bound() + Duration::from_millis(behind);
            self.deadline = Some(inner.now + bound);
        }
        self.start_engine(0)
    }

    /// Nobody leaves a campaign paused.
    pub(super) fn resume(&mut self) {
        let paused: Vec<(usize, CampaignId)> = {
            let mut inner = self.world.inner();
            inner.schedule_in(Duration::from_secs(600), Happening::Resume);
            let paused = [CampaignStatus::Pausing, CampaignStatus::Paused];
            let of = |(tenant, judge): (usize, &Checker)| {
                let is_paused = |id: &CampaignId| {
                    judge.status(*id).is_some_and(|status| paused.contains(&status))
                };
                let ids: Vec<_> = judge.campaigns().filter(is_paused).collect();
                ids.into_iter().map(move |id| (tenant, id))
            };
            inner.judges.each().flat_map(of).collect()
        };
        for (tenant, id) in paused {
            self.ask(operator::resume(tenant, id), false);
        }
    }
}
