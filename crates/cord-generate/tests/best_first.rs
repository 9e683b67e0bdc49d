//! Best-first search: what it goes on from, whom it asks, and when it ends.

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use cord_core::{Fate, Seed, StepKind, TrajectoryEnd};
use cord_generate::{BestFirstSettings, BestFirstStop, Generator, Scope, SearchResult, SearchSettings};
use cord_testkit::Scripted;
use proptest::prelude::*;
use world::{Script, World, check_result, full_text, generator, scripted, settings, solve, table, teacher};

const TEACHERS: [&str; 3] = ["a", "b", "c"];

/// A step that holds is gone on from; where one does not, the next teacher is asked; what was closed waits for its turn.
#[test]
fn best_first_goes_on_from_what_holds() {
    let steps: [(&'static str, Script); 2] = [
        ("a", |prefix| match prefix.matches("### Step").count() {
            0 => "### Step 1. good\n### Step 2.",
            1 => "### Step 2. bad\n### Step 3.",
            2 => "### Step 3. good</think>\nSo.",
            _ => "\nSo.",
        }),
        ("b", |prefix| match prefix.matches("### Step").count() {
            0 => "### Step 1. bad\n### Step 2.",
            1 => "### Step 2. good\n### Step 3.",
            2 => "### Step 3. fair</think>\nSo.",
            _ => "\nSo.",
        }),
    ];
    // A tenth for each good step, a twentieth for a fair one, and nothing any more behind a bad one.
    let taste: fn(&str) -> f64 = |reasoning| {
        let worth = |word: &str, value: f64| reasoning.matches(word).count() as f64 * value;
        if reasoning.contains("bad") { 0.01 } else { 0.5 + worth("good", 0.1) + worth("fair", 0.05) }
    };
    let written = |steps: &[(&'static str, Script)], search: BestFirstSettings| {
        let result = scripted(steps, taste, settings(SearchSettings::BestFirst(search))).unwrap();
        check_result(&result, "best-first");
        result
    };
    let of = |search: BestFirstSettings| written(&steps, search);
    let run = |finals: u32, bonus: f64| of(BestFirstSettings { finals, bonus, ..BestFirstSettings::default() });
    let steps_of = |result: &SearchResult| result.candidates.iter().filter(|one| one.score.is_some()).count();
    let one = run(1, 0.0);
    assert_eq!(one.trajectories[0].response, "### Step 1. good\n### Step 2. good\n### Step 3. good</think>\nSo.");
    assert_eq!(one.trajectories[0].score, Some(0.8));
    // Both about the start, at most both about either step after it: a beam of four would have asked for ten more.
    assert!((4..=6).contains(&steps_of(&one)), "{}", table(&one));
    let two = run(2, 0.0);
    let finals_of = |result: &SearchResult| {
        let closed = result.candidates.iter().filter(|one| one.text.contains("</think>"));
        closed
            .filter(|one| matches!(one.fate, Fate::Kept | Fate::Chosen))
            .map(|one| one.score.unwrap())
            .collect::<Vec<_>>()
    };
    let mut reached = finals_of(&two);
    reached.sort_by(f64::total_cmp);
    assert_eq!(reached, [0.75, 0.8], "{}", table(&two));
    assert_eq!(two.trajectories[0].score, Some(0.8), "the best of them is returned");
    // About a start that is worth less than a good first step the other teacher is asked only where a bad one came first: in one of
    // two worlds in which they change places.
    let swapped = [("a", steps[1].1), ("b", steps[0].1)];
    let first = |start: Option<f64>| {
        let search = || BestFirstSettings { finals: 1, start, ..BestFirstSettings::default() };
        let results = [written(&steps, search()), written(&swapped, search())];
        assert!(results.iter().all(|result| result.trajectories[0].score.unwrap() >= 0.75));
        results.map(|result| result.candidates.iter().filter(|one| one.depth == 0).count())
    };
    assert_eq!(first(None), [2, 2]);
    let mut one_by_one = first(Some(0.55));
    one_by_one.sort_unstable();
    assert_eq!(one_by_one, [1, 2]);
    assert_eq!(first(Some(0.9)), [2, 2], "a start that is worth more than any first step has everybody asked");
    // The fair end holds where a step is worth something in itself.
    assert!(run(1, 0.2).trajectories[0].score.unwrap() >= 0.75);

    // Where nobody knows how to go on, what there is ends unclosed, and only there.
    let silent: [(&'static str, Script); 1] = [("a", |prefix| match prefix.matches("### Step").count() {
        0 => "### Step 1. good\n### Step 2.",
        1 => "### Step 2. good\n### Step 3.",
        _ => " ",
    })];
    let search = SearchSettings::BestFirst(BestFirstSettings::default());
    let ends = scripted(&silent, taste, settings(search)).unwrap();
    assert_eq!(ends.trajectories.len(), 1);
    assert_eq!(ends.trajectories[0].response, "### Step 1. good\n### Step 2. good\n");
    assert_eq!(ends.trajectories[0].end, TrajectoryEnd::Unclosed);
    let terminal: Vec<bool> =
        ends.candidates.iter().filter(|one| one.score.is_some()).map(|one| one.terminal).collect();
    assert_eq!(terminal, [false, true], "{}", table(&ends));

    let search = SearchSettings::BestFirst(BestFirstSettings {
        finals: 0,
        bonus: -1.0,
        start: Some(f64::NAN),
        select: 2,
        ..Default::default()
    });
    let faults = scripted(&steps, taste, settings(search)).unwrap_err();
    insta::assert_snapshot!(faults, @r"
    `search.finals`: expected at least 1, got 0
    `search.bonus`: expected a number of at least 0, got -1
    `search.start`: expected a number, got NaN
    ");
    let siblings = Arc::new(world::Taste { scope: Scope::Siblings, opinion: taste });
    let search = settings(SearchSettings::BestFirst(BestFirstSettings::default()));
    let teachers = steps.map(|(name, _)| teacher(name, Scripted::new(name)));
    let refused = Generator::new(search, teachers.to_vec(), siblings).err().unwrap().reason();
    insta::assert_snapshot!(refused, @"`search.kind`: expected a scorer that judges each candidate on its own, got `taste`");
}

/// Where one that is the best is enough, closed ones that are not count too, and the search ends sooner.
#[test]
fn one_best_ends_sooner_with_as_many_closed() {
    let (mut asked, mut finals) = ([0, 0], [0, 0]);
    for key in 0..40 {
        let world = World { random: true, words: 100, depth: 5, ..World::new(key) };
        for (place, stop) in [BestFirstStop::EachBest, BestFirstStop::OneBest].into_iter().enumerate() {
            let search =
                SearchSettings::BestFirst(BestFirstSettings { stop, select: 4, ..BestFirstSettings::default() });
            let result = solve(&generator(&world, &TEACHERS, settings(search), None)).unwrap();
            check_result(&result, "best-first");
            asked[place] += result.candidates.iter().filter(|one| one.kind == StepKind::Reasoning).count();
            finals[place] += result.trajectories.len();
        }
    }
    // Of 40 worlds, the smallest of which have fewer than four ends.
    assert!(finals[0] == finals[1] && finals[0] > 150, "{finals:?}");
    assert!(asked[1] * 10 < asked[0] * 9, "{asked:?}");
}

fn start() -> impl Strategy<Value = Option<f64>> {
    prop::option::of(0.0..1.0f64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// One that goes on until nothing is left has seen all.
    #[test]
    fn best_first_that_sees_all_finds_the_optimum(
        key: u64, depth in 1..5usize, close in 0.0..0.8f64, bonus in 0.0..0.3, one: bool, start in start(),
    ) {
        let world = World { depth, close, words: 100, ..World::new(key) };
        let leaves = world.leaves(&TEACHERS);
        let all = leaves.len() as u32;
        let stop = if one { BestFirstStop::OneBest } else { BestFirstStop::EachBest };
        let search = BestFirstSettings { width: all, finals: all + 1, stop, bonus, start, ..BestFirstSettings::default() };
        let generator = generator(&world, &TEACHERS, settings(SearchSettings::BestFirst(search)), None);
        let result = solve(&generator).unwrap();
        let best = leaves.iter().map(|leaf| world.score(leaf)).fold(f64::MIN, f64::max);
        prop_assert!((result.trajectories[0].score.unwrap() - best).abs() < 1e-9);
        check_result(&result, "best-first");
    }

    #[test]
    fn best_first_asks_no_more_than_the_beam_of_its_width(
        key: u64, width in 1..4u32, proposals in 1..3u32, finals in 1..5u32, bonus in 0.0..0.3, start in start(),
    ) {
        let world = World { random: true, words: 4, depth: 6, ..World::new(key) };
        let found = |stop: BestFirstStop| {
            let search = BestFirstSettings { width, proposals, finals, stop, bonus, start, select: 1 };
            let search = SearchSettings::BestFirst(search);
            let result = solve(&generator(&world, &TEACHERS, settings(search), None)).unwrap();
            check_result(&result, "best-first");
            result
        };
        let (result, sooner) = (found(BestFirstStop::EachBest), found(BestFirstStop::OneBest));
        prop_assert!(sooner.candidates.len() <= result.candidates.len(), "{}", table(&sooner));
        let steps = || result.candidates.iter().filter(|one| one.kind == StepKind::Reasoning);
        for depth in 0..6 {
            let parents: BTreeSet<Option<u32>> = steps().filter(|one| one.depth == depth).map(|one| one.parent).collect();
            prop_assert!(parents.len() <= width as usize, "{}", table(&result));
        }
        let asked = steps().map(|one| (one.parent, one.teacher.as_str(), one.sample));
        prop_assert_eq!(asked.clone().collect::<BTreeSet<_>>().len(), asked.count(), "nobody is asked twice");
    }

    #[test]
    fn the_order_of_teachers_decides_ties_only_in_best_first(key: u64, order: u64, start in start()) {
        let world = World { words: 1_000_000_000, random: true, ..World::new(key) };
        let seen = |names: &[&str]| {
            let search = SearchSettings::BestFirst(BestFirstSettings { start, ..BestFirstSettings::default() });
            let result = solve(&generator(&world, names, settings(search), None)).unwrap();
            let texts = result.candidates.iter().map(|one| (one.depth, full_text(&result.candidates, one.id)));
            (texts.collect::<BTreeSet<_>>(), result.trajectories[0].response.clone(), result.usage)
        };
        let mut shuffled = ["a", "b", "c"];
        Seed::root(order).stream().shuffle(&mut shuffled);
        prop_assert_eq!(seen(&TEACHERS), seen(&shuffled));
    }
}
