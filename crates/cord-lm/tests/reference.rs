//! Logits against transformers, and the equalities that batching and caching must keep.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use cord_core::{
    Finish, GenerateRequest, LanguageModel, Message, Opening, Prompt, REWARD_LABELS, Sampling, ScoreRequest, Seed,
};
use cord_lm::{
    Architecture, DecodeRequest, DeviceSpec, Dtype, Engine, EngineSettings, LmConfig, LoadedModel, PrefixCache,
    Transformer, decode, load, open_device, read_tensors, save, score,
};
use cord_text::{Renderer, TokenizerSpec, train_tokenizer};
use futures::executor::block_on;
use futures::future::join_all;

fn compare_with_reference(dir: &Path) {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let model = Transformer::from_dir(dir, &device).unwrap();
    let reference = read_tensors(&dir.join("reference.safetensors")).unwrap();
    let (ids, shape) = &reference["input_ids"];
    let (expected, logits_shape) = &reference["logits"];
    assert_eq!(logits_shape[..2], shape[..]);
    let ids: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [shape[0], shape[1]]), &device);
    let given: Vec<f32> = model.logits(model.forward(tokens)).into_data().try_into_vec().unwrap();
    let worst = expected.iter().zip(&given).map(|(e, g)| (e - g).abs()).fold(0.0, f32::max);
    assert_eq!(expected.len(), given.len());
    assert!(worst < 1e-4, "{}: the largest difference of a logit is {worst}", dir.display());

    // Scoring reads by another path: the log-probability of every token of the first row.
    let row: Vec<u32> = reference["input_ids"].0[..shape[1]].iter().map(|id| *id as u32).collect();
    let request = (row[..1].to_vec(), row[1..].to_vec());
    let scored = score(&model, &mut PrefixCache::new(0), "fixture", &[request]).remove(0).unwrap();
    for (position, token) in scored.iter().enumerate() {
        let logits = &expected[position * model.config().vocab..][..model.config().vocab];
        let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let expected = f64::from(logits[row[position + 1] as usize]) - total.ln();
        let place = format!("{}: token {position}", dir.display());
        assert!((expected - token.logprob).abs() < 1e-4, "{place}: {expected} {}", token.logprob);
    }
}

/// Tiny checkpoints with logits from transformers: our own, made by `scripts/make-model-fixtures`, and those beside the project where
/// they are.
fn fixtures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let mut all: Vec<PathBuf> = [own, shared]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.join("reference.safetensors").exists())
        .collect();
    all.sort();
    all
}

#[test]
fn logits_equal_those_of_transformers() {
    let all = fixtures();
    let families: BTreeSet<&str> = all
        .iter()
        .map(|dir| LmConfig::from_dir(dir).unwrap_or_else(|e| panic!("{e}")).architecture.family().model_type())
        .collect();
    assert_eq!(families, BTreeSet::from(["gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3"]));
    for dir in &all {
        compare_with_reference(dir);
    }
}

/// Reading in pieces of any size, alone or beside others, gives the bits of reading at once.
#[test]
fn cached_is_uncached_and_batched_is_single_in_every_family() {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    for dir in fixtures() {
        let model = Transformer::from_dir(&dir, &device).unwrap();
        let (ids, shape) = &read_tensors(&dir.join("reference.safetensors")).unwrap()["input_ids"];
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let rows: Vec<&[u32]> = ids.chunks(shape[1]).collect();
        let ask = |known: &mut PrefixCache, requests: &[(Vec<u32>, Vec<u32>)]| -> Vec<Vec<u64>> {
            let scored = score(&model, known, "fixture", requests);
            scored.into_iter().map(|row| row.unwrap().iter().map(|token| token.logprob.to_bits()).collect()).collect()
        };
        let whole: Vec<(Vec<u32>, Vec<u32>)> = rows.iter().map(|row| (row[..1].to_vec(), row[1..].to_vec())).collect();
        let alone: Vec<Vec<u64>> =
            whole.iter().map(|one| ask(&mut PrefixCache::new(0), std::slice::from_ref(one)).remove(0)).collect();
        let place = dir.display();
        assert!(ask(&mut PrefixCache::new(0), &whole) == alone, "{place}: a batch changes a score");
        // A cache that holds more and more of a row: each token is scored behind what was read before.
        let mut known = PrefixCache::new(usize::MAX);
        for (row, expected) in rows.iter().zip(&alone) {
            for cut in [1, 2, 3, 7, 16, 17, 18, row.len() - 1] {
                let request = (row[..cut].to_vec(), row[cut..].to_vec());
                let given = ask(&mut known, &[request]).remove(0);
                assert!(given == expected[cut - 1..], "{place}: reading {cut} tokens first changes a score");
            }
        }
        assert!(known.reads().read < known.reads().asked, "{place}: something was known");
    }
}

/// The head's labels at every place against PyTorch, and through the engine.
#[test]
fn a_reward_head_equals_its_reference() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen2-prm");
    let dir = tempfile::tempdir().unwrap();
    renderer().save(dir.path()).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), dir.path().join(file)).unwrap();
    }
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let loaded = load(dir.path(), "prm", &device).unwrap();
    let head = loaded.head.clone().expect("the checkpoint has a reward head");
    let reference = read_tensors(&fixture.join("rewards.safetensors")).unwrap();
    let ((ids, shape), (expected, _)) = (&reference["input_ids"], &reference["logprobs"]);
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    let mut known = PrefixCache::new(usize::MAX);
    let mut seen = [0, 0];
    for (row, expected) in ids.chunks(shape[1]).zip(expected.chunks(2 * shape[1])) {
        let requests: Vec<(Vec<u32>, Vec<u32>)> =
            (1..=row.len()).flat_map(|count| [0, 1].map(|label| (row[..count].to_vec(), vec![label]))).collect();
        let given = head.score(&loaded.transformer, &mut known, "prm", &requests);
        for ((given, expected), (_, label)) in given.into_iter().zip(expected).zip(&requests) {
            let given = given.unwrap().remove(0);
            assert_eq!(given.token, label[0]);
            assert!((given.logprob - f64::from(*expected)).abs() < 1e-4, "{given:?} {expected}");
        }
        seen[0] += expected.chunks(2).filter(|labels| labels[0] > labels[1]).count();
        seen[1] += expected.chunks(2).filter(|labels| labels[0] < labels[1]).count();
    }
    assert!(seen.iter().all(|count| *count > 5), "the reference says both: {seen:?}");

    let prefix = "### Step 1. 4 plus 3 gives 7.\n".to_owned();
    let prompt = Prompt { messages: vec![Message::user("Move 1: forward 3.")], opening: Opening::Plain, prefix };
    let request = |continuation: &str| ScoreRequest { prompt: prompt.clone(), continuation: continuation.to_owned() };
    let asked = loaded.renderer.prompt_ids(&prompt).unwrap();
    let expected = head.score(&loaded.transformer, &mut known, "prm", &[(asked, vec![1])]).remove(0).unwrap();
    let engine = Engine::start(loaded, EngineSettings::default()).unwrap();
    let can = engine.capabilities();
    assert!(!can.generate && can.loglikelihood);
    assert_eq!(block_on(engine.loglikelihood(request(REWARD_LABELS[1]))).unwrap(), expected);
    let wrong = block_on(engine.loglikelihood(request(REWARD_LABELS[0]))).unwrap();
    assert!((wrong[0].logprob.exp() + expected[0].logprob.exp() - 1.0).abs() < 1e-5);
    let refused = block_on(engine.loglikelihood(request("Yes"))).unwrap_err().to_string();
    let expected = "`prm` can't score anything but `right` and `wrong`, the labels of its reward head: as a scorer it takes \
                    `prompt = \"qwen-prm.v1\"`";
    assert_eq!(refused, expected);
    let write =
        GenerateRequest { prompt, stop: vec![], max_tokens: 3, sampling: Sampling::default(), seed: Seed::root(1) };
    let refused = block_on(engine.generate(write)).unwrap_err().to_string();
    assert_eq!(refused, "`prm` can't generate: it has a reward head in place of a vocabulary");
    let refused = Transformer::from_dir(dir.path(), &device).err().unwrap().to_string();
    assert!(refused.contains("expected a head over the vocabulary, got that of a process reward model"), "{refused}");
}

/// A damaged head is told, tensor by tensor.
#[test]
fn a_reward_head_that_does_not_fit_is_refused() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-qwen2-prm");
    let dir = tempfile::tempdir().unwrap();
    renderer().save(dir.path()).unwrap();
    std::fs::copy(fixture.join("config.json"), dir.path().join("config.json")).unwrap();
    let mut tensors = read_tensors(&fixture.join("model.safetensors")).unwrap();
    tensors.remove("score.2.bias");
    tensors.insert("score.0.bias".into(), (vec![0.0; 3], vec![3]));
    cord_lm::write_tensors(&dir.path().join("model.safetensors"), &tensors, Dtype::F32).unwrap();
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let error = load(dir.path(), "prm", &device).err().unwrap().to_string();
    for fault in [
        "expected a tensor `score.0.bias` of the shape [16], got one of [3]",
        "expected a tensor `score.2.bias` of the shape [2], got none",
    ] {
        assert!(error.contains(fault), "{error}");
    }
}

fn renderer() -> Renderer {
    let text = "Move 1: forward 3. Move 2: times 7. ### Step 1. 4 plus 3 gives 7.\n### Step 2. 7 times 7 gives 9.\n</think>\nThe final answer is \\boxed{7, 9}.";
    let spec = TokenizerSpec::ByteBpe { vocab: 300, split_digits: true };
    train_tokenizer(&spec, std::iter::once(text)).unwrap()
}

/// A model with real text in and out and weights drawn wide, so that its choices are far from uniform.
fn model() -> LoadedModel {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let renderer = renderer();
    let config = LmConfig {
        vocab: renderer.vocab_size(),
        hidden: 48,
        ffn: 96,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        context: 256,
        rope_theta: 1e4,
        norm_eps: 1e-6,
        tied: true,
        eos: renderer.eos_ids().to_vec(),
        bos: None,
        pad: Some(renderer.pad_id()),
        architecture: Architecture::default(),
    };
    let mut transformer = Transformer::init(&config, Seed::root(4), &device);
    transformer.visit(&mut |_, param| {
        if let cord_lm::ParamMut::Table(t) | cord_lm::ParamMut::Linear(t) = param {
            *t = t.clone().mul_scalar(8.0);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &transformer, &renderer, Dtype::F32).unwrap();
    load(dir.path(), "wide", &device).unwrap()
}

fn prompts() -> Vec<Vec<u32>> {
    let renderer = renderer();
    let texts =
        ["Move 1: forward 3.", "Move 1: forward 3. Move 2: times 7.", "7", "Move 1: forward 3.", "4 plus 3 gives"];
    texts.iter().map(|t| renderer.continuation_ids(t).unwrap()).collect()
}

fn request(prompt: Vec<u32>, seed: u64, max_tokens: u32) -> DecodeRequest {
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, top_k: 0 };
    DecodeRequest { prompt, stop: vec!["gives".into()], max_tokens, sampling, seed: Seed::root(seed) }
}

#[test]
fn a_batch_decodes_what_each_prompt_decodes_alone() {
    let LoadedModel { transformer, renderer, .. } = model();
    // 150 tokens pass the point where the cache grows.
    let requests: Vec<_> = prompts().into_iter().zip(0..).map(|(p, i)| request(p, i, 150)).collect();
    let together = decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", &requests);
    for (request, together) in requests.iter().zip(together) {
        let alone =
            decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", std::slice::from_ref(request)).remove(0);
        let (alone, together) = (alone.unwrap(), together.unwrap());
        assert!(alone == together, "the draw depends on the batch for a prompt of {} tokens", request.prompt.len());
        assert!(alone.tokens > 3);
    }
}

#[test]
fn scores_are_the_same_alone_together_and_without_a_cache() {
    let LoadedModel { transformer, renderer, .. } = model();
    let stem = renderer.continuation_ids("Move 1: forward 3. Move 2: times 7. ### Step 1. 4 plus 3 gives").unwrap();
    let answer = renderer.continuation_ids("7, 9}.").unwrap();
    let mut requests: Vec<(Vec<u32>, Vec<u32>)> = Vec::new();
    for step in [" 7.", " 8.\n### Step 2.", " 7.\n", " 1"] {
        requests.push(([stem.clone(), renderer.continuation_ids(step).unwrap()].concat(), answer.clone()));
    }
    requests.push((prompts()[2].clone(), answer[..1].to_vec()));
    let together = score(&transformer, &mut PrefixCache::new(0), "wide", &requests);
    for ((prompt, continuation), together) in requests.iter().zip(together) {
        let together = together.unwrap();
        let alone = score(&transformer, &mut PrefixCache::new(0), "wide", &[(prompt.clone(), continuation.clone())])
            .remove(0)
            .unwrap();
        assert_eq!(alone, together, "batched and single scores are the same bits");
        let row = [prompt.as_slice(), continuation].concat();
        let ids: Vec<i64> = row.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), &transformer.device());
        let logits = transformer.logits(transformer.forward(tokens));
        let all: Vec<f32> = burn::tensor::activation::log_softmax(logits, 1).into_data().try_into_vec().unwrap();
        for (offset, token) in together.iter().enumerate() {
            let position = prompt.len() - 1 + offset;
            let expected = all[position * transformer.config().vocab + token.token as usize];
            // The model's weights are large, and its two paths sum in other orders: 1e-5 apart with AVX2, 1.2e-4 with AVX-512.
            assert!((f64::from(expected) - token.logprob).abs() < 5e-4, "{expected} {}", token.logprob);
        }
    }
}

/// As wide as SmolLM2-135M, with two layers: its products cut their sums into pieces, which must not depend on the batch either.
#[test]
fn a_wide_model_scores_the_same_alone_together_and_behind_a_cache() {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let LoadedModel { transformer, renderer, .. } = model();
    let config = LmConfig {
        hidden: 576,
        ffn: 1536,
        layers: 2,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ..transformer.config().clone()
    };
    let wide = Transformer::init(&config, Seed::root(6), &device);
    let answer = renderer.continuation_ids("7, 9}.").unwrap();
    let requests: Vec<(Vec<u32>, Vec<u32>)> =
        (1..24).map(|times| (prompts()[1].repeat(times.min(9)), answer[..=(times % 2)].to_vec())).collect();
    let alone: Vec<_> = requests
        .iter()
        .map(|request| score(&wide, &mut PrefixCache::new(0), "wide", std::slice::from_ref(request)).remove(0))
        .collect();
    let mut known = PrefixCache::new(usize::MAX);
    for _ in 0..2 {
        let together = score(&wide, &mut known, "wide", &requests);
        assert!(together == alone, "a batch or a cache changes a score");
    }
}

/// A search's requests, step by step: every step continues one of the last one's prompts, in the order of a seed.
fn growing_prompts(renderer: &Renderer) -> Vec<Vec<Vec<u32>>> {
    let mut stream = Seed::root(8).stream();
    let steps = [" 4 plus 3 gives 7.", " 7 times 7", "\n### Step 1.", " 9", " Move 2: times 7. 4 plus 3 gives 7, 9."];
    let steps = steps.map(|step| renderer.continuation_ids(step).unwrap());
    let mut prompts = vec![prompts()];
    while prompts.len() < 12 {
        let last = &prompts[prompts.len() - 1];
        let beams: Vec<Vec<u32>> = (0..6)
            .map(|_| {
                let parent = &last[stream.below(last.len() as u64) as usize];
                [parent.as_slice(), &steps[stream.below(steps.len() as u64) as usize]].concat()
            })
            .collect();
        prompts.push(beams.into_iter().filter(|beam| beam.len() < 200).collect());
        if prompts[prompts.len() - 1].is_empty() {
            prompts.pop();
            break;
        }
    }
    prompts
}

#[test]
fn what_was_read_before_changes_no_bit_whatever_memory_allows() {
    let LoadedModel { transformer, renderer, .. } = model();
    let answer = renderer.continuation_ids("7, 9}.").unwrap();
    let run = |known: &mut PrefixCache| {
        let mut replies = Vec::new();
        for (depth, prompts) in growing_prompts(&renderer).into_iter().enumerate() {
            let scores: Vec<_> = prompts.iter().map(|prompt| (prompt.clone(), answer.clone())).collect();
            replies.push(format!("{:?}", score(&transformer, known, "wide", &scores)));
            let requests: Vec<_> = prompts.into_iter().map(|p| request(p, depth as u64, 12)).collect();
            replies.push(format!("{:?}", decode(&transformer, known, &renderer, "wide", &requests)));
        }
        replies
    };
    let mut none = PrefixCache::new(0);
    let expected = run(&mut none);
    assert_eq!(none.bytes(), 0, "nothing is kept where nothing may be");
    let mut all = PrefixCache::new(usize::MAX);
    assert!(run(&mut all) == expected, "a warm cache changes a reply");
    assert!(all.reads().asked == none.reads().asked && all.reads().read * 2 < none.reads().read, "{:?}", all.reads());
    for limit in [all.bytes() / 4, all.bytes() / 8] {
        let mut some = PrefixCache::new(limit);
        assert!(run(&mut some) == expected, "a cache that forgets changes a reply");
        assert!(some.bytes() <= limit, "expected at most {limit} bytes, got {}", some.bytes());
        assert!(some.reads().read > all.reads().read, "something was forgotten: {:?}", some.reads());
    }
}

#[test]
fn decoding_with_the_cache_follows_the_full_forward() {
    let LoadedModel { transformer, renderer, .. } = model();
    let greedy = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0 };
    let prompt = prompts().remove(1);
    let request =
        DecodeRequest { prompt: prompt.clone(), stop: vec![], max_tokens: 20, sampling: greedy, seed: Seed::root(1) };
    let decoded = decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", &[request]).remove(0).unwrap();
    let mut row = prompt;
    let mut text = renderer.decoder();
    let mut expected = String::new();
    for _ in 0..20 {
        let ids: Vec<i64> = row.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, count]), &transformer.device());
        let logits: Vec<f32> = transformer.logits(transformer.forward(tokens)).into_data().try_into_vec().unwrap();
        let last = &logits[(count - 1) * transformer.config().vocab..];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b]).then(b.cmp(a))).unwrap() as u32;
        if renderer.eos_ids().contains(&best) {
            break;
        }
        expected.push_str(&text.push(best).unwrap());
        row.push(best);
    }
    expected.push_str(&text.flush().unwrap());
    assert_eq!(decoded.text, expected);
}

#[test]
fn a_stop_string_and_the_budget_end_a_generation() {
    let LoadedModel { transformer, renderer, .. } = model();
    let mut one = request(prompts().remove(0), 3, 60);
    one.stop.clear();
    let free = decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", &[one.clone()]).remove(0).unwrap();
    let inner: String = free.text.chars().skip(4).take(2).collect();
    assert_eq!(inner.chars().count(), 2, "the model writes at least six characters: `{}`", free.text);
    let at = free.text.find(&inner).unwrap();
    one.stop = vec![inner.clone()];
    let stopped = decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", &[one.clone()]).remove(0).unwrap();
    assert_eq!(stopped.finish, Finish::Delimiter(inner));
    assert_eq!(stopped.text, free.text[..at]);
    one.stop.clear();
    one.max_tokens = 5;
    let cut = decode(&transformer, &mut PrefixCache::new(0), &renderer, "wide", &[one]).remove(0).unwrap();
    assert_eq!((cut.finish, cut.tokens), (Finish::Length, 5));
}

#[test]
fn an_engine_gives_the_same_replies_whatever_is_in_flight() {
    let generate = |i: u64| GenerateRequest {
        prompt: Prompt {
            messages: vec![Message::user(format!("Move {}: forward 3.", i % 3))],
            opening: Opening::Think,
            prefix: "### Step 1.".into(),
        },
        stop: vec!["\n".into()],
        max_tokens: 24,
        sampling: Sampling::default(),
        seed: Seed::root(i),
    };
    let score = |i: u64| ScoreRequest { prompt: generate(i).prompt, continuation: format!(" {i} gives {i}") };
    let run = |settings: EngineSettings| {
        let engine = Engine::start(model(), settings).unwrap();
        let generated = join_all((0..20).map(|i| engine.generate(generate(i))));
        let scored = join_all((0..20).map(|i| engine.loglikelihood(score(i))));
        block_on(futures::future::join(generated, scored))
    };
    let wide = run(EngineSettings::default());
    let narrow = run(EngineSettings { max_batch: 3, ..EngineSettings::default() });
    // Not `assert_eq!`: its message would print every reply.
    assert!(wide == narrow, "replies depend on the batch that they were in");
    assert!(wide.0.iter().all(Result::is_ok) && wide.1.iter().all(Result::is_ok));
}

#[test]
fn what_does_not_fit_the_context_is_refused() {
    let engine = Engine::start(model(), EngineSettings::default()).unwrap();
    let prompt = Prompt { messages: vec![Message::user("7")], opening: Opening::Plain, prefix: String::new() };
    let request = GenerateRequest {
        prompt: prompt.clone(),
        stop: vec![],
        max_tokens: 5000,
        sampling: Sampling::default(),
        seed: Seed::root(1),
    };
    let error = block_on(engine.generate(request)).unwrap_err().to_string();
    assert!(error.starts_with("`wide`: expected at most 256 tokens of prompt and continuation, got 50"), "{error}");
    let empty = block_on(engine.loglikelihood(ScoreRequest { prompt, continuation: String::new() })).unwrap_err();
    assert_eq!(empty.to_string(), "`wide`: expected a continuation of at least one token, got ``");
}

/// As Gemma 3's tokenizers have a token for images above the rows of its text models.
#[test]
fn a_token_that_was_added_above_the_embedding_is_refused_where_a_text_has_it() {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let LoadedModel { transformer, renderer, .. } = model();
    save(dir.path(), &transformer, &renderer, Dtype::F32).unwrap();
    let path = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let added = serde_json::json!({"id": renderer.vocab_size(), "content": "<image>", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json["added_tokens"].as_array_mut().unwrap().push(added);
    std::fs::write(&path, json.to_string()).unwrap();
    let engine = Engine::start(load(dir.path(), "wide", &device).unwrap(), EngineSettings::default()).unwrap();
    let score = |continuation: &str| {
        let prompt = Prompt { messages: vec![Message::user("7")], opening: Opening::Plain, prefix: String::new() };
        block_on(engine.loglikelihood(ScoreRequest { prompt, continuation: continuation.into() }))
    };
    assert!(score(" 7, 9").is_ok());
    let error = score(" 7 <image>").unwrap_err().to_string();
    let rows = renderer.vocab_size();
    assert!(
        error.contains(&format!("expected token ids below the {rows} rows of the embedding, got {rows}")),
        "{error}"
    );
}

#[test]
fn a_checkpoint_that_does_not_fit_its_config_names_every_tensor() {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let LoadedModel { transformer, renderer, .. } = model();
    save(dir.path(), &transformer, &renderer, Dtype::F32).unwrap();
    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"intermediate_size\": 96", "\"intermediate_size\": 64")).unwrap();
    let error = load(dir.path(), "wide", &device).err().unwrap().to_string();
    assert!(
        error.contains("`model.layers.0.mlp.gate_proj.weight`: expected the shape [64, 48], got [96, 48]"),
        "{error}"
    );
    assert!(
        error.contains("`model.layers.2.mlp.down_proj.weight`: expected the shape [48, 64], got [48, 96]"),
        "{error}"
    );
    std::fs::write(&path, text.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2")).unwrap();
    let error = load(dir.path(), "wide", &device).err().unwrap().to_string();
    assert!(error.contains("`model.layers.2.mlp.up_proj.weight`: the config has no place for this tensor"), "{error}");
}

#[test]
fn half_precision_checkpoints_read_back_as_they_were_written() {
    let device = open_device(DeviceSpec::Cpu).unwrap();
    let LoadedModel { transformer, renderer, .. } = model();
    for dtype in [Dtype::Bf16, Dtype::F16] {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        save(one.path(), &transformer, &renderer, dtype).unwrap();
        let first = load(one.path(), "half", &device).unwrap();
        save(two.path(), &first.transformer, &first.renderer, dtype).unwrap();
        let second = load(two.path(), "half", &device).unwrap();
        assert_eq!(first.id, second.id, "rounding happens once");
    }
}
