//! Kills one run 100 times with SIGKILL at random moments: it ends in the bytes of a run that nobody disturbed, and each
//! kill costs at most the replies that were in flight.
//!
//! The run is the real driver with the real beam search over scripted models, which take a moment for each reply; the
//! journal and the stage's folder are the real ones. Run without a task in the environment, this program is the test; with
//! one, it is the child.
#![expect(clippy::print_stdout, reason = "a test without a harness says itself what it did")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cord_core::{
    BoxFuture, Capabilities, Digest, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Outcome, Problem,
    Sampling, ScoreRequest, Seed, TokenLogprob,
};
use cord_generate::{
    BeamSettings, Budget, DEFAULT_CUE, Drive, GenerateSettings, Generator, PredictivePerplexity, PromptTemplate,
    SearchSettings, Segmenter, Teacher,
};
use cord_store::{Journal, Journaled, LedgerRow, Program, Store, candidates_to_parquet, trajectories_to_parquet};
use cord_testkit::{Scripted, whisper};
use futures::StreamExt;
use futures::channel::oneshot;

const TASK: &str = "CORD_STORE_RUN_FOLDER";
const KILLS: u64 = 100;
const PROBLEMS: usize = 24;
/// Requests of each teacher, and of the scorer, that are in flight at once.
const IN_FLIGHT: usize = 4;
const TEACHERS: [&str; 3] = ["a", "b", "c"];
/// How long a reply takes.
const REPLY: Duration = Duration::from_micros(300);

fn main() {
    match env::var(TASK) {
        Ok(folder) => run(Path::new(&folder)),
        Err(_) => a_run_killed_a_hundred_times_ends_as_one_that_nobody_disturbed(),
    }
}

/// Answers after a moment, from a thread as a server would, and notes that it was asked.
struct Slow {
    model: Scripted,
    asked: Arc<Mutex<File>>,
}

impl Slow {
    async fn moment(&self) {
        // Noted before the reply is there: what the notes have and the journal does not was in flight.
        self.asked.lock().unwrap().write_all(b".").expect("the child can note what it asks");
        let (sender, receiver) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            sleep(REPLY);
            drop(sender);
        });
        let _ = receiver.await;
    }
}

impl LanguageModel for Slow {
    fn identity(&self) -> &ModelId {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            self.moment().await;
            self.model.generate(request).await
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            self.moment().await;
            self.model.loglikelihood(request).await
        })
    }
}

/// Three to five steps whose words depend on the request's seed.
fn script(request: &GenerateRequest) -> String {
    let (question, prefix) = (request.prompt.messages[0].content.as_str(), request.prompt.prefix.as_str());
    if prefix.ends_with("</think>") {
        return "\nThe final answer is \\boxed{42}.".to_owned();
    }
    let step = 1 + prefix.matches("### Step").count();
    let last = 3 + (whisper(&["steps", question]) * 3.0) as usize;
    let word = whisper(&["word", &format!("{:?}", request.seed)]);
    let next = if step == last { "\n</think>".to_owned() } else { format!("\n### Step {}", step + 1) };
    format!("### Step {step}. {word}{next}")
}

fn problem(number: usize) -> Problem {
    let question = format!("Problem {number}?");
    Problem { id: format!("p{number:03}"), question, answer: "42".into(), metadata: BTreeMap::new() }
}

/// The child: one stage from its problems to its files, or what is left of it.
fn run(folder: &Path) {
    let program = Program { version: "1".into(), commit: None };
    let store = Store::open(folder, "recipe", program).expect("the store opens after any kill");
    let key = Digest::of_bytes(b"run");
    if store.find("generate", key).expect("a stage is whole or absent").is_some() {
        return;
    }
    let mut writer = store.begin("generate", key, serde_json::json!({}), vec![]).expect("the stage begins");
    let journal = Arc::new(Journal::open(&writer.journal_path()).expect("the journal opens after any kill"));
    let asked = File::options().append(true).create(true).open(folder.join("asked")).expect("a file for notes");
    let asked = Arc::new(Mutex::new(asked));
    let model = |model: Scripted| -> Arc<dyn LanguageModel> {
        let slow = Slow { model: model.forgetful(), asked: asked.clone() };
        Arc::new(Journaled::new(Arc::new(slow), journal.clone()))
    };
    let teachers = TEACHERS.map(|name| {
        let model = model(Scripted::new(name).writing(script));
        Teacher { name: name.to_owned(), model, sampling: Sampling::default() }
    });
    let prompt = PromptTemplate::new("{question}").expect("the template has a question");
    let belief = |request: &ScoreRequest| -4.0 * whisper(&["belief", &request.prompt.prefix]);
    let prover = model(Scripted::new("prover").believing(belief));
    let scorer = PredictivePerplexity::new(prover, DEFAULT_CUE, prompt.clone()).expect("the prover scores");
    let settings = GenerateSettings {
        policy: None,
        prompt,
        segmenter: Segmenter::PromptGuided,
        search: SearchSettings::Beam(BeamSettings { width: 2, ..BeamSettings::default() }),
        budget: Budget::default(),
        draws: cord_generate::Draws::default(),
    };
    let generator = Generator::new(settings, teachers.to_vec(), Arc::new(scorer)).expect("everything fits");
    let requests = NonZeroUsize::new(IN_FLIGHT).expect("not 0");
    let drive = Drive { requests, ..Drive::at_once(NonZeroUsize::new(8).expect("not 0")) };
    let (mut trajectories, mut ledger) = (Vec::new(), Vec::new());
    futures::executor::block_on(async {
        let mut solved = std::pin::pin!(generator.drive((0..PROBLEMS).map(problem), Seed::root(1), drive));
        while let Some(one) = solved.next().await {
            let Outcome::Done(result) = one.expect("nobody interrupts").outcome else { panic!("a problem failed") };
            trajectories.extend(result.trajectories);
            let problem = result.problem;
            ledger.extend(
                result.candidates.into_iter().map(|candidate| LedgerRow { problem: problem.clone(), candidate }),
            );
        }
    });
    let write = |bytes: Result<Vec<u8>, _>| bytes.expect("rows are a table");
    writer.write_bytes("trajectories.parquet", &write(trajectories_to_parquet(&trajectories))).expect("a file");
    writer.write_bytes("candidates.parquet", &write(candidates_to_parquet(&ledger))).expect("a file");
    writer.finish(serde_json::json!({"trajectories": trajectories.len()})).expect("the stage is finished");
}

/// The stage's files, and how many requests the models were asked in all.
struct Ended {
    files: BTreeMap<String, Vec<u8>>,
    asked: u64,
    replies: usize,
}

fn ended(folder: &Path) -> Ended {
    let stage = fs::read_dir(folder.join("recipe")).unwrap().map(|entry| entry.unwrap().path());
    let stages: Vec<PathBuf> = stage.filter(|path| path.join("manifest.json").exists()).collect();
    let [stage] = &stages[..] else { panic!("expected one finished stage, got {stages:?}") };
    let names = ["manifest.json", "trajectories.parquet", "candidates.parquet"];
    Ended {
        files: names.map(|name| (name.to_owned(), fs::read(stage.join(name)).unwrap())).into(),
        asked: fs::metadata(folder.join("asked")).unwrap().len(),
        replies: Journal::open(&stage.join("journal.jsonl")).unwrap().len(),
    }
}

fn a_run_killed_a_hundred_times_ends_as_one_that_nobody_disturbed() {
    let (undisturbed, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = Instant::now();
    assert!(spawn(undisturbed.path()).wait().unwrap().success());
    let whole = start.elapsed();
    let expected = ended(undisturbed.path());
    assert_eq!(expected.asked, expected.replies as u64, "an undisturbed run asks nothing twice");

    let mut pauses = Seed::root(1).named("kills").stream();
    let (mut kills, mut at_work, mut journaled) = (0, 0, 0);
    let begun = Instant::now();
    while kills < KILLS {
        let before = fs::metadata(killed.path().join("asked")).map_or(0, |notes| notes.len());
        let mut child = spawn(killed.path());
        // A hundred kills must fit into one run's replies. Most fall a moment after the child asks something new, the rest
        // wherever it is: starting, replaying, or in the midst of it.
        let patience = Instant::now();
        while kills % 4 != 0
            && fs::metadata(killed.path().join("asked")).map_or(0, |notes| notes.len()) == before
            && patience.elapsed() < Duration::from_secs(20)
        {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            sleep(Duration::from_micros(100));
        }
        sleep(Duration::from_micros(pauses.below(1_500)));
        child.kill().expect("the child can be killed");
        let status = child.wait().expect("the child ends");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.is_empty(), "after {kills} kills: {said}");
        assert!(!status.success(), "the run ended before its {KILLS} kills: give it more problems");
        kills += 1;
        let now = fs::metadata(killed.path().join("asked")).map_or(0, |notes| notes.len());
        at_work += u64::from(now > before);
        let partial = fs::read_dir(killed.path().join("recipe")).ok().into_iter().flatten();
        let journal = partial.map(|entry| entry.unwrap().path().join("journal.jsonl")).find(|path| path.exists());
        journaled = journal.map_or(0, |path| Journal::open(&path).expect("the journal opens after any kill").len());
        // What was asked and is not in the journal was in flight at one of the kills.
        let lost = now - journaled as u64;
        let most = kills * (IN_FLIGHT * (TEACHERS.len() + 1)) as u64;
        assert!(lost <= most, "after {kills} kills {lost} replies are lost, where at most {most} were in flight");
    }
    assert!(spawn(killed.path()).wait().unwrap().success());
    let found = ended(killed.path());
    assert_eq!(found.replies, expected.replies);
    assert!(found.files == expected.files, "expected the bytes of a run that nobody disturbed");
    println!(
        "run: {kills} kills in {:.1} s, {at_work} while it asked something new, the last with {journaled} of {} replies \
         journaled; {} replies asked twice, {:.1} a kill of at most {} in flight; undisturbed {:.2} s; the same bytes",
        begun.elapsed().as_secs_f64(),
        expected.replies,
        found.asked - expected.asked,
        (found.asked - expected.asked) as f64 / kills as f64,
        IN_FLIGHT * (TEACHERS.len() + 1),
        whole.as_secs_f64(),
    );
}

fn spawn(folder: &Path) -> Child {
    let program = env::current_exe().expect("this program's own path");
    let command = Command::new(program).env(TASK, folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    command.expect("the child starts")
}
