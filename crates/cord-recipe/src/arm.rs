//! An arm: the recipe with some keys overridden, resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::datasets::ProblemSettings;
use crate::dpo::DpoSettings;
use crate::eval::EvalSettings;
use crate::fault::FaultKind;
use crate::generate::{GenerateSettings, default_prompt};
use crate::model::Model;
use crate::reader::{Field, Fields, Reading, Word};
use crate::stage::StageKind;
use crate::train::TrainSettings;
use crate::tree::{Node, Value};

/// The tables that arms override.
pub(crate) const SHARED: [&str; 6] = ["problems", "models", "generate", "train", "dpo", "eval"];

/// One arm, with every key resolved. A table is `None` where the arm does not run its stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Arm {
    /// Unique in the recipe.
    pub name: String,
    /// Every model that the recipe defines for the arm, used or not.
    pub models: BTreeMap<String, Model>,
    /// What trajectories are generated for.
    pub problems: Option<ProblemSettings>,
    /// How trajectories are made.
    pub generate: Option<GenerateSettings>,
    /// How the student learns.
    pub train: Option<TrainSettings>,
    /// How it learns which steps are better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoSettings>,
    /// How a model is tested.
    pub eval: Option<EvalSettings>,
}

/// The stages that an arm can name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Named(StageKind);

impl Word for Named {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("generate", Self(StageKind::Generate)),
        ("train", Self(StageKind::Train)),
        ("dpo", Self(StageKind::Dpo)),
        ("eval", Self(StageKind::Eval)),
    ];
}

/// The models' names, and which have weights.
pub(crate) struct ModelNames {
    pub(crate) all: Vec<String>,
    pub(crate) with_weights: Vec<String>,
}

impl ModelNames {
    fn of(tree: &Node) -> Self {
        let mut names = Self { all: Vec::new(), with_weights: Vec::new() };
        for (name, entry) in tree.at(&["models"]).and_then(Node::table).into_iter().flatten() {
            names.all.push(name.clone());
            if entry.node.at(&["scratch"]).is_none() {
                names.with_weights.push(name.clone());
            }
        }
        names
    }
}

impl Arm {
    /// Reads a resolved tree: the recipe's shared tables with the arm's laid over them.
    pub(crate) fn read(name: &str, tree: &Node, reading: &Reading<'_>) -> Option<Self> {
        let fields = Fields::root(reading, tree.table()?, tree.place);
        let names = ModelNames::of(tree);
        let stages = stages(tree, &fields);
        let runs = |kind| stages.contains(&kind);

        let models = fields.or("models", BTreeMap::new(), |field| field.each(|_, field| field.table(Model::read)));
        let (generates, trains, evaluates) = (runs(StageKind::Generate), runs(StageKind::Train), runs(StageKind::Eval));
        let prefers = runs(StageKind::Dpo);
        let tables = [
            (generates, "problems"),
            (generates, "generate"),
            (trains, "train"),
            (prefers, "dpo"),
            (evaluates, "eval"),
        ];
        for (kind, key) in tables {
            if kind && !fields.has(key) {
                fields.missing(key, "a table");
            }
        }
        let prompt = |tables: &[&str]| {
            let given = tables.iter().find_map(|table| match &tree.at(&[table, "prompt"])?.value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            });
            given.unwrap_or_else(|| default_prompt().to_owned())
        };
        // A table of a stage that the arm does not run is read for its faults, except for what is missing in it.
        let problems = fields.optional("problems", |field| field.table_when(generates, ProblemSettings::read));
        let generate =
            fields.optional("generate", |field| field.table_when(generates, |f| GenerateSettings::read(f, &names)));
        let train = fields.optional("train", |field| {
            field.table_when(trains, |fields| TrainSettings::read(fields, &names, &prompt(&["generate"])))
        });
        let dpo = fields.optional("dpo", |field| {
            let of = |fields| Some(DpoSettings::read(fields, &names, &prompt(&["train", "generate"])));
            field.table_when(prefers, of)
        });
        let eval = fields.optional("eval", |field| {
            let of = |fields| EvalSettings::read(fields, &names, &prompt(&["dpo", "train", "generate"]));
            field.table_when(evaluates, of)
        });
        fields.close();
        Some(Self {
            name: name.to_owned(),
            models,
            problems: problems.filter(|_| generates),
            generate: generate.filter(|_| generates),
            train: train.filter(|_| trains),
            dpo: dpo.filter(|_| prefers),
            eval: eval.filter(|_| evaluates),
        })
    }

    /// The stages that the arm runs of its own, in order.
    pub fn stages(&self) -> Vec<StageKind> {
        let stages = [
            (StageKind::Generate, self.generate.is_some()),
            (StageKind::Train, self.train.is_some()),
            (StageKind::Dpo, self.dpo.is_some()),
            (StageKind::Eval, self.eval.is_some()),
        ];
        stages.into_iter().filter(|(_, runs)| *runs).map(|(kind, _)| kind).collect()
    }
}

/// The stages that an arm runs: those it names, else those whose tables it has and needs.
fn stages(tree: &Node, fields: &Fields<'_>) -> BTreeSet<StageKind> {
    let rows = tree.at(&["train", "data"]).is_some();
    let given_model = tree.at(&["eval", "model"]).is_some();
    let named = fields.optional("stages", |field| {
        let stages = field.list("stages", Field::word::<Named>)?;
        if stages.is_empty() {
            return field.out_of_range("a list of at least one stage", &"[]");
        }
        Some(stages.into_iter().map(|Named(kind)| kind).collect::<BTreeSet<_>>())
    });
    let explicit = named.is_some();
    let stages = named.unwrap_or_else(|| {
        let has = |key| fields.has(key);
        let mut stages = BTreeSet::new();
        if has("eval") {
            stages.insert(StageKind::Eval);
        }
        if !given_model && has("train") {
            stages.insert(StageKind::Train);
        }
        let prefers = !given_model && has("dpo");
        if prefers {
            stages.insert(StageKind::Dpo);
        }
        if !given_model && has("generate") && (prefers || !(rows && has("train"))) {
            stages.insert(StageKind::Generate);
        }
        stages
    });
    let conflict = |key: &str, expected: &str, given: &str, hint: &str| {
        let words = |text: &str| text.to_owned();
        let kind = FaultKind::Conflict { expected: words(expected), given: words(given), hint: words(hint) };
        let key = if fields.has("stages") { "stages" } else { key };
        fields.fault_at(key, kind);
    };
    let runs = |kind| stages.contains(&kind);
    if stages.is_empty() && !explicit && !fields.has("stages") {
        fields.missing("generate", "a table `[generate]`, `[train]` or `[eval]`");
    }
    if runs(StageKind::Train) && !rows && !runs(StageKind::Generate) {
        conflict(
            "train",
            "training to follow generation or to have `train.data`",
            "neither",
            "add `[generate]`, or name rows as `train.data`",
        );
    }
    if runs(StageKind::Dpo) {
        let given_student = tree.at(&["dpo", "student"]).is_some();
        if !runs(StageKind::Generate) {
            conflict(
                "dpo",
                "preference optimisation to follow the generation whose candidates it pairs",
                "none",
                "add `[generate]`",
            );
        }
        match (runs(StageKind::Train), given_student) {
            (true, true) => conflict(
                "dpo",
                "one student",
                "both `dpo.student` and the one that is trained",
                "remove `dpo.student`, or leave `train` out of `stages`",
            ),
            (false, false) => conflict(
                "dpo",
                "preference optimisation to follow training or to have `dpo.student`",
                "neither",
                "add `[train]`, or name the model as `dpo.student`",
            ),
            _ => {}
        }
    }
    if runs(StageKind::Eval) && !given_model && !runs(StageKind::Train) && !runs(StageKind::Dpo) {
        conflict(
            "eval",
            "evaluation to follow training or to have `eval.model`",
            "neither",
            "add `[train]`, or name the model as `eval.model`",
        );
    }
    if runs(StageKind::Eval) && given_model && (runs(StageKind::Train) || runs(StageKind::Dpo)) {
        conflict(
            "eval",
            "one model to evaluate",
            "both `eval.model` and a student that is trained",
            "remove `eval.model`, or leave `train` out of `stages`",
        );
    }
    stages
}
