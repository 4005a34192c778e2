//! Inputs that wait together: what fails or stops the campaign is told before what it starts (D13, D16).

use super::LiveCampaign;
use super::decide::{self, Rejection};
use super::live::Decision;
use crate::answer::{BaseImageAnswer, ReadPurpose};
use crate::gate::GateDecision;
use crate::input::Input;
use crate::time::Timestamp;

impl LiveCampaign {
    /// Tells the campaign inputs that wait together, at `now`, which never goes back. Those that would
    /// start an operation are told last, so that a failure or a pause that was there at the same time
    /// is not too late for them (D13, D16); beside that they are told in their order.
    ///
    /// Gives what each led to, in the order in which they were told, with its place among the inputs.
    /// The gates are asked once for each version that was read (D5).
    pub fn handle_batch(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Timestamp,
    ) -> Vec<(usize, Result<Decision, Rejection>)> {
        let mut first = Vec::new();
        let mut last = Vec::new();
        for (place, input) in inputs.into_iter().enumerate() {
            let (gates, starts) = self.ask_gates(&input);
            if starts { &mut last } else { &mut first }.push((place, input, gates));
        }
        let told = first.into_iter().chain(last);
        told.map(|(place, input, gates)| (place, self.told(input, gates, now))).collect()
    }

    /// What the gates say to the version that an input tells, and whether it would start an operation if
    /// it were told now. The gates say the same when it is told: while a version is read, the image is
    /// not edited any more (D19).
    fn ask_gates(&self, input: &Input) -> (Option<GateDecision>, bool) {
        let Input::BaseImageRead { device, question, answer, .. } = input else {
            return (None, false);
        };
        let (BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. }) =
            answer
        else {
            return (None, false);
        };
        let Some(target) = self.campaign.targets.find(*device) else { return (None, false) };
        let reading = self.observations.look(target).and_then(|watch| watch.work.reading);
        if reading != Some((ReadPurpose::Gate, *question)) {
            return (None, false);
        }
        let gates = decide::attempt::gates(&self.campaign, version.as_deref());
        let starts = decide::attempt::starts(&self.campaign, target, &gates);
        (Some(gates), starts)
    }
}
