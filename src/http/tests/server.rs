//! Servers on loopback that answer as a test wants it, rightly and wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WantsServerCert;
use tokio_rustls::rustls::{ConfigBuilder, ServerConfig, WantsVerifier};
use tokio_rustls::server::TlsStream;

/// What a server does once it has read a request.
#[derive(Clone)]
pub enum Reply {
    /// It sends these bytes and reads the next request.
    Bytes(Vec<u8>),
    /// It sends these bytes and closes the connection.
    Last(Vec<u8>),
    /// It sends these bytes, and then nothing.
    Stall(Vec<u8>),
    /// It sends these bytes, and then the others over and over as long as it is let.
    Endless(Vec<u8>, Vec<u8>),
    /// It sends these bytes, and then `x` again and again, one at a time.
    Drip(Vec<u8>),
}

/// Returns an answer with a length, `head` without the line's end of its last header.
pub fn answer(head: &str, body: &[u8]) -> Reply {
    Reply::Bytes(with_length(head, body.len(), body))
}

/// Returns an answer that says it has this length, whatever it has.
pub fn with_length(head: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Returns an answer that begins with these bytes and goes on with `x`.
pub fn endless(begin: Vec<u8>) -> Reply {
    Reply::Endless(begin, vec![b'x'; 4096])
}

/// A request as it came over the wire.
pub struct Seen {
    pub line: String,
    /// Names as they were sent, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(known, _)| known == name);
        &header.unwrap_or_else(|| panic!("{name} is missing")).1
    }
}

/// A server on a free port of 127.0.0.1; dropping it closes its connections.
pub struct Server {
    pub port: u16,
    connections: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that does the same with every request, but for what depends on its own port.
    pub async fn start(reply: impl FnOnce(u16) -> Reply) -> Self {
        Self::start_with(reply, None).await
    }

    /// Starts the same behind TLS.
    pub async fn start_tls(reply: Reply, tls: ServerConfig) -> Self {
        Self::start_with(|_| reply, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn start_with(reply: impl FnOnce(u16) -> Reply, tls: Option<TlsAcceptor>) -> Self {
        let (listener, port) = listen().await;
        let reply = reply(port);
        let (sender, seen) = mpsc::unbounded_channel();
        let (connections, sent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (accepted, written) = (connections.clone(), sent.clone());
        let task = tokio::spawn(async move {
            // Dropped with the task, it ends the tasks of all connections.
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (reply, sender, written) = (reply.clone(), sender.clone(), written.clone());
                let tls = tls.clone();
                tasks.spawn(async move {
                    match tls {
                        None => serve(stream, reply, sender, written).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(stream, reply, sender, written).await;
                        }
                    }
                });
            }
        });
        Self { port, connections, sent, seen, task }
    }

    /// Returns how many connections were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns how many bytes its connections took of its answers.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Returns the requests so far that weren't returned before.
    pub fn seen(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    (listener, port)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Reply,
    sender: mpsc::UnboundedSender<Seen>,
    written: Arc<AtomicUsize>,
) {
    while let Some(seen) = read_request(&mut stream).await {
        // The test may be over and its receiver gone.
        let _ = sender.send(seen);
        let (Reply::Bytes(bytes)
        | Reply::Last(bytes)
        | Reply::Stall(bytes)
        | Reply::Endless(bytes, _)
        | Reply::Drip(bytes)) = &reply;
        if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match &reply {
            Reply::Bytes(_) => {}
            Reply::Last(_) => return,
            Reply::Stall(_) => std::future::pending().await,
            Reply::Drip(_) => {
                while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Reply::Endless(_, more) => {
                while stream.write_all(more).await.is_ok() {
                    written.fetch_add(more.len(), Ordering::SeqCst);
                }
                return;
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("requests have heads of ASCII");
    let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
    let line = lines.next().expect("splitting gives at least one part");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").expect("a header has a name and a value");
        (name.to_owned(), value.to_owned())
    });
    let mut seen = Seen { line, headers: headers.collect(), body: Vec::new() };
    let length = seen.headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a length is a number"));
    seen.body.resize(length, 0);
    stream.read_exact(&mut seen.body).await.ok()?;
    Some(seen)
}

/// Returns the settings of a TLS server that calls itself 127.0.0.1, and its certificate, which signs itself.
pub fn tls(alpn: &str) -> (ServerConfig, reqwest::Certificate) {
    let (mut config, pem) = tls_with(|builder| builder.with_no_client_auth());
    config.alpn_protocols = vec![alpn.into()];
    (config, reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate"))
}

/// Returns such settings with a say in who may call, and the certificate in PEM.
pub fn tls_with(
    clients: impl FnOnce(
        ConfigBuilder<ServerConfig, WantsVerifier>,
    ) -> ConfigBuilder<ServerConfig, WantsServerCert>,
) -> (ServerConfig, String) {
    tls_of(certificate("127.0.0.1"), clients)
}

/// Describes a certificate for a host.
pub fn certificate(host: &str) -> CertificateParams {
    CertificateParams::new([host.to_owned()]).expect("a host's name")
}

/// Returns the settings of a TLS server with a certificate that signs itself, and the certificate in PEM.
pub fn tls_of(
    certificate: CertificateParams,
    clients: impl FnOnce(
        ConfigBuilder<ServerConfig, WantsVerifier>,
    ) -> ConfigBuilder<ServerConfig, WantsServerCert>,
) -> (ServerConfig, String) {
    let pair = KeyPair::generate().expect("a key can be made");
    let own = certificate.self_signed(&pair).expect("a certificate can be made");
    let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("it is in PKCS #8");
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions");
    let config = clients(builder).with_single_cert(vec![own.der().clone()], key);
    (config.expect("key and certificate belong together"), own.pem())
}

/// Serves HTTP/2 on a connection: hands each stream to `respond`, which is told how many came before.
pub async fn serve_h2(
    stream: TcpStream,
    tls: ServerConfig,
    mut respond: impl FnMut(usize, http2::Stream),
) {
    let stream = TlsAcceptor::from(Arc::new(tls)).accept(stream).await.expect("it is trusted");
    let mut connection = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
    let mut count = 0;
    while let Some(Ok(stream)) = connection.accept().await {
        respond(count, stream);
        count += 1;
    }
}

/// Takes a connection and reads HTTP/2 from it by hand until a request's headers have come, as stream 1; the settings that
/// the client waits for are sent.
pub async fn read_h2_request(stream: TcpStream, tls: ServerConfig) -> TlsStream<TcpStream> {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut stream = acceptor.accept(stream).await.expect("it is trusted");
    stream.write_all(&http2::frame(4, 0, 0, &[])).await.expect("it is taken");
    stream.flush().await.expect("it is taken");
    // RFC 9113, section 3.4.
    stream.read_exact(&mut [0; 24]).await.expect("a connection has a preface");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame has a head");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.expect("a frame is whole");
        if head[3] == http2::HEADERS {
            return stream;
        }
    }
}

/// The types of an HTTP/2 server's side.
pub mod http2 {
    /// A request and the place for its answer.
    pub type Stream = (Request, h2::server::SendResponse<bytes::Bytes>);
    /// The type of frames that hold headers.
    pub const HEADERS: u8 = 1;

    /// Writes a frame: RFC 9113, section 4.1.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        [&head, &stream.to_be_bytes()[..], payload].concat()
    }

    /// A request whose body isn't read.
    pub type Request = axum::http::Request<h2::RecvStream>;
}
