//! Certificates, and clients and servers that speak TLS, for tests of the files in `envoy-config/`
//! that have it.

use anyhow::{Context, Result, anyhow, ensure};
use host_sim::client::RESPONSE_TIMEOUT;
use host_sim::envoy::Deployment;
use host_sim::module;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Who a client trusts, by the name of its certificate.
pub const PUBLIC: &str = "public-ca";
/// Within the mesh.
pub const MESH: &str = "mesh-ca";

/// The certificates of `envoy-config/tls/make-certificates` and the files by which Envoy finds
/// them, in a directory of their own.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes all of them. An error says what is missing.
    pub fn make() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("pointsman-tls-")
            .tempdir()?;
        let certificates = Self { directory };
        certificates.run(&[])?;
        for entry in fs::read_dir(shipped()?)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = fs::read_to_string(&path)?;
                let name = path.file_name().context("a file has a name")?;
                fs::write(certificates.path().join(name), certificates.moved(&text))?;
            }
        }
        fs::create_dir(certificates.path().join("cache"))?;
        Ok(certificates)
    }

    /// Makes all but the authorities' anew, while Envoy watches.
    pub fn renew(&self) -> Result<()> {
        self.run(&["--renew"])
    }

    /// Moves this text into the place of a file that nothing watches by a link, as `mv` does.
    pub fn replace(&self, name: &str, file: &str, text: &str) -> Result<()> {
        let path = self.path_of(name, file);
        let next = path.with_extension("next");
        fs::write(&next, text)?;
        Ok(fs::rename(next, path)?)
    }

    /// Makes another version of the directory `name`, and moves the link `..data` to it: what the
    /// page tells certbot's hook to do.
    pub fn move_link(&self, name: &str, certificate: &str, key: &str) -> Result<()> {
        let directory = self.path().join("certificates").join(name);
        let version = tempfile::Builder::new()
            .prefix("..version.")
            .tempdir_in(&directory)?
            .keep();
        fs::write(version.join("tls.crt"), certificate)?;
        fs::write(version.join("tls.key"), key)?;
        let next = directory.join("..next");
        std::os::unix::fs::symlink(version.file_name().context("it has a name")?, &next)?;
        Ok(fs::rename(next, directory.join("..data"))?)
    }

    /// Writes into the file itself.
    pub fn overwrite(&self, name: &str, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.path_of(name, file), text)?)
    }

    /// A file's text.
    pub fn text(&self, name: &str, file: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path_of(name, file))?)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(shipped()?.join("make-certificates"))
            .args(arguments)
            .env("CERTIFICATES", self.path().join("certificates"))
            .output()?;
        ensure!(
            output.status.success(),
            "make-certificates needs openssl (`apt-get install openssl`): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a file says of its certificates and its cache, said of those in this directory.
    fn moved(&self, text: &str) -> String {
        let here = self.path().display().to_string();
        text.replace("envoy-config/tls", &here)
            .replace("/var/tmp/pointsman-cache", &format!("{here}/cache"))
    }

    /// The file `name` of `envoy-config/` with these certificates.
    pub fn deployment(&self, name: &str, module: &Path) -> Result<Deployment> {
        self.adjust(Deployment::file(name, module)?)
    }

    /// A file of `envoy-config/` that was changed, with these certificates.
    pub fn adjust(&self, mut deployment: Deployment) -> Result<Deployment> {
        let tree = deployment.bootstrap_mut();
        *tree = serde_json::from_str(&self.moved(&tree.to_string()))?;
        Ok(deployment)
    }

    /// Where a file of a certificate is.
    pub fn path_of(&self, name: &str, file: &str) -> PathBuf {
        self.path().join("certificates").join(name).join(file)
    }

    /// The present certificate of this name.
    pub fn certificate(&self, name: &str) -> Result<CertificateDer<'static>> {
        let path = self.path_of(name, "tls.crt");
        CertificateDer::from_pem_file(&path).with_context(|| path.display().to_string())
    }

    fn key(&self, name: &str) -> Result<PrivateKeyDer<'static>> {
        let path = self.path_of(name, "tls.key");
        PrivateKeyDer::from_pem_file(&path).with_context(|| path.display().to_string())
    }

    fn roots(&self, authority: &str) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate(authority)?)?;
        Ok(Arc::new(roots))
    }

    /// A client that trusts this authority, with a certificate of its own where one is named, and
    /// that offers these protocols in the handshake.
    pub fn client(
        &self,
        authority: &str,
        own: Option<&str>,
        protocols: &[&str],
    ) -> Result<Arc<ClientConfig>> {
        self.client_of(self, authority, own, protocols)
    }

    /// The same, with the certificate `own` of others: those that a stranger has made.
    pub fn client_of(
        &self,
        others: &Certificates,
        authority: &str,
        own: Option<&str>,
        protocols: &[&str],
    ) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots(authority)?);
        let mut config = match own {
            Some(own) => {
                builder.with_client_auth_cert(vec![others.certificate(own)?], others.key(own)?)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// A server that shows the certificate `own`, asks for one of the mesh's authority, and hands
    /// what is sent to it on to `to`. It runs for as long as the process.
    pub fn serve(&self, own: &str, to: SocketAddr) -> Result<Terminator> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(MESH)?, provider()).build()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate(own)?], self.key(own)?)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let terminator = Terminator {
            address: listener.local_addr()?,
            seen: Arc::default(),
        };
        let seen = Arc::clone(&terminator.seen);
        std::thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                    tokio::spawn(async move {
                        let mut stream = acceptor.accept(stream).await?;
                        let shown = stream.get_ref().1.peer_certificates();
                        if let Some([first, ..]) = shown
                            && let Ok(mut seen) = seen.lock()
                        {
                            seen.push(first.clone().into_owned());
                        }
                        let mut backend = TcpStream::connect(to).await?;
                        tokio::io::copy_bidirectional(&mut stream, &mut backend).await
                    });
                }
            });
        });
        Ok(terminator)
    }
}

/// A server that ends TLS before a backend.
pub struct Terminator {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Terminator {
    /// The certificates that its clients have shown, one for each connection.
    pub fn seen(&self) -> Vec<CertificateDer<'static>> {
        self.seen
            .lock()
            .map_or_else(|_| Vec::new(), |it| it.clone())
    }
}

/// Where the files are.
fn shipped() -> Result<PathBuf> {
    Ok(module::repository()?.join("envoy-config/tls"))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// One connection to a server, kept alive, for one request at a time: HTTP/2 where the server took
/// it from what was offered, else HTTP/1.1.
pub struct Client {
    sender: Sender,
    /// What the server shows.
    pub certificate: CertificateDer<'static>,
    /// Last, so that the connection's task goes after its sender.
    runtime: Runtime,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(h2::client::SendRequest<Bytes>),
}

/// The handshake, with `host` as the name that is asked for.
async fn shake(
    to: SocketAddr,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    let connector = TlsConnector::from(Arc::clone(config));
    Ok(connector.connect(name, stream).await?)
}

impl Client {
    /// Opens a connection. An error where either side does not trust the other; that the server
    /// does not trust the client is told by the first request only, in TLS 1.3.
    pub fn connect(to: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        let runtime = runtime()?;
        let connect = async {
            let stream = shake(to, host, config).await?;
            let session = stream.get_ref().1;
            let shown = session.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.context("no certificate")?.clone().into_owned();
            let sender = if session.alpn_protocol() == Some(b"h2") {
                let (sender, connection) = h2::client::handshake(stream).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            } else {
                let io = TokioIo::new(stream);
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            };
            Ok::<_, anyhow::Error>((sender, certificate))
        };
        let (sender, certificate) = runtime
            .block_on(async { tokio::time::timeout(RESPONSE_TIMEOUT, connect).await })
            .unwrap_or_else(|_| Err(anyhow!("no handshake within {RESPONSE_TIMEOUT:?}")))
            .with_context(|| format!("a connection to {to} for {host}"))?;
        Ok(Self {
            sender,
            certificate,
            runtime,
        })
    }

    /// Whether the server took HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Sends `GET path` to this host, with these headers, and waits for the whole response.
    pub fn get(
        &mut self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Bytes>> {
        let mut request = match &self.sender {
            Sender::Http1(_) => Request::get(path).header("host", host),
            Sender::Http2(_) => Request::get(format!("https://{host}{path}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sender = &mut self.sender;
        let exchange = async {
            match sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    let answer = sender.send_request(request.body(Full::default())?).await?;
                    let (head, body) = answer.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok(Response::from_parts(head, body))
                }
                Sender::Http2(sender) => {
                    let mut ready = sender.clone().ready().await?;
                    let (answer, _) = ready.send_request(request.body(())?, true)?;
                    let (head, mut stream) = answer.await?.into_parts();
                    let mut body = Vec::new();
                    while let Some(chunk) = stream.data().await {
                        let chunk = chunk?;
                        stream.flow_control().release_capacity(chunk.len())?;
                        body.extend_from_slice(&chunk);
                    }
                    Ok(Response::from_parts(head, body.into()))
                }
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(RESPONSE_TIMEOUT, exchange).await })
            .unwrap_or_else(|_| Err(anyhow!("no response within {RESPONSE_TIMEOUT:?}")))
            .with_context(|| format!("GET {path} of {host}"))
    }
}

/// A connection on which bytes are sent as they are.
pub struct Raw {
    connection: rustls::ClientConnection,
    stream: std::net::TcpStream,
}

impl Raw {
    /// Opens it.
    pub fn connect(to: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned())?;
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        Ok(Self {
            connection: rustls::ClientConnection::new(Arc::clone(config), name)?,
            stream,
        })
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(rustls::Stream::new(&mut self.connection, &mut self.stream).write_all(bytes)?)
    }

    /// What comes until these bytes have come.
    pub fn read_until(&mut self, end: &str) -> Result<String> {
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.stream);
        let mut received = Vec::new();
        while !received.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let shown = || String::from_utf8_lossy(&received).into_owned();
            let read = stream.read(&mut byte).with_context(shown)?;
            ensure!(read > 0, "closed after {}", shown());
            received.extend_from_slice(&byte);
        }
        Ok(String::from_utf8_lossy(&received).into_owned())
    }
}
