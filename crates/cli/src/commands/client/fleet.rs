//! `hedgerow group`, `hedgerow channel`, and `hedgerow device` with a word behind it: which devices
//! there are in a running service, and how they are put together.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Connection, nodes, print, run, text};

/// List, create and delete the groups of a running service
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow group list
  hedgerow group create early --name 'Early birds' --selector '\"early\" in tags'")]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    action: GroupAction,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum GroupAction {
    /// List the groups
    List,
    /// Create a group
    Create {
        /// Its handle
        handle: String,
        /// Its name, for people; its handle, if left out
        #[arg(long)]
        name: Option<String>,
        /// Which devices are in it
        #[arg(long)]
        selector: String,
    },
    /// Delete a group
    Delete {
        /// Its handle
        handle: String,
    },
}

/// List, create and delete the channels of a running service
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow channel list
  hedgerow channel create beta --name Beta --groups early,testers")]
pub(crate) struct ChannelArgs {
    #[command(subcommand)]
    action: ChannelAction,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum ChannelAction {
    /// List the channels
    List,
    /// Create a channel
    Create {
        /// Its handle
        handle: String,
        /// Its name, for people; its handle, if left out
        #[arg(long)]
        name: Option<String>,
        /// The handles of its groups
        #[arg(long, value_name = "HANDLE,...", value_delimiter = ',')]
        groups: Vec<String>,
    },
    /// Delete a channel
    Delete {
        /// Its handle
        handle: String,
    },
}

/// What is asked of the devices of a running service.
#[derive(Subcommand)]
pub(crate) enum DeviceAction {
    /// List the devices of a running service
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a device of a running service a name
    Name {
        /// The device
        device: String,
        /// Its name
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Put tags on a device of a running service
    Tag {
        /// The device
        device: String,
        /// The tags
        #[arg(required = true)]
        tags: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take tags off a device of a running service
    Untag {
        /// The device
        device: String,
        /// The tags
        #[arg(required = true)]
        tags: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Runs `hedgerow group`.
pub(crate) fn group(args: &GroupArgs) -> ExitCode {
    let as_json = args.connection.json;
    run(&args.connection, async |client: Client| match &args.action {
        GroupAction::List => {
            let query = "query { deviceGroups { edges { node { id handle name selector deviceCount channel { handle } } } } }";
            let answer = client.ask(query, json!({})).await?;
            let groups: Vec<_> = nodes(&answer["deviceGroups"]).collect();
            print(as_json, &json!(groups), |out| {
                groups.iter().try_for_each(|group| {
                    let (count, selector) = (&group["deviceCount"], text(group, "selector"));
                    writeln!(
                        out,
                        "{}  {}: {count} devices  {selector}",
                        text(group, "handle"),
                        text(group, "name")
                    )
                })
            })
        }
        GroupAction::Create { handle, name, selector } => {
            let query = "mutation ($input: CreateDeviceGroupInput!) { createDeviceGroup(input: $input) { result { id handle deviceCount } } }";
            let name = name.as_ref().unwrap_or(handle);
            let input = json!({"input": {"handle": handle, "name": name, "selector": selector}});
            let answer = client.ask(query, input).await?;
            let group = &answer["createDeviceGroup"]["result"];
            print(as_json, group, |out| writeln!(out, "{handle}: {} devices", group["deviceCount"]))
        }
        GroupAction::Delete { handle } => {
            let id = find(&client, "deviceGroups", handle, ("group", "group list")).await?;
            delete(&client, "deleteDeviceGroup", &id, handle, as_json).await
        }
    })
}

/// Runs `hedgerow channel`.
pub(crate) fn channel(args: &ChannelArgs) -> ExitCode {
    let as_json = args.connection.json;
    run(&args.connection, async |client: Client| match &args.action {
        ChannelAction::List => {
            let query = "query { channels { edges { node { id handle name targetGroups { edges { node { handle } } } } } } }";
            let answer = client.ask(query, json!({})).await?;
            let channels: Vec<_> = nodes(&answer["channels"]).collect();
            print(as_json, &json!(channels), |out| {
                channels.iter().try_for_each(|channel| {
                    let groups: Vec<_> = nodes(&channel["targetGroups"])
                        .map(|group| text(group, "handle"))
                        .collect();
                    writeln!(
                        out,
                        "{}  {}: {}",
                        text(channel, "handle"),
                        text(channel, "name"),
                        groups.join(", ")
                    )
                })
            })
        }
        ChannelAction::Create { handle, name, groups } => {
            let mut ids = Vec::new();
            for group in groups {
                ids.push(find(&client, "deviceGroups", group, ("group", "group list")).await?);
            }
            let query = "mutation ($input: CreateChannelInput!) { createChannel(input: $input) { result { id handle } } }";
            let name = name.as_ref().unwrap_or(handle);
            let input = json!({"input": {"handle": handle, "name": name, "targetGroupIds": ids}});
            let answer = client.ask(query, input).await?;
            print(as_json, &answer["createChannel"]["result"], |out| {
                writeln!(out, "{handle} is created")
            })
        }
        ChannelAction::Delete { handle } => {
            let id = find_channel(&client, handle).await?;
            delete(&client, "deleteChannel", &id, handle, as_json).await
        }
    })
}

/// Runs `hedgerow device` with a word behind it.
pub(crate) fn device(action: &DeviceAction) -> ExitCode {
    match action {
        DeviceAction::List { connection } => {
            run(connection, async |client: Client| list_devices(&client, connection.json).await)
        }
        DeviceAction::Name { device, name, connection } => {
            run(connection, async |client: Client| {
                let query = "mutation ($id: ID!, $input: UpdateDeviceInput) { updateDevice(id: $id, input: $input) { result { id name } } }";
                change(
                    &client,
                    query,
                    "updateDevice",
                    device,
                    &json!({"name": name}),
                    connection.json,
                )
                .await
            })
        }
        DeviceAction::Tag { device, tags, connection } => {
            run(connection, async |client: Client| {
                let query = "mutation ($id: ID!, $input: AddDeviceTagsInput!) { addDeviceTags(id: $id, input: $input) { result { id name } } }";
                change(
                    &client,
                    query,
                    "addDeviceTags",
                    device,
                    &json!({"tags": tags}),
                    connection.json,
                )
                .await
            })
        }
        DeviceAction::Untag { device, tags, connection } => {
            run(connection, async |client: Client| {
                let query = "mutation ($id: ID!, $input: RemoveDeviceTagsInput!) { removeDeviceTags(id: $id, input: $input) { result { id name } } }";
                change(
                    &client,
                    query,
                    "removeDeviceTags",
                    device,
                    &json!({"tags": tags}),
                    connection.json,
                )
                .await
            })
        }
    }
}

async fn list_devices(client: &Client, as_json: bool) -> Result<(), ClientError> {
    let query = "query ($after: String) { devices(first: 250, after: $after) { edges { node { id deviceId name online \
        serialNumber systemModel { handle } baseImage { version } tags { edges { node { name } } } } } \
        pageInfo { hasNextPage endCursor } } }";
    let (mut devices, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = client.ask(query, json!({"after": after})).await?;
        let page = &answer["devices"];
        devices.extend(nodes(page).cloned());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
    }
    print(as_json, &json!(devices), |out| {
        devices.iter().try_for_each(|device| {
            let tags: Vec<_> = nodes(&device["tags"]).map(|tag| text(tag, "name")).collect();
            let online = if device["online"] == true { "online" } else { "offline" };
            writeln!(
                out,
                "{}  {:<16} {online:<8} {} {}  {}",
                text(device, "deviceId"),
                text(device, "name"),
                device["systemModel"]["handle"].as_str().unwrap_or("no system model"),
                text(&device["baseImage"], "version"),
                tags.join(", "),
            )
        })
    })
}

/// Changes a device that is given by its Astarte id.
async fn change(
    client: &Client,
    query: &str,
    mutation: &str,
    device: &str,
    input: &Value,
    as_json: bool,
) -> Result<(), ClientError> {
    let find = "query ($id: String!) { devices(first: 1, filter: {deviceId: {eq: $id}}) { edges { node { id } } } }";
    let found = client.ask(find, json!({"id": device})).await?;
    let id = nodes(&found["devices"]).next().map(|device| device["id"].clone());
    let absent = || ClientError::Absent("device", device.to_owned(), "device list");
    let id = id.ok_or_else(absent)?;
    let answer = client.ask(query, json!({"id": id, "input": input})).await?;
    let changed = &answer[mutation]["result"];
    print(as_json, changed, |out| writeln!(out, "{device}  {}", text(changed, "name")))
}

/// The id of a channel.
pub(super) async fn find_channel(client: &Client, handle: &str) -> Result<Value, ClientError> {
    find(client, "channels", handle, ("channel", "channel list")).await
}

/// The id of what has that handle in a list.
async fn find(
    client: &Client,
    list: &str,
    handle: &str,
    (what, how): (&'static str, &'static str),
) -> Result<Value, ClientError> {
    let query = format!("query {{ {list} {{ edges {{ node {{ id handle }} }} }} }}");
    let answer = client.ask(&query, json!({})).await?;
    let found = nodes(&answer[list]).find(|it| text(it, "handle") == handle);
    let absent = || ClientError::Absent(what, handle.to_owned(), how);
    found.map(|it| it["id"].clone()).ok_or_else(absent)
}

async fn delete(
    client: &Client,
    mutation: &str,
    id: &Value,
    handle: &str,
    as_json: bool,
) -> Result<(), ClientError> {
    let query = format!("mutation ($id: ID!) {{ {mutation}(id: $id) {{ result {{ id }} }} }}");
    let answer = client.ask(&query, json!({"id": id})).await?;
    print(as_json, &answer[mutation]["result"], |out| writeln!(out, "{handle} is deleted"))
}
