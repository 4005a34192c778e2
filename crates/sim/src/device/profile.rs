//! What happens to a device's updates: how long they take, and how often what goes wrong.
//!
//! A [`DeviceProfile`] is the adjustable description; a `Plan` is what chance made of it for one
//! attempt. A plan is drawn once, when the device accepts an update, so that nothing that happens
//! meanwhile changes how the attempt goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// How many times a device tries to download an image before it gives up.
pub(super) const MAX_TRIES: u8 = 5;

/// A span of time that varies, from the shortest to the longest, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The shortest.
    pub min_ms: u32,
    /// The longest. Less than the shortest counts as equal to it.
    pub max_ms: u32,
}

impl Spread {
    /// Always the same time.
    #[must_use]
    pub const fn exactly_ms(ms: u32) -> Self {
        Self { min_ms: ms, max_ms: ms }
    }

    /// Any time from `min` to `max` seconds.
    #[must_use]
    pub const fn seconds(min: u32, max: u32) -> Self {
        Self { min_ms: min.saturating_mul(1_000), max_ms: max.saturating_mul(1_000) }
    }

    pub(super) fn draw(self, random: &mut Random) -> u32 {
        let drawn = random.between(u64::from(self.min_ms)..=u64::from(self.max_ms));
        u32::try_from(drawn).unwrap_or(self.max_ms)
    }
}

/// What happens to the updates of a device. All rates are per mille of the attempts, unless they
/// say otherwise.
///
/// The rates from `download_fails` to `dies_after_acknowledging` exclude each other: an attempt
/// meets at most one of them, and what is over 1000 in their sum is cut off at the end. The others
/// come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceProfile {
    /// How long a whole download takes.
    pub download: Spread,
    /// How long a whole installation takes.
    pub deploy: Spread,
    /// From the moment the device goes down, or its power comes back, until its software runs.
    pub boot: Spread,
    /// How long the power or the network is away when the profile's own chance takes it away.
    pub outage: Spread,
    /// In how many equal pieces a download comes, 1 to 100. What a device reports of them is
    /// up to its flavour.
    pub download_steps: u8,
    /// In how many equal steps an installation proceeds, 1 to 100.
    pub deploy_steps: u8,

    /// Every try to download meets a network error.
    pub download_fails: u16,
    /// What was downloaded is no image for this device.
    pub bad_image: u16,
    /// The installation breaks off with an error.
    pub install_fails: u16,
    /// The device boots its old image after the installation.
    pub rolls_back: u16,
    /// The power fails, for an `outage`, while the device downloads.
    pub power_loss_downloading: u16,
    /// The power fails, for an `outage`, while the device installs.
    pub power_loss_deploying: u16,
    /// The device acknowledges the update and is never heard of again.
    pub dies_after_acknowledging: u16,

    /// One to four tries to download meet a network error before one succeeds.
    pub download_stumbles: u16,
    /// Of the downloads that meet network errors, those that break off in the middle; the others
    /// do not even begin.
    pub download_breaks_off: u16,
    /// The network goes away, for an `outage`, at some moment of the update.
    pub network_loss: u16,
    /// The report after the reboot is lost.
    pub lost_final_report: u16,
    /// A request is lost on its way to a connected device. Per mille of the requests.
    pub lost_request: u16,
    /// The device stays connected and answers no request, ever. Per mille of the devices.
    pub silent: u16,
}

impl DeviceProfile {
    /// Quick updates in which nothing goes wrong: the base of profiles that try one thing out.
    #[must_use]
    pub const fn flawless() -> Self {
        Self {
            download: Spread::exactly_ms(20_000),
            deploy: Spread::exactly_ms(10_000),
            boot: Spread::exactly_ms(15_000),
            outage: Spread::exactly_ms(60_000),
            download_steps: 10,
            deploy_steps: 5,
            download_fails: 0,
            bad_image: 0,
            install_fails: 0,
            rolls_back: 0,
            power_loss_downloading: 0,
            power_loss_deploying: 0,
            dies_after_acknowledging: 0,
            download_stumbles: 0,
            download_breaks_off: 0,
            network_loss: 0,
            lost_final_report: 0,
            lost_request: 0,
            silent: 0,
        }
    }

    /// A fleet in fair condition: about two in a hundred updates fail, in mixed ways, and a few
    /// more meet something that the rollout has to bear.
    #[must_use]
    pub const fn typical() -> Self {
        Self {
            download: Spread::seconds(20, 120),
            deploy: Spread::seconds(15, 60),
            boot: Spread::seconds(15, 45),
            outage: Spread::seconds(30, 300),
            download_steps: 25,
            deploy_steps: 8,
            download_fails: 4,
            bad_image: 3,
            install_fails: 2,
            rolls_back: 4,
            power_loss_downloading: 2,
            power_loss_deploying: 3,
            dies_after_acknowledging: 1,
            download_stumbles: 30,
            download_breaks_off: 500,
            network_loss: 10,
            lost_final_report: 5,
            lost_request: 5,
            silent: 1,
        }
    }

    fn draw_fate(&self, random: &mut Random) -> Fate {
        let fates = [
            (self.download_fails, Fate::DownloadFails),
            (self.bad_image, Fate::BadImage),
            (self.install_fails, Fate::InstallFails),
            (self.rolls_back, Fate::RollsBack),
            (self.power_loss_downloading, Fate::PowerLossDownloading),
            (self.power_loss_deploying, Fate::PowerLossDeploying),
            (self.dies_after_acknowledging, Fate::Dies),
        ];
        let drawn = random.below(1_000);
        let mut bound = 0;
        for (rate, fate) in fates {
            bound += u64::from(rate);
            if drawn < bound {
                return fate;
            }
        }
        Fate::Succeeds
    }
}

impl Default for DeviceProfile {
    /// The flawless one: what a profile does not mention does not go wrong.
    fn default() -> Self {
        Self::flawless()
    }
}

/// The one grave thing that happens to an attempt, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fate {
    Succeeds,
    DownloadFails,
    BadImage,
    InstallFails,
    RollsBack,
    PowerLossDownloading,
    PowerLossDeploying,
    Dies,
}

/// How one attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) fate: Fate,
    pub(super) download_ms: u32,
    pub(super) deploy_ms: u32,
    pub(super) boot_ms: u32,
    pub(super) outage_ms: u32,
    pub(super) download_steps: u8,
    pub(super) deploy_steps: u8,
    /// How many tries to download fail before one succeeds; [`MAX_TRIES`] if none does.
    pub(super) failing_tries: u8,
    /// The percentage at which failing downloads break off; 0 if they do not even begin.
    pub(super) breaks_off_at: u8,
    /// The percentage at which the fate strikes, where it strikes in the middle of a phase.
    pub(super) strikes_at: u8,
    /// How long after the acknowledgement the network goes away.
    pub(super) network_loss_after_ms: Option<u32>,
    pub(super) final_report_lost: bool,
}

impl Plan {
    /// Draws a plan. Every draw is made in every case, in this order: a changed rate changes what
    /// it is about and nothing else.
    pub(super) fn draw(profile: &DeviceProfile, random: &mut Random) -> Self {
        let fate = profile.draw_fate(random);
        let download_ms = profile.download.draw(random);
        let deploy_ms = profile.deploy.draw(random);
        let boot_ms = profile.boot.draw(random);
        let outage_ms = profile.outage.draw(random);
        let strikes_at = percentage(random, 5, 95);
        let stumbles = random.chance(profile.download_stumbles);
        let stumbling_tries = percentage(random, 1, MAX_TRIES - 1);
        let breaks_off = random.chance(profile.download_breaks_off);
        let breaking_point = percentage(random, 5, 95);
        let loses_network = random.chance(profile.network_loss);
        let network_loss_at = u64::from(percentage(random, 0, 100));
        let final_report_lost = random.chance(profile.lost_final_report);

        let busy_ms = u64::from(download_ms) + u64::from(deploy_ms);
        let network_loss_after = u32::try_from(busy_ms * network_loss_at / 100).unwrap_or(u32::MAX);
        Self {
            fate,
            download_ms,
            deploy_ms,
            boot_ms,
            outage_ms,
            download_steps: profile.download_steps,
            deploy_steps: profile.deploy_steps,
            failing_tries: match fate {
                Fate::DownloadFails => MAX_TRIES,
                _ if stumbles => stumbling_tries,
                _ => 0,
            },
            breaks_off_at: if breaks_off { breaking_point } else { 0 },
            strikes_at,
            network_loss_after_ms: loses_network.then_some(network_loss_after),
            final_report_lost,
        }
    }

    pub(super) fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms.into())
    }

    pub(super) fn outage(&self) -> Duration {
        Duration::from_millis(self.outage_ms.into())
    }
}

fn percentage(random: &mut Random, low: u8, high: u8) -> u8 {
    u8::try_from(random.between(u64::from(low)..=u64::from(high))).unwrap_or(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_a_seed_never_changes() {
        let plan = Plan::draw(&DeviceProfile::typical(), &mut Random::new(42));
        let expected = Plan {
            fate: Fate::Succeeds,
            download_ms: 35_991,
            deploy_ms: 27_537,
            boot_ms: 25_326,
            outage_ms: 40_268,
            download_steps: 25,
            deploy_steps: 8,
            failing_tries: 0,
            breaks_off_at: 61,
            strikes_at: 84,
            network_loss_after_ms: None,
            final_report_lost: false,
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn a_changed_rate_changes_nothing_but_what_it_is_about() {
        for seed in 0..1_000 {
            let typical = DeviceProfile::typical();
            let before = Plan::draw(&typical, &mut Random::new(seed));
            let lossy = DeviceProfile { network_loss: 1_000, ..typical };
            let after = Plan::draw(&lossy, &mut Random::new(seed));
            let network_loss_after_ms = before.network_loss_after_ms;
            assert_eq!(before, Plan { network_loss_after_ms, ..after });
        }
    }

    #[test]
    fn rates_that_exclude_each_other_share_the_attempts() {
        let profile =
            DeviceProfile { bad_image: 600, rolls_back: 600, ..DeviceProfile::flawless() };
        let mut random = Random::new(5);
        let fates: Vec<Fate> = (0..1_000).map(|_| profile.draw_fate(&mut random)).collect();
        let count = |fate| fates.iter().filter(|&&drawn| drawn == fate).count();
        assert!((550..650).contains(&count(Fate::BadImage)));
        assert_eq!(count(Fate::BadImage) + count(Fate::RollsBack), 1_000);
    }
}
