//! Makes each rule number in a page, such as `D7`, a link to the row of `docs/rules.md` that says
//! what the rule is.

use std::fmt::Write as _;
use std::path::Path;

/// The page that has the rules, in a table whose first cells are `<a id="d7"></a>D7`.
pub(crate) const RULES: &str = "docs/rules.md";

/// The number in the first cell of a row of that table.
pub(crate) fn number(cell: &str) -> Option<&str> {
    let number = cell.split_once("></a>").map_or(cell, |(_, number)| number);
    let digits = number.strip_prefix(['D', 'E', 'C', 'P'])?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then_some(number)
}

/// The numbers of all rules.
pub(crate) fn numbers(rules: &str) -> Vec<&str> {
    let rows = rules.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.filter_map(number).collect()
}

/// How the rules are reached from a page; `None`: the page is about them, and needs no link.
pub(crate) fn way_from(page: &Path) -> Option<String> {
    if page == Path::new(RULES) {
        return None;
    }
    let from_root = page.parent()?;
    let Ok(in_book) = from_root.strip_prefix("docs") else { return Some(RULES.to_owned()) };
    Some(format!("{}rules.md", "../".repeat(in_book.components().count())))
}

/// The page with a link at each number that stands in plain text: not in code, in a link, in a
/// heading or in a tag. What is linked already stays as it is.
pub(crate) fn linked(markdown: &str, numbers: &[&str], way: &str) -> String {
    let (mut text, mut in_code) = (String::with_capacity(markdown.len()), false);
    for line in markdown.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        if in_code || is_fence || line.starts_with('#') {
            text.push_str(line);
        } else {
            link_line(line, numbers, way, &mut text);
        }
    }
    text
}

fn link_line(line: &str, numbers: &[&str], way: &str, text: &mut String) {
    let mut rest = line;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '`' => past(rest, "`"),
            '<' => past(rest, ">"),
            '[' => past(rest, "]").map(|end| match rest[end..].strip_prefix('(') {
                Some(target) => end + 1 + past_start(target, ")"),
                None => end,
            }),
            'A'..='Z' if !before.is_alphanumeric() => {
                let length = rest.chars().take_while(char::is_ascii_alphanumeric).count();
                let word = &rest[..length];
                if numbers.contains(&word) {
                    let _ = write!(text, "[{word}]({way}#{})", word.to_lowercase());
                    before = ')';
                    rest = &rest[length..];
                    continue;
                }
                Some(length)
            }
            _ => None,
        };
        let (taken, left) = rest.split_at(end.unwrap_or(first.len_utf8()));
        text.push_str(taken);
        before = taken.chars().next_back().unwrap_or(' ');
        rest = left;
    }
}

/// Where what begins here ends, the end included.
fn past(text: &str, end: &str) -> Option<usize> {
    text[1..].find(end).map(|place| 1 + place + end.len())
}

fn past_start(text: &str, end: &str) -> usize {
    text.find(end).map_or(text.len(), |place| place + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [&str; 3] = ["D1", "D12", "E4"];

    fn of(markdown: &str) -> String {
        linked(markdown, &NUMBERS, "rules.md")
    }

    #[test]
    fn a_number_in_plain_text_becomes_a_link_once() {
        let page = of("Kept (D1, E4) to D12.\n");
        let link = "Kept ([D1](rules.md#d1), [E4](rules.md#e4)) to [D12](rules.md#d12).\n";
        assert_eq!(page, link);
        assert_eq!(of(&page), page);
    }

    #[test]
    fn code_links_headings_tags_and_other_words_stay() {
        for page in [
            "# D1\n",
            "`D1` [D1](x.md) [D1 and E4][far] <a id=\"D1\"> <!-- D1 -->\n",
            "```\nD1\n```\n",
            "D99 AD1 D1a XD12\n",
        ] {
            assert_eq!(of(page), page);
        }
    }

    #[test]
    fn the_rules_are_found_in_their_table_and_from_every_folder() {
        let rules = "| Rule | In short |\n|---|---|\n| <a id=\"d7\"></a>D7 | x |\n| D8 | y |\n";
        assert_eq!(numbers(rules), ["D7", "D8"]);
        let way = |page: &str| way_from(Path::new(page));
        assert_eq!(way("docs/audit.md").as_deref(), Some("rules.md"));
        assert_eq!(way("docs/decisions/1.md").as_deref(), Some("../rules.md"));
        assert_eq!(way("README.md").as_deref(), Some("docs/rules.md"));
        assert_eq!(way("docs/rules.md"), None);
    }
}
