//! Which questions are open: an answer to any other is void, and does what telling nothing at that
//! moment would have done (E11). Every story of every law is watched for that.

use std::collections::BTreeMap;

use hedgerow_core::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    Update,
    Cancel,
}

/// The questions that are open, as a book of its own.
#[derive(Default)]
pub(crate) struct Questions(BTreeMap<(DeviceId, Kind), Question>);

impl Questions {
    pub(crate) fn asked(&mut self, effects: &[Effect]) {
        for effect in effects {
            let (device, kind, question) = match effect {
                Effect::TakeSnapshot { .. } => continue,
                Effect::ReadBaseImage { device, question, .. }
                | Effect::PrepareStart { device, question, .. } => (device, Kind::Read, question),
                Effect::SendUpdate { device, question, .. } => (device, Kind::Update, question),
                Effect::SendCancel { device, question, .. } => (device, Kind::Cancel, question),
            };
            self.0.insert((*device, kind), *question);
        }
    }

    /// The state was loaded again: nothing is open.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether the input is an answer that nobody waits for. `operation` is the one that is active
    /// on its device, `is_final` whether its target is final.
    pub(crate) fn is_void(
        &mut self,
        input: &Input,
        is_final: impl Fn(DeviceId) -> bool,
        operation: impl Fn(DeviceId) -> Option<OperationId>,
    ) -> bool {
        let (device, kind, question, about) = match input {
            Input::BaseImageRead { device, question, .. } => (*device, Kind::Read, question, None),
            Input::RequestAnswered { device, operation, question, .. } => {
                (*device, Kind::Update, question, Some(*operation))
            }
            Input::CancelAnswered { device, operation, question, .. } => {
                (*device, Kind::Cancel, question, Some(*operation))
            }
            _ => return false,
        };
        let is_open = self.0.get(&(device, kind)) == Some(question);
        if is_open {
            self.0.remove(&(device, kind));
        }
        // A final target's device is looked at for one thing only (D22).
        let looks =
            matches!(input, Input::BaseImageRead { purpose: ReadPurpose::Contradiction, .. });
        !is_open || is_final(device) && !looks || (about.is_some() && operation(device) != about)
    }
}

/// What tells nothing to anybody.
pub(crate) fn nothing() -> Input {
    Input::DeviceFact { device: DeviceId::from_bytes([0xee; 16]), fact: DeviceFact::Free }
}
