//! Checks that what the pages of the book and the README refer to is there: pages, headings, files
//! of the repository, included code. mdBook itself passes over all of these in silence.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::inlined;
use super::pages::references;
use super::rule_links;

/// Why the book is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BookError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("docs/SUMMARY.md names no page: nothing was checked")]
    NoPages,
    #[error("the book refers to what is not there:\n{}", .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

/// One thing that is wrong with one page.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {kind}", page.display())]
pub(crate) struct Problem {
    /// The file, from the root of the repository.
    page: PathBuf,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Kind {
    #[error("is a page that docs/SUMMARY.md does not name: add it there")]
    NotInSummary,
    #[error("the link to `{0}` leads nowhere")]
    Broken(String),
    #[error("the link to `{0}` leads to a page without that heading")]
    NoHeading(String),
    #[error(
        "the link to `{0}` leaves the book, whose readers may have no repository: name the file \
         from the root of the repository in code font instead"
    )]
    LeavesBook(String),
    #[error("the link to `{0}` is none: expected https:// and a host")]
    Malformed(String),
    #[error("names the file `{0}`, which does not exist")]
    NoFile(String),
    #[error(
        "takes code from `{0}`, but there is no such file, or not both ANCHOR and ANCHOR_END in \
         it, or no code below the comment"
    )]
    NoSource(String),
    #[error(
        "has code that is not what its source has, or rule numbers without links: run `cargo xtask \
         book --update`"
    )]
    Outdated,
    #[error(
        "`{{{{{0}}}}}` means nothing where the page is shown as it is: write the code below \
         <!-- from FILE:ANCHOR -->, or let `cargo xtask book --update` write it"
    )]
    Directive(String),
}

/// Checks the README of the repository and the book, which was built into `target/book`.
pub(super) fn check(root: &Path) -> Result<(), BookError> {
    let summary = read(&root.join("docs/SUMMARY.md"))?;
    let named: Vec<PathBuf> =
        references(&summary).links.iter().map(|link| Path::new("docs").join(link)).collect();
    if named.is_empty() {
        return Err(BookError::NoPages);
    }
    let book = Book { root, pages: named.iter().cloned().collect() };
    let mut problems = Vec::new();
    for page in pages_in(root, Path::new("docs"))? {
        if page != Path::new("docs/SUMMARY.md") && !book.pages.contains(&page) {
            problems.push(Problem { page, kind: Kind::NotInSummary });
        }
    }
    for page in named.iter().map(PathBuf::as_path).chain([Path::new("README.md")]) {
        let kinds = book.check_page(page)?;
        problems.extend(kinds.into_iter().map(|kind| Problem { page: page.to_owned(), kind }));
    }
    if problems.is_empty() { Ok(()) } else { Err(BookError::Problems(problems)) }
}

struct Book<'a> {
    root: &'a Path,
    /// From the root of the repository.
    pages: BTreeSet<PathBuf>,
}

/// Writes anew what pages have from elsewhere: code, and links to the rules.
pub(super) fn update(root: &Path) -> Result<(), BookError> {
    let mut problems = Vec::new();
    for page in pages_in(root, Path::new("docs"))? {
        let path = root.join(&page);
        let text = read(&path)?;
        match as_it_should_be(root, &page, &text)? {
            Ok(new) if new != text => std::fs::write(&path, new)
                .map_err(|source| BookError::Unwritable { path: path.clone(), source })?,
            Ok(_) => {}
            Err(source) => problems.push(Problem { page, kind: Kind::NoSource(source) }),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(BookError::Problems(problems)) }
}

/// A page with its code as in its sources and its rule numbers linked; the inner error names a
/// source that is not there.
fn as_it_should_be(
    root: &Path,
    page: &Path,
    text: &str,
) -> Result<Result<String, String>, BookError> {
    let text = match inlined::refreshed(root, text) {
        Ok(text) => text,
        Err(source) => return Ok(Err(source)),
    };
    let Some(way) = rule_links::way_from(page) else { return Ok(Ok(text)) };
    let rules = read(&root.join(rule_links::RULES))?;
    Ok(Ok(rule_links::linked(&text, &rule_links::numbers(&rules), &way)))
}

impl Book<'_> {
    fn check_page(&self, page: &Path) -> Result<Vec<Kind>, BookError> {
        let text = read(&self.root.join(page))?;
        let found = references(&text);
        let mut problems = match as_it_should_be(self.root, page, &text)? {
            Ok(new) if new == text => Vec::new(),
            Ok(_) => vec![Kind::Outdated],
            Err(source) => vec![Kind::NoSource(source)],
        };
        for link in found.links {
            problems.extend(self.check_link(page, &link)?);
        }
        for text in found.code {
            problems.extend(self.check_code(&text)?);
        }
        problems.extend(found.directives.into_iter().map(Kind::Directive));
        Ok(problems)
    }

    fn check_link(&self, page: &Path, link: &str) -> Result<Option<Kind>, BookError> {
        if link.contains(':') {
            let problem = (!is_external(link)).then(|| Kind::Malformed(link.to_owned()));
            return Ok(problem);
        }
        let (path, heading) = match link.split_once('#') {
            Some((path, heading)) => (path, Some(heading)),
            None => (link, None),
        };
        let target = if path.is_empty() { Some(page.to_owned()) } else { resolve(page, path) };
        let Some(target) = target.filter(|target| self.root.join(target).exists()) else {
            return Ok(Some(Kind::Broken(link.to_owned())));
        };
        let is_page = self.pages.contains(&target);
        let is_picture = target.extension().is_some_and(|extension| extension == "svg");
        if self.pages.contains(page) && !is_page && !is_picture {
            return Ok(Some(Kind::LeavesBook(link.to_owned())));
        }
        let Some(heading) = heading else { return Ok(None) };
        let exists = is_page && headings(self.root, &target)?.contains(heading);
        Ok((!exists).then(|| Kind::NoHeading(link.to_owned())))
    }

    /// A text in code font that looks like the path of a file, with `*` for any text in a name.
    fn check_code(&self, text: &str) -> Result<Option<Kind>, BookError> {
        let is_path =
            |character: char| character.is_ascii_alphanumeric() || "/._-*".contains(character);
        let Some((first, rest)) = text.split_once('/').filter(|_| text.chars().all(is_path)) else {
            return Ok(None);
        };
        let path = match first {
            "crates" | "docs" | "benches" | "fuzz" => PathBuf::from(text),
            "core" | "engine" => Path::new("crates").join(first).join("src").join(rest),
            _ => return Ok(None),
        };
        let exists = match text.split_once('*') {
            None => self.root.join(&path).exists(),
            Some((_, end)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let start = name.split('*').next().unwrap_or_default();
                let folder = path.parent().unwrap_or(&path);
                names_in(&self.root.join(folder))?
                    .iter()
                    .any(|name| name.starts_with(start) && name.ends_with(end))
            }
        };
        Ok((!exists).then(|| Kind::NoFile(text.to_owned())))
    }
}

/// Whether it is the address of a page elsewhere. Nobody is asked whether that page exists: a
/// build must not depend on other people's servers.
fn is_external(link: &str) -> bool {
    let Some(rest) = link.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host = |character: char| character.is_ascii_alphanumeric() || "-.:".contains(character);
    host.contains('.') && host.chars().all(is_host) && !link.contains(char::is_whitespace)
}

/// A path that is written in a page, from the root of the repository; `None`: it leads out of it.
fn resolve(page: &Path, path: &str) -> Option<PathBuf> {
    let mut resolved = page.parent()?.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// The ids of everything in a page as mdBook has built it.
fn headings(root: &Path, page: &Path) -> Result<BTreeSet<String>, BookError> {
    let in_book = page.strip_prefix("docs").unwrap_or(page);
    let html = if in_book.file_name().is_some_and(|name| name == "README.md") {
        in_book.with_file_name("index.html")
    } else {
        in_book.with_extension("html")
    };
    let html = read(&root.join("target/book").join(html))?;
    let ids = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    Ok(ids.map(str::to_owned).collect())
}

/// Every Markdown file below a folder.
fn pages_in(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, BookError> {
    let mut pages = Vec::new();
    for name in names_in(&root.join(folder))? {
        let path = folder.join(&name);
        if root.join(&path).is_dir() {
            pages.extend(pages_in(root, &path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// The names in a folder, in order.
fn names_in(folder: &Path) -> Result<Vec<String>, BookError> {
    let unreadable = |source| BookError::Unreadable { path: folder.to_owned(), source };
    let mut names = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(unreadable)?;
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, BookError> {
    std::fs::read_to_string(path)
        .map_err(|source| BookError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small repository with a book that was built.
    fn repository(page: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("docs/SUMMARY.md", "[Start](README.md) [Page](deep/page.md) [Rules](rules.md)\n"),
            ("docs/rules.md", "| Rule | In short |\n|---|---|\n| <a id=\"d7\"></a>D7 | x |\n"),
            ("target/book/rules.html", "<a id=\"d7\"></a>"),
            ("docs/README.md", "Back to the [page](deep/page.md).\n"),
            ("docs/deep/page.md", page),
            ("docs/picture.svg", "<svg/>"),
            ("target/book/index.html", "<h1 id=\"start\">"),
            ("target/book/deep/page.html", "<h1 id=\"title\">"),
            (
                "crates/core/src/gate.rs",
                "// ANCHOR: whole\ncode\n// ANCHOR_END: whole\n// ANCHOR: half\n",
            ),
            (
                "README.md",
                "See [the docs](docs/README.md#start), [code](crates/core/src/gate.rs), `docs`.\n",
            ),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    fn problems(page: &str) -> Vec<Kind> {
        let repository = repository(page);
        match check(repository.path()) {
            Ok(()) => Vec::new(),
            Err(BookError::Problems(problems)) => {
                assert!(problems.iter().all(|p| p.page == Path::new("docs/deep/page.md")));
                problems.into_iter().map(|problem| problem.kind).collect()
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_exists_may_be_referred_to() {
        let page = "# Title\n[up](../README.md) [there](../README.md#start) [here](#title)\n\
                    ![picture](../picture.svg) <https://example.org/a?b#c> `crates/core/src/gate.rs`\n\
                    `core/gate.rs` `crates/core/src/g*.rs` `either/or` `core/gate.rs, evaluate`\n\n\
                    <!-- from crates/core/src/gate.rs:whole -->\n```rust\ncode\n```\n\
                    <!-- from docs/picture.svg -->\n```svg\n<svg/>\n```\n\
                    A rule ([D7](../rules.md#d7)).\n";
        assert_eq!(problems(page), []);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_a_problem() {
        for link in [
            "missing.md",
            "../missing.svg",
            "../../../outside.md",
            "/etc/hosts",
            "missing.md#title",
        ] {
            assert_eq!(problems(&format!("[link]({link})")), [Kind::Broken(link.to_owned())]);
        }
    }

    #[test]
    fn a_heading_that_is_not_there_is_a_problem() {
        for link in ["#titel", "../README.md#title"] {
            assert_eq!(problems(&format!("[link]({link})")), [Kind::NoHeading(link.to_owned())]);
        }
    }

    #[test]
    fn a_link_out_of_the_book_is_a_problem() {
        let link = "../../crates/core/src/gate.rs";
        assert_eq!(problems(&format!("[link]({link})")), [Kind::LeavesBook(link.to_owned())]);
        assert_eq!(problems("[link](../deep)"), [Kind::LeavesBook("../deep".to_owned())]);
    }

    #[test]
    fn an_address_elsewhere_that_is_none_is_a_problem() {
        for link in ["http://example.org", "https://", "https://nowhere", "mailto:a@example.org"] {
            assert_eq!(problems(&format!("[link]({link})")), [Kind::Malformed(link.to_owned())]);
        }
    }

    #[test]
    fn a_file_in_code_font_that_is_not_there_is_a_problem() {
        for file in ["crates/core/src/gates.rs", "core/gates.rs", "crates/core/src/x*.rs"] {
            assert_eq!(problems(&format!("See `{file}`.")), [Kind::NoFile(file.to_owned())]);
        }
    }

    #[test]
    fn code_without_its_source_is_a_problem_and_so_is_code_that_differs() {
        for source in ["none.rs", "none.rs:whole", "crates/core/src/gate.rs:half"] {
            let page = format!("<!-- from {source} -->\n```rust\ncode\n```\n");
            assert_eq!(problems(&page), [Kind::NoSource(source.to_owned())]);
        }
        let page = "<!-- from crates/core/src/gate.rs:whole -->\n```rust\nold code\n```\n";
        assert_eq!(problems(page), [Kind::Outdated]);
        let page = "{{#include ../../crates/core/src/gate.rs}}\n";
        let directive = "#include ../../crates/core/src/gate.rs".to_owned();
        assert_eq!(problems(page), [Kind::Directive(directive)]);
    }

    #[test]
    fn a_rule_that_is_not_linked_is_a_problem_and_an_update_links_it() {
        let page = "As D7 says.\n";
        assert_eq!(problems(page), [Kind::Outdated]);
        let repository = repository(page);
        update(repository.path()).expect("updated");
        assert!(check(repository.path()).is_ok());
    }

    #[test]
    fn a_page_that_the_summary_forgot_is_a_problem() {
        let repository = repository("");
        std::fs::write(repository.path().join("docs/deep/lost.md"), "").expect("written");
        let Err(BookError::Problems(problems)) = check(repository.path()) else {
            panic!("the page is not named")
        };
        let page = PathBuf::from("docs/deep/lost.md");
        assert_eq!(problems, [Problem { page, kind: Kind::NotInSummary }]);
    }

    #[test]
    fn a_book_without_pages_or_with_a_missing_one_is_an_error() {
        let repository = repository("");
        let summary = repository.path().join("docs/SUMMARY.md");
        std::fs::write(&summary, "- [Gone](gone.md)\n").expect("written");
        assert!(matches!(check(repository.path()), Err(BookError::Unreadable { .. })));
        std::fs::write(&summary, "# Summary\n").expect("written");
        assert!(matches!(check(repository.path()), Err(BookError::NoPages)));
    }
}
