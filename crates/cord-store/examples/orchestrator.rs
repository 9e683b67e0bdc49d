//! What the orchestrator itself costs: replies a second and memory, with models that answer at once.
//!
//! `cargo run --release -p cord-store --example orchestrator -- [problems] [plain|journal]`
//!
//! Beam search of width 2 over three teachers, six steps of 400 bytes, a prover that scores each candidate: the driver, the
//! searches, the scorer and, with `journal`, the journal on the disk are the real ones. Not in it: HTTP and tokenizers.
#![expect(clippy::print_stdout, reason = "a measurement says what it found")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cord_core::{
    BoxFuture, Capabilities, Digest, Finish, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Outcome,
    Problem, Sampling, ScoreRequest, Seed, TokenLogprob, Usage,
};
use cord_generate::{
    BeamSettings, Budget, DEFAULT_CUE, Drive, GenerateSettings, Generator, PredictivePerplexity, PromptTemplate,
    SearchSettings, Segmenter, Teacher,
};
use cord_store::{Journal, Journaled};
use futures::StreamExt;

const STEPS: usize = 6;
const STEP_BYTES: usize = 400;

/// Answers at once and as cheaply as may be, so that what is measured is everything else.
struct Instantly {
    identity: ModelId,
    filler: String,
    replies: AtomicU64,
}

impl Instantly {
    fn new(name: &str) -> Self {
        let digest = Digest::of_bytes(name.as_bytes());
        let identity = ModelId { name: name.to_owned(), weights: digest, tokenizer: digest, template: digest };
        Self { identity, filler: name.repeat(STEP_BYTES / name.len()), replies: AtomicU64::new(0) }
    }
}

impl LanguageModel for Instantly {
    fn identity(&self) -> &ModelId {
        &self.identity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, loglikelihood: true, context: u32::MAX, deterministic: true }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        self.replies.fetch_add(1, Ordering::Relaxed);
        let prefix = &request.prompt.prefix;
        let closed = prefix.ends_with("</think>");
        let last = prefix.len() >= STEPS * STEP_BYTES;
        let finish = match (closed, last) {
            (true, _) => Finish::Eos,
            (false, true) => Finish::Delimiter("</think>".to_owned()),
            (false, false) => Finish::Delimiter("\n### Step".to_owned()),
        };
        let usage = Usage { prompt_tokens: prefix.len() as u64 / 4, generated_tokens: 100, scored_tokens: 0 };
        let text = format!("{} {}", self.filler, prefix.len());
        Box::pin(std::future::ready(Ok(Generation { text, finish, mean_logprob: Some(-0.5), usage })))
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        self.replies.fetch_add(1, Ordering::Relaxed);
        let logprob = -1.0 / (1.0 + request.prompt.prefix.len() as f64);
        Box::pin(std::future::ready(Ok(vec![TokenLogprob { token: 1, logprob }; 2])))
    }
}

fn problem(number: usize) -> Problem {
    let question = format!("Problem {number}: how many ways are there to do this?");
    Problem { id: format!("p{number:07}"), question, answer: "42".into(), metadata: BTreeMap::new() }
}

/// The most memory that the process has held, in MiB.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

/// Seconds of processor time that the process has used, from the kernel's ticks of 10 ms.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let problems: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let journaled = arguments.next().is_some_and(|word| word == "journal");
    let folder = std::env::temp_dir().join(format!("cord-orchestrator-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let journal = Arc::new(Journal::open(&folder.join("journal.jsonl"))?);
    let names = ["a", "b", "c", "prover"];
    let models = names.map(|name| Arc::new(Instantly::new(name)));
    let used = |model: &Arc<Instantly>| -> Arc<dyn LanguageModel> {
        if journaled { Arc::new(Journaled::new(model.clone(), journal.clone())) } else { model.clone() }
    };
    let teachers = names.iter().zip(&models).take(3);
    let teachers = teachers.map(|(name, model)| Teacher {
        name: (*name).to_owned(),
        model: used(model),
        sampling: Sampling::default(),
    });
    let prompt = PromptTemplate::new("{question}")?;
    let scorer = PredictivePerplexity::new(used(&models[3]), DEFAULT_CUE, prompt.clone())?;
    let settings = GenerateSettings {
        policy: None,
        prompt,
        segmenter: Segmenter::PromptGuided,
        search: SearchSettings::Beam(BeamSettings { width: 2, ..BeamSettings::default() }),
        budget: Budget::default(),
        draws: cord_generate::Draws::default(),
    };
    let generator = Generator::new(settings, teachers.collect(), Arc::new(scorer))?;
    let requests = NonZeroUsize::new(256).ok_or("0")?;
    let drive = Drive { requests, ..Drive::at_once(requests) };
    let begun = Instant::now();
    let processor = processor_seconds();
    let (mut solved, mut candidates) = (0usize, 0usize);
    futures::executor::block_on(async {
        let mut ended = std::pin::pin!(generator.drive((0..problems).map(problem), Seed::root(1), drive));
        while let Some(one) = ended.next().await {
            if let Ok(Outcome::Done(result)) = one.map(|one| one.outcome) {
                solved += 1;
                candidates += result.candidates.len();
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let processor = processor_seconds().zip(processor).map(|(now, before)| now - before);
    let replies: u64 = models.iter().map(|model| model.replies.load(Ordering::Relaxed)).sum();
    println!(
        "{solved} of {problems} problems, {candidates} candidates, {replies} replies, {}: {seconds:.1} s, {:.0} replies/s; \
         processor {} s, {} replies per processor second; peak memory {} MiB",
        if journaled { "journaled" } else { "without a journal" },
        replies as f64 / seconds,
        processor.map_or("?".to_owned(), |seconds| format!("{seconds:.1}")),
        processor.map_or("?".to_owned(), |seconds| format!("{:.0}", replies as f64 / seconds)),
        peak_memory().map_or("?".to_owned(), |mib| format!("{mib:.0}")),
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
