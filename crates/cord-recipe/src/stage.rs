//! One stage of a plan: what to do, to what, under which key.

use cord_core::{Digest, Opening, Sampling};
use serde::Serialize;

use crate::datasets::{DataSource, ProblemSettings};
use crate::dpo::PairSettings;
use crate::generate::{Adaptive, Budget, Closing, Draws, Keep, Segmenter};
use crate::model::{Model, ModelSource};
use crate::reader::is_default;
use crate::scorer::Scorer;
use crate::search::Search;
use crate::table::TableSettings;
use crate::train::{Decontaminate, LearningSettings, TrainData, Turns};

/// The kinds of stages, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// A data set's problems, as one file.
    Problems,
    /// Problems to trajectories.
    Generate,
    /// Trajectories to a value each, by a scorer of its own.
    Measure,
    /// Trajectories, or rows that are there already, to a student.
    Train,
    /// Candidates and a student to a student that prefers what was kept.
    Dpo,
    /// A model and a benchmark to samples.
    Eval,
    /// Samples to what judges say of them.
    Judge,
    /// Everything to a table.
    Table,
}

impl StageKind {
    /// Its name in folders and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Problems => "problems",
            Self::Generate => "generate",
            Self::Measure => "measure",
            Self::Train => "train",
            Self::Dpo => "dpo",
            Self::Eval => "eval",
            Self::Judge => "judge",
            Self::Table => "table",
        }
    }

    /// The version of what the stage's code makes. It is part of every key: raise it when the code changes
    /// results, and finished folders of the old version are made anew instead of being taken for the new.
    pub fn version(self) -> u32 {
        match self {
            // 2: more forms of answers are read; gradients on the CPU sum in another order.
            Self::Eval | Self::Train => 2,
            Self::Problems | Self::Generate | Self::Measure | Self::Dpo | Self::Judge | Self::Table => 1,
        }
    }
}

impl std::fmt::Display for StageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A stage of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageSpec {
    /// Its kind.
    pub kind: StageKind,
    /// Names its content: see [`crate::Recipe::plan`].
    pub key: Digest,
    /// The arms that use it, in the recipe's order.
    pub arms: Vec<String>,
    /// The recipe's seed that it is run with; absent where nothing is drawn.
    pub seed: Option<u64>,
    /// What to do.
    pub settings: StageSettings,
    /// The stages that must be finished before, each once.
    pub inputs: Vec<Input>,
}

impl StageSpec {
    /// The key of its only input of a kind.
    pub fn input(&self, kind: StageKind) -> Option<Digest> {
        self.inputs.iter().find(|input| input.kind == kind).map(|input| input.key)
    }

    /// The only input that is a student.
    pub fn student(&self) -> Option<Input> {
        self.inputs.iter().find(|input| matches!(input.kind, StageKind::Train | StageKind::Dpo)).copied()
    }

    /// The keys of all inputs, in order.
    pub fn input_keys(&self) -> Vec<Digest> {
        self.inputs.iter().map(|input| input.key).collect()
    }

    /// What the stage is about, in a few words for people.
    pub fn label(&self) -> String {
        let seed = self.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
        match &self.settings {
            StageSettings::Problems(problems) => format!("problems of {}", problems.source.label()),
            StageSettings::Generate(_) => format!("generate {}{seed}", self.arms.join(", ")),
            StageSettings::Measure(_) => format!("measure {}{seed}", self.arms.join(", ")),
            StageSettings::Train(_) => format!("train {}{seed}", self.arms.join(", ")),
            StageSettings::Dpo(_) => format!("dpo {}{seed}", self.arms.join(", ")),
            StageSettings::Eval(eval) => format!("eval {} on {}{seed}", self.arms.join(", "), eval.benchmark),
            StageSettings::Judge(judge) => format!("judge {} on {}{seed}", self.arms.join(", "), judge.benchmark),
            StageSettings::Table(_) => "table".to_owned(),
        }
    }
}

/// A stage that another needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Input {
    /// Its kind.
    pub kind: StageKind,
    /// Its key.
    pub key: Digest,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageSettings {
    /// Gather problems. Inputs: none.
    Problems(ProblemSettings),
    /// Generate trajectories. Inputs: problems.
    Generate(GenerateStage),
    /// Measure trajectories. Inputs: problems and generate.
    Measure(MeasureStage),
    /// Train a student. Inputs: problems and generate, or none where rows are given.
    Train(TrainStage),
    /// Teach a student preferences. Inputs: problems and generate, and train where it is the trained student.
    Dpo(DpoStage),
    /// Evaluate a model. Inputs: the benchmark's problems, and train or dpo where the model is a student.
    Eval(EvalStage),
    /// Have responses judged. Inputs: the benchmark's problems, and the evaluation.
    Judge(JudgeStage),
    /// Make the table. Inputs: every other stage but problems of no arm.
    Table(TableStage),
}

/// A model by its name in the recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamedModel {
    /// Its name.
    pub name: String,
    /// Where its weights come from.
    pub source: ModelSource,
}

/// A teacher.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Teacher {
    /// Its model. The name is part of the key: it stands in the ledger, and seeds derive from it.
    pub model: NamedModel,
    /// How it draws.
    pub sampling: Sampling,
}

/// A scorer with its models.
pub type ScorerModel = Scorer<NamedModel>;

/// What a generation stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GenerateStage {
    /// The teachers that write: of a single-teacher search only that one. Of an integration the model that merges stands
    /// after them.
    pub teachers: Vec<Teacher>,
    /// The user's message, with `{question}` in place of the problem.
    pub prompt: String,
    /// How reasoning is cut into steps.
    pub segmenter: Segmenter,
    /// How candidates are judged.
    pub scorer: Option<ScorerModel>,
    /// How trajectories are found.
    pub search: Search,
    /// How much may be written.
    pub budget: Budget,
    /// Who closes the reasoning.
    #[serde(skip_serializing_if = "is_default")]
    pub closing: Closing,
    /// What names the random stream of a teacher's reply.
    #[serde(skip_serializing_if = "is_default")]
    pub draws: Draws,
    /// The most seconds for one problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u32>,
    /// Which teachers are asked; all, every time, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
}

impl GenerateStage {
    /// The most pairs of a kept and a dropped candidate that one problem can have: every step as long as its budget allows, and
    /// all siblings far apart.
    pub fn most_pairs(&self) -> u64 {
        let siblings = |proposals: u32| u64::from(proposals) * self.teachers.len() as u64;
        let pairs = |kept: u32, of: u64| u64::from(kept) * of.saturating_sub(1);
        match &self.search {
            Search::Beam { width, proposals, .. } | Search::BestFirst { width, proposals, .. } => {
                pairs(*width, siblings(*proposals)) * u64::from(self.budget.steps)
            }
            Search::Mcts { iterations, proposals, .. } => pairs(*iterations, siblings(*proposals)),
            Search::Curation { trajectories, select, .. }
            | Search::Single { trajectories, select, .. }
            | Search::Integration { trajectories, select, .. } => pairs(*select, u64::from(*trajectories)),
        }
    }
}

/// What a measuring stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeasureStage {
    /// The scorer.
    pub scorer: ScorerModel,
    /// The message that the trajectories answer, with `{question}` in place of the problem.
    pub prompt: String,
}

/// What a training stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainStage {
    /// The student as it begins.
    pub student: NamedModel,
    /// What it learns from.
    pub data: TrainData,
    /// Which turns of a conversation are learnt.
    #[serde(skip_serializing_if = "is_default")]
    pub turns: Turns,
    /// Which of the generated trajectories it learns from.
    pub keep: Option<Keep>,
    /// How their problems are compared with those of the benchmarks, and with which; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decontaminate: Option<Decontaminate>,
    /// The benchmarks that the problems are compared with, whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<DataSource>,
    /// How.
    #[serde(flatten)]
    pub learning: LearningSettings,
}

/// What a stage of preference optimisation does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DpoStage {
    /// The student as it begins, which is the reference too.
    pub student: EvaluatedModel,
    /// Which pairs of the candidates it learns from.
    pub pairs: PairSettings,
    /// How much it may leave the model that it begins as.
    pub beta: f64,
    /// The weight of the chosen steps' own likelihood.
    pub sft_weight: f64,
    /// How the pairs' problems are compared with those of the benchmarks, and with which; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decontaminate: Option<Decontaminate>,
    /// The benchmarks that the problems are compared with, whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<DataSource>,
    /// How.
    #[serde(flatten)]
    pub learning: LearningSettings,
}

/// Which model is evaluated, or taught preferences.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluatedModel {
    /// The student that an input stage trained.
    Trained,
    /// A model as it is.
    Given(NamedModel),
}

/// What an evaluation stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct EvalStage {
    /// The model.
    pub model: EvaluatedModel,
    /// The benchmark's name.
    pub benchmark: String,
    /// Samples for each problem; the benchmark's own number where absent.
    pub samples: Option<u32>,
    /// How to draw.
    pub sampling: Sampling,
    /// The most tokens of a response; the benchmark's own where absent.
    pub max_tokens: Option<u32>,
    /// The user's message, with `{question}` in place of the problem; the benchmark's own where absent.
    pub prompt: Option<String>,
    /// Whether responses begin inside a reasoning block.
    pub opening: Opening,
}

/// What a judging stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JudgeStage {
    /// The judges, in the panel's order.
    pub models: Vec<NamedModel>,
    /// The benchmark's name.
    pub benchmark: String,
    /// What they are told: a rubric with its version.
    pub rubric: &'static str,
    /// The most tokens of an answer.
    pub max_tokens: u32,
    /// Whether an answer begins inside a reasoning block.
    pub opening: Opening,
}

impl JudgeStage {
    /// The rubric that compares a response with its reference.
    pub const RUBRIC: &'static str = "reference/1";
}

/// What the table's stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableStage {
    /// What is compared.
    pub table: TableSettings,
    /// One for each arm and seed, in the recipe's order.
    pub rows: Vec<TableRow>,
}

/// The stages of one arm under one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableRow {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Where its trajectories are.
    pub generate: Option<Digest>,
    /// The problems that they are for.
    pub problems: Option<Digest>,
    /// Where their measures are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<Digest>,
    /// Where its student is.
    pub train: Option<Digest>,
    /// Where its student is that learnt preferences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<Digest>,
    /// Where its samples are, for each benchmark in the recipe's order.
    pub evals: Vec<BenchmarkStage>,
}

/// The stage of one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BenchmarkStage {
    /// The benchmark's name.
    pub benchmark: String,
    /// Its problems.
    pub problems: Digest,
    /// The samples.
    pub eval: Digest,
    /// What judges say of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<Digest>,
}

impl TableRow {
    /// The stage of the student that is tested: the last that made one.
    pub fn student(&self) -> Option<(StageKind, Digest)> {
        self.dpo.map(|key| (StageKind::Dpo, key)).or(self.train.map(|key| (StageKind::Train, key)))
    }
}

impl NamedModel {
    pub(crate) fn of(name: &str, model: &Model) -> Self {
        Self { name: name.to_owned(), source: model.source.clone() }
    }
}
