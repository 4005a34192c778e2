//! Which types come in lists, and by which of their fields lists are filtered and sorted: from this
//! table the types of connections, filters and sorts are written.

use std::fmt::Write;

use crate::errors::snake_case;

/// A type that comes in lists.
pub(crate) struct List {
    pub(crate) of: &'static str,
    /// Its own fields, with their types; those with `!` are never null.
    fields: &'static [(&'static str, &'static str)],
    /// Fields that lead to other types: some of them must pass that type's filter.
    relations: &'static [(&'static str, &'static str)],
}

const fn list(
    of: &'static str,
    fields: &'static [(&'static str, &'static str)],
    relations: &'static [(&'static str, &'static str)],
) -> List {
    List { of, fields, relations }
}

/// A list of what there is never any of here: it is only asked for.
const fn empty(of: &'static str, fields: &'static [(&'static str, &'static str)]) -> List {
    list(of, fields, &[])
}

const ID: (&str, &str) = ("id", "ID!");
const HANDLE: (&str, &str) = ("handle", "String!");
const NAME: (&str, &str) = ("name", "String!");

pub(crate) const LISTS: &[List] = &[
    list(
        "Campaign",
        &[
            ID,
            NAME,
            ("status", "CampaignStatus!"),
            ("outcome", "CampaignOutcome"),
            ("scheduledAtTimestamp", "DateTime"),
            ("totalTargetCount", "Int!"),
            ("idleTargetCount", "Int!"),
            ("inProgressTargetCount", "Int!"),
            ("failedTargetCount", "Int!"),
            ("successfulTargetCount", "Int!"),
            ("createdAt", "DateTime!"),
            ("startedAt", "DateTime"),
            ("finishedAt", "DateTime"),
            ("end", "CampaignEnd"),
        ],
        &[("channel", "Channel"), ("campaignTargets", "CampaignTarget")],
    ),
    list(
        "CampaignTarget",
        &[
            ID,
            ("status", "CampaignTargetStatus!"),
            ("retryCount", "Int!"),
            ("latestAttempt", "DateTime"),
            ("completionTimestamp", "DateTime"),
            ("state", "TargetState!"),
            ("settlement", "TargetSettlement!"),
        ],
        &[("campaign", "Campaign"), ("device", "Device"), ("otaOperation", "OtaOperation")],
    ),
    list(
        "OtaOperation",
        &[
            ID,
            ("baseImageUrl", "String!"),
            ("status", "OtaOperationStatus!"),
            ("statusProgress", "Int!"),
            ("statusCode", "OtaOperationStatusCode"),
            ("message", "String"),
            ("createdAt", "DateTime!"),
            ("updatedAt", "DateTime!"),
        ],
        &[("device", "Device"), ("campaignTarget", "CampaignTarget")],
    ),
    list(
        "Channel",
        &[ID, HANDLE, NAME],
        &[("targetGroups", "DeviceGroup"), ("campaigns", "Campaign")],
    ),
    list(
        "DeviceGroup",
        &[ID, NAME, HANDLE, ("selector", "String!")],
        &[("devices", "Device"), ("channel", "Channel")],
    ),
    list(
        "BaseImageCollection",
        &[ID, NAME, HANDLE],
        &[("systemModel", "SystemModel"), ("baseImages", "BaseImage")],
    ),
    list(
        "BaseImage",
        &[ID, ("version", "String!"), ("startingVersionRequirement", "String"), ("url", "String!")],
        &[("baseImageCollection", "BaseImageCollection")],
    ),
    list(
        "SystemModel",
        &[ID, HANDLE, NAME, ("pictureUrl", "String")],
        &[("partNumbers", "SystemModelPartNumber"), ("hardwareType", "HardwareType")],
    ),
    list("HardwareType", &[ID, HANDLE, NAME], &[("partNumbers", "HardwareTypePartNumber")]),
    list(
        "SystemModelPartNumber",
        &[ID, ("partNumber", "String!")],
        &[("systemModel", "SystemModel")],
    ),
    list(
        "HardwareTypePartNumber",
        &[ID, ("partNumber", "String!")],
        &[("hardwareType", "HardwareType")],
    ),
    list("Tag", &[ID, NAME], &[]),
    list(
        "Device",
        &[
            ID,
            ("deviceId", "String!"),
            NAME,
            ("online", "Boolean!"),
            ("lastConnection", "DateTime"),
            ("lastDisconnection", "DateTime"),
            ("lastSeenIp", "String"),
            ("serialNumber", "String"),
            ("partNumber", "String"),
        ],
        &[
            ("systemModel", "SystemModel"),
            ("tags", "Tag"),
            ("deviceGroups", "DeviceGroup"),
            ("otaOperations", "OtaOperation"),
        ],
    ),
    empty("Deployment", &[ID]),
    empty("DeploymentEvent", &[ID, ("insertedAt", "DateTime!")]),
    empty("DeviceFile", &[ID, ("deleted", "Boolean!"), ("fileId", "String!")]),
    empty("FileDownloadRequest", &[ID, ("insertedAt", "DateTime!"), ("updatedAt", "DateTime!")]),
    empty("FileUploadRequest", &[ID, ("insertedAt", "DateTime!"), ("updatedAt", "DateTime!")]),
    empty("FileDeleteRequest", &[ID, ("insertedAt", "DateTime!"), ("updatedAt", "DateTime!")]),
    empty("ContainerDeployment", &[ID]),
    empty("NetworkDeployment", &[ID]),
    empty("VolumeDeployment", &[ID]),
    empty("DeviceMappingDeployment", &[ID]),
    empty("DeviceRequestDeployment", &[ID]),
];

/// The type that the connection lists; `None`: it is no connection.
pub(crate) fn listed_by(connection: &str) -> Option<&'static str> {
    let of = connection.strip_suffix("Connection")?;
    LISTS.iter().map(|list| list.of).find(|known| *known == of)
}

/// The type that a field of that type leads to, if filters may follow it.
pub(crate) fn relation(of: &str, field: &str) -> Option<&'static str> {
    let list = LISTS.iter().find(|list| list.of == of)?;
    list.relations.iter().find(|(name, _)| *name == field).map(|(_, other)| *other)
}

/// The arguments of every connection to that type.
pub(crate) fn arguments(of: &str) -> String {
    format!(
        "(sort: [{of}SortInput], filter: {of}FilterInput, first: Int, before: String, after: String, last: Int)"
    )
}

const TEXT_TESTS: [&str; 5] = ["contains", "stringStartsWith", "stringEndsWith", "like", "ilike"];
const TESTS: [&str; 8] = [
    "eq",
    "notEq",
    "lessThan",
    "greaterThan",
    "lessThanOrEqual",
    "greaterThanOrEqual",
    "isDistinctFrom",
    "isNotDistinctFrom",
];

/// The results of mutations: of each, in snake case, the type that it returns.
const RESULTS: &[(&str, &str)] = &[
    ("CreateCampaign", "Campaign"),
    ("UpdateCampaign", "Campaign"),
    ("DeleteCampaign", "Campaign"),
    ("PauseCampaign", "Campaign"),
    ("ResumeCampaign", "Campaign"),
    ("CancelCampaign", "Campaign"),
    ("CreateChannel", "Channel"),
    ("UpdateChannel", "Channel"),
    ("DeleteChannel", "Channel"),
    ("CreateDeviceGroup", "DeviceGroup"),
    ("UpdateDeviceGroup", "DeviceGroup"),
    ("DeleteDeviceGroup", "DeviceGroup"),
    ("CreateSystemModel", "SystemModel"),
    ("UpdateSystemModel", "SystemModel"),
    ("DeleteSystemModel", "SystemModel"),
    ("CreateHardwareType", "HardwareType"),
    ("UpdateHardwareType", "HardwareType"),
    ("DeleteHardwareType", "HardwareType"),
    ("CreateBaseImageCollection", "BaseImageCollection"),
    ("UpdateBaseImageCollection", "BaseImageCollection"),
    ("DeleteBaseImageCollection", "BaseImageCollection"),
    ("CreateBaseImage", "BaseImage"),
    ("UpdateBaseImage", "BaseImage"),
    ("DeleteBaseImage", "BaseImage"),
    ("CreateManualOtaOperation", "OtaOperation"),
    ("CancelOtaOperation", "OtaOperation"),
    ("UpdateDevice", "Device"),
    ("AddDeviceTags", "Device"),
    ("RemoveDeviceTags", "Device"),
];

/// All types that follow from the tables, as SDL.
pub(crate) fn sdl() -> String {
    let mut sdl = String::new();
    for (mutation, of) in RESULTS {
        let _ = writeln!(sdl, "type {mutation}Result {{ result: {of} errors: [MutationError!]! }}");
    }
    for list in LISTS {
        let of = list.of;
        let _ = writeln!(
            sdl,
            "type {of}Connection {{ count: Int pageInfo: PageInfo! edges: [{of}Edge!] }}\n\
             type {of}Edge {{ cursor: String! node: {of}! }}\n\
             input {of}SortInput {{ order: SortOrder field: {of}SortField! }}"
        );
        let fields: Vec<_> = list.fields.iter().map(|(name, _)| snake_case(name)).collect();
        let _ = writeln!(sdl, "enum {of}SortField {{ {} }}", fields.join(" ").to_uppercase());
        let _ = write!(
            sdl,
            "input {of}FilterInput {{ and: [{of}FilterInput!] or: [{of}FilterInput!] not: [{of}FilterInput!]"
        );
        for (name, _) in list.fields {
            let _ = write!(sdl, " {name}: {}", filter(of, name));
        }
        for (name, other) in list.relations {
            let _ = write!(sdl, " {name}: {other}FilterInput");
        }
        sdl.push_str(" }\n");
        for (name, ty) in list.fields {
            let scalar = ty.trim_end_matches('!');
            let _ = write!(sdl, "input {} {{ isNil: Boolean in: [{ty}]", filter(of, name));
            let text = if scalar == "String" { &TEXT_TESTS[..] } else { &[] };
            for test in TESTS.iter().chain(text) {
                let _ = write!(sdl, " {test}: {scalar}");
            }
            sdl.push_str(" }\n");
        }
    }
    sdl
}

/// `CampaignFilterName` for the field `name` of `Campaign`.
fn filter(of: &str, name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{of}Filter{}{rest}", first.to_uppercase())
}
