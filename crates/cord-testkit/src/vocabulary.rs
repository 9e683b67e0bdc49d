//! A tokenizer of bytes with a few longer tokens, as a real tokenizer's files and as code of its own.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Tokens beyond the 256 bytes: their texts, and whether they are special.
const MORE: [(&str, bool); 6] = [
    ("<|im_start|>", true),
    ("<|im_end|>", true),
    ("<|endoftext|>", true),
    // A stop string such as a blank line begins and ends inside this token.
    (".\n\nSo", false),
    ("ing", false),
    (" the", false),
];

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A vocabulary whose first 256 ids are the bytes themselves. Small as it is, its tokens can end inside a character and
/// inside a stop string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteVocabulary {
    /// How many of the longer tokens it has; two vocabularies that differ here split texts apart.
    longer: usize,
}

impl ByteVocabulary {
    /// The token that ends a turn.
    pub const END: u32 = 257;
    /// A second one, as `generation_config.json` may name.
    pub const END_OF_TEXT: u32 = 258;

    /// The whole vocabulary.
    pub fn new() -> Self {
        Self { longer: MORE.len() }
    }

    /// One that lacks the longer words, and so splits other tokens.
    pub fn without_words() -> Self {
        Self { longer: 3 }
    }

    /// The number of ids.
    pub fn size(self) -> usize {
        256 + self.longer
    }

    /// A text's ids; special tokens that it spells are those tokens.
    pub fn encode(self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            let longest = (0..self.longer)
                .filter(|more| rest.starts_with(MORE[*more].0.as_bytes()))
                .max_by_key(|more| MORE[*more].0.len());
            if let Some(more) = longest {
                ids.push(256 + more as u32);
                rest = &rest[MORE[more].0.len()..];
            } else {
                ids.push(u32::from(*byte));
                rest = after;
            }
        }
        ids
    }

    /// The ids' text; broken characters become U+FFFD.
    pub fn decode(self, ids: &[u32], specials: Specials) -> String {
        let mut bytes = Vec::new();
        for id in ids {
            match u8::try_from(*id) {
                Ok(byte) => bytes.push(byte),
                Err(_) => {
                    if let Some((text, special)) = MORE.get(*id as usize - 256)
                        && (!special || specials == Specials::Shown)
                    {
                        bytes.extend(text.bytes());
                    }
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` that say the same.
    pub fn write(self, folder: &Path) -> std::io::Result<()> {
        let vocab: Map<String, Value> = (0..=255).map(|byte| (written(byte).to_string(), json!(byte))).collect();
        let added: Vec<Value> = MORE[..self.longer]
            .iter()
            .zip(256..)
            .map(|((content, special), id)| {
                json!({
                    "id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let bytes =
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": [],
            },
        });
        let config = json!({ "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": TEMPLATE });
        let generation = json!({ "eos_token_id": [Self::END, Self::END_OF_TEXT] });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string())?;
        std::fs::write(folder.join("tokenizer_config.json"), config.to_string())?;
        std::fs::write(folder.join("generation_config.json"), generation.to_string())
    }
}

impl Default for ByteVocabulary {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether special tokens are part of a decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// They are.
    Shown,
    /// They are left out.
    Hidden,
}

/// The character that stands for a byte in a byte-level vocabulary (GPT-2): itself where it can be seen, else one
/// from U+0100 on.
fn written(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let unseen_before = (0..byte).filter(|byte| !seen(*byte)).count() as u32;
    char::from_u32(0x100 + unseen_before).expect("a letter of the Latin extension")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_and_joined() {
        let vocabulary = ByteVocabulary::new();
        assert_eq!(vocabulary.encode("a the<|im_end|>é"), [97, 261, 257, 0xc3, 0xa9]);
        for text in ["a the thing.\n\nSo <|im_start|>é🧮", "", "..\n\nSSo"] {
            assert_eq!(vocabulary.decode(&vocabulary.encode(text), Specials::Shown), text);
        }
        assert_eq!(vocabulary.decode(&[97, 257, 0xc3], Specials::Hidden), "a\u{fffd}");
        assert_ne!(vocabulary.encode("ing"), ByteVocabulary::without_words().encode("ing"));
        assert_eq!(written(b' '), 'Ġ');
    }
}
