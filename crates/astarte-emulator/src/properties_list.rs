//! The list of set properties that device and server send each other, `interface/path;...`: as text,
//! if the device asked for it, or as four bytes and a zlib stream. The four bytes are the length of
//! the text; Astarte writes them and does not look at them, and not every device has them right.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// How the list is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Zlib,
    Plain,
}

impl Format {
    /// Reads the name of a format, as devices tell it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "zlib" => Some(Self::Zlib),
            "plaintext" => Some(Self::Plain),
            _ => None,
        }
    }
}

/// The bytes of the list; each entry is an interface followed by a path.
pub(crate) fn encode(entries: &[String], format: Format) -> Vec<u8> {
    let text = entries.join(";");
    if format == Format::Plain {
        return text.into_bytes();
    }
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut encoder = ZlibEncoder::new(length.to_be_bytes().to_vec(), Compression::default());
    // Writing to a vector does not fail; were it to, the list would be refused as damaged.
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// The text of the list; `None` if it is damaged or longer than `limit`.
pub(crate) fn decode(bytes: &[u8], format: Format, limit: u64) -> Option<String> {
    let mut text = Vec::new();
    match format {
        Format::Plain => text.extend_from_slice(bytes),
        // Nothing is set.
        Format::Zlib if bytes == [0; 4] => {}
        Format::Zlib => {
            let (_, compressed) = bytes.split_first_chunk::<4>()?;
            // One byte more than is allowed, to notice when there are more.
            ZlibDecoder::new(compressed).take(limit + 1).read_to_end(&mut text).ok()?;
        }
    }
    if text.len() as u64 > limit {
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
            for format in [Format::Zlib, Format::Plain] {
                let encoded = encode(entries, format);
                assert_eq!(decode(&encoded, format, 1000), Some(entries.join(";")), "{format:?}");
            }
        }
        assert_eq!(decode(&[0, 0, 0, 0], Format::Zlib, 1000), Some(String::new()));
    }

    #[test]
    fn damaged_and_huge_lists_are_refused() {
        let good = encode(&["org.example.A/name".to_owned()], Format::Zlib);
        for cut in 0..good.len() - 4 {
            assert_eq!(decode(&good[..cut], Format::Zlib, 1000), None, "{cut}");
        }
        for format in [Format::Zlib, Format::Plain] {
            let bomb = encode(&["a".repeat(100_000)], format);
            assert_eq!(decode(&bomb, format, 1000), None, "{format:?}");
        }
        assert_eq!(decode(&[0xff], Format::Plain, 1000), None, "no text");
    }

    #[test]
    fn what_the_list_says_of_its_length_is_not_looked_at() {
        let mut list = encode(&["org.example.A/name".to_owned()], Format::Zlib);
        for length in [18_u32.to_le_bytes(), [0xff; 4], [0; 4]] {
            list[..4].copy_from_slice(&length);
            let text = decode(&list, Format::Zlib, 1000);
            assert_eq!(text.as_deref(), Some("org.example.A/name"), "{length:?}");
        }
    }
}
