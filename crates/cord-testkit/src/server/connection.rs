//! HTTP/1.1 by hand: one connection's requests, answered one after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Fault, Seen, State, answer, lock};

struct Request {
    path: String,
    body: Vec<u8>,
    authorization: Option<String>,
}

pub(super) fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    {
        let mut state = lock(state);
        state.open.push(stream.try_clone()?);
        state.counts.connections += 1;
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        lock(state).at_once += 1;
        let kept = respond(stream, state, &request);
        lock(state).at_once -= 1;
        if !kept? {
            break;
        }
    }
    // Another handle of the socket is kept for a restart; the connection ends here all the same.
    stream.shutdown(Shutdown::Both)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { path, body, authorization }))
}

/// Answers a request; says whether the connection goes on.
fn respond(mut stream: &TcpStream, state: &Mutex<State>, request: &Request) -> io::Result<bool> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let (served, fault) = {
        let mut state = lock(state);
        if let Some(key) = &request.authorization
            && !state.counts.keys.contains(key)
        {
            state.counts.keys.push(key.clone());
        }
        state.counts.most_at_once = state.counts.most_at_once.max(state.at_once);
        let mut fault = None;
        if !request.body.is_empty() {
            let text = String::from_utf8_lossy(&request.body).into_owned();
            let repeats = state.repeats.entry(format!("{} {text}", request.path)).or_default();
            *repeats += 1;
            let repeat = *repeats - 1;
            let nth = state.counts.posts;
            state.counts.posts += 1;
            state.counts.most_repeats = state.counts.most_repeats.max(repeat + 1);
            let script = state.script.clone();
            let seen = Seen { path: request.path.clone(), body: body.clone(), nth, repeat };
            fault = script.and_then(|script| script(&seen));
        }
        (state.served.clone(), fault)
    };
    let (mut status, mut value) = answer(&served, &request.path, &body);
    let mut headers = Vec::new();
    let mut text = None;
    match &fault {
        Some(Fault::Close) => return Ok(false),
        Some(Fault::Status(code, more, body)) => {
            status = *code;
            headers.clone_from(more);
            text = Some(body.clone());
        }
        Some(Fault::Late(pause)) => {
            if went_away(stream, *pause)? {
                lock(state).counts.abandoned += 1;
                return Ok(false);
            }
        }
        Some(Fault::Body(body)) => text = Some(body.clone()),
        Some(Fault::Edit(edit)) => edit(&mut value),
        Some(Fault::Truncate) => {
            let whole = value.to_string();
            text = Some(whole[..whole.floor_char_boundary(whole.len() / 2)].to_owned());
        }
        Some(Fault::Rewrite(rewrite)) => text = Some(rewrite(value.to_string())),
        Some(Fault::BreakOff | Fault::Slow(..)) | None => {}
    }
    let text = text.unwrap_or_else(|| value.to_string());
    let mut head =
        format!("HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", text.len());
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    match fault {
        Some(Fault::BreakOff) => {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&text.as_bytes()[..text.len() / 2])?;
            Ok(false)
        }
        Some(Fault::Slow(pieces, pause)) => {
            stream.write_all(head.as_bytes())?;
            for piece in text.as_bytes().chunks(text.len().div_ceil(pieces.max(1)).max(1)) {
                std::thread::sleep(pause);
                stream.write_all(piece)?;
            }
            Ok(true)
        }
        _ => {
            head.push_str(&text);
            stream.write_all(head.as_bytes())?;
            Ok(true)
        }
    }
}

/// Waits; says whether the client closed the connection meanwhile.
fn went_away(stream: &TcpStream, pause: Duration) -> io::Result<bool> {
    let until = Instant::now() + pause;
    stream.set_read_timeout(Some(Duration::from_millis(2)))?;
    let mut gone = false;
    while Instant::now() < until && !gone {
        gone = match stream.peek(&mut [0]) {
            Ok(0) => true,
            Ok(_) => {
                std::thread::sleep(Duration::from_millis(2));
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
    }
    stream.set_read_timeout(None)?;
    Ok(gone)
}
