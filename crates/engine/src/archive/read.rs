//! Reading an archive, from its first line to its end, never believing it.
//!
//! No more than one line is in memory, however much a small file unpacks to.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use hedgerow_core::{Checksum, NewEvent, StoredEvent};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::line::{EndLine, EventLine, Head, LONGEST, StreamLine, hexadecimal};
use super::{ArchiveError, ArchivedStream, FORMAT};
use crate::store::checksum::Chain;

/// Reads an archive stream by stream and event by event.
pub struct ArchiveReader<R> {
    from: BufReader<GzDecoder<BufReader<R>>>,
    sum: Sha256,
    /// The line that was read last, with its end, and its number.
    line: Vec<u8>,
    number: u64,
    /// The stream whose events come, and how far they are.
    stream: Option<(ArchivedStream, Chain)>,
    streams: u64,
    events: u64,
    has_ended: bool,
}

impl<R> std::fmt::Debug for ArchiveReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveReader").field("line", &self.number).finish_non_exhaustive()
    }
}

impl<R: Read> ArchiveReader<R> {
    /// Begins to read an archive.
    ///
    /// # Errors
    /// [`ArchiveError`], if it is none, or none that this version reads.
    pub fn new(archive: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            from: BufReader::with_capacity(1 << 16, GzDecoder::new(BufReader::new(archive))),
            sum: Sha256::new(),
            line: Vec::new(),
            number: 0,
            stream: None,
            streams: 0,
            events: 0,
            has_ended: false,
        };
        reader.next_line().map_err(|error| match error {
            ArchiveError::Damaged { .. } | ArchiveError::TooLong { .. } => ArchiveError::Foreign,
            other => other,
        })?;
        let head: Head = serde_json::from_slice(&reader.line).map_err(|_| ArchiveError::Foreign)?;
        let found = head.hedgerow_archive;
        if found != u64::from(FORMAT) {
            return Err(ArchiveError::Newer { found });
        }
        reader.sum.update(&reader.line);
        Ok(reader)
    }

    /// How many events were read so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The next stream; `None` at the end of the archive, which is whole then. Events of the stream
    /// before that were not asked for are read, and checked, on the way.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn stream(&mut self) -> Result<Option<ArchivedStream>, ArchiveError> {
        while self.event()?.is_some() {}
        if self.has_ended {
            return Ok(None);
        }
        self.next_line()?;
        // An end is known by its first word; anything else is about a stream.
        if self.line.starts_with(br#"{"end":"#) {
            return self.end().map(|()| None);
        }
        let head = self.parse::<StreamLine>()?.read().map_err(|detail| self.damaged(detail))?;
        self.sum.update(&self.line);
        self.streams += 1;
        self.stream = Some((head.clone(), Chain::default()));
        Ok(Some(head))
    }

    /// The next event of the stream, with its checksum, which fits; `None` behind its last one.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn event(&mut self) -> Result<Option<(NewEvent, Option<Checksum>)>, ArchiveError> {
        let Some((head, mut chain)) = self.stream.take() else { return Ok(None) };
        self.next_line()?;
        let line: EventLine<'_> = self.parse()?;
        let version = line.version;
        let (event, checksum) = line.read().map_err(|detail| self.damaged(detail))?;
        let (tenant, stream) = (head.tenant.clone(), head.stream);
        let stored = StoredEvent { tenant, stream, version, position: 0, checksum, event };
        chain.check(&stored).map_err(|error| self.damaged(error.to_string()))?;
        let at = stored.event.recorded_at;
        if version == 1 && at != head.began_at {
            return Err(self.damaged("its stream began at another time".to_owned()));
        }
        if version < head.events {
            self.stream = Some((head, chain));
        } else if checksum != head.checksum || at != head.ended_at {
            return Err(self.damaged("its stream ends with another event".to_owned()));
        }
        self.sum.update(&self.line);
        self.events += 1;
        Ok(Some((stored.event, stored.checksum)))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let EndLine { end } = self.parse()?;
        let sum = hexadecimal(&self.sum.clone().finalize());
        if (end.streams, end.events) != (self.streams, self.events) || end.sha256 != sum {
            return Err(self.damaged("what stands before it is not what was written".to_owned()));
        }
        self.has_ended = true;
        // With it comes gzip's own checksum.
        if self.read_line()? {
            return Err(self.damaged("it stands behind the end".to_owned()));
        }
        // Another archive, perhaps: nothing of it would be read.
        let behind =
            self.from.get_mut().get_mut().fill_buf().map_err(|error| ArchiveError::Read {
                line: self.number,
                detail: error.to_string(),
            })?;
        if behind.is_empty() { Ok(()) } else { Err(ArchiveError::Joined) }
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArchiveError> {
        serde_json::from_slice(&self.line).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, detail: String) -> ArchiveError {
        ArchiveError::Damaged { line: self.number, detail }
    }

    /// Reads the line that must come.
    fn next_line(&mut self) -> Result<(), ArchiveError> {
        if self.read_line()? { Ok(()) } else { Err(ArchiveError::Cut { line: self.number }) }
    }

    /// Reads a line. `false`: there is none any more.
    fn read_line(&mut self) -> Result<bool, ArchiveError> {
        self.line.clear();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&mut self.from).take(most).read_until(b'\n', &mut self.line);
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => ArchiveError::Cut { line: self.number },
            ErrorKind::InvalidInput | ErrorKind::InvalidData if self.number == 0 => {
                ArchiveError::Foreign
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                ArchiveError::Damaged { line: self.number + 1, detail: error.to_string() }
            }
            _ => ArchiveError::Read { line: self.number, detail: error.to_string() },
        })?;
        if self.line.len() > LONGEST {
            return Err(ArchiveError::TooLong { line: self.number + 1, most: LONGEST });
        }
        if self.line.is_empty() {
            return Ok(false);
        }
        if self.line.last() != Some(&b'\n') {
            return Err(ArchiveError::Cut { line: self.number });
        }
        self.number += 1;
        Ok(true)
    }
}
