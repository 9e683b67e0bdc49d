//! How a generation ends: by the end-of-turn token, by a stop string, by its budget.

use burn::tensor::{Tensor, TensorData};
use cord_core::{
    Finish, GenerateRequest, Generation, LanguageModel, Message, ModelError, Opening, Prompt, Sampling, ScoreRequest,
    Seed,
};
use cord_lm::{
    Architecture, DecodeRequest, Decoded, DeviceSpec, Dtype, Engine, EngineSettings, LmConfig, LoadedModel, ParamMut,
    PrefixCache, Transformer, decode, load, open_device, save,
};
use cord_text::{Renderer, TokenizerSpec, train_tokenizer};
use futures::executor::block_on;
use futures::future::{Either, select};

fn renderer() -> Renderer {
    let spec = TokenizerSpec::ByteBpe { vocab: 263, split_digits: true };
    train_tokenizer(&spec, std::iter::once("a 1 2 3.")).unwrap()
}

/// A model that draws one token, whatever it has read: every token is embedded alike, no block adds anything, and the
/// head gives its whole weight to that token.
fn model_of_one_token(token: u32) -> LoadedModel {
    model_of_one_token_and_context(token, 64)
}

fn model_of_one_token_and_context(token: u32, context: usize) -> LoadedModel {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let renderer = renderer();
    let config = LmConfig {
        vocab: renderer.vocab_size(),
        hidden: 16,
        ffn: 16,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        context,
        rope_theta: 1e4,
        norm_eps: 1e-6,
        tied: false,
        eos: renderer.eos_ids().to_vec(),
        bos: None,
        pad: Some(renderer.pad_id()),
        architecture: Architecture::default(),
    };
    let mut transformer = Transformer::init(&config, Seed::root(4), &device);
    transformer.visit(&mut |name, param| match param {
        ParamMut::Table(t) => *t = t.ones_like(),
        ParamMut::Linear(t) if name == "lm_head.weight" => {
            let [rows, columns] = t.dims();
            let weight = |cell: usize| if cell % columns == token as usize { 4.0 } else { 0.0 };
            let cells: Vec<f32> = (0..rows * columns).map(weight).collect();
            *t = Tensor::from_data(TensorData::new(cells, [rows, columns]), &device);
        }
        ParamMut::Linear(t) if name.contains("o_proj") || name.contains("down_proj") => *t = t.zeros_like(),
        ParamMut::Linear(_) | ParamMut::Vector(_) => {}
    });
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &transformer, &renderer, Dtype::F32).unwrap();
    load(dir.path(), "constant", &device).unwrap()
}

fn letter() -> u32 {
    let ids = renderer().continuation_ids("a").unwrap();
    assert_eq!(ids.len(), 1);
    ids[0]
}

fn request(max_tokens: u32, stop: &[&str], temperature: f64) -> DecodeRequest {
    DecodeRequest {
        prompt: renderer().continuation_ids("1 2").unwrap(),
        stop: stop.iter().map(|stop| (*stop).to_owned()).collect(),
        max_tokens,
        sampling: Sampling { temperature, top_p: 1.0, top_k: 0 },
        seed: Seed::root(u64::from(max_tokens)),
    }
}

#[test]
fn every_ending_is_named_and_every_drawn_token_counted() {
    let check = |token: u32, request: DecodeRequest, text: &str, finish: Finish, tokens: u64| {
        let LoadedModel { transformer, renderer, .. } = model_of_one_token(token);
        let decoded =
            decode(&transformer, &mut PrefixCache::new(0), &renderer, "constant", &[request]).remove(0).unwrap();
        let Decoded { text: given, finish: ending, tokens: drawn, mean_logprob } = decoded;
        assert_eq!((given.as_str(), ending, drawn), (text, finish, tokens));
        assert!(mean_logprob.abs() < 1e-6, "the one token is certain: {mean_logprob}");
    };
    let end = renderer().end_of_turn_id();
    for temperature in [0.0, 0.6, 1.0] {
        // The end-of-turn token is drawn and counted, and is no text; within the budget it is the ending, even where it
        // is the last token that the budget allows.
        check(end, request(20, &["\n"], temperature), "", Finish::Eos, 1);
        check(end, request(1, &[], temperature), "", Finish::Eos, 1);
        check(letter(), request(7, &["b"], temperature), "aaaaaaa", Finish::Length, 7);
        check(letter(), request(7, &["aaa"], temperature), "", Finish::Delimiter("aaa".into()), 3);
        check(letter(), request(7, &["aaaaaaa"], temperature), "", Finish::Delimiter("aaaaaaa".into()), 7);
        check(letter(), request(7, &["aaaaaaaa"], temperature), "aaaaaaa", Finish::Length, 7);
    }
    // No budget: nothing is drawn, and a model that would end is not asked whether it would.
    check(end, request(0, &[], 0.6), "", Finish::Length, 0);
    check(letter(), request(0, &["a"], 0.6), "", Finish::Length, 0);
}

#[test]
fn rows_of_one_batch_end_each_in_their_own_way() {
    let LoadedModel { transformer, renderer, .. } = model_of_one_token(letter());
    let requests: Vec<DecodeRequest> =
        vec![request(0, &[], 1.0), request(40, &["aaaaa"], 1.0), request(1, &[], 0.0), request(30, &[], 0.6)];
    let decoded = decode(&transformer, &mut PrefixCache::new(0), &renderer, "constant", &requests);
    let endings: Vec<(usize, Finish)> =
        decoded.into_iter().map(|row| row.unwrap()).map(|row| (row.text.len(), row.finish)).collect();
    let expected =
        [(0, Finish::Length), (0, Finish::Delimiter("aaaaa".into())), (1, Finish::Length), (30, Finish::Length)];
    assert_eq!(endings, expected);
}

#[test]
fn an_engine_reports_endings_and_costs() {
    let generate = |token: u32, max_tokens: u32| -> Result<Generation, ModelError> {
        let engine = Engine::start(model_of_one_token(token), EngineSettings::default()).unwrap();
        block_on(engine.generate(GenerateRequest {
            prompt: Prompt { messages: vec![Message::user("1 2")], opening: Opening::Think, prefix: String::new() },
            stop: vec![],
            max_tokens,
            sampling: Sampling::default(),
            seed: Seed::root(1),
        }))
    };
    let ended = generate(renderer().end_of_turn_id(), 20).unwrap();
    assert_eq!((ended.text.as_str(), ended.finish, ended.usage.generated_tokens), ("", Finish::Eos, 1));
    assert!(ended.mean_logprob.is_some());
    // Nothing drawn has no mean, and costs what was read.
    let nothing = generate(letter(), 0).unwrap();
    assert_eq!((nothing.finish, nothing.mean_logprob, nothing.usage.generated_tokens), (Finish::Length, None, 0));
    assert_eq!(nothing.usage.prompt_tokens, ended.usage.prompt_tokens);
    assert!(generate(letter(), 65).is_err(), "more than the context is refused, not cut");
}

#[test]
fn a_request_need_not_wait_for_those_that_are_being_generated() {
    let model = model_of_one_token_and_context(letter(), 8192);
    let engine = Engine::start(model, EngineSettings { max_batch: 2, ..EngineSettings::default() }).unwrap();
    let prompt = Prompt { messages: vec![Message::user("1 2")], opening: Opening::Think, prefix: String::new() };
    let generate = |max_tokens| {
        let (prompt, sampling, seed) = (prompt.clone(), Sampling::default(), Seed::root(1));
        engine.generate(GenerateRequest { prompt, stop: vec![], max_tokens, sampling, seed })
    };
    // One is begun, and the others come after it and are over before it is.
    let long = generate(8000);
    let others = async {
        for tokens in [3, 5, 2] {
            assert_eq!(generate(tokens).await.unwrap().usage.generated_tokens, u64::from(tokens));
            let (prompt, continuation) = (prompt.clone(), "a".to_owned());
            assert_eq!(engine.loglikelihood(ScoreRequest { prompt, continuation }).await.unwrap().len(), 1);
        }
    };
    match block_on(select(long, Box::pin(others))) {
        Either::Left(_) => panic!("the others waited for the long one"),
        Either::Right(((), long)) => assert_eq!(block_on(long).unwrap().text, "a".repeat(8000)),
    }
}
