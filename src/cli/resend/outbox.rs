//! Deliveries on their way to the deliver topic, in transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::Failure;
use crate::domain::record::{Offset, Origin, TopicPartition};
use crate::domain::resend::{Mark, Resend};
use crate::kafka::Connection;
use crate::kafka::admin::Admin;
use crate::kafka::bookmark::{Bookmark, Position};
use crate::kafka::transactions::{Outgoing, Transactions, Written};

/// The most bytes of one transaction, about.
const BYTES_MAX: usize = 8 << 20;

/// Gathers what belongs together, each `T` with its deliveries, and writes it in one transaction.
pub(in crate::cli) struct Outbox<'c, T> {
    transactions: Transactions<'c>,
    deliver: Arc<str>,
    /// The most items of one transaction.
    max: usize,
    held: Vec<(T, Vec<Resend>)>,
    bytes: usize,
}

/// What became of the items of one transaction.
pub(in crate::cli) struct Handed<T> {
    /// Those that are written, with how many deliveries each came to.
    pub(in crate::cli) sent: Vec<(T, usize)>,
    /// Those of which a record is too large for the deliver topic; nothing of them is written.
    pub(in crate::cli) too_large: Vec<T>,
}

/// A dead letter whose place is marked with its deliveries.
pub(in crate::cli) struct Redriven(pub(in crate::cli) Origin);

impl<'c, T> Outbox<'c, T> {
    /// Starts to write under a name.
    ///
    /// # Errors
    /// The cluster can't be reached, or refuses, or there is no deliver topic.
    pub(in crate::cli) fn open(
        connection: &Connection<'c>,
        name: &str,
        max: usize,
    ) -> Result<Self, Failure> {
        let topics = &connection.config().topics;
        Admin::new(connection)?.cluster()?.require(&[&topics.deliver])?;
        let written = [&*topics.deliver, &*topics.dead_letter];
        let transactions = Transactions::start(connection, name, &written)?;
        let deliver = topics.deliver.clone();
        Ok(Self { transactions, deliver, max, held: Vec::new(), bytes: 0 })
    }

    /// Adds an item with its deliveries.
    pub(in crate::cli) fn add(&mut self, item: T, resends: Vec<Resend>) {
        self.bytes += resends.iter().map(Resend::size).sum::<usize>();
        self.held.push((item, resends));
    }

    /// Tells whether it is time to write.
    pub(in crate::cli) fn is_full(&self) -> bool {
        self.held.len() >= self.max || self.bytes >= BYTES_MAX
    }

    /// Writes what is held, what `also` makes of it, and positions.
    fn hand_over(
        &mut self,
        also: impl Fn(&[(T, Vec<Resend>)]) -> Vec<Outgoing>,
        positions: Option<(&Bookmark<'_>, &[Position])>,
    ) -> Result<Handed<T>, Failure> {
        self.bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        let mut too_large = Vec::new();
        loop {
            let mut records = Vec::new();
            // Whose each record is.
            let mut owners = Vec::new();
            for (owner, (_, resends)) in held.iter().enumerate() {
                records.extend(resends.iter().map(|resend| self.outgoing(resend)));
                owners.resize(records.len(), owner);
            }
            records.extend(also(&held));
            match self.transactions.write(&records, positions)? {
                Written::Committed => {
                    let sent = held.into_iter().map(|(item, resends)| (item, resends.len()));
                    return Ok(Handed { sent: sent.collect(), too_large });
                }
                Written::TooLarge(places) => {
                    let refused = places.iter().filter_map(|place| owners.get(*place).copied());
                    let mut refused: Vec<usize> = refused.collect();
                    refused.dedup();
                    if refused.is_empty() {
                        return Err(Failure::of(
                            "the dead-letter topic doesn't take a mark: raise its max.message.bytes",
                        ));
                    }
                    for owner in refused.into_iter().rev() {
                        too_large.push(held.remove(owner).0);
                    }
                }
            }
        }
    }

    fn outgoing(&self, resend: &Resend) -> Outgoing {
        Outgoing {
            topic: self.deliver.clone(),
            partition: None,
            key: resend.key.clone(),
            value: resend.value.clone(),
            headers: resend.headers.clone(),
        }
    }
}

impl Outbox<'_, ()> {
    /// Writes what is held together with how far the reader is.
    pub(in crate::cli) fn commit(
        &mut self,
        bookmark: &Bookmark<'_>,
        positions: &[Position],
    ) -> Result<Handed<()>, Failure> {
        self.hand_over(|_| Vec::new(), Some((bookmark, positions)))
    }
}

impl Outbox<'_, Redriven> {
    /// Writes what is held, and marks the dead letters that it was made of.
    pub(in crate::cli) fn flush(&mut self) -> Result<Handed<Redriven>, Failure> {
        if self.held.is_empty() {
            return Ok(Handed { sent: Vec::new(), too_large: Vec::new() });
        }
        self.hand_over(|held| marks(held.iter().map(|(Redriven(place), _)| place)), None)
    }
}

/// Returns the records that mark dead letters, one in each partition.
fn marks<'o>(places: impl Iterator<Item = &'o Origin>) -> Vec<Outgoing> {
    let mut offsets: BTreeMap<TopicPartition, Vec<Offset>> = BTreeMap::new();
    for Origin { topic, partition, offset, .. } in places {
        let name = TopicPartition { topic: topic.clone(), partition: *partition };
        offsets.entry(name).or_default().push(*offset);
    }
    let record = |(TopicPartition { topic, partition }, offsets): (_, Vec<Offset>)| {
        let (value, headers) = Mark::of(offsets).write();
        Outgoing { topic, partition: Some(partition), key: None, value: Some(value), headers }
    };
    offsets.into_iter().map(record).collect()
}
