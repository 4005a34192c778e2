//! The list of set properties that device and server send each other: the length of the text in four
//! bytes, then the text `interface/path;...` as a zlib stream.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// The bytes of the list; each entry is an interface followed by a path.
pub(crate) fn encode(entries: &[String]) -> Vec<u8> {
    let text = entries.join(";");
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut encoder = ZlibEncoder::new(length.to_be_bytes().to_vec(), Compression::default());
    // Writing to a vector does not fail; were it to, the list would be refused as damaged.
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// The text of the list; `None` if it is damaged or longer than `limit`.
pub(crate) fn decode(bytes: &[u8], limit: u64) -> Option<String> {
    let (length, compressed) = bytes.split_first_chunk::<4>()?;
    let length = u64::from(u32::from_be_bytes(*length));
    if length > limit {
        return None;
    }
    if length == 0 && compressed.is_empty() {
        return Some(String::new());
    }
    let mut text = Vec::new();
    // One byte more than announced, to notice when there are more.
    ZlibDecoder::new(compressed).take(length + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 != length {
        return None;
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_being_encoded_and_decoded() {
        for entries in [&[][..], &["org.example.A/name".to_owned(), "org.example.B/x/y".to_owned()]]
        {
            assert_eq!(decode(&encode(entries), 1000), Some(entries.join(";")));
        }
        assert_eq!(decode(&[0, 0, 0, 0], 1000), Some(String::new()));
    }

    #[test]
    fn damaged_and_huge_lists_are_refused() {
        let good = encode(&["org.example.A/name".to_owned()]);
        for cut in 0..good.len() - 4 {
            assert_eq!(decode(&good[..cut], 1000), None, "{cut}");
        }
        // A list that announces less than it has, and one that is longer than allowed.
        let mut bomb = encode(&["a".repeat(100_000)]);
        assert_eq!(decode(&bomb, 1000), None);
        bomb[..4].copy_from_slice(&10_u32.to_be_bytes());
        assert_eq!(decode(&bomb, 1000), None);
    }
}
