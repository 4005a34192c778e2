//! The identity of a device in Astarte: 128 bits, written as 22 characters of base64url.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// The identity of a device.
///
/// ```
/// use hedgerow_astarte_emulator::DeviceId;
///
/// let id: DeviceId = "91JGyz9XRv5Esp6jNQFP7g".parse()?;
/// assert_eq!(id.to_string(), "91JGyz9XRv5Esp6jNQFP7g");
/// # Ok::<(), hedgerow_astarte_emulator::DeviceIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId([u8; 16]);

/// The text is not the base64url form of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device id is 128 bits in base64url without padding, 22 characters")]
pub struct DeviceIdError;

impl DeviceId {
    /// The device with these 128 bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        // The length first, so that a huge text is not decoded.
        if text.len() != 22 {
            return Err(DeviceIdError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| DeviceIdError)?;
        bytes.try_into().map(Self).map_err(|_| DeviceIdError)
    }
}

impl TryFrom<String> for DeviceId {
    type Error = DeviceIdError;

    fn try_from(text: String) -> Result<Self, DeviceIdError> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DeviceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_written_and_read() {
        let id = DeviceId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_not_128_bits_is_refused() {
        for text in
            ["", "abc", "91JGyz9XRv5Esp6jNQFP7gA", "91JGyz9XRv5Esp6jNQFP7!", &"A".repeat(9999)]
        {
            assert_eq!(text.parse::<DeviceId>(), Err(DeviceIdError), "{text}");
        }
    }
}
