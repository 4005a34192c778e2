//! A service in this process: what it serves, to whom, with TLS and without, and how it stops.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use hedgerow_astarte::{Credentials, HttpConnections, HttpSettings};
use hedgerow_astarte_emulator::RealmKeys;
use hedgerow_catalogue::files::StoredFile;
use hedgerow_graphql::auth::TenantAccess;
use hedgerow_service::{ImagePlace, Service, Setup, TenantSetup};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Outcome = Result<(), Box<dyn Error>>;

/// Without an Astarte: nobody listens there.
fn setup(folder: &Path) -> Result<Setup, Box<dyn Error>> {
    let keys = RealmKeys::generate()?;
    let credentials = Credentials::private_key(keys.private_key_pem().expect("generated"))?;
    let tenant = TenantSetup::new(
        "gardens".parse()?,
        TenantAccess::default(),
        "http://127.0.0.1:9",
        credentials,
    );
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let images = ImagePlace::Folder(folder.join("images"));
    let connections = HttpConnections::new(&HttpSettings::default())?;
    let mut setup =
        Setup::new(folder.join("hedgerow.db"), listen, images, connections, vec![tenant]);
    "https://updates.example".clone_into(&mut setup.public_url);
    Ok(setup)
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

fn run(service: Service) -> Running {
    let (stop, stopped) = oneshot::channel();
    let address = service.address();
    let ended = tokio::spawn(service.run(async move {
        let _ = stopped.await;
    }));
    Running { address, stop, ended }
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn stop(self) -> Outcome {
        self.stop.send(()).map_err(|()| "it ended by itself")?;
        tokio::time::timeout(Duration::from_secs(60), self.ended).await??;
        Ok(())
    }
}

async fn image(service: &Service) -> Result<(StoredFile, Vec<u8>), Box<dyn Error>> {
    let image: Vec<u8> = (0..=255).cycle().take(600_000).collect();
    let pieces =
        image.chunks(10_000).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = pieces.collect();
    let tenant = "gardens".parse()?;
    let stored = service.files().store(&tenant, "gateway.bin", stream::iter(pieces)).await?;
    Ok((stored, image))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_it_is_there_and_ready_and_counts_for_this_machine_alone() -> Outcome {
    let folder = tempfile::tempdir()?;
    let running = run(Service::start(setup(folder.path())?).await?);
    let client = Client::new();
    let get = |path: &str| client.get(running.url(path)).send();
    assert_eq!(get("/health").await?.status(), StatusCode::OK);
    assert_eq!(get("/ready").await?.json::<Value>().await?["status"], "ready");
    assert_eq!(get("/nowhere").await?.status(), StatusCode::NOT_FOUND);

    let metrics = get("/metrics").await?;
    assert_eq!(metrics.status(), StatusCode::OK);
    let metrics = metrics.text().await?;
    for line in [
        "hedgerow_appends_total 0",
        "hedgerow_quarantined{tenant=\"gardens\"} 0",
        "hedgerow_triggers_total{answer=\"taken\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // Every line is a comment or a name with a number, and no name is there twice.
    let mut names = Vec::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, number) = line.rsplit_once(' ').expect(line);
        assert!(name.starts_with("hedgerow_") && number.parse::<f64>().is_ok(), "{line}");
        names.push(name);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let handed_on = client.get(running.url("/metrics")).header("x-forwarded-for", "127.0.0.1");
    assert_eq!(handed_on.send().await?.status(), StatusCode::FORBIDDEN);
    let rebound = client.get(running.url("/metrics")).header("host", "evil.example:4080");
    assert_eq!(rebound.send().await?.status(), StatusCode::FORBIDDEN);
    let api = running.url("/tenants/gardens/api");
    let question = serde_json::json!({"query": "{ tenantInfo { slug } }"});
    assert_eq!(client.post(&api).json(&question).send().await?.status(), StatusCode::OK);
    // A proxy that says nothing of itself, as nginx is without any setting.
    let plain = client.post(&api).version(reqwest::Version::HTTP_10).json(&question);
    assert_eq!(plain.send().await?.status(), StatusCode::FORBIDDEN);

    // The folder is gone: it lives, and is not ready.
    std::fs::remove_dir_all(folder.path().join("images"))?;
    let ready = get("/ready").await?;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().await?.contains("images"));
    assert_eq!(get("/health").await?.status(), StatusCode::OK);
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_its_own_gives_metrics_to_whoever_asks() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut setup = setup(folder.path())?;
    setup.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let service = Service::start(setup).await?;
    let metrics = service.metrics_address().expect("it was asked for");
    let running = run(service);
    let client = Client::new();
    for path in ["/metrics", "/health", "/ready"] {
        let asked =
            client.get(format!("http://{metrics}{path}")).header("x-forwarded-for", "10.0.0.1");
        assert_eq!(asked.send().await?.status(), StatusCode::OK, "{path}");
    }
    let api = client.get(format!("http://{metrics}/images/a/b/c")).send().await?;
    assert_eq!(api.status(), StatusCode::NOT_FOUND);
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_served_whole_and_in_parts() -> Outcome {
    let folder = tempfile::tempdir()?;
    let service = Service::start(setup(folder.path())?).await?;
    let (stored, image) = image(&service).await?;
    let url = service.files().url(&stored.key)?;
    let path = url.as_str().strip_prefix("https://updates.example").expect("below it").to_owned();
    let running = run(service);
    let client = Client::new();
    let whole = client.get(running.url(&path)).send().await?;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()["content-type"], "application/octet-stream");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let tag = whole.headers()["etag"].clone();
    assert_eq!(whole.bytes().await?, image);

    let part = |range: &str| client.get(running.url(&path)).header("range", range.to_owned());
    let rest = part("bytes=599990-").send().await?;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(rest.headers()["content-range"], "bytes 599990-599999/600000");
    assert_eq!(rest.bytes().await?, image[599_990..]);
    let same = part("bytes=0-9").header("if-range", &tag).send().await?;
    assert_eq!(same.bytes().await?, image[..10]);
    let another = part("bytes=0-9").header("if-range", "\"another\"").send().await?;
    assert_eq!((another.status(), another.bytes().await?.len()), (StatusCode::OK, 600_000));
    let outside = part("bytes=600000-").send().await?;
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(outside.headers()["content-range"], "bytes */600000");
    let known = client.get(running.url(&path)).header("if-none-match", &tag).send().await?;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let head = client.head(running.url(&path)).send().await?;
    assert_eq!(head.headers()["content-length"], "600000");

    for other in [
        path.replace("gardens", "orchards"),
        path.replace("gateway.bin", "other.bin"),
        path.replace("gateway.bin", "..%2f..%2fhedgerow.db"),
        "/images/%2e%2e/x/y".to_owned(),
    ] {
        let status = client.get(running.url(&other)).send().await?.status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{other}");
    }
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_under_way_ends_and_nothing_new_begins_once_it_is_told_to_stop() -> Outcome {
    let folder = tempfile::tempdir()?;
    let service = Service::start(setup(folder.path())?).await?;
    let tenant = "gardens".parse()?;
    let chunk = Bytes::from(vec![7; 1024 * 1024]);
    let pieces = std::iter::repeat_n(Ok::<_, Infallible>(chunk), 32);
    let stored = service.files().store(&tenant, "large.bin", stream::iter(pieces)).await?;
    let path = format!("/images/{}", stored.key);
    let running = run(service);
    // More than any buffer between here and there holds.
    let mut download = Client::new().get(running.url(&path)).send().await?;
    assert!(download.chunk().await?.is_some());
    let (address, stopping) = (
        running.address,
        tokio::spawn(async move { running.stop().await.map_err(|error| error.to_string()) }),
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = Client::new().get(format!("http://{address}/health")).send().await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!stopping.is_finished(), "it waits");
    while download.chunk().await?.is_some() {}
    stopping.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_broken_off_after_the_time_that_was_given() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut setup = setup(folder.path())?;
    setup.stop_within = Duration::from_millis(200);
    let service = Service::start(setup).await?;
    let running = run(service);
    // A request whose head never ends.
    let mut slow = tokio::net::TcpStream::connect(running.address).await?;
    tokio::io::AsyncWriteExt::write_all(&mut slow, b"GET /health HTTP/1.1\r\nhost: x\r\n").await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop().await?;
    drop(slow);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be_wait_and_a_silent_one_is_closed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut setup = setup(folder.path())?;
    setup.connections_at_once = 2;
    let running = run(Service::start(setup).await?);
    let silent = tokio::net::TcpStream::connect(running.address).await?;
    let other = tokio::net::TcpStream::connect(running.address).await?;
    let url = running.url("/health");
    let asked = tokio::spawn(async move { Client::new().get(url).send().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished(), "there is no room");
    drop(other);
    assert_eq!(asked.await??.status(), StatusCode::OK);
    // Nothing is said on it for longer than the head of a request may take.
    let mut silent = silent;
    let mut nothing = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut nothing);
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), read).await??, 0, "it is closed");
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_served_and_whoever_does_not_speak_it_holds_nobody_up() -> Outcome {
    let folder = tempfile::tempdir()?;
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.path().join("tls.pem"), own.cert.pem())?;
    std::fs::write(folder.path().join("tls.key"), own.signing_key.serialize_pem())?;
    let keys = RealmKeys::generate()?;
    std::fs::write(folder.path().join("realm.pem"), keys.private_key_pem().expect("generated"))?;
    let file = folder.path().join("hedgerow.toml");
    let text = r#"
        store = "hedgerow.db"
        images.folder = "images"
        [http]
        listen = "127.0.0.1:0"
        certificate = "tls.pem"
        private_key = "tls.key"
        [[tenants]]
        name = "gardens"
        open_to_this_machine = true
        astarte = { url = "http://127.0.0.1:9", private_key = "realm.pem" }
    "#;
    std::fs::write(&file, text)?;
    let setup = hedgerow_service::Config::read(&file)?.check(&file)?;
    let running = run(Service::start(setup).await?);
    let _silent = tokio::net::TcpStream::connect(running.address).await?;
    let mut plain = tokio::net::TcpStream::connect(running.address).await?;
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await?;
    let trusted = reqwest::Certificate::from_pem(own.cert.pem().as_bytes())?;
    let client = Client::builder().tls_certs_only([trusted]).build()?;
    let url = format!("https://localhost:{}/health", running.address.port());
    assert_eq!(client.get(url).send().await?.status(), StatusCode::OK);
    running.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_or_a_store_that_is_taken_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let first = Service::start(setup(folder.path())?).await?;
    let mut second = setup(folder.path())?;
    second.listen = first.address();
    let error = Service::start(second).await.expect_err("the port is taken").to_string();
    assert!(error.contains(&first.address().to_string()), "{error}");
    let error = Service::start(setup(folder.path())?).await.expect_err("the store is").to_string();
    assert!(error.contains("hedgerow.db") && error.contains("stop that one first"), "{error}");
    run(first).stop().await
}
