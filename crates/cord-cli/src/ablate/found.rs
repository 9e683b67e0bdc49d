//! What the finished stages of all subsets say: what each costs, and what each teacher is worth.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cord_core::{Candidate, Problem, Seed, Usage};
use cord_eval::{Coalition, Estimate, PairedDifference, Scores, StatsError, contrast, shapley};
use cord_generate::Sharing;
use cord_recipe::{Column as Wanted, GenerateSettings, Plan, Recipe, StageKind, StageSettings, TableRow};
use cord_report::{Column, Format, TokenSums};
use cord_store::{Store, candidates_from_parquet, read_jsonl};

use crate::ablate::pool::{NOBODY, Pool};
use crate::table::Measured;
use crate::{stages, table};

/// What was found of all subsets, in their order.
#[derive(Default)]
pub(super) struct Found {
    pub(super) subsets: Vec<(Coalition, Subset)>,
}

/// What was found of one.
#[derive(Default)]
pub(super) struct Subset {
    /// One for each seed.
    pub(super) measured: Vec<Measured>,
    pub(super) spent: Usage,
    pub(super) new: Usage,
    pub(super) failed: u64,
    /// Problems over all seeds.
    pub(super) searched: u64,
}

impl Found {
    /// Reads the stages of every subset, in the pool's order; the student of nobody comes first.
    pub(super) fn of(pool: &Pool, recipe: &Recipe, plan: &Plan, store: &Store) -> Result<Self> {
        let rows = plan.stages.iter().find_map(|stage| match &stage.settings {
            StageSettings::Table(table) => Some(&table.rows),
            _ => None,
        });
        let rows = rows.context("a plan ends with its table")?;
        let generate = pool.arm.generate.as_ref().context("the arm generates")?;
        let mut sharing = Sharing::new(segmenter(plan)?, budget(generate));
        let mut found = Self::default();
        let untaught = recipe.arm(NOBODY).map(|_| 0);
        for subset in untaught.into_iter().chain(pool.subsets.iter().copied()) {
            let mut one = Subset::default();
            for row in rows.iter().filter(|row| row.arm == pool.name(subset)) {
                one.measured.push(table::measure(recipe, plan, store, row)?);
                one.spend(store, row, &mut sharing)?;
            }
            found.subsets.push((subset, one));
        }
        Ok(found)
    }

    /// The metrics that were measured.
    pub(super) fn columns(&self, recipe: &Recipe) -> Vec<Column> {
        let trajectories = recipe.table.columns.iter().map(table::column);
        let benchmarks = recipe.arms.iter().filter_map(|arm| arm.eval.as_ref()).flat_map(|eval| &eval.benchmarks);
        let mut names: Vec<String> = Vec::new();
        for name in benchmarks.map(cord_recipe::DataSource::name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let evals = names
            .into_iter()
            .map(|benchmark| table::column(&Wanted::Eval { benchmark, metric: cord_recipe::EvalMetric::PassAt1 }));
        let measured = |column: &Column| {
            let mut seeds = self.subsets.iter().flat_map(|(_, one)| &one.measured);
            seeds.any(|seed| seed.scores.get(&column.key).is_some_and(|scores| scores.problems() > 0))
        };
        trajectories.chain(evals).filter(measured).collect()
    }

    pub(super) fn tokens(&self) -> TokenSums {
        let mut sums = TokenSums::default();
        for (_, one) in &self.subsets {
            sums.generated_apart += one.spent.generated_tokens;
            sums.generated += one.new.generated_tokens;
            sums.scored_apart += one.spent.scored_tokens;
            sums.scored += one.new.scored_tokens;
        }
        sums
    }

    /// What each of so many teachers is worth by a metric.
    pub(super) fn worth(&self, teachers: u32, column: &Column) -> Result<Worth> {
        let mut values: BTreeMap<Coalition, Vec<Scores>> = BTreeMap::new();
        for (subset, one) in &self.subsets {
            let scores = one.measured.iter().filter_map(|seed| seed.scores.get(&column.key).cloned());
            let scores: Vec<Scores> = scores.collect();
            if !scores.is_empty() {
                values.insert(*subset, scores);
            }
        }
        Worth::of(teachers, &values, &column.key)
    }

    /// Tokens that a subset generates by itself.
    pub(super) fn generated(&self, subset: Coalition) -> Option<f64> {
        let (_, one) = self.subsets.iter().find(|(known, _)| *known == subset)?;
        Some(one.spent.generated_tokens as f64)
    }
}

impl Subset {
    /// Adds what a generation cost, and what of it is new.
    fn spend(&mut self, store: &Store, row: &TableRow, sharing: &mut Sharing) -> Result<()> {
        let (Some(generate), Some(problems)) = (row.generate, row.problems) else { return Ok(()) };
        let folder = store.find(StageKind::Generate.name(), generate)?.context("a finished generation")?;
        let mut ledgers: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        for row in candidates_from_parquet(folder.read_bytes("candidates.parquet")?)? {
            self.spent += row.candidate.usage;
            ledgers.entry(row.problem).or_default().push(row.candidate);
        }
        for (problem, candidates) in &ledgers {
            self.new += sharing.add(row.seed, problem, candidates);
        }
        let failed: Vec<stages::Failure> = serde_json::from_value(folder.manifest().summary["failed"].clone())?;
        self.failed += failed.len() as u64;
        let folder = store.find(StageKind::Problems.name(), problems)?.context("the finished problems")?;
        let file = "problems.jsonl";
        let problems: Vec<Problem> = read_jsonl(&folder.read_bytes(file)?, &folder.file(file))?;
        self.searched += problems.len() as u64;
        Ok(())
    }
}

/// What each teacher is worth by one metric, in the pool's order.
pub(super) struct Worth {
    pub(super) left_out: Vec<Option<PairedDifference>>,
    pub(super) shapley: Vec<Option<PairedDifference>>,
    /// The empty pool's and the whole one's, where they were run.
    ends: [Option<Vec<Scores>>; 2],
}

impl Worth {
    fn of(teachers: u32, values: &BTreeMap<Coalition, Vec<Scores>>, metric: &str) -> Result<Self> {
        let whole = (1 << teachers) - 1;
        let seed = Seed::root(0).named("ablation").named(metric);
        // Too few problems are no reason to show nothing else.
        let measured = |found: Result<PairedDifference, StatsError>| match found {
            Ok(found) => Ok(Some(found)),
            Err(StatsError::TooFewProblems { .. }) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("the metric `{metric}`")),
        };
        let mut left_out = Vec::new();
        for teacher in 0..teachers {
            let pair = values.get(&whole).zip(values.get(&(whole & !(1 << teacher))));
            let seed = seed.named("left-out").indexed(u64::from(teacher));
            left_out.push(match pair {
                Some((with, without)) => measured(contrast(&[(1.0, with), (-1.0, without)], seed))?,
                None => None,
            });
        }
        let shapley = match shapley(teachers, values, seed.named("shapley")) {
            Ok(found) => found.into_iter().map(Some).collect(),
            Err(StatsError::MissingCoalition { .. } | StatsError::TooFewProblems { .. }) => {
                vec![None; teachers as usize]
            }
            Err(error) => return Err(error).with_context(|| format!("the metric `{metric}`")),
        };
        Ok(Self { left_out, shapley, ends: [values.get(&0).cloned(), values.get(&whole).cloned()] })
    }

    /// The sum of the Shapley values in words, beside what it must be.
    pub(super) fn sum(&self, column: &Column) -> Option<String> {
        let all: Vec<Estimate> =
            self.shapley.iter().map(|value| value.map(|value| value.difference)).collect::<Option<_>>()?;
        let scale = if column.format == Format::Percent { 100.0 } else { 1.0 };
        let digits = if column.format == Format::Percent { 1 } else { 3 };
        let sum = scale * all.iter().map(|value| value.value).sum::<f64>();
        let beyond = match &self.ends {
            [Some(_), Some(_)] => format!("the student that learns from `{NOBODY}`"),
            _ => "an empty pool, which is worth 0".to_owned(),
        };
        let n = all.iter().map(|value| value.n).min()?;
        Some(format!(
            "{}: the Shapley values add up to {sum:.digits$}, the whole pool's beyond {beyond}; over the {n} problems that \
             every subset has a value of.",
            column.label
        ))
    }
}

/// The generator's words for the recipe's, of any subset: all have the same.
fn segmenter(plan: &Plan) -> Result<cord_generate::Segmenter> {
    let stage = plan.of_kind(StageKind::Generate).find_map(|stage| match &stage.settings {
        StageSettings::Generate(settings) => Some(settings),
        _ => None,
    });
    Ok(stages::search_settings(stage.context("a subset generates")?)?.segmenter)
}

fn budget(generate: &GenerateSettings) -> cord_generate::Budget {
    let cord_recipe::Budget { reasoning, answer, step, steps } = generate.budget;
    cord_generate::Budget { reasoning, answer, step, steps }
}
