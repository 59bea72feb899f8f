//! Answers of the schema registry, held to a length: its client reads them whole, however long they are.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hyper::http;
use reqwest::{Request, Response};
use reqwest_middleware::Next;

/// The longest answer that is read, in bytes; registries take schemas of about one MiB.
pub const ANSWER_MAX: usize = 16 << 20;

/// An answer, not an error, that is longer than [`ANSWER_MAX`].
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {ANSWER_MAX} bytes")
    }
}

impl Error for TooLong {}

/// Makes a request of the schema registry's client and reads its answer, at most [`ANSWER_MAX`] bytes of it.
///
/// # Errors
/// The request fails, or its answer is too long, which [`is_too_long`] tells.
pub fn limited<'a>(
    request: Request,
    extensions: &'a mut http::Extensions,
    next: Next<'a>,
) -> Pin<Box<dyn Future<Output = reqwest_middleware::Result<Response>> + Send + 'a>> {
    Box::pin(async move {
        let mut answer = next.run(request, extensions).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if chunk.len() > ANSWER_MAX - body.len() {
                if answer.status().is_success() {
                    return Err(reqwest_middleware::Error::middleware(TooLong));
                }
                // It is a failure, whatever it goes on to say.
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = answer.status();
        std::mem::swap(whole.headers_mut(), answer.headers_mut());
        Ok(whole.into())
    })
}

/// Tells whether a request failed only because its answer was too long.
pub fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(reqwest_middleware::Error::Middleware(error)) => error.is::<TooLong>(),
        _ => false,
    }
}
