//! Secrets of a definition: as they are, or encrypted.

use super::SubscriptionId;
use super::reader::{Field, Problems};
use crate::domain::encryption::{Encryption, Plain, field_of, is_sealed};
use crate::domain::secret::Secret;

/// What opens the secrets of one definition.
pub(super) struct Lock<'d> {
    pub(super) id: &'d SubscriptionId,
    pub(super) encryption: &'d Encryption,
}

impl Lock<'_> {
    /// Reads a secret text and the path to it.
    pub(super) fn open(&self, field: Field, p: &mut Problems) -> Option<(String, Secret)> {
        let (path, text) = field.text(p)?;
        let text = Secret::new(text);
        if !is_sealed(text.reveal()) {
            if self.encryption.plain == Plain::Refused {
                p.add(&path, "must be encrypted (encryption.required is true)");
                return None;
            }
            return Some((path, text));
        }
        match self.encryption.open(self.id, &field_of(&path), text.reveal()) {
            Ok(text) => Some((path, text)),
            Err(problem) => {
                p.add(&path, problem.to_string());
                None
            }
        }
    }
}
