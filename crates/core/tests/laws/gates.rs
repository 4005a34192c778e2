//! The gates (D5), against the table read literally: versions are taken apart by hand here, and
//! nothing of the crate's own reading or comparing of versions is used.

use std::cmp::Ordering;

use hedgerow_core::event::{CampaignEvent, TargetFailure};
use hedgerow_core::*;
use proptest::prelude::*;
use proptest::sample::select;

use crate::story::{Mix, story};
use crate::support::cases;
use crate::world::{Law, Recorded, Step, play, version_in};

/// A version taken apart: numbers, pre-release, build metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts<'a> {
    numbers: [u64; 3],
    pre_release: Vec<&'a str>,
    build: Option<&'a str>,
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty()
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn has_leading_zero(text: &str) -> bool {
    is_number(text) && text.len() > 1 && text.starts_with('0')
}

/// The text as a semantic version, by the grammar of semver.org.
pub(crate) fn parts(text: &str) -> Option<Parts<'_>> {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre_release) = match rest.split_once('-') {
        Some((core, pre_release)) => (core, pre_release.split('.').collect()),
        None => (rest, Vec::new()),
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let whole = numbers.len() == 3 && numbers.iter().all(|n| is_number(n) && !has_leading_zero(n));
    let pre_is_whole = pre_release.iter().all(|id| is_identifier(id) && !has_leading_zero(id));
    let build_is_whole = build.is_none_or(|build| build.split('.').all(is_identifier));
    if !(whole && pre_is_whole && build_is_whole) {
        return None;
    }
    let number = |place: usize| numbers[place].parse().ok();
    Some(Parts { numbers: [number(0)?, number(1)?, number(2)?], pre_release, build })
}

/// Which of two versions comes first. Build metadata plays no part.
fn order(a: &Parts<'_>, b: &Parts<'_>) -> Ordering {
    let pre_release = match (a.pre_release.is_empty(), b.pre_release.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => order_of_identifiers(&a.pre_release, &b.pre_release),
    };
    a.numbers.cmp(&b.numbers).then(pre_release)
}

fn order_of_identifiers(a: &[&str], b: &[&str]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (is_number(a), is_number(b)) {
            // Without leading zeros the longer number is the larger one.
            (true, true) => a.len().cmp(&b.len()).then(a.cmp(b)),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Whether a requirement is met: conditions joined by `and`, and those by `or`.
fn meets(version: &Parts<'_>, requirement: &str) -> bool {
    let condition = |text: &str| {
        let (operator, wanted) = text.trim().split_once(' ').expect("a condition");
        let wanted = parts(wanted).expect("a version in full");
        let order = order(version, &wanted);
        match operator {
            "==" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            ">" => order == Ordering::Greater,
            ">=" => order != Ordering::Less,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            "~>" => order != Ordering::Less && version.numbers[..2] == wanted.numbers[..2],
            _ => panic!("{operator:?} is no operator"),
        }
    };
    requirement.split(" or ").any(|all| all.split(" and ").all(condition))
}

/// The table of D5, row by row.
pub(crate) fn gate(
    shown: Option<&str>,
    image: &str,
    requirement: Option<&str>,
    policy: GatePolicy,
) -> &'static str {
    let image = parts(image).expect("an image has a version");
    let Some(shown) = shown else { return "missing_version" };
    let Some(current) = parts(shown) else { return "invalid_version" };
    let order = order(&image, &current);
    if order == Ordering::Equal && image.build == current.build {
        return "already_up_to_date";
    }
    if order == Ordering::Less && !policy.force_downgrade {
        return "downgrade_not_allowed";
    }
    if order == Ordering::Equal && image.build != current.build && !policy.force_downgrade {
        return "ambiguous_version_ordering";
    }
    let lifted = policy.force_downgrade && !policy.enforce_version_requirement;
    if requirement.is_some_and(|requirement| !meets(&current, requirement)) && !lifted {
        return "version_requirement_not_met";
    }
    "start"
}

/// The crate's own answer under the same names.
fn decided(decision: &GateDecision) -> &'static str {
    match decision {
        GateDecision::AlreadyUpToDate => "already_up_to_date",
        GateDecision::Refused(refusal) => refusal.reason(),
        GateDecision::Start => "start",
    }
}

/// Versions close to each other, with pre-releases and build metadata.
fn version() -> impl Strategy<Value = String> {
    let number = || select(vec!["0", "1", "2", "9", "10", "18446744073709551615"]);
    let pre_release = select(vec![
        "",
        "",
        "",
        "-0",
        "-1",
        "-2",
        "-10",
        "-rc",
        "-rc.1",
        "-rc.1.0",
        "-RC",
        "-a-b",
        "--",
        "-99999999999999999999",
        "-100000000000000000000",
    ]);
    let build = select(vec!["", "", "", "+a", "+b", "+01", "+1", "+a.b", "+-"]);
    (number(), number(), number(), pre_release, build).prop_map(
        |(major, minor, patch, pre, build)| format!("{major}.{minor}.{patch}{pre}{build}"),
    )
}

/// What a device may show: a version, nothing, or a text that looks like one.
fn shown() -> impl Strategy<Value = Option<String>> {
    let broken = (version(), any::<prop::sample::Index>(), "[-+. 0a\u{e9}]{1,2}").prop_map(
        |(mut version, place, extra)| {
            version.insert_str(place.index(version.len() + 1), &extra);
            version
        },
    );
    prop_oneof![
        6 => version().prop_map(Some),
        3 => broken.prop_map(Some),
        1 => "\\PC{0,8}".prop_map(Some),
        1 => Just(None),
    ]
}

fn requirement() -> impl Strategy<Value = String> {
    let wanted = version().prop_map(|version| {
        // Build metadata plays no part in a requirement, and is not part of its language.
        version.split('+').next().unwrap_or_default().to_owned()
    });
    let condition = (select(vec!["==", "!=", ">", ">=", "<", "<=", "~>"]), wanted)
        .prop_map(|(operator, version)| format!("{operator} {version}"));
    let all = prop::collection::vec(condition, 1..=3).prop_map(|all| all.join(" and "));
    prop::collection::vec(all, 1..=2).prop_map(|any| any.join(" or "))
}

fn policy() -> impl Strategy<Value = GatePolicy> {
    any::<(bool, bool)>().prop_map(|(force_downgrade, enforce_version_requirement)| GatePolicy {
        force_downgrade,
        enforce_version_requirement,
    })
}

/// D5 in a campaign: what comes of a target's turn is what the table says.
#[derive(Default)]
struct Gates {
    turns: Vec<DeviceId>,
}

impl Law for Gates {
    fn event(&mut self, seen: &Recorded<'_>) {
        let version = match seen.input {
            Input::BaseImageRead { device, purpose: ReadPurpose::Gate, answer, .. }
                if self.turns.contains(device) =>
            {
                version_in(answer).map(Option::as_deref)
            }
            _ => None,
        };
        let definition = seen.before.definition();
        let image = &definition.base_image;
        let requirement = image.starting_version_requirement.as_ref().map(ToString::to_string);
        let expected = version.map(|version| {
            let policy = definition.rollout.gates();
            gate(version, &image.version.to_string(), requirement.as_deref(), policy)
        });
        let got = match seen.event {
            CampaignEvent::TargetUpToDate(_) => "already_up_to_date",
            CampaignEvent::OperationStarted(e) => {
                assert_eq!(Some(Some(e.from_version.as_str())), version, "D5");
                "start"
            }
            CampaignEvent::TargetFailed(e) => match &e.reason {
                TargetFailure::Gate(refusal) => refusal.reason(),
                TargetFailure::DeviceRemoved => return,
            },
            _ => return,
        };
        assert_eq!(Some(got), expected, "D5: on the version just read: {version:?}");
    }

    fn step(&mut self, seen: &Step<'_>) {
        if let Input::BaseImageRead { device, purpose: ReadPurpose::Gate, .. } = seen.input {
            self.turns.retain(|other| other != device);
        }
        if seen.events().iter().any(|event| matches!(event, CampaignEvent::TargetUpToDate(_))) {
            assert_eq!(seen.sent().count(), 0, "D5: silently, without a request");
        }
        self.turns.extend(seen.turns());
    }

    fn restarted(&mut self, _: &Campaign, _: Timestamp) {
        self.turns.clear();
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn d5_the_gates_decide_as_the_table_says(
        shown in shown(), image in version(), requirement in prop::option::of(requirement()),
        policy in policy(),
    ) {
        let parsed = requirement.as_deref().map(|text| text.parse().unwrap());
        let version = image.parse().unwrap();
        let decision = evaluate_gates(shown.as_deref(), &version, parsed.as_ref(), policy);
        let expected = gate(shown.as_deref(), &image, requirement.as_deref(), policy);
        prop_assert_eq!(decided(&decision), expected);
    }

    #[test]
    fn d6_a_requirement_means_what_its_conditions_say(
        version in version(), requirement in requirement(),
    ) {
        let parsed: VersionRequirement = requirement.parse().unwrap();
        let met = parsed.matches(&version.parse().unwrap(), PreReleases::Allow);
        prop_assert_eq!(met, meets(&parts(&version).unwrap(), &requirement));
        prop_assert_eq!(parsed.to_string(), requirement, "it is shown as it was given");
    }

    #[test]
    fn d5_a_version_is_read_and_ordered_as_its_grammar_says(
        a in shown().prop_map(Option::unwrap_or_default), b in version(),
    ) {
        prop_assert_eq!(parse_version(&a).is_ok(), parts(&a).is_some(), "{:?}", a);
        if let (Ok(read), Some(parts_a)) = (parse_version(&a), parts(&a)) {
            let other = parse_version(&b).unwrap();
            let parts_b = parts(&b).unwrap();
            prop_assert_eq!(precedence(&read, &other), order(&parts_a, &parts_b));
            prop_assert_eq!(same_build(&read, &other), parts_a.build == parts_b.build);
        }
    }

    #[test]
    fn d5_a_targets_turn_ends_as_the_table_says(
        story in story(Mix { version: 6, answer: 14, ..Mix::EVEN }), all in any::<[u8; 6]>(),
    ) {
        let mut story = story;
        story.setup.versions = all.iter().map(|n| n % 8).collect();
        play(&story, &mut Gates::default());
    }
}
