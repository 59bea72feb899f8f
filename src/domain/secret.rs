//! Secrets as text: overwritten in memory when they are dropped, and never shown.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use zeroize::Zeroizing;

/// A secret's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Puts a text together, in one piece of memory: one that grew would leave copies behind.
    pub fn of_parts(parts: &[&str]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        parts.iter().for_each(|part| text.push_str(part));
        Self(text)
    }

    /// Makes the value of the header `authorization` of a user's name, which has no colon, and password: RFC 7617.
    pub fn basic(username: &str, password: &str) -> Self {
        const SCHEME: &str = "Basic ";
        let pair = Self::of_parts(&[username, ":", password]);
        let length = SCHEME.len() + pair.0.len().div_ceil(3) * 4;
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(SCHEME);
        BASE64_STANDARD.encode_string(pair.reveal(), &mut text);
        Self(text)
    }

    /// Returns the text's bytes, which are overwritten when the last that shares them is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }

    /// Returns the text, to be sent and not to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sha2::Sha256;
    use zeroize::ZeroizeOnDrop;

    use super::*;
    use crate::domain::encryption::Key;
    use crate::domain::signature::SigningKey;
    use crate::domain::subscription::{Auth, ClientCredentials, Subscription};

    /// Compiles for what overwrites its memory when it is dropped.
    pub(crate) fn wiped<T: ZeroizeOnDrop>(_: &T) {}

    #[test]
    fn whatever_holds_a_secret_overwrites_it() {
        let secret: fn(&Secret) = |Secret(text)| wiped(text);
        let _: fn(&Key) = |key| wiped(&key.bytes);
        let _: fn(&Subscription) = |it| it.headers.iter().for_each(|(_, value)| wiped(&value.0));
        let _: fn(&ClientCredentials) = |it| wiped(&it.client_secret.0);
        let _: fn(&Auth) = |auth| match auth {
            Auth::Header { value, .. } | Auth::Mtls(value) => wiped(&value.0),
            Auth::OAuth2(credentials) => wiped(&credentials.client_secret.0),
        };
        let _: fn(&SigningKey) = |key| match key {
            // It says nothing of itself: its state is that of two SHA-256.
            SigningKey::Hmac(_) => wiped(&Sha256::default()),
            SigningKey::Ed25519(key) => wiped(&**key),
        };
        secret(&Secret::new("hunter2".to_owned()));
    }

    #[test]
    fn basic_credentials_are_base64_of_name_and_password() {
        // printf Aladdin:opensesame | base64
        assert_eq!(
            Secret::basic("Aladdin", "opensesame").reveal(),
            "Basic QWxhZGRpbjpvcGVuc2VzYW1l"
        );
    }

    #[test]
    fn a_text_that_is_put_together_does_not_move() {
        for secret in [Secret::of_parts(&["a", "bc", ""]), Secret::basic("u", "pass")] {
            assert_eq!(secret.0.len(), secret.0.capacity());
        }
    }
}
