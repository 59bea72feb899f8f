//! `[egress]`: which endpoints may be called, and over what.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use config::{Value, ValueKind};
use url::{Host, Url};

use super::reader::Section;
use super::units::show_text;
use super::values::{line, text, truth, untyped};
use crate::domain::egress::{self, Entry};

/// The largest file of certificates that is read, in bytes: room for all authorities there are.
const CA_MAX: u64 = 4 << 20;

/// Which endpoints may be called, and over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Hosts, addresses and ports; names at most 1000 entries each.
    pub rule: Arc<egress::Egress>,
    /// Whether `http:` URLs are taken, and not `https:` ones only.
    pub allow_http: bool,
    /// Through which proxy requests go.
    pub proxy: Option<Proxy>,
    /// Authorities that are trusted beside the system's.
    pub ca: Option<Authorities>,
}

/// A proxy's URL: `http:`, `https:`, `socks5:` or `socks5h:`, with a host, and perhaps with credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// Returns the URL, credentials and all.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the rule's entry for the proxy's host. The parser reads the host of a `socks5:` URL as it stands; here it is
    /// what it would be in the `https:` URL of a subscription.
    fn entry(&self) -> Entry {
        let block = |address: IpAddr| Entry::Block(address.into());
        match Host::parse(self.0.host_str().unwrap_or_default()).expect("its reader tried it") {
            Host::Ipv4(address) => block(address.into()),
            Host::Ipv6(address) => block(address.into()),
            Host::Domain(name) => Entry::Host(name.strip_suffix('.').unwrap_or(&name).into()),
        }
    }

    /// Tells whether the proxy passes bytes on as they are, whatever is in them.
    fn is_socks(&self) -> bool {
        self.0.scheme().starts_with("socks")
    }
}

/// Shows no credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

/// Certificates in PEM, as their file holds them.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities(Arc<[u8]>);

impl Authorities {
    /// Takes PEM as it is.
    pub fn new(pem: impl Into<Arc<[u8]>>) -> Self {
        Self(pem.into())
    }

    /// Returns the PEM.
    pub fn pem(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of PEM", self.0.len())
    }
}

impl Egress {
    /// Reads `[egress]`.
    pub(super) fn read(egress: &mut Section<'_>) -> Option<Self> {
        let allow = egress.each("allow", 0..=1000, entry);
        let deny = egress.each("deny", 0..=1000, entry);
        let ports = egress.each("ports", 1..=100, ports);
        let allow_http = egress.required("allow_http", truth);
        let has_proxy = egress.has("proxy");
        let proxy = egress.optional("proxy", proxy);
        let has_ca = egress.has("ca_file");
        let ca = egress.optional("ca_file", authorities);
        if (has_proxy && proxy.is_none()) || (has_ca && ca.is_none()) {
            return None;
        }
        if allow_http == Some(true) && proxy.as_ref().is_some_and(|proxy| !proxy.is_socks()) {
            // Without TLS an HTTP proxy answers in the receiver's name, and nobody can tell who said what.
            egress.problem("proxy", "an HTTP proxy takes https: URLs only: set egress.allow_http to false, or use socks5:");
        }
        let mut deny = deny?;
        // The proxy's own name is looked up without being judged: nobody else's requests may go there.
        deny.extend(proxy.as_ref().map(Proxy::entry));
        let rule = egress::Egress::new(allow?, deny, ports?);
        Some(Self { rule: rule.into(), allow_http: allow_http?, proxy, ca })
    }
}

fn entry(value: &Value) -> Result<Entry, String> {
    let text = line(253)(value)?;
    text.parse().map_err(|problem| format!("{} {problem}", show_text(&text)))
}

/// Reads a port, or a range of ports as text.
fn ports(value: &Value) -> Result<RangeInclusive<u16>, String> {
    let read = |text: &str| -> Option<RangeInclusive<u16>> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    };
    let found = match (&value.kind, untyped(value)) {
        (ValueKind::I64(port), _) => read(&port.to_string()),
        (ValueKind::String(text), _) => read(text),
        _ => None,
    };
    found.ok_or_else(|| "must be a port such as 443, or a range such as \"1024-65535\"".to_owned())
}

/// Reads a proxy's URL; it may hold a password and is never repeated.
fn proxy(value: &Value) -> Result<Proxy, String> {
    let url = Url::parse(&text(value)?).ok();
    let url = url.filter(|url| url.host_str().is_some_and(|host| Host::parse(host).is_ok()));
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h"));
    let unfit =
        "must be a URL such as \"http://proxy.example.com:3128\" or \"socks5://127.0.0.1:1080\"";
    url.map(Proxy).ok_or_else(|| unfit.to_owned())
}

/// Reads a file of certificates.
fn authorities(value: &Value) -> Result<Authorities, String> {
    let name = line(4096)(value)?;
    let unread = |error| format!("{} can't be read: {error}", show_text(&name));
    let mut pem = Vec::new();
    let file = File::open(&name).map_err(unread)?;
    file.take(CA_MAX + 1).read_to_end(&mut pem).map_err(unread)?;
    if pem.len() as u64 > CA_MAX {
        return Err(format!("{} is larger than 4 MiB", show_text(&name)));
    }
    let has_any = pem.windows(BEGIN.len()).any(|window| window == BEGIN);
    let unfit = || format!("{} holds no certificate in PEM", show_text(&name));
    if has_any { Ok(Authorities::new(pem)) } else { Err(unfit()) }
}

/// How a certificate begins: RFC 7468, section 5.1.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
