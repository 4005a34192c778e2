//! `hedgerow image`: lists and uploads the base images of a running service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Client, ClientError, Connection, nodes, print, run, text};

/// List and upload the base images of a running service
#[derive(Args)]
#[command(after_help = "\
Examples:
  hedgerow image list
  hedgerow image upload gateway-2.2.0.bin --model garden-gateway --version 2.2.0 --requires '>= 2.0.0'

Exit status: 0 done, 1 the service refused, 2 wrong usage, or no right to ask, 3 the service cannot be
reached.")]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// List the images
    List,
    /// Upload an image
    Upload {
        /// The file, which is sent as it is read
        file: PathBuf,
        /// The handle of the system model
        #[arg(long, value_name = "HANDLE")]
        model: String,
        /// Its version
        #[arg(long)]
        version: String,
        /// What the version of a device must meet, such as '>= 1.2.0'
        #[arg(long, value_name = "REQUIREMENT")]
        requires: Option<String>,
    },
    /// Delete an image that no campaign needs
    Delete {
        /// The image, as MODEL@VERSION
        image: String,
    },
}

/// Runs `hedgerow image`.
pub(crate) fn image(args: &ImageArgs) -> ExitCode {
    let as_json = args.connection.json;
    run(&args.connection, async |client: Client| match &args.action {
        Action::List => {
            let collections = collections(&client).await?;
            print(as_json, &json!(collections), |out| {
                for (model, image) in images(&collections) {
                    let requires = image["startingVersionRequirement"].as_str();
                    let requires =
                        requires.map(|it| format!("  requires {it}")).unwrap_or_default();
                    let version = text(image, "version");
                    writeln!(out, "{model}@{version}{requires}  {}", text(image, "url"))?;
                }
                Ok(())
            })
        }
        Action::Upload { file, model, version, requires } => {
            let collections = collections(&client).await?;
            let is_it = |found: &&Value| text(&found["systemModel"], "handle") == model;
            let collection = collections.iter().find(is_it).ok_or_else(|| {
                ClientError::Absent(
                    "base image collection of the system model",
                    model.clone(),
                    "image list",
                )
            })?;
            let query = "mutation ($input: CreateBaseImageInput!) { createBaseImage(input: $input) \
                { result { id version url sha256 sizeBytes } } }";
            let input = json!({
                "baseImageCollectionId": collection["id"],
                "version": version,
                "startingVersionRequirement": requires,
                "file": null,
            });
            let asked = (query, json!({"input": input}));
            let answer = client.ask_with_file(asked, "variables.input.file", file).await?;
            let image = &answer["createBaseImage"]["result"];
            print(as_json, image, |out| {
                let (size, sha256) = (&image["sizeBytes"], text(image, "sha256"));
                writeln!(
                    out,
                    "{model}@{version}  {size} bytes, SHA-256 {sha256}\n  {}",
                    text(image, "url")
                )
            })
        }
        Action::Delete { image } => {
            let id = find_image(&client, image).await?;
            let query = "mutation ($id: ID!) { deleteBaseImage(id: $id) { result { id } } }";
            let answer = client.ask(query, json!({"id": id})).await?;
            print(as_json, &answer["deleteBaseImage"]["result"], |out| {
                writeln!(out, "{image} is deleted")
            })
        }
    })
}

/// All collections with their images.
async fn collections(client: &Client) -> Result<Vec<Value>, ClientError> {
    let query = "query { baseImageCollections { edges { node { id handle name systemModel { handle } \
        baseImages { edges { node { id version startingVersionRequirement url sha256 sizeBytes } } } } } } }";
    let answer = client.ask(query, json!({})).await?;
    Ok(nodes(&answer["baseImageCollections"]).cloned().collect())
}

/// The images, each with the handle of its system model.
fn images(collections: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    collections.iter().flat_map(|collection| {
        let model = text(&collection["systemModel"], "handle");
        nodes(&collection["baseImages"]).map(move |image| (model, image))
    })
}

/// The id of an image that is given as `MODEL@VERSION`.
pub(super) async fn find_image(client: &Client, named: &str) -> Result<Value, ClientError> {
    let collections = collections(client).await?;
    let found = images(&collections)
        .find(|(model, image)| format!("{model}@{}", text(image, "version")) == named);
    let absent = || ClientError::Absent("image", named.to_owned(), "image list");
    found.map(|(_, image)| image["id"].clone()).ok_or_else(absent)
}
