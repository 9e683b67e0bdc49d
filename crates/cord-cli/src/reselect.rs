//! `cord reselect`: another criterion, search or set of teachers on what a finished generation recorded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use cord_core::{Problem, Seed, StepKind, Trajectory, TrajectoryEnd};
use cord_eval::judge_trajectory;
use cord_generate::{Gap, Ledgers, PromptTemplate, RecordedScores, Reselections, Scorer, SearchPlan, reselect_all};
use cord_math::DEFAULT_FUEL;
use cord_recipe::{GenerateStage, Plan, Recipe, StageSettings};
use cord_store::{LedgerRow, candidates_to_parquet, to_jsonl, trajectories_to_parquet, write_file};
use serde::Serialize;

use crate::generation::Generation;
use crate::models::Models;
use crate::progress::Progress;
use crate::{RecipeArgs, measure, run, stages};

const EXAMPLES: &str = "Examples:
  What would a narrower beam have found, by the scores that are recorded? No model runs.
    cord reselect recipes/mini/cord.toml --arm cord --search '{ kind = \"beam\", width = 2 }'
  And without the adder?
    cord reselect recipes/mini/cord.toml --arm cord --search '{ kind = \"beam\", width = 2 }' --teachers closer,multiplier
  Which candidates would another meta-prover have kept? It reads what is recorded; no teacher writes.
    cord reselect recipes/mini/cord.toml --arm cord --scorer '{ kind = \"predictive-perplexity\", model = \"adder\" }'

The ledger ends where the new choice leads to text that no teacher was asked to continue. Such problems are counted and, with
--to, listed with what would have to be generated; they are in no average. Exit status: 0 done; 1 could not run; 3 done, but
some problems failed.";

/// The verb's arguments.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReselectArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The arm whose candidates are searched again; its generation must be finished
    #[arg(long, value_name = "ARM")]
    arm: String,
    /// Only this seed of the recipe's; all where it is not given
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only these teachers, in the order that breaks ties
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    teachers: Vec<String>,
    /// Another scorer, as the recipe would say it: '{ kind = "random" }'
    #[arg(long, value_name = "TABLE")]
    scorer: Option<String>,
    /// Another search, as the recipe would say it: '{ kind = "beam", width = 2 }'
    #[arg(long, value_name = "TABLE")]
    search: Option<String>,
    /// Write trajectories.parquet, candidates.parquet and gaps.jsonl into a folder for each seed, here
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

/// A gap and its problem, a line of `gaps.jsonl`.
#[derive(Serialize)]
struct GapRow<'a> {
    problem: &'a str,
    #[serde(flatten)]
    gap: &'a Gap,
}

/// Searches again, and says what came of it and which problems failed.
pub(crate) fn reselect(args: &ReselectArgs) -> Result<(String, Vec<(String, stages::Failure)>)> {
    let recipe = args.recipe.read()?;
    let store = run::store(&recipe)?;
    let generations = Generation::of_arm(&recipe, &run::plan(&recipe)?, &store, &args.arm, args.seed)?;
    // The change is one of the recipe, so that the recipe's own checks see it.
    let other = args.recipe.read_with(&args.changes(&recipe))?;
    let other_plan = run::plan(&other)?;
    let models = Models::new(&other.run, &store)?;
    let progress = Progress::new(generations.len());
    let (mut text, mut failures) = (String::new(), Vec::new());
    for (index, generation) in generations.iter().enumerate() {
        let settings = stage_of(&other, &other_plan, &args.arm, generation.seed)?;
        let ledgers = generation.ledgers()?;
        let shown = progress.stage(index, &format!("reselect {}, seed {}", args.arm, generation.seed), 0, "problems");
        shown.of(ledgers.len() as u64);
        let done = AtomicU64::new(0);
        let ended = || shown.at(done.fetch_add(1, Ordering::Relaxed) + 1, String::new());
        let found = search_again(&other, &models, generation, &settings, &ledgers, &ended)?;
        let what = format!("{} covered, {} not, {} failed", found.covered.len(), found.gaps.len(), found.failed.len());
        shown.finish(&what);
        text += &report(&args.arm, generation, &found)?;
        if let Some(to) = &args.to {
            let to = to.join(format!("{}-seed-{}", args.arm, generation.seed));
            write(&found, &to)?;
            writeln!(text, "  written to {}", to.display())?;
        }
        failures
            .extend(found.failed.into_iter().map(|failure| (format!("reselect, seed {}", generation.seed), failure)));
    }
    text.truncate(text.trim_end().len());
    Ok((text, failures))
}

impl ReselectArgs {
    /// The overrides of the arm that the arguments stand for.
    fn changes(&self, recipe: &Recipe) -> Vec<String> {
        // A recipe without arms is its own only one.
        let alone = recipe.arms.len() == 1 && self.arm == recipe.name;
        let key =
            |key: &str| if alone { format!("generate.{key}") } else { format!("arms.{}.generate.{key}", self.arm) };
        let mut changes = Vec::new();
        if !self.teachers.is_empty() {
            changes.push(format!("{}={:?}", key("teachers"), self.teachers));
        }
        changes.extend(self.scorer.iter().map(|scorer| format!("{}={scorer}", key("scorer"))));
        changes.extend(self.search.iter().map(|search| format!("{}={search}", key("search"))));
        changes
    }
}

/// The generation stage of an arm under a seed.
fn stage_of(recipe: &Recipe, plan: &Plan, arm: &str, seed: u64) -> Result<GenerateStage> {
    let key = Generation::row(recipe, plan, arm, seed)?.generate.context("the arm generates")?;
    match plan.stage(key).map(|stage| &stage.settings) {
        Some(StageSettings::Generate(settings)) => Ok(settings.clone()),
        _ => bail!("expected a generation under the key `{}`, got none", key.short()),
    }
}

fn search_again(
    recipe: &Recipe,
    models: &Models,
    generation: &Generation,
    settings: &GenerateStage,
    ledgers: &Ledgers,
    ended: &(dyn Fn() + Sync),
) -> Result<Reselections> {
    let prompt = PromptTemplate::new(settings.prompt.clone())?;
    let seed = Seed::root(generation.seed);
    let Some(judges) = &settings.scorer else {
        bail!("expected a scorer, got none: give `--scorer`, so that candidates can be compared")
    };
    let scorer: Arc<dyn Scorer> = if generation.settings.scorer.as_ref() == Some(judges) {
        // Nothing needs to be asked again.
        let name = serde_json::to_value(judges)?["kind"].as_str().unwrap_or("scorer").to_owned();
        Arc::new(RecordedScores::new(name, ledgers))
    } else {
        measure::scorer(judges, &prompt, seed.named("generate"), &mut |model| {
            Ok(models.open(&model.source, &model.name)?.model())
        })?
    };
    let names = settings.teachers.iter().map(|teacher| teacher.model.name.clone()).collect();
    let plan = Arc::new(SearchPlan::new(stages::search_settings(settings)?, names, scorer.as_ref())?);
    let at_once = NonZeroUsize::new(recipe.run.concurrency as usize).context("a recipe's concurrency is above 0")?;
    let problems = &generation.problems;
    Ok(futures::executor::block_on(reselect_all(problems, ledgers, &plan, scorer.as_ref(), seed, at_once, ended)))
}

/// What came of one seed, in words.
fn report(arm: &str, generation: &Generation, found: &Reselections) -> Result<String> {
    let all = found.covered.len() + found.gaps.len() + found.failed.len();
    let mut text = format!(
        "{arm}, seed {}: {} of {all} problems are covered by the ledger\n",
        generation.seed,
        found.covered.len()
    );
    let by_id: BTreeMap<&str, &Problem> = generation.problems.iter().map(|one| (one.id.as_str(), one)).collect();
    let right = |one: &Trajectory| {
        let verdict = || judge_trajectory(by_id[one.problem.as_str()], one, DEFAULT_FUEL);
        one.end == TrajectoryEnd::Complete && verdict().answer.is_correct()
    };
    if !found.covered.is_empty() {
        let covered: BTreeMap<&str, &Trajectory> =
            found.covered.iter().filter_map(|one| Some((one.problem.as_str(), one.trajectories.first()?))).collect();
        let was = |one: &&Trajectory| one.index == 0 && covered.contains_key(one.problem.as_str());
        let before: Vec<&Trajectory> = generation.trajectories.iter().filter(was).collect();
        let changed = before.iter().filter(|one| covered[one.problem.as_str()].response != one.response).count();
        let percent = |right: usize, of: usize| 100.0 * right as f64 / of.max(1) as f64;
        let now = percent(covered.values().filter(|one| right(one)).count(), covered.len());
        let before = percent(before.iter().filter(|one| right(one)).count(), before.len());
        writeln!(text, "  on them: answer accuracy {now:.1} %, was {before:.1} %; {changed} trajectories are others")?;
    }
    let gaps: Vec<&Gap> = found.gaps.iter().flat_map(|(_, gaps)| gaps).collect();
    if !gaps.is_empty() {
        let mut wanted: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for gap in &gaps {
            let what = match gap.kind {
                StepKind::Reasoning => "steps",
                StepKind::Answer => "answers to reasoning that is recorded",
                StepKind::Whole => "whole responses",
            };
            *wanted.entry((what, &gap.teacher)).or_default() += 1;
        }
        let wanted: Vec<String> =
            wanted.iter().map(|((what, who), count)| format!("{count} {what} by {who}")).collect();
        writeln!(
            text,
            "  the ledger ends for {} problems; before the search could go on, generation would be needed: {}",
            found.gaps.len(),
            wanted.join(", ")
        )?;
    }
    Ok(text)
}

fn write(found: &Reselections, to: &std::path::Path) -> Result<()> {
    let trajectories: Vec<Trajectory> = found.covered.iter().flat_map(|one| one.trajectories.clone()).collect();
    let rows = found.covered.iter().flat_map(|one| {
        one.candidates.iter().map(|candidate| LedgerRow { problem: one.problem.clone(), candidate: candidate.clone() })
    });
    let gaps = found.gaps.iter().flat_map(|(problem, gaps)| gaps.iter().map(move |gap| GapRow { problem, gap }));
    let gaps: Vec<GapRow<'_>> = gaps.collect();
    write_file(&to.join("trajectories.parquet"), &trajectories_to_parquet(&trajectories)?)?;
    write_file(&to.join("candidates.parquet"), &candidates_to_parquet(&rows.collect::<Vec<_>>())?)?;
    let path = to.join("gaps.jsonl");
    write_file(&path, &to_jsonl(&gaps, &path)?)?;
    Ok(())
}
