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
            finished: recipe::Finished::Compete,
            answer_by: recipe::AnswerBy::LastWriter,
            select: 2,
        },
        recipe::Search::Curation { trajectories: 5, select: 2 },
        recipe::Search::Single { teacher: "a".into(), trajectories: 5, select: 2 },
    ];
    for search in &searches {
        // A kind that is added has no arm here: the test no longer compiles until it is checked too.
        let expected = match search {
            recipe::Search::Beam { .. } => generate::SearchSettings::Beam(generate::BeamSettings {
                width: 3,
                proposals: 2,
                finished: generate::Finished::Compete,
                answer_by: generate::AnswerBy::LastWriter,
                select: 2,
            }),
            recipe::Search::Curation { .. } => {
                generate::SearchSettings::Curation(generate::CurationSettings { trajectories: 5, select: 2 })
            }
            recipe::Search::Single { .. } => generate::SearchSettings::Single(generate::SingleSettings {
                teacher: "a".into(),
                trajectories: 5,
                select: 2,
            }),
        };
        check(search, &expected);
    }
}

#[test]
fn segmenters_budgets_and_scorers_agree() {
    let segmenter = recipe::Segmenter::PromptGuided;
    let expected = match segmenter {
        recipe::Segmenter::PromptGuided => generate::Segmenter::PromptGuided,
    };
    check(&segmenter, &expected);
    check(
        &recipe::Budget { reasoning: 7, answer: 6, step: 5, steps: 4 },
        &generate::Budget { reasoning: 7, answer: 6, step: 5, steps: 4 },
    );
    let scorer = recipe::Scorer::PredictivePerplexity { model: "m".into(), cue: "so".into() };
    let expected = match scorer {
        recipe::Scorer::PredictivePerplexity { .. } => {
            generate::ScorerSettings::PredictivePerplexity(generate::PerplexitySettings {
                model: "m".into(),
                cue: "so".into(),
            })
        }
    };
    check(&scorer, &expected);
    for (keep, expected) in [
        (recipe::Keep::All, generate::Keep::All),
        (recipe::Keep::Complete, generate::Keep::Complete),
        (recipe::Keep::Correct, generate::Keep::Correct),
    ] {
        check(&keep, &expected);
    }
}

#[test]
fn defaults_agree() {
    assert_eq!(recipe::default_prompt(), generate::PromptTemplate::default().as_str());
    assert_eq!(recipe::DEFAULT_CUE, generate::DEFAULT_CUE);
    for kind in [r#"kind = "beam""#, r#"kind = "curation""#, r#"kind = "single", teacher = "a""#] {
        let text = format!(
            r#"
            name = "defaults"
            seed = 1
            problems = {{ dataset = "d" }}
            models.a.path = "a"
            generate = {{ teachers = ["a"], search = {{ {kind} }}, scorer = {{ kind = "predictive-perplexity", model = "a" }} }}
            "#
        );
        let read = recipe::Recipe::read(&text, Path::new("defaults.toml"), &[], &|_| true);
        let read = read.unwrap_or_else(|faults| panic!("{faults}"));
        let settings = read.arms[0].generate.as_ref().unwrap();
        let search: toml::Table = format!("search = {{ {kind} }}").parse().unwrap();
        let own: generate::GenerateSettings = search.try_into().unwrap();
        check(&settings.search, &own.search);
        check(&settings.segmenter, &own.segmenter);
        check(&settings.budget, &own.budget);
        assert_eq!(settings.prompt, own.prompt.as_str());
        let keep = serde_json::to_value(settings.keep).unwrap();
        assert_eq!(keep, serde_json::to_value(generate::Keep::default()).unwrap());
    }
}
