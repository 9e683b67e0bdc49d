//! A run's folder with everything that its page has to stand: many steps, several trajectories, failures, a training that
//! goes on, and texts that would like to be more than text.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cord_core::{Candidate, Digest, Fate, Finish, Problem, Step, StepKind, Trajectory, TrajectoryEnd, Usage};
use cord_eval::Estimate;
use cord_report::{Column, Draft, Format, Metric, Row};
use cord_store::{
    CurvePoint, CurveWriter, LedgerRow, Program, SampleRow, Store, candidates_to_parquet, samples_to_parquet, to_jsonl,
    trajectories_to_parquet,
};
use serde_json::{Value, json};

/// What a model might write to take over a page, and what it might write by accident.
pub(crate) const HOSTILE: &str = "</script></pre><img src=x onerror=\"window.taken=1\"><script>window.taken=2</script>\
     {{7*7}} <!-- \u{202e}reversed\u{202c} שלום \0 \u{7} &amp; ' \" ` \\boxed{1}";

pub(crate) const PROBLEMS: usize = 60;
const STEPS: u32 = 6;
const TEACHERS: [&str; 3] = ["left", "middle", "right\u{202e}<b>"];

fn key(name: &str) -> Digest {
    Digest::of_bytes(name.as_bytes())
}

fn id(problem: usize) -> String {
    format!("p-{problem:04}")
}

fn problem(index: usize) -> Problem {
    Problem {
        id: id(index),
        question: match index {
            0 => format!("What is one? {HOSTILE}"),
            _ => format!("What is {index} and none? Écris-le."),
        },
        answer: index.to_string(),
        metadata: BTreeMap::from([("level".to_owned(), json!(format!("{}", index % 3)))]),
    }
}

/// A search of two paths: at each step every teacher proposes to each, the first two are kept.
fn search(index: usize) -> (Vec<Candidate>, Vec<Trajectory>) {
    let usage = Usage { prompt_tokens: 100, generated_tokens: 20, scored_tokens: 5 };
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut paths: [Vec<u32>; 2] = Default::default();
    for depth in 0..STEPS {
        let begun = candidates.len() as u32;
        for place in 0..6u32 {
            let (parent, teacher) = (place / 3, (place as usize + index + depth as usize) % 3);
            let text = match (index, depth, place) {
                (0, 1, 0) => HOSTILE.to_owned(),
                // No line break in a hundred kilobytes.
                (0, 2, 0) => "0123456789".repeat(10_000),
                (0, 3, 0) => "a\u{202e}b\u{2066}c\u{200f}d\r\ne".to_owned(),
                _ => format!("### Step {}. By {} for {index}, place {place}.\n", depth + 1, TEACHERS[teacher]),
            };
            candidates.push(Candidate {
                id: begun + place,
                parent: (depth > 0).then(|| paths[parent as usize][depth as usize - 1]),
                depth,
                teacher: TEACHERS[teacher].into(),
                sample: 0,
                kind: StepKind::Reasoning,
                text,
                finish: Finish::Delimiter("\n###".into()),
                terminal: depth + 1 == STEPS,
                score: (place < 5).then(|| 0.9 - 0.15 * f64::from(place)),
                rank: (place < 5).then_some(place),
                fate: match place {
                    0 | 1 => Fate::Kept,
                    5 => Fate::Duplicate,
                    _ => Fate::Dropped,
                },
                usage,
            });
        }
        paths[0].push(begun);
        paths[1].push(begun + 1);
    }
    let mut trajectories = Vec::new();
    for (place, path) in paths.iter().enumerate() {
        let mut path = path.clone();
        // A fifth of the problems ends in each way.
        let (end, given) = match (index % 5, place) {
            (1, _) => (TrajectoryEnd::Complete, format!("{}", index + 1)),
            (2, _) => (TrajectoryEnd::AnswerTruncated, "\\boxed{".to_owned()),
            (3, 0) => (TrajectoryEnd::Unclosed, String::new()),
            _ => (TrajectoryEnd::Complete, index.to_string()),
        };
        if end != TrajectoryEnd::Unclosed {
            let id = candidates.len() as u32;
            candidates.push(Candidate {
                id,
                parent: path.last().copied(),
                depth: STEPS,
                teacher: TEACHERS[index % 2].into(),
                sample: 0,
                kind: StepKind::Answer,
                text: format!("</think>\nThe answer is \\boxed{{{given}}}."),
                finish: if end == TrajectoryEnd::AnswerTruncated { Finish::Length } else { Finish::Eos },
                terminal: true,
                score: None,
                rank: None,
                fate: Fate::Chosen,
                usage,
            });
            path.push(id);
        }
        for id in &path {
            candidates[*id as usize].fate = Fate::Chosen;
        }
        let steps = path.iter().map(|id| {
            let one = &candidates[*id as usize];
            Step {
                candidate: *id,
                teacher: one.teacher.clone(),
                kind: one.kind,
                text: one.text.clone(),
                score: one.score,
            }
        });
        let steps: Vec<Step> = steps.collect();
        trajectories.push(Trajectory {
            problem: id(index),
            index: place as u32,
            response: steps.iter().map(|step| step.text.as_str()).collect(),
            steps,
            end,
            score: Some(0.9 - 0.1 * place as f64 - 0.001 * index as f64),
            usage,
        });
    }
    (candidates, trajectories)
}

fn curation(index: usize) -> (Vec<Candidate>, Vec<Trajectory>) {
    let usage = Usage { prompt_tokens: 50, generated_tokens: 80, scored_tokens: 5 };
    let candidates = [0u32, 1].map(|place| Candidate {
        id: place,
        parent: None,
        depth: 0,
        teacher: TEACHERS[place as usize].into(),
        sample: 0,
        kind: StepKind::Whole,
        text: format!(
            "Whole thoughts of {index}\n</think>\n\\boxed{{{}}}",
            if index.is_multiple_of(2) { index } else { 0 }
        ),
        finish: Finish::Eos,
        terminal: true,
        score: Some(0.5 - 0.2 * f64::from(place)),
        rank: Some(place),
        fate: if place == 0 { Fate::Chosen } else { Fate::Dropped },
        usage,
    });
    let one = &candidates[0];
    let step =
        Step { candidate: 0, teacher: one.teacher.clone(), kind: one.kind, text: one.text.clone(), score: one.score };
    let trajectory = Trajectory {
        problem: id(index),
        index: 0,
        response: one.text.clone(),
        steps: vec![step],
        end: TrajectoryEnd::Complete,
        score: one.score,
        usage,
    };
    (candidates.into(), vec![trajectory])
}

fn generate(store: &Store, name: &str, search: &Value, made: impl Fn(usize) -> (Vec<Candidate>, Vec<Trajectory>)) {
    let teachers: Vec<Value> = TEACHERS.iter().map(|name| json!({"model": {"name": name}})).collect();
    let scorer = json!({"kind": "predictive-perplexity", "model": {"name": "left"}});
    let settings = json!({"generate": {"teachers": teachers, "search": search, "scorer": scorer}});
    let mut writer = store.begin("generate", key(name), settings, vec![key("problems")]).unwrap();
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    // The last problem failed.
    for index in 0..PROBLEMS - 1 {
        let (candidates, trajectories) = made(index);
        rows.extend(candidates.into_iter().map(|candidate| LedgerRow { problem: id(index), candidate }));
        all.extend(trajectories);
    }
    writer.write_bytes("trajectories.parquet", &trajectories_to_parquet(&all).unwrap()).unwrap();
    writer.write_bytes("candidates.parquet", &candidates_to_parquet(&rows).unwrap()).unwrap();
    writer.write_timings(&BTreeMap::from([("seconds".to_owned(), 61.5)])).unwrap();
    let failed = json!([[id(PROBLEMS - 1), format!("the model said: {HOSTILE}")]]);
    writer.finish(json!({"usage": {"generated_tokens": 1200, "scored_tokens": 300}, "failed": failed})).unwrap();
}

fn samples(store: &Store) {
    let settings = json!({"eval": {"benchmark": "gallery/test", "model": {"given": {"name": "left"}}}});
    let mut writer = store.begin("eval", key("eval"), settings, vec![key("problems")]).unwrap();
    let verdicts = ["correct", "incorrect", "truncated", "unclosed-think", "unparsed", "out-of-fuel"];
    let rows = (0..PROBLEMS).flat_map(|index| {
        (0..2).map(move |sample| SampleRow {
            problem: id(index),
            sample,
            response: format!("Thoughts {HOSTILE}\n</think>\nIt is {index}."),
            finish: Finish::Eos,
            verdict: verdicts[(index + sample as usize) % 6].into(),
            reason: None,
            extracted: Some(format!("{index}")),
            correct: (index + sample as usize).is_multiple_of(6),
            marks: BTreeMap::new(),
            usage: Usage { prompt_tokens: 10, generated_tokens: 30, scored_tokens: 0 },
        })
    });
    let rows: Vec<SampleRow> = rows.collect();
    writer.write_bytes("samples.parquet", &samples_to_parquet(&rows).unwrap()).unwrap();
    writer.finish(json!({"tally": {"usage": {"generated_tokens": 3600, "scored_tokens": 0}}, "failed": []})).unwrap();
}

/// A training that was stopped in the middle.
fn begun_training(store: &Store) {
    let writer = store.begin("train", key("train"), json!({"train": {}}), vec![key("cord")]).unwrap();
    let mut curve = CurveWriter::new(writer.curve_path());
    for step in 1..=40u64 {
        let point = CurvePoint {
            step,
            loss: 3.0 / (step as f64).sqrt(),
            validation_loss: step.is_multiple_of(10).then(|| 3.2 / (step as f64).sqrt()),
            learning_rate: 1e-3,
            gradient_norm: 0.7,
            tokens: 1000,
            supervised_tokens: 400,
            seconds: 0.5,
            tokens_per_second: 2000.0,
            mfu: None,
            rewards: None,
        };
        curve.push(&point).unwrap();
    }
}

fn table() -> String {
    let of = |value: f64| Metric::Estimate(Estimate { value, low: value - 0.05, high: value + 0.05, n: 60 });
    let row = |arm: &str, value| Row {
        arm: arm.into(),
        metrics: BTreeMap::from([("accuracy".to_owned(), of(value))]),
        ..Row::default()
    };
    let draft = Draft {
        subject: None,
        title: "A gallery & <b>its</b> table".into(),
        recipe: cord_report::Recipe { name: "gallery".into(), digest: key("recipe") },
        commit: "0123456789ab".into(),
        machine: "a machine".into(),
        paper: None,
        columns: vec![Column { key: "accuracy".into(), label: "answer accuracy".into(), format: Format::Percent }],
        rows: vec![row("cord", 0.6), row("curation", 0.5)],
        orders: Vec::new(),
        notes: vec![HOSTILE.replace('\0', "")],
    };
    draft.finish().unwrap().json()
}

/// Makes the run in `root/name` and gives its folder.
pub(crate) fn make(root: &Path, name: &str) -> PathBuf {
    let program = Program { version: "0.1.0".into(), commit: None };
    let store = Store::open(root, name, program).unwrap();
    let settings = json!({"problems": {"source": {"dataset": "gallery/train"}}});
    let mut writer = store.begin("problems", key("problems"), settings, Vec::new()).unwrap();
    let problems: Vec<Problem> = (0..PROBLEMS).map(problem).collect();
    writer.write_bytes("problems.jsonl", &to_jsonl(&problems, Path::new("problems.jsonl")).unwrap()).unwrap();
    writer.finish(json!({"problems": PROBLEMS})).unwrap();
    generate(&store, "cord", &json!({"kind": "beam", "width": 2}), search);
    generate(&store, "curation", &json!({"kind": "curation", "trajectories": 1}), curation);
    samples(&store);
    begun_training(&store);
    let stage = |kind: &str, name: &str, label: &str| json!({"kind": kind, "key": key(name), "label": label});
    let arms = json!({
        "recipe": "gallery",
        "digest": key("recipe"),
        "arms": [
            {"arm": "cord", "seed": 1, "generate": key("cord"), "problems": key("problems"), "train": key("train")},
            {"arm": "curation", "seed": 1, "generate": key("curation"), "problems": key("problems")},
            {"arm": "teacher", "seed": 1, "evals": [{"problems": key("problems"), "eval": key("eval")}]},
        ],
        "stages": [
            stage("problems", "problems", "problems of gallery/train"), stage("generate", "cord", "generate cord"),
            stage("generate", "curation", "generate curation"), stage("train", "train", "train cord"),
            stage("eval", "eval", "eval teacher"), stage("eval", "never", "eval cord"),
        ],
    });
    fs::write(store.folder().join("arms.json"), arms.to_string()).unwrap();
    fs::write(store.folder().join("table.json"), table()).unwrap();
    store.folder().to_path_buf()
}
