//! Every search with every scorer, through the one generator, against scripted models.

mod world;

use std::sync::Arc;

use cord_core::{Candidate, Fate, LanguageModel, Outcome, Seed, StepKind, TrajectoryEnd};
use cord_generate::{
    BeamSettings, BestFirstSettings, BestFirstStop, Budget, Choose, Closing, CurationSettings, Evidence, Finished,
    GenerateError, GenerateSettings, Generator, Headers, IntegrationPrompt, IntegrationSettings, Judged, MctsSettings,
    PromptTemplate, Scope, Scorer, ScorerSettings, SearchResult, SearchSettings, Segmenter, SingleSettings, StopRule,
    closed_by_force,
};
use cord_testkit::{Call, Scripted, Turnstile, whisper};
use futures::executor::block_on;
use proptest::prelude::*;
use world::{Script, World, beam, check_result, full_text, problem, scripted, settings, solve, table, teacher};

const TEACHERS: [&str; 4] = ["a", "b", "c", "m"];

fn mcts(iterations: u32) -> MctsSettings {
    MctsSettings { iterations, ..MctsSettings::default() }
}

fn integration(trajectories: u32, merged: u32) -> IntegrationSettings {
    IntegrationSettings { model: "m".into(), trajectories, prompt: IntegrationPrompt::V1, merged, select: 1 }
}

fn searches() -> Vec<SearchSettings> {
    let beam = |settings: BeamSettings| SearchSettings::Beam(settings);
    let all = BeamSettings::default;
    vec![
        beam(all()),
        beam(BeamSettings { width: 1, ..all() }),
        beam(BeamSettings { width: 2, proposals: 2, select: 2, ..all() }),
        beam(BeamSettings { finished: Finished::SetAside, select: 3, ..all() }),
        beam(BeamSettings { finished: Finished::Hold, width: 2, ..all() }),
        beam(BeamSettings { stop: StopRule::BestFinished, ..all() }),
        beam(BeamSettings { stop: StopRule::EnoughFinished, finished: Finished::SetAside, select: 2, ..all() }),
        SearchSettings::Curation(CurationSettings::default()),
        SearchSettings::Curation(CurationSettings { trajectories: 2, select: 2, compute: Some(900) }),
        SearchSettings::Single(SingleSettings { teacher: "b".into(), trajectories: 3, select: 2 }),
        SearchSettings::Mcts(mcts(12)),
        SearchSettings::Mcts(MctsSettings { choose: Choose::BestScored, proposals: 2, select: 3, ..mcts(9) }),
        SearchSettings::BestFirst(BestFirstSettings::default()),
        SearchSettings::BestFirst(BestFirstSettings {
            width: 2,
            proposals: 2,
            finals: 3,
            stop: BestFirstStop::OneBest,
            bonus: 0.1,
            start: Some(0.5),
            select: 2,
        }),
        SearchSettings::Integration(integration(4, 1)),
        SearchSettings::Integration(IntegrationSettings { select: 2, ..integration(2, 3) }),
    ]
}

fn scorers() -> Vec<ScorerSettings> {
    let texts = [
        r#"{"kind":"predictive-perplexity","model":"prover"}"#,
        r#"{"kind":"predictive-perplexity","model":"prover","cue":" So: ","normalise":"sum","cap":1,"forms":"forms"}"#,
        r#"{"kind":"answer-gain","model":"prover"}"#,
        r#"{"kind":"ensemble","models":["prover","doubter"]}"#,
        r#"{"kind":"ensemble","models":["prover","doubter"],"combine":"min"}"#,
        r#"{"kind":"ensemble","models":["prover","doubter"],"combine":"agreement"}"#,
        r#"{"kind":"process-reward","model":"prover"}"#,
        r#"{"kind":"process-reward","model":"prover","prompt":"plus-minus.v1"}"#,
        r#"{"kind":"judgment","model":"judge"}"#,
        r#"{"kind":"judgment","model":"judge","prompt":"blind.v1","max-tokens":99}"#,
        r#"{"kind":"random"}"#,
        r#"{"kind":"max-length"}"#,
        r#"{"kind":"max-length","of":"reasoning"}"#,
        r#"{"kind":"self-certainty"}"#,
        r#"{"kind":"mixture","signals":[{"weight":2.0,"scorer":{"kind":"process-reward","model":"prover"}},
            {"weight":1.0,"scorer":{"kind":"self-certainty"}}]}"#,
        r#"{"kind":"mixture","scale":"rank","signals":[{"weight":1.0,"scorer":{"kind":"max-length"}},
            {"weight":1.0,"scorer":{"kind":"judgment","model":"judge"}},{"weight":1.0,"scorer":{"kind":"random"}}]}"#,
    ];
    texts.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

/// The scripted models that the scorers name.
fn judge(world: &World, name: &str) -> Scripted {
    let (key, name) = (world.key.clone(), name.to_owned());
    let roll = move |text: &str| whisper(&[&key, &name, text]);
    let belief = roll.clone();
    Scripted::new("judge")
        .believing(move |request| {
            let asked: String = request.prompt.messages.iter().map(|one| one.content.as_str()).collect();
            -4.0 * belief(&format!("{asked}{}{}", request.prompt.prefix, request.continuation))
        })
        .writing(move |request| match roll(&request.prompt.messages[0].content) {
            roll if roll < 0.1 => "I can't say.".to_owned(),
            roll if roll < 0.5 => "Hm.\nVerdict: wrong".to_owned(),
            _ => "Verdict: right".to_owned(),
        })
}

fn scorer(world: &World, settings: &ScorerSettings, turnstile: &Turnstile) -> Arc<dyn Scorer> {
    let mut open = |name: &str| -> Result<Arc<dyn LanguageModel>, GenerateError> {
        Ok(Arc::new(judge(world, name).behind(turnstile)))
    };
    settings.scorer(&PromptTemplate::new("{question}").unwrap(), Seed::root(9), &mut open).unwrap()
}

fn certain_teacher(world: &World, name: &'static str) -> Scripted {
    let key = world.key.clone();
    world.teacher(name).certain(move |request| {
        -2.0 * whisper(&[&key, "certainty", name, &request.prompt.prefix, &format!("{:?}", request.seed)])
    })
}

fn run(world: &World, search: &SearchSettings, criterion: &ScorerSettings, order: u64) -> Outcome<SearchResult> {
    let turnstile = Turnstile::new(Seed::root(order));
    let teachers = TEACHERS.map(|name| teacher(name, certain_teacher(world, name).behind(&turnstile)));
    let scorer = scorer(world, criterion, &turnstile);
    let generator = Generator::new(settings(search.clone()), teachers.to_vec(), scorer).unwrap();
    turnstile.run(generator.solve(&problem("p"), Seed::root(1), &()))
}

/// The ledger's scores are those that the scorer gives.
fn check_scores(world: &World, result: &SearchResult, criterion: &ScorerSettings, what: &str) {
    let turnstile = Turnstile::new(Seed::root(0));
    let scorer = scorer(world, criterion, &turnstile);
    if scorer.scope() == Scope::Siblings || scorer.evidence() == Evidence::Writing {
        return;
    }
    let scored: Vec<&Candidate> = result.candidates.iter().filter(|one| one.score.is_some()).collect();
    let judged: Vec<Judged> = scored
        .iter()
        .map(|one| {
            let prefix = one.parent.map_or(String::new(), |parent| full_text(&result.candidates, parent));
            let end = one.text.find("</think>").map_or(one.text.len(), |at| at + "</think>".len());
            Judged::new(prefix, &one.text[..end])
        })
        .collect();
    let scores = turnstile.run(scorer.score(&problem("p"), &judged)).unwrap();
    for (one, score) in scored.iter().zip(scores) {
        assert_eq!(one.score, score.value, "{what}: {one:?}");
    }
}

#[test]
fn every_search_runs_with_every_scorer_and_no_order_of_replies_shows() {
    let mut unscored = 0;
    for (number, search) in searches().iter().enumerate() {
        for criterion in &scorers() {
            let what = format!("{search:?} {criterion:?}");
            let world = World { random: true, words: 2, ..World::new(number as u64) };
            if matches!(search, SearchSettings::BestFirst(_))
                && scorer(&world, criterion, &Turnstile::new(Seed::root(0))).scope() == Scope::Siblings
            {
                continue;
            }
            let outcome = run(&world, search, criterion, 1);
            let Outcome::Done(result) = &outcome else {
                // A judge that can't make up its mind about any candidate is the one way to fail.
                let Outcome::Failed { reason, .. } = &outcome else { unreachable!() };
                assert!(reason.contains("expected a score for at least one candidate"), "{what}: {reason}");
                continue;
            };
            check_result(result, &what);
            check_scores(&world, result, criterion, &what);
            for order in 2..5 {
                assert_eq!(run(&world, search, criterion, order), outcome, "{what}, order {order}");
            }
            let left_out = |one: &&Candidate| one.score.is_none() && one.kind == StepKind::Reasoning;
            let left_out = result.candidates.iter().filter(left_out).count();
            match (criterion, search) {
                (ScorerSettings::Judgment(_) | ScorerSettings::Mixture(_), SearchSettings::Beam(_)) => {
                    unscored += left_out;
                }
                (_, SearchSettings::Beam(_)) => assert_eq!(left_out, 0, "{what}"),
                _ => {}
            }
        }
    }
    assert!(unscored > 0, "the judge is undecided at times");
}

#[test]
fn every_segmenter_runs_in_every_search() {
    // One text in the form of each segmenter; teachers differ in one letter.
    fn say(form: &str, letter: &str, prefix: &str) -> String {
        let steps: Vec<String> = match form {
            "prompt-guided" => (1..4).map(|n| format!("### Step {n}. {letter}{n}\n")).collect(),
            "line-break" => (1..4).map(|n| format!("{letter}{n}\nand so\n\n")).collect(),
            "prefix" => ["So", "Wait,", "Alternatively"].iter().map(|cue| format!("{cue} {letter}\n")).collect(),
            _ => (1..4).map(|n| format!("{letter}{n}-{letter}{n}-{letter}{n}.\n")).collect(),
        };
        if prefix.ends_with("</think>") {
            return "\n\\boxed{1}".to_owned();
        }
        // Steps have one length whoever writes them, so the rest starts where the prefix ends.
        let all = steps.concat();
        format!("{}</think>\n\\boxed{{1}}", &all[prefix.len().min(all.len())..])
    }
    let rows = [
        (r#""prompt-guided""#, 3),
        (r#""line-break""#, 3),
        (r#""prefix""#, 3),
        (r#"{"kind":"fixed-length","tokens":10}"#, 3),
        // The fourth step stops inside the closing tag, which is left to whoever goes on.
        (r#"{"kind":"fixed-length","tokens":8}"#, 4),
    ];
    for (text, steps) in rows {
        let segmenter: Segmenter = serde_json::from_str(text).unwrap();
        let form = text.trim_matches('"').to_owned();
        for search in searches() {
            let teachers = TEACHERS.map(|name| {
                let form = form.clone();
                teacher(name, Scripted::new(name).writing(move |request| say(&form, name, &request.prompt.prefix)))
            });
            let scorer = world::perplexity(Scripted::new("prover").believing(|_| -1.0));
            let settings = GenerateSettings { segmenter, ..settings(search.clone()) };
            let result = solve(&Generator::new(settings, teachers.to_vec(), scorer).unwrap()).unwrap();
            let what = format!("{text} {search:?}");
            check_result(&result, &what);
            for trajectory in &result.trajectories {
                let reasoning: Vec<&str> = trajectory
                    .steps
                    .iter()
                    .filter(|one| one.kind == StepKind::Reasoning)
                    .map(|one| &*one.text)
                    .collect();
                let stepwise = trajectory.steps.iter().all(|one| one.kind != StepKind::Whole);
                if stepwise && !matches!(segmenter, Segmenter::FixedLength { .. }) {
                    let mut cut = segmenter.segment(&trajectory.response);
                    cut.pop();
                    assert_eq!(reasoning, cut, "{what}");
                }
                let open_at_the_end = usize::from(reasoning.last() == Some(&"</think>"));
                if stepwise {
                    assert_eq!(reasoning.len() - open_at_the_end, steps, "{what}: {reasoning:?}");
                }
            }
        }
    }
}

/// How a teacher writes that never closes its reasoning.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// It ends its turn after two steps.
    Brief,
    /// Step after step, without an end.
    Endless,
    /// Without an end, and without a heading where a step could end.
    Prose,
}

fn instructed(manner: Manner) -> Scripted {
    Scripted::new("t").writing(move |request| {
        let prefix = &request.prompt.prefix;
        if prefix.ends_with("</think>\n\nThe final answer is \\boxed{") {
            return "7}.".to_owned();
        }
        if manner == Manner::Prose {
            return "so ".repeat(500);
        }
        let from = prefix.matches("### Step").count() + 1;
        let to = if manner == Manner::Endless { from + 500 } else { 2 };
        let steps: Vec<String> = (from..=to).map(|n| format!("### Step {n}. s\n")).collect();
        steps.concat()
    })
}

#[test]
fn reasoning_that_nobody_closes_is_closed_by_force_where_the_recipe_says_so() {
    for manner in [Manner::Brief, Manner::Endless, Manner::Prose] {
        for search in searches() {
            let run = |closing: Closing| {
                let teachers = TEACHERS.map(|name| teacher(name, instructed(manner)));
                let scorer = world::perplexity(Scripted::new("prover").believing(|request| {
                    // What is judged is the reasoning, closed by the cue alone.
                    assert_eq!(request.prompt.prefix.matches("</think>").count(), 1, "{:?}", request.prompt.prefix);
                    -1.0 / (1.0 + request.prompt.prefix.matches("### Step").count() as f64)
                }));
                let budget = Budget { reasoning: 90, answer: 20, step: 40, steps: 8 };
                let settings = GenerateSettings { closing, budget, ..settings(search.clone()) };
                solve(&Generator::new(settings, teachers.to_vec(), scorer).unwrap())
            };
            let what = format!("{manner:?} {search:?}");
            // An integration without a single complete source has nothing to merge, and says so.
            let open = run(Closing::Own);
            assert!(open.is_ok() || matches!(search, SearchSettings::Integration(_)), "{what}: {open:?}");
            let ends = match manner {
                Manner::Brief => TrajectoryEnd::Unclosed,
                Manner::Endless | Manner::Prose => TrajectoryEnd::ReasoningTruncated,
            };
            for trajectory in open.iter().flat_map(|result| &result.trajectories) {
                assert_eq!(trajectory.end, ends, "{what}");
                assert!(!closed_by_force(trajectory), "{what}");
            }
            let closed = run(Closing::Forced).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!closed.trajectories.is_empty(), "{what}");
            for trajectory in &closed.trajectories {
                let response = &trajectory.response;
                assert_eq!(trajectory.end, TrajectoryEnd::Complete, "{what}: {response:?}");
                assert_eq!(response.matches("</think>").count(), 1, "{what}: {response:?}");
                assert!(closed_by_force(trajectory), "{what}");
                let begin = if manner == Manner::Prose { "so so so" } else { "### Step 1. s\n" };
                assert!(response.starts_with(begin), "{what}: {response:?}");
                assert!(response.ends_with("\n</think>\n\nThe final answer is \\boxed{7}."), "{what}: {response:?}");
            }
            for one in &closed.candidates {
                let most = if one.kind == StepKind::Answer { 20 } else { 90 + 20 };
                assert!(one.usage.generated_tokens <= most, "{what}: {one:?}");
            }
        }
    }
}

/// Whoever starts with `g` can be right; after `b` nothing helps.
fn forked(teacher: &'static str) -> Script {
    match teacher {
        "good" => |prefix| match prefix {
            "" => "### Step 1. g\n### Step 2. x\n### Step 3. x\n</think>\n\\boxed{1}",
            "### Step 1. g\n" | "### Step 1. b\n" => "### Step 2. x\n### Step 3. x\n</think>\n\\boxed{1}",
            text if text.ends_with("</think>") => "\n\\boxed{1}",
            _ => "### Step 3. x\n</think>\n\\boxed{1}",
        },
        _ => |prefix| match prefix {
            "" => "### Step 1. b\n### Step 2. y\n### Step 3. y\n</think>\n\\boxed{2}",
            "### Step 1. g\n" | "### Step 1. b\n" => "### Step 2. y\n### Step 3. y\n</think>\n\\boxed{2}",
            text if text.ends_with("</think>") => "\n\\boxed{2}",
            _ => "### Step 3. y\n</think>\n\\boxed{2}",
        },
    }
}

/// Likes what starts with `g`, and a little more what goes on with `x`.
fn liking(reasoning: &str) -> f64 {
    let first = if reasoning.contains("1. g") { 0.7 } else { 0.2 };
    first + 0.1 * reasoning.matches('x').count() as f64
}

/// How many candidates of a kind there are under each first step.
fn under(result: &SearchResult, first: &str, kind: StepKind) -> usize {
    let all = &result.candidates;
    all.iter().filter(|one| one.kind == kind && full_text(all, one.id).starts_with(first)).count()
}

/// A tree of eight steps, each by one of two teachers, so of 256 ends. What begins with a step by `good` is better, by much
/// more than anything that follows.
fn deep(order: [&'static str; 2], search: MctsSettings) -> SearchResult {
    let write = |name: &'static str| {
        Scripted::new(name).writing(move |request| {
            let prefix = &request.prompt.prefix;
            if prefix.ends_with("</think>") {
                return "\n\\boxed{1}".to_owned();
            }
            let said = prefix.matches("### Step").count();
            let rest: Vec<String> = (said + 1..9).map(|step| format!("### Step {step}. {name}\n")).collect();
            format!("{}</think>\n\\boxed{{1}}", rest.concat())
        })
    };
    let taste = |reasoning: &str| {
        let first = if reasoning.starts_with("### Step 1. good") { 0.7 } else { 0.4 };
        first + 0.1 * whisper(&[reasoning])
    };
    let teachers = order.map(|name| teacher(name, write(name)));
    let scorer = Arc::new(world::Taste { scope: Scope::Each, opinion: taste });
    solve(&Generator::new(settings(SearchSettings::Mcts(search)), teachers.to_vec(), scorer).unwrap()).unwrap()
}

#[test]
fn tree_search_concentrates_on_the_better_branch() {
    let run = |exploration: f64, order| {
        let result = deep(order, MctsSettings { exploration, ..mcts(60) });
        let rollouts = |first| under(&result, first, StepKind::Whole);
        ((rollouts("### Step 1. good"), rollouts("### Step 1. bad")), result)
    };
    for order in [["good", "bad"], ["bad", "good"]] {
        let ((good, bad), result) = run(0.4, order);
        assert!(good >= 5 * bad && bad > 0 && good + bad >= 50, "{good} rollouts and {bad}, {order:?}");
        assert!(result.trajectories[0].response.starts_with("### Step 1. good\n"));
        // The harder it explores, the less it concentrates; where nothing but novelty counts, both are looked at alike.
        let ((some, others), _) = run(1.4, order);
        assert!(others > bad && some > others, "{some} rollouts and {others}, {order:?}");
        let ((half, other), _) = run(1000.0, order);
        assert!(half.abs_diff(other) <= 2, "{half} rollouts and {other}, {order:?}");
    }
}

#[test]
fn a_ledger_tells_the_whole_tree_search() {
    let search = SearchSettings::Mcts(MctsSettings { exploration: 0.4, ..mcts(4) });
    let teachers = [("bad", forked("bad")), ("good", forked("good"))];
    let result = scripted(&teachers, liking, settings(search)).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 bad0 - #1 Kept '### Step 1. b\n'
        1 <- - d0 good0 - #0 Chosen '### Step 1. g\n'
        2 <- 0 d1 bad0 0.20 #- Dropped '### Step 2. y\n### Step 3. y\n</think>\n\boxed{2}'
        3 <- 1 d1 good0 0.90 #- Dropped '### Step 2. x\n### Step 3. x\n</think>\n\boxed{1}'
        4 <- 1 d1 bad0 - #1 Kept '### Step 2. y\n'
        5 <- 1 d1 good0 - #0 Chosen '### Step 2. x\n'
        6 <- 4 d2 bad0 0.70 #- Dropped '### Step 3. y\n</think>\n\boxed{2}'
        7 <- 5 d2 good0 0.90 #- Chosen '### Step 3. x\n</think>\n\boxed{1}'
        = 0.90 Complete '### Step 1. g\n### Step 2. x\n### Step 3. x\n</think>\n\boxed{1}'
        ");
}

#[test]
fn a_ledger_tells_the_whole_integration() {
    let merging: Script = |_| "### Step 1. g\n### Step 2. x\n</think>\n\\boxed{1}";
    let unfinished: Script = |_| "### Step 1. g";
    let teachers = [("bad", forked("bad")), ("m", merging), ("good", forked("good")), ("unfinished", unfinished)];
    let search = SearchSettings::Integration(integration(4, 1));
    let result = scripted(&teachers, liking, settings(search)).unwrap();
    insta::assert_snapshot!(table(&result), @r"
        0 <- - d0 bad0 - #- Kept '### Step 1. b\n### Step 2. y\n### Step 3. y\n</think>\n\boxed{2}'
        1 <- - d0 bad1 - #- Kept '### Step 1. b\n### Step 2. y\n### Step 3. y\n</think>\n\boxed{2}'
        2 <- - d0 m0 0.80 #0 Chosen '### Step 1. g\n### Step 2. x\n</think>\n\boxed{1}'
        3 <- - d0 good0 - #- Kept '### Step 1. g\n### Step 2. x\n### Step 3. x\n</think>\n\boxed{1}'
        4 <- - d0 unfinished0 - #- Dropped '### Step 1. g'
        = 0.80 Complete '### Step 1. g\n### Step 2. x\n</think>\n\boxed{1}'
        ");
}

#[test]
fn the_merging_model_reads_the_complete_trajectories() {
    let merge = |scripts: &[(&'static str, Script)]| {
        let merger = Arc::new(Scripted::new("m").writing(|_| "### Step 1. z\n</think>\n\\boxed{3}".to_owned()));
        let mut teachers: Vec<_> = scripts
            .iter()
            .map(|(name, script)| {
                let script = *script;
                teacher(name, Scripted::new(name).writing(move |request| script(&request.prompt.prefix).to_owned()))
            })
            .collect();
        let model: Arc<dyn LanguageModel> = Arc::clone(&merger) as _;
        teachers.push(cord_generate::Teacher { name: "m".into(), model, sampling: cord_core::Sampling::default() });
        let search = SearchSettings::Integration(integration(scripts.len() as u32, 1));
        let scorer = world::perplexity(Scripted::new("prover").believing(|_| -1.0));
        let result = solve(&Generator::new(settings(search), teachers, scorer).unwrap());
        let content = merger.calls().first().map(|call| match call {
            Call::Generate(request) => request.prompt.messages[0].content.clone(),
            Call::Score(_) => panic!("expected the merging model to write only"),
        });
        (result, content.unwrap_or_default())
    };
    let unfinished: Script = |_| "### Step 1. half";
    let silent: Script = |_| " ";
    let (result, content) = merge(&[("good", forked("good")), ("unfinished", unfinished), ("bad", forked("bad"))]);
    assert_eq!(result.unwrap().trajectories[0].response, "### Step 1. z\n</think>\n\\boxed{3}");
    assert!(content.contains("Problem: How many?\n"), "{content}");
    assert!(
        content.contains(
            "Attempt 2, reasoning:\n### Step 1. b\n### Step 2. y\n### Step 3. y\n\nAttempt 2, answer:\n\\boxed{2}"
        ),
        "{content}"
    );
    assert!(!content.contains("half") && !content.contains("Attempt 3"), "{content}");
    let (_, content) = merge(&[("unfinished", unfinished), ("silent", silent)]);
    assert!(content.contains("Attempt 1, reasoning (unfinished):\n### Step 1. half") && !content.contains("Attempt 2"));
    let (failed, _) = merge(&[("silent", silent)]);
    insta::assert_snapshot!(failed.unwrap_err(), @"expected at least one proposal for the first step, got only empty ones from `silent`, `m`");
}

#[test]
fn curation_spends_the_compute_that_it_is_given() {
    let run = |compute: Option<u64>, trajectories: u32| {
        let world = World { random: true, close: 0.0, words: 1_000_000_000, ..World::new(5) };
        let search = SearchSettings::Curation(CurationSettings { trajectories, select: 1, compute });
        let teachers = ["a", "b"].map(|name| teacher(name, world.teacher(name)));
        solve(&Generator::new(settings(search), teachers.to_vec(), world::perplexity(world.prover())).unwrap()).unwrap()
    };
    let all = run(None, 8);
    for (compute, expected) in [(1, 2), (all.usage.generated_tokens / 2, 4), (all.usage.generated_tokens, 8)] {
        let result = run(Some(compute), 2);
        let slack = result.usage.generated_tokens.abs_diff(compute);
        assert!(result.candidates.len().abs_diff(expected) <= 2, "{compute}: {} candidates", result.candidates.len());
        assert!(
            result.usage.generated_tokens >= compute && slack <= all.usage.generated_tokens / 3,
            "{compute}: {slack}"
        );
        // The same trajectories as if their number had been given, whichever round they were written in.
        assert_eq!(result, run(None, result.candidates.len() as u32));
    }
}

#[test]
fn finished_trajectories_and_stop_rules_do_as_they_say() {
    use Finished::{Compete, Hold, SetAside};
    use StopRule::{AllFinished, BestFinished, EnoughFinished};
    // `quick` closes at once, with a score between the first and the second step of `slow`.
    let quick: Script = |prefix| match prefix {
        "" => "### Step 1. q\n</think>\n\\boxed{9}",
        text if text.ends_with("</think>") => "\n\\boxed{9}",
        _ => "",
    };
    let slow: Script = |prefix| match prefix {
        "" => "### Step 1. s\n### Step 2. s\n### Step 3. s\n</think>\n\\boxed{1}",
        "### Step 1. s\n" => "### Step 2. s\n### Step 3. s\n</think>\n\\boxed{1}",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "### Step 3. s\n</think>\n\\boxed{1}",
    };
    let taste = |text: &str| if text.contains('q') { 0.5 } else { 0.3 * text.matches(". s").count() as f64 };
    let run = |width: u32, finished: Finished, stop: StopRule| {
        let search = BeamSettings { width, finished, stop, ..BeamSettings::default() };
        let result =
            scripted(&[("quick", quick), ("slow", slow)], taste, settings(SearchSettings::Beam(search))).unwrap();
        let answer = result.trajectories[0].response.chars().rev().nth(1).unwrap();
        (
            answer,
            result.candidates.iter().filter(|one| one.teacher == "slow" && one.kind == StepKind::Reasoning).count(),
        )
    };
    let rows = [
        // Whoever has one place for all is taken in by the quick one.
        (1, Compete, AllFinished, ('9', 1)),
        (1, Hold, AllFinished, ('9', 1)),
        // Unless the place is left to an open one, which is not there: only one was kept.
        (1, SetAside, AllFinished, ('9', 1)),
        (2, Compete, AllFinished, ('1', 3)),
        (2, Hold, AllFinished, ('1', 3)),
        (2, SetAside, AllFinished, ('1', 3)),
        (2, Compete, BestFinished, ('9', 1)),
        (2, SetAside, BestFinished, ('9', 1)),
        (2, Hold, EnoughFinished, ('9', 1)),
    ];
    for (width, finished, stop, expected) in rows {
        assert_eq!(run(width, finished, stop), expected, "{width} {finished:?} {stop:?}");
    }
}

#[test]
fn what_becomes_of_a_finished_trajectorys_place_decides_how_many_go_on() {
    // `quick` is finished after the first step; at the second, `slow` is better than it and `other` may be.
    let quick: Script = |prefix| match prefix {
        "" => "### Step 1. q\n</think>\n\\boxed{9}",
        text if text.ends_with("</think>") => "\n\\boxed{9}",
        _ => "",
    };
    let slow: Script = |prefix| match prefix {
        "" => "### Step 1. s\n### Step",
        "### Step 1. s\n" => "### Step 2. s\n### Step",
        text if text.ends_with("</think>") => "\n\\boxed{1}",
        _ => "### Step 3. s\n</think>\n\\boxed{1}",
    };
    let other: Script = |prefix| if prefix == "### Step 1. s\n" { "### Step 2. o\n### Step" } else { "" };
    let worse: fn(&str) -> f64 = |text| match text {
        text if text.contains(". q") => 0.5,
        text if text.contains(". o") => 0.4,
        text => 0.3 * text.matches(". s").count() as f64,
    };
    let better: fn(&str) -> f64 = |text| match text {
        text if text.contains(". q") => 0.5,
        text if text.contains(". o") => 0.55,
        text => 0.3 * text.matches(". s").count() as f64,
    };
    let open_beams = |finished: Finished, taste: fn(&str) -> f64| {
        let search = BeamSettings { width: 2, finished, ..BeamSettings::default() };
        let teachers = [("quick", quick), ("slow", slow), ("other", other)];
        let result = scripted(&teachers, taste, settings(SearchSettings::Beam(search))).unwrap();
        result.candidates.iter().filter(|one| one.depth == 2 && one.kind == StepKind::Reasoning).count() / 3
    };
    let rows = [(Finished::Compete, 1, 2), (Finished::SetAside, 2, 2), (Finished::Hold, 1, 1)];
    for (finished, with_worse, with_better) in rows {
        assert_eq!(
            (open_beams(finished, worse), open_beams(finished, better)),
            (with_worse, with_better),
            "{finished:?}"
        );
    }
}

#[test]
fn of_candidates_without_a_score_none_is_chosen() {
    let world = World { close: 0.0, depth: 2, words: 1_000_000_000, ..World::new(3) };
    let run = |undecided: fn(&str) -> bool| {
        let judge = Scripted::new("judge").writing(move |request| {
            let asked = &request.prompt.messages[0].content;
            if undecided(asked) { "It depends.".to_owned() } else { "Verdict: wrong".to_owned() }
        });
        let scorer = cord_generate::BinaryJudgment::new(Arc::new(judge), cord_generate::JudgmentPrompt::GoldV1, 99);
        let teachers = ["a", "b"].map(|name| teacher(name, world.teacher(name)));
        solve(&Generator::new(settings(beam(2)), teachers.to_vec(), Arc::new(scorer.unwrap())).unwrap())
    };
    let all = run(|_| false).unwrap();
    assert!(all.candidates.iter().all(|one| one.kind == StepKind::Answer || one.score == Some(0.0)));
    // The judge is undecided about whatever teacher `a` says first.
    let first = all.candidates[0].text.clone();
    let of_first: fn(&str) -> bool = {
        static FIRST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        FIRST.set(format!("Next step:\n{}", first.trim_end())).unwrap();
        |asked| asked.contains(FIRST.get().unwrap().as_str())
    };
    let result = run(of_first).unwrap();
    let one = &result.candidates[0];
    assert_eq!((one.text.as_str(), one.score, one.rank, one.fate), (first.as_str(), None, None, Fate::Dropped));
    assert!(result.candidates.iter().all(|other| other.parent != Some(0)));
    insta::assert_snapshot!(run(|_| true).unwrap_err(), @"scorer `judgment`: expected a score for at least one candidate at depth 0, got none for any of 2");
    insta::assert_snapshot!(run(|asked| asked.contains("Reasoning so far:\n###")).unwrap_err(), @"scorer `judgment`: expected a score for at least one candidate at depth 1, got none for any of 4");
}

/// The header that a step ended at is the next one's: what is found is the same where it is not generated twice.
#[test]
fn kept_headers_save_tokens_and_change_no_text() {
    for (key, search) in searches().into_iter().enumerate().filter(|(_, search)| {
        !matches!(search, SearchSettings::Curation(_) | SearchSettings::Single(_) | SearchSettings::Integration(_))
    }) {
        let world = World { random: true, words: 4, depth: 5, close: 0.1, ..World::new(key as u64) };
        let found = |headers: Headers| {
            let segmenter = Segmenter::PromptGuided { headers };
            let settings = GenerateSettings { segmenter, ..settings(search.clone()) };
            let result = solve(&world::generator(&world, &["a", "b", "c"], settings, None)).unwrap();
            check_result(&result, "kept headers");
            let texts: Vec<(u32, String, Fate)> =
                result.candidates.iter().map(|one| (one.id, one.text.clone(), one.fate)).collect();
            (texts, result.trajectories[0].response.clone(), result.usage.generated_tokens)
        };
        let (own, kept) = (found(Headers::Own), found(Headers::Kept));
        assert_eq!((&own.0, &own.1), (&kept.0, &kept.1), "{search:?}");
        assert!(kept.2 < own.2, "{search:?}: {} of {}", kept.2, own.2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tree that is walked often enough is seen as a whole.
    #[test]
    fn tree_search_that_sees_all_finds_the_optimum(key: u64, depth in 1..3usize, close in 0.0..0.8f64) {
        let world = World { depth, close, words: 100, ..World::new(key) };
        let leaves = world.leaves(&["a", "b", "c"]);
        let search = MctsSettings { exploration: 1000.0, choose: Choose::BestScored, ..mcts(60) };
        let generator = world::generator(&world, &["a", "b", "c"], settings(SearchSettings::Mcts(search)), None);
        let result = solve(&generator).unwrap();
        let best = leaves.iter().map(|leaf| world.score(leaf)).fold(f64::MIN, f64::max);
        prop_assert!((result.trajectories[0].score.unwrap() - best).abs() < 1e-9);
        check_result(&result, "mcts");
    }

    #[test]
    fn the_order_of_teachers_decides_ties_only_in_integration(key: u64) {
        let world = World { words: 1_000_000_000, random: true, ..World::new(key) };
        let seen = |names: &[&str]| {
            let search = SearchSettings::Integration(integration(3, 1));
            let result = block_on(world::generator(&world, names, settings(search), None).solve(
                &problem("p"), Seed::root(1), &(),
            ));
            let Outcome::Done(result) = result else { panic!("expected a result") };
            (result.trajectories[0].response.clone(), result.usage.generated_tokens)
        };
        prop_assert_eq!(seen(&["a", "b", "c", "m"]), seen(&["m", "a", "b", "c"]));
    }
}
