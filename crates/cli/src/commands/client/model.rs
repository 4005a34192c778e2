//! `hedgerow model`: the kinds of devices that a running service knows, each with what images for it
//! belong to.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Connection, nodes, print, run, text};

/// List and create the system models of a running service
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow model list
  hedgerow model create garden-gateway --name 'Garden gateway' --part-numbers GG-1,GG-2

A system model is a kind of devices that take the same images. It is found by the part number that a
device shows. It is of a hardware type, and has a collection of base images: both are created with it.")]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// List the system models
    List,
    /// Create a system model, with a collection for its images
    Create(Create),
}

#[derive(Args)]
struct Create {
    /// Its handle
    handle: String,
    /// Its name, for people; its handle, if left out
    #[arg(long)]
    name: Option<String>,
    /// The part numbers that its devices show
    #[arg(long, value_name = "PART,...", value_delimiter = ',', required = true)]
    part_numbers: Vec<String>,
    /// The handle of a hardware type that is there; one like the model is created, if left out
    #[arg(long, value_name = "HANDLE")]
    hardware_type: Option<String>,
}

/// Runs `hedgerow model`.
pub(crate) fn model(args: &ModelArgs) -> ExitCode {
    let as_json = args.connection.json;
    run(&args.connection, async |client: Client| match &args.action {
        Action::List => list(&client, as_json).await,
        Action::Create(create) => self::create(&client, create, as_json).await,
    })
}

async fn list(client: &Client, as_json: bool) -> Result<(), ClientError> {
    let query = "query { systemModels { edges { node { id handle name hardwareType { handle } \
        partNumbers { edges { node { partNumber } } } } } } }";
    let answer = client.ask(query, json!({})).await?;
    let models: Vec<_> = nodes(&answer["systemModels"]).collect();
    print(as_json, &json!(models), |out| {
        models.iter().try_for_each(|model| {
            let parts: Vec<_> =
                nodes(&model["partNumbers"]).map(|part| text(part, "partNumber")).collect();
            let hardware = text(&model["hardwareType"], "handle");
            let (handle, name) = (text(model, "handle"), text(model, "name"));
            writeln!(out, "{handle}  {name}: part numbers {}; {hardware}", parts.join(", "))
        })
    })
}

/// What was created before is taken as it is, should this have been broken off halfway.
async fn create(client: &Client, create: &Create, as_json: bool) -> Result<(), ClientError> {
    let (handle, parts) = (&create.handle, &create.part_numbers);
    let name = create.name.as_ref().unwrap_or(handle);
    let query = "query { hardwareTypes { edges { node { id handle } } } \
        systemModels { edges { node { id handle } } } \
        baseImageCollections { edges { node { systemModel { handle } } } } }";
    let there = client.ask(query, json!({})).await?;
    let find = |list: &str, handle: &str| {
        nodes(&there[list]).find(|it| text(it, "handle") == handle).map(|it| it["id"].clone())
    };
    let mut collections = nodes(&there["baseImageCollections"]);
    if collections.any(|it| text(&it["systemModel"], "handle") == handle) {
        let text = format!("there is a system model {handle:?} already, with its images");
        return Err(ClientError::Refused(text));
    }
    let hardware = match (&create.hardware_type, find("hardwareTypes", handle)) {
        (Some(named), _) => find("hardwareTypes", named).ok_or_else(|| {
            let text =
                format!("there is no hardware type {named:?}; leave it out, and one is created");
            ClientError::Refused(text)
        })?,
        (None, Some(id)) => id,
        (None, None) => {
            let input = json!({"handle": handle, "name": name, "partNumbers": parts});
            made(client, "HardwareType", &input).await?
        }
    };
    let model = if let Some(id) = find("systemModels", handle) {
        id
    } else {
        let input = json!({
            "handle": handle, "name": name, "partNumbers": parts, "hardwareTypeId": hardware,
        });
        made(client, "SystemModel", &input).await?
    };
    let input = json!({"handle": format!("{handle}-images"), "name": name, "systemModelId": model});
    made(client, "BaseImageCollection", &input).await?;
    print(as_json, &json!({"id": model, "handle": handle}), |out| {
        writeln!(
            out,
            "{handle} is created; images for it: hedgerow image upload FILE --model {handle} --version VERSION"
        )
    })
}

/// Creates something, and gives its id.
async fn made(client: &Client, kind: &str, input: &Value) -> Result<Value, ClientError> {
    let query = format!(
        "mutation ($input: Create{kind}Input!) {{ create{kind}(input: $input) {{ result {{ id }} }} }}"
    );
    let mut answer = client.ask(&query, json!({"input": input})).await?;
    Ok(answer[format!("create{kind}")]["result"]["id"].take())
}
