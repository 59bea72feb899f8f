//! Permission to send: CloudEvents' "HTTP 1.1 Web Hooks for Event Delivery", section 4, "Abuse Protection".
//!
//! Before its first delivery a subscription that wants it asks its receiver by `OPTIONS`, in the name of an origin. The
//! permission lasts as long as the definition. The rate that comes with it is kept: a request whose turn comes too late
//! for its attempt's deadline is not sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::failure::{unauthorized, unbuildable};
use super::held::Held;
use crate::domain::outcome::{Answer, Failure};

static REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
static ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
static ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// The permissions of all subscriptions that asked for one.
#[derive(Default)]
pub(super) struct Permissions(pub(super) Held<Arc<Permission>>);

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permissions(…)")
    }
}

/// One subscription's permission. While one attempt asks, the others wait for it.
#[derive(Default)]
pub(super) struct Permission(Mutex<Option<Granted>>);

/// What a request that wants to be sent is told.
pub(super) enum Turn {
    /// It is its turn at this time.
    At(Instant),
    /// The receiver, asked for permission, wants to hear of nothing, for a while or ever: the attempt ends with this answer.
    Refused(Answer),
}

struct Granted {
    /// The least time between two requests.
    pace: Duration,
    /// When the next may be sent.
    next: Instant,
}

impl Permission {
    /// Asks for the permission by `ask`, if it isn't there yet, and takes a turn; returns when it is, or what the receiver
    /// answered instead.
    ///
    /// # Errors
    /// The failure that the attempt ends with: that of the request, or `auth` if there is no permission, or no turn before
    /// the deadline.
    pub(super) async fn turn(
        &self,
        origin: &str,
        deadline: Instant,
        ask: impl Future<Output = Result<(Answer, HeaderMap), Failure>>,
    ) -> Result<Turn, Failure> {
        let mut granted = self.0.lock().await;
        let granted = match &mut *granted {
            Some(granted) => granted,
            none => {
                let (answer, headers) = ask.await?;
                if is_of_the_endpoint(&answer) {
                    return Ok(Turn::Refused(answer));
                }
                none.insert(read(origin, answer.status, &headers)?)
            }
        };
        let turn = granted.next.max(Instant::now());
        if turn > deadline {
            return Err(unauthorized("the rate that the receiver allows is used up"));
        }
        granted.next = turn + granted.pace;
        Ok(Turn::At(turn))
    }
}

/// Tells whether an answer says something of the endpoint and not of the permission: that it is gone, overloaded, or wants
/// to be left alone. What follows is the same as if it had been said to a delivery; a success never ends here.
fn is_of_the_endpoint(answer: &Answer) -> bool {
    match answer.status {
        200..=299 => false,
        410 | 429 | 502..=504 => true,
        _ => answer.retry_after.is_some(),
    }
}

/// Builds the request for a permission.
///
/// # Errors
/// The failure that the attempt ends with.
pub(super) fn request(client: &Client, url: Url, origin: &str) -> Result<Request, Failure> {
    let request = client.request(Method::OPTIONS, url).header(&REQUEST_ORIGIN, origin).build();
    request.map_err(|_| unbuildable("the request for permission is not one by RFC 3986"))
}

/// Reads the answer: without the header, or with another origin's name, there is no permission.
fn read(origin: &str, status: u16, headers: &HeaderMap) -> Result<Granted, Failure> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let allows = |allowed: &str| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    if !(200..=299).contains(&status) || !text(&ALLOWED_ORIGIN).is_some_and(allows) {
        return Err(unauthorized(&format!("the receiver gave no permission to send ({status})")));
    }
    // Requests a minute; what can't be read limits nothing, as if it weren't there.
    let rate = text(&ALLOWED_RATE).and_then(|rate| rate.parse().ok()).filter(|rate| *rate > 0);
    let pace = rate.map_or(Duration::ZERO, |rate: u32| Duration::from_secs(60) / rate);
    Ok(Granted { pace, next: Instant::now() })
}
