//! `cord ablate`: what each part of a recipe is worth, by leaving it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use cord_core::{Candidate, Problem, Seed, Usage};
use cord_eval::{Coalition, Estimate, PairedDifference, Scores, StatsError, contrast, shapley};
use cord_generate::Sharing;
use cord_recipe::{
    Arm, Column as Wanted, Draws, GenerateSettings, ModelSource, Plan, Recipe, Search, StageKind, StageSettings,
    TableRow, TableSettings, TrajectoryMetric,
};
use cord_report::{
    Ablation, AblationFigure, Column, Draft, Format, Metric, Row, SubsetPoint, Table, TeacherWorth, TokenSums,
};
use cord_store::{Journal, Replies, Store, candidates_from_parquet, read_jsonl};

use crate::table::Measured;
use crate::{RecipeArgs, machine, run, stages, table};

/// The most teachers whose subsets are all run: 255 of them.
const MOST_TEACHERS: usize = 8;

/// The arm of students that learn from nobody.
const NOBODY: &str = "nobody";

const EXAMPLES: &str = "Examples:
  Every subset of the teachers, and what each teacher is worth:
    cord ablate teachers recipes/mini/ablation-teachers.toml
  Only the whole pool and the pools without one teacher:
    cord ablate teachers recipes/mini/ablation-teachers.toml --subsets leave-one-out
  Is a larger pool better for its teachers, or for its larger number of proposals? The same number for every pool:
    cord ablate teachers recipes/mini/ablation-teachers.toml --proposals 12

Subsets share their replies: a teacher that is asked to continue the same text replies the same in every pool
(`generate.draws = \"by-prefix\"`), and is asked once. Stopping loses at most what is in flight: run the same command again.
Exit status: 0 done; 1 could not run; 3 done, but some problems failed.";

/// Find out what a part of a recipe is worth, by leaving it out.
#[derive(Args)]
pub(crate) struct AblateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The teachers: runs subsets of the pool, and says what each teacher adds and what each subset costs.
    #[command(after_help = EXAMPLES)]
    Teachers(TeachersArgs),
}

#[derive(Args)]
struct TeachersArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The arm whose teachers are ablated; the first that generates where it is not given
    #[arg(long, value_name = "ARM")]
    arm: Option<String>,
    /// `all`, `leave-one-out`, or a list of subsets: closer+adder,closer
    #[arg(long, value_name = "SUBSETS", default_value = "all")]
    subsets: String,
    /// So many proposals for each beam, whatever the pool's size: a multiple of each subset's size
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    proposals: Option<u32>,
    /// Train and test a student for each subset, and test one that learns from nobody
    #[arg(long)]
    students: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subsets that are not there yet, writes tables and figure, and gives them as text.
pub(crate) fn ablate(args: &AblateArgs) -> Result<(String, run::Summary)> {
    let What::Teachers(args) = &args.what;
    let given = args.recipe.read()?;
    let pool = Pool::of(&given, args)?;
    let recipe = pool.recipe(&given, args);
    let store = run::store(&recipe)?;
    let replies = store.replies()?;
    take_in_finished(&run::plan(&recipe)?, &store, &replies)?;
    let (summary, store, plan) = run::run_sharing(&recipe, replies.journal())?;
    let ablation = pool.ablation(&recipe, &plan, &store, args)?;
    let files = publish(&ablation, &recipe, &store, args)?;
    let text = if args.json {
        ablation.json().trim_end().to_owned()
    } else {
        format!("{}\n{} are in {}", ablation.terminal(), files.join(", "), store.folder().display())
    };
    Ok((text, summary))
}

/// Makes the replies of generations that were finished on their own, by `cord run`, known to all: where something is left to
/// be generated.
fn take_in_finished(plan: &Plan, store: &Store, replies: &Replies) -> Result<()> {
    let mut journals = BTreeSet::new();
    let mut complete = true;
    for stage in plan.of_kind(StageKind::Generate) {
        match store.find(StageKind::Generate.name(), stage.key)? {
            Some(folder) => drop(journals.insert(folder.journal_path())),
            None => complete = false,
        }
    }
    for path in journals.into_iter().filter(|path| !complete && path.exists()) {
        replies.journal().take_in(&Journal::open(&path)?)?;
    }
    Ok(())
}

fn publish(ablation: &Ablation, recipe: &Recipe, store: &Store, args: &TeachersArgs) -> Result<Vec<String>> {
    let plain = |text: &str| text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>();
    let mut stem = "ablation".to_owned();
    if let Some(arm) = &args.arm {
        write!(stem, "-{}", plain(arm))?;
    }
    if let Some(proposals) = args.proposals {
        write!(stem, "-{proposals}-proposals")?;
    }
    if args.students {
        stem.push_str("-students");
    }
    let files = [
        (format!("{stem}.md"), ablation.markdown()),
        (format!("{stem}.csv"), ablation.subsets.csv()),
        (format!("{stem}-teachers.csv"), ablation.teachers.csv()),
        (format!("{stem}.json"), ablation.json()),
        (format!("{stem}.svg"), ablation.figure.svg()?),
    ];
    let mut names = Vec::new();
    for (name, text) in files {
        let name = recipe.file(&name);
        store.publish(&name, text.as_bytes())?;
        names.push(name);
    }
    Ok(names)
}

/// A pool of teachers and its subsets.
struct Pool {
    arm: Arm,
    teachers: Vec<String>,
    /// The smaller ones first, and of one size in the teachers' order; each once.
    subsets: Vec<Coalition>,
}

impl Pool {
    fn of(recipe: &Recipe, args: &TeachersArgs) -> Result<Self> {
        let arm = match &args.arm {
            Some(name) => recipe.arm(name).with_context(|| {
                let names: Vec<String> = recipe.arms.iter().map(|arm| format!("`{}`", arm.name)).collect();
                format!("expected one of the recipe's arms, {}, got `{name}`", names.join(", "))
            })?,
            None => {
                let generates = recipe.arms.iter().find(|arm| arm.generate.is_some());
                generates.context("expected a recipe with an arm that generates, got none")?
            }
        };
        let Some(generate) = &arm.generate else {
            bail!("expected an arm that generates, got `{}`, which does not", arm.name)
        };
        let teachers = generate.teachers.clone();
        let mut faults = faults(arm, generate, args);
        let subsets = subsets(&teachers, &args.subsets, &mut faults);
        if let Some(proposals) = args.proposals {
            let uneven: BTreeSet<u32> =
                subsets.iter().map(|subset| subset.count_ones()).filter(|size| proposals % size != 0).collect();
            if !uneven.is_empty() {
                let sizes: Vec<String> = uneven.iter().map(ToString::to_string).collect();
                faults.push(format!(
                    "expected `--proposals` that subsets of {} teachers can share evenly, got {proposals}",
                    sizes.join(" and of ")
                ));
            }
        }
        match &faults[..] {
            [] => Ok(Self { arm: arm.clone(), teachers, subsets }),
            [fault] => bail!("{fault}"),
            all => bail!("{} faults:\n  {}", all.len(), all.join("\n  ")),
        }
    }

    fn members(&self, subset: Coalition) -> Vec<String> {
        let members = self.teachers.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
        members.map(|(_, name)| name.clone()).collect()
    }

    fn name(&self, subset: Coalition) -> String {
        if subset == 0 { NOBODY.to_owned() } else { self.members(subset).join("+") }
    }

    fn whole(&self) -> Coalition {
        (1 << self.teachers.len()) - 1
    }

    /// The recipe whose arms are the subsets. Its meta-prover, budgets and seeds are the given arm's.
    fn recipe(&self, given: &Recipe, args: &TeachersArgs) -> Recipe {
        let mut arms: Vec<Arm> = self.subsets.iter().map(|subset| self.subset_arm(*subset, args)).collect();
        arms.extend(self.untaught().filter(|_| args.students));
        let trajectories =
            [TrajectoryMetric::Accuracy, TrajectoryMetric::ProcessAccuracy, TrajectoryMetric::Perplexity];
        let table = TableSettings {
            title: format!("Ablation of the teachers of {}", given.name),
            paper: None,
            paper_rows: BTreeMap::new(),
            paper_columns: BTreeMap::new(),
            columns: trajectories.into_iter().map(Wanted::Trajectories).collect(),
            orders: Vec::new(),
            figure: None,
            notes: Vec::new(),
        };
        let (name, description, seeds) = (given.name.clone(), given.description.clone(), given.seeds.clone());
        Recipe { name, description, seeds, arms, table, run: given.run.clone() }
    }

    fn subset_arm(&self, subset: Coalition, args: &TeachersArgs) -> Arm {
        let mut arm = self.arm.clone();
        arm.name = self.name(subset);
        if !args.students {
            (arm.train, arm.eval) = (None, None);
        }
        if let Some(generate) = &mut arm.generate {
            generate.teachers = self.members(subset);
            generate.draws = Draws::ByPrefix;
            if let (Some(all), Search::Beam { proposals, .. } | Search::Mcts { proposals, .. }) =
                (args.proposals, &mut generate.search)
            {
                *proposals = all / subset.count_ones();
            }
        }
        arm
    }

    /// The student as it begins; none where it has no weights yet.
    fn untaught(&self) -> Option<Arm> {
        let (train, eval) = (self.arm.train.as_ref()?, self.arm.eval.as_ref()?);
        if matches!(self.arm.models.get(&train.student)?.source, ModelSource::Scratch(_)) {
            return None;
        }
        let eval = cord_recipe::EvalSettings { model: Some(train.student.clone()), ..eval.clone() };
        let (name, models) = (NOBODY.to_owned(), self.arm.models.clone());
        Some(Arm { name, models, problems: None, generate: None, train: None, eval: Some(eval) })
    }

    /// What the finished stages of all subsets say.
    fn ablation(&self, recipe: &Recipe, plan: &Plan, store: &Store, args: &TeachersArgs) -> Result<Ablation> {
        let rows = plan.stages.iter().find_map(|stage| match &stage.settings {
            StageSettings::Table(table) => Some(&table.rows),
            _ => None,
        });
        let rows = rows.context("a plan ends with its table")?;
        let mut found = Found::default();
        let generate = self.arm.generate.as_ref().context("the arm generates")?;
        let mut sharing = Sharing::new(segmenter(plan)?, budget(generate));
        let untaught = recipe.arm(NOBODY).map(|_| 0);
        for subset in untaught.into_iter().chain(self.subsets.iter().copied()) {
            let mut one = Subset::default();
            for row in rows.iter().filter(|row| row.arm == self.name(subset)) {
                one.measured.push(table::measure(recipe, plan, store, row)?);
                one.spend(store, row, &mut sharing)?;
            }
            found.subsets.push((subset, one));
        }
        let columns = found.columns(recipe);
        let tokens = found.tokens();
        let subsets = self.subsets_table(recipe, plan, &found, &columns, tokens)?;
        let worth = self.worth(&found, &columns)?;
        let figure = self.figure(recipe, &found, &columns, &worth)?;
        let teachers = self.teachers_table(recipe, plan, &found, &columns, &worth, args)?;
        Ok(Ablation { subsets, teachers, tokens, figure })
    }

    fn subsets_table(
        &self,
        recipe: &Recipe,
        plan: &Plan,
        found: &Found,
        columns: &[Column],
        tokens: TokenSums,
    ) -> Result<Table> {
        let count = |key: &str, label: &str| Column { key: key.into(), label: label.into(), format: Format::Count };
        let costs = [
            count("generated-tokens", "generated tokens"),
            count("new-generated-tokens", "of them new"),
            count("scored-tokens", "scored tokens"),
            count("new-scored-tokens", "of these new"),
        ];
        let failed = found.subsets.iter().any(|(_, one)| one.failed > 0).then(|| count("failed", "failed"));
        let columns: Vec<Column> = columns.iter().cloned().chain(failed).chain(costs).collect();
        let mut rows = Vec::new();
        for (subset, one) in &found.subsets {
            let mut metrics = table::metrics(&one.measured)?;
            metrics
                .retain(|key, metric| metric.estimate().is_some() && columns.iter().any(|column| column.key == *key));
            if *subset != 0 {
                let counts = [
                    ("generated-tokens", one.spent.generated_tokens),
                    ("new-generated-tokens", one.new.generated_tokens),
                    ("scored-tokens", one.spent.scored_tokens),
                    ("new-scored-tokens", one.new.scored_tokens),
                    ("failed", one.failed),
                ];
                metrics.extend(counts.map(|(key, value)| (key.to_owned(), Metric::Count { value })));
            }
            rows.push(Row { arm: self.name(*subset), metrics, ..Row::default() });
        }
        let apart = |of: u64, share: f64| format!("{of} tokens, {:.1} % of what separate runs would", 100.0 * share);
        let notes = vec![
            seeds(recipe),
            format!(
                "{} subsets share their replies: they generate {} ({}) and score {} ({}).",
                self.subsets.len(),
                apart(tokens.generated, tokens.generated_share()),
                tokens.generated_apart,
                apart(tokens.scored, tokens.scored_share()),
                tokens.scored_apart,
            ),
            "New is what no subset above has asked; the sum does not depend on their order. Tokens are sums over seeds."
                .to_owned(),
        ];
        let title = recipe.table.title.clone();
        Ok(draft(recipe, plan, title, "teachers", columns, rows, notes).finish()?)
    }

    /// By column: what each teacher is worth.
    fn worth(&self, found: &Found, columns: &[Column]) -> Result<BTreeMap<String, Worth>> {
        let mut all = BTreeMap::new();
        for column in columns {
            let mut values: BTreeMap<Coalition, Vec<Scores>> = BTreeMap::new();
            for (subset, one) in &found.subsets {
                let scores = one.measured.iter().filter_map(|seed| seed.scores.get(&column.key).cloned());
                let scores: Vec<Scores> = scores.collect();
                if !scores.is_empty() {
                    values.insert(*subset, scores);
                }
            }
            all.insert(column.key.clone(), Worth::of(self.teachers.len() as u32, &values, &column.key)?);
        }
        Ok(all)
    }

    fn teachers_table(
        &self,
        recipe: &Recipe,
        plan: &Plan,
        found: &Found,
        columns: &[Column],
        worth: &BTreeMap<String, Worth>,
        args: &TeachersArgs,
    ) -> Result<Table> {
        let (mut headings, mut notes) = (Vec::new(), vec![seeds(recipe)]);
        let mut rows: Vec<Row> = self.teachers.iter().map(|name| Row { arm: name.clone(), ..Row::default() }).collect();
        for column in columns {
            let worth = &worth[&column.key];
            let kinds =
                [("shapley", "Shapley value", &worth.shapley), ("left-out", "lost when left out", &worth.left_out)];
            for (key, label, values) in kinds {
                if values.iter().all(Option::is_none) {
                    continue;
                }
                let (key, label) = (format!("{}.{key}", column.key), format!("{}: {label}", column.label));
                for (row, value) in rows.iter_mut().zip(values) {
                    row.metrics.extend(value.map(|value| (key.clone(), Metric::Estimate(value.difference))));
                }
                headings.push(Column { key, label, format: column.format });
            }
            if let Some(line) = worth.sum(column) {
                notes.push(line);
            }
        }
        let spent = |subset: Coalition| {
            let of = found.subsets.iter().find(|(one, _)| *one == subset)?;
            Some(of.1.spent.generated_tokens as f64)
        };
        let key = "generated-tokens.left-out";
        for (place, row) in rows.iter_mut().enumerate() {
            if let (Some(whole), Some(without)) = (spent(self.whole()), spent(self.whole() & !(1 << place))) {
                row.metrics.insert(key.to_owned(), Metric::Number { value: whole - without });
            }
        }
        if rows.iter().any(|row| row.metrics.contains_key(key)) {
            let label = "generated tokens: saved when left out".to_owned();
            headings.push(Column { key: key.to_owned(), label, format: Format::Count });
        }
        notes.push(
            "Shapley value: the mean, over all orders in which the pool could be put together, of what the teacher adds. Lost \
             when left out: the whole pool minus the pool without the teacher. Both are sums over problems, so the intervals \
             are clustered by problem, and a difference of the same problems."
                .to_owned(),
        );
        notes.push(match args.proposals {
            Some(proposals) => format!("Every beam has {proposals} proposals, whatever the pool's size."),
            None => {
                "A larger pool has more proposals for each beam; with `--proposals` every pool has as many.".to_owned()
            }
        });
        let title = format!("{}: what each is worth", recipe.table.title);
        Ok(draft(recipe, plan, title, "teacher", headings, rows, notes).finish()?)
    }

    fn figure(
        &self,
        recipe: &Recipe,
        found: &Found,
        columns: &[Column],
        worth: &BTreeMap<String, Worth>,
    ) -> Result<AblationFigure> {
        // What is learnt is the last word where it is known.
        let column = columns.iter().rfind(|column| column.key.starts_with("eval.")).or(columns.first());
        let column = column.context("expected a measured subset, got none: every problem failed")?;
        let mut subsets = Vec::new();
        for (subset, one) in found.subsets.iter().filter(|(subset, _)| *subset != 0) {
            let Some(quality) = table::metrics(&one.measured)?.get(&column.key).and_then(Metric::estimate) else {
                continue;
            };
            let tokens = one.spent.generated_tokens as f64 / one.searched.max(1) as f64;
            subsets.push(SubsetPoint { subset: self.name(*subset), teachers: subset.count_ones(), tokens, quality });
        }
        let worth = &worth[&column.key];
        let estimate = |value: &Option<PairedDifference>| value.map(|value| value.difference);
        let teachers = self.teachers.iter().zip(worth.left_out.iter().zip(&worth.shapley));
        let teachers = teachers.map(|(name, (left_out, shapley))| TeacherWorth {
            teacher: name.clone(),
            left_out: estimate(left_out),
            shapley: estimate(shapley),
        });
        let title = recipe.table.title.clone();
        Ok(AblationFigure { title, metric: column.label.clone(), subsets, teachers: teachers.collect() })
    }
}

/// What each teacher is worth by one metric, in the pool's order.
struct Worth {
    left_out: Vec<Option<PairedDifference>>,
    shapley: Vec<Option<PairedDifference>>,
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
    fn sum(&self, column: &Column) -> Option<String> {
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

/// What was found of all subsets, in their order.
#[derive(Default)]
struct Found {
    subsets: Vec<(Coalition, Subset)>,
}

#[derive(Default)]
struct Subset {
    /// One for each seed.
    measured: Vec<Measured>,
    spent: Usage,
    new: Usage,
    failed: u64,
    /// Problems over all seeds.
    searched: u64,
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

impl Found {
    /// The metrics that were measured.
    fn columns(&self, recipe: &Recipe) -> Vec<Column> {
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

    fn tokens(&self) -> TokenSums {
        let mut sums = TokenSums::default();
        for (_, one) in &self.subsets {
            sums.generated_apart += one.spent.generated_tokens;
            sums.generated += one.new.generated_tokens;
            sums.scored_apart += one.spent.scored_tokens;
            sums.scored += one.new.scored_tokens;
        }
        sums
    }
}

/// Why an arm's teachers can't be ablated.
fn faults(arm: &Arm, generate: &GenerateSettings, args: &TeachersArgs) -> Vec<String> {
    let mut faults = Vec::new();
    let name = &arm.name;
    if generate.teachers.len() < 2 {
        faults.push(format!("expected at least two teachers in `{name}`, got `{}`", generate.teachers.join("`, `")));
    }
    match &generate.search {
        Search::Beam { .. } | Search::Mcts { .. } => {}
        Search::Curation { .. } => {
            if args.proposals.is_some() {
                faults.push(format!(
                    "expected `--proposals` beside a beam or tree search, got curation in `{name}`, which writes as many \
                     trajectories whatever the pool's size"
                ));
            }
        }
        Search::Single { .. } => faults
            .push(format!("expected a search that asks a pool of teachers, got `single` in `{name}`, which asks one")),
        Search::Integration { .. } => faults.push(format!(
            "expected a search whose steps teachers write, got `integration` in `{name}`, where another model merges"
        )),
    }
    if generate.adaptive.is_some() {
        faults.push(format!(
            "expected `generate.adaptive` to be absent from `{name}`, got it: which teachers are asked would depend on the \
             pool; set it in no arm that is ablated"
        ));
    }
    if generate.deadline.is_some() {
        faults.push(format!(
            "expected `generate.deadline` to be absent from `{name}`, got it: replies that are shared take no time, and \
             subsets would not have the same; remove it"
        ));
    }
    if args.students && (arm.train.is_none() || arm.eval.is_none()) {
        faults.push(format!("expected `--students` of an arm that trains and evaluates, got `{name}`, which does not"));
    }
    faults
}

/// The subsets that were asked for, each once, the smaller ones first.
fn subsets(teachers: &[String], asked: &str, faults: &mut Vec<String>) -> Vec<Coalition> {
    let whole: Coalition = if teachers.len() < 32 { (1 << teachers.len()) - 1 } else { Coalition::MAX };
    let mut found: Vec<Coalition> = match asked {
        "all" if teachers.len() > MOST_TEACHERS => {
            faults.push(format!(
                "expected at most {MOST_TEACHERS} teachers to run every subset of, got {}: give `--subsets leave-one-out` or \
                 a list",
                teachers.len()
            ));
            Vec::new()
        }
        "all" => (1..=whole).collect(),
        // As many as a subset has bits are more than any recipe has models for.
        _ if teachers.len() >= 32 => {
            faults.push(format!("expected fewer than 32 teachers, got {}", teachers.len()));
            Vec::new()
        }
        "leave-one-out" => (0..teachers.len()).map(|place| whole & !(1 << place)).chain([whole]).collect(),
        list => list.split(',').filter_map(|subset| read_subset(teachers, subset, faults)).collect(),
    };
    found.retain(|subset| *subset != 0);
    // Of one size in the teachers' order: `a+b` before `a+c` before `b+c`.
    found.sort_by_key(|subset| (subset.count_ones(), subset.reverse_bits() ^ Coalition::MAX));
    found.dedup();
    found
}

fn read_subset(teachers: &[String], text: &str, faults: &mut Vec<String>) -> Option<Coalition> {
    let mut subset = 0;
    let mut whole = true;
    for name in text.split('+').map(str::trim) {
        let Some(place) = teachers.iter().position(|teacher| teacher == name) else {
            faults.push(format!(
                "expected `all`, `leave-one-out` or subsets of `{}` joined by `+` in `--subsets`, got `{name}`",
                teachers.join("`, `")
            ));
            whole = false;
            continue;
        };
        subset |= 1 << place;
    }
    whole.then_some(subset)
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

fn seeds(recipe: &Recipe) -> String {
    let seeds: Vec<String> = recipe.seeds.iter().map(ToString::to_string).collect();
    format!("Brackets are 95 % intervals, clustered by problem; seeds {}.", seeds.join(", "))
}

fn draft(
    recipe: &Recipe,
    plan: &Plan,
    title: String,
    subject: &str,
    columns: Vec<Column>,
    rows: Vec<Row>,
    notes: Vec<String>,
) -> Draft {
    Draft {
        title,
        recipe: cord_report::Recipe { name: recipe.name.clone(), digest: plan.digest },
        commit: machine::commit().unwrap_or_else(|| "unknown".to_owned()),
        machine: machine::describe(),
        paper: None,
        subject: Some(subject.to_owned()),
        columns,
        rows,
        orders: Vec::new(),
        notes,
    }
}
