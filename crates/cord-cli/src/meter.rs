//! How long models work, and how long problems take: what a run costs in seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cord_core::{
    BoxFuture, Capabilities, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, ScoreRequest,
    TokenLogprob,
};

/// A model whose seconds are counted: those in which at least one request is in flight. It stands behind the journal, so that
/// what is replayed costs nothing again.
pub(crate) struct Metered {
    model: Arc<dyn LanguageModel>,
    clock: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    in_flight: usize,
    since: Option<Instant>,
    seconds: f64,
}

/// A request in flight. Dropped with it, however it ends.
struct Request<'a>(&'a Metered);

impl Metered {
    pub(crate) fn new(model: Arc<dyn LanguageModel>) -> Self {
        Self { model, clock: Mutex::default() }
    }

    /// Seconds of work so far.
    pub(crate) fn seconds(&self) -> f64 {
        let work = self.work();
        work.seconds + work.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    fn request(&self) -> Request<'_> {
        let mut work = self.work();
        work.in_flight += 1;
        work.since.get_or_insert_with(Instant::now);
        Request(self)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut work = self.0.work();
        work.in_flight -= 1;
        if work.in_flight == 0
            && let Some(since) = work.since.take()
        {
            work.seconds += since.elapsed().as_secs_f64();
        }
    }
}

impl LanguageModel for Metered {
    fn identity(&self) -> &ModelId {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn cached_tokens(&self) -> Option<u64> {
        self.model.cached_tokens()
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let _in_flight = self.request();
            self.model.generate(request).await
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let _in_flight = self.request();
            self.model.loglikelihood(request).await
        })
    }
}

/// When problems were begun.
#[derive(Default)]
pub(crate) struct Stopwatch(Mutex<BTreeMap<String, Instant>>);

impl Stopwatch {
    pub(crate) fn begin(&self, problem: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(problem.to_owned(), Instant::now());
    }

    /// Seconds since the problem was begun.
    pub(crate) fn end(&self, problem: &str) -> f64 {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(problem);
        begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64())
    }
}

/// The machine's clock.
pub(crate) struct WallClock;

impl cord_generate::Clock for WallClock {
    fn after(&self, time: std::time::Duration) -> BoxFuture<'static, ()> {
        Box::pin(futures_timer::Delay::new(time))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    struct Slow;

    impl LanguageModel for Slow {
        fn identity(&self) -> &ModelId {
            unreachable!("nobody asks")
        }

        fn capabilities(&self) -> Capabilities {
            unreachable!("nobody asks")
        }

        fn generate(&self, _: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
            Box::pin(std::future::pending())
        }

        fn loglikelihood(&self, _: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
            Box::pin(async {
                futures_timer::Delay::new(Duration::from_millis(30)).await;
                Ok(Vec::new())
            })
        }
    }

    #[test]
    fn seconds_are_those_with_a_request_in_flight_counted_once() {
        let model = Metered::new(Arc::new(Slow));
        let request = || ScoreRequest {
            prompt: cord_core::Prompt {
                messages: Vec::new(),
                opening: cord_core::Opening::Plain,
                prefix: String::new(),
            },
            continuation: String::new(),
        };
        futures::executor::block_on(async {
            // Two at once take the time of one.
            let both = futures::join!(model.loglikelihood(request()), model.loglikelihood(request()));
            assert!(both.0.is_ok() && both.1.is_ok());
            futures_timer::Delay::new(Duration::from_millis(200)).await;
        });
        let spent = model.seconds();
        assert!((0.03..0.15).contains(&spent), "{spent}");
        // A dropped request is over.
        let generate = GenerateRequest {
            prompt: request().prompt,
            stop: Vec::new(),
            max_tokens: 1,
            sampling: cord_core::Sampling::default(),
            seed: cord_core::Seed::root(1),
        };
        assert!(model.generate(generate).now_or_never().is_none());
        let after = model.seconds();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(model.seconds(), after);
    }
}
