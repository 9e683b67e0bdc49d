//! A journaled model: asked once, answered for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cord_core::{
    BoxFuture, Capabilities, Digest, Finish, GenerateRequest, Generation, LanguageModel, Message, ModelError, ModelId,
    Opening, Prompt, Sampling, ScoreRequest, Seed, TokenLogprob, Usage,
};
use cord_store::{Counters, Journal, Journaled};
use futures::channel::oneshot;
use futures::executor::block_on;
use futures::future::{FutureExt, join_all};

/// Answers with how often it was asked; fails where the prefix says so; waits where it has a gate.
struct Counting {
    id: ModelId,
    asked: AtomicU64,
    gate: Option<futures::future::Shared<oneshot::Receiver<()>>>,
}

impl Counting {
    fn new(weights: &str) -> Self {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let id = ModelId {
            name: "counting".into(),
            weights: digest(weights),
            tokenizer: digest("tokenizer"),
            template: digest("template"),
        };
        Self { id, asked: AtomicU64::new(0), gate: None }
    }
}

impl LanguageModel for Counting {
    fn identity(&self) -> &ModelId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, loglikelihood: true, context: 100, deterministic: false }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let text = self.asked.fetch_add(1, Ordering::SeqCst).to_string();
            if let Some(gate) = self.gate.clone() {
                gate.await.expect("the test opens the gate");
            }
            if request.prompt.prefix == "fail" {
                return Err(ModelError::Gone { model: "counting".into(), reason: text });
            }
            Ok(Generation { text, finish: Finish::Eos, mean_logprob: None, usage: Usage::default() })
        })
    }

    fn loglikelihood(&self, _: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(vec![TokenLogprob { token: 1, logprob: -(asked as f64) / 3.0 }]) })
    }
}

fn request(prefix: &str, sample: u64) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt { messages: vec![Message::user("q")], opening: Opening::Think, prefix: prefix.into() },
        stop: vec![],
        max_tokens: 5,
        sampling: Sampling::default(),
        seed: Seed::root(1).indexed(sample),
    }
}

fn score(continuation: &str) -> ScoreRequest {
    ScoreRequest { prompt: request("", 0).prompt, continuation: continuation.into() }
}

struct Bench {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    journal: Arc<Journal>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Arc::new(Journal::open(&path).unwrap());
        Self { _folder: folder, path, journal }
    }
}

#[test]
fn a_hit_is_answered_without_the_model() {
    let bench = Bench::new();
    let model = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&bench.journal));
    let ask = |model: &Journaled, prefix, sample| block_on(model.generate(request(prefix, sample))).unwrap().text;
    assert_eq!(ask(&model, "a", 0), "0");
    assert_eq!(ask(&model, "a", 0), "0");
    assert_eq!(ask(&model, "a", 1), "1", "another sample is another request");
    assert_eq!(ask(&model, "b", 0), "2");
    let first = block_on(model.loglikelihood(score("x"))).unwrap();
    assert_eq!(block_on(model.loglikelihood(score("x"))).unwrap(), first);
    assert_eq!(model.counters(), Counters { hits: 2, misses: 4, joined: 0 });

    // Another process, the same journal.
    let journal = Arc::new(Journal::open(&bench.path).unwrap());
    let again = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&journal));
    assert_eq!(ask(&again, "b", 0), "2");
    assert_eq!(again.counters(), Counters { hits: 1, misses: 0, joined: 0 });
    // Other weights, other replies; another name, the same.
    let other = Journaled::new(Arc::new(Counting::new("other")), Arc::clone(&journal));
    assert_eq!(ask(&other, "b", 0), "0");
    let mut renamed = Counting::new("w");
    renamed.id.name = "renamed".into();
    let renamed = Journaled::new(Arc::new(renamed), journal);
    assert_eq!(ask(&renamed, "b", 0), "2");
}

#[test]
fn an_error_is_asked_again() {
    let bench = Bench::new();
    let model = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&bench.journal));
    for times in 0..2 {
        let error = block_on(model.generate(request("fail", 0))).unwrap_err();
        assert_eq!(error, ModelError::Gone { model: "counting".into(), reason: times.to_string() });
    }
    assert!(bench.journal.is_empty());
}

#[test]
fn identical_requests_under_way_are_asked_once() {
    let bench = Bench::new();
    let (open, gate) = oneshot::channel();
    let mut counting = Counting::new("w");
    counting.gate = Some(gate.shared());
    let model: Arc<dyn LanguageModel> = Arc::new(counting);
    // Two roles of one model share the journal, and so what is under way.
    let roles = [(); 2].map(|()| Journaled::new(Arc::clone(&model), Arc::clone(&bench.journal)));
    let asked: Vec<_> = (0..10).map(|n| roles[n % 2].generate(request("a", 0))).collect();
    let all = async {
        let replies = join_all(asked);
        futures::pin_mut!(replies);
        assert!(futures::poll!(&mut replies).is_pending());
        open.send(()).unwrap();
        replies.await
    };
    let replies = block_on(all);
    assert!(replies.iter().all(|reply| reply.as_ref().unwrap().text == "0"));
    let total = roles.iter().map(Journaled::counters).fold((0, 0), |t, c| (t.0 + c.misses, t.1 + c.joined));
    assert_eq!(total, (1, 9));
    assert_eq!(bench.journal.len(), 1);
}

#[test]
fn a_caller_who_goes_away_takes_no_one_with_him() {
    let bench = Bench::new();
    let (open, gate) = oneshot::channel();
    let mut counting = Counting::new("w");
    counting.gate = Some(gate.shared());
    let model = Journaled::new(Arc::new(counting), Arc::clone(&bench.journal));
    let reply = block_on(async {
        let mut first = model.generate(request("a", 0));
        let mut second = model.generate(request("a", 0));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        open.send(()).unwrap();
        second.await
    });
    assert_eq!(reply.unwrap().text, "0");
}

#[test]
fn a_question_that_all_left_is_asked_anew() {
    let bench = Bench::new();
    let (_never, gate) = oneshot::channel();
    let mut counting = Counting::new("w");
    counting.gate = Some(gate.shared());
    let waiting = Journaled::new(Arc::new(counting), Arc::clone(&bench.journal));
    block_on(async {
        let mut asked = waiting.generate(request("a", 0));
        assert!(futures::poll!(&mut asked).is_pending());
    });
    let model = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&bench.journal));
    assert_eq!(block_on(model.generate(request("a", 0))).unwrap().text, "0");
    assert_eq!(model.counters(), Counters { hits: 0, misses: 1, joined: 0 });
}

#[test]
fn threads_share_a_journal() {
    let bench = Bench::new();
    let model = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&bench.journal));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50 {
                    block_on(model.generate(request("a", n))).unwrap();
                }
            });
        }
    });
    assert_eq!(bench.journal.len(), 50);
    let counters = model.counters();
    assert_eq!((counters.misses, counters.hits + counters.joined), (50, 150));
    assert_eq!(Journal::open(&bench.path).unwrap().len(), 50);
}

#[test]
fn what_stages_share_costs_each_of_them_its_own() {
    let bench = Bench::new();
    let stage = || Journaled::new(Arc::new(Counting::new("w")), Arc::clone(&bench.journal));
    let (first, second) = (stage(), stage());
    for (model, prefixes) in [(&first, &["a", "b", "a"][..]), (&second, &["b", "c"])] {
        for prefix in prefixes {
            block_on(model.generate(request(prefix, 0))).unwrap();
        }
    }
    assert_eq!((first.spent().replies, second.spent().replies), (2, 2), "a reply counts once, whoever asked for it");
    assert_eq!((first.counters().misses, second.counters().misses), (2, 1));
    // Taken up by another process, each counts what it is answered with.
    let again = Journaled::new(Arc::new(Counting::new("w")), Arc::new(Journal::open(&bench.path).unwrap()));
    block_on(again.generate(request("a", 0))).unwrap();
    assert_eq!((again.spent().replies, again.counters().misses), (1, 0));
}

#[test]
fn an_arm_finds_all_that_another_asked_however_long_the_journal_is() {
    const REQUESTS: u64 = 10_000;
    let bench = Bench::new();
    let ask = |journal: &Arc<Journal>, requests: std::ops::Range<u64>| {
        let arm = Journaled::new(Arc::new(Counting::new("w")), Arc::clone(journal));
        let replies: Vec<_> = requests.map(|n| block_on(arm.generate(request("p", n))).unwrap()).collect();
        assert_eq!(arm.spent().replies, replies.len() as u64, "each arm pays for what it used");
        (replies, arm.counters())
    };
    let (first, asked) = ask(&bench.journal, 0..REQUESTS);
    assert_eq!(asked, Counters { hits: 0, misses: REQUESTS, joined: 0 });
    let (second, asked) = ask(&bench.journal, 0..REQUESTS);
    assert!(second == first, "an arm is answered what the other was");
    assert_eq!(asked, Counters { hits: REQUESTS, misses: 0, joined: 0 });
    // Killed within a line: the next process finds all but that one, and goes on behind it.
    let length = std::fs::metadata(&bench.path).unwrap().len();
    std::fs::File::options().write(true).open(&bench.path).unwrap().set_len(length - 3).unwrap();
    let opened = Arc::new(Journal::open(&bench.path).unwrap());
    let (third, asked) = ask(&opened, 0..REQUESTS);
    // The model counts its replies: the last, which was asked again, is the first of another model.
    let last = REQUESTS as usize - 1;
    assert!(third[..last] == first[..last], "a resumed arm is answered what it was before");
    assert_eq!(asked, Counters { hits: REQUESTS - 1, misses: 1, joined: 0 });
    assert_eq!(opened.len() as u64, REQUESTS);
}
