//! A time that passes only when everybody waits, and the servers that work in it.

mod cache;
mod server;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cord_core::{
    BoxFuture, Capabilities, Digest, Digester, GenerateRequest, Generation, LanguageModel, ModelError, ModelId, Prompt,
    ScoreRequest, TokenLogprob,
};
use futures::channel::oneshot;
use futures::task::noop_waker_ref;

use self::cache::{PrefixCache, blocks, whole_blocks};
pub use self::server::{Busy, Speed};
use self::server::{Job, Server};

/// How far above the mean load a server may be and still keep the problems that live there.
const SLACK: f64 = 1.25;
/// The same for problems of which requests are under way: what they ask now shares prefixes with those.
const SLACK_UNDER_WAY: f64 = 1.75;

/// Virtual time with servers in it.
///
/// [`Simulation::run`] polls a future until it can get no further, lets time pass until a server or a timer is due, and
/// polls again. The code under test is the real one; only replies take their time by a formula instead of by a GPU. The
/// same run takes the same virtual time on every machine.
#[derive(Clone, Default)]
pub struct Simulation(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    now: f64,
    servers: Vec<Server>,
    timers: Vec<(f64, oneshot::Sender<()>)>,
    requests: u64,
}

impl Simulation {
    /// A simulation at time 0, without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.world().now
    }

    /// Requests that servers were given.
    pub fn requests(&self) -> u64 {
        self.world().requests
    }

    /// Has every server answered all that it was given?
    pub fn is_idle(&self) -> bool {
        self.world().servers.iter().all(|server| server.load() == 0)
    }

    /// A model served by `endpoints` servers of one speed. What it replies is `model`'s; when is the servers'.
    ///
    /// Requests go where the real pool (`cord-client`) sends them: those of one problem to one server, the least busy one when
    /// the problem is new; a problem moves to the least busy server when its own is a quarter busier than the mean. While
    /// requests of it are under way it moves only if its server is three quarters busier, and has no room.
    pub fn serve(&self, model: Arc<dyn LanguageModel>, endpoints: usize, speed: Speed) -> Simulated {
        let mut world = self.world();
        let first = world.servers.len();
        world.servers.extend((0..endpoints).map(|_| Server::new(speed)));
        let ideal = Mutex::new((PrefixCache::new(u64::MAX), 0));
        Simulated { model, simulation: self.clone(), servers: first..first + endpoints, ideal, homes: Mutex::default() }
    }

    /// Ends after `time`.
    pub fn after(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        let mut world = self.world();
        let due = world.now + time.as_secs_f64();
        world.timers.push((due, sender));
        Box::pin(async move {
            let _ = receiver.await;
        })
    }

    /// Runs a future to its end.
    ///
    /// # Panics
    /// When the future waits for something that is neither a server nor a timer: it would wait for ever.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(noop_waker_ref());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            assert!(self.world().pass(), "the future waits, but no server works and no timer runs");
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Lets time pass until something happens; says whether anything can.
    fn pass(&mut self) -> bool {
        // A timer that nobody waits for any more holds no time up.
        self.timers.retain(|(_, timer)| !timer.is_canceled());
        let left = |due: &f64, now: f64| (due - now).max(0.0);
        let now = self.now;
        let timers = self.timers.iter().map(|(due, _)| left(due, now));
        let Some(seconds) = self.servers.iter().filter_map(Server::next).chain(timers).min_by(f64::total_cmp) else {
            return false;
        };
        self.now += seconds;
        self.servers.iter_mut().for_each(|server| server.pass(seconds));
        // By the same difference as above: a sum is rounded, and could fall short of the time that was waited for.
        for (_, timer) in self.timers.extract_if(.., |(due, _)| left(due, now) <= seconds) {
            let _ = timer.send(());
        }
        true
    }
}

/// Where a problem's requests go.
struct Home {
    server: usize,
    under_way: usize,
}

/// A model behind simulated servers.
pub struct Simulated {
    model: Arc<dyn LanguageModel>,
    simulation: Simulation,
    servers: std::ops::Range<usize>,
    /// A cache that forgets nothing and that all servers share, and the tokens that even it did not know.
    ideal: Mutex<(PrefixCache, u64)>,
    homes: Mutex<HashMap<Digest, Home>>,
}

impl Simulated {
    /// The least tokens that any servers would have prefilled for the same requests.
    pub fn least_prefilled(&self) -> u64 {
        self.ideal.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// What its servers did so far, one by one.
    pub fn busy(&self) -> Vec<Busy> {
        self.simulation.world().servers[self.servers.clone()].iter().map(Server::busy).collect()
    }

    async fn wait(&self, problem: Digest, mut text: Vec<u8>, decoded: &[u8], tokens: u64) {
        let (done, receiver) = oneshot::channel();
        let (prompt, before) = (text.len() as u64, whole_blocks(text.len()));
        text.extend_from_slice(decoded);
        let blocks = blocks(&text);
        {
            let mut ideal = self.ideal.lock().unwrap_or_else(PoisonError::into_inner);
            ideal.1 += prompt - ideal.0.known(&blocks[..before]);
            ideal.0.keep(&blocks);
            let mut world = self.simulation.world();
            world.requests += 1;
            let servers = &mut world.servers[self.servers.clone()];
            let total: usize = servers.iter().map(Server::load).sum();
            let mean = (total + 1) as f64 / servers.len() as f64;
            let least = || (0..servers.len()).min_by_key(|at| (servers[*at].load(), rendezvous(&problem, *at)));
            let least = || least().expect("a model has servers");
            let mut homes = self.homes();
            let home = homes.entry(problem).or_insert_with(|| Home { server: least(), under_way: 0 });
            let bound = match home.under_way {
                0 => SLACK * mean,
                _ => (SLACK_UNDER_WAY * mean).max(servers[home.server].batch() as f64),
            };
            if servers[home.server].load() as f64 >= bound {
                home.server = least();
            }
            home.under_way += 1;
            servers[home.server].take(Job { blocks, before, prompt, tokens, done });
        }
        receiver.await.expect("a server answers what it took");
        self.homes().get_mut(&problem).expect("a problem that was asked about has a home").under_way -= 1;
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<Digest, Home>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the requests of one problem have in common.
fn question(prompt: &Prompt) -> Digest {
    Digest::of_json(&prompt.messages)
}

fn rendezvous(problem: &Digest, server: usize) -> Digest {
    Digester::new("rendezvous").part(problem.as_bytes()).part(&server.to_le_bytes()).finish()
}

fn text(prompt: &Prompt) -> Vec<u8> {
    let messages = prompt.messages.iter().map(|message| message.content.as_str());
    messages.chain([prompt.prefix.as_str()]).collect::<String>().into_bytes()
}

impl LanguageModel for Simulated {
    fn identity(&self) -> &ModelId {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Result<Generation, ModelError>> {
        Box::pin(async move {
            let (problem, prompt) = (question(&request.prompt), text(&request.prompt));
            let reply = self.model.generate(request).await?;
            self.wait(problem, prompt, reply.text.as_bytes(), reply.usage.generated_tokens).await;
            Ok(reply)
        })
    }

    fn loglikelihood(&self, request: ScoreRequest) -> BoxFuture<'_, Result<Vec<TokenLogprob>, ModelError>> {
        Box::pin(async move {
            let problem = question(&request.prompt);
            let prompt = [text(&request.prompt), request.continuation.clone().into_bytes()].concat();
            let reply = self.model.loglikelihood(request).await?;
            self.wait(problem, prompt, &[], 0).await;
            Ok(reply)
        })
    }
}

#[cfg(test)]
mod tests {
    use cord_core::{Message, Opening, Sampling, Seed};
    use futures::future::join_all;

    use super::*;
    use crate::Scripted;

    const SPEED: Speed = Speed { step: 1.0, sequence: 0.5, prefill: 0.25, batch: 2, cache: 1_000 };

    fn request(prefix: &str, max_tokens: u32) -> GenerateRequest {
        GenerateRequest {
            prompt: Prompt { messages: vec![Message::user("")], opening: Opening::Think, prefix: prefix.to_owned() },
            stop: Vec::new(),
            max_tokens,
            sampling: Sampling::default(),
            seed: Seed::root(1),
        }
    }

    /// Requests of (prefix, tokens) that are made at once, to the time at which all are answered.
    fn check(endpoints: usize, requests: &[(&str, u32)], seconds: f64) {
        let simulation = Simulation::new();
        let writer = Scripted::new("m").writing(|_| "x".repeat(1_000));
        let served = simulation.serve(Arc::new(writer), endpoints, SPEED);
        let all = requests.iter().map(|(prefix, tokens)| served.generate(request(prefix, *tokens)));
        simulation.run(join_all(all)).into_iter().for_each(|reply| drop(reply.unwrap()));
        assert!((simulation.now() - seconds).abs() < 1e-9, "{requests:?}: {} for {seconds}", simulation.now());
    }

    #[test]
    fn time_is_what_the_formula_says() {
        let other = &"x".repeat(64);
        // Prefill 4 tokens, decode 10 alone.
        check(1, &[("abcd", 10)], 1.0 + 15.0);
        // Two prefills one after the other, then 10 steps of two.
        check(1, &[("", 10), ("", 10)], 20.0);
        // The shorter one leaves after 4 steps of two; 6 steps alone remain.
        check(1, &[("", 10), ("", 4)], 8.0 + 9.0);
        // The third waits for the batch.
        check(1, &[("", 10), ("", 4), ("", 6)], 8.0 + 12.0);
        // They are of one problem and go to its server, which is not much busier than the mean of two.
        check(2, &[("", 10), ("", 4), ("", 6), ("", 2)], 8.0 + 12.0 + 3.0);
        // Of the mean of four it is: the third moves to another server, and the fourth goes there too.
        check(4, &[("", 10), ("", 4), ("", 6), ("", 2)], 8.0 + 9.0);
        // A block of tokens is prefilled once: the second request finds it known.
        check(1, &[(other, 1), (other, 1)], 16.0 + 2.0);
    }

    #[test]
    fn a_timer_ends_in_its_place_among_the_servers() {
        let simulation = Simulation::new();
        let served = simulation.serve(Arc::new(Scripted::new("m").writing(|_| "x".repeat(9))), 1, SPEED);
        let times = simulation.run(async {
            let timer = async {
                simulation.after(Duration::from_secs(3)).await;
                simulation.now()
            };
            let reply = async {
                served.generate(request("", 4)).await.unwrap();
                simulation.now()
            };
            futures::join!(timer, reply)
        });
        assert_eq!(times, (3.0, 6.0));
    }

    #[test]
    #[should_panic(expected = "no server works and no timer runs")]
    fn a_future_that_can_never_end_is_reported() {
        Simulation::new().run(std::future::pending::<()>());
    }
}
