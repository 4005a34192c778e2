//! Reading a file, whole or a part of it, for a service that serves what is in its folder: devices
//! that lost their connection ask for the rest.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::{FileError, FileKey, ImageFiles};

/// Which bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ByteRange {
    /// From the first to the last, both included.
    Between {
        /// The first.
        first: u64,
        /// The last; one beyond the end is the end.
        last: u64,
    },
    /// From there to the end.
    From(u64),
    /// So many at the end.
    Last(u64),
}

impl ByteRange {
    /// Reads a `Range` header that asks for one range of bytes. `None` for anything else, which
    /// whoever serves files may answer with the whole file (RFC 9110, 14.2).
    ///
    /// ```
    /// use hedgerow_catalogue::files::ByteRange;
    ///
    /// assert_eq!(ByteRange::from_header("bytes=500-"), Some(ByteRange::From(500)));
    /// assert_eq!(ByteRange::from_header("bytes=0-4,10-14"), None);
    /// ```
    #[must_use]
    pub fn from_header(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        match (first.trim(), last.trim()) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between { first, last })
            }
        }
    }
}

/// A file that is being read.
#[non_exhaustive]
pub struct OpenFile {
    /// How large the whole file is.
    pub size_bytes: u64,
    /// Which bytes of it come, the end not included.
    pub range: Range<u64>,
    /// The bytes. A file that is cut or removed meanwhile ends with an error.
    pub bytes: BoxStream<'static, Result<Bytes, FileError>>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("size_bytes", &self.size_bytes)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl ImageFiles {
    /// Opens a file to be read, or a part of it.
    ///
    /// # Errors
    /// [`FileError::Missing`], [`FileError::Range`], [`FileError::Store`].
    pub async fn open(
        &self,
        key: &FileKey,
        range: Option<ByteRange>,
    ) -> Result<OpenFile, FileError> {
        let size_bytes = self.size_bytes(key).await?;
        let range = match range {
            None => None,
            Some(ByteRange::From(first) | ByteRange::Between { first, .. })
                if first >= size_bytes =>
            {
                return Err(FileError::Range { size_bytes });
            }
            Some(ByteRange::Last(0)) => return Err(FileError::Range { size_bytes }),
            Some(ByteRange::From(first)) => Some(GetRange::Offset(first)),
            Some(ByteRange::Last(count)) => Some(GetRange::Suffix(count)),
            Some(ByteRange::Between { first, last }) => {
                Some(GetRange::Bounded(first..last.saturating_add(1).min(size_bytes)))
            }
        };
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.shared.store.get_opts(&key.path(), options).await;
        let found = found.map_err(|error| FileError::of(error, key))?;
        let (size_bytes, range) = (found.meta.size, found.range.clone());
        let bytes = found.into_stream().map(|next| next.map_err(|error| FileError::store(&error)));
        Ok(OpenFile { size_bytes, range, bytes: bytes.boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_of_bytes_or_none() {
        let read = ByteRange::from_header;
        assert_eq!(read("bytes=0-0"), Some(ByteRange::Between { first: 0, last: 0 }));
        assert_eq!(read("bytes=5-"), Some(ByteRange::From(5)));
        assert_eq!(read("bytes=-7"), Some(ByteRange::Last(7)));
        for text in ["", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "items=0-1", "bytes=+1-2"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("bytes=0-99999999999999999999999"), None);
    }
}
