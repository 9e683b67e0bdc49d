//! One model's rendering: prompts to ids, training conversations to ids and masks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cord_core::{Digest, Digester, Message, Opening, Prompt, Role};
use serde_json::{Map, Value, json};
use tokenizers::{ModelWrapper, Tokenizer};

use crate::pretrained::{self, Pretrained};
use crate::template::ChatTemplate;
use crate::{Decoder, TextError};

const THINK: &str = "<think>";
const OPENED: &str = "<think>\n";

/// The most bytes of opened conversations that are remembered with their ids: questions of a few thousand problems.
const MOST_OPENINGS: usize = 1 << 20;

/// A training example as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingIds {
    /// The whole example: prompt, assistant's text, end-of-turn token.
    pub ids: Vec<u32>,
    /// For each id: does the loss cover its prediction? As long as `ids`.
    pub supervised: Vec<bool>,
}

/// One model's tokenizer, chat template and special tokens. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Renderer {
    parts: Arc<Parts>,
}

struct Parts {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    config: Map<String, Value>,
    generation: Map<String, Value>,
    eos_ids: Vec<u32>,
    end_of_turn: u32,
    pad_id: u32,
    vocab_size: usize,
    /// Ids of the vocabulary that stand for nothing (holes, padding rows).
    holes: BTreeSet<u32>,
    /// Special tokens that a decoder doesn't show.
    silent: BTreeSet<u32>,
    /// The token that the tokenizer writes for what it can't write.
    unknown: Option<u32>,
    /// What stands before a later segment so that the tokenizer doesn't add a word mark to its beginning, with its
    /// tokens. Empty for tokenizers that add none.
    anchors: Vec<(&'static str, Vec<u32>)>,
    openings: Mutex<Openings>,
}

/// Opened conversations that were encoded.
#[derive(Default)]
struct Openings {
    ids: BTreeMap<String, Vec<u32>>,
    /// Of all texts.
    bytes: usize,
}

impl Renderer {
    /// Reads a model's folder in the Hugging Face layout: tokenizer.json and tokenizer_config.json, and where present
    /// chat_template.jinja, generation_config.json and config.json.
    ///
    /// # Errors
    /// A file that is missing or malformed, a special token that the vocabulary lacks, a template that does not parse,
    /// or no end-of-turn token anywhere. A missing template is an error only when a prompt is rendered.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        Self::assemble(Pretrained::read(dir)?)
    }

    pub(crate) fn assemble(mut pretrained: Pretrained) -> Result<Self, TextError> {
        // A tokenizer.json may carry the settings of whoever saved it last; a prompt is never cut or padded here.
        pretrained.tokenizer.with_truncation(None).map_err(TextError::tokenizer)?;
        pretrained.tokenizer.with_padding(None);
        let named = pretrained.named_tokens()?;
        let id_of =
            |token: Option<&String>, role| match token {
                None => Ok(None),
                Some(token) => pretrained.tokenizer.token_to_id(token).map(Some).ok_or_else(|| {
                    TextError::UnknownSpecial { path: pretrained.folder.clone(), role, token: token.clone() }
                }),
            };
        let bos = id_of(named.bos.as_ref(), "bos_token")?;
        let eos_ids = pretrained.eos_ids(id_of(named.eos.as_ref(), "eos_token")?);
        let Some(&first_eos) = eos_ids.first() else {
            return Err(TextError::NoEos { path: pretrained.folder });
        };
        let pad_id = id_of(named.pad.as_ref(), "pad_token")?.unwrap_or(first_eos);
        let template = pretrained.template.take().map(|source| ChatTemplate::parse(&source, named)).transpose()?;

        let tokenizer = pretrained.tokenizer;
        let ids: BTreeSet<u32> = tokenizer.get_vocab(true).into_values().collect();
        let vocab_size = ids.last().map_or(0, |last| *last as usize + 1);
        let holes = (0..vocab_size as u32).filter(|id| !ids.contains(id)).collect();
        let silent = tokenizer
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !matches!(token.content.as_str(), THINK | "</think>"))
            .map(|(id, _)| id)
            .collect();
        let unknown = match tokenizer.get_model() {
            ModelWrapper::BPE(model) => model.get_unk_token().as_deref().and_then(|token| tokenizer.token_to_id(token)),
            ModelWrapper::WordLevel(model) => tokenizer.token_to_id(&model.unk_token),
            ModelWrapper::WordPiece(model) => tokenizer.token_to_id(&model.unk_token),
            // Its unknown token is an index that it keeps to itself; such vocabularies fall back to bytes.
            ModelWrapper::Unigram(_) => None,
        };
        let mut generation = pretrained.generation;
        generation
            .insert("eos_token_id".to_owned(), if eos_ids.len() == 1 { json!(first_eos) } else { json!(eos_ids) });
        generation.insert("pad_token_id".to_owned(), json!(pad_id));
        if let Some(bos) = bos {
            generation.insert("bos_token_id".to_owned(), json!(bos));
        }

        let mut parts = Parts {
            tokenizer,
            template,
            config: pretrained.config,
            generation,
            end_of_turn: first_eos,
            eos_ids,
            pad_id,
            vocab_size,
            holes,
            silent,
            unknown,
            anchors: Vec::new(),
            openings: Mutex::default(),
        };
        parts.anchors = parts.find_anchors()?;
        parts.end_of_turn = parts.find_end_of_turn()?;
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The same model with another chat template: for base models, which come without one.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`] when the template does not parse.
    pub fn with_template(&self, source: &str) -> Result<Self, TextError> {
        Self::assemble(Pretrained {
            folder: "the model".into(),
            tokenizer: self.parts.tokenizer.clone(),
            config: self.parts.config.clone(),
            generation: self.parts.generation.clone(),
            model_eos: Vec::new(),
            template: Some(source.to_owned()),
        })
    }

    /// Writes tokenizer.json, tokenizer_config.json (the template inside) and generation_config.json (end-of-turn ids), such
    /// that [`Renderer::from_dir`] and transformers read the same model back.
    pub fn save(&self, dir: &Path) -> Result<(), TextError> {
        let parts = &self.parts;
        let template = parts.template.as_ref().map(ChatTemplate::source);
        pretrained::write(dir, &parts.tokenizer, &parts.config, &parts.generation, template)
    }

    /// The text before the model's first token: the conversation in the model's own template, the turn's opening, the prefix.
    ///
    /// With [`Opening::Think`] the opening is exactly one `<think>` and line break, whether the template's generation
    /// prompt writes it, writes half of it, or leaves it to the model. With [`Opening::Plain`] the template's word is final,
    /// also where it opens the block itself.
    pub fn prompt_text(&self, prompt: &Prompt) -> Result<String, TextError> {
        Ok(self.opened(&prompt.messages, prompt.opening)? + &prompt.prefix)
    }

    /// The ids of [`Renderer::prompt_text`]. No special token is added beyond those that the template writes, so there
    /// is never a second BOS. The prefix is encoded on its own: see the crate's documentation.
    pub fn prompt_ids(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        let mut ids = self.opening_ids(self.opened(&prompt.messages, prompt.opening)?)?;
        ids.extend(self.parts.encode_later(&prompt.prefix)?);
        Ok(ids)
    }

    /// The ids of a conversation that is opened. The same one is asked about again and again, each time with more behind it.
    fn opening_ids(&self, text: String) -> Result<Vec<u32>, TextError> {
        let openings = || self.parts.openings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = openings().ids.get(&text) {
            return Ok(ids.clone());
        }
        let ids = self.parts.encode_first(&text)?;
        let mut openings = openings();
        if openings.bytes + text.len() > MOST_OPENINGS {
            *openings = Openings::default();
        }
        openings.bytes += text.len();
        openings.ids.insert(text, ids.clone());
        Ok(ids)
    }

    /// The ids of a text that follows a prompt. No special token is added.
    pub fn continuation_ids(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.parts.encode_later(text)
    }

    /// A conversation as a training example; its last turn is the assistant's and is what is learnt.
    ///
    /// The ids before the assistant's text are exactly [`Renderer::prompt_ids`] of the turns before it. The last turn is
    /// appended as it stands, then the end-of-turn token. Where it begins with `<think>`, the prompt is opened as by
    /// [`Opening::Think`] and the block is not opened twice.
    ///
    /// Supervised: everything after the template's own generation prompt, the end-of-turn token included. So `<think>`
    /// is supervised where the template leaves it to the model, which then opens the block unasked, and is not
    /// where the template writes it. Earlier assistant turns are rendered by the template, which may drop their reasoning,
    /// as at inference; they are never supervised.
    ///
    /// # Errors
    /// [`TextError::NotAssistantLast`] when the last turn isn't the assistant's.
    pub fn training_ids(&self, messages: &[Message]) -> Result<TrainingIds, TextError> {
        let (content, before) = match messages.split_last() {
            Some((Message { role: Role::Assistant, content }, before)) => (content.as_str(), before),
            Some((Message { role, .. }, _)) => {
                let given = format!("a turn of `{}`", format!("{role:?}").to_lowercase());
                return Err(TextError::NotAssistantLast { given });
            }
            None => return Err(TextError::NotAssistantLast { given: "no turn".to_owned() }),
        };
        let Some(rest) = content.strip_prefix(THINK) else {
            let prompt = self.parts.encode_first(&self.opened(before, Opening::Plain)?)?;
            return self.learn(prompt, None, content);
        };
        let rest = rest.strip_prefix('\n').unwrap_or(rest);
        let prompt = self.parts.encode_first(&self.opened(before, Opening::Think)?)?;
        // Of the opening, what the template didn't write: the ids past those that both renderings begin with.
        let unopened = self.parts.encode_first(&self.opened(before, Opening::Plain)?)?;
        let shared = prompt.iter().zip(&unopened).take_while(|(a, b)| a == b).count();
        self.learn(prompt, Some(shared), rest)
    }

    /// The same with every turn of the assistant to be learnt, each as it is written when it is the last one.
    ///
    /// # Errors
    /// [`TextError::RewrittenTurn`] where the template renders an earlier turn otherwise than a model would write it, as those do that
    /// drop earlier reasoning.
    pub fn conversation_ids(&self, messages: &[Message]) -> Result<TrainingIds, TextError> {
        let mut all = self.training_ids(messages)?;
        for (place, message) in messages.iter().enumerate().rev().skip(1) {
            if message.role != Role::Assistant {
                continue;
            }
            let turn = self.training_ids(&messages[..=place])?;
            if !all.ids.starts_with(&turn.ids) {
                return Err(TextError::RewrittenTurn { turn: place + 1 });
            }
            for (all, turn) in all.supervised.iter_mut().zip(turn.supervised) {
                *all |= turn;
            }
        }
        Ok(all)
    }

    /// A training example that takes up a text begun by someone else: the prompt with its opening and prefix, none of it
    /// supervised, then `completion` and the end-of-turn token, all of it supervised.
    pub fn continued_training_ids(&self, prompt: &Prompt, completion: &str) -> Result<TrainingIds, TextError> {
        self.learn(self.prompt_ids(prompt)?, None, completion)
    }

    fn learn(&self, mut ids: Vec<u32>, from: Option<usize>, completion: &str) -> Result<TrainingIds, TextError> {
        let from = from.unwrap_or(ids.len());
        ids.extend(self.parts.encode_later(completion)?);
        ids.push(self.parts.end_of_turn);
        let supervised = (0..ids.len()).map(|place| place >= from).collect();
        Ok(TrainingIds { ids, supervised })
    }

    fn opened(&self, messages: &[Message], opening: Opening) -> Result<String, TextError> {
        let template = self.parts.template.as_ref().ok_or(TextError::NoTemplate)?;
        let mut text = template.render(messages, true)?;
        if opening == Opening::Think {
            let bare = text.trim_end_matches('\n');
            if bare.ends_with(THINK) {
                text.truncate(bare.len() - THINK.len());
            }
            text.push_str(OPENED);
        }
        Ok(text)
    }

    /// A decoder at the beginning of a model's turn.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.clone())
    }

    /// The text of a continuation's ids, as [`Decoder`] gives it.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        let mut decoder = self.decoder();
        let mut text = String::new();
        for id in ids {
            text.push_str(&decoder.push(*id)?);
        }
        text.push_str(&decoder.flush()?);
        Ok(text)
    }

    /// The ids that end the model's turn, the tokenizer's own first; never empty.
    pub fn eos_ids(&self) -> &[u32] {
        &self.parts.eos_ids
    }

    /// The id that closes an assistant's turn in training: what the template writes after one where that is among
    /// [`Renderer::eos_ids`], else the first of those.
    pub fn end_of_turn_id(&self) -> u32 {
        self.parts.end_of_turn
    }

    /// The id that fills a batch's short rows: the tokenizer's padding token, or the first end-of-turn id.
    pub fn pad_id(&self) -> u32 {
        self.parts.pad_id
    }

    /// The least number of rows an embedding needs: one more than the highest id. A checkpoint may have more.
    pub fn vocab_size(&self) -> usize {
        self.parts.vocab_size
    }

    /// The rows that the tokenizer's own vocabulary needs. Tokens that were added to it may lie above: some models are published with
    /// a token of a sibling that reads images, which their embedding has no row for.
    pub fn own_vocab_size(&self) -> usize {
        let own = self.parts.tokenizer.get_vocab(false);
        own.values().max().map_or(0, |last| *last as usize + 1)
    }

    /// Has the model a chat template?
    pub fn has_template(&self) -> bool {
        self.parts.template.is_some()
    }

    /// Names the tokenizer by content: its whole definition and the special ids in use.
    pub fn tokenizer_digest(&self) -> Digest {
        let parts = &self.parts;
        let definition = parts.tokenizer.to_string(false).expect("a tokenizer that was read can be written");
        let ids = json!([parts.eos_ids, parts.end_of_turn, parts.pad_id]).to_string();
        Digester::new("cord-tokenizer").part(definition.as_bytes()).part(ids.as_bytes()).finish()
    }

    /// Names the chat template by content: its source and the tokens that it may name. Models without one share a digest.
    pub fn template_digest(&self) -> Digest {
        match &self.parts.template {
            Some(template) => template.digest(),
            None => Digester::new("cord-no-chat-template").finish(),
        }
    }

    pub(crate) fn anchor(&self) -> &[u32] {
        self.parts.anchors.first().map_or(&[], |(_, ids)| ids)
    }

    pub(crate) fn is_known(&self, id: u32) -> bool {
        (id as usize) < self.parts.vocab_size && !self.parts.holes.contains(&id)
    }

    pub(crate) fn is_silent(&self, id: u32) -> bool {
        self.parts.silent.contains(&id)
    }

    pub(crate) fn decode_raw(&self, ids: &[u32]) -> Result<String, TextError> {
        self.parts.tokenizer.decode(ids, false).map_err(TextError::tokenizer)
    }
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer")
            .field("vocab_size", &self.parts.vocab_size)
            .field("eos_ids", &self.parts.eos_ids)
            .field("has_template", &self.has_template())
            .finish_non_exhaustive()
    }
}

impl Parts {
    /// The ids of a text that begins the sequence.
    fn encode_first(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let ids = self.tokenizer.encode_fast(text, false).map_err(TextError::tokenizer)?.get_ids().to_vec();
        match self.unknown {
            Some(unknown) if ids.contains(&unknown) => self.refuse_unknown(text, unknown).map(|()| ids),
            _ => Ok(ids),
        }
    }

    /// The ids of a text that follows another.
    fn encode_later(&self, text: &str) -> Result<Vec<u32>, TextError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if self.anchors.is_empty() {
            return self.encode_first(text);
        }
        for (anchor, anchor_ids) in &self.anchors {
            let mut ids = self.encode_first(&format!("{anchor}{text}"))?;
            if ids.starts_with(anchor_ids) {
                return Ok(ids.split_off(anchor_ids.len()));
            }
        }
        let reason =
            format!("expected one of its word boundaries to hold before `{text}`, but each was merged into it");
        Err(TextError::Tokenizer { reason })
    }

    /// A token for the unknown would make the model read another text than the one that is scored and stored.
    fn refuse_unknown(&self, text: &str, unknown: u32) -> Result<(), TextError> {
        let encoding = self.tokenizer.encode(text, false).map_err(TextError::tokenizer)?;
        let written = self.tokenizer.id_to_token(unknown).unwrap_or_default();
        for (id, (start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let piece = text.get(*start..*end).unwrap_or_default();
            // A text that spells the token out means it.
            if *id == unknown && piece != written {
                return Err(TextError::Unencodable { piece: piece.to_owned(), offset: *start });
            }
        }
        Ok(())
    }

    /// Llama 2's family marks the beginning of every text as the beginning of a word. A later segment is not one, so it is
    /// encoded behind something whose own tokens are then dropped.
    fn find_anchors(&self) -> Result<Vec<(&'static str, Vec<u32>)>, TextError> {
        let probe = self.tokenizer.encode_fast("a", false).map_err(TextError::tokenizer)?;
        let first = probe.get_ids().first().and_then(|id| self.tokenizer.id_to_token(*id));
        if !first.is_some_and(|token| token.starts_with('▁')) {
            return Ok(Vec::new());
        }
        ["\n", "."]
            .into_iter()
            .map(|anchor| {
                let encoding = self.tokenizer.encode_fast(anchor, false).map_err(TextError::tokenizer)?;
                Ok((anchor, encoding.get_ids().to_vec()))
            })
            .collect()
    }

    fn find_end_of_turn(&self) -> Result<u32, TextError> {
        const PROBE: &str = "cord-end-of-turn-probe";
        let first = self.eos_ids[0];
        let Some(template) = &self.template else { return Ok(first) };
        let turns = [Message::user("probe"), Message::assistant(PROBE)];
        // A template that refuses this conversation may still render real ones.
        let Ok(text) = template.render(&turns, false) else { return Ok(first) };
        let Some((_, tail)) = text.rsplit_once(PROBE) else { return Ok(first) };
        let encoding = self.tokenizer.encode_fast(tail, false).map_err(TextError::tokenizer)?;
        let closing = encoding.get_ids().first().filter(|id| self.eos_ids.contains(id));
        Ok(closing.copied().unwrap_or(first))
    }
}
