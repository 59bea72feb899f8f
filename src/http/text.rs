//! Texts of strangers, made fit to be shown: they end up in records, logs and terminals.

use crate::domain::headers::truncated;

/// Returns the bytes' beginning as text of at most `max` bytes, cut between characters.
///
/// What isn't UTF-8 becomes U+FFFD, each control character a space.
pub(super) fn printable(bytes: &[u8], max: usize) -> Box<str> {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(char::is_control) {
        return truncated(&text, max).into();
    }
    let text = text.replace(char::is_control, " ");
    truncated(&text, max).into()
}
