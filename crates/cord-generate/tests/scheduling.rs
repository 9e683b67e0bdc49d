//! How near the driver comes to the least time that any schedule could take, on simulated servers in virtual time.
//!
//! `cargo test --release -p cord-generate --test scheduling -- --nocapture` prints the tables of
//! `docs/results/scheduling.md`: seconds, work, longest chain, seconds / bound, tokens prefilled / least, most problems
//! held, requests. The driver, the searches and the scorer are the real ones.
#![expect(clippy::print_stdout, reason = "a measurement says what it found")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cord_core::{
    BoxFuture, Digest, GenerateRequest, LanguageModel, Outcome, Problem, Prompt, Sampling, ScoreRequest, Seed,
};
use cord_generate::{
    Action, BeamSettings, Budget, Clock, DEFAULT_CUE, Deadline, Drive, GenerateSettings, Generator,
    PredictivePerplexity, PromptTemplate, Reply, Scorer, Search, SearchPlan, SearchResult, SearchSettings, Solved,
    Teacher,
};
use cord_testkit::{Scripted, Simulated, Simulation, Speed, whisper};
use futures::StreamExt;
use futures::future::join_all;

const PROBLEMS: usize = 1_000;

/// A 32B model in bf16 on two GPUs of 80 GB, in round numbers: the weights are read in 20 ms, 32 sequences of up to 20k tokens
/// fill the memory, and 8,000 tokens a second are prefilled.
const SERVER: Speed = Speed { step: 20e-3, sequence: 150e-6, prefill: 125e-6, batch: 32, cache: 400_000 };

/// Three teachers, as in the paper.
const TEACHERS: [&str; 3] = ["a", "b", "c"];

fn problem(number: usize) -> Problem {
    let question = format!("Problem {number:06}. {}", "What is the number of ways? ".repeat(8));
    Problem { id: format!("p{number:06}"), question, answer: "42".into(), metadata: BTreeMap::new() }
}

/// What a teacher writes: 5 to 9 steps, the problem's own number, each of 80 to 800 tokens, most of them short.
fn script(teacher: &str, request: &GenerateRequest) -> String {
    let Prompt { messages, prefix, .. } = &request.prompt;
    let question = messages[0].content.as_str();
    if prefix.ends_with("</think>") {
        return "\nThe final answer is \\boxed{42}.".to_owned();
    }
    let steps = 5 + (whisper(&["steps", question]) * 5.0) as usize;
    let step = 1 + prefix.matches("### Step").count();
    let roll = whisper(&["length", teacher, question, prefix]);
    let length = 80 + (720.0 * roll * roll) as usize;
    let next = if step == steps { "\n</think>".to_owned() } else { format!("\n### Step {}", step + 1) };
    format!("### Step {step}. {teacher}{} {}{next}", (roll * 1e9) as u64, "x".repeat(length))
}

fn belief(request: &ScoreRequest) -> f64 {
    -4.0 * whisper(&["belief", &request.prompt.prefix])
}

/// Who serves whom.
#[derive(Clone, Copy, PartialEq)]
enum Roles {
    /// One model is every teacher and the meta-prover.
    Shared,
    /// Three teachers and the meta-prover have servers of their own.
    Apart,
}

struct Bench {
    simulation: Simulation,
    pools: Vec<(Arc<Simulated>, usize)>,
    generator: Generator,
    scorer: Arc<dyn Scorer>,
}

fn settings() -> GenerateSettings {
    let prompt = PromptTemplate::new("{question}").unwrap();
    GenerateSettings { prompt, ..GenerateSettings::new(SearchSettings::Beam(BeamSettings::default())) }
}

impl Bench {
    fn new(endpoints: usize, roles: Roles) -> Self {
        let simulation = Simulation::new();
        let mut pools = Vec::new();
        let mut pool = |model: Scripted, endpoints: usize| {
            let served = Arc::new(simulation.serve(Arc::new(model.forgetful()), endpoints, SERVER));
            pools.push((served.clone(), endpoints));
            served
        };
        let teacher = |name: &'static str| Scripted::new(name).writing(move |request| script(name, request));
        let (models, prover): (Vec<Arc<Simulated>>, Arc<Simulated>) = match roles {
            Roles::Shared => {
                // The teacher is told apart by its sampling: each has a top-k of its own.
                let one = Scripted::new("one").believing(belief);
                let one = pool(one.writing(|r| script(TEACHERS[r.sampling.top_k as usize], r)), endpoints);
                (vec![one.clone(); 3], one)
            }
            Roles::Apart => {
                let models = TEACHERS.map(|name| pool(teacher(name), endpoints / 4)).to_vec();
                (models, pool(Scripted::new("prover").believing(belief), endpoints / 4))
            }
        };
        let teachers = TEACHERS.iter().zip(models).enumerate().map(|(index, (name, model))| {
            let (model, top_k): (Arc<dyn LanguageModel>, u32) = (model, index as u32);
            Teacher { name: (*name).to_owned(), model, sampling: Sampling { top_k, ..Sampling::default() } }
        });
        let prompt = settings().prompt;
        let scorer: Arc<dyn Scorer> = Arc::new(PredictivePerplexity::new(prover, DEFAULT_CUE, prompt).unwrap());
        let generator = Generator::new(settings(), teachers.collect(), scorer.clone()).unwrap();
        Self { simulation, pools, generator, scorer }
    }

    /// The least time: the slowest model's work on full batches, every prefix computed once; or the longest chain of steps, each
    /// as long as its longest candidate with a server to itself.
    fn least(&self, chain: f64) -> (f64, f64) {
        let work = self.pools.iter().map(|(served, endpoints)| {
            let decoded: u64 = served.busy().iter().map(|busy| busy.decoded).sum();
            let seconds = decoded as f64 * SERVER.full() + served.least_prefilled() as f64 * SERVER.prefill;
            seconds / *endpoints as f64
        });
        (work.fold(0.0, f64::max), chain)
    }

    fn prefilled_again(&self) -> f64 {
        let prefilled: u64 = self.pools.iter().flat_map(|(served, _)| served.busy()).map(|busy| busy.prefilled).sum();
        let least: u64 = self.pools.iter().map(|(served, _)| served.least_prefilled()).sum();
        prefilled as f64 / least as f64
    }
}

/// The time of one problem's steps one after the other, each step's longest candidate alone on a server.
fn chain(result: &SearchResult) -> f64 {
    let mut longest: BTreeMap<u32, u64> = BTreeMap::new();
    for candidate in &result.candidates {
        let tokens = longest.entry(candidate.depth).or_default();
        *tokens = (*tokens).max(candidate.usage.generated_tokens);
    }
    longest.values().sum::<u64>() as f64 * SERVER.alone()
}

/// What a schedule came to.
struct Run {
    seconds: f64,
    work: f64,
    chain: f64,
    again: f64,
    requests: u64,
    /// The digest of every result, which no schedule may change.
    results: Digest,
    most_held: usize,
}

impl Run {
    fn ratio(&self) -> f64 {
        self.seconds / self.work.max(self.chain)
    }
}

fn finish(bench: &Bench, results: &[SearchResult], most_held: usize) -> Run {
    assert_eq!(results.len(), PROBLEMS, "every problem is solved");
    let (work, chain) = bench.least(results.iter().map(chain).fold(0.0, f64::max));
    let mut results: Vec<String> = results.iter().map(|result| format!("{result:?}")).collect();
    results.sort();
    Run {
        seconds: bench.simulation.now(),
        work,
        chain,
        again: bench.prefilled_again(),
        requests: bench.simulation.requests(),
        results: Digest::of_json(&results),
        most_held,
    }
}

/// The driver.
fn driven(endpoints: usize, roles: Roles, problems: usize) -> Run {
    let bench = Bench::new(endpoints, roles);
    // What the servers of one pool can decode at once, and as much again to choose from: a request waits for the server that
    // has its prefix, while others take what is new.
    let requests = NonZeroUsize::new(2 * bench.pools[0].1 * SERVER.batch).unwrap();
    let drive = Drive { requests, ..Drive::at_once(NonZeroUsize::new(problems).unwrap()) };
    let (taken, mut held, mut results) = (AtomicUsize::new(0), 0, Vec::new());
    let source = (0..PROBLEMS).map(|number| {
        taken.fetch_add(1, Ordering::Relaxed);
        problem(number)
    });
    bench.simulation.run(async {
        let mut solved = std::pin::pin!(bench.generator.drive(source, Seed::root(1), drive));
        while let Some(one) = solved.next().await {
            held = held.max(taken.load(Ordering::Relaxed) - results.len());
            let Solved { outcome: Outcome::Done(result), .. } = one.unwrap() else { panic!("a problem failed") };
            results.push(result);
        }
    });
    finish(&bench, &results, held)
}

/// Everybody's step, then everybody's scores, then everybody's next step.
fn with_barriers(endpoints: usize, roles: Roles) -> Run {
    let bench = Bench::new(endpoints, roles);
    let plan = Arc::new(SearchPlan::new(settings(), TEACHERS.map(str::to_owned).to_vec(), &*bench.scorer).unwrap());
    let problems: Vec<Problem> = (0..PROBLEMS).map(problem).collect();
    let seed = Seed::root(1).named("generate");
    let mut searches: Vec<Search> = problems.iter().map(|one| Search::new(one, plan.clone(), seed)).collect();
    let models: Vec<Arc<Simulated>> = match roles {
        Roles::Shared => vec![bench.pools[0].0.clone(); 3],
        Roles::Apart => bench.pools.iter().map(|(served, _)| served.clone()).collect(),
    };
    loop {
        let mut open: Vec<BoxFuture<'_, (usize, Reply)>> = Vec::new();
        for (index, search) in searches.iter_mut().enumerate() {
            loop {
                match search.next_action() {
                    Action::Generate(task) => {
                        let model = models[task.teacher].clone();
                        open.push(Box::pin(async move {
                            let sampling = Sampling { top_k: task.teacher as u32, ..Sampling::default() };
                            let (prompt, stop, max_tokens, seed) = (task.prompt, task.stop, task.max_tokens, task.seed);
                            let request = GenerateRequest { prompt, stop, max_tokens, sampling, seed };
                            let generation = model.generate(request).await.unwrap();
                            (index, Reply::Generated { ticket: task.ticket, generation })
                        }));
                    }
                    Action::Score(task) => {
                        let (scorer, problem) = (&bench.scorer, &problems[index]);
                        open.push(Box::pin(async move {
                            let scores = scorer.score(problem, &task.candidates).await.unwrap();
                            (index, Reply::Scored { ticket: task.ticket, scores })
                        }));
                    }
                    Action::Wait | Action::Done => break,
                }
            }
        }
        if open.is_empty() {
            break;
        }
        for (index, reply) in bench.simulation.run(join_all(open)) {
            searches[index].accept(reply).unwrap();
        }
    }
    let results = searches.into_iter().map(|search| search.into_result().unwrap()).collect::<Vec<_>>();
    finish(&bench, &results, PROBLEMS)
}

fn show(what: &str, run: &Run) {
    println!(
        "| {what} | {:.0} | {:.0} | {:.0} | {:.3} | {:.2} | {} | {} |",
        run.seconds,
        run.work,
        run.chain,
        run.ratio(),
        run.again,
        run.most_held,
        run.requests
    );
}

/// The driver against its bound, at most `most` times the least time, and where `others`, against other schedules of the same work.
fn check(endpoints: usize, roles: Roles, most: f64, others: bool) {
    let models = if roles == Roles::Shared { "one model" } else { "four models" };
    let named = |what: &str| format!("{endpoints} endpoints of {models}, {what}");
    let run = driven(endpoints, roles, 256);
    show(&named("the driver"), &run);
    assert!(run.ratio() <= most, "{endpoints} endpoints: {:.3} of the least time", run.ratio());
    assert!(run.most_held <= 257, "{} problems held", run.most_held);
    if others {
        let barriers = with_barriers(endpoints, roles);
        show(&named("a barrier at each step"), &barriers);
        let single = driven(endpoints, roles, 1);
        show(&named("one problem at a time"), &single);
        assert!(run.ratio() < barriers.ratio() && run.ratio() < single.ratio());
        assert!(single.most_held <= 2, "{} problems held", single.most_held);
        assert_eq!([barriers.results, single.results], [run.results; 2], "no schedule changes a result");
        assert_eq!([barriers.requests, single.requests], [run.requests; 2]);
    }
}

#[test]
fn one_endpoint_works_within_a_twentieth_of_the_least_time() {
    check(1, Roles::Shared, 1.05, true);
}

#[test]
fn four_endpoints_work_within_a_twentieth_of_the_least_time() {
    check(4, Roles::Shared, 1.05, false);
}

#[test]
fn models_with_endpoints_of_their_own_work_within_a_twentieth_of_the_least_time() {
    check(16, Roles::Apart, 1.05, false);
}

#[test]
fn sixteen_endpoints_work_within_a_twentieth_of_the_least_time() {
    check(16, Roles::Shared, 1.05, true);
}

struct VirtualClock(Simulation);

impl Clock for VirtualClock {
    fn after(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.0.after(time)
    }
}

#[test]
fn a_deadline_ends_the_slow_problem_and_frees_its_place() {
    let simulation = Simulation::new();
    let speed = Speed { step: 1.0, sequence: 0.0, prefill: 0.0, batch: 8, cache: 0 };
    // One token a second; the second problem's answer never ends.
    let writer = Scripted::new("a").writing(|request| {
        let slow = request.prompt.messages[0].content.contains("000001");
        if slow { "x".repeat(15_000) } else { "### Step 1. x\n</think>\nThe final answer is \\boxed{42}.".to_owned() }
    });
    let model: Arc<dyn LanguageModel> = Arc::new(simulation.serve(Arc::new(writer), 1, speed));
    let prover = Arc::new(Scripted::new("prover").believing(|_| -1.0));
    let scorer = Arc::new(PredictivePerplexity::new(prover, DEFAULT_CUE, settings().prompt).unwrap());
    let teachers = vec![Teacher { name: "a".into(), model, sampling: Sampling::default() }];
    let budget = Budget { step: 15_000, ..Budget::default() };
    let generator = Generator::new(GenerateSettings { budget, ..settings() }, teachers, scorer).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock(simulation.clone()));
    let deadline = Some(Deadline { after: Duration::from_secs(100), clock });
    let drive =
        Drive { deadline, requests: NonZeroUsize::new(2).unwrap(), ..Drive::at_once(NonZeroUsize::new(2).unwrap()) };
    let stream = generator.drive((0..4).map(problem), Seed::root(1), drive);
    let seen: Vec<String> = simulation.run(
        stream
            .map(|one| {
                let seconds = simulation.now();
                match one.unwrap().outcome {
                    Outcome::Done(result) => format!("{} at {seconds}", result.problem),
                    Outcome::Failed { id, reason } => format!("{id} at {seconds}: {reason}"),
                }
            })
            .collect(),
    );
    insta::assert_snapshot!(seen.join("\n"), @r"
    p000000 at 77
    p000001 at 100: expected a result within 100 s, got none by depth 0
    p000002 at 154
    p000003 at 177
    ");
}

#[test]
fn a_run_that_is_told_to_stop_awaits_what_is_in_flight_and_asks_nothing_more() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let bench = Bench::new(1, Roles::Shared);
    let drive = Drive {
        requests: NonZeroUsize::new(SERVER.batch).unwrap(),
        stop: Some(&stop),
        ..Drive::at_once(NonZeroUsize::new(8).unwrap())
    };
    let (mut ended, mut interrupted, mut asked) = (0, None, 0);
    bench.simulation.run(async {
        let mut solved = std::pin::pin!(bench.generator.drive((0..40).map(problem), Seed::root(1), drive));
        while let Some(one) = solved.next().await {
            match one {
                Ok(_) => {
                    ended += 1;
                    if ended == 3 {
                        stop.store(true, Ordering::Relaxed);
                        asked = bench.simulation.requests();
                    }
                }
                Err(error) => interrupted = Some(error),
            }
        }
    });
    assert_eq!(bench.simulation.requests(), asked, "nothing was asked after the signal");
    assert!(interrupted.is_some_and(|interrupted| interrupted.in_progress > 0), "{interrupted:?}");
    // Every request that a server was given was answered.
    let busy = bench.pools[0].0.busy();
    assert_eq!(busy.len(), 1);
    assert!(bench.simulation.is_idle());
}

#[test]
fn a_run_that_had_ended_by_itself_is_not_interrupted() {
    let bench = Bench::new(1, Roles::Shared);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let drive = Drive { stop: Some(&stop), ..Drive::at_once(NonZeroUsize::MIN) };
    let all: Vec<_> = bench.simulation.run(
        bench
            .generator
            .drive((0..2).map(problem), Seed::root(1), drive)
            .inspect(|one| stop.store(matches!(one, Ok(Solved { place: 1, .. })), Ordering::Relaxed))
            .collect::<Vec<_>>(),
    );
    assert!(all.iter().all(Result::is_ok) && all.len() == 2);
}
