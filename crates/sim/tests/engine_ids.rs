//! The ids beside every event, against a table that was made without this project: whoever has read
//! a log knows its events by them, in every version (E3, E13, D21).
//!
//! Made with Python's standard library, where an id is
//! `uuid.UUID(bytes=hashlib.sha1(namespace.bytes + name).digest()[:16], version=5)`:
//!
//! - causation, in `3c1f0b8e-66a5-5c0d-a1f4-7f7a0c93d2b1`:
//!   `f"{tenant}/{stream}@{version before} by {writer}".encode()`;
//! - correlation, in the causation id: the place of the input among those that were decided
//!   together, `place.to_bytes(8, "big")`.

mod common;

use std::sync::Arc;

use common::{IMAGE, Rig, campaign_id, definition, device};
use hedgerow_core::{OperationLimits, RequestId, TenantId};
use hedgerow_engine::{EngineBuilder, ManualUpdateRequest};
use uuid::Uuid;

const WRITER: Uuid = Uuid::from_u128(0x9d1c_2f40_1111_4222_8333_4444_5555_6666);
/// Tenant, stream, and the causation and correlation ids of its first event.
const FIRST_EVENTS: [[&str; 4]; 4] = [
    [
        "acme",
        "campaign/00000000-0000-0000-0000-000000000001",
        "5139f040-474f-53a7-b161-7f7210360910",
        "df5dd910-30af-5258-90e9-d3c633de2f11",
    ],
    [
        "acme",
        "manual/ddd117dc-1c08-54ab-83fb-6f0f007dadf6",
        "82e76972-d7d6-5a5f-b579-8b173344c746",
        "616d6414-98b8-5d3f-a3fb-2ba9168a9c36",
    ],
    [
        "Acme.Parks-2",
        "campaign/00000000-0000-0000-0000-000000000001",
        "2933d9a7-7808-5cd1-98fb-49e8f36a23ed",
        "cbc7bcc1-69be-546f-9f11-25032ed35d1d",
    ],
    [
        "Acme.Parks-2",
        "manual/dc3efe57-8b8c-55b1-87a7-8d83f3c98068",
        "41fa187b-533a-537e-8b06-7226ac22b182",
        "7c014f52-624d-55b2-932b-1dd78fb9e9bd",
    ],
];

#[test]
fn e3_the_ids_beside_an_event_are_those_of_the_table() {
    let mut rig = Rig::new(0);
    let tenants = ["acme", "Acme.Parks-2"].map(|tenant| tenant.parse::<TenantId>().unwrap());
    for tenant in &tenants {
        rig.world.add(tenant, 2, "1.0.0");
    }
    let builder = EngineBuilder::new(
        Arc::new(rig.store.clone()),
        Arc::new(rig.world.platform()),
        Arc::new(rig.world.platform()),
        Arc::new(rig.clock.clone()),
        Arc::new(rig.executor.spawner()),
    );
    let engine = rig.run(builder.writer(WRITER).start()).expect("it starts");
    for tenant in tenants {
        let engine = engine.clone();
        rig.run(async move {
            let request = ManualUpdateRequest {
                request_id: RequestId::new("r1").unwrap(),
                device: device(1),
                url: IMAGE.parse().unwrap(),
                expected_version: None,
                limits: OperationLimits::default(),
            };
            engine.create(&tenant, campaign_id(1), definition(1), None).await.expect("it begins");
            engine.start_manual_update(&tenant, request).await.expect("it begins");
        });
    }
    let log = rig.log();
    for [tenant, stream, causation, correlation] in FIRST_EVENTS {
        let first = log
            .iter()
            .find(|stored| stored.tenant.as_str() == tenant && stored.stream.to_string() == stream)
            .unwrap_or_else(|| panic!("{tenant} has no {stream}"));
        assert_eq!(first.version, 1);
        assert_eq!(first.event.causation_id.to_string(), causation, "{tenant} {stream}");
        assert_eq!(first.event.correlation_id.to_string(), correlation, "{tenant} {stream}");
    }
}
