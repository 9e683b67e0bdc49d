//! Re-selection from a ledger equals a fresh run wherever the ledger covers it.

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use cord_core::{Candidate, Finish, Seed, StepKind, Usage};
use cord_generate::{
    BeamSettings, BestFirstSettings, BestFirstStop, Budget, Choose, CurationSettings, Finished, GenerateError,
    GenerateSettings, Generator, Headers, IntegrationPrompt, IntegrationSettings, Ledgers, MctsSettings,
    RecordedScores, Reselection, Scope, Scorer, SearchPlan, SearchResult, SearchSettings, Segmenter, SelfCertainty,
    SingleSettings, StopRule, reselect,
};
use futures::executor::block_on;
use proptest::prelude::*;
use world::{
    Script, Taste, World, beam, full_text, generator, perplexity, problem, scripted, settings, solve, teacher,
};

const TEACHERS: [&str; 3] = ["a", "b", "c"];

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

fn again(
    candidates: &[Candidate],
    names: &[&str],
    settings: GenerateSettings,
    scorer: &dyn Scorer,
) -> Result<Reselection, GenerateError> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let plan = Arc::new(SearchPlan::new(settings, names, scorer).unwrap());
    block_on(reselect(&problem("p"), candidates, &plan, scorer, Seed::root(1)))
}

fn covered(reselection: Reselection) -> SearchResult {
    match reselection {
        Reselection::Covered(result) => *result,
        Reselection::Ends(gaps) => panic!("expected the ledger to cover the search, got {gaps:?}"),
    }
}

fn recorded(result: &SearchResult) -> RecordedScores {
    let ledgers: Ledgers = [(result.problem.clone(), result.candidates.clone())].into();
    RecordedScores::new("predictive-perplexity", &ledgers)
}

fn best_first_stop() -> impl Strategy<Value = BestFirstStop> {
    prop_oneof![Just(BestFirstStop::EachBest), Just(BestFirstStop::OneBest)]
}

/// Settings with either kind of headers.
fn headed(search: SearchSettings, headers: Headers) -> GenerateSettings {
    GenerateSettings { segmenter: Segmenter::PromptGuided { headers }, ..settings(search) }
}

fn searches() -> impl Strategy<Value = SearchSettings> {
    let finished = prop_oneof![Just(Finished::Compete), Just(Finished::SetAside), Just(Finished::Hold)];
    let stop = prop_oneof![Just(StopRule::AllFinished), Just(StopRule::BestFinished)];
    let model = "c".to_owned();
    let merge = IntegrationSettings { model, trajectories: 4, prompt: IntegrationPrompt::V1, merged: 2, select: 1 };
    prop_oneof![
        4 => (1..5u32, 1..3u32, finished, stop).prop_map(|(width, proposals, finished, stop)| {
            SearchSettings::Beam(BeamSettings { width, proposals, finished, stop, ..BeamSettings::default() })
        }),
        1 => (1..7u32).prop_map(|trajectories| {
            SearchSettings::Curation(CurationSettings { trajectories, select: 1, compute: Some(700) })
        }),
        1 => (1..4u32).prop_map(|trajectories| {
            SearchSettings::Single(SingleSettings { teacher: "b".into(), trajectories, select: 1 })
        }),
        1 => (1..12u32).prop_map(|iterations| {
            SearchSettings::Mcts(MctsSettings { iterations, choose: Choose::BestScored, ..MctsSettings::default() })
        }),
        2 => (1..4u32, 1..3u32, 1..5u32, best_first_stop(), 0.0..0.3f64, prop::option::of(0.0..1.0f64)).prop_map(
            |(width, proposals, finals, stop, bonus, start)| {
                SearchSettings::BestFirst(BestFirstSettings { width, proposals, finals, stop, bonus, start, select: 1 })
            }
        ),
        1 => Just(SearchSettings::Integration(merge)),
    ]
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn under_the_same_criterion_the_ledger_covers_all(
        key: u64, words in 1..4usize, search in searches(), kept: bool,
    ) {
        let world = World { words, random: true, ..World::new(key) };
        let settings = headed(search, if kept { Headers::Kept } else { Headers::Own });
        let fresh = solve(&generator(&world, &TEACHERS, settings.clone(), None)).unwrap();
        let prover = perplexity(world.prover());
        let asked = again(&fresh.candidates, &TEACHERS, settings.clone(), prover.as_ref()).unwrap();
        prop_assert_eq!(covered(asked), fresh.clone());
        // And with the recorded scores there is no need of a model at all.
        let unasked = again(&fresh.candidates, &TEACHERS, settings, &recorded(&fresh)).unwrap();
        prop_assert_eq!(covered(unasked), fresh);
    }

    #[test]
    fn a_beam_that_kept_all_covers_every_step_of_a_narrower_one(key: u64, width in 1..4u32, best_first: bool) {
        let world = World { words: 1_000_000_000, ..World::new(key) };
        let ledger = solve(&generator(&world, &TEACHERS, settings(beam(81)), None)).unwrap();
        let search = if best_first {
            SearchSettings::BestFirst(BestFirstSettings { width, ..BestFirstSettings::default() })
        } else {
            beam(width)
        };
        let fresh = solve(&generator(&world, &TEACHERS, settings(search.clone()), None)).unwrap();
        match again(&ledger.candidates, &TEACHERS, settings(search), &recorded(&ledger)).unwrap() {
            Reselection::Covered(result) => prop_assert_eq!(*result, fresh),
            Reselection::Ends(gaps) => {
                // The answer to reasoning that did not win before.
                prop_assert!(gaps.iter().all(|gap| gap.kind == StepKind::Answer), "{:?}", gaps);
                let chosen = fresh.trajectories[0].response.split_inclusive("</think>").next().unwrap();
                prop_assert_eq!(gaps[0].prefix.as_str(), chosen);
            }
        }
    }
}

/// A candidate by what it continues.
fn keys(candidates: &[Candidate]) -> BTreeSet<(String, String, u32, bool)> {
    let prefix = |one: &Candidate| one.parent.map_or(String::new(), |parent| full_text(candidates, parent));
    let key = |one: &Candidate| (prefix(one), one.teacher.clone(), one.sample, one.kind == StepKind::Answer);
    candidates.iter().map(key).collect()
}

/// Re-selects under other settings many times and says how often the ledger covered it.
fn other_criteria(
    ledger_of: impl Fn(&World) -> SearchResult,
    names: &[&str],
    search: &SearchSettings,
    scorer_of: impl Fn(&World) -> Arc<dyn Scorer>,
) -> (u32, u32) {
    let (mut full, mut partial) = (0, 0);
    for key in 0..200 {
        let world = World { words: 2, ..World::new(key) };
        let ledger = ledger_of(&world);
        let scorer = scorer_of(&world);
        let teachers = names.iter().map(|name| teacher(name, world.teacher(name))).collect();
        let fresh = solve(&Generator::new(settings(search.clone()), teachers, Arc::clone(&scorer)).unwrap()).unwrap();
        let (had, wanted) = (keys(&ledger.candidates), keys(&fresh.candidates));
        match again(&ledger.candidates, names, settings(search.clone()), scorer.as_ref()).unwrap() {
            Reselection::Covered(result) => {
                full += 1;
                assert_eq!(*result, fresh, "world {key}");
                assert!(wanted.is_subset(&had), "world {key}");
            }
            Reselection::Ends(gaps) => {
                partial += 1;
                assert!(!gaps.is_empty(), "world {key}");
                for gap in gaps {
                    let wanting = (gap.prefix.clone(), gap.teacher, gap.sample, gap.kind == StepKind::Answer);
                    assert!(wanted.contains(&wanting) && !had.contains(&wanting), "world {key}: {wanting:?}");
                    let parent = gap.parent.map_or(String::new(), |parent| full_text(&ledger.candidates, parent));
                    assert_eq!(parent, gap.prefix, "world {key}");
                }
            }
        }
    }
    (full, partial)
}

fn other_prover(world: &World) -> Arc<dyn Scorer> {
    perplexity(World { key: format!("{} other", world.key), ..world.clone() }.prover())
}

#[test]
fn under_another_criterion_it_equals_a_fresh_run_or_says_where_the_ledger_ends() {
    let of =
        |width: u32| move |world: &World| solve(&generator(world, &TEACHERS, settings(beam(width)), None)).unwrap();
    let own = |world: &World| perplexity(world.prover());
    let counts = [
        ("another prover", other_criteria(of(8), &TEACHERS, &beam(1), other_prover)),
        ("the same prover, narrower", other_criteria(of(8), &TEACHERS, &beam(2), own)),
        ("the same prover, wider", other_criteria(of(1), &TEACHERS, &beam(3), own)),
        ("fewer teachers", other_criteria(of(8), &["c", "a"], &beam(2), own)),
        (
            "other rules",
            other_criteria(
                of(3),
                &TEACHERS,
                &SearchSettings::Beam(BeamSettings { width: 3, finished: Finished::Hold, ..BeamSettings::default() }),
                own,
            ),
        ),
    ];
    for (what, (full, partial)) in counts {
        assert!(full > 0 && partial > 0, "{what}: {full} covered, {partial} not");
    }
}

#[test]
fn a_gap_names_what_would_have_to_be_generated() {
    let world = World { words: 1_000_000_000, close: 0.0, depth: 2, ..World::new(4) };
    let ledger = solve(&generator(&world, &TEACHERS, settings(beam(1)), None)).unwrap();
    let against = Taste { scope: Scope::Each, opinion: |reasoning: &str| 1.0 - world.score(reasoning) };
    let Reselection::Ends(gaps) = again(&ledger.candidates, &["c", "a"], settings(beam(1)), &against).unwrap() else {
        panic!("expected the ledger to end at another first step");
    };
    let shown: Vec<String> = gaps
        .iter()
        .map(|gap| format!("{} {}{} {:?} after {:?}", gap.depth, gap.teacher, gap.sample, gap.kind, gap.parent))
        .collect();
    let worse = (ledger.candidates.iter())
        .filter(|one| one.depth == 0 && one.teacher != "b")
        .min_by(|a, b| a.score.unwrap().total_cmp(&b.score.unwrap()))
        .unwrap();
    assert_eq!(
        shown,
        [format!("1 c0 Reasoning after Some({})", worse.id), format!("1 a0 Reasoning after Some({})", worse.id)]
    );
    assert!(gaps.iter().all(|gap| gap.prefix == worse.text));
}

#[test]
fn every_state_is_taken_up_as_it_was_left() {
    let endless: Script = |_| "### Step 1. b\n### Step 2. b";
    let silent_end: Script = |_| "### Step 1. b";
    let falls_silent: Script = |prefix| if prefix.is_empty() { "### Step 1. b\n### Step 2. b" } else { " \n" };
    let chatty: Script = |prefix| match prefix {
        "" => "### Step 1. b\n</think>\nSo, all in all, we may say that",
        _ => "\nSo, all in all, we may say that",
    };
    let airy: Script = |prefix| match prefix {
        "### Step 1. b\n" => "\n### Step 2. b\n\n</think>\n\\boxed{1}",
        "### Step 1. b\n\n### Step" => " 2. b\n\n</think>\n\\boxed{1}",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "\n### Step",
    };
    let taste: fn(&str) -> f64 = |text| 0.1 * text.len() as f64;
    let small = |step, steps, answer| Budget { reasoning: 60, answer, step, steps };
    let rows = [
        (endless, small(21, 9, 30)),
        (endless, small(50, 2, 30)),
        (endless, Budget { reasoning: 22, ..small(50, 9, 30) }),
        (silent_end, small(50, 9, 30)),
        (falls_silent, small(50, 9, 30)),
        (chatty, small(50, 9, 12)),
        (airy, small(50, 9, 30)),
        (airy, Budget { reasoning: 31, ..small(50, 9, 30) }),
    ];
    let mut states = BTreeSet::new();
    for (number, (script, budget)) in rows.into_iter().enumerate() {
        for search in [beam(1), beam(3), SearchSettings::Curation(CurationSettings::default())] {
            let teachers: [(&'static str, Script); 2] = [("odd", script), ("endless", endless)];
            let settings = GenerateSettings { budget, ..settings(search) };
            let Ok(fresh) = scripted(&teachers, taste, settings.clone()) else { continue };
            states.extend(fresh.trajectories.iter().map(|one| format!("{:?}", one.end)));
            let scorer = Taste { scope: Scope::Each, opinion: taste };
            let result = again(&fresh.candidates, &["odd", "endless"], settings.clone(), &scorer).unwrap();
            assert_eq!(covered(result), fresh, "row {number}, {:?}", settings.search);
        }
    }
    assert_eq!(states.len(), 4, "every way to end is among them: {states:?}");
}

#[test]
fn what_a_ledger_does_not_hold_is_an_error_and_not_a_guess() {
    let world = World::new(1);
    let ledger = solve(&generator(&world, &TEACHERS, settings(beam(2)), None)).unwrap();
    let error = again(&ledger.candidates, &TEACHERS, settings(beam(2)), &SelfCertainty).unwrap_err();
    insta::assert_snapshot!(error.reason(), @"scorer `self-certainty`: expected a writer that gives the mean log-probability of what it drew, got none");
    let mut unscored = ledger.clone();
    unscored.candidates[0].score = None;
    let error = again(&ledger.candidates, &TEACHERS, settings(beam(2)), &recorded(&unscored)).unwrap_err();
    insta::assert_snapshot!(error.reason(), @r"scorer `predictive-perplexity`: expected a recorded score of the candidate `### Step 1. w1\n`, got none");
}

#[test]
fn what_was_merged_of_other_trajectories_is_not_taken_up() {
    let world = World { random: true, ..World::new(2) };
    let search = |trajectories| {
        let (model, prompt) = ("c".to_owned(), IntegrationPrompt::V1);
        SearchSettings::Integration(IntegrationSettings { model, trajectories, prompt, merged: 1, select: 1 })
    };
    let ledger = solve(&generator(&world, &TEACHERS, settings(search(4)), None)).unwrap();
    let prover = perplexity(world.prover());
    let Reselection::Ends(gaps) = again(&ledger.candidates, &TEACHERS, settings(search(2)), prover.as_ref()).unwrap()
    else {
        panic!("expected another merge to be generated");
    };
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].teacher.as_str(), gaps[0].kind, gaps[0].parent), ("c", StepKind::Whole, None));
}

#[test]
fn an_empty_ledger_ends_at_the_first_step() {
    let world = World::new(1);
    let prover = perplexity(world.prover());
    let Reselection::Ends(gaps) = again(&[], &TEACHERS, settings(beam(2)), prover.as_ref()).unwrap() else {
        panic!("expected everything to be missing");
    };
    assert_eq!(gaps.len(), 3);
    let blank = Candidate {
        id: 0,
        parent: None,
        depth: 0,
        teacher: "a".into(),
        sample: 0,
        kind: StepKind::Reasoning,
        text: " ".into(),
        finish: Finish::Eos,
        terminal: false,
        score: None,
        rank: None,
        fate: cord_core::Fate::Dropped,
        usage: Usage::default(),
    };
    let error = again(&[blank], &["a"], settings(beam(2)), prover.as_ref()).unwrap_err();
    insta::assert_snapshot!(error.reason(), @"expected at least one proposal for the first step, got only empty ones from `a`");
}
