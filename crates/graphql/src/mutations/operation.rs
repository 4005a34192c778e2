//! Updates that somebody starts or cancels by hand, one device at a time.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{DeviceId, ImageUrl, OperationId, OperationLimits, RequestId, parse_version};
use hedgerow_engine::ManualUpdateRequest;
use uuid::Uuid;

use crate::errors::{Failure, of_fleet, of_version};
use crate::record::{Call, Object};
use crate::types::operation;

/// The operation as it stands now.
async fn shown(call: Call<'_>, device: DeviceId, id: OperationId) -> Result<Object, Failure> {
    let found = operation::found(device, id, call.ask).await?;
    let found = found.ok_or_else(|| Failure::not_found("id"))?;
    Ok(Arc::new(found))
}

pub(super) async fn start(call: Call<'_>) -> Result<Object, Failure> {
    let ask = call.ask;
    let input = call.input.required_object("input")?;
    let device: DeviceId = input.required_key("device", "deviceId")?;
    if ask.fleet().device(device).is_none() {
        return Err(Failure::not_found("deviceId"));
    }
    let both =
        |message: &str| Failure::invalid_argument("baseImageFile", message).of("baseImageUrl");
    let (url, stored): (ImageUrl, _) =
        match (input.text("baseImageFile")?, input.text("baseImageUrl")?) {
            (None, None) => return Err(both("no image file nor url")),
            (Some(_), Some(_)) => {
                return Err(both("only one between image file or url is supported"));
            }
            (Some(upload), None) => {
                let (stored, url) = ask.uploaded(upload, "baseImageFile")?;
                (url, Some(stored))
            }
            (None, Some(url)) => (url.parse().map_err(of_fleet("baseImageUrl"))?, None),
        };
    let request_id = match input.text("requestId")? {
        Some(id) => id.parse().map_err(|error| Failure::invalid("requestId", error))?,
        None => Uuid::new_v4()
            .to_string()
            .parse::<RequestId>()
            .map_err(|error| Failure::new("internal_error", error.to_string()))?,
    };
    let expected_version = input.text("expectedVersion")?.map(parse_version).transpose();
    let expected_version = expected_version.map_err(of_version("expectedVersion"))?;
    let defaults = OperationLimits::default();
    let timeout = input.integer::<u32>("requestTimeoutSeconds")?;
    let limits = OperationLimits {
        request_retries: input.integer("requestRetries")?.unwrap_or(defaults.request_retries),
        request_timeout: timeout
            .map_or(defaults.request_timeout, |seconds| Duration::from_secs(seconds.into())),
        ..defaults
    };
    limits.validate()?;
    let request = ManualUpdateRequest { request_id, device, url, expected_version, limits };
    let id = ask.engine().start_manual_update(ask.tenant(), request).await?;
    if let Some(stored) = stored {
        ask.keep(&stored);
    }
    shown(call, device, id).await
}

/// Asks the device to cancel an operation that was started by hand. Those of campaigns are cancelled
/// with their campaign.
pub(super) async fn cancel(call: Call<'_>) -> Result<Object, Failure> {
    let ask = call.ask;
    let id: OperationId = call.input.required_key("ota_operation", "id")?;
    let update = ask.engine().manual_update(ask.tenant(), id).await?;
    let update = update.ok_or_else(|| Failure::not_found("id"))?;
    ask.engine().cancel_manual_update(ask.tenant(), id).await?;
    shown(call, update.definition().device, id).await
}
