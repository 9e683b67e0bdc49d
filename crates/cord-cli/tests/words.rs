//! Recipes and the generator write the same words: what one says, the other reads as the same thing.

use std::path::Path;

use cord_generate as generate;
use cord_recipe as recipe;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The recipe's value is read by the generator as `expected`, which writes the very same JSON.
fn check<R: Serialize, G: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(of_recipe: &R, expected: &G) {
    let json = serde_json::to_value(of_recipe).unwrap();
    let read: G = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(&read, expected, "{json}");
    assert_eq!(serde_json::to_value(expected).unwrap(), json);
}

#[test]
fn searches_agree() {
    let searches = [
        recipe::Search::Beam {
            width: 3,
            proposals: 2,
            finished: recipe::Finished::SetAside,
            answer_by: recipe::AnswerBy::LastWriter,
            select: 2,
            stop: recipe::StopRule::EnoughFinished,
        },
        recipe::Search::Curation { trajectories: 5, select: 2, compute: Some(700) },
        recipe::Search::Single { teacher: "a".into(), trajectories: 5, select: 2 },
        recipe::Search::Mcts {
            iterations: 7,
            exploration: 0.5,
            proposals: 2,
            choose: recipe::Choose::BestScored,
            select: 2,
        },
        recipe::Search::BestFirst {
            width: 3,
            proposals: 2,
            finals: 5,
            stop: recipe::BestFirstStop::OneBest,
            bonus: 0.25,
            start: Some(0.75),
            select: 2,
        },
        recipe::Search::Integration {
            model: "m".into(),
            trajectories: 5,
            prompt: recipe::IntegrationPrompt::V1,
            merged: 3,
            select: 2,
        },
    ];
    for search in &searches {
        // A kind that is added has no arm here: the test no longer compiles until it is checked too.
        let expected = match search {
            recipe::Search::Beam { .. } => generate::SearchSettings::Beam(generate::BeamSettings {
                width: 3,
                proposals: 2,
                finished: generate::Finished::SetAside,
                answer_by: generate::AnswerBy::LastWriter,
                select: 2,
                stop: generate::StopRule::EnoughFinished,
            }),
            recipe::Search::Curation { .. } => generate::SearchSettings::Curation(generate::CurationSettings {
                trajectories: 5,
                select: 2,
                compute: Some(700),
            }),
            recipe::Search::Single { .. } => generate::SearchSettings::Single(generate::SingleSettings {
                teacher: "a".into(),
                trajectories: 5,
                select: 2,
            }),
            recipe::Search::Mcts { .. } => generate::SearchSettings::Mcts(generate::MctsSettings {
                iterations: 7,
                exploration: 0.5,
                proposals: 2,
                choose: generate::Choose::BestScored,
                select: 2,
            }),
            recipe::Search::BestFirst { .. } => generate::SearchSettings::BestFirst(generate::BestFirstSettings {
                width: 3,
                proposals: 2,
                finals: 5,
                stop: generate::BestFirstStop::OneBest,
                bonus: 0.25,
                start: Some(0.75),
                select: 2,
            }),
            recipe::Search::Integration { .. } => {
                generate::SearchSettings::Integration(generate::IntegrationSettings {
                    model: "m".into(),
                    trajectories: 5,
                    prompt: generate::IntegrationPrompt::V1,
                    merged: 3,
                    select: 2,
                })
            }
        };
        check(search, &expected);
    }
    for (finished, expected) in [
        (recipe::Finished::Compete, generate::Finished::Compete),
        (recipe::Finished::SetAside, generate::Finished::SetAside),
        (recipe::Finished::Hold, generate::Finished::Hold),
    ] {
        check(&finished, &expected);
    }
    for (stop, expected) in [
        (recipe::StopRule::AllFinished, generate::StopRule::AllFinished),
        (recipe::StopRule::BestFinished, generate::StopRule::BestFinished),
        (recipe::StopRule::EnoughFinished, generate::StopRule::EnoughFinished),
    ] {
        check(&stop, &expected);
    }
}

#[test]
fn segmenters_budgets_and_rules_agree() {
    for segmenter in [
        recipe::Segmenter::PromptGuided { headers: recipe::Headers::Own },
        recipe::Segmenter::PromptGuided { headers: recipe::Headers::Kept },
        recipe::Segmenter::LineBreak,
        recipe::Segmenter::Prefix { cues: recipe::Cues::V1 },
        recipe::Segmenter::FixedLength { tokens: 9 },
    ] {
        let expected = match segmenter {
            recipe::Segmenter::PromptGuided { headers: recipe::Headers::Own } => generate::Segmenter::default(),
            recipe::Segmenter::PromptGuided { headers: recipe::Headers::Kept } => {
                generate::Segmenter::PromptGuided { headers: generate::Headers::Kept }
            }
            recipe::Segmenter::LineBreak => generate::Segmenter::LineBreak,
            recipe::Segmenter::Prefix { cues: recipe::Cues::V1 } => {
                generate::Segmenter::Prefix { cues: generate::Cues::V1 }
            }
            recipe::Segmenter::FixedLength { .. } => generate::Segmenter::FixedLength { tokens: 9 },
        };
        check(&segmenter, &expected);
    }
    check(
        &recipe::Budget { reasoning: 7, answer: 6, step: 5, steps: 4 },
        &generate::Budget { reasoning: 7, answer: 6, step: 5, steps: 4 },
    );
    check(&recipe::Closing::Own, &generate::Closing::Own);
    check(&recipe::Closing::Forced, &generate::Closing::Forced);
    check(
        &recipe::Adaptive { warm_up: 7, phases: 6, ask: 5, floor: 0.25, settle: Some(4) },
        &generate::AdaptiveSettings { warm_up: 7, phases: 6, ask: 5, floor: 0.25, settle: Some(4) },
    );
    for (keep, expected) in [
        (recipe::Keep::All, generate::Keep::All),
        (recipe::Keep::Complete, generate::Keep::Complete),
        (recipe::Keep::Correct, generate::Keep::Correct),
        (recipe::Keep::Closed, generate::Keep::Closed),
    ] {
        check(&keep, &expected);
    }
}

#[test]
fn scorers_agree() {
    let answer = || recipe::Answer {
        cue: "so".into(),
        normalise: recipe::Normalise::Sum,
        cap: Some(3),
        forms: Some("forms".into()),
    };
    let perplexity = || generate::PerplexitySettings {
        model: "m".into(),
        cue: "so".into(),
        normalise: generate::Normalise::Sum,
        cap: Some(3),
        forms: Some("forms".into()),
    };
    let reward = recipe::Scorer::ProcessReward { model: "m".to_owned(), prompt: recipe::RewardPrompt::PlusMinusV1 };
    let scorers: [recipe::Scorer; 9] = [
        recipe::Scorer::PredictivePerplexity { model: "m".into(), answer: answer() },
        recipe::Scorer::AnswerGain { model: "m".into(), answer: answer() },
        recipe::Scorer::Ensemble {
            models: vec!["m".into(), "n".into()],
            combine: recipe::Combine::Min,
            answer: answer(),
        },
        reward.clone(),
        recipe::Scorer::Judgment { model: "m".into(), prompt: recipe::JudgmentPrompt::BlindV1, max_tokens: 9 },
        recipe::Scorer::Random {},
        recipe::Scorer::MaxLength { of: recipe::Measured::Reasoning },
        recipe::Scorer::SelfCertainty {},
        recipe::Scorer::Mixture {
            signals: vec![recipe::Signal { weight: 0.5, scorer: reward }],
            scale: recipe::Scale::Rank,
        },
    ];
    let prompt = generate::RewardPrompt::PlusMinusV1;
    let reward = generate::ScorerSettings::ProcessReward(generate::RewardSettings { model: "m".into(), prompt });
    for scorer in &scorers {
        let expected = match scorer {
            recipe::Scorer::PredictivePerplexity { .. } => generate::ScorerSettings::PredictivePerplexity(perplexity()),
            recipe::Scorer::AnswerGain { .. } => generate::ScorerSettings::AnswerGain(perplexity()),
            recipe::Scorer::Ensemble { .. } => generate::ScorerSettings::Ensemble(generate::EnsembleSettings {
                models: vec!["m".into(), "n".into()],
                combine: generate::Combine::Min,
                cue: "so".into(),
                normalise: generate::Normalise::Sum,
                cap: Some(3),
                forms: Some("forms".into()),
            }),
            recipe::Scorer::ProcessReward { .. } => reward.clone(),
            recipe::Scorer::Judgment { .. } => generate::ScorerSettings::Judgment(generate::JudgmentSettings {
                model: "m".into(),
                prompt: generate::JudgmentPrompt::BlindV1,
                max_tokens: 9,
            }),
            recipe::Scorer::Random {} => generate::ScorerSettings::Random(generate::RandomSettings {}),
            recipe::Scorer::MaxLength { .. } => {
                generate::ScorerSettings::MaxLength(generate::LengthSettings { of: generate::Measured::Reasoning })
            }
            recipe::Scorer::SelfCertainty {} => generate::ScorerSettings::SelfCertainty(generate::CertaintySettings {}),
            recipe::Scorer::Mixture { .. } => generate::ScorerSettings::Mixture(generate::MixtureSettings {
                signals: vec![generate::SignalSettings { weight: 0.5, scorer: reward.clone() }],
                scale: generate::Scale::Rank,
            }),
        };
        check(scorer, &expected);
    }
}

/// Reads a recipe's only arm.
fn arm(generate: &str) -> recipe::GenerateSettings {
    let text = format!(
        "name = \"defaults\"\nseed = 1\nproblems = {{ dataset = \"d\" }}\n\
         models = {{ a.path = \"a\", b.path = \"b\", m.path = \"m\" }}\ngenerate = {{ {generate} }}"
    );
    let read = recipe::Recipe::read(&text, Path::new("defaults.toml"), &[], &|_| true);
    let read = read.unwrap_or_else(|faults| panic!("{faults}"));
    read.arms[0].generate.clone().unwrap()
}

#[test]
fn defaults_agree() {
    assert_eq!(recipe::default_prompt(), generate::PromptTemplate::default().as_str());
    assert_eq!(recipe::DEFAULT_CUE, generate::DEFAULT_CUE);
    let scorer = r#"scorer = { kind = "predictive-perplexity", model = "a" }"#;
    for kind in [
        r#"kind = "beam""#,
        r#"kind = "curation""#,
        r#"kind = "single", teacher = "a""#,
        r#"kind = "mcts""#,
        r#"kind = "best-first""#,
        r#"kind = "integration", model = "m""#,
    ] {
        let settings = arm(&format!(r#"teachers = ["a"], search = {{ {kind} }}, {scorer}"#));
        let search: toml::Table = format!("search = {{ {kind} }}").parse().unwrap();
        let own: generate::GenerateSettings = search.try_into().unwrap();
        check(&settings.search, &own.search);
        check(&settings.segmenter, &own.segmenter);
        check(&settings.budget, &own.budget);
        assert_eq!(settings.prompt, own.prompt.as_str());
        check(&settings.draws, &own.draws);
        let keep = serde_json::to_value(settings.keep).unwrap();
        assert_eq!(keep, serde_json::to_value(generate::Keep::default()).unwrap());
    }
    for kind in [
        r#"kind = "predictive-perplexity", model = "a""#,
        r#"kind = "answer-gain", model = "a""#,
        r#"kind = "ensemble", models = ["a", "b"]"#,
        r#"kind = "process-reward", model = "a""#,
        r#"kind = "judgment", model = "a""#,
        r#"kind = "random""#,
        r#"kind = "max-length""#,
        r#"kind = "self-certainty""#,
        r#"kind = "mixture", signals = [{ weight = 1, scorer = { kind = "random" } }]"#,
    ] {
        let settings = arm(&format!(r#"teachers = ["a"], search = {{ kind = "beam" }}, scorer = {{ {kind} }}"#));
        let own: toml::Table = kind.replacen(", ", "\n", 1).parse().unwrap();
        let own: generate::ScorerSettings = own.try_into().unwrap();
        check(&settings.scorer.unwrap(), &own);
    }
    for segmenter in [
        r#""line-break""#,
        r#""prefix""#,
        r#""fixed-length""#,
        r#"{ kind = "fixed-length" }"#,
        r#"{ kind = "prompt-guided" }"#,
    ] {
        let settings =
            arm(&format!(r#"teachers = ["a"], search = {{ kind = "beam" }}, {scorer}, segmenter = {segmenter}"#));
        let own: toml::Table = format!("search = {{ kind = \"beam\" }}\nsegmenter = {segmenter}").parse().unwrap();
        let own: generate::GenerateSettings = own.try_into().unwrap();
        check(&settings.segmenter, &own.segmenter);
    }
    let drawn = format!(r#"teachers = ["a"], search = {{ kind = "beam" }}, {scorer}, draws = "by-prefix""#);
    check(&arm(&drawn).draws, &generate::Draws::ByPrefix);
    let settings = arm(&format!(r#"teachers = ["a", "b"], search = {{ kind = "beam" }}, {scorer}, adaptive = {{}}"#));
    check(&settings.adaptive.unwrap(), &generate::AdaptiveSettings::default());
}

/// A stage is keyed by the rubric's version, so that a rubric that changes is asked anew.
#[test]
fn the_rubric_of_judges_agrees() {
    let (_, text) = cord_eval::judge::Rubric::BUILT_IN.iter().find(|(name, _)| *name == "reference").unwrap();
    let rubric: cord_eval::judge::Rubric = toml::from_str(text).unwrap();
    assert_eq!(recipe::JudgeStage::RUBRIC, format!("{}/{}", rubric.name, rubric.version));
}
