//! What goes between the connector and a receiver: requests as they were seen, answers as a test scripts them.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// When the body was complete.
    pub received_at: SystemTime,
    /// The same moment, for differences.
    pub received: Instant,
    /// The status that it is answered with, once that is decided; none when it gets no response.
    pub answer: OnceLock<u16>,
}

impl Seen {
    /// Returns the header of that name, `""` when it is missing.
    ///
    /// # Panics
    ///
    /// When it isn't visible ASCII.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| {
            value.to_str().unwrap_or_else(|_| panic!("header {name} is not text: {value:?}"))
        })
    }

    /// Returns the `webhook-id` header, `""` when it is missing.
    pub fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Returns the body read as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} got a body that is no JSON: {error}", self.path))
    }
}

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub delay: Duration,
    /// Opens when it may respond; `None` if at once.
    pub gate: Option<watch::Receiver<bool>>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    pub ending: Ending,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    Respond,
    Hang,
    Close,
}

impl Answer {
    /// An empty response of that status.
    pub fn status(status: u16) -> Self {
        Self {
            delay: Duration::ZERO,
            gate: None,
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            ending: Ending::Respond,
        }
    }

    /// No response, on a connection that stays open.
    pub fn hang() -> Self {
        Self { ending: Ending::Hang, ..Self::status(200) }
    }

    /// No response: the connection is closed.
    pub fn close() -> Self {
        Self { ending: Ending::Close, ..Self::status(200) }
    }

    /// Adds a header to the response.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the response a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits before it responds or closes.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits until the gate is open before it responds or closes.
    pub fn behind(mut self, gate: &watch::Receiver<bool>) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Returns the status of the response, if there is one.
    pub fn responds(&self) -> Option<u16> {
        matches!(self.ending, Ending::Respond).then_some(self.status)
    }

    /// Renders the response.
    pub fn response(&self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response
            .body(Body::from(self.body.clone()))
            .expect("the test's status and headers can stand in a response")
    }
}
