//! `cord view` at work, for tests to ask.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A server of runs, stopped with the value.
pub(crate) struct Serving {
    child: Child,
    pub(crate) port: u16,
}

impl Serving {
    pub(crate) fn of(runs: &[&Path]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cord"))
            .args(["view", "--port", "0"])
            .args(runs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/')).unwrap().0;
        Self { child, port: port.parse().unwrap() }
    }

    /// The status, the head and the body of a reply.
    pub(crate) fn ask_as(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
    }

    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask_as("GET", path, &format!("127.0.0.1:{}", self.port));
        (status, body)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn overview(&self) -> Value {
        self.json("/overview.json")
    }

    pub(crate) fn problem(&self, place: &str, version: &Value) -> Value {
        self.json(&format!("/problem-{place}.json?version={}", version.as_str().unwrap()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
