//! Attempts made: an event goes out as one signed HTTP request, what came back is an outcome of the domain.
//!
//! The life of an attempt: `request` builds it and blames nobody but us if it can't; it is sent; `answer` reads a
//! bounded part of what the receiver says; `failure` names what went wrong on the way. One deadline lies over all
//! of it. This is the only code that names the HTTP client. It decides nothing: what follows from an outcome, and
//! whether there is another attempt, is the domain's. It follows no redirect, asks no proxy, keeps no cookie.
//!
//! What counts, where HTTP leaves it open:
//! - The status is the answer. A connection that breaks, or garbage, behind the headers takes nothing away from it:
//!   the receiver has decided by then, and a delivery told again would be a repeat. Only the deadline, which covers
//!   the body, makes a timeout of an answer that isn't complete.
//! - A request goes out a second time within one attempt only if it is certain that no receiver has seen the first:
//!   a pooled connection was found closed before anything was written (the pool does that by itself), or an HTTP/2
//!   server says that it has not processed it (GOAWAY without an error, REFUSED_STREAM; at most twice). A receiver
//!   that closes an idle connection in the moment of writing leaves that open: it is a `reset`, and the domain's to
//!   repeat.

mod answer;
mod client;
mod failure;
mod request;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, ClientBuilder, Request};
use tokio::time::{Instant, timeout_at};

use crate::domain::engine::Attempt;
use crate::domain::outcome::{Answer, Attempted, Failure};
use crate::domain::tiers;

pub use client::{Settings, SetupError, registry_client};

/// Makes attempts; clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    /// The deadline of subscriptions that have none.
    timeout: Duration,
    max_body: usize,
}

impl Sender {
    /// Makes a sender without connections.
    ///
    /// # Errors
    /// [`SetupError`] if the settings contradict each other or TLS can't be set up; the program can't start then.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Self::with_client(settings, client::builder(settings)?)
    }

    /// Makes a sender of a client that more was said about: the place for a resolver or for certificates.
    fn with_client(settings: &Settings, client: ClientBuilder) -> Result<Self, SetupError> {
        let client = client.build().map_err(|error| SetupError::Client(failure::text(&error)))?;
        Ok(Self { client, timeout: settings.timeout, max_body: settings.max_body })
    }

    /// Makes an attempt, signed at `now`, and returns what it came to.
    ///
    /// It ends with its deadline, the subscription's or else the sender's. Dropped before that, it closes its
    /// connection (HTTP/1.1) or its stream (HTTP/2), and whether the receiver has seen the request is open.
    pub async fn send(&self, attempt: &Attempt, now: Timestamp) -> Attempted {
        let started = Instant::now();
        let end = match request::build(&self.client, attempt, now, self.max_body) {
            Ok(request) => {
                let timeout = attempt.subscription.timeout.unwrap_or(self.timeout);
                self.exchange(request, timeout, started, now).await
            }
            Err(failure) => Err(failure),
        };
        Attempted { latency: started.elapsed(), end }
    }

    /// Sends a request and reads its answer, both within `timeout` from `started`, which was at `now`.
    async fn exchange(
        &self,
        request: Request,
        timeout: Duration,
        started: Instant,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let deadline = started + timeout;
        let response = match timeout_at(deadline, self.client.execute(request)).await {
            Ok(response) => response.map_err(failure::classify)?,
            Err(_) => return Err(failure::no_answer(timeout)),
        };
        let status = response.status();
        let answered_at = tiers::add(now, started.elapsed());
        let answer = timeout_at(deadline, answer::read(response, answered_at)).await;
        answer.map_err(|_| failure::half_an_answer(status, timeout))
    }
}
