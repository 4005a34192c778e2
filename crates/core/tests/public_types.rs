//! What everybody expects of public types, and what no test of behaviour would notice to be gone:
//! they may go to another thread, be shown in a debugger, and ids read back what they print.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use hedgerow_core::event::{CampaignEvent, EventError, ManualUpdateEvent};
use hedgerow_core::{
    ApplyError, BaseImage, BaseImageCollection, Campaign, CampaignDefinition, CampaignEdit,
    CampaignId, CampaignName, CampaignStatus, Channel, ChannelName, Channels, ClaimChange, Command,
    CreateError, Decision, DeviceId, Effect, FailureReason, FleetDevice, FleetError, GateDecision,
    GateRefusal, GroupName, IdError, ImageUrl, Input, LiveCampaign, LiveManualUpdate,
    ManualDecision, ManualRejection, ManualUpdate, ManualUpdateDefinition, NewEvent, Operation,
    OperationId, OperationReport, Outcome, Percentage, PercentageError, Phase, Rejection,
    ReportStatus, RequestId, RequestIdError, RequirementError, RolloutError, StoredEvent, StreamId,
    StreamIdError, SystemModelHandle, TargetStatus, TargetView, TenantId, Timestamp,
    TransportError, UnknownStatus, Version, VersionError, VersionRequirement, parse_version,
};

fn is_a_value<T: Send + Sync + Unpin + Clone + Debug + PartialEq + 'static>() {}

fn is_an_error<T: std::error::Error + Send + Sync + Clone + PartialEq + 'static>() {}

fn is_text<T: Display + FromStr<Err: std::error::Error> + Debug + PartialEq>(text: &str) {
    let value: T = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(value.to_string(), text);
    assert_eq!(value.to_string().parse().ok(), Some(value));
}

fn has_a_name(value: impl Display, name: &str) {
    assert_eq!(value.to_string(), name);
}

#[test]
fn values_may_be_cloned_compared_shown_and_sent_to_another_thread() {
    is_a_value::<(Campaign, LiveCampaign, ManualUpdate, LiveManualUpdate)>();
    is_a_value::<(Input, Command, CampaignEdit, Decision, ManualDecision, Effect, ClaimChange)>();
    is_a_value::<(CampaignEvent, ManualUpdateEvent, NewEvent, StoredEvent)>();
    is_a_value::<(CampaignDefinition, ManualUpdateDefinition, BaseImage, Channel, FleetDevice)>();
    is_a_value::<(BaseImageCollection, Channels, Operation, OperationReport, TargetView)>();
    is_a_value::<(GateDecision, VersionRequirement)>();
}

#[test]
fn errors_are_errors_that_may_be_sent_to_another_thread() {
    is_an_error::<ApplyError>();
    is_an_error::<CreateError>();
    is_an_error::<EventError>();
    is_an_error::<FleetError>();
    is_an_error::<GateRefusal>();
    is_an_error::<IdError>();
    is_an_error::<ManualRejection>();
    is_an_error::<PercentageError>();
    is_an_error::<Rejection>();
    is_an_error::<RequestIdError>();
    is_an_error::<RequirementError>();
    is_an_error::<RolloutError>();
    is_an_error::<StreamIdError>();
    is_an_error::<TransportError>();
    is_an_error::<UnknownStatus>();
    is_an_error::<VersionError>();
}

#[test]
fn ids_and_names_read_back_what_they_print() {
    let uuid = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";
    is_text::<CampaignId>(uuid);
    is_text::<OperationId>(uuid);
    is_text::<StreamId>(&format!("campaign/{uuid}"));
    is_text::<StreamId>(&format!("manual/{uuid}"));
    is_text::<DeviceId>("f0VMRgIBAQAAAAAAAAAAAA");
    is_text::<TenantId>("realm");
    is_text::<RequestId>("ticket-17");
    is_text::<CampaignName>("Gateways to 2.0.0");
    is_text::<ChannelName>("stable");
    is_text::<GroupName>("gardens");
    is_text::<SystemModelHandle>("gateway");
    is_text::<ImageUrl>("https://images.example/2.0.0.bin?signature=1");
    is_text::<Percentage>("2.5");
    is_text::<VersionRequirement>(">= 1.2.0 and < 2.0.0");
    is_text::<Version>("1.2.0-rc.1+build.7");
    assert!(parse_version("1.2.0-rc.1+build.7").is_ok());
}

#[test]
fn what_has_a_name_prints_it() {
    has_a_name(CampaignStatus::InProgress, "in_progress");
    has_a_name(Outcome::Superseded, "superseded");
    has_a_name(TargetStatus::Successful, "successful");
    has_a_name(FailureReason::SystemRollback, "system_rollback");
    has_a_name(Phase::Rebooting, "rebooting");
    // As devices write it, since that is what it is read from.
    has_a_name(ReportStatus::Rebooting, "Rebooting");
    has_a_name(Timestamp::from_millis(0), "1970-01-01T00:00:00.000Z");
}
