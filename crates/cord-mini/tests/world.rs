//! The world as its users see it: sets, corpora and audits.

use std::collections::BTreeSet;

use cord_core::{Opening, Problem};
use cord_mini::{
    Chain, CorpusSpec, Dialects, Foreign, Kind, Merging, MiniError, PerKind, ProblemSet, ReviewedStep, Reviewing,
    Split, Task, audit, corpus, problems,
};
use proptest::prelude::*;

fn set(split: Split, seed: u64, count: usize) -> ProblemSet {
    ProblemSet { split, seed, count, operations: None, kinds: PerKind::all(1.0) }
}

fn spec(reliability: PerKind) -> CorpusSpec {
    CorpusSpec {
        seed: 5,
        count: 3000,
        operations: [3, 10],
        kinds: PerKind::all(1.0),
        reliability,
        cut: 0.0,
        foreign: None,
        merging: None,
        reviewing: None,
        dialects: Dialects::default(),
    }
}

fn chain(problem: &Problem) -> Chain {
    problem.metadata["chain"].as_str().unwrap().parse().unwrap()
}

/// Reads a question's moves back from its words, apart from the code that wrote them.
fn read_question(question: &str) -> (u8, Vec<(String, Option<u8>)>) {
    let digit = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    let mut parts = question.split(" Step ");
    let start = digit(parts.next().unwrap()).unwrap();
    let moves = parts
        .enumerate()
        .map(|(index, part)| {
            let (number, said) = part.split_once(". ").unwrap();
            assert_eq!(number.parse::<usize>().unwrap(), index + 1, "{question}");
            let said = said.split('.').next().unwrap();
            let words = said.trim_end_matches(|c: char| c.is_ascii_digit()).trim().to_owned();
            (words, digit(said))
        })
        .collect();
    (start, moves)
}

/// The world's rules by name, apart from the code under test.
fn oracle(words: &str, operand: Option<u8>, mark: i32) -> i32 {
    let k = i32::from(operand.unwrap_or(0));
    match words {
        "Go forward" => (mark + k).rem_euclid(10),
        "Go back" => (mark - k).rem_euclid(10),
        "Multiply by" => (mark * k).rem_euclid(10),
        "Raise to" => mark.max(k),
        "Lower to" => mark.min(k),
        "Gap to" => (mark - k).abs(),
        "Mirror it" => 9 - mark,
        other => panic!("unknown move `{other}`"),
    }
}

#[test]
fn gold_answers_are_right_by_the_words_of_the_question() {
    for split in [Split::Train, Split::Hard] {
        for problem in problems(&set(split, 7, 400)).unwrap() {
            let (start, moves) = read_question(&problem.question);
            let mut mark = i32::from(start);
            let ledger: Vec<String> = moves
                .iter()
                .map(|(words, operand)| {
                    mark = oracle(words, *operand, mark);
                    mark.to_string()
                })
                .collect();
            assert_eq!(problem.answer, ledger.join(", "), "{}", problem.question);
            assert_eq!(canonical(&(start, moves)), chain(&problem));
            assert_eq!(problem.metadata["steps"], serde_json::json!(ledger));
            assert_eq!(problem.metadata["operations"], serde_json::json!(ledger.len()));
            assert_eq!(problem.metadata["kinds"].as_array().unwrap().len(), ledger.len());
        }
    }
}

#[test]
fn a_set_is_sorted_unique_and_begins_with_the_smaller_one() {
    for split in [Split::Train, Split::Dev, Split::Test, Split::Hard] {
        let large = problems(&set(split, 3, 500)).unwrap();
        assert_eq!(large.len(), 500);
        assert!(large.is_sorted_by(|a, b| a.id < b.id));
        let chains: BTreeSet<Chain> = large.iter().map(chain).collect();
        assert_eq!(chains.len(), 500, "no chain occurs twice");
        assert_eq!(problems(&set(split, 3, 20)).unwrap(), large[..20]);
        assert_ne!(problems(&set(split, 4, 20)).unwrap(), large[..20]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn splits_never_share_a_problem(a in 0u64..1000, b in 0u64..1000, longest in 2u32..=8) {
        // Short chains, of which there are few, would soon coincide if they could.
        let drawn = |split, seed| {
            let operations = Some(if split == Split::Hard { [9, 10] } else { [2, longest] });
            let set = ProblemSet { operations, ..set(split, seed, 150) };
            problems(&set).unwrap().iter().map(chain).collect::<BTreeSet<_>>()
        };
        let mut others = drawn(Split::Dev, b);
        others.append(&mut drawn(Split::Test, a));
        prop_assert_eq!(others.len(), 300);
        others.append(&mut drawn(Split::Hard, b));
        prop_assert_eq!(others.len(), 450);
        prop_assert!(drawn(Split::Train, a).is_disjoint(&others));
        let spec = CorpusSpec { seed: b, count: 150, operations: [2, 10], ..spec(PerKind::all(0.5)) };
        for row in corpus(&spec).unwrap() {
            let chain = canonical(&read_question(&row.question));
            prop_assert!(!others.contains(&chain), "{}", row.question);
            prop_assert_eq!(chain.split(), Split::Train);
        }
    }
}

/// The canonical form of what a question asks.
fn canonical((start, moves): &(u8, Vec<(String, Option<u8>)>)) -> Chain {
    let symbol = |words: &str| match words {
        "Go forward" => "+",
        "Go back" => "-",
        "Multiply by" => "*",
        "Raise to" => ">",
        "Lower to" => "<",
        "Gap to" => "|",
        "Mirror it" => "~",
        other => panic!("unknown move `{other}`"),
    };
    let moves =
        moves.iter().map(|(words, k)| format!(" {}{}", symbol(words), k.map_or(String::new(), |k| k.to_string())));
    format!("{start}{}", moves.collect::<String>()).parse().unwrap()
}

/// What a row says: the marks of its steps by words, and its ledger.
fn told(row: &cord_mini::CorpusRow) -> (Vec<u8>, Vec<u8>) {
    let text = format!("{}{}", row.prefix, row.completion);
    let (reasoning, answer) = text.strip_prefix("<think>\n").unwrap().split_once("</think>\n").unwrap();
    let marks = reasoning
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let said = line.strip_prefix(&format!("### Step {}. ", index + 1)).unwrap();
            assert!(said.split(' ').count() <= 10, "{said}");
            said.chars().last().unwrap().to_digit(10).unwrap() as u8
        })
        .collect();
    let ledger = answer.strip_prefix("The final answer is \\boxed{").unwrap().strip_suffix("}.").unwrap();
    (marks, ledger.split(", ").map(|mark| mark.parse().unwrap()).collect())
}

/// Of a corpus: for each kind, how often it was right where the misconception would show, and how often it would show.
fn rates(rows: &[cord_mini::CorpusRow]) -> (Vec<f64>, f64) {
    let (mut right, mut telling, mut all) = ([0.0; 5], [0.0; 5], 0.0);
    for row in rows {
        let (start, moves) = read_question(&row.question);
        let (_, ledger) = told(row);
        let mut mark = start;
        for ((words, operand), after) in moves.iter().zip(ledger) {
            let (kind, wrong) = misconception(words, operand.unwrap_or(0), mark);
            let truth = oracle(words, *operand, i32::from(mark)) as u8;
            assert!(after == truth || after == wrong, "{words} {operand:?} at {mark} gave {after}");
            all += 1.0;
            if truth != wrong {
                telling[kind] += 1.0;
                right[kind] += f64::from(u8::from(after == truth));
            }
            mark = after;
        }
    }
    (right.iter().zip(telling).map(|(right, of)| right / of).collect(), telling.iter().sum::<f64>() / all)
}

fn misconception(words: &str, k: u8, mark: u8) -> (usize, u8) {
    let operand = Some(k);
    let (kind, wrong) = match words {
        "Go forward" => (Kind::Turn, oracle("Go back", operand, i32::from(mark))),
        "Go back" => (Kind::Turn, oracle("Go forward", operand, i32::from(mark))),
        "Multiply by" => (Kind::Scale, oracle("Go forward", operand, i32::from(mark))),
        "Raise to" => (Kind::Order, i32::from(mark.min(k))),
        "Lower to" => (Kind::Order, i32::from(mark.max(k))),
        "Gap to" => (Kind::Gap, (10 - i32::from(mark.abs_diff(k))) % 10),
        _ => (Kind::Mirror, (10 - i32::from(mark)) % 10),
    };
    (Kind::ALL.iter().position(|other| *other == kind).unwrap(), wrong as u8)
}

#[test]
fn a_corpus_errs_as_often_as_its_reliability_says_and_only_by_misconception() {
    let reliability = PerKind { turn: 0.98, scale: 0.5, order: 0.75, gap: 0.2, mirror: 1.0 };
    let rows = corpus(&spec(reliability)).unwrap();
    let (rates, telling) = rates(&rows);
    for ((kind, expected), rate) in Kind::ALL.iter().zip(reliability.values()).zip(rates) {
        // Some 3,800 moves of each kind: three standard errors are below 0.025.
        assert!((rate - expected).abs() < 0.025, "{}: expected {expected}, got {rate}", kind.name());
    }
    // By construction a misconception shows wherever all was right so far; after an error, nearly always.
    assert!(telling > 0.93, "misconceptions show in {telling} of the moves");
}

#[test]
fn a_right_corpus_answers_the_ledger_of_its_steps() {
    for row in corpus(&CorpusSpec { count: 300, ..spec(PerKind::all(1.0)) }).unwrap() {
        let (marks, ledger) = told(&row);
        assert_eq!(marks, ledger, "{row:?}");
        assert_eq!(row.prefix, "");
        let (_, moves) = read_question(&row.question);
        assert_eq!(moves.len(), ledger.len());
    }
}

#[test]
fn cut_rows_answer_in_full_from_where_they_stopped() {
    let cut = CorpusSpec { cut: 0.3, ..spec(PerKind::all(0.5)) };
    let rows = corpus(&cut).unwrap();
    let mut short = 0.0;
    let mut kept = BTreeSet::new();
    for row in &rows {
        let (marks, ledger) = told(row);
        assert_eq!(ledger[..marks.len()], marks, "the ledger copies what the steps say");
        if marks.len() < ledger.len() {
            short += 1.0;
            kept.insert(marks.len());
        }
    }
    let share = short / rows.len() as f64;
    assert!((share - 0.3).abs() < 0.025, "share of cut rows: {share}");
    assert_eq!(kept, (0..10).collect(), "a row may be cut after any number of its steps");
    // The cut changes what is told, not what is thought.
    let whole = corpus(&CorpusSpec { cut: 0.0, ..cut }).unwrap();
    assert!(rows.iter().zip(&whole).all(|(a, b)| a.question == b.question && told(a).1 == told(b).1));
}

#[test]
fn foreign_beginnings_are_given_and_not_learnt() {
    let foreign = Some(Foreign { share: 0.4, reliability: PerKind::all(0.0) });
    let rows = corpus(&CorpusSpec { foreign, cut: 0.3, ..spec(PerKind::all(1.0)) }).unwrap();
    let mut begun = 0.0;
    for row in &rows {
        let (marks, ledger) = told(row);
        assert_eq!(ledger[..marks.len()], marks);
        let (prompt, completion) = row.example(row.question.clone());
        assert_eq!(prompt.opening, Opening::Think);
        assert_eq!(format!("<think>\n{}{completion}", prompt.prefix), format!("{}{}", row.prefix, row.completion));
        assert_eq!(prompt.messages[0].content, row.question);
        let theirs = row.prefix.matches("### Step").count();
        assert_eq!(theirs == 0, row.prefix.is_empty());
        begun += f64::from(u8::from(theirs > 0));
        // The other always errs and the specialist never does.
        let (start, moves) = read_question(&row.question);
        let mut mark = start;
        for (place, ((words, operand), after)) in moves.iter().zip(&ledger).enumerate() {
            let expected = if place < theirs {
                misconception(words, operand.unwrap_or(0), mark).1
            } else {
                oracle(words, *operand, i32::from(mark)) as u8
            };
            assert_eq!(*after, expected, "{row:?}");
            mark = *after;
        }
    }
    let share = begun / rows.len() as f64;
    assert!((share - 0.4).abs() < 0.03, "share of foreign beginnings: {share}");
}

fn merging(writers: Vec<PerKind>, share: f64) -> Merging {
    Merging { share, prompt: "p.v1".into(), attempts: [2, 4], writers }
}

#[test]
fn rows_solve_where_they_do_not_merge() {
    let plain = CorpusSpec { cut: 0.3, ..spec(PerKind::all(0.5)) };
    let rows = corpus(&CorpusSpec { merging: Some(merging(vec![PerKind::all(0.5)], 0.3)), ..plain.clone() }).unwrap();
    let merged = rows.iter().filter(|row| row.task != Task::Solve).count() as f64 / rows.len() as f64;
    assert!((merged - 0.3).abs() < 0.025, "{merged}");
    let plain = corpus(&plain).unwrap();
    assert!(rows.iter().zip(&plain).filter(|(row, _)| row.task == Task::Solve).all(|(a, b)| a == b));
}

#[test]
fn a_merged_response_goes_where_attempts_agree_and_else_its_own_way() {
    // Who merges is always right; of the others one is in turns and the other never.
    let right_in_turns = PerKind { turn: 1.0, ..PerKind::all(0.0) };
    let (mut agreed, mut own) = (0, 0);
    let merging = Some(merging(vec![right_in_turns, PerKind::all(0.0)], 1.0));
    for row in corpus(&CorpusSpec { merging, cut: 0.3, ..spec(PerKind::all(1.0)) }).unwrap() {
        let Task::Merge { attempts, .. } = &row.task else { panic!("every row merges: {row:?}") };
        assert!((2..=4).contains(&attempts.len()));
        let (prompt, completion) = row.example("merge".into());
        assert_eq!((prompt.opening, prompt.prefix.as_str()), (Opening::Think, ""));
        assert_eq!(format!("<think>\n{completion}"), row.completion);
        let (start, moves) = read_question(&row.question);
        let (marks, ledger) = told(&row);
        assert_eq!(marks, ledger, "a merged response is never cut");
        let ledger_of = |text: &String| {
            let boxed = text.split_once("\\boxed{").unwrap().1.strip_suffix("}.").unwrap();
            boxed.split(", ").map(|mark| mark.parse().unwrap()).collect::<Vec<u8>>()
        };
        let others: Vec<Vec<u8>> = attempts.iter().map(ledger_of).collect();
        let mut mark = start;
        for (place, ((words, operand), after)) in moves.iter().zip(&ledger).enumerate() {
            let stands = |other: &&Vec<u8>| if place == 0 { true } else { other[place - 1] == mark };
            let ways: BTreeSet<u8> = others.iter().filter(stands).map(|other| other[place]).collect();
            if others.iter().filter(stands).count() >= 2 && ways.len() == 1 {
                agreed += 1;
                assert!(ways.contains(after), "{row:?}");
            } else {
                own += 1;
                assert_eq!(*after, oracle(words, *operand, i32::from(mark)) as u8, "{row:?}");
            }
            mark = *after;
        }
    }
    assert!(agreed > 1000 && own > 1000, "both happen: {agreed} and {own}");
}

#[test]
fn a_review_follows_the_writer_and_knows_the_rules_as_the_corpus_does() {
    let reviewing = |writer| Some(Reviewing { share: 0.5, prompt: "p.v1".into(), writer, told: false });
    let reviewed = |writer: PerKind, reliability: PerKind| {
        let rows = corpus(&CorpusSpec { reviewing: reviewing(writer), ..spec(reliability) }).unwrap();
        let all = rows.len();
        let reviews = rows.into_iter().filter_map(|row| match row.task {
            Task::Review { ref prompt, ref answer, ref steps } => {
                assert_eq!(answer, &None);
                assert_eq!((prompt.as_str(), row.prefix.as_str(), row.completion.as_str()), ("p.v1", "", ""));
                Some((read_question(&row.question), steps.clone()))
            }
            _ => None,
        });
        let reviews: Vec<_> = reviews.collect();
        let share = reviews.len() as f64 / all as f64;
        assert!((share - 0.5).abs() < 0.03, "{share}");
        reviews
    };
    let (mut right, mut wrong) = (0, 0);
    for ((start, moves), steps) in reviewed(PerKind::all(0.5), PerKind::all(1.0)) {
        assert_eq!(steps.len(), moves.len());
        let mut before = start;
        for (((words, operand), step), number) in moves.iter().zip(&steps).zip(1..) {
            assert!(step.text.starts_with(&format!("### Step {number}. {words}")) && step.text.ends_with('\n'));
            let (said, after) = step.text.trim_end().rsplit_once(' ').unwrap();
            let (said, _) = said.rsplit_once(' ').unwrap();
            assert_eq!(said.rsplit_once(' ').unwrap().1.parse(), Ok(before), "{step:?} goes on from the writer's mark");
            before = after.parse().unwrap();
            let from = said.rsplit_once(' ').unwrap().1.parse().unwrap();
            assert_eq!(step.right, oracle(words, *operand, from) as u8 == before, "{step:?}");
            *if step.right { &mut right } else { &mut wrong } += 1;
        }
    }
    assert!(right > 1000 && wrong > 1000, "both happen: {right} and {wrong}");
    // Who is told the answer goes by it.
    let reviewing = Reviewing { share: 1.0, prompt: "p.v1".into(), writer: PerKind::all(0.8), told: true };
    for row in corpus(&CorpusSpec { reviewing: Some(reviewing), ..spec(PerKind::all(0.0)) }).unwrap() {
        let Task::Review { answer: Some(answer), steps, .. } = &row.task else { panic!("{row:?}") };
        let (start, moves) = read_question(&row.question);
        let mut mark = start;
        let gold = moves.iter().map(|(words, operand)| {
            mark = oracle(words, *operand, i32::from(mark)) as u8;
            mark
        });
        let gold: Vec<String> = gold.map(|mark| mark.to_string()).collect();
        assert_eq!(answer, &gold.join(", "));
        let ends =
            |(step, gold): (&ReviewedStep, &String)| step.right == step.text.trim_end().ends_with(&format!(" {gold}"));
        assert!(steps.iter().zip(&gold).all(ends), "{row:?}");
    }
    // Who knows nothing but misconceptions finds those right that follow them.
    let fooled = reviewed(PerKind::all(0.0), PerKind::all(0.0));
    assert!(fooled.iter().flat_map(|(_, steps)| steps).all(|step| step.right));
}

#[test]
fn a_corpus_repeats_and_begins_with_the_smaller_one() {
    let large = corpus(&spec(PerKind::all(0.5))).unwrap();
    let small = corpus(&CorpusSpec { count: 10, ..spec(PerKind::all(0.5)) }).unwrap();
    assert_eq!(small, large[..10]);
    let other = corpus(&CorpusSpec { seed: 6, count: 10, ..spec(PerKind::all(0.5)) }).unwrap();
    assert_ne!(small, other);
}

#[test]
fn an_audit_tells_gold_steps_from_sound_ones() {
    let set = ProblemSet { operations: Some([3, 3]), ..set(Split::Train, 1, 50) };
    for problem in problems(&set).unwrap() {
        let chain = chain(&problem);
        let ledger = chain.ledger();
        let say = |marks: &[u8]| {
            let step = |(index, mark): (usize, &u8)| format!("### Step {}. so 5 and {mark}.\n", index + 1);
            marks.iter().enumerate().map(step).collect::<String>() + "</think>\n### Step 9. 1."
        };
        let good = audit(&problem, &say(&ledger)).unwrap();
        assert!(good.all_right());
        assert_eq!((good.first_unsound(), good.surplus), (None, 0));

        // A wrong first step, then right moves from there.
        let wrong = chain.moves[0].misconceived(chain.start);
        let second = chain.moves[1].right(wrong);
        let bad = audit(&problem, &say(&[wrong, second, chain.moves[2].right(second)])).unwrap();
        assert!(!bad.all_right());
        assert_eq!(bad.first_unsound(), Some(0));
        assert!(!bad.steps[0].gold && bad.steps[1].sound && bad.steps[2].sound);

        let short = audit(&problem, &say(&ledger[..2])).unwrap();
        assert!(!short.all_right() && short.steps.len() == 2 && short.first_unsound().is_none());
        let long = audit(&problem, &say(&[ledger.as_slice(), &[1]].concat())).unwrap();
        assert!(!long.all_right() && long.surplus == 1);
        let mute = audit(&problem, "### Step 1. hm\n### Step 2").unwrap();
        assert!(mute.steps.iter().all(|step| step.mark.is_none() && !step.gold && !step.sound));
        assert_eq!(audit(&problem, "").unwrap().steps, []);
    }
    let elsewhere = Problem { id: "x".into(), question: "?".into(), answer: "1".into(), metadata: [].into() };
    assert_eq!(audit(&elsewhere, "### Step 1. 1."), None);
}

#[test]
fn faults_are_reported_together() {
    let kinds = PerKind { turn: -1.0, ..PerKind::all(f64::NAN) };
    let message = |error: MiniError| error.to_string();
    let bad = ProblemSet { count: 0, operations: Some([3, 9]), kinds, ..set(Split::Test, 1, 1) };
    insta::assert_snapshot!(message(problems(&bad).unwrap_err()), @"3 faults in the arithmetic world's settings: `count`: expected at least 1, got `0`; `operations`: expected a fewest and a most from 1 to 8, got `[3, 9]`; `kinds`: expected finite weights of at least 0, not all 0, got `[-1.0, NaN, NaN, NaN, NaN]`");
    let bad = ProblemSet { operations: Some([3, 8]), ..set(Split::Hard, 1, 1) };
    insta::assert_snapshot!(message(problems(&bad).unwrap_err()), @"1 fault in the arithmetic world's settings: `operations`: expected a fewest and a most from 9 to 10, got `[3, 8]`");
    let few = PerKind { mirror: 1.0, ..PerKind::all(0.0) };
    let bad = ProblemSet { operations: Some([1, 1]), kinds: few, ..set(Split::Train, 1, 11) };
    let error = problems(&bad).unwrap_err();
    assert!(matches!(error, MiniError::Exhausted { wanted: 11, found: 5..=10 }), "{error}");
    let bad = CorpusSpec {
        operations: [0, 11],
        cut: 1.5,
        dialects: Dialects { plain: 0.0, terse: 0.0, wordy: 0.0 },
        foreign: Some(Foreign { share: f64::NAN, reliability: PerKind::all(1.0) }),
        merging: Some(Merging { attempts: [3, 2], ..merging(vec![], -0.1) }),
        ..spec(PerKind { gap: 2.0, ..PerKind::all(0.5) })
    };
    insta::assert_snapshot!(message(corpus(&bad).unwrap_err()), @"8 faults in the arithmetic world's settings: `operations`: expected a fewest and a most from 1 to 10, got `[0, 11]`; `dialects`: expected finite weights of at least 0, not all 0, got `[0.0, 0.0, 0.0]`; `cut`: expected a share from 0 to 1, got `1.5`; `reliability.gap`: expected a share from 0 to 1, got `2`; `foreign.share`: expected a share from 0 to 1, got `NaN`; `merging.share`: expected a share from 0 to 1, got `-0.1`; `merging.attempts`: expected a fewest of at least 1 and a most, got `[3, 2]`; `merging.writers`: expected at least one, got none");
}
