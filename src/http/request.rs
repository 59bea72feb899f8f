//! Requests: contract, section 5. What is signed is exactly what is sent.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{Client, Request};

use super::failure::{too_large, unbuildable};
use crate::domain::engine::Attempt;
use crate::domain::outcome::Failure;
use crate::domain::payload;
use crate::domain::record::Headers;
use crate::domain::secret::Secret;
use crate::domain::subscription::Subscription;
use crate::domain::transform::{self, Body};

static X_WEBHOOK_ID: HeaderName = HeaderName::from_static("x-webhook-id");
static X_WEBHOOK_EVENT: HeaderName = HeaderName::from_static("x-webhook-event");
static X_WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");

/// The usual headers of signatures; to find one here saves its allocation.
static SIGNATURES: [HeaderName; 6] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
    HeaderName::from_static("x-webhook-signature"),
    HeaderName::from_static("x-hub-signature-256"),
    HeaderName::from_static("stripe-signature"),
];

/// W3C Trace Context, sections 3.2 and 3.3.
static TRACE: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];
/// The longest value of theirs that is passed on; all vendors must take 512 bytes.
const TRACE_MAX: usize = 4096;

/// The headers of a request that has none of its subscription's: ours, and those that the client adds.
const HEADERS: usize = 16;

/// Builds the request of an attempt that is made at `now`.
///
/// # Errors
/// The failure that the attempt ends with: `too-large`; `transform` if no key is live, something can't stand in a header
/// or the subscription's transform fails; `filtered` if that wants nothing sent.
pub(super) fn build(
    client: &Client,
    attempt: &Attempt,
    now: Timestamp,
    max_body: usize,
) -> Result<Request, Failure> {
    let Attempt { event, subscription, number, retryable, .. } = attempt;
    let (body, content_type) = match &subscription.transform {
        Some(transform) => {
            let Body { bytes, content_type } = transform::body(transform, event, max_body)?;
            (bytes, content_type)
        }
        None => (
            payload::body(event, subscription.payload, *number, *retryable),
            payload::content_type(event, subscription.payload),
        ),
    };
    if body.len() > max_body {
        return Err(too_large(body.len(), max_body));
    }
    // The builder makes basic credentials of the URL's userinfo, which is never sent as part of the URL.
    let request = client.post(subscription.url.clone()).body(body.clone()).build();
    let mut request = request.map_err(|_| unbuildable("the URL is not one by RFC 3986"))?;
    let headers = request.headers_mut();
    headers.reserve(HEADERS + subscription.headers.len());
    describe(headers, attempt, content_type)?;
    sign(headers, attempt, now, &body)?;
    trace(headers, &event.record.headers);
    add_own(headers, subscription)?;
    Ok(request)
}

fn describe(headers: &mut HeaderMap, attempt: &Attempt, content_type: &str) -> Result<(), Failure> {
    let Attempt { event, subscription, number, .. } = attempt;
    let id = event.label.id.as_str();
    headers.insert(CONTENT_TYPE, text(content_type, "the content type")?);
    headers.insert(X_WEBHOOK_ID.clone(), text(id, "the event's id")?);
    headers.insert(X_WEBHOOK_EVENT.clone(), text(&event.label.event_type, "the event's type")?);
    headers.insert(X_WEBHOOK_ATTEMPT.clone(), HeaderValue::from(*number));
    for (name, value) in payload::headers(event, subscription.payload) {
        headers.insert(own_name(&name)?, text(&value, "an attribute of the event")?);
    }
    Ok(())
}

fn sign(
    headers: &mut HeaderMap,
    attempt: &Attempt,
    now: Timestamp,
    body: &[u8],
) -> Result<(), Failure> {
    let signing = &attempt.subscription.signing;
    let signatures = signing.sign(&attempt.event.label.id, now, body);
    let signatures = signatures.map_err(|error| unbuildable(error.to_string()))?;
    for (name, value) in signatures {
        let known = SIGNATURES.iter().find(|known| known.as_str() == name).cloned();
        let name = match known {
            Some(name) => name,
            None => own_name(name)?,
        };
        let value = HeaderValue::try_from(value);
        headers.insert(name, value.map_err(|_| unfit("a signature"))?);
    }
    Ok(())
}

/// Passes the trace on that the record belongs to. What can't stand in a header is left out: it serves no delivery.
fn trace(headers: &mut HeaderMap, record: &Headers) {
    for name in &TRACE {
        let value = record.last(name.as_str()).filter(|value| value.len() <= TRACE_MAX);
        let value = value.and_then(|value| HeaderValue::from_maybe_shared(value.clone()).ok());
        if let Some(value) = value {
            headers.insert(name.clone(), value);
        }
    }
}

fn add_own(headers: &mut HeaderMap, subscription: &Subscription) -> Result<(), Failure> {
    for (name, value) in &subscription.headers {
        add_secret(headers, name, value.clone())?;
    }
    Ok(())
}

/// Adds a header whose value may be a credential.
pub(super) fn add_secret(
    headers: &mut HeaderMap,
    name: &str,
    value: Secret,
) -> Result<(), Failure> {
    let value = secret_value(value).map_err(|_| unfit("a header of the subscription"))?;
    headers.insert(own_name(name)?, value);
    Ok(())
}

/// Makes a header's value of a secret: it is never shown, stays out of the compression of HTTP/2, and is overwritten when
/// the last request that has it is gone.
///
/// # Errors
/// It has a control character.
pub(super) fn secret_value(value: Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(value.into_bytes())?;
    value.set_sensitive(true);
    Ok(value)
}

fn own_name(name: &str) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| unbuildable("a header's name is malformed"))
}

fn text(value: &str, what: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value).map_err(|_| unfit(what))
}

fn unfit(what: &str) -> Failure {
    unbuildable(format!("{what} can't stand in a header"))
}
