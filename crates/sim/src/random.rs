//! The one source of chance in a simulation: the same seed gives the same numbers, for ever.
//!
//! The sequence is part of what this crate promises, because a seed in a bug report must still
//! replay years later. It is therefore specified here and depends on no other crate:
//!
//! * The generator is `SplitMix64`. Its state is 64 bits, at first the seed. Each draw adds
//!   `0x9E37_79B9_7F4A_7C15` to the state and returns `mix(state)`.
//! * `mix(z)` is: `z ^= z >> 30`, `z *= 0xBF58_476D_1CE4_E5B9`, `z ^= z >> 27`,
//!   `z *= 0x94D0_49BB_1331_11EB`, `z ^= z >> 31`.
//! * A device's generator starts from `mix(mix(mix(seed) ^ index) ^ stream)`.
//! * `below(n)` is the upper half of the 128-bit product of one draw and `n`.
//! * `chance(per_mille)` is `below(1000) < per_mille`.
//! * `between(low..=high)` is `low + below(high - low + 1)`; over all 64 bits it is one draw.
//!
//! All arithmetic wraps. Every call makes exactly one draw, whatever its arguments, so that
//! changing a probability does not shift what is drawn after it.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A small seeded generator of pseudo-random numbers. See the [module](self) for what it promises.
///
/// ```
/// use hedgerow_sim::random::Random;
///
/// let mut random = Random::new(1_234_567);
/// assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The generator of one device of a simulation, for one purpose: `index` counts the devices,
    /// `stream` tells the purposes of a device apart, so that no use of chance disturbs another.
    #[must_use]
    pub const fn for_device(seed: u64, index: u64, stream: u64) -> Self {
        Self::new(mix(mix(mix(seed) ^ index) ^ stream))
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(INCREMENT);
        mix(self.state)
    }

    /// A number less than `n`; zero if `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(n);
        // The upper half of a product of two 64-bit numbers fits in 64 bits.
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// True in `per_mille` of a thousand cases; always from 1000 on.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        self.below(1_000) < u64::from(per_mille)
    }

    /// A number of the range, each equally likely; its start if the range is empty.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        match high.saturating_sub(low).checked_add(1) {
            Some(size) => low + self.below(size),
            None => self.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn the_generators_of_devices_never_change() {
        let drawn: Vec<u64> = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (42, 7, 1 << 32)]
            .into_iter()
            .map(|(seed, index, stream)| {
                Random::for_device(seed, index, stream).between(0..=999_999)
            })
            .collect();
        assert_eq!(drawn, [883_310, 102_209, 255_885, 749_748, 69_347]);
    }

    #[test]
    fn a_chance_comes_about_as_often_as_it_says() {
        let mut random = Random::new(9);
        let hits = (0..100_000).filter(|_| random.chance(20)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| random.chance(1_000)));
        assert!((0..1_000).all(|_| !random.chance(0)));
    }

    proptest! {
        #[test]
        fn a_number_between_two_lies_between_them(seed: u64, a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!((low..=high).contains(&Random::new(seed).between(low..=high)));
        }

        #[test]
        fn every_call_draws_once(seed: u64, n: u64, per_mille: u16, low: u64, high: u64) {
            let mut random = Random::new(seed);
            let mut counted = Random::new(seed);
            random.below(n);
            random.chance(per_mille);
            random.between(low..=high);
            for _ in 0..3 {
                counted.next_u64();
            }
            prop_assert_eq!(random, counted);
        }
    }
}
