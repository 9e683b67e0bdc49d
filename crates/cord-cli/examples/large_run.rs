//! A run of the size that a page must stand: long trajectories with all that was proposed on the way.
//!
//! `cargo run --release --example large_run -- FOLDER [problems] [tokens]`
//!
//! Makes `FOLDER/large`: a beam search of width 4 over three teachers, steps of 500 tokens (about 2 kB of made-up words), 1,000
//! problems and 20,000 tokens where nothing else is said, and a training of 2,000 steps. Not in it: thought.
#![expect(clippy::print_stdout, reason = "a measurement says what it made")]

use std::collections::BTreeMap;
use std::path::Path;

use cord_core::{Candidate, Digest, Fate, Finish, Problem, Seed, Step, StepKind, Trajectory, TrajectoryEnd, Usage};
use cord_store::{
    CurvePoint, CurveWriter, LedgerRow, Program, Store, candidates_to_parquet, to_jsonl, trajectories_to_parquet,
};
use serde_json::json;

const TEACHERS: [&str; 3] = ["qwq", "deepseek", "skywork"];
const WIDTH: usize = 4;
const STEP_TOKENS: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("expected a folder to make the run in, got nothing")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (problems, tokens) = (number(1_000)?, number(20_000)?);
    let store = Store::open(Path::new(&root), "large", Program { version: "0.1.0".into(), commit: None })?;
    let key = |name: &str| Digest::of_bytes(name.as_bytes());
    let id = |index: usize| format!("problem-{index:06}");

    let settings = json!({"problems": {"source": {"dataset": "made-up"}}});
    let mut writer = store.begin("problems", key("problems"), settings, Vec::new())?;
    let rows = (0..problems).map(|index| Problem {
        id: id(index),
        question: format!("What is {index} in made-up words?"),
        answer: index.to_string(),
        metadata: BTreeMap::new(),
    });
    writer.write_bytes("problems.jsonl", &to_jsonl(&rows.collect::<Vec<_>>(), Path::new("problems.jsonl"))?)?;
    writer.finish(json!({"problems": problems}))?;

    let words = words();
    let (mut ledger, mut trajectories) = (Vec::new(), Vec::new());
    for index in 0..problems {
        let (candidates, trajectory) = search(&id(index), index, tokens / STEP_TOKENS, &words);
        ledger.extend(candidates.into_iter().map(|candidate| LedgerRow { problem: id(index), candidate }));
        trajectories.push(trajectory);
    }
    let teachers: Vec<_> = TEACHERS.iter().map(|name| json!({"model": {"name": name}})).collect();
    let settings = json!({"generate": {"teachers": teachers, "search": {"kind": "beam", "width": WIDTH},
                          "scorer": {"kind": "predictive-perplexity", "model": {"name": "qwq"}}}});
    let mut writer = store.begin("generate", key("generate"), settings, vec![key("problems")])?;
    writer.write_bytes("trajectories.parquet", &trajectories_to_parquet(&trajectories)?)?;
    let bytes = candidates_to_parquet(&ledger)?;
    println!("{} candidates, {:.0} MB as Parquet", ledger.len(), bytes.len() as f64 / 1e6);
    writer.write_bytes("candidates.parquet", &bytes)?;
    writer.finish(json!({"failed": []}))?;

    let mut writer =
        store.begin("train", key("train"), json!({"train": {}}), vec![key("problems"), key("generate")])?;
    let mut curve = CurveWriter::new(writer.curve_path());
    for step in 1..=2_000u64 {
        curve.push(&CurvePoint {
            step,
            loss: 2.0 / (step as f64).powf(0.2) + 0.05 * (step as f64 * 1.7).sin(),
            validation_loss: None,
            learning_rate: 1e-5,
            gradient_norm: 1.0,
            tokens: 160_000,
            supervised_tokens: 150_000,
            seconds: 10.0,
            tokens_per_second: 16_000.0,
            mfu: None,
            rewards: None,
        })?;
    }
    writer.write_json("report.json", &json!({}))?;
    writer.finish(json!({}))?;
    println!("{}", store.folder().display());
    Ok(())
}

/// Words that compress about as well as a model's.
fn words() -> Vec<String> {
    let mut stream = Seed::root(1).named("words").stream();
    let mut letter = |from: &[u8]| char::from(from[stream.below(from.len() as u64) as usize]);
    (0..4_000)
        .map(|place| (0..2 + place % 3).flat_map(|_| [letter(b"bcdfglmnprstv"), letter(b"aeiou")]).collect())
        .collect()
}

fn search(problem: &str, index: usize, steps: usize, words: &[String]) -> (Vec<Candidate>, Trajectory) {
    let mut stream = Seed::root(2).named(problem).stream();
    let mut text = |depth: usize| {
        let mut text = format!("### Step {}.\n", depth + 1);
        while text.len() < 4 * STEP_TOKENS {
            // Some words come more often than others.
            let most = 1 + stream.below(words.len() as u64);
            text.push_str(&words[stream.below(most) as usize]);
            text.push(if stream.below(14) == 0 { '\n' } else { ' ' });
        }
        text
    };
    let usage = Usage { prompt_tokens: 10_000, generated_tokens: STEP_TOKENS as u64, scored_tokens: 8 };
    let mut candidates: Vec<Candidate> = Vec::new();
    let (mut beam, mut path): (Vec<Option<u32>>, Vec<u32>) = (vec![None], Vec::new());
    for depth in 0..steps {
        let begun = candidates.len() as u32;
        for (parent, teacher) in
            beam.iter().flat_map(|parent| (0..TEACHERS.len()).map(move |teacher| (*parent, teacher)))
        {
            let rank = candidates.len() as u32 - begun;
            candidates.push(Candidate {
                id: candidates.len() as u32,
                parent,
                depth: depth as u32,
                teacher: TEACHERS[(teacher + index + depth) % 3].into(),
                sample: 0,
                kind: StepKind::Reasoning,
                text: text(depth),
                finish: Finish::Delimiter("\n### Step".into()),
                terminal: depth + 1 == steps,
                score: Some(0.95 / (1.0 + 0.2 * f64::from(rank))),
                rank: Some(rank),
                fate: if (rank as usize) < WIDTH { Fate::Kept } else { Fate::Dropped },
                usage,
            });
        }
        let all = begun..candidates.len() as u32;
        beam = all.take(WIDTH).map(Some).collect();
        path.push(begun);
    }
    for id in &path {
        candidates[*id as usize].fate = Fate::Chosen;
    }
    let mut steps: Vec<Step> = Vec::new();
    for id in &path {
        let one = &candidates[*id as usize];
        steps.push(Step {
            candidate: *id,
            teacher: one.teacher.clone(),
            kind: one.kind,
            text: one.text.clone(),
            score: one.score,
        });
    }
    let response =
        steps.iter().map(|step| step.text.as_str()).collect::<String>() + &format!("</think>\\boxed{{{index}}}");
    let trajectory = Trajectory {
        problem: problem.to_owned(),
        index: 0,
        steps,
        response,
        end: TrajectoryEnd::Complete,
        score: Some(0.95),
        usage: Usage { generated_tokens: candidates.len() as u64 * STEP_TOKENS as u64, ..usage },
    };
    (candidates, trajectory)
}
