//! What the book takes from the code: the state diagrams and tables, and the event reference. Each
//! test compares a part of `docs/` with the code, so that neither changes without the other.
//!
//! `cargo xtask book --update` writes these parts anew.

mod diagram;
mod events;
mod plain;
mod shapes;
mod source;
mod states;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use self::plain::without_rule_links;

const HOW: &str = "run `cargo xtask book --update` and look at what it changes";

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn read(name: &str) -> String {
    without_rule_links(&std::fs::read_to_string(page(name)).unwrap_or_default())
}

/// Two tests may have parts in one page: only one of them writes at a time.
static WRITING: Mutex<()> = Mutex::new(());

/// A file of the book must be this text.
fn check_file(name: &str, text: &str) {
    if std::env::var_os("UPDATE_BOOK").is_some() {
        let path = page(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for it");
        std::fs::write(path, text).expect("it can be written");
    }
    assert!(read(name) == text, "docs/{name} is not what the code says: {HOW}");
}

/// What stands in a page between `<!-- begin PART -->` and `<!-- end PART -->` must be this text.
fn check_part(name: &str, part: &str, text: &str) {
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->"));
    let whole = read(name);
    let split = whole
        .split_once(&begin)
        .and_then(|(before, rest)| rest.split_once(&end).map(|(_, after)| (before, after)));
    let (before, after) = split.unwrap_or_else(|| panic!("docs/{name} has no part {part}"));
    check_file(name, &format!("{before}{begin}\n{text}\n{end}{after}"));
}
