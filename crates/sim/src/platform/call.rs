//! Calls of an engine, and what becomes of them.

use std::ops::Range;

use futures::channel::oneshot;
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, RequestAnswer, SystemModelHandle, TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::StartingOperation;

/// What a request asks a device for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To install an image.
    Update,
    /// To give up an update.
    Cancel,
}

/// A request to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub wanted: Wanted,
    /// The device.
    pub device: DeviceId,
    /// The operation.
    pub operation: OperationId,
    /// The image.
    pub url: ImageUrl,
}

/// A call of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A request to a device.
    Request(Request),
    /// What base image does a device show?
    Read(DeviceId),
    /// Which URL is an operation to have (D23)?
    Url(StartingOperation),
    /// Which devices of this System Model are in the groups of a channel?
    Targets(Channel, SystemModelHandle),
    /// Where are these devices?
    Presence(Vec<DeviceId>),
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A request was answered.
    Answered(&'a RequestAnswer),
    /// A base image was read, or could not be.
    Shown(&'a Result<Option<String>, TransportError>),
    /// A URL was given, or could not be.
    Given(&'a Result<Option<ImageUrl>, TransportError>),
    /// The directory has answered.
    Told,
    /// There was no answer: nobody waits for one any more, or whoever waited has died.
    GivenUp,
}

/// What the directory says: devices, and where they are.
pub type Named = Result<Vec<(DeviceId, Sighting)>, TransportError>;

/// What becomes of a call: its answer, and when it is given.
#[derive(Debug)]
pub struct Fate<T> {
    /// `None`: it is never answered.
    pub answer: Option<T>,
    /// Opens when the answer is due; `None`: it is at once.
    pub due: Option<oneshot::Receiver<()>>,
    /// An answer of the directory may be put together page by page, after it was due.
    pub pages: Vec<Page>,
}

/// A part of an answer of the directory.
#[derive(Debug)]
pub struct Page {
    /// Which of the devices it has.
    pub devices: Range<usize>,
    /// Opens when it is put together.
    pub due: oneshot::Receiver<()>,
}

impl<T> Fate<T> {
    /// It is answered at once.
    pub fn now(answer: T) -> Self {
        Self { answer: Some(answer), due: None, pages: Vec::new() }
    }

    /// It is answered when that opens, or is dropped.
    pub fn when(due: oneshot::Receiver<()>, answer: T) -> Self {
        Self { due: Some(due), ..Self::now(answer) }
    }

    /// It is never answered.
    #[must_use]
    pub fn never() -> Self {
        Self { answer: None, due: None, pages: Vec::new() }
    }
}

/// The answer about a device that there is not.
#[must_use]
pub fn not_found() -> RequestAnswer {
    let error = TransportError::new("HTTP status 404: Device not found");
    RequestAnswer::of_http_status(404, error)
}
