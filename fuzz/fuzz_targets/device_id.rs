//! Texts as device ids: what is read has one text, and any 128 bits have one.

#![no_main]

use hedgerow_core::DeviceId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(device) = text.parse::<DeviceId>()
    {
        assert_eq!(device.to_string(), text, "a device id has one text");
    }
    if let Some(bits) = bytes.first_chunk::<16>() {
        let device = DeviceId::from_bytes(*bits);
        assert_eq!(device.as_bytes(), bits);
        assert_eq!(device.to_string().parse(), Ok(device), "what is shown reads back equal");
    }
});
