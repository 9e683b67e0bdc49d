//! A server of stated speed: continuous batching, prefill before decoding, a prefix cache.

use std::collections::{BTreeMap, VecDeque};

use futures::channel::oneshot;

use super::cache::PrefixCache;

/// What a server can do. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// A step of decoding, whatever the batch: reading the weights.
    pub step: f64,
    /// What each sequence of the batch adds to a step. A batch of b gives b / (step + b × sequence) tokens a second.
    pub sequence: f64,
    /// Prefilling one token that is not in the prefix cache. Decoding stands still meanwhile.
    pub prefill: f64,
    /// The most sequences of a batch; what comes beyond waits in the order of arrival.
    pub batch: usize,
    /// Tokens in the prefix cache.
    pub cache: u64,
}

impl Speed {
    /// The least time of one token, with a full batch: nothing that is done can make it less.
    pub fn full(&self) -> f64 {
        (self.step + self.batch as f64 * self.sequence) / self.batch as f64
    }

    /// The time of one token of a sequence that is alone.
    pub fn alone(&self) -> f64 {
        self.step + self.sequence
    }
}

/// What a server did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Busy {
    /// Tokens decoded.
    pub decoded: u64,
    /// Tokens prefilled.
    pub prefilled: u64,
    /// Tokens found in the prefix cache.
    pub cached: u64,
    /// Seconds in which it did anything.
    pub seconds: f64,
}

pub(crate) struct Job {
    /// The blocks of all that stands before the first new token, and of what is decoded.
    pub(crate) blocks: Vec<u64>,
    /// How many of them stand before.
    pub(crate) before: usize,
    /// Tokens that stand before.
    pub(crate) prompt: u64,
    /// Tokens to decode: more than the text has, where a stop was trimmed.
    pub(crate) tokens: u64,
    pub(crate) done: oneshot::Sender<()>,
}

pub(crate) struct Server {
    speed: Speed,
    cache: PrefixCache,
    waiting: VecDeque<Job>,
    /// The job being prefilled, and the seconds that this still takes.
    prefilling: Option<(Job, f64)>,
    /// Jobs being decoded, by the number of tokens that each sequence will have been given at their end. All sequences are
    /// given the same tokens in the same time, so one counter serves them all.
    decoding: BTreeMap<(u64, u64), Job>,
    given: f64,
    jobs: u64,
    busy: Busy,
}

impl Server {
    pub(crate) fn new(speed: Speed) -> Self {
        Self {
            cache: PrefixCache::new(speed.cache),
            speed,
            waiting: VecDeque::new(),
            prefilling: None,
            decoding: BTreeMap::new(),
            given: 0.0,
            jobs: 0,
            busy: Busy::default(),
        }
    }

    pub(crate) fn busy(&self) -> Busy {
        self.busy
    }

    /// Requests that it has not answered.
    pub(crate) fn load(&self) -> usize {
        self.waiting.len() + usize::from(self.prefilling.is_some()) + self.decoding.len()
    }

    /// Requests that it works on at once.
    pub(crate) fn batch(&self) -> usize {
        self.speed.batch
    }

    pub(crate) fn take(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.admit();
    }

    fn admit(&mut self) {
        if self.prefilling.is_some() || self.decoding.len() >= self.speed.batch {
            return;
        }
        if let Some(job) = self.waiting.pop_front() {
            let cached = self.cache.known(&job.blocks[..job.before]);
            let new = job.prompt - cached;
            self.busy.cached += cached;
            self.busy.prefilled += new;
            self.prefilling = Some((job, new as f64 * self.speed.prefill));
        }
    }

    /// Seconds until something happens here.
    pub(crate) fn next(&self) -> Option<f64> {
        if let Some((_, seconds)) = &self.prefilling {
            return Some(*seconds);
        }
        let ((end, _), _) = self.decoding.first_key_value()?;
        Some((*end as f64 - self.given).max(0.0) * self.step())
    }

    fn step(&self) -> f64 {
        self.speed.step + self.decoding.len() as f64 * self.speed.sequence
    }

    /// Lets time pass, at most as much as [`Server::next`] says, and answers what is done.
    pub(crate) fn pass(&mut self, seconds: f64) {
        // The last thing to happen is reached by comparison with what `next` said, not by adding up: sums are rounded.
        let due = self.next().is_some_and(|next| next <= seconds);
        if self.load() > 0 {
            self.busy.seconds += seconds;
        }
        if let Some((_, left)) = &mut self.prefilling {
            *left -= seconds;
            if due && let Some((job, _)) = self.prefilling.take() {
                self.prefilled(job);
            }
        } else if !self.decoding.is_empty() {
            let step = self.step();
            self.given += seconds / step;
            if due {
                self.decoded();
            }
        }
        self.admit();
    }

    fn prefilled(&mut self, job: Job) {
        self.cache.keep(&job.blocks[..job.before]);
        if job.tokens == 0 {
            let _ = job.done.send(());
            return;
        }
        self.jobs += 1;
        self.decoding.insert((self.given.round() as u64 + job.tokens, self.jobs), job);
    }

    fn decoded(&mut self) {
        let Some(((end, _), _)) = self.decoding.first_key_value() else { return };
        let end = *end;
        self.given = self.given.max(end as f64);
        while let Some(first) = self.decoding.first_entry().filter(|first| first.key().0 == end) {
            let job = first.remove();
            self.busy.decoded += job.tokens;
            self.cache.keep(&job.blocks);
            let _ = job.done.send(());
        }
    }
}
