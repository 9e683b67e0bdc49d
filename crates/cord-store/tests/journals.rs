//! The journal: what is appended is read back to the last bit, and damage is tolerated or told apart by its place.

use std::fs;
use std::path::Path;

use cord_core::{Digest, Finish, Generation, TokenLogprob, Usage};
use cord_store::{Journal, Reply, StoreError};
use proptest::prelude::*;

fn generation(text: &str) -> Reply {
    let usage = Usage { prompt_tokens: 3, generated_tokens: 2, scored_tokens: 0 };
    Reply::Generation(Generation { text: text.into(), finish: Finish::Eos, mean_logprob: Some(-0.25), usage })
}

fn key(n: u64) -> Digest {
    Digest::of_bytes(&n.to_le_bytes())
}

/// A journal of three records, its bytes changed by `damage`, opened again.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> Result<Journal, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let journal = Journal::open(&path).unwrap();
    for n in 0..3 {
        journal.append(key(n), &generation(&format!("reply {n}"))).unwrap();
    }
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    Journal::open(&path).map_err(|error| without(&error, folder.path()))
}

fn without(error: &StoreError, folder: &Path) -> String {
    error.to_string().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn a_torn_last_line_is_cut_off() {
    for cut in [1, 2, 40, 150] {
        let journal = damaged(|bytes| bytes.truncate(bytes.len() - cut)).unwrap();
        assert_eq!(journal.len(), 2, "{cut} bytes cut");
        assert_eq!(journal.get(key(1)).unwrap(), Some(generation("reply 1")));
        assert_eq!(journal.get(key(2)).unwrap(), None);
    }
    assert_eq!(damaged(Vec::clear).unwrap().len(), 0);
    assert_eq!(damaged(|bytes| bytes.extend([0; 100])).unwrap().len(), 3, "zeros after a loss of power");
}

#[test]
fn appending_after_a_torn_line_starts_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    Journal::open(&path).unwrap().append(key(0), &generation("whole")).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.len();
    bytes.extend_from_within(..whole / 2);
    fs::write(&path, bytes).unwrap();
    Journal::open(&path).unwrap().append(key(1), &generation("next")).unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.get(key(0)).unwrap(), Some(generation("whole")));
    assert_eq!(journal.get(key(1)).unwrap(), Some(generation("next")));
    assert_eq!(journal.len(), 2);
}

#[test]
fn other_damage_is_an_error_with_its_place() {
    let second = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let error = |damage: &dyn Fn(&mut Vec<u8>)| damaged(damage).unwrap_err();
    insta::assert_snapshot!(error(&|bytes| {
        let at = String::from_utf8(bytes.clone()).unwrap().find("reply 1").unwrap();
        bytes[at] = b'R';
    }), @"`journal.jsonl`: line 2 (byte 251): expected the check `d3ef263741b1d469` of its content, got `873aa7f381b9b3b4`; remove the line, and its reply is asked again");
    insta::assert_snapshot!(error(&|bytes| {
        let at = second(bytes);
        bytes.drain(at..at + 20);
    }), @r#"`journal.jsonl`: line 2 (byte 251): expected a record, got `b9b3b4","request":"1a0d12016999e47689dae5744d2b8c1903faf7ca2`; remove the line, and its reply is asked again"#);
    insta::assert_snapshot!(error(&|bytes| bytes.insert(0, b'\n')), @"`journal.jsonl`: line 1 (byte 0): expected a record, got ``; remove the line, and its reply is asked again");
    // The last line too, when it is complete.
    insta::assert_snapshot!(error(&|bytes| {
        let at = bytes.len() - 2;
        bytes[at] = b' ';
    }), @r#"`journal.jsonl`: line 3 (byte 502): expected a record, got `{"check":"8f50631e0ee85287","request":"ea21c7b3c885cf2fb547b`; remove the line, and its reply is asked again"#);
}

#[test]
fn a_number_that_json_has_no_word_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.jsonl")).unwrap();
    let tokens = [-1.0, f64::NAN].map(|logprob| TokenLogprob { token: 1, logprob });
    let error = journal.append(key(0), &Reply::Logprobs(tokens.to_vec())).unwrap_err();
    insta::assert_snapshot!(without(&error, folder.path()), @"`journal.jsonl`: expected a reply of finite numbers, got `NaN` at token 1");
    let Reply::Generation(mut reply) = generation("x") else { unreachable!("a generation") };
    reply.mean_logprob = Some(f64::NEG_INFINITY);
    let error = journal.append(key(0), &Reply::Generation(reply)).unwrap_err();
    insta::assert_snapshot!(without(&error, folder.path()), @"`journal.jsonl`: expected a reply of finite numbers, got `-inf` as the mean log-probability");
    assert!(journal.is_empty());
}

#[test]
fn the_first_reply_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let journal = Journal::open(&path).unwrap();
    journal.append(key(0), &generation("first")).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    journal.append(key(0), &generation("second")).unwrap();
    assert_eq!(journal.get(key(0)).unwrap(), Some(generation("first")));
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |x| x.is_finite())
}

fn reply() -> impl Strategy<Value = Reply> {
    let finish = prop_oneof![Just(Finish::Eos), Just(Finish::Length), any::<String>().prop_map(Finish::Delimiter)];
    let usage = any::<[u64; 3]>().prop_map(|[prompt_tokens, generated_tokens, scored_tokens]| Usage {
        prompt_tokens,
        generated_tokens,
        scored_tokens,
    });
    let generation = (any::<String>(), finish, proptest::option::of(finite()), usage).prop_map(
        |(text, finish, mean_logprob, usage)| Reply::Generation(Generation { text, finish, mean_logprob, usage }),
    );
    let token = (any::<u32>(), finite()).prop_map(|(token, logprob)| TokenLogprob { token, logprob });
    prop_oneof![generation, proptest::collection::vec(token, 0..20).prop_map(Reply::Logprobs)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replies_are_read_back_to_the_last_bit(replies in proptest::collection::vec(reply(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        for (n, reply) in replies.iter().enumerate() {
            journal.append(key(n as u64), reply).unwrap();
        }
        let reopened = Journal::open(&path).unwrap();
        for (n, reply) in replies.iter().enumerate() {
            prop_assert_eq!(journal.get(key(n as u64)).unwrap(), Some(reply.clone()));
            prop_assert_eq!(reopened.get(key(n as u64)).unwrap(), Some(reply.clone()));
        }
    }

    #[test]
    fn any_cut_loses_only_what_it_touches(replies in proptest::collection::vec(reply(), 1..6), share in 0.0f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        let mut ends = Vec::new();
        for (n, reply) in replies.iter().enumerate() {
            journal.append(key(n as u64), reply).unwrap();
            ends.push(fs::metadata(&path).unwrap().len());
        }
        let length = (ends[ends.len() - 1] as f64 * share) as u64;
        fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let reopened = Journal::open(&path).unwrap();
        prop_assert_eq!(reopened.len(), ends.iter().filter(|end| **end <= length).count());
    }
}

#[test]
fn a_journal_takes_in_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| Journal::open(&folder.path().join(name)).unwrap();
    let (shared, own) = (open("replies.jsonl"), open("journal.jsonl"));
    shared.append(key(0), &generation("shared")).unwrap();
    own.append(key(0), &generation("own")).unwrap();
    own.append(key(1), &generation("new")).unwrap();
    assert_eq!(shared.take_in(&own).unwrap(), 1);
    assert_eq!(shared.take_in(&own).unwrap(), 0);
    let read = open("replies.jsonl");
    assert_eq!(read.get(key(0)).unwrap(), Some(generation("shared")), "the first reply stays");
    assert_eq!(read.get(key(1)).unwrap(), Some(generation("new")));
}

#[test]
fn shared_replies_are_held_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let program = cord_store::Program { version: "1".into(), commit: None };
    let store = cord_store::Store::open(folder.path(), "run", program).unwrap();
    let held = store.replies().unwrap();
    held.journal().append(key(0), &generation("x")).unwrap();
    assert!(matches!(store.replies(), Err(StoreError::Locked { .. })));
    drop(held);
    assert_eq!(store.replies().unwrap().journal().len(), 1);
}

#[test]
fn a_line_that_is_damaged_while_the_journal_is_open_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let journal = Journal::open(&path).unwrap();
    for n in 0..3 {
        journal.append(key(n), &generation(&format!("reply {n}"))).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap().replace("reply 1", "Reply 1");
    fs::write(&path, text).unwrap();
    let error = journal.get(key(1)).unwrap_err();
    insta::assert_snapshot!(without(&error, folder.path()), @"`journal.jsonl`: line 2 (byte 251): expected the check `d3ef263741b1d469` of its content, got `873aa7f381b9b3b4`; remove the line, and its reply is asked again");
    assert_eq!(journal.get(key(2)).unwrap(), Some(generation("reply 2")));
}
