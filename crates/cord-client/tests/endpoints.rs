//! Several endpoints, days long: restarts, failover, prefixes, stragglers, keys.

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cord_client::{Hedge, HedgeScope, ServedChat, ServedModel, ServerSettings};
use cord_core::{
    BoxFuture, ChatFinish, ChatModel, ChatRequest, GenerateRequest, LanguageModel, Message, ModelError, Sampling, Seed,
};
use cord_testkit::{Fault, Kind, Served, TestServer};
use futures::executor::block_on;
use futures::future::join_all;
use world::{KINDS, generate, greedy, loglikelihood, network, opened, reference_score, renderer, score, settings};

fn open_with(settings: ServerSettings) -> ServedModel {
    block_on(ServedModel::open(&network(), settings, renderer())).unwrap()
}

#[test]
fn a_restart_with_the_same_model_goes_unnoticed() {
    for kind in KINDS {
        let (mut server, model) = opened(Served::new(kind));
        let before = generate(&model, greedy("q", &[], 9)).unwrap();
        server.restart(|_| {});
        assert_eq!(generate(&model, greedy("q", &[], 9)).unwrap(), before, "{kind:?}");
    }
}

#[test]
fn a_restart_with_another_model_is_an_error_and_stays_one() {
    for kind in KINDS {
        let (mut server, model) = opened(Served::new(kind));
        generate(&model, greedy("q", &[], 9)).unwrap();
        server.restart(|served| {
            served.root = "org/other".to_owned();
            served.weights = 9;
        });
        for _ in 0..2 {
            let error = generate(&model, greedy("q", &[], 9)).unwrap_err();
            assert!(matches!(error, ModelError::Changed { .. }), "{kind:?}: {error}");
            assert!(error.to_string().contains("other"), "{kind:?}: {error}");
            let error = loglikelihood(&model, score("q", "42")).unwrap_err();
            assert!(matches!(error, ModelError::Changed { .. }), "{kind:?}: {error}");
        }
        server.restart(|served| *served = Served::new(kind));
        generate(&model, greedy("q", &[], 9)).unwrap();
    }
}

#[test]
fn a_model_of_another_name_is_noticed_without_a_new_connection() {
    let (server, model) = opened(Served::new(Kind::Vllm));
    generate(&model, greedy("q", &[], 9)).unwrap();
    server.change(|served| served.name = "other".to_owned());
    let error = generate(&model, greedy("q", &[], 9)).unwrap_err();
    assert!(matches!(error, ModelError::Changed { .. }), "{error}");
}

#[test]
fn the_others_carry_on_when_one_endpoint_dies_and_it_is_taken_back() {
    let mut servers: Vec<TestServer> = (0..3).map(|_| TestServer::start(Served::new(Kind::Vllm))).collect();
    let model = open_with(settings(&servers.iter().collect::<Vec<_>>()));
    let round = |from: usize| {
        let ask = |index| generate_future(&model, &format!("question {index}"));
        block_on(join_all((from..from + 60).map(ask)))
    };
    assert!(round(0).iter().all(Result::is_ok));
    servers[1].kill();
    assert!(round(100).iter().all(Result::is_ok), "no request may be lost to a dead endpoint");
    let dead = model.stats().endpoints[1].clone();
    assert!(dead.outages >= 1 && dead.failed >= 3, "{dead:?}");
    servers[1].revive();
    let until = Instant::now() + Duration::from_secs(10);
    while model.stats().endpoints[1].answered == dead.answered {
        assert!(Instant::now() < until, "the endpoint was never taken back");
        assert!(round(200).iter().all(Result::is_ok));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn generate_future<'m>(
    model: &'m ServedModel,
    question: &str,
) -> BoxFuture<'m, Result<cord_core::Generation, ModelError>> {
    model.generate(greedy(question, &["\n\n"], 9))
}

#[test]
fn requests_of_one_problem_stay_at_one_endpoint_and_problems_spread() {
    let servers: Vec<TestServer> = (0..4).map(|_| TestServer::start(Served::new(Kind::Sglang))).collect();
    let model = open_with(settings(&servers.iter().collect::<Vec<_>>()));
    let mut homes = std::collections::BTreeSet::new();
    // Where a problem is at home depends on the servers' ports: 24 may leave one without any.
    for problem in 0..200 {
        if problem >= 24 && homes.len() == servers.len() {
            break;
        }
        servers.iter().for_each(TestServer::reset);
        for depth in 0..4 {
            let mut request = greedy(&format!("problem {problem}"), &[], 5);
            request.prompt.prefix = "step. ".repeat(depth);
            generate(&model, request).unwrap();
            let mut scoring = score(&format!("problem {problem}"), "42");
            scoring.prompt.prefix = "step. ".repeat(depth);
            loglikelihood(&model, scoring).unwrap();
        }
        let posts: Vec<usize> = servers.iter().map(|server| server.counts().posts).collect();
        assert_eq!(posts.iter().filter(|posts| **posts > 0).count(), 1, "problem {problem}: {posts:?}");
        homes.insert(posts.iter().position(|posts| *posts > 0));
    }
    assert_eq!(homes.len(), 4);
}

#[test]
fn no_endpoint_sees_more_requests_at_once_than_it_may() {
    let server = TestServer::start(Served::new(Kind::Vllm));
    let mut settings = settings(&[&server]);
    settings.concurrency = 3;
    let model = open_with(settings);
    server.reset();
    server.script(|_| Some(Fault::Late(Duration::from_millis(5))));
    let replies = block_on(join_all((0..40).map(|index| generate_future(&model, &format!("q {index}")))));
    assert!(replies.iter().all(Result::is_ok));
    assert_eq!(server.counts().most_at_once, 3);
}

#[test]
fn a_wish_to_be_left_alone_is_heeded() {
    let (server, model) = {
        let server = TestServer::start(Served::new(Kind::Vllm));
        let mut settings = settings(&[&server]);
        settings.backoff.most = Duration::from_secs(5);
        let model = open_with(settings);
        server.reset();
        (server, model)
    };
    let busy = Fault::Status(429, vec![("Retry-After", "0.4".to_owned())], "busy".to_owned());
    server.script(move |seen| (seen.repeat == 0).then(|| busy.clone()));
    let begun = Instant::now();
    generate(&model, greedy("q", &[], 9)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(server.counts().posts, 2);
}

#[test]
fn a_dropped_future_cancels_its_request() {
    let (server, model) = opened(Served::new(Kind::Vllm));
    server.script(|_| Some(Fault::Late(Duration::from_secs(5))));
    {
        let mut asked = model.generate(greedy("q", &[], 9));
        let waker = futures::task::noop_waker();
        assert!(asked.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        let until = Instant::now() + Duration::from_secs(5);
        while server.counts().posts == 0 {
            assert!(Instant::now() < until, "the request was never sent");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let until = Instant::now() + Duration::from_secs(2);
    while server.counts().abandoned == 0 {
        assert!(Instant::now() < until, "the server was not hung up on");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(server.counts().posts, 1);
}

#[test]
fn a_straggler_is_asked_elsewhere_and_the_first_answer_wins() {
    let servers = [TestServer::start(Served::new(Kind::Sglang)), TestServer::start(Served::new(Kind::Sglang))];
    let mut settings = settings(&[&servers[0], &servers[1]]);
    settings.hedge = Some(Hedge { percentile: 0.95, least: Duration::from_millis(30), scope: HedgeScope::Scores });
    let model = open_with(settings);
    for index in 0..40 {
        loglikelihood(&model, score(&format!("warm {index}"), "42")).unwrap();
    }
    servers.iter().for_each(TestServer::reset);
    servers[0].script(|_| Some(Fault::Late(Duration::from_secs(20))));
    let begun = Instant::now();
    // Which problems are at home at the slow server depends on the ports.
    for index in (0..200).take_while(|_| model.stats().total(|endpoint| endpoint.hedges) < 3) {
        let request = score(&format!("slow {index}"), "42");
        let given = loglikelihood(&model, request.clone()).unwrap();
        assert_eq!(given[0].logprob, reference_score(&servers[0].served(), &request)[0]);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let hedges = model.stats().total(|endpoint| endpoint.hedges);
    assert!(hedges >= 3 && servers[0].counts().posts as u64 >= hedges, "{hedges}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(servers[0].counts().abandoned, servers[0].counts().posts, "losers are hung up on");
    assert!(servers.iter().all(|server| server.counts().most_repeats <= 1));
}

#[test]
fn a_deadline_ends_all_tries() {
    let server = TestServer::start(Served::new(Kind::Vllm));
    let mut settings = settings(&[&server]);
    settings.deadline = Some(Duration::from_millis(300));
    settings.retries = 1000;
    let model = open_with(settings);
    server.script(|_| Some(Fault::status(503, "busy")));
    let begun = Instant::now();
    let error = generate(&model, greedy("q", &[], 9)).unwrap_err();
    assert!(matches!(error, ModelError::Overdue { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// Runs itself with the key in its environment: setting a variable in a process of many threads is not safe.
#[test]
fn a_key_is_sent_and_shown_nowhere() {
    const KEY: &str = "sk-do-not-print-me";
    if std::env::var("CORD_TEST_KEY").is_err() {
        let this = std::env::current_exe().unwrap();
        let output = std::process::Command::new(this)
            .args(["--exact", "a_key_is_sent_and_shown_nowhere", "--nocapture"])
            .env("CORD_TEST_KEY", KEY)
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{told}");
        assert!(!told.contains(KEY), "{told}");
        return;
    }
    let server = TestServer::start(Served::new(Kind::Vllm));
    let mut settings = settings(&[&server]);
    settings.api_key_env = Some("CORD_TEST_KEY".to_owned());
    let model = open_with(settings.clone());
    generate(&model, greedy("q", &[], 9)).unwrap();
    assert_eq!(server.counts().keys, [format!("Bearer {KEY}")]);
    // A server that quotes the key it refuses.
    let mut told = vec![format!("{settings:?} {model:?} {:?} {:?}", model.served(), model.stats())];
    for (status, body) in [(401, "bad key"), (400, "no such thing"), (500, "crash")] {
        server.script(move |_| Some(Fault::status(status, &format!("{body}: {KEY}"))));
        let error = generate(&model, greedy("q", &[], 9)).unwrap_err();
        told.push(format!("{error} {error:?}"));
    }
    assert!(told[1].contains("`CORD_TEST_KEY`"), "{}", told[1]);
    assert!(told.iter().all(|told| !told.contains(KEY)), "{told:?}");
}

fn chat_request(text: &str, max_tokens: u32) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::system("Judge."), Message::user(text)],
        max_tokens,
        sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
        seed: Seed::root(3),
    }
}

#[test]
fn a_judge_answers_and_its_version_is_part_of_its_name() {
    let mut server = TestServer::start(Served::new(Kind::OpenAi));
    let mut settings = settings(&[&server]);
    settings.model = Some("tiny".to_owned());
    let judge = block_on(ServedChat::open(&network(), settings.clone())).unwrap();
    assert_eq!(judge.name(), "tiny (tiny-0.32.0)");
    let reply = block_on(judge.chat(chat_request("CORRECT", 99))).unwrap();
    assert_eq!((reply.text.as_str(), reply.finish, reply.usage.generated_tokens), ("CORRECT", ChatFinish::Stop, 7));
    let reply = block_on(judge.chat(chat_request("CORRECT", 3))).unwrap();
    assert_eq!((reply.text.as_str(), reply.finish), ("COR", ChatFinish::Length));
    let check = |fault: Fault, told: &str| {
        server.script(move |_| Some(fault.clone()));
        let error = block_on(judge.chat(chat_request("CORRECT", 99))).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    };
    check(Fault::edit(|reply| reply["choices"][0]["finish_reason"] = "content_filter".into()), "content_filter");
    check(Fault::edit(|reply| reply["choices"][0]["message"]["content"] = serde_json::Value::Null), "an answer");
    check(Fault::Truncate, "gave up after 4 tries");
    check(Fault::status(401, "who?"), "`api-key-env`");
    server.reset();
    server.restart(|served| served.version = "0.33.0".to_owned());
    let error = block_on(judge.chat(chat_request("CORRECT", 99))).unwrap_err();
    assert!(matches!(error, ModelError::Changed { .. }), "{error}");
    settings.model = None;
    let error = block_on(ServedChat::open(&network(), settings)).err().unwrap();
    assert!(error.to_string().contains("`model`"), "{error}");
}

#[test]
fn two_threads_and_two_executors_share_one_model() {
    let (_server, model) = opened(Served::new(Kind::LlamaCpp));
    let model: Arc<dyn LanguageModel> = Arc::new(model);
    let ask = |index: usize| {
        let model = model.clone();
        let request: GenerateRequest = greedy(&format!("q {index}"), &[], 9);
        std::thread::spawn(move || block_on(model.generate(request)).unwrap())
    };
    let threads: Vec<_> = (0..8).map(ask).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
