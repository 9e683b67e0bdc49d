//! Prompts, training examples and masks, for templates in the shapes that real model families use.

use std::fs;

use cord_core::{Message, Opening, Prompt};
use cord_text::{Renderer, TextError, TokenizerSpec, train_tokenizer};
use proptest::prelude::*;

/// Leaves the reasoning block to the model (Qwen 3, Phi 4) and drops the reasoning of past turns.
const CLOSED: &str = "\
{%- if messages[0].role == 'system' %}
    {{- '<|system|>' + messages[0].content + '<|end|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|user|>' + message.content + '<|end|>' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|assistant|>' + content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}";

/// The same with other words for the generation prompt.
fn opening_with(generation_prompt: &str) -> String {
    let template = CLOSED.replace("{{- '<|assistant|>' }}", &format!("{{{{- '<|assistant|>{generation_prompt}' }}}}"));
    assert!(template.contains(&format!("<|assistant|>{generation_prompt}' }}}}")), "{template}");
    template
}

const CORPUS: &str = "The dial shows 4. Move 1: turn it forward by 3.\n### Step 1. 4 plus 3 gives 7.\nThe final answer is \\boxed{7}. \
                      The final answer is \\boxed{7}.";

fn kinds() -> [TokenizerSpec; 4] {
    [
        TokenizerSpec::ByteBpe { vocab: 300, split_digits: true },
        TokenizerSpec::ByteBpe { vocab: 300, split_digits: false },
        TokenizerSpec::SentenceBpe { vocab: 330 },
        TokenizerSpec::Word {},
    ]
}

fn renderer(template: &str) -> Renderer {
    train_tokenizer(&kinds()[0], [CORPUS]).unwrap().with_template(template).unwrap()
}

fn asked(prefix: &str, opening: Opening) -> Prompt {
    Prompt { messages: vec![Message::user("What?")], opening, prefix: prefix.to_owned() }
}

#[test]
fn a_prompt_is_opened_exactly_once() {
    for (generation_prompt, plain) in [
        ("", "<|user|>What?<|end|><|assistant|>"),
        ("<think>", "<|user|>What?<|end|><|assistant|><think>"),
        ("<think>\\n", "<|user|>What?<|end|><|assistant|><think>\n"),
        ("<think>\\n\\n", "<|user|>What?<|end|><|assistant|><think>\n\n"),
    ] {
        let renderer = renderer(&opening_with(generation_prompt));
        assert_eq!(renderer.prompt_text(&asked("", Opening::Plain)).unwrap(), plain);
        let opened = renderer.prompt_text(&asked("### Step 1", Opening::Think)).unwrap();
        assert_eq!(opened, "<|user|>What?<|end|><|assistant|><think>\n### Step 1");
    }
    // A block that the template closes again is not an open one.
    let closing = renderer(&opening_with("<think>\\n\\n</think>\\n\\n"));
    let opened = closing.prompt_text(&asked("", Opening::Think)).unwrap();
    assert!(opened.ends_with("<think>\n\n</think>\n\n<think>\n"), "{opened}");
}

#[test]
fn a_training_example_begins_with_the_prompt_that_inference_sees() {
    let response = "### Step 1. 4 plus 3 gives 7.\n</think>\nThe final answer is \\boxed{7}.";
    for generation_prompt in ["", "<think>", "<think>\\n"] {
        for kind in kinds() {
            let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
            let renderer = renderer.with_template(&opening_with(generation_prompt)).unwrap();
            let prompt = renderer.prompt_ids(&asked("", Opening::Think)).unwrap();
            for content in [format!("<think>\n{response}"), format!("<think>{response}")] {
                let example = renderer.training_ids(&[Message::user("What?"), Message::assistant(content)]).unwrap();
                assert_eq!(example.ids.len(), example.supervised.len());
                assert!(example.ids.starts_with(&prompt), "{kind:?} {generation_prompt:?}");
                let after = &example.ids[prompt.len()..];
                assert_eq!(after.split_last().unwrap().1, renderer.continuation_ids(response).unwrap());
                assert_eq!(*after.last().unwrap(), renderer.end_of_turn_id());
                // What the template doesn't write is learnt: the whole opening, its line break, or nothing of it.
                let learnt: Vec<u32> = supervised(&example.ids, &example.supervised);
                let opening = match generation_prompt {
                    "" => "<think>\n",
                    "<think>" => "\n",
                    _ => "",
                };
                assert_eq!(renderer.decode(&learnt).unwrap(), format!("{opening}{response}"), "{kind:?}");
            }
        }
    }
}

fn supervised(ids: &[u32], mask: &[bool]) -> Vec<u32> {
    ids.iter().zip(mask).filter(|(_, learnt)| **learnt).map(|(id, _)| *id).collect()
}

#[test]
fn a_plain_answer_is_learnt_after_the_plain_prompt() {
    let renderer = renderer(CLOSED);
    let example = renderer.training_ids(&[Message::user("What?"), Message::assistant("4 plus 3")]).unwrap();
    let prompt = renderer.prompt_ids(&asked("", Opening::Plain)).unwrap();
    assert!(example.ids.starts_with(&prompt));
    assert_eq!(example.supervised.iter().filter(|learnt| !**learnt).count(), prompt.len());
}

#[test]
fn earlier_turns_are_rendered_by_the_template_and_never_learnt() {
    let renderer = renderer(CLOSED);
    let example = renderer
        .training_ids(&[
            Message::system("Count."),
            Message::user("What?"),
            Message::assistant("<think>\nlong thought\n</think>\n7"),
            Message::user("And?"),
            Message::assistant("<think>\nmore\n</think>\n9"),
        ])
        .unwrap();
    let prompt: Vec<u32> =
        example.ids.iter().zip(&example.supervised).filter(|(_, s)| !**s).map(|(id, _)| *id).collect();
    let expected = "<|system|>Count.<|end|><|user|>What?<|end|><|assistant|>7<|end|><|user|>And?<|end|><|assistant|>";
    assert_eq!(prompt, renderer.continuation_ids(expected).unwrap());
    let learnt = supervised(&example.ids, &example.supervised);
    assert_eq!(renderer.decode(&learnt).unwrap(), "<think>\nmore\n</think>\n9");
}

#[test]
fn every_turn_is_learnt_as_it_is_when_it_is_the_last_one() {
    let said = [Message::user("What?"), Message::assistant("4"), Message::user("And?"), Message::assistant("plus 3")];
    for kind in kinds() {
        let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
        let all = renderer.conversation_ids(&said).unwrap();
        let [first, last] = [2, 4].map(|turns| renderer.training_ids(&said[..turns]).unwrap());
        assert_eq!(all.ids, last.ids, "{kind:?}");
        let learnt = [&first, &last].map(|one| supervised(&one.ids, &one.supervised));
        assert_eq!(supervised(&all.ids, &all.supervised), learnt.concat(), "{kind:?}");
        assert_eq!(renderer.conversation_ids(&said[..2]).unwrap().supervised, first.supervised);
    }
    // A template that drops earlier thoughts shows what no model would have written.
    let thought = Message::assistant("<think>\nlong thought\n</think>\n7");
    let said = [Message::user("What?"), thought, Message::user("And?"), Message::assistant("9")];
    let refused = renderer(CLOSED).conversation_ids(&said).unwrap_err();
    insta::assert_snapshot!(refused, @r#"turn 2: expected a chat template that leaves the assistant's earlier turns as they were written, got another text of this one; learn the last turn only (`train.turns = "last"`)"#);
}

#[test]
fn a_prefix_by_someone_else_is_not_learnt() {
    for kind in kinds() {
        let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
        let prompt = asked("### Step 1. 4 plus 3 gives 9.\n", Opening::Think);
        let rest = "### Step 2. 9 plus 3 gives 2.\n</think>\n\\boxed{9, 2}.";
        let example = renderer.continued_training_ids(&prompt, rest).unwrap();
        let ids = renderer.prompt_ids(&prompt).unwrap();
        assert!(example.ids.starts_with(&ids));
        assert_eq!(supervised(&example.ids, &example.supervised), example.ids[ids.len()..]);
        let whole = asked("", Opening::Think);
        let at_once = renderer.continued_training_ids(&whole, &format!("{}{rest}", prompt.prefix)).unwrap();
        assert_eq!(at_once.ids, example.ids, "{kind:?}: a segment that ends with a line break is cut as the whole is");
    }
}

#[test]
fn a_template_is_never_given_a_second_bos() {
    let renderer = renderer(&format!("{{{{ bos_token }}}}{CLOSED}"));
    let folder = tempfile::tempdir().unwrap();
    renderer.save(folder.path()).unwrap();
    // A post-processor that adds a BOS to every text, as Llama's and Gemma's do.
    edit(folder.path(), "tokenizer.json", |json| {
        let bos = serde_json::json!({"SpecialToken": {"id": "<|pad|>", "type_id": 0}});
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|pad|>": {"id": "<|pad|>", "ids": [0], "tokens": ["<|pad|>"]}},
        });
    });
    edit(folder.path(), "tokenizer_config.json", |json| json["bos_token"] = "<|pad|>".into());
    let renderer = Renderer::from_dir(folder.path()).unwrap();
    let ids = renderer.prompt_ids(&asked("4", Opening::Think)).unwrap();
    assert_eq!(ids.iter().filter(|id| **id == 0).count(), 1);
    assert_eq!(ids[0], 0);
    assert!(!renderer.continuation_ids("4").unwrap().contains(&0));
}

fn edit(folder: &std::path::Path, file: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = folder.join(file);
    let mut json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_tokenizer_that_marks_the_beginning_of_a_text_does_not_mark_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    train_tokenizer(&TokenizerSpec::SentenceBpe { vocab: 330 }, [CORPUS]).unwrap().save(folder.path()).unwrap();
    // Llama 2's normalizer and decoder.
    edit(folder.path(), "tokenizer.json", |json| {
        let replace = json["normalizer"].take();
        json["normalizer"] =
            serde_json::json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]});
        json["decoder"]["decoders"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    });
    let marking = Renderer::from_dir(folder.path()).unwrap();
    for text in ["7}.", " shows 4", "\n### Step", "shows", ".", "\u{e9}"] {
        let ids = marking.continuation_ids(text).unwrap();
        assert_eq!(marking.decode(&ids).unwrap(), text, "{ids:?}");
    }
    let whole = marking.continuation_ids("The dial").unwrap();
    assert_eq!(whole, [marking.continuation_ids("The").unwrap(), marking.continuation_ids(" dial").unwrap()].concat());
}

#[test]
fn every_end_of_turn_id_is_known_and_the_template_chooses_among_them() {
    let folder = tempfile::tempdir().unwrap();
    train_tokenizer(&kinds()[0], [CORPUS]).unwrap().save(folder.path()).unwrap();
    // As in Gemma: the tokenizer's EOS ends a text, another token ends a turn.
    edit(folder.path(), "tokenizer_config.json", |json| json["eos_token"] = serde_json::json!({"content": "<|pad|>"}));
    edit(folder.path(), "generation_config.json", |json| json["eos_token_id"] = serde_json::json!([0, 1]));
    fs::write(folder.path().join("config.json"), r#"{"eos_token_id": 2}"#).unwrap();
    let renderer = Renderer::from_dir(folder.path()).unwrap();
    assert_eq!(renderer.eos_ids(), [0, 1, 2]);
    assert_eq!(renderer.end_of_turn_id(), 1, "the template closes a turn with `<|end|>`");

    let again = tempfile::tempdir().unwrap();
    renderer.save(again.path()).unwrap();
    let again = Renderer::from_dir(again.path()).unwrap();
    assert_eq!(again.eos_ids(), renderer.eos_ids());
    assert_eq!(again.tokenizer_digest(), renderer.tokenizer_digest());
    assert_eq!(again.template_digest(), renderer.template_digest());
}

#[test]
fn a_folder_reads_back_what_was_saved() {
    for kind in kinds() {
        let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        renderer.save(folder.path()).unwrap();
        let again = Renderer::from_dir(folder.path()).unwrap();
        assert_eq!(again.tokenizer_digest(), renderer.tokenizer_digest());
        assert_eq!(again.template_digest(), renderer.template_digest());
        assert_eq!(again.vocab_size(), renderer.vocab_size());
        assert_eq!(again.pad_id(), renderer.pad_id());
        let prompt = asked("### Step", Opening::Think);
        assert_eq!(again.prompt_ids(&prompt).unwrap(), renderer.prompt_ids(&prompt).unwrap());
        let files = |folder: &std::path::Path| {
            ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]
                .map(|f| fs::read(folder.join(f)).unwrap())
        };
        let twice = tempfile::tempdir().unwrap();
        again.save(twice.path()).unwrap();
        assert_eq!(files(folder.path()), files(twice.path()), "saving what was loaded changes nothing");
    }
}

#[test]
fn a_template_comes_from_the_file_the_text_or_the_list() {
    let folder = tempfile::tempdir().unwrap();
    renderer(CLOSED).save(folder.path()).unwrap();
    let text =
        |folder: &std::path::Path| Renderer::from_dir(folder).unwrap().prompt_text(&asked("", Opening::Plain)).unwrap();
    assert_eq!(text(folder.path()), "<|user|>What?<|end|><|assistant|>");
    edit(folder.path(), "tokenizer_config.json", |json| {
        json["chat_template"] = serde_json::json!([
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "listed"},
        ]);
    });
    assert_eq!(text(folder.path()), "listed");
    fs::write(folder.path().join("chat_template.jinja"), "from the file\n").unwrap();
    assert_eq!(text(folder.path()), "from the file");
}

#[test]
fn faults_say_what_was_expected_and_what_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let message = |error: TextError| error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
    let load = || message(Renderer::from_dir(folder.path()).unwrap_err());
    let config = |text: &str| fs::write(folder.path().join("tokenizer_config.json"), text).unwrap();

    insta::assert_snapshot!(load(), @"expected a readable file at `FOLDER/tokenizer.json`, got: No such file or directory (os error 2)");
    renderer(CLOSED).save(folder.path()).unwrap();
    config("[1]");
    insta::assert_snapshot!(load(), @"`FOLDER/tokenizer_config.json`: expected a JSON object, got: invalid type: sequence, expected a map at line 1 column 0");
    config(r#"{"eos_token": 7}"#);
    insta::assert_snapshot!(load(), @"`FOLDER/tokenizer_config.json`: expected `eos_token` as a token or an object with its `content`, got: `7`");
    config(r#"{"eos_token": "<eos>"}"#);
    insta::assert_snapshot!(load(), @"`FOLDER`: expected `eos_token` to name a token of the vocabulary, got `<eos>`");
    config(r#"{"eos_token": "<|end|>", "chat_template": "{% if %}"}"#);
    insta::assert_snapshot!(load(), @"expected a chat template that parses, got: unexpected end of block (line 1)");
    config(r#"{"eos_token": "<|end|>", "chat_template": {"default": "x"}}"#);
    insta::assert_snapshot!(load(), @r#"`FOLDER/tokenizer_config.json`: expected `chat_template` as a text or a list of `name` and `template` with one named `default`, got: `{"default":"x"}`"#);
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": "one"}"#).unwrap();
    config("{}");
    insta::assert_snapshot!(load(), @r#"`FOLDER/generation_config.json`: expected `eos_token_id` as a token id or a list of them, got: `"one"`"#);
    fs::write(folder.path().join("generation_config.json"), "{}").unwrap();
    insta::assert_snapshot!(load(), @"`FOLDER`: expected an end-of-turn token (`eos_token` in tokenizer_config.json, or `eos_token_id` in generation_config.json or config.json), got none");
    config(r#"{"eos_token": "<|end|>"}"#);
    let bare = Renderer::from_dir(folder.path()).unwrap();
    insta::assert_snapshot!(message(bare.prompt_ids(&asked("", Opening::Think)).unwrap_err()), @"expected a chat template (in tokenizer_config.json or chat_template.jinja), got none");

    let refusing = renderer("{{ raise_exception('roles must alternate') }}");
    insta::assert_snapshot!(message(refusing.prompt_ids(&asked("", Opening::Think)).unwrap_err()), @"the chat template failed on a conversation (turns: 1): roles must alternate (line 1)");
    let plain = renderer(CLOSED);
    insta::assert_snapshot!(message(plain.training_ids(&[Message::user("What?")]).unwrap_err()), @"expected a conversation that ends with the assistant's turn, got a turn of `user`");
    insta::assert_snapshot!(message(plain.training_ids(&[]).unwrap_err()), @"expected a conversation that ends with the assistant's turn, got no turn");
    insta::assert_snapshot!(message(plain.decode(&[5000]).unwrap_err()), @"expected a token id below 286, got `5000`");
    let words = train_tokenizer(&TokenizerSpec::Word {}, [CORPUS]).unwrap();
    insta::assert_snapshot!(message(words.continuation_ids("dial \u{e9}").unwrap_err()), @"expected text that the vocabulary can write, got `é` at byte 5");
    let small = TokenizerSpec::ByteBpe { vocab: 100, split_digits: true };
    insta::assert_snapshot!(message(train_tokenizer(&small, [CORPUS]).unwrap_err()), @"`vocab`: expected at least 263 tokens for `byte-bpe` (its alphabet and markers), got `100`");
    insta::assert_snapshot!(message(train_tokenizer(&small, ["", "<think>"]).unwrap_err()), @"expected at least one non-empty text to train the tokenizer on, got none");
}

/// Lines as corpora hold them.
fn corpus_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "The",
        " dial",
        " shows",
        " 4",
        " 7",
        ".",
        ",",
        "\n",
        "### Step",
        " 1",
        "10",
        " \\boxed{",
        "}",
        "</think>",
        "<think>",
        ":",
        "turn",
        " ",
        "  ",
        "\n\n",
        "#",
        "\\",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes_to_itself(corpus in corpus_like(), ascii in "[ -~\n]{0,60}", any in "\\PC{0,30}") {
        // A marker that is spelt out is that token, and a special one is silent when decoded.
        prop_assume!(!ascii.contains("<|"));
        for kind in kinds() {
            let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
            for text in [&corpus, &ascii] {
                let ids = renderer.continuation_ids(text).unwrap();
                prop_assert_eq!(&renderer.decode(&ids).unwrap(), text, "{:?}", kind);
            }
            let total = match kind {
                TokenizerSpec::ByteBpe { .. } => true,
                TokenizerSpec::SentenceBpe { .. } => !any.contains('▁'),
                TokenizerSpec::Word {} => false,
            };
            if total && !any.contains("<|") {
                let ids = renderer.continuation_ids(&any).unwrap();
                prop_assert_eq!(&renderer.decode(&ids).unwrap(), &any, "{:?}", kind);
            }
        }
    }

    #[test]
    fn any_tokens_decode_piece_by_piece_to_the_whole(ids in prop::collection::vec(0u32..260, 0..60)) {
        let renderer = train_tokenizer(&kinds()[0], [CORPUS]).unwrap();
        let mut bytes_of_whole = String::new();
        let mut decoder = renderer.decoder();
        for id in &ids {
            bytes_of_whole.push_str(&decoder.push(*id).unwrap());
        }
        bytes_of_whole.push_str(&decoder.flush().unwrap());
        prop_assert_eq!(&decoder.flush().unwrap(), "");
        prop_assert_eq!(bytes_of_whole.matches(char::REPLACEMENT_CHARACTER).count() <= ids.len(), true);
        prop_assert_eq!(&renderer.decode(&ids).unwrap(), &bytes_of_whole);
    }
}

#[test]
fn a_character_waits_for_its_last_byte() {
    for kind in &kinds()[..3] {
        let renderer = train_tokenizer(kind, [CORPUS]).unwrap();
        let ids = renderer.continuation_ids("a\u{1f600}b\u{e9}").unwrap();
        let mut decoder = renderer.decoder();
        let pieces: Vec<String> = ids.iter().map(|id| decoder.push(*id).unwrap()).filter(|p| !p.is_empty()).collect();
        assert_eq!(pieces, ["a", "\u{1f600}", "b", "\u{e9}"], "{kind:?}");
        // The first byte of a character alone is given only when nothing follows.
        let mut decoder = renderer.decoder();
        assert_eq!(decoder.push(ids[1]).unwrap(), "");
        assert_eq!(decoder.flush().unwrap(), "\u{fffd}");
        assert_eq!(decoder.flush().unwrap(), "");
    }
}

#[test]
fn think_tags_are_text_whatever_their_flag_and_other_specials_are_silent() {
    let folder = tempfile::tempdir().unwrap();
    train_tokenizer(&kinds()[0], [CORPUS]).unwrap().save(folder.path()).unwrap();
    edit(folder.path(), "tokenizer.json", |json| {
        for token in json["added_tokens"].as_array_mut().unwrap() {
            token["special"] = true.into();
        }
    });
    let renderer = Renderer::from_dir(folder.path()).unwrap();
    let ids = renderer.continuation_ids("<think>\n4</think><|end|>7").unwrap();
    assert_eq!(renderer.decode(&ids).unwrap(), "<think>\n4</think>7");
}

#[test]
fn a_tokenizer_depends_on_its_texts_and_not_on_their_order() {
    let texts = ["Move 1: turn it", " forward by 3.\n", "### Step 1. 4 plus 3", " gives 7.\n", "plus plus"];
    let mut turned = texts;
    turned.reverse();
    for kind in kinds() {
        let digest = train_tokenizer(&kind, texts).unwrap().tokenizer_digest();
        assert_eq!(train_tokenizer(&kind, texts).unwrap().tokenizer_digest(), digest);
        assert_eq!(train_tokenizer(&kind, turned).unwrap().tokenizer_digest(), digest);
    }
}

#[test]
fn tokens_never_cross_a_line_break() {
    for kind in kinds() {
        let renderer = train_tokenizer(&kind, [CORPUS]).unwrap();
        let (first, second) = ("4 plus 3 gives 7.\n", "### Step 2. 7");
        let apart = [renderer.continuation_ids(first).unwrap(), renderer.continuation_ids(second).unwrap()].concat();
        assert_eq!(renderer.continuation_ids(&format!("{first}{second}")).unwrap(), apart, "{kind:?}");
    }
}

#[test]
fn a_corpus_word_is_one_token_of_the_word_kind() {
    let renderer = train_tokenizer(&TokenizerSpec::Word {}, [CORPUS]).unwrap();
    let ids = renderer.continuation_ids("### Step 1. 4 plus 3 gives 7.\n\\boxed{7}").unwrap();
    let pieces: Vec<String> = ids.iter().map(|id| renderer.decode(&[*id]).unwrap()).collect();
    let expected =
        ["###", " Step", " 1", ".", " 4", " plus", " 3", " gives", " 7", ".", "\n", "\\", "boxed", "{", "7", "}"];
    assert_eq!(pieces, expected);
}

#[test]
fn specs_read_from_a_recipe() {
    for (text, expected) in [
        (r#"{"kind": "byte-bpe", "vocab": 300}"#, Some(TokenizerSpec::ByteBpe { vocab: 300, split_digits: true })),
        (
            r#"{"kind": "byte-bpe", "vocab": 300, "split-digits": false}"#,
            Some(TokenizerSpec::ByteBpe { vocab: 300, split_digits: false }),
        ),
        (r#"{"kind": "sentence-bpe", "vocab": 400}"#, Some(TokenizerSpec::SentenceBpe { vocab: 400 })),
        (r#"{"kind": "word"}"#, Some(TokenizerSpec::Word {})),
        (r#"{"kind": "word", "vocab": 3}"#, None),
        (r#"{"kind": "byte-bpe", "vocab": 300, "split_digits": true}"#, None),
        (r#"{"kind": "unigram", "vocab": 300}"#, None),
    ] {
        assert_eq!(serde_json::from_str::<TokenizerSpec>(text).ok(), expected, "{text}");
    }
}
