//! Names to addresses, by the system, and the egress rule on every one of them: what is refused is never connected to.
//!
//! The rule is asked each time that a connection is made; a name that turned inward since its last answer gets no new
//! one. Connections that stand are used as long as they live: they lead where they were judged to lead.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use url::{Host, Url};

use crate::domain::egress::{Egress, Refused};

/// Resolves names for the client.
///
/// All who ask for a name while it is looked up get the same answer, and the lookup goes on when they have given up: a
/// name whose servers hang holds one thread of the system's resolver, however many requests wait for it.
pub(super) struct Resolver {
    egress: Arc<Egress>,
    /// The proxy's own name, which the settings vouch for.
    proxy: Option<Box<str>>,
    lookup: Lookup,
    flights: Arc<Mutex<FxHashMap<Box<str>, Flight>>>,
}

/// The answer to a lookup, once it is there.
type Flight = watch::Receiver<Option<Found>>;

/// The addresses of a name, or why there are none.
type Found = Result<Vec<SocketAddr>, Box<str>>;

/// Who knows the addresses of names.
#[derive(Clone)]
pub(super) enum Lookup {
    /// The operating system, on the runtime's threads for blocking work.
    System,
    /// A table of names.
    #[cfg(test)]
    Table(Arc<Mutex<std::collections::HashMap<&'static str, Vec<IpAddr>>>>),
    /// Nobody: it never answers, and counts how often it was asked.
    #[cfg(test)]
    Hanging(Arc<std::sync::atomic::AtomicUsize>),
}

impl Resolver {
    pub(super) fn new(egress: Arc<Egress>, proxy: Option<&Url>, lookup: Lookup) -> Self {
        let proxy = proxy.and_then(Url::host_str).map(Into::into);
        Self { egress, proxy, lookup, flights: Arc::default() }
    }

    /// Joins the lookup of a name, or begins it.
    fn flight(&self, name: &str) -> Flight {
        let mut flights = self.flights.lock().expect(UNPOISONED);
        if let Some(flight) = flights.get(name) {
            return flight.clone();
        }
        let (found, flight) = watch::channel(None);
        flights.insert(name.into(), flight.clone());
        let (lookup, flights, name) = (self.lookup.clone(), self.flights.clone(), name.to_owned());
        tokio::spawn(async move {
            let addresses = lookup.addresses(&name).await;
            // From here on, who asks is told anew.
            flights.lock().expect(UNPOISONED).remove(&*name);
            found.send_replace(Some(addresses.map_err(|error| error.to_string().into())));
        });
        flight
    }
}

const UNPOISONED: &str = "nobody panics while holding it";

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, mut flight) = (self.egress.clone(), self.flight(name.as_str()));
        let proxy = self.proxy.as_deref();
        let is_proxy = proxy.is_some_and(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let found = flight.wait_for(Option::is_some).await?.clone();
            let found = found.expect("it was waited for");
            let addresses = found.map_err(|error| io::Error::other(String::from(error)))?;
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
            #[cfg(test)]
            Self::Hanging(asked) => {
                asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::future::pending().await
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
