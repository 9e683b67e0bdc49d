//! A real model in this process and behind real servers: the same numbers, and what a prefix cache saves.
//!
//! Ignored unless asked for, because they need what `scripts/real-servers install` makes; `scripts/real-servers test` starts
//! the servers and runs them.
#![expect(clippy::print_stderr, reason = "a measurement says what it found")]

use std::path::{Path, PathBuf};

use cord_client::{Network, ServedModel, ServerSettings};
use cord_core::{
    GenerateRequest, LanguageModel, Message, Opening, Prompt, REWARD_LABELS, Sampling, ScoreRequest, Seed, SeedStream,
};
use cord_lm::{Engine, EngineSettings, load, open_device};
use cord_text::Renderer;
use futures::executor::block_on;
use futures::future::join_all;

/// The f32 weights of SmolLM2-135M-Instruct.
const SERVER: &str = "http://127.0.0.1:8142";
const SMOLLM2: &str = "smollm2-135m";
/// The server that `scripts/real-servers start-prm` starts.
const REWARDS: &str = "CORD_REWARD_SERVER";
/// Another server of them, vLLM's for example, that is asked too if it is named.
const OTHER: &str = "CORD_OTHER_SERVER";
/// How many pairs are compared, where 200 take too long: one core reads some sixty tokens a second.
const PAIRS: &str = "CORD_PAIRS";

fn folder(model: &str) -> PathBuf {
    let root = std::env::var_os("CORD_SERVERS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache/cord-servers"),
        PathBuf::from,
    );
    root.join("models").join(model)
}

fn engine(folder: &Path) -> Engine {
    let device = open_device("cpu".parse().unwrap()).unwrap();
    let model = load(folder, "here", &device).expect("run `scripts/real-servers install` first");
    Engine::start(model, EngineSettings::default()).unwrap()
}

fn served(address: &str, folder: &Path) -> ServedModel {
    let network = Network::start(2).unwrap();
    let mut settings = ServerSettings::at([address]);
    settings.retries = 1;
    let renderer = Renderer::from_dir(folder).unwrap();
    block_on(ServedModel::open(&network, settings, renderer)).expect("run `scripts/real-servers start` first")
}

/// What is varied: language, digits, markup, white space, letters outside of Latin.
const PIECES: [&str; 16] = [
    "The sum of the first terms is",
    " 3 + 4 = 7, so the remainder is 2.",
    "\n### Step 2. ",
    "Let $x^2 - 5x + 6 = 0$. Then $(x-2)(x-3) = 0$.",
    "\n\n",
    " Natalia sold clips to 48 of her friends in April,",
    " \\frac{1}{2}\\sqrt{3}",
    " Weng earns $12 an hour for babysitting.",
    " Überprüfe das Ergebnis: 1.234,56 €.",
    " 答案是四十二。",
    " wait, let me check this again…",
    "    indented\tand tabbed",
    " def f(n): return n * f(n - 1)",
    " Therefore, by induction, the claim holds for all n ≥ 1.",
    " 2024-11-25 17:03:59.001",
    " half of 96 is 48; half of 48 is 24; half of 24 is 12.",
];
const ANSWERS: [&str; 10] = [
    "42}",
    "\\frac{7}{12}}",
    "-3.25}",
    "x^2+1}",
    "18 dollars}",
    "(2, 3)}",
    "\\text{no}}",
    "1{,}000{,}000}",
    "seven}",
    "0.5\\%}",
];

/// A question with some reasoning, of up to two hundred tokens, and an answer.
fn pair(stream: &mut SeedStream) -> ScoreRequest {
    let mut text = |most: u64| -> String {
        (0..=stream.below(most)).map(|_| PIECES[stream.below(PIECES.len() as u64) as usize]).collect()
    };
    let (question, reasoning) = (text(4), text(12));
    let opening = if stream.below(2) == 0 { Opening::Plain } else { Opening::Think };
    let prefix = format!("{reasoning}\nThe final answer is \\boxed{{");
    let answer = ANSWERS[stream.below(ANSWERS.len() as u64) as usize];
    ScoreRequest {
        prompt: Prompt { messages: vec![Message::user(question)], opening, prefix },
        continuation: answer.to_owned(),
    }
}

#[test]
#[ignore = "needs a server: scripts/real-servers start-prm"]
fn reward_heads_agree() {
    let address = std::env::var(REWARDS).unwrap_or_else(|_| panic!("expected the server's address as {REWARDS}"));
    let folder = folder("tiny-prm");
    let (here, there) = (engine(&folder), served(&address, &folder));
    let mut stream = Seed::root(3).named("steps").stream();
    let pairs: Vec<ScoreRequest> = (0..200)
        .map(|index| {
            let pair = pair(&mut stream);
            let prefix = format!("{}<extra_0>", pair.prompt.prefix);
            let prompt = Prompt { opening: Opening::Plain, prefix, ..pair.prompt };
            ScoreRequest { prompt, continuation: REWARD_LABELS[index % 2].to_owned() }
        })
        .collect();
    let ask = |model: &dyn LanguageModel| -> Vec<f64> {
        let replies = block_on(join_all(pairs.iter().map(|pair| model.loglikelihood(pair.clone()))));
        replies.into_iter().map(|reply| reply.unwrap()[0].logprob.exp()).collect()
    };
    let (expected, given) = (ask(&here), ask(&there));
    let worst = expected.iter().zip(&given).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let (low, high) = expected.iter().fold((1.0f64, 0.0f64), |(low, high), p| (low.min(*p), high.max(*p)));
    eprintln!(
        "rewards: {} labels, probabilities from {low:.3} to {high:.3}, worst difference {worst:.2e}",
        pairs.len()
    );
    assert!(worst < 1e-4 && high - low > 0.5);
}

#[test]
#[ignore = "needs servers: scripts/real-servers test"]
fn log_likelihoods_agree() {
    let here = engine(&folder(SMOLLM2));
    let mut others = vec![("llama.cpp", served(SERVER, &folder(SMOLLM2)))];
    if let Ok(address) = std::env::var(OTHER) {
        others.push(("the other server", served(&address, &folder(SMOLLM2))));
    }
    let mut stream = Seed::root(3).named("pairs").stream();
    let count = std::env::var(PAIRS).map_or(200, |count| count.parse().expect("a number of pairs"));
    let pairs: Vec<ScoreRequest> = (0..count).map(|_| pair(&mut stream)).collect();
    let expected = block_on(join_all(pairs.iter().map(|pair| here.loglikelihood(pair.clone()))));
    for (name, other) in &others {
        let (mut worst, mut sum, mut tokens) = (0.0f64, 0.0, 0);
        let given = block_on(join_all(pairs.iter().map(|pair| other.loglikelihood(pair.clone()))));
        for ((pair, expected), given) in pairs.iter().zip(&expected).zip(given) {
            let (expected, given) = (expected.as_ref().unwrap(), given.unwrap());
            assert_eq!(expected.len(), given.len());
            for (a, b) in expected.iter().zip(&given) {
                assert_eq!(a.token, b.token);
                let apart = (a.logprob - b.logprob).abs();
                assert!(apart < 1e-3, "{name}: {} and {} for token {} of {pair:?}", a.logprob, b.logprob, a.token);
                worst = worst.max(apart);
                sum += apart;
                tokens += 1;
            }
        }
        eprintln!(
            "{name}: {count} pairs, {tokens} tokens, worst difference {worst:.1e}, mean {:.1e}",
            sum / f64::from(tokens)
        );
    }
}

#[test]
#[ignore = "needs servers: scripts/real-servers test"]
fn greedy_texts_agree() {
    let (here, there) = (engine(&folder(SMOLLM2)), served(SERVER, &folder(SMOLLM2)));
    let questions =
        ["What is 17 + 25?", "Name three colours.", "Write a short poem about the sea.", "What is a prime number?"];
    let request = |question: &str| GenerateRequest {
        prompt: Prompt { messages: vec![Message::user(question)], opening: Opening::Plain, prefix: String::new() },
        stop: vec!["\n\n".to_owned()],
        max_tokens: 60,
        sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
        seed: Seed::root(1),
    };
    for question in questions {
        let (a, b) =
            block_on(async { futures::join!(here.generate(request(question)), there.generate(request(question))) });
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((&a.text, &a.finish, a.usage), (&b.text, &b.finish, b.usage), "{question}");
        eprintln!("{question}: {} tokens, {:?}", a.usage.generated_tokens, a.finish);
    }
}

/// A trajectory of 40 steps, scored after each: the tokens that were evaluated, against those of reading all anew each time.
#[test]
#[ignore = "needs servers: scripts/real-servers test"]
fn scoring_a_growing_trajectory_reads_what_is_new() {
    let here = engine(&folder(SMOLLM2));
    let there = served(SERVER, &folder(SMOLLM2));
    let renderer = Renderer::from_dir(&folder(SMOLLM2)).unwrap();
    let question = "A farmer has 48 hens and sells half of them each week. How many are left after four weeks?";
    let mut reasoning = String::new();
    let (mut naive, mut scored) = (0u64, 0u64);
    let before = (here.reads(), there.stats().total(|endpoint| endpoint.evaluated_tokens));
    for step in 1..=40 {
        let piece = PIECES[step % PIECES.len()];
        let begin = format!("### Step {step}. After week {step} we look again: {piece}");
        reasoning += &begin;
        reasoning += " So the number that is left is half of the number before.\n";
        let request = ScoreRequest {
            prompt: Prompt {
                messages: vec![Message::user(question)],
                opening: Opening::Think,
                prefix: format!("{reasoning}</think>\nThe final answer is \\boxed{{"),
            },
            continuation: "3}".to_owned(),
        };
        let prompt = renderer.prompt_ids(&request.prompt).unwrap().len();
        let answer = renderer.continuation_ids(&request.continuation).unwrap().len();
        naive += (prompt + answer) as u64;
        scored += answer as u64;
        let (a, b) = block_on(async {
            futures::join!(here.loglikelihood(request.clone()), there.loglikelihood(request.clone()))
        });
        for (a, b) in a.unwrap().iter().zip(b.unwrap()) {
            assert!((a.logprob - b.logprob).abs() < 1e-3, "step {step}: {} and {}", a.logprob, b.logprob);
        }
    }
    let read_here = here.reads().read - before.0.read;
    let read_there = there.stats().total(|endpoint| endpoint.evaluated_tokens) - before.1;
    for (name, read) in [("in process", read_here), ("llama.cpp, by its own count", read_there)] {
        let ratio = read as f64 / naive as f64;
        eprintln!(
            "{name}: {read} tokens evaluated, {naive} by reading all anew ({scored} of answers): ratio {ratio:.3}"
        );
        assert!(ratio < 0.25, "{name}: {ratio}");
    }
}
