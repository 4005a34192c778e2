//! What happened, in words, for whoever looks at a failing seed; and points for the picture.

use hedgerow_core::{DeviceId, StreamId, TargetCounts, Timestamp};
use serde::Serialize;

/// The longest timeline that is kept: the newest lines.
const LONGEST: usize = 200_000;

/// What a line of a timeline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// A fault was injected.
    Fault,
    /// An event became durable.
    Event,
    /// Anything else.
    Note,
}

/// A line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// When, in the simulated world.
    pub at: Timestamp,
    /// What it is about.
    pub kind: LineKind,
    /// The device, if it is about one.
    pub device: Option<DeviceId>,
    /// The stream, if it is about one.
    pub stream: Option<StreamId>,
    /// What happened.
    pub text: String,
}

/// How the rollout stood at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// When, in the simulated world.
    pub at: Timestamp,
    /// Targets of all campaigns by status.
    pub targets: TargetCounts,
    /// How many might be in progress, over all running campaigns.
    pub limit: u32,
}

#[derive(Default)]
pub(super) struct Trace {
    /// Whether lines are kept: making them costs more than the simulation.
    keeps_lines: bool,
    pub(super) keeps_samples: bool,
    lines: std::collections::VecDeque<Line>,
    samples: Vec<Sample>,
    marks: Vec<Timestamp>,
}

impl Trace {
    pub(super) fn keeping(keeps_lines: bool, keeps_samples: bool) -> Self {
        Self { keeps_lines, keeps_samples, ..Self::default() }
    }

    pub(super) fn note(
        &mut self,
        at: Timestamp,
        device: Option<DeviceId>,
        stream: Option<StreamId>,
        text: impl FnOnce() -> String,
    ) {
        self.line(at, LineKind::Note, device, stream, text);
    }

    pub(super) fn event(
        &mut self,
        at: Timestamp,
        device: Option<DeviceId>,
        stream: StreamId,
        text: impl FnOnce() -> String,
    ) {
        self.line(at, LineKind::Event, device, Some(stream), text);
    }

    pub(super) fn fault(
        &mut self,
        at: Timestamp,
        device: Option<DeviceId>,
        text: impl FnOnce() -> String,
    ) {
        if self.keeps_samples {
            self.marks.push(at);
        }
        self.line(at, LineKind::Fault, device, None, text);
    }

    fn line(
        &mut self,
        at: Timestamp,
        kind: LineKind,
        device: Option<DeviceId>,
        stream: Option<StreamId>,
        text: impl FnOnce() -> String,
    ) {
        if self.keeps_lines {
            if self.lines.len() == LONGEST {
                self.lines.pop_front();
            }
            self.lines.push_back(Line { at, kind, device, stream, text: text() });
        }
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        let differs = self
            .samples
            .last()
            .is_none_or(|last| last.targets != sample.targets || last.limit != sample.limit);
        if differs {
            self.samples.push(sample);
        }
    }

    pub(super) fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines).into()
    }

    pub(super) fn take_samples(&mut self) -> (Vec<Sample>, Vec<Timestamp>) {
        (std::mem::take(&mut self.samples), std::mem::take(&mut self.marks))
    }
}
