//! A judge that is a command.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cord_core::{BoxFuture, Digest};
use cord_eval::judge::{Question, Unscored, Voice};
use futures::channel::oneshot;
use serde::Deserialize;
use serde_json::{Value, json};

/// How long a command may take to end once its input has.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command that reads questions and writes verdicts, one JSON object a line, as [`JudgeArgs`](super::JudgeArgs) tells its users.
///
/// A line that answers no question under way ends it: nobody could say whose answer was lost.
pub(super) struct CommandVoice {
    name: String,
    digest: Digest,
    next: AtomicU64,
    input: Mutex<Option<ChildStdin>>,
    waiting: Arc<Waiting>,
    child: Mutex<Child>,
}

type Answer = Result<String, String>;

/// Who waits for the answer of which question.
struct Waiting {
    /// The reason once the command answers no more.
    senders: Mutex<Result<BTreeMap<u64, oneshot::Sender<Answer>>, String>>,
}

#[derive(Deserialize)]
struct Said {
    verdict: Option<String>,
    error: Option<String>,
}

impl CommandVoice {
    pub(super) fn start(command: &str) -> Result<Self> {
        let mut words = command.split_whitespace();
        let program = words.next().context("expected a command after `exec:`, got nothing")?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start `{program}`"))?;
        let output = child.stdout.take().context("the command's output is piped")?;
        let input = child.stdin.take();
        let waiting = Arc::new(Waiting { senders: Mutex::new(Ok(BTreeMap::new())) });
        let told = waiting.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let heard = line.map_err(|error| format!("can't read the command's output: {error}"));
                if let Err(reason) = heard.and_then(|line| told.hear(&line)) {
                    return told.end(&reason);
                }
            }
            told.end("the command has ended");
        });
        // A command is known by what it is called with, and by its program's content where that is a file.
        let content = std::fs::read(program).map(|bytes| Digest::of_bytes(&bytes)).ok();
        Ok(Self {
            name: command.to_owned(),
            digest: Digest::of_json(&("command", command, content)),
            next: AtomicU64::new(0),
            input: Mutex::new(input),
            waiting,
            child: Mutex::new(child),
        })
    }

    fn ask(&self, question: &Question<'_>) -> Result<oneshot::Receiver<Answer>, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let rubric = question.rubric;
        let mut line = json!({"id": id, "rubric": format!("{}/{}", rubric.name, rubric.version), "kind": rubric.kind});
        for (name, text) in &question.fields {
            line[*name] = json!(text);
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().as_mut().map_err(|reason| reason.clone())?.insert(id, sender);
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = input.as_mut().ok_or("the command's input is closed")?;
        writeln!(pipe, "{line}")
            .and_then(|()| pipe.flush())
            .map_err(|error| format!("can't write to the command: {error}"))?;
        Ok(receiver)
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Result<BTreeMap<u64, oneshot::Sender<Answer>>, String>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever asked what a line of the command's output says.
    ///
    /// # Errors
    ///
    /// If it is the answer of no question under way.
    fn hear(&self, line: &str) -> Result<(), String> {
        let shown: String = line.chars().take(120).collect();
        let expected = |what: &str| {
            format!(
                "expected {what} on each line that the command writes, as in {{\"id\": 0, \"verdict\": \"correct\"}}, got `{shown}`; \
                 what is not an answer belongs on its standard error"
            )
        };
        let value: Value = serde_json::from_str(line).map_err(|_| expected("a JSON object"))?;
        let id = value["id"].as_u64().ok_or_else(|| expected("the question's `id`"))?;
        let sender = self.lock().as_mut().ok().and_then(|senders| senders.remove(&id));
        let sender = sender.ok_or_else(|| expected("the `id` of a question that waits for its answer"))?;
        let answer = match Said::deserialize(&value) {
            Ok(Said { verdict: Some(verdict), error: None }) => Ok(verdict),
            Ok(Said { error: Some(error), .. }) => Err(error),
            _ => Err(expected("`verdict` or `error`, a text,")),
        };
        // Whoever asked may have gone away.
        let _ = sender.send(answer);
        Ok(())
    }

    /// Tells everyone who waits, and whoever asks from now on, that there will be no answer.
    fn end(&self, reason: &str) {
        let waiting = std::mem::replace(&mut *self.lock(), Err(reason.to_owned()));
        for sender in waiting.into_iter().flat_map(BTreeMap::into_values) {
            let _ = sender.send(Err(reason.to_owned()));
        }
    }
}

impl Drop for CommandVoice {
    fn drop(&mut self) {
        // The end of its input tells the command to end.
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            // One that does not heed it must not keep this program.
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Voice for CommandVoice {
    fn name(&self) -> &str {
        &self.name
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn answer<'a>(&'a self, question: &'a Question<'a>) -> BoxFuture<'a, Result<String, Unscored>> {
        Box::pin(async move {
            let failed = |reason: String| Unscored::Failed { reason };
            let receiver = self.ask(question).map_err(failed)?;
            let answer = receiver.await.unwrap_or_else(|_| Err("the command has ended".to_owned()));
            let verdict = answer.map_err(failed)?;
            // Said in the rubric's own words, so that one reader decides what is a verdict.
            let word = question.rubric.verdicts.get(&verdict).and_then(|words| words.first());
            Ok(word.map_or(verdict, |word| format!("{} {word}", question.rubric.cue)))
        })
    }
}
