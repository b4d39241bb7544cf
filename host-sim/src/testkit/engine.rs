//! An engine of global limits on a store of its own, as processes that can be killed.

use crate::module;
use crate::process::Process;
use crate::wait::poll;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A Redis of Debian's, at a socket in a directory of its own.
pub struct Redis {
    process: Process,
    directory: TempDir,
    keeps: bool,
}

impl Redis {
    /// Starts it. `keeps`: each write is on disk before it is answered, so that it is still there
    /// after [`Redis::kill`]. Error: it is not installed.
    pub fn start(keeps: bool) -> Result<Redis> {
        let version = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        ensure!(
            version.is_ok_and(|status| status.success()),
            "redis-server is not installed; run: apt-get install redis-server"
        );
        let directory = tempfile::Builder::new()
            .prefix("pointsman-redis-")
            .tempdir()?;
        let process = launch_redis(&directory, keeps)?;
        let mut redis = Redis {
            process,
            directory,
            keeps,
        };
        redis.wait()?;
        Ok(redis)
    }

    /// Kills it as a power failure would.
    pub fn kill(&mut self) {
        self.process.end();
        let _ = fs::remove_file(self.directory.path().join(SOCKET));
    }

    /// Starts it again, with what it has kept.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = launch_redis(&self.directory, self.keeps)?;
        self.wait()
    }

    /// Its address, as clients write it.
    pub fn url(&self) -> String {
        let socket = self.directory.path().join(SOCKET);
        format!("redis+unix://{}", socket.display())
    }

    /// What is counted under all of its keys together.
    pub fn counted(&self) -> Result<u64> {
        const SUM: &str = "EVAL \"local sum = 0 for _, key in ipairs(redis.call('keys', '*')) do \
            sum = sum + tonumber(redis.call('get', key)) end return sum\" 0\r\n";
        let mut stream = UnixStream::connect(self.directory.path().join(SOCKET))?;
        stream.write_all(SUM.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let number = answer.strip_prefix(':').map(str::trim_end);
        let number = number.and_then(|number| number.parse().ok());
        number.with_context(|| format!("redis-server answers {answer:?}"))
    }

    fn wait(&mut self) -> Result<()> {
        let socket = self.directory.path().join(SOCKET);
        let answers = || {
            let mut stream = UnixStream::connect(&socket).ok()?;
            stream.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).ok()?;
            (&answer == b"+PONG\r\n").then_some(())
        };
        let log = || fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
        let ready = poll(|| {
            if let Some(status) = self.process.try_wait()? {
                bail!("redis-server ended with {status}:\n{}", log());
            }
            Ok(answers())
        })?;
        ready.with_context(|| format!("redis-server does not answer:\n{}", log()))
    }
}

const SOCKET: &str = "redis.sock";
const LOG: &str = "log";

fn launch_redis(directory: &TempDir, keeps: bool) -> Result<Process> {
    let path = directory.path();
    let log = File::options()
        .create(true)
        .append(true)
        .open(path.join(LOG))?;
    let mut command = Command::new("redis-server");
    command
        .args(["--port", "0", "--save", "", "--dir"])
        .arg(path);
    command.arg("--unixsocket").arg(path.join(SOCKET));
    if keeps {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    Process::start(&command, log, path).context("redis-server did not start")
}

/// How an [`Engine`] counts and answers.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// How its windows lie: the names of the engine's own option.
    pub windows: &'static str,
    /// How far its clock is ahead, in milliseconds.
    pub clock_ahead: i64,
    /// How long each answer takes besides.
    pub delay: Duration,
    /// Whether it tells what is left and until when.
    pub tells: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            windows: "first-request",
            clock_ahead: 0,
            delay: Duration::ZERO,
            tells: true,
        }
    }
}

/// The engine of `host-sim/engine`.
pub struct Engine {
    program: PathBuf,
    process: Process,
    directory: TempDir,
    redis: String,
    address: SocketAddr,
}

impl Engine {
    /// Builds and starts it. `limits`: as Limitador has them.
    pub fn start(redis: &Redis, limits: &Value, options: EngineOptions) -> Result<Engine> {
        let program = module::build_program("pointsman-engine")?;
        let directory = tempfile::Builder::new()
            .prefix("pointsman-engine-")
            .tempdir()?;
        fs::write(directory.path().join(LIMITS), limits.to_string())?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let redis = redis.url();
        let (process, address) = launch(&program, &directory, &redis, any, options)?;
        Ok(Engine {
            program,
            process,
            directory,
            redis,
            address,
        })
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process.end();
    }

    /// Starts it again at its address; kills it before that if it runs.
    pub fn start_again(&mut self, options: EngineOptions) -> Result<()> {
        self.kill();
        let Engine {
            program,
            directory,
            redis,
            address,
            ..
        } = self;
        (self.process, self.address) = launch(program, directory, redis, *address, options)?;
        Ok(())
    }

    /// A cluster of an Envoy that leads to it.
    pub fn cluster(&self, name: &str) -> Value {
        http2_cluster(name, self.address)
    }
}

/// A cluster of an Envoy that leads to a server of gRPC.
pub fn http2_cluster(name: &str, address: SocketAddr) -> Value {
    let socket = json!({ "address": address.ip(), "port_value": address.port() });
    let endpoint = json!({ "endpoint": { "address": { "socket_address": socket } } });
    let endpoints = json!([{ "lb_endpoints": [endpoint] }]);
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "load_assignment": { "cluster_name": name, "endpoints": endpoints },
    })
}

const LIMITS: &str = "limits.yaml";

fn launch(
    program: &PathBuf,
    directory: &TempDir,
    redis: &str,
    listen: SocketAddr,
    options: EngineOptions,
) -> Result<(Process, SocketAddr)> {
    let log = directory.path().join(LOG);
    let mut command = Command::new(program);
    command.args(["--listen", &listen.to_string(), "--redis", redis]);
    command.args(["--windows", options.windows]);
    command.args(["--clock-ahead", &options.clock_ahead.to_string()]);
    command.args(["--delay", &options.delay.as_millis().to_string()]);
    if !options.tells {
        command.arg("--untold");
    }
    command.arg(directory.path().join(LIMITS));
    let mut process = Process::start(&command, File::create(&log)?, directory.path())
        .with_context(|| format!("{} did not start", program.display()))?;
    let read = || fs::read_to_string(&log).unwrap_or_default();
    let address = poll(|| {
        if let Some(status) = process.try_wait()? {
            bail!("the engine ended with {status}:\n{}", read());
        }
        let text = read();
        let line = text.lines().next().filter(|_| text.ends_with('\n'));
        Ok(line.and_then(|line| line.parse().ok()))
    })?;
    let address = address.with_context(|| format!("the engine does not listen:\n{}", read()))?;
    Ok((process, address))
}
