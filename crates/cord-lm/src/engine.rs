//! One thread owns a model and gathers requests from all problems into batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use cord_core::{
    BoxFuture, Capabilities, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, REWARDS_ONLY,
    ScoreRequest, TokenLogprob, Usage, reward_label,
};
use cord_text::{Renderer, TextError};
use futures::channel::oneshot;

use crate::checkpoint::LoadedModel;
use crate::decode::{DecodeRequest, Decoded, Decoder};
use crate::queue::{Load, Wait, take};
use crate::score::score;
use crate::{LmError, PrefixCache, Reads, RewardHead, Transformer};

/// How an engine batches. None of it changes a result.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// The most requests in one batch.
    pub max_batch: usize,
    /// The most tokens of the prompts of one batch, padding included; bounds its memory.
    pub max_batch_tokens: usize,
    /// How long a batch that is not full waits for more requests.
    pub linger: Duration,
    /// The most requests that wait; callers wait beyond it.
    pub queue: usize,
    /// Bytes of keys and values that are kept between batches, so that what was read is not read again; on the CPU only.
    pub known_bytes: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_batch: 128,
            max_batch_tokens: 32_768,
            linger: Duration::from_micros(500),
            queue: 4096,
            known_bytes: 1 << 30,
        }
    }
}

struct Generate {
    request: DecodeRequest,
    reply: oneshot::Sender<Result<Generation, ModelError>>,
}

struct Score {
    prompt: Vec<u32>,
    continuation: Vec<u32>,
    reply: oneshot::Sender<Result<Vec<TokenLogprob>, ModelError>>,
}

enum Job {
    Generate(Generate),
    Score(Score),
}

/// A model in this process as a [`LanguageModel`].
///
/// Rendering and tokenizing happen on the caller's thread; the model's thread only reads and draws tokens.
/// Dropping the engine ends the thread, after what it was asked.
pub struct Engine {
    id: ModelId,
    renderer: Arc<Renderer>,
    context: u32,
    vocab: usize,
    /// Has it a reward head in place of a vocabulary?
    rewards: bool,
    reads: Arc<Mutex<Reads>>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread of a loaded model.
    ///
    /// # Errors
    /// [`LmError::Device`] when the system gives no thread.
    pub fn start(model: LoadedModel, settings: EngineSettings) -> Result<Self, LmError> {
        let LoadedModel { transformer, head, renderer, id } = model;
        let rewards = head.is_some();
        let renderer = Arc::new(renderer);
        let (sender, receiver) = async_channel::bounded(settings.queue);
        let (context, vocab) = (transformer.config().context as u32, transformer.config().vocab);
        let known = PrefixCache::new(settings.known_bytes);
        let reads = Arc::new(Mutex::new(Reads::default()));
        let (name, told) = (id.name.clone(), reads.clone());
        let worker = Worker { name, transformer, head, renderer: renderer.clone(), settings, known, reads: told };
        let thread = std::thread::Builder::new()
            .name(format!("model {}", id.name))
            .spawn(move || inner_pool(worker.transformer.config().hidden).install(|| worker.run(&receiver)))
            .map_err(|e| LmError::Device {
                device: "cpu".into(),
                reason: format!("no thread could be started: {e}"),
            })?;
        Ok(Self { id, renderer, context, vocab, rewards, reads, jobs: Some(sender), thread: Some(thread) })
    }

    /// Tokens of prompts and continuations so far, and how many of them had to be read. Zeros on a GPU, where nothing is
    /// kept between batches.
    pub fn reads(&self) -> Reads {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, ModelError> {
        Err(ModelError::Unsupported { model: self.id.name.clone(), what: what.to_owned() })
    }

    fn fits(&self, needed: u64) -> Result<(), ModelError> {
        if needed <= u64::from(self.context) {
            return Ok(());
        }
        Err(ModelError::ContextExceeded { model: self.id.name.clone(), limit: self.context, needed })
    }

    /// Has the embedding a row for every token?
    fn embeds(&self, ids: &[u32]) -> Result<(), ModelError> {
        let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab) else { return Ok(()) };
        let reason = format!("expected token ids below the {} rows of the embedding, got {id}", self.vocab);
        Err(ModelError::Tokenizer { model: self.id.name.clone(), reason })
    }

    async fn submit<T>(&self, job: Job, reply: oneshot::Receiver<Result<T, ModelError>>) -> Result<T, ModelError> {
        let gone = || ModelError::Gone { model: self.id.name.clone(), reason: "its thread ended".into() };
        let jobs = self.jobs.as_ref().expect("the sender lives as long as the engine");
        jobs.send(job).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the model's thread was already answered to every caller as `Gone`.
            let _ = thread.join();
        }
    }
}

impl LanguageModel for Engine {
    fn identity(&self) -> &ModelId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: !self.rewards, loglikelihood: true, context: self.context, deterministic: true }
    }

    fn cached_tokens(&self) -> Option<u64> {
        let reads = self.reads();
        (reads.asked > 0).then_some(reads.asked - reads.read)
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            if self.rewards {
                return self.unsupported(REWARDS_ONLY);
            }
            let text = |e| text_fault(&self.id.name, &e);
            let prompt = self.renderer.prompt_ids(&request.prompt).map_err(text)?;
            self.embeds(&prompt)?;
            self.fits(prompt.len() as u64 + u64::from(request.max_tokens))?;
            let (reply, receiver) = oneshot::channel();
            let GenerateRequest { stop, max_tokens, sampling, seed, .. } = request;
            let request = DecodeRequest { prompt, stop, max_tokens, sampling, seed };
            self.submit(Job::Generate(Generate { request, reply }), receiver).await
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let text = |e| text_fault(&self.id.name, &e);
            let prompt = self.renderer.prompt_ids(&request.prompt).map_err(text)?;
            if self.rewards {
                let label = match reward_label(&request.continuation) {
                    Ok(label) => label,
                    Err(what) => return self.unsupported(&what),
                };
                self.embeds(&prompt)?;
                self.fits(prompt.len() as u64)?;
                let (reply, receiver) = oneshot::channel();
                return self.submit(Job::Score(Score { prompt, continuation: vec![label], reply }), receiver).await;
            }
            let continuation = self.renderer.continuation_ids(&request.continuation).map_err(text)?;
            if continuation.is_empty() {
                let (model, continuation) = (self.id.name.clone(), request.continuation);
                return Err(ModelError::EmptyContinuation { model, continuation });
            }
            self.embeds(&prompt)?;
            self.embeds(&continuation)?;
            self.fits((prompt.len() + continuation.len()) as u64)?;
            let (reply, receiver) = oneshot::channel();
            self.submit(Job::Score(Score { prompt, continuation, reply }), receiver).await
        })
    }
}

/// The threads that one operation of a model of this width is spread over.
///
/// A narrow model's operations are too small to share: handing them to other threads costs more than it saves, and those
/// threads have models of their own to run.
///
/// # Panics
/// When the system gives no thread.
pub fn inner_pool(hidden: usize) -> rayon::ThreadPool {
    // None asked for leaves the number to the machine.
    let threads = usize::from(hidden < 512);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("the system gives threads")
}

/// What the model's thread owns.
struct Worker {
    name: String,
    transformer: Transformer,
    head: Option<RewardHead>,
    renderer: Arc<Renderer>,
    settings: EngineSettings,
    known: PrefixCache,
    reads: Arc<Mutex<Reads>>,
}

/// A request that is being generated: what its reply needs.
struct Running {
    prompt_tokens: u64,
    reply: oneshot::Sender<Result<Generation, ModelError>>,
}

impl Worker {
    /// Answers requests until nobody can ask any more. A score is made between two tokens of those that are being generated, and what is
    /// to be generated joins them as soon as there is room.
    fn run(self, jobs: &Receiver<Job>) {
        let Self { name, transformer, head, renderer, settings, mut known, reads } = self;
        let (mut generate, mut scores) = (VecDeque::new(), VecDeque::new());
        let mut decoder = Decoder::new(&transformer, &renderer, &name);
        let (mut running, mut next) = (BTreeMap::new(), 0);
        let (mut scoring, mut joining) = (Wait::default(), Wait::default());
        // Before the replies, so that who has one sees what it took.
        let tell = |known: &PrefixCache| *reads.lock().unwrap_or_else(PoisonError::into_inner) = known.reads();
        loop {
            let idle = running.is_empty() && generate.is_empty() && scores.is_empty();
            if idle {
                let Ok(job) = jobs.recv_blocking() else { return };
                sort(job, &mut generate, &mut scores);
            }
            // A batch that begins waits a little for more; one that runs is joined by whoever comes.
            let deadline = running.is_empty().then(|| Instant::now() + settings.linger);
            loop {
                while let Ok(job) = jobs.try_recv() {
                    sort(job, &mut generate, &mut scores);
                }
                let full = generate.len().max(scores.len()) >= settings.max_batch;
                if full || deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            if scoring.is_due(scores.len(), running.len()) {
                let length = |job: &Score| job.prompt.len() + job.continuation.len();
                let batch = take(&mut scores, length, settings.max_batch, settings.max_batch_tokens, Load::default());
                let (requests, replies): (Vec<_>, Vec<_>) =
                    batch.into_iter().map(|job| ((job.prompt, job.continuation), job.reply)).unzip();
                let results = match &head {
                    None => score(&transformer, &mut known, &name, &requests),
                    Some(head) => head.score(&transformer, &mut known, &name, &requests),
                };
                tell(&known);
                for (reply, result) in replies.into_iter().zip(results) {
                    // The caller may have given up; its reply is then nobody's.
                    let _ = reply.send(result);
                }
            }
            if decoder.is_open() && joining.is_due(generate.len(), running.len()) {
                let length = |job: &Generate| job.request.prompt.len();
                let tokens = running.values().map(|row: &Running| row.prompt_tokens as usize).sum();
                let under_way = Load { requests: running.len(), tokens };
                let batch = take(&mut generate, length, settings.max_batch, settings.max_batch_tokens, under_way);
                let (requests, replies): (Vec<_>, Vec<_>) =
                    batch.into_iter().map(|job| (job.request, job.reply)).unzip();
                decoder.join(&mut known, next, &requests);
                for (request, reply) in requests.iter().zip(replies) {
                    running.insert(next, Running { prompt_tokens: request.prompt.len() as u64, reply });
                    next += 1;
                }
            }
            if !running.is_empty() {
                let done = decoder.step(&mut known);
                if !done.is_empty() {
                    tell(&known);
                }
                for (ticket, result) in done {
                    let Running { prompt_tokens, reply } = running.remove(&ticket).expect("a row has its request");
                    let _ = reply.send(result.map(|decoded| generation(decoded, prompt_tokens)));
                }
            }
        }
    }
}

fn sort(job: Job, generate: &mut VecDeque<Generate>, scores: &mut VecDeque<Score>) {
    match job {
        Job::Generate(job) => generate.push_back(job),
        Job::Score(job) => scores.push_back(job),
    }
}

fn generation(decoded: Decoded, prompt_tokens: u64) -> Generation {
    Generation {
        text: decoded.text,
        finish: decoded.finish,
        mean_logprob: (decoded.tokens > 0).then_some(decoded.mean_logprob),
        usage: Usage { prompt_tokens, generated_tokens: decoded.tokens, scored_tokens: 0 },
    }
}

/// A rendering fault as the fault of a model.
fn text_fault(model: &str, error: &TextError) -> ModelError {
    let (model, reason) = (model.to_owned(), error.to_string());
    match error {
        TextError::NoTemplate | TextError::TemplateSyntax { .. } | TextError::TemplateRender { .. } => {
            ModelError::Template { model, reason }
        }
        _ => ModelError::Tokenizer { model, reason },
    }
}
