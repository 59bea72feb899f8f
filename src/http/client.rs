//! The HTTP client's settings: ours, and all that would otherwise be somebody's default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::tls::Version;
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Request, Response, redirect, retry};

use super::failure;
use super::resolver::{Lookup, Resolver};
use crate::config::{self, Authorities, Config};
use crate::domain::egress::Egress;
use crate::domain::outcome::Failure;

/// How long a connection may lie idle. Load balancers commonly give up on theirs after 60 s: ours goes first, so that
/// a request rarely meets a connection that is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How often a busy HTTP/2 connection is asked for a sign of life. Without it, a dead one would stay in the pool and
/// fail every request of its host: a timeout ends only the stream.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long the sign of life may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What an HTTP/2 server may send unasked, in bytes: on one stream, and on one connection. Answers are read to 16 KiB.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The bytes of an answer's headers, names and values, that are taken. HTTP/2 servers are told; one of HTTP/1.1 that
/// sends more, up to the 400 KiB that the client reads, has sent them in vain.
pub(super) const HEADERS_MAX: u32 = 32 << 10;

/// How often a request is sent again that was not processed.
const RESENDS: usize = 2;

/// What requests are bounded by, and where they may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The deadline of an attempt whose subscription sets none, from DNS to the last byte read.
    pub timeout: Duration,
    /// The part of it that DNS, connect and TLS may take, at most `timeout`.
    pub connect_timeout: Duration,
    /// The largest body in bytes that is sent.
    pub max_body: usize,
    /// How many attempts run at once; so many idle connections of one host are kept, and no more.
    pub max_in_flight: usize,
    /// Which addresses may be called.
    pub egress: Arc<Egress>,
    /// The proxy that requests go through.
    pub proxy: Option<config::Proxy>,
    /// Authorities that are trusted beside the system's.
    pub ca: Option<Authorities>,
}

impl Settings {
    fn problem(&self) -> Option<&'static str> {
        if self.connect_timeout.is_zero() || self.connect_timeout > self.timeout {
            Some("the connect timeout must be more than nothing and not more than the timeout")
        } else if self.max_body == 0 || self.max_in_flight == 0 {
            Some("the largest body and the attempts that run at once must be more than nothing")
        } else {
            None
        }
    }
}

impl From<&Config> for Settings {
    fn from(Config { delivery, egress, .. }: &Config) -> Self {
        Self {
            timeout: delivery.timeout,
            connect_timeout: delivery.connect_timeout,
            max_body: delivery.max_body,
            max_in_flight: delivery.max_in_flight,
            egress: egress.rule.clone(),
            proxy: egress.proxy.clone(),
            ca: egress.ca.clone(),
        }
    }
}

/// Why there can be no sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The settings contradict each other.
    Settings(&'static str),
    /// The client can't be built; most often the system has no certificates of authorities.
    Client(Box<str>),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(problem) => f.write_str(problem),
            Self::Client(problem) => write!(f, "the HTTP client can't be set up: {problem}"),
        }
    }
}

impl std::error::Error for SetupError {}

/// Describes the client, for TLS from 1.2 on, and HTTP/2 where the server chooses it by ALPN.
///
/// # Errors
/// [`SetupError`].
pub(super) fn builder(settings: &Settings, lookup: Lookup) -> Result<ClientBuilder, SetupError> {
    if let Some(problem) = settings.problem() {
        return Err(SetupError::Settings(problem));
    }
    let failed = |error| SetupError::Client(failure::text(&error));
    let proxy = settings.proxy.as_ref().map(config::Proxy::url);
    let mut client = Client::builder();
    if let Some(proxy) = proxy {
        client = client.proxy(Proxy::all(proxy.clone()).map_err(failed)?);
    } else {
        // The environment's proxies are not ours.
        client = client.no_proxy();
    }
    if let Some(ca) = &settings.ca {
        let trusted = Certificate::from_pem_bundle(ca.pem()).map_err(failed)?;
        client = client.tls_certs_merge(trusted);
    }
    Ok(client
        .user_agent(concat!("kafka-webhooks/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        // It would keep a copy of each request; see `execute`.
        .retry(retry::never().max_retries_per_request(0))
        .dns_resolver(Resolver::new(settings.egress.clone(), proxy, lookup))
        .tls_version_min(Version::TLS_1_2)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(settings.max_in_flight)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADERS_MAX))
}

/// Sends a request, and again when the server says that it has not processed it, at most twice.
///
/// It is made anew then, which is seldom: to keep a copy of each would cost more.
///
/// # Errors
/// What `make` fails with, or what `classify` makes of the client's error.
pub(super) async fn execute(
    client: &Client,
    make: impl Fn() -> Result<Request, Failure>,
    classify: impl Fn(reqwest::Error) -> Failure,
) -> Result<Response, Failure> {
    let mut resends = 0..RESENDS;
    loop {
        match client.execute(make()?).await {
            Err(error) if failure::is_unprocessed(&error) && resends.next().is_some() => {}
            sent => return sent.map_err(classify),
        }
    }
}

/// Describes the client that asks the schema registry; its deadline is set by who uses it. `ca` are the PEM certificates
/// of the authorities to trust; `None` trusts those of the system.
///
/// # Errors
/// [`SetupError::Client`] if there is no certificate among them.
pub fn registry_client(ca: Option<&[u8]>) -> Result<ClientBuilder, SetupError> {
    let builder = Client::builder()
        .user_agent(concat!("kafka-webhooks/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy();
    let Some(ca) = ca else { return Ok(builder) };
    let failed = |problem: String| SetupError::Client(problem.into());
    let ca = Certificate::from_pem_bundle(ca).map_err(|error| failed(error.to_string()))?;
    if ca.is_empty() {
        return Err(failed("registry.ca_file holds no certificate".to_owned()));
    }
    Ok(builder.tls_certs_only(ca))
}
