//! What `dead-letters` and `replay` share: who can be sent to, what records say, and how deliveries are handed over.

mod decoder;
mod outbox;

use super::{Failure, subscriptions};
use crate::domain::resend::{Recipients, Unfit};
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use subscriptions::State;

pub(super) use decoder::Decoder;
pub(super) use outbox::{Handed, Outbox, Redriven};

/// Reads who can be sent to: all subscriptions, or one alone.
pub(super) fn recipients(
    connection: &Connection,
    alone: Option<&SubscriptionId>,
) -> Result<Recipients, Failure> {
    let mut recipients = Recipients::default();
    subscriptions::each(connection, |definition| {
        if alone.is_some_and(|id| *id != definition.id) {
            return;
        }
        let state = definition.state();
        match (definition.parsed, state) {
            (Ok(_), State::Disabled) => recipients.add_unfit(definition.id, Unfit::Disabled),
            (Ok(subscription), _) => recipients.add(subscription),
            (Err(_), _) => recipients.add_unfit(definition.id, Unfit::Invalid),
        }
    })?;
    Ok(recipients)
}
