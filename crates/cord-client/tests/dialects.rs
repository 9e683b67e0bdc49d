//! Each dialect gives what an in-process model of the same weights gives.

mod world;

use std::collections::BTreeMap;

use cord_core::{Finish, LanguageModel, Sampling};
use cord_testkit::{Kind, Quirk, Served};
use world::{KINDS, expected, generate, greedy, loglikelihood, opened, reference_score, score};

#[test]
fn texts_are_cut_as_in_process() {
    for kind in KINDS {
        let served = Served::new(kind);
        let (_server, model) = opened(served.clone());
        let mut endings: BTreeMap<&str, usize> = BTreeMap::new();
        for round in 0..60 {
            let stops: &[&str] = [&["\n\n"][..], &["e", "ing"], &[], &["\nS", " the"]][round % 4];
            let request = greedy(&format!("question {round}"), stops, 1 + (round as u32 * 7) % 40);
            let (text, finish, count, mean) = expected(&served, &request);
            let reply = generate(&model, request.clone()).unwrap();
            assert_eq!((&reply.text, &reply.finish), (&text, &finish), "{kind:?} round {round}");
            assert_eq!(reply.usage.generated_tokens, count, "{kind:?} round {round}");
            let ending = match finish {
                Finish::Eos => "eos",
                Finish::Delimiter(_) => "delimiter",
                Finish::Length => "length",
            };
            *endings.entry(ending).or_default() += 1;
            match reply.mean_logprob {
                Some(told) => assert!((told - mean).abs() < 1e-9, "{kind:?} round {round}: {told} {mean}"),
                // llama.cpp leaves out those of a stop string, or of a character's middle.
                None => assert_eq!(kind, Kind::LlamaCpp, "round {round}"),
            }
        }
        assert!(endings.len() == 3 && endings.values().all(|count| *count >= 3), "{kind:?}: {endings:?}");
    }
}

#[test]
fn a_served_reward_head_tells_its_labels() {
    let served = Served::new(Kind::Vllm).with(Quirk::Rewards);
    let (server, model) = opened(served.clone());
    let can = model.capabilities();
    assert!(!can.generate && can.loglikelihood);
    assert_eq!(model.scores_by().as_deref(), Some("`/pooling`"));
    for question in ["what?", "why?"] {
        let request = |label: &str| score(question, label);
        let prompt = world::renderer().prompt_ids(&request("right").prompt).unwrap();
        let right = served.model().right(&prompt);
        for (label, expected) in cord_core::REWARD_LABELS.iter().zip([1.0 - right, right]) {
            let given = loglikelihood(&model, request(label)).unwrap();
            assert!(
                given.len() == 1 && (given[0].logprob.exp() - expected).abs() < 1e-9,
                "{label}: {given:?} {expected}"
            );
        }
    }
    assert_eq!(server.counts().posts, 4);
    let refused = loglikelihood(&model, score("what?", "Yes")).unwrap_err().to_string();
    assert!(refused.contains("`prompt = \"qwen-prm.v1\"`"), "{refused}");
    let refused = generate(&model, greedy("what?", &[], 4)).unwrap_err().to_string();
    assert!(refused.contains("can't generate: it has a reward head"), "{refused}");
}

#[test]
fn scores_are_the_models_own() {
    for kind in KINDS {
        let served = Served::new(kind);
        let (server, model) = opened(served.clone());
        let mut lengths = Vec::new();
        for continuation in ["4", "42}", "the answer is 42.\n\nSo it is the thing, naïve as it is: 1, 2, 3, 4, 5"] {
            let request = score("what?", continuation);
            let given = loglikelihood(&model, request.clone()).unwrap();
            let expected = reference_score(&served, &request);
            assert_eq!(given.len(), expected.len());
            lengths.push(given.len());
            for (index, (given, expected)) in given.iter().zip(&expected).enumerate() {
                assert!((given.logprob - expected).abs() < 1e-9, "{kind:?} {continuation:?} token {index}");
            }
            let ids: Vec<u32> = given.iter().map(|token| token.token).collect();
            assert_eq!(ids, world::renderer().continuation_ids(continuation).unwrap());
        }
        // The ways differ in how many requests they take.
        let requests = match kind {
            Kind::Vllm => lengths.iter().map(|length| length.div_ceil(20)).sum(),
            Kind::Sglang => lengths.len(),
            Kind::LlamaCpp => lengths.iter().sum::<usize>(),
            Kind::OpenAi => unreachable!(),
        };
        assert_eq!(server.counts().posts, requests, "{kind:?}");
        let stats = model.stats();
        assert!(stats.cache_hits().is_some_and(|share| share > 0.0) && stats.total(|e| e.retries) == 0, "{stats:?}");
    }
}

#[test]
fn vllm_falls_back_where_a_field_is_missing() {
    let check = |quirks: &[Quirk], field: &'static str, requests: usize| {
        let served = Served { quirks: quirks.to_vec(), ..Served::new(Kind::Vllm) };
        let (server, model) = opened(served.clone());
        server.script(move |seen| {
            assert!(seen.body.get(field).is_some(), "expected `{field}` in {}", seen.body);
            None
        });
        let request = score("what?", "12 things");
        let given = loglikelihood(&model, request.clone()).unwrap();
        for (given, expected) in given.iter().zip(reference_score(&served, &request)) {
            assert!((given.logprob - expected).abs() < 1e-9, "{field}");
        }
        assert_eq!(server.counts().posts, requests, "{field}");
    };
    check(&[], "logprob_token_ids", 1);
    check(&[Quirk::NoSelectedIds], "allowed_token_ids", 7);
    check(&[Quirk::NoSelectedIds, Quirk::NoAllowedIds], "prompt_logprobs", 1);
}

#[test]
fn sglangs_drawn_log_probabilities_are_told_only_where_they_are_the_models_own() {
    let (_server, model) = opened(Served::new(Kind::Sglang));
    let told = |temperature| {
        let mut request = greedy("q", &[], 5);
        request.sampling = Sampling { temperature, top_p: 1.0, top_k: 0 };
        generate(&model, request).unwrap().mean_logprob.is_some()
    };
    assert!(told(0.0) && told(1.0) && !told(0.6));
}

#[test]
fn a_model_is_named_by_what_the_server_states_and_by_our_tokenizer() {
    let (_a, one) = opened(Served::new(Kind::Vllm));
    let (_b, same) = opened(Served { weights: 8, ..Served::new(Kind::Vllm) });
    let (_c, other) = opened(Served { version: "0.33.0".to_owned(), ..Served::new(Kind::Vllm) });
    assert_eq!(one.identity(), same.identity(), "what a server does not state can't be known");
    assert_ne!(one.identity().weights, other.identity().weights);
    assert_eq!(one.identity().tokenizer, world::renderer().tokenizer_digest());
    assert_eq!(one.identity().name, "tiny");
    let capabilities = one.capabilities();
    assert!(capabilities.generate && capabilities.loglikelihood && !capabilities.deterministic);
    assert_eq!(capabilities.context, 4096);
}

#[test]
fn seeds_reach_the_server() {
    for kind in KINDS {
        let (_server, model) = opened(Served::new(kind));
        let text = |seed: u64| {
            let mut request = greedy("q", &[], 12);
            request.sampling = Sampling { temperature: 1.0, top_p: 0.95, top_k: 50 };
            request.seed = cord_core::Seed::root(seed);
            generate(&model, request).unwrap().text
        };
        assert_eq!(text(1), text(1), "{kind:?}");
        let texts: std::collections::BTreeSet<String> = (0..8).map(text).collect();
        assert!(texts.len() > 4, "{kind:?}: {texts:?}");
    }
}

#[test]
fn a_plain_server_scores_only_where_echo_is_honoured() {
    let open = |quirks: &[Quirk]| {
        let server = cord_testkit::TestServer::start(Served { quirks: quirks.to_vec(), ..Served::new(Kind::OpenAi) });
        let mut settings = world::settings(&[&server]);
        settings.context = Some(2048);
        let opened =
            futures::executor::block_on(cord_client::ServedModel::open(&world::network(), settings, world::renderer()));
        (server, opened.unwrap())
    };
    let (server, model) = open(&[Quirk::Echoes]);
    assert!(model.capabilities().loglikelihood);
    assert_eq!(model.capabilities().context, 2048);
    let request = score("what?", "42");
    let given = loglikelihood(&model, request.clone()).unwrap();
    for (given, expected) in given.iter().zip(reference_score(&server.served(), &request)) {
        assert!((given.logprob - expected).abs() < 1e-9);
    }
    let (_server, model) = open(&[]);
    assert!(!model.capabilities().loglikelihood);
    let refused = loglikelihood(&model, score("what?", "42")).unwrap_err().to_string();
    assert_eq!(refused, "`tiny` can't give the log-probabilities of a continuation");
}
