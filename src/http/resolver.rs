//! Names to addresses, by the system, and the egress rule on every one of them: what is refused is never connected to.
//!
//! The rule is asked each time that a connection is made; a name that turned inward since its last answer gets no new
//! one. Connections that stand are used as long as they live: they lead where they were judged to lead.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::domain::egress::{Egress, Refused};

/// Resolves names for the client.
pub(super) struct Resolver {
    egress: Arc<Egress>,
    /// The proxy's own name, which the settings vouch for.
    proxy: Option<Box<str>>,
    lookup: Lookup,
}

/// Who knows the addresses of names.
#[derive(Clone)]
pub(super) enum Lookup {
    /// The operating system, on the runtime's threads for blocking work.
    System,
    /// A table of names.
    #[cfg(test)]
    Table(Arc<std::sync::Mutex<std::collections::HashMap<&'static str, Vec<IpAddr>>>>),
}

impl Resolver {
    pub(super) fn new(egress: Arc<Egress>, proxy: Option<&Url>, lookup: Lookup) -> Self {
        let proxy = proxy.and_then(Url::host_str).map(Into::into);
        Self { egress, proxy, lookup }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, lookup) = (self.egress.clone(), self.lookup.clone());
        let proxy = self.proxy.as_deref();
        let is_proxy = proxy.is_some_and(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let addresses = lookup.addresses(name.as_str()).await?;
            if !is_proxy {
                egress.judge_answers(name.as_str(), addresses.iter().map(SocketAddr::ip))?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Lookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        // On the way to a SOCKS proxy addresses come here as well.
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![(address, 0).into()]);
        }
        match self {
            Self::System => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
            #[cfg(test)]
            Self::Table(table) => {
                let table = table.lock().expect("no test panics while it holds it");
                let known = table.get(name).ok_or_else(|| io::Error::other("unknown"))?;
                Ok(known.iter().map(|address| (*address, 0).into()).collect())
            }
        }
    }
}

/// Judges a URL whose host is an address, which no resolver is asked for.
pub(super) fn judge_address(egress: &Egress, url: &Url) -> Result<(), Refused> {
    match url.host() {
        Some(Host::Domain(_)) => Ok(()),
        _ => egress.judge_url(url),
    }
}

/// Finds the refusal among the causes of an error.
pub(super) fn refusal<'a>(
    mut causes: impl Iterator<Item = &'a (dyn Error + 'static)>,
) -> Option<Refused> {
    causes.find_map(|cause| cause.downcast_ref::<Refused>().copied())
}
