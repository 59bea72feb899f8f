//! Finds an event in the topic it was produced to: of what nobody wanted, or nobody has come to, no other topic tells.

use jiff::Timestamp;

use crate::cli::Failure;
use crate::cli::progress::ProgressLine;
use crate::cli::resend::Decoder;
use crate::domain::history::{Story, Subject};
use crate::domain::record::Record;
use crate::kafka::Connection;
use crate::kafka::admin::Admin;
use crate::kafka::range::{Bound, Topic};

/// Looks through the event topics from a time on, until it is found.
///
/// # Errors
/// A topic can't be read, or a schema that is needed can't be had.
pub(super) fn search(
    connection: &Connection,
    subject: &Subject,
    since: Timestamp,
    story: &mut Story,
) -> Result<(), Failure> {
    let config = connection.config();
    let decoder = Decoder::asking_once(config)?;
    for name in Admin::new(connection)?.cluster()?.event_topics(config) {
        let topic = Topic::look_at(connection, &name)?;
        let mut range = topic.read(&Bound::Time(since), &Bound::End, |_| true)?;
        let line = ProgressLine::begin(format!("reading {name}"));
        while let Some(record) = range.next().transpose()? {
            line.show(range.progress());
            if find(subject, record, &decoder, story)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Notes an event, or record, if it is the one.
fn find(
    subject: &Subject,
    record: Record,
    decoder: &Decoder,
    story: &mut Story,
) -> Result<bool, Failure> {
    let origin = record.origin.clone();
    if let Subject::Record(place) = subject {
        let is_it = origin.to_string() == *place;
        if is_it {
            story.add_source(&origin);
        }
        return Ok(is_it);
    }
    // What can't be read has no id.
    Ok(match decoder.event(record, &origin)? {
        Ok(event) if subject.is_event(&event.label.id) => {
            story.add_event(&event);
            true
        }
        _ => false,
    })
}
