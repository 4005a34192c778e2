//! Every id that is derived, against a table that was made without this project: devices, reports
//! and logs of other versions carry these ids, so none may ever become another (E3, D20, D21).
//!
//! `ids.jsonl` was made with Python's standard library. An id is the first 16 bytes of the SHA-1 of
//! its namespace's 16 bytes and its name, marked as a UUID of version 5:
//! `uuid.UUID(bytes=hashlib.sha1(namespace.bytes + name).digest()[:16], version=5)`. The names are
//!
//! - `campaign`, in `5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa`: the 16 bytes of the campaign, the 16 of
//!   the device, and `series.to_bytes(2, "big")`;
//! - `manual_update`, in `0b3d3a5c-7c52-58f4-8d0e-4b0f9a6e77c3`:
//!   `tenant.encode() + b"/" + request_id.encode()`;
//! - `named_device`, in `139e3442-81e1-4209-971f-716431487974`: `name.encode()`; the id is
//!   `base64.urlsafe_b64encode(id.bytes)` without its `=`.

use std::collections::BTreeMap;

use hedgerow_core::{DeviceId, OperationId, TenantId};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
enum Derived {
    Campaign { campaign: String, device: DeviceId, series: u16, id: String },
    ManualUpdate { tenant: TenantId, request_id: String, id: String },
    NamedDevice { name: String, id: String },
}

#[test]
fn every_derived_id_is_the_one_of_the_table() {
    let mut seen = BTreeMap::new();
    for line in include_str!("ids.jsonl").lines() {
        let (derived, id) = match serde_json::from_str(line).expect("a record") {
            Derived::Campaign { campaign, device, series, id } => {
                let campaign = campaign.parse().expect("a campaign");
                let campaign = hedgerow_core::CampaignId::from_uuid(campaign);
                (OperationId::of_campaign(campaign, device, series).to_string(), id)
            }
            Derived::ManualUpdate { tenant, request_id, id } => {
                (OperationId::of_manual_update(&tenant, &request_id).to_string(), id)
            }
            Derived::NamedDevice { name, id } => (DeviceId::from_name(&name).to_string(), id),
        };
        assert_eq!(derived, id, "{line}");
        let twice = seen.insert(id, line);
        assert_eq!(twice, None, "two names have one id");
    }
    assert_eq!(seen.len(), 120);
}
