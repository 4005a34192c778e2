//! `docs/rules.md` says where each rule lives: what it names is there.

use std::fs;
use std::path::{Path, PathBuf};

/// What a path on the page begins with, and where that is.
const PLACES: [(&str, &str); 4] = [
    ("core/", "crates/core/src"),
    ("engine/", "crates/engine/src"),
    ("crates/", "crates"),
    ("docs/", "docs"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The file or folder that a piece of code on the page names, if it names one.
fn place(code: &str) -> Option<PathBuf> {
    let is_path = |rest: &str| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c))
    };
    let (place, rest) = PLACES
        .iter()
        .find_map(|(prefix, place)| Some((place, code.strip_prefix(prefix)?)))
        .filter(|(_, rest)| is_path(rest))?;
    Some(root().join(place).join(rest))
}

#[test]
fn every_file_and_item_that_the_page_of_rules_names_is_there() {
    let page = fs::read_to_string(root().join("docs/rules.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let mut file = None;
        for code in cell.split('`').skip(1).step_by(2) {
            if let Some(path) = place(code) {
                assert!(path.exists(), "{row}\nnames {code}, which is gone: say where it is now");
                named += 1;
                file = path.is_file().then_some(path);
            } else if let Some(path) = &file {
                let text = fs::read_to_string(path).expect("a file");
                let item = code.rsplit("::").next().unwrap_or(code);
                let is_there = ["fn ", "struct ", "enum ", "trait ", "const "]
                    .iter()
                    .any(|kind| text.contains(&format!("{kind}{item}")));
                assert!(is_there, "{row}\nnames {item} in {}: say where it is now", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 40, "only {named} places were found on the page: is it read rightly?");
}
