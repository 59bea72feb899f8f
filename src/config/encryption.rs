//! `[encryption]`: the keys under which secrets stand in the subscriptions topic. No message shows any of them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use config::Value;
use zeroize::Zeroizing;

use super::reader::Section;
use super::units::show_text;
use super::values::{text, truth};
use crate::domain::encryption::{Encryption, Key, Plain, is_key_id};

/// The most keys.
const KEYS_MAX: usize = 16;

/// Reads the section.
pub(super) fn read(encryption: &mut Section<'_>) -> Option<Encryption> {
    let keys = encryption.tables("keys", 0..=KEYS_MAX, key);
    let required = encryption.required("required", truth);
    let (keys, required) = (keys?, required?);
    for (at, key) in keys.iter().enumerate() {
        if keys[..at].iter().any(|other| other.id == key.id) {
            encryption.problem_at(
                "keys",
                at,
                format!("{} is the id of two keys", show_text(&key.id)),
            );
        }
    }
    if required && keys.is_empty() {
        encryption.problem("required", "can't be true without encryption.keys");
    }
    let plain = if required { Plain::Refused } else { Plain::Allowed };
    Some(Encryption::new(keys, plain))
}

fn key(key: &mut Section<'_>) -> Option<Key> {
    let id = key.required("id", id);
    let bytes = key.required("key", bytes);
    Some(Key { id: id?.into(), bytes: bytes? })
}

fn id(value: &Value) -> Result<String, String> {
    let id = text(value)?;
    match is_key_id(&id) {
        true => Ok(id),
        false => Err("must be 1 to 64 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"".into()),
    }
}

fn bytes(value: &Value) -> Result<Zeroizing<[u8; 32]>, String> {
    // The text is a secret: what is wrong with it is told without it.
    let unfit =
        || "must be base64 of 32 bytes, such as `openssl rand -base64 32` prints".to_owned();
    let text = Zeroizing::new(text(value).map_err(|_| unfit())?);
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(&*text).map_err(|_| unfit())?);
    <[u8; 32]>::try_from(&bytes[..]).map(Zeroizing::new).map_err(|_| unfit())
}
