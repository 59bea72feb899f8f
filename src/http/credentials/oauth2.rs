//! Tokens of OAuth 2.0's client credentials: RFC 6749, section 4.4. One request fetches a token for all who wait for it.
//!
//! The request is a task of its own with a deadline of its own, as a name's lookup is: a provider that takes longer than
//! an attempt has time gives its token to a later attempt, and one that hangs is asked once at a time, however many wait.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::domain::egress::Egress;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::subscription::{ClientAuthentication, ClientCredentials};
use crate::http::answer::{BODY_MAX, consume};
use crate::http::client;
use crate::http::failure::{Way, classify, unauthorized};
use crate::http::request::secret_value;
use crate::http::resolver::judge_address;

/// How long a token is used that doesn't say when it ends.
const LIFETIME: Duration = Duration::from_secs(300);
/// The longest that a token is used, whatever it says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its end a token is replaced, at most; of short lives it is a tenth.
const LEAD_MAX: Duration = Duration::from_secs(30);
/// How long a good token is used on when its replacement could not be had, before that is tried again; and how long no
/// other is fetched because of a 401 when the last one was: then it speaks against the client and not the token.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a request for a token may take, from DNS to the last byte read, whoever waits for it.
const FETCH_MAX: Duration = Duration::from_secs(30);

/// The bytes of a form that are neither its secret, id, scope nor audience, at most.
const FORM_NAMES: usize = 128;

/// The tokens of one subscription.
#[derive(Default)]
pub(in crate::http) struct Tokens(Mutex<State>);

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    failed: Option<(Instant, Failure)>,
    /// When a token was last replaced because a receiver refused it.
    replaced: Option<Instant>,
    flight: Option<Flight>,
}

/// A request for a token that is under way.
struct Flight {
    found: Waiting,
    cause: Cause,
}

/// What comes of a request for a token, once it is there.
type Waiting = watch::Receiver<Option<Result<Arc<Token>, Failure>>>;

/// Why a token is fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// There is no good one, or its end is near.
    Time,
    /// A receiver refused the one there is.
    Refusal,
}

/// A token, as the header that carries it.
pub(in crate::http) struct Token {
    header: HeaderValue,
    fetched: Instant,
    lifetime: Duration,
}

/// What a token is fetched with, and over what.
#[derive(Clone)]
pub(in crate::http) struct Grant {
    pub client: Client,
    pub egress: Arc<Egress>,
    pub way: Way,
    pub credentials: ClientCredentials,
}

impl Token {
    /// Writes the token into a request.
    pub(in crate::http) fn authorize(&self, request: &mut Request) {
        request.headers_mut().insert(AUTHORIZATION, self.header.clone());
    }

    fn is_good(&self, at: Instant) -> bool {
        at < self.fetched + self.lifetime
    }

    fn is_due(&self, at: Instant) -> bool {
        at >= self.fetched + (self.lifetime - LEAD_MAX.min(self.lifetime / 10))
    }
}

const UNPOISONED: &str = "nobody panics while holding it";

impl Tokens {
    /// Returns a token; fetches one if there is none or it is the one that a receiver `refused`, but not too often: then
    /// it is the same again. Those who ask meanwhile wait, and get the same token or failure. One whose end is near is
    /// returned as well, and its successor fetched meanwhile.
    ///
    /// Dropped while it waits, it takes nothing away from the others and from those who come later.
    ///
    /// # Errors
    /// The failure that the attempt ends with: `auth`.
    pub(in crate::http) async fn get(
        self: &Arc<Self>,
        grant: impl FnOnce() -> Grant,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, Failure> {
        let mut found = {
            let mut state = self.0.lock().expect(UNPOISONED);
            let now = Instant::now();
            let good = state.token.clone().filter(|token| token.is_good(now));
            match good {
                None => self.flight(&mut state, grant, Cause::Time),
                Some(good) if refused.is_some_and(|it| Arc::ptr_eq(it, &good)) => {
                    match state.since_replaced(now) {
                        Some(kept) => return kept.map(|()| good),
                        None => self.flight(&mut state, grant, Cause::Refusal),
                    }
                }
                Some(good) => {
                    if good.is_due(now) && !state.has_just_failed(now) {
                        self.flight(&mut state, grant, Cause::Time);
                    }
                    return Ok(good);
                }
            }
        };
        let found = found.wait_for(Option::is_some).await;
        // The runtime ends its tasks in any order.
        let found = found.map_err(|_| failed("it was given up"))?;
        found.clone().expect("it was waited for")
    }

    /// Joins the request for a token, or begins it.
    fn flight(
        self: &Arc<Self>,
        state: &mut State,
        grant: impl FnOnce() -> Grant,
        cause: Cause,
    ) -> Waiting {
        if let Some(flight) = &mut state.flight {
            if cause == Cause::Refusal {
                flight.cause = cause;
            }
            return flight.found.clone();
        }
        let (told, found) = watch::channel(None);
        state.flight = Some(Flight { found: found.clone(), cause });
        let (tokens, grant) = (self.clone(), grant());
        tokio::spawn(async move {
            let fetched = timeout(FETCH_MAX, fetch(&grant)).await;
            let late = |_| failed(&format!("no answer within {FETCH_MAX:?}"));
            let fetched = fetched.map_err(late).flatten().map(Arc::new);
            // From here on, who asks is told by the state.
            tokens.0.lock().expect(UNPOISONED).end_flight(fetched.clone());
            told.send_replace(Some(fetched));
        });
        found
    }
}

impl State {
    fn end_flight(&mut self, fetched: Result<Arc<Token>, Failure>) {
        let now = Instant::now();
        let flight = self.flight.take();
        if flight.is_some_and(|flight| flight.cause == Cause::Refusal) {
            self.replaced = Some(now);
        }
        match fetched {
            Ok(token) => {
                self.token = Some(token);
                self.failed = None;
            }
            Err(failure) => self.failed = Some((now, failure)),
        }
    }

    fn has_just_failed(&self, now: Instant) -> bool {
        self.failed.as_ref().is_some_and(|(at, _)| now < *at + PAUSE)
    }

    /// Tells what a refused token was replaced with a moment ago: with a token, or with a failure, which then, and no
    /// answer of the receiver, is what the attempt fails of. `None` if that is long ago.
    fn since_replaced(&self, now: Instant) -> Option<Result<(), Failure>> {
        let at = self.replaced.filter(|at| now < *at + PAUSE)?;
        let failed = self.failed.as_ref().filter(|(failed, _)| *failed == at);
        Some(failed.map_or(Ok(()), |(_, failure)| Err(failure.clone())))
    }
}

async fn fetch(grant: &Grant) -> Result<Token, Failure> {
    let fetched = Instant::now();
    let judged = || {
        let request = request(grant)?;
        let refused = judge_address(&grant.egress, request.url());
        refused.map_err(|refused| failed(&refused.to_string()))?;
        Ok(request)
    };
    let classified = |error| failed(&classify(error, grant.way).error);
    let response = client::execute(&grant.client, judged, classified).await?;
    let status = response.status();
    let body = body(response).await;
    if !status.is_success() {
        let code = serde_json::from_slice::<Refusal>(&body).ok().filter(|it| is_code(&it.error));
        let code = code.map_or_else(String::new, |refusal| format!(" ({})", refusal.error));
        return Err(failed(&format!("it answered {}{code}", status.as_u16())));
    }
    let unfit = || failed("its answer holds no bearer token");
    let issued: Issued = serde_json::from_slice(&body).map_err(|_| unfit())?;
    if !issued.token_type.eq_ignore_ascii_case("bearer") || !issued.access_token.is_ascii() {
        return Err(unfit());
    }
    let header = secret_value(Secret::of_parts(&["Bearer ", &issued.access_token]));
    let header = header.map_err(|_| unfit())?;
    let lifetime =
        issued.expires_in.as_deref().and_then(seconds).unwrap_or(LIFETIME).min(LIFETIME_MAX);
    Ok(Token { header, fetched, lifetime })
}

fn request(grant: &Grant) -> Result<Request, Failure> {
    let ClientCredentials { token_url, client_id, client_secret, scope, audience, authentication } =
        &grant.credentials;
    let texts = [Some(client_id), scope.as_ref(), audience.as_ref()].into_iter().flatten();
    let texts = texts.map(|text| text.len()).sum::<usize>() + client_secret.reveal().len();
    // So large that it never moves and leaves a copy behind: each byte may take three.
    let mut form = Zeroizing::new(String::with_capacity(3 * texts + FORM_NAMES));
    let mut pairs = Serializer::new(&mut *form);
    pairs.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", scope), ("audience", audience)] {
        if let Some(value) = value {
            pairs.append_pair(name, value);
        }
    }
    let mut request = grant.client.post(token_url.clone()).header(ACCEPT, "application/json");
    match authentication {
        ClientAuthentication::Body => {
            pairs.append_pair("client_id", client_id);
            pairs.append_pair("client_secret", client_secret.reveal());
        }
        ClientAuthentication::Basic => {
            // RFC 6749, section 2.3.1: both are encoded like a form's before they are put together.
            let (id, secret) = (encoded(client_id), encoded(client_secret.reveal()));
            let value = secret_value(Secret::basic(&id, &secret)).expect("base64 is ASCII");
            request = request.header(AUTHORIZATION, value);
        }
    }
    let form_type = "application/x-www-form-urlencoded";
    let form = Bytes::from_owner(form);
    let request = request.header(CONTENT_TYPE, form_type).body(form).build();
    request.map_err(|_| failed("its URL is not one by RFC 3986"))
}

/// Encodes a text like a form's, in one piece of memory.
fn encoded(text: &str) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    encoded.extend(byte_serialize(text.as_bytes()));
    encoded
}

/// Reads the body, as far as bodies are read.
async fn body(response: Response) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(BODY_MAX));
    consume(response, |chunk| {
        let room = BODY_MAX - body.len();
        body.extend_from_slice(&chunk[..room.min(chunk.len())]);
        if chunk.len() > room { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await;
    body
}

fn failed(why: &str) -> Failure {
    unauthorized(&format!("no token from the token endpoint: {why}"))
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Issued {
    access_token: Zeroizing<String>,
    token_type: String,
    expires_in: Option<Box<RawValue>>,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Tells whether a text looks like the registered codes of errors: anything else is not repeated.
fn is_code(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=40).contains(&text.len()) && text.bytes().all(fits)
}

/// Reads a number of seconds, which some providers write as a text.
fn seconds(value: &RawValue) -> Option<Duration> {
    let seconds: u64 = value.get().trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds))
}
