//! Replies a second that one process sustains against a server that answers at once.
//!
//! `cargo run --release -p cord-client --example replies [-- <requests> <at once> <prompt bytes>]`
//!
//! The server runs in the same process and shares its cores; what is measured is client and server together.

use std::num::NonZeroUsize;
use std::time::Instant;

use cord_client::{Network, ServedModel, ServerSettings};
use cord_core::{GenerateRequest, LanguageModel, Message, Opening, Prompt, Sampling, ScoreRequest, Seed};
use cord_testkit::{ByteVocabulary, Kind, Served, TestServer};
use cord_text::Renderer;
use futures::executor::block_on;
use futures::stream::{self, StreamExt};

#[expect(clippy::print_stdout, reason = "what it measures")]
fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let number = |place: usize, default: usize| numbers.get(place).copied().unwrap_or(default);
    let (requests, at_once, bytes) = (number(0, 20_000), number(1, 128), number(2, 2_000));

    let folder = std::env::temp_dir().join(format!("cord-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the tokenizer");
    ByteVocabulary::new().write(&folder).expect("the tokenizer can be written");
    let renderer = Renderer::from_dir(&folder).expect("the tokenizer can be read");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");

    let network = Network::start(2).expect("threads");
    println!("{requests} requests, {at_once} at once, prompts of {bytes} tokens");
    for kind in [Kind::Vllm, Kind::Sglang, Kind::LlamaCpp] {
        let server = TestServer::start(Served { context: 1 << 20, ..Served::new(kind) });
        let mut settings = ServerSettings::at([server.url()]);
        settings.concurrency = at_once as u32;
        let model =
            block_on(ServedModel::open(&network, settings, renderer.clone())).expect("the server can be opened");
        server.change(|served| served.canned = true);
        let prompt = |index: usize| Prompt {
            messages: vec![Message::user(format!("question {index}"))],
            opening: Opening::Think,
            prefix: "x".repeat(bytes),
        };
        let at_once = NonZeroUsize::new(at_once).expect("at least one at once").get();

        let begun = Instant::now();
        let generated = block_on(
            stream::iter(0..requests)
                .map(|index| {
                    model.generate(GenerateRequest {
                        prompt: prompt(index),
                        stop: vec!["\n\n".to_owned()],
                        max_tokens: 13,
                        sampling: Sampling::default(),
                        seed: Seed::root(index as u64),
                    })
                })
                .buffer_unordered(at_once)
                .fold(0, async |count, reply| {
                    reply.expect("a canned reply");
                    count + 1
                }),
        );
        let generating = begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        let scored = block_on(
            stream::iter(0..requests / 10)
                .map(|index| {
                    model.loglikelihood(ScoreRequest { prompt: prompt(index), continuation: "42}".to_owned() })
                })
                .buffer_unordered(at_once)
                .fold(0, async |count, reply| count + reply.map_or(0, |_| 1)),
        );
        let scoring = begun.elapsed().as_secs_f64();
        println!(
            "{kind:?}: {:.0} generations/s, {:.0} scores/s ({scored} of {} scored)",
            f64::from(generated) / generating,
            f64::from(scored) / scoring,
            requests / 10,
        );
    }
}
