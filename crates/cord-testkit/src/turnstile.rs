//! Replies that arrive in an order drawn from a seed.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use cord_core::{Seed, SeedStream};
use futures::channel::oneshot;
use futures::task::noop_waker_ref;

/// Holds replies back and lets them through one at a time, in an order drawn from its seed.
///
/// Models that share a turnstile wait at it before they answer. [`Turnstile::run`] polls a future until
/// it can get no further, lets one of the waiting replies through, and polls again. Every order of
/// arrival that a real scheduler could produce is thus within reach, and a seed repeats it exactly.
#[derive(Clone)]
pub struct Turnstile(Arc<Mutex<State>>);

struct State {
    stream: SeedStream,
    waiting: Vec<oneshot::Sender<()>>,
    most: usize,
}

impl Turnstile {
    /// A turnstile that draws its order from `seed`.
    pub fn new(seed: Seed) -> Self {
        Self(Arc::new(Mutex::new(State { stream: seed.stream(), waiting: Vec::new(), most: 0 })))
    }

    /// Waits until the turnstile lets this caller through.
    pub fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.waiting.push(sender);
        state.most = state.most.max(state.waiting.len());
        drop(state);
        async move {
            // A dropped turnstile lets everyone through.
            let _ = receiver.await;
        }
    }

    /// The most callers that have waited at the same time.
    pub fn most_waiting(&self) -> usize {
        self.state().most
    }

    /// Runs a future to its end, letting one waiting caller through whenever it can get no further.
    ///
    /// # Panics
    /// When the future waits and nobody stands at the turnstile: it would wait for ever.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(noop_waker_ref());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let mut state = self.state();
            // Callers whose search has given up are gone; to let them through would release nobody.
            state.waiting.retain(|sender| !sender.is_canceled());
            assert!(!state.waiting.is_empty(), "the future waits, but no reply is held back");
            let count = state.waiting.len() as u64;
            let lucky = state.stream.below(count) as usize;
            let sender = state.waiting.swap_remove(lucky);
            drop(state);
            let _ = sender.send(());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seed: u64) -> Vec<u32> {
        let turnstile = Turnstile::new(Seed::root(seed));
        let log = Mutex::new(Vec::new());
        turnstile.run(futures::future::join_all((0..8).map(|name| {
            let gate = turnstile.pass();
            let log = &log;
            async move {
                gate.await;
                log.lock().unwrap().push(name);
            }
        })));
        assert_eq!(turnstile.most_waiting(), 8);
        log.into_inner().unwrap()
    }

    #[test]
    fn a_seed_repeats_its_order_and_another_differs() {
        assert_eq!(arrivals(1), arrivals(1));
        assert_ne!(arrivals(1), arrivals(2));
    }

    #[test]
    #[should_panic(expected = "no reply is held back")]
    fn a_future_that_can_never_end_is_reported() {
        Turnstile::new(Seed::root(1)).run(std::future::pending::<()>());
    }
}
