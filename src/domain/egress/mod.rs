//! The egress rule: which hosts, addresses and ports may be called. Contract, section 5.
//!
//! It is asked twice: with the URL when a definition is read, and with every address of the name when a connection is
//! made. It resolves nothing and connects to nothing. Whatever it can't read for sure it refuses.

mod address;
mod entry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use url::{Host, Url};

use address::{carried, special};

pub use entry::{BadEntry, Entry};

/// The rule, as the settings make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    allow: Box<[Entry]>,
    deny: Box<[Entry]>,
    ports: Box<[RangeInclusive<u16>]>,
}

/// Why the rule refuses a host, an address or a port. It repeats no address: an error may be read by those whose
/// endpoint it is, and what a name means inside is not for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The URL has no host.
    NoHost,
    /// `egress.deny` names the host or its address.
    Denied,
    /// The address is of this kind, and `egress.allow` doesn't name it.
    Special(&'static str),
    /// The port is none of `egress.ports`.
    Port(u16),
    /// The name has no address.
    NoAddress,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("there is no host"),
            Self::Denied => f.write_str("egress.deny names the host"),
            Self::Special(kind) => {
                write!(f, "the address is {kind} and not in egress.allow")
            }
            Self::Port(port) => write!(f, "port {port} is not in egress.ports"),
            Self::NoAddress => f.write_str("the host has no address"),
        }
    }
}

impl std::error::Error for Refused {}

/// What `egress.allow` says of the name that an address belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HostName {
    /// It names it: all of its addresses pass.
    Allowed,
    /// It doesn't, or there is no name.
    Unnamed,
}

impl Egress {
    /// Makes a rule: what may be called although its addresses are special, what must not be called in any case, and
    /// the ports.
    pub fn new(allow: Vec<Entry>, deny: Vec<Entry>, ports: Vec<RangeInclusive<u16>>) -> Self {
        Self { allow: allow.into(), deny: deny.into(), ports: ports.into() }
    }

    /// Judges what a URL says by itself: its port, its host's name, its host if that is an address.
    ///
    /// The URL's parser has read every spelling of IPv4 by then: decimal, octal, hexadecimal, short, with a dot behind.
    ///
    /// # Errors
    /// [`Refused`]: nothing may be sent there.
    pub fn judge_url(&self, url: &Url) -> Result<(), Refused> {
        let port = url.port_or_known_default().ok_or(Refused::NoHost)?;
        if !self.ports.iter().any(|ports| ports.contains(&port)) {
            return Err(Refused::Port(port));
        }
        match url.host().ok_or(Refused::NoHost)? {
            Host::Ipv4(address) => self.judge_address(address.into(), HostName::Unnamed),
            Host::Ipv6(address) => self.judge_address(address.into(), HostName::Unnamed),
            Host::Domain(name) if is_localhost(name) => {
                self.judge_answers(name, [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
            }
            Host::Domain(name) if names(&self.deny, name) => Err(Refused::Denied),
            Host::Domain(_) => Ok(()),
        }
    }

    /// Judges a name and all of its addresses, of which each must pass: any may be the one that is connected to.
    ///
    /// # Errors
    /// [`Refused`]: no connection may be made.
    pub fn judge_answers(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Refused> {
        if names(&self.deny, name) {
            return Err(Refused::Denied);
        }
        let host = if names(&self.allow, name) { HostName::Allowed } else { HostName::Unnamed };
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return Err(Refused::NoAddress);
        }
        addresses.try_for_each(|address| self.judge_address(address, host))
    }

    /// Judges an address and those of IPv4 that it carries.
    fn judge_address(&self, address: IpAddr, host: HostName) -> Result<(), Refused> {
        let within = |entries: &[Entry], one| entries.iter().any(|entry| entry.holds(one));
        let all = || std::iter::once(address).chain(carried(address));
        if all().any(|one| within(&self.deny, one)) {
            return Err(Refused::Denied);
        }
        let is_allowed = |one| host == HostName::Allowed || within(&self.allow, one);
        let refused = |one| special(one).filter(|_| !is_allowed(one));
        all().find_map(refused).map_or(Ok(()), |kind| Err(Refused::Special(kind)))
    }
}

/// Tells whether a name is always this machine's: RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn names(entries: &[Entry], name: &str) -> bool {
    entries.iter().any(|entry| entry.names(name))
}
