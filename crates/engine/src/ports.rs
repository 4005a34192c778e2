//! The ports: what an engine needs of the world beside a store. Adapters implement them; so do
//! simulations.

use std::pin::Pin;
use std::time::Duration;

use hedgerow_core::{
    BaseImage, CampaignId, Channel, DeviceId, ImageUrl, OperationId, RequestAnswer,
    SystemModelHandle, TenantId, Timestamp, TransportError,
};

use crate::Sighting;

/// A future in a box, as the ports return it: the engine keeps each port as a trait object, and
/// cannot name the futures of its methods. The same type as `BoxFuture` of the `futures` crate.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends requests to devices and reads what they report.
///
/// The engine bounds how many calls run at once and how long each may take; a call that is dropped
/// counts as a temporary error.
pub trait DeviceTransport: Send + Sync + 'static {
    /// Asks a device to update. The URL is sent byte for byte.
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer>;

    /// Asks a device to cancel an update. The URL is the one of its Update (D17).
    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer>;

    /// The version, build metadata included, that a device reports now; `None` if it reports none.
    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>>;
}

/// Knows which devices there are.
///
/// Whatever it says of a device it says [as of](Sighting::as_of) a moment. One that looks at once
/// takes [`Moment::now`](crate::Moment::now) when it is called; one that reads page by page may take
/// it before each page. An answer may be older than its question, where a call joins work that an
/// earlier one began: the engine then looks again. It puts the newest of what it was told and what
/// was looked up in place of everything older, so that a directory compares nothing.
pub trait FleetDirectory: Send + Sync + 'static {
    /// The devices of the union of the channel's groups that have the System Model (D2), and where
    /// they are, in an order that is the snapshot's. Duplicates are passed over, and
    /// devices that do not exist any more.
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>>;

    /// Where each of these devices is, in their order; [nowhere](Sighting::presence) if it does not
    /// exist any more (D15).
    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>>;
}

/// An operation of a campaign that is about to start, and needs its URL (D23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingOperation {
    /// Its campaign.
    pub campaign: CampaignId,
    /// Its device.
    pub device: DeviceId,
    /// Its UUID.
    pub operation: OperationId,
    /// The image that is to be installed, with the URL that is sent unless another is given.
    pub image: BaseImage,
}

/// Gives each operation a URL of its own, such as a signed one that soon expires (D23).
///
/// It is asked when a target's turn has come, before the version of its device is read: not every
/// operation that it is asked for starts. What it gives is recorded with the start, and is what the
/// device gets, byte for byte, whenever the request is sent again and with a Cancel (D8, D17): it must
/// be good for as long as that may take. An operation that was deferred is not asked for again; one
/// that takes the place of another that its device turned away is (D14).
///
/// The engine bounds how many calls run at once and how long each may take, as with a
/// [`DeviceTransport`]. A call that fails or takes too long is a temporary error: nothing starts, and
/// the target's turn comes again later (D10). Manual updates have the URL that their caller gives.
pub trait ImageUrls: Send + Sync + 'static {
    /// The URL for that operation; `None`: the image's own.
    fn url(
        &self,
        tenant: &TenantId,
        starting: StartingOperation,
    ) -> BoxFuture<'static, Result<Option<ImageUrl>, TransportError>>;
}

/// The machine's two clocks, as they are. The engine makes its own time of them, which never stands
/// still and never goes back (E12): [`Engine::now`](crate::Engine::now).
pub trait Clock: Send + Sync + 'static {
    /// What the wall clock shows. People and services put it right in either direction.
    fn wall(&self) -> Timestamp;

    /// How long ago some fixed instant was, by a clock that nobody puts right.
    fn monotonic(&self) -> Duration;

    /// Ends when [`Clock::monotonic`] has gone on by `duration`, or earlier: whoever sleeps looks
    /// at the clocks again. It should end soon after the wall clock was put forward, which makes
    /// deadlines due.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Runs tasks.
pub trait Spawner: Send + Sync + 'static {
    /// Runs a future to its end, beside the others.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// The ports that a service on tokio needs: its clock and its tasks.
#[cfg(feature = "tokio")]
pub mod tokio_runtime {
    use std::time::{Duration, SystemTime};

    use hedgerow_core::Timestamp;
    use tokio::time::Instant;

    use super::{BoxFuture, Clock, Spawner};

    /// So soon is it seen that the wall clock was put forward.
    const LONGEST_SLEEP: Duration = Duration::from_secs(1);

    /// The system's clocks, and the tasks of a tokio runtime.
    #[derive(Debug)]
    pub struct TokioRuntime {
        handle: tokio::runtime::Handle,
        began: Instant,
    }

    impl TokioRuntime {
        /// On that runtime.
        #[must_use]
        pub fn new(handle: tokio::runtime::Handle) -> Self {
            Self { handle, began: Instant::now() }
        }
    }

    impl Clock for TokioRuntime {
        fn wall(&self) -> Timestamp {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Timestamp::default() + since.unwrap_or(Duration::ZERO)
        }

        fn monotonic(&self) -> Duration {
            self.began.elapsed()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            // The caller need not be on the runtime.
            let _entered = self.handle.enter();
            Box::pin(tokio::time::sleep(duration.min(LONGEST_SLEEP)))
        }
    }

    impl Spawner for TokioRuntime {
        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.handle.spawn(task);
        }
    }
}
