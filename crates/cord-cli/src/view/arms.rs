//! Which stages each arm of a run is made of.
//!
//! A run writes it into its folder, so that the folder alone can be looked at. Of a folder without it, arms are told from
//! what the stages' manifests say: without their names in the recipe.

use std::collections::BTreeMap;

use anyhow::Result;
use cord_core::Digest;
use cord_recipe::{Plan, Recipe, StageKind};
use cord_store::{StageFolder, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::table;

/// The file in the run's folder.
pub(crate) const ARMS: &str = "arms.json";

/// The arms of a recipe and its stages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RunArms {
    /// The recipe's name.
    pub(crate) recipe: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) arms: Vec<ArmStages>,
    /// Every stage but the table, in the plan's order.
    pub(super) stages: Vec<PlannedStage>,
}

/// The stages of an arm under a seed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ArmStages {
    pub(crate) arm: String,
    pub(crate) seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generate: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problems: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dpo: Option<Digest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) evals: Vec<Evaluation>,
}

/// An evaluation and the problems that it is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Evaluation {
    pub(super) problems: Digest,
    pub(super) eval: Digest,
}

/// A stage that was planned, or is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlannedStage {
    pub(super) kind: String,
    pub(super) key: Digest,
    pub(super) label: String,
}

impl RunArms {
    /// The arms of a plan.
    pub(super) fn of_plan(plan: &Plan) -> Self {
        let arms = table::rows(plan).iter().map(|row| ArmStages {
            arm: row.arm.clone(),
            seed: Some(row.seed),
            generate: row.generate,
            problems: row.problems,
            train: row.train,
            dpo: row.dpo,
            evals: row.evals.iter().map(|one| Evaluation { problems: one.problems, eval: one.eval }).collect(),
        });
        let stages = plan.stages.iter().filter(|stage| stage.kind != StageKind::Table).map(|stage| PlannedStage {
            kind: stage.kind.name().to_owned(),
            key: stage.key,
            label: stage.label(),
        });
        Self { recipe: plan.recipe.clone(), digest: Some(plan.digest), arms: arms.collect(), stages: stages.collect() }
    }

    /// The arms of a folder whose run wrote none, from the manifests of its finished stages.
    pub(super) fn of_manifests(name: &str, store: &Store) -> Result<Self> {
        let folders: Vec<StageFolder> = store.stages()?;
        let kinds: BTreeMap<Digest, &str> =
            folders.iter().map(|one| (one.key(), one.manifest().stage.as_str())).collect();
        let of_kind = |kind: StageKind| folders.iter().filter(move |one| one.manifest().stage == kind.name());
        let input = |one: &StageFolder, kind: StageKind| {
            one.manifest().inputs.iter().copied().find(|key| kinds.get(key).copied() == Some(kind.name()))
        };
        let evaluation = |one: &StageFolder| {
            input(one, StageKind::Problems).map(|problems| Evaluation { problems, eval: one.key() })
        };
        let mut arms: Vec<ArmStages> = Vec::new();
        for generate in of_kind(StageKind::Generate) {
            let problems = input(generate, StageKind::Problems);
            let arm = format!("{} {}", search(&generate.manifest().settings), generate.key().short());
            let own = ArmStages { arm, generate: Some(generate.key()), problems, ..ArmStages::default() };
            let of_own = |one: &&StageFolder| input(one, StageKind::Generate) == Some(generate.key());
            let tested = |kind: StageKind, student: Digest| {
                let evals = of_kind(StageKind::Eval).filter(|eval| input(eval, kind) == Some(student));
                evals.filter_map(evaluation).collect::<Vec<_>>()
            };
            let mut alone = true;
            for train in of_kind(StageKind::Train).filter(of_own) {
                alone = false;
                let evals = tested(StageKind::Train, train.key());
                arms.push(ArmStages { train: Some(train.key()), evals, ..own.clone() });
            }
            for dpo in of_kind(StageKind::Dpo).filter(of_own) {
                alone = false;
                let (train, evals) = (input(dpo, StageKind::Train), tested(StageKind::Dpo, dpo.key()));
                arms.push(ArmStages { train, dpo: Some(dpo.key()), evals, ..own.clone() });
            }
            if alone {
                arms.push(own);
            }
        }
        let generated = |student: Digest| arms.iter().any(|arm| [arm.train, arm.dpo].contains(&Some(student)));
        let mut others: BTreeMap<String, ArmStages> = BTreeMap::new();
        for train in of_kind(StageKind::Train).filter(|train| !generated(train.key())) {
            let arm = format!("student {}", train.key().short());
            others.insert(arm.clone(), ArmStages { arm, train: Some(train.key()), ..ArmStages::default() });
        }
        for eval in of_kind(StageKind::Eval) {
            let arm = match input(eval, StageKind::Train).or_else(|| input(eval, StageKind::Dpo)) {
                Some(train) if generated(train) => continue,
                Some(train) => format!("student {}", train.short()),
                None => model(&eval.manifest().settings),
            };
            let own = others.entry(arm.clone()).or_insert_with(|| ArmStages { arm, ..ArmStages::default() });
            own.evals.extend(evaluation(eval));
        }
        arms.extend(others.into_values());
        let stages = folders.iter().map(|one| PlannedStage {
            kind: one.manifest().stage.clone(),
            key: one.key(),
            label: described(one.manifest()),
        });
        Ok(Self { recipe: name.to_owned(), digest: None, stages: stages.collect(), arms })
    }
}

/// Writes the arms of a recipe's plan into its folder.
pub(crate) fn publish(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&RunArms::of_plan(plan))?;
    text.push('\n');
    store.publish(&recipe.file(ARMS), text.as_bytes())?;
    Ok(())
}

/// What a generation's settings say of its search, in a few words.
pub(super) fn search(settings: &Value) -> String {
    let search = &settings["generate"]["search"];
    let kind = search["kind"].as_str().unwrap_or("generation");
    match (search["width"].as_u64(), search["trajectories"].as_u64(), search["teacher"].as_str()) {
        (Some(width), ..) => format!("{kind} of width {width}"),
        (_, Some(count), Some(teacher)) => format!("{kind} {teacher}, {count} each"),
        (_, Some(count), None) => format!("{kind}, {count} each"),
        _ => kind.to_owned(),
    }
}

/// The name of a data set in the settings of its stage.
pub(super) fn data_set(settings: &Value) -> String {
    let source = &settings["problems"]["source"];
    let named = source.as_object().and_then(|source| source.values().find_map(Value::as_str));
    named.map_or_else(|| source.to_string(), str::to_owned)
}

fn model(settings: &Value) -> String {
    settings["eval"]["model"]["given"]["name"].as_str().unwrap_or("model").to_owned()
}

fn described(manifest: &cord_store::Manifest) -> String {
    let settings = &manifest.settings;
    match manifest.stage.as_str() {
        "problems" => format!("problems of {}", data_set(settings)),
        "generate" => format!("generate by {}", search(settings)),
        "eval" => format!("eval on {}", settings["eval"]["benchmark"].as_str().unwrap_or("a benchmark")),
        other => other.to_owned(),
    }
}
