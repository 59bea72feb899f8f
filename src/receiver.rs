//! A receiver: an endpoint that takes webhooks, verifies them and answers as it is told.
//!
//! It is what `listen` and the demo run. It never sends anything, and keeps nothing of what it gets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::domain::signature::{Rejected, verify_standard};

/// The largest body that is taken.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// How old or new a request may be: what the libraries of Standard Webhooks allow.
const TOLERANCE: Duration = Duration::from_secs(300);

/// A request, as far as a receiver cares.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path it was sent to.
    pub path: String,
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

/// What a receiver does with a request: looks at it and says which status to answer.
///
/// A request whose signature doesn't hold is answered 401 whatever it says.
pub type Answer = Arc<dyn Fn(&Received) -> StatusCode + Send + Sync>;

struct Endpoint {
    secret: Option<String>,
    answer: Answer,
}

/// Answers requests on any path until the runtime ends.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    secret: Option<String>,
    answer: Answer,
) -> io::Result<()> {
    let endpoint = Arc::new(Endpoint { secret, answer });
    axum::serve(listener, Router::new().fallback(receive).with_state(endpoint)).await
}

async fn receive(State(endpoint): State<Arc<Endpoint>>, request: Request) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(Body::new(body), BODY_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let text = |name: &str| header(&head.headers, name).to_owned();
    let received = Received {
        path: head.uri.path().to_owned(),
        id: text("webhook-id"),
        event_type: text("x-webhook-event"),
        attempt: header(&head.headers, "x-webhook-attempt").parse().unwrap_or(0),
        signature: endpoint.verify(&head.headers, &body),
        body,
    };
    let status = (endpoint.answer)(&received);
    match received.signature {
        Signature::Rejected(_) => StatusCode::UNAUTHORIZED,
        Signature::Verified | Signature::Unchecked => status,
    }
}

impl Endpoint {
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Signature {
        let Some(secret) = &self.secret else { return Signature::Unchecked };
        let [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| header(headers, name));
        let now = Timestamp::now();
        match verify_standard(secret, id, timestamp, signatures, body, now, TOLERANCE) {
            Ok(()) => Signature::Verified,
            Err(rejected) => Signature::Rejected(rejected),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
