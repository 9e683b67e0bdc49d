//! `docs/reference/recipe.md`, made of what the reader of recipes answers: which keys a table knows, what each must be, which must be
//! there, and which value changes nothing when it is written out. What a key means is the first sentence of its field's documentation.
//!
//! `CORD_REFERENCE=write cargo test --workspace reference` writes the file anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cord_recipe::{FaultKind, Recipe, RecipeError};

/// What every probe lays its own keys over.
const BASE: [&str; 12] = [
    r#"name="r""#,
    "seed=1",
    r#"problems.path="p.csv""#,
    r#"models.t.path="t""#,
    r#"models.u.path="u""#,
    r#"models.v.path="v""#,
    r#"generate.teachers=["t","u"]"#,
    r#"generate.search={kind="beam"}"#,
    r#"generate.scorer={kind="random"}"#,
    r#"train.student="t""#,
    r#"eval.benchmarks=["b"]"#,
    r#"arms=[{name="a"}]"#,
];

/// A table of the recipe.
struct Section {
    /// Its heading.
    heading: &'static str,
    /// Where it is in the probes' recipe.
    path: &'static str,
    /// What makes it be there, without its keys.
    bare: &'static str,
    /// The keys that it can't be without, as overrides.
    needed: &'static [&'static str],
    /// The types whose fields its keys are.
    types: &'static [&'static str],
}

const fn section(
    heading: &'static str,
    path: &'static str,
    bare: &'static str,
    needed: &'static [&'static str],
    types: &'static [&'static str],
) -> Section {
    Section { heading, path, bare, needed, types }
}

const MODEL: &[&str] = &[r#"models.x.path="x""#];
const SERVER: &[&str] = &[r#"models.x.path="x""#, r#"models.x.server.endpoints=["http://a:1"]"#];
const HEDGE: &[&str] =
    &[r#"models.x.path="x""#, r#"models.x.server.endpoints=["http://a:1"]"#, "models.x.server.hedge={}"];
const SCRATCH: &[&str] = &[r#"models.x.scratch={layers=1,hidden=8,heads=2,ffn=8,context=8,tokenizer={kind="word"}}"#];

/// Every table, in the order of the page.
const SECTIONS: &[Section] = &[
    section("The recipe", "", "", &[], &["Recipe", "Arm"]),
    section("`[problems]`", "problems", "problems={}", &[], &["ProblemSettings"]),
    section("`[problems] columns`", "problems.columns", "problems.columns={}", &[], &["ColumnMap"]),
    section("`[models.<name>]`", "models.x", "models.x={}", MODEL, &["Model", "ModelSource::Hub"]),
    section("`sampling` of a model, and of `[eval]`", "eval.sampling", "eval.sampling={}", &[], &["Sampling"]),
    section("`[models.<name>.server]`", "models.x.server", "models.x.server={}", SERVER, &["Server"]),
    section(
        "`[models.<name>.server] hedge`",
        "models.x.server.hedge",
        "models.x.server.hedge={}",
        HEDGE,
        &["ServerHedge"],
    ),
    section("`[models.<name>] scratch`", "models.x.scratch", "models.x.scratch={}", SCRATCH, &["Scratch"]),
    section("`[generate]`", "generate", "generate={}", &[], &["GenerateSettings"]),
    section(
        "`[generate] search`, kind `beam`",
        "generate.search",
        r#"generate.search={kind="beam"}"#,
        &[],
        &["Search::Beam"],
    ),
    section(
        "`[generate] search`, kind `curation`",
        "generate.search",
        r#"generate.search={kind="curation"}"#,
        &[],
        &["Search::Curation"],
    ),
    section(
        "`[generate] search`, kind `single`",
        "generate.search",
        r#"generate.search={kind="single"}"#,
        &[r#"generate.search.teacher="t""#],
        &["Search::Single"],
    ),
    section(
        "`[generate] search`, kind `mcts`",
        "generate.search",
        r#"generate.search={kind="mcts"}"#,
        &[],
        &["Search::Mcts"],
    ),
    section(
        "`[generate] search`, kind `best-first`",
        "generate.search",
        r#"generate.search={kind="best-first"}"#,
        &[],
        &["Search::BestFirst"],
    ),
    section(
        "`[generate] search`, kind `integration`",
        "generate.search",
        r#"generate.search={kind="integration"}"#,
        &[r#"generate.search.model="v""#],
        &["Search::Integration"],
    ),
    section(
        "`[generate] scorer`, kind `predictive-perplexity`",
        "generate.scorer",
        r#"generate.scorer={kind="predictive-perplexity"}"#,
        &[r#"generate.scorer.model="t""#],
        &["Scorer::PredictivePerplexity", "Answer"],
    ),
    section(
        "`[generate] scorer`, kind `answer-gain`",
        "generate.scorer",
        r#"generate.scorer={kind="answer-gain"}"#,
        &[r#"generate.scorer.model="t""#],
        &["Scorer::AnswerGain", "Answer"],
    ),
    section(
        "`[generate] scorer`, kind `ensemble`",
        "generate.scorer",
        r#"generate.scorer={kind="ensemble"}"#,
        &[r#"generate.scorer.models=["t"]"#],
        &["Scorer::Ensemble", "Answer"],
    ),
    section(
        "`[generate] scorer`, kind `process-reward`",
        "generate.scorer",
        r#"generate.scorer={kind="process-reward"}"#,
        &[r#"generate.scorer.model="t""#],
        &["Scorer::ProcessReward"],
    ),
    section(
        "`[generate] scorer`, kind `judgment`",
        "generate.scorer",
        r#"generate.scorer={kind="judgment"}"#,
        &[r#"generate.scorer.model="t""#],
        &["Scorer::Judgment"],
    ),
    section(
        "`[generate] scorer`, kind `random`",
        "generate.scorer",
        r#"generate.scorer={kind="random"}"#,
        &[],
        &["Scorer::Random"],
    ),
    section(
        "`[generate] scorer`, kind `max-length`",
        "generate.scorer",
        r#"generate.scorer={kind="max-length"}"#,
        &[],
        &["Scorer::MaxLength"],
    ),
    section(
        "`[generate] scorer`, kind `self-certainty`",
        "generate.scorer",
        r#"generate.scorer={kind="self-certainty"}"#,
        &[],
        &["Scorer::SelfCertainty"],
    ),
    section(
        "`[generate] scorer`, kind `mixture`",
        "generate.scorer",
        r#"generate.scorer={kind="mixture"}"#,
        &[r#"generate.scorer.signals=[{weight=1,scorer={kind="random"}}]"#],
        &["Scorer::Mixture"],
    ),
    section(
        "Each of `signals` of a mixture",
        "generate.scorer.signals",
        r#"generate.scorer={kind="mixture",signals=[{@}]}"#,
        &[],
        &["Signal"],
    ),
    section(
        "`[generate] segmenter`, kind `prompt-guided`",
        "generate.segmenter",
        r#"generate.segmenter={kind="prompt-guided"}"#,
        &[],
        &["Segmenter::PromptGuided"],
    ),
    section(
        "`[generate] segmenter`, kind `line-break`",
        "generate.segmenter",
        r#"generate.segmenter={kind="line-break"}"#,
        &[],
        &[],
    ),
    section(
        "`[generate] segmenter`, kind `prefix`",
        "generate.segmenter",
        r#"generate.segmenter={kind="prefix"}"#,
        &[],
        &["Segmenter::Prefix"],
    ),
    section(
        "`[generate] segmenter`, kind `fixed-length`",
        "generate.segmenter",
        r#"generate.segmenter={kind="fixed-length"}"#,
        &[],
        &["Segmenter::FixedLength"],
    ),
    section("`[generate] budget`", "generate.budget", "generate.budget={}", &[], &["Budget"]),
    section("`[generate] adaptive`", "generate.adaptive", "generate.adaptive={}", &[], &["Adaptive"]),
    section("`[train]`", "train", "train={}", &[], &["TrainSettings", "LearningSettings", "Optimiser", "Method"]),
    section("`[train] data`", "train.data", "train.data={}", &[r#"train.data.path="x.jsonl""#], &["TrainData::Rows"]),
    section("`[train] decontaminate`", "train.decontaminate", "train.decontaminate={}", &[], &["Decontaminate"]),
    section("`[train] lora`", "train.lora", "train.lora={}", &[], &["Lora"]),
    section("`[train] validation`", "train.validation", "train.validation={}", &[], &["Validation"]),
    section(
        "`[dpo]`",
        "dpo",
        "dpo={}",
        &[],
        &["DpoSettings", "PairSettings", "LearningSettings", "Optimiser", "Method"],
    ),
    section("`[dpo] decontaminate`", "dpo.decontaminate", "dpo.decontaminate={}", &[], &["Decontaminate"]),
    section("`[dpo] lora`", "dpo.lora", "dpo.lora={}", &[], &["Lora"]),
    section("`[dpo] validation`", "dpo.validation", "dpo.validation={}", &[], &["Validation"]),
    section("`[eval]`", "eval", "eval={}", &[], &["EvalSettings"]),
    section("`[eval] judge`", "eval.judge", "eval.judge={}", &[r#"eval.judge.models=["t"]"#], &["JudgeSettings"]),
    section("`[[arms]]`", "arms", "arms=[{@}]", &[], &["Arm"]),
    section("`[table]`", "table", "table={}", &[], &["TableSettings"]),
    section("Each of `order` of `[table]`", "table.order", "table.order=[{@}]", &[], &["ExpectedOrder"]),
    section("`[run]`", "run", "run={}", &[], &["RunSettings"]),
    section(
        "`[run.prices.<model>]`",
        "run.prices.t",
        "run.prices.t={}",
        &["run.prices.t.generated=7"],
        &["TokenPrice", "GpuPrice"],
    ),
    section("`[run.rates.<model>]`", "run.rates.t", "run.rates.t={}", &["run.rates.t.generated=7"], &["Rate"]),
    section("`[run] expected`", "run.expected", "run.expected={}", &[], &["Expected"]),
];

/// What no field says: path and key, then type, default and meaning, each empty where the reader or the field says it well.
const MORE: &[(&str, &str, &str, &str)] = &[
    ("seed", "", "required, or `seeds`", "The seed of everything that is drawn."),
    ("seeds", "", "", "Every arm is run with each of these, in place of `seed`."),
    ("problems", "a table", "", "What trajectories are generated for."),
    ("models", "tables by free names", "", "The models that roles are given to."),
    ("generate", "a table", "required, or `[train]` or `[eval]`", "How trajectories are made."),
    ("train", "a table", "", "How the student learns."),
    ("dpo", "a table", "", "How the student then learns which steps are better."),
    ("eval", "a table", "", "How a model is tested."),
    ("arms", "", "the recipe itself", "Recipes that differ in some keys and are compared."),
    (
        "matrix",
        "a table of lists, by the keys that they are for",
        "",
        "An arm for each combination of values; see `docs/ablations.md`.",
    ),
    ("problems.dataset", "", "", "A data set's name: `datasets/<name>.toml` says what it is."),
    (
        "problems.path",
        "",
        "required, or a data set as `dataset`",
        "A file of rows instead: JSON Lines, JSON, CSV, TSV or Parquet.",
    ),
    ("problems.columns", "", "", "Which columns of the file hold what."),
    ("problems.columns.question", "a column, or a list of columns", "", ""),
    ("models.x.path", "", "", "A folder in the layout of Hugging Face."),
    ("models.x.hub", "", "", "A repository of the Hugging Face hub instead, with `revision`."),
    ("models.x.scratch", "", "", "No weights yet: a shape to be filled with random ones and trained."),
    ("models.x.sampling", "a table", "", ""),
    ("models.x.server", "", "", "Servers that hold the weights; `path` or `hub` is then where the tokenizer is."),
    ("models.x.scratch.kv-heads", "", "`heads`", ""),
    (
        "models.x.scratch.tokenizer",
        "a table",
        "",
        "The tokenizer that is trained: `kind` is `byte-bpe` (with `vocab` and `split-digits`), `sentence-bpe` (with `vocab`) or `word`.",
    ),
    ("models.x.server.endpoints", "", "", "Base addresses, each once."),
    ("generate.search", "a table with its `kind`", "", ""),
    ("generate.scorer", "a table with its `kind`", "required, but for one trajectory of one teacher", ""),
    ("generate.scorer.signals.scorer", "a table with its `kind`, any but `mixture`", "", ""),
    ("generate.measure", "a table as `scorer`, of kind `predictive-perplexity`", "", ""),
    ("generate.segmenter", "", "", "How reasoning is cut into steps: the word, or a table with it as its `kind`."),
    ("generate.search.per-teacher", "", "", "How many each teacher writes, in place of `trajectories`."),
    ("generate.adaptive.ask", "a whole number from 1 to the number of teachers", "2", ""),
    ("generate.adaptive.floor", "a number from 0 to the teachers' even share", "0.1, at most the even share", ""),
    ("generate.adaptive.settle", "", "a step asks once", ""),
    ("train.data", "", "the arm's own trajectories", ""),
    ("train.data.dataset", "", "", "A data set's name: `datasets/<name>.toml` says what it is."),
    ("train.data.path", "", "", "A JSON Lines file of rows instead."),
    ("train.epochs", "", "5", "How many times over the data."),
    ("train.steps", "", "", "How many steps of the optimiser, in place of `epochs`."),
    ("train.prompt", "", "that of `[generate]`", ""),
    ("train.decontaminate", "`true`, `false` or a table", "`true`", ""),
    ("dpo.student", "", "the one of `[train]`", ""),
    ("dpo.epochs", "", "1", "How many times over the pairs."),
    ("dpo.steps", "", "", "How many steps of the optimiser, in place of `epochs`."),
    ("dpo.prompt", "", "that of `[train]`, or of `[generate]`", ""),
    ("dpo.decontaminate", "`true`, `false` or a table", "`true`", ""),
    ("eval.opening", "`think` or `plain`", "", ""),
    ("eval.model", "", "the arm's student", ""),
    ("eval.judge.benchmarks", "", "all of `eval.benchmarks`", ""),
    ("eval.judge.opening", "`think` or `plain`", "", ""),
    (
        "arms.stages",
        "a list of `generate`, `train`, `dpo` and `eval`",
        "those whose tables it has and needs",
        "The stages that the arm runs.",
    ),
    ("arms.matrix", "", "`true`", "Does `[matrix]` take the arm apart?"),
    ("arms.problems", "a table", "", "Keys that are laid over `[problems]`."),
    ("arms.models", "tables", "", "Keys that are laid over `[models]`."),
    ("arms.generate", "a table", "", "Keys that are laid over `[generate]`."),
    ("arms.train", "a table", "", "Keys that are laid over `[train]`."),
    ("arms.dpo", "a table", "", "Keys that are laid over `[dpo]`."),
    ("arms.eval", "a table", "", "Keys that are laid over `[eval]`."),
    ("table.title", "", "the recipe's name", ""),
    ("table.columns", "", "accuracy, perplexity, each benchmark, seconds", ""),
    ("table.order", "", "", "The orders of arms that are expected; the table says whether they hold."),
    ("table.paper-rows", "texts by arms' names", "", ""),
    ("table.paper-columns", "texts by columns' names", "", ""),
    ("run.prices", "tables by models' names", "", ""),
    ("run.prices.t.gpus", "", "`1`", ""),
    ("run.rates", "tables by models' names", "", ""),
];

fn read(overrides: &[String]) -> Result<Recipe, Vec<FaultKind>> {
    match Recipe::read("", Path::new("r.toml"), overrides, &|_| true) {
        Ok(recipe) => Ok(recipe),
        Err(RecipeError::Faults(faults)) => Err(faults.faults.into_iter().map(|fault| fault.kind).collect()),
        Err(other) => panic!("{other}"),
    }
}

impl Section {
    /// The base without the section, the section bare, and what is asked.
    fn bare(&self, more: &str) -> Vec<String> {
        let others = BASE.iter().filter(|line| !line.starts_with(self.path));
        let mut lines: Vec<String> = others.map(|line| (*line).to_owned()).collect();
        // A list of tables has its keys in its braces.
        if self.bare.contains('@') {
            lines.push(self.bare.replace('@', more));
            return lines;
        }
        lines.extend((!self.bare.is_empty()).then(|| self.bare.to_owned()));
        lines.extend((!more.is_empty()).then(|| self.key(more)));
        lines
    }

    /// The base with the section and all that it needs.
    fn whole(&self, more: &str) -> Vec<String> {
        let mut lines: Vec<String> = BASE.iter().map(|line| (*line).to_owned()).collect();
        let opens = self.bare.contains("kind=") || (self.needed.is_empty() && !self.path.is_empty());
        lines.extend((opens && !self.bare.contains('@')).then(|| self.bare.to_owned()));
        lines.extend(self.needed.iter().map(|line| (*line).to_owned()));
        lines.push(self.key(more));
        lines
    }

    fn key(&self, more: &str) -> String {
        if self.path.is_empty() { more.to_owned() } else { format!("{}.{more}", self.path) }
    }

    fn faults(&self, more: &str) -> Vec<FaultKind> {
        read(&self.bare(more)).err().unwrap_or_default()
    }

    /// The keys that the table knows.
    fn keys(&self) -> Vec<String> {
        let found = self.faults("zzz=1").into_iter().find_map(|fault| match fault {
            FaultKind::UnknownKey { key, known, .. } if key == "zzz" => Some(known),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{}: expected the keys that are known: {:#?}", self.heading, self.bare("zzz=1")))
    }

    /// What a key must be: nothing is a date.
    fn kind_of(&self, key: &str) -> Option<String> {
        let own = self.key(key);
        self.faults(&format!("{key}=1979-05-27")).into_iter().find_map(|fault| match fault {
            FaultKind::WrongType { key, expected, .. } if key == own => Some(expected.trim_end_matches(',').to_owned()),
            _ => None,
        })
    }

    /// What is expected where the key is missing and must be there.
    fn required(&self, key: &str) -> Option<String> {
        let own = self.key(key);
        self.faults("").into_iter().find_map(|fault| match fault {
            FaultKind::Missing { key, expected } if key == own => Some(expected),
            _ => None,
        })
    }

    /// The value that changes nothing when it is written out.
    fn default_of(&self, key: &str, kind: &str, candidates: &BTreeSet<String>) -> Option<String> {
        if self.bare.contains('@') {
            return None;
        }
        let mut lines = self.whole("");
        lines.pop();
        let without = read(&lines).ok()?;
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok();
        let quoted = |text: &str| text.starts_with('"');
        let words: Vec<String>;
        let fitting: Vec<&String> = if kind.starts_with("one of") {
            words = kind.split('`').skip(1).step_by(2).map(|word| format!("\"{word}\"")).collect();
            words.iter().collect()
        } else {
            let fits = |text: &&String| match kind {
                kind if kind.starts_with("a whole number") || kind.starts_with("a number") => is_number(text),
                kind if kind.contains("`true`") => text.len() > 3 && text.parse::<bool>().is_ok(),
                kind if kind.starts_with("a list") => *text == "[]",
                kind if kind.starts_with("a table") => false,
                _ => quoted(text),
            };
            candidates.iter().filter(fits).collect()
        };
        fitting.into_iter().find(|text| read(&self.whole(&format!("{key}={text}"))).as_ref() == Ok(&without)).cloned()
    }
}

/// Everything that a recipe's debug text holds: numbers, texts, times.
fn tokens(text: &str, found: &mut BTreeSet<String>) {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric() || c == '"') {
        rest = &rest[start..];
        let end = if rest.starts_with('"') {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(end, _)| end + 1)
        } else {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).unwrap_or(rest.len())
        };
        let token = &rest[..end];
        found.insert(token.to_owned());
        if !token.starts_with('"') {
            // A time is written as a text; a length of time longer than a minute in minutes too.
            found.insert(format!("{token:?}"));
            found.insert(format!("{:?}", token.to_lowercase()));
        }
        rest = &rest[end..];
    }
}

/// The first sentence of every field's documentation, by the field's type (`Search::Beam` for a variant's) and name.
fn documented() -> BTreeMap<(String, String), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("../cord-core/src/model.rs"));
    let mut found = BTreeMap::new();
    for file in files {
        let (mut holder, mut variant, mut text) = (String::new(), String::new(), String::new());
        for line in fs::read_to_string(file).unwrap().lines() {
            let inner = line.trim();
            let indent = line.len() - line.trim_start().len();
            let named = |after: &str| {
                let rest = inner.strip_prefix(after)?;
                Some(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned())
            };
            if let Some(said) = inner.strip_prefix("///") {
                text += said;
                continue;
            }
            if inner.starts_with("#[") {
                continue;
            }
            if let Some(name) = named("pub struct ").or_else(|| named("pub enum ")) {
                (holder, variant) = (name, String::new());
            } else if indent == 4 && inner.ends_with('{') {
                inner.split(' ').next().unwrap_or_default().clone_into(&mut variant);
            } else if let Some((name, _)) = inner.trim_start_matches("pub ").split_once(": ")
                && !text.is_empty()
                && (indent == 4) != (indent == 8 && !variant.is_empty())
            {
                let of = if indent == 8 { format!("{holder}::{variant}") } else { holder.clone() };
                let sentence = text.trim().split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
                found.insert((of, name.replace('_', "-")), sentence);
            }
            text.clear();
        }
    }
    found
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn shown(value: &str) -> String {
    let text = value.trim_matches('"');
    let head: String = text.chars().take(48).collect();
    let more = if head.len() < text.len() { "…" } else { "" };
    format!("`{head}{more}`")
}

fn page() -> String {
    let documented = documented();
    let mut candidates: BTreeSet<String> = ["true", "false", "[]"].map(str::to_owned).into();
    let mut text = String::from(
        "# Every key of a recipe\n\n\
         <!-- Made of the code by `CORD_REFERENCE=write cargo test --workspace reference`: change that, not this. -->\n\n\
         A key without a default may be left out. `--set` and arms override any of them: tables merge key by key, and a table that\n\
         gives its `kind` replaces the whole table. See [the tutorial](../tutorial.md) for what they are good for.\n",
    );
    let (mut used, mut faults) = (BTreeSet::new(), Vec::new());
    for section in SECTIONS.iter().filter(|section| !section.bare.contains('@')) {
        let mut lines = section.whole("");
        lines.pop();
        let recipe = read(&lines).unwrap_or_else(|faults| panic!("{}: {faults:#?}", section.heading));
        tokens(&format!("{recipe:?}"), &mut candidates);
    }
    let there: BTreeSet<&str> = SECTIONS.iter().map(|section| section.path).collect();
    for section in SECTIONS {
        let keys: Vec<String> = section.keys().into_iter().filter(|key| key != "kind").collect();
        if section.keys().len() > keys.len() {
            // Every kind of a table has a section.
            let words = section.kind_of("kind").unwrap_or_default();
            for word in words.split('`').skip(1).step_by(2) {
                let own = format!("{{kind=\"{word}\"");
                if !SECTIONS.iter().any(|other| other.path == section.path && other.bare.contains(&own)) {
                    faults.push(format!("`{}`: no section for the kind `{word}`", section.path));
                }
            }
        }
        let _ = write!(text, "\n## {}\n\n", section.heading);
        if keys.is_empty() {
            text += "No further keys.\n";
            continue;
        }
        text += "| key | must be | default | what it says |\n|---|---|---|---|\n";
        for key in keys {
            let path = section.key(&key);
            let more = MORE.iter().find(|(own, ..)| *own == path);
            used.extend(more.map(|(own, ..)| *own));
            let given = |of: fn(&(&'static str, &'static str, &'static str, &'static str)) -> &'static str| {
                more.map(of).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            let kind = given(|more| more.1).or_else(|| section.kind_of(&key)).unwrap_or_else(|| {
                faults.push(format!("`{path}`: nobody says what it must be"));
                String::new()
            });
            let missing = section.required(&key).map(|expected| match expected.split_once("(or ") {
                Some((_, or)) => format!("required, or {}", or.trim_end_matches(')')),
                None => "required".to_owned(),
            });
            let default = given(|more| more.2)
                .or(missing)
                .or_else(|| section.default_of(&key, &kind, &candidates).map(|value| shown(&value)))
                .unwrap_or_default();
            let meaning = given(|more| more.3).or_else(|| {
                section.types.iter().find_map(|of| documented.get(&((*of).to_owned(), key.clone())).cloned())
            });
            let meaning = meaning.unwrap_or_else(|| {
                faults.push(format!("`{path}`: nobody says what it means"));
                String::new()
            });
            if kind == "a table" && !there.contains(path.as_str()) && more.is_none() {
                faults.push(format!("`{path}`: a table without a section"));
            }
            let _ = writeln!(text, "| `{key}` | {} | {} | {} |", cell(&kind), cell(&default), cell(&meaning));
        }
    }
    faults.extend(MORE.iter().filter(|(own, ..)| !used.contains(own)).map(|(own, ..)| format!("`{own}`: no such key")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    text
}

#[test]
fn the_reference_of_recipes_is_what_the_reader_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/recipe.md");
    let now = page();
    if std::env::var_os("CORD_REFERENCE").is_some_and(|word| word == "write") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &now).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(now.lines()).find(|(there, now)| there != now);
    assert!(
        there == now,
        "`docs/reference/recipe.md` is not what the code says now ({differs:?}); write it with `CORD_REFERENCE=write cargo test \
         --workspace reference`"
    );
}
