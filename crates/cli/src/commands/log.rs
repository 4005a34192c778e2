//! `hedgerow log`: the events that were recorded, also while a process writes.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{DeviceId, StoredEvent, StreamId, TenantId};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::checksum::{Chain, LogReader};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::{Value, json};

use super::naming::CampaignName;
use super::reading::{ReadError, find, finish};
use super::times::{readable, readable_text};

/// Events read at once.
const PAGE: usize = 10_000;
/// The most characters of an event's data in a line for people.
const LONGEST: usize = 300;

/// Print the events of a log
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow log hedgerow-demo.db
  hedgerow log hedgerow-demo.db --device f0VMRgIBAQAAAAAAAAAAAA
  hedgerow log hedgerow-demo.db --campaign 5f0c7a0e --json | jq .type

With --json each line is one event. Times are printed as such; the log has them as milliseconds
since 1970. A log can be read while a process writes to it. The checksum of
each event is compared; at the first event that is damaged, changed or missing it stops and says so.

Exit status: 0 printed, 2 wrong usage, 3 the file cannot be read, or is damaged.")]
pub(crate) struct LogArgs {
    /// The file of the log
    file: PathBuf,
    /// Only the events of this campaign: its id, or how it begins
    #[arg(long, value_name = "ID")]
    campaign: Option<CampaignName>,
    /// Only the events about this device
    // One id in 64 begins with a hyphen.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    device: Option<DeviceId>,
    /// Only the events of this tenant
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow log`.
pub(crate) fn log(args: &LogArgs) -> ExitCode {
    finish(print_log(args))
}

fn print_log(args: &LogArgs) -> Result<(), ReadError> {
    let store = SqliteStore::open_read_only(&args.file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let Some(campaign) = &args.campaign {
        let found = find(&wait(store.streams())?, &args.file, args.tenant.as_ref(), campaign)?;
        let mut chain = Chain::default();
        loop {
            let after = chain.version();
            let page = wait(store.read_stream(&found.tenant, found.stream(), after, PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                chain.check(stored)?;
                print_event(args, stored, &mut out)?;
            }
        }
    } else {
        let mut reader = wait(LogReader::new(&store))?;
        loop {
            let page = wait(reader.page(PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                print_event(args, stored, &mut out)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn print_event(
    args: &LogArgs,
    stored: &StoredEvent,
    out: &mut impl Write,
) -> Result<(), ReadError> {
    if args.device.is_some_and(|device| !is_about(stored, device))
        || args.tenant.as_ref().is_some_and(|tenant| stored.tenant != *tenant)
    {
        return Ok(());
    }
    let event = &stored.event;
    let mut data: Value = serde_json::from_slice(&event.data).map_err(|source| {
        let (file, stream, version) = (args.file.clone(), stored.stream, stored.version);
        ReadError::Data { file, stream, version, source }
    })?;
    if args.json {
        readable(&mut data);
        let line = json!({
            "position": stored.position,
            "tenant": stored.tenant,
            "stream": stored.stream,
            "version": stored.version,
            "recorded_at": event.recorded_at.to_string(),
            "type": event.event_type,
            "schema_version": event.schema_version,
            "correlation_id": event.correlation_id,
            "causation_id": event.causation_id,
            "checksum": stored.checksum.map(|checksum| checksum.to_string()),
            "data": data,
        });
        writeln!(out, "{line}")?;
    } else {
        let stream = stored.stream.to_string();
        // An id is shown by its beginning; a catalogue has none.
        let stream = match stream.split_once('/') {
            Some((kind, id)) => format!("{kind}/{}", id.get(..8).unwrap_or(id)),
            None => format!("{stream:<17}"),
        };
        let data = if data.as_object().is_some_and(serde_json::Map::is_empty) {
            String::new()
        } else {
            shortened(&as_stored(&event.data, &data))
        };
        let (version, at) = (stored.version, event.recorded_at);
        writeln!(out, "{at}  {stream} {version:>6}  {:<22} {data}", event.event_type)?;
    }
    Ok(())
}

/// The data with its fields in the order in which they were stored; `read` is what it says.
fn as_stored(stored: &[u8], read: &Value) -> String {
    match str::from_utf8(stored) {
        Ok(text) if !text.contains(['\n', '\r']) => readable_text(text),
        _ => readable_text(&read.to_string()),
    }
}

/// A snapshot of a million devices is no line for people; `--json` has all of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… (--json prints all)", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_about(stored: &StoredEvent, device: DeviceId) -> bool {
    match stored.stream {
        StreamId::Campaign(_) => match CampaignEvent::from_stored(stored) {
            Ok(CampaignEvent::SnapshotExtended(chunk)) => chunk.devices.contains(&device),
            Ok(event) => event.device() == Some(device),
            // An event of a newer version may well be about it.
            Err(_) => String::from_utf8_lossy(&stored.event.data).contains(&device.to_string()),
        },
        StreamId::ManualUpdate(_) | StreamId::Catalogue => {
            String::from_utf8_lossy(&stored.event.data).contains(&device.to_string())
        }
    }
}
