//! A browser driven over WebDriver: Chromium behind its own driver.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Keys by WebDriver's numbers.
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const RIGHT: &str = "\u{e014}";
pub(crate) const DOWN: &str = "\u{e015}";

const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one page; closed with the value.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: TempDir,
}

/// The first of these programs that the search path holds.
fn program(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

impl Browser {
    /// Opens a browser; nothing where there is none on this machine.
    pub(crate) fn open() -> Option<Self> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"])?;
        let chromedriver = program(&["chromedriver"])?;
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                Some(line.ok()?.split_once("started successfully on port ")?.1.trim_end_matches('.').to_owned())
            })
            .expect("the driver says its port");
        // Who reads nothing more from it would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({"binary": chromium, "args": arguments});
        let wanted =
            json!({"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let mut browser =
            Self { driver, session: format!("http://127.0.0.1:{port}/session"), agent, _profile: profile };
        let begun = browser.post("", &json!({"capabilities": {"alwaysMatch": wanted}}));
        let name = begun["sessionId"].as_str().expect("a session has a name");
        browser.session = format!("{}/{name}", browser.session);
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut reply = self.agent.post(format!("{}{path}", self.session)).send(body.to_string()).unwrap();
        let reply: Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        assert!(reply["value"]["error"].is_null(), "{path} {body}: {}", reply["value"]);
        reply["value"].clone()
    }

    /// Goes to a page as if for the first time.
    pub(crate) fn go(&self, url: &str) {
        self.post("/url", &json!({"url": "about:blank"}));
        self.post("/url", &json!({"url": url}));
        self.wait("return document.getElementById('status').hidden");
    }

    /// Makes the page as wide and as high as this; a window could not be as narrow as a telephone.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.post("/goog/cdp/execute", &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}));
    }

    /// Runs a function's body in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs it until it gives something true.
    #[track_caller]
    pub(crate) fn wait(&self, script: &str) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.run(script);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            let seen = || self.run("return document.body.innerText.slice(0, 1500)");
            assert!(begun.elapsed() < PATIENCE, "`{script}` did not come true; the page says: {}", seen());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&self, keys: &str) {
        let each = keys.chars().flat_map(|key| {
            [json!({"type": "keyDown", "value": key.to_string()}), json!({"type": "keyUp", "value": key.to_string()})]
        });
        let each: Vec<Value> = each.collect();
        self.post("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": each}]}));
    }

    /// What the page's console holds: errors, and what the policy has kept from running or loading.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver would leave its browser behind.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
