//! `hedgerow group` and `hedgerow channel`: how the devices of a running service are put together.

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
                    let (count, selector) = (devices(group), text(group, "selector"));
                    writeln!(
                        out,
                        "{}  {}: {count}  {selector}",
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
            print(as_json, group, |out| writeln!(out, "{handle}: {}", devices(group)))
        }
        GroupAction::Delete { handle } => {
            let id = find(&client, "deviceGroups", handle, ("group", "group list")).await?;
            delete(&client, "deleteDeviceGroup", &id, handle, as_json).await
        }
    })
}

/// How many devices are in a group.
fn devices(group: &Value) -> String {
    match &group["deviceCount"] {
        count if *count == 1 => "1 device".to_owned(),
        count => format!("{count} devices"),
    }
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
