//! Entries of `egress.allow` and `egress.deny`: blocks of addresses, and patterns of hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// All addresses of a block.
    Block(IpNet),
    /// One host, as URLs write it: lower case, IDN as ASCII, no dot behind.
    Host(Box<str>),
    /// All hosts below this one, at any depth, and not itself.
    Below(Box<str>),
}

impl Entry {
    /// Tells whether the entry names this address.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        matches!(self, Self::Block(block) if block.contains(&address))
    }

    /// Tells whether the entry names this host, as URLs write it; a dot behind it doesn't count.
    pub(super) fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Block(_) => false,
            Self::Host(name) => **name == *host,
            Self::Below(parent) => {
                host.strip_suffix(&**parent).is_some_and(|child| child.ends_with('.'))
            }
        }
    }
}

impl FromStr for Entry {
    type Err = BadEntry;

    /// Reads `10.0.0.0/8`, `10.0.0.1`, `fd00::/8`, `hooks.example.com` or `*.example.com`.
    fn from_str(text: &str) -> Result<Self, BadEntry> {
        if let Ok(block) = text.parse::<IpNet>() {
            // Bits behind the prefix are most likely a slip, and which part of it is wrong can't be known.
            return if block.addr() == block.network() {
                Ok(Self::Block(block))
            } else {
                Err(BadEntry)
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Block(address.into()));
        }
        let (make, name): (fn(Box<str>) -> Self, _) = match text.strip_prefix("*.") {
            Some(parent) => (Self::Below, parent),
            None => (Self::Host, text),
        };
        if name.contains(['*', '/', ':', '[', '@']) {
            return Err(BadEntry);
        }
        match Host::parse(name) {
            Ok(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name.is_empty() { Err(BadEntry) } else { Ok(make(name.into())) }
            }
            // An address in a spelling of its own is better written out.
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => Err(BadEntry),
        }
    }
}

/// A text that names neither addresses nor hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEntry;

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be a block of addresses such as \"10.0.0.0/8\" or a host such as \"hooks.example.com\" or \"*.example.com\"",
        )
    }
}

impl std::error::Error for BadEntry {}
