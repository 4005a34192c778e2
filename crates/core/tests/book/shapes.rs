//! The shapes that fields of events have: what the event reference says about each type.

use std::fmt::Write;
use std::num::NonZeroU32;

use hedgerow_core::*;

use super::source::{Member, find};

/// A type that is described from its source.
struct Shape {
    name: &'static str,
    /// The line that it begins with.
    header: &'static str,
    source: &'static str,
}

macro_rules! shape {
    ($kind:literal $name:literal in $file:literal) => {
        Shape {
            name: $name,
            header: concat!("pub ", $kind, " ", $name, " {"),
            source: include_str!(concat!("../../src/", $file)),
        }
    };
}

const SHAPES: &[Shape] = &[
    shape!("struct" "CampaignDefinition" in "definition.rs"),
    shape!("struct" "BaseImage" in "fleet.rs"),
    shape!("enum" "RolloutMechanism" in "rollout/mod.rs"),
    shape!("struct" "PushRollout" in "rollout/mod.rs"),
    shape!("struct" "OptionalRollout" in "rollout/mod.rs"),
    shape!("enum" "PolicyFact" in "rollout/mod.rs"),
    shape!("struct" "ConsentPolicy" in "rollout/consent.rs"),
    shape!("enum" "AtDeadline" in "rollout/consent.rs"),
    shape!("struct" "Consent" in "rollout/consent.rs"),
    shape!("enum" "ConsentAnswer" in "rollout/consent.rs"),
    shape!("struct" "ConsentOver" in "rollout/consent.rs"),
    shape!("struct" "RolloutLimits" in "rollout/mod.rs"),
    shape!("struct" "OperationLimits" in "rollout/operation.rs"),
    shape!("struct" "GatePolicy" in "gate.rs"),
    shape!("enum" "WhenRunning" in "definition.rs"),
    shape!("enum" "Outcome" in "status.rs"),
    shape!("enum" "Phase" in "operation/phase.rs"),
    shape!("enum" "ReportStatus" in "operation/phase.rs"),
    shape!("enum" "Confirmation" in "event/mod.rs"),
    shape!("enum" "TargetFailure" in "event/mod.rs"),
    shape!("enum" "GateRefusal" in "gate.rs"),
    shape!("enum" "OperationFailure" in "event/mod.rs"),
    shape!("struct" "ManualUpdateDefinition" in "definition.rs"),
];

/// Types that are one number or text in JSON, in words.
const PLAIN: &[(&str, &str)] = &[
    ("CampaignName", "A text of 1 to 256 characters."),
    (
        "Channel",
        "The channel's name and groups: `{\"name\": \"stable\", \"groups\": [\"gardens\"]}`.",
    ),
    ("DeviceId", "128 bits as 22 characters of unpadded URL-safe base64, as Astarte writes them."),
    ("ImageUrl", "The URL of the image, byte for byte as it is sent to devices."),
    (
        "OperationId",
        "A UUID. That of a campaign's operation follows from campaign, device and attempt.",
    ),
    ("Percentage", "A decimal number as a text, such as `\"33.3\"`, so that no digit is lost."),
    ("RequestId", "A text that the caller chose."),
    (
        "StatusCode",
        "Why a device reports an error or a failure, in the device's own words: \
      `\"RequestTimeout\"`, `\"InvalidRequest\"`, `\"UpdateAlreadyInProgress\"`, `\"NetworkError\"`, \
      `\"IOError\"`, `\"InternalError\"`, `\"InvalidBaseImage\"`, `\"SystemRollback\"`, `\"Canceled\"`, \
      or any other text that a device sent, cut after 64 characters.",
    ),
    ("SystemModelHandle", "The handle of a System Model, such as `\"garden-gateway\"`."),
    ("Timestamp", "Milliseconds since 1970-01-01T00:00:00Z, as a number."),
    ("Version", "A semantic version as a text, such as `\"2.0.0-rc.1+build.5\"`."),
    (
        "VersionRequirement",
        "A requirement in Elixir's language, such as `\">= 1.2.0 and < 3.0.0\"`.",
    ),
];

/// Every shape, with a heading that fields lead to.
pub(crate) fn describe_all() -> String {
    let mut text = String::new();
    for shape in SHAPES {
        let found = find(shape.source, shape.header);
        let _ = write!(text, "### {}\n\n{}\n\n", shape.name, found.docs);
        if shape.header.starts_with("pub enum") {
            assert!(
                found.attributes.contains("rename_all = \"snake_case\""),
                "{}: this reference writes variants in snake case",
                shape.name
            );
            text += "| JSON | Meaning |\n|---|---|\n";
            for variant in &found.inner {
                let _ = writeln!(text, "| {} | {} |", variant_in_json(variant), variant.docs);
            }
        } else {
            text += &describe_fields(&found.inner);
        }
        text.push('\n');
    }
    for (name, words) in PLAIN {
        let _ = write!(text, "### {name}\n\n{words}\n\n");
    }
    text
}

/// A table of fields; empty if there are none.
pub(crate) fn describe_fields(fields: &[Member]) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let mut text = "| Field | Value | Meaning |\n|---|---|---|\n".to_owned();
    for field in fields {
        let name = renamed(field).unwrap_or(&field.name);
        let _ = writeln!(text, "| `{name}` | {} | {} |", value_in_words(field), field.docs);
    }
    text
}

fn variant_in_json(variant: &Member) -> String {
    let name = snake_case(&variant.name);
    if let Some(inner) = variant.rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return format!("`{{\"{name}\": …}}` with a {}", type_in_words(inner));
    }
    if variant.rest.is_empty() {
        return format!("`\"{name}\"`");
    }
    let fields: Vec<_> =
        variant.inner.iter().map(|field| format!("\"{}\": …", field.name)).collect();
    format!("`{{\"{name}\": {{{}}}}}`", fields.join(", "))
}

fn value_in_words(field: &Member) -> String {
    let type_name = field.rest.trim_start_matches(':').trim();
    let millis = field.attributes.contains("millis");
    let left_out = field.attributes.contains("skip_serializing_if");
    match type_name.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')) {
        Some("Duration") if millis => "milliseconds, or null".to_owned(),
        Some(inner) if left_out => format!("{}; may be left out", type_in_words(inner)),
        Some(inner) => format!("{}, or null", type_in_words(inner)),
        None if millis => "milliseconds".to_owned(),
        None if left_out => format!("{}; may be left out", type_in_words(type_name)),
        None => type_in_words(type_name),
    }
}

fn type_in_words(type_name: &str) -> String {
    if let Some(inner) = inside(type_name, "Box") {
        return type_in_words(inner);
    }
    if let Some(inner) = inside(type_name, "Vec") {
        return format!("list of {}", type_in_words(inner));
    }
    match type_name {
        "u8" | "u16" | "u32" => "number".to_owned(),
        "NonZeroU32" => "number from 1".to_owned(),
        "bool" => "true or false".to_owned(),
        "String" => "text".to_owned(),
        name => {
            let described = SHAPES.iter().map(|shape| shape.name).chain(PLAIN.iter().map(|p| p.0));
            assert!(described.clone().any(|known| known == name), "{name} is not described");
            format!("[{name}](#{})", name.to_lowercase())
        }
    }
}

fn inside<'a>(type_name: &'a str, outer: &str) -> Option<&'a str> {
    type_name.strip_prefix(outer)?.strip_prefix('<')?.strip_suffix('>')
}

fn renamed(field: &Member) -> Option<&str> {
    field.attributes.split_once("rename = \"")?.1.split('"').next()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

/// A definition that is valid.
pub(crate) fn definition() -> CampaignDefinition {
    let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse().expect("a percentage"));
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2.0.0.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse().expect("a name"), ["gardens".parse().expect("one")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

#[test]
fn the_status_codes_that_the_reference_names_are_those_that_are_known() {
    let (_, words) = PLAIN.iter().find(|(name, _)| *name == "StatusCode").expect("described");
    let named: Vec<_> =
        words.split("`\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let source = include_str!("../../src/operation/status_code.rs");
    let variants = find(source, "pub enum StatusCode {").inner;
    assert_eq!(named.len() + 1, variants.len(), "all but Other are named");
    for name in named {
        let code = StatusCode::from_wire(name);
        assert!(!matches!(code, None | Some(StatusCode::Other(_))), "{name} is not known");
    }
}
