//! What the events of an archived stream tell that its line and its checksums do not: whether it has ended,
//! and what stands in events that have no checksum (E14), as those of the first version had none.

use std::io::Read;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{Campaign, Checksum, ManualStatus, ManualUpdate, NewEvent, StreamId};

use super::{ArchiveError, ArchiveReader, ArchivedStream};
use crate::store::checksum::Chain;
use crate::store::{EventStore, StoreError};

/// Events read at once.
const PAGE: usize = 1_000;

/// What was seen in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What comes of all events, if not all of them have a checksum: the one that the last would have.
    pub(super) bare: Option<Checksum>,
    /// Its events leave it where something may still happen in it by itself.
    pub(super) goes_on: bool,
}

impl Seen {
    /// Looks at the events of the stream that the reader has come to.
    pub(super) fn in_archive(
        reader: &mut ArchiveReader<impl Read>,
        of: &ArchivedStream,
    ) -> Result<Self, ArchiveError> {
        let (mut chain, mut is_bare, mut state) = (Chain::default(), false, State::Nothing);
        while let Some((event, checksum)) = reader.event()? {
            // No event behind one that has a checksum lacks it.
            is_bare |= checksum.is_none();
            if is_bare {
                chain.extend(&of.tenant, of.stream, &event);
            }
            state = state.then(of, &event).unwrap_or(State::Unknown);
        }
        Ok(Self { bare: chain.last(), goes_on: state.goes_on() })
    }

    /// Looks at as many events of the same stream in a store as the archive has: what comes of them.
    /// `None`: there are not so many.
    pub(super) async fn in_store(
        store: &dyn EventStore,
        of: &ArchivedStream,
    ) -> Result<Option<Checksum>, StoreError> {
        let mut chain = Chain::default();
        while chain.version() < of.events {
            let left = usize::try_from(of.events - chain.version()).unwrap_or(PAGE).min(PAGE);
            let page = store.read_stream(&of.tenant, of.stream, chain.version(), left).await?;
            if page.is_empty() {
                return Ok(None);
            }
            for stored in page {
                chain.extend(&of.tenant, of.stream, &stored.event);
            }
        }
        Ok(chain.last())
    }
}

/// What a stream has come to.
enum State {
    /// No event was seen.
    Nothing,
    Campaign(Box<Campaign>),
    Manual(Box<ManualUpdate>),
    /// Its events do not say so: that is for an audit to judge, as of a stream that is in the store.
    Unknown,
}

impl State {
    /// The state after one more event; `None` if it cannot follow.
    fn then(self, of: &ArchivedStream, event: &NewEvent) -> Option<Self> {
        let at = event.recorded_at;
        match (self, of.stream) {
            (Self::Nothing, StreamId::Campaign(id)) => {
                let first = CampaignEvent::from_new(of.stream, event).ok()?;
                let campaign = Campaign::begin(of.tenant.clone(), id, &first, at).ok()?;
                Some(Self::Campaign(Box::new(campaign)))
            }
            (Self::Nothing, StreamId::ManualUpdate(id)) => {
                let first = ManualUpdateEvent::from_new(of.stream, event).ok()?;
                let update = ManualUpdate::begin(of.tenant.clone(), id, &first, at).ok()?;
                Some(Self::Manual(Box::new(update)))
            }
            (Self::Campaign(mut campaign), _) => {
                let event = CampaignEvent::from_new(of.stream, event).ok()?;
                campaign.apply(&event, at).ok()?;
                Some(Self::Campaign(campaign))
            }
            (Self::Manual(mut update), _) => {
                let event = ManualUpdateEvent::from_new(of.stream, event).ok()?;
                update.apply(&event, at).ok()?;
                Some(Self::Manual(update))
            }
            (Self::Nothing, StreamId::Catalogue) | (Self::Unknown, _) => None,
        }
    }

    fn goes_on(&self) -> bool {
        match self {
            Self::Campaign(campaign) => !campaign.is_settled(),
            Self::Manual(update) => matches!(update.status(), ManualStatus::Active(_)),
            Self::Nothing | Self::Unknown => false,
        }
    }
}
