//! What a recipe says about generation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{DEFAULT_CUE, PromptTemplate, Segmenter, SettingsFault};

/// All settings of a generation stage except its models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GenerateSettings {
    /// The user's turn.
    #[serde(default)]
    pub prompt: PromptTemplate,
    /// Where a step ends.
    #[serde(default)]
    pub segmenter: Segmenter,
    /// How trajectories are found.
    pub search: SearchSettings,
    /// How much may be generated.
    #[serde(default)]
    pub budget: Budget,
}

/// How much may be generated, in tokens of the teacher that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Budget {
    /// The most tokens of reasoning along one trajectory.
    pub reasoning: u32,
    /// The most tokens of the answer after the reasoning block.
    pub answer: u32,
    /// The most tokens of one step.
    pub step: u32,
    /// The most steps of one trajectory.
    pub steps: u32,
}

impl Default for Budget {
    /// The paper's 16,384 tokens of reasoning and 4,096 of answer. Its limits on a step are open; ours are
    /// 2,048 tokens a step and 64 steps.
    fn default() -> Self {
        Self { reasoning: 16_384, answer: 4_096, step: 2_048, steps: 64 }
    }
}

/// How trajectories are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SearchSettings {
    /// Step-level beam search over all teachers' proposals: CoRD. Width 1 is the paper's greedy decoding.
    Beam(BeamSettings),
    /// Whole trajectories written independently by the teachers in turn; the best are kept.
    Curation(CurationSettings),
    /// Whole trajectories by one teacher; the best are kept.
    Single(SingleSettings),
}

/// Settings of step-level beam search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BeamSettings {
    /// How many partial trajectories are kept: the paper's B.
    pub width: u32,
    /// How many proposals each teacher makes for each beam.
    pub proposals: u32,
    /// What becomes of finished trajectories while others go on.
    pub finished: Finished,
    /// Who writes the answer after the reasoning block.
    pub answer_by: AnswerBy,
    /// How many final trajectories are returned, best first; at most `width`.
    pub select: u32,
}

impl Default for BeamSettings {
    /// The paper's width of 4; one proposal, one final trajectory.
    fn default() -> Self {
        Self { width: 4, proposals: 1, finished: Finished::default(), answer_by: AnswerBy::default(), select: 1 }
    }
}

/// What becomes of finished trajectories while others go on. The paper leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finished {
    /// A finished trajectory is expanded no more, holds its place among the kept by its score, and loses it
    /// to candidates that score better. Where no kept trajectory closes its reasoning in the end, the
    /// best closed one that had lost its place is taken back.
    #[default]
    Compete,
}

/// Who writes the answer after the reasoning block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerBy {
    /// The teacher that wrote the last step of the reasoning.
    #[default]
    LastWriter,
}

/// Settings of curation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CurationSettings {
    /// How many trajectories are written; the i-th by teacher i mod K.
    pub trajectories: u32,
    /// How many final trajectories are returned, best first; at most `trajectories`.
    pub select: u32,
}

impl Default for CurationSettings {
    /// The paper's 4 trajectories, of which the best is kept.
    fn default() -> Self {
        Self { trajectories: 4, select: 1 }
    }
}

/// Settings of a single teacher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SingleSettings {
    /// The teacher's name in the recipe.
    pub teacher: String,
    /// How many trajectories it writes.
    #[serde(default = "one")]
    pub trajectories: u32,
    /// How many final trajectories are returned, best first; at most `trajectories`.
    #[serde(default = "one")]
    pub select: u32,
}

fn one() -> u32 {
    1
}

/// How candidates are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ScorerSettings {
    /// How predictable a candidate makes the gold answer.
    PredictivePerplexity(PerplexitySettings),
}

/// Settings of predictive perplexity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PerplexitySettings {
    /// The meta-prover's name in the recipe.
    pub model: String,
    /// The text between the reasoning so far and the gold answer. The paper leaves it open.
    #[serde(default = "default_cue")]
    pub cue: String,
}

fn default_cue() -> String {
    DEFAULT_CUE.to_owned()
}

impl GenerateSettings {
    /// All faults of the settings when used with these teachers, in the order of the settings.
    pub fn faults(&self, teachers: &[String]) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        let mut within = |key, given: u32, most: Option<(u32, &str)>| {
            let expected = match most {
                Some((most, name)) if most > 0 => format!("1 to {most} (`{name}`)"),
                _ => "at least 1".to_owned(),
            };
            if given == 0 || most.is_some_and(|(most, _)| most > 0 && given > most) {
                faults.push(SettingsFault::OutOfRange { key, expected, given: u64::from(given) });
            }
        };
        match &self.search {
            SearchSettings::Beam(beam) => {
                within("search.width", beam.width, None);
                within("search.proposals", beam.proposals, None);
                within("search.select", beam.select, Some((beam.width, "search.width")));
            }
            SearchSettings::Curation(CurationSettings { trajectories, select })
            | SearchSettings::Single(SingleSettings { trajectories, select, .. }) => {
                within("search.trajectories", *trajectories, None);
                within("search.select", *select, Some((*trajectories, "search.trajectories")));
            }
        }
        within("budget.reasoning", self.budget.reasoning, None);
        within("budget.answer", self.budget.answer, None);
        within("budget.step", self.budget.step, None);
        within("budget.steps", self.budget.steps, None);
        if teachers.is_empty() {
            faults.push(SettingsFault::NoTeachers);
        }
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<&String> = teachers.iter().filter(|name| !seen.insert(*name)).collect();
        faults.extend(repeated.into_iter().cloned().map(SettingsFault::SameTeacher));
        if let SearchSettings::Single(single) = &self.search
            && !teachers.contains(&single.teacher)
        {
            faults.push(SettingsFault::UnknownTeacher {
                key: "search.teacher",
                given: single.teacher.clone(),
                known: teachers.to_vec(),
            });
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GenerateError;

    fn parse(text: &str) -> Result<GenerateSettings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn settings_read_as_in_a_recipe() {
        let check = |search: &str, expected: SearchSettings| {
            let settings = parse(&format!("search = {search}")).unwrap();
            assert_eq!(settings.search, expected, "{search}");
            assert_eq!(settings.budget, Budget::default());
            assert_eq!(settings.segmenter, Segmenter::PromptGuided);
        };
        check(r#"{ kind = "beam" }"#, SearchSettings::Beam(BeamSettings::default()));
        check(
            r#"{ kind = "beam", width = 2, proposals = 3, finished = "compete", answer-by = "last-writer", select = 2 }"#,
            SearchSettings::Beam(BeamSettings { width: 2, proposals: 3, select: 2, ..BeamSettings::default() }),
        );
        check(
            r#"{ kind = "curation", trajectories = 8 }"#,
            SearchSettings::Curation(CurationSettings { trajectories: 8, select: 1 }),
        );
        check(
            r#"{ kind = "single", teacher = "a" }"#,
            SearchSettings::Single(SingleSettings { teacher: "a".into(), trajectories: 1, select: 1 }),
        );
    }

    #[test]
    fn unknown_keys_are_faults() {
        let check = |text: &str, key: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("unknown field `{key}`")), "{text}: {error}");
        };
        check(r#"search = { kind = "beam", widht = 2 }"#, "widht");
        check(r#"search = { kind = "curation", width = 2 }"#, "width");
        check(r#"search = { kind = "single", teacher = "a", proposals = 2 }"#, "proposals");
        check("search = { kind = \"beam\" }\nbudget = { tokens = 1 }", "tokens");
        let scorer: Result<ScorerSettings, _> =
            serde_json::from_str(r#"{"kind": "predictive-perplexity", "model": "m", "queue": ""}"#);
        assert!(scorer.unwrap_err().to_string().contains("unknown field `queue`"));
    }

    #[test]
    fn the_cue_has_a_default() {
        let scorer: ScorerSettings = toml::from_str("kind = \"predictive-perplexity\"\nmodel = \"m\"").unwrap();
        let expected = PerplexitySettings { model: "m".into(), cue: "</think>\nThe final answer is \\boxed{".into() };
        assert_eq!(scorer, ScorerSettings::PredictivePerplexity(expected));
    }

    #[test]
    fn faults_are_reported_together() {
        let settings = parse(
            "search = { kind = \"beam\", width = 2, proposals = 0, select = 3 }\nbudget = { reasoning = 0, steps = 0 }",
        );
        let faults = settings.unwrap().faults(&["a".into(), "b".into(), "a".into()]);
        insta::assert_snapshot!(GenerateError::Settings(faults), @r"
        `search.proposals`: expected at least 1, got 0
        `search.select`: expected 1 to 2 (`search.width`), got 3
        `budget.reasoning`: expected at least 1, got 0
        `budget.steps`: expected at least 1, got 0
        `teachers`: expected distinct names, got `a` more than once
        ");
        let settings = parse(r#"search = { kind = "single", teacher = "c", trajectories = 0 }"#).unwrap();
        insta::assert_snapshot!(GenerateError::Settings(settings.faults(&["a".into(), "b".into()])), @r"
        `search.trajectories`: expected at least 1, got 0
        `search.teacher`: expected one of the teachers `a`, `b`, got `c`
        ");
        insta::assert_snapshot!(GenerateError::Settings(settings.faults(&[])), @r"
        `search.trajectories`: expected at least 1, got 0
        `teachers`: expected at least one teacher, got none
        `search.teacher`: expected one of the teachers none, got `c`
        ");
    }
}
