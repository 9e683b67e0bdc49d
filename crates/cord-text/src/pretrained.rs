//! A tokenizer's folder in the Hugging Face layout: reading it, and writing one that transformers reads.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::TextError;
use crate::template::NamedTokens;

/// What a folder says, before it is put to use.
pub(crate) struct Pretrained {
    pub(crate) folder: PathBuf,
    pub(crate) tokenizer: Tokenizer,
    /// tokenizer_config.json without its chat template.
    pub(crate) config: Map<String, Value>,
    /// generation_config.json, empty where there is none.
    pub(crate) generation: Map<String, Value>,
    /// The ids that config.json names as ending a text.
    pub(crate) model_eos: Vec<u32>,
    pub(crate) template: Option<String>,
}

impl Pretrained {
    pub(crate) fn read(folder: &Path) -> Result<Self, TextError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| TextError::Read { path: path.clone(), source })?;
        let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| TextError::Malformed {
            path,
            expected: "a tokenizer in the tokenizers library's format".to_owned(),
            given: error.to_string(),
        })?;

        let config_path = folder.join("tokenizer_config.json");
        let mut config = read_object(&config_path)?.ok_or_else(|| TextError::Read {
            path: config_path.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let inline = match config.shift_remove("chat_template") {
            Some(value) => template_of(&value, &config_path)?,
            None => None,
        };
        // transformers prefers the file to the setting.
        let template = match read_text(&folder.join("chat_template.jinja"))? {
            Some(text) => Some(text),
            None => inline,
        };

        let generation_path = folder.join("generation_config.json");
        let generation = read_object(&generation_path)?.unwrap_or_default();
        // Checked here, where the file's name is known.
        ids_of(generation.get("eos_token_id"), &generation_path)?;
        let model_path = folder.join("config.json");
        let model = read_object(&model_path)?.unwrap_or_default();
        let model_eos = ids_of(model.get("eos_token_id"), &model_path)?;
        Ok(Self { folder: folder.to_owned(), tokenizer, config, generation, model_eos, template })
    }

    /// The special tokens that the configuration names.
    pub(crate) fn named_tokens(&self) -> Result<NamedTokens, TextError> {
        let path = self.folder.join("tokenizer_config.json");
        let named = |key: &str| token_of(self.config.get(key), key, &path);
        Ok(NamedTokens {
            bos: named("bos_token")?,
            eos: named("eos_token")?,
            pad: named("pad_token")?,
            unk: named("unk_token")?,
        })
    }

    /// The ids that end a text, the tokenizer's own first, each once.
    pub(crate) fn eos_ids(&self, eos: Option<u32>) -> Vec<u32> {
        let generation = ids_of(self.generation.get("eos_token_id"), &self.folder).unwrap_or_default();
        let mut ids: Vec<u32> = Vec::new();
        for id in eos.into_iter().chain(generation).chain(self.model_eos.iter().copied()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

/// Writes tokenizer.json, tokenizer_config.json (with the template) and generation_config.json.
pub(crate) fn write(
    folder: &Path,
    tokenizer: &Tokenizer,
    config: &Map<String, Value>,
    generation: &Map<String, Value>,
    template: Option<&str>,
) -> Result<(), TextError> {
    let io = |path: PathBuf| move |source| TextError::Write { path, source };
    std::fs::create_dir_all(folder).map_err(io(folder.to_owned()))?;
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text + "\n").map_err(io(path.clone()))
    };
    put("tokenizer.json", tokenizer.to_string(true).map_err(TextError::tokenizer)?)?;
    let mut config = config.clone();
    if let Some(template) = template {
        config.insert("chat_template".to_owned(), json!(template));
    }
    put("tokenizer_config.json", pretty(&config))?;
    put("generation_config.json", pretty(generation))
}

fn pretty(object: &Map<String, Value>) -> String {
    serde_json::to_string_pretty(object).expect("a JSON object can be written")
}

fn read_text(path: &Path) -> Result<Option<String>, TextError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path: path.to_owned(), source }),
    }
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>, TextError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| TextError::Malformed {
        path: path.to_owned(),
        expected: "a JSON object".to_owned(),
        given: error.to_string(),
    })
}

/// A token is written as its text, or as an object that holds it as `content`.
fn token_of(value: Option<&Value>, key: &str, path: &Path) -> Result<Option<String>, TextError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(Value::Object(token)) if token.get("content").is_some_and(Value::is_string) => {
            Ok(token["content"].as_str().map(str::to_owned))
        }
        Some(other) => Err(TextError::Malformed {
            path: path.to_owned(),
            expected: format!("`{key}` as a token or an object with its `content`"),
            given: format!("`{other}`"),
        }),
    }
}

/// Ids are written as one number or a list of them.
fn ids_of(value: Option<&Value>, path: &Path) -> Result<Vec<u32>, TextError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| TextError::Malformed {
        path: path.to_owned(),
        expected: "`eos_token_id` as a token id or a list of them".to_owned(),
        given: value.map_or_else(String::new, |value| format!("`{value}`")),
    })
}

/// A template is one text, or a list of named ones of which `default` is for conversations without tools.
fn template_of(value: &Value, path: &Path) -> Result<Option<String>, TextError> {
    let malformed = || TextError::Malformed {
        path: path.to_owned(),
        expected: "`chat_template` as a text or a list of `name` and `template` with one named `default`".to_owned(),
        given: format!("`{value}`"),
    };
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(|text| Some(text.to_owned()))
            .ok_or_else(malformed),
        _ => Err(malformed()),
    }
}
