//! The page on this machine's own address.
//!
//! Only who is on this machine can connect. A page of another site that a browser has open could still try: its requests
//! carry its own name as their host once that name points here, so the host is checked; and what is answered says that no
//! other site may use it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use cord_report::view::{Served, served_page};
use tiny_http::{Header, Method, Request, Response, Server};

use super::library::Library;
use super::run::Run;
use crate::run::INTERRUPTED;

/// How many requests are answered at once.
const WORKERS: usize = 4;
/// How long a worker waits before it looks whether to stop.
const PATIENCE: Duration = Duration::from_millis(200);

type Answer = Response<std::io::Cursor<Vec<u8>>>;

struct Site<'a> {
    runs: &'a (dyn Fn() -> Result<Vec<Run>> + Sync),
    page: Served,
    hosts: BTreeSet<String>,
    library: Mutex<Option<Arc<Library>>>,
}

/// Serves the runs that `runs` opens until Ctrl-C. `tell` is given the address.
pub(super) fn serve(runs: &(dyn Fn() -> Result<Vec<Run>> + Sync), port: u16, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::http(address)
        .map_err(|error| anyhow!("can't serve on `{address}`: {error}; choose another `--port`"))?;
    let port = server.server_addr().to_ip().map_or(port, |address| address.port());
    let hosts = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}")).into();
    let site = Site { runs, page: served_page(), hosts, library: Mutex::new(None) };
    tell(&format!("http://127.0.0.1:{port}/"));
    let (site, server) = (&site, &server);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(move || {
                while !INTERRUPTED.load(Ordering::Relaxed) {
                    if let Ok(Some(request)) = server.recv_timeout(PATIENCE) {
                        let answer = site.answer(&request);
                        // Who has gone away needs no answer.
                        let _ = request.respond(answer);
                    }
                }
            });
        }
    });
    Ok(())
}

impl Site<'_> {
    fn answer(&self, request: &Request) -> Answer {
        let host = request.headers().iter().find(|header| header.field.equiv("Host"));
        if !host.is_some_and(|host| self.hosts.contains(host.value.as_str())) {
            return self.text(403, "expected this machine's own address as the host");
        }
        if !matches!(request.method(), Method::Get | Method::Head) {
            return self.text(405, "expected a GET request").with_header(header("Allow", "GET, HEAD"));
        }
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        match path {
            "/" => self.with_headers(Response::from_data(self.page.html.as_bytes()), "text/html; charset=utf-8"),
            "/overview.json" => self.json(self.overview().map(Some)),
            "/version.json" => self.json(self.version()),
            _ => match problem(path) {
                Some(place) => self.problem(place, query),
                None => self.text(404, "expected `/`, `/overview.json`, `/version.json` or a problem's data"),
            },
        }
    }

    /// What is shown first; read again where the run has gone on.
    fn overview(&self) -> Result<String> {
        Ok(self.library(true)?.overview.json())
    }

    fn library(&self, fresh: bool) -> Result<Arc<Library>> {
        let mut known = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*known
            && (!fresh || library.version_now()? == library.overview.version)
        {
            return Ok(library.clone());
        }
        let library = Arc::new(Library::read(&(self.runs)()?, known.as_deref())?);
        *known = Some(library.clone());
        Ok(library)
    }

    /// The version of the runs as they are now, for a page that waits for more.
    fn version(&self) -> Result<Option<String>> {
        let version = self.library(false)?.version_now()?;
        Ok(Some(serde_json::json!({"version": version}).to_string()))
    }

    fn problem(&self, (collection, arm, problem): (usize, usize, usize), query: &str) -> Answer {
        let library = match self.library(false) {
            Ok(library) => library,
            Err(error) => return self.text(500, &format!("{error:#}")),
        };
        // The numbers are places in one reading of the run, and mean others in the next.
        if query != format!("version={}", library.overview.version) {
            return self.text(409, "the run has been read again since");
        }
        self.json(library.page(collection, arm, problem).map(|page| page.map(|page| page.json())))
    }

    fn json(&self, text: Result<Option<String>>) -> Answer {
        match text {
            Ok(Some(text)) => self.with_headers(Response::from_data(text), "application/json"),
            Ok(None) => self.text(404, "no such problem"),
            Err(error) => self.text(500, &format!("{error:#}")),
        }
    }

    fn text(&self, status: u16, text: &str) -> Answer {
        self.with_headers(Response::from_data(text).with_status_code(status), "text/plain; charset=utf-8")
    }

    fn with_headers(&self, answer: Answer, kind: &str) -> Answer {
        let headers = [
            ("Content-Type", kind),
            ("Content-Security-Policy", &self.page.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ];
        headers.into_iter().fold(answer, |answer, (name, value)| answer.with_header(header(name, value)))
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names and values of the program's own are ASCII")
}

/// `/problem-<collection>-<arm>-<problem>.json`
fn problem(path: &str) -> Option<(usize, usize, usize)> {
    let mut places = path.strip_prefix("/problem-")?.strip_suffix(".json")?.split('-').map(str::parse);
    let found = (places.next()?.ok()?, places.next()?.ok()?, places.next()?.ok()?);
    places.next().is_none().then_some(found)
}
