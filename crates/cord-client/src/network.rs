//! The runtime that sockets and timers live on.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::ClientError;

/// Threads of their own for sockets and timers. Clones share them; the last one to go ends them.
///
/// The rest of `cord` knows no runtime: what this crate hands out can be awaited by any executor. A future that is
/// dropped before it is done cancels its request, down to the socket, so that the server stops working on it.
#[derive(Clone)]
pub struct Network {
    owned: Arc<Owned>,
}

struct Owned(Option<Runtime>);

impl Network {
    /// Starts the threads. Two are enough for some thousands of replies a second.
    ///
    /// # Errors
    /// [`ClientError::Network`] when the system gives no thread.
    pub fn start(threads: usize) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("network")
            .enable_all()
            .build()
            .map_err(|error| ClientError::Network { reason: error.to_string() })?;
        Ok(Self { owned: Arc::new(Owned(Some(runtime))) })
    }

    /// Runs a future on the network's threads and waits for it from any executor.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, ClientError> {
        let runtime = self.owned.0.as_ref().expect("the runtime lives as long as a handle to it");
        let mut task = AbortOnDrop(runtime.spawn(future));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) => Err(ClientError::Network { reason: format!("a request's task ended: {error}") }),
        }
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Waiting for the threads here would panic on a thread of the runtime itself.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
