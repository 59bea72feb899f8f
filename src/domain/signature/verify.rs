//! Verification for receivers: the other side of what this product signs. Tags are compared in constant time.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::Mac as _;
use jiff::Timestamp;

use super::keys::{BASE64, BadSecret, HmacKey, SigningKey, mac};

/// Why a request is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The receiver's own secret is unusable.
    Secret(BadSecret),
    /// The timestamp is not a number of seconds.
    Timestamp,
    /// The timestamp lies further back than the tolerance: perhaps a replay.
    TooOld,
    /// The timestamp lies further ahead than the tolerance.
    TooNew,
    /// No signature given is one of this secret over this message.
    Signature,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(problem) => return write!(f, "the secret {problem}"),
            Self::Timestamp => "the timestamp is not a number of seconds",
            Self::TooOld => "the timestamp is too old",
            Self::TooNew => "the timestamp is too far ahead",
            Self::Signature => "no signature matches",
        })
    }
}

impl std::error::Error for Rejected {}

/// The receiver's key: the shared one, or the public one of a pair.
enum ReceiverKey {
    Hmac(HmacKey),
    Ed25519(VerifyingKey),
}

impl ReceiverKey {
    /// Reads what the sender's secret may be, or `whpk_` and base64 of an Ed25519 public key.
    fn parse(secret: &str) -> Result<Self, BadSecret> {
        if let Some(text) = secret.strip_prefix("whpk_") {
            let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
            let unfit = "must have base64 of an Ed25519 public key (32 bytes) after `whpk_`";
            return key.map(Self::Ed25519).ok_or(BadSecret(unfit));
        }
        Ok(match SigningKey::parse(secret)? {
            SigningKey::Hmac(key) => Self::Hmac(key),
            SigningKey::Ed25519(key) => Self::Ed25519(key.verifying_key()),
        })
    }

    /// Tells whether one entry of a signature list is this key's over the message.
    fn accepts(&self, entry: &str, message: &[&[u8]]) -> bool {
        let Some((version, text)) = entry.split_once(',') else { return false };
        let Ok(tag) = BASE64.decode(text) else { return false };
        match (self, version) {
            (Self::Hmac(key), "v1") => mac(key, message).verify_slice(&tag).is_ok(),
            (Self::Ed25519(key), "v1a") => Signature::from_slice(&tag)
                .is_ok_and(|tag| key.verify_strict(&message.concat(), &tag).is_ok()),
            _ => false,
        }
    }
}

/// Verifies a request signed in the scheme `standard`: Standard Webhooks 1.0, "Verifying webhook authenticity".
///
/// `id`, `timestamp` and `signatures` are the values of the three headers, `secret` the sender's secret or `whpk_` and
/// its public key. One good signature is enough, so that a rotation has an overlap.
///
/// # Errors
/// [`Rejected`]: the request must be refused.
pub fn verify_standard(
    secret: &str,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Rejected> {
    let key = ReceiverKey::parse(secret).map_err(Rejected::Secret)?;
    judge_time(timestamp, now, tolerance)?;
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let accepted = signatures.split(' ').any(|entry| key.accepts(entry, &message));
    if accepted { Ok(()) } else { Err(Rejected::Signature) }
}

/// Verifies a request signed in the scheme `x-webhook`: `signature` is the hex HMAC-SHA256 of the body.
///
/// # Errors
/// [`Rejected`]: the request must be refused.
pub fn verify_x_webhook(secret: &str, signature: &str, body: &[u8]) -> Result<(), Rejected> {
    let key = SigningKey::parse(secret).map_err(Rejected::Secret)?;
    let tag = from_hex(signature).ok_or(Rejected::Signature)?;
    let key = key.hmac().ok_or(Rejected::Signature)?;
    mac(key, &[body]).verify_slice(&tag).map_err(|_| Rejected::Signature)
}

/// Verifies a request signed in the scheme `github`: `signature` is `sha256=` and the hex HMAC-SHA256 of the body.
///
/// # Errors
/// [`Rejected`]: the request must be refused.
pub fn verify_github(secret: &str, signature: &str, body: &[u8]) -> Result<(), Rejected> {
    let hex = signature.strip_prefix("sha256=").ok_or(Rejected::Signature)?;
    verify_x_webhook(secret, hex, body)
}

/// Verifies a request signed in the scheme `stripe`: `signature` is `t=<seconds>`, then `v1=<hex>` of `t.body` for each
/// key of the sender, with commas between. One good signature is enough.
///
/// # Errors
/// [`Rejected`]: the request must be refused.
pub fn verify_stripe(
    secret: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Rejected> {
    let key = SigningKey::parse(secret).map_err(Rejected::Secret)?;
    let key = key.hmac().ok_or(Rejected::Signature)?;
    let parts = || signature.split(',').filter_map(|part| part.split_once('='));
    let timestamp = parts().find(|(name, _)| *name == "t").map(|(_, value)| value);
    let timestamp = timestamp.ok_or(Rejected::Timestamp)?;
    judge_time(timestamp, now, tolerance)?;
    let accepts = |hex| {
        from_hex(hex).is_some_and(|tag| {
            mac(key, &[timestamp.as_bytes(), b".", body]).verify_slice(&tag).is_ok()
        })
    };
    let accepted = parts().any(|(name, hex)| name == "v1" && accepts(hex));
    if accepted { Ok(()) } else { Err(Rejected::Signature) }
}

fn judge_time(timestamp: &str, now: Timestamp, tolerance: Duration) -> Result<(), Rejected> {
    let seconds: i64 = timestamp.parse().map_err(|_| Rejected::Timestamp)?;
    if now.as_second().abs_diff(seconds) <= tolerance.as_secs() {
        Ok(())
    } else if seconds < now.as_second() {
        Err(Rejected::TooOld)
    } else {
        Err(Rejected::TooNew)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    });
    bytes.collect()
}
