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

/// Makes sure that something can be sent to a subscription.
///
/// # Errors
/// It can't, why, and what to do about it.
pub(super) fn fit(recipients: &Recipients, id: &SubscriptionId) -> Result<(), Failure> {
    recipients.judge(id).map_err(|why| {
        let advice = match why {
            Unfit::Missing => {
                "see `kafka-webhooks subscriptions list` for those there are".to_owned()
            }
            Unfit::Invalid => {
                format!("see `kafka-webhooks subscriptions get {id}` for what is wrong with it")
            }
            Unfit::Inactive | Unfit::Disabled => {
                format!("switch it on first, with `kafka-webhooks subscriptions enable {id}`")
            }
        };
        Failure::of(format!("the subscription {id} {why}: {advice}"))
    })
}
