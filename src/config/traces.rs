//! `[traces]`: where spans of attempts are sent, and which.

use std::time::Duration;

use config::Value;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::reader::Section;
use super::units::show_text;
use super::values::{duration, fraction, text, whole};

/// What stands behind a collector's base address: OTLP/HTTP, "OTLP/HTTP Request".
const PATH: &str = "/v1/traces";

/// Where spans of attempts are sent, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The URL that takes spans, without credentials.
    pub endpoint: String,
    /// Sent with each request; the values are secrets and marked so.
    pub headers: HeaderMap,
    /// The share that is sampled of the traces that begin here, 0..=1.
    pub sample_ratio: f64,
    /// Spans that may wait, 1..=65536.
    pub queue_max: usize,
    /// The deadline of one export, repetitions included, 100 ms..=1 min.
    pub timeout: Duration,
}

impl Traces {
    /// Reads `[traces]`; the inner `None` stands for no traces.
    pub(super) fn read(traces: &mut Section<'_>) -> Option<Option<Self>> {
        let endpoint = traces.required("endpoint", endpoint);
        let headers = traces.entries("headers", header);
        let sample_ratio = traces.required("sample_ratio", fraction(0.0..=1.0));
        let queue_max = traces.required("queue_max", whole(1..=65_536));
        let timeout = traces
            .required("timeout", duration(Duration::from_millis(100)..=Duration::from_secs(60)));
        let (endpoint, headers) = (endpoint?, headers?);
        if endpoint.is_none() && !headers.is_empty() {
            traces.problem("headers", "are of no use without traces.endpoint");
        }
        let (sample_ratio, queue_max, timeout) = (sample_ratio?, queue_max?, timeout?);
        let headers = headers.into_values().collect();
        Some(endpoint.map(|endpoint| Self { endpoint, headers, sample_ratio, queue_max, timeout }))
    }
}

/// Reads a collector's base address; the empty one is none.
fn endpoint(value: &Value) -> Result<Option<String>, String> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        return Err(format!("{} is no http: or https: URL", show_text(&text)));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials: traces.headers are for them".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path".into());
    }
    Ok(Some(format!("{}{PATH}", url.as_str().trim_end_matches('/'))))
}

/// Reads a header; its value is a secret and not repeated.
fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is no header's name")?;
    let mut value = HeaderValue::from_str(&text(value)?)
        .map_err(|_| "must not hold control characters, nor others than those of ASCII")?;
    value.set_sensitive(true);
    Ok((name, value))
}
