//! Parquet tables: rows are read back as they were, and their order of arrival changes no byte.

use cord_core::{Candidate, Fate, Finish, Step, StepKind, Trajectory, TrajectoryEnd, Usage};
use cord_store::{
    LedgerRow, SampleRow, candidates_from_parquet, candidates_to_parquet, samples_from_parquet, samples_to_parquet,
    trajectories_from_parquet, trajectories_to_parquet,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn score() -> impl Strategy<Value = Option<f64>> {
    option::of(any::<f64>().prop_filter("finite", |x| x.is_finite()))
}

fn kind() -> impl Strategy<Value = StepKind> {
    prop_oneof![Just(StepKind::Reasoning), Just(StepKind::Answer), Just(StepKind::Whole)]
}

fn finish() -> impl Strategy<Value = Finish> {
    prop_oneof![Just(Finish::Eos), Just(Finish::Length), any::<String>().prop_map(Finish::Delimiter)]
}

fn usage() -> impl Strategy<Value = Usage> {
    any::<[u64; 3]>().prop_map(|[prompt_tokens, generated_tokens, scored_tokens]| Usage {
        prompt_tokens,
        generated_tokens,
        scored_tokens,
    })
}

fn trajectory() -> impl Strategy<Value = Trajectory> {
    let step = (any::<u32>(), "[a-c]{1,3}", kind(), any::<String>(), score())
        .prop_map(|(candidate, teacher, kind, text, score)| Step { candidate, teacher, kind, text, score });
    let end = prop_oneof![
        Just(TrajectoryEnd::Complete),
        Just(TrajectoryEnd::ReasoningTruncated),
        Just(TrajectoryEnd::AnswerTruncated),
        Just(TrajectoryEnd::Unclosed)
    ];
    (vec(step, 0..4), any::<String>(), end, score(), usage()).prop_map(|(steps, response, end, score, usage)| {
        Trajectory { problem: String::new(), index: 0, steps, response, end, score, usage }
    })
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let fate = prop_oneof![Just(Fate::Kept), Just(Fate::Chosen), Just(Fate::Dropped), Just(Fate::Duplicate)];
    let first = (option::of(any::<u32>()), any::<u32>(), "[a-c]{1,3}", any::<u32>(), kind(), any::<String>());
    let second = (finish(), any::<bool>(), score(), option::of(any::<u32>()), fate, usage());
    (first, second).prop_map(
        |((parent, depth, teacher, sample, kind, text), (finish, terminal, score, rank, fate, usage))| Candidate {
            id: 0,
            parent,
            depth,
            teacher,
            sample,
            kind,
            text,
            finish,
            terminal,
            score,
            rank,
            fate,
            usage,
        },
    )
}

fn sample() -> impl Strategy<Value = SampleRow> {
    let texts = (any::<String>(), "[a-z]{1,9}", option::of(any::<String>()), option::of(any::<String>()));
    let marks = prop::collection::btree_map("[a-z]{1,3}", 0.0..1.0, 0..3);
    (texts, finish(), any::<bool>(), usage(), marks).prop_map(
        |((response, verdict, reason, extracted), finish, correct, usage, marks)| SampleRow {
            problem: String::new(),
            sample: 0,
            response,
            finish,
            verdict,
            reason,
            extracted,
            correct,
            marks,
            usage,
        },
    )
}

/// Places for n rows: a few problems, each with some indices, in the order of the file.
fn place(n: usize) -> (String, u32) {
    (format!("p{:02}", n / 3), (n % 3) as u32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn trajectories_are_read_back(mut rows in vec(trajectory(), 0..12)) {
        for (n, row) in rows.iter_mut().enumerate() {
            (row.problem, row.index) = place(n);
        }
        let bytes = trajectories_to_parquet(&rows).unwrap();
        prop_assert_eq!(trajectories_from_parquet(bytes.clone()).unwrap(), rows.clone());
        rows.reverse();
        prop_assert_eq!(trajectories_to_parquet(&rows).unwrap(), bytes);
    }

    #[test]
    fn candidates_are_read_back(candidates in vec(candidate(), 0..12)) {
        let rows = candidates.into_iter().enumerate().map(|(n, mut candidate)| {
            let (problem, id) = place(n);
            candidate.id = id;
            LedgerRow { problem, candidate }
        });
        let mut rows: Vec<LedgerRow> = rows.collect();
        let bytes = candidates_to_parquet(&rows).unwrap();
        prop_assert_eq!(candidates_from_parquet(bytes.clone()).unwrap(), rows.clone());
        rows.reverse();
        prop_assert_eq!(candidates_to_parquet(&rows).unwrap(), bytes);
    }

    #[test]
    fn samples_are_read_back(mut rows in vec(sample(), 0..12)) {
        for (n, row) in rows.iter_mut().enumerate() {
            (row.problem, row.sample) = place(n);
        }
        let bytes = samples_to_parquet(&rows).unwrap();
        prop_assert_eq!(samples_from_parquet(bytes.clone()).unwrap(), rows.clone());
        rows.reverse();
        prop_assert_eq!(samples_to_parquet(&rows).unwrap(), bytes);
    }

    #[test]
    fn other_bytes_are_an_error_and_no_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(samples_from_parquet(bytes).is_err());
    }
}

fn row(problem: &str, index: u32) -> Trajectory {
    Trajectory {
        problem: problem.into(),
        index,
        steps: vec![],
        response: "r".into(),
        end: TrajectoryEnd::Complete,
        score: None,
        usage: Usage::default(),
    }
}

#[test]
fn rows_that_a_table_can_not_hold_are_refused() {
    let twice = [row("p", 0), row("q", 0), row("p", 0)];
    insta::assert_snapshot!(trajectories_to_parquet(&twice).unwrap_err(), @"`trajectories`: expected one row for each place, got two for problem `p`, number 0");
    let mut nan = row("p", 1);
    nan.score = Some(f64::NAN);
    insta::assert_snapshot!(trajectories_to_parquet(&[nan]).unwrap_err(), @"`trajectories`: expected a finite score in problem `p`, trajectory 1, got `NaN`");
    let mut inner = row("p", 1);
    let score = Some(f64::INFINITY);
    inner.steps = vec![Step { candidate: 0, teacher: "t".into(), kind: StepKind::Answer, text: String::new(), score }];
    insta::assert_snapshot!(trajectories_to_parquet(&[inner]).unwrap_err(), @"`trajectories`: expected a finite score in problem `p`, trajectory 1, step 0, got `inf`");
}

#[test]
fn a_table_of_another_kind_says_what_it_lacks() {
    let bytes = trajectories_to_parquet(&[row("p", 0)]).unwrap();
    insta::assert_snapshot!(samples_from_parquet(bytes.clone()).unwrap_err(), @"`samples`: expected a column `sample` of type `UInt32`, got the columns `problem`, `index`, `response`, `end`, `score`, `prompt_tokens`, `generated_tokens`, `scored_tokens`, `steps`");
    insta::assert_snapshot!(candidates_from_parquet(bytes).unwrap_err(), @"`candidates`: expected a column `id` of type `UInt32`, got the columns `problem`, `index`, `response`, `end`, `score`, `prompt_tokens`, `generated_tokens`, `scored_tokens`, `steps`");
}

#[test]
fn many_rows_take_several_groups() {
    let rows: Vec<Trajectory> = (0..40_000).map(|n| row(&format!("p{:05}", n / 4), n % 4)).collect();
    let bytes = trajectories_to_parquet(&rows).unwrap();
    assert_eq!(trajectories_from_parquet(bytes).unwrap(), rows);
}
