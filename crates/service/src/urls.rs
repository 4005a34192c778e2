//! The engine's port for URLs (D23): where the store signs, an operation is given a URL of its own
//! when it starts, which works for as long as the configuration says.

use std::time::Duration;

use hedgerow_catalogue::files::{FileKey, ImageFiles};
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
        tenant: &TenantId,
        starting: StartingOperation,
    ) -> BoxFuture<'static, Result<Option<ImageUrl>, TransportError>> {
        let (files, valid_for) = (self.files.clone(), self.valid_for);
        let key = own_file(&files, tenant, &starting.image.url);
        Box::pin(async move {
            let Some(key) = key else { return Ok(None) };
            let signed = files.signed_url(&key, valid_for).await;
            signed.map_err(|error| TransportError::new(error.to_string()))
        })
    }
}

/// The file of a tenant that a URL is of. All tenants' files are in one store, and URLs are no secrets
/// between people who know both: nobody is given a signature for what is another tenant's.
fn own_file(files: &ImageFiles, tenant: &TenantId, url: &ImageUrl) -> Option<FileKey> {
    files.key_of(url).filter(|key| key.tenant() == tenant)
}

#[cfg(test)]
mod tests {
    use hedgerow_catalogue::files::FileSettings;

    use super::*;

    #[test]
    fn nothing_is_signed_that_is_another_tenants() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = FileSettings::default();
        let files = ImageFiles::in_folder(folder.path(), "https://u.example/images", settings);
        let files = files.expect("a folder");
        let url = "https://u.example/images/gardens/5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa/a.bin";
        let url = url.parse().expect("a URL");
        let own = |tenant: &str| own_file(&files, &tenant.parse().expect("a tenant"), &url);
        assert!(own("gardens").is_some());
        assert_eq!(own("orchards"), None);
        let elsewhere = "https://images.example/a.bin".parse().expect("a URL");
        assert_eq!(own_file(&files, &"gardens".parse().expect("a tenant"), &elsewhere), None);
    }
}
