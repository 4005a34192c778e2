//! `hedgerow campaign watch`: shows how campaigns go while they do, to their end. What happens is
//! told over a socket; who looks at a terminal sees a bar, everybody else lines.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::campaign::{FIELDS, all, find_campaign, line, one};
use super::socket::Socket;
use super::{Client, ClientError, text};
use crate::commands::bar::{self, clock};

/// Before a connection that broke is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long that is tried.
const PATIENCE: Duration = Duration::from_secs(120);
/// That a campaign was deleted is told to nobody: so often it is looked whether all are there.
const LOOK: Duration = Duration::from_secs(60);

/// A socket has 64 subscriptions. Of more campaigns only the statuses are told.
const MOST_FOLLOWED: usize = 60;

/// Why nothing more is shown for now.
enum Left {
    /// Every campaign has ended, or nobody reads.
    Done,
    /// The connection broke.
    Lost,
}

/// Shows how campaigns go until all have finished: one, or all that have not finished.
pub(super) async fn watch(
    client: &Client,
    named: Option<&str>,
    as_json: bool,
) -> Result<(), ClientError> {
    let id = match named {
        Some(named) => Some(find_campaign(client, named).await?),
        None => None,
    };
    let mut screen = Screen::new(as_json);
    let mut reach = Reach::default();
    loop {
        match follow(client, id.as_deref(), &mut screen, &mut reach).await {
            Ok(Left::Done) => return screen.result(),
            Ok(Left::Lost) => {}
            Err(ClientError::Unreachable(..)) if reach.may_come_back() => {}
            Err(error) => {
                screen.clear();
                return Err(error);
            }
        }
        if reach.lost.is_none() {
            screen.say("the connection broke; trying again");
            reach.lost = Some(Instant::now());
        }
        sleep(PAUSE).await;
    }
}

/// Whether the service can be reached.
#[derive(Default)]
struct Reach {
    /// It could be, once.
    was_open: bool,
    /// Since when it cannot be.
    lost: Option<Instant>,
}

impl Reach {
    fn may_come_back(&self) -> bool {
        self.was_open && self.lost.is_none_or(|lost| lost.elapsed() < PATIENCE)
    }
}

/// Shows what is told until there is no more to tell.
async fn follow(
    client: &Client,
    id: Option<&str>,
    screen: &mut Screen,
    reach: &mut Reach,
) -> Result<Left, ClientError> {
    let mut socket = client.socket().await?;
    let mut followed = Followed::default();
    if id.is_none() {
        let query = format!(
            "subscription {{ updateCampaigns {{ created {{ {FIELDS} }} updated {{ {FIELDS} }} }} }}"
        );
        socket.subscribe(&query, json!({})).await?;
    } else {
        followed.take(&mut socket, id).await?;
    }
    *reach = Reach { was_open: true, lost: None };
    loop {
        // What was told before this answer is shown after it, and may be older: it is told again then.
        look(client, id, screen).await?;
        let next_look = Instant::now() + LOOK;
        loop {
            if screen.is_done() {
                return Ok(Left::Done);
            }
            screen.say_if_nothing();
            followed.drop_ended(&mut socket, screen).await?;
            followed.take(&mut socket, screen.unfinished()).await?;
            let Ok(told) = timeout_at(next_look, socket.next()).await else { break };
            let Some(told) = told? else { return Ok(Left::Lost) };
            let told = told.as_object().into_iter().flat_map(|told| told.values());
            for campaign in told.flat_map(|how| [&how["created"], &how["updated"]]) {
                // One that has ended long ago is nobody's business.
                if campaign.is_object() && (screen.has(campaign) || !has_ended(campaign)) {
                    screen.show(campaign)?;
                }
            }
        }
    }
}

/// The campaigns whose counts are told, each with its subscription: lists of campaigns are told of
/// their statuses alone.
#[derive(Default)]
struct Followed(BTreeMap<String, String>);

impl Followed {
    async fn take(
        &mut self,
        socket: &mut Socket,
        ids: impl IntoIterator<Item = &str>,
    ) -> Result<(), ClientError> {
        for id in ids {
            if self.0.contains_key(id) || self.0.len() >= MOST_FOLLOWED {
                continue;
            }
            let query = format!(
                "subscription ($id: ID!) {{ campaign(id: $id) {{ updated {{ {FIELDS} }} }} }}"
            );
            let subscription = socket.subscribe(&query, json!({"id": id})).await?;
            self.0.insert(id.to_owned(), subscription);
        }
        Ok(())
    }

    async fn drop_ended(
        &mut self,
        socket: &mut Socket,
        screen: &Screen,
    ) -> Result<(), ClientError> {
        let has_ended = |id: &str| screen.shown.get(id).is_none_or(has_ended);
        let ended: Vec<_> = self.0.keys().filter(|id| has_ended(id)).cloned().collect();
        for id in ended {
            if let Some(subscription) = self.0.remove(&id) {
                socket.unsubscribe(&subscription).await?;
            }
        }
        Ok(())
    }
}

/// Asks how things stand.
async fn look(client: &Client, id: Option<&str>, screen: &mut Screen) -> Result<(), ClientError> {
    let mut now = Vec::new();
    if id.is_none() {
        now = all(client, FIELDS, &json!({"status": {"notEq": "FINISHED"}})).await?;
    }
    // What was shown and is not among these has finished meanwhile, or was deleted.
    let rest: Vec<_> = match id {
        Some(id) => vec![id.to_owned()],
        None => screen
            .shown
            .keys()
            .filter(|id| !now.iter().any(|it| text(it, "id") == *id))
            .cloned()
            .collect(),
    };
    for id in rest {
        match one(client, &id, FIELDS).await {
            Ok(campaign) if campaign.is_object() => now.push(campaign),
            Ok(_) | Err(ClientError::NotFound(_)) => screen.forget(&id),
            Err(error) => return Err(error),
        }
    }
    now.iter().try_for_each(|campaign| screen.show(campaign))
}

/// Whether nothing happens in it any more.
fn has_ended(campaign: &Value) -> bool {
    campaign["status"] == "FINISHED" && campaign["inProgressTargetCount"] == 0
}

/// What is shown of which campaigns.
struct Screen {
    as_json: bool,
    bar: Option<ProgressBar>,
    /// When something was shown for the first time, and how many targets were final then.
    began: Option<(Instant, u64)>,
    /// By id.
    shown: BTreeMap<String, Value>,
    /// What was printed last of each.
    printed: BTreeMap<String, String>,
    deleted: usize,
    has_said: bool,
    is_read: bool,
}

impl Screen {
    fn new(as_json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        Self {
            as_json,
            bar: (is_terminal && !as_json).then(|| bar::of(0)),
            began: None,
            shown: BTreeMap::new(),
            printed: BTreeMap::new(),
            deleted: 0,
            has_said: false,
            is_read: true,
        }
    }

    fn has(&self, campaign: &Value) -> bool {
        self.shown.contains_key(text(campaign, "id"))
    }

    fn unfinished(&self) -> impl Iterator<Item = &str> {
        let unfinished = self.shown.iter().filter(|(_, campaign)| !has_ended(campaign));
        unfinished.map(|(id, _)| id.as_str())
    }

    fn is_done(&self) -> bool {
        let all = !self.shown.is_empty() || self.deleted > 0;
        !self.is_read || (all && self.shown.values().all(has_ended))
    }

    /// Says something to whoever looks.
    fn say(&self, what: &str) {
        let say = || {
            // Nobody may listen.
            let _ = writeln!(io::stderr(), "{what}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn say_if_nothing(&mut self) {
        if self.shown.is_empty() && !std::mem::replace(&mut self.has_said, true) {
            self.say("no campaign is at work; waiting for one");
        }
    }

    fn forget(&mut self, id: &str) {
        self.deleted += 1;
        let name = self.shown.remove(id).map(|campaign| text(&campaign, "name").to_owned());
        self.say(&format!("{}: it was deleted", name.as_deref().unwrap_or(id)));
    }

    /// Shows how a campaign stands now.
    fn show(&mut self, campaign: &Value) -> Result<(), ClientError> {
        let id = text(campaign, "id").to_owned();
        self.shown.insert(id.clone(), campaign.clone());
        // Where there is a bar, it has the counts.
        let sign = match &self.bar {
            Some(_) => format!("{} {}", campaign["status"], campaign["outcome"]),
            None if self.as_json => campaign.to_string(),
            None => line(campaign),
        };
        if self.printed.get(&id) != Some(&sign) {
            let text = if self.as_json { campaign.to_string() } else { line(campaign) };
            self.print(&text)?;
            self.printed.insert(id, sign);
        }
        if let Some(bar) = &self.bar {
            let (done, total, counts) = summary(self.shown.values());
            let (began, at_first) = *self.began.get_or_insert_with(|| (Instant::now(), done));
            let left = left(done.saturating_sub(at_first), total - done, began.elapsed());
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("{counts}{left}"));
        }
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), ClientError> {
        let print = || {
            let mut out = io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        };
        let printed = self.bar.as_ref().map_or_else(print, |bar| bar.suspend(print));
        match printed {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_read = false,
            printed => printed.map_err(ClientError::Output)?,
        }
        Ok(())
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Whether all went well.
    fn result(&self) -> Result<(), ClientError> {
        self.clear();
        let all = self.shown.len() + self.deleted;
        let succeeded = self.shown.values().filter(|it| it["outcome"] == "SUCCESS").count();
        if !self.is_read || succeeded == all {
            return Ok(());
        }
        Err(ClientError::Refused(format!("{} of {all} did not succeed", all - succeeded)))
    }
}

/// How many targets are final, how many there are, and the rest in words.
fn summary<'a>(campaigns: impl Iterator<Item = &'a Value>) -> (u64, u64, String) {
    let (mut count, mut sums) = (0, [0_u64; 4]);
    for campaign in campaigns {
        let counts = ["successful", "failed", "inProgress", "idle"];
        for (sum, key) in sums.iter_mut().zip(counts) {
            let more = campaign[format!("{key}TargetCount")].as_u64().unwrap_or(0);
            *sum = sum.saturating_add(more);
        }
        count += 1;
    }
    let [ok, failed, in_progress, idle] = sums;
    let done = ok.saturating_add(failed);
    let total = done.saturating_add(in_progress).saturating_add(idle);
    let counts = format!("{ok} ok, {failed} failed, {in_progress} in progress, {idle} waiting");
    let several = if count > 1 { format!("{count} campaigns: ") } else { String::new() };
    (done, total, format!("{several}{counts}"))
}

/// For how long it will go on at the pace of what was seen, if anything was.
fn left(done: u64, left: u64, elapsed: Duration) -> String {
    let seconds = left.saturating_mul(elapsed.as_secs()).checked_div(done);
    let seconds = seconds.filter(|_| left > 0);
    seconds
        .map(|seconds| format!(", {} left", clock(Duration::from_secs(seconds))))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(ok: u64, failed: u64, idle: u64) -> Value {
        json!({
            "successfulTargetCount": ok, "failedTargetCount": failed,
            "inProgressTargetCount": 1, "idleTargetCount": idle,
        })
    }

    #[test]
    fn a_bar_sums_up_all_campaigns() {
        let one = campaign(5, 1, 3);
        let said = "5 ok, 1 failed, 1 in progress, 3 waiting".to_owned();
        assert_eq!(summary([&one].into_iter()), (6, 10, said));
        let other = campaign(1, 0, 15);
        let said = "2 campaigns: 6 ok, 1 failed, 2 in progress, 18 waiting".to_owned();
        assert_eq!(summary([&one, &other].into_iter()), (7, 27, said));
        let said = "0 ok, 0 failed, 0 in progress, 0 waiting".to_owned();
        assert_eq!(summary([&Value::Null].into_iter()), (0, 0, said));
    }

    #[test]
    fn how_long_it_goes_on_is_told_once_something_was_seen() {
        let left = |done, rest| left(done, rest, Duration::from_secs(30));
        assert_eq!(left(0, 10), "");
        assert_eq!(left(6, 12), ", 1:00 left");
        assert_eq!(left(6, 0), "");
    }
}
