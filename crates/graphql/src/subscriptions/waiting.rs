//! What waits to be told: each change once, however often it comes, and none before the rows that are
//! told from show it.

use std::collections::{HashMap, VecDeque};

use hedgerow_catalogue::Changed as How;

use super::Change;

/// How many changes wait to be sent. Where more happens the oldest are not sent: who looks at a hundred
/// thousand targets looks at the counts, and at what happens now.
const MOST: usize = 128;

/// Changes in the order in which they came.
#[derive(Default)]
pub(super) struct Waiting {
    order: VecDeque<(Change, How)>,
    /// From which position of the log on each can be told, and from which on all of it.
    positions: HashMap<(Change, How), (u64, u64)>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Has a change wait that is in the log up to that position.
    pub(super) fn put(&mut self, change: (Change, How), at: u64) {
        if let Some((_, until)) = self.positions.get_mut(&change) {
            *until = at.max(*until);
            return;
        }
        self.positions.insert(change, (at, at));
        self.order.push_back(change);
        while self.order.len() > MOST {
            // What somebody started by hand is what somebody looks at.
            let may_go = |change: &(Change, How)| !matches!(change.0, Change::Manual(_));
            let oldest = self.order.iter().position(may_go);
            if let Some(gone) = self.order.remove(oldest.unwrap_or(0)) {
                self.positions.remove(&gone);
            }
        }
    }

    /// Has a change wait again that could not be told, before all others.
    pub(super) fn put_back(&mut self, change: (Change, How), until: u64) {
        self.positions.insert(change, (0, until));
        self.order.push_front(change);
    }

    /// Takes what is to be told next by rows that are so far, and up to which position it is in the
    /// log: what somebody started by hand is not kept waiting behind a campaign.
    pub(super) fn take(&mut self, reached: u64) -> Option<((Change, How), u64)> {
        let is_ready = |change: &(Change, How)| {
            self.positions.get(change).is_none_or(|(from, _)| *from <= reached)
        };
        let by_hand =
            |change: &(Change, How)| matches!(change.0, Change::Manual(_)) && is_ready(change);
        let next = self.order.iter().position(by_hand);
        let next = next.or_else(|| self.order.iter().position(is_ready))?;
        let change = self.order.remove(next)?;
        let (_, until) = self.positions.remove(&change).unwrap_or_default();
        Some((change, until))
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::{CampaignId, DeviceId, OperationId};

    use super::*;

    fn target(number: u8) -> (Change, How) {
        let campaign = CampaignId::from_uuid(uuid::Uuid::nil());
        (Change::Target(campaign, DeviceId::from_bytes([number; 16])), How::Updated)
    }

    fn by_hand(number: u128) -> (Change, How) {
        (Change::Manual(OperationId::from_uuid(uuid::Uuid::from_u128(number))), How::Updated)
    }

    #[test]
    fn nothing_is_told_before_rows_show_it_and_what_came_since_is_told_again() {
        let mut waiting = Waiting::default();
        waiting.put(target(1), 10);
        waiting.put(target(2), 12);
        assert_eq!(waiting.take(9), None);
        waiting.put(target(1), 15);
        assert_eq!(waiting.take(10), Some((target(1), 15)), "rows show it in part");
        assert_eq!(waiting.take(10), None);
        assert_eq!(waiting.take(12), Some((target(2), 12)));
        assert!(waiting.is_empty());
        waiting.put(target(1), 15);
        assert_eq!(waiting.take(14), None, "the rest is told when rows show it");
        assert_eq!(waiting.take(15), Some((target(1), 15)));
    }

    #[test]
    fn what_was_started_by_hand_comes_first_and_stays_longest_in_its_order() {
        let mut waiting = Waiting::default();
        waiting.put(target(1), 0);
        for number in 0..200 {
            waiting.put(by_hand(number), 0);
        }
        for number in 72..200 {
            assert_eq!(waiting.take(0), Some((by_hand(number), 0)));
        }
        assert!(waiting.is_empty(), "the target went before them");
        waiting.put(target(1), 1);
        waiting.put(by_hand(1), 2);
        assert_eq!(waiting.take(1), Some((target(1), 1)), "it does not wait for what is not ready");
    }

    #[test]
    fn what_could_not_be_told_is_the_next_again() {
        let mut waiting = Waiting::default();
        waiting.put(target(1), 3);
        waiting.put(target(2), 3);
        let (first, until) = waiting.take(3).unwrap();
        waiting.put_back(first, until);
        assert_eq!(waiting.take(3), Some((target(1), 3)));
    }
}
