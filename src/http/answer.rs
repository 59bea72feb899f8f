//! Answers: the status, the wish to be left alone, and the beginning of what was said.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};

use super::client::HEADERS_MAX;
use super::failure::too_many_headers;
use super::text::printable;
use crate::domain::outcome::{self, Answer, Failure};

/// The bytes of a body after which no more is read and the connection is dropped. To read on would cost more than a
/// new connection does. Nothing but an excerpt is ever unpacked.
const BODY_MAX: usize = 16 << 10;

/// The most bytes of an excerpt.
const EXCERPT_MAX: usize = 1024;
/// The bytes kept for it: a character that begins within the excerpt is whole, and then cut off as a whole.
const KEPT_MAX: usize = EXCERPT_MAX + 3;

/// Reads an answer whose headers have come, and returns them with it; `now` is what a date in `Retry-After` is counted
/// from.
///
/// More than 32 KiB of headers are a failure, whatever the status. A body is read to its end so that its connection can
/// be used again, but not further than [`BODY_MAX`]; one that breaks off is what came of it. Only the caller's deadline
/// bounds the time.
///
/// # Errors
/// The failure that the attempt ends with.
pub(super) async fn read(
    mut response: Response,
    now: Timestamp,
) -> Result<(Answer, HeaderMap), Failure> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let lengths = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if lengths.sum::<usize>() > HEADERS_MAX as usize {
        return Err(too_many_headers(status));
    }
    let retry_after = headers.get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|value| outcome::retry_after(value, now));
    let excerpt = if status.is_success() {
        consume(response, |_| {}).await;
        None
    } else {
        Box::pin(excerpt(response, headers.get(CONTENT_ENCODING))).await
    };
    Ok((Answer { status: status.as_u16(), retry_after, excerpt }, headers))
}

/// Nobody asks for compression, and some compress all the same. What is compressed otherwise than by gzip is no text.
async fn excerpt(response: Response, coding: Option<&HeaderValue>) -> Option<Box<str>> {
    let is_gzip = match coding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => {
            consume(response, |_| {}).await;
            return None;
        }
    };
    let kept_max = if is_gzip { BODY_MAX } else { KEPT_MAX };
    let mut kept = Vec::new();
    consume(response, |chunk| {
        let room = kept_max - kept.len();
        kept.extend_from_slice(&chunk[..room.min(chunk.len())]);
    })
    .await;
    let kept = if is_gzip { unzipped(&kept) } else { kept };
    Some(printable(&kept, EXCERPT_MAX)).filter(|text| !text.is_empty())
}

/// Unpacks as much as an excerpt needs, however much more is packed into it; what is broken ends where it breaks.
pub(super) fn unzipped(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // An error leaves what came before it.
    let _ = GzDecoder::new(packed).take(KEPT_MAX as u64).read_to_end(&mut text);
    text
}

/// Hands out a body's chunks until it ends, breaks off or is long enough.
pub(super) async fn consume(mut response: Response, mut take: impl FnMut(&Bytes)) {
    let mut length = 0;
    while length < BODY_MAX {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        length += chunk.len();
        take(&chunk);
    }
}
