//! For each fault of a server: the right number in the end, or an error that says what was wrong. Never a wrong number,
//! and never more requests than the retries allow.

mod world;

use std::time::Duration;

use cord_core::{GenerateRequest, ModelError};
use cord_testkit::{Fault, Kind, Seen, Served};
use serde_json::{Value, json};
use world::{KINDS, RETRIES, expected, generate, greedy, loglikelihood, opened, reference_score, score};

/// A fault that comes so many times, then no more.
fn times(count: usize, fault: Fault) -> impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static {
    move |seen| (seen.repeat < count).then(|| fault.clone())
}

fn request() -> GenerateRequest {
    greedy("what is 12 times 7?", &["\n\n"], 9)
}

fn transient() -> Vec<(&'static str, Fault)> {
    let status = |code, retry: Option<&str>| {
        let headers = retry.into_iter().map(|text| ("Retry-After", text.to_owned())).collect();
        Fault::Status(code, headers, r#"{"error":{"message":"busy"}}"#.to_owned())
    };
    let date = httpdate(Duration::ZERO);
    vec![
        ("closed", Fault::Close),
        ("broken off", Fault::BreakOff),
        ("truncated", Fault::Truncate),
        ("html", Fault::Body("<html>bad gateway</html>".to_owned())),
        ("empty", Fault::Body(String::new())),
        ("429", status(429, None)),
        ("429 with seconds", status(429, Some("0"))),
        ("429 with a date", status(429, Some(&date))),
        ("500", status(500, None)),
        ("502", status(502, None)),
        ("503", status(503, Some("0.01"))),
        ("408", status(408, None)),
    ]
}

fn httpdate(after: Duration) -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now() + after)
}

#[test]
fn what_is_the_moments_fault_is_asked_again_within_the_budget() {
    for kind in KINDS {
        let served = Served::new(kind);
        for (name, fault) in transient() {
            let (server, model) = opened(served.clone());
            server.script(times(RETRIES as usize, fault.clone()));
            let reply = generate(&model, request()).unwrap_or_else(|error| panic!("{kind:?} {name}: {error}"));
            let (text, finish, ..) = expected(&served, &request());
            assert_eq!((reply.text, reply.finish), (text, finish), "{kind:?} {name}");
            assert_eq!(server.counts().most_repeats, RETRIES as usize + 1, "{kind:?} {name}");

            server.reset();
            server.script(times(usize::MAX, fault));
            let error = generate(&model, request()).unwrap_err();
            assert!(matches!(error, ModelError::Gone { .. } | ModelError::Reply { .. }), "{kind:?} {name}: {error}");
            assert!(error.to_string().contains("gave up after 4 tries"), "{kind:?} {name}: {error}");
            assert!(server.counts().most_repeats <= RETRIES as usize + 1, "{kind:?} {name}");
        }
    }
}

#[test]
fn scores_survive_the_moments_faults() {
    for kind in KINDS {
        let served = Served::new(kind);
        for (name, fault) in transient() {
            let (server, model) = opened(served.clone());
            server.script(times(1, fault));
            let request = score("what?", "42 is the answer to everything");
            let given = loglikelihood(&model, request.clone()).unwrap_or_else(|e| panic!("{kind:?} {name}: {e}"));
            for (given, expected) in given.iter().zip(reference_score(&served, &request)) {
                assert!((given.logprob - expected).abs() < 1e-9, "{kind:?} {name}");
            }
            assert_eq!(server.counts().most_repeats, 2, "{kind:?} {name}");
        }
    }
}

#[test]
fn what_another_try_cannot_mend_is_asked_once() {
    let check = |name: &str, fault: Fault, told: &[&str]| {
        for kind in KINDS {
            let (server, model) = opened(Served::new(kind));
            server.script(times(usize::MAX, fault.clone()));
            let error = generate(&model, request()).unwrap_err();
            for words in told {
                assert!(error.to_string().contains(words), "{kind:?} {name}: expected {words:?} in {error}");
            }
            assert_eq!(server.counts().posts, 1, "{kind:?} {name}");
        }
    };
    check(
        "401",
        Fault::status(401, "who?"),
        &["expected credentials", "name its environment variable with `api-key-env`"],
    );
    check("403", Fault::status(403, "no"), &["HTTP 403"]);
    check("400", Fault::status(400, "bad field"), &["HTTP 400", "bad field"]);
    check("404", Fault::status(404, "nothing here"), &["HTTP 404"]);
    check("too long", Fault::status(400, "maximum context length is 9 tokens"), &["at most 4096 tokens"]);
    check("another shape", Fault::Body(r#"{"answer": 42}"#.to_owned()), &["in its documented shape", "answer"]);
    check("a list", Fault::Body("[]".to_owned()), &["in its documented shape"]);
    check("an error with 200", Fault::Body(r#"{"error":{"message":"oops"}}"#.to_owned()), &["oops"]);
}

#[test]
fn a_prompt_that_does_not_fit_is_never_sent() {
    for kind in KINDS {
        let (server, model) = opened(Served { context: 200, ..Served::new(kind) });
        let error = generate(&model, greedy(&"x".repeat(200), &[], 9)).unwrap_err();
        assert!(matches!(error, ModelError::ContextExceeded { limit: 200, .. }), "{error}");
        let error = loglikelihood(&model, score(&"x".repeat(200), "42")).unwrap_err();
        assert!(matches!(error, ModelError::ContextExceeded { limit: 200, .. }), "{error}");
        assert_eq!(server.counts().posts, 0);
    }
}

/// Where a dialect's reply holds the scored log-probability of a token at a place.
fn scored(kind: Kind, reply: &mut Value, index: usize, id: u32) -> &mut Value {
    match kind {
        Kind::Vllm => &mut reply["choices"][index]["logprobs"]["top_logprobs"][0][format!("token_id:{id}")],
        Kind::Sglang => &mut reply["meta_info"]["input_token_logprobs"][index + 1][0],
        Kind::LlamaCpp => &mut reply["completion_probabilities"][0]["logprob"],
        Kind::OpenAi => unreachable!(),
    }
}

#[test]
fn a_value_that_is_no_log_probability_names_its_token() {
    let check = |name: &str, value: Value, told: &str| {
        for kind in KINDS {
            let (server, model) = opened(Served::new(kind));
            let value = value.clone();
            server.script(move |_| {
                let value = value.clone();
                Some(Fault::edit(move |reply| *scored(kind, reply, 0, 52) = value.clone()))
            });
            let error = loglikelihood(&model, score("what?", "4")).unwrap_err();
            let ModelError::NotFinite { given, index: 0, .. } = &error else { panic!("{kind:?} {name}: {error}") };
            assert!(given.contains(told), "{kind:?} {name}: {given}");
            assert_eq!(server.counts().posts, 1, "{kind:?} {name}");
        }
    };
    check("null", Value::Null, "none");
    check("positive", json!(0.25), "0.25");
    check("-9999", json!(-9999.0), "-9999");
    check("the least number", json!(-3.402_823_466_385_288_6e38), "which stands for -inf");
    check("a word", json!("NaN"), "NaN");
}

#[test]
fn a_bare_nan_is_no_malformed_reply_but_a_fault_of_its_token() {
    for kind in KINDS {
        let (server, model) = opened(Served::new(kind));
        server.script(move |_| {
            Some(Fault::Rewrite(std::sync::Arc::new(move |text| {
                let mut reply: Value = serde_json::from_str(&text).unwrap();
                *scored(kind, &mut reply, 0, 52) = json!("here");
                reply.to_string().replace("\"here\"", "NaN")
            })))
        });
        let error = loglikelihood(&model, score("what?", "4")).unwrap_err();
        assert!(matches!(&error, ModelError::NotFinite { index: 0, .. }), "{kind:?}: {error}");
        assert_eq!(server.counts().posts, 1, "{kind:?}");
    }
}

#[test]
fn the_index_is_the_tokens_place_in_the_continuation() {
    for (kind, index) in [(Kind::Vllm, 23), (Kind::Sglang, 23)] {
        let (server, model) = opened(Served::new(kind));
        server.script(move |seen| {
            let second = seen.body["logprob_token_ids"].is_null() || seen.nth == 1;
            let place = if kind == Kind::Vllm { index - 20 } else { index };
            second.then(|| Fault::edit(move |reply| *scored(kind, reply, place, 120) = Value::Null))
        });
        let error = loglikelihood(&model, score("what?", "abcdefghijklmnopqrstuvwxyz")).unwrap_err();
        assert!(matches!(&error, ModelError::NotFinite { index: 23, .. }), "{kind:?}: {error}");
    }
}

#[test]
fn choices_in_another_order_are_put_in_order_and_doubles_are_refused() {
    let served = Served::new(Kind::Vllm);
    let (server, model) = opened(served.clone());
    server.script(|_| Some(Fault::edit(|reply| reply["choices"].as_array_mut().unwrap().reverse())));
    let request = score("what?", "42 is it");
    let given = loglikelihood(&model, request.clone()).unwrap();
    for (given, expected) in given.iter().zip(reference_score(&served, &request)) {
        assert!((given.logprob - expected).abs() < 1e-9);
    }
    let refused = |edit: fn(&mut Vec<Value>)| {
        server.script(move |_| Some(Fault::edit(move |reply| edit(reply["choices"].as_array_mut().unwrap()))));
        loglikelihood(&model, request.clone()).unwrap_err().to_string()
    };
    assert!(refused(|choices| choices[1] = choices[0].clone()).contains("each once"));
    assert!(refused(|choices| choices.push(choices[0].clone())).contains("each once"));
    assert!(refused(|choices| drop(choices.pop())).contains("each once"));
}

#[test]
fn a_reply_that_contradicts_itself_is_refused() {
    let check = |kind: Kind, name: &str, edit: fn(&mut Value), told: &str| {
        let (server, model) = opened(Served::new(kind));
        server.script(move |_| Some(Fault::edit(edit)));
        let error = generate(&model, request()).unwrap_err();
        assert!(matches!(error, ModelError::Reply { .. } | ModelError::Changed { .. }), "{kind:?} {name}: {error}");
        assert!(error.to_string().contains(told), "{kind:?} {name}: {error}");
        assert_eq!(server.counts().posts, 1, "{kind:?} {name}");
    };
    let vllm = Kind::Vllm;
    check(
        vllm,
        "a stop string that is not there",
        |r| {
            r["choices"][0]["finish_reason"] = json!("stop");
            r["choices"][0]["stop_reason"] = json!("\n\n");
        },
        "as the tokens show",
    );
    check(vllm, "a stop for the budget", |r| r["choices"][0]["finish_reason"] = json!("stop"), "as the tokens show");
    check(vllm, "an abort", |r| r["choices"][0]["finish_reason"] = json!("abort"), "abort");
    check(vllm, "no log-probabilities", |r| r["choices"][0]["logprobs"] = Value::Null, "`logprobs`");
    check(
        vllm,
        "a token less",
        |r| drop(r["choices"][0]["logprobs"]["tokens"].as_array_mut().unwrap().pop()),
        "drawn tokens",
    );
    check(vllm, "words for ids", |r| r["choices"][0]["logprobs"]["tokens"][0] = json!("the"), "token_id");
    check(vllm, "a shorter prompt", |r| r["usage"]["prompt_tokens"] = json!(3), "prompt tokens read");
    check(vllm, "another model", |r| r["model"] = json!("other"), "a reply of `other`");
    check(
        Kind::Sglang,
        "no entries",
        |r| r["meta_info"]["output_token_logprobs"] = Value::Null,
        "output_token_logprobs",
    );
    check(Kind::Sglang, "no reason", |r| r["meta_info"]["finish_reason"] = Value::Null, "finish reason");
    check(Kind::LlamaCpp, "a cut prompt", |r| r["truncated"] = json!(true), "truncated");
    check(Kind::LlamaCpp, "no tokens", |r| r["tokens"] = Value::Null, "`tokens`");
    check(Kind::LlamaCpp, "no reason", |r| r["stop_type"] = json!("none"), "stop_type");
}

#[test]
fn a_slow_body_is_waited_for_and_a_late_one_is_not() {
    let served = Served::new(Kind::Vllm);
    let server = cord_testkit::TestServer::start(served);
    let mut settings = world::settings(&[&server]);
    settings.timeout = Duration::from_millis(300);
    settings.retries = 1;
    let model =
        futures::executor::block_on(cord_client::ServedModel::open(&world::network(), settings, world::renderer()))
            .unwrap();
    server.reset();
    server.script(|_| Some(Fault::Slow(8, Duration::from_millis(10))));
    generate(&model, request()).unwrap();
    server.reset();
    server.script(|_| Some(Fault::Late(Duration::from_secs(3))));
    let error = generate(&model, request()).unwrap_err();
    assert!(error.to_string().contains("within 0.3 s"), "{error}");
    assert_eq!(server.counts().posts, 2);
    // The server is told, so that it stops working: both tries were hung up on.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.counts().abandoned, 2);
}
