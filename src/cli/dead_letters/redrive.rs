//! `dead-letters redrive`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde_json::json;

use super::document::{HEADINGS, cells};
use super::filters::{Filters, Place};
use super::scan::{Found, Scan};
use crate::cli::resend::{Handed, Outbox, Redriven, fit, recipients};
use crate::cli::table::Table;
use crate::cli::{Failure, Output};
use crate::domain::resend::{Pace, Rate, Refusal, Resend, Rules};
use crate::kafka::Connection;

/// Dead letters of one transaction, at most.
const BATCH: usize = 500;

/// The most reasons to stay that are told one by one.
const REASONS_MAX: usize = 20;

/// Which to send again, and how.
#[derive(Args)]
#[command(
    group = ArgGroup::new("which").required(true).multiple(true).args([
        "place", "all", "subscription", "event_id", "event_type", "reason", "kind", "since", "until",
    ]),
    after_help = "Dead letters that were redriven before, or whose subscription can't be sent to, stay and are counted; one \
        that is named has to be fit first. A redrive that was ended is given again: it goes on with the rest.\n\n\
        Example: kafka-webhooks dead-letters redrive --subscription crm --since 2h --dry-run"
)]
pub struct Redrive {
    /// The one that stands there: PARTITION/OFFSET, as `list` prints it
    place: Option<Place>,
    #[command(flatten)]
    filters: Filters,
    /// All there are
    #[arg(long, conflicts_with = "place")]
    all: bool,
    /// Those too that were redriven before: their receivers get them once more
    #[arg(long)]
    again: bool,
    /// How often one delivery may be redriven
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    max_redrives: u32,
    /// How many deliveries are sent, at most [default: as many as the cluster takes]
    #[arg(long, value_name = "NUMBER/s", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// Send nothing: list and count what would be sent
    #[arg(long)]
    dry_run: bool,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    selected: u64,
    redriven: u64,
    deliveries: u64,
    stay: BTreeMap<Refusal, u64>,
}

/// Sends dead letters again, up to the last that there is now: what fails again isn't taken by the same command.
pub(super) fn redrive(
    redrive: &Redrive,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if let Some(place) = &redrive.place {
        place.check(connection)?;
    }
    let selection = redrive.filters.selection(Timestamp::now())?;
    let recipients = recipients(connection, None)?;
    redrive.filters.subscription().map_or(Ok(()), |id| fit(&recipients, id))?;
    // Whoever writes under this name is alone, from before the marks are read: nothing is redriven by two at once.
    let name = format!("{}.redrive", connection.config().kafka.group_id);
    let mut outbox = match redrive.dry_run {
        true => None,
        false => Some(Outbox::open(connection, &name, redrive.batch())?),
    };
    let mut pace = redrive.rate.map(|rate| Pace::new(rate, Instant::now()));
    let rules = Rules { recipients: &recipients, max_redrives: redrive.max_redrives };
    let mut scan = Scan::begin(connection, selection, redrive.place.as_ref())?;
    let mut tally = Tally::default();
    let mut rows =
        (redrive.dry_run && redrive.output == Output::Table).then(|| Table::new(HEADINGS, out));
    while let Some(found) = scan.next()? {
        tally.selected += 1;
        match (decide(redrive, &rules, &found, &scan)?, &mut outbox) {
            (Err(refusal), _) => tally.stays(refusal),
            (Ok(resends), None) => {
                tally.sent(resends.len());
                if let Some(rows) = &mut rows {
                    scan.aside(|| rows.row(cells(&found)))?;
                }
            }
            (Ok(resends), Some(outbox)) => {
                outbox.add(Redriven(found.letter.place), resends);
                if outbox.is_full() {
                    hand_over(outbox, &mut pace, &mut tally)?;
                }
            }
        }
    }
    if let Some(mut rows) = rows {
        scan.aside(|| rows.show())?;
    }
    if let Some(outbox) = &mut outbox {
        hand_over(outbox, &mut pace, &mut tally)?;
    }
    drop(scan);
    tally.tell(redrive, out)
}

/// Writes what is held, counts it, and keeps the pace.
fn hand_over(
    outbox: &mut Outbox<'_, Redriven>,
    pace: &mut Option<Pace>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let handed = outbox.flush()?;
    let deliveries = handed.sent.iter().map(|(_, deliveries)| deliveries).sum();
    tally.handed(handed);
    if let Some(pace) = pace {
        std::thread::sleep(pace.went(deliveries, Instant::now()));
    }
    Ok(())
}

fn decide(
    redrive: &Redrive,
    rules: &Rules<'_>,
    found: &Found,
    scan: &Scan,
) -> Result<Result<Vec<Resend>, Refusal>, Failure> {
    let Found { letter, record, is_redriven } = found;
    if *is_redriven && !redrive.again {
        return Ok(Err(Refusal::Redriven));
    }
    rules.redrive(letter, record, || scan.decoder().event(record.clone(), &letter.origin))
}

impl Redrive {
    /// Returns how many dead letters are sent in one transaction, at most.
    fn batch(&self) -> usize {
        self.rate.map_or(BATCH, |rate| rate.batch(BATCH))
    }
}

impl Tally {
    fn sent(&mut self, deliveries: usize) {
        self.redriven += 1;
        self.deliveries += deliveries as u64;
    }

    fn stays(&mut self, refusal: Refusal) {
        *self.stay.entry(refusal).or_default() += 1;
    }

    fn handed(&mut self, Handed { sent, too_large }: Handed<Redriven>) {
        sent.iter().for_each(|(_, deliveries)| self.sent(*deliveries));
        too_large.iter().for_each(|_| self.stays(Refusal::TooLarge));
    }

    /// Tells what came of it.
    ///
    /// # Errors
    /// One dead letter was asked for, and it wasn't sent.
    fn tell(&self, redrive: &Redrive, out: &mut impl Write) -> Result<(), Failure> {
        match redrive.output {
            Output::Json => {
                let stay = self.stay.iter();
                let stay: Vec<_> = stay
                    .map(|(why, count)| json!({ "count": count, "reason": why.to_string() }))
                    .collect();
                let told = json!({
                    "dryRun": redrive.dry_run,
                    "selected": self.selected,
                    "redriven": self.redriven,
                    "deliveries": self.deliveries,
                    "stay": stay,
                });
                writeln!(out, "{told:#}")?;
            }
            Output::Table => {
                let done = if redrive.dry_run { "would redrive" } else { "redriven" };
                let Self { selected, redriven, deliveries, .. } = self;
                writeln!(out, "{done} {redriven} of {selected}, deliveries: {deliveries}")?;
                for (why, count) in self.stay.iter().take(REASONS_MAX) {
                    writeln!(out, "{count} stay: {why}")?;
                }
                if let Some(more) = self.stay.len().checked_sub(REASONS_MAX).filter(|it| *it > 0) {
                    writeln!(out, "more stay for {more} more reasons: --output json has them all")?;
                }
            }
        }
        match &redrive.place {
            Some(place) if self.selected == 0 => Err(super::show::missing(place)),
            Some(place) if self.redriven == 0 => {
                let why = self.stay.keys().next().map(ToString::to_string).unwrap_or_default();
                let sentence = format!("the dead letter at {place} stays where it is: {why}");
                Err(Failure::of(sentence))
            }
            _ => Ok(()),
        }
    }
}
