//! Durable appends through `cqrs-es` with `sqlite-es`, for the benchmark `append`: each line
//! that it reads says how many events to append, and it answers the nanoseconds that this took. Its
//! argument: the file.
//!
//! Each append is one command that the framework executes, as its documentation shows it, on an
//! aggregate of its own, so that no older events are read. The pool is that of
//! `default_sqlite_pool` (WAL, ten connections) but for `synchronous`: its default, `NORMAL`, does
//! not wait for the disk, so it is `FULL` here, as on the other sides. The table is the one that
//! `sqlite-es` tells its users to make.

use std::path::Path;
use std::time::Instant;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use sqlite_es::sqlite_cqrs;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, Pool, Sqlite};

/// What happened; as many bytes of payload as in the other programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum CampaignEvent {
    RequestAccepted { device: String },
}

impl DomainEvent for CampaignEvent {
    fn event_type(&self) -> String {
        "RequestAccepted".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Campaign {
    accepted: usize,
}

impl Aggregate for Campaign {
    const TYPE: &'static str = "campaign";
    type Command = Vec<String>;
    type Event = CampaignEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        devices: Vec<String>,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for device in devices {
            sink.write(CampaignEvent::RequestAccepted { device }, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _: CampaignEvent) {
        self.accepted += 1;
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let pool = open(Path::new(&path)).await;
        let cqrs = sqlite_cqrs::<Campaign>(pool, Vec::new(), ());
        for (append, line) in (0_usize..).zip(std::io::stdin().lines()) {
            let batch: usize = line.ok().and_then(|line| line.parse().ok()).expect("how many");
            let devices = (0..batch).map(|n| format!("{n:022}")).collect();
            let campaign = format!("campaign-{append}");
            let begin = Instant::now();
            cqrs.execute(&campaign, devices).await.expect("it is durable");
            println!("{}", begin.elapsed().as_nanos());
        }
    });
}

async fn open(path: &Path) -> Pool<Sqlite> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new().max_connections(10).connect_with(options).await;
    let pool = pool.expect("it opens");
    let table = "CREATE TABLE events (
        aggregate_type TEXT NOT NULL,
        aggregate_id TEXT NOT NULL,
        sequence INTEGER CHECK (sequence >= 0) NOT NULL,
        event_type TEXT NOT NULL,
        event_version TEXT NOT NULL,
        payload TEXT NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    ) STRICT";
    pool.execute(table).await.expect("it has its table");
    pool
}
