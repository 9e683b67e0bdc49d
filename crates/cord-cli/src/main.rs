//! The binary `cord`: arguments in, stages run, results printed.

mod ablate;
mod accounts;
mod comparison;
mod curve;
mod data;
mod datasets;
mod doctor;
mod dpo;
mod estimate;
mod eval;
mod export;
mod figure;
mod generation;
mod init;
mod judge;
mod learning;
mod machine;
mod measure;
mod meter;
mod models;
mod outcomes;
mod plan;
mod progress;
mod push;
#[cfg(test)]
mod reference;
mod reselect;
mod run;
mod served;
mod shards;
mod stages;
mod table;
mod trainers;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand};
use cord_recipe::{Shard, StageKind};

use crate::shards::Part;

/// Tensor operations allocate and free megabytes at a time, which the system's allocator gives back to the kernel and
/// asks for again, page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Collaborative step-wise multi-teacher distillation, from problems to a table of results.
///
/// Several teachers write one reasoning trajectory together, a meta-prover scores every step by how predictable it
/// makes the known answer, a beam search keeps the best; a student learns from the trajectories and is tested.
#[derive(Parser)]
#[command(name = "cord", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str =
    "Exit status: 0 all done; 1 could not run; 2 wrong usage; 3 done, but some problems failed (listed).";

#[derive(Subcommand)]
enum Verb {
    /// Run a recipe: every stage that is not there yet, then its table.
    ///
    /// Stopping loses at most what is in flight: run the same command again and it goes on.
    ///
    /// With --shard, only the trajectories of a share of the problems are generated. The processes of all shards may run at
    /// once, on one shared folder or, with --remote, on machines that share none. Once all are done, `cord merge` and
    /// `cord run` without --shard go on from there.
    Run(RunArgs),
    /// Make generations of their finished shards: the same bytes as generating in one piece.
    Merge(MergeArgs),
    /// Show what a recipe would run: stages, what is done already, what it needs.
    ///
    /// What is to run is estimated: requests, tokens, and by `[run.rates]` and `[run.prices]` GPU-hours and money.
    Plan(PlanArgs),
    /// Make the table of a recipe whose stages are done, without running anything.
    ///
    /// With --against, the arms that two recipes share stand below each other, with the paired difference of each metric
    /// on the problems that both have.
    Table(TableArgs),
    /// Search again among the candidates of a finished generation: other teachers, another search or scorer.
    ///
    /// Every candidate that a run asked for is recorded, kept or not. This runs a search on them as if they were written
    /// now; no teacher writes. Where the new choice leads to text that nobody was asked to continue, the ledger ends, and it
    /// says what would have to be generated.
    Reselect(reselect::ReselectArgs),
    /// Write a finished generation as a data set to train on, with a card for the Hugging Face hub.
    Export(export::ExportArgs),
    Push(push::PushArgs),
    Ablate(ablate::AblateArgs),
    Eval(eval::EvalArgs),
    Judge(judge::JudgeArgs),
    View(view::ViewArgs),
    Data(data::DataArgs),
    Init(init::InitArgs),
    /// Print the completions of a shell: `cord completions bash > /etc/bash_completion.d/cord`.
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each verb into a folder.
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Look for what stands in the way of a run: device, disk, data sets, models, servers, and whether it all fits.
    ///
    /// Every model that the recipe uses is opened, every endpoint probed and timed. Without a recipe only the machine is looked at.
    /// Exit status 1 where a run could not begin.
    Doctor(DoctorArgs),
}

#[derive(Args)]
struct DoctorArgs {
    /// The recipe whose needs are looked at
    recipe: Option<PathBuf>,
    /// Override a key of the recipe (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    overrides: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone)]
struct RecipeArgs {
    /// The recipe, for example recipes/mini/cord.toml
    recipe: PathBuf,
    /// Override a key, for example --set generate.search.width=1 (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where models compute: cpu, or cuda:N in a build with --features cuda
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The folder for results instead of the recipe's
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The object store that finished shards are pushed to and pulled from: s3://bucket/folder (in a build with
    /// --features s3) or file:///folder
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
}

#[derive(Args)]
struct PlanArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    arms: ArmsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct TableArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    arms: ArmsArgs,
    /// How the table is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: TableFormat,
    /// Another recipe whose stages are done, to compare with
    #[arg(long, value_name = "RECIPE")]
    against: Option<PathBuf>,
}

/// The renderings of a table.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum TableFormat {
    /// Aligned text
    #[default]
    Terminal,
    /// A pipe table
    Markdown,
    /// Raw numbers with their intervals
    Csv,
    /// Everything that the table holds
    Json,
    /// A `table` with booktabs
    Latex,
    /// A page of its own
    Html,
}

impl TableFormat {
    fn render(self, table: &cord_report::Table) -> String {
        match self {
            Self::Terminal => table.terminal(),
            Self::Markdown => table.markdown(),
            Self::Csv => table.csv(),
            Self::Json => table.json(),
            Self::Latex => table.latex(),
            Self::Html => table.html(),
        }
    }
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    arms: ArmsArgs,
    /// Generate only one share of the problems: I of N, from 0/N to N-1/N
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

#[derive(Args)]
struct MergeArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    arms: ArmsArgs,
    /// How many shards there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
}

impl RecipeArgs {
    fn read(&self) -> Result<cord_recipe::Recipe> {
        self.read_with(&[])
    }

    /// The recipe with further overrides.
    fn read_with(&self, more: &[String]) -> Result<cord_recipe::Recipe> {
        let mut overrides = self.overrides.clone();
        overrides.extend_from_slice(more);
        overrides.extend(self.device.iter().map(|device| format!("run.device={device:?}")));
        overrides.extend(self.out.iter().map(|out| format!("run.out={:?}", out.display().to_string())));
        overrides.extend(self.remote.iter().map(|url| format!("run.remote={url:?}")));
        run::read_recipe(&self.recipe, &overrides)
    }
}

/// Some arms of a recipe.
#[derive(Args)]
struct ArmsArgs {
    /// Only this arm, for example --arm cord (repeatable); the table then holds no other
    #[arg(long = "arm", value_name = "NAME")]
    arms: Vec<String>,
}

impl ArmsArgs {
    fn read(&self, recipe: &RecipeArgs) -> Result<cord_recipe::Recipe> {
        let recipe = recipe.read()?;
        if self.arms.is_empty() {
            return Ok(recipe);
        }
        let known: Vec<&str> = recipe.arms.iter().map(|arm| arm.name.as_str()).collect();
        let known = known.join("`, `");
        let fault =
            |unknown: Vec<String>| anyhow!("--arm: expected one of the arms `{known}`, got `{}`", unknown.join("`, `"));
        recipe.only(&self.arms).map_err(fault)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let first = "stopping at the next safe point; press Ctrl-C again to stop at once";
    let handler = move || {
        if run::INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        say(first);
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        say(&format!("warning: Ctrl-C will stop at once: {error}"));
    }
    match act(&cli.verb) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(1)
        }
    }
}

fn act(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(args) => {
            let recipe = args.arms.read(&args.recipe)?;
            let part = args.shard.map_or(Part::Whole, |shard| Part::Shard(shard, StageKind::Generate));
            let (summary, store, plan) = run::run(&recipe, part)?;
            if args.shard.is_some() {
                print(&shards::whereabouts(&plan, &store, StageKind::Generate)?);
            } else {
                print(&run::make_table(&recipe, &plan, &store)?.terminal());
                print(&plan::whereabouts(&recipe, &plan, &store)?);
            }
            Ok(exit(&summary))
        }
        Verb::Merge(args) => {
            let recipe = args.arms.read(&args.recipe)?;
            let (summary, store, plan) = run::run(&recipe, Part::Merge(args.shards))?;
            print(&shards::whereabouts(&plan, &store, StageKind::Generate)?);
            Ok(exit(&summary))
        }
        Verb::Plan(args) => {
            let recipe = args.arms.read(&args.recipe)?;
            let (plan, store) = (run::plan(&recipe)?, run::store(&recipe)?);
            let describe = if args.json { plan::json } else { plan::describe };
            print(&describe(&recipe, &plan, &store)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Table(args) => {
            let recipe = args.arms.read(&args.recipe)?;
            let plan = run::plan(&recipe)?;
            let store = run::store(&recipe)?;
            plan::require_finished(&plan, &store)?;
            if let Some(other) = &args.against {
                let other = RecipeArgs { recipe: other.clone(), ..args.recipe.clone() }.read()?;
                print(args.format.render(&comparison::of([&recipe, &other])?).trim_end());
                return Ok(ExitCode::SUCCESS);
            }
            let table = run::make_table(&recipe, &plan, &store)?;
            if matches!(args.format, TableFormat::Terminal) {
                print(&table.terminal());
                print(&plan::whereabouts(&recipe, &plan, &store)?);
            } else {
                // Alone, so that it can go into a file.
                print(args.format.render(&table).trim_end());
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Reselect(args) => {
            let (text, failures) = reselect::reselect(args)?;
            print(&text);
            Ok(exit(&run::Summary { failures }))
        }
        Verb::Export(args) => {
            print(&export::export(args)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Push(args) => {
            print(&push::push(args)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Ablate(args) => {
            let (text, summary) = ablate::ablate(args)?;
            print(&text);
            Ok(exit(&summary))
        }
        Verb::Eval(args) => eval::act(args),
        Verb::Judge(args) => judge::act(args),
        Verb::View(args) => view::act(args),
        Verb::Data(args) => data::act(args),
        Verb::Init(args) => init::act(args),
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "cord", &mut text);
            print(String::from_utf8(text)?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Man { folder } => {
            std::fs::create_dir_all(folder).with_context(|| format!("can't make the folder `{}`", folder.display()))?;
            clap_mangen::generate_to(Cli::command(), folder)
                .with_context(|| format!("can't write into `{}`", folder.display()))?;
            print(&format!("manual pages are in `{}`: man {}/cord.1", folder.display(), folder.display()));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Doctor(args) => {
            let recipe = args.recipe.as_ref().map(|path| run::read_recipe(path, &args.overrides)).transpose()?;
            let mut tell = |line: String| {
                if !args.json {
                    print(&line);
                }
            };
            let diagnosis = doctor::diagnose(recipe.as_ref(), &mut tell);
            print(&if args.json { diagnosis.json()? } else { diagnosis.total() });
            Ok(ExitCode::from(u8::from(!diagnosis.is_well())))
        }
    }
}

/// The exit status of a run whose stages are done; failed problems are listed.
fn exit(summary: &run::Summary) -> ExitCode {
    if summary.failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&format!("{} problems failed:", summary.failures.len()));
    for (stage, (id, reason)) in &summary.failures {
        say(&format!("  {stage}: `{id}`: {reason}"));
    }
    ExitCode::from(3)
}

#[expect(clippy::print_stdout, reason = "results go to stdout")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "what is not a result goes to stderr")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command in the documentation and at the head of a recipe is one that this program takes, with recipes and data
    /// sets that are there.
    #[test]
    fn documented_commands_are_real() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (mut seen, mut faults) = (0, Vec::new());
        for folder in
            ["", "docs", "docs/reference", "docs/results", "eval", "recipes/mini", "recipes/smol", "recipes/paper"]
        {
            for file in fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
                let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                if !matches!(ending, "md" | "toml") {
                    continue;
                }
                let text = fs::read_to_string(&file).unwrap().replace("\\\n", " ");
                let mut fenced = false;
                for line in text.lines() {
                    fenced ^= line.starts_with("```");
                    let command = if ending == "md" {
                        fenced.then_some(line.trim_start_matches("$ "))
                    } else {
                        line.strip_prefix("# ")
                    };
                    let command = command.map(|line| line.replace("cargo run --release -- ", "cord "));
                    let Some(command) = command.filter(|line| line.starts_with("cord ")) else { continue };
                    let command = command.split("  #").next().unwrap_or_default();
                    seen += 1;
                    let words = shlex::split(command).unwrap_or_default();
                    let missing = words.iter().find(|word| word.starts_with("recipes/") && !root.join(word).exists());
                    if let Some(missing) = missing {
                        faults.push(format!("{}: `{command}`: no `{missing}`", file.display()));
                    }
                    if let Err(error) = Cli::try_parse_from(words)
                        && error.use_stderr()
                    {
                        faults.push(format!("{}: `{command}`: {error}", file.display()));
                    }
                }
            }
        }
        assert!(seen > 20, "{seen} commands");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
