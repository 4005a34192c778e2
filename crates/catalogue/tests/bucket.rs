//! Image files in a bucket of a real S3 server, which `cargo xtask s3` installs and starts.

use std::convert::Infallible;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hedgerow_catalogue::files::{Bucket, ByteRange, FileError, FileKey, FileSettings, ImageFiles};
use hedgerow_core::TenantId;

type Outcome = Result<(), Box<dyn Error>>;

/// Where the server is, as in `http://127.0.0.1:5000`.
const ENDPOINT: &str = "HEDGEROW_S3_ENDPOINT";

fn tenant() -> TenantId {
    "gardens".parse().expect("a tenant")
}

fn endpoint() -> String {
    std::env::var(ENDPOINT).expect("cargo xtask s3 says where the server is")
}

/// One request without a signature.
fn call(url: &str, method: &str) -> Result<(u16, Vec<u8>), Box<dyn Error>> {
    let rest = url.strip_prefix("http://").ok_or("http")?;
    let (host, path) = rest.split_once('/').ok_or("a path")?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").ok_or("a head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).ok_or("a status")?.parse()?;
    Ok((status, answer[end + 4..].to_vec()))
}

fn bucket(name: &str) -> Result<Bucket, Box<dyn Error>> {
    let (status, _) = call(&format!("{}/{name}", endpoint()), "PUT")?;
    assert_eq!(status, 200);
    let mut bucket = Bucket::new(name, "hedgerow", "s3cret");
    bucket.endpoint = Some(endpoint());
    Ok(bucket)
}

fn in_pieces(bytes: &[u8], piece: usize) -> Vec<Result<Bytes, Infallible>> {
    bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

async fn whole(
    files: &ImageFiles,
    key: &FileKey,
    range: Option<ByteRange>,
) -> Result<Vec<u8>, FileError> {
    let bytes: Vec<Bytes> = files.open(key, range).await?.bytes.try_collect().await?;
    Ok(bytes.concat())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: cargo xtask s3"]
async fn an_image_of_several_parts_is_read_back_and_fetched_by_its_signed_url() -> Outcome {
    let files = ImageFiles::in_bucket(&bucket("images")?, FileSettings::default())?;
    files.check().await?;
    // Three parts, and a last one that is no multiple of anything.
    let image: Vec<u8> = (0..=250).cycle().take(11 * 1024 * 1024 + 7).collect();
    let pieces = stream::iter(in_pieces(&image, 60_000));
    let stored = files.store(&tenant(), "gateway.bin", pieces).await?;
    assert_eq!(stored.size_bytes, image.len() as u64);
    assert_eq!(files.size_bytes(&stored.key).await?, image.len() as u64);
    assert!(whole(&files, &stored.key, None).await? == image);
    let middle = ByteRange::Between { first: 5_242_870, last: 5_242_890 };
    assert_eq!(whole(&files, &stored.key, Some(middle)).await?, image[5_242_870..=5_242_890]);
    assert_eq!(
        whole(&files, &stored.key, Some(ByteRange::Last(7))).await?,
        image[image.len() - 7..]
    );

    let url = files.url(&stored.key)?;
    assert_eq!(url.as_str(), format!("{}/images/{}", endpoint(), stored.key));
    assert_eq!(files.key_of(&url), Some(stored.key.clone()));
    assert!(files.signs());
    let signed = files.signed_url(&stored.key, Duration::from_secs(60)).await?.expect("it signs");
    assert_eq!(signed.without_query(), url.as_str());
    assert_eq!(files.key_of(&signed), Some(stored.key.clone()));
    assert!(
        signed.as_str().contains("X-Amz-Signature=")
            && signed.as_str().contains("X-Amz-Expires=60")
    );
    assert!(!signed.as_str().contains("s3cret"));
    let (status, fetched) = call(signed.as_str(), "GET")?;
    assert!(status == 200 && fetched == image, "{status}, {} bytes", fetched.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: cargo xtask s3"]
async fn what_broke_off_leaves_no_file_and_a_round_removes_what_nothing_names() -> Outcome {
    let files = ImageFiles::in_bucket(&bucket("rounds")?, FileSettings::default())?;
    let mut upload = files.upload(&tenant(), "a.bin").await?;
    upload.write(Bytes::from(vec![7; 6 * 1024 * 1024])).await?;
    let given_up = upload.key().clone();
    upload.abort().await;
    assert!(matches!(files.open(&given_up, None).await, Err(FileError::Missing { .. })));
    let broken = stream::iter([Ok(Bytes::from_static(b"image")), Err("connection reset")]);
    assert!(matches!(
        files.store(&tenant(), "a.bin", broken).await,
        Err(FileError::BrokeOff { .. })
    ));

    let small = || stream::iter(in_pieces(b"image", 2));
    let named = files.store(&tenant(), "a.bin", small()).await?.key;
    let unnamed = files.store(&tenant(), "a.bin", small()).await?.key;
    let others = files.store(&"orchards".parse()?, "a.bin", small()).await?.key;
    // The server stamps whole seconds.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let unnamed_of = |keys: Vec<FileKey>| {
        std::future::ready(keys.into_iter().filter(|key| *key != named).collect())
    };
    let swept = files.sweep(&tenant(), Duration::from_secs(1), unnamed_of).await?;
    assert_eq!((swept.seen, swept.removed, swept.removed_bytes, swept.failed), (2, 1, 5, 0));
    assert!(matches!(files.open(&unnamed, None).await, Err(FileError::Missing { .. })));
    for key in [&named, &others] {
        assert_eq!(whole(&files, key, None).await?, b"image");
    }
    files.remove(&named).await?;
    files.remove(&named).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: cargo xtask s3"]
async fn many_uploads_at_once_keep_apart() -> Outcome {
    let files = ImageFiles::in_bucket(&bucket("many")?, FileSettings::default())?;
    let uploads = (0..16_u8).map(|number| {
        let files = files.clone();
        async move {
            let image = vec![number; 300_000 + usize::from(number)];
            let pieces = stream::iter(in_pieces(&image, 8_192));
            let stored = files.store(&tenant(), "same.bin", pieces).await?;
            Ok::<_, FileError>((stored, image))
        }
    });
    let stored: Vec<_> = stream::iter(uploads).buffer_unordered(16).try_collect().await?;
    for (stored, image) in stored {
        assert!(whole(&files, &stored.key, None).await? == image);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server: cargo xtask s3"]
async fn a_bucket_that_is_not_there_is_an_error_and_a_server_that_is_not_there_another() -> Outcome
{
    let mut missing = Bucket::new("missing", "hedgerow", "s3cret");
    missing.endpoint = Some(endpoint());
    let files = ImageFiles::in_bucket(&missing, FileSettings::default())?;
    let error = files.check().await.expect_err("there is no such bucket").to_string();
    assert!(error.contains("NoSuchBucket") || error.contains("404"), "{error}");
    let piece = stream::iter(in_pieces(b"image", 5));
    let error = files.store(&tenant(), "a.bin", piece).await.expect_err("nowhere to put it");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    Ok(())
}
