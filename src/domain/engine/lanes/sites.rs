//! Sites: the breakers of what subscriptions share, kept only while something is wrong there.
//!
//! An endpoint is a URL: whoever sends to it meets the same receiver, and obeys the same `Retry-After`. Its origin
//! (scheme, host and port) is the server behind it: when its name isn't found or no connection comes about, that holds
//! for all endpoints there, and one attempt to one of them finds out for all when it is back. What an endpoint answers
//! says nothing of the others.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use url::{Position, Url};

use super::breaker::{Breaker, Pass};
use crate::domain::outcome::{Attempted, Reason};
use crate::domain::subscription::SubscriptionId;
use crate::domain::tiers;

/// How long a site is remembered where no further trouble is heard of.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The least number of sites at which some are forgotten.
const TIDY_AT: usize = 64;

/// The sites where something is wrong.
pub(super) struct Sites {
    /// By the URL, and by what stands of it before the path; every URL has a path, so none is taken for an origin.
    troubled: FxHashMap<Box<str>, Site>,
    tidy_at: usize,
}

struct Site {
    breaker: Breaker,
    /// The lanes that wait for the end of the probe.
    waiting: BTreeSet<SubscriptionId>,
    troubled_at: Timestamp,
}

/// What follows for lanes from the end of an attempt.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// Whether a breaker has closed.
    pub(super) has_recovered: bool,
    /// The lanes that need wait for a probe no longer.
    pub(super) freed: BTreeSet<SubscriptionId>,
}

/// What the end of an attempt says of a site.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Well,
    Troubled,
    /// It can't be told whether it got so far.
    Unclear,
    /// It didn't, by our own fault.
    Nothing,
}

impl Default for Sites {
    fn default() -> Self {
        Self { troubled: FxHashMap::default(), tidy_at: TIDY_AT }
    }
}

impl Sites {
    /// Tells whether an attempt may be made now.
    pub(super) fn pass(&self, url: &Url, now: Timestamp) -> Pass {
        let sites = self.keys(url).filter_map(|key| self.troubled.get(key));
        sites.map(|site| site.breaker.pass(now)).max().unwrap_or(Pass::Free)
    }

    /// Has a lane wait for the end of a probe that is under way.
    pub(super) fn wait(&mut self, url: &Url, id: &SubscriptionId) {
        for key in keys(url) {
            if let Some(site) = self.troubled.get_mut(key)
                && site.breaker.is_probing()
            {
                site.waiting.insert(id.clone());
            }
        }
    }

    /// Takes note of an attempt that starts.
    pub(super) fn started(&mut self, url: &Url) {
        for key in self.keys(url) {
            if let Some(site) = self.troubled.get_mut(key) {
                site.breaker.started();
            }
        }
    }

    /// Takes note of how an attempt ended; `alone` is how long the endpoint wants to be left alone.
    pub(super) fn learn(
        &mut self,
        url: &Url,
        attempted: &Attempted,
        alone: Option<Duration>,
        now: Timestamp,
    ) -> Learnt {
        let mut learnt = Learnt::default();
        let words = words(attempted);
        // Nothing is kept of a site but its trouble.
        let is_no_trouble = !words.contains(&Word::Troubled) && alone.is_none();
        if is_no_trouble && self.troubled.is_empty() {
            return learnt;
        }
        for (key, word) in keys(url).into_iter().zip(words) {
            match word {
                Word::Well => {
                    let mut closes = false;
                    self.change(key, &mut learnt, |breaker| closes = breaker.answered());
                    learnt.has_recovered |= closes;
                }
                Word::Troubled => {
                    self.note(key, now);
                    self.change(key, &mut learnt, |breaker| breaker.troubled(now));
                }
                Word::Unclear => self.change(key, &mut learnt, |breaker| {
                    if breaker.is_probing() {
                        breaker.troubled(now);
                    }
                }),
                Word::Nothing => self.change(key, &mut learnt, Breaker::abandoned),
            }
        }
        if let Some(alone) = alone {
            let [endpoint, _] = keys(url);
            self.note(endpoint, now);
            self.change(endpoint, &mut learnt, |breaker| breaker.asked(now, alone));
        }
        learnt
    }

    /// Takes note of an attempt of whose end nobody will be told.
    pub(super) fn abandoned(&mut self, url: &Url) -> Learnt {
        let mut learnt = Learnt::default();
        for key in keys(url) {
            self.change(key, &mut learnt, Breaker::abandoned);
        }
        learnt
    }

    /// Forgets what is known of a URL's sites.
    pub(super) fn forget(&mut self, url: &Url) -> Learnt {
        let gone = keys(url).into_iter().filter_map(|key| self.troubled.remove(key));
        Learnt { has_recovered: false, freed: gone.flat_map(|site| site.waiting).collect() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.troubled.len()
    }

    /// Tells whether the endpoint or its origin is left alone.
    pub(super) fn are_left_alone(&self, url: &Url) -> bool {
        let mut sites = self.keys(url).filter_map(|key| self.troubled.get(key));
        sites.any(|site| !site.breaker.is_closed())
    }

    /// Returns the endpoint and the origin, or neither where no site is troubled: so it mostly is, and the URL needn't be
    /// fetched from memory.
    fn keys<'u>(&self, url: &'u Url) -> impl Iterator<Item = &'u str> + use<'u> {
        let keys = (!self.troubled.is_empty()).then(|| keys(url));
        keys.into_iter().flatten()
    }

    /// Returns how many are left alone.
    pub(super) fn left_alone(&self) -> usize {
        self.troubled.values().filter(|site| !site.breaker.is_closed()).count()
    }

    /// Changes the breaker of a site where something is wrong.
    fn change(&mut self, key: &str, learnt: &mut Learnt, change: impl FnOnce(&mut Breaker)) {
        let Some(site) = self.troubled.get_mut(key) else { return };
        change(&mut site.breaker);
        if !site.breaker.is_probing() {
            learnt.freed.append(&mut site.waiting);
        }
        if site.breaker.is_fresh() {
            self.troubled.remove(key);
        }
    }

    /// Takes note of trouble at a site.
    fn note(&mut self, key: &str, now: Timestamp) {
        if let Some(site) = self.troubled.get_mut(key) {
            site.troubled_at = now;
        } else {
            self.tidy(now);
            self.troubled.insert(key.into(), Site::new(now));
        }
    }

    /// Makes sure that what nobody sends to any more doesn't stay for ever.
    fn tidy(&mut self, now: Timestamp) {
        if self.troubled.len() >= self.tidy_at {
            self.troubled.retain(|_, site| !site.is_forgotten(now));
            self.tidy_at = TIDY_AT.max(2 * self.troubled.len());
        }
    }
}

impl Site {
    fn new(now: Timestamp) -> Self {
        Self { breaker: Breaker::default(), waiting: BTreeSet::new(), troubled_at: now }
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        let is_held = match self.breaker.pass(now) {
            Pass::Not(_) | Pass::NotYet => true,
            Pass::Free | Pass::Probe => false,
        };
        !is_held && tiers::until(now, self.troubled_at) > REMEMBERED
    }
}

/// Tells how many there are: their URLs may hold credentials.
impl fmt::Debug for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sites({} troubled)", self.troubled.len())
    }
}

/// Returns the endpoint and the origin.
fn keys(url: &Url) -> [&str; 2] {
    [url.as_str(), &url[..Position::BeforePath]]
}

/// Returns what an attempt says of the endpoint and of the origin.
fn words(attempted: &Attempted) -> [Word; 2] {
    match &attempted.end {
        Ok(answer) if matches!(answer.status, 429 | 500..) => [Word::Troubled, Word::Well],
        Ok(_) => [Word::Well; 2],
        Err(failure) if !failure.reason.is_receivers() => [Word::Nothing; 2],
        Err(failure) => match failure.reason {
            Reason::Dns | Reason::Connect => [Word::Unclear, Word::Troubled],
            Reason::Timeout => [Word::Troubled, Word::Unclear],
            _ => [Word::Troubled, Word::Well],
        },
    }
}
