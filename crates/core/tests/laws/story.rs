//! Random stories: a fleet, a rollout, and what happens to them, in an order that shrinks well.

use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::*;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

/// The most devices of a story.
pub(crate) const MOST_DEVICES: u8 = 6;

/// What devices show as their version.
pub(crate) const VERSIONS: [Option<&str>; 8] = [
    Some("1.0.0"),
    Some("2.0.0"),
    Some("2.0.0+b"),
    Some("2.0.0-rc.1"),
    Some("3.0.0"),
    Some("1.2.0+x"),
    Some("two"),
    None,
];

/// Failure limits: whole ones, fractions, and both ends.
pub(crate) const PERCENTAGES: [&str; 8] =
    ["0", "16.66666666666666666", "16.66666666666666667", "20", "33.3", "50", "99.9", "100"];

#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) setup: Setup,
    pub(crate) acts: Vec<Act>,
}

/// The fleet and the rollout. Times are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) devices: u8,
    /// What each shows at first, in [`VERSIONS`].
    pub(crate) versions: Vec<u8>,
    pub(crate) max_pending: u32,
    pub(crate) max_failed: &'static str,
    pub(crate) retries: u16,
    pub(crate) request_timeout: u64,
    pub(crate) stall_timeout: Option<u64>,
    pub(crate) reboot_timeout: u64,
    pub(crate) progress_interval: u64,
    pub(crate) image: (&'static str, Option<&'static str>),
    pub(crate) gates: (bool, bool),
    pub(crate) starts_in: Option<u64>,
    pub(crate) minimum: u32,
    /// Whether operations get URLs of their own (D23).
    pub(crate) urls: bool,
    /// Whether devices' users are asked: for how long, and whether they are given up then (P15).
    pub(crate) consent: Option<(u64, bool)>,
}

/// Something that happens. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// An effect that waits is answered.
    Answer { which: u8, how: How },
    /// A device reports.
    Report {
        device: u8,
        of: Of,
        status: ReportStatus,
        code: &'static str,
        progress: u8,
        stamp: Option<i8>,
    },
    /// The latest report arrives again.
    ReportAgain,
    /// A device reports progress within the phase in which it is.
    Progress { device: u8, progress: u8, stamp: Option<i8>, stored: bool },
    /// A device connects or disconnects.
    Online { device: u8, online: bool },
    /// A device shows another version.
    Version { device: u8, version: u8 },
    /// A device ceases to exist.
    Remove { device: u8 },
    /// What kept a device busy has ended.
    Freed { device: u8 },
    /// Time passes, and everything that is due meanwhile is told in time.
    Pass { seconds: u16 },
    /// It is the very instant of the next deadline, and what follows comes before the tick.
    Brink,
    /// The user of a device answers.
    Consent { device: u8, granted: bool },
    /// Somebody wants something.
    Wish(Wish),
    /// The engine dies: what waits is lost, and the state is folded from the log.
    Crash,
}

/// How an effect is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Well,
    Temporary,
    /// Refused for good; for a read, that another operation keeps the device busy.
    Permanent,
    /// A snapshot breaks off in its middle; all else is answered well.
    Halfway,
}

/// The operation that a report speaks of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Newest,
    /// The first that its target had.
    First,
    /// One of another device.
    Another,
    Unknown,
}

/// What somebody wants of the campaign.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Pause,
    Resume,
    Cancel { stop: bool },
    Supersede,
    Delete,
    MaxPending(u32),
    MaxFailed(&'static str),
    Retries(u16),
    RequestTimeout(u64),
    StallTimeout(Option<u64>),
    RebootTimeout(u64),
    ProgressInterval(u64),
    Rename,
    Reschedule(Option<u64>),
}

/// How often each act comes, beside the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) answer: u32,
    /// Of ten answers.
    pub(crate) faults: u32,
    pub(crate) report: u32,
    pub(crate) online: u32,
    pub(crate) version: u32,
    pub(crate) removed: u32,
    pub(crate) freed: u32,
    pub(crate) pass: u32,
    pub(crate) steer: u32,
    pub(crate) edit: u32,
    pub(crate) crash: u32,
    pub(crate) consent: u32,
}

impl Mix {
    /// A bit of everything.
    pub(crate) const EVEN: Self = Self {
        answer: 10,
        faults: 3,
        report: 7,
        online: 3,
        version: 2,
        removed: 1,
        freed: 1,
        pass: 5,
        steer: 1,
        edit: 1,
        crash: 1,
        consent: 2,
    };
    /// Nobody interferes, and little goes wrong: operations go their way.
    pub(crate) const UNDISTURBED: Self =
        Self { faults: 1, removed: 0, steer: 0, edit: 0, crash: 0, ..Self::EVEN };
}

/// Stories in which acts come as often as `mix` says.
pub(crate) fn story(mix: Mix) -> impl Strategy<Value = Story> {
    (setup(), prop::collection::vec(act(mix), 0..70))
        .prop_map(|(setup, acts)| Story { setup, acts })
}

/// Stories in which devices reboot more than anything, and come back, or not.
pub(crate) fn rebooting(mix: Mix) -> impl Strategy<Value = Story> {
    story(mix).prop_map(|mut story| {
        for act in &mut story.acts {
            if let Act::Report { status, .. } = act
                && !matches!(status, ReportStatus::Error | ReportStatus::Failure)
            {
                *status = ReportStatus::Rebooting;
            }
        }
        story
    })
}

/// Fleets and rollouts.
pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let policies = (prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    let timeouts = (
        select(vec![30_u64, 60, 300]),
        select(vec![Some(50_u64), Some(100), Some(3_600), None]),
        select(vec![60_u64, 600]),
        select(vec![0_u64, 1, 60]),
    );
    let version = prop_oneof![6 => Just(0_u8), 1 => 0..8_u8];
    (
        prop_oneof![1 => Just(0_u8), 20 => 1..=MOST_DEVICES],
        prop::collection::vec(version, usize::from(MOST_DEVICES)),
        1_u32..=3,
        select(PERCENTAGES.to_vec()),
        0_u16..=3,
        timeouts,
        select(vec![
            ("2.0.0", None),
            ("2.0.0", Some(">= 1.1.0")),
            ("2.0.0+b", None),
            ("2.0.0+b", Some("~> 1.0.0 or > 2.5.0")),
        ]),
        policies,
        prop::option::weighted(0.2, 1_u64..300),
        prop_oneof![12 => Just(0_u32), 1 => 1_u32..=8],
        prop::bool::weighted(0.25),
        prop::option::weighted(0.25, (select(vec![60_u64, 600, 3_600]), any::<bool>())),
    )
        .prop_map(
            |(
                devices,
                versions,
                max_pending,
                max_failed,
                retries,
                timeouts,
                image,
                gates,
                starts_in,
                minimum,
                urls,
                consent,
            )| {
                let (request_timeout, stall_timeout, reboot_timeout, progress_interval) = timeouts;
                Setup {
                    devices,
                    versions,
                    max_pending,
                    max_failed,
                    retries,
                    request_timeout,
                    stall_timeout,
                    reboot_timeout,
                    progress_interval,
                    image,
                    gates,
                    starts_in,
                    minimum,
                    urls,
                    consent,
                }
            },
        )
}

fn act(mix: Mix) -> impl Strategy<Value = Act> {
    let device = || 0..MOST_DEVICES;
    let how = (0..10_u32, 0..6_u8).prop_map(move |(chance, kind)| match kind {
        _ if chance < 10 - mix.faults => How::Well,
        0..=3 => How::Temporary,
        4 => How::Permanent,
        _ => How::Halfway,
    });
    let acts = [
        (
            mix.answer,
            (any::<u8>(), how).prop_map(|(which, how)| Act::Answer { which, how }).boxed(),
        ),
        (mix.report, report().boxed()),
        (mix.report.div_ceil(6), Just(Act::ReportAgain).boxed()),
        (mix.report.div_ceil(4), progress().boxed()),
        (
            mix.online,
            (device(), prop::bool::weighted(0.7))
                .prop_map(|(device, online)| Act::Online { device, online })
                .boxed(),
        ),
        (
            mix.version,
            (device(), 0_u8..8)
                .prop_map(|(device, version)| Act::Version { device, version })
                .boxed(),
        ),
        (mix.removed, device().prop_map(|device| Act::Remove { device }).boxed()),
        (mix.freed, device().prop_map(|device| Act::Freed { device }).boxed()),
        (
            mix.pass,
            prop_oneof![1_u16..70, 1_u16..1_000].prop_map(|seconds| Act::Pass { seconds }).boxed(),
        ),
        (mix.pass.div_ceil(4), Just(Act::Brink).boxed()),
        (mix.steer, steer().prop_map(Act::Wish).boxed()),
        (mix.edit, edit().prop_map(Act::Wish).boxed()),
        (mix.crash, Just(Act::Crash).boxed()),
        (
            mix.consent,
            (device(), prop::bool::weighted(0.7))
                .prop_map(|(device, granted)| Act::Consent { device, granted })
                .boxed(),
        ),
    ];
    Union::new_weighted(acts.into_iter().filter(|(weight, _)| *weight > 0).collect())
}

fn report() -> impl Strategy<Value = Act> {
    let of = prop_oneof![
        20 => Just(Of::Newest), 2 => Just(Of::First), 1 => Just(Of::Another), 1 => Just(Of::Unknown),
    ];
    let status = prop_oneof![
        5 => select(vec![
            ReportStatus::Acknowledged, ReportStatus::Downloading, ReportStatus::Deploying,
            ReportStatus::Deployed, ReportStatus::Rebooting, ReportStatus::Error,
        ]),
        1 => Just(ReportStatus::Success),
        2 => Just(ReportStatus::Failure),
    ];
    let stamp = prop::option::weighted(0.4, -3_i8..=3);
    let code = select(vec!["UpdateAlreadyInProgress", "", "NetworkError", "ErrorNetwork"]);
    (0..MOST_DEVICES, of, status, code, 0_u8..=110, stamp).prop_map(
        |(device, of, status, code, progress, stamp)| Act::Report {
            device,
            of,
            status,
            code,
            progress,
            stamp,
        },
    )
}

fn progress() -> impl Strategy<Value = Act> {
    let stamp = prop::option::weighted(0.4, -3_i8..=3);
    (0..MOST_DEVICES, 0_u8..=110, stamp, prop::bool::weighted(0.2)).prop_map(
        |(device, progress, stamp, stored)| Act::Progress { device, progress, stamp, stored },
    )
}

fn steer() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => Just(Wish::Pause),
        5 => Just(Wish::Resume),
        1 => any::<bool>().prop_map(|stop| Wish::Cancel { stop }),
        1 => Just(Wish::Supersede),
        1 => Just(Wish::Delete),
    ]
}

fn edit() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => (1_u32..=4).prop_map(Wish::MaxPending),
        3 => select(PERCENTAGES.to_vec()).prop_map(Wish::MaxFailed),
        2 => (0_u16..=4).prop_map(Wish::Retries),
        // One in four is outside its range.
        1 => select(vec![29_u64, 30, 60, 300]).prop_map(Wish::RequestTimeout),
        1 => select(vec![Some(0_u64), Some(50), Some(3_600), None]).prop_map(Wish::StallTimeout),
        1 => select(vec![0_u64, 60, 300, 600]).prop_map(Wish::RebootTimeout),
        1 => select(vec![0_u64, 60]).prop_map(Wish::ProgressInterval),
        1 => Just(Wish::Rename),
        1 => prop::option::of(1_u64..500).prop_map(Wish::Reschedule),
    ]
}

impl Setup {
    /// A fleet that is well.
    pub(crate) fn plain(devices: u8) -> Self {
        Self {
            devices,
            versions: vec![0; usize::from(MOST_DEVICES)],
            max_pending: 1,
            max_failed: "100",
            retries: 1,
            request_timeout: 30,
            stall_timeout: Some(3_600),
            reboot_timeout: 60,
            progress_interval: 60,
            image: ("2.0.0", None),
            gates: (false, false),
            starts_in: None,
            minimum: 0,
            urls: false,
            consent: None,
        }
    }

    pub(crate) fn device(number: u8) -> DeviceId {
        // Not in the order of the bytes: snapshot order is an order of its own.
        DeviceId::from_bytes([number.wrapping_mul(101).wrapping_add(7); 16])
    }

    pub(crate) fn limits(&self) -> RolloutLimits {
        RolloutLimits {
            operation: OperationLimits {
                request_retries: self.retries,
                request_timeout: Duration::from_secs(self.request_timeout),
                stall_timeout: self.stall_timeout.map(Duration::from_secs),
                reboot_timeout: Duration::from_secs(self.reboot_timeout),
                progress_interval: Duration::from_secs(self.progress_interval),
            },
            ..RolloutLimits::new(
                NonZeroU32::new(self.max_pending).unwrap(),
                self.max_failed.parse().unwrap(),
            )
        }
    }

    fn rollout(&self, push: PushRollout) -> RolloutMechanism {
        let Some((deadline, gives_up)) = self.consent else {
            return RolloutMechanism::Push(push);
        };
        let then = if gives_up { AtDeadline::GiveUp } else { AtDeadline::Force };
        let consent = ConsentPolicy { deadline: Duration::from_secs(deadline), then };
        RolloutMechanism::Optional(OptionalRollout { push, consent })
    }

    pub(crate) fn definition(&self) -> CampaignDefinition {
        let (force_downgrade, enforce_version_requirement) = self.gates;
        let gates = GatePolicy { force_downgrade, enforce_version_requirement };
        CampaignDefinition {
            name: "laws".parse().unwrap(),
            base_image: BaseImage {
                system_model: "sm".parse().unwrap(),
                version: self.image.0.parse().unwrap(),
                url: "https://images.example/2?key=%20a".parse().unwrap(),
                starting_version_requirement: self.image.1.map(|text| text.parse().unwrap()),
            },
            channel: Channel::new("c".parse().unwrap(), ["g".parse().unwrap()]).unwrap(),
            rollout: self.rollout(PushRollout {
                limits: self.limits(),
                gates,
                minimum_targets: self.minimum,
            }),
            when_running: WhenRunning::Supersede,
        }
    }
}

impl Wish {
    pub(crate) fn command(&self, now: Timestamp) -> Command {
        let mut edit = CampaignEdit::default();
        let limits = &mut edit.limits;
        let seconds = Duration::from_secs;
        match self {
            Self::Pause => return Command::Pause,
            Self::Resume => return Command::Resume,
            Self::Cancel { stop: true } => {
                return Command::Cancel { running: RunningOperations::Stop };
            }
            Self::Cancel { stop: false } => {
                return Command::Cancel { running: RunningOperations::Finish };
            }
            Self::Supersede => return Command::Supersede,
            Self::Delete => return Command::Delete,
            Self::MaxPending(most) => limits.max_pending_operations = NonZeroU32::new(*most),
            Self::MaxFailed(text) => limits.max_failure_percentage = text.parse().ok(),
            Self::Retries(retries) => limits.request_retries = Some(*retries),
            Self::RequestTimeout(s) => limits.request_timeout = Some(seconds(*s)),
            Self::StallTimeout(s) => limits.stall_timeout = Some(s.map(seconds)),
            Self::RebootTimeout(s) => limits.reboot_timeout = Some(seconds(*s)),
            Self::ProgressInterval(s) => limits.progress_interval = Some(seconds(*s)),
            Self::Rename => edit.name = "renamed".parse().ok(),
            Self::Reschedule(s) => edit.scheduled_at = Some(s.map(|s| now + seconds(s))),
        }
        Command::Edit(Box::new(edit))
    }
}
