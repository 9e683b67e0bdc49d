//! `cord init`: a recipe to begin with, for one's own teachers and problems.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use cord_store::write_file;

use crate::{print, run};

/// Write a recipe to begin with: your teachers and your problems, each setting explained.
///
/// A model is a folder in the Hugging Face layout (`./models/mine`), one of the hub (`organisation/name@commit`), or served
/// (`http://host:8000`), whose tokenizer is named with --tokenizer. The recipe compares CoRD with curation by the same teachers; with
/// --student it trains and tests a student on both.
///
///   cord init mine.toml --data mine.csv --teacher qwq=http://gpu1:8000 --tokenizer qwq=Qwen/QwQ-32B@COMMIT \
///       --teacher phi=./models/phi-4 --student ./models/qwen2.5-0.5b --benchmark gsm8k
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct InitArgs {
    /// The recipe to write
    recipe: PathBuf,
    /// The problems: a data set by name (gsm8k/train) or a file of yours (.jsonl, .json, .csv, .tsv, .parquet)
    #[arg(long, value_name = "DATASET|FILE")]
    data: Option<String>,
    /// A teacher's name and where it is (repeatable)
    #[arg(long = "teacher", value_name = "NAME=WHERE")]
    teachers: Vec<Named>,
    /// Where a served teacher's tokenizer is: a folder, or organisation/name@commit (repeatable)
    #[arg(long = "tokenizer", value_name = "NAME=WHERE")]
    tokenizers: Vec<Named>,
    /// The teacher that scores every step; the first one where absent
    #[arg(long, value_name = "NAME")]
    prover: Option<String>,
    /// The student: a folder, or organisation/name@commit
    #[arg(long, value_name = "WHERE")]
    student: Option<String>,
    /// What the student is tested on, a folder of eval/ (repeatable)
    #[arg(long = "benchmark", value_name = "NAME", requires = "student")]
    benchmarks: Vec<String>,
    /// Overwrite a recipe that is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Debug)]
struct Named {
    name: String,
    place: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        match text.split_once('=') {
            Some((name, place)) if plain(name) && !place.is_empty() => {
                Ok(Self { name: name.to_owned(), place: place.to_owned() })
            }
            _ => Err("expected NAME=WHERE with a name of letters, digits, `-`, `_` and `.`".to_owned()),
        }
    }
}

pub(crate) fn act(args: &InitArgs) -> Result<ExitCode> {
    if args.recipe.exists() && !args.force {
        bail!("`{}` is there already; choose another name, or overwrite it with --force", args.recipe.display());
    }
    let text = recipe(args)?;
    write_file(&args.recipe, text.as_bytes())?;
    let path = args.recipe.display();
    // What it can't know is said by the reader of recipes, with each place.
    match run::read_recipe(&args.recipe, &[]) {
        Ok(_) => print(&format!(
            "wrote `{path}`; look it over, then:\n  cord doctor {path}    # are models, servers and problems what they should be?\n  \
             cord plan {path}      # what would run\n  cord run {path}"
        )),
        Err(faults) => print(&format!("wrote `{path}`; what is left to fill in:\n\n{faults:#}")),
    }
    Ok(ExitCode::SUCCESS)
}

fn recipe(args: &InitArgs) -> Result<String> {
    let placeholders = [("teacher-a", "models/teacher-a"), ("teacher-b", "models/teacher-b")];
    let teachers: Vec<Named> = if args.teachers.is_empty() {
        placeholders.map(|(name, place)| Named { name: name.to_owned(), place: place.to_owned() }).into()
    } else {
        args.teachers.clone()
    };
    let names: Vec<&str> = teachers.iter().map(|teacher| teacher.name.as_str()).collect();
    let mut faults: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) || *name == STUDENT {
            faults.push(format!("expected each teacher's name once and not `{STUDENT}`, got `{name}`"));
        }
    }
    for name in args.tokenizers.iter().map(|named| &named.name).chain(&args.prover) {
        if !names.contains(&name.as_str()) {
            faults.push(format!("expected one of the teachers `{}`, got `{name}`", names.join("`, `")));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    let name = args.recipe.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let path = args.recipe.display();
    let mut text = format!(
        "# cord doctor {path}\n# cord plan {path}\n# cord run {path} --set problems.limit=8\n#\n\
         # Any key can be overridden on the command line: --set generate.search.width=2.\n\
         name = {}\n# Several seeds, as `seeds = [17, 18, 19]`, repeat everything and narrow the intervals.\nseed = 17\n\n[problems]\n",
        quoted(&name)
    );
    problems(&mut text, args.data.as_deref().unwrap_or("mine.jsonl"));
    for teacher in &teachers {
        let tokenizer = args.tokenizers.iter().find(|named| named.name == teacher.name);
        model(&mut text, &teacher.name, &teacher.place, tokenizer.map(|named| named.place.as_str()));
        text.push_str("sampling = { temperature = 0.6, top-p = 0.95 }\n");
    }
    if let Some(student) = &args.student {
        model(&mut text, STUDENT, student, None);
    }
    let listed: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let (listed, prover) = (listed.join(", "), quoted(args.prover.as_deref().unwrap_or(names[0])));
    let _ = write!(
        text,
        "\n[generate]\n# At every step each of them proposes what comes next.\nteachers = [{listed}]\n\
         prompt = \"{{question}}\\nPlease reason step by step, and put your final answer within \\\\boxed{{}}.\"\n\
         # Where a step ends: `prompt-guided` asks for `### Step n.` headers; `line-break`, `prefix` and `fixed-length` ask for nothing.\n\
         segmenter = \"prompt-guided\"\n\
         # The meta-prover: how predictable does a proposal make the known answer? It must give log-probabilities of a prompt.\n\
         scorer = {{ kind = \"predictive-perplexity\", model = {prover} }}\n\
         # How many trajectories live side by side.\nsearch = {{ kind = \"beam\", width = 4 }}\n\
         # The most tokens of a trajectory's reasoning, of its answer and of one step, and the most steps.\n\
         budget = {{ reasoning = 16384, answer = 1024, step = 1024, steps = 64 }}\n"
    );
    if args.student.is_some() {
        let benchmarks = if args.benchmarks.is_empty() { vec!["gsm8k".to_owned()] } else { args.benchmarks.clone() };
        let benchmarks: Vec<String> = benchmarks.iter().map(|name| quoted(name)).collect();
        let _ = write!(
            text,
            "\n[train]\nstudent = \"{STUDENT}\"\nepochs = 5\nbatch = 16\nlearning-rate = 1e-5\nschedule = \"cosine\"\nwarmup = 0.05\n\
             # Longer samples are left out, and counted.\nmax-length = 20480\n\n[eval]\n# Each says itself how it is asked and judged: see eval/.\n\
             benchmarks = [{}]\nlimit = 100\n",
            benchmarks.join(", ")
        );
    }
    text.push_str(
        "\n# What is compared. An arm overrides keys of the tables above.\n[[arms]]\nname = \"cord\"\n\n\
         # The baseline: whole trajectories of each teacher, of which the best scored is kept.\n[[arms]]\nname = \"curation\"\n\
         generate.search = { kind = \"curation\", trajectories = 4 }\n",
    );
    if args.student.is_some() {
        let _ = write!(
            text,
            "\n# The student before it learns anything.\n[[arms]]\nname = \"base\"\neval.model = \"{STUDENT}\"\n"
        );
    }
    Ok(text)
}

const STUDENT: &str = "student";

fn problems(text: &mut String, data: &str) {
    let file = Path::new(data).extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    if matches!(file.as_str(), "jsonl" | "json" | "csv" | "tsv" | "parquet") {
        let _ = writeln!(text, "path = {}", quoted(data));
        if file == "jsonl" {
            text.push_str("# A line: {\"id\": \"p1\", \"question\": \"…\", \"answer\": \"42\"}. Other names: columns = { question = \"…\", answer = \"…\" }\n");
        } else {
            text.push_str("# Which columns hold what; add id = \"…\" where rows have one, and after = \"####\" where the answer follows a mark.\n\
                           columns = { question = \"question\", answer = \"answer\" }\n");
        }
    } else {
        let _ = writeln!(
            text,
            "# `cord data ls` shows the data sets, `cord data pull` fetches them.\ndataset = {}",
            quoted(data)
        );
    }
    text.push_str("# Only the first so many; remove it for all.\nlimit = 100\n");
}

fn model(text: &mut String, name: &str, place: &str, tokenizer: Option<&str>) {
    let _ = write!(text, "\n[models.{}]\n", if name.contains('.') { quoted(name) } else { name.to_owned() });
    if place.starts_with("http://") || place.starts_with("https://") {
        text.push_str("# The tokenizer and chat template of the served weights.\n");
        checkpoint(text, tokenizer.unwrap_or("models/its-tokenizer"));
        let _ = write!(
            text,
            "# vLLM, SGLang, llama.cpp or OpenAI-like; several addresses share the work. A key: api-key-env = \"NAME_OF_A_VARIABLE\".\n\
             server = {{ endpoints = [{}], concurrency = 32 }}\n",
            quoted(place)
        );
    } else {
        checkpoint(text, place);
    }
}

/// A folder, or a commit of a repository of the hub.
fn checkpoint(text: &mut String, place: &str) {
    let repository = place.split('@').next().unwrap_or_default();
    let folder = place.starts_with(['.', '/']) || Path::new(place).exists() || repository.split('/').count() != 2;
    match place.split_once('@') {
        Some((name, revision)) if !folder => {
            let _ = writeln!(text, "hub = {}\nrevision = {}", quoted(name), quoted(revision));
        }
        _ => {
            let _ = writeln!(text, "path = {}", quoted(place));
        }
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
