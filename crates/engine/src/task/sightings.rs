//! Where the devices of a stream are. What is told of a device and what is looked up meet here, and
//! nowhere else: the newest sighting counts, whichever way it came and whenever it arrives (E7).
//!
//! Before a look-up the core knows nothing that a look-up could overwrite, and after it the core has
//! what was told one after the other. So what was told needs to be kept only while one is under way.
//! An answer belongs to its look-up: that of any other than the latest is void (E11).

use std::collections::BTreeMap;

use hedgerow_core::{DeviceId, Input};

use crate::{Moment, Sighting};

/// A look-up of presence, alone or as part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookUp {
    /// When it began: what has happened since then was told. A sighting as of an earlier moment is
    /// no answer to it.
    pub(crate) began: Moment,
}

#[derive(Debug)]
pub(super) struct Sightings {
    /// Of how many devices is kept what is told of them.
    most: usize,
    /// The latest look-up, while it is under way, and what was told since it began.
    under_way: Option<(LookUp, BTreeMap<DeviceId, Sighting>)>,
    /// As of this every device was looked up: what is older says nothing any more.
    looked_up: Option<Moment>,
}

/// As much is kept of what was told as may: more can be told when the look-up has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Sightings {
    pub(super) fn keeping(most: usize) -> Self {
        Self { most, under_way: None, looked_up: None }
    }

    /// A look-up begins; the answer of any other is void from now on.
    pub(super) fn begin(&mut self) -> LookUp {
        let look_up = LookUp { began: Moment::now() };
        self.under_way = Some((look_up, BTreeMap::new()));
        look_up
    }

    /// The answers of all that are under way are void.
    pub(super) fn abandon(&mut self) {
        self.under_way = None;
    }

    /// Whether the answer of one is waited for.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// What a device that was told of means, unless something newer is known of it.
    pub(super) fn told(
        &mut self,
        device: DeviceId,
        sighting: Sighting,
    ) -> Result<Option<Input>, Full> {
        if self.looked_up.is_some_and(|looked_up| sighting.as_of < looked_up) {
            return Ok(None);
        }
        if let Some((_, told)) = &mut self.under_way {
            if told.len() >= self.most && !told.contains_key(&device) {
                return Err(Full);
            }
            let newest = told.entry(device).or_insert(sighting);
            if newest.as_of > sighting.as_of {
                return Ok(None);
            }
            *newest = sighting;
        }
        Ok(Some(input(device, sighting)))
    }

    /// Gives what a look-up found means, each device by the newest that is known of it; `false` if
    /// the look-up is void.
    pub(super) fn looked_up(
        &mut self,
        look_up: LookUp,
        found: &[(DeviceId, Sighting)],
        is_last: bool,
        give: impl FnMut(Input),
    ) -> bool {
        let latest = self.under_way.as_ref().filter(|(latest, _)| *latest == look_up);
        let Some((_, told)) = latest else { return false };
        let newest = |&(device, found): &(DeviceId, Sighting)| {
            // A directory may name a device twice.
            let told = told.get(&device).copied().unwrap_or(found);
            input(device, told.newest(found))
        };
        found.iter().map(newest).for_each(give);
        if is_last {
            self.under_way = None;
            let oldest = found.iter().map(|(_, sighting)| sighting.as_of).min();
            self.looked_up = oldest.or(self.looked_up);
        }
        true
    }
}

/// What a sighting means to a campaign or a manual update.
fn input(device: DeviceId, sighting: Sighting) -> Input {
    match sighting.presence {
        Some(presence) => Input::Presence { device, presence },
        None => Input::DeviceRemoved { device },
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::{Presence, Timestamp};

    use super::*;

    const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 16]);
    const OFFLINE: Option<Presence> = Some(Presence::Offline);
    const ONLINE: Option<Presence> = Some(Presence::Online { since: Timestamp::from_millis(7) });

    fn now(presence: Option<Presence>) -> Sighting {
        Sighting::now(presence)
    }

    fn means(presence: Option<Presence>) -> Input {
        input(DEVICE, now(presence))
    }

    /// What a part of an answer comes to; `None` if it is void.
    fn looked_up(
        sightings: &mut Sightings,
        look_up: LookUp,
        found: &[(DeviceId, Sighting)],
        is_last: bool,
    ) -> Option<Vec<Input>> {
        let mut inputs = Vec::new();
        let counts = sightings.looked_up(look_up, found, is_last, |input| inputs.push(input));
        counts.then_some(inputs)
    }

    /// The last part of an answer about one device.
    fn answered(sightings: &mut Sightings, look_up: LookUp, found: Sighting) -> Option<Input> {
        looked_up(sightings, look_up, &[(DEVICE, found)], true)?.into_iter().next()
    }

    #[test]
    fn what_is_told_after_a_device_was_looked_at_wins_over_the_answer_that_comes_later() {
        for (told, said) in [(ONLINE, OFFLINE), (OFFLINE, ONLINE), (None, ONLINE), (ONLINE, None)] {
            let mut sightings = Sightings::keeping(2);
            let look_up = sightings.begin();
            let found = now(said);
            assert_eq!(sightings.told(DEVICE, now(told)), Ok(Some(means(told))));
            assert_eq!(looked_up(&mut sightings, look_up, &[], false), Some(Vec::new()));
            assert_eq!(answered(&mut sightings, look_up, found), Some(means(told)));
            assert_eq!(sightings.told(DEVICE, now(said)), Ok(Some(means(said))), "told later");
        }
    }

    #[test]
    fn what_was_told_before_a_device_was_looked_at_gives_way() {
        let mut sightings = Sightings::keeping(2);
        let look_up = sightings.begin();
        let _ = sightings.told(DEVICE, now(ONLINE));
        let (page, told) = (now(OFFLINE), now(ONLINE));
        assert_eq!(answered(&mut sightings, look_up, page), Some(means(OFFLINE)));
        assert_eq!(sightings.told(DEVICE, told), Ok(Some(means(ONLINE))));
    }

    #[test]
    fn what_arrives_late_changes_nothing_that_is_newer() {
        let mut sightings = Sightings::keeping(2);
        let late = now(ONLINE);
        let look_up = sightings.begin();
        let (earlier, later) = (now(OFFLINE), now(ONLINE));
        assert_eq!(sightings.told(DEVICE, later), Ok(Some(means(ONLINE))));
        assert_eq!(sightings.told(DEVICE, earlier), Ok(None), "while one is under way");
        assert_eq!(answered(&mut sightings, look_up, now(OFFLINE)), Some(means(OFFLINE)));
        assert_eq!(sightings.told(DEVICE, late), Ok(None), "after it");
    }

    #[test]
    fn a_device_that_was_not_told_of_is_where_the_answer_says_also_if_it_is_named_twice() {
        let mut sightings = Sightings::keeping(2);
        let look_up = sightings.begin();
        let _ = sightings.told(OTHER, now(ONLINE));
        let found = [(DEVICE, now(OFFLINE)), (DEVICE, now(OFFLINE))];
        let twice = vec![means(OFFLINE), means(OFFLINE)];
        assert_eq!(looked_up(&mut sightings, look_up, &found, true), Some(twice));
    }

    #[test]
    fn the_answer_of_any_other_look_up_than_the_latest_is_void() {
        let mut sightings = Sightings::keeping(2);
        let (earlier, latest) = (sightings.begin(), sightings.begin());
        assert_eq!(answered(&mut sightings, earlier, now(OFFLINE)), None);
        assert!(sightings.is_under_way());
        assert_eq!(answered(&mut sightings, latest, now(OFFLINE)), Some(means(OFFLINE)));
        assert_eq!(answered(&mut sightings, latest, now(ONLINE)), None, "it was answered");
        let abandoned = sightings.begin();
        sightings.abandon();
        assert_eq!(answered(&mut sightings, abandoned, now(OFFLINE)), None);
    }

    #[test]
    fn more_is_told_than_is_kept_only_when_the_look_up_has_ended() {
        let mut sightings = Sightings::keeping(1);
        let look_up = sightings.begin();
        assert_eq!(sightings.told(DEVICE, now(ONLINE)), Ok(Some(means(ONLINE))));
        assert_eq!(sightings.told(OTHER, now(ONLINE)), Err(Full));
        assert_eq!(sightings.told(DEVICE, now(OFFLINE)), Ok(Some(means(OFFLINE))), "it is known");
        assert_eq!(looked_up(&mut sightings, look_up, &[], true), Some(Vec::new()));
        assert!(sightings.told(OTHER, now(ONLINE)).is_ok());
    }
}
