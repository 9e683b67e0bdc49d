//! Finished stages that are pushed to an object store and pulled from it.

use std::fs;
use std::path::Path;

use cord_core::Digest;
use cord_store::{Costs, Program, Remote, StageFolder, Store, StoreError, Timings};
use serde_json::json;

const STAGE: &str = "generate.2-of-8";

fn store(folder: &Path) -> Store {
    Store::open(folder, "recipe", Program { version: "1".into(), commit: None }).unwrap()
}

fn key() -> Digest {
    Digest::of_bytes(b"key")
}

/// A stage with a small file, one in a folder, an empty one, and one of several parts.
fn made(store: &Store, large: usize) -> StageFolder {
    let mut writer = store.begin(STAGE, key(), json!({"a": 1}), vec![]).unwrap();
    fs::write(writer.journal_path(), "").unwrap();
    writer.write_bytes("a.bin", b"alpha").unwrap();
    writer.write_bytes("model/b.bin", b"beta").unwrap();
    writer.write_bytes("empty.bin", b"").unwrap();
    writer.write_bytes("large.bin", &(0..large).map(|n| (n % 251) as u8).collect::<Vec<u8>>()).unwrap();
    writer.write_timings(&Timings::from([("seconds".to_owned(), 1.5)])).unwrap();
    writer.write_costs(&Costs::default()).unwrap();
    writer.finish(json!({})).unwrap()
}

fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

#[test]
fn a_pushed_stage_is_pulled_as_it_was() {
    for large in [0, (16 << 20) - 1, 16 << 20, (40 << 20) + 7] {
        let (here, there, objects) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stage = made(&store(here.path()), large);
        let remote = Remote::open(&url(objects.path())).unwrap();
        let other = store(there.path());
        assert!(remote.pull(&other, STAGE, key()).unwrap().is_none(), "nothing is there yet");
        remote.push(&store(here.path()), &stage).unwrap();
        // The same again is nothing to do.
        remote.push(&store(here.path()), &stage).unwrap();
        let pulled = remote.pull(&other, STAGE, key()).unwrap().unwrap();
        pulled.verify().unwrap();
        assert_eq!(pulled.manifest(), stage.manifest());
        for file in ["manifest.json", "timings.json", "costs.json", "large.bin", "model/b.bin"] {
            assert!(pulled.read_bytes(file).unwrap() == stage.read_bytes(file).unwrap(), "{file} of {large}");
        }
        assert!(!pulled.journal_path().exists(), "journals stay where they are");
        // A second pull finds it.
        assert_eq!(remote.pull(&other, STAGE, key()).unwrap().unwrap().path(), pulled.path());
    }
}

#[test]
fn a_push_that_was_cut_off_does_not_exist_and_is_done_again() {
    let (here, there, objects) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stage = made(&store(here.path()), 10);
    let remote = Remote::open(&url(objects.path())).unwrap();
    remote.push(&store(here.path()), &stage).unwrap();
    let name = format!("recipe/{STAGE}-{}", key().short());
    fs::remove_file(objects.path().join(&name).join("manifest.json")).unwrap();
    fs::remove_file(objects.path().join(&name).join("large.bin")).unwrap();
    assert!(remote.pull(&store(there.path()), STAGE, key()).unwrap().is_none());
    remote.push(&store(here.path()), &stage).unwrap();
    remote.pull(&store(there.path()), STAGE, key()).unwrap().unwrap().verify().unwrap();
}

#[test]
fn damaged_and_missing_objects_are_no_stage() {
    let (here, there, objects) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stage = made(&store(here.path()), 10);
    let remote = Remote::open(&url(objects.path())).unwrap();
    remote.push(&store(here.path()), &stage).unwrap();
    let file = objects.path().join(format!("recipe/{STAGE}-{}/a.bin", key().short()));
    let other = store(there.path());
    fs::write(&file, "alphA").unwrap();
    let error = remote.pull(&other, STAGE, key()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { faults, .. } if faults.len() == 1 && faults[0].contains("a.bin")),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = remote.pull(&other, STAGE, key()).unwrap_err();
    assert!(matches!(&error, StoreError::Remote { url, .. } if url.ends_with("a.bin")), "{error}");
    assert!(other.find(STAGE, key()).unwrap().is_none());
    // Repaired, it is pulled over what the others left.
    fs::write(&file, "alpha").unwrap();
    remote.pull(&other, STAGE, key()).unwrap().unwrap().verify().unwrap();
}

#[test]
fn another_stage_of_the_same_key_is_not_overwritten() {
    let (here, other, objects) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let remote = Remote::open(&url(objects.path())).unwrap();
    remote.push(&store(here.path()), &made(&store(here.path()), 10)).unwrap();
    let error = remote.push(&store(other.path()), &made(&store(other.path()), 11)).unwrap_err();
    assert!(error.to_string().ends_with("another stage of the same key is there; remove it to go on"), "{error}");
}

#[test]
fn what_is_no_place_is_refused() {
    let error = |url: &str| Remote::open(url).unwrap_err().to_string();
    insta::assert_snapshot!(error("bucket/folder"), @"`bucket/folder`: could not open it: expected `s3://<bucket>/<folder>` or `file:///<folder>`");
    insta::assert_snapshot!(error("ftp://host/folder"), @"`ftp://host/folder`: could not open it: expected the scheme `s3` or `file`, got `ftp`");
    insta::assert_snapshot!(error("file://folder"), @"`file://folder`: could not open it: expected an absolute path after `file://`, got `folder`");
    #[cfg(not(feature = "s3"))]
    insta::assert_snapshot!(error("s3://bucket/folder"), @"`s3://bucket/folder`: could not open it: this build has no S3; build with `--features s3`");
}
