//! Pages of the book as they are without the links at rule numbers, which `cargo xtask book` looks
//! after: what else they say is compared with the code.

/// `[D7](rules.md#d7)` is `D7` again.
pub(crate) fn without_rule_links(page: &str) -> String {
    let mut parts = page.split("](rules.md#");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = plain.rfind('[').expect("a link begins");
        plain.remove(number);
        plain.push_str(part.split_once(')').expect("a link ends").1);
    }
    plain
}
