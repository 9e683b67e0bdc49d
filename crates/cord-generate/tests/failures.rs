//! What a search does when a model, a scorer or a caller does not do its part.

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use cord_core::{
    BoxFuture, Capabilities, Finish, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Outcome, Problem,
    ScoreRequest, Seed, TokenLogprob, Usage,
};
use cord_generate::{
    Action, BeamSettings, GenerateError, Generator, Judged, Reply, Scope, Score, Scorer, Search, SearchPlan,
    SearchSettings, Teacher, Ticket,
};
use cord_testkit::{Call, Scripted, Turnstile};
use futures::executor::block_on;
use world::{Taste, World, at_once, beam, perplexity, problem, settings, solve, teacher};

fn gone(reason: &str) -> ModelError {
    ModelError::Gone { model: "m".into(), reason: reason.into() }
}

#[test]
fn one_bad_problem_never_ends_a_run() {
    let world = World::new(1);
    let prover = Scripted::new("prover")
        .believing(|request| if request.prompt.messages[0].content.contains("bad") { f64::NAN } else { -1.0 });
    let generator =
        Generator::new(settings(beam(2)), vec![teacher("a", world.teacher("a"))], perplexity(prover)).unwrap();
    let mut problems: Vec<Problem> = ["p3", "p1", "p2"].map(problem).to_vec();
    problems[1].question = "bad".into();
    let outcomes = block_on(generator.run(&problems, Seed::root(1), at_once(2), &()));
    let shown: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Done(result) => format!("{}: done", result.problem),
            Outcome::Failed { id, reason } => format!("{id}: {reason}"),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
        p1: scorer `predictive-perplexity`: expected finite log-probabilities of at most 0, got NaN at token 0 of 2
        p2: done
        p3: done
        ");
}

#[test]
fn of_several_failures_the_first_candidates_is_reported_in_any_order() {
    let world = World::new(1);
    let failing = |name: &'static str, turnstile: &Turnstile| {
        teacher(name, world.teacher(name).behind(turnstile).failing(move |_| Some(gone(name))))
    };
    for order in 0..20 {
        let turnstile = Turnstile::new(Seed::root(order));
        let teachers = vec![
            teacher("a", world.teacher("a").behind(&turnstile)),
            failing("b", &turnstile),
            failing("c", &turnstile),
        ];
        // The scorer fails too, about the first teacher's candidate.
        let prover = world.prover().behind(&turnstile).failing(|_| Some(gone("prover")));
        let generator = Generator::new(settings(beam(2)), teachers, perplexity(prover)).unwrap();
        let outcome = turnstile.run(generator.solve(&problem("p"), Seed::root(1), &()));
        let Outcome::Failed { reason, .. } = outcome else { panic!("expected a failure") };
        assert_eq!(reason, "scorer `predictive-perplexity` failed: `m` stopped answering: prover", "order {order}");
        let turnstile = Turnstile::new(Seed::root(order));
        let teachers = vec![
            teacher("a", world.teacher("a").behind(&turnstile)),
            failing("b", &turnstile),
            failing("c", &turnstile),
        ];
        // Siblings that are judged together are not judged at all when one is missing.
        let taste = Taste { scope: Scope::Siblings, opinion: |_: &str| f64::NAN };
        let generator = Generator::new(settings(beam(2)), teachers, Arc::new(taste)).unwrap();
        let outcome = turnstile.run(generator.solve(&problem("p"), Seed::root(1), &()));
        let Outcome::Failed { reason, .. } = outcome else { panic!("expected a failure") };
        assert_eq!(reason, "teacher `b` failed at depth 0: `m` stopped answering: b", "order {order}");
    }
}

#[test]
fn a_failure_at_a_later_step_says_where() {
    let world = World { close: 0.0, ..World::new(2) };
    let late = |call: &Call| (!call.prefix().is_empty()).then(|| gone("the server hung up"));
    let teachers = vec![teacher("a", world.teacher("a").failing(late))];
    let generator = Generator::new(settings(beam(1)), teachers, perplexity(world.prover())).unwrap();
    insta::assert_snapshot!(solve(&generator).unwrap_err(), @"teacher `a` failed at depth 1: `m` stopped answering: the server hung up");
}

#[test]
fn a_score_that_is_no_number_is_never_a_rank() {
    let world = World::new(2);
    let reason = |value: f64| {
        let taste = Taste { scope: Scope::Each, opinion: move |_: &str| value };
        let teachers = vec![teacher("a", world.teacher("a"))];
        solve(&Generator::new(settings(beam(1)), teachers, Arc::new(taste)).unwrap()).unwrap_err()
    };
    insta::assert_snapshot!(reason(f64::NAN), @"scorer `taste`: expected a finite score, got NaN");
    insta::assert_snapshot!(reason(f64::INFINITY), @"scorer `taste`: expected a finite score, got inf");
}

struct Miser;

impl Scorer for Miser {
    fn name(&self) -> &'static str {
        "miser"
    }

    fn scope(&self) -> Scope {
        Scope::Each
    }

    fn score<'a>(&'a self, _: &'a Problem, _: &'a [Judged]) -> BoxFuture<'a, Result<Vec<Score>, GenerateError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[test]
fn a_scorer_must_score_every_candidate() {
    let teachers = vec![teacher("a", World::new(2).teacher("a"))];
    let generator = Generator::new(settings(beam(1)), teachers, Arc::new(Miser)).unwrap();
    insta::assert_snapshot!(solve(&generator).unwrap_err(), @"scorer `miser`: expected a score for each candidate (1), got 0");
}

/// Stops where it was not told to.
struct Stubborn(Scripted);

impl LanguageModel for Stubborn {
    fn identity(&self) -> &ModelId {
        self.0.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn generate(&self, _: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        let finish = Finish::Delimiter("\n\n".into());
        let reply = Generation { text: "a".into(), finish, mean_logprob: None, usage: Usage::default() };
        Box::pin(async move { Ok(reply) })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        self.0.loglikelihood(request)
    }
}

#[test]
fn a_stop_that_was_not_asked_for_is_an_error() {
    let model = Arc::new(Stubborn(Scripted::new("s").writing(|_| String::new())));
    let teachers = vec![Teacher { name: "s".into(), model, sampling: cord_core::Sampling::default() }];
    let generator = Generator::new(settings(beam(1)), teachers, perplexity(World::new(1).prover())).unwrap();
    insta::assert_snapshot!(solve(&generator).unwrap_err(), @r"teacher `s`: expected a generation that ends at one of `\n### Step`, `</think>`, got one that ended at `\n\n`");
}

#[test]
fn a_teacher_must_be_able_to_write() {
    let teachers = vec![teacher("mute", Scripted::new("mute"))];
    let refused = Generator::new(settings(beam(1)), teachers, perplexity(World::new(1).prover()));
    insta::assert_snapshot!(refused.err().unwrap(), @"expected a model that can generate in the role of teacher, got `mute`, which can't");
}

fn search(names: &[&str]) -> Search {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Search::new(&problem("p"), Arc::new(SearchPlan::new(settings(beam(2)), names, &Miser).unwrap()), Seed::root(1))
}

fn step(ticket: Ticket, text: &str) -> Reply {
    let finish = Finish::Delimiter("</think>".into());
    let usage = Usage { generated_tokens: 3, ..Usage::default() };
    Reply::Generated { ticket, generation: Generation { text: text.into(), finish, mean_logprob: None, usage } }
}

fn ticket(action: &Action) -> Ticket {
    match action {
        Action::Generate(task) => task.ticket,
        Action::Score(task) => task.ticket,
        Action::Wait | Action::Done => panic!("expected a request, got {action:?}"),
    }
}

#[test]
fn a_candidate_is_scored_while_its_siblings_are_still_being_written() {
    let mut search = search(&["a", "b"]);
    let (first, second) = (search.next_action(), search.next_action());
    assert_eq!(search.next_action(), Action::Wait);
    search.accept(step(ticket(&second), "x\n")).unwrap();
    let Action::Score(task) = search.next_action() else { panic!("expected a request for a score") };
    assert_eq!(task.candidates, [Judged::new("", "x\n</think>")]);
    let scores = vec![Score { value: Some(0.5), usage: Usage::default() }];
    search.accept(Reply::Scored { ticket: task.ticket, scores }).unwrap();
    // The same text is not judged again, and ranking has waited for it.
    assert_eq!(search.next_action(), Action::Wait);
    search.accept(step(ticket(&first), "x\n")).unwrap();
    let Action::Generate(answer) = search.next_action() else { panic!("expected a request for the answer") };
    assert_eq!((answer.prompt.prefix.as_str(), answer.teacher, answer.stop.len()), ("x\n</think>", 0, 0));
    assert_eq!(search.next_action(), Action::Wait);
}

#[test]
fn a_reply_must_be_to_an_open_request_of_its_kind() {
    let twice = {
        let mut search = search(&["a", "b"]);
        let first = ticket(&search.next_action());
        search.accept(step(first, "x\n")).unwrap();
        (search.accept(step(first, "x\n")), search.next_action())
    };
    // After an error nothing more is wanted.
    assert_eq!(twice.1, Action::Wait);
    insta::assert_snapshot!(twice.0.unwrap_err(), @"expected a reply to an open ticket, got one to `0`");
    let mut search = search(&["a"]);
    let first = ticket(&search.next_action());
    let error = search.accept(Reply::Scored { ticket: first, scores: Vec::new() }).unwrap_err();
    assert_eq!(error, GenerateError::UnknownTicket(first));
    assert!(search.into_result().is_none());
}

#[test]
fn no_two_requests_share_a_random_stream() {
    let world = World { random: true, ..World::new(1) };
    let models: Vec<Arc<Scripted>> = ["a", "b"].iter().map(|name| Arc::new(world.teacher(name))).collect();
    let teachers = ["a", "b"].iter().zip(&models).map(|(name, model)| {
        let model: Arc<dyn LanguageModel> = Arc::clone(model) as _;
        Teacher { name: (*name).to_owned(), model, sampling: cord_core::Sampling::default() }
    });
    let search = BeamSettings { width: 3, proposals: 2, ..BeamSettings::default() };
    let generator =
        Generator::new(settings(SearchSettings::Beam(search)), teachers.collect(), perplexity(world.prover())).unwrap();
    let problems = ["p", "q"].map(problem);
    block_on(generator.run(&problems, Seed::root(1), at_once(2), &()));
    let calls: Vec<Call> = models.iter().flat_map(|model| model.calls()).collect();
    let seeds: BTreeSet<String> = calls
        .iter()
        .map(|call| match call {
            Call::Generate(request) => format!("{:?}", request.seed),
            Call::Score(_) => panic!("expected teachers to write only"),
        })
        .collect();
    assert!(calls.len() > 8);
    assert_eq!(seeds.len(), calls.len());
}

#[test]
fn a_run_can_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    let generator = world::generator(&World::new(1), &["a"], settings(beam(1)), None);
    let problems = [problem("p")];
    check(&generator.run(&problems, Seed::root(1), at_once(1), &()));
    check(&generator);
}

#[test]
fn the_prover_is_asked_once_about_texts_on_which_teachers_agree() {
    let world = World { words: 1, close: 0.0, depth: 3, ..World::new(1) };
    let prover = Arc::new(world.prover());
    let model: Arc<dyn LanguageModel> = Arc::clone(&prover) as _;
    let prompt = cord_generate::PromptTemplate::default();
    let scorer = cord_generate::PredictivePerplexity::new(model, cord_generate::DEFAULT_CUE, prompt).unwrap();
    let teachers = ["a", "b", "c"].map(|name| teacher(name, world.teacher(name))).to_vec();
    let result = solve(&Generator::new(settings(beam(4)), teachers, Arc::new(scorer)).unwrap()).unwrap();
    assert_eq!(prover.calls().len(), 3, "one call a step");
    assert_eq!(result.usage.scored_tokens, 6, "two tokens of answer a call");
    assert_eq!(result.candidates.len(), 10, "three proposals a step, and the answer");
}
