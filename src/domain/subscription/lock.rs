//! Secrets of a definition: as they are, or encrypted.

use super::SubscriptionId;
use super::reader::{Field, Problems};
use crate::domain::encryption::{Encryption, Plain, field_of, is_sealed};

/// What opens the secrets of one definition.
pub(super) struct Lock<'d> {
    pub(super) id: &'d SubscriptionId,
    pub(super) encryption: &'d Encryption,
}

impl Lock<'_> {
    /// Reads a secret text and the path to it.
    pub(super) fn open(&self, field: Field, p: &mut Problems) -> Option<(String, String)> {
        let (path, text) = field.text(p)?;
        if !is_sealed(&text) {
            if self.encryption.plain == Plain::Refused {
                p.add(&path, "must be encrypted (encryption.required is true)");
                return None;
            }
            return Some((path, text));
        }
        match self.encryption.open(self.id, &field_of(&path), &text) {
            Ok(text) => Some((path, text)),
            Err(problem) => {
                p.add(&path, problem.to_string());
                None
            }
        }
    }
}
