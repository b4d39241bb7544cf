//! A browser without a window, driven over its DevTools protocol.
//!
//! It needs Chromium (`apt-get install chromium`) and bash.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// What the browser is called. The machines of GitHub bring one.
const NAMES: [&str; 2] = ["chromium", "google-chrome"];
/// Chromium reads commands from descriptor 3 and answers at 4, each message ended by a zero byte.
/// `--no-sandbox`: CI is root.
const START: &str = "exec \"$1\" --headless=new --no-sandbox --disable-gpu \
    --disable-dev-shm-usage --user-data-dir=\"$0\" --remote-debugging-pipe \
    3<&0 4>&1 0</dev/null 1>/dev/null 2>&1";

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    /// The number of the last command.
    last: u64,
    /// What the page met since it was opened: exceptions, errors in the console, requests.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with an empty page.
    pub(crate) fn start() -> Browser {
        let missing = "apt-get install chromium bash";
        let is_here = |name: &&str| Command::new(name).arg("--version").output().is_ok();
        let name = NAMES.into_iter().find(is_here);
        let name = name.unwrap_or_else(|| panic!("there is no Chromium: {missing}"));
        let profile = tempfile::tempdir().expect("a directory");
        let mut process = Command::new("bash")
            .args(["-c", START])
            .arg(profile.path())
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("bash: {error}; {missing}"));
        let commands = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut browser = Browser {
            process,
            commands,
            answers,
            session: None,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a command, and returns the result.
    pub(crate) fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        write!(self.commands, "{command}\0").expect("the browser runs");
        self.commands.flush().expect("the browser runs");
        loop {
            let mut answer = self.message();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn message(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers
            .read_until(0, &mut bytes)
            .expect("the browser runs");
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Opens a file in a window of this width, on a screen or on paper, and waits until it is
    /// loaded.
    pub(crate) fn open(&mut self, file: &Path, width: u32, media: &str, scheme: &str) {
        let phone = width < 600;
        self.command(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone }),
        );
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = json!({ "media": media, "features": scheme });
        self.command("Emulation.setEmulatedMedia", media);
        self.events.clear();
        let url = format!("file://{}", file.display());
        self.command("Page.navigate", json!({ "url": url }));
        while self.of_kind("Page.loadEventFired").is_empty() {
            let event = self.message();
            self.events.push(event);
        }
    }

    /// What an expression of JavaScript is.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let mut result = self.command("Runtime.evaluate", parameters);
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        result["result"]["value"].take()
    }

    /// Moves the mouse over the middle of the first element that has this selector, where that is.
    pub(crate) fn point_at(&mut self, selector: &str) {
        let middle = self.evaluate(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView(); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()"
        ));
        let moved = json!({ "type": "mouseMoved", "x": middle[0], "y": middle[1] });
        self.command("Input.dispatchMouseEvent", moved);
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.command(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key }),
            );
        }
    }

    /// The exceptions and the errors of the console since the page was opened.
    pub(crate) fn errors(&self) -> Vec<&Value> {
        let thrown = self.of_kind("Runtime.exceptionThrown");
        let logged = self.of_kind("Log.entryAdded").into_iter();
        let logged = logged.filter(|event| event["params"]["entry"]["level"] == "error");
        thrown.into_iter().chain(logged).collect()
    }

    /// The addresses that were asked for since the page was opened.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let sent = self.of_kind("Network.requestWillBeSent").into_iter();
        sent.filter_map(|event| event["params"]["request"]["url"].as_str())
            .collect()
    }

    fn of_kind(&self, method: &str) -> Vec<&Value> {
        let events = self.events.iter();
        events.filter(|event| event["method"] == method).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // It ends by itself; what it writes at its end is not read.
        let _ = write!(
            self.commands,
            "{}\0",
            json!({ "id": 0, "method": "Browser.close" })
        );
        let _ = self.commands.flush();
        let _ = std::io::copy(&mut self.answers, &mut std::io::sink());
        let _ = self.process.wait();
    }
}
