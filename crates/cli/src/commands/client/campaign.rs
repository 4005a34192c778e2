//! `hedgerow campaign`: creates, steers and watches campaigns of a running service.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::image::find_image;
use super::{Client, ClientError, Connection, nodes, print, run, text};

/// What of a campaign is shown.
const FIELDS: &str = "id name status outcome scheduledAtTimestamp totalTargetCount idleTargetCount \
    inProgressTargetCount failedTargetCount successfulTargetCount channel { handle } \
    campaignMechanism { ... on FirmwareUpgrade { baseImage { version \
    baseImageCollection { systemModel { handle } } } } }";

/// Create, steer and watch the campaigns of a running service
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow campaign list
  hedgerow campaign create 'Gateways to 2.1.0' --image garden-gateway@2.1.0 --channel stable \\
      --at-once 10 --max-failures 5
  hedgerow campaign watch
  hedgerow campaign pause ID

Exit status: 0 done, 1 the service refused, or with watch: a campaign failed, 2 wrong usage, or no
right to ask, 3 the service cannot be reached.")]
pub(crate) struct CampaignArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// List the campaigns
    List,
    /// Follow a campaign, or all that have not finished, to the end
    Watch {
        /// The campaign; all that have not finished, if left out
        id: Option<String>,
    },
    /// Create a campaign
    Create(Create),
    /// Pause a campaign: nothing new begins
    Pause {
        /// The campaign
        id: String,
    },
    /// Go on with a paused campaign
    Resume {
        /// The campaign
        id: String,
    },
    /// End a campaign at once
    Cancel {
        /// The campaign
        id: String,
    },
    /// Delete a campaign that has not started
    Delete {
        /// The campaign
        id: String,
    },
}

#[derive(Args)]
struct Create {
    /// Its name, for people
    name: String,
    /// The image, as MODEL@VERSION
    #[arg(long, value_name = "MODEL@VERSION")]
    image: String,
    /// The handle of the channel
    #[arg(long, value_name = "HANDLE")]
    channel: String,
    /// At most so many updates at once
    #[arg(long, value_name = "N")]
    at_once: u32,
    /// It fails when more than so many percent of its targets have failed
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    max_failures: f64,
    /// How often a request is sent again that a device does not answer
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// After how many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u32,
    /// Install also on devices that have a newer version
    #[arg(long)]
    force_downgrade: bool,
    /// When it starts, in RFC 3339; at once, if left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// Runs `hedgerow campaign`.
pub(crate) fn campaign(args: &CampaignArgs) -> ExitCode {
    let as_json = args.connection.json;
    run(&args.connection, async |client: Client| match &args.action {
        Action::List => list(&client, as_json).await,
        Action::Watch { id } => watch(&client, id.as_deref(), as_json).await,
        Action::Create(create) => self::create(&client, create, as_json).await,
        Action::Pause { id } => steer(&client, "pauseCampaign", id, as_json).await,
        Action::Resume { id } => steer(&client, "resumeCampaign", id, as_json).await,
        Action::Cancel { id } => steer(&client, "cancelCampaign", id, as_json).await,
        Action::Delete { id } => steer(&client, "deleteCampaign", id, as_json).await,
    })
}

fn line(campaign: &Value) -> String {
    let count = |key: &str| campaign[key].as_u64().unwrap_or(0);
    let image = &campaign["campaignMechanism"]["baseImage"];
    let outcome = campaign["outcome"].as_str().map(|outcome| format!(", {outcome}"));
    format!(
        "{}  {}: {}{} ({}@{} to {}): {} of {} ok, {} failed, {} in progress, {} idle",
        text(campaign, "id"),
        text(campaign, "name"),
        text(campaign, "status"),
        outcome.unwrap_or_default(),
        text(&image["baseImageCollection"]["systemModel"], "handle"),
        text(image, "version"),
        text(&campaign["channel"], "handle"),
        count("successfulTargetCount"),
        count("totalTargetCount"),
        count("failedTargetCount"),
        count("inProgressTargetCount"),
        count("idleTargetCount"),
    )
}

/// All campaigns, page by page.
async fn all(client: &Client, filter: &Value) -> Result<Vec<Value>, ClientError> {
    let query = format!(
        "query ($after: String, $filter: CampaignFilterInput) {{ updateCampaigns(first: 100, after: $after, filter: $filter) {{ \
         edges {{ node {{ {FIELDS} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    );
    let (mut found, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = client.ask(&query, json!({"after": after, "filter": filter})).await?;
        let page = &answer["updateCampaigns"];
        found.extend(nodes(page).cloned());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(found);
        }
    }
}

async fn list(client: &Client, as_json: bool) -> Result<(), ClientError> {
    let found = all(client, &Value::Null).await?;
    print(as_json, &json!(found), |out| {
        found.iter().try_for_each(|campaign| writeln!(out, "{}", line(campaign)))
    })
}

async fn one(client: &Client, id: &str) -> Result<Value, ClientError> {
    let query = format!("query ($id: ID!) {{ campaign(id: $id) {{ {FIELDS} }} }}");
    Ok(client.ask(&query, json!({"id": id})).await?["campaign"].take())
}

/// Shows how campaigns go, a line whenever something has changed, until all have finished.
#[allow(clippy::single_match_else)]
async fn watch(client: &Client, id: Option<&str>, as_json: bool) -> Result<(), ClientError> {
    let pause = Duration::from_millis(if std::io::stdout().is_terminal() { 500 } else { 1_000 });
    let mut shown: BTreeMap<String, Value> = BTreeMap::new();
    let mut has_said = false;
    loop {
        let now = match id {
            Some(id) => vec![one(client, id).await?],
            None => {
                let unfinished = json!({"status": {"notEq": "FINISHED"}});
                let mut now = all(client, &unfinished).await?;
                // What was shown and is not among these any more has finished.
                for id in shown.keys() {
                    if !now.iter().any(|campaign| text(campaign, "id") == id) {
                        now.push(one(client, id).await?);
                    }
                }
                now
            }
        };
        for campaign in &now {
            let id = text(campaign, "id").to_owned();
            if shown.get(&id) != Some(campaign) {
                let as_line = json!(campaign);
                print(false, &Value::Null, |out| {
                    if as_json {
                        writeln!(out, "{as_line}")
                    } else {
                        writeln!(out, "{}", line(campaign))
                    }
                })?;
                shown.insert(id, campaign.clone());
            }
        }
        let has_ended = |campaign: &Value| {
            campaign["status"] == "FINISHED" && campaign["inProgressTargetCount"] == 0
        };
        if !shown.is_empty() && shown.values().all(has_ended) {
            let failed = shown.values().filter(|campaign| campaign["outcome"] != "SUCCESS").count();
            if failed == 0 {
                return Ok(());
            }
            return Err(ClientError::Refused(format!(
                "{failed} of {} did not succeed",
                shown.len()
            )));
        }
        if shown.is_empty() && !has_said {
            eprintln!("no campaign is at work; waiting for one");
            has_said = true;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn create(client: &Client, create: &Create, as_json: bool) -> Result<(), ClientError> {
    let image = find_image(client, &create.image).await?;
    let channel = super::fleet::find_channel(client, &create.channel).await?;
    let query = format!(
        "mutation ($input: CreateCampaignInput!) {{ createCampaign(input: $input) {{ result {{ {FIELDS} }} }} }}"
    );
    let mut input = json!({
        "name": create.name,
        "channelId": channel,
        "campaignMechanism": {"firmwareUpgrade": {
            "baseImageId": image,
            "forceDowngrade": create.force_downgrade,
            "maxFailurePercentage": create.max_failures,
            "maxInProgressOperations": create.at_once,
            "requestRetries": create.retries,
            "requestTimeoutSeconds": create.timeout,
        }},
    });
    if let Some(at) = &create.at {
        input["scheduledAtTimestamp"] = json!(at);
    }
    let answer = client.ask(&query, json!({"input": input})).await?;
    let created = &answer["createCampaign"]["result"];
    print(as_json, created, |out| writeln!(out, "{}", line(created)))
}

async fn steer(
    client: &Client,
    mutation: &str,
    id: &str,
    as_json: bool,
) -> Result<(), ClientError> {
    let query = format!(
        "mutation ($id: ID!) {{ {mutation}(id: $id) {{ result {{ id name status outcome }} }} }}"
    );
    let answer = client.ask(&query, json!({"id": id})).await?;
    let steered = &answer[mutation]["result"];
    print(as_json, steered, |out| {
        writeln!(out, "{}: {}", text(steered, "name"), text(steered, "status"))
    })
}
