//! `hedgerow campaign`: creates, steers and watches campaigns of a running service.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::image::find_image;
use super::watch::watch;
use super::{Client, ClientError, Connection, nodes, print, run, text};

/// What of a campaign is shown.
pub(super) const FIELDS: &str = "id name status outcome scheduledAtTimestamp totalTargetCount idleTargetCount \
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
  hedgerow campaign pause 'Gateways to 2.1.0'

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
        /// The id or the name of the campaign; all that have not finished, if left out
        id: Option<String>,
    },
    /// Create a campaign
    Create(Create),
    /// Pause a campaign: nothing new begins
    Pause {
        /// Its id or its name
        id: String,
    },
    /// Go on with a paused campaign
    Resume {
        /// Its id or its name
        id: String,
    },
    /// End a campaign at once
    Cancel {
        /// Its id or its name
        id: String,
    },
    /// Delete a campaign that has not started
    Delete {
        /// Its id or its name
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

/// A campaign in a line.
pub(super) fn line(campaign: &Value) -> String {
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
pub(super) async fn all(
    client: &Client,
    fields: &str,
    filter: &Value,
) -> Result<Vec<Value>, ClientError> {
    let query = format!(
        "query ($after: String, $filter: CampaignFilterInput) {{ updateCampaigns(first: 100, after: $after, filter: $filter) {{ \
         edges {{ node {{ {fields} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
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
    let found = all(client, FIELDS, &Value::Null).await?;
    print(as_json, &json!(found), |out| {
        found.iter().try_for_each(|campaign| writeln!(out, "{}", line(campaign)))
    })
}

/// How a campaign stands.
pub(super) async fn one(client: &Client, id: &str, fields: &str) -> Result<Value, ClientError> {
    let query = format!("query ($id: ID!) {{ campaign(id: $id) {{ {fields} }} }}");
    Ok(client.ask(&query, json!({"id": id})).await?["campaign"].take())
}

/// The id of a campaign that is given by its name, or by that id.
pub(super) async fn find_campaign(client: &Client, named: &str) -> Result<String, ClientError> {
    let query = "query ($name: String!) { updateCampaigns(first: 2, filter: {name: {eq: $name}}) \
        { edges { node { id } } } }";
    let answer = client.ask(query, json!({"name": named})).await?;
    let found: Vec<_> = nodes(&answer["updateCampaigns"]).map(|it| text(it, "id")).collect();
    match found[..] {
        [] => match one(client, named, "id").await {
            Ok(found) if found["id"].is_string() => Ok(named.to_owned()),
            Ok(_) | Err(ClientError::NotFound(_) | ClientError::Refused(_)) => {
                Err(ClientError::Absent("campaign", named.to_owned(), "campaign list"))
            }
            Err(error) => Err(error),
        },
        [id] => Ok(id.to_owned()),
        _ => Err(ClientError::Refused(format!(
            "several campaigns are called {named:?}: give the id, which `hedgerow campaign list` shows"
        ))),
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
    named: &str,
    as_json: bool,
) -> Result<(), ClientError> {
    let id = find_campaign(client, named).await?;
    let query = format!(
        "mutation ($id: ID!) {{ {mutation}(id: $id) {{ result {{ id name status outcome }} }} }}"
    );
    let answer = client.ask(&query, json!({"id": id})).await?;
    let steered = &answer[mutation]["result"];
    print(as_json, steered, |out| {
        writeln!(out, "{}: {}", text(steered, "name"), text(steered, "status"))
    })
}
