//! What a service that embeds the engine relies on, and what no test of behaviour would notice to
//! be gone: an engine is shared between threads, and its futures are awaited on any of them.

use std::fmt::Debug;
use std::sync::Arc;

use hedgerow_core::{CampaignDefinition, CampaignEdit, CampaignId, DeviceId, OperationId};
use hedgerow_core::{RunningOperations, StreamId, TenantId};
use hedgerow_engine::ports::{Clock, DeviceTransport, FleetDirectory, Spawner};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{
    AppendError, Claim, EventStore, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};
use hedgerow_engine::view::{CampaignQuery, TargetEntries, TargetQuery};
use hedgerow_engine::{
    Engine, EngineBuilder, EngineError, EngineStats, LoadError, ManualUpdateRequest, Observation,
    Position, Progress, Subscription, SubscriptionError, campaign_at, manual_update_at,
};

fn is_shared<T: Send + Sync + Clone + Debug + 'static>() {}

fn is_a_value<T: Send + Sync + Unpin + Clone + Debug + PartialEq + 'static>() {}

fn is_an_error<T: std::error::Error + Send + Sync + Clone + PartialEq + 'static>() {}

fn is_sent<T: Send>(_: T) {}

#[test]
fn handles_are_shared_between_threads() {
    is_shared::<Engine>();
    is_shared::<MemoryStore>();
    is_sent::<Option<(EngineBuilder, Subscription)>>(None);
    is_shared::<Arc<dyn EventStoreAndMore>>();
}

/// Every port is a trait object of one kind.
trait EventStoreAndMore:
    EventStore + DeviceTransport + FleetDirectory + Clock + Spawner + Debug
{
}

#[test]
fn values_may_be_cloned_compared_shown_and_sent_to_another_thread() {
    is_a_value::<EngineStats>();
    is_a_value::<(Observation, ManualUpdateRequest, TargetQuery)>();
    is_a_value::<(Progress, TargetEntries, Position)>();
    is_a_value::<(StreamAppend, StreamSummary, StateSnapshot, Claim)>();
    is_an_error::<EngineError>();
    is_an_error::<LoadError>();
    is_an_error::<AppendError>();
    is_an_error::<StoreError>();
    is_an_error::<SubscriptionError>();
}

struct Arguments {
    tenant: TenantId,
    campaign: CampaignId,
    device: DeviceId,
    operation: OperationId,
    definition: CampaignDefinition,
    edit: CampaignEdit,
    observation: Observation,
    request: ManualUpdateRequest,
    campaigns: CampaignQuery,
    targets: TargetQuery,
}

fn awaits_everything(builder: EngineBuilder, engine: &Engine, with: Arguments) {
    let Arguments { tenant, campaign, device, operation, .. } = with;
    let tenant = &tenant;
    is_sent(builder.start());
    is_sent(engine.create(tenant, campaign, with.definition, None));
    is_sent(engine.pause(tenant, campaign));
    is_sent(engine.resume(tenant, campaign));
    is_sent(engine.cancel(tenant, campaign, RunningOperations::Finish));
    is_sent(engine.edit(tenant, campaign, with.edit));
    is_sent(engine.delete(tenant, campaign));
    is_sent(engine.observe(tenant, with.observation));
    is_sent(engine.start_manual_update(tenant, with.request));
    is_sent(engine.cancel_manual_update(tenant, operation));
    is_sent(engine.manual_update(tenant, operation));
    is_sent(engine.progress(tenant, campaign));
    is_sent(engine.why(tenant, campaign, device));
    is_sent(engine.state(tenant, campaign));
    is_sent(engine.campaigns(tenant, &with.campaigns));
    is_sent(engine.campaign(tenant, campaign));
    is_sent(engine.definition(tenant, campaign));
    is_sent(engine.failure_reasons(tenant, campaign));
    is_sent(engine.targets(tenant, campaign, &with.targets));
    is_sent(engine.target(tenant, campaign, device));
    is_sent(engine.device_history(tenant, device, None, 0));
    is_sent(engine.counts_over_time(tenant, campaign, Default::default(), 2));
    is_sent(engine.shutdown());
    is_sent(engine.subscribe(tenant, Position::Now));
    is_sent(engine.subscribe_to(tenant, StreamId::Campaign(campaign), Position::Start));
}

fn loads_everything(store: &dyn EventStore, with: &Arguments) {
    is_sent(campaign_at(store, &with.tenant, with.campaign, None));
    is_sent(manual_update_at(store, &with.tenant, with.operation, None));
}

#[test]
fn every_future_of_the_engine_may_be_awaited_on_any_thread() {
    // That it compiles is the test.
    let _: fn(EngineBuilder, &Engine, Arguments) = awaits_everything;
    let _: fn(&dyn EventStore, &Arguments) = loads_everything;
}
