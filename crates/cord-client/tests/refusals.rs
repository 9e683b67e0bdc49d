//! Servers that can't be trusted are refused when they are opened, with what to do.

mod world;

use cord_client::{ClientError, Dialect, ServedModel};
use cord_testkit::{Fault, Kind, Quirk, Served, TestServer};
use futures::executor::block_on;
use serde_json::json;
use world::{KINDS, network, open, renderer, settings};

fn refused(served: Served) -> ClientError {
    match open(&TestServer::start(served)) {
        Err(error) => error,
        Ok(model) => panic!("expected a refusal, got {model:?}"),
    }
}

#[test]
fn each_lasting_peculiarity_is_found_by_the_probe() {
    let check = |kinds: &[Kind], quirk: Quirk, told: &[&str]| {
        for kind in kinds {
            let error = refused(Served::new(*kind).with(quirk));
            for words in told {
                assert!(error.to_string().contains(words), "{kind:?} {quirk:?}: expected {words:?} in: {error}");
            }
        }
    };
    check(&KINDS, Quirk::OtherTokenizer, &["tokenizer", "instead of", "give the tokenizer of the served weights"]);
    check(&[Kind::Vllm], Quirk::Processed, &["--logprobs-mode"]);
    check(&[Kind::LlamaCpp], Quirk::Processed, &["from before"]);
    check(&[Kind::Sglang], Quirk::Shifted, &["with which it was drawn"]);
    check(&[Kind::Vllm], Quirk::NoLogprobs, &["`logprobs`"]);
    check(&[Kind::Sglang], Quirk::NoLogprobs, &["`output_token_logprobs`"]);
    check(&[Kind::LlamaCpp], Quirk::NoLogprobs, &["log-probabilities of a given continuation", "`logit_bias`"]);
    check(&[Kind::Vllm], Quirk::NoStopReason, &["told apart", "`stop_reason`"]);
    check(&[Kind::LlamaCpp, Kind::Sglang], Quirk::NoStopReason, &["documented shape"]);
    check(&KINDS, Quirk::Truncates(20), &["prompt tokens read"]);
}

#[test]
fn shifted_log_probabilities_are_found_where_nothing_better_is_served() {
    let served = Served::new(Kind::Vllm).with(Quirk::NoSelectedIds).with(Quirk::NoAllowedIds).with(Quirk::Shifted);
    let error = refused(served);
    assert!(error.to_string().contains("`prompt_logprobs` to give token 0"), "{error}");
}

#[test]
fn a_reward_model_whose_labels_are_no_probabilities_is_refused() {
    let check = |fault: Fault, told: &[&str]| {
        let server = TestServer::start(Served::new(Kind::Vllm).with(Quirk::Rewards));
        server.script(move |seen| (seen.path == "/pooling").then(|| fault.clone()));
        let error = open(&server).expect_err("the server is refused").to_string();
        for words in told {
            assert!(error.contains(words), "expected {words:?} in: {error}");
        }
    };
    let labels = |labels: serde_json::Value| Fault::edit(move |reply| reply["data"][0]["data"] = labels.clone());
    let two = &["the probabilities of two labels", "step_tag_id"];
    check(labels(json!([[0.5, 0.5], [3.25, -1.5]])), two);
    check(labels(json!([[0.75, 0.75]])), two);
    check(labels(json!([[0.75]])), two);
    check(labels(json!([])), two);
    // Without completions and without labels it is nothing that can be used: the first refusal is told.
    check(Fault::status(404, "not found"), &["HTTP 404"]);
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = TestServer::start(Served::new(Kind::Vllm).with(Quirk::Rewards));
    server.script(move |seen| {
        let is_first = seen.path == "/pooling" && first.swap(false, std::sync::atomic::Ordering::SeqCst);
        is_first.then(|| labels(json!([[0.001, 0.999]])))
    });
    let error = open(&server).expect_err("the server is refused").to_string();
    assert!(error.contains("the label's value") && error.contains("again"), "{error}");
}

#[test]
fn a_plain_server_that_calls_every_end_a_stop_is_refused() {
    let error = refused(Served::new(Kind::OpenAi).with(Quirk::NoStopReason));
    assert!(
        error.to_string().contains("told apart") && error.to_string().contains("vLLM, SGLang or llama-server"),
        "{error}"
    );
    let error = refused(Served::new(Kind::OpenAi));
    assert!(error.to_string().contains("say it as `context`"), "{error}");
}

#[test]
fn kinds_are_told_apart_and_can_be_said() {
    for (kind, dialect) in
        [(Kind::Vllm, Dialect::Vllm), (Kind::Sglang, Dialect::Sglang), (Kind::LlamaCpp, Dialect::LlamaCpp)]
    {
        for quirks in [vec![], vec![Quirk::Anonymous]] {
            let server = TestServer::start(Served { quirks, ..Served::new(kind) });
            assert_eq!(open(&server).unwrap().served().dialect, dialect);
        }
    }
    let server = TestServer::start(Served::new(Kind::Vllm));
    let mut said = settings(&[&server]);
    said.dialect = Some(Dialect::LlamaCpp);
    let error = block_on(ServedModel::open(&network(), said, renderer())).unwrap_err();
    assert!(error.to_string().contains("`/props`"), "{error}");
}

#[test]
fn a_model_that_is_not_served_is_named_with_those_that_are() {
    let server = TestServer::start(Served::new(Kind::Vllm));
    let mut settings = settings(&[&server]);
    settings.model = Some("huge".to_owned());
    let error = block_on(ServedModel::open(&network(), settings, renderer())).unwrap_err();
    assert!(error.to_string().contains("`huge`") && error.to_string().contains("got `tiny`"), "{error}");
}

#[test]
fn endpoints_that_serve_different_models_are_refused() {
    let one = TestServer::start(Served::new(Kind::Vllm));
    let other = TestServer::start(Served { root: "org/other".to_owned(), ..Served::new(Kind::Vllm) });
    let error = block_on(ServedModel::open(&network(), settings(&[&one, &other]), renderer())).unwrap_err();
    assert!(error.to_string().contains("root `org/other` instead of `org/tiny`"), "{error}");
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let mut server = TestServer::start(Served::new(Kind::Vllm));
    server.kill();
    let error = open(&server).unwrap_err();
    assert!(error.to_string().contains(&server.url()) && error.to_string().contains("no connection"), "{error}");
    server.revive();
    open(&server).unwrap();
}
