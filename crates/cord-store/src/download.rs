//! Files fetched over HTTP: resumed where a connection broke, checked against their digests, and put in place when they are whole.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::StoreError;

/// How often a broken transfer is taken up again without a single new byte.
const TRIES: u32 = 4;

/// Bytes that are held at a time.
const BUFFER: usize = 1 << 20;

/// Fetches what is published at `url` as the file `target`, in one piece or not at all, and gives its SHA-256.
///
/// A transfer that broke off goes on where it broke, in this process or a later one: what is there so far is kept beside the target
/// with the ending `.incomplete`. `token` is sent to the address itself, never to where it redirects. `observe` is told how many bytes are
/// there and how many there are, 0 where nobody says.
///
/// # Errors
/// [`StoreError::Download`] with what was expected and what came, and [`StoreError::Io`].
pub fn download(
    url: &str,
    token: Option<&str>,
    sha256: Option<&str>,
    target: &Path,
    observe: &mut dyn FnMut(u64, u64),
) -> Result<String, StoreError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(StoreError::io(folder, "make the folder"))?;
    }
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let transfer = Transfer { agent: &agent(), url, token, name: &name, digest: sha256, size: None };
    let fault = |reason: String| StoreError::Download { url: url.to_owned(), reason };
    transfer.run(target, &fault, &mut |_, there, of| observe(there, of))
}

/// A client with patience for slow servers, but not for silent ones.
pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_mins(1)))
        .timeout_per_read(Some(Duration::from_mins(1)));
    config.build().into()
}

/// Asks for what is at an address, from a byte on.
pub(crate) fn get(
    agent: &ureq::Agent,
    url: &str,
    token: Option<&str>,
    from: u64,
) -> Result<ureq::http::Response<ureq::Body>, String> {
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    request.call().map_err(|e| format!("`{url}`: {e}"))
}

/// What a status other than success means, and what to do.
pub(crate) fn refusal(url: &str, status: u16, body: &str) -> String {
    let hint = match status {
        401 | 403 => "; set `HF_TOKEN` to a token that may read it, and accept its licence on the hub",
        404 => "; check the name and the commit",
        429 => "; the hub asks for patience: try again later",
        _ => "",
    };
    let said: String = body.chars().take(200).collect();
    format!("`{url}`: expected the status 200, got {status} (`{}`){hint}", said.trim())
}

/// One file on its way.
pub(crate) struct Transfer<'a> {
    pub(crate) agent: &'a ureq::Agent,
    pub(crate) url: &'a str,
    pub(crate) token: Option<&'a str>,
    /// What it is called in errors and to whoever observes.
    pub(crate) name: &'a str,
    /// The SHA-256 or git's SHA-1 of its content.
    pub(crate) digest: Option<&'a str>,
    /// Bytes, where they are known before anybody is asked.
    pub(crate) size: Option<u64>,
}

impl Transfer<'_> {
    /// Fetches it as `target` and gives the digest of what came, of the kind that was expected.
    pub(crate) fn run(
        &self,
        target: &Path,
        fault: &dyn Fn(String) -> StoreError,
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<String, StoreError> {
        let mut partial = target.as_os_str().to_owned();
        partial.push(".incomplete");
        let partial = Path::new(&partial);
        let io = |action: &'static str| StoreError::io(partial, action);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(partial).map_err(io("create the file"))?;
        // Whoever else fetches it now is waited for.
        file.lock().map_err(io("lock the file"))?;
        let digits = self.digest.map_or(64, str::len);
        if let (Some(digest), Some(size)) = (self.digest, self.size)
            && fs::metadata(target).is_ok_and(|there| there.len() == size)
        {
            return Ok(digest.to_owned());
        }
        let (mut idle, mut size) = (0, self.size);
        loop {
            let mut there = file.seek(SeekFrom::End(0)).map_err(io("measure the file"))?;
            if size.is_some_and(|size| there > size) {
                file.set_len(0).map_err(io("empty the file"))?;
                there = file.seek(SeekFrom::Start(0)).map_err(io("measure the file"))?;
            }
            if size == Some(there) {
                break;
            }
            let broken = match self.receive(&mut file, there, &mut size, observe) {
                Ok(()) => "the connection ended early".to_owned(),
                Err(Broken::Disk(source)) => return Err(io("write the file")(source)),
                Err(Broken::Refused(reason)) => return Err(fault(reason)),
                Err(Broken::Connection(reason)) => reason,
            };
            let now = file.seek(SeekFrom::End(0)).map_err(io("measure the file"))?;
            if size == Some(now) {
                break;
            }
            idle = if now > there { 0 } else { idle + 1 };
            if idle == TRIES {
                let of = size.map_or_else(|| "bytes".to_owned(), |size| format!("of {size} bytes"));
                let name = self.name;
                return Err(fault(format!("`{name}`: got {now} {of}, then {broken}; run again to go on from there")));
            }
            std::thread::sleep(Duration::from_millis(200 << idle));
        }
        file.sync_all().map_err(io("flush the file"))?;
        let length = file.seek(SeekFrom::End(0)).map_err(io("measure the file"))?;
        let given = content_digest(&mut file, digits, length).map_err(io("read the file"))?;
        if let Some(digest) = self.digest.filter(|digest| **digest != given) {
            fs::remove_file(partial).map_err(io("remove the file"))?;
            let name = self.name;
            return Err(fault(format!(
                "`{name}`: expected content with the digest `{digest}`, got `{given}`; it was removed: run again"
            )));
        }
        fs::rename(partial, target).map_err(StoreError::io(target, "rename the finished file"))?;
        Ok(given)
    }

    /// Appends what comes, and learns how much there is.
    fn receive(
        &self,
        file: &mut File,
        mut there: u64,
        size: &mut Option<u64>,
        observe: &mut dyn FnMut(&str, u64, u64),
    ) -> Result<(), Broken> {
        let mut response = get(self.agent, self.url, self.token, there).map_err(Broken::Connection)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        // `bytes 5-9/10` of a part, `bytes */10` of a part that is not there.
        let of_range = header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse::<u64>().ok());
        let of_body = header("content-length").and_then(|length| length.parse::<u64>().ok());
        match response.status().as_u16() {
            206 => *size = size.or(of_range).or(of_body.map(|rest| there + rest)),
            // The whole file, whatever was asked for.
            200 => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(Broken::Disk)?;
                there = 0;
                *size = size.or(of_body);
            }
            // Nothing behind what is there.
            416 if of_range == Some(there) => {
                *size = of_range;
                return Ok(());
            }
            // What is there is of another file.
            416 => {
                file.set_len(0).map_err(Broken::Disk)?;
                return Err(Broken::Connection("the status 416".to_owned()));
            }
            status if status >= 500 => {
                return Err(Broken::Connection(format!("the status {status}")));
            }
            status => {
                let body = response.body_mut().read_to_string().unwrap_or_default();
                return Err(Broken::Refused(refusal(self.url, status, &body)));
            }
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = body.read(&mut buffer).map_err(|e| Broken::Connection(e.to_string()))?;
            if count == 0 {
                // A body that says its own end is whole there.
                *size = size.or(Some(there));
                return Ok(());
            }
            file.write_all(&buffer[..count]).map_err(Broken::Disk)?;
            there += count as u64;
            observe(self.name, there, size.unwrap_or(0));
            if size.is_some_and(|size| there > size) {
                // More than there is to it: the digest will differ.
                return Ok(());
            }
        }
    }
}

enum Broken {
    Connection(String),
    Refused(String),
    Disk(io::Error),
}

/// The SHA-256 of a file, or git's SHA-1 of it, by the number of digits that are wanted.
fn content_digest(file: &mut File, digits: usize, size: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut git, mut plain) = (Sha1::new(), Sha256::new());
    let is_git = digits == 40;
    git.update(format!("blob {size}\0"));
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if is_git {
            git.update(&buffer[..count]);
        } else {
            plain.update(&buffer[..count]);
        }
    }
    Ok(if is_git { hexadecimal(&git.finalize()) } else { hexadecimal(&plain.finalize()) })
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
