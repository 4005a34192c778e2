//! Maintenance windows (P13): the worked examples W16 and W17, the limits of what may be given, and
//! random windows against a reference that goes through every minute.

mod reference;

use std::time::Duration;

use chrono::DateTime;
use hedgerow_core::{
    Calendar, Exclusion, Timestamp, Window, WindowError, WindowSet, WindowStart, WindowState,
    ZoneName, zone_data_version,
};

pub(crate) fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).expect("a time").to_utc().into()
}

pub(crate) fn window(start: &str, minutes: u64, zone: &str) -> Window {
    Window {
        start: start.parse().expect("a start"),
        length: Duration::from_secs(60 * minutes),
        zone: zone.parse().expect("a zone"),
    }
}

fn set<const N: usize>(windows: [Window; N]) -> WindowSet {
    WindowSet { windows: windows.into(), exclusions: Vec::new() }
}

fn calendar(start: &str, minutes: u64, zone: &str) -> Calendar {
    set([window(start, minutes, zone)]).in_zone(None, &ZoneName::utc())
}

fn open(until: &str) -> WindowState {
    WindowState::Open { until: at(until) }
}

fn closed(until: &str) -> WindowState {
    WindowState::Closed { until: Some(at(until)) }
}

/// Checks that from `from` on the next time that it is open is from `opens` until `closes`.
fn opens_next(calendar: &Calendar, from: &str, opens: &str, closes: &str) {
    assert_eq!(calendar.state(at(from)), closed(opens), "from {from}");
    assert_eq!(calendar.state(at(opens)), open(closes));
    let before = Timestamp::from_millis(at(closes).as_millis() - 1);
    assert_eq!(calendar.state(before), open(closes));
    assert!(!calendar.state(at(closes)).is_open(), "{closes} is the first instant after it");
}

#[test]
fn a_window_is_open_from_its_start_until_just_before_its_end_w16() {
    let rome = calendar("0 2 * * *", 60, "Europe/Rome");
    let (from, opens) = ("2026-11-30T12:00:00Z", "2026-12-01T01:00:00Z");
    opens_next(&rome, from, opens, "2026-12-01T02:00:00Z");
    assert!(rome.state(at("2026-12-01T01:59:59Z")).is_open());
    assert_eq!(rome.state(at("2026-12-01T02:00:00Z")), closed("2026-12-02T01:00:00Z"));
}

#[test]
fn a_start_that_the_clock_skips_happens_right_after_the_gap_w16() {
    let rome = calendar("30 2 * * *", 60, "Europe/Rome");
    for (from, opens, closes) in [
        ("2026-03-28T00:00:00Z", "2026-03-28T01:30:00Z", "2026-03-28T02:30:00Z"),
        ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ("2026-03-29T12:00:00Z", "2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"),
    ] {
        opens_next(&rome, from, opens, closes);
    }
    // Several that are skipped are one, also where the hour is not fixed.
    for start in ["0,30 2 * * *", "15 * * * *", "15 */2 * * *"] {
        let state = calendar(start, 10, "Europe/Rome").state(at("2026-03-29T01:00:00Z"));
        assert_eq!(state, open("2026-03-29T01:10:00Z"), "{start}");
    }
}

#[test]
fn a_start_that_the_clock_repeats_happens_once_w16() {
    let rome = calendar("30 2 * * *", 60, "Europe/Rome");
    for (from, opens, closes) in [
        ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        // 02:35 by the clock, for the second time.
        ("2026-10-25T01:35:00Z", "2026-10-26T01:30:00Z", "2026-10-26T02:30:00Z"),
    ] {
        opens_next(&rome, from, opens, closes);
    }
    let long = calendar("0 2 * * *", 120, "Europe/Rome");
    let (from, opens) = ("2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z");
    opens_next(&long, from, opens, "2026-10-25T02:00:00Z");
    // A list of minutes or of hours is as fixed as one of each.
    for start in ["0,30 2 * * *", "30 2,14 * * *", "30 1-3 * * *", "*/30 2 * * *"] {
        let second = calendar(start, 10, "Europe/Rome").state(at("2026-10-25T01:30:00Z"));
        assert!(!second.is_open(), "{start}");
    }
}

#[test]
fn an_hour_of_any_number_or_with_steps_starts_in_both_passes() {
    for start in ["30 * * * *", "30 */2 * * *", "30 0-4/2 * * *"] {
        let rome = calendar(start, 10, "Europe/Rome");
        for opens in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(rome.state(at(opens)).is_open(), "{start} at {opens}");
        }
    }
}

#[test]
fn each_device_has_the_window_on_its_own_clock_w17() {
    let nightly = set([window("0 2 * * *", 60, "device")]);
    for (zone, opens) in [
        (Some("Europe/Rome"), "2026-12-01T01:00:00Z"),
        (None, "2026-12-01T02:00:00Z"),
        (Some("America/New_York"), "2026-12-01T07:00:00Z"),
        // An hour later with a database from before 2026, when the province stopped to change its
        // clocks.
        (Some("America/Vancouver"), "2026-12-01T09:00:00Z"),
    ] {
        let calendar = nightly.in_zone(zone, &ZoneName::utc());
        assert_eq!(calendar.state(at("2026-12-01T00:00:00Z")), closed(opens), "{zone:?}");
        assert_eq!(calendar.unknown_zones().count(), 0);
    }
    assert!(zone_data_version() >= "2026a", "{}", zone_data_version());
}

#[test]
fn a_zone_that_nobody_knows_is_told_and_replaced() {
    let rome: ZoneName = "Europe/Rome".parse().expect("a name");
    let two = set([window("0 2 * * *", 60, "device"), window("0 2 * * *", 60, "Europe/Atlantis")]);
    let calendar = two.in_zone(Some("Mars/Olympus\n"), &rome);
    assert_eq!(calendar.state(at("2026-12-01T00:00:00Z")), closed("2026-12-01T01:00:00Z"));
    let unknown: Vec<&str> = calendar.unknown_zones().collect();
    assert_eq!(unknown, ["Mars/Olympus\n", "Europe/Atlantis"]);
    // Nor is the one in its stead.
    let calendar = two.in_zone(None, &"Europe/Atlantis".parse().expect("a name"));
    assert_eq!(calendar.state(at("2026-12-01T00:00:00Z")), closed("2026-12-01T02:00:00Z"));
    assert_eq!(calendar.unknown_zones().collect::<Vec<_>>(), ["Europe/Atlantis"]);
}

#[test]
fn a_set_without_windows_is_open_except_during_its_exclusions() {
    let mut set = WindowSet::default();
    assert!(set.is_empty() && set.validate(at("2026-12-01T00:00:00Z")).is_ok());
    let always = set.in_zone(None, &ZoneName::utc());
    assert_eq!(always.state(at("2026-12-01T00:00:00Z")), open("2026-12-02T00:00:00Z"));
    let exclusion = |from, to| Exclusion { from: at(from), to: at(to) };
    set.exclusions = vec![
        exclusion("2026-12-26T00:00:00Z", "2026-12-27T00:00:00Z"),
        exclusion("2026-12-24T00:00:00Z", "2026-12-26T00:00:00Z"),
    ];
    let but = set.in_zone(None, &ZoneName::utc());
    assert_eq!(but.state(at("2026-12-23T12:00:00Z")), open("2026-12-24T00:00:00Z"));
    assert_eq!(but.state(at("2026-12-24T00:00:00Z")), closed("2026-12-27T00:00:00Z"));
    assert_eq!(but.state(at("2026-12-27T00:00:00Z")), open("2026-12-28T00:00:00Z"));
}

#[test]
fn what_must_fit_is_counted_over_windows_that_follow_each_other() {
    let nights = set([window("0 1 * * *", 60, "UTC"), window("0 2 * * 0", 60, "UTC")]);
    let nights = nights.in_zone(None, &ZoneName::utc());
    let fits = |minutes: u64, now| {
        WindowState::of_all(&[&nights], Duration::from_secs(60 * minutes), at(now))
    };
    // 6 December is a Sunday, and has the second one.
    assert_eq!(fits(60, "2026-12-02T01:00:00Z"), open("2026-12-02T02:00:00Z"));
    assert_eq!(fits(60, "2026-12-02T01:00:00.001Z"), closed("2026-12-03T01:00:00Z"));
    assert_eq!(fits(90, "2026-12-02T01:00:00Z"), closed("2026-12-06T01:00:00Z"));
    assert_eq!(fits(90, "2026-12-06T01:30:00Z"), open("2026-12-06T03:00:00Z"));
    assert_eq!(fits(121, "2026-12-02T01:00:00Z"), WindowState::Closed { until: None });
}

#[test]
fn two_sets_are_open_while_both_are() {
    let nights = calendar("0 1 * * *", 120, "UTC");
    let later = calendar("0 2 * * *", 120, "UTC");
    let both = |now| WindowState::of_all(&[&nights, &later], Duration::ZERO, at(now));
    assert_eq!(both("2026-06-01T00:00:00Z"), closed("2026-06-01T02:00:00Z"));
    assert_eq!(both("2026-06-01T02:00:00Z"), open("2026-06-01T03:00:00Z"));
    assert_eq!(both("2026-06-01T03:00:00Z"), closed("2026-06-02T02:00:00Z"));
    // Two that never meet, and two that meet on the clock of one but too late for the search.
    let never = calendar("30 3 * * *", 60, "UTC");
    let state = WindowState::of_all(&[&nights, &never], Duration::ZERO, at("2026-06-01T00:00:00Z"));
    assert_eq!(state, WindowState::Closed { until: None });
    let leap = calendar("0 1 29 2 *", 60, "UTC");
    let state = WindowState::of_all(&[&nights, &leap], Duration::ZERO, at("2026-06-01T00:00:00Z"));
    assert_eq!(state, WindowState::Closed { until: None });
    assert_eq!(leap.state(at("2026-06-01T00:00:00Z")), closed("2028-02-29T01:00:00Z"));
}

#[test]
fn either_day_will_do_where_two_are_given() {
    let either = calendar("0 1 15 * 1", 60, "UTC");
    // Mondays are 7 and 14 December.
    opens_next(&either, "2026-12-08T00:00:00Z", "2026-12-14T01:00:00Z", "2026-12-14T02:00:00Z");
    opens_next(&either, "2026-12-14T02:00:00Z", "2026-12-15T01:00:00Z", "2026-12-15T02:00:00Z");
    for sunday in ["0 1 * * 0", "0 1 * * 7"] {
        let state = calendar(sunday, 60, "UTC").state(at("2026-12-01T00:00:00Z"));
        assert_eq!(state, closed("2026-12-06T01:00:00Z"), "{sunday}");
    }
}

#[test]
fn a_start_that_is_not_understood_is_refused_with_what_to_give() {
    for (text, expected) in [
        ("", "has 0 fields: give five"),
        ("0 2 * *", "has 4 fields: give five"),
        ("0 0 2 * * *", "has 6 fields: give five"),
        ("@daily", "has 1 fields: give five"),
        ("60 2 * * *", "the minute of a start is \"60\": give `*` or numbers from 0 to 59"),
        ("0 24 * * *", "the hour of a start is \"24\""),
        ("0 2 0 * *", "the day of month of a start is \"0\""),
        ("0 2 * 13 *", "the month of a start is \"13\""),
        ("0 2 * * 8", "the day of week of a start is \"8\": give `*` or numbers from 0 to 7"),
        ("0 2 * * MON", "the day of week of a start is \"MON\""),
        ("0 2 L * *", "the day of month of a start is \"L\""),
        ("0 2 * * +5", "the day of week of a start is \"+5\""),
        ("0 2 * * 5#2", "the day of week of a start is \"5#2\""),
        ("0 2 ? * *", "the day of month of a start is \"?\""),
        ("0 5-2 * * *", "the hour of a start is \"5-2\""),
        ("0 */0 * * *", "the hour of a start is \"*/0\""),
        ("0 1/2 * * *", "the hour of a start is \"1/2\""),
        ("0 1,,2 * * *", "the hour of a start is \"1,,2\""),
        ("000 2 * * *", "the minute of a start is \"000\""),
        ("0 \u{662} * * *", "the hour of a start is"),
        ("0 0 31 2 *", "no month of the start \"0 0 31 2 *\" has such a day"),
        ("0 0 30-31 2 *", "no month of the start"),
        ("0 0 31 2,4,6,9,11 *", "no month of the start"),
    ] {
        let error = text.parse::<WindowStart>().expect_err(text).to_string();
        assert!(error.contains(expected), "{error:?} for {text:?}");
    }
    let long = "1,".repeat(1_000_000);
    let error = long.parse::<WindowStart>().expect_err("it is long").to_string();
    assert!(error.len() < 200 && error.contains("give at most 512"), "{error}");
    // A day of week, too, finds a day in February; and 29 February comes at times.
    for text in ["0 0 31 2 1", "0 0 29 2 *", "*/15 0-6/2,12 1,15 * 1-5", " 0  2\t* * * "] {
        assert!(text.parse::<WindowStart>().is_ok(), "{text:?}");
    }
}

#[test]
fn a_set_outside_its_limits_is_refused_with_what_to_give() {
    let now = at("2026-12-01T00:00:00Z");
    let refused = |set: &WindowSet| set.validate(now).expect_err("it is refused");
    let one = window("0 2 * * *", 60, "UTC");
    let with = |length| set([Window { length, ..one.clone() }]);
    for length in [Duration::from_millis(59_999), Duration::from_millis(604_800_001)] {
        assert_eq!(refused(&with(length)), WindowError::Length { given: length });
    }
    for length in [Duration::from_secs(60), Duration::from_secs(604_800)] {
        assert_eq!(with(length).validate(now), Ok(()));
    }
    let mut many = WindowSet { windows: vec![one.clone(); 65], exclusions: Vec::new() };
    assert_eq!(refused(&many), WindowError::TooManyWindows { given: 65, most: 64 });
    many.windows.pop();
    assert_eq!(many.validate(now), Ok(()));
    let exclusion = Exclusion { from: now, to: now + Duration::from_millis(1) };
    many.exclusions = vec![exclusion; 1_001];
    assert_eq!(refused(&many), WindowError::TooManyExclusions { given: 1_001, most: 1_000 });
    many.exclusions.pop();
    assert_eq!(many.validate(now), Ok(()));
    let (from, to) = (now, now);
    many.exclusions = vec![Exclusion { from, to }];
    assert_eq!(refused(&many), WindowError::ExclusionEndsBeforeItBegins { from, to });
    for zone in ["", "Europe/Rome ", "Europe\\Rome", &"a".repeat(65)] {
        let error = zone.parse::<ZoneName>().expect_err("it is refused").to_string();
        assert!(error.contains("give one such as `Europe/Rome`"), "{error}");
    }
}

#[test]
fn windows_that_nobody_lives_to_see_are_refused() {
    let (early, late) = (at("2026-12-01T00:00:00Z"), at("2096-03-01T00:00:00Z"));
    let mut leap = set([window("0 0 29 2 *", 60, "UTC")]);
    assert_eq!(leap.validate(early), Ok(()));
    // 2100 has no such day.
    let error = leap.validate(late).expect_err("in 2104");
    assert_eq!(error, WindowError::NeverOpens { start: "0 0 29 2 *".to_owned() });
    let to = Timestamp::from_millis(i64::MAX);
    leap.exclusions = vec![Exclusion { from: early, to }];
    assert_eq!(leap.validate(early), Err(WindowError::NothingOpens));
}

#[test]
fn times_beyond_the_calendar_are_answered_without_a_panic() {
    let nightly = calendar("0 2 * * *", 60, "Europe/Rome");
    let always = WindowSet::default().in_zone(None, &ZoneName::utc());
    for millis in [i64::MIN, i64::MIN + 1, -1, 0, 1, 253_402_300_799_999, i64::MAX - 1, i64::MAX] {
        let now = Timestamp::from_millis(millis);
        let state = nightly.state(now);
        assert!(
            matches!(state, WindowState::Closed { .. }) || (0..=1).contains(&millis),
            "{state:?}"
        );
        assert!(always.state(now).is_open());
    }
    assert_eq!(
        nightly.state(Timestamp::from_millis(i64::MAX)),
        WindowState::Closed { until: None }
    );
}

#[test]
fn windows_read_back_as_they_were_written() {
    let json = r#"{"windows":[{"start":"0 2 * * 6","length_ms":7200000,"zone":"device"},{"start":"*/15 0-4 1 * *","length_ms":60000,"zone":"Europe/Rome"}],"exclusions":[{"from":1000,"to":2000}]}"#;
    let set: WindowSet = serde_json::from_str(json).expect("windows");
    assert_eq!(serde_json::to_string(&set).expect("JSON"), json);
    for wrong in [
        r#"{"windows":[{"start":"0 2 * * 6","length_ms":7200000}]}"#,
        r#"{"windows":[{"start":"0 2 * * 6","length_ms":-1,"zone":"UTC"}]}"#,
        r#"{"windows":[{"start":"0 2 * * 6","length_ms":1,"zone":"a b"}]}"#,
        r#"{"window":[]}"#,
    ] {
        assert!(serde_json::from_str::<WindowSet>(wrong).is_err(), "{wrong}");
    }
}
