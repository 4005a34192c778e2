//! `hedgerow device` with a word behind it: the devices of a running service, one by one.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Connection, nodes, print, run, text};

/// What of an operation is shown.
const OPERATION: &str = "id status statusProgress statusCode message createdAt endedAt version baseImageUrl failure { reason description }";

/// What is asked of the devices of a running service.
#[derive(Subcommand)]
pub(crate) enum DeviceAction {
    /// List the devices of a running service
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a device of a running service, and its newest updates
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have a device of a running service install a file, whatever it is and runs
    Update(Update),
    /// Ask a device of a running service to cancel the update that was started by hand
    Cancel {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a device of a running service a name
    Name {
        #[command(flatten)]
        which: Which,
        /// Its name
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Put tags on a device of a running service
    Tag {
        #[command(flatten)]
        which: Which,
        /// The tags
        #[arg(required = true)]
        tags: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take tags off a device of a running service
    Untag {
        #[command(flatten)]
        which: Which,
        /// The tags
        #[arg(required = true)]
        tags: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// A device.
#[derive(Args)]
pub(crate) struct Which {
    /// The device
    // One id in 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    device: String,
}

/// What a device is to install.
#[derive(Args)]
#[command(override_usage = "hedgerow device update [OPTIONS] <DEVICE> <FILE|--image-url <URL>>")]
#[command(group = clap::ArgGroup::new("what").args(["file", "image_url"]).required(true))]
pub(crate) struct Update {
    #[command(flatten)]
    which: Which,
    /// The file, which is uploaded for this device alone
    file: Option<PathBuf>,
    /// In place of a file: where the device finds it
    #[arg(long, value_name = "URL")]
    image_url: Option<String>,
    /// The version that the device shows afterwards: with it success is seen also where a device
    /// loses its last report, as some do, and another version counts as failed
    #[arg(long, value_name = "VERSION")]
    expect: Option<String>,
    /// How often a request is sent again that the device does not answer
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// After how many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
    #[command(flatten)]
    connection: Connection,
}

/// Runs `hedgerow device` with a word behind it.
pub(crate) fn device(action: &DeviceAction) -> ExitCode {
    match action {
        DeviceAction::List { connection } => {
            run(connection, async |client: Client| list(&client, connection.json).await)
        }
        DeviceAction::Show { which, connection } => {
            run(connection, async |client: Client| show(&client, which, connection.json).await)
        }
        DeviceAction::Update(args) => {
            run(&args.connection, async |client: Client| update(&client, args).await)
        }
        DeviceAction::Cancel { which, connection } => {
            run(connection, async |client: Client| cancel(&client, which, connection.json).await)
        }
        DeviceAction::Name { which, name, connection } => {
            let named = json!({"name": name});
            run(connection, async |client: Client| {
                let named = ("updateDevice", "UpdateDeviceInput", &named);
                change(&client, which, named, connection.json).await
            })
        }
        DeviceAction::Tag { which, tags, connection } => {
            let tags = json!({"tags": tags});
            run(connection, async |client: Client| {
                let tagged = ("addDeviceTags", "AddDeviceTagsInput!", &tags);
                change(&client, which, tagged, connection.json).await
            })
        }
        DeviceAction::Untag { which, tags, connection } => {
            let tags = json!({"tags": tags});
            run(connection, async |client: Client| {
                let untagged = ("removeDeviceTags", "RemoveDeviceTagsInput!", &tags);
                change(&client, which, untagged, connection.json).await
            })
        }
    }
}

/// What of a device is shown.
const FIELDS: &str = "id deviceId name online serialNumber partNumber systemModel { handle } \
    baseImage { version } tags { edges { node { name } } }";

fn line(device: &Value) -> String {
    let tags: Vec<_> = nodes(&device["tags"]).map(|tag| text(tag, "name")).collect();
    format!(
        "{}  {:<16} {:<8} {} {}  {}",
        text(device, "deviceId"),
        text(device, "name"),
        if device["online"] == true { "online" } else { "offline" },
        device["systemModel"]["handle"].as_str().unwrap_or("no system model"),
        text(&device["baseImage"], "version"),
        tags.join(", "),
    )
}

async fn list(client: &Client, as_json: bool) -> Result<(), ClientError> {
    let query = format!(
        "query ($after: String) {{ devices(first: 250, after: $after) {{ edges {{ node {{ {FIELDS} }} }} \
         pageInfo {{ hasNextPage endCursor }} }} }}"
    );
    let (mut devices, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = client.ask(&query, json!({"after": after})).await?;
        let page = &answer["devices"];
        devices.extend(nodes(page).cloned());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
    }
    print(as_json, &json!(devices), |out| {
        devices.iter().try_for_each(|device| writeln!(out, "{}", line(device)))
    })
}

async fn show(client: &Client, which: &Which, as_json: bool) -> Result<(), ClientError> {
    let fields = format!("{FIELDS} otaOperations {{ edges {{ node {{ {OPERATION} }} }} }}");
    let device = find(client, which, &fields).await?;
    print(as_json, &device, |out| {
        writeln!(out, "{}", line(&device))?;
        match device["partNumber"].as_str() {
            Some(part) => writeln!(out, "  part {part}, serial {}", text(&device, "serialNumber"))?,
            None => writeln!(out, "  it shows no part number, which a system model is found by")?,
        }
        nodes(&device["otaOperations"])
            .try_for_each(|operation| writeln!(out, "  {}", operation_line(operation)))
    })
}

fn operation_line(operation: &Value) -> String {
    let (failure, message) =
        (text(&operation["failure"], "description"), text(operation, "message"));
    let mut why: Vec<_> = [failure, message].into_iter().filter(|said| !said.is_empty()).collect();
    why.dedup();
    let why = if why.is_empty() { String::new() } else { format!("  {}", why.join(": ")) };
    // What a file that was given by hand makes of a device nobody knows.
    let file = text(operation, "baseImageUrl").rsplit('/').next().unwrap_or_default();
    let to = operation["version"].as_str().unwrap_or(file);
    format!(
        "{}  to {to}: {} {} %{why}",
        text(operation, "createdAt"),
        text(operation, "status"),
        operation["statusProgress"],
    )
}

async fn update(client: &Client, args: &Update) -> Result<(), ClientError> {
    let device = find(client, &args.which, "id").await?;
    let query = format!(
        "mutation ($input: CreateManualOtaOperationInput!) {{ createManualOtaOperation(input: $input) \
         {{ result {{ {OPERATION} }} }} }}"
    );
    let mut input = json!({
        "deviceId": device["id"],
        "expectedVersion": args.expect,
        "requestRetries": args.retries,
        "requestTimeoutSeconds": args.timeout,
    });
    let answer = if let Some(file) = &args.file {
        input["baseImageFile"] = Value::Null;
        let asked = (&*query, json!({"input": input}));
        client.ask_with_file(asked, "variables.input.baseImageFile", file).await?
    } else {
        input["baseImageUrl"] = json!(args.image_url);
        client.ask(&query, json!({"input": input})).await?
    };
    let operation = &answer["createManualOtaOperation"]["result"];
    let device = &args.which.device;
    print(args.connection.json, operation, |out| {
        writeln!(out, "{}", operation_line(operation))?;
        writeln!(out, "how it goes: hedgerow device show {device}")
    })
}

async fn cancel(client: &Client, which: &Which, as_json: bool) -> Result<(), ClientError> {
    let fields = "otaOperations { edges { node { id endedAt campaignTarget { id } } } }";
    let device = find(client, which, fields).await?;
    let is_it = |operation: &&Value| {
        operation["endedAt"].is_null() && operation["campaignTarget"].is_null()
    };
    let none = || {
        let text = format!("{} has no update under way that was started by hand", which.device);
        ClientError::Refused(text)
    };
    let operation = nodes(&device["otaOperations"]).find(is_it).ok_or_else(none)?;
    let query = format!(
        "mutation ($id: ID!) {{ cancelOtaOperation(id: $id) {{ result {{ {OPERATION} }} }} }}"
    );
    let answer = client.ask(&query, json!({"id": operation["id"]})).await?;
    let cancelled = &answer["cancelOtaOperation"]["result"];
    print(as_json, cancelled, |out| {
        writeln!(
            out,
            "the device is asked to cancel; how it goes: hedgerow device show {}",
            which.device
        )
    })
}

/// A device that is given by its Astarte id.
async fn find(client: &Client, which: &Which, fields: &str) -> Result<Value, ClientError> {
    let query = format!(
        "query ($id: String!) {{ devices(first: 1, filter: {{deviceId: {{eq: $id}}}}) \
         {{ edges {{ node {{ {fields} }} }} }} }}"
    );
    let found = client.ask(&query, json!({"id": which.device})).await?;
    let absent = || ClientError::Absent("device", which.device.clone(), "device list");
    nodes(&found["devices"]).next().cloned().ok_or_else(absent)
}

async fn change(
    client: &Client,
    which: &Which,
    (mutation, input_type, input): (&str, &str, &Value),
    as_json: bool,
) -> Result<(), ClientError> {
    let device = find(client, which, "id").await?;
    let query = format!(
        "mutation ($id: ID!, $input: {input_type}) {{ {mutation}(id: $id, input: $input) {{ result {{ {FIELDS} }} }} }}"
    );
    let answer = client.ask(&query, json!({"id": device["id"], "input": input})).await?;
    let changed = &answer[mutation]["result"];
    print(as_json, changed, |out| writeln!(out, "{}", line(changed)))
}
