//! Image files in a folder: uploads that end, break off or are too large, reading in ranges, and the
//! removal of what nothing names.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hedgerow_catalogue::files::{ByteRange, FileError, FileKey, FileSettings, ImageFiles};
use hedgerow_core::TenantId;

type Outcome = Result<(), Box<dyn Error>>;

const BASE: &str = "http://127.0.0.1:4080/images";

fn tenant() -> TenantId {
    "gardens".parse().expect("a tenant")
}

fn files(folder: &Path) -> Result<ImageFiles, FileError> {
    ImageFiles::in_folder(folder, BASE, FileSettings::default())
}

/// Everything below a folder that is a file.
fn left_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    found
}

fn in_pieces(bytes: &[u8], piece: usize) -> Vec<Result<Bytes, Infallible>> {
    bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

async fn whole(
    files: &ImageFiles,
    key: &FileKey,
    range: Option<ByteRange>,
) -> Result<Vec<u8>, FileError> {
    let opened = files.open(key, range).await?;
    let expected = opened.range.end - opened.range.start;
    let bytes: Vec<Bytes> = opened.bytes.try_collect().await?;
    let bytes = bytes.concat();
    assert_eq!(bytes.len() as u64, expected);
    Ok(bytes)
}

#[tokio::test]
async fn what_was_uploaded_in_any_pieces_is_what_is_read_and_what_was_hashed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    // More than two parts, and no multiple of one.
    let image: Vec<u8> = (0..=250).cycle().take(700_001).collect();
    for piece in [1_000, 64 * 1024, 256 * 1024, 700_001] {
        let pieces = stream::iter(in_pieces(&image, piece));
        let stored = files.store(&tenant(), "gateway.bin", pieces).await?;
        assert_eq!(stored.size_bytes, 700_001);
        // As Python's hashlib has it.
        let sha256 = "4c47cf2213b62ff9d5b31b83e3d9a7ebbda3cc54d22ee469f640373740bab739";
        assert_eq!(stored.sha256, sha256);
        assert_eq!(whole(&files, &stored.key, None).await?, image);
        assert_eq!(files.size_bytes(&stored.key).await?, 700_001);
        let part = |range| whole(&files, &stored.key, Some(range));
        assert_eq!(part(ByteRange::From(700_000)).await?, image[700_000..]);
        assert_eq!(part(ByteRange::Last(3)).await?, image[699_998..]);
        assert_eq!(part(ByteRange::Last(9_999_999)).await?, image);
        assert_eq!(part(ByteRange::Between { first: 5, last: 9 }).await?, image[5..10]);
        assert_eq!(part(ByteRange::Between { first: 5, last: u64::MAX }).await?, image[5..]);
        for outside in [ByteRange::From(700_001), ByteRange::Last(0)] {
            let refused = files.open(&stored.key, Some(outside)).await;
            assert!(matches!(refused, Err(FileError::Range { size_bytes: 700_001 })));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_url_leads_to_its_key_and_no_other_text_does() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    let stored = files.store(&tenant(), "a.bin", stream::iter(in_pieces(b"a", 1))).await?;
    let url = files.url(&stored.key)?;
    assert_eq!(files.key_of(&url), Some(stored.key.clone()));
    assert_eq!(files.signed_url(&stored.key, Duration::from_secs(60)).await?, None);
    let others = [BASE, "http://127.0.0.1:4080/imagesgardens/x", "https://images.example/a.bin"];
    for other in others {
        assert_eq!(files.key_of(&other.parse()?), None, "{other}");
    }
    for bad in ["", "images", "https://u.example/i?x=1", "ftp://u.example/i"] {
        let refused = ImageFiles::in_folder(folder.path(), bad, FileSettings::default());
        assert!(matches!(refused, Err(FileError::BaseUrl { .. })), "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_that_breaks_off_or_is_given_up_or_is_too_large_or_empty_leaves_nothing()
-> Outcome {
    let folder = tempfile::tempdir()?;
    let mut settings = FileSettings::default();
    settings.largest_bytes = 1_000_000;
    let files = ImageFiles::in_folder(folder.path(), BASE, settings)?;
    let piece = || Bytes::from(vec![7; 300_000]);

    let broken = stream::iter([Ok(piece()), Err("connection reset")]);
    let refused = files.store(&tenant(), "a.bin", broken).await;
    assert!(matches!(refused, Err(FileError::BrokeOff { detail }) if detail == "connection reset"));

    let endless = stream::repeat_with(|| Ok::<_, Infallible>(piece()));
    let refused = files.store(&tenant(), "a.bin", endless).await;
    assert!(matches!(refused, Err(FileError::TooLarge { largest_bytes: 1_000_000 })));

    let nothing = stream::empty::<Result<Bytes, Infallible>>();
    assert!(matches!(files.store(&tenant(), "a.bin", nothing).await, Err(FileError::Empty)));

    let mut upload = files.upload(&tenant(), "a.bin").await?;
    upload.write(piece()).await?;
    upload.abort().await;

    let mut dropped = files.upload(&tenant(), "a.bin").await?;
    dropped.write(piece()).await?;
    drop(dropped);
    // It is cleaned up behind the caller's back.
    for _ in 0..500 {
        if left_in(folder.path()).is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", left_in(folder.path()))
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    let key: FileKey = "gardens/5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa/a.bin".parse()?;
    let error = files.open(&key, None).await.expect_err("it is not there");
    assert!(error.to_string().contains(&key.to_string()), "{error}");
    files.remove(&key).await?;
    // Both are tenants, and neither is a folder that something could be kept in.
    for tenant in [".", ".."] {
        let refused = files.upload(&tenant.parse()?, "a.bin").await;
        assert!(matches!(refused, Err(FileError::Tenant { .. })), "{tenant}");
    }
    Ok(())
}

#[tokio::test]
async fn a_round_removes_what_nothing_names_and_neither_what_is_new_nor_under_way_nor_anothers()
-> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    let store = |tenant: TenantId| {
        let files = files.clone();
        async move { files.store(&tenant, "a.bin", stream::iter(in_pieces(b"image", 2))).await }
    };
    let named = store(tenant()).await?.key;
    let held = store(tenant()).await?;
    let unnamed = store(tenant()).await?.key;
    let others = store("orchards".parse()?).await?.key;
    let mut under_way = files.upload(&tenant(), "b.bin").await?;
    under_way.write("im".into()).await?;
    let foreign = folder.path().join("gardens/README");
    std::fs::write(&foreign, "not ours")?;

    let recorded = BTreeSet::from([named.clone()]);
    let mut asked = Vec::new();
    let mut sweep = async |untouched_for| {
        let unnamed = |keys: Vec<FileKey>| {
            asked.extend(keys.iter().cloned());
            std::future::ready(keys.into_iter().filter(|key| !recorded.contains(key)).collect())
        };
        files.sweep(&tenant(), untouched_for, unnamed).await
    };
    let swept = sweep(Duration::from_secs(3_600)).await?;
    assert_eq!((swept.removed, swept.failed), (0, 0), "nothing is so old");
    let swept = sweep(Duration::ZERO).await?;
    assert_eq!((swept.removed, swept.removed_bytes, swept.failed), (1, 5, 0));
    assert!(!asked.contains(&held.key) && !asked.contains(&others), "{asked:?}");
    for key in [&named, &held.key, &others] {
        assert_eq!(whole(&files, key, None).await?, b"image");
    }
    assert!(matches!(files.open(&unnamed, None).await, Err(FileError::Missing { .. })));
    assert!(foreign.exists(), "what is not ours is left alone");

    under_way.write("age".into()).await?;
    let stored = under_way.finish().await?;
    assert_eq!(whole(&files, &stored.key, None).await?, b"image");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_process_left_of_an_upload_is_removed_once_it_is_old() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    let stored = files.store(&tenant(), "a.bin", stream::iter(in_pieces(b"image", 2))).await?;
    let left = folder.path().join("gardens/5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa");
    std::fs::create_dir(&left)?;
    std::fs::write(left.join("a.bin#1"), "im")?;
    assert_eq!(files.remove_broken_off(Duration::from_secs(3_600)).await?, 0);
    assert_eq!(files.remove_broken_off(Duration::ZERO).await?, 1);
    assert!(!left.exists());
    assert_eq!(whole(&files, &stored.key, None).await?, b"image");
    files.check().await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_one_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    let error = files(&file).expect_err("it is a file").to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    Ok(())
}

#[tokio::test]
async fn many_uploads_at_once_keep_apart() -> Outcome {
    let folder = tempfile::tempdir()?;
    let files = files(folder.path())?;
    let uploads = (0..64_u8).map(|number| {
        let files = files.clone();
        async move {
            let image = vec![number; 300_000 + usize::from(number)];
            let pieces = stream::iter(in_pieces(&image, 8_192));
            let stored = files.store(&tenant(), "same.bin", pieces).await?;
            Ok::<_, FileError>((stored, image))
        }
    });
    let stored: Vec<_> = stream::iter(uploads).buffer_unordered(64).try_collect().await?;
    for (stored, image) in stored {
        assert_eq!(whole(&files, &stored.key, None).await?, image);
    }
    Ok(())
}
