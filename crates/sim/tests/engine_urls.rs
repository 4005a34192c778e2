//! Operations that get URLs of their own (D23): a port is asked when an operation starts, and what it
//! gives stays with the operation, whatever happens to the engine.

#[path = "common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    ImageUrl, OperationId, ReportStatus, RequestAnswer, RunningOperations, StreamId, TenantId,
    TransportError,
};
use hedgerow_engine::Engine;
use hedgerow_engine::ports::{ImageUrls, StartingOperation};

use self::common::{
    Fault, IMAGE, Rig, Sent, campaign_id, definition, device, operation, seconds, tenant,
};

/// What a signer does when it is asked once more.
#[derive(Clone, Copy, Debug)]
enum Next {
    Own,
    Fails,
    Hangs,
}

/// Signs each URL anew, with a number that grows.
#[derive(Clone, Default)]
struct Signer(Arc<Mutex<Signed>>);

#[derive(Default)]
struct Signed {
    asked: Vec<StartingOperation>,
    next: VecDeque<Next>,
    given: u32,
}

impl Signer {
    fn then(&self, next: impl IntoIterator<Item = Next>) {
        self.0.lock().unwrap().next.extend(next);
    }

    fn asked(&self) -> Vec<OperationId> {
        self.0.lock().unwrap().asked.iter().map(|starting| starting.operation).collect()
    }
}

impl ImageUrls for Signer {
    fn url(
        &self,
        of: &TenantId,
        starting: StartingOperation,
    ) -> BoxFuture<'static, Result<Option<ImageUrl>, TransportError>> {
        assert_eq!((of, starting.campaign), (&tenant(), campaign_id(1)));
        let signed = &mut *self.0.lock().unwrap();
        let image = starting.image.url.clone();
        signed.asked.push(starting);
        match signed.next.pop_front() {
            Some(Next::Own) => ready(Ok(None)).boxed(),
            Some(Next::Fails) => ready(Err(TransportError::new("no key"))).boxed(),
            Some(Next::Hangs) => pending().boxed(),
            None => {
                signed.given += 1;
                ready(Ok(format!("{image}?signature={}", signed.given).parse().ok())).boxed()
            }
        }
    }
}

fn start(rig: &mut Rig, signer: &Signer) -> Engine {
    rig.start_with(|builder| builder.image_urls(Arc::new(signer.clone())))
}

fn restart(rig: &mut Rig, signer: &Signer) -> Engine {
    rig.executor = hedgerow_sim::runtime::Executor::default();
    start(rig, signer)
}

fn update(number: u8, url: &str) -> Sent {
    Sent::Update(device(number), operation(1, number), url.to_owned())
}

fn signed(number: u32) -> String {
    format!("{IMAGE}?signature={number}")
}

/// The URLs that are recorded with starts, in order.
fn recorded(rig: &mut Rig) -> Vec<Option<String>> {
    let log = rig.log();
    let started = log.iter().filter_map(|stored| match CampaignEvent::from_stored(stored) {
        Ok(CampaignEvent::OperationStarted(started)) => Some(started.url),
        _ => None,
    });
    started.map(|url| url.map(|url| url.to_string())).collect()
}

#[test]
fn d23_a_url_stays_the_same_over_resends_restarts_and_a_cancel() {
    let mut rig = Rig::new(1);
    let signer = Signer::default();
    let engine = start(&mut rig, &signer);
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
    assert_eq!(recorded(&mut rig), [Some(signed(1))]);
    rig.pass(seconds(300));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))], "D8: a resend");

    let engine = restart(&mut rig, &signer);
    rig.pass(seconds(299));
    assert_eq!(rig.world.take_sent(), [], "its answer was known");
    rig.pass(seconds(2));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))], "a resend after a restart");
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged).unwrap();
    let stopping = engine.clone();
    rig.run(
        async move { stopping.cancel(&tenant(), campaign_id(1), RunningOperations::Stop).await },
    )
    .unwrap();
    let cancelled = Sent::Cancel(device(1), operation(1, 1), signed(1));
    assert_eq!(rig.world.take_sent(), [cancelled]);
    assert_eq!(signer.asked(), [operation(1, 1)], "it was asked for once");
}

#[test]
fn d23_a_deferred_operation_keeps_its_url_also_where_nobody_gives_any_more() {
    let mut rig = Rig::new(1);
    let signer = Signer::default();
    let engine = start(&mut rig, &signer);
    let failed = || RequestAnswer::Temporary(TransportError::new("HTTP 503"));
    rig.world.scene().answers = VecDeque::from([failed()]);
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
    rig.pass(seconds(20));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))], "D10: with UUID and URL");
    assert_eq!(recorded(&mut rig), [Some(signed(1)), Some(signed(1))]);
    assert_eq!(signer.asked().len(), 1);

    // Without anybody who gives URLs it keeps what was recorded.
    let engine = rig.restart();
    rig.pass(seconds(330));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
}

#[test]
fn d23_without_a_url_nothing_starts_and_the_slot_is_free_for_another() {
    let mut rig = Rig::new(2);
    let signer = Signer::default();
    signer.then([Next::Fails, Next::Own]);
    let engine = start(&mut rig, &signer);
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(2, IMAGE)], "the other has its turn at once");
    assert_eq!(recorded(&mut rig), [None], "the image's own is not recorded");
    let types = rig.types(StreamId::Campaign(campaign_id(1)));
    assert_eq!(types.iter().filter(|name| *name == "attempt_deferred").count(), 1, "{types:?}");
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap();
    rig.pass(seconds(20));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
}

#[test]
fn d23_a_url_that_never_comes_is_given_up_and_asked_for_again() {
    let mut rig = Rig::new(1);
    let signer = Signer::default();
    signer.then([Next::Hangs]);
    let engine = start(&mut rig, &signer);
    rig.create(&engine, 1, definition(1));
    rig.world.set_version(1, "1.1.0");
    assert_eq!(rig.world.take_sent(), []);
    rig.pass(seconds(40));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
    assert_eq!(signer.asked().len(), 2);
    let log = rig.log();
    let started = log.iter().find_map(|stored| match CampaignEvent::from_stored(stored) {
        Ok(CampaignEvent::OperationStarted(started)) => Some(started.from_version),
        _ => None,
    });
    assert_eq!(started.as_deref(), Some("1.1.0"), "D5: the version is read after the URL was had");
}

#[test]
fn d23_urls_are_asked_for_also_after_the_state_was_loaded_again() {
    let mut rig = Rig::new(2);
    let signer = Signer::default();
    let engine = start(&mut rig, &signer);
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, &signed(1))]);
    // The append of what is reported is written and answered by an error: the state is thrown away and loaded again.
    rig.store.next([Fault::LosesAnswer]);
    let _ = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
    rig.pass(seconds(30));
    let _ = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
    rig.pass(seconds(30));
    assert_eq!(rig.world.take_sent(), [update(2, &signed(2))]);
    assert_eq!(recorded(&mut rig), [Some(signed(1)), Some(signed(2))]);
}

#[test]
fn d23_a_manual_update_has_the_url_that_its_caller_gave() {
    let mut rig = Rig::new(1);
    let signer = Signer::default();
    let engine = start(&mut rig, &signer);
    rig.start_manual(&engine, 1).unwrap();
    let sent = rig.world.take_sent();
    let [Sent::Update(of, _, url)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((*of, url.as_str()), (device(1), IMAGE));
    assert_eq!(signer.asked(), []);
}
