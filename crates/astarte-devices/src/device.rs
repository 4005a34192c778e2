//! One device: the firmware's model, woken in its own time, and the connection that it has.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::Timestamp;
use hedgerow_sim::device::DeviceOutput;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::session::Session;
use crate::{DeviceError, DeviceSettings, RegisteredDevice};

/// Before a device tries again to connect.
const RETRY: Duration = Duration::from_secs(1);
/// Nothing is due for so long that it need not be waited for in one go.
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) struct LiveDevice {
    settings: Arc<DeviceSettings>,
    registered: RegisteredDevice,
    began: Instant,
    session: Option<Session>,
}

impl LiveDevice {
    pub(crate) fn new(settings: Arc<DeviceSettings>, registered: RegisteredDevice) -> Self {
        Self { settings, registered, began: Instant::now(), session: None }
    }

    /// Lives until it is told to stop.
    pub(crate) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            result = self.live() => {
                if let Err(error) = result {
                    tracing::error!(device = %self.registered.device.id(), %error, "gave up");
                }
            }
            // The sender is gone when everything is.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn live(&mut self) -> Result<(), DeviceError> {
        let folder = tempfile::tempdir()?;
        loop {
            if self.registered.device.is_connected() && self.session.is_none() {
                self.connect(&folder).await?;
            }
            let mut output = Vec::new();
            let wake = self.next_wake();
            let request = if let Some(session) = &self.session {
                let shown = self.registered.device.published_version();
                let next = session.next_request(&self.settings, shown);
                tokio::select! {
                    biased;
                    request = next => Some(request),
                    () = tokio::time::sleep_until(wake) => None,
                }
            } else {
                tokio::time::sleep_until(wake).await;
                None
            };
            let now = self.now();
            match request {
                Some(Some(request)) => self.registered.device.handle(now, request, &mut output),
                // The SDK gave the connection up; the device's process would be restarted.
                Some(None) => self.session = None,
                None => self.registered.device.wake(now, &mut output),
            }
            for output in output {
                self.show(&folder, output).await?;
            }
        }
    }

    /// The firmware's time.
    fn now(&self) -> Timestamp {
        Timestamp::default() + self.began.elapsed() * self.settings.speed.max(1)
    }

    fn next_wake(&self) -> Instant {
        let due = self.registered.device.next_wake();
        // A little late rather than early: an early wake finds nothing due, and comes again at once.
        let after = due.map_or(LONG, |due| {
            due.since(Timestamp::default()) / self.settings.speed.max(1) + Duration::from_millis(1)
        });
        (self.began + after).min(Instant::now() + LONG)
    }

    async fn show(&mut self, folder: &TempDir, output: DeviceOutput) -> Result<(), DeviceError> {
        match &output {
            DeviceOutput::Connected => self.connect(folder).await?,
            DeviceOutput::Disconnected => self.session = None,
            output => {
                if let Some(session) = &mut self.session
                    && let Err(error) = session.publish(output).await
                {
                    tracing::warn!(device = %self.registered.device.id(), %error, "it is lost");
                }
            }
        }
        Ok(())
    }

    /// Connects, however long it takes, and shows its base image.
    async fn connect(&mut self, folder: &TempDir) -> Result<(), DeviceError> {
        loop {
            match Session::connect(&self.settings, &self.registered, folder.path()).await {
                Ok(session) => {
                    let session = self.session.insert(session);
                    let version = self.registered.device.published_version().to_owned();
                    let introduced = match &self.registered.system_info {
                        Some(system) => session.introduce(system).await,
                        None => Ok(()),
                    };
                    let shown = match introduced {
                        Ok(()) => session.publish(&DeviceOutput::BaseImage { version }).await,
                        Err(error) => Err(error),
                    };
                    return match shown {
                        Err(error) => {
                            tracing::debug!(%error, "the device did not show what it is and runs");
                            self.session = None;
                            tokio::time::sleep(RETRY).await;
                            continue;
                        }
                        Ok(()) => Ok(()),
                    };
                }
                Err(error @ DeviceError::Settings { .. }) => return Err(error),
                Err(error) => {
                    let device = self.registered.device.id();
                    tracing::debug!(%device, %error, "trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
