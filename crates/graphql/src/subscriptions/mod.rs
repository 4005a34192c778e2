//! What happens, as it happens. The log tells what changed; a feed looks at how that stands when it is
//! its turn to be sent, so that ten changes of one thing are one message, and a client is sent a few
//! messages a second, however much happens.

mod live;
mod pace;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use hedgerow_catalogue::{Changed as How, Thing};
use hedgerow_core::{CampaignId, CampaignStatus, DeviceId, OperationId, Outcome, Timestamp};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use live::Live;

use crate::errors::Failure;
use crate::filter::Filter;
use crate::id::global;
use crate::record::{Answer, Ask, Input, Object, Record};
use crate::types;
use crate::types::campaign::Campaign;
use crate::types::operation::{self, Operation};
use crate::types::target::Target;
use live::News;
use pace::Pace;
use waiting::Waiting;

/// After so long it is looked again how far rows are.
const AGAIN: Duration = Duration::from_millis(100);

/// After so long what could not be read is read again.
const LATER: Duration = Duration::from_secs(1);

/// How many campaigns a feed remembers as it has shown them.
const REMEMBERED: usize = 10_000;

/// Tells that a subscription is open: what happens from now on is not missed.
pub(crate) struct Opened(Mutex<Option<oneshot::Sender<()>>>);

impl Opened {
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (Self(Mutex::new(Some(tell))), told)
    }

    pub(crate) fn tell(&self) {
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tell) = tell {
            // Nobody listens any more if the client has gone meanwhile.
            let _ = tell.send(());
        }
    }
}

/// Which members of a message a document selects: what it does not select is not told to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected {
    pub(crate) created: bool,
    pub(crate) updated: bool,
    pub(crate) destroyed: bool,
}

/// What one message tells.
struct Told {
    /// `created`, `updated` or `destroyed`.
    how: &'static str,
    what: Answer,
}

impl Record for Told {
    fn type_name(&self) -> &'static str {
        "result"
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        Some(match &self.what {
            Answer::Object(record) if field == self.how => Answer::Object(record.clone()),
            Answer::Value(value) if field == self.how => Answer::Value(value.clone()),
            _ => Answer::NULL,
        })
    }
}

/// What a subscription is about.
enum Subject {
    /// All campaigns: that there is a new one, and when what a list shows of one has changed.
    Campaigns,
    /// One campaign, also when its counts have moved.
    Campaign(CampaignId),
    /// The targets of a campaign.
    Targets(CampaignId),
    /// The operations of all devices.
    Operations,
    /// Things of the catalogue of one kind.
    Things(Kind),
    /// What there is none of.
    Nothing,
}

/// A kind of thing of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Channel,
    Group,
    Device,
    Image,
    Collection,
    HardwareType,
}

impl Kind {
    fn of(thing: Thing) -> Option<Self> {
        Some(match thing {
            Thing::Channel(_) => Self::Channel,
            Thing::Group(_) => Self::Group,
            Thing::Device(_) => Self::Device,
            Thing::BaseImage(_) => Self::Image,
            Thing::BaseImageCollection(_) => Self::Collection,
            Thing::HardwareType(_) => Self::HardwareType,
            _ => return None,
        })
    }
}

/// The id of a thing that is gone.
fn id_of(thing: Thing) -> Option<String> {
    Some(match thing {
        Thing::Channel(id) => global("channel", id),
        Thing::Group(id) => global("device_group", id),
        Thing::Device(id) => global("device", id),
        Thing::BaseImage(id) => global("base_image", id),
        Thing::BaseImageCollection(id) => global("base_image_collection", id),
        Thing::HardwareType(id) => global("hardware_type", id),
        _ => return None,
    })
}

/// A change that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    Campaign(CampaignId),
    Target(CampaignId, DeviceId),
    Manual(OperationId),
    Thing(Thing),
}

/// What of a campaign a list shows.
type Shown = (CampaignStatus, Option<Outcome>, Option<Timestamp>, String);

/// A subscription at work.
struct Feed {
    ask: Arc<Ask>,
    subject: Subject,
    filter: Filter,
    news: broadcast::Receiver<Arc<News>>,
    selected: Selected,
    waiting: Waiting,
    /// Something was missed.
    has_missed: bool,
    shown: HashMap<CampaignId, Shown>,
    pace: Pace,
}

/// Opens the subscription of that name. What it gives is what happens afterwards.
pub(crate) async fn open(
    subject: &str,
    ask: &Arc<Ask>,
    input: Input<'_>,
    selected: Selected,
) -> Result<BoxStream<'static, Result<Object, Failure>>, Failure> {
    let (subject, of) = match subject {
        "campaigns" | "updateCampaigns" => (Subject::Campaigns, "Campaign"),
        "campaign" => {
            let id = input.required_key("campaign", "id")?;
            (Subject::Campaign(there(ask, id, "id").await?), "Campaign")
        }
        "campaignTargetsByCampaign" => {
            let id = input.required_key("campaign", "campaignId")?;
            (Subject::Targets(there(ask, id, "campaignId").await?), "CampaignTarget")
        }
        "otaOperation" => (Subject::Operations, "OtaOperation"),
        "channels" => (Subject::Things(Kind::Channel), "Channel"),
        "deviceGroup" => (Subject::Things(Kind::Group), "DeviceGroup"),
        "deviceChanged" => (Subject::Things(Kind::Device), "Device"),
        "baseImage" => (Subject::Things(Kind::Image), "BaseImage"),
        "baseImageCollection" => (Subject::Things(Kind::Collection), "BaseImageCollection"),
        "hardwareType" => (Subject::Things(Kind::HardwareType), "HardwareType"),
        _ => (Subject::Nothing, "Campaign"),
    };
    let filter = Filter::of(of, input)?;
    let news = ask.api.live.news(ask.tenant()).await?;
    let mut waiting = Waiting::default();
    if let Subject::Campaign(own) = subject
        && selected.updated
    {
        // It may have changed since the client asked for it.
        waiting.put((Change::Campaign(own), How::Updated), 0);
    }
    let feed = Feed {
        ask: Arc::clone(ask),
        subject,
        filter,
        news,
        selected,
        waiting,
        has_missed: false,
        shown: HashMap::new(),
        pace: Pace::new(ask.api.limits.messages_per_second),
    };
    Ok(stream::unfold(feed, |mut feed| async move {
        let told = feed.next().await?;
        Some((told.map(|told| Arc::new(told) as Object), feed))
    })
    .boxed())
}

async fn there(ask: &Ask, id: CampaignId, field: &str) -> Result<CampaignId, Failure> {
    ask.campaign(id).await?.map(|_| id).ok_or_else(|| Failure::not_found(field))
}

impl Feed {
    /// The next message; `None`: there will be no more.
    async fn next(&mut self) -> Option<Result<Told, Failure>> {
        loop {
            loop {
                match self.news.try_recv() {
                    Ok(news) => self.note(&news),
                    Err(TryRecvError::Lagged(_)) => self.miss()?,
                    // If there will be no more, that is seen when nothing waits any more.
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if self.waiting.is_empty() {
                match self.news.recv().await {
                    Ok(news) => self.note(&news),
                    Err(RecvError::Lagged(_)) => self.miss()?,
                    Err(RecvError::Closed) => return None,
                }
                continue;
            }
            if let Some(at) = self.pace.wait_until(Instant::now()) {
                sleep_until(at).await;
                continue;
            }
            // Before rows show a change nothing is told of it: nothing might come after it.
            let reached = self.ask.engine().stats().rows.map_or(u64::MAX, |rows| rows.position);
            let Some((change, until)) = self.waiting.take(reached) else {
                sleep(AGAIN).await;
                continue;
            };
            let told = match self.ask.refresh().await {
                Ok(()) => self.look(change.0, change.1).await,
                Err(failure) => Err(failure),
            };
            match told {
                Err(failure) if failure.code == "try_again" => {
                    self.waiting.put_back(change, until);
                    sleep(LATER).await;
                }
                Err(failure) => return Some(Err(failure)),
                Ok(told) => {
                    if until > reached && change.1 == How::Updated {
                        self.waiting.put(change, until);
                    }
                    if let Some(told) = told {
                        self.pace.sent(Instant::now());
                        return Some(Ok(told));
                    }
                }
            }
        }
    }

    /// Something was missed: one campaign is looked at again; of many things nobody knows which, so that
    /// it ends, and the client begins anew.
    fn miss(&mut self) -> Option<()> {
        self.has_missed = true;
        matches!(self.subject, Subject::Campaign(_) | Subject::Nothing).then_some(())
    }

    /// Takes in what changed, as far as it belongs here.
    fn note(&mut self, news: &News) {
        let how = |is_new| if is_new { How::Created } else { How::Updated };
        let at = news.position;
        let has_missed = std::mem::take(&mut self.has_missed);
        match self.subject {
            Subject::Campaigns => {
                for (campaign, changed) in &news.campaigns {
                    self.wait(Change::Campaign(*campaign), how(changed.created), at);
                }
            }
            Subject::Campaign(own) => {
                if has_missed || news.campaigns.contains_key(&own) {
                    self.wait(Change::Campaign(own), How::Updated, at);
                }
            }
            Subject::Targets(own) => {
                let changed = news.campaigns.get(&own).map(|changed| &changed.targets);
                for device in changed.into_iter().flatten() {
                    self.wait(Change::Target(own, *device), How::Updated, at);
                }
            }
            Subject::Operations => {
                for (campaign, changed) in &news.campaigns {
                    for device in &changed.targets {
                        let is_new = changed.started.contains(device);
                        self.wait(Change::Target(*campaign, *device), how(is_new), at);
                    }
                }
                for (operation, is_new) in &news.manual {
                    self.wait(Change::Manual(*operation), how(*is_new), at);
                }
            }
            Subject::Things(kind) => {
                let things = news.things.iter();
                for (thing, how) in things.filter(|(thing, _)| Kind::of(**thing) == Some(kind)) {
                    self.wait(Change::Thing(*thing), *how, 0);
                }
            }
            Subject::Nothing => {}
        }
    }

    /// Has a change wait to be told. What is new may have changed since: who wants to be told of
    /// changes is told how it stands, too.
    fn wait(&mut self, change: Change, how: How, at: u64) {
        match how {
            How::Created => {
                if self.selected.created {
                    self.waiting.put((change, How::Created), at);
                }
                if self.selected.updated {
                    self.waiting.put((change, How::Updated), at);
                }
            }
            How::Updated if self.selected.updated => self.waiting.put((change, How::Updated), at),
            How::Removed if self.selected.destroyed => self.waiting.put((change, How::Removed), at),
            How::Updated | How::Removed => {}
        }
    }

    /// How a thing stands that has changed; `None`: nothing is to be told of it.
    async fn look(&mut self, change: Change, how: How) -> Result<Option<Told>, Failure> {
        if how == How::Removed {
            let Change::Thing(thing) = change else { return Ok(None) };
            let gone = id_of(thing).map(Answer::value);
            return Ok(gone.map(|what| Told { how: "destroyed", what }));
        }
        let ask = Arc::clone(&self.ask);
        let record: Object = match change {
            Change::Thing(thing) => match types::thing(thing, &ask.fleet()) {
                Some(record) => record,
                // It is gone by now: that is told by itself.
                None => return Ok(None),
            },
            Change::Campaign(id) => {
                let Some(entry) = ask.campaign(id).await? else { return Ok(None) };
                let is_listed = matches!(self.subject, Subject::Campaigns);
                if is_listed && how == How::Updated && !self.shows_something_new(&entry) {
                    return Ok(None);
                }
                Arc::new(Campaign(entry))
            }
            Change::Target(campaign, device) => {
                let Some(entry) = ask.campaign(campaign).await? else { return Ok(None) };
                let target = ask.engine().target(ask.tenant(), campaign, device).await?;
                let Some(target) = target else { return Ok(None) };
                if matches!(self.subject, Subject::Operations) {
                    let last = target.details.and_then(|mut details| details.operations.pop());
                    let Some(last) = last else { return Ok(None) };
                    Arc::new(Operation::new(last))
                } else {
                    Arc::new(Target::new(entry, target))
                }
            }
            Change::Manual(id) => {
                let update = ask.engine().manual_update(ask.tenant(), id).await?;
                let Some(update) = update else { return Ok(None) };
                let device = update.definition().device;
                let Some(found) = operation::found(device, id, &ask).await? else {
                    return Ok(None);
                };
                Arc::new(found)
            }
        };
        if !self.filter.passes(&record, &ask).await? {
            return Ok(None);
        }
        let how = if how == How::Created { "created" } else { "updated" };
        Ok(Some(Told { how, what: Answer::Object(record) }))
    }

    /// Whether a list would show something else than before. That it cannot know of one that it has
    /// not seen yet.
    fn shows_something_new(&mut self, entry: &hedgerow_engine::view::CampaignEntry) -> bool {
        let name = entry.definition.name.to_string();
        let shown = (entry.status, entry.outcome, entry.scheduled_at, name);
        if self.shown.len() >= REMEMBERED {
            self.shown.clear();
        }
        self.shown.insert(entry.campaign, shown.clone()) != Some(shown)
    }
}
