//! The engine's port for URLs (D23): where the store signs, an operation is given a URL of its own
//! when it starts, which works for as long as the configuration says.

use std::time::Duration;

use hedgerow_catalogue::files::ImageFiles;
use hedgerow_core::{ImageUrl, TenantId, TransportError};
use hedgerow_engine::ports::{BoxFuture, ImageUrls, StartingOperation};

/// Signs the URLs of files of the image store, and leaves all others as they are.
#[derive(Debug)]
pub(crate) struct SignedUrls {
    pub(crate) files: ImageFiles,
    pub(crate) valid_for: Duration,
}

impl ImageUrls for SignedUrls {
    fn url(
        &self,
        _: &TenantId,
        starting: StartingOperation,
    ) -> BoxFuture<'static, Result<Option<ImageUrl>, TransportError>> {
        let (files, valid_for) = (self.files.clone(), self.valid_for);
        Box::pin(async move {
            let Some(key) = files.key_of(&starting.image.url) else { return Ok(None) };
            let signed = files.signed_url(&key, valid_for).await;
            signed.map_err(|error| TransportError::new(error.to_string()))
        })
    }
}
