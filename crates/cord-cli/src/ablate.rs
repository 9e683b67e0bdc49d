//! `cord ablate`: what each part of a recipe is worth, by leaving it out.

mod found;
mod pool;
mod tables;

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use cord_recipe::{Plan, Recipe, StageKind};
use cord_report::Ablation;
use cord_store::{Journal, Replies, Store};

use crate::ablate::pool::Pool;
use crate::{RecipeArgs, run};

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
    let ablation = tables::ablation(&pool, &recipe, &plan, &store, args.proposals)?;
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
