//! A server on a real socket that speaks the dialects of vLLM, SGLang, llama.cpp and OpenAI over a [`Hashed`] model, and
//! fails where it is told to.

mod connection;
mod llama_cpp;
mod openai;
mod sglang;
mod vllm;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{ByteVocabulary, Hashed};

/// The kind of server that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp.
    LlamaCpp,
    /// A server that knows OpenAI's completions and chat only.
    OpenAi,
}

/// A lasting peculiarity of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// vLLM before `logprob_token_ids`: the field is ignored.
    NoSelectedIds,
    /// `allowed_token_ids` is refused.
    NoAllowedIds,
    /// Log-probabilities are those after temperature, bias and mask.
    Processed,
    /// Log-probabilities of a prompt stand one place too late, as those of llama-cpp-python do.
    Shifted,
    /// Log-probabilities are left out in silence.
    NoLogprobs,
    /// Which stop ended a text is left out.
    NoStopReason,
    /// A prompt's beginning is dropped in silence beyond this many tokens.
    Truncates(usize),
    /// Another tokenizer than the one that was asked for.
    OtherTokenizer,
    /// OpenAI's `echo` is honoured.
    Echoes,
    /// `/v1/models` does not say who owns the models.
    Anonymous,
    /// vLLM serves a process reward model: labels by `/pooling`, and no completions.
    Rewards,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Its kind.
    pub kind: Kind,
    /// The model's name in requests.
    pub name: String,
    /// Where it says its weights are from.
    pub root: String,
    /// Its build.
    pub version: String,
    /// The weights.
    pub weights: u64,
    /// The most tokens of prompt and continuation.
    pub context: u32,
    /// Its peculiarities.
    pub quirks: Vec<Quirk>,
    /// Answers at once with a fixed text, for measuring clients: the model is not asked.
    pub canned: bool,
    /// What it says to a prompt that holds a text, and ends its turn; the first that fits.
    pub answers: Vec<(String, String)>,
}

impl Served {
    /// A plain server of a kind.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            name: "tiny".to_owned(),
            root: "org/tiny".to_owned(),
            version: "0.32.0".to_owned(),
            weights: 7,
            context: 4096,
            quirks: Vec::new(),
            canned: false,
            answers: Vec::new(),
        }
    }

    /// With a peculiarity.
    #[must_use]
    pub fn with(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    /// With an answer of its own to every prompt that holds a text.
    #[must_use]
    pub fn answering(mut self, prompt: &str, answer: &str) -> Self {
        self.answers.push((prompt.to_owned(), answer.to_owned()));
        self
    }

    /// Its tokenizer.
    pub fn vocabulary(&self) -> ByteVocabulary {
        if self.has(Quirk::OtherTokenizer) { ByteVocabulary::without_words() } else { ByteVocabulary::new() }
    }

    /// Its model.
    pub fn model(&self) -> Hashed {
        Hashed::new(self.weights, ByteVocabulary::new())
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `/v1/completions` and the like.
    pub path: String,
    /// The body; null where there is none.
    pub body: Value,
    /// How many requests with a body came before, on any path.
    pub nth: usize,
    /// How often the same body came before.
    pub repeat: usize,
}

/// How one answer goes wrong.
#[derive(Clone)]
pub enum Fault {
    /// The connection closes without an answer.
    Close,
    /// The connection closes after half of the body.
    BreakOff,
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The answer comes this much later.
    Late(Duration),
    /// The body comes in this many pieces, with a pause before each.
    Slow(usize, Duration),
    /// Half of the JSON, as if it were all of it.
    Truncate,
    /// Another body.
    Body(String),
    /// A change of the reply.
    Edit(Arc<dyn Fn(&mut Value) + Send + Sync>),
    /// A change of the reply's text, for what is no JSON.
    Rewrite(Arc<dyn Fn(String) -> String + Send + Sync>),
}

impl Fault {
    /// A change of the reply.
    pub fn edit(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }

    /// A plain status with an OpenAI-shaped message.
    pub fn status(status: u16, message: &str) -> Self {
        Self::Status(status, Vec::new(), json!({ "error": { "message": message, "type": "error" } }).to_string())
    }
}

type Script = dyn Fn(&Seen) -> Option<Fault> + Send + Sync;

/// What the server counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests with a body.
    pub posts: usize,
    /// The most often that one and the same body came.
    pub most_repeats: usize,
    /// Requests whose client went away before the answer.
    pub abandoned: usize,
    /// The most requests under way at once.
    pub most_at_once: usize,
    /// Connections that were opened.
    pub connections: usize,
    /// `Authorization` headers, each once.
    pub keys: Vec<String>,
}

struct State {
    served: Served,
    script: Option<Arc<Script>>,
    counts: Counts,
    repeats: BTreeMap<String, usize>,
    at_once: usize,
    open: Vec<TcpStream>,
}

/// A running server. Dropping it closes its port and all its connections.
pub struct TestServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    /// The thread that holds the port; nothing while the server is dead.
    listener: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port or thread to be had.
    pub fn start(served: Served) -> Self {
        let state = State {
            served,
            script: None,
            counts: Counts::default(),
            repeats: BTreeMap::new(),
            at_once: 0,
            open: Vec::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut server = Self { address, state: Arc::new(Mutex::new(state)), stop: Arc::default(), listener: None };
        server.listen(listener);
        server
    }

    /// Its base address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on, each request with a body goes wrong as the script says, or not at all.
    pub fn script(&self, script: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static) {
        self.state().script = Some(Arc::new(script));
    }

    /// Ends the script and forgets all counts.
    pub fn reset(&self) {
        let mut state = self.state();
        state.script = None;
        state.counts = Counts::default();
        state.repeats.clear();
    }

    /// What it counted.
    pub fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    /// What it serves.
    pub fn served(&self) -> Served {
        self.state().served.clone()
    }

    /// Changes what it serves while it runs, its connections kept.
    pub fn change(&self, change: impl FnOnce(&mut Served)) {
        change(&mut self.state().served);
    }

    /// Restarts it with other settings on the same port: all connections close.
    pub fn restart(&mut self, change: impl FnOnce(&mut Served)) {
        self.kill();
        self.change(change);
        self.revive();
    }

    /// Closes the port and all connections. What it knows stays for [`TestServer::revive`].
    pub fn kill(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which then closes the port.
        drop(TcpStream::connect(self.address));
        let _ = listener.join();
        for stream in self.state().open.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Opens the port again.
    ///
    /// # Panics
    /// When another process took it meanwhile.
    pub fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the port is still free");
        self.listen(listener);
    }

    fn listen(&mut self, listener: TcpListener) {
        self.stop = Arc::default();
        let (state, stop) = (self.state.clone(), self.stop.clone());
        let accept = move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = state.clone();
                let serve = move || {
                    // A client that goes away is no fault of the server's.
                    let _: io::Result<()> = connection::serve(&stream, &state);
                };
                std::thread::Builder::new().stack_size(256 << 10).spawn(serve).expect("a thread for a connection");
            }
        };
        self.listener = Some(std::thread::spawn(accept));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a dialect answers: a status and a body.
type Answer = (u16, Value);

/// Answers a request as its kind does; an error is an answer too.
fn answer(served: &Served, path: &str, body: &Value) -> Answer {
    let answer = match served.kind {
        Kind::Vllm => vllm::answer(served, path, body),
        Kind::Sglang => sglang::answer(served, path, body),
        Kind::LlamaCpp => llama_cpp::answer(served, path, body),
        Kind::OpenAi => openai::answer(served, path, body),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

fn refusal(status: u16, message: impl Into<String>) -> Answer {
    let message: String = message.into();
    (status, json!({ "error": { "message": message, "type": "BadRequestError", "code": status } }))
}

fn not_found() -> Result<Answer, Answer> {
    Err(refusal(404, "not found"))
}

/// A field that a client must not leave to the server's default.
fn need<'a>(body: &'a Value, field: &str) -> Result<&'a Value, Answer> {
    body.get(field).ok_or_else(|| refusal(400, format!("the test server wants `{field}` in every request")))
}

fn need_f64(body: &Value, field: &str) -> Result<f64, Answer> {
    need(body, field)?.as_f64().ok_or_else(|| refusal(400, format!("`{field}` is no number")))
}

fn need_u64(body: &Value, field: &str) -> Result<u64, Answer> {
    need(body, field)?.as_u64().ok_or_else(|| refusal(400, format!("`{field}` is no whole number")))
}

/// Every one of these must be sent with this value.
fn neutral(body: &Value, fields: &[(&str, f64)]) -> Result<(), Answer> {
    for (field, expected) in fields {
        let given = need_f64(body, field)?;
        if given != *expected {
            return Err(refusal(400, format!("the test server wants `{field}` = {expected}, got {given}")));
        }
    }
    Ok(())
}

fn ids(value: &Value) -> Result<Vec<u32>, Answer> {
    let id = |value: &Value| value.as_u64().map(|id| id as u32);
    let ids: Option<Vec<u32>> = value.as_array().and_then(|ids| ids.iter().map(id).collect());
    ids.ok_or_else(|| refusal(400, "expected token ids"))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let texts = value.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
