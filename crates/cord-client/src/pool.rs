//! Which endpoint takes a request: health, load and prefix affinity.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cord_core::{Digest, Digester};
use futures::future::{Either, select};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::ClientError;
use crate::stats::Counters;

/// An endpoint leaves the rotation after this many failures in a row.
const FAILURES: u32 = 3;
/// Its first probation; each further one is twice as long, up to the last.
const FIRST_PROBATION: Duration = Duration::from_secs(1);
const LAST_PROBATION: Duration = Duration::from_mins(1);
/// How far above the mean load an endpoint may be and still keep the prefixes that it has seen.
const SLACK: f64 = 1.25;
/// The same for a prefix of which requests are under way: what is asked now most often shares more with those, and to split them
/// would have both endpoints read it.
const SLACK_UNDER_WAY: f64 = 1.75;
/// Prefixes whose endpoint is remembered: far more than problems are ever under way.
const HOMES: usize = 1 << 16;
/// Latencies that a hedge's percentile is taken from, and the least number that is enough for one.
const LATENCIES: usize = 256;
const LEAST_LATENCIES: usize = 32;

/// One server of the model.
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) counters: Counters,
    /// The newest connection after whose opening the server's identity was checked.
    pub(crate) verified: AtomicU64,
    pub(crate) verifying: tokio::sync::Mutex<()>,
    salt: Digest,
    permits: Arc<Semaphore>,
    left: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests under way or waiting for a permit.
    assigned: usize,
    failures: u32,
    outages: u32,
    out_until: Option<Instant>,
    /// Is the one request under way that decides whether it comes back?
    trial: bool,
    quiet_until: Option<Instant>,
}

/// All endpoints of one model.
pub(crate) struct Pool {
    pub(crate) endpoints: Vec<Endpoint>,
    /// Requests that an endpoint works on at once.
    concurrency: u32,
    latencies: Mutex<VecDeque<f64>>,
    homes: Mutex<Homes>,
}

/// Which endpoint has read which prefix: a bounded memory that forgets the older half at a time.
#[derive(Default)]
struct Homes {
    young: HashMap<Digest, usize>,
    old: HashMap<Digest, usize>,
    /// Requests of each prefix that wait or are under way; none without.
    under_way: HashMap<Digest, usize>,
}

impl Homes {
    fn of(&self, prefix: Digest) -> Option<usize> {
        self.young.get(&prefix).or_else(|| self.old.get(&prefix)).copied()
    }

    fn set(&mut self, prefix: Digest, index: usize) {
        if self.young.len() >= HOMES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(prefix, index);
    }

    fn left(&mut self, prefix: Digest) {
        if let Entry::Occupied(mut count) = self.under_way.entry(prefix) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The right to send one request to an endpoint.
pub(crate) struct Lease {
    place: Place,
    _permit: OwnedSemaphorePermit,
}

/// A place among the requests of an endpoint, waiting or under way.
struct Place {
    pool: Arc<Pool>,
    index: usize,
    /// Counted among those of its prefix, unless the endpoint was given.
    prefix: Option<Digest>,
    /// Does this request decide whether the endpoint comes back?
    trial: bool,
}

/// Why no endpoint can be chosen.
enum Blocked {
    /// One asked to be left alone; nothing is wrong.
    Quiet(Instant),
    /// All are out of rotation; this one comes back first.
    Out(Instant, usize),
}

impl Pool {
    pub(crate) fn new(addresses: Vec<String>, concurrency: u32) -> Self {
        let endpoint = |address: String| Endpoint {
            salt: Digest::of_bytes(address.as_bytes()),
            address,
            counters: Counters::default(),
            verified: AtomicU64::new(0),
            verifying: tokio::sync::Mutex::new(()),
            permits: Arc::new(Semaphore::new(concurrency as usize)),
            left: Notify::new(),
            state: Mutex::default(),
        };
        Self {
            endpoints: addresses.into_iter().map(endpoint).collect(),
            concurrency,
            latencies: Mutex::default(),
            homes: Mutex::default(),
        }
    }

    /// Waits for an endpoint's permit.
    ///
    /// The endpoint is chosen on arrival, and not when a permit falls free: under load that would scatter a prefix over all
    /// caches. A new prefix goes to the least busy endpoint and stays there, until that one is a quarter busier than the mean: then
    /// the prefix moves to the least busy one for good. While requests of it are under way, it moves only if its endpoint is three
    /// quarters busier and has no permit left: a problem moves between its steps, and rarely within one. (Other rules were worse in
    /// `docs/results/scheduling.md`.) A request whose endpoint leaves the rotation while it waits chooses again.
    ///
    /// Where all endpoints are out of rotation, one is asked all the same after `patience`: every try that is counted is sent.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        prefix: Digest,
        avoid: Option<usize>,
        pin: Option<usize>,
        patience: Duration,
    ) -> Lease {
        let give_up = Instant::now() + patience;
        loop {
            let chosen = match pin {
                Some(index) => Ok(self.take_place(index, None)),
                None => self.choose(prefix, avoid),
            };
            let place = match chosen {
                Ok(place) => place,
                Err(Blocked::Quiet(until)) => {
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                Err(Blocked::Out(until, index)) => {
                    tokio::time::sleep_until(until.min(give_up)).await;
                    if Instant::now() < give_up {
                        continue;
                    }
                    self.take_place(index, None)
                }
            };
            let endpoint = &self.endpoints[place.index];
            let left = pin!(endpoint.left.notified());
            if let Either::Left((permit, _)) = select(pin!(endpoint.permits.clone().acquire_owned()), left).await {
                return Lease { place, _permit: permit.expect("no one closes the semaphore") };
            }
        }
    }

    fn take_place(self: &Arc<Self>, index: usize, prefix: Option<Digest>) -> Place {
        let mut state = self.endpoints[index].state();
        state.assigned += 1;
        let trial = state.out_until.is_some();
        state.trial |= trial;
        drop(state);
        Place { pool: self.clone(), index, prefix, trial }
    }

    fn choose(self: &Arc<Self>, prefix: Digest, avoid: Option<usize>) -> Result<Place, Blocked> {
        let now = Instant::now();
        let mut open = Vec::new();
        let mut blocked: Option<Blocked> = None;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let state = endpoint.state();
            match state.blocked(now, index) {
                None => open.push((index, state.assigned)),
                Some(other) => blocked = Some(sooner(blocked, other)),
            }
        }
        if open.len() > 1 {
            open.retain(|(index, _)| Some(*index) != avoid);
        }
        // Of idle endpoints the hash decides, so that processes that share them do not all begin at the first.
        let rank = |(index, load): &&(usize, usize)| (*load, rendezvous(prefix, self.endpoints[*index].salt));
        let Some((least, _)) = open.iter().min_by_key(rank).copied() else {
            return Err(blocked.expect("there is an endpoint, and it is not open"));
        };
        let total: usize = open.iter().map(|(_, assigned)| assigned).sum();
        let mean = (total + 1) as f64 / open.len() as f64;
        let mut homes = lock(&self.homes);
        let home = homes.of(prefix);
        let under_way = homes.under_way.entry(prefix).or_default();
        let bound =
            if *under_way == 0 { SLACK * mean } else { (SLACK_UNDER_WAY * mean).max(f64::from(self.concurrency)) };
        *under_way += 1;
        let kept = open.iter().find(|(index, load)| Some(*index) == home && (*load as f64) < bound);
        // A second try elsewhere, beside one that is still under way, moves nobody.
        if kept.is_none() && (avoid.is_none() || avoid != home) {
            homes.set(prefix, least);
        }
        drop(homes);
        Ok(self.take_place(kept.map_or(least, |(index, _)| *index), Some(prefix)))
    }

    /// Notes how long an answered request took.
    pub(crate) fn note_latency(&self, time: Duration) {
        let mut latencies = lock(&self.latencies);
        if latencies.len() == LATENCIES {
            latencies.pop_front();
        }
        latencies.push_back(time.as_secs_f64());
    }

    /// The latency that this share of the latest requests stayed below; nothing before there are enough.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let mut latencies: Vec<f64> = lock(&self.latencies).iter().copied().collect();
        if latencies.len() < LEAST_LATENCIES {
            return None;
        }
        latencies.sort_by(f64::total_cmp);
        let place = ((latencies.len() - 1) as f64 * share).ceil() as usize;
        Some(Duration::from_secs_f64(latencies[place]))
    }
}

impl Lease {
    pub(crate) fn index(&self) -> usize {
        self.place.index
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.place.endpoint()
    }

    /// The endpoint answered.
    pub(crate) fn succeeded(&self) {
        let mut state = self.endpoint().state();
        *state = State { assigned: state.assigned, quiet_until: state.quiet_until, ..State::default() };
    }

    /// The endpoint failed.
    pub(crate) fn failed(&self, fault: &ClientError, most_quiet: Duration) {
        let endpoint = self.endpoint();
        let mut state = endpoint.state();
        if let ClientError::Failed { retry_after: Some(wish), .. } = fault {
            state.quiet_until = Some(Instant::now() + (*wish).min(most_quiet));
        }
        if !fault.is_ill_health() {
            return;
        }
        state.failures += 1;
        let now = Instant::now();
        // Requests that were under way when it left the rotation say nothing new.
        let is_in = state.out_until.is_none_or(|until| until <= now);
        if is_in && (state.failures >= FAILURES || self.place.trial) {
            state.outages += 1;
            state.failures = 0;
            Counters::add(&endpoint.counters.outages);
            let probation = FIRST_PROBATION.saturating_mul(2u32.saturating_pow(state.outages - 1));
            state.out_until = Some(now + probation.min(LAST_PROBATION));
            drop(state);
            endpoint.left.notify_waiters();
        }
    }
}

impl Place {
    fn endpoint(&self) -> &Endpoint {
        &self.pool.endpoints[self.index]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.endpoint().state();
        state.assigned -= 1;
        // A trial that was cancelled decides nothing; the next request is the trial then.
        state.trial &= !self.trial;
        drop(state);
        if let Some(prefix) = self.prefix {
            lock(&self.pool.homes).left(prefix);
        }
    }
}

impl Endpoint {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn blocked(&self, now: Instant, index: usize) -> Option<Blocked> {
        if let Some(until) = self.out_until
            && (until > now || self.trial)
        {
            // A trial under way says soon how it went.
            return Some(Blocked::Out(until.max(now + Duration::from_millis(50)), index));
        }
        self.quiet_until.filter(|until| *until > now).map(Blocked::Quiet)
    }
}

/// The block that ends first; one that is only quiet counts before one that is out.
fn sooner(a: Option<Blocked>, b: Blocked) -> Blocked {
    match (a, b) {
        (None, b) => b,
        (Some(Blocked::Quiet(a)), Blocked::Quiet(b)) => Blocked::Quiet(a.min(b)),
        (Some(Blocked::Quiet(a)), Blocked::Out(..)) => Blocked::Quiet(a),
        (Some(Blocked::Out(..)), Blocked::Quiet(b)) => Blocked::Quiet(b),
        (Some(Blocked::Out(a, fault)), Blocked::Out(b, other)) => {
            if a <= b {
                Blocked::Out(a, fault)
            } else {
                Blocked::Out(b, other)
            }
        }
    }
}

fn rendezvous(prefix: Digest, salt: Digest) -> Digest {
    Digester::new("rendezvous").part(prefix.as_bytes()).part(salt.as_bytes()).finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONCURRENCY: usize = 30;

    fn pool(count: usize) -> Arc<Pool> {
        let addresses = (0..count).map(|index| format!("http://gpu{index}"));
        Arc::new(Pool::new(addresses.collect(), CONCURRENCY as u32))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    async fn lease(pool: &Arc<Pool>, prefix: u64) -> Lease {
        pool.lease(Digest::of_bytes(&prefix.to_le_bytes()), None, None, Duration::ZERO).await
    }

    #[test]
    fn a_prefix_stays_with_its_endpoint_and_loads_stay_bounded() {
        run(async {
            let pool = pool(4);
            for prefix in 0..50 {
                let first = lease(&pool, prefix).await.index();
                assert_eq!(lease(&pool, prefix).await.index(), first, "an idle pool keeps a prefix together");
            }
            // One prefix alone may not pile up on one endpoint.
            let mut leases = Vec::new();
            for _ in 0..80 {
                leases.push(lease(&pool, 7).await);
            }
            let load = |index| leases.iter().filter(|lease| lease.index() == index).count();
            let mut loads = [0, 1, 2, 3].map(load);
            loads.sort_unstable();
            assert_eq!(loads, [0, 20, CONCURRENCY, CONCURRENCY], "it goes on when no permit is left");
            drop(leases);
            assert!(lock(&pool.homes).under_way.is_empty(), "what has left is not counted");
        });
    }

    #[test]
    fn a_prefix_leaves_a_busy_endpoint_between_its_bursts() {
        run(async {
            let pool = pool(2);
            let home = lease(&pool, 1).await.index();
            // The others fill its endpoint, and the second half as much.
            let mut others = Vec::new();
            for index in [home, home, 1 - home].repeat(8) {
                others.push(pool.lease(Digest::of_bytes(b"other"), None, Some(index), Duration::ZERO).await);
            }
            let moved = lease(&pool, 1).await;
            assert_eq!(moved.index(), 1 - home, "16 are a quarter more than the mean of 12 and a half");
            drop(others);
            let mut others = Vec::new();
            for index in [1 - home, 1 - home, home].repeat(8) {
                others.push(pool.lease(Digest::of_bytes(b"other"), None, Some(index), Duration::ZERO).await);
            }
            assert_eq!(lease(&pool, 1).await.index(), 1 - home, "it stays beside its request under way");
            drop(moved);
            assert_eq!(lease(&pool, 1).await.index(), home, "nothing of it is under way");
        });
    }

    #[test]
    fn an_endpoint_that_fails_thrice_sits_out_a_probation_that_doubles() {
        run(async {
            let pool = pool(2);
            let fault = ClientError::broken("http://gpu", "no connection");
            let most = Duration::from_mins(1);
            let wait = async |millis| tokio::time::sleep(Duration::from_millis(millis)).await;
            let home = lease(&pool, 1).await.index();
            for _ in 0..3 {
                lease(&pool, 1).await.failed(&fault, most);
            }
            assert_ne!(lease(&pool, 1).await.index(), home);
            wait(1050).await;
            // After its probation one request is let through, of a new prefix: the old one lives elsewhere by now. Others go
            // elsewhere until its fate is known.
            let busy = lease(&pool, 1).await;
            assert_ne!(busy.index(), home);
            let trial = lease(&pool, 2).await;
            assert_eq!(trial.index(), home);
            assert_ne!(lease(&pool, 3).await.index(), home);
            trial.failed(&fault, most);
            drop(trial);
            wait(1500).await;
            assert_ne!(lease(&pool, 4).await.index(), home);
            wait(550).await;
            let trial = lease(&pool, 5).await;
            assert_eq!(trial.index(), home);
            trial.succeeded();
            drop(trial);
            assert_eq!(lease(&pool, 5).await.index(), home);
            assert_eq!(pool.endpoints[home].counters.read("").outages, 2);
        });
    }

    #[test]
    fn a_lone_endpoint_is_asked_all_the_same_after_some_patience() {
        run(async {
            let pool = pool(1);
            let fault = ClientError::broken("http://gpu0", "no connection");
            for _ in 0..3 {
                lease(&pool, 1).await.failed(&fault, Duration::from_mins(1));
            }
            let begun = Instant::now();
            pool.lease(Digest::of_bytes(b"p"), None, None, Duration::from_millis(80)).await;
            let waited = begun.elapsed().as_millis();
            assert!((80..900).contains(&waited), "{waited}");
        });
    }

    #[test]
    fn a_server_that_asks_for_patience_gets_it_and_stays_healthy() {
        run(async {
            let pool = pool(1);
            let retry_after = Some(Duration::from_millis(70));
            let busy =
                ClientError::Failed { endpoint: String::new(), status: 429, message: String::new(), retry_after };
            let start = Instant::now();
            for _ in 0..5 {
                lease(&pool, 1).await.failed(&busy, Duration::from_mins(1));
            }
            lease(&pool, 1).await;
            assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
            assert_eq!(pool.endpoints[0].counters.read("").outages, 0);
        });
    }
}
