//! `cord export`: a finished generation as a data set to train on, with its card.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use cord_core::{Problem, Trajectory};
use cord_generate::{
    CardConfig, CardModel, DatasetCard, Decontamination, Label, PairSettings, PromptTemplate, TrainingSet, Winners,
    preference_pairs, stepwise_rows, training_set,
};
use cord_math::{DEFAULT_FUEL, Start, verify};
use cord_recipe::{Arm, DataSource, Decontaminate, NamedModel, Scorer, Search};
use cord_store::{DatasetColumn, dataset_to_parquet, to_jsonl, write_file};
use serde::Serialize;

use crate::datasets::data_folder;
use crate::generation::Generation;
use crate::models::known_identity;
use crate::served::Memory;
use crate::stages::decontamination;
use crate::trainers::{self, Trainer};
use crate::{RecipeArgs, run, stages};

const EXAMPLES: &str = "Examples:
  Conversations for supervised fine-tuning, as Parquet with a card:
    cord export recipes/mini/cord.toml --arm cord --to out/cord --license mit
  What the student would learn, for TRL on several GPUs:
    cord export recipes/mini/cord.toml --arm cord --to out/cord --license mit --trainer trl
  The first and preference pairs of steps whose scores differ by 0.2 or more, as JSON Lines:
    cord export recipes/mini/cord.toml --arm cord --to out/cord --license mit --kind sft --kind dpo --margin 0.2 --format jsonl

Kinds, in the fields of TRL's formats:
  sft                `messages`: the user's turn and the assistant's, reasoning in <think> … </think>
  prompt-completion  `prompt` and `completion`, lists of turns
  dpo                `prompt`, `chosen`, `rejected`: a step of the beam that was kept against one that was not, after the same
                     text; `shared` characters of both turns are that text, `margin` is the difference of their scores
  stepwise           `prompt`, `completions` (steps) and `labels` (was the step kept?)

Which trajectories become rows of the first two is the recipe's `generate.keep`. Problems that repeat one of the arm's benchmarks
are left out of all kinds by the recipe's `train.decontaminate`, and the card says how many. The rows are a derived work of the
problems and of what the teachers write: choose a licence that theirs allow.";

/// The verb's arguments.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The arm whose trajectories and candidates become rows; its generation must be finished
    #[arg(long, value_name = "ARM")]
    arm: String,
    /// Which of the recipe's seeds; needed where it has several
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// The folder for the files and their card, README.md
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What the rows are (repeatable)
    #[arg(long = "kind", value_name = "KIND", default_value = "sft")]
    kinds: Vec<Kind>,
    /// Write the rows as the student's token ids too, with the recipe's training settings for another trainer (repeatable)
    #[arg(long = "trainer", value_name = "TRAINER")]
    trainers: Vec<Trainer>,
    /// How they are written
    #[arg(long, value_name = "FORMAT", default_value = "parquet")]
    format: Format,
    /// The licence that you give the rows, as the hub spells it: mit, apache-2.0, cc-by-4.0
    #[arg(long, value_name = "LICENSE")]
    license: String,
    /// dpo: the least difference between the scores of winner and loser
    #[arg(long, value_name = "SCORE", default_value_t = PairSettings::default().margin)]
    margin: f64,
    /// dpo: which candidates win
    #[arg(long, value_name = "WHICH", default_value = "kept")]
    winners: Wins,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// Conversations
    Sft,
    /// Prompts and their completions
    PromptCompletion,
    /// Pairs of steps
    Dpo,
    /// Steps with labels
    Stepwise,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Columns, compressed
    Parquet,
    /// One row a line
    Jsonl,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wins {
    /// Those that were kept when they were ranked
    Kept,
    /// Those that are part of a final trajectory
    Chosen,
}

/// Rows, ready to be written.
struct Rows {
    kind: Kind,
    count: usize,
    bytes: Vec<u8>,
}

/// Writes the rows and the card. Says what was written.
pub(crate) fn export(args: &ExportArgs) -> Result<String> {
    let recipe = args.recipe.read()?;
    let (plan, store) = (run::plan(&recipe)?, run::store(&recipe)?);
    let mut generations = Generation::of_arm(&recipe, &plan, &store, &args.arm, args.seed)?;
    let generation = generations.swap_remove(0);
    if !generations.is_empty() {
        let seeds: Vec<String> = recipe.seeds.iter().map(|seed| format!("`{seed}`")).collect();
        bail!(
            "expected one seed, since rows of several would have the same names; give `--seed`, one of {}",
            seeds.join(", ")
        );
    }
    let arm = recipe.arm(&args.arm).context("the arm was found above")?;
    let found = compared(arm, &generation.problems, &data_folder(&recipe.run))?;
    let contaminated = found.as_ref().map(Decontamination::contaminated).unwrap_or_default();
    let settings = arm.generate.as_ref().context("the arm generates")?;
    let learning = arm.train.as_ref().map(|train| &train.learning).or(arm.dpo.as_ref().map(|dpo| &dpo.learning));
    let message = learning.map_or(&settings.prompt, |learning| &learning.prompt);
    let prompt = PromptTemplate::new(message.clone())?;
    let correct = |problem: &Problem, trajectory: &Trajectory| {
        verify(&problem.answer, &trajectory.response, Start::Thinking, DEFAULT_FUEL).is_correct()
    };
    let keep = stages::keep(settings.keep);
    let set = training_set(&generation.problems, &generation.trajectories, &prompt, keep, &contaminated, &correct);
    let kinds: BTreeSet<Kind> = args.kinds.iter().copied().collect();
    let rows = kinds.into_iter().map(|kind| args.rows(kind, &generation, &prompt, &set, &contaminated));
    let rows = rows.collect::<Result<Vec<Rows>>>()?;
    let extension = args.format.extension();
    let written = if args.trainers.is_empty() {
        None
    } else {
        Some(trainers::write(&args.to, arm, &set, generation.seed, &args.trainers)?)
    };
    let config = |rows: &Rows| CardConfig {
        name: rows.kind.name().to_owned(),
        files: format!("{}/*.{extension}", rows.kind.name()),
        rows: rows.count as u64,
        holds: rows.kind.holds().to_owned(),
    };
    let card = DatasetCard {
        title: format!("{}, {}, seed {}", recipe.name, args.arm, generation.seed),
        license: args.license.clone(),
        languages: vec!["en".to_owned()],
        tags: Vec::new(),
        source_datasets: Vec::new(),
        configs: rows.iter().map(config).chain(written.as_ref().map(trainers::Written::config)).collect(),
        models: models(&generation, &Memory::read(&store)?)?,
        recipe: plan.digest,
        cost: generation.usage()?,
        trajectories: generation.trajectories.len() as u64,
        kept: set.kept,
        left_out: set.left_out,
        decontamination: found,
    };
    let mut text = String::new();
    for one in &rows {
        let path = args.to.join(one.kind.name()).join(format!("train.{extension}"));
        write_file(&path, &one.bytes)?;
        writeln!(text, "{}: {} rows in {}", one.kind.name(), one.count, path.display())?;
    }
    if let Some(written) = &written {
        writeln!(text, "{}", written.text)?;
    }
    // Last, so that a folder with a card is a whole one.
    let path = write_file(&args.to.join("README.md"), card.render().as_bytes())?;
    write!(text, "the card is {}", path.display())?;
    Ok(text)
}

impl ExportArgs {
    fn rows(
        &self,
        kind: Kind,
        generation: &Generation,
        prompt: &PromptTemplate,
        set: &TrainingSet,
        contaminated: &BTreeSet<&str>,
    ) -> Result<Rows> {
        let ledgers = || -> Result<_> {
            let mut ledgers = generation.ledgers()?;
            ledgers.retain(|problem, _| !contaminated.contains(problem.as_str()));
            Ok(ledgers)
        };
        match kind {
            Kind::Sft => self.write(kind, &set.rows, |rows| {
                vec![text("id", rows, |row| &row.id), ("messages", conversation(rows, |row| &row.messages))]
            }),
            Kind::PromptCompletion => {
                let rows: Vec<_> = set.rows.iter().map(cord_generate::TrainingRow::prompt_completion).collect();
                self.write(kind, &rows, |rows| {
                    vec![
                        text("id", rows, |row| &row.id),
                        ("prompt", conversation(rows, |row| &row.prompt)),
                        ("completion", conversation(rows, |row| &row.completion)),
                    ]
                })
            }
            Kind::Dpo => {
                let winners = match self.winners {
                    Wins::Kept => Winners::Kept,
                    Wins::Chosen => Winners::Chosen,
                };
                let settings = PairSettings { winners, margin: self.margin, per_problem: None };
                let rows = preference_pairs(&generation.problems, &ledgers()?, prompt, settings);
                self.write(kind, &rows, |rows| {
                    vec![
                        text("id", rows, |row| &row.id),
                        ("prompt", conversation(rows, |row| &row.prompt)),
                        ("chosen", conversation(rows, |row| &row.chosen)),
                        ("rejected", conversation(rows, |row| &row.rejected)),
                        ("shared", DatasetColumn::Count(rows.iter().map(|row| row.shared as u64).collect())),
                        ("margin", DatasetColumn::Number(rows.iter().map(|row| row.margin).collect())),
                        text("chosen_teacher", rows, |row| &row.chosen_teacher),
                        text("rejected_teacher", rows, |row| &row.rejected_teacher),
                    ]
                })
            }
            Kind::Stepwise => {
                let rows = stepwise_rows(&generation.problems, &ledgers()?, prompt, Label::Kept);
                self.write(kind, &rows, |rows| {
                    vec![
                        text("id", rows, |row| &row.id),
                        text("prompt", rows, |row| &row.prompt),
                        ("completions", DatasetColumn::Texts(rows.iter().map(|row| row.completions.clone()).collect())),
                        ("labels", DatasetColumn::Flags(rows.iter().map(|row| row.labels.clone()).collect())),
                    ]
                })
            }
        }
    }

    fn write<T: Serialize>(
        &self,
        kind: Kind,
        rows: &[T],
        columns: impl FnOnce(&[T]) -> Vec<(&'static str, DatasetColumn)>,
    ) -> Result<Rows> {
        let bytes = match self.format {
            Format::Parquet => dataset_to_parquet(&columns(rows))?,
            Format::Jsonl => to_jsonl(rows, &self.to)?,
        };
        Ok(Rows { kind, count: rows.len(), bytes })
    }
}

fn text<T>(name: &'static str, rows: &[T], of: fn(&T) -> &String) -> (&'static str, DatasetColumn) {
    (name, DatasetColumn::Text(rows.iter().map(|row| of(row).clone()).collect()))
}

fn conversation<T>(rows: &[T], of: fn(&T) -> &Vec<cord_core::Message>) -> DatasetColumn {
    DatasetColumn::Conversation(rows.iter().map(|row| of(row).clone()).collect())
}

/// The problems beside those of the arm's benchmarks; nothing where it has none, or where its recipe does not want it.
fn compared(arm: &Arm, problems: &[Problem], data: &Path) -> Result<Option<Decontamination>> {
    let given = arm.train.as_ref().map(|train| train.decontaminate).or(arm.dpo.as_ref().map(|dpo| dpo.decontaminate));
    let rule = given.unwrap_or(Some(Decontaminate::default()));
    let benchmarks: Vec<DataSource> = arm.eval.iter().flat_map(|eval| eval.benchmarks.iter().cloned()).collect();
    match rule {
        Some(rule) if !benchmarks.is_empty() => decontamination(problems, rule, &benchmarks, data).map(Some),
        _ => Ok(None),
    }
}

/// The models that took part, with all their roles.
fn models(generation: &Generation, memory: &Memory) -> Result<Vec<CardModel>> {
    let settings = &generation.settings;
    let merger = match &settings.search {
        Search::Integration { model, .. } => Some(model),
        _ => None,
    };
    let teachers = settings
        .teachers
        .iter()
        .map(|teacher| (&teacher.model, if merger == Some(&teacher.model.name) { "merging model" } else { "teacher" }));
    let judges =
        settings.scorer.iter().flat_map(|scorer| scorer.models().into_iter().map(move |model| (model, role(scorer))));
    let mut roles: BTreeMap<&str, (&NamedModel, Vec<&str>)> = BTreeMap::new();
    for (model, role) in teachers.chain(judges) {
        let (_, roles) = roles.entry(&model.name).or_insert((model, Vec::new()));
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let card = |(name, (model, roles)): (&str, (&NamedModel, Vec<&str>))| {
        let name = model.source.label().unwrap_or_else(|| name.to_owned());
        let digest = known_identity(&name, &model.source, memory)?;
        Ok(CardModel { name, role: roles.join(", "), digest })
    };
    roles.into_iter().map(card).collect()
}

fn role<M>(scorer: &Scorer<M>) -> &'static str {
    match scorer {
        Scorer::PredictivePerplexity { .. } | Scorer::AnswerGain { .. } | Scorer::Ensemble { .. } => "meta-prover",
        Scorer::ProcessReward { .. } => "process reward model",
        Scorer::Judgment { .. } => "judge",
        Scorer::Random {} | Scorer::MaxLength { .. } | Scorer::SelfCertainty {} | Scorer::Mixture { .. } => "scorer",
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::PromptCompletion => "prompt-completion",
            Self::Dpo => "dpo",
            Self::Stepwise => "stepwise",
        }
    }

    fn holds(self) -> &'static str {
        match self {
            Self::Sft => "conversations: the problem and a trajectory",
            Self::PromptCompletion => "the problem, and a trajectory as its completion",
            Self::Dpo => "pairs of steps after the same text, the better one chosen",
            Self::Stepwise => "reasoning as a list of steps, with a label for each: was it kept when it was ranked?",
        }
    }
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}
