//! Tokens of OAuth 2.0's client credentials: RFC 6749, section 4.4. One request fetches a token for all who wait for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use crate::domain::egress::Egress;
use crate::domain::outcome::Failure;
use crate::domain::subscription::{ClientAuthentication, ClientCredentials};
use crate::http::answer::consume;
use crate::http::client;
use crate::http::failure::{Way, classify, unauthorized};
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

/// The tokens of one subscription.
#[derive(Default)]
pub(in crate::http) struct Tokens(Mutex<State>);

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    failed: Option<(Instant, Failure)>,
    /// When a token was last replaced because a receiver refused it.
    replaced: Option<Instant>,
}

/// A token, as the header that carries it.
pub(in crate::http) struct Token {
    header: HeaderValue,
    fetched: Instant,
    lifetime: Duration,
}

/// What a token is fetched with, and over what.
pub(in crate::http) struct Grant<'a> {
    pub client: &'a Client,
    pub egress: &'a Egress,
    pub way: Way,
    pub credentials: &'a ClientCredentials,
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

impl Tokens {
    /// Returns a token; fetches one if there is none, its end is near, or it is the one that a receiver `refused`, but
    /// not too often: then it is the same again. Those who ask meanwhile wait, and get the same token or failure.
    ///
    /// # Errors
    /// The failure that the attempt ends with: `auth`.
    pub(in crate::http) async fn get(
        &self,
        grant: &Grant<'_>,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, Failure> {
        let asked = Instant::now();
        let mut state = self.0.lock().await;
        let now = Instant::now();
        let is_refused = |token: &Arc<Token>| refused.is_some_and(|one| Arc::ptr_eq(one, token));
        let good = state.token.clone().filter(|token| token.is_good(now));
        let is_replaced = good.as_ref().is_some_and(is_refused);
        if let Some(good) = &good {
            let is_kept = if is_replaced {
                let replaced = state.replaced.filter(|at| now < *at + PAUSE);
                // Its successor could not be had: that, and no answer of the receiver, is what the attempt fails of.
                let failed = state.failed.as_ref().filter(|(at, _)| replaced == Some(*at));
                if let Some((_, failure)) = failed {
                    return Err(failure.clone());
                }
                replaced.is_some()
            } else {
                let failed = state.failed.as_ref().is_some_and(|(at, _)| now < *at + PAUSE);
                failed || !good.is_due(now)
            };
            if is_kept {
                return Ok(good.clone());
            }
        }
        if let Some((_, failure)) = state.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(failure.clone());
        }
        let fetched = fetch(grant).await;
        let now = Instant::now();
        // Only now: whoever asked may have run out of time meanwhile, and then nothing was replaced.
        if is_replaced {
            state.replaced = Some(now);
        }
        match fetched {
            Ok(token) => {
                let token = Arc::new(token);
                state.token = Some(token.clone());
                state.failed = None;
                Ok(token)
            }
            Err(failure) => {
                state.failed = Some((now, failure.clone()));
                good.filter(|_| !is_replaced).ok_or(failure)
            }
        }
    }
}

async fn fetch(grant: &Grant<'_>) -> Result<Token, Failure> {
    let fetched = Instant::now();
    let judged = || {
        let request = request(grant)?;
        let refused = judge_address(grant.egress, request.url());
        refused.map_err(|refused| failed(&refused.to_string()))?;
        Ok(request)
    };
    let classified = |error| failed(&classify(error, grant.way).error);
    let response = client::execute(grant.client, judged, classified).await?;
    let status = response.status();
    let body = body(response).await;
    if !status.is_success() {
        let code = serde_json::from_slice::<Refusal>(&body).ok().filter(|it| is_code(&it.error));
        let code = code.map_or_else(String::new, |refusal| format!(" ({})", refusal.error));
        return Err(failed(&format!("it answered {}{code}", status.as_u16())));
    }
    let unfit = || failed("its answer holds no bearer token");
    let issued: Issued = serde_json::from_slice(&body).map_err(|_| unfit())?;
    if !issued.token_type.eq_ignore_ascii_case("bearer") {
        return Err(unfit());
    }
    let header = Zeroizing::new(format!("Bearer {}", issued.access_token.as_str()));
    let mut header = HeaderValue::from_str(&header).map_err(|_| unfit())?;
    header.set_sensitive(true);
    let lifetime =
        issued.expires_in.as_deref().and_then(seconds).unwrap_or(LIFETIME).min(LIFETIME_MAX);
    Ok(Token { header, fetched, lifetime })
}

fn request(grant: &Grant<'_>) -> Result<Request, Failure> {
    let ClientCredentials { token_url, client_id, client_secret, scope, audience, authentication } =
        grant.credentials;
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for (name, value) in [("scope", scope), ("audience", audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    let mut request = grant.client.post(token_url.clone()).header(ACCEPT, "application/json");
    match authentication {
        ClientAuthentication::Body => {
            form.append_pair("client_id", client_id);
            form.append_pair("client_secret", client_secret.reveal());
        }
        ClientAuthentication::Basic => {
            // RFC 6749, section 2.3.1: both are encoded like a form's before they are put together.
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let secret = Zeroizing::new(encode(client_secret.reveal()));
            let pair = Zeroizing::new(format!("{}:{}", encode(client_id), *secret));
            let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)));
            let mut value = HeaderValue::from_str(&value).expect("base64 is ASCII");
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
    }
    let form_type = "application/x-www-form-urlencoded";
    let request = request.header(CONTENT_TYPE, form_type).body(form.finish()).build();
    request.map_err(|_| failed("its URL is not one by RFC 3986"))
}

/// Reads the body, as far as bodies are read.
async fn body(response: Response) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::new());
    consume(response, |chunk| body.extend_from_slice(chunk)).await;
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
