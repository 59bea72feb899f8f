//! Finds an event in the topic it was produced to: of what nobody wanted, or nobody has come to, no other topic tells.

use jiff::Timestamp;

use crate::cli::Failure;
use crate::cli::progress::ProgressLine;
use crate::domain::decode::{Identity, decode};
use crate::domain::history::{Story, Subject};
use crate::domain::record::Record;
use crate::domain::source::{Format, Sources};
use crate::kafka::Connection;
use crate::kafka::admin::Admin;
use crate::kafka::range::{Bound, Topic};

/// Looks through the event topics from a time on, until it is found. Topics of format `registry` are passed over by ids:
/// what their records say takes schemas.
pub(super) fn search(
    connection: &Connection,
    subject: &Subject,
    since: Timestamp,
    story: &mut Story,
) -> Result<(), Failure> {
    let config = connection.config();
    for name in Admin::new(connection)?.cluster()?.event_topics(config) {
        let topic = Topic::look_at(connection, &name)?;
        let mut range = topic.read(&Bound::Time(since), &Bound::End, |_| true)?;
        let line = ProgressLine::begin(format!("reading {name}"));
        while let Some(record) = range.next().transpose()? {
            line.show(range.progress());
            if find(subject, record, &config.sources, story) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Notes an event, or record, if it is the one.
fn find(subject: &Subject, record: Record, sources: &Sources, story: &mut Story) -> bool {
    let origin = record.origin.clone();
    if let Subject::Record(place) = subject {
        let is_it = origin.to_string() == *place;
        if is_it {
            story.add_source(&origin);
        }
        return is_it;
    }
    let Some(source) = sources.of(&origin.topic).map(|index| sources.get(index)) else {
        return false;
    };
    if source.format == Format::Registry {
        return false;
    }
    // What can't be read has no id.
    match decode(source, record, None, Identity { origin, id: None }) {
        Ok(event) if subject.is_event(&event.id) => {
            story.add_event(&event);
            true
        }
        _ => false,
    }
}
