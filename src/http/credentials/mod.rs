//! Credentials that more has to be done for than to write a header: tokens are fetched, certificates make a client of
//! their own. Each lives as long as the definition that names it.

mod oauth2;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use reqwest::{Client, Identity};

use super::client::{self, Settings};
use super::failure::unauthorized;
use super::held::Held;
use super::resolver::Lookup;
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::subscription::Subscription;

pub(super) use oauth2::{Grant, Token, Tokens};

/// What is held for subscriptions that have such credentials.
pub(super) struct Credentials {
    settings: Settings,
    tokens: Held<Arc<Tokens>>,
    clients: Held<Client>,
}

impl Credentials {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, tokens: Held::default(), clients: Held::default() }
    }

    /// Returns the place of a subscription's tokens.
    pub(super) fn tokens(&self, subscription: &Arc<Subscription>) -> Arc<Tokens> {
        let Ok(tokens) = self.tokens.find_or::<Infallible>(subscription, || Ok(Arc::default()));
        tokens
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
        self.clients.find_or(subscription, || {
            let identity = Identity::from_pem(pem.reveal().as_bytes()).map_err(unfit)?;
            let client = client::builder(&self.settings, Lookup::System);
            let client = client.expect("a client was made with these settings");
            client.identity(identity).build().map_err(unfit)
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}
