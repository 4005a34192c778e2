//! The commands that read a store, on one in which somebody has entered a catalogue and nothing else,
//! and beside a campaign.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_catalogue::{Catalogue, CreateHardwareType};
use hedgerow_core::Timestamp;
use hedgerow_engine::ports::{BoxFuture, Clock};
use hedgerow_sqlite::SqliteStore;
use serde_json::Value;

struct Noon;

impl Clock for Noon {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_796_040_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Enters a hardware type in the catalogue of a tenant.
fn enter(path: &Path, tenant: &str, handle: &str) {
    let store = Arc::new(SqliteStore::open(path).expect("it opens"));
    let catalogue = Catalogue::open(store.clone(), Arc::new(Noon));
    let (tenant, who) = (tenant.parse().expect("a tenant"), "ada".parse().expect("an actor"));
    let command = hedgerow_catalogue::Command::CreateHardwareType(CreateHardwareType {
        handle: handle.into(),
        name: handle.into(),
        part_numbers: vec![handle.into()],
    });
    futures::executor::block_on(catalogue.record(&tenant, &who, command)).expect("it is recorded");
    store.close();
}

fn path_in(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn a_log_of_nothing_but_a_catalogue_is_printed_audited_shown_and_copied() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = path_in(&folder, "hedgerow.db");
    enter(&path, "hedge", "board");
    enter(&path, "hedge", "panel");
    let file = path.to_str().expect("UTF-8");
    let people = printed(&["log", file]);
    let first = people.lines().next().expect("a line");
    assert!(
        first.starts_with(
            "2026-11-30T12:00:00.000Z  catalogue              1  hardware_type_created"
        ),
        "{first}"
    );
    assert!(first.contains(r#""by":"ada""#), "{first}");
    let lines = printed(&["log", file, "--json"]);
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["stream"], &last["version"]), (&"catalogue".into(), &2.into()));
    assert_eq!(printed(&["show", file]), format!("{file} holds no campaign\n"));
    assert_eq!(printed(&["show", file, "--json"]).trim(), "[]");
    let audit = printed(&["audit", file]);
    assert!(audit.contains("0 campaigns"), "{audit}");
    let copy = path_in(&folder, "copy.db");
    let copy = copy.to_str().expect("UTF-8");
    printed(&["backup", file, copy]);
    assert_eq!(printed(&["log", copy]), people);
    let archive = path_in(&folder, "ended.gz");
    let archive = archive.to_str().expect("UTF-8");
    printed(&["archive", file, archive]);
    printed(&["prune", file, "--archive", archive, "--older-than", "1m", "--force"]);
    assert_eq!(printed(&["log", file]), people, "nothing of it was removed");
}

#[test]
fn a_catalogue_beside_a_campaign_is_left_out_of_what_tells_of_campaigns() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = path_in(&folder, "demo.db");
    let file = path.to_str().expect("UTF-8");
    printed(&["demo", "--devices", "20", "--json", "--db", file]);
    let before = ["show", "campaigns"].map(|command| printed(&[command, file, "--json"]));
    // The tenant of the demo.
    enter(&path, "demo", "board");
    let after = ["show", "campaigns"].map(|command| printed(&[command, file, "--json"]));
    assert_eq!(before, after);
    let audit: Value = serde_json::from_str(&printed(&["audit", file, "--json"])).expect("JSON");
    assert_eq!((&audit["holds"], &audit["campaigns"]), (&true.into(), &1.into()));
    assert!(
        printed(&["log", file]).lines().last().expect("a line").contains("hardware_type_created")
    );
}
