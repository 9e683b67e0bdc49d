//! The manifests and the page in `datasets/mini` say what the world makes.

use std::collections::BTreeMap;

use cord_mini::{CorpusSpec, ProblemSet, Split, corpus, problems};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    description: String,
    licence: String,
    generator: String,
    problems: Option<ProblemSet>,
    corpus: Option<CorpusSpec>,
}

const README: &str = include_str!("../../../datasets/mini/README.md");
const MANIFESTS: [(&str, &str); 11] = [
    ("train", include_str!("../../../datasets/mini/train.toml")),
    ("dev", include_str!("../../../datasets/mini/dev.toml")),
    ("test", include_str!("../../../datasets/mini/test.toml")),
    ("hard", include_str!("../../../datasets/mini/hard.toml")),
    ("corpus-adder", include_str!("../../../datasets/mini/corpus-adder.toml")),
    ("corpus-multiplier", include_str!("../../../datasets/mini/corpus-multiplier.toml")),
    ("corpus-closer", include_str!("../../../datasets/mini/corpus-closer.toml")),
    ("corpus-base", include_str!("../../../datasets/mini/corpus-base.toml")),
    ("corpus-critic", include_str!("../../../datasets/mini/corpus-critic.toml")),
    ("corpus-judge", include_str!("../../../datasets/mini/corpus-judge.toml")),
    ("corpus-editor", include_str!("../../../datasets/mini/corpus-editor.toml")),
];

fn manifests() -> BTreeMap<&'static str, Manifest> {
    MANIFESTS.into_iter().map(|(name, text)| (name, toml::from_str(text).unwrap())).collect()
}

#[test]
fn every_manifest_makes_what_it_names() {
    let mut seeds = Vec::new();
    for (name, manifest) in manifests() {
        assert_eq!(manifest.name, format!("mini/{name}"));
        assert_eq!((manifest.licence.as_str(), manifest.generator.as_str()), ("MIT OR Apache-2.0", "mini"));
        assert!(!manifest.description.is_empty());
        assert!(README.contains(&format!("| `{name}` |")), "{name} is on the page");
        match (manifest.problems, manifest.corpus) {
            (Some(set), None) => {
                assert_eq!(set.split.name(), name);
                seeds.push(set.seed);
                let made = problems(&set).unwrap();
                assert_eq!(made.len(), set.count);
                let hard = set.split == Split::Hard;
                assert!(made.iter().all(|p| (p.metadata["operations"].as_u64().unwrap() > 8) == hard));
            }
            (None, Some(spec)) => {
                seeds.push(spec.seed);
                let few = CorpusSpec { count: 200, ..spec };
                assert_eq!(corpus(&few).unwrap().len(), 200);
            }
            _ => panic!("{name}: expected `[problems]` or `[corpus]`"),
        }
    }
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), MANIFESTS.len(), "no two sets share a seed");
}

#[test]
fn unknown_keys_are_faults() {
    for (name, text) in MANIFESTS {
        assert!(toml::from_str::<Manifest>(&format!("{text}\ntypo = 1\n")).is_err(), "{name}");
    }
}

#[test]
fn the_page_shows_a_real_problem() {
    let set = manifests().remove("train").unwrap().problems.unwrap();
    let problem = &problems(&ProblemSet { count: 1, ..set }).unwrap()[0];
    assert!(README.contains(&format!("```text\n{}\n```", problem.question)), "{}", problem.question);
    assert!(README.contains(&format!("Its answer is `{}`.", problem.answer)), "{}", problem.answer);
    let example = README.split("```text\n<think>").nth(1).unwrap().split("\n```").next().unwrap();
    let audited = cord_mini::audit(problem, example).unwrap();
    assert!(audited.all_right(), "{audited:?}");
    assert!(example.ends_with(&format!("</think>\nThe final answer is \\boxed{{{}}}.", problem.answer)), "{example}");
}
