//! Credentials that more has to be done for than to write a header: tokens are fetched, certificates make a client of
//! their own. Each lives as long as the definition that names it; what a newer definition says replaces it.

mod oauth2;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use reqwest::{Client, Identity};
use rustc_hash::FxHashMap;

use super::client::{self, Settings};
use super::failure::unauthorized;
use super::resolver::Lookup;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::subscription::{Subscription, SubscriptionId};

pub(super) use oauth2::{Grant, Token, Tokens};

/// What is held for subscriptions that have such credentials.
pub(super) struct Credentials {
    settings: Settings,
    held: Mutex<FxHashMap<SubscriptionId, Held>>,
}

/// What is held for one definition.
struct Held {
    definition: Weak<Subscription>,
    credential: Credential,
}

#[derive(Clone)]
enum Credential {
    Tokens(Arc<Tokens>),
    Client(Client),
}

impl Credentials {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, held: Mutex::default() }
    }

    /// Returns the place of a subscription's tokens.
    pub(super) fn tokens(&self, subscription: &Arc<Subscription>) -> Arc<Tokens> {
        let new = || Ok(Credential::Tokens(Arc::default()));
        match self.find_or(subscription, new) {
            Ok(Credential::Tokens(tokens)) => tokens,
            _ => unreachable!(
                "a definition has one kind of credential, and making this one can't fail"
            ),
        }
    }

    /// Returns the client that shows a subscription's certificate: chain and key, in PEM.
    ///
    /// # Errors
    /// The failure that the attempt ends with: the key is not the certificate's.
    pub(super) fn client(
        &self,
        subscription: &Arc<Subscription>,
        pem: &Secret,
    ) -> Result<Client, Failure> {
        let unfit = |_| unauthorized("the certificate and the key make no identity for TLS");
        let new = || {
            let identity = Identity::from_pem(pem.reveal().as_bytes()).map_err(unfit)?;
            let client = client::builder(&self.settings, Lookup::System);
            let client = client.expect("a client was made with these settings");
            Ok(Credential::Client(client.identity(identity).build().map_err(unfit)?))
        };
        match self.find_or(subscription, new)? {
            Credential::Client(client) => Ok(client),
            Credential::Tokens(_) => unreachable!("a definition has one kind of credential"),
        }
    }

    fn find_or(
        &self,
        subscription: &Arc<Subscription>,
        new: impl FnOnce() -> Result<Credential, Failure>,
    ) -> Result<Credential, Failure> {
        let mut held = self.held.lock().expect("nobody panics while holding it");
        let is_its = |held: &&Held| Weak::as_ptr(&held.definition) == Arc::as_ptr(subscription);
        if let Some(found) = held.get(&subscription.id).filter(is_its) {
            return Ok(found.credential.clone());
        }
        let credential = new()?;
        // Only here does something grow: those whose definition is gone make room.
        held.retain(|_, held| held.definition.strong_count() > 0);
        let definition = Arc::downgrade(subscription);
        held.insert(subscription.id.clone(), Held { definition, credential: credential.clone() });
        Ok(credential)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}
