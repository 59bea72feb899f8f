//! Encryption at rest: secrets as they may stand in the subscriptions topic, `enc:v1:<key id>:<base64>`.
//!
//! Behind the key's id stand a nonce of 24 bytes and what XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) makes of the text,
//! with the subscription's id and the field's name as associated data: moved to another subscription or field, it can't be
//! decrypted. Neither keys nor texts are ever shown.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::secret::Secret;
use super::subscription::SubscriptionId;

/// What an encrypted text starts with.
const PREFIX: &str = "enc:v1:";

/// Bytes of a nonce. It is random, and so large that random ones don't meet.
pub const NONCE: usize = 24;

/// The fields of a definition that may be encrypted, as [`field_of`] names them.
pub const FIELDS: [&str; 7] = [
    "secret",
    "secrets.key",
    "auth.clientSecret",
    "auth.key",
    "auth.password",
    "auth.token",
    "auth.value",
];

/// The keys that encrypt and decrypt, and whether plain secrets are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    keys: Option<Arc<[Key]>>,
    /// Whether a secret may stand as it is.
    pub plain: Plain,
}

/// Whether a secret may stand in a definition as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// It may.
    Allowed,
    /// Only encrypted ones are taken.
    Refused,
}

/// A key and the name that it goes by.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// 1 to 64 letters, digits, `.`, `_` and `-` of ASCII.
    pub id: Box<str>,
    /// The key itself.
    pub bytes: Zeroizing<[u8; 32]>,
}

/// Shows its name only.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Tells whether a text can name a key.
pub fn is_key_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// Why an encrypted text can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// It isn't of the form.
    Malformed,
    /// It was encrypted with a key that isn't here.
    UnknownKey(Box<str>),
    /// The key doesn't fit, or the text was changed or stood elsewhere when it was encrypted.
    Refused,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("must be enc:v1:<key id>:<base64> if it is encrypted"),
            Self::UnknownKey(id) => {
                write!(f, "is encrypted with the key {id}, which is not in encryption.keys")
            }
            Self::Refused => f.write_str(
                "can't be decrypted: it was changed, or encrypted for another subscription or field, or with another key of that id",
            ),
        }
    }
}

impl std::error::Error for Unopened {}

impl Encryption {
    /// No keys; secrets stand as they are.
    pub const NONE: Self = Self { keys: None, plain: Plain::Allowed };

    /// Takes the keys, the one that encrypts first.
    pub fn new(keys: Vec<Key>, plain: Plain) -> Self {
        Self { keys: (!keys.is_empty()).then(|| keys.into()), plain }
    }

    /// Returns the key that encrypts.
    fn newest(&self) -> Option<&Key> {
        self.keys.as_ref()?.first()
    }

    /// Tells whether there is a key to encrypt with.
    pub fn can_seal(&self) -> bool {
        self.newest().is_some()
    }

    /// Tells whether a text is encrypted with the key that encrypts now.
    pub fn is_current(&self, text: &str) -> bool {
        let newest = self.newest().map(|key| &*key.id);
        newest.is_some() && parts(text).map(|(id, _)| id) == newest
    }

    /// Encrypts a field's text; `None` if there is no key. A nonce must never be used twice: make it of random bytes.
    pub fn seal(
        &self,
        id: &SubscriptionId,
        field: &str,
        text: &str,
        nonce: [u8; NONCE],
    ) -> Option<String> {
        let key = self.newest()?;
        let data = associated(id, field);
        let payload = Payload { msg: text.as_bytes(), aad: &data };
        let sealed = cipher(key).encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("a definition's text is far shorter than the cipher's limit");
        let sealed = BASE64_STANDARD.encode([&nonce[..], &sealed].concat());
        Some(format!("{PREFIX}{}:{sealed}", key.id))
    }

    /// Decrypts a field's text.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub fn open(&self, id: &SubscriptionId, field: &str, sealed: &str) -> Result<Secret, Unopened> {
        let (key_id, sealed) = parts(sealed).ok_or(Unopened::Malformed)?;
        let mut keys = self.keys.iter().flat_map(|keys| keys.iter());
        let unknown = || Unopened::UnknownKey(key_id.into());
        let key = keys.find(|key| *key.id == *key_id).ok_or_else(unknown)?;
        let sealed = BASE64_STANDARD.decode(sealed).map_err(|_| Unopened::Malformed)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(Unopened::Malformed)?;
        let data = associated(id, field);
        let payload = Payload { msg: sealed, aad: &data };
        let text = cipher(key).decrypt(&XNonce::from(*nonce), payload);
        let text = String::from_utf8(text.map_err(|_| Unopened::Refused)?);
        text.map(Secret::new).map_err(|_| Unopened::Refused)
    }
}

/// Tells whether a text claims to be encrypted.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with("enc:")
}

/// Returns the name that a path's field has in the associated data: the path without positions in lists, so that a secret
/// may move within its list.
pub fn field_of(path: &str) -> String {
    let mut name = String::with_capacity(path.len());
    let mut within = false;
    for c in path.chars() {
        match c {
            '[' => within = true,
            ']' => within = false,
            c if !within => name.push(c),
            _ => {}
        }
    }
    name
}

fn parts(text: &str) -> Option<(&str, &str)> {
    let (id, sealed) = text.strip_prefix(PREFIX)?.split_once(':')?;
    is_key_id(id).then_some((id, sealed))
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*key.bytes).into())
}

/// Returns the associated data. Neither part can hold the byte between them.
fn associated(id: &SubscriptionId, field: &str) -> Vec<u8> {
    [id.as_str().as_bytes(), b"\0", field.as_bytes()].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::subscription::tests::id;

    /// Keys of these names, the one that encrypts first.
    pub(crate) fn keys(ids: &[&str]) -> Encryption {
        let bytes = |id: &str| [id.len() as u8 + id.as_bytes()[0]; 32].into();
        let key = |id: &&str| Key { id: (*id).into(), bytes: bytes(id) };
        Encryption::new(ids.iter().map(key).collect(), Plain::Allowed)
    }

    #[test]
    fn a_text_names_its_key_and_opens_with_it_only() {
        let (old, new) = (keys(&["old"]), keys(&["new", "old"]));
        let sealed = old.seal(&id("crm"), "secret", "hunter2", [7; NONCE]).expect("there is a key");
        assert!(sealed.starts_with("enc:v1:old:") && !sealed.contains("hunter2"));
        let hunter2 = Secret::new("hunter2".to_owned());
        assert_eq!(new.open(&id("crm"), "secret", &sealed), Ok(hunter2));
        assert!(old.is_current(&sealed) && !new.is_current(&sealed));
        let unknown = keys(&["new"]).open(&id("crm"), "secret", &sealed).expect_err("no such key");
        assert_eq!(
            unknown.to_string(),
            "is encrypted with the key old, which is not in encryption.keys"
        );
        assert_eq!(Encryption::NONE.seal(&id("crm"), "secret", "x", [0; NONCE]), None);
    }

    /// Values that another implementation has made (draft-irtf-cfrg-xchacha, over the ChaCha20-Poly1305 of OpenSSL): what
    /// stands in topics must go on opening.
    #[test]
    fn what_was_sealed_once_opens_for_ever() {
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
        let key = Key { id: "2026-01".into(), bytes: bytes.into() };
        let keys = Encryption::new(vec![key], Plain::Allowed);
        let nonce = std::array::from_fn(|at| 64 + at as u8);
        let check = |field: &str, text: &str, sealed: &str| {
            let opened = keys.open(&id("crm"), field, sealed);
            assert_eq!(opened.as_ref().map(Secret::reveal), Ok(text));
            assert_eq!(keys.seal(&id("crm"), field, text, nonce).as_deref(), Some(sealed));
        };
        check(
            "secret",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "enc:v1:2026-01:QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXo1F2FbO/NHDEpb7Ml9suy+PI+bN5DAPeUnixFVNNTKJamE4PBuX407QyC6DY3Lyz8oQMoki7",
        );
        check(
            "auth.clientSecret",
            "s3cr3t",
            "enc:v1:2026-01:QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXpwpmAuOUWaEnVLVwhnCJ/6UZmHszRg==",
        );
    }

    #[test]
    fn no_bit_can_be_flipped_and_no_field_opens_for_another() {
        let keys = keys(&["k", "j"]);
        for field in FIELDS {
            let sealed = keys.seal(&id("crm"), field, "hunter2", [7; NONCE]).expect("a key");
            for other in FIELDS {
                let expected = if other == field { Ok("hunter2") } else { Err(&Unopened::Refused) };
                let opened = keys.open(&id("crm"), other, &sealed);
                assert_eq!(opened.as_ref().map(Secret::reveal), expected, "{field} as {other}");
            }
            for (at, bit) in (0..sealed.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut flipped = sealed.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                // What is no text is no JSON string either.
                let Ok(flipped) = String::from_utf8(flipped) else { continue };
                let opened = keys.open(&id("crm"), field, &flipped);
                assert!(opened.is_err(), "bit {bit} of byte {at} of {field}");
            }
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_said_to_be() {
        for text in [
            "enc:v1:",
            "enc:v1:old",
            "enc:v1:old:!",
            "enc:v1:old:AAAA",
            "enc:v2:old:AAAA",
            "enc:v1::AAAA",
        ] {
            assert_eq!(
                keys(&["old"]).open(&id("crm"), "secret", text),
                Err(Unopened::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn a_field_keeps_its_name_wherever_it_stands_in_a_list() {
        assert_eq!(field_of("secrets[3].key"), "secrets.key");
        assert_eq!(field_of("auth.token"), "auth.token");
    }

    #[test]
    fn debug_output_hides_keys() {
        let key = Key { id: "old".into(), bytes: [65; 32].into() };
        assert_eq!(format!("{key:?}"), "Key(old)");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_again(text in "\\PC{0,200}", nonce: [u8; NONCE], field in 0..FIELDS.len()) {
            let keys = keys(&["k"]);
            let sealed = keys.seal(&id("crm"), FIELDS[field], &text, nonce).expect("there is a key");
            prop_assert_eq!(keys.open(&id("crm"), FIELDS[field], &sealed), Ok(Secret::new(text)));
        }

        #[test]
        fn a_flipped_bit_another_id_or_another_field_is_refused(
            text in "\\PC{0,40}", nonce: [u8; NONCE], at: prop::sample::Index, bit in 0..8_u8,
            own in "[A-Za-z0-9_-]{1,64}", other in "[A-Za-z0-9_-]{1,64}",
            field in prop::sample::select(&FIELDS), others in prop::sample::select(&FIELDS),
        ) {
            prop_assume!(own != other && field != others);
            let keys = keys(&["k"]);
            let sealed = keys.seal(&id(&own), field, &text, nonce).expect("there is a key");
            let refused = Err(Unopened::Refused);
            prop_assert_eq!(keys.open(&id(&other), field, &sealed), refused.clone());
            prop_assert_eq!(keys.open(&id(&own), others, &sealed), refused.clone());
            let (head, body) = sealed.rsplit_once(':').expect("it has colons");
            let mut body = BASE64_STANDARD.decode(body).expect("it is base64");
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
            let flipped = format!("{head}:{}", BASE64_STANDARD.encode(body));
            prop_assert_eq!(keys.open(&id(&own), field, &flipped), refused);
        }
    }
}
