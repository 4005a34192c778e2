//! Looking up who is online: what is told while a look-up is under way is newer than what it will
//! say, and the answer of a look-up that is not the latest is void (E7, E11).

use std::collections::BTreeMap;

use hedgerow_core::{DeviceId, Input, Presence};

/// The number of a look-up of presence, alone or as part of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LookUp(u64);

/// The latest look-up, while it is under way.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    latest: LookUp,
    /// What was told since it began; `None`: that the device does not exist any more.
    told: Option<BTreeMap<DeviceId, Option<Presence>>>,
}

impl LookUps {
    /// A look-up begins; the answer of any other is void from now on.
    pub(super) fn begin(&mut self) -> LookUp {
        self.latest = LookUp(self.latest.0 + 1);
        self.told = Some(BTreeMap::new());
        self.latest
    }

    /// The answers of all that are under way are void.
    pub(super) fn abandon(&mut self) {
        self.told = None;
    }

    /// Whether the answer of one is waited for.
    pub(super) fn is_under_way(&self) -> bool {
        self.told.is_some()
    }

    /// Keeps what is told while one is under way.
    pub(super) fn note(&mut self, input: &Input) {
        let Some(told) = &mut self.told else { return };
        match input {
            Input::Presence { device, presence } => {
                told.insert(*device, Some(*presence));
            }
            Input::DeviceRemoved { device } => {
                told.insert(*device, None);
            }
            _ => {}
        }
    }

    /// What a look-up said, with what was told since it began in place of what is older; nothing if
    /// it is void.
    pub(super) fn answered(
        &mut self,
        look_up: LookUp,
        mut inputs: Vec<Input>,
        is_last: bool,
    ) -> Vec<Input> {
        if look_up != self.latest || self.told.is_none() {
            return Vec::new();
        }
        let Some(told) = self.told.take_if(|_| is_last) else { return inputs };
        for input in &mut inputs {
            let (Input::Presence { device, .. } | Input::DeviceRemoved { device }) = input else {
                continue;
            };
            let device = *device;
            // A directory may name a device twice.
            match told.get(&device) {
                Some(&Some(presence)) => *input = Input::Presence { device, presence },
                Some(None) => *input = Input::DeviceRemoved { device },
                None => {}
            }
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_core::Timestamp;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);

    fn presence(presence: Presence) -> Input {
        Input::Presence { device: DEVICE, presence }
    }

    fn online() -> Input {
        presence(Presence::Online { since: Timestamp::from_millis(7) })
    }

    #[test]
    fn what_is_told_during_a_look_up_wins_over_its_answer_and_nothing_else_does() {
        let mut look_ups = LookUps::default();
        look_ups.note(&online());
        let look_up = look_ups.begin();
        let offline = vec![presence(Presence::Offline)];
        let mut untold = LookUps { latest: look_up, told: Some(BTreeMap::new()) };
        assert_eq!(untold.answered(look_up, offline.clone(), true), offline, "told before");
        look_ups.note(&online());
        assert_eq!(
            look_ups.answered(look_up, offline.clone(), false),
            offline,
            "not the last part"
        );
        assert_eq!(look_ups.answered(look_up, offline.clone(), true), [online()]);
        assert_eq!(look_ups.answered(look_up, offline, true), [], "it was answered");
    }

    #[test]
    fn a_device_that_was_removed_or_came_back_during_a_look_up_stays_so() {
        let removed = Input::DeviceRemoved { device: DEVICE };
        for (told, said) in [(removed.clone(), online()), (online(), removed)] {
            let mut look_ups = LookUps::default();
            let look_up = look_ups.begin();
            look_ups.note(&told);
            let twice = vec![said.clone(), said];
            assert_eq!(look_ups.answered(look_up, twice, true), [told.clone(), told]);
        }
    }

    #[test]
    fn the_answer_of_an_earlier_look_up_is_void() {
        let mut look_ups = LookUps::default();
        let earlier = look_ups.begin();
        let latest = look_ups.begin();
        look_ups.note(&online());
        let offline = vec![presence(Presence::Offline)];
        assert_eq!(look_ups.answered(earlier, offline.clone(), true), []);
        assert_eq!(look_ups.answered(latest, offline.clone(), true), [online()]);
        let abandoned = look_ups.begin();
        look_ups.abandon();
        assert_eq!(look_ups.answered(abandoned, offline, true), []);
    }
}
