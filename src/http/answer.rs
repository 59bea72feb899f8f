//! Answers: the status, the wish to be left alone, and the beginning of what was said.

use std::io::{self, Write};
use std::ops::ControlFlow;

use flate2::write::GzDecoder;
use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, RETRY_AFTER};

use super::client::HEADERS_MAX;
use super::failure::too_many_headers;
use super::text::printable;
use crate::domain::outcome::{self, Answer, Failure};

/// The bytes of a body, unpacked, after which no more is read and the connection is dropped. To read on would cost more
/// than a new connection does.
pub(super) const BODY_MAX: usize = 16 << 10;
/// The bytes of a packed body that are read, whatever they hold: what can't be packed gets a little larger.
const PACKED_MAX: usize = BODY_MAX + (1 << 10);

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
    let keep = if status.is_success() { 0 } else { KEPT_MAX };
    let kept = body(response, headers.get(CONTENT_ENCODING), keep).await;
    let excerpt = Some(printable(&kept, EXCERPT_MAX)).filter(|text| !text.is_empty());
    Ok((Answer { status: status.as_u16(), retry_after, excerpt }, headers))
}

/// A body as it comes, unpacked.
struct Body {
    /// How many bytes of it came, at most [`BODY_MAX`].
    length: usize,
    /// Its beginning.
    kept: Vec<u8>,
    /// How many bytes of that are wanted.
    keep: usize,
}

impl Body {
    fn keeping(keep: usize) -> Self {
        Self { length: 0, kept: Vec::new(), keep }
    }
}

impl Write for Body {
    /// # Errors
    /// It is longer than bodies are read.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BODY_MAX - self.length);
        if taken < bytes.len() && taken == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.length += taken;
        let room = self.keep - self.kept.len();
        self.kept.extend_from_slice(&bytes[..taken.min(room)]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a body as far as bodies are read, and returns its beginning. Nobody asks for compression, and some compress all
/// the same; what is compressed otherwise than by gzip is no text, and nothing of it is kept.
async fn body(response: Response, coding: Option<&HeaderValue>, keep: usize) -> Vec<u8> {
    let keep = match coding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => keep,
        Some(b"gzip" | b"x-gzip") => return Box::pin(unzipped(response, keep)).await,
        Some(_) => 0,
    };
    let mut body = Body::keeping(keep);
    consume(response, |chunk| go_on(body.write_all(chunk))).await;
    body.kept
}

/// Reads a body that is packed; what is broken ends where it breaks.
async fn unzipped(response: Response, keep: usize) -> Vec<u8> {
    let mut body = Body::keeping(keep);
    let mut decoder = GzDecoder::new(&mut body);
    let mut room = PACKED_MAX;
    consume(response, |chunk| {
        let taken = room.min(chunk.len());
        room -= taken;
        // What it keeps back counts as well.
        let written = decoder.write_all(&chunk[..taken]).and_then(|()| decoder.flush());
        if taken < chunk.len() { ControlFlow::Break(()) } else { go_on(written) }
    })
    .await;
    drop(decoder);
    body.kept
}

fn go_on(written: io::Result<()>) -> ControlFlow<()> {
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Hands out a body's chunks until it ends, breaks off or nobody wants more of it.
pub(super) async fn consume(
    mut response: Response,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) {
    while let Ok(Some(chunk)) = response.chunk().await {
        if take(&chunk).is_break() {
            break;
        }
    }
}
