//! What holds in every world.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use cord_core::{Candidate, Fate, Outcome, Problem, Seed, StepKind, TrajectoryEnd, Usage};
use cord_generate::{
    BeamSettings, CurationSettings, Drive, Finished, Generator, Observer, Scope, SearchResult, SearchSettings,
    SingleSettings, StopRule,
};
use cord_testkit::Turnstile;
use futures::StreamExt;
use futures::executor::block_on;
use proptest::prelude::*;
use world::{Taste, World, at_once, beam, full_text, generator, problem, settings, solve, teacher};

const TEACHERS: [&str; 3] = ["a", "b", "c"];

fn cases(count: u32) -> ProptestConfig {
    // Failures are written into the test as rows, not into a file beside it.
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

/// Everything that must be true of any result.
fn check_ledger(result: &SearchResult, teachers: &[&str], width: usize) {
    let all = &result.candidates;
    let mut usage = Usage::default();
    let place = |name: &str| teachers.iter().position(|teacher| *teacher == name).unwrap();
    let key = |one: &Candidate| {
        // The parent's rank orders candidates, and so does the parent's id except among the kept of one depth.
        (
            one.depth,
            one.kind == StepKind::Answer,
            one.parent.and_then(|id| all[id as usize].rank),
            place(&one.teacher),
            one.sample,
        )
    };
    for (index, one) in all.iter().enumerate() {
        usage += one.usage;
        assert_eq!(one.id as usize, index);
        if let Some(parent) = one.parent {
            assert!(parent < one.id && all[parent as usize].depth + 1 == one.depth);
            assert!(matches!(all[parent as usize].fate, Fate::Kept | Fate::Chosen), "only the kept are continued");
        } else {
            assert_eq!(one.depth, 0);
        }
        if one.kind == StepKind::Answer {
            assert!((one.score, one.rank, one.fate) == (None, None, Fate::Chosen));
        } else {
            assert!(one.score.is_some_and(f64::is_finite));
            assert_eq!(one.rank.is_none(), one.fate == Fate::Duplicate);
        }
    }
    assert!(all.is_sorted_by_key(key), "the ledger's order");
    assert_eq!(usage, result.usage);
    for depth in 0..=all.last().map_or(0, |one| one.depth) {
        let ranks: BTreeSet<u32> = all.iter().filter(|one| one.depth == depth).filter_map(|one| one.rank).collect();
        let ranked = all.iter().filter(|one| one.depth == depth && one.rank.is_some()).count();
        assert_eq!(ranks, (0..ranked as u32).collect(), "ranks at depth {depth}");
        let kept = |one: &&Candidate| {
            one.depth == depth && matches!(one.fate, Fate::Kept | Fate::Chosen) && one.rank.is_some()
        };
        assert!(all.iter().filter(kept).count() <= width);
    }
    let mut chosen = BTreeSet::new();
    for (index, trajectory) in result.trajectories.iter().enumerate() {
        assert_eq!((trajectory.index as usize, trajectory.usage), (index, result.usage));
        let steps = &trajectory.steps;
        assert_eq!(steps.iter().map(|step| step.text.as_str()).collect::<String>(), trajectory.response);
        assert_eq!(full_text(all, steps.last().unwrap().candidate), trajectory.response);
        for step in steps {
            let one = &all[step.candidate as usize];
            assert_eq!(
                (&step.text, &step.teacher, step.kind, step.score),
                (&one.text, &one.teacher, one.kind, one.score)
            );
            chosen.insert(step.candidate);
        }
    }
    let marked = all.iter().filter(|one| one.fate == Fate::Chosen).map(|one| one.id).collect();
    assert_eq!(chosen, marked);
    let scores: Vec<f64> = result.trajectories.iter().map(|trajectory| trajectory.score.unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
}

fn finished() -> impl Strategy<Value = Finished> {
    prop_oneof![Just(Finished::Compete), Just(Finished::SetAside), Just(Finished::Hold)]
}

fn stop() -> impl Strategy<Value = StopRule> {
    prop_oneof![Just(StopRule::AllFinished), Just(StopRule::BestFinished), Just(StopRule::EnoughFinished)]
}

fn searches() -> impl Strategy<Value = SearchSettings> {
    prop_oneof![
        (1..5u32, 1..3u32, finished(), stop()).prop_flat_map(|(width, proposals, finished, stop)| {
            (1..=width).prop_map(move |select| {
                let defaults = BeamSettings::default();
                SearchSettings::Beam(BeamSettings { width, proposals, select, finished, stop, ..defaults })
            })
        }),
        (1..7u32).prop_flat_map(|trajectories| (1..=trajectories).prop_map(move |select| SearchSettings::Curation(
            CurationSettings { trajectories, select, compute: None }
        ))),
        (1..4u32).prop_map(|trajectories| SearchSettings::Single(SingleSettings {
            teacher: "b".into(),
            trajectories,
            select: 1
        })),
    ]
}

fn width(search: &SearchSettings) -> usize {
    match search {
        SearchSettings::Beam(beam) => beam.width as usize,
        SearchSettings::Curation(CurationSettings { select, .. })
        | SearchSettings::Single(SingleSettings { select, .. }) => *select as usize,
        SearchSettings::Mcts(_) | SearchSettings::BestFirst(_) | SearchSettings::Integration(_) => {
            unreachable!("they are in `searches.rs`")
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn with_room_for_all_the_result_is_the_optimum(
        key: u64, depth in 1..5usize, close in 0.0..0.8f64, finished in finished(),
    ) {
        let world = World { depth, close, words: 100, ..World::new(key) };
        let leaves = world.leaves(&TEACHERS);
        let search = BeamSettings { width: leaves.len() as u32, finished, ..BeamSettings::default() };
        let search = SearchSettings::Beam(search);
        let result = solve(&generator(&world, &TEACHERS, settings(search), None)).unwrap();
        let best = leaves.iter().max_by(|a, b| world.score(a).total_cmp(&world.score(b))).unwrap();
        prop_assert_eq!(&result.trajectories[0].response, &format!("{best}\nThe final answer is \\boxed{{42}}."));
        prop_assert!((result.trajectories[0].score.unwrap() - world.score(best)).abs() < 1e-9);
        prop_assert_eq!(result.trajectories[0].end, TrajectoryEnd::Complete);
    }

    #[test]
    fn width_one_is_greedy(key: u64, depth in 1..6usize) {
        let world = World { depth, ..World::new(key) };
        let mut text = String::new();
        while !text.ends_with("</think>") {
            let children = world.children(&TEACHERS, &text).into_iter();
            // The same step with and without `</think>` has one score, and going on comes first.
            let open = |text: &String| !text.ends_with("</think>");
            let better = |a: &String, b: &String| world.score(a).total_cmp(&world.score(b)).then(open(a).cmp(&open(b)));
            text = children.max_by(better).unwrap();
        }
        let result = solve(&generator(&world, &TEACHERS, settings(beam(1)), None)).unwrap();
        prop_assert_eq!(&result.trajectories[0].response, &format!("{text}\nThe final answer is \\boxed{{42}}."));
    }

    #[test]
    fn every_ledger_is_sound(key: u64, words in 1..5usize, search in searches()) {
        let world = World { words, random: true, ..World::new(key) };
        let result = solve(&generator(&world, &TEACHERS, settings(search.clone()), None)).unwrap();
        check_ledger(&result, &TEACHERS, width(&search));
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(key: u64, order: u64, words in 1..5usize, search in searches()) {
        let world = World { words, random: true, ..World::new(key) };
        let plain = solve(&generator(&world, &TEACHERS, settings(search.clone()), None));
        let turnstile = Turnstile::new(Seed::root(order));
        let late = generator(&world, &TEACHERS, settings(search), Some(&turnstile));
        let outcome = turnstile.run(late.solve(&problem("p"), Seed::root(1), &()));
        prop_assert_eq!(outcome, Outcome::Done(plain.unwrap()));
    }

    #[test]
    fn siblings_judged_together_are_judged_as_apart(key: u64, order: u64, words in 1..4usize, search in searches()) {
        let world = World { words, random: true, ..World::new(key) };
        let solve = |scope: Scope, turnstile: &Turnstile| {
            let taste = { let world = world.clone(); move |reasoning: &str| world.score(reasoning) };
            let teachers = TEACHERS.iter().map(|name| teacher(name, world.teacher(name).behind(turnstile)));
            let scorer = Arc::new(Taste { scope, opinion: taste });
            let generator = Generator::new(settings(search.clone()), teachers.collect(), scorer).unwrap();
            turnstile.run(generator.solve(&problem("p"), Seed::root(1), &()))
        };
        let apart = solve(Scope::Each, &Turnstile::new(Seed::root(order)));
        prop_assert!(matches!(apart, Outcome::Done(_)));
        prop_assert_eq!(apart, solve(Scope::Siblings, &Turnstile::new(Seed::root(order).named("other"))));
    }

    #[test]
    fn the_order_of_teachers_decides_ties_only(key: u64, order: u64, width in 1..5u32) {
        let mut shuffled = TEACHERS;
        Seed::root(order).stream().shuffle(&mut shuffled);
        // So many words that no two proposals are equal: not one candidate changes.
        let world = World { words: 1_000_000_000, random: true, ..World::new(key) };
        let seen = |names: &[&str]| {
            let result = solve(&generator(&world, names, settings(beam(width)), None)).unwrap();
            let entries: BTreeSet<String> = result.candidates.iter().map(|one| {
                let text = full_text(&result.candidates, one.id);
                format!("{text:?} {} {} {:?} {:?} {:?}", one.depth, one.teacher, one.score, one.rank, one.fate)
            }).collect();
            (entries, result.trajectories[0].response.clone(), result.usage)
        };
        prop_assert_eq!(seen(&TEACHERS), seen(&shuffled));
        // So few words that teachers agree all the time: who is credited may change, what is found may not.
        let world = World { words: 2, ..World::new(key) };
        let found = |names: &[&str]| {
            let result = solve(&generator(&world, names, settings(beam(width)), None)).unwrap();
            let texts = result.candidates.iter().map(|one| (one.depth, full_text(&result.candidates, one.id)));
            (texts.collect::<BTreeSet<_>>(), result.trajectories[0].response.clone())
        };
        prop_assert_eq!(found(&TEACHERS), found(&shuffled));
    }

    #[test]
    fn a_teacher_writes_the_same_whoever_takes_part(key: u64) {
        let world = World { words: 1_000_000_000, random: true, ..World::new(key) };
        let first = |names: &[&str]| {
            let result = solve(&generator(&world, names, settings(beam(4)), None)).unwrap();
            let mine = |one: &&Candidate| one.depth == 0 && one.teacher == "b";
            result.candidates.iter().find(mine).unwrap().text.clone()
        };
        prop_assert_eq!(first(&["b"]), first(&["a", "b", "c"]));
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn scheduling_shows_nowhere(key: u64, order: u64, in_flight in 1..6usize, count in 1..8usize) {
        let world = World { random: true, ..World::new(key) };
        let mut problems: Vec<Problem> = (0..count).map(|n| problem(&format!("p{n}"))).collect();
        let plain = generator(&world, &TEACHERS, settings(beam(2)), None);
        let expected = block_on(plain.run(&problems, Seed::root(5), at_once(1), &()));
        Seed::root(order).stream().shuffle(&mut problems);
        let turnstile = Turnstile::new(Seed::root(order));
        let busy = generator(&world, &TEACHERS, settings(beam(2)), Some(&turnstile));
        let outcomes = turnstile.run(busy.run(&problems, Seed::root(5), at_once(in_flight), &()));
        prop_assert_eq!(&outcomes, &expected);
        // The stream gives the same outcomes, in the order of their ends.
        let turnstile = Turnstile::new(Seed::root(order));
        let busy = generator(&world, &TEACHERS, settings(beam(2)), Some(&turnstile));
        let requests = at_once(1 + key as usize % 4);
        let drive = Drive { requests, ..Drive::at_once(at_once(in_flight)) };
        let streamed = busy.drive(problems.iter().cloned(), Seed::root(5), drive).map(|solved| solved.unwrap().outcome);
        let streamed: Vec<_> = turnstile.run(streamed.collect());
        prop_assert!(turnstile.most_waiting() <= requests.get() * (TEACHERS.len() + 1));
        let by_problem = |outcomes: Vec<Outcome<SearchResult>>| -> BTreeMap<String, SearchResult> {
            outcomes.into_iter().filter_map(|outcome| match outcome {
                Outcome::Done(result) => Some((result.problem.clone(), result)),
                Outcome::Failed { .. } => None,
            }).collect()
        };
        prop_assert_eq!(by_problem(streamed), by_problem(expected));
    }
}

#[derive(Default)]
struct Count {
    usage: Mutex<Usage>,
    finished: Mutex<u32>,
}

impl Observer for Count {
    fn spent(&self, usage: Usage) {
        *self.usage.lock().unwrap() += usage;
    }

    fn finished(&self, _: &Outcome<SearchResult>) {
        *self.finished.lock().unwrap() += 1;
    }
}

#[test]
fn the_observer_sees_what_the_results_add_up_to() {
    let world = World { random: true, ..World::new(3) };
    let problems: Vec<Problem> = (0..5).map(|n| problem(&format!("p{n}"))).collect();
    let count = Count::default();
    let generator = generator(&world, &TEACHERS, settings(beam(3)), None);
    let outcomes = block_on(generator.run(&problems, Seed::root(1), at_once(2), &count));
    let mut usage = Usage::default();
    for outcome in outcomes {
        let Outcome::Done(result) = outcome else { panic!("expected a result, got {outcome:?}") };
        usage += result.usage;
    }
    assert_eq!((*count.usage.lock().unwrap(), *count.finished.lock().unwrap()), (usage, 5));
    assert!(usage.generated_tokens > 0 && usage.scored_tokens > 0);
}

#[test]
fn requests_of_all_problems_are_in_flight_together() {
    let world = World { depth: 1, words: 1_000_000_000, ..World::new(3) };
    let turnstile = Turnstile::new(Seed::root(1));
    let generator = generator(&world, &TEACHERS, settings(beam(2)), Some(&turnstile));
    let problems: Vec<Problem> = (0..4).map(|n| problem(&format!("p{n}"))).collect();
    turnstile.run(generator.run(&problems, Seed::root(1), at_once(4), &()));
    assert_eq!(turnstile.most_waiting(), 12);
}
