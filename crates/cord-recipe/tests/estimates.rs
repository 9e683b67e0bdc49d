//! What stages would cost, counted from their settings.

use std::path::Path;

use cord_core::Digest;
use cord_recipe::{Estimate, Facts, Identities, Plan, Recipe, Span, StageKind};

const HEAD: &str = "name = \"costs\"\nseed = 1\nproblems.dataset = \"d\"\n\
    models = { a.path = \"a\", b.path = \"b\", p.path = \"p\", s.path = \"s\" }\n\
    [generate]\nteachers = [\"a\", \"b\"]\nscorer = { kind = \"predictive-perplexity\", model = \"p\" }\n\
    search = { kind = \"beam\", width = 3 }\nbudget = { reasoning = 100, answer = 20, step = 10, steps = 5 }\n\
    [train]\nstudent = \"s\"\nepochs = 4\nmax-length = 200\n\
    [eval]\nbenchmarks = [\"t\"]\nsamples = 2\nmax-tokens = 50\n\
    [run.expected]\nquestion = 7\ngold = 3\nstep = 5\nreasoning = 20\nanswer = 6\nresponse = 30\n";

fn read(overrides: &[&str]) -> (Recipe, Plan) {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let recipe = Recipe::read(HEAD, Path::new("costs.toml"), &overrides, &|_| true);
    let recipe = recipe.unwrap_or_else(|error| panic!("{error}"));
    let needs = recipe.needs();
    let digest = |label: &String| (label.clone(), Digest::of_bytes(label.as_bytes()));
    let known = Identities {
        models: needs.models.keys().map(digest).collect(),
        datasets: needs.datasets.keys().map(digest).collect(),
    };
    let plan = recipe.plan(&known).unwrap();
    (recipe, plan)
}

fn estimate(kind: StageKind, overrides: &[&str]) -> Estimate {
    let (recipe, plan) = read(overrides);
    let facts = Facts {
        problems: 10,
        samples: 2,
        max_tokens: 50,
        trajectories: 1,
        trajectory_tokens: 120,
        pairs: 8,
        student: "s".to_owned(),
    };
    plan.of_kind(kind).next().unwrap().estimate(&facts, &recipe.run).unwrap()
}

fn span(expected: f64, most: f64) -> Span {
    Span { expected, most }
}

#[track_caller]
fn check(given: Span, expected: f64, most: f64) {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.abs().max(1.0);
    assert!(near(given.expected, expected) && near(given.most, most), "{given:?}, not {:?}", span(expected, most));
}

#[test]
fn a_beam_asks_every_teacher_about_every_open_beam() {
    let found = estimate(StageKind::Generate, &[]);
    // Two candidates, then two beams with four, then three beams with six each: 4 steps of 5 tokens are expected, 5 of 10 the
    // most. And one answer.
    let (expected, most) = (2.0 + 4.0 + 6.0 + 6.0, 2.0 + 4.0 + 6.0 + 6.0 + 6.0);
    check(found.total.generated, 10.0 * (expected * 5.0 + 6.0), 10.0 * (most * 10.0 + 20.0));
    check(found.models["p"].requests, 10.0 * expected, 10.0 * most);
    check(found.models["p"].scored, 10.0 * expected * 3.0, 10.0 * most * 3.0);
    check(found.total.requests, 10.0 * (2.0 * expected + 1.0), 10.0 * (2.0 * most + 1.0));
    let prompts = 2.0 * 7.0 + 4.0 * 12.0 + 6.0 * 17.0 + 6.0 * 22.0 + (7.0 + 20.0);
    let longest = 2.0 * 7.0 + 4.0 * 17.0 + 6.0 * 27.0 + 6.0 * 37.0 + 6.0 * 47.0 + (7.0 + 100.0);
    check(found.total.prompt, 10.0 * prompts, 10.0 * longest);
    // Teachers share it alike.
    assert_eq!(found.models["a"], found.models["b"]);
    let greedy = estimate(StageKind::Generate, &["generate.search.width=1"]);
    check(greedy.models["p"].requests, 10.0 * 8.0, 10.0 * 10.0);
    let twice = estimate(StageKind::Generate, &["generate.search={ kind = \"beam\", width = 1, proposals = 2 }"]);
    check(twice.models["p"].requests, 10.0 * 16.0, 10.0 * 20.0);
}

#[test]
fn other_searches_have_their_counts() {
    let of = |search: &str| estimate(StageKind::Generate, &[&format!("generate.search={search}")]);
    let curation = of("{ kind = \"curation\", trajectories = 4 }");
    check(curation.total.generated, 10.0 * 4.0 * 26.0, 10.0 * 4.0 * 120.0);
    check(curation.models["p"].requests, 40.0, 40.0);
    let single = of("{ kind = \"single\", teacher = \"b\", trajectories = 3 }");
    assert!(!single.models.contains_key("a"), "{single:?}");
    check(single.models["b"].generated, 10.0 * 3.0 * 26.0, 10.0 * 3.0 * 120.0);
    // Of two teachers one and a half is asked, about one trajectory at a time; at most as many as by a beam.
    let best_first = of("{ kind = \"best-first\", width = 3 }");
    check(best_first.total.generated, 10.0 * (4.0 * 1.5 * 5.0 + 6.0), 10.0 * (24.0 * 10.0 + 20.0));
    let mcts = of("{ kind = \"mcts\", iterations = 8 }");
    check(mcts.total.generated, 10.0 * (8.0 * (2.0 * 5.0 + 16.0) + 6.0), 10.0 * (8.0 * (2.0 * 10.0 + 120.0) + 20.0));
    let integration = of("{ kind = \"integration\", model = \"s\", trajectories = 2 }");
    check(integration.models["s"].generated, 10.0 * 26.0, 10.0 * 120.0);
    check(integration.models["s"].prompt, 10.0 * (7.0 + 52.0), 10.0 * (7.0 + 240.0));
    check(integration.models["a"].generated, 10.0 * 26.0, 10.0 * 120.0);
}

#[test]
fn scorers_ask_their_models() {
    let of = |scorer: &str| estimate(StageKind::Generate, &[&format!("generate.scorer={scorer}")]);
    let candidates = (18.0, 24.0);
    assert!(!of("{ kind = \"random\" }").models.contains_key("p"));
    let ensemble = of("{ kind = \"ensemble\", models = [\"p\", \"a\"] }");
    check(ensemble.models["p"].requests, 10.0 * candidates.0, 10.0 * candidates.1);
    check(ensemble.models["a"].scored, 30.0 * candidates.0, 30.0 * candidates.1);
    let judged = of("{ kind = \"judgment\", model = \"p\", max-tokens = 40 }");
    check(judged.models["p"].generated, 200.0 * candidates.0, 400.0 * candidates.1);
}

#[test]
fn students_and_benchmarks_have_theirs() {
    let train = estimate(StageKind::Train, &[]);
    check(train.models["s"].trained, 10.0 * 4.0 * 33.0, 10.0 * 4.0 * 200.0);
    let steps = estimate(StageKind::Train, &["train.steps=5", "train.batch=2"]);
    check(steps.models["s"].trained, 10.0 * 33.0, 10.0 * 200.0);
    let eval = estimate(StageKind::Eval, &[]);
    check(eval.models["s"].generated, 10.0 * 2.0 * 30.0, 10.0 * 2.0 * 50.0);
    check(eval.total.requests, 20.0, 20.0);
}

#[test]
fn preferences_have_theirs() {
    // Ten problems with 8 pairs each at most, half of them expected; a question of 7 tokens and half of 20 of reasoning, twice.
    let dpo = ["dpo.max-length=100"];
    let all = estimate(StageKind::Dpo, &dpo);
    check(all.models["s"].trained, 40.0 * 34.0, 80.0 * 200.0);
    let some = estimate(StageKind::Dpo, &[dpo[0], "dpo.pairs-per-problem=3", "dpo.epochs=2"]);
    check(some.models["s"].trained, 2.0 * 30.0 * 34.0, 2.0 * 30.0 * 200.0);
    let steps = estimate(StageKind::Dpo, &[dpo[0], "dpo.steps=5", "dpo.batch=4"]);
    check(steps.models["s"].trained, 20.0 * 34.0, 20.0 * 200.0);
}

#[test]
fn rates_and_prices_make_hours_and_money_where_all_are_known() {
    let rates = ["run.rates.a.generated=10", "run.rates.b.generated=10", "run.rates.p.scored=3"];
    let found = estimate(StageKind::Generate, &rates[..2]);
    assert_eq!((found.gpu_hours, found.cost), (None, None), "the prover has no rate");
    let found = estimate(StageKind::Generate, &[&rates[..], &["run.rates.p.gpus=4"]].concat());
    // 960 tokens at 10 a second by one GPU, 540 scored at 3 a second by four.
    check(found.gpu_hours.unwrap(), (96.0 + 180.0 * 4.0) / 3600.0, (260.0 + 240.0 * 4.0) / 3600.0);
    assert_eq!(found.cost, None);
    let prices = [
        "run.prices.a.generated=1000",
        "run.prices.a.prompt=0",
        "run.prices.b.gpu-hour=36",
        "run.prices.p.scored=1000",
    ];
    let found = estimate(StageKind::Generate, &[&rates[..], &prices].concat());
    check(found.cost.unwrap(), 0.48 + 0.48 + 0.54, 1.3 + 1.3 + 0.72);
    // A rate of something else is none.
    let wrong =
        estimate(StageKind::Generate, &["run.rates.a.scored=1", "run.rates.b.generated=1", "run.rates.p.scored=1"]);
    assert_eq!(wrong.gpu_hours, None);
}

#[test]
fn what_estimates_go_by_changes_no_experiment_and_has_its_faults() {
    let digest = |overrides: &[&str]| read(overrides).0.digest();
    assert_eq!(digest(&[]), digest(&["run.expected.step=9", "run.rates.a.generated=3"]));
    let refused = |over: &str| {
        let overrides = [over.to_owned()];
        Recipe::read(HEAD, Path::new("costs.toml"), &overrides, &|_| true).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused("run.rates.z.generated=3"), @r#"
    `costs.toml` has 1 fault

    --set run.rates.z.generated=3: expected a model that `[models]` defines as `run.rates.z`, got `z`
      hint: did you mean `a`?
    "#);
    insta::assert_snapshot!(refused("run.rates.a.gpus=3"), @r#"
    `costs.toml` has 1 fault

    --set run.rates.a.gpus=3: expected tokens a second (or `scored`, or `trained`) as `run.rates.a.generated`, got nothing
    "#);
    insta::assert_snapshot!(refused("run.rates.a.generated=0"), @r#"
    `costs.toml` has 1 fault

    --set run.rates.a.generated=0: expected a number of tokens a second, above 0, as `run.rates.a.generated`, got `0`
    "#);
    insta::assert_snapshot!(refused("run.expected.step=30"), @r#"
    `costs.toml` has 1 fault

    --set run.expected.step=30: expected at most `reasoning` = 20 as `run.expected.step`, got `30`
    "#);
}
