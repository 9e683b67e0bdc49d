//! A pool of teachers, its subsets, and the arms that they are run as.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use cord_eval::Coalition;
use cord_recipe::{
    Arm, Column as Wanted, Draws, GenerateSettings, ModelSource, Recipe, Search, TableSettings, TrajectoryMetric,
};

use crate::ablate::TeachersArgs;

/// The most teachers whose subsets are all run: 255 of them.
const MOST_TEACHERS: usize = 8;

/// The arm of students that learn from nobody.
pub(super) const NOBODY: &str = "nobody";

/// A pool of teachers and its subsets.
pub(super) struct Pool {
    pub(super) arm: Arm,
    pub(super) teachers: Vec<String>,
    /// The smaller ones first, and of one size in the teachers' order; each once.
    pub(super) subsets: Vec<Coalition>,
}

impl Pool {
    pub(super) fn of(recipe: &Recipe, args: &TeachersArgs) -> Result<Self> {
        let arm = if let Some(name) = &args.arm {
            recipe.arm(name).with_context(|| {
                let names: Vec<String> = recipe.arms.iter().map(|arm| format!("`{}`", arm.name)).collect();
                format!("expected one of the recipe's arms, {}, got `{name}`", names.join(", "))
            })?
        } else {
            let generates = recipe.arms.iter().find(|arm| arm.generate.is_some());
            generates.context("expected a recipe with an arm that generates, got none")?
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

    pub(super) fn name(&self, subset: Coalition) -> String {
        if subset == 0 { NOBODY.to_owned() } else { self.members(subset).join("+") }
    }

    pub(super) fn whole(&self) -> Coalition {
        (1 << self.teachers.len()) - 1
    }

    /// The recipe whose arms are the subsets. Its meta-prover, budgets and seeds are the given arm's.
    pub(super) fn recipe(&self, given: &Recipe, args: &TeachersArgs) -> Recipe {
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
            (arm.train, arm.dpo, arm.eval) = (None, None, None);
        }
        if let Some(generate) = &mut arm.generate {
            generate.teachers = self.members(subset);
            generate.draws = Draws::ByPrefix;
            if let (
                Some(all),
                Search::Beam { proposals, .. } | Search::Mcts { proposals, .. } | Search::BestFirst { proposals, .. },
            ) = (args.proposals, &mut generate.search)
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
        Some(Arm { name, models, problems: None, generate: None, train: None, dpo: None, eval: Some(eval) })
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
        Search::Beam { .. } | Search::Mcts { .. } | Search::BestFirst { .. } => {}
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
