//! Tokenizers for small models that are trained from nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer, tokenizer::Normalizer,
    tokenizer::normalizer::NormalizedString,
};

use crate::merges;
use crate::pretrained::Pretrained;
use crate::{Renderer, TextError};

/// Turns without line breaks between them, each opened by a marker and closed by `<|end|>`.
const COMPACT_TEMPLATE: &str = include_str!("../templates/compact.jinja");
const END: &str = "<|end|>";
const PAD: &str = "<|pad|>";
const UNKNOWN: &str = "<|unk|>";
/// The markers of every trained tokenizer, in id order, each with whether it is special (silent in a decoded text).
const MARKERS: [(&str, bool); 7] = [
    (PAD, true),
    (END, true),
    ("<|system|>", true),
    ("<|user|>", true),
    ("<|assistant|>", true),
    ("<think>", false),
    ("</think>", false),
];
/// One piece is a word, a number's digit, a run of one punctuation mark, each with the space before it, or a line break.
const WORD_PIECES: &str = r" ?\p{L}+| ?\p{N}| ?([^\s\p{L}\p{N}])\1*|\s";
/// As above with SentencePiece's mark for the space; words and marks run on until a space, digit or line break.
const SENTENCE_PIECES: &str = r"\n|▁?[0-9]|▁?[^\n0-9▁]+|▁";

/// Which tokenizer to train. The kinds differ as those of real model families do, so that models which share no
/// token boundary can be made to work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// GPT-2's: byte-pair merges over bytes. Writes any text.
    ByteBpe {
        /// The most tokens, markers included; at least 263.
        vocab: usize,
        /// Is each digit a token of its own (and so the space before it)?
        #[serde(default = "yes")]
        split_digits: bool,
    },
    /// Llama's and Gemma's: byte-pair merges over characters, spaces written `▁`, bytes for characters that the corpus
    /// lacks. A digit is a token alone or with the space before it, and no token crosses a line break. Writes any text without a literal `▁`.
    SentenceBpe {
        /// The most tokens, markers, 256 bytes and the corpus's characters included.
        vocab: usize,
    },
    /// Every word of the corpus with the space before it, every digit, punctuation mark and line break is one token.
    /// Other words are spelt in characters; a character outside ASCII and the corpus is an error.
    Word {},
}

fn yes() -> bool {
    true
}

impl TokenizerSpec {
    /// The kind as a recipe writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ByteBpe { .. } => "byte-bpe",
            Self::SentenceBpe { .. } => "sentence-bpe",
            Self::Word {} => "word",
        }
    }
}

/// Trains a tokenizer on texts and gives it a compact chat template, `<|end|>` as the end-of-turn token and `<|pad|>` for padding.
///
/// The same texts in the same order give the same bytes; so do the same texts in another order.
///
/// # Errors
/// [`TextError::EmptyCorpus`] without text, [`TextError::VocabTooSmall`] when `vocab` can't hold markers and alphabet.
pub fn train_tokenizer<'a>(
    spec: &TokenizerSpec,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Renderer, TextError> {
    // First without a vocabulary, for the same cuts in training as in use.
    let skeleton = build(spec, &[UNKNOWN.to_owned()], &[])?;
    let words = count_pieces(&skeleton, texts)?;
    if words.is_empty() {
        return Err(TextError::EmptyCorpus);
    }
    let mut tokens: Vec<String> = MARKERS.iter().map(|(marker, _)| (*marker).to_owned()).collect();
    let seen: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    let (tokens, learnt) = match *spec {
        TokenizerSpec::ByteBpe { vocab, .. } => {
            let alphabet: BTreeSet<char> =
                tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
            tokens.extend(alphabet.into_iter().map(String::from));
            learn(spec.kind(), tokens, &words, vocab)?
        }
        TokenizerSpec::SentenceBpe { vocab } => {
            tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
            tokens.extend(seen.into_iter().map(String::from));
            learn(spec.kind(), tokens, &words, vocab)?
        }
        TokenizerSpec::Word {} => {
            tokens.push(UNKNOWN.to_owned());
            let characters: BTreeSet<char> = seen.into_iter().chain(' '..='~').chain(['\n']).collect();
            let alphabet: BTreeSet<String> = characters.into_iter().map(String::from).collect();
            let longer = words.keys().filter(|word| !alphabet.contains(*word)).cloned().collect::<Vec<_>>();
            tokens.extend(alphabet);
            tokens.extend(longer);
            (tokens, Vec::new())
        }
    };
    let tokenizer = build(spec, &tokens, &learnt)?;
    let Value::Object(config) = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "bos_token": null,
        "eos_token": END,
        "pad_token": PAD,
    }) else {
        unreachable!("the literal is an object")
    };
    Renderer::assemble(Pretrained {
        folder: "the trained tokenizer".into(),
        tokenizer,
        config,
        generation: Map::new(),
        model_eos: Vec::new(),
        template: Some(COMPACT_TEMPLATE.to_owned()),
    })
}

type Learnt = (Vec<String>, Vec<(String, String)>);

fn learn(
    kind: &'static str,
    tokens: Vec<String>,
    words: &BTreeMap<String, u64>,
    vocab: usize,
) -> Result<Learnt, TextError> {
    if vocab < tokens.len() {
        return Err(TextError::VocabTooSmall { kind, least: tokens.len(), given: vocab });
    }
    let merged = merges::learn(tokens, words, vocab);
    Ok((merged.tokens, merged.merges))
}

/// The pieces that no token may cross, counted.
fn count_pieces<'a>(
    skeleton: &Tokenizer,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, u64>, TextError> {
    let mut counts = BTreeMap::new();
    for text in texts {
        for part in between_markers(text) {
            let mut part = NormalizedString::from(part);
            if let Some(normalizer) = skeleton.get_normalizer() {
                normalizer.normalize(&mut part).map_err(TextError::tokenizer)?;
            }
            let mut pieces = PreTokenizedString::from(part);
            if let Some(pre_tokenizer) = skeleton.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces).map_err(TextError::tokenizer)?;
            }
            for (piece, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                if !piece.is_empty() {
                    *counts.entry(piece.to_owned()).or_default() += 1;
                }
            }
        }
    }
    Ok(counts)
}

/// The stretches of a text between markers: a marker is a token already.
fn between_markers(text: &str) -> Vec<&str> {
    let mut parts = vec![text];
    for (marker, _) in MARKERS {
        parts = parts.into_iter().flat_map(|part| part.split(marker)).collect();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Assembled as JSON, the library's own file format, and parsed by it: what is trained is what is saved and loaded.
fn build(spec: &TokenizerSpec, tokens: &[String], merges: &[(String, String)]) -> Result<Tokenizer, TextError> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let (normalizer, pre_tokenizer, decoder) = match spec {
        TokenizerSpec::ByteBpe { split_digits: false, .. } => (Value::Null, byte_level(true), byte_level(true)),
        TokenizerSpec::ByteBpe { split_digits: true, .. } => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            let both = json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]});
            (Value::Null, both, byte_level(true))
        }
        TokenizerSpec::SentenceBpe { .. } => (
            json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            split(SENTENCE_PIECES),
            json!({"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ]}),
        ),
        TokenizerSpec::Word {} => (Value::Null, split(WORD_PIECES), json!({"type": "Fuse"})),
    };
    let vocab: Map<String, Value> = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), json!(id))).collect();
    let word = matches!(spec, TokenizerSpec::Word {});
    let definition = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": if word { json!(UNKNOWN) } else { Value::Null },
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": matches!(spec, TokenizerSpec::SentenceBpe { .. }),
            // With no merges to apply, whole words must be looked up before they are spelt.
            "ignore_merges": word,
            "vocab": vocab,
            "merges": merges,
        },
    });
    let mut tokenizer = Tokenizer::from_bytes(definition.to_string()).map_err(TextError::tokenizer)?;
    let marker = |(content, special): (&str, bool)| AddedToken::from(content, special).normalized(false);
    let (special, plain): (Vec<_>, Vec<_>) = MARKERS.into_iter().partition(|(_, special)| *special);
    tokenizer.add_special_tokens(special.into_iter().map(marker)).map_err(TextError::tokenizer)?;
    tokenizer.add_tokens(plain.into_iter().map(marker)).map_err(TextError::tokenizer)?;
    if word {
        tokenizer.add_special_tokens([marker((UNKNOWN, true))]).map_err(TextError::tokenizer)?;
    }
    Ok(tokenizer)
}
