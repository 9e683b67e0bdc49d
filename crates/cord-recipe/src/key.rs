//! What of a stage's settings is part of its key.
//!
//! A key holds everything that can change the stage's bytes and nothing else: models and data sets by content
//! instead of by name or path, no budget that the search does not look at, no setting of `[run]`.

use std::collections::BTreeMap;

use cord_core::{Digest, Opening};
use serde_json::{Value, json};

use crate::datasets::DataSource;
use crate::generate::{Budget, Closing, Draws};
use crate::model::ModelSource;
use crate::plan::Identities;
use crate::search::Search;
use crate::stage::{
    DpoStage, EvalStage, EvaluatedModel, GenerateStage, Input, StageKind, StageSettings, TableStage, TrainStage,
};
use crate::train::{Decontaminate, TrainData, Turns};

/// The key of a stage.
pub(crate) fn of_stage(
    settings: &StageSettings,
    seed: Option<u64>,
    inputs: &[Input],
    known: &Identities,
) -> (StageKind, Digest) {
    let (kind, matter) = match settings {
        StageSettings::Problems(problems) => {
            let matter = json!({ "data": dataset(&problems.source, known), "limit": problems.limit });
            (StageKind::Problems, matter)
        }
        StageSettings::Generate(stage) => (StageKind::Generate, generate(stage, known)),
        StageSettings::Measure(stage) => {
            let scorer = stage.scorer.map(&|named| model(&named.source, known));
            (StageKind::Measure, json!({ "scorer": scorer, "prompt": stage.prompt }))
        }
        StageSettings::Train(stage) => (StageKind::Train, train(stage, known)),
        StageSettings::Dpo(stage) => (StageKind::Dpo, dpo(stage, known)),
        StageSettings::Eval(stage) => (StageKind::Eval, eval(stage, known)),
        StageSettings::Judge(stage) => {
            let models: Vec<Digest> = stage.models.iter().map(|named| model(&named.source, known)).collect();
            let matter = json!({ "models": models, "rubric": stage.rubric, "max-tokens": stage.max_tokens, "opening": stage.opening });
            (StageKind::Judge, matter)
        }
        StageSettings::Table(stage) => (StageKind::Table, table(stage)),
    };
    let key = Digest::of_json(&json!({
        "stage": kind.name(),
        "version": kind.version(),
        "seed": seed,
        "settings": matter,
        "inputs": inputs,
    }));
    (kind, key)
}

fn generate(stage: &GenerateStage, known: &Identities) -> Value {
    let teachers: Vec<Value> = stage
        .teachers
        .iter()
        .map(|teacher| {
            let content = model(&teacher.model.source, known);
            json!({ "name": teacher.model.name, "model": content, "sampling": teacher.sampling })
        })
        .collect();
    let scorer = stage.scorer.as_ref().map(|scorer| scorer.map(&|named| model(&named.source, known)));
    let Budget { reasoning, answer, step, steps } = stage.budget;
    let budget = match stage.search {
        Search::Beam { .. } | Search::Mcts { .. } | Search::BestFirst { .. } => {
            json!({ "reasoning": reasoning, "answer": answer, "step": step, "steps": steps })
        }
        Search::Curation { .. } | Search::Single { .. } | Search::Integration { .. } => {
            json!({ "reasoning": reasoning, "answer": answer })
        }
    };
    let mut matter = json!({
        "teachers": teachers,
        "prompt": stage.prompt,
        "segmenter": stage.segmenter,
        "scorer": scorer,
        "search": stage.search,
        "budget": budget,
    });
    // Absent where none is given, as it was before there were deadlines.
    if let Some(deadline) = stage.deadline {
        matter["deadline"] = json!(deadline);
    }
    if stage.closing != Closing::Own {
        matter["closing"] = json!(stage.closing);
    }
    // The usual draws are left out, as they were before there were others.
    if stage.draws != Draws::ByPlace {
        matter["draws"] = json!(stage.draws);
    }
    // Only where it is: a stage without it keeps the key that it had before there was a choice.
    if let Some(adaptive) = stage.adaptive {
        // 2: the beams of a step share their questions.
        matter["adaptive"] = json!({ "settings": adaptive, "rule": 2 });
    }
    matter
}

fn train(stage: &TrainStage, known: &Identities) -> Value {
    let learning = &stage.learning;
    let data = match &stage.data {
        TrainData::Generated => json!({ "keep": stage.keep }),
        TrainData::Rows { source, limit } => json!({ "rows": dataset(source, known), "limit": limit }),
    };
    let mut matter = json!({
        "student": model(&stage.student.source, known),
        "data": data,
        "prompt": learning.prompt,
        "length": learning.length,
        "optimiser": learning.optimiser,
        "max-length": learning.max_length,
    });
    if stage.turns != Turns::Last {
        matter["turns"] = json!(stage.turns);
    }
    // Only where there is something to compare with: which rows are left out depends on it.
    if let Some(rule) = stage.decontaminate {
        matter["decontaminate"] = compared(rule, &stage.benchmarks, known);
    }
    if !learning.method.is_default() {
        matter["method"] = json!(learning.method);
    }
    matter
}

fn compared(rule: Decontaminate, benchmarks: &[DataSource], known: &Identities) -> Value {
    let benchmarks: BTreeMap<String, Digest> =
        benchmarks.iter().map(|source| (source.label(), dataset(source, known))).collect();
    json!({ "rule": rule, "benchmarks": benchmarks })
}

fn dpo(stage: &DpoStage, known: &Identities) -> Value {
    let learning = &stage.learning;
    let mut matter = json!({
        "student": taken_up(&stage.student, known),
        "pairs": stage.pairs,
        "beta": stage.beta,
        "sft-weight": stage.sft_weight,
        "prompt": learning.prompt,
        "length": learning.length,
        "optimiser": learning.optimiser,
        "max-length": learning.max_length,
        "method": learning.method,
    });
    if let Some(rule) = stage.decontaminate {
        matter["decontaminate"] = compared(rule, &stage.benchmarks, known);
    }
    matter
}

/// A model that a stage takes up. A student is known by the key of the stage that trains it, which is among the inputs.
fn taken_up(model: &EvaluatedModel, known: &Identities) -> Value {
    match model {
        EvaluatedModel::Trained => Value::Null,
        EvaluatedModel::Given(given) => json!(self::model(&given.source, known)),
    }
}

fn eval(stage: &EvalStage, known: &Identities) -> Value {
    let mut matter = json!({
        "model": taken_up(&stage.model, known),
        "samples": stage.samples,
        "sampling": stage.sampling,
        "max-tokens": stage.max_tokens,
        "prompt": stage.prompt,
    });
    // What the benchmark says is in the key of its problems. The usual opening is left out, as it was before there was
    // another.
    if stage.opening != Opening::Think {
        matter["opening"] = json!(stage.opening);
    }
    matter
}

fn table(stage: &TableStage) -> Value {
    json!({ "table": stage.table, "rows": stage.rows })
}

fn model(source: &ModelSource, known: &Identities) -> Digest {
    match source {
        ModelSource::Scratch(shape) => Digest::of_json(&("scratch", shape)),
        named => look_up(&known.models, &named.label().unwrap_or_default()),
    }
}

fn dataset(source: &DataSource, known: &Identities) -> Digest {
    look_up(&known.datasets, &source.label())
}

fn look_up(digests: &BTreeMap<String, Digest>, label: &str) -> Digest {
    *digests.get(label).expect("a plan is made only when every identity it needs is known")
}
