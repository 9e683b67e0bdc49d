//! Stages in a bucket, against whatever speaks S3 at the place that `CORD_S3` names: `scripts/s3-check` starts one.
#![cfg(feature = "s3")]

use cord_core::Digest;
use cord_store::{Program, Remote, Store};

const STAGE: &str = "generate.0-of-2";

fn store(folder: &std::path::Path) -> Store {
    Store::open(folder, "recipe", Program { version: "1".into(), commit: None }).unwrap()
}

#[test]
#[ignore = "needs a server: scripts/s3-check"]
fn a_stage_goes_through_a_bucket_unchanged() {
    let place = std::env::var("CORD_S3").expect("`CORD_S3` is a place such as `s3://bucket/folder`");
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A folder of its own, so that the test can be run again.
    let url = format!("{place}/{}", here.path().file_name().unwrap().to_string_lossy());
    let key = Digest::of_bytes(url.as_bytes());
    // Two parts and some more, in no period.
    let large: Vec<u8> = (0..35u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let made = store(here.path());
    let mut writer = made.begin(STAGE, key, serde_json::json!({}), Vec::new()).unwrap();
    writer.write_bytes("large.bin", &large).unwrap();
    writer.write_bytes("inner/small.txt", b"few bytes").unwrap();
    writer.write_bytes("empty", b"").unwrap();
    let stage = writer.finish(serde_json::json!({})).unwrap();

    let remote = Remote::open(&url).unwrap();
    let other = store(there.path());
    assert!(remote.pull(&other, STAGE, key).unwrap().is_none(), "nothing is there yet");
    remote.push(&made, &stage).unwrap();
    remote.push(&made, &stage).unwrap();
    let pulled = remote.pull(&other, STAGE, key).unwrap().unwrap();
    pulled.verify().unwrap();
    assert_eq!(pulled.manifest().files, stage.manifest().files);
    assert!(pulled.read_bytes("large.bin").unwrap() == large);

    let nowhere = Remote::open("s3://no-such-bucket-as-this/x").unwrap();
    let error = nowhere.push(&made, &stage).unwrap_err().to_string();
    assert!(error.contains("s3://no-such-bucket-as-this/x/recipe/"), "{error}");
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();
    assert!(!error.contains(&secret), "{error}");
}
