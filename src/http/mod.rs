//! Attempts made: an event goes out as one signed HTTP request, what came back is an outcome of the domain.
//!
//! The life of an attempt: `permission` waits until the receiver lets it go, if it wants to be asked; `request` builds it
//! and blames nobody but us if it can't; `credentials` say who we are; `resolver` keeps it from where it must not go; it
//! is sent; `answer` reads a bounded part of what the receiver says; `failure` names what went wrong on the way. One deadline lies over all
//! of it. This is the only code that names the HTTP client. It decides nothing: what follows from an outcome, and
//! whether there is another attempt, is the domain's. It follows no redirect, asks no proxy but the settings',
//! keeps no cookie.
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
mod collector;
mod credentials;
mod failure;
mod held;
mod limited;
mod permission;
mod request;
mod resolver;
#[cfg(test)]
mod tests;
mod text;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Request, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::domain::egress::Egress;
use crate::domain::engine::Attempt;
use crate::domain::outcome::{Answer, Attempted, Failure};
use crate::domain::subscription::{Auth, ClientCredentials, Subscription};
use crate::domain::tiers;

use credentials::{Credentials, Grant, Token, Tokens};
use failure::Way;
use permission::{Permissions, Turn};
use resolver::Lookup;

pub use client::{Settings, SetupError, registry_client};
pub use collector::Collector;
pub use limited::{ANSWER_MAX, is_too_long, limited};

/// Makes attempts; clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    /// The deadline of subscriptions that have none.
    timeout: Duration,
    max_body: usize,
    egress: Arc<Egress>,
    way: Way,
    credentials: Arc<Credentials>,
    permissions: Arc<Permissions>,
}

impl Sender {
    /// Makes a sender without connections.
    ///
    /// # Errors
    /// [`SetupError`] if the settings contradict each other or TLS can't be set up; the program can't start then.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Self::with_client(settings, client::builder(settings, Lookup::System)?)
    }

    /// Makes so many senders, each with connections of its own; what they learn of receivers they share.
    ///
    /// # Errors
    /// As [`Sender::new`].
    pub fn several(settings: &Settings, count: usize) -> Result<Vec<Self>, SetupError> {
        let first = Self::new(settings)?;
        let another = |_| {
            let client = build(client::builder(settings, Lookup::System)?)?;
            Ok(Self { client, ..first.clone() })
        };
        (0..count).map(another).collect()
    }

    /// Makes a sender of a client that more was said about.
    fn with_client(settings: &Settings, client: ClientBuilder) -> Result<Self, SetupError> {
        let client = build(client)?;
        let way = if settings.proxy.is_some() { Way::Proxied } else { Way::Direct };
        let Settings { timeout, max_body, ref egress, .. } = *settings;
        let credentials = Arc::new(Credentials::new(settings.clone()));
        let (egress, permissions) = (egress.clone(), Arc::default());
        Ok(Self { client, timeout, max_body, egress, way, credentials, permissions })
    }

    /// Makes an attempt, signed at `now`, and returns what it came to.
    ///
    /// It ends with its deadline, the subscription's or else the sender's. Dropped before that, it closes its
    /// connection (HTTP/1.1) or its stream (HTTP/2), and whether the receiver has seen the request is open.
    pub async fn send(&self, attempt: &Attempt, now: Timestamp) -> Attempted {
        let timeout = attempt.subscription.timeout.unwrap_or(self.timeout);
        let time = Time { now, started: Instant::now(), timeout };
        let end = self.attempt(attempt, time).await;
        Attempted { latency: time.started.elapsed(), end }
    }

    async fn attempt(&self, attempt: &Attempt, time: Time) -> Result<Answer, Failure> {
        let subscription = &attempt.subscription;
        let mut now = time.now;
        if let Some(origin) = &subscription.origin {
            let turn = Box::pin(self.take_turn(subscription, origin, time)).await?;
            if let Turn::Refused(answer) = turn {
                return Ok(answer);
            }
            // It may have taken a while, and the signature tells when the request is made.
            now = time.passed();
        }
        let make = || request::build(&self.client, attempt, now, self.max_body);
        self.authorized(subscription, make, time).await.map(|(answer, _)| answer)
    }

    /// Waits until the receiver's permission lets a request go, or returns with what the receiver says instead.
    async fn take_turn(
        &self,
        subscription: &Arc<Subscription>,
        origin: &str,
        time: Time,
    ) -> Result<Turn, Failure> {
        let Ok(permission) =
            self.permissions.0.find_or::<Infallible>(subscription, || Ok(Arc::default()));
        let make = || permission::request(&self.client, subscription.url.clone(), origin);
        let ask = self.authorized(subscription, make, time);
        let turn = timeout_at(time.deadline(), permission.turn(origin, time.deadline(), ask));
        let turn = turn.await.map_err(|_| failure::no_answer(time.timeout)).flatten()?;
        if let Turn::At(instant) = turn {
            sleep_until(instant).await;
        }
        Ok(turn)
    }

    /// Sends a request with its subscription's credentials. What is rare is boxed: a task for an attempt is as large as
    /// all that it may do, and is moved more than once.
    async fn authorized(
        &self,
        subscription: &Arc<Subscription>,
        make: impl Fn() -> Result<Request, Failure>,
        time: Time,
    ) -> Result<(Answer, HeaderMap), Failure> {
        match subscription.auth.as_deref() {
            None => self.exchange(&self.client, make, time).await,
            Some(Auth::Header { name, value }) => {
                let with_header = || {
                    let mut request = make()?;
                    request::add_secret(request.headers_mut(), name, value.clone())?;
                    Ok(request)
                };
                Box::pin(self.exchange(&self.client, with_header, time)).await
            }
            Some(Auth::Mtls(pem)) => {
                let client = self.credentials.client(subscription, pem)?;
                Box::pin(self.exchange(&client, make, time)).await
            }
            Some(Auth::OAuth2(credentials)) => {
                let tokens = self.credentials.tokens(subscription);
                Box::pin(self.exchange_with_token(&tokens, credentials, make, time)).await
            }
        }
    }

    /// Sends a request with a token. A receiver that doesn't take the token has not taken the request, so that it is
    /// sent once more with a new one.
    async fn exchange_with_token(
        &self,
        tokens: &Arc<Tokens>,
        credentials: &ClientCredentials,
        make: impl Fn() -> Result<Request, Failure>,
        time: Time,
    ) -> Result<(Answer, HeaderMap), Failure> {
        let grant = || Grant {
            client: self.client.clone(),
            egress: self.egress.clone(),
            way: self.way,
            credentials: credentials.clone(),
        };
        let late = |_| failure::unauthorized("the token endpoint gave no token in time");
        let get = async |refused: Option<&Arc<Token>>| {
            let got = timeout_at(time.deadline(), tokens.get(grant, refused)).await;
            got.map_err(late).flatten()
        };
        let with = |token: &Token| {
            let mut request = make()?;
            token.authorize(&mut request);
            Ok(request)
        };
        let token = get(None).await?;
        let answer = self.exchange(&self.client, || with(&token), time).await?;
        if answer.0.status != StatusCode::UNAUTHORIZED.as_u16() {
            return Ok(answer);
        }
        let other = get(Some(&token)).await?;
        if Arc::ptr_eq(&other, &token) {
            return Ok(answer);
        }
        self.exchange(&self.client, || with(&other), time).await
    }

    /// Sends a request and reads its answer, both in time. The answer's headers come with it.
    async fn exchange(
        &self,
        client: &Client,
        make: impl Fn() -> Result<Request, Failure>,
        time: Time,
    ) -> Result<(Answer, HeaderMap), Failure> {
        let (deadline, timeout) = (time.deadline(), time.timeout);
        let judged = || {
            let request = make()?;
            resolver::judge_address(&self.egress, request.url()).map_err(failure::refused)?;
            Ok(request)
        };
        let sent = client::execute(client, judged, |error| failure::classify(error, self.way));
        let response = timeout_at(deadline, sent).await;
        let response = response.map_err(|_| failure::no_answer(timeout)).flatten()?;
        let status = response.status();
        let answer = timeout_at(deadline, answer::read(response, time.passed())).await;
        answer.unwrap_or_else(|_| Err(failure::half_an_answer(status, timeout)))
    }
}

/// The time of one attempt: all of it ends `timeout` after `started`, which was at `now`.
#[derive(Clone, Copy)]
struct Time {
    now: Timestamp,
    started: Instant,
    timeout: Duration,
}

impl Time {
    fn deadline(self) -> Instant {
        self.started + self.timeout
    }

    /// Returns what time it is.
    fn passed(self) -> Timestamp {
        tiers::add(self.now, self.started.elapsed())
    }
}

fn build(client: ClientBuilder) -> Result<Client, SetupError> {
    client.build().map_err(|error| SetupError::Client(failure::text(&error)))
}
