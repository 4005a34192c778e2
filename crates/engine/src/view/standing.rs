//! How targets stand, a byte for each: a chunk of 4,096 of them is one row, and how many of each
//! chunk stand how is another. So a campaign of a million targets begins with some hundred rows, one
//! that is cancelled changes as many, and a page of those that stand so looks only where there are
//! any.

use std::collections::BTreeMap;

use hedgerow_core::{Campaign, FailureReason, GivenUp, Settlement, TargetStatus};

/// How many targets a chunk has.
pub(super) const CHUNK: u32 = 4_096;

/// How a target stands, in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing(pub(super) u8);

/// The byte of the first reason for which a policy gives a target up; each has its own.
const GIVEN_UP: u8 = 6;
/// The byte of the first failure; each reason has its own.
pub(super) const FAILED: u8 = 16;

impl Standing {
    pub(super) fn of(status: TargetStatus, settlement: Settlement) -> Self {
        Self(match settlement {
            Settlement::Open if status == TargetStatus::InProgress => 1,
            Settlement::Open => 0,
            Settlement::UpToDate => 2,
            Settlement::Reported => 3,
            Settlement::Confirmed => 4,
            Settlement::Cancelled => 5,
            Settlement::GivenUp(reason) => {
                let place = GivenUp::ALL.iter().position(|one| *one == reason);
                place.and_then(|place| u8::try_from(place).ok()).unwrap_or(0) + GIVEN_UP
            }
            Settlement::Failed(reason) => {
                let place = FailureReason::ALL.iter().position(|one| *one == reason);
                FAILED
                    + place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX - FAILED)
            }
        })
    }

    pub(super) fn read(self) -> Option<(TargetStatus, Settlement)> {
        Some(match self.0 {
            0 => (TargetStatus::Idle, Settlement::Open),
            1 => (TargetStatus::InProgress, Settlement::Open),
            2 => (TargetStatus::Successful, Settlement::UpToDate),
            3 => (TargetStatus::Successful, Settlement::Reported),
            4 => (TargetStatus::Successful, Settlement::Confirmed),
            5 => (TargetStatus::Cancelled, Settlement::Cancelled),
            given_up @ GIVEN_UP..FAILED => {
                let place = usize::from(given_up - GIVEN_UP);
                (TargetStatus::Cancelled, Settlement::GivenUp(*GivenUp::ALL.get(place)?))
            }
            failed => {
                let place = usize::from(failed.checked_sub(FAILED)?);
                (TargetStatus::Failed, Settlement::Failed(*FailureReason::ALL.get(place)?))
            }
        })
    }
}

/// How many targets of a chunk stand how.
pub(super) type Sums = BTreeMap<u8, u32>;

/// The standings of a chunk of a campaign's targets, and their sums.
pub(super) fn of_chunk(campaign: &Campaign, chunk: u32) -> (Vec<u8>, Sums) {
    let from = chunk * CHUNK;
    let mut standings = Vec::with_capacity(CHUNK as usize);
    let mut sums = Sums::new();
    for place in from..from.saturating_add(CHUNK) {
        let Some((status, settlement)) = campaign.standing_at(place) else { break };
        let Standing(byte) = Standing::of(status, settlement);
        standings.push(byte);
        *sums.entry(byte).or_default() += 1;
    }
    (standings, sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_is_read_back() {
        let mut all = vec![
            (TargetStatus::Idle, Settlement::Open),
            (TargetStatus::InProgress, Settlement::Open),
            (TargetStatus::Successful, Settlement::UpToDate),
            (TargetStatus::Successful, Settlement::Reported),
            (TargetStatus::Successful, Settlement::Confirmed),
            (TargetStatus::Cancelled, Settlement::Cancelled),
        ];
        let failed = |reason: &FailureReason| (TargetStatus::Failed, Settlement::Failed(*reason));
        all.extend(FailureReason::ALL.iter().map(failed));
        let given_up = |reason: &GivenUp| (TargetStatus::Cancelled, Settlement::GivenUp(*reason));
        all.extend(GivenUp::ALL.iter().map(given_up));
        let mut bytes: Vec<u8> = Vec::new();
        for (status, settlement) in all {
            let standing = Standing::of(status, settlement);
            assert_eq!(standing.read(), Some((status, settlement)));
            bytes.push(standing.0);
        }
        bytes.sort_unstable();
        bytes.dedup();
        let all = 6 + FailureReason::ALL.len() + GivenUp::ALL.len();
        assert_eq!(bytes.len(), all, "each has a byte of its own");
    }
}
