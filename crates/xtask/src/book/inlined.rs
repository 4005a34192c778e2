//! Code in a page that stands in a tested source as well, so that the page reads well wherever it is
//! shown. A comment above the code names the source:
//! `<!-- from crates/engine/examples/embedded.rs:decide -->` is what stands there between the lines
//! `ANCHOR: decide` and `ANCHOR_END: decide`; without a name behind the colon it is the whole file.

use std::path::Path;

/// The page with its code as the sources have it now; `Err` names a source that is not there, or
/// that has not both anchors.
pub(super) fn refreshed(root: &Path, markdown: &str) -> Result<String, String> {
    let mut text = String::with_capacity(markdown.len());
    let mut lines = markdown.split_inclusive('\n');
    while let Some(line) = lines.next() {
        text.push_str(line);
        let Some(source) = named(line) else { continue };
        let fence = lines.next().filter(|line| line.starts_with("```"));
        text.push_str(fence.ok_or_else(|| source.to_owned())?);
        text.push_str(&code(root, source).ok_or_else(|| source.to_owned())?);
        let end = lines.find(|line| line.trim_end() == "```");
        text.push_str(end.ok_or_else(|| source.to_owned())?);
    }
    Ok(text)
}

fn named(line: &str) -> Option<&str> {
    line.trim().strip_prefix("<!-- from ")?.strip_suffix(" -->")
}

/// What a source has, without the lines of anchors and without the indentation that all of it has.
fn code(root: &Path, source: &str) -> Option<String> {
    let (file, anchor) = match source.split_once(':') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (source, None),
    };
    let whole = std::fs::read_to_string(root.join(file)).ok()?;
    let lines: Vec<&str> = whole.lines().collect();
    let marked = |mark: &str| {
        let mark = format!("{mark}: {}", anchor.unwrap_or_default());
        lines.iter().position(|line| line.trim_end().ends_with(&mark))
    };
    let part = match anchor {
        None => &lines[..],
        Some(_) => lines.get(marked("ANCHOR")? + 1..marked("ANCHOR_END")?)?,
    };
    let part = || part.iter().filter(|line| !line.contains("ANCHOR"));
    let indented = part().filter(|line| !line.is_empty());
    let indentation = indented.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let mut text = String::new();
    for line in part() {
        text.push_str(line.get(indentation..).unwrap_or_default());
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> std::io::Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        let source = "fn main() {\n    // ANCHOR: part\n    one();\n\n      two();\n    // ANCHOR_END: part\n}\n// ANCHOR: half\n";
        std::fs::write(folder.path().join("a.rs"), source)?;
        Ok(folder)
    }

    #[test]
    fn code_is_as_its_source_has_it() -> std::io::Result<()> {
        let repository = repository()?;
        let of = |page: &str| refreshed(repository.path(), page);
        let page = "Text\n<!-- from a.rs:part -->\n```rust\nold();\n```\n<!-- from a.rs -->\n```rust\n```\nend";
        let new = "Text\n<!-- from a.rs:part -->\n```rust\none();\n\n  two();\n```\n\
                   <!-- from a.rs -->\n```rust\nfn main() {\n    one();\n\n      two();\n}\n```\nend";
        assert_eq!(of(page).as_deref(), Ok(new));
        assert_eq!(of(new).as_deref(), Ok(new));
        Ok(())
    }

    #[test]
    fn a_source_that_is_not_there_is_named() -> std::io::Result<()> {
        let repository = repository()?;
        for source in ["b.rs", "a.rs:none", "a.rs:half"] {
            let page = format!("<!-- from {source} -->\n```rust\n```\n");
            assert_eq!(refreshed(repository.path(), &page), Err(source.to_owned()));
        }
        for rest in ["", "text\n", "```rust\nnever closed\n"] {
            let page = format!("<!-- from a.rs -->\n{rest}");
            assert_eq!(refreshed(repository.path(), &page), Err("a.rs".to_owned()));
        }
        Ok(())
    }
}
