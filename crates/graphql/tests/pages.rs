//! The pages of a dashboard, one after the other: documents of our own that select what its pages
//! select, over HTTP, with uploads, and over a socket with Phoenix' frames.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hedgerow_core::ReportStatus;
use hedgerow_graphql::Limits;
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use serde_json::{Value, json};
use support::{Served, global, serve, serve_on};

const MECHANISM: &str = "campaignMechanism { __typename ... on FirmwareUpgrade { \
    maxFailurePercentage maxInProgressOperations forceDowngrade requestRetries \
    requestTimeoutSeconds baseImage { id name version baseImageCollection { id name } } } }";

const PAGE_INFO: &str = "pageInfo { endCursor hasNextPage }";

const TARGETS: &str = "edges { node { __typename id retryCount latestAttempt completionTimestamp \
    device { id name } otaOperation { id status statusProgress statusCode } } cursor } \
    pageInfo { endCursor hasNextPage }";

fn id(value: &Value) -> Value {
    assert!(value["id"].is_string(), "{value}");
    value["id"].clone()
}

/// Runs a mutation that succeeds, and returns its result.
async fn done(served: &Served, field: &str, document: &str, variables: Value) -> Value {
    served.data(document, variables).await[field]["result"].take()
}

/// Enters what a campaign is made from, as somebody at the pages does, and returns the ids of its
/// channel and its image.
async fn enter(served: &Served) -> (Value, Value) {
    let hardware = done(
        served,
        "createHardwareType",
        "mutation ($input: CreateHardwareTypeInput!) { createHardwareType(input: $input) { result { id } } }",
        json!({"input": {"name": "Board", "handle": "board", "partNumbers": ["B-1", "B-2"]}}),
    )
    .await;
    let model = done(
        served,
        "createSystemModel",
        "mutation ($input: CreateSystemModelInput!) { createSystemModel(input: $input) { result { id } } }",
        json!({"input": {"name": "Gateway", "handle": "gateway", "hardwareTypeId": hardware["id"],
            "partNumbers": ["GW-1"], "localizedDescriptions": [{"languageTag": "en", "value": "A gateway"}]}}),
    )
    .await;
    let options = served
        .data(
            "query ($first: Int, $after: String, $filter: SystemModelFilterInput) { \
             systemModels(first: $first, after: $after, filter: $filter) { count edges { node { __typename id name } cursor } pageInfo { endCursor hasNextPage } } \
             baseImageCollections { edges { node { id name systemModel { id } } } } }",
            json!({"first": 40, "after": null, "filter": {}}),
        )
        .await;
    assert_eq!(options["systemModels"]["count"], 1);
    let collection = done(
        served,
        "createBaseImageCollection",
        "mutation ($input: CreateBaseImageCollectionInput!) { createBaseImageCollection(input: $input) { result { id } } }",
        json!({"input": {"name": "Gateway images", "handle": "gateway-images", "systemModelId": id(&model)}}),
    )
    .await;
    let create = "mutation ($input: CreateBaseImageInput!) { createBaseImage(input: $input) { result { id url } } }";
    let variables = json!({"input": {"baseImageCollectionId": id(&collection), "version": "2.0.0",
        "startingVersionRequirement": ">= 1.0.0", "file": "file",
        "localizedDescriptions": [], "localizedReleaseDisplayNames": [{"languageTag": "en-US", "value": "Rose"}]}});
    let answer = served
        .form(&[
            ("query", None, create.as_bytes()),
            ("variables", None, variables.to_string().as_bytes()),
            ("file", Some("gateway 2.bin"), b"what devices install"),
        ])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let image = &answer.body["data"]["createBaseImage"]["result"];
    assert!(image["url"].as_str().unwrap().starts_with("http://127.0.0.1/images/demo/"), "{image}");
    let group = done(
        served,
        "createDeviceGroup",
        "mutation ($input: CreateDeviceGroupInput!) { createDeviceGroup(input: $input) { result { id devices { id } } } }",
        json!({"input": {"name": "Gardens", "handle": "gardens", "selector": "\"garden\" in tags"}}),
    )
    .await;
    let channel = done(
        served,
        "createChannel",
        "mutation ($input: CreateChannelInput!) { createChannel(input: $input) { result { id } } }",
        json!({"input": {"name": "Stable", "handle": "stable", "targetGroupIds": [id(&group)]}}),
    )
    .await;
    (id(&channel), id(image))
}

fn create(channel: &Value, image: &Value) -> Value {
    json!({"input": {"name": "Roll out 2.0.0", "channelId": channel, "scheduledAtTimestamp": "2020-01-01T00:00:00Z",
        "campaignMechanism": {"firmwareUpgrade": {"baseImageId": image, "maxFailurePercentage": 50,
            "maxInProgressOperations": 2, "requestRetries": 3, "requestTimeoutSeconds": 300, "forceDowngrade": false}}}})
}

const CREATE: &str =
    "mutation ($input: CreateCampaignInput!) { createCampaign(input: $input) { result { id } } }";

/// A campaign from its form to its end, watched as the pages watch it.
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_rollout_from_the_first_form_to_the_last_count(served: &Served) {
    served.fleet(4, "GW-1");
    let (channel, image) = enter(served).await;
    let mut list = served.socket().await;
    let created = format!(
        "subscription {{ updateCampaigns {{ created {{ id name status outcome scheduledAtTimestamp channel {{ id name }} {MECHANISM} }} }} }}"
    );
    list.subscribe(&created, json!({})).await;

    // The form.
    let options = served
        .data(
            "query ($first: Int) { \
             baseImageCollections(first: $first) { count edges { node { id name } cursor } pageInfo { endCursor hasNextPage } } \
             channels(first: $first) { count edges { node { id name } cursor } pageInfo { endCursor hasNextPage } } }",
            json!({"first": 40}),
        )
        .await;
    assert_eq!(
        (&options["channels"]["count"], &options["baseImageCollections"]["count"]),
        (&json!(1), &json!(1))
    );
    let collection = options["baseImageCollections"]["edges"][0]["node"]["id"].clone();
    let images = "query ($id: ID!, $first: Int, $after: String, $filter: BaseImageFilterInput) { node(id: $id) { __typename ... on BaseImageCollection { baseImages(first: $first, after: $after, filter: $filter) { edges { node { id name version url } cursor } pageInfo { endCursor hasNextPage } } } id } }";
    let images = served.data(images, json!({"id": collection, "first": 10, "after": null, "filter": {"or": [{"version": {"ilike": "%2.0%"}}, {"url": {"ilike": "%nothing%"}}]}})).await;
    assert_eq!(images["node"]["baseImages"]["edges"][0]["node"]["name"], "2.0.0 (Rose)");
    let campaign = done(served, "createCampaign", CREATE, create(&channel, &image)).await;
    let told = list.event_that(|data| data["updateCampaigns"]["created"].is_object()).await;
    let told = &told["updateCampaigns"]["created"];
    assert_eq!(told["id"], campaign["id"]);
    assert_eq!(told["channel"], json!({"id": channel, "name": "Stable"}));
    assert_eq!(told["campaignMechanism"]["baseImage"]["id"], image);

    // The list.
    let query = format!(
        "query ($first: Int, $after: String, $filter: CampaignFilterInput) {{ updateCampaigns(first: $first, after: $after, filter: $filter) {{ edges {{ node {{ __typename id name status outcome {MECHANISM} channel {{ id name }} }} cursor }} {PAGE_INFO} }} }}"
    );
    for filter in [
        json!({}),
        Value::Null,
        json!({"or": [{"name": {"ilike": "%roll%"}}, {"channel": {"name": {"ilike": "%nothing%"}}}]}),
        json!({"channel": {"name": {"ilike": "%STAB%"}}}),
    ] {
        let page = served.data(&query, json!({"first": 40, "after": null, "filter": filter})).await;
        let edges = page["updateCampaigns"]["edges"].as_array().unwrap();
        assert_eq!(edges.len(), 1, "{filter}");
        assert_eq!(edges[0]["node"]["campaignMechanism"]["__typename"], "FirmwareUpgrade");
    }
    let none =
        served.data(&query, json!({"first": 40, "filter": {"name": {"ilike": "%nothing%"}}})).await;
    assert_eq!(none["updateCampaigns"]["edges"], json!([]));

    // Its page, live.
    let detail = format!(
        "query ($campaignId: ID!, $first: Int, $after: String, $filter: CampaignTargetFilterInput) {{ \
        campaign(id: $campaignId) {{ id name status outcome scheduledAtTimestamp idleTargetCount inProgressTargetCount failedTargetCount successfulTargetCount \
        channel {{ id name }} {MECHANISM} campaignTargets(first: $first, after: $after, filter: $filter) {{ {TARGETS} }} }} \
        baseImageCollections(first: $first, after: $after) {{ edges {{ node {{ id name }} cursor }} {PAGE_INFO} }} }}"
    );
    let filter = |status: &str| json!({"status": {"eq": status}});
    let variables = |status| json!({"campaignId": campaign["id"], "first": 40, "after": null, "filter": filter(status)});
    let page = served.data(&detail, variables("SUCCESSFUL")).await;
    assert_eq!(page["campaign"]["campaignTargets"]["edges"], json!([]));
    let mut live = served.socket().await;
    let updated = format!(
        "subscription ($campaignId: ID!) {{ campaign(id: $campaignId) {{ updated {{ id name status outcome scheduledAtTimestamp idleTargetCount inProgressTargetCount failedTargetCount successfulTargetCount {MECHANISM} }} }} }}"
    );
    live.subscribe(&updated, json!({"campaignId": campaign["id"]})).await;
    let mut targets = served.socket().await;
    targets.subscribe("subscription ($campaignId: ID!) { campaignTargetsByCampaign(campaignId: $campaignId) { updated { id device { id name } status retryCount latestAttempt completionTimestamp otaOperation { id status statusProgress statusCode message } } } }", json!({"campaignId": campaign["id"]})).await;
    let key = campaign["id"].as_str().unwrap();
    let key = String::from_utf8(
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).unwrap(),
    )
    .unwrap();
    let uuid: hedgerow_core::CampaignId = key.strip_prefix("campaign:").unwrap().parse().unwrap();
    support::soon(async {
        while served.devices.asked.lock().unwrap().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let page = served.data(&detail, variables("IN_PROGRESS")).await;
    let edges = page["campaign"]["campaignTargets"]["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 2);
    assert_eq!(edges[0]["node"]["otaOperation"]["status"], "PENDING");

    served.report(0, ReportStatus::Downloading).await;
    let told = targets
        .event_that(|data| {
            data["campaignTargetsByCampaign"]["updated"]["otaOperation"]["status"] == "DOWNLOADING"
        })
        .await;
    assert_eq!(told["campaignTargetsByCampaign"]["updated"]["status"], "IN_PROGRESS");
    served.report(0, ReportStatus::Success).await;
    // The counts move while targets finish, and not only when the campaign ends.
    let told =
        live.event_that(|data| data["campaign"]["updated"]["successfulTargetCount"] == 1).await;
    assert_eq!(told["campaign"]["updated"]["status"], "IN_PROGRESS");
    served.report(1, ReportStatus::Failure).await;
    let told = targets
        .event_that(|data| data["campaignTargetsByCampaign"]["updated"]["status"] == "FAILED")
        .await;
    assert_eq!(told["campaignTargetsByCampaign"]["updated"]["otaOperation"]["status"], "FAILURE");

    // Pause, as its button does, and resume.
    let pause = "mutation ($id: ID!) { pauseCampaign(id: $id) { result { id status } errors { message } } }";
    let paused = served.data(pause, json!({"id": campaign["id"]})).await;
    assert_eq!(paused["pauseCampaign"]["result"]["status"], "PAUSING");
    assert_eq!(paused["pauseCampaign"]["errors"], json!([]));
    let (error, data) = served.refused(pause, json!({"id": campaign["id"]})).await;
    assert_eq!(
        (&error["code"], &error["fields"]),
        (&json!("invalid_attribute"), &json!(["status"])),
        "{error}"
    );
    assert_eq!(data, json!({"pauseCampaign": null}));
    let resume = "mutation ($id: ID!) { resumeCampaign(id: $id) { result { id status } errors { message } } }";
    let resumed = served.data(resume, json!({"id": campaign["id"]})).await;
    assert_eq!(resumed["resumeCampaign"]["result"]["status"], "IN_PROGRESS");

    // Its limits may be edited while it runs, also by the form that sends everything.
    let update = "mutation ($id: ID!, $input: UpdateCampaignInput!) { updateCampaign(id: $id, input: $input) { result { id campaignMechanism { ... on FirmwareUpgrade { maxInProgressOperations } } } errors { message } } }";
    let input = json!({"name": "Roll out 2.0.0", "baseImageId": image, "maxFailurePercentage": 50.0, "maxInProgressOperations": 4, "requestRetries": 3, "requestTimeoutSeconds": 300, "forceDowngrade": false});
    let updated = served.data(update, json!({"id": campaign["id"], "input": input})).await;
    assert_eq!(
        updated["updateCampaign"]["result"]["campaignMechanism"]["maxInProgressOperations"],
        4
    );
    let (error, _) =
        served.refused(update, json!({"id": campaign["id"], "input": {"name": "Other"}})).await;
    assert_eq!(error["fields"], json!(["name"]), "{error}");
    let delete = "mutation ($id: ID!) { deleteCampaign(id: $id) { result { id } } }";
    let (error, data) = served.refused(delete, json!({"id": campaign["id"]})).await;
    assert_eq!((&error["fields"], data), (&json!(["status"]), json!({"deleteCampaign": null})));

    // What it is made from may not be taken from under it.
    let (error, _) = served
        .refused(
            "mutation ($id: ID!) { deleteBaseImage(id: $id) { result { id } errors { message } } }",
            json!({"id": image}),
        )
        .await;
    assert!(error["message"].as_str().unwrap().contains("Roll out 2.0.0"), "{error}");

    support::soon(async {
        while served.devices.asked.lock().unwrap().len() < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    served.report(2, ReportStatus::Success).await;
    served.report(3, ReportStatus::Success).await;
    served.until(uuid, |progress| progress.outcome.is_some()).await;
    let told = live.event_that(|data| data["campaign"]["updated"]["status"] == "FINISHED").await;
    let told = &told["campaign"]["updated"];
    assert_eq!(
        (&told["outcome"], &told["successfulTargetCount"], &told["failedTargetCount"]),
        (&json!("SUCCESS"), &json!(3), &json!(1))
    );
    let failed = served.data(&detail, variables("FAILED")).await;
    let failed = &failed["campaign"]["campaignTargets"]["edges"][0]["node"];
    assert!(failed["completionTimestamp"].as_str().unwrap().ends_with('Z'), "{failed}");

    // What Edgehog has no place for.
    let truth = served.data("query ($id: ID!) { campaign(id: $id) { end startedAt finishedAt eventCount transportIsDown failureReasons { reason count } countsOverTime(points: 3) { at successful } pace { expectedEnd } \
        campaignTargets(filter: {status: {eq: FAILED}}) { count edges { node { state settlement failure { reason description details } hold { reason } operations { id failure { reason } } } } } } }", json!({"id": campaign["id"]})).await;
    let truth = &truth["campaign"];
    assert_eq!(truth["end"], "SUCCESS");
    assert_eq!(truth["failureReasons"], json!([{"reason": "reported_failure", "count": 1}]));
    assert_eq!(truth["campaignTargets"]["count"], 1);
    assert_eq!(
        truth["campaignTargets"]["edges"][0]["node"]["failure"]["reason"],
        "reported_failure"
    );

    // What was used may now go, and the page of the campaign says so by leaving it out.
    done(
        served,
        "deleteBaseImage",
        "mutation ($id: ID!) { deleteBaseImage(id: $id) { result { id } } }",
        json!({"id": image}),
    )
    .await;
    let page = served.data(&detail, variables("SUCCESSFUL")).await;
    assert_eq!(page["campaign"]["campaignMechanism"]["baseImage"], Value::Null);
    assert_eq!(page["campaign"]["channel"]["name"], "Stable");
}

#[tokio::test]
async fn a_rollout_is_made_watched_and_steered_in_memory() {
    a_rollout_from_the_first_form_to_the_last_count(&serve().await).await;
}

#[tokio::test]
async fn a_rollout_is_made_watched_and_steered_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hedgerow.db");
    let store = Arc::new(SqliteStore::open(&file).unwrap());
    let views = Arc::new(SqliteViews::open(SqliteViews::beside(&file)).unwrap());
    let served = serve_on(store, views, folder, Vec::new(), Limits::default()).await;
    a_rollout_from_the_first_form_to_the_last_count(&served).await;
}

#[tokio::test]
async fn a_campaign_that_is_cancelled_or_superseded_is_a_failure_there_and_the_truth_here() {
    let served = serve().await;
    served.fleet(3, "GW-1");
    let (channel, image) = enter(&served).await;
    let first = done(&served, "createCampaign", CREATE, create(&channel, &image)).await;
    let second = done(&served, "createCampaign", CREATE, create(&channel, &image)).await;
    let cancel = "mutation ($id: ID!) { cancelCampaign(id: $id, input: {runningOperations: STOP}) { result { id status outcome end } } }";
    let cancelled = served.data(cancel, json!({"id": second["id"]})).await;
    let result = &cancelled["cancelCampaign"]["result"];
    assert_eq!(
        (&result["status"], &result["outcome"], &result["end"]),
        (&json!("FINISHED"), &json!("FAILURE"), &json!("CANCELLED"))
    );
    let query = "query ($id: ID!, $status: CampaignTargetStatus) { campaign(id: $id) { outcome end totalTargetCount failedTargetCount cancelledTargetCount campaignTargets(filter: {status: {eq: $status}}) { count edges { node { status state completionTimestamp } } } } }";
    support::soon(async {
        loop {
            let data = served.data(query, json!({"id": first["id"], "status": "FAILED"})).await;
            if data["campaign"]["end"] == "SUPERSEDED" {
                let campaign = &data["campaign"];
                assert_eq!(campaign["outcome"], "FAILURE");
                let count = campaign["cancelledTargetCount"].as_u64().unwrap();
                assert_eq!(campaign["failedTargetCount"], count);
                assert_eq!(campaign["campaignTargets"]["count"], count);
                for edge in campaign["campaignTargets"]["edges"].as_array().unwrap() {
                    assert_eq!(
                        (&edge["node"]["status"], &edge["node"]["state"]),
                        (&json!("FAILED"), &json!("CANCELLED"))
                    );
                    assert!(edge["node"]["completionTimestamp"].is_string());
                }
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_form_gets_wrong_is_told_by_its_field() {
    let served = serve().await;
    let (channel, image) = enter(&served).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut variables = create(&channel, &image);
        change(&mut variables["input"]);
        variables
    };
    let mechanism = |input: &mut Value, field: &str, value: Value| {
        input["campaignMechanism"]["firmwareUpgrade"][field] = value;
    };
    for (variables, code, field) in [
        (with(&|input| input["name"] = json!(" ")), "invalid_attribute", "name"),
        (
            with(&|input| input["channelId"] = json!(global("channel", 99))),
            "not_found",
            "channel_id",
        ),
        (with(&|input| input["channelId"] = image.clone()), "not_found", "channel_id"),
        (with(&|input| mechanism(input, "baseImageId", Value::Null)), "required", "base_image_id"),
        (with(&|input| mechanism(input, "baseImageId", json!("x"))), "not_found", "base_image_id"),
        (
            with(&|input| mechanism(input, "maxFailurePercentage", json!(101))),
            "invalid_attribute",
            "max_failure_percentage",
        ),
        (
            with(&|input| mechanism(input, "maxFailurePercentage", Value::Null)),
            "required",
            "max_failure_percentage",
        ),
        (
            with(&|input| mechanism(input, "maxInProgressOperations", json!(0))),
            "invalid_attribute",
            "max_in_progress_operations",
        ),
        (
            with(&|input| mechanism(input, "requestTimeoutSeconds", json!(29))),
            "invalid_attribute",
            "request_timeout_seconds",
        ),
        (
            with(&|input| mechanism(input, "requestRetries", json!(-1))),
            "invalid_attribute",
            "request_retries",
        ),
        (
            with(&|input| input["campaignMechanism"] = json!({"fileDownload": {}})),
            "required",
            "campaign_mechanism",
        ),
        (
            with(&|input| input["scheduledAtTimestamp"] = json!("tomorrow")),
            "invalid_attribute",
            "scheduled_at_timestamp",
        ),
    ] {
        let (error, data) = served.refused(CREATE, variables).await;
        assert_eq!((&error["code"], &error["fields"]), (&json!(code), &json!([field])), "{error}");
        assert_eq!(data, json!({"createCampaign": null}), "{error}");
    }
    let group = "mutation ($input: CreateDeviceGroupInput!) { createDeviceGroup(input: $input) { result { id } } }";
    let (error, _) = served
        .refused(group, json!({"input": {"name": "G", "handle": "g", "selector": "\"a\" in"}}))
        .await;
    assert_eq!(error["fields"], json!(["selector"]), "{error}");
    let (error, _) = served
        .refused(
            group,
            json!({"input": {"name": "Gardens", "handle": "other", "selector": "\"a\" in tags"}}),
        )
        .await;
    assert!(error["message"].as_str().unwrap().starts_with("has already been taken"), "{error}");
}

#[tokio::test]
async fn a_scheduled_campaign_is_changed_and_deleted() {
    let served = serve().await;
    let (channel, image) = enter(&served).await;
    let mut variables = create(&channel, &image);
    variables["input"]["scheduledAtTimestamp"] = json!("2100-01-01T00:00:00Z");
    let campaign = done(&served, "createCampaign", CREATE, variables).await;
    let update = "mutation ($id: ID!, $input: UpdateCampaignInput!) { updateCampaign(id: $id, input: $input) { result { id name status scheduledAtTimestamp } errors { message } } }";
    let updated = done(&served, "updateCampaign", update, json!({"id": campaign["id"], "input": {"name": "Later", "scheduledAtTimestamp": "2101-01-01T00:00:00Z"}})).await;
    assert_eq!((&updated["name"], &updated["status"]), (&json!("Later"), &json!("SCHEDULED")));
    assert_eq!(updated["scheduledAtTimestamp"], "2101-01-01T00:00:00.000000Z");
    done(
        &served,
        "deleteCampaign",
        "mutation ($id: ID!) { deleteCampaign(id: $id) { result { id } } }",
        json!({"id": campaign["id"]}),
    )
    .await;
    let (error, data) = served
        .refused("query ($id: ID!) { campaign(id: $id) { id } }", json!({"id": campaign["id"]}))
        .await;
    assert_eq!((&error["code"], data), (&json!("not_found"), json!({"campaign": null})));
    let list = served.data("{ campaigns { count edges { node { id } } } }", json!({})).await;
    assert_eq!(list["campaigns"], json!({"count": 0, "edges": []}));
}

#[tokio::test]
async fn lists_go_on_page_by_page_and_miss_nothing() {
    let served = serve().await;
    served.fleet(60, "GW-1");
    let campaign = served.campaign("Many", 100).await;
    served.until(campaign, |progress| progress.targets.in_progress == 60).await;
    let query = "query ($id: ID!, $first: Int, $after: String, $filter: CampaignTargetFilterInput) { node(id: $id) { ... on Campaign { campaignTargets(first: $first, after: $after, filter: $filter) { count edges { node { id hold { reason } } cursor } pageInfo { endCursor hasNextPage hasPreviousPage } } } } }";
    for filter in [
        json!({}),
        json!({"status": {"eq": "IN_PROGRESS"}}),
        json!({"device": {"name": {"ilike": "%a%"}}}),
    ] {
        let (mut after, mut ids) = (Value::Null, std::collections::BTreeSet::new());
        loop {
            let data = served.data(query, json!({"id": global("campaign", campaign), "first": 7, "after": after, "filter": filter})).await;
            let page = &data["node"]["campaignTargets"];
            let edges = page["edges"].as_array().unwrap();
            assert!(edges.len() <= 7);
            for edge in edges {
                assert!(ids.insert(edge["node"]["id"].to_string()), "no target comes twice");
            }
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                assert_eq!(page["count"], ids.len());
                break;
            }
        }
        assert!(filter.get("device").is_some() || ids.len() == 60);
    }
    let (error, _) = served
        .refused(query, json!({"id": global("campaign", campaign), "after": "nonsense"}))
        .await;
    assert_eq!(error["code"], "invalid_keyset");
    for number in 0..12 {
        served.campaign(&format!("Campaign {number}"), 1).await;
    }
    let query = "query ($first: Int, $after: String, $filter: CampaignFilterInput, $sort: [CampaignSortInput]) { campaigns(first: $first, after: $after, filter: $filter, sort: $sort) { count edges { node { id name } } pageInfo { endCursor hasNextPage } } }";
    for sort in [Value::Null, json!([{"field": "NAME", "order": "DESC"}])] {
        let (mut after, mut names) = (Value::Null, Vec::new());
        loop {
            let data = served.data(query, json!({"first": 5, "after": after, "filter": {"name": {"stringStartsWith": "Campaign"}}, "sort": sort})).await;
            let page = &data["campaigns"];
            assert_eq!(page["count"], 12);
            names.extend(
                page["edges"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|edge| edge["node"]["name"].as_str().unwrap().to_owned()),
            );
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(names.len(), 12);
        // Those that were created in the same millisecond stand in no order of their own.
        if !sort.is_null() {
            assert_eq!(names[0], "Campaign 9");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 12, "each is there once");
    }
    let devices = served.data("{ devices(last: 2, before: null) { count edges { node { deviceId } } pageInfo { hasPreviousPage hasNextPage } } }", json!({})).await;
    let page = &devices["devices"];
    assert_eq!((&page["count"], page["edges"].as_array().unwrap().len()), (&json!(60), 2));
    assert_eq!(page["pageInfo"], json!({"hasPreviousPage": true, "hasNextPage": false}));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one page after the other")]
async fn channels_groups_and_devices_have_their_pages_and_are_told_of() {
    let served = serve().await;
    served.fleet(3, "GW-1");
    enter(&served).await;
    let mut socket = served.socket().await;
    for document in [
        "subscription { channels { updated { id name handle targetGroups { edges { node { id name } } } } } }",
        "subscription { deviceGroup { created { id name handle selector } updated { id name } destroyed } }",
        "subscription { deviceChanged { created { id } updated { id name tags { edges { node { id name } } } } } }",
        "subscription { baseImage { destroyed } }",
    ] {
        socket.subscribe(document, json!({})).await;
    }
    let device_fields = "id deviceId name online lastConnection lastDisconnection systemModel { id name hardwareType { id name } } tags { edges { node { id name } } }";
    let devices = served.data(&format!("query ($first: Int, $filter: DeviceFilterInput) {{ devices(first: $first, filter: $filter) {{ edges {{ node {{ {device_fields} __typename }} cursor }} {PAGE_INFO} }} }}"), json!({"first": 40, "filter": {"or": [{"name": {"ilike": "%%"}}, {"deviceId": {"ilike": "%x%"}}]}})).await;
    let first = &devices["devices"]["edges"][0]["node"];
    assert_eq!(first["systemModel"]["hardwareType"]["name"], "Board");
    assert_eq!(first["lastConnection"], "2023-11-14T22:13:20Z");
    let device = id(first);
    let tag = "mutation ($id: ID!, $input: AddDeviceTagsInput!) { addDeviceTags(id: $id, input: $input) { result { id tags { edges { node { name } } } } } }";
    done(&served, "addDeviceTags", tag, json!({"id": device, "input": {"tags": ["garden"]}})).await;
    let told = socket.event_that(|data| data["deviceChanged"]["updated"].is_object()).await;
    assert_eq!(told["deviceChanged"]["updated"]["tags"]["edges"][0]["node"]["name"], "garden");
    let tags =
        served.data("{ existingDeviceTags { edges { node { id name } } } }", json!({})).await;
    assert_eq!(tags["existingDeviceTags"]["edges"][0]["node"]["name"], "garden");
    let rename = "mutation ($id: ID!, $input: UpdateDeviceInput!) { updateDevice(id: $id, input: $input) { result { id name } } }";
    done(&served, "updateDevice", rename, json!({"id": device, "input": {"name": "Front garden"}}))
        .await;

    let groups = served.data("query ($filter: DeviceGroupFilterInput) { deviceGroups(filter: $filter) { count edges { node { id name handle selector channel { id name } } cursor } } }", json!({"filter": null})).await;
    let group = id(&groups["deviceGroups"]["edges"][0]["node"]);
    let page = served.data(&format!("query ($id: ID!) {{ deviceGroup(id: $id) {{ id name handle selector deviceCount devices {{ {device_fields} }} }} }}"), json!({"id": group})).await;
    assert_eq!(page["deviceGroup"]["devices"][0]["name"], "Front garden");
    assert_eq!(page["deviceGroup"]["deviceCount"], 1);

    let create = "mutation ($input: CreateDeviceGroupInput!) { createDeviceGroup(input: $input) { result { id } } }";
    let other = done(
        &served,
        "createDeviceGroup",
        create,
        json!({"input": {"name": "Other", "handle": "other", "selector": "\"x\" in tags"}}),
    )
    .await;
    socket.event_that(|data| data["deviceGroup"]["created"]["name"] == "Other").await;
    let channel = served.data("{ channels { edges { node { id name handle targetGroups { edges { node { id name } } } } } } }", json!({})).await;
    let channel = id(&channel["channels"]["edges"][0]["node"]);
    let update = "mutation ($id: ID!, $input: UpdateChannelInput!) { updateChannel(id: $id, input: $input) { result { id name handle targetGroups { edges { node { id name channel { id name } } } } } } }";
    let updated = done(
        &served,
        "updateChannel",
        update,
        json!({"id": channel, "input": {"name": "Stable", "targetGroupIds": [group, other["id"]]}}),
    )
    .await;
    assert_eq!(updated["targetGroups"]["edges"].as_array().unwrap().len(), 2);
    socket
        .event_that(|data| {
            data["channels"]["updated"]["targetGroups"]["edges"]
                .as_array()
                .is_some_and(|edges| edges.len() == 2)
        })
        .await;
    let second =
        "mutation ($input: CreateChannelInput!) { createChannel(input: $input) { result { id } } }";
    let (error, _) = served
        .refused(
            second,
            json!({"input": {"name": "Beta", "handle": "beta", "targetGroupIds": [other["id"]]}}),
        )
        .await;
    assert_eq!(error["fields"], json!(["channel_id"]), "{error}");
    let (error, _) = served.refused(second, json!({"input": {"name": "Beta", "handle": "beta", "targetGroupIds": [global("device_group", 77)]}})).await;
    assert_eq!(
        (&error["code"], &error["fields"]),
        (&json!("not_found"), &json!(["target_group_ids"])),
        "{error}"
    );
    done(
        &served,
        "deleteDeviceGroup",
        "mutation ($id: ID!) { deleteDeviceGroup(id: $id) { result { id } } }",
        json!({"id": other["id"]}),
    )
    .await;
    let told = socket.event_that(|data| data["deviceGroup"]["destroyed"].is_string()).await;
    assert_eq!(told["deviceGroup"]["destroyed"], other["id"]);
    let image = served.data("{ baseImageCollections { edges { node { id name handle systemModel { id name } baseImages { edges { node { id version startingVersionRequirement localizedReleaseDisplayNames { value languageTag } } } } } } } }", json!({})).await;
    let image =
        id(&image["baseImageCollections"]["edges"][0]["node"]["baseImages"]["edges"][0]["node"]);
    let page = served.data("query ($id: ID!) { baseImage(id: $id) { id version url startingVersionRequirement sha256 sizeBytes localizedDescriptions { value languageTag } localizedReleaseDisplayNames(preferredLanguageTags: [\"en-US\"]) { value languageTag } baseImageCollection { id name } } tenantInfo { id defaultLocale } }", json!({"id": image})).await;
    assert_eq!(page["baseImage"]["sizeBytes"], 20);
    let update = "mutation ($id: ID!, $input: UpdateBaseImageInput!) { updateBaseImage(id: $id, input: $input) { result { id startingVersionRequirement } } }";
    let updated = done(
        &served,
        "updateBaseImage",
        update,
        json!({"id": image, "input": {"startingVersionRequirement": ""}}),
    )
    .await;
    assert_eq!(updated["startingVersionRequirement"], Value::Null);
    done(
        &served,
        "deleteBaseImage",
        "mutation ($id: ID!) { deleteBaseImage(id: $id) { result { id } } }",
        json!({"id": image}),
    )
    .await;
    socket.event_that(|data| data["baseImage"]["destroyed"] == image).await;
}

#[tokio::test]
async fn a_device_has_its_page_and_is_updated_by_hand() {
    let served = serve().await;
    served.fleet(2, "GW-1");
    enter(&served).await;
    let device = global("device", support::device(0));
    // All that its page asks for: what there is none of here is empty, and not refused.
    let page = served.data("query ($id: ID!, $first: Int) { forwarderConfig { id } device(id: $id) { \
        id deviceId name online lastConnection lastDisconnection lastSeenIp serialNumber partNumber capabilities \
        systemModel { id name pictureUrl hardwareType { id name } } tags { edges { node { id name } } } deviceGroups { id name } \
        baseImage { name version buildId fingerprint } batteryStatus { slot status levelPercentage } cellularConnection { slot registrationStatus technology } \
        hardwareInfo { cpuArchitecture memoryTotalBytes } position { latitude longitude } location { formattedAddress } networkInterfaces { name } \
        osInfo { name version } runtimeInfo { name version } storageUsage { label } systemStatus { taskCount } wifiScanResults { channel } \
        fileTransferCapabilities { unixPermissions serverToDevice { storage } } \
        applicationDeployments(first: $first) { edges { node { id state isReady events(first: $first, sort: [{field: INSERTED_AT, order: DESC}]) { edges { node { id type } } } } } } \
        deviceFiles(first: $first, filter: {deleted: {eq: false}}) { edges { node { id } } } \
        fileDownloadRequests(first: $first, sort: [{field: UPDATED_AT, order: DESC}]) { edges { node { id status } } } \
        fileUploadRequests(first: $first, sort: [{field: UPDATED_AT, order: DESC}]) { edges { node { id } } } \
        fileDeleteRequests(first: $first, sort: [{field: UPDATED_AT, order: DESC}]) { edges { node { id } } } \
        otaOperations(first: $first) { edges { node { id baseImageUrl createdAt status statusProgress statusCode updatedAt campaignTarget { id campaign { id name } } } cursor } pageInfo { endCursor hasNextPage } } } }",
        json!({"id": device, "first": 10_000})).await;
    assert_eq!(page["device"]["capabilities"], json!(["BASE_IMAGE", "SOFTWARE_UPDATES"]));
    assert_eq!(page["device"]["fileDownloadRequests"], json!({"edges": []}));
    assert_eq!(page["forwarderConfig"], Value::Null);

    let mut socket = served.socket().await;
    let watched = "subscription { otaOperation { updated { id baseImageUrl createdAt status statusProgress statusCode updatedAt } } }";
    // The page sends a variable that the document does not declare.
    socket.subscribe(watched, json!({"deviceId": device})).await;
    let start = "mutation ($input: CreateManualOtaOperationInput!) { createManualOtaOperation(input: $input) { result { id baseImageUrl createdAt status statusProgress statusCode updatedAt campaignTarget { id campaign { id name } } } } }";
    for (input, fields) in [
        (json!({"deviceId": device}), json!(["base_image_file", "base_image_url"])),
        (
            json!({"deviceId": global("device", support::device(9)), "baseImageUrl": "https://x/y"}),
            json!(["device_id"]),
        ),
        (json!({"deviceId": device, "baseImageUrl": "ftp://x/y"}), json!(["base_image_url"])),
        (json!({"deviceId": device, "baseImageFile": "upload:0"}), json!(["base_image_file"])),
    ] {
        let (error, _) = served.refused(start, json!({"input": input})).await;
        assert_eq!(error["fields"], fields, "{error}");
    }
    let variables = json!({"input": {"deviceId": device, "baseImageFile": "baseImageFile"}});
    let answer = served
        .form(&[
            ("query", None, start.as_bytes()),
            ("variables", None, variables.to_string().as_bytes()),
            ("baseImageFile", Some("hotfix.bin"), b"fixed"),
        ])
        .await;
    let started = &answer.body["data"]["createManualOtaOperation"]["result"];
    assert_eq!(
        (&started["status"], &started["campaignTarget"]),
        (&json!("PENDING"), &Value::Null),
        "{answer:?}"
    );
    assert!(started["baseImageUrl"].as_str().unwrap().ends_with("/hotfix.bin"));
    support::soon(async {
        while served.devices.asked.lock().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    // A second one has to wait for the first.
    let (error, _) = served
        .refused(start, json!({"input": {"deviceId": device, "baseImageUrl": "https://x/y"}}))
        .await;
    assert_eq!(error["fields"], json!(["device_id"]), "{error}");
    served.report(0, ReportStatus::Deploying).await;
    let told =
        socket.event_that(|data| data["otaOperation"]["updated"]["status"] == "DEPLOYING").await;
    assert_eq!(told["otaOperation"]["updated"]["id"], started["id"]);
    let cancel = "mutation ($id: ID!) { cancelOtaOperation(id: $id) { result { id status } } }";
    served.data(cancel, json!({"id": started["id"]})).await;
    served.report(0, ReportStatus::Success).await;
    socket.event_that(|data| data["otaOperation"]["updated"]["status"] == "SUCCESS").await;
    let more = "query ($id: ID!, $first: Int, $after: String) { node(id: $id) { __typename ... on Device { otaOperations(first: $first, after: $after) { count edges { node { id status statusProgress baseImageUrl } cursor } pageInfo { endCursor hasNextPage } } } id } }";
    let history = served.data(more, json!({"id": device, "first": 10, "after": null})).await;
    let last = &history["node"]["otaOperations"]["edges"][0]["node"];
    assert_eq!((&last["status"], &last["statusProgress"]), (&json!("SUCCESS"), &json!(100)));
    let (error, _) = served.refused(cancel, json!({"id": started["id"]})).await;
    assert_eq!(error["fields"], json!(["status"]), "{error}");
}

#[tokio::test]
async fn files_that_nothing_comes_to_name_do_not_stay() {
    let served = serve().await;
    enter(&served).await;
    assert_eq!(served.stored_files(), 1);
    let create = "mutation ($input: CreateBaseImageInput!) { createBaseImage(input: $input) { result { id } } }";
    let collection = global("base_image_collection", 1);
    // The version is there already; the file came all the same.
    let variables =
        json!({"input": {"baseImageCollectionId": collection, "version": "2.0.0", "file": "file"}});
    let answer = served
        .form(&[
            ("query", None, create.as_bytes()),
            ("variables", None, variables.to_string().as_bytes()),
            ("file", Some("again.bin"), b"again"),
        ])
        .await;
    assert_eq!(answer.body["data"], json!({"createBaseImage": null}));
    assert_eq!(answer.body["errors"][0]["fields"], json!(["version"]), "{answer:?}");
    assert_eq!(served.stored_files(), 1);
    // As everybody else sends files.
    let operations = json!({"query": create, "variables": {"input": {"baseImageCollectionId": collection, "version": "3.0.0", "file": null}}});
    let answer = served
        .form(&[
            ("operations", None, operations.to_string().as_bytes()),
            ("map", None, br#"{"0": ["variables.input.file"]}"#),
            ("0", Some("three.bin"), b"three"),
        ])
        .await;
    assert!(answer.body["data"]["createBaseImage"]["result"]["id"].is_string(), "{answer:?}");
    assert_eq!(served.stored_files(), 2);
    // A file that no variable names, and a text that is too long.
    let answer = served
        .form(&[("query", None, &b"{ tenantInfo { slug } }"[..]), ("file", Some("x"), b"x")])
        .await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (400, &json!("invalid_argument"))
    );
    assert_eq!(served.stored_files(), 2);
    let long = vec![b' '; 2 * 1024 * 1024];
    assert_eq!(served.form(&[("query", None, &long)]).await.status, 413);
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_much_is_told_in_few_messages() {
    let served = serve().await;
    served.fleet(2_000, "GW-1");
    served.devices.obey.store(true, Ordering::Relaxed);
    let campaign = served.campaign("Many", 500).await;
    let variables = json!({"id": global("campaign", campaign)});
    let counts = "subscription ($id: ID!) { campaign(id: $id) { updated { successfulTargetCount status } } }";
    let each = "subscription ($id: ID!) { campaignTargetsByCampaign(campaignId: $id) { updated { id status } } }";
    let mut deaf = served.socket().await;
    deaf.subscribe(counts, variables.clone()).await;
    deaf.subscribe(each, variables.clone()).await;
    let begun = std::time::Instant::now();
    let mut socket = served.socket().await;
    socket.subscribe(counts, variables.clone()).await;
    let of_each = socket.subscribe(each, variables).await;
    served.until(campaign, |progress| progress.outcome.is_some()).await;
    let (mut messages, mut last) = (0, Value::Null);
    while last != json!(2_000) {
        let (id, mut data) = socket.event().await;
        messages += 1;
        if id != of_each {
            last = data["campaign"]["updated"]["successfulTargetCount"].take();
        }
    }
    // Two subscriptions, four messages a second each, and as many at once in the beginning.
    let most = 2.0 * 4.0 * (begun.elapsed().as_secs_f64() + 2.0);
    assert!(f64::from(messages) <= most, "{messages} messages, at most {most} were to come");
}
