//! Evaluation and trajectory measures on scripted inputs.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use cord_core::{
    BoxFuture, Capabilities, Digest, Finish, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Opening,
    Outcome, Problem, Sampling, ScoreRequest, Seed, TokenLogprob, Trajectory, TrajectoryEnd, Usage,
};
use cord_eval::{
    EvalError, EvalSettings, Extractor, Progress, PromptTemplate, Sample, SampleState, Scores, Tally,
    TrajectoryMeasures, Verifier, evaluate, judge_trajectory, sample_seed,
};
use cord_math::DEFAULT_FUEL;
use futures::executor::block_on;

/// Answers by the question's text, after as many polls as the seed says, so that the order of endings is not
/// the order of asking.
struct Scripted {
    id: ModelId,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    seeds: Mutex<Vec<Seed>>,
}

impl Scripted {
    fn new() -> Self {
        let digest = Digest::of_bytes(b"scripted");
        Self {
            id: ModelId { name: "scripted".into(), weights: digest, tokenizer: digest, template: digest },
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            seeds: Mutex::default(),
        }
    }
}

/// Ready after so many polls.
struct Polls(u64);

impl Future for Polls {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl LanguageModel for Scripted {
    fn identity(&self) -> &ModelId {
        &self.id
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, loglikelihood: false, context: 64, deterministic: true }
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_flight.fetch_max(now, Ordering::SeqCst);
            Polls(request.seed.stream().below(50)).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            self.seeds.lock().unwrap().push(request.seed);
            let (text, finish) = match request.prompt.messages[0].content.as_str() {
                "right" => (r"so</think>\boxed{7.0}", Finish::Eos),
                "wrong" => (r"so</think>\boxed{8}", Finish::Eos),
                "rambling" => (r"so</think>\boxed{7} and then", Finish::Length),
                "unclosed" => (r"so \boxed{7}", Finish::Eos),
                "unparsed" => ("so</think>7", Finish::Eos),
                "hostile" => (r"so</think>\boxed{10^{10^{10}}}", Finish::Eos),
                other => {
                    return Err(ModelError::Gone {
                        model: "scripted".into(),
                        reason: format!("no reply to `{other}`"),
                    });
                }
            };
            let usage = Usage { prompt_tokens: 2, generated_tokens: 5, scored_tokens: 0 };
            Ok(Generation { text: text.into(), finish, mean_logprob: None, usage })
        })
    }

    fn loglikelihood(&self, _: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async { Err(ModelError::Unsupported { model: "scripted".into(), what: "score".into() }) })
    }
}

fn problem(question: &str) -> Problem {
    Problem { id: format!("p-{question}"), question: question.into(), answer: "7".into(), metadata: BTreeMap::new() }
}

fn settings(samples: u32) -> EvalSettings {
    EvalSettings {
        samples: NonZeroU32::new(samples).unwrap(),
        sampling: Sampling::default(),
        max_tokens: NonZeroU32::new(16).unwrap(),
        opening: Opening::Think,
        prompt: PromptTemplate::bare(),
        extractor: Extractor::default(),
        verifier: Verifier::default(),
        fuel: DEFAULT_FUEL,
    }
}

fn run(model: &Scripted, problems: &[Problem], samples: u32, concurrency: usize) -> (Vec<Outcome<Sample>>, Progress) {
    let last = Mutex::new(Progress::default());
    let observe = |progress: Progress| {
        let mut last = last.lock().unwrap();
        assert_eq!(progress.ended, last.ended + 1, "every ending is observed once");
        *last = progress;
    };
    let limit = NonZeroUsize::new(concurrency).unwrap();
    let outcomes = block_on(evaluate(
        model,
        problems,
        &settings(samples),
        Seed::root(17),
        limit,
        &AtomicBool::new(false),
        &observe,
    ))
    .unwrap();
    let last = *last.lock().unwrap();
    (outcomes, last)
}

const QUESTIONS: [&str; 7] = ["wrong", "unparsed", "right", "gone", "rambling", "hostile", "unclosed"];

#[test]
fn every_state_is_counted_and_no_failure_ends_the_run() {
    let problems = QUESTIONS.map(problem);
    let (outcomes, progress) = run(&Scripted::new(), &problems, 3, 4);
    let tally: Tally = outcomes.iter().collect();
    let expected = Tally {
        samples: 18,
        correct: 3,
        incorrect: 3,
        truncated: 3,
        unclosed_think: 3,
        unparsed: 3,
        out_of_fuel: 3,
        truncated_with_gold: 3,
        failed: 3,
        usage: Usage { prompt_tokens: 36, generated_tokens: 90, scored_tokens: 0 },
    };
    assert_eq!(tally, expected);
    assert_eq!(progress, Progress { total: 21, ended: 21, failed: 3, correct: 3, generated_tokens: 90 });
    assert_eq!(tally.share(SampleState::Truncated), Some(1.0 / 6.0));
    assert_eq!(tally.mean_tokens(), Some(5.0));
    assert_eq!(Tally::default().share(SampleState::Correct), None, "no samples, no share");

    let failed = Outcome::Failed {
        id: "p-gone".into(),
        reason: "sample 0: `scripted` stopped answering: no reply to `gone`".into(),
    };
    assert!(outcomes.contains(&failed), "{outcomes:?}");
    let correct = Scores::correct(&outcomes);
    assert_eq!((correct.problems(), correct.values()), (6, 18), "a failure is no answer");
}

#[test]
fn scheduling_changes_nothing() {
    let problems = QUESTIONS.map(problem);
    let mut reversed = problems.clone();
    reversed.reverse();
    let (one, many) = (Scripted::new(), Scripted::new());
    let (alone, _) = run(&one, &problems, 4, 1);
    let (together, _) = run(&many, &reversed, 4, 8);
    assert_eq!(alone, together);
    assert_eq!((one.most_in_flight.into_inner(), many.most_in_flight.into_inner()), (1, 8));
    assert_ne!(one.seeds.into_inner().unwrap(), many.seeds.into_inner().unwrap(), "they did end in another order");

    let keys: Vec<(String, u32)> = alone
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Done(sample) => Some((sample.problem.clone(), sample.sample)),
            Outcome::Failed { .. } => None,
        })
        .collect();
    assert!(keys.is_sorted() && keys.len() == 24, "{keys:?}");
}

#[test]
fn a_sample_seed_depends_on_its_name_alone() {
    let model = Scripted::new();
    run(&model, &["right", "wrong"].map(problem), 2, 1);
    let expected: Vec<Seed> = [("p-right", 0), ("p-right", 1), ("p-wrong", 0), ("p-wrong", 1)]
        .map(|(problem, sample)| sample_seed(Seed::root(17), problem, sample))
        .to_vec();
    assert_eq!(model.seeds.into_inner().unwrap(), expected);
}

#[test]
fn all_duplicate_ids_are_reported() {
    let problems = ["right", "wrong", "right", "right", "wrong"].map(problem);
    let limit = NonZeroUsize::MIN;
    let error = block_on(evaluate(
        &Scripted::new(),
        &problems,
        &settings(1),
        Seed::root(1),
        limit,
        &AtomicBool::new(false),
        &|_| (),
    ));
    let error = error.unwrap_err();
    assert_eq!(error, EvalError::DuplicateProblems { ids: vec!["p-right".into(), "p-wrong".into()] });
    assert_eq!(error.to_string(), "expected each problem id once, got more than one of `p-right`, `p-wrong`");
}

#[test]
fn a_sample_reads_back() {
    let (outcomes, _) = run(&Scripted::new(), &QUESTIONS.map(problem), 1, 2);
    let json = serde_json::to_string(&outcomes).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Outcome<Sample>>>(&json).unwrap(), outcomes);
}

fn ledger() -> Problem {
    let mut ledger = problem("ledger");
    ledger.answer = "7, -9, 3".into();
    ledger.metadata.insert("steps".into(), serde_json::json!(["7", "-9", "3"]));
    ledger
}

fn trajectory(response: &str, end: TrajectoryEnd, score: Option<f64>) -> Trajectory {
    let usage = Usage { prompt_tokens: 1, generated_tokens: 100, scored_tokens: 10 };
    Trajectory { problem: "p-ledger".into(), index: 0, steps: vec![], response: response.into(), end, score, usage }
}

const RIGHT: &str = "### Step 1. 3 + 4 = 7.\n### Step 2. 7 - 16 = -9\n### Step 3. max gives 3.\n";

#[test]
fn a_process_is_right_when_each_step_ends_with_its_gold_value() {
    let with = |from: &str, to: &str| RIGHT.replace(from, to);
    for (reasoning, first_wrong) in [
        (RIGHT.to_owned(), None),
        (with("= 7.", "= 7.0, a sum."), None),
        (with("= 7.", "= 8."), Some(0)),
        (with("= -9", "= 9"), Some(1)),
        (with("max gives 3.", "max gives it."), Some(2)),
        (with("### Step 3. max gives 3.\n", ""), Some(2)),
        (format!("{RIGHT}### Step 4. So the ledger is 7, -9, 3."), None),
        (format!("{RIGHT}### Step 4. Done."), None),
        (format!("{RIGHT}### Step 4. 3 + 1 = 4"), Some(3)),
        (format!("Let me see 5.\n{RIGHT}"), None),
        (with("### Step 2.", "no ### Step 2."), Some(0)),
        (String::new(), Some(0)),
    ] {
        let response = format!(r"{reasoning}</think>\boxed{{7, -9, 3}}");
        let verdict = judge_trajectory(&ledger(), &trajectory(&response, TrajectoryEnd::Complete, None), DEFAULT_FUEL);
        assert_eq!(verdict.first_wrong_step, first_wrong, "{reasoning:?}");
        assert_eq!(verdict.process, Some(first_wrong.is_none()), "{reasoning:?}");
        assert!(verdict.answer.is_correct(), "the answer is judged apart from the process");
    }
    let without = judge_trajectory(&problem("x"), &trajectory("</think>", TrajectoryEnd::Complete, None), DEFAULT_FUEL);
    assert_eq!((without.process, without.first_wrong_step), (None, None));
}

#[test]
fn measures_count_each_end() {
    let right = format!(r"{RIGHT}</think>\boxed{{7, -9, 3}}");
    let trajectories = [
        trajectory(&right, TrajectoryEnd::Complete, Some(0.9)),
        trajectory(&right, TrajectoryEnd::AnswerTruncated, Some(0.8)),
        trajectory(RIGHT, TrajectoryEnd::ReasoningTruncated, None),
        trajectory(RIGHT, TrajectoryEnd::Unclosed, None),
        trajectory(&format!("{RIGHT}</think>3"), TrajectoryEnd::Complete, None),
    ];
    let mut measures = TrajectoryMeasures::default();
    measures.add(&ledger(), &trajectories, DEFAULT_FUEL);
    let expected = |values: &[f64]| values.iter().map(|value| ("p-ledger", *value)).collect::<Scores>();
    assert_eq!(measures.accuracy, expected(&[1.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(measures.process, expected(&[1.0; 5]));
    assert_eq!(measures.score, expected(&[0.9, 0.8]));
    let counts = (measures.trajectories, measures.truncated, measures.unclosed, measures.unparsed);
    assert_eq!(counts, (5, 2, 1, 1));
    assert_eq!(measures.usage.generated_tokens, 100, "a search is paid for once");
}
