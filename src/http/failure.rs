//! What went wrong on the way to an answer, told from the client's errors by their types.
//!
//! The text of a failure is that of its innermost cause: it says the most, and no URL is part of it.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use reqwest::StatusCode;

use super::resolver;
use super::text::printable;
use crate::domain::egress::Refused;
use crate::domain::outcome::{Failure, Reason};

/// The most bytes of a failure's text.
const TEXT_MAX: usize = 256;
/// The most causes behind an error that are looked at.
const CAUSES_MAX: usize = 16;

/// How requests go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the receiver itself.
    Direct,
    /// Through the proxy.
    Proxied,
}

/// The failure of an attempt whose deadline passed before there was a status.
pub(super) fn no_answer(timeout: Duration) -> Failure {
    Failure { reason: Reason::Timeout, error: format!("no answer within {timeout:?}").into() }
}

/// The failure of an attempt whose deadline passed in the middle of the answer's body.
pub(super) fn half_an_answer(status: StatusCode, timeout: Duration) -> Failure {
    let status = status.as_u16();
    let error = format!("an answer of status {status} did not end within {timeout:?}").into();
    Failure { reason: Reason::Timeout, error }
}

/// The failure of an attempt whose request can't be built.
pub(super) fn unbuildable(error: impl Into<Box<str>>) -> Failure {
    Failure { reason: Reason::Transform, error: error.into() }
}

/// The failure of an attempt whose body is larger than what is sent.
pub(super) fn too_large(length: usize, max: usize) -> Failure {
    let error = format!("the body has {length} bytes, {max} are allowed").into();
    Failure { reason: Reason::TooLarge, error }
}

/// The failure of an attempt that lacks its credentials.
pub(super) fn unauthorized(error: &str) -> Failure {
    Failure { reason: Reason::Auth, error: error.into() }
}

/// The failure of an attempt whose address may not be called.
pub(super) fn refused(refused: Refused) -> Failure {
    Failure { reason: Reason::EgressRefused, error: refused.to_string().into() }
}

/// The failure of an attempt whose answer has more headers than are taken.
pub(super) fn too_many_headers(status: StatusCode) -> Failure {
    let status = status.as_u16();
    let error = format!("an answer of status {status} has more than 32 KiB of headers").into();
    Failure { reason: Reason::Protocol, error }
}

/// The failure that an error of the client means, for requests on this way.
pub(super) fn classify(error: reqwest::Error, way: Way) -> Failure {
    if let Some(refusal) = resolver::refusal(causes(&error)) {
        return refused(refusal);
    }
    match reason(&error, way) {
        Reason::Transform => unbuildable("the URL is not one by RFC 3986"),
        Reason::Connect if error.is_timeout() => {
            Failure { reason: Reason::Connect, error: "no connection in time".into() }
        }
        Reason::Proxy if error.is_timeout() => Failure {
            reason: Reason::Proxy,
            error: "no connection through the proxy in time".into(),
        },
        reason => Failure { reason, error: text(&error) },
    }
}

/// Tells whether the server says that it has not processed the request: RFC 9113, section 8.7.
pub(super) fn is_unprocessed(error: &reqwest::Error) -> bool {
    let error = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        let has_gone = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (has_gone || is_refused)
    })
}

/// Returns the text of an error's innermost cause, at most [`TEXT_MAX`] bytes, without a URL.
pub(super) fn text(error: &reqwest::Error) -> Box<str> {
    // Only the client's own error names the URL, and it always has a cause when it comes from the network.
    let innermost = causes(error).skip(1).last();
    let text = innermost.map_or_else(|| "unknown error".to_owned(), ToString::to_string);
    // rustls sends who reads about a connection that just ended to its manual.
    let text = text.split_once(": https://").map_or(&*text, |(text, _)| text);
    printable(text.as_bytes(), TEXT_MAX)
}

fn reason(error: &reqwest::Error, way: Way) -> Reason {
    if error.is_builder() {
        // The rules of WHATWG, which the URL was read by, let more through than those of RFC 3986.
        Reason::Transform
    } else if way == Way::Proxied && error.is_connect() && is_of_the_proxy(error) {
        Reason::Proxy
    } else if error.is_dns() {
        Reason::Dns
    } else if error.is_connect() {
        causes(error).find_map(while_connecting).unwrap_or(Reason::Connect)
    } else {
        causes(error).find_map(while_connected).unwrap_or(Reason::Protocol)
    }
}

/// Tells whether a connection ended at the proxy, or can't be told from one that did.
///
/// The client keeps the types of these errors to itself; their texts begin with what they are. Behind the proxy, what is
/// left to fail is TLS with the receiver. A connection that takes too long may be held up on either side: it is not
/// certain that it is the receiver's fault.
fn is_of_the_proxy(error: &reqwest::Error) -> bool {
    const OF_THE_PROXY: [&str; 3] =
        ["tunnel error: ", "SOCKS error: ", "error connecting to socks proxy"];
    let is_one = |cause: &(dyn Error + 'static)| {
        let text = cause.to_string();
        OF_THE_PROXY.iter().any(|beginning| text.starts_with(beginning))
    };
    error.is_timeout() || causes(error).any(is_one)
}

/// Tells what a cause says of a connection that did not come about. Once TCP stands, all that is read and written is
/// TLS's handshake; so whatever can't happen to TCP's own is TLS's.
fn while_connecting(cause: &(dyn Error + 'static)) -> Option<Reason> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData, UnexpectedEof};
    let kind = cause.downcast_ref::<io::Error>()?.kind();
    matches!(kind, InvalidData | UnexpectedEof | ConnectionReset | BrokenPipe)
        .then_some(Reason::Tls)
}

/// Tells what a cause says of a connection that stood.
fn while_connected(cause: &(dyn Error + 'static)) -> Option<Reason> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        // rustls: an alert that comes behind the handshake, such as for a missing client certificate.
        let is_tls = error.kind() == io::ErrorKind::InvalidData;
        return Some(if is_tls { Reason::Tls } else { Reason::Reset });
    }
    if let Some(error) = cause.downcast_ref::<h2::Error>() {
        let broke = error.is_remote() || error.is_io();
        return Some(if broke { Reason::Reset } else { Reason::Protocol });
    }
    let error = cause.downcast_ref::<hyper::Error>()?;
    let broke = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error.is_timeout();
    broke.then_some(Reason::Reset)
}

/// Returns an error and all behind it, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| cause(*error)).take(CAUSES_MAX)
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        // Its `source` is that of the error inside, not the error inside.
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}
