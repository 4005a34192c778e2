//! What happens, as it happens. The log tells what changed; a feed looks at how that stands when it is
//! its turn to be sent, so that ten changes of one thing are one message, and a client is sent a few
//! messages a second, however much happens.

mod live;
mod pace;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, BoxStream, StreamExt};
use hedgerow_catalogue::{Changed as How, Thing};
use hedgerow_core::{CampaignId, CampaignStatus, DeviceId, OperationId, Outcome, Timestamp};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

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

/// How many changes wait to be sent. Where more happens the oldest are not sent: who looks at a hundred
/// thousand targets looks at the counts, and at what happens now.
const WAITING: usize = 128;

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
    waiting: VecDeque<(Change, How)>,
    /// The same, to find whether one waits already.
    waits: HashSet<(Change, How)>,
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
    let feed = Feed {
        ask: Arc::clone(ask),
        subject,
        filter,
        news,
        selected,
        waiting: VecDeque::new(),
        waits: HashSet::new(),
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
                    // How things stand is looked at when they are sent: what was missed is in that.
                    Err(TryRecvError::Lagged(_)) => {}
                    // If there will be no more, that is seen when nothing waits any more.
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if self.waiting.is_empty() {
                match self.news.recv().await {
                    Ok(news) => self.note(&news),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
                continue;
            }
            if let Some(at) = self.pace.wait_until(Instant::now()) {
                sleep_until(at).await;
                continue;
            }
            let Some(change) = self.take() else { continue };
            if let Err(failure) = self.ask.refresh().await {
                return Some(Err(failure));
            }
            match self.look(change.0, change.1).await {
                Ok(Some(told)) => {
                    self.pace.sent(Instant::now());
                    return Some(Ok(told));
                }
                Ok(None) => {}
                Err(failure) => return Some(Err(failure)),
            }
        }
    }

    /// Takes in what changed, as far as it belongs here.
    fn note(&mut self, news: &News) {
        let how = |is_new| if is_new { How::Created } else { How::Updated };
        match self.subject {
            Subject::Campaigns => {
                for (campaign, changed) in &news.campaigns {
                    self.wait(Change::Campaign(*campaign), how(changed.created));
                }
            }
            Subject::Campaign(own) => {
                if news.campaigns.contains_key(&own) {
                    self.wait(Change::Campaign(own), How::Updated);
                }
            }
            Subject::Targets(own) => {
                let changed = news.campaigns.get(&own).map(|changed| &changed.targets);
                for device in changed.into_iter().flatten() {
                    self.wait(Change::Target(own, *device), How::Updated);
                }
            }
            Subject::Operations => {
                for (campaign, changed) in &news.campaigns {
                    for device in &changed.targets {
                        let is_new = changed.started.contains(device);
                        self.wait(Change::Target(*campaign, *device), how(is_new));
                    }
                }
                for (operation, is_new) in &news.manual {
                    self.wait(Change::Manual(*operation), how(*is_new));
                }
            }
            Subject::Things(kind) => {
                let things = news.things.iter();
                for (thing, how) in things.filter(|(thing, _)| Kind::of(**thing) == Some(kind)) {
                    self.wait(Change::Thing(*thing), *how);
                }
            }
            Subject::Nothing => {}
        }
    }

    /// Has a change wait to be told. What is new may have changed since: who wants to be told of
    /// changes is told how it stands, too.
    fn wait(&mut self, change: Change, how: How) {
        match how {
            How::Created => {
                if self.selected.created {
                    self.put((change, How::Created));
                }
                if self.selected.updated {
                    self.put((change, How::Updated));
                }
            }
            How::Updated if self.selected.updated => self.put((change, How::Updated)),
            How::Removed if self.selected.destroyed => self.put((change, How::Removed)),
            How::Updated | How::Removed => {}
        }
    }

    fn put(&mut self, change: (Change, How)) {
        if self.waits.insert(change) {
            self.waiting.push_back(change);
        }
        while self.waiting.len() > WAITING {
            // What somebody started by hand is what somebody looks at.
            let may_go = |change: &(Change, How)| !matches!(change.0, Change::Manual(_));
            let oldest = self.waiting.iter().position(may_go);
            if let Some(gone) = self.waiting.remove(oldest.unwrap_or(0)) {
                self.waits.remove(&gone);
            }
        }
    }

    /// Takes what is to be told next: what somebody started by hand is not kept waiting behind a
    /// campaign.
    fn take(&mut self) -> Option<(Change, How)> {
        let by_hand = |change: &(Change, How)| matches!(change.0, Change::Manual(_));
        let next = self.waiting.iter().position(by_hand).unwrap_or(0);
        let change = self.waiting.remove(next)?;
        self.waits.remove(&change);
        Some(change)
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
