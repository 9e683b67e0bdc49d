//! What a recipe says about generation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{IntegrationPrompt, Policy, PromptTemplate, Segmenter, SettingsFault};

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
    /// Who closes the reasoning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closing: Closing,
    /// What tells two questions to one teacher apart, besides what is asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub draws: Draws,
    /// Which teachers a beam asks; all of them where absent. Learnt from a stage's first problems and not written in any
    /// recipe.
    #[serde(skip)]
    pub policy: Option<Policy>,
}

/// Who closes the reasoning block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// The teachers. Reasoning that ends without `</think>` is unclosed or truncated, and has no answer.
    #[default]
    Own,
    /// The search, where a teacher ends its turn in the middle of the block or the reasoning's budget runs out; then the answer is
    /// asked for. A step that is cut by its own budget goes on as the next one. For teachers that were not trained to close a block of reasoning (budget forcing: Muennighoff et al. 2025).
    Forced,
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

/// What names the random stream of a teacher's reply, besides the problem, the teacher and the sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draws {
    /// Where the question stands in the search: its depth and its beam's place. Two searches that come to the same text by
    /// other ways draw two continuations of it.
    #[default]
    ByPlace,
    /// The text that is continued. A teacher that is asked the same twice replies the same, whoever else takes part and
    /// wherever the text stands: searches that are compared share their luck, and a journal answers one from the other.
    ByPrefix,
}

/// How trajectories are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SearchSettings {
    /// Step-level beam search over all teachers' proposals: CoRD. Width 1 is the paper's greedy decoding.
    Beam(BeamSettings),
    /// Whole trajectories written independently by the teachers in turn; the best are kept.
    Curation(CurationSettings),
    /// Whole trajectories by one teacher; the best are kept.
    Single(SingleSettings),
    /// Tree search with rollouts.
    Mcts(MctsSettings),
    /// Step-level search that goes on from the best trajectory first, one teacher at a time: beyond the paper.
    BestFirst(BestFirstSettings),
    /// Whole trajectories by the teachers, merged into one by a further model.
    Integration(IntegrationSettings),
}

impl SearchSettings {
    /// The kind, as in the recipe.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Beam(_) => "beam",
            Self::Curation(_) => "curation",
            Self::Single(_) => "single",
            Self::Mcts(_) => "mcts",
            Self::BestFirst(_) => "best-first",
            Self::Integration(_) => "integration",
        }
    }
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
    /// When the search ends, if not by its budgets.
    #[serde(skip_serializing_if = "is_default")]
    pub stop: StopRule,
}

impl Default for BeamSettings {
    /// The paper's width of 4; one proposal, one final trajectory.
    fn default() -> Self {
        let (finished, answer_by, stop) = (Finished::default(), AnswerBy::default(), StopRule::default());
        Self { width: 4, proposals: 1, finished, answer_by, select: 1, stop }
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
    /// A finished trajectory leaves its place to the next best open one, so `width` trajectories go on as long as there are
    /// so many. All that ever finished are weighed against each other in the end.
    SetAside,
    /// A finished trajectory keeps its place for good, so that ever fewer go on.
    Hold,
}

/// When a beam search ends, if not by its budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopRule {
    /// When no kept trajectory is open.
    #[default]
    AllFinished,
    /// When the best trajectory, open or finished, is finished. Going on could still find a better one.
    BestFinished,
    /// When as many trajectories have closed their reasoning as are to be returned.
    EnoughFinished,
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
    /// How many trajectories are written; the i-th by teacher i mod K. The paper's curation×2 has twice as many.
    pub trajectories: u32,
    /// How many final trajectories are returned, best first; at most `trajectories`.
    pub select: u32,
    /// Goes on in rounds of one trajectory by each teacher until so many tokens have been generated for the problem: equal
    /// compute to a search that spends as much. The last round may go past it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute: Option<u64>,
}

impl Default for CurationSettings {
    /// The paper's 4 trajectories, of which the best is kept.
    fn default() -> Self {
        Self { trajectories: 4, select: 1, compute: None }
    }
}

/// Settings of tree search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MctsSettings {
    /// How many times the tree is walked from its root: each walk ends in one rollout, or at a trajectory's end.
    pub iterations: u32,
    /// How much a step that was seldom tried is preferred: UCT's constant c, for rewards in [0, 1].
    pub exploration: f64,
    /// How many proposals each teacher makes for each step that is continued.
    pub proposals: u32,
    /// Which trajectory is the result.
    pub choose: Choose,
    /// How many final trajectories are returned, best first; those after the first are the best scored.
    pub select: u32,
}

impl Default for MctsSettings {
    /// The paper says nothing of its tree search but what came of it. 16 walks, c = √2, one proposal by each teacher.
    fn default() -> Self {
        let choose = Choose::default();
        Self { iterations: 16, exploration: std::f64::consts::SQRT_2, proposals: 1, choose, select: 1 }
    }
}

/// Settings of best-first search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BestFirstSettings {
    /// How many partial trajectories of one depth are gone on from at most.
    pub width: u32,
    /// How many proposals a teacher makes each time it is asked.
    pub proposals: u32,
    /// With how many closed trajectories the search ends.
    pub finals: u32,
    /// Which closed trajectories count.
    #[serde(skip_serializing_if = "is_default")]
    pub stop: BestFirstStop,
    /// What a step is worth in itself, in the scorer's unit: a trajectory comes before the one that it continues where its score is
    /// lower by no more than that. Its place among the final ones is by score alone.
    pub bonus: f64,
    /// The score that the start is taken to have: teachers are asked about it one at a time, as about any other text, and the next
    /// one when nothing else is as good. Where absent, all of them are asked at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// How many of them are returned, best first; at most `finals`.
    pub select: u32,
}

impl Default for BestFirstSettings {
    /// As many trajectories as the paper's beam, by their scores alone.
    fn default() -> Self {
        Self { width: 4, proposals: 1, finals: 4, stop: BestFirstStop::default(), bonus: 0.0, start: None, select: 1 }
    }
}

/// Which closed trajectories are final ones of a best-first search, so that it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestFirstStop {
    /// Those that were the best there was, open ones included, one after the other: each is as good as the search can make it.
    #[default]
    EachBest,
    /// All, once one of them is the best there is. The others are what came of the way to it, good or not, as a beam's are; the best
    /// scored is returned.
    OneBest,
}

/// Which trajectory is a tree search's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choose {
    /// The one that the most visited steps lead to, finished by the last one's rollout where it is open.
    #[default]
    MostVisited,
    /// The best scored of all that were finished, rollouts included.
    BestScored,
}

/// Settings of integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IntegrationSettings {
    /// The model that merges, by its name among the teachers. It writes no trajectory of its own.
    pub model: String,
    /// How many trajectories are written to be merged; the i-th by teacher i mod K.
    #[serde(default = "four")]
    pub trajectories: u32,
    /// What the model is told.
    #[serde(default)]
    pub prompt: IntegrationPrompt,
    /// How many merged trajectories it writes.
    #[serde(default = "one")]
    pub merged: u32,
    /// How many final trajectories are returned, best first; at most `merged`.
    #[serde(default = "one")]
    pub select: u32,
}

fn four() -> u32 {
    4
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

/// A setting that stands at its default is not written, so that it renames no stage from before there was a choice.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

impl GenerateSettings {
    /// Settings with every default for a search.
    pub fn new(search: SearchSettings) -> Self {
        let (prompt, segmenter, budget) = (PromptTemplate::default(), Segmenter::default(), Budget::default());
        Self { prompt, segmenter, search, budget, closing: Closing::Own, draws: Draws::default(), policy: None }
    }

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
        if let Segmenter::FixedLength { tokens } = self.segmenter {
            within("segmenter.tokens", tokens, Some((self.budget.step, "budget.step")));
        }
        match &self.search {
            SearchSettings::Beam(beam) => {
                within("search.width", beam.width, None);
                within("search.proposals", beam.proposals, None);
                within("search.select", beam.select, Some((beam.width, "search.width")));
            }
            SearchSettings::Curation(CurationSettings { trajectories, select, .. })
            | SearchSettings::Single(SingleSettings { trajectories, select, .. }) => {
                within("search.trajectories", *trajectories, None);
                within("search.select", *select, Some((*trajectories, "search.trajectories")));
            }
            SearchSettings::Mcts(mcts) => {
                within("search.iterations", mcts.iterations, None);
                within("search.proposals", mcts.proposals, None);
                within("search.select", mcts.select, None);
            }
            SearchSettings::BestFirst(best_first) => {
                within("search.width", best_first.width, None);
                within("search.proposals", best_first.proposals, None);
                within("search.finals", best_first.finals, None);
                within("search.select", best_first.select, Some((best_first.finals, "search.finals")));
            }
            SearchSettings::Integration(integration) => {
                within("search.trajectories", integration.trajectories, None);
                within("search.merged", integration.merged, None);
                within("search.select", integration.select, Some((integration.merged, "search.merged")));
            }
        }
        within("budget.reasoning", self.budget.reasoning, None);
        within("budget.answer", self.budget.answer, None);
        within("budget.step", self.budget.step, None);
        within("budget.steps", self.budget.steps, None);
        let number = match &self.search {
            SearchSettings::Mcts(mcts) => Some(("search.exploration", mcts.exploration)),
            SearchSettings::BestFirst(best_first) => Some(("search.bonus", best_first.bonus)),
            _ => None,
        };
        if let Some((key, given)) = number.filter(|(_, given)| !(given.is_finite() && *given >= 0.0)) {
            let (expected, given) = ("a number of at least 0".to_owned(), given.to_string());
            faults.push(SettingsFault::NotWithin { key, expected, given });
        }
        if let SearchSettings::BestFirst(BestFirstSettings { start: Some(start), .. }) = &self.search
            && !start.is_finite()
        {
            let (expected, given) = ("a number".to_owned(), start.to_string());
            faults.push(SettingsFault::NotWithin { key: "search.start", expected, given });
        }
        if teachers.is_empty() {
            faults.push(SettingsFault::NoTeachers);
        }
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<&String> = teachers.iter().filter(|name| !seen.insert(*name)).collect();
        faults.extend(repeated.into_iter().cloned().map(SettingsFault::SameTeacher));
        let named = match &self.search {
            SearchSettings::Single(single) => Some(("search.teacher", &single.teacher)),
            SearchSettings::Integration(integration) => Some(("search.model", &integration.model)),
            SearchSettings::Beam(_)
            | SearchSettings::Curation(_)
            | SearchSettings::Mcts(_)
            | SearchSettings::BestFirst(_) => None,
        };
        if let Some((key, name)) = named {
            if !teachers.contains(name) {
                let (given, known) = (name.clone(), teachers.to_vec());
                faults.push(SettingsFault::UnknownTeacher { key, given, known });
            } else if key == "search.model" && teachers.len() == 1 {
                faults.push(SettingsFault::NobodyToMerge(name.clone()));
            }
        }
        if let Some(policy) = &self.policy {
            if !matches!(self.search, SearchSettings::Beam(_)) {
                faults.push(SettingsFault::BeamOnly { key: "adaptive", given: self.search.kind() });
            }
            faults.extend(policy.faults(teachers));
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
            assert_eq!(settings.segmenter, Segmenter::default());
        };
        check(r#"{ kind = "beam" }"#, SearchSettings::Beam(BeamSettings::default()));
        check(
            r#"{ kind = "beam", width = 2, proposals = 3, finished = "compete", answer-by = "last-writer", select = 2 }"#,
            SearchSettings::Beam(BeamSettings { width: 2, proposals: 3, select: 2, ..BeamSettings::default() }),
        );
        check(
            r#"{ kind = "curation", trajectories = 8 }"#,
            SearchSettings::Curation(CurationSettings { trajectories: 8, ..CurationSettings::default() }),
        );
        check(
            r#"{ kind = "curation", compute = 5000, select = 2 }"#,
            SearchSettings::Curation(CurationSettings { trajectories: 4, select: 2, compute: Some(5000) }),
        );
        check(
            r#"{ kind = "beam", finished = "set-aside", stop = "best-finished" }"#,
            SearchSettings::Beam(BeamSettings {
                finished: Finished::SetAside,
                stop: StopRule::BestFinished,
                ..BeamSettings::default()
            }),
        );
        check(r#"{ kind = "mcts" }"#, SearchSettings::Mcts(MctsSettings::default()));
        check(
            r#"{ kind = "mcts", iterations = 3, exploration = 0.5, choose = "best-scored" }"#,
            SearchSettings::Mcts(MctsSettings {
                iterations: 3,
                exploration: 0.5,
                choose: Choose::BestScored,
                ..MctsSettings::default()
            }),
        );
        check(
            r#"{ kind = "integration", model = "m" }"#,
            SearchSettings::Integration(IntegrationSettings {
                model: "m".into(),
                trajectories: 4,
                prompt: IntegrationPrompt::V1,
                merged: 1,
                select: 1,
            }),
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
        check(r#"search = { kind = "mcts", width = 2 }"#, "width");
        check(r#"search = { kind = "integration", model = "m", teacher = "a" }"#, "teacher");
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
        let settings = parse(
            "search = { kind = \"mcts\", iterations = 0, exploration = -1.0 }\nbudget = { step = 8 }\n\
             segmenter = { kind = \"fixed-length\", tokens = 9 }",
        );
        insta::assert_snapshot!(GenerateError::Settings(settings.unwrap().faults(&["a".into()])), @r"
        `segmenter.tokens`: expected 1 to 8 (`budget.step`), got 9
        `search.iterations`: expected at least 1, got 0
        `search.exploration`: expected a number of at least 0, got -1
        ");
        let settings = parse(r#"search = { kind = "integration", model = "m", merged = 2, select = 3 }"#).unwrap();
        insta::assert_snapshot!(GenerateError::Settings(settings.faults(&["m".into()])), @r"
        `search.select`: expected 1 to 2 (`search.merged`), got 3
        `teachers`: expected at least one teacher besides `m`, which merges what the others write, got none
        ");
        insta::assert_snapshot!(GenerateError::Settings(settings.faults(&["a".into()])), @r"
        `search.select`: expected 1 to 2 (`search.merged`), got 3
        `search.model`: expected one of the teachers `a`, got `m`
        ");
    }
}
