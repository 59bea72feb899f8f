//! What becomes of one dead letter that somebody wants sent again.

use std::fmt;

use super::letter::{DeadLetter, Subject};
use super::recipients::{Recipients, Unfit};
use super::{Resend, Wanted};
use crate::domain::decode::Unreadable;
use crate::domain::event::Event;
use crate::domain::headers::{Carried, Trigger};
use crate::domain::record::Record;

/// Why a dead letter stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It was sent again before.
    Redriven,
    /// Its delivery has been sent again so often, and always came back.
    TooOften(u32),
    /// Its value didn't fit into the topic and is only where its event was produced.
    Hollow,
    /// Its subscription can't be sent to.
    Unfit(Unfit),
    /// It still can't be read.
    Unreadable(String),
    /// It can be read now, and no subscription wants it.
    Unwanted,
    /// The deliver topic doesn't take a record of its size.
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redriven => f.write_str("redriven before; --again takes them too"),
            Self::TooOften(times) => {
                write!(f, "redriven in vain as often as --max-redrives allows ({times})")
            }
            Self::Hollow => f.write_str("too large to have kept the value; replay its event"),
            Self::Unfit(why) => write!(f, "the subscription {why}"),
            Self::Unreadable(why) => write!(f, "still unreadable: {why}"),
            Self::Unwanted => f.write_str("readable now, and wanted by no subscription"),
            Self::TooLarge => {
                f.write_str("too large for the deliver topic; raise its max.message.bytes")
            }
        }
    }
}

/// What redrives are bound to.
pub struct Rules<'a> {
    /// Who can be sent to.
    pub recipients: &'a Recipients,
    /// How often one delivery may be redriven.
    pub max_redrives: u32,
}

impl Rules<'_> {
    /// Decides what is sent for a dead letter that wasn't redriven before, or is to be redriven all the same. `read` reads
    /// its event anew; only what could not be read is.
    ///
    /// # Errors
    /// Nothing is, and why.
    pub fn redrive<E>(
        &self,
        letter: &DeadLetter,
        record: &Record,
        read: impl FnOnce() -> Result<Result<Event, Unreadable>, E>,
    ) -> Result<Result<Vec<Resend>, Refusal>, E> {
        if letter.is_hollow {
            return Ok(Err(Refusal::Hollow));
        }
        Ok(match &letter.subject {
            Subject::Delivery(carried) => self.delivery(letter, carried, record),
            Subject::Record => match read()? {
                Ok(event) => self.event(&event),
                Err(Unreadable(why)) => Err(Refusal::Unreadable(why)),
            },
        })
    }

    /// Starts a delivery's schedule anew. It was matched when it was made: its filter isn't asked again.
    fn delivery(
        &self,
        letter: &DeadLetter,
        carried: &Carried,
        record: &Record,
    ) -> Result<Vec<Resend>, Refusal> {
        if carried.redrives >= self.max_redrives {
            return Err(Refusal::TooOften(carried.redrives));
        }
        self.recipients.judge(&carried.subscription).map_err(Refusal::Unfit)?;
        let again = Carried {
            id: carried.id.clone(),
            origin: Some(letter.origin.clone()),
            source: carried.source.clone(),
            redrives: carried.redrives + 1,
            ..Carried::due_now(carried.subscription.clone(), Trigger::Redrive)
        };
        Ok(vec![Resend::carrying(&again, record)])
    }

    /// Sends an event to all that want it, as it would have been if it had been readable.
    fn event(&self, event: &Event) -> Result<Vec<Resend>, Refusal> {
        let Wanted { by, .. } = self.recipients.wanting(event);
        if by.is_empty() {
            return Err(Refusal::Unwanted);
        }
        let resend = |to| Resend::of_event(event, to, Trigger::Redrive, 1);
        Ok(by.iter().map(|subscription| resend(&subscription.id)).collect())
    }
}
