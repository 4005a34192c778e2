//! The example of the embedding guide, run as it stands.

#![cfg(feature = "tokio")]

#[path = "../examples/embedded.rs"]
mod embedded;

#[test]
fn the_service_of_the_embedding_guide_brings_its_campaign_to_an_end() {
    embedded::main().expect("it runs");
}
