//! Secrets: what their text means, and the keys made of it. Neither is ever shown.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD_INDIFFERENT};
use hmac::block_api::HmacCore;
use hmac::digest::block_api::CoreProxy as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The state of HMAC-SHA256 with its key worked in. A signature is begun with a copy.
pub type HmacKey = HmacCore<Sha256>;

/// Standard base64 (RFC 4648, section 4) that reads texts with and without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD_INDIFFERENT);

/// The longest secret in bytes of its text.
const SECRET_MAX: usize = 4096;

/// A key that signs, made of the text of a secret.
#[derive(Clone)]
pub enum SigningKey {
    /// Signs with HMAC-SHA256: `v1`, and all schemes but `standard` know only this.
    Hmac(HmacKey),
    /// Signs with Ed25519: `v1a`.
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Makes a key of a secret: `whsec_` and base64 of 24 to 64 bytes for HMAC, `whsk_` and base64 of an Ed25519 seed,
    /// alone or with its public key, else the text's own bytes for HMAC. Padding may be missing.
    ///
    /// Follows Standard Webhooks 1.0, "Signature scheme".
    ///
    /// # Errors
    /// [`BadSecret`] if the text is empty, too long, or not what its prefix promises.
    pub fn parse(secret: &str) -> Result<Self, BadSecret> {
        if secret.is_empty() || secret.len() > SECRET_MAX {
            return Err(BadSecret("must have 1 to 4096 bytes"));
        }
        if let Some(text) = secret.strip_prefix("whsec_") {
            let bytes = decoded(text).filter(|bytes| (24..=64).contains(&bytes.len()));
            let unfit = BadSecret("must have base64 of 24 to 64 bytes after `whsec_`");
            Ok(Self::Hmac(hmac_key(&bytes.ok_or(unfit)?)))
        } else if let Some(text) = secret.strip_prefix("whsk_") {
            let key = decoded(text).and_then(|bytes| ed25519_key(&bytes));
            let unfit = "must have base64 of an Ed25519 seed (32 bytes), or of it and its public key, after `whsk_`";
            Ok(Self::Ed25519(Box::new(key.ok_or(BadSecret(unfit))?)))
        } else {
            Ok(Self::Hmac(hmac_key(secret.as_bytes())))
        }
    }

    pub(super) fn hmac(&self) -> Option<&HmacKey> {
        match self {
            Self::Hmac(key) => Some(key),
            Self::Ed25519(_) => None,
        }
    }
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    BASE64.decode(text).ok().map(Zeroizing::new)
}

fn hmac_key(bytes: &[u8]) -> HmacKey {
    HmacKey::new_from_slice(bytes).expect("HMAC takes keys of any length")
}

fn ed25519_key(bytes: &[u8]) -> Option<ed25519_dalek::SigningKey> {
    if let Ok(seed) = bytes.try_into() {
        return Some(ed25519_dalek::SigningKey::from_bytes(seed));
    }
    ed25519_dalek::SigningKey::from_keypair_bytes(bytes.try_into().ok()?).ok()
}

/// Feeds a message to the HMAC in pieces, so that it is never put together.
pub(super) fn mac(key: &HmacKey, pieces: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::compose(key.clone(), Default::default());
    for piece in pieces {
        mac.update(piece);
    }
    mac
}

/// Tells the kind of key and nothing of it.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Hmac(…)",
            Self::Ed25519(_) => "Ed25519(…)",
        })
    }
}

/// A key and the time from which it no longer signs.
#[derive(Clone, Debug)]
pub struct LiveKey {
    /// The key.
    pub key: SigningKey,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl LiveKey {
    /// Tells whether the key still signs at this time.
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| at < expires_at)
    }
}

/// Why a text is no secret; it repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSecret(pub(super) &'static str);

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadSecret {}
