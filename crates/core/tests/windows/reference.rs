//! What P13 says, minute by minute: slow, and written from the rule alone. Only how far a clock is
//! ahead of UTC at a time is taken from the database.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike};
use hedgerow_core::{
    Calendar, Exclusion, Timestamp, Window, WindowSet, WindowState, WindowZone, ZoneName,
};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;

use crate::{at, window};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60;
/// How many days are looked at before and after a change of clocks.
const DAYS: i64 = 5;

/// Clocks that jump, each with a time at which it does; and two that do not.
const CHANGES: [(&str, &str); 15] = [
    ("Europe/Rome", "2026-03-29T01:00:00Z"),
    ("Europe/Rome", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    // By half an hour.
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    // By two hours.
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
    // At midnight.
    ("Africa/Cairo", "2026-04-23T22:00:00Z"),
    ("Africa/Cairo", "2026-10-29T21:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    // Over a whole day.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/Vancouver", "2026-03-08T10:00:00Z"),
    ("Asia/Kolkata", "2026-03-01T00:00:00Z"),
    ("UTC", "2026-03-01T00:00:00Z"),
];

/// The numbers that a field names.
fn numbers(field: &str, lowest: u32, highest: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    for entry in field.split(',') {
        let (span, step) = entry.split_once('/').unwrap_or((entry, "1"));
        let (from, to) = match span.split_once('-') {
            Some((from, to)) => (from.parse().expect("from"), to.parse().expect("to")),
            None if span == "*" => (lowest, highest),
            None => (span.parse().expect("a number"), span.parse().expect("a number")),
        };
        all.extend((from..=to).step_by(step.parse().expect("a step")));
    }
    all
}

/// Whether a clock that shows `local`, in minutes, shows a time that the start names.
struct Pattern {
    fields: [BTreeSet<u32>; 5],
    is_any_day: [bool; 2],
    is_twice: bool,
}

impl Pattern {
    fn of(text: &str) -> Self {
        let fields: Vec<&str> = text.split(' ').collect();
        let [minute, hour, day, month, weekday] = fields[..] else { panic!("five fields") };
        let weekdays = numbers(weekday, 0, 7).into_iter().map(|day| day % 7).collect();
        Self {
            fields: [
                numbers(minute, 0, 59),
                numbers(hour, 0, 23),
                numbers(day, 1, 31),
                numbers(month, 1, 12),
                weekdays,
            ],
            is_any_day: [day == "*", weekday == "*"],
            is_twice: hour.contains('*') || hour.contains('/'),
        }
    }

    fn names(&self, local: i64) -> bool {
        let shown = DateTime::from_timestamp_millis(local * MINUTE).expect("a time");
        let [minutes, hours, days, months, weekdays] = &self.fields;
        let is_day = days.contains(&shown.day());
        let is_weekday = weekdays.contains(&shown.weekday().num_days_from_sunday());
        let is_one = match self.is_any_day {
            [false, false] => is_day || is_weekday,
            _ => is_day && is_weekday,
        };
        minutes.contains(&shown.minute())
            && hours.contains(&shown.hour())
            && months.contains(&shown.month())
            && is_one
    }
}

fn shown(zone: &TimeZone, minute: i64) -> i64 {
    let instant = jiff::Timestamp::from_second(minute * 60).expect("an instant");
    minute + i64::from(zone.to_offset(instant).seconds()).div_euclid(60)
}

/// In which of some minutes a window is open. It begins to look some days before.
fn open_minutes(window: &Window, zone: &str, minutes: Range<i64>) -> Vec<bool> {
    let zone = match &window.zone {
        WindowZone::Named(name) => name.as_str(),
        _ => zone,
    };
    let zone = TimeZoneDatabase::bundled().get(zone).expect("a zone");
    let pattern = Pattern::of(&window.start.to_string());
    let length = i64::try_from(window.length.as_secs() / 60).expect("minutes");
    let begin = minutes.start - length - 2 * DAY;
    let mut before = shown(&zone, begin - 1);
    let mut latest_shown = before;
    let mut latest_start = i64::MIN / 2;
    let mut open = Vec::new();
    for minute in begin..minutes.end {
        let now = shown(&zone, minute);
        let is_new = pattern.is_twice || now > latest_shown;
        let is_skipped = (before + 1..now).any(|local| pattern.names(local));
        if is_skipped || (is_new && pattern.names(now)) {
            latest_start = minute;
        }
        if minute >= minutes.start {
            open.push(minute < latest_start + length);
        }
        before = now;
        latest_shown = latest_shown.max(now);
    }
    open
}

/// In which minutes a set is open.
fn open_times(set: &WindowSet, zone: &str, minutes: Range<i64>) -> Vec<bool> {
    let length = usize::try_from(minutes.end - minutes.start).expect("a length");
    let mut open = vec![set.windows.is_empty(); length];
    for window in &set.windows {
        let one = open_minutes(window, zone, minutes.clone());
        open.iter_mut().zip(one).for_each(|(any, one)| *any |= one);
    }
    for (minute, open) in minutes.zip(&mut open) {
        let is_in = |one: &Exclusion| {
            (one.from.as_millis()..one.to.as_millis()).contains(&(minute * MINUTE))
        };
        *open &= !set.exclusions.iter().any(is_in);
    }
    open
}

/// The answer at an instant, as far as the minutes that were looked at go.
enum Expected {
    Open { until: Option<i64> },
    Closed { until: Option<i64> },
}

fn expected(open: &[bool], first: i64, fits: i64, now: i64) -> Expected {
    let index = usize::try_from(now.div_euclid(MINUTE) - first).expect("within");
    let instant = |index: usize| (first + i64::try_from(index).expect("small")) * MINUTE;
    // The end of what is open at an index, if it is within the minutes.
    let end =
        |from: usize| open[from..].iter().position(|open| !open).map(|more| instant(from + more));
    let holds = |from: usize, at: i64| open[from] && end(from).is_none_or(|end| end - at >= fits);
    if holds(index, now) {
        return Expected::Open { until: end(index) };
    }
    let later = (index + 1..open.len()).find(|later| holds(*later, instant(*later)));
    Expected::Closed { until: later.map(instant) }
}

fn field(lowest: u32, highest: u32) -> impl Strategy<Value = String> {
    let number = lowest..=highest;
    let list = proptest::collection::vec(lowest..=highest, 1..4);
    prop_oneof![
        4 => number.prop_map(|number| number.to_string()),
        1 => list.prop_map(|all| all.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        1 => (lowest..=highest, lowest..=highest)
            .prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (1..=highest).prop_map(|step| format!("*/{step}")),
        1 => (lowest..=highest, 1..=highest)
            .prop_map(move |(from, step)| format!("{from}-{highest}/{step}")),
    ]
}

fn or_any(field: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("*".to_owned()), 1 => field]
}

/// Starts of which many fall into hours in which clocks jump.
fn start() -> impl Strategy<Value = String> {
    let minute = prop_oneof![Just("*".to_owned()), field(0, 59), field(0, 59), field(0, 59)];
    let hour = prop_oneof![
        3 => (0..4_u32).prop_map(|hour| hour.to_string()),
        2 => field(0, 23),
        1 => Just("*".to_owned()),
        1 => Just("*/2".to_owned()),
        1 => Just("0-5/1".to_owned()),
    ];
    (minute, hour, or_any(field(1, 28)), or_any(field(1, 12)), or_any(field(0, 6))).prop_map(
        |(minute, hour, day, month, week)| format!("{minute} {hour} {day} {month} {week}"),
    )
}

fn windows(most: usize) -> impl Strategy<Value = Vec<Window>> {
    let length = prop_oneof![Just(1_u64), 1..60_u64, 1..300_u64, 1..3_000_u64];
    let zone = prop_oneof![3 => Just("device"), 1 => Just("UTC"), 1 => Just("Europe/Rome")];
    let one =
        (start(), length, zone).prop_map(|(start, length, zone)| window(&start, length, zone));
    proptest::collection::vec(one, 0..=most)
}

/// Some exclusions, in minutes from the beginning of what is looked at.
fn exclusions() -> impl Strategy<Value = Vec<(i64, i64)>> {
    proptest::collection::vec((0..2 * DAYS * DAY, 1..2_000_i64), 0..3)
}

/// The answer, asked for again where it is one to ask again at, until the minutes are over.
fn asked(sets: &[&Calendar], fits: Duration, now: Timestamp, last: Timestamp) -> WindowState {
    let state = WindowState::of_all(sets, fits, now);
    let mut later = state;
    let mut until = now;
    while let WindowState::Closed { until: Some(again) } = later {
        assert!(again > until, "it goes on");
        until = again;
        if again >= last {
            break;
        }
        later = WindowState::of_all(sets, fits, again);
    }
    match (state, later) {
        (WindowState::Open { .. }, _) => state,
        (_, WindowState::Closed { until: None }) => later,
        _ => WindowState::Closed { until: Some(until) },
    }
}

/// An instant in what is looked at; as often as not, near the change of clocks.
fn instant() -> impl Strategy<Value = i64> {
    let (middle, hours) = (DAYS * DAY * MINUTE, 4 * 60 * MINUTE);
    prop_oneof![0..2 * middle, middle - hours..middle + hours]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_are_open_when_they_are_minute_by_minute(
        change in 0..CHANGES.len(),
        campaign in windows(3),
        device in windows(2),
        excluded in exclusions(),
        fits in prop_oneof![2 => Just(0_i64), 1 => 1..600_i64, 1 => 1..5_000_i64],
        instants in proptest::collection::vec(instant(), 24),
    ) {
        let (zone, when) = CHANGES[change];
        let first = at(when).as_millis().div_euclid(MINUTE) - DAYS * DAY;
        let minutes = first..first + 2 * DAYS * DAY;
        let exclusions = excluded.iter().map(|(from, length)| Exclusion {
            from: Timestamp::from_millis((first + from) * MINUTE),
            to: Timestamp::from_millis((first + from + length) * MINUTE),
        });
        let campaign = WindowSet { windows: campaign, exclusions: exclusions.collect() };
        let device = WindowSet { windows: device, exclusions: Vec::new() };
        let open: Vec<bool> = open_times(&campaign, zone, minutes.clone())
            .into_iter()
            .zip(open_times(&device, zone, minutes.clone()))
            .map(|(one, other)| one && other)
            .collect();
        let sets = [&campaign, &device].map(|set| set.in_zone(Some(zone), &ZoneName::utc()));
        let sets: [&Calendar; 2] = [&sets[0], &sets[1]];
        let fits = fits * MINUTE;
        let length = Duration::from_millis(u64::try_from(fits).expect("positive"));
        let last = minutes.end * MINUTE;
        for instant in instants {
            let now = first * MINUTE + instant;
            let state = asked(&sets, length, Timestamp::from_millis(now), Timestamp::from_millis(last));
            match (expected(&open, first, fits, now), state) {
                (Expected::Open { until: Some(end) }, WindowState::Open { until }) => {
                    let far = now + fits + DAY * MINUTE;
                    prop_assert_eq!(until.as_millis(), end.min(far), "at {}", now);
                }
                (Expected::Open { until: None }, WindowState::Open { until }) => {
                    let far = now + fits + DAY * MINUTE;
                    prop_assert!(until.as_millis() >= last.min(far), "{until} at {now}");
                }
                // What is open at the end of the minutes may go on for long enough, or may not.
                (Expected::Open { until: None }, WindowState::Closed { .. }) => {
                    prop_assert!(now + fits > last, "closed at {now}");
                }
                (Expected::Closed { until: Some(opens) }, WindowState::Closed { until }) => {
                    let sure = opens + fits <= last;
                    let until = until.map_or(i64::MAX, Timestamp::as_millis);
                    prop_assert!(until == opens || (!sure && until > opens), "{until} for {opens} at {now}");
                }
                (Expected::Closed { until: None }, WindowState::Closed { until }) => {
                    prop_assert!(until.is_none_or(|until| until.as_millis() >= last), "{until:?} at {now}");
                }
                (Expected::Open { .. }, state) => prop_assert!(false, "{state:?}, open at {now}"),
                (Expected::Closed { .. }, state) => prop_assert!(false, "{state:?}, closed at {now}"),
            }
        }
    }

    #[test]
    fn every_start_that_is_well_formed_is_understood(start in start()) {
        let parsed = start.parse::<hedgerow_core::WindowStart>();
        prop_assert_eq!(parsed.map(|parsed| parsed.to_string()), Ok(start));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[-*,/0-9 ]{0,40}|.{0,80}") {
        if let Ok(start) = text.parse::<hedgerow_core::WindowStart>() {
            prop_assert_eq!(start.to_string().parse(), Ok(start));
        }
        let _ = text.parse::<ZoneName>().map(|name| name.is_known());
    }
}
