//! A model's files, servers of it, and requests.

#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use cord_client::{Backoff, ClientError, Network, ServedModel, ServerSettings};
use cord_core::{
    Finish, GenerateRequest, Generation, LanguageModel, Message, ModelError, Opening, Prompt, Sampling, ScoreRequest,
    Seed, TokenLogprob,
};
use cord_testkit::{ByteVocabulary, Kind, Rules, Served, TestServer};
use cord_text::{Renderer, Turn};
use futures::executor::block_on;

pub(crate) const KINDS: [Kind; 3] = [Kind::Vllm, Kind::Sglang, Kind::LlamaCpp];
pub(crate) const RETRIES: u32 = 3;

pub(crate) fn renderer() -> Renderer {
    let folder = tempfile::tempdir().unwrap();
    ByteVocabulary::new().write(folder.path()).unwrap();
    Renderer::from_dir(folder.path()).unwrap()
}

pub(crate) fn network() -> Network {
    Network::start(2).unwrap()
}

/// Quick settings: pauses of milliseconds.
pub(crate) fn settings(servers: &[&TestServer]) -> ServerSettings {
    let mut settings = ServerSettings::at(servers.iter().map(|server| server.url()));
    settings.backoff = Backoff { first: Duration::from_millis(2), most: Duration::from_millis(40) };
    settings.timeout = Duration::from_secs(5);
    settings.retries = RETRIES;
    settings
}

pub(crate) fn open(server: &TestServer) -> Result<ServedModel, ClientError> {
    block_on(ServedModel::open(&network(), settings(&[server]), renderer()))
}

/// A server that was opened and forgot how.
pub(crate) fn opened(served: Served) -> (TestServer, ServedModel) {
    let server = TestServer::start(served);
    let model = open(&server).unwrap();
    server.reset();
    (server, model)
}

pub(crate) fn prompt(question: &str, prefix: &str) -> Prompt {
    Prompt { messages: vec![Message::user(question)], opening: Opening::Think, prefix: prefix.to_owned() }
}

pub(crate) fn greedy(question: &str, stop: &[&str], max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt(question, "Then"),
        stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        max_tokens,
        sampling: Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 },
        seed: Seed::root(1),
    }
}

pub(crate) fn score(question: &str, continuation: &str) -> ScoreRequest {
    ScoreRequest { prompt: prompt(question, "Then"), continuation: continuation.to_owned() }
}

pub(crate) fn generate(model: &ServedModel, request: GenerateRequest) -> Result<Generation, ModelError> {
    block_on(model.generate(request))
}

pub(crate) fn loglikelihood(model: &ServedModel, request: ScoreRequest) -> Result<Vec<TokenLogprob>, ModelError> {
    block_on(model.loglikelihood(request))
}

/// What an in-process model of the same weights would write: its own tokens, cut by the same rule.
pub(crate) fn expected(served: &Served, request: &GenerateRequest) -> (String, Finish, u64, f64) {
    let renderer = renderer();
    let context = renderer.prompt_ids(&request.prompt).unwrap();
    let rules = Rules { sampling: request.sampling, seed: 0, bias: Vec::new(), allowed: None };
    let mut turn = Turn::new(&renderer, &request.stop, request.max_tokens);
    let mut finish = None;
    let tokens = served.model().draw(&context, &rules, |tokens| {
        finish = turn.push(*tokens.last().unwrap()).unwrap();
        finish.is_some()
    });
    let logprobs = reference(served, &context, &tokens);
    let mean = logprobs.iter().sum::<f64>() / logprobs.len() as f64;
    (turn.text().to_owned(), finish.unwrap(), tokens.len() as u64, mean)
}

/// The model's own log-probabilities of a continuation.
pub(crate) fn reference(served: &Served, context: &[u32], continuation: &[u32]) -> Vec<f64> {
    let at = |index: usize| {
        let before = [context, &continuation[..index]].concat();
        served.model().logprobs(&before)[continuation[index] as usize]
    };
    (0..continuation.len()).map(at).collect()
}

pub(crate) fn reference_score(served: &Served, request: &ScoreRequest) -> Vec<f64> {
    let renderer = renderer();
    let context = renderer.prompt_ids(&request.prompt).unwrap();
    reference(served, &context, &renderer.continuation_ids(&request.continuation).unwrap())
}
