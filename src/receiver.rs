//! A receiver: an endpoint that takes webhooks, verifies them and answers as it is told.
//!
//! It is what `listen` and the demo run. It never sends anything, and keeps nothing of what it gets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::domain::signature::{
    Rejected, Scheme, SchemeKind, WEBHOOK_ID, WEBHOOK_TIMESTAMP, verify_github, verify_standard,
    verify_stripe, verify_x_webhook,
};

/// The largest body that is taken.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// How old or new a request may be: what the libraries of Standard Webhooks allow.
const TOLERANCE: Duration = Duration::from_secs(300);

/// A request, as far as a receiver cares.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path it was sent to.
    pub path: String,
    /// The query behind the path.
    pub query: String,
    /// Its `webhook-id`, empty if there is none.
    pub id: String,
    /// Its `x-webhook-event`, empty if there is none.
    pub event_type: String,
    /// Its `x-webhook-attempt`, 0 if there is none.
    pub attempt: u32,
    /// Whether its signature holds.
    pub signature: Signature,
    /// Its body.
    pub body: Bytes,
}

/// Whether a signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// It was made with the secret.
    Verified,
    /// It was not.
    Rejected(Rejected),
    /// There is no secret to check it with.
    Unchecked,
}

/// What a receiver does with a request: looks at it and says what to answer.
///
/// A request whose signature doesn't hold is answered 401 at once, whatever it says.
pub type Answer = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// How long it is waited before; `None` is for ever.
    pub after: Option<Duration>,
    /// Headers that it has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<StatusCode> for Reply {
    /// Makes an answer that comes at once and says nothing more.
    fn from(status: StatusCode) -> Self {
        Self { status, after: Some(Duration::ZERO), headers: Vec::new() }
    }
}

/// What signatures are verified with.
#[derive(Clone, Default)]
pub struct Verifier {
    /// The secrets, or public keys, of which one must have signed; without any, no signature is checked.
    pub secrets: Vec<String>,
    /// The schemes of a sender that names their headers by itself; they are looked for before the usual ones.
    pub schemes: Vec<Scheme>,
}

struct Endpoint {
    verifier: Verifier,
    answer: Answer,
}

/// Answers requests on any path until the runtime ends.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, verifier: Verifier, answer: Answer) -> io::Result<()> {
    let endpoint = Arc::new(Endpoint { verifier, answer });
    axum::serve(listener, Router::new().fallback(receive).with_state(endpoint)).await
}

async fn receive(State(endpoint): State<Arc<Endpoint>>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(Body::new(body), BODY_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let text = |name: &str| header(&head.headers, name).to_owned();
    let received = Received {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        id: text("webhook-id"),
        event_type: text("x-webhook-event"),
        attempt: header(&head.headers, "x-webhook-attempt").parse().unwrap_or(0),
        signature: endpoint.verifier.verify(&head.headers, &body, Timestamp::now()),
        body,
    };
    let reply = (endpoint.answer)(&received);
    if let Signature::Rejected(_) = received.signature {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match reply.after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
    let mut response = reply.status.into_response();
    response.headers_mut().extend(reply.headers);
    response
}

impl Verifier {
    /// Verifies the signature of a request.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Signature {
        let judged = self.secrets.iter().map(|secret| self.judge(secret, headers, body, now));
        match judged.reduce(Result::or) {
            None => Signature::Unchecked,
            Some(Ok(())) => Signature::Verified,
            Some(Err(rejected)) => Signature::Rejected(rejected),
        }
    }

    /// Verifies the signature of the first scheme whose header is there.
    fn judge(
        &self,
        secret: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), Rejected> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // A public key verifies `standard`, and no other scheme has one.
        let is_of_a_pair = secret.starts_with("whpk_") || secret.starts_with("whsk_");
        let usual = SchemeKind::ALL.map(Scheme::new);
        let mut schemes = self.schemes.iter().chain(&usual);
        let signed = schemes.find_map(|scheme| {
            let fits = !is_of_a_pair || scheme.kind().takes_ed25519();
            Some((scheme.kind(), value(scheme.header()).filter(|_| fits)?))
        });
        let (kind, signature) = signed.ok_or(Rejected::Signature)?;
        match kind {
            SchemeKind::Standard => {
                let [id, timestamp] =
                    [WEBHOOK_ID, WEBHOOK_TIMESTAMP].map(|name| value(name).unwrap_or_default());
                verify_standard(secret, id, timestamp, signature, body, now, TOLERANCE)
            }
            SchemeKind::XWebhook => verify_x_webhook(secret, signature, body),
            SchemeKind::Github => verify_github(secret, signature, body),
            SchemeKind::Stripe => verify_stripe(secret, signature, body, now, TOLERANCE),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
