//! Builds the book in `docs/` with mdBook and checks that everything it refers to is there.

mod inlined;
mod links;
mod pages;
pub(crate) mod rule_links;

use std::path::Path;

use crate::external::External;
use crate::step::Failure;
use crate::tool::Tool;

pub(crate) use links::BookError;

const MDBOOK: Tool = Tool { name: "mdbook", version: "0.5.4" };
/// Without the search index and the web server.
const MDBOOK_BUILD: &[&str] = &["--no-default-features"];

/// The tests that compare parts of the book with where they come from.
const GENERATED: [&str; 4] = ["--test", "book", "--test", "reading_a_log"];

/// Builds the book into `target/book` and checks its links, and those of the README.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let mdbook = MDBOOK.find_or_install_with(root, MDBOOK_BUILD)?;
    External::program(&mdbook).arguments(["build", "docs"]).directory(root).run()?;
    Ok(links::check(root)?)
}

/// Writes anew what the book takes from the code and from the command, and links its rule numbers.
/// All of it is checked, and this is how to bring it up to date.
pub(crate) fn update(root: &Path) -> Result<(), Failure> {
    External::cargo(["test", "--workspace"])
        .arguments(GENERATED)
        .environment("UPDATE_BOOK", "1")
        .directory(root)
        .run()?;
    Ok(links::update(root)?)
}
