//! A fleet of more devices than one chunk of a snapshot, or one look-up of presence, names.

mod common;

use std::sync::{Arc, Mutex};

use common::{IMAGE, campaign_id, definition, tenant};
use futures::FutureExt;
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, Presence, RequestAnswer, StreamId, SystemModelHandle,
    TenantId, Timestamp, TransportError,
};
use hedgerow_engine::ports::{BoxFuture, DeviceTransport, FleetDirectory};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{EngineBuilder, Sighting};
use hedgerow_sim::runtime::{Executor, VirtualClock, wait};

const DEVICES: u32 = 10_050;

fn device(number: u32) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// Only the last device is online.
fn presence(of: DeviceId) -> Sighting {
    let since = Timestamp::from_millis(0);
    let is_online = of == device(DEVICES - 1);
    let presence = if is_online { Presence::Online { since } } else { Presence::Offline };
    Sighting::now(Some(presence))
}

#[derive(Clone, Default)]
struct Platform {
    sent: Arc<Mutex<Vec<(DeviceId, String)>>>,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl DeviceTransport for Platform {
    fn send_update(
        &self,
        _: &TenantId,
        device: DeviceId,
        _: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.sent.lock().unwrap().push((device, url.to_string()));
        async { RequestAnswer::Accepted }.boxed()
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        async { RequestAnswer::Accepted }.boxed()
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        async { Ok(Some("1.0.0".to_owned())) }.boxed()
    }
}

impl FleetDirectory for Platform {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let all = (0..DEVICES).map(device).map(|id| (id, presence(id))).collect();
        async { Ok(all) }.boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        self.asked.lock().unwrap().push(devices.len());
        async move { Ok(devices.into_iter().map(presence).collect()) }.boxed()
    }
}

#[test]
fn d1_every_device_beyond_the_first_chunk_is_a_target_and_has_its_turn() {
    let (store, platform) = (MemoryStore::new(), Platform::default());
    let start = |executor: &mut Executor| {
        let builder = EngineBuilder::new(
            Arc::new(store.clone()),
            Arc::new(platform.clone()),
            Arc::new(platform.clone()),
            Arc::new(VirtualClock::new(Timestamp::from_millis(1_000))),
            Arc::new(executor.spawner()),
        );
        executor.run(builder.start()).expect("it starts at once").expect("the store works")
    };
    let mut executor = Executor::default();
    let engine = start(&mut executor);
    let created = async move {
        engine.create(&tenant(), campaign_id(1), definition(1), None).await?;
        engine.progress(&tenant(), campaign_id(1)).await
    };
    executor.run(created).expect("it ends at once").expect("it is created");
    executor.run_until_stalled();
    let last = (device(DEVICES - 1), IMAGE.to_owned());
    assert_eq!(*platform.sent.lock().unwrap(), std::slice::from_ref(&last));
    let stream = StreamId::Campaign(campaign_id(1));
    let log = wait(store.read_stream(&tenant(), stream, 0, 100)).unwrap();
    let chunks = log.iter().filter(|stored| stored.event.event_type == "snapshot_extended");
    assert_eq!(chunks.count(), 2);

    let mut executor = Executor::default();
    let engine = start(&mut executor);
    let progress = executor.run(async move { engine.progress(&tenant(), campaign_id(1)).await });
    assert_eq!(progress.unwrap().unwrap().targets.total, DEVICES);
    assert_eq!(*platform.asked.lock().unwrap(), [10_000, 50]);
}
