//! `replay`: a range of an event topic once more, for one subscription.
//!
//! Deliveries and how far the replay is are committed together, in a group of its own that is named by the words of the
//! command: given again, it goes on where it stopped, exactly.

mod legs;
mod run;

use std::io::Write;

use clap::{ArgGroup, Args};

use super::resend::{Outbox, fit, recipients};
use super::times::Time;
use super::{Failure, Output};
use crate::domain::record::NextOffset;
use crate::domain::resend::{Rate, replay_id};
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::bookmark::Bookmark;
use crate::kafka::cluster::ClusterError;
use crate::kafka::range::Topic;

use run::Run;

/// Deliveries of one transaction, at most.
const BATCH: usize = 500;

/// What to send to whom.
#[derive(Args)]
#[command(
    group = ArgGroup::new("start").required(true).args(["from", "from_offset"]),
    group = ArgGroup::new("end").args(["to", "to_offset"]),
    after_help = "Events are matched as new ones are: by type, tenant, topics and filter, of the subscription as it is now. The \
        end of the range is set when the replay begins. If it is ended, the same command goes on where it stopped.\n\n\
        Example: kafka-webhooks replay --subscription crm --topic orders --from 2026-01-15 --to 2h --dry-run"
)]
pub struct Replay {
    /// Who gets the events
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: SubscriptionId,
    /// The event topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Events that were written then or later: 2h (ago), a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Events of a partition from this offset on, and of no other partition; may be repeated
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = position)]
    from_offset: Vec<(i32, NextOffset)>,
    /// Events that were written before then [default: all there are now]
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// Events of a partition before this offset; may be repeated
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = position)]
    to_offset: Vec<(i32, NextOffset)>,
    /// How many events are sent, at most
    #[arg(long, value_name = "NUMBER/s", default_value = "100/s", value_parser = Rate::parse)]
    rate: Rate,
    /// Begin anew, also if the same replay was begun or done before
    #[arg(long)]
    restart: bool,
    /// Send nothing: count what would be sent
    #[arg(long)]
    dry_run: bool,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn position(text: &str) -> Result<(i32, NextOffset), String> {
    let position = text.split_once(':').and_then(|(partition, offset)| {
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((partition, NextOffset(offset)))
    });
    position.ok_or_else(|| "write it as PARTITION:OFFSET, such as 3:42".to_owned())
}

/// Replays, and prints what came of it.
///
/// # Errors
/// The topic is no source, nothing can be sent to the subscription, or the cluster can't be reached; what was sent
/// before is committed.
pub fn run(replay: &Replay, connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    let config = connection.config();
    if config.sources.of(&replay.topic).is_none() {
        let topics: Vec<_> = config.sources.topics().collect();
        let (topic, topics) = (&replay.topic, topics.join(", "));
        return Err(Failure::of(format!(
            "{topic} is the topic of no source: the settings have {topics}"
        )));
    }
    let recipients = recipients(connection, Some(&replay.subscription))?;
    fit(&recipients, &replay.subscription)?;
    let group = format!("{}.replay.{}", config.kafka.group_id, replay.id());
    // From here on, nobody else replays the same.
    let (outbox, bookmark) = match replay.dry_run {
        true => (None, Bookmark::peek(connection, &group)?),
        false => {
            let outbox = Outbox::open(connection, &group, replay.rate.batch(BATCH))?;
            (Some(outbox), Bookmark::of_group(connection, &group)?)
        }
    };
    let topic = Topic::look_at(connection, &replay.topic).map_err(missing)?;
    let begun = match replay.restart {
        true => None,
        false => replay.begun(&bookmark, &topic)?,
    };
    let run = Run::new(replay, config, recipients, bookmark, outbox)?;
    let tally = match begun {
        Some(legs) => run.resume(legs, topic)?,
        None => run.begin(replay.legs(&topic)?, topic)?,
    };
    tally.tell(replay, out)
}

/// Says that an event topic is missing: none of those that `topics create` makes.
fn missing(error: ClusterError) -> Failure {
    match error {
        ClusterError::NoTopic(topic) => Failure::of(format!(
            "the event topic {topic} doesn't exist: create it, or take it out of [[sources]]"
        )),
        error => error.into(),
    }
}

impl Replay {
    /// Names the replay by the words that say which events go to whom.
    fn id(&self) -> String {
        let time = |time: &Option<Time>| match time {
            None => String::new(),
            Some(Time::Now) => "now".to_owned(),
            Some(Time::Ago(ago)) => format!("{} ms ago", ago.as_millis()),
            Some(Time::At(at)) => at.to_string(),
        };
        let positions = |positions: &[(i32, NextOffset)]| {
            let mut words: Vec<_> =
                positions.iter().map(|(id, next)| format!("{id}:{}", next.0)).collect();
            words.sort_unstable();
            words.join(" ")
        };
        let (from, to) = (time(&self.from), time(&self.to));
        let (from_offset, to_offset) = (positions(&self.from_offset), positions(&self.to_offset));
        let id = self.subscription.as_str();
        replay_id([id, &self.topic, &from, &from_offset, &to, &to_offset])
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn replay(line: &str) -> Result<Replay, clap::Error> {
        let words = ["kafka-webhooks", "replay", "--subscription", "crm", "--topic", "orders"];
        let words = words.into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Replay(replay) => Ok(replay),
            _ => panic!("another command"),
        }
    }

    fn id(line: &str) -> String {
        replay(line).expect(line).id()
    }

    #[test]
    fn a_replay_is_named_by_its_range_and_by_nothing_else() {
        let whole = id("--from 2h");
        assert_eq!(whole, id("--rate 1/s --from 120m --output json"));
        assert_ne!(whole, id("--from 3h"));
        assert_ne!(whole, id("--from 2h --to 1h"));
        assert_eq!(
            id("--from-offset 0:1 --from-offset 1:2"),
            id("--from-offset 1:2 --from-offset 0:1")
        );
        assert_ne!(
            id("--from-offset 0:1 --to-offset 0:2"),
            id("--from-offset 0:1 --to-offset 0:3")
        );
    }

    #[test]
    fn a_range_has_one_start_and_one_end_at_most() {
        for line in
            ["", "--to 1h", "--from 2h --from-offset 0:1", "--from 2h --to 1h --to-offset 0:1"]
        {
            assert_eq!(replay(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
        for line in
            ["--from-offset 3", "--from-offset a:1", "--from-offset 0:-1", "--from 2h --rate 0/s"]
        {
            assert_eq!(replay(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
    }
}
