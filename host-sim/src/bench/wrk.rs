//! Load from `wrk`: closed loops over a fixed number of connections, over a list of paths.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Enough that the proxy never waits for a client, few enough that most of its time is not spent on
/// connections.
const CONNECTIONS: u32 = 16;
/// Above what a request in a queue of sixteen takes behind a list of 10,000 routes.
const TIMEOUT: &str = "10s";
/// What a browser sends besides the path: a filter pays for every header that it reads.
pub(super) const HEADERS: [(&str, &str); 6] = [
    ("host", "shop.example.com"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en-GB,en;q=0.7"),
    ("referer", "http://shop.example.com/"),
];

/// Requests in `wrk`'s own language, in a file.
#[derive(Clone, Debug)]
pub(super) struct Script(PathBuf);

/// What `wrk` counted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(super) struct Served {
    /// Answers.
    pub requests: u64,
    /// Answers whose status is neither 2xx nor 3xx.
    pub refused: u64,
    /// Connections that failed, and time-outs.
    pub broken: u64,
}

impl Script {
    /// Requests to `paths`, in this order and from the first again, with these cookies.
    pub(super) fn write(file: &Path, paths: &[String], cookies: &str) -> Result<Self> {
        let mut script = String::from("local headers = {}\n");
        let cookies = (!cookies.is_empty()).then_some(("cookie", cookies));
        for (name, value) in HEADERS.into_iter().chain(cookies) {
            // Rust writes text that is printable ASCII as Lua does.
            writeln!(script, "headers[{name:?}] = {value:?}")?;
        }
        script.push_str("local requests, last = {}, 0\nlocal paths = {\n");
        paths
            .iter()
            .try_for_each(|path| writeln!(script, "{path:?},"))?;
        script.push_str(
            r#"}
function init()
   for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path, headers) end
end
function request()
   last = last % #requests + 1
   return requests[last]
end
function done(summary)
   local errors = summary.errors
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   print(string.format('{"requests":%d,"refused":%d,"broken":%d}', summary.requests, errors.status, broken))
end
"#,
        );
        fs::write(file, script)?;
        Ok(Self(file.to_owned()))
    }

    /// Sends requests for whole seconds, at least one.
    pub(super) fn run(&self, address: SocketAddr, time: Duration) -> Result<Served> {
        let seconds = time.as_secs().max(1);
        let output = wrk()
            .args(["--threads", "1", "--timeout", TIMEOUT])
            .args(["--connections", &CONNECTIONS.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .arg("--script")
            .arg(&self.0)
            .arg(format!("http://{address}/"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let counted = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok());
        match counted {
            Some(served) if output.status.success() => Ok(served),
            _ => bail!(
                "wrk ended with {}:\n{said}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

fn wrk() -> Command {
    Command::new("wrk")
}

/// An error says how to get `wrk`.
pub(super) fn find() -> Result<()> {
    // It has no option that ends well.
    match wrk().arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the load generator `wrk` is missing; on Debian and Ubuntu: apt-get install wrk")
        }
        Err(error) => Err(error).context("`wrk` did not start"),
    }
}
