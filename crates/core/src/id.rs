//! The names of things: tenants, devices, campaigns, operations.
//!
//! A [`DeviceId`] is Astarte's: 128 bits, written as 22 characters of unpadded URL-safe base64.
//! An [`OperationId`] is derived, never drawn (E3), so that a decision taken again after a crash
//! names the same operation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Why a text is not the name of something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not 22 characters of unpadded URL-safe base64 that stand for 128 bits.
    #[error(
        "{text:?} is not a device id: give the 22 characters of unpadded URL-safe base64 that Astarte shows"
    )]
    Device {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// A tenant's name is 1 to 128 characters: letters, digits, `.`, `_` and `-` (D21).
    #[error(
        "{text:?} is not a tenant: give 1 to 128 of the letters a to z and A to Z, digits, dots, underscores and hyphens"
    )]
    Tenant {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// Not a UUID.
    #[error(
        "{text:?} is not a UUID: give 32 hexadecimal digits, as in 67e55044-10b1-426f-9247-bb680e5fe0c8"
    )]
    Uuid {
        /// What was given, cut after 64 characters.
        text: String,
    },
}

/// The first 64 characters of a text from outside, so that an error cannot be made huge.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The longest name of a tenant, in characters.
const LONGEST_TENANT: usize = 128;

/// A tenant (D21): 1 to 128 letters, digits, `.`, `_`, `-`. With Astarte it is a realm, whose names
/// are a part of these. Names that differ in anything, also in their case, are different tenants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantId(String);

impl TenantId {
    /// The tenant's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // No slash: what is derived from a tenant puts one behind its name.
        let is_taken = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=LONGEST_TENANT).contains(&text.len()) && text.bytes().all(is_taken) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Tenant { text: excerpt(text) })
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A device, by its Astarte device id: 128 bits.
///
/// ```
/// use hedgerow_core::DeviceId;
///
/// let device: DeviceId = "f0VMRgIBAQAAAAAAAAAAAA".parse()?;
/// assert_eq!(device.to_string(), "f0VMRgIBAQAAAAAAAAAAAA");
/// assert!("f0VMRgIBAQAAAAAAAAAAAB".parse::<DeviceId>().is_err(), "128 bits, not 132");
/// # Ok::<(), hedgerow_core::IdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 16]);

/// The namespace of the ids of devices that have another name.
const NAMED_DEVICES: Uuid = Uuid::from_u128(0x139e_3442_81e1_4209_971f_7164_3148_7974);

/// The URL-safe alphabet of RFC 4648.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The inverse of [`ALPHABET`]; 255 where a byte is not in it.
const DIGITS: [u8; 256] = digits();
const TEXT_LENGTH: usize = 22;

const fn digits() -> [u8; 256] {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 64 {
        table[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    table
}

impl DeviceId {
    /// The device id with these 128 bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The device id of a device whose own name is something else, such as a serial number: the
    /// UUID, version 5, of the name's UTF-8 bytes in the namespace
    /// `139e3442-81e1-4209-971f-716431487974`. It never changes, and other names have other ids.
    /// It cannot be turned back into the name: keep that beside it.
    ///
    /// ```
    /// use hedgerow_core::DeviceId;
    ///
    /// let device = DeviceId::from_name("SN-0042");
    /// assert_eq!(device.to_string(), "MWh1Hc7OUeWxaDxuV0shNw");
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(Uuid::new_v5(&NAMED_DEVICES, name.as_bytes()).into_bytes())
    }

    /// The 128 bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn encode(self) -> [u8; TEXT_LENGTH] {
        let mut bits = u128::from_be_bytes(self.0);
        let mut text = [0; TEXT_LENGTH];
        // The last character carries only two bits, in its upper part.
        text[TEXT_LENGTH - 1] = ALPHABET[((bits & 0b11) << 4) as usize];
        bits >>= 2;
        for place in text[..TEXT_LENGTH - 1].iter_mut().rev() {
            *place = ALPHABET[(bits & 63) as usize];
            bits >>= 6;
        }
        text
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let (last, front) = text.split_last()?;
        if front.len() != TEXT_LENGTH - 1 {
            return None;
        }
        let mut bits: u128 = 0;
        for &byte in front {
            let digit = DIGITS[byte as usize];
            if digit == 255 {
                return None;
            }
            bits = bits << 6 | u128::from(digit);
        }
        let digit = DIGITS[*last as usize];
        if digit == 255 || digit & 0b1111 != 0 {
            return None;
        }
        Some(Self((bits << 2 | u128::from(digit >> 4)).to_be_bytes()))
    }
}

impl FromStr for DeviceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::decode(text.as_bytes()).ok_or_else(|| IdError::Device { text: excerpt(text) })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encode().iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl serde::de::Visitor<'_> for TextVisitor {
            type Value = DeviceId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("22 characters of unpadded URL-safe base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DeviceId, E> {
                text.parse().map_err(E::custom)
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TextVisitor)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

macro_rules! uuid_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(|_| IdError::Uuid { text: excerpt(text) })
            }
        }
    };
}

uuid_id! {
    /// An update campaign.
    CampaignId
}
uuid_id! {
    /// An OTA operation: the UUID that its requests and reports carry.
    OperationId
}

/// The namespace of the operation ids of campaigns.
const CAMPAIGN_OPERATIONS: Uuid = Uuid::from_u128(0x5f0c_7a0e_3d0b_5a7e_9f6d_8a41_c2d4_10aa);
/// The namespace of the operation ids of manual OTA updates.
const MANUAL_OPERATIONS: Uuid = Uuid::from_u128(0x0b3d_3a5c_7c52_58f4_8d0e_4b0f_9a6e_77c3);

impl OperationId {
    /// The operation of a campaign on a device. `series` counts the operations that the device
    /// itself turned away before this one (D14); resends belong to the same series (D8, E3).
    #[must_use]
    pub fn of_campaign(campaign: CampaignId, device: DeviceId, series: u16) -> Self {
        let mut name = [0; 34];
        name[..16].copy_from_slice(campaign.as_uuid().as_bytes());
        name[16..32].copy_from_slice(device.as_bytes());
        name[32..].copy_from_slice(&series.to_be_bytes());
        Self(Uuid::new_v5(&CAMPAIGN_OPERATIONS, &name))
    }

    /// The operation of a manual OTA update: the same request id of a tenant names the same
    /// operation, so that a repeated call is harmless (D20).
    #[must_use]
    pub fn of_manual_update(tenant: &TenantId, request_id: &str) -> Self {
        let mut name = tenant.as_str().as_bytes().to_vec();
        name.push(b'/');
        name.extend_from_slice(request_id.as_bytes());
        Self(Uuid::new_v5(&MANUAL_OPERATIONS, &name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_device_id_reads_back(bytes: [u8; 16]) {
            let device = DeviceId::from_bytes(bytes);
            prop_assert_eq!(device.to_string().parse::<DeviceId>(), Ok(device));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = text.parse::<DeviceId>();
            let _ = text.parse::<TenantId>();
        }
    }

    #[test]
    fn an_operation_id_depends_on_campaign_device_and_series_alone() {
        let campaign = CampaignId::from_uuid(Uuid::from_u128(1));
        let device = DeviceId::from_bytes([7; 16]);
        let first = OperationId::of_campaign(campaign, device, 0);
        assert_eq!(first, OperationId::of_campaign(campaign, device, 0));
        assert_ne!(first, OperationId::of_campaign(campaign, device, 1));
    }
}
