//! A recipe's stages, in order, each under its key.

use std::collections::{BTreeMap, BTreeSet};

use cord_core::Digest;
use serde::Serialize;

use crate::arm::Arm;
use crate::datasets::{DataSource, ProblemSettings};
use crate::dpo::DpoSettings;
use crate::eval::EvalSettings;
use crate::fault::RecipeError;
use crate::generate::GenerateSettings;
use crate::key;
use crate::model::{Model, ModelSource};
use crate::recipe::Recipe;
use crate::scorer::Scorer;
use crate::search::Search;
use crate::stage::{
    BenchmarkStage, DpoStage, EvalStage, EvaluatedModel, GenerateStage, Input, JudgeStage, MeasureStage, NamedModel,
    ScorerModel, StageKind, StageSettings, StageSpec, TableRow, TableStage, Teacher, TrainStage,
};
use crate::train::{Decontaminate, TrainData, TrainSettings};

/// The stages of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The recipe's name.
    pub recipe: String,
    /// The recipe's digest.
    pub digest: Digest,
    /// Every stage after all that it needs: by kind, then by arm and seed in the recipe's order. The last is
    /// the table.
    pub stages: Vec<StageSpec>,
}

impl Plan {
    /// The stage of a key.
    pub fn stage(&self, key: Digest) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.key == key)
    }

    /// The stages of a kind, in order.
    pub fn of_kind(&self, kind: StageKind) -> impl Iterator<Item = &StageSpec> {
        self.stages.iter().filter(move |stage| stage.kind == kind)
    }
}

/// What models and data sets are by content, by their labels ([`ModelSource::label`], [`DataSource::label`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// Models.
    pub models: BTreeMap<String, Digest>,
    /// Data sets and files.
    pub datasets: BTreeMap<String, Digest>,
}

/// The models and data sets whose content a plan depends on, by label. What no arm uses is not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// Models, except those made from scratch.
    pub models: BTreeMap<String, ModelSource>,
    /// Data sets and files.
    pub datasets: BTreeMap<String, DataSource>,
}

impl Recipe {
    /// What must be known by content before there can be a plan.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for settings in self.arms.iter().flat_map(settings) {
            let mut model = |named: &NamedModel| {
                if let Some(label) = named.source.label() {
                    needs.models.insert(label, named.source.clone());
                }
            };
            let mut data = |source: &DataSource| {
                needs.datasets.insert(source.label(), source.clone());
            };
            match &settings {
                StageSettings::Problems(problems) => data(&problems.source),
                StageSettings::Generate(stage) => {
                    stage.teachers.iter().for_each(|teacher| model(&teacher.model));
                    stage.scorer.iter().flat_map(ScorerModel::models).for_each(&mut model);
                }
                StageSettings::Measure(stage) => stage.scorer.models().into_iter().for_each(&mut model),
                StageSettings::Train(stage) => {
                    model(&stage.student);
                    stage.benchmarks.iter().for_each(&mut data);
                    if let TrainData::Rows { source, .. } = &stage.data {
                        data(source);
                    }
                }
                StageSettings::Dpo(stage) => {
                    if let EvaluatedModel::Given(given) = &stage.student {
                        model(given);
                    }
                    stage.benchmarks.iter().for_each(&mut data);
                }
                StageSettings::Eval(stage) => {
                    if let EvaluatedModel::Given(given) = &stage.model {
                        model(given);
                    }
                }
                StageSettings::Judge(stage) => stage.models.iter().for_each(&mut model),
                StageSettings::Table(_) => {}
            }
        }
        needs
    }

    /// The stages, each under its key.
    ///
    /// A key is the digest of the stage's kind and [version](StageKind::version), its seed, the settings that
    /// matter to it, its inputs' keys, and its models and data sets by content. Names enter only where they
    /// reach bytes: a teacher's, and in the table. Stages of one key are one stage, whichever arms use it.
    pub fn plan(&self, known: &Identities) -> Result<Plan, RecipeError> {
        let needs = self.needs();
        let models = needs.models.into_keys().filter(|label| !known.models.contains_key(label));
        let datasets = needs.datasets.into_keys().filter(|label| !known.datasets.contains_key(label));
        let missing: Vec<String> =
            models.map(|label| format!("model {label}")).chain(datasets.map(|l| format!("data set {l}"))).collect();
        if !missing.is_empty() {
            return Err(RecipeError::Identities { missing });
        }

        let mut stages = Stages { known, stages: Vec::new() };
        let mut rows = Vec::new();
        for arm in &self.arms {
            for seed in &self.seeds {
                rows.push(stages.add_arm(arm, *seed));
            }
        }
        let used: BTreeSet<Input> = stages.stages.iter().map(|s| Input { kind: s.kind, key: s.key }).collect();
        let table = StageSettings::Table(TableStage { table: self.table.clone(), rows });
        for arm in &self.arms {
            stages.add(&arm.name, None, table.clone(), used.iter().copied().collect());
        }
        let mut stages = stages.stages;
        // Stable: within a kind the order of arms and seeds stays.
        stages.sort_by_key(|stage| stage.kind);
        Ok(Plan { recipe: self.name.clone(), digest: self.digest(), stages })
    }
}

struct Stages<'a> {
    known: &'a Identities,
    stages: Vec<StageSpec>,
}

impl Stages<'_> {
    /// Adds a stage, or the arm to the stage of the same key.
    fn add(&mut self, arm: &str, seed: Option<u64>, settings: StageSettings, inputs: Vec<Input>) -> Input {
        let (kind, key) = key::of_stage(&settings, seed, &inputs, self.known);
        if let Some(stage) = self.stages.iter_mut().find(|stage| stage.key == key) {
            if !stage.arms.iter().any(|name| name == arm) {
                stage.arms.push(arm.to_owned());
            }
        } else {
            self.stages.push(StageSpec { kind, key, arms: vec![arm.to_owned()], seed, settings, inputs });
        }
        Input { kind, key }
    }

    fn add_arm(&mut self, arm: &Arm, seed: u64) -> TableRow {
        let mut row = TableRow {
            arm: arm.name.clone(),
            seed,
            generate: None,
            problems: None,
            measure: None,
            train: None,
            dpo: None,
            evals: Vec::new(),
        };
        let mut last_problems = None;
        for settings in settings(arm) {
            let drawn = Some(seed);
            match &settings {
                StageSettings::Problems(_) => last_problems = Some(self.add(&arm.name, None, settings, Vec::new())),
                StageSettings::Generate(_) => {
                    let inputs = last_problems.into_iter().collect();
                    row.problems = last_problems.map(|input| input.key);
                    row.generate = Some(self.add(&arm.name, drawn, settings, inputs).key);
                }
                StageSettings::Measure(_) => {
                    row.measure = Some(self.add(&arm.name, drawn, settings, generated(&row)).key);
                }
                StageSettings::Train(stage) => {
                    let inputs = match stage.data {
                        TrainData::Generated => generated(&row),
                        TrainData::Rows { .. } => Vec::new(),
                    };
                    row.train = Some(self.add(&arm.name, drawn, settings, inputs).key);
                }
                StageSettings::Dpo(_) => {
                    let trained = row.train.map(|key| Input { kind: StageKind::Train, key });
                    let inputs = generated(&row).into_iter().chain(trained).collect();
                    row.dpo = Some(self.add(&arm.name, drawn, settings, inputs).key);
                }
                StageSettings::Eval(stage) => {
                    let problems = last_problems.expect("a benchmark's problems come before its evaluation");
                    let benchmark = stage.benchmark.clone();
                    let trained = match stage.model {
                        EvaluatedModel::Trained => row.student().map(|(kind, key)| Input { kind, key }),
                        EvaluatedModel::Given(_) => None,
                    };
                    let inputs = [Some(problems), trained].into_iter().flatten().collect();
                    let eval = self.add(&arm.name, drawn, settings, inputs).key;
                    row.evals.push(BenchmarkStage { benchmark, problems: problems.key, eval, judge: None });
                }
                StageSettings::Judge(_) => {
                    let judged = row.evals.last().expect("an evaluation comes before what judges say of it");
                    let inputs = [(StageKind::Problems, judged.problems), (StageKind::Eval, judged.eval)];
                    let inputs = inputs.map(|(kind, key)| Input { kind, key }).to_vec();
                    let judge = self.add(&arm.name, drawn, settings, inputs).key;
                    row.evals.last_mut().expect("as above").judge = Some(judge);
                }
                StageSettings::Table(_) => unreachable!("the table is no arm's own"),
            }
        }
        row
    }
}

/// A row's generation with its problems, as inputs.
fn generated(row: &TableRow) -> Vec<Input> {
    let inputs = [(StageKind::Problems, row.problems), (StageKind::Generate, row.generate)];
    inputs.into_iter().filter_map(|(kind, key)| Some(Input { kind, key: key? })).collect()
}

/// An arm's stages in order; each evaluation follows the problems of its benchmark.
fn settings(arm: &Arm) -> Vec<StageSettings> {
    let mut stages = Vec::new();
    if let (Some(problems), Some(generate)) = (&arm.problems, &arm.generate) {
        stages.push(StageSettings::Problems(problems.clone()));
        let generation = generate_stage(arm, generate);
        let scorer = generation.scorer.clone();
        stages.push(StageSettings::Generate(generation));
        let measure = generate.measure.as_ref().map(|scorer| with_models(arm, scorer));
        // What was chosen by the same scorer has its measure already.
        if let Some(measure) = measure.filter(|measure| scorer.as_ref() != Some(measure)) {
            stages.push(StageSettings::Measure(MeasureStage { scorer: measure, prompt: generate.prompt.clone() }));
        }
    }
    if let Some(train) = &arm.train {
        stages.push(StageSettings::Train(train_stage(arm, train)));
    }
    if let Some(dpo) = &arm.dpo {
        stages.push(StageSettings::Dpo(dpo_stage(arm, dpo)));
    }
    if let Some(eval) = &arm.eval {
        for benchmark in &eval.benchmarks {
            stages.push(StageSettings::Problems(ProblemSettings { source: benchmark.clone(), limit: eval.limit }));
            stages.push(StageSettings::Eval(eval_stage(arm, eval, benchmark)));
            let name = benchmark.name();
            if let Some(judge) = eval.judge.as_ref().filter(|judge| judge.benchmarks.contains(&name)) {
                stages.push(StageSettings::Judge(JudgeStage {
                    models: judge.models.iter().map(|judge| NamedModel::of(judge, model(arm, judge))).collect(),
                    benchmark: name,
                    rubric: JudgeStage::RUBRIC,
                    max_tokens: judge.max_tokens,
                    opening: judge.opening,
                }));
            }
        }
    }
    stages
}

/// Samples, and the most tokens, of a data set that no benchmark speaks of.
const PLAIN_SAMPLES: u32 = 16;
const PLAIN_TOKENS: u32 = 20_480;

fn model<'a>(arm: &'a Arm, name: &str) -> &'a Model {
    arm.models.get(name).expect("a validated arm names only models that it defines")
}

fn generate_stage(arm: &Arm, settings: &GenerateSettings) -> GenerateStage {
    let writes = |name: &&String| match &settings.search {
        Search::Single { teacher, .. } => *name == teacher,
        Search::Beam { .. }
        | Search::Curation { .. }
        | Search::Mcts { .. }
        | Search::BestFirst { .. }
        | Search::Integration { .. } => true,
    };
    let merges = match &settings.search {
        Search::Integration { model, .. } => Some(model),
        _ => None,
    };
    let teacher = |name: &String| {
        let model = model(arm, name);
        Teacher { model: NamedModel::of(name, model), sampling: model.sampling }
    };
    GenerateStage {
        teachers: settings.teachers.iter().filter(writes).chain(merges).map(teacher).collect(),
        prompt: settings.prompt.clone(),
        segmenter: settings.segmenter,
        scorer: settings.scorer.as_ref().map(|scorer| with_models(arm, scorer)),
        search: settings.search.clone(),
        budget: settings.budget,
        closing: settings.closing,
        draws: settings.draws,
        deadline: settings.deadline,
        adaptive: settings.adaptive,
    }
}

fn with_models(arm: &Arm, scorer: &Scorer) -> ScorerModel {
    scorer.map(&|name| NamedModel::of(name, model(arm, name)))
}

fn train_stage(arm: &Arm, settings: &TrainSettings) -> TrainStage {
    let keep = match settings.data {
        TrainData::Generated => arm.generate.as_ref().map(|generate| generate.keep),
        TrainData::Rows { .. } => None,
    };
    // Rows that are given have no problems to compare.
    let rule = settings.decontaminate.filter(|_| settings.data == TrainData::Generated);
    let (decontaminate, benchmarks) = compared(arm, rule);
    TrainStage {
        decontaminate,
        benchmarks,
        student: NamedModel::of(&settings.student, model(arm, &settings.student)),
        data: settings.data.clone(),
        turns: settings.turns,
        keep,
        learning: settings.learning.clone(),
    }
}

/// The rule, and the benchmarks that an arm's problems are compared with by it.
fn compared(arm: &Arm, rule: Option<Decontaminate>) -> (Option<Decontaminate>, Vec<DataSource>) {
    let benchmarks = arm.eval.iter().flat_map(|eval| eval.benchmarks.iter().cloned());
    let benchmarks: Vec<DataSource> = benchmarks.filter(|_| rule.is_some()).collect();
    (rule.filter(|_| !benchmarks.is_empty()), benchmarks)
}

fn dpo_stage(arm: &Arm, settings: &DpoSettings) -> DpoStage {
    let (decontaminate, benchmarks) = compared(arm, settings.decontaminate);
    let given = |name: &String| EvaluatedModel::Given(NamedModel::of(name, model(arm, name)));
    DpoStage {
        student: settings.student.as_ref().map_or(EvaluatedModel::Trained, given),
        pairs: settings.pairs,
        beta: settings.beta,
        sft_weight: settings.sft_weight,
        decontaminate,
        benchmarks,
        learning: settings.learning.clone(),
    }
}

fn eval_stage(arm: &Arm, settings: &EvalSettings, benchmark: &DataSource) -> EvalStage {
    // A plain data set has no settings of its own.
    let plain = !matches!(benchmark, DataSource::Benchmark(_));
    let given = settings.model.as_ref();
    let taught = || arm.dpo.as_ref().and_then(|dpo| dpo.student.as_ref());
    let evaluated = given.or(arm.train.as_ref().map(|train| &train.student)).or_else(taught);
    let own = evaluated.map(|name| model(arm, name).sampling).unwrap_or_default();
    EvalStage {
        model: given
            .map_or(EvaluatedModel::Trained, |name| EvaluatedModel::Given(NamedModel::of(name, model(arm, name)))),
        benchmark: benchmark.name(),
        samples: settings.samples.or(plain.then_some(PLAIN_SAMPLES)),
        sampling: settings.sampling.unwrap_or(own),
        max_tokens: settings.max_tokens.or(plain.then_some(PLAIN_TOKENS)),
        prompt: if plain { Some(settings.plain_prompt.clone()) } else { settings.prompt.clone() },
        opening: settings.opening,
    }
}
