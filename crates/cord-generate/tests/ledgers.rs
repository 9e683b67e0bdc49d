//! What is made of ledgers: the choice of teachers, pairs and labelled steps.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use cord_core::{Candidate, Message, Outcome, Problem, Role, Seed, StepKind};
use cord_generate::{
    AdaptiveSettings, BeamSettings, CurationSettings, GenerateError, GenerateSettings, Generator, Label, Ledgers,
    PairSettings, Policy, PromptTemplate, Scope, SearchResult, SearchSettings, Teacher, Winners, preference_pairs,
    run_adaptively, stepwise_rows, warm_up,
};
use cord_testkit::{Scripted, Turnstile};
use futures::executor::block_on;
use world::{Script, Taste, World, at_once, beam, problem, scripted, settings, teacher};

const TEACHERS: [&str; 3] = ["early", "late", "never"];

/// Everyone says who speaks at which step; six steps, a seventh that closes, and an answer.
fn speaker(name: &'static str) -> Scripted {
    Scripted::new(name).writing(move |request| {
        let prefix = &request.prompt.prefix;
        let (said, seed) = (prefix.matches("### Step").count(), format!("{:?}", request.seed));
        match said {
            _ if prefix.ends_with("</think>") => "\n\\boxed{1}".to_owned(),
            6 => "</think>".to_owned(),
            said => format!("### Step {}. {name} {}\n### Step", said + 1, &seed[12..20]),
        }
    })
}

/// Prefers `early` in the first four steps and `late` afterwards.
fn taste(reasoning: &str) -> f64 {
    let of = |(step, text): (usize, &str)| match (step, text.contains("early"), text.contains("late")) {
        (1..=4, true, _) | (5 | 6, _, true) => 1.0,
        (1..=4, _, true) | (5 | 6, true, _) => 0.5,
        _ => 0.0,
    };
    reasoning.split("### Step").enumerate().map(of).sum()
}

fn generator(policy: Option<Policy>, width: u32, turnstile: &Turnstile) -> Result<Generator, GenerateError> {
    let teachers = TEACHERS.map(|name| teacher(name, speaker(name).behind(turnstile)));
    let search = SearchSettings::Beam(BeamSettings { width, ..BeamSettings::default() });
    let settings = GenerateSettings { policy, ..settings(search) };
    Generator::new(settings, teachers.to_vec(), Arc::new(Taste { scope: Scope::Each, opinion: taste }))
}

fn problems(count: usize) -> Vec<Problem> {
    (0..count).map(|n| problem(&format!("p{n:03}"))).collect()
}

fn adaptive(ask: u32) -> AdaptiveSettings {
    AdaptiveSettings { warm_up: 20, phases: 2, ask, floor: 0.1, settle: None }
}

fn run(settings: &AdaptiveSettings, width: u32, problems: &[Problem], order: u64) -> (Vec<SearchResult>, Policy) {
    let turnstile = Turnstile::new(Seed::root(order));
    let make = |policy| generator(policy, width, &turnstile);
    let (outcomes, policy) =
        turnstile.run(run_adaptively(settings, &make, problems, Seed::root(3), at_once(4))).unwrap();
    let results = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Done(result) => result,
        Outcome::Failed { id, reason } => panic!("{id}: {reason}"),
    });
    (results.collect(), policy)
}

/// How often each teacher was asked for the first four steps and for the later ones.
fn questions(results: &[&SearchResult]) -> BTreeMap<(String, bool), usize> {
    let mut counts = BTreeMap::new();
    for one in results.iter().flat_map(|result| &result.candidates).filter(|one| one.kind == StepKind::Reasoning) {
        *counts.entry((one.teacher.clone(), one.depth >= 4)).or_default() += 1;
    }
    counts
}

#[test]
fn teachers_are_asked_where_their_proposals_survive() {
    let all = problems(200);
    let (results, policy) = run(&adaptive(1), 1, &all, 1);
    assert_eq!(policy.steps, 7.0, "six steps and the one that closes");
    let (first, _) = warm_up(&all, 20, Seed::root(3));
    let (warm, rest): (Vec<&SearchResult>, Vec<&SearchResult>) =
        results.iter().partition(|result| first.iter().any(|problem| problem.id == result.problem));
    assert_eq!((warm.len(), rest.len()), (20, 180));
    let of = |counts: &BTreeMap<(String, bool), usize>, name: &str, late: bool| {
        counts.get(&(name.to_owned(), late)).copied().unwrap_or(0)
    };
    let (before, after) = (questions(&warm), questions(&rest));
    assert!(TEACHERS.iter().all(|name| of(&before, name, false) == of(&before, "early", false)));
    let shares = |late: bool| {
        let total: usize = TEACHERS.iter().map(|name| of(&after, name, late)).sum();
        TEACHERS.map(|name| of(&after, name, late) as f64 / total as f64)
    };
    let (early, late) = (shares(false), shares(true));
    assert!(early[0] > 3.0 * early[1].max(early[2]), "{early:?}");
    // The step that closes is the same whoever proposes it, and survives for all of them.
    assert!(late[1] > 1.5 * late[0].max(late[2]), "{late:?}");
    assert!(early[2] > 0.05 && early[2] < 0.2, "the floor keeps asking: {early:?}");
    // A third of the questions, and the steps are what the policy says.
    assert!(rest.iter().all(|result| result.candidates.len() < warm[0].candidates.len()));
    assert!((early[0] - policy.shares[0][0]).abs() < 0.1, "{early:?} {policy:?}");
}

#[test]
fn no_order_shows_in_what_is_learnt() {
    let all = problems(60);
    let expected = run(&adaptive(2), 2, &all, 1);
    let mut shuffled = all.clone();
    Seed::root(5).stream().shuffle(&mut shuffled);
    for order in 2..5 {
        assert_eq!(run(&adaptive(2), 2, &shuffled, order), expected);
    }
    // A policy that asks everyone changes nothing.
    let (everyone, _) = run(&adaptive(3), 2, &all, 1);
    let turnstile = Turnstile::new(Seed::root(1));
    let plain = generator(None, 2, &turnstile).unwrap();
    let plain = turnstile.run(plain.run(&all, Seed::root(3), at_once(4), &()));
    assert_eq!(everyone.into_iter().map(Outcome::Done).collect::<Vec<_>>(), plain);
}

#[test]
fn a_step_asks_until_enough_proposals_hold() {
    // `never` falls below what it continues; whoever speaks out of turn stays where it was, which is to hold.
    let opinion = |reasoning: &str| taste(reasoning) - 10.0 * reasoning.matches("never").count() as f64;
    let run = |settle: Option<u32>, order: u64| {
        let turnstile = Turnstile::new(Seed::root(order));
        let make = |policy| {
            let teachers = TEACHERS.map(|name| teacher(name, speaker(name).behind(&turnstile)));
            let search = SearchSettings::Beam(BeamSettings { width: 1, ..BeamSettings::default() });
            let settings = GenerateSettings { policy, ..settings(search) };
            Generator::new(settings, teachers.to_vec(), Arc::new(Taste { scope: Scope::Each, opinion }))
        };
        let settings = AdaptiveSettings { settle, floor: 1.0 / 3.0, ..adaptive(1) };
        let (outcomes, _) =
            turnstile.run(run_adaptively(&settings, &make, &problems(60), Seed::root(3), at_once(4))).unwrap();
        let done = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Done(result) => result,
            Outcome::Failed { id, reason } => panic!("{id}: {reason}"),
        });
        done.collect::<Vec<SearchResult>>()
    };
    let (first, _) = warm_up(&problems(60), 20, Seed::root(3));
    // The distinct texts of a step that hold, and how many were asked for; without the first step, which has nothing before it.
    let steps = |results: &[SearchResult]| {
        let mut steps = Vec::new();
        for result in results.iter().filter(|result| first.iter().all(|problem| problem.id != result.problem)) {
            let by_id: BTreeMap<u32, &Candidate> = result.candidates.iter().map(|one| (one.id, one)).collect();
            let mut depths: BTreeMap<u32, Vec<&Candidate>> = BTreeMap::new();
            for one in result.candidates.iter().filter(|one| one.kind == StepKind::Reasoning && one.depth > 0) {
                depths.entry(one.depth).or_default().push(one);
            }
            for asked in depths.into_values() {
                let holds = |one: &&&Candidate| one.score >= by_id[&one.parent.unwrap()].score;
                let texts = asked.iter().filter(holds).map(|one| one.text.as_str());
                steps.push((texts.collect::<std::collections::BTreeSet<&str>>().len(), asked.len()));
            }
        }
        steps
    };
    for settle in [1, 2] {
        let results = run(Some(settle), 1);
        let seen = steps(&results);
        assert!(seen.iter().all(|(holding, asked)| *holding >= settle as usize || *asked == 3), "{settle}: {seen:?}");
        assert!(seen.iter().any(|(_, asked)| *asked == settle as usize), "{settle}: {seen:?}");
        assert!(
            seen.iter().any(|(_, asked)| *asked > settle as usize),
            "`never` alone does not do: {settle}: {seen:?}"
        );
        assert!((2..5).all(|order| run(Some(settle), order) == results), "no order shows");
    }
    assert!(steps(&run(None, 1)).iter().all(|(_, asked)| *asked == 1));
}

#[test]
fn settings_that_can_not_be_used_are_said_before_the_warm_up() {
    let check = |settings: AdaptiveSettings, search: SearchSettings| {
        let model = Arc::new(Scripted::new("t").writing(|_| panic!("nobody is asked")));
        let make = |policy| {
            let teachers = ["a", "b"].map(|name| Teacher {
                name: name.to_owned(),
                model: Arc::clone(&model) as _,
                sampling: cord_core::Sampling::default(),
            });
            let settings = GenerateSettings { policy, ..world::settings(search.clone()) };
            let scorer = Arc::new(Taste { scope: Scope::Each, opinion: taste });
            Generator::new(settings, teachers.to_vec(), scorer)
        };
        let problems = problems(3);
        block_on(run_adaptively(&settings, &make, &problems, Seed::root(1), at_once(1))).unwrap_err().to_string()
    };
    let all = AdaptiveSettings::default;
    insta::assert_snapshot!(check(AdaptiveSettings { ask: 3, ..all() }, beam(1)), @"`adaptive.ask`: expected 1 to 2 (`teachers`), got 3");
    insta::assert_snapshot!(check(AdaptiveSettings { floor: 0.6, ..all() }, beam(1)), @"`adaptive.floor`: expected a number from 0 to 1/2, the teachers' even share, got 0.6");
    insta::assert_snapshot!(check(AdaptiveSettings { settle: Some(0), ..all() }, beam(1)), @"`adaptive.settle`: expected at least 1, got 0");
    let curation = SearchSettings::Curation(CurationSettings::default());
    insta::assert_snapshot!(check(all(), curation), @"`adaptive`: expected the search `beam`, got `curation`");
}

#[test]
fn a_policy_is_for_its_own_teachers() {
    let policy = Policy::learn(&adaptive(1), &["early".into(), "late".into()], []);
    let refused = generator(Some(policy), 1, &Turnstile::new(Seed::root(1))).err().unwrap();
    insta::assert_snapshot!(refused, @"`adaptive`: expected a policy for the teachers `early`, `late`, `never`, got `early`, `late`");
}

/// Two steps; the first teacher's are better, and the third says what the first said.
fn ledger() -> (Vec<Problem>, Ledgers) {
    let first: Script = |prefix| match prefix {
        "" => "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}",
        "### Step 1. a\n" => "### Step 2. b\n</think>\n\\boxed{1}",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "### Step 2. c\n</think>\n\\boxed{1}",
    };
    let second: Script = |prefix| match prefix {
        "" => "### Step 1. d\n### Step 2. e\n</think>\n\\boxed{2}",
        text if text.ends_with("</think>") => "\n\\boxed{2}",
        _ => "### Step 2. e\n</think>\n\\boxed{2}",
    };
    let taste: fn(&str) -> f64 = |text| match text {
        text if text.contains(". b") => 0.9,
        text if text.contains(". c") => 0.45,
        text if text.contains(". e") => 0.4,
        text if text.contains(". a") => 0.5,
        _ => 0.1,
    };
    let result = scripted(&[("x", first), ("y", second), ("z", first)], taste, settings(beam(1))).unwrap();
    (vec![problem("p")], [("p".to_owned(), result.candidates), ("unknown".to_owned(), Vec::new())].into())
}

fn content(messages: &[Message]) -> String {
    messages.iter().map(|one| one.content.as_str()).collect()
}

#[test]
fn a_beams_winners_stand_against_its_losers_at_the_same_parent() {
    let (problems, ledgers) = ledger();
    let prompt = PromptTemplate::new("Q: {question}").unwrap();
    let pairs = |settings| preference_pairs(&problems, &ledgers, &prompt, settings);
    let rows = pairs(PairSettings::default());
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let (a, b) = (content(&row.chosen), content(&row.rejected));
            assert_eq!(a.chars().take(row.shared).collect::<String>(), b.chars().take(row.shared).collect::<String>());
            assert_eq!((row.chosen[0].role, content(&row.prompt)), (Role::Assistant, "Q: How many?".to_owned()));
            let (own, other) = (&a[row.shared..], &b[row.shared..]);
            format!("{} {}>{} {:.2} {own:?} {other:?}", row.id, row.chosen_teacher, row.rejected_teacher, row.margin)
        })
        .collect();
    // The duplicate is neither a winner nor a loser.
    assert_eq!(
        shown,
        [
            "p/start/0/1 x>y 0.40 \"### Step 1. a\\n\" \"### Step 1. d\\n\"",
            "p/0/3/4 x>y 0.50 \"### Step 2. b\\n</think>\" \"### Step 2. e\\n</think>\"",
        ]
    );
    assert!(content(&rows[1].chosen).starts_with("<think>\n### Step 1. a\n### Step 2. b"));
    let count = |margin| pairs(PairSettings { margin, ..PairSettings::default() }).len();
    assert_eq!([0.0, 0.3, 0.45, 0.6].map(count), [2, 2, 1, 0]);
    // Of one pair for each problem the one that differs most, which is not the first.
    let some = |most| pairs(PairSettings { per_problem: Some(most), ..PairSettings::default() });
    assert_eq!(some(1).iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["p/0/3/4"]);
    assert_eq!([0, 2, 3].map(|most| some(most).len()), [0, 2, 2]);
}

#[test]
fn only_what_is_in_a_final_trajectory_can_be_asked_to_win() {
    use cord_core::Fate::{Chosen, Kept};
    // With two places both first steps are kept, and one of them is chosen.
    let world = World { close: 0.0, depth: 2, words: 1_000_000_000, ..World::new(3) };
    let result = world::solve(&world::generator(&world, &["a", "b", "c"], settings(beam(2)), None)).unwrap();
    let ledgers: Ledgers = [("p".to_owned(), result.candidates.clone())].into();
    let of = |winners| {
        let settings = PairSettings { winners, margin: 0.0, per_problem: None };
        let rows = preference_pairs(&[problem("p")], &ledgers, &PromptTemplate::default(), settings);
        let mut winners: Vec<u32> = rows.iter().map(|row| row.id.split('/').nth(2).unwrap().parse().unwrap()).collect();
        winners.dedup();
        winners
    };
    let fates = |fates: &[cord_core::Fate]| -> Vec<u32> {
        let scored = |one: &&Candidate| fates.contains(&one.fate) && one.kind == StepKind::Reasoning;
        result.candidates.iter().filter(scored).map(|one| one.id).collect()
    };
    let (kept, chosen) = (of(Winners::Kept), of(Winners::Chosen));
    assert!(kept.iter().all(|id| fates(&[Kept, Chosen]).contains(id)) && kept.len() > chosen.len());
    assert!(!chosen.is_empty() && chosen.iter().all(|id| fates(&[Chosen]).contains(id)));
}

#[test]
fn wholes_that_were_ranked_together_make_pairs_too() {
    let good: Script = |_| "### Step 1. b\n</think>\n\\boxed{1}";
    let bad: Script = |_| "### Step 1. a\n</think>\n\\boxed{1}";
    let taste: fn(&str) -> f64 = |text| if text.contains('b') { 0.9 } else { 0.5 };
    let search = SearchSettings::Curation(CurationSettings::default());
    let result = scripted(&[("good", good), ("bad", bad)], taste, settings(search)).unwrap();
    let ledgers: Ledgers = [("p".to_owned(), result.candidates)].into();
    let rows = preference_pairs(&[problem("p")], &ledgers, &PromptTemplate::default(), PairSettings::default());
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["p/start/0/2"]);
    assert_eq!(content(&rows[0].rejected), "<think>\n### Step 1. a\n</think>\n\\boxed{1}");
    assert!(stepwise_rows(&[problem("p")], &ledgers, &PromptTemplate::default(), Label::Kept).is_empty());
}

#[test]
fn every_path_of_a_ledger_becomes_labelled_steps() {
    let (problems, ledgers) = ledger();
    let prompt = PromptTemplate::new("Q: {question}").unwrap();
    let check = |label: Label, expected: &[(&str, &[&str], &[bool])]| {
        let rows = stepwise_rows(&problems, &ledgers, &prompt, label);
        let seen: Vec<(&str, Vec<&str>, &[bool])> = rows
            .iter()
            .map(|row| (&*row.id, row.completions.iter().map(String::as_str).collect(), row.labels.as_slice()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(id, steps, labels)| (*id, steps.to_vec(), *labels)).collect();
        assert_eq!(seen, expected, "{label:?}");
        assert!(rows.iter().all(|row| row.prompt == "Q: How many?"));
    };
    let (a, d) = ("### Step 1. a\n", "### Step 1. d\n");
    let (b, e) = ("### Step 2. b\n</think>", "### Step 2. e\n</think>");
    check(Label::Kept, &[("p/1", &[d], &[false]), ("p/3", &[a, b], &[true, true]), ("p/4", &[a, e], &[true, false])]);
    check(
        Label::Score(0.4),
        &[("p/1", &[d], &[false]), ("p/3", &[a, b], &[true, true]), ("p/4", &[a, e], &[true, true])],
    );
}
