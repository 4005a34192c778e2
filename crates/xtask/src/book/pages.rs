//! Reads one page of Markdown for what it refers to: links, files named in code font, and code
//! that it includes.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What a page refers to, each as it is written there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Targets of links and images.
    pub(super) links: Vec<String>,
    /// Texts in code font within a sentence, such as `crates/core/src/lib.rs`.
    pub(super) code: Vec<String>,
    /// What stands between `{{` and `}}`.
    pub(super) directives: Vec<String>,
}

/// Reads a page.
pub(super) fn references(markdown: &str) -> References {
    let mut found = References { directives: directives(markdown), ..References::default() };
    let mut inside_link = false;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                inside_link = true;
                found.links.push(dest_url.into_string());
            }
            Event::End(TagEnd::Link | TagEnd::Image) => inside_link = false,
            // The link is what has to be right, its text may be short.
            Event::Code(text) if !inside_link => found.code.push(text.into_string()),
            _ => {}
        }
    }
    found
}

fn directives(markdown: &str) -> Vec<String> {
    markdown
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"))
        .map(|(directive, _)| directive.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_images_code_and_directives_are_found_where_they_count() {
        let page = "A [link](a.md#b), ![a picture](c.svg) and [one][far] in `crates/x.rs`.\n\n\
                    | Table |\n|---|\n| `core/y.rs` |\n\n\
                    [`short.rs`](crates/short.rs)\n\n\
                    ```rust\n[no](link.md) `no code`\n{{#include ../e.rs:part}}\n```\n\n\
                    [far]: https://example.org/\n";
        assert_eq!(
            references(page),
            References {
                links: ["a.md#b", "c.svg", "https://example.org/", "crates/short.rs"]
                    .map(str::to_owned)
                    .to_vec(),
                code: ["crates/x.rs", "core/y.rs"].map(str::to_owned).to_vec(),
                directives: vec!["#include ../e.rs:part".to_owned()],
            }
        );
    }

    #[test]
    fn a_page_without_references_has_none() {
        assert_eq!(references("# Title\n\nText {{ and text.\n"), References::default());
    }
}
