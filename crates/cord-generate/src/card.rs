//! The cards of a data set and of a student: the hub's YAML header, and what a reader must know of how they were made.

use std::fmt::Write as _;

use cord_core::{Digest, Usage};

use crate::{Decontamination, Kept, LeftOut, Overlap};

/// One file, or set of files, of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardConfig {
    /// Its name, such as `sft`.
    pub name: String,
    /// The files, as the hub's patterns: `sft/*.jsonl`.
    pub files: String,
    /// How many rows they hold.
    pub rows: u64,
    /// What a row is, in a few words.
    pub holds: String,
}

/// A model that took part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardModel {
    /// What people call it: a hub id, a folder.
    pub name: String,
    /// Its role: teacher, meta-prover, judge.
    pub role: String,
    /// Its weights, tokenizer and template.
    pub digest: Digest,
}

/// Everything that a card says.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetCard {
    /// The data set's name.
    pub title: String,
    /// The license, as the hub spells it: `apache-2.0`.
    pub license: String,
    /// Languages, as codes: `en`.
    pub languages: Vec<String>,
    /// Further tags.
    pub tags: Vec<String>,
    /// The data sets that the problems come from, as hub ids.
    pub source_datasets: Vec<String>,
    /// The files.
    pub configs: Vec<CardConfig>,
    /// The models.
    pub models: Vec<CardModel>,
    /// The digest of the recipe.
    pub recipe: Digest,
    /// What generation cost, all candidates included.
    pub cost: Usage,
    /// How many final trajectories there were to choose rows from.
    pub trajectories: u64,
    /// How the rows' trajectories ended.
    pub kept: Kept,
    /// What was left out, and why.
    pub left_out: LeftOut,
    /// How the problems were compared with benchmarks; absent where they were not, which the card then says.
    pub decontamination: Option<Decontamination>,
}

impl DatasetCard {
    /// The card as `README.md`.
    pub fn render(&self) -> String {
        let mut text = String::from("---\n");
        let _ = writeln!(text, "license: {}", quoted(&self.license));
        list(&mut text, "language", &self.languages);
        list(&mut text, "task_categories", &["text-generation".to_owned()]);
        let rows = self.configs.iter().map(|config| config.rows).sum();
        list(&mut text, "size_categories", &[size_category(rows).to_owned()]);
        let own = ["reasoning", "distillation", "synthetic", "cord"].map(str::to_owned);
        list(&mut text, "tags", &[own.as_slice(), &self.tags].concat());
        list(&mut text, "source_datasets", &self.source_datasets);
        text += "configs:\n";
        for config in &self.configs {
            let _ = writeln!(text, "- config_name: {}", quoted(&config.name));
            let _ = writeln!(text, "  data_files: {}", quoted(&config.files));
        }
        let _ = writeln!(text, "---\n\n# {}\n", self.title);
        text += "Reasoning trajectories by several teachers, decoded step by step or one by one, and rows made of them.\n\n";
        text += "| config | rows | holds |\n|---|---|---|\n";
        for config in &self.configs {
            let _ = writeln!(text, "| `{}` | {} | {} |", config.name, config.rows, config.holds);
        }
        text += "\n## How it was made\n\n";
        let _ = writeln!(text, "Recipe digest: `{}`.\n", self.recipe);
        text += "| model | role | digest |\n|---|---|---|\n";
        for model in &self.models {
            let _ = writeln!(text, "| {} | {} | `{}` |", model.name, model.role, model.digest.short());
        }
        self.render_cost(&mut text);
        self.render_filter(&mut text);
        self.render_decontamination(&mut text);
        text
    }

    fn render_cost(&self, text: &mut String) {
        let Usage { prompt_tokens, generated_tokens, scored_tokens } = self.cost;
        text.push_str("\n## Cost\n\nLogical tokens, before any cache, of all candidates, kept or not.\n\n");
        text.push_str("| generated | scored | prompt | generated for each trajectory |\n|---|---|---|---|\n");
        let each = match self.trajectories {
            0 => "none".to_owned(),
            count => format!("{:.0}", generated_tokens as f64 / count as f64),
        };
        let _ = writeln!(text, "| {generated_tokens} | {scored_tokens} | {prompt_tokens} | {each} |");
    }

    fn render_filter(&self, text: &mut String) {
        let (kept, left) = (&self.kept, &self.left_out);
        text.push_str("\n## Which trajectories became rows\n\n| trajectories | kept | left out |\n|---|---|---|\n");
        for (what, kept, left) in [
            ("complete", kept.complete, left.incorrect),
            ("reasoning truncated by its budget", kept.reasoning_truncated, left.reasoning_truncated),
            ("answer truncated by its budget", kept.answer_truncated, left.answer_truncated),
            ("reasoning never closed", kept.unclosed, left.unclosed),
            ("of an unknown problem", 0, left.unknown_problem),
            ("of a problem that repeats a benchmark's", 0, left.contaminated),
        ] {
            let _ = writeln!(text, "| {what} | {kept} | {left} |");
        }
        text.push_str(
            "\nA complete trajectory is left out where its answer is not the gold one and the recipe asks for it.\n",
        );
    }

    fn render_decontamination(&self, text: &mut String) {
        text.push_str("\n## Decontamination\n\n");
        let Some(found) = &self.decontamination else {
            text.push_str("The problems were not compared with any benchmark.\n");
            return;
        };
        let against: Vec<String> =
            found.benchmarks.iter().map(|(name, count)| format!("`{name}` ({count} problems)")).collect();
        let (problems, rule, bad) = (found.problems, found.rule, found.contaminated().len());
        let against = if against.is_empty() { "no benchmark".to_owned() } else { against.join(", ") };
        let _ = writeln!(
            text,
            "{problems} problems were compared with those of {against}, by runs of {} words in lower case. {bad} hold {} of a \
             benchmark problem's runs and were left out; the greatest share that any problem holds is {:.0} %.",
            rule.ngram,
            if rule.share > 0.0 { format!("at least {:.0} %", 100.0 * rule.share) } else { "one or more".to_owned() },
            100.0 * found.greatest
        );
        if !found.overlaps.is_empty() {
            text.push_str("\n| problem | benchmark | its problem | share | shared words |\n|---|---|---|---|---|\n");
            for Overlap { problem, benchmark, against, share, words } in &found.overlaps {
                let _ = writeln!(text, "| {problem} | {benchmark} | {against} | {:.0} % | {words} |", 100.0 * share);
            }
        }
    }
}

/// Everything that the card of a student says. What is not known is left out, and said to be unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudentCard {
    /// The student's name.
    pub title: String,
    /// The license, as the hub spells it: `apache-2.0`.
    pub license: String,
    /// The model that it was trained from, as a hub id.
    pub base_model: Option<String>,
    /// What is known of its making, each with its name: base model, data, recipe digest, settings.
    pub made: Vec<(String, String)>,
    /// Its row of the run's table, as Markdown.
    pub numbers: Option<String>,
    /// The version of the program.
    pub version: String,
}

impl StudentCard {
    /// The card as `README.md`.
    pub fn render(&self) -> String {
        let mut text = String::from("---\n");
        let _ = writeln!(text, "license: {}", quoted(&self.license));
        if let Some(base) = &self.base_model {
            let _ = writeln!(text, "base_model: {}", quoted(base));
        }
        text += "library_name: \"transformers\"\npipeline_tag: \"text-generation\"\n";
        list(&mut text, "tags", &["reasoning", "distillation", "cord"].map(str::to_owned));
        let _ = writeln!(text, "---\n\n# {}\n", self.title);
        text += "A student of reasoning trajectories.\n\n## How it was made\n\n";
        if self.made.is_empty() {
            text += "The folder that it comes from does not say.\n";
        } else {
            text += "| what | value |\n|---|---|\n";
            for (what, value) in &self.made {
                let _ = writeln!(text, "| {what} | {value} |");
            }
        }
        text += "\n## Results\n\n";
        text += self.numbers.as_deref().unwrap_or("It was not tested in the run that made it.\n");
        let _ = writeln!(text, "\nPushed by cord {}.", self.version);
        text
    }
}

fn list(text: &mut String, key: &str, items: &[String]) {
    let _ = if items.is_empty() { writeln!(text, "{key}: []") } else { writeln!(text, "{key}:") };
    for item in items {
        let _ = writeln!(text, "- {}", quoted(item));
    }
}

/// A YAML scalar. JSON's strings are YAML's double-quoted ones, so that `no`, `1` and `a: b` stay texts.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The hub's size categories.
fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        100_000_000..1_000_000_000 => "100M<n<1B",
        _ => "n>1B",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OverlapRule;

    fn card(decontamination: Option<Decontamination>) -> DatasetCard {
        let digest = Digest::of_bytes(b"cord");
        let config = |name: &str, rows: u64, holds: &str| CardConfig {
            name: name.into(),
            files: format!("{name}/*.jsonl"),
            rows,
            holds: holds.into(),
        };
        DatasetCard {
            title: "Mini: \"CoRD\"".into(),
            license: "apache-2.0".into(),
            languages: vec!["en".into(), "no".into()],
            tags: Vec::new(),
            source_datasets: vec!["GAIR/LIMO".into()],
            configs: vec![config("sft", 800, "conversations"), config("dpo", 300, "pairs of steps")],
            models: vec![CardModel { name: "Qwen/QwQ-32B".into(), role: "teacher, meta-prover".into(), digest }],
            recipe: digest,
            cost: Usage { prompt_tokens: 10, generated_tokens: 4000, scored_tokens: 30 },
            trajectories: 900,
            kept: Kept { complete: 800, ..Kept::default() },
            left_out: LeftOut { unclosed: 90, incorrect: 10, ..LeftOut::default() },
            decontamination,
        }
    }

    #[test]
    fn a_card_says_how_the_rows_were_made() {
        let overlap = Overlap {
            problem: "p1".into(),
            benchmark: "b".into(),
            against: "x".into(),
            share: 0.85,
            words: "a b".into(),
        };
        let found = Decontamination {
            rule: OverlapRule::default(),
            greatest: 0.85,
            problems: 817,
            benchmarks: [("aime-2024".to_owned(), 30), ("math-500".to_owned(), 500)].into(),
            overlaps: vec![overlap],
        };
        insta::assert_snapshot!(card(Some(found)).render(), @r#"
            ---
            license: "apache-2.0"
            language:
            - "en"
            - "no"
            task_categories:
            - "text-generation"
            size_categories:
            - "1K<n<10K"
            tags:
            - "reasoning"
            - "distillation"
            - "synthetic"
            - "cord"
            source_datasets:
            - "GAIR/LIMO"
            configs:
            - config_name: "sft"
              data_files: "sft/*.jsonl"
            - config_name: "dpo"
              data_files: "dpo/*.jsonl"
            ---

            # Mini: "CoRD"

            Reasoning trajectories by several teachers, decoded step by step or one by one, and rows made of them.

            | config | rows | holds |
            |---|---|---|
            | `sft` | 800 | conversations |
            | `dpo` | 300 | pairs of steps |

            ## How it was made

            Recipe digest: `1c5d000ad754c41f9763d04a399a155f6b00b98f6e191284e565fdef7e7948f5`.

            | model | role | digest |
            |---|---|---|
            | Qwen/QwQ-32B | teacher, meta-prover | `1c5d000ad754` |

            ## Cost

            Logical tokens, before any cache, of all candidates, kept or not.

            | generated | scored | prompt | generated for each trajectory |
            |---|---|---|---|
            | 4000 | 30 | 10 | 4 |

            ## Which trajectories became rows

            | trajectories | kept | left out |
            |---|---|---|
            | complete | 800 | 10 |
            | reasoning truncated by its budget | 0 | 0 |
            | answer truncated by its budget | 0 | 0 |
            | reasoning never closed | 0 | 90 |
            | of an unknown problem | 0 | 0 |
            | of a problem that repeats a benchmark's | 0 | 0 |

            A complete trajectory is left out where its answer is not the gold one and the recipe asks for it.

            ## Decontamination

            817 problems were compared with those of `aime-2024` (30 problems), `math-500` (500 problems), by runs of 8 words in lower case. 1 hold at least 80 % of a benchmark problem's runs and were left out; the greatest share that any problem holds is 85 %.

            | problem | benchmark | its problem | share | shared words |
            |---|---|---|---|---|
            | p1 | b | x | 85 % | a b |
            "#);
    }

    #[test]
    fn a_card_does_not_hide_that_nothing_was_compared() {
        let text = card(None).render();
        assert!(text.ends_with("## Decontamination\n\nThe problems were not compared with any benchmark.\n"), "{text}");
    }

    #[test]
    fn a_students_card_says_how_it_was_made_or_that_nobody_knows() {
        let made = vec![("base model".to_owned(), "`base`".to_owned()), ("steps".to_owned(), "500".to_owned())];
        let mut card = StudentCard {
            title: "mini, cord, seed 17".into(),
            license: "mit".into(),
            base_model: Some("Qwen/Qwen2.5-1.5B".into()),
            made,
            numbers: Some("| arm |\n| --- |\n".into()),
            version: "0.1.0".into(),
        };
        insta::assert_snapshot!(card.render(), @r#"
            ---
            license: "mit"
            base_model: "Qwen/Qwen2.5-1.5B"
            library_name: "transformers"
            pipeline_tag: "text-generation"
            tags:
            - "reasoning"
            - "distillation"
            - "cord"
            ---

            # mini, cord, seed 17

            A student of reasoning trajectories.

            ## How it was made

            | what | value |
            |---|---|
            | base model | `base` |
            | steps | 500 |

            ## Results

            | arm |
            | --- |

            Pushed by cord 0.1.0.
            "#);
        card = StudentCard { base_model: None, made: Vec::new(), numbers: None, ..card };
        let text = card.render();
        assert!(!text.contains("base_model") && text.contains("does not say") && text.contains("not tested"), "{text}");
    }

    #[test]
    fn sizes_are_the_hubs() {
        let rows = [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (1 << 40, "n>1B")];
        for (count, expected) in rows {
            assert_eq!(size_category(count), expected, "{count}");
        }
    }
}
