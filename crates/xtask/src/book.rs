//! Builds the book in `docs/` with mdBook and checks that everything it refers to is there.

mod links;
mod pages;

use std::path::Path;

use crate::external::External;
use crate::step::Failure;
use crate::tool::Tool;

pub(crate) use links::BookError;

const MDBOOK: Tool = Tool { name: "mdbook", version: "0.5.4" };
/// Without the search index and the web server, and without optimisation: the book is small, and
/// building mdBook is what takes time.
const MDBOOK_BUILD: &[&str] = &["--no-default-features", "--debug"];

/// The tests that compare parts of the book with where they come from.
const GENERATED: &[(&str, &str)] = &[("hedgerow-core", "book"), ("hedgerow", "reading_a_log")];

/// Builds the book into `target/book` and checks its links, and those of the README.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let mdbook = MDBOOK.find_or_install_with(root, MDBOOK_BUILD)?;
    External::program(&mdbook).arguments(["build", "docs"]).directory(root).run()?;
    Ok(links::check(root)?)
}

/// Writes anew what the book takes from the code and from the command: each is checked by a test,
/// and this is how to bring it up to date.
pub(crate) fn update(root: &Path) -> Result<(), Failure> {
    for (package, test) in GENERATED {
        External::cargo(["test", "--package", package, "--test", test])
            .environment("UPDATE_BOOK", "1")
            .directory(root)
            .run()?;
    }
    Ok(())
}
