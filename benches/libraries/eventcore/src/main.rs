//! Durable appends through `eventcore`'s SQLite store, for the benchmark `append`: each line
//! that it reads says how many events to append, and it answers the nanoseconds that this took. Its
//! argument: the file.
//!
//! Each append is one command that `execute` runs, as eventcore's documentation shows it, on a
//! stream of its own, so that no older events are read. The store's own pragmas: WAL, and SQLite's
//! default `synchronous = FULL`, which makes an append as durable as the other sides'.

use std::path::PathBuf;
use std::time::Instant;

use eventcore::{
    Command, CommandError, CommandLogic, Event, NewEvents, RetryPolicy, StreamId, execute,
};
use eventcore_sqlite::{SqliteConfig, SqliteEventStore};
use serde::{Deserialize, Serialize};

/// What happened; as many bytes of payload as in the other programs.
#[derive(Clone, Serialize, Deserialize)]
enum CampaignEvent {
    RequestAccepted { campaign: StreamId, device: String },
}

impl Event for CampaignEvent {
    fn stream_id(&self) -> &StreamId {
        let Self::RequestAccepted { campaign, .. } = self;
        campaign
    }

    fn event_type_name() -> &'static str {
        "CampaignEvent"
    }
}

/// Records a batch of events.
#[derive(Command)]
struct Record {
    #[stream]
    campaign: StreamId,
    devices: Vec<String>,
}

impl CommandLogic for Record {
    type Event = CampaignEvent;
    type State = ();

    fn apply(&self, state: (), _: &CampaignEvent) {
        state
    }

    fn handle(&self, (): ()) -> Result<NewEvents<CampaignEvent>, CommandError> {
        let event = |device: &String| CampaignEvent::RequestAccepted {
            campaign: self.campaign.clone(),
            device: device.clone(),
        };
        Ok(self.devices.iter().map(event).collect::<Vec<_>>().into())
    }
}

fn main() {
    let path = PathBuf::from(std::env::args().nth(1).expect("a file"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = SqliteConfig { path, encryption_key: None };
        let store = SqliteEventStore::new(config).expect("it opens");
        store.migrate().await.expect("it has its tables");
        for (append, line) in (0_usize..).zip(std::io::stdin().lines()) {
            let batch: usize = line.ok().and_then(|line| line.parse().ok()).expect("how many");
            let campaign = StreamId::try_new(format!("campaign-{append}")).expect("a stream");
            let devices = (0..batch).map(|n| format!("{n:022}")).collect();
            let command = Record { campaign, devices };
            let begin = Instant::now();
            execute(&store, command, RetryPolicy::new()).await.expect("it is durable");
            println!("{}", begin.elapsed().as_nanos());
        }
    });
}
