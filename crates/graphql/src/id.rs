//! Ids as clients know them: standard, padded base64 of `type:key`. Clients take them for opaque.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::errors::Failure;

/// The longest id that is looked at, in bytes.
const LONGEST_ID: usize = 1_024;

/// The id of a thing, for clients.
pub(crate) fn global(kind: &str, key: impl std::fmt::Display) -> String {
    STANDARD.encode(format!("{kind}:{key}"))
}

/// The kind and the key of a thing; `None`: the text is no id.
pub(crate) fn parse(text: &str) -> Option<(String, String)> {
    if text.len() > LONGEST_ID {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (kind, key) = text.split_once(':')?;
    Some((kind.to_owned(), key.to_owned()))
}

/// The key of a thing of that kind. What is no id, or is one of something else, is the id of nothing.
pub(crate) fn key<T: std::str::FromStr>(kind: &str, text: &str, field: &str) -> Result<T, Failure> {
    parse(text)
        .filter(|(found, _)| found == kind)
        .and_then(|(_, key)| key.parse().ok())
        .ok_or_else(|| Failure::not_found(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_its_own_kind_alone() {
        let id = global("channel", 7);
        assert_eq!(id, "Y2hhbm5lbDo3");
        assert_eq!(key::<u32>("channel", &id, "id"), Ok(7));
        assert_eq!(key::<u32>("device_group", &id, "id"), Err(Failure::not_found("id")));
        for text in ["", "7", "Y2hhbm5lbDo", "Y2hhbm5lbA==", "\u{e4}"] {
            assert!(key::<u32>("channel", text, "id").is_err(), "{text}");
        }
    }
}
