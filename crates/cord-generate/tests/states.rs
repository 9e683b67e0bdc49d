//! The states that a search can end in, each by a script that brings it about.

mod world;

use cord_core::{Fate, Finish, TrajectoryEnd};
use cord_generate::{BeamSettings, Budget, CurationSettings, GenerateSettings, SearchSettings, SingleSettings};
use world::{Script, beam, scripted, settings, table};

fn with_budget(search: SearchSettings, budget: Budget) -> GenerateSettings {
    GenerateSettings { budget, ..settings(search) }
}

fn curation(trajectories: u32, select: u32) -> SearchSettings {
    SearchSettings::Curation(CurationSettings { trajectories, select, compute: None })
}

/// Reasons in two steps, `a` and `b`, and answers.
fn honest(prefix: &str) -> &'static str {
    match prefix {
        "" => "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}",
        "### Step 1. a\n" => "### Step 2. b\n</think>\n\\boxed{1}",
        "### Step 1. c\n" => "### Step 2. d\n</think>\n\\boxed{2}",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "</think>\n\\boxed{3}",
    }
}

/// Takes another turn at the start and goes on as the honest one does.
fn wayward(prefix: &str) -> &'static str {
    match prefix {
        "" => "### Step 1. c\n### Step 2. e\n</think>\n\\boxed{2}",
        "### Step 1. a\n" => "### Step 2. b\n</think>\n\\boxed{1}",
        text if text.ends_with("</think>") => "\n\\boxed{2}",
        _ => "### Step 2. e\n</think>\n\\boxed{2}",
    }
}

/// Likes `b` best, then `a`, and nothing else much.
fn taste(reasoning: &str) -> f64 {
    match reasoning {
        text if text.contains('b') => 0.9,
        text if text.contains('a') => 0.5,
        text if text.contains('d') => 0.3,
        _ => 0.1,
    }
}

#[test]
fn a_ledger_tells_the_whole_search() {
    let result = scripted(&[("honest", honest), ("wayward", wayward)], taste, settings(beam(2))).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 honest0 0.50 #0 Chosen '### Step 1. a\n'
        1 <- - d0 wayward0 0.10 #1 Kept '### Step 1. c\n'
        2 <- 0 d1 honest0 0.90 #0 Chosen '### Step 2. b\n</think>'
        3 <- 0 d1 wayward0 0.90 #- Duplicate '### Step 2. b\n</think>'
        4 <- 1 d1 honest0 0.30 #1 Kept '### Step 2. d\n</think>'
        5 <- 1 d1 wayward0 0.10 #2 Dropped '### Step 2. e\n</think>'
        6 <- 2 d2 honest0 - #- Chosen '\n\boxed{1}'
        = 0.90 Complete '### Step 1. a\n### Step 2. b\n</think>\n\boxed{1}'
        ");
}

#[test]
fn several_trajectories_are_returned_best_first() {
    let search = SearchSettings::Beam(BeamSettings { width: 3, select: 2, ..BeamSettings::default() });
    let result = scripted(&[("honest", honest), ("wayward", wayward)], taste, settings(search)).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 honest0 0.50 #0 Chosen '### Step 1. a\n'
        1 <- - d0 wayward0 0.10 #1 Chosen '### Step 1. c\n'
        2 <- 0 d1 honest0 0.90 #0 Chosen '### Step 2. b\n</think>'
        3 <- 0 d1 wayward0 0.90 #- Duplicate '### Step 2. b\n</think>'
        4 <- 1 d1 honest0 0.30 #1 Chosen '### Step 2. d\n</think>'
        5 <- 1 d1 wayward0 0.10 #2 Kept '### Step 2. e\n</think>'
        6 <- 2 d2 honest0 - #- Chosen '\n\boxed{1}'
        7 <- 4 d2 honest0 - #- Chosen '\n\boxed{1}'
        = 0.90 Complete '### Step 1. a\n### Step 2. b\n</think>\n\boxed{1}'
        = 0.30 Complete '### Step 1. c\n### Step 2. d\n</think>\n\boxed{1}'
        ");
}

#[test]
fn a_step_that_closes_early_does_not_beat_the_same_step_left_open() {
    // Under predictive perplexity both have one score; the hasty teacher is even the first.
    let hasty: Script = |prefix| if prefix.is_empty() { "### Step 1. a\n</think>\n\\boxed{0}" } else { honest(prefix) };
    let result = scripted(&[("hasty", hasty), ("honest", honest)], taste, settings(beam(1))).unwrap();
    assert_eq!(result.trajectories[0].response, "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}");
}

#[test]
fn the_finished_compete_by_score() {
    // `quick` finishes at once with a score between the first and the second step of `honest`.
    let quick: Script = |prefix| match prefix {
        "" => "### Step 1. q\n</think>",
        text if text.ends_with("</think>") => "\n\\boxed{9}",
        _ => "",
    };
    let run = |score: fn(&str) -> f64| {
        let result = scripted(&[("quick", quick), ("honest", honest)], score, settings(beam(2))).unwrap();
        (result.trajectories[0].response.clone(), result.candidates[0].fate)
    };
    let better: fn(&str) -> f64 = |text| if text.contains('q') { 0.95 } else { taste(text) };
    let worse: fn(&str) -> f64 = |text| if text.contains('q') { 0.7 } else { taste(text) };
    let equal: fn(&str) -> f64 = |text| if text.contains('q') { 0.9 } else { taste(text) };
    let (won, lost) = ("### Step 1. q\n</think>\n\\boxed{9}", "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}");
    assert_eq!(run(better), (won.to_owned(), Fate::Chosen));
    assert_eq!(run(worse), (lost.to_owned(), Fate::Kept));
    // It was there before.
    assert_eq!(run(equal), (won.to_owned(), Fate::Chosen));
}

#[test]
fn the_finished_keep_their_place_against_equals() {
    // After the first step `q` stands second; `z` is as good and has the better parent, but comes later.
    let quick: Script = |prefix| match prefix {
        "" => "### Step 1. q\n</think>",
        text if text.ends_with("</think>") => "\n\\boxed{9}",
        _ => "### Step 2. z\n</think>",
    };
    let score = |text: &str| if text.contains('q') || text.contains('z') { 0.4 } else { taste(text) };
    let search = SearchSettings::Beam(BeamSettings { width: 2, select: 2, ..BeamSettings::default() });
    let result = scripted(&[("quick", quick), ("honest", honest)], score, settings(search)).unwrap();
    assert_eq!(result.trajectories[0].score, Some(0.9));
    assert_eq!(result.trajectories[1].response, "### Step 1. q\n</think>\n\\boxed{9}");
}

#[test]
fn closed_reasoning_that_lost_its_place_is_taken_back_when_nothing_else_closes() {
    let quick: Script = |prefix| match prefix {
        "" => "### Step 1. q\n</think>",
        text if text.ends_with("</think>") => "\n\\boxed{9}",
        _ => "",
    };
    let endless: Script = |_| "### Step 1. b\n### Step 2. b";
    let budget = Budget { steps: 3, ..Budget::default() };
    let result = scripted(&[("quick", quick), ("endless", endless)], taste, with_budget(beam(1), budget)).unwrap();
    assert_eq!(result.trajectories[0].response, "### Step 1. q\n</think>\n\\boxed{9}");
    assert_eq!((result.trajectories[0].end, result.candidates[0].fate), (TrajectoryEnd::Complete, Fate::Chosen));
}

#[test]
fn budgets_and_teachers_end_trajectories_each_in_its_own_state() {
    let endless: Script = |_| "### Step 1. b\n### Step 2. b";
    let silent_end: Script = |_| "### Step 1. b";
    let falls_silent: Script = |prefix| if prefix.is_empty() { "### Step 1. b\n### Step 2. b" } else { "" };
    let check = |script: Script, budget: Budget, end: TrajectoryEnd, response: &str| {
        let result = scripted(&[("t", script)], taste, with_budget(beam(1), budget)).unwrap();
        let trajectory = &result.trajectories[0];
        assert_eq!((trajectory.end, trajectory.response.as_str()), (end, response), "{budget:?}");
        assert_eq!(trajectory.score, Some(0.9), "a trajectory that did not end well is scored all the same");
        let last = &result.candidates[trajectory.steps.last().unwrap().candidate as usize];
        assert!(last.terminal);
    };
    let all = Budget::default();
    check(honest, all, TrajectoryEnd::Complete, "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}");
    // The answer is "\n\\boxed{1}": ten bytes, and the end of the turn.
    check(
        honest,
        Budget { answer: 11, ..all },
        TrajectoryEnd::Complete,
        "### Step 1. a\n### Step 2. b\n</think>\n\\boxed{1}",
    );
    check(
        honest,
        Budget { answer: 4, ..all },
        TrajectoryEnd::AnswerTruncated,
        "### Step 1. a\n### Step 2. b\n</think>\n\\bo",
    );
    // A step is 13 bytes and its stop 9.
    check(endless, Budget { step: 21, ..all }, TrajectoryEnd::ReasoningTruncated, "### Step 1. b\n### Ste");
    check(endless, Budget { steps: 1, ..all }, TrajectoryEnd::ReasoningTruncated, "### Step 1. b\n");
    check(endless, Budget { steps: 2, ..all }, TrajectoryEnd::ReasoningTruncated, "### Step 1. b\n### Step 1. b\n");
    check(endless, Budget { reasoning: 22, ..all }, TrajectoryEnd::ReasoningTruncated, "### Step 1. b\n");
    check(endless, Budget { reasoning: 30, ..all }, TrajectoryEnd::ReasoningTruncated, "### Step 1. b\n### Step");
    check(silent_end, all, TrajectoryEnd::Unclosed, "### Step 1. b");
    check(falls_silent, all, TrajectoryEnd::Unclosed, "### Step 1. b\n");
}

#[test]
fn truncated_steps_stand_below_whole_ones_however_good_their_score() {
    let rambling: Script =
        |prefix| if prefix.is_empty() { "### Step 1. b b b b b b b b b b b b" } else { honest(prefix) };
    let budget = Budget { step: 30, ..Budget::default() };
    let result = scripted(&[("rambling", rambling), ("honest", honest)], taste, with_budget(beam(1), budget)).unwrap();
    let first = &result.candidates[0];
    assert_eq!((first.finish.clone(), first.score, first.rank), (Finish::Length, Some(0.9), Some(1)));
    assert_eq!(result.trajectories[0].end, TrajectoryEnd::Complete);
}

#[test]
fn white_space_is_no_step() {
    let silent: Script = |_| " \n";
    let result = scripted(&[("silent", silent), ("honest", honest)], taste, settings(beam(2))).unwrap();
    let first = &result.candidates[0];
    assert_eq!((first.score, first.rank, first.fate, first.text.as_str()), (None, None, Fate::Dropped, " \n"));
    assert_eq!(result.trajectories[0].end, TrajectoryEnd::Complete);
    let failed = |search| scripted(&[("s", silent), ("t", silent)], taste, settings(search)).unwrap_err();
    insta::assert_snapshot!(failed(beam(2)), @"expected at least one proposal for the first step, got only empty ones from `s`, `t`");
    insta::assert_snapshot!(failed(curation(4, 1)), @"expected at least one proposal for the first step, got only empty ones from `s`, `t`");
}

#[test]
fn a_header_after_a_blank_line_is_no_empty_step() {
    // `airy` sets its headers apart by a blank line, and so begins with a line break after `honest`'s step.
    let airy: Script = |prefix| match prefix {
        "### Step 1. a\n" => "\n### Step 2. b\n\n</think>\n\\boxed{1}",
        "### Step 1. a\n\n### Step" => " 2. b\n\n</think>\n\\boxed{1}",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "",
    };
    let opening: Script = |prefix| if prefix.is_empty() { honest(prefix) } else { "" };
    let run = |budget| scripted(&[("airy", airy), ("opening", opening)], taste, with_budget(beam(1), budget)).unwrap();
    let result = run(Budget::default());
    assert_eq!(result.trajectories[0].response, "### Step 1. a\n\n### Step 2. b\n\n</think>\n\\boxed{1}");
    let step = result.candidates.iter().find(|one| one.text.contains('b')).unwrap();
    // One candidate that was asked for twice: 9 bytes up to the first stop, then 15.
    assert_eq!((step.teacher.as_str(), step.usage.generated_tokens), ("airy", 24));
    // Where the first line break has used up the budget, it is white space after all.
    let budget = Budget { reasoning: 31, ..Budget::default() };
    let result = run(budget);
    assert_eq!(result.trajectories[0].end, TrajectoryEnd::Unclosed);
}

#[test]
fn curation_lets_the_teachers_write_in_turn_and_keeps_the_best() {
    let result = scripted(&[("wayward", wayward), ("honest", honest)], taste, settings(curation(3, 2))).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 wayward0 0.10 #1 Chosen '### Step 1. c\n### Step 2. e\n</think>\n\boxed{2}'
        1 <- - d0 wayward1 0.10 #- Duplicate '### Step 1. c\n### Step 2. e\n</think>\n\boxed{2}'
        2 <- - d0 honest0 0.90 #0 Chosen '### Step 1. a\n### Step 2. b\n</think>\n\boxed{1}'
        = 0.90 Complete '### Step 1. a\n### Step 2. b\n</think>\n\boxed{1}'
        = 0.10 Complete '### Step 1. c\n### Step 2. e\n</think>\n\boxed{2}'
        ");
}

#[test]
fn whole_responses_end_in_their_own_states_and_the_complete_go_first() {
    let endless: Script = |_| "### Step 1. b\n### Step 2. b\n### Step 3. b\n### Step 4. b";
    let chatty: Script = |_| "### Step 1. b\n</think>\nSo, all in all, we may say that";
    let unclosed: Script = |_| "### Step 1. b";
    let poor: Script = |_| "### Step 1. x\n</think>\n\\boxed{7}";
    let budget = Budget { reasoning: 30, answer: 10, ..Budget::default() };
    let result = scripted(
        &[("endless", endless), ("chatty", chatty), ("unclosed", unclosed), ("poor", poor)],
        taste,
        with_budget(curation(4, 4), budget),
    )
    .unwrap();
    let ends: Vec<_> = result.trajectories.iter().map(|one| (one.steps[0].teacher.as_str(), one.end)).collect();
    let expected = [
        ("poor", TrajectoryEnd::Complete),
        ("endless", TrajectoryEnd::ReasoningTruncated),
        ("chatty", TrajectoryEnd::AnswerTruncated),
        ("unclosed", TrajectoryEnd::Unclosed),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn a_single_teacher_writes_alone_and_is_scored() {
    let search = SearchSettings::Single(SingleSettings { teacher: "wayward".into(), trajectories: 1, select: 1 });
    let result = scripted(&[("honest", honest), ("wayward", wayward)], taste, settings(search)).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 wayward0 0.10 #0 Chosen '### Step 1. c\n### Step 2. e\n</think>\n\boxed{2}'
        = 0.10 Complete '### Step 1. c\n### Step 2. e\n</think>\n\boxed{2}'
        ");
}
