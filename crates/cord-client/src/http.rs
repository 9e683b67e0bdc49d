//! One HTTP exchange over a pool of kept connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client, Error as SendError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use crate::{ApiKey, ClientError};

/// The largest answer that is read: log-probabilities of 100k tokens fit several times over.
const MOST_BYTES: usize = 256 << 20;
/// uvicorn, below vLLM and SGLang, closes a connection that has been idle for 5 s; one that is taken from the pool at
/// that very moment breaks.
const IDLE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(10);
/// Finds dead hosts under a long generation, during which nothing is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The number of the connection that it came over; later connections have higher ones.
    pub(crate) connection: u64,
}

/// The pool of connections.
pub(crate) struct Http {
    client: Pooled,
    connections: Arc<AtomicU64>,
}

/// Certificates are loaded only where they are needed: a container without any can still use `http://`.
enum Pooled {
    Plain(Client<Numbered<HttpConnector>, Full<Bytes>>),
    Tls(Client<Numbered<HttpsConnector<HttpConnector>>, Full<Bytes>>),
}

impl Http {
    pub(crate) fn new(addresses: &[String]) -> Result<Self, ClientError> {
        let connections = Arc::new(AtomicU64::new(0));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_keepalive(Some(KEEP_ALIVE));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        let count = connections.clone();
        let client = if addresses.iter().any(|address| address.starts_with("https:")) {
            connector.enforce_http(false);
            let tls = HttpsConnectorBuilder::new()
                .with_native_roots()
                .map_err(|error| ClientError::Network { reason: format!("no certificates for https: {error}") })?
                .https_or_http()
                .enable_http1()
                .wrap_connector(connector);
            Pooled::Tls(builder.build(Numbered { inner: tls, count }))
        } else {
            Pooled::Plain(builder.build(Numbered { inner: connector, count }))
        };
        Ok(Self { client, connections })
    }

    /// The number of the newest connection.
    pub(crate) fn newest(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Sends a request and reads its answer, whatever its status.
    pub(crate) async fn send(
        &self,
        endpoint: &str,
        path: &str,
        body: Option<Bytes>,
        key: Option<&ApiKey>,
    ) -> Result<Answer, ClientError> {
        let broken = |reason: String| ClientError::broken(endpoint, reason);
        let mut request = Request::builder()
            .method(if body.is_some() { Method::POST } else { Method::GET })
            .uri(format!("{endpoint}{path}"))
            .header(USER_AGENT, concat!("cord/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, key.header());
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(|error| broken(error.to_string()))?;
        let sent = match &self.client {
            Pooled::Plain(client) => client.request(request).await,
            Pooled::Tls(client) => client.request(request).await,
        };
        let (parts, body) = sent.map_err(|error| broken(reason(&error)))?.into_parts();
        let connection = parts.extensions.get::<Number>().map_or(0, |number| number.0);
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|error| broken(format!("its body broke off: {}", chain(error.as_ref()))))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body, connection })
    }
}

fn reason(error: &SendError) -> String {
    let what = if error.is_connect() { "no connection" } else { "the connection broke" };
    format!("{what}: {}", chain(error))
}

/// An error with its causes, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !told.contains(&text) {
            told.push(text);
        }
        source = cause.source();
    }
    told.join(": ")
}

/// A connection's number, as it is found in an answer.
#[derive(Clone, Copy)]
struct Number(u64);

/// A connector that numbers its connections, so that an answer over a new one can be told from others: a server that
/// was restarted is only reached over new ones.
#[derive(Clone)]
struct Numbered<C> {
    inner: C,
    count: Arc<AtomicU64>,
}

impl<C> Service<Uri> for Numbered<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = NumberedStream<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let count = self.count.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(NumberedStream { stream, number: Number(count.fetch_add(1, Ordering::SeqCst) + 1) })
        })
    }
}

struct NumberedStream<S> {
    stream: S,
    number: Number,
}

impl<S: Connection> Connection for NumberedStream<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.number)
    }
}

impl<S: Read + Unpin> Read for NumberedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for NumberedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
