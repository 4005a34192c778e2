//! A profile: how often each fault happens, and how devices take their updates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::{FaultKind, KINDS, PerKind};
use crate::device::{DeviceProfile, Spread};
use crate::random::Random;

/// The largest profile that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// What goes wrong in a simulation, and how often.
///
/// As a file it is JSON: `{"name": "wet string", "faults": {"message_lost": 200}, "devices": {}}`.
/// A fault that is not mentioned does not happen; what `devices` does not mention goes well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Its name, for people.
    pub name: String,
    /// The rate of each fault; see [`FaultKind::unit`].
    pub faults: BTreeMap<FaultKind, u16>,
    /// What happens to the updates of devices.
    pub devices: DeviceProfile,
    /// How many virtual minutes faults happen, at least; afterwards everything heals.
    pub minutes: u16,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            faults: BTreeMap::new(),
            devices: DeviceProfile::flawless(),
            minutes: 60,
        }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It is too long.
    #[error("the profile has {length} bytes: give one of at most {LONGEST}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It is no profile.
    #[error("{0}; `hedgerow simulate --help` shows the format, docs/simulate.md all of it")]
    Malformed(#[from] serde_json::Error),
    /// A rate above one in one.
    #[error("the rate of {} is {rate}: give at most 1000, it is per mille", kind.name())]
    Rate {
        /// The fault.
        kind: FaultKind,
        /// Its rate.
        rate: u16,
    },
    /// A time of faults that is too long.
    #[error("minutes is {minutes}: give 1 to 1440")]
    Minutes {
        /// What was given.
        minutes: u16,
    },
}

impl Profile {
    /// The names of the profiles that are built in.
    pub const BUILT_IN: [&str; 4] = ["calm", "lossy", "hostile", "mixed"];

    /// Reads a profile file.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProfileError> {
        if bytes.len() > LONGEST {
            return Err(ProfileError::TooLong { length: bytes.len() });
        }
        let profile: Self = serde_json::from_slice(bytes)?;
        if let Some((kind, rate)) = profile.faults.iter().find(|(_, rate)| **rate > 1_000) {
            return Err(ProfileError::Rate { kind: *kind, rate: *rate });
        }
        if !(1..=1_440).contains(&profile.minutes) {
            return Err(ProfileError::Minutes { minutes: profile.minutes });
        }
        Ok(profile)
    }

    /// The built-in profile of that name. `mixed` is another one for each seed.
    #[must_use]
    pub fn built_in(name: &str, seed: u64) -> Option<Self> {
        Some(match name {
            "calm" => Self::calm(),
            "lossy" => Self::lossy(),
            "hostile" => Self::hostile(),
            "mixed" => Self::mixed(seed),
            _ => return None,
        })
    }

    /// Nothing goes wrong but what a fleet in good condition meets.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            name: "calm".to_owned(),
            devices: DeviceProfile { bad_image: 20, rolls_back: 10, ..quick() },
            minutes: 30,
            ..Self::default()
        }
    }

    /// Networks are bad: messages and requests get lost, late, doubled and out of order, the
    /// platform fails now and then, devices lose their power and their network.
    #[must_use]
    pub fn lossy() -> Self {
        use FaultKind as F;
        let faults = [
            (F::MessageLost, 60),
            (F::MessageDelayed, 40),
            (F::MessageReordered, 60),
            (F::MessageDuplicated, 60),
            (F::NoticeLost, 40),
            (F::NoticeDelayed, 80),
            (F::RequestLost, 60),
            (F::RequestDelayed, 40),
            (F::RequestDuplicated, 40),
            (F::ServerError, 40),
            (F::AnswerLost, 20),
            (F::CallTimesOut, 10),
            (F::CallSlow, 30),
            (F::TransportSlow, 10),
            (F::TransportDown, 15),
            (F::DirectoryFails, 50),
            (F::DirectorySlow, 400),
            (F::DirectoryShuffles, 300),
            (F::SecondTenant, 300),
            (F::SmallChunks, 300),
            (F::OwnUrls, 250),
            (F::AsksUsers, 60),
            (F::UrlFails, 60),
            (F::PowerLoss, 60),
            (F::NetworkLoss, 120),
            (F::DeviceRemoved, 6),
            (F::PresenceFlaps, 40),
            (F::ClockWrong, 100),
            (F::ClockJumps, 20),
            (F::ClockPutBack, 20),
            (F::StaleVersion, 300),
            (F::DeviceBusy, 60),
            (F::StoredReports, 100),
        ];
        Self {
            name: "lossy".to_owned(),
            faults: faults.into_iter().collect(),
            devices: DeviceProfile {
                download_fails: 15,
                bad_image: 10,
                install_fails: 10,
                rolls_back: 20,
                power_loss_downloading: 20,
                power_loss_deploying: 20,
                download_stumbles: 100,
                download_breaks_off: 500,
                network_loss: 60,
                lost_final_report: 50,
                lost_request: 20,
                ..quick()
            },
            minutes: 60,
        }
    }

    /// Everything that can go wrong does, and often: engines die, stores fail, devices lie, people
    /// change their minds.
    #[must_use]
    pub fn hostile() -> Self {
        use FaultKind as F;
        let more = [
            (F::ClientError, 10),
            (F::CallTimesOut, 20),
            (F::TransportSlow, 40),
            (F::TransportDown, 25),
            (F::PowerLoss, 150),
            (F::NetworkLoss, 200),
            (F::PresenceFlaps, 80),
            (F::DeviceRemoved, 8),
            (F::ClockWrong, 200),
            (F::ClockJumps, 60),
            (F::ClockPutBack, 60),
            (F::DeviceBusy, 150),
            (F::StoredReports, 200),
            (F::Liar, 150),
            (F::LieSuccess, 60),
            (F::LieForeign, 100),
            (F::LieBackwards, 100),
            (F::LieCode, 100),
            (F::OperatorPauses, 90),
            (F::OperatorResumes, 80),
            (F::OperatorCancels, 30),
            (F::OperatorEdits, 60),
            (F::OperatorCreates, 45),
            (F::OperatorStartsManual, 60),
            (F::OperatorCancelsManual, 20),
            (F::EngineKilled, 25),
            (F::EngineKilledAtCall, 2),
            (F::KilledAfterCommand, 300),
            (F::DeviceClaimed, 60),
            (F::SecondEngine, 8),
            (F::EngineClockSteps, 8),
            (F::AppendFails, 8),
            (F::AppendAnswerLost, 8),
            (F::AppendKills, 2),
            (F::AppendSlow, 8),
            (F::ReadFails, 40),
            (F::EngineClockSetBack, 8),
            (F::AppendAnsweredLate, 8),
            (F::ReadSlow, 20),
            (F::StoreDown, 8),
            (F::StoreHeld, 8),
        ];
        let lossy = Self::lossy();
        let mut faults = lossy.faults;
        faults.extend(more);
        Self {
            name: "hostile".to_owned(),
            faults,
            devices: DeviceProfile { dies_after_acknowledging: 15, silent: 10, ..lossy.devices },
            minutes: 90,
        }
    }

    /// One of the others, or a swarm: some of the faults, each at a rate of its own.
    #[must_use]
    pub fn mixed(seed: u64) -> Self {
        let mut random = Random::for_device(seed, 0, 1 << 41);
        match random.below(10) {
            0 => Self::calm(),
            1 | 2 => Self::lossy(),
            3..=5 => Self::hostile(),
            _ => Self::swarm(&mut random),
        }
    }

    /// A third of the faults, at rates from a tenth to three times those of the hostile profile.
    fn swarm(random: &mut Random) -> Self {
        let hostile = Self::hostile();
        let mut faults = BTreeMap::new();
        let mut choose = |(kind, rate): (FaultKind, u16), random: &mut Random| {
            let (chosen, percent) = (random.chance(333), random.between(10..=300));
            if chosen {
                let scaled = (u64::from(rate) * percent / 100).clamp(1, 1_000);
                faults.insert(kind, u16::try_from(scaled).unwrap_or(1_000));
            }
        };
        // What was added later is drawn last: a seed goes on meaning what it meant.
        let is_older = |(kind, _): &(FaultKind, u16)| *kind < FaultKind::OwnUrls;
        let (older, later): (Vec<_>, Vec<_>) = hostile.faults.into_iter().partition(is_older);
        for fault in older {
            choose(fault, random);
        }
        let devices = if random.chance(500) { hostile.devices } else { Self::calm().devices };
        for fault in later {
            choose(fault, random);
        }
        Self { name: "swarm".to_owned(), faults, devices, minutes: hostile.minutes }
    }

    pub(super) fn rates(&self) -> PerKind<u16> {
        let mut rates = [0; KINDS];
        for (kind, rate) in &self.faults {
            rates[*kind as usize] = *rate;
        }
        rates
    }
}

/// Updates that take a minute or two and report a lot.
fn quick() -> DeviceProfile {
    DeviceProfile {
        download: Spread::seconds(5, 90),
        deploy: Spread::seconds(5, 60),
        boot: Spread::seconds(5, 40),
        outage: Spread::seconds(10, 400),
        download_steps: 10,
        deploy_steps: 5,
        ..DeviceProfile::flawless()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_back_as_it_was_written() {
        for name in Profile::BUILT_IN {
            for seed in 0..20 {
                let profile = Profile::built_in(name, seed).unwrap();
                let json = serde_json::to_vec(&profile).unwrap();
                assert_eq!(Profile::from_json(&json).unwrap(), profile);
            }
        }
    }

    #[test]
    fn what_is_no_profile_is_refused_with_what_is_wrong() {
        let refused = |json: &str| Profile::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(refused(r#"{"faults": {"message_lots": 1}}"#).contains("message_lots"));
        assert!(refused(r#"{"faults": {"liar": 1001}}"#).contains("at most 1000"));
        assert!(refused(r#"{"minutes": 0}"#).contains("1 to 1440"));
        assert!(refused(&" ".repeat(LONGEST + 1)).contains("bytes"));
    }

    #[test]
    fn the_hostile_profile_knows_every_fault() {
        let hostile = Profile::hostile();
        for kind in FaultKind::ALL {
            assert!(hostile.faults.contains_key(kind), "{kind:?}");
        }
    }
}
