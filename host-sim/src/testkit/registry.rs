//! A registry of images (Debian's `docker-registry`), and the client (`skopeo`) that pushes into it.

use crate::process::Process;
use crate::wait::poll;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What the tests of a registry need.
const INSTALL: &str = "on Debian and Ubuntu: apt-get install docker-registry skopeo openssl";
const LOG: &str = "log";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A registry with an empty store, on a port of its own.
pub struct Registry {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

impl Registry {
    /// One that speaks plain HTTP, at an address. Error: it is not installed.
    pub fn start() -> Result<Registry> {
        Registry::launch(false)
    }

    /// One that speaks TLS, at the name `localhost`, with a certificate that nobody has signed but
    /// itself. Error: it, or `openssl`, is not installed.
    pub fn start_with_tls() -> Result<Registry> {
        Registry::launch(true)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whom a client has to trust to speak to it by TLS: what `$SSL_CERT_FILE` is set to.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join(CERTIFICATE)
    }

    fn launch(has_tls: bool) -> Result<Registry> {
        let directory = tempfile::Builder::new()
            .prefix("pointsman-registry-")
            .tempdir()?;
        let path = directory.path();
        // Free until the registry takes it: it cannot be asked for the port that it got.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = port.local_addr()?;
        drop(port);
        let mut http = json!({ "addr": address });
        if has_tls {
            make_certificate(path)?;
            http["tls"] = json!({ "certificate": path.join(CERTIFICATE), "key": path.join(KEY) });
        }
        // JSON is YAML.
        let settings = json!({
            "version": 0.1,
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": path.join("store") } },
            "http": http,
        });
        let file = path.join("registry.yml");
        fs::write(&file, settings.to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        let process = Process::start(&command, File::create(path.join(LOG))?, path);
        let mut registry = Registry {
            process: process.context(INSTALL)?,
            address,
            directory,
        };
        let log = || fs::read_to_string(registry.directory.path().join(LOG)).unwrap_or_default();
        let ready = poll(|| {
            if let Some(status) = registry.process.try_wait()? {
                bail!("docker-registry ended with {status}; {INSTALL}\n{}", log());
            }
            Ok(TcpStream::connect(address).ok())
        })?;
        ready.with_context(|| format!("docker-registry does not answer:\n{}", log()))?;
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.end();
    }
}

fn make_certificate(directory: &Path) -> Result<()> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", KEY, "-out", CERTIFICATE])
        .current_dir(directory)
        .output()
        .with_context(|| format!("openssl; {INSTALL}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl: {told}");
    Ok(())
}

/// Runs `skopeo` with these arguments. Error: it is not installed, or what it says where it fails.
pub fn skopeo(arguments: &[&str]) -> Result<()> {
    let output = Command::new("skopeo")
        // Without the machine's policy about who may have signed an image.
        .arg("--insecure-policy")
        .args(arguments)
        .output()
        .with_context(|| format!("skopeo; {INSTALL}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "skopeo {arguments:?}: {told}");
    Ok(())
}
