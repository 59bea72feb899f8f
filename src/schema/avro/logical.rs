//! Avro's logical types: times as RFC 3339 and its relatives, decimals as text.

use std::fmt::Write as _;

use apache_avro::schema::{DecimalSchema, Schema, UuidSchema};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use num_bigint::BigInt;

use super::{Problem, Walk};
use crate::schema::wire::Reader;

/// The longest decimal in bytes, about 600 digits: writing one takes the square of its length.
const DECIMAL_MAX: usize = 256;

/// The most digits that a scale can add.
const SCALE_MAX: u64 = 1000;

const OUT_OF_RANGE: Problem = Problem::Bad("a time is out of range");

/// The digits behind a second's point.
#[derive(Clone, Copy)]
enum Precision {
    Millis,
    Micros,
    Nanos,
}

impl Walk<'_> {
    pub(super) fn logical(&mut self, schema: &Schema) -> Result<(), Problem> {
        use Precision::{Micros, Millis, Nanos};
        let text = match schema {
            Schema::Decimal(schema) => self.decimal(schema)?,
            Schema::BigDecimal => self.big_decimal()?,
            Schema::Uuid(UuidSchema::Bytes) => {
                let bytes = self.length_and_bytes()?.try_into();
                uuid(bytes.map_err(|_| Problem::Bad("a UUID does not have 16 bytes"))?)
            }
            Schema::Uuid(_) => uuid(self.bytes.array()?),
            Schema::Date => date(self.int()?)?,
            Schema::TimeMillis => time_of_day(self.int()?.into(), Millis)?,
            Schema::TimeMicros => time_of_day(self.bytes.zigzag()?, Micros)?,
            Schema::TimestampMillis => instant(timestamp(self.bytes.zigzag()?, Millis)?, Millis),
            Schema::TimestampMicros => instant(timestamp(self.bytes.zigzag()?, Micros)?, Micros),
            Schema::TimestampNanos => instant(timestamp(self.bytes.zigzag()?, Nanos)?, Nanos),
            Schema::LocalTimestampMillis => local(timestamp(self.bytes.zigzag()?, Millis)?, Millis),
            Schema::LocalTimestampMicros => local(timestamp(self.bytes.zigzag()?, Micros)?, Micros),
            Schema::LocalTimestampNanos => local(timestamp(self.bytes.zigzag()?, Nanos)?, Nanos),
            Schema::Duration(_) => duration(self.bytes.array()?),
            _ => return Err(Problem::Bad("its type is not known")),
        };
        Ok(self.out.value(&text)?)
    }

    fn decimal(&mut self, schema: &DecimalSchema) -> Result<String, Problem> {
        let bytes = self.decimal_bytes(schema)?;
        decimal(bytes, i64::try_from(schema.scale).unwrap_or(i64::MAX))
    }

    /// Reads a decimal that has its scale with it: the unscaled bytes and the scale, both inside bytes.
    fn big_decimal(&mut self) -> Result<String, Problem> {
        let mut inner = Reader(self.length_and_bytes()?);
        let length = inner.length()?;
        let unscaled = inner.take(length)?;
        decimal(unscaled, inner.zigzag()?)
    }
}

/// Writes a two's-complement number of tenths, hundredths and so on in plain digits.
fn decimal(unscaled: &[u8], scale: i64) -> Result<String, Problem> {
    if unscaled.len() > DECIMAL_MAX || scale.unsigned_abs() > SCALE_MAX {
        return Err(Problem::Bad("a decimal is too long"));
    }
    let number = BigInt::from_signed_bytes_be(unscaled);
    let sign = if number.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    let digits = number.magnitude().to_string();
    let places = usize::try_from(scale.unsigned_abs()).expect("it is at most 1000");
    if scale <= 0 {
        let zeros = if digits == "0" { 0 } else { places };
        return Ok(format!("{sign}{digits}{}", "0".repeat(zeros)));
    }
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    Ok(format!("{sign}{whole}.{fraction}"))
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

fn date(days: i32) -> Result<String, Problem> {
    let days = Span::new().try_days(days);
    let day = days.and_then(|days| Date::constant(1970, 1, 1).checked_add(days));
    Ok(day.map_err(|_| OUT_OF_RANGE)?.to_string())
}

fn time_of_day(ticks: i64, precision: Precision) -> Result<String, Problem> {
    let a_second = match precision {
        Precision::Millis => 1_000,
        Precision::Micros => 1_000_000,
        Precision::Nanos => 1_000_000_000,
    };
    let (seconds, fraction) = (ticks.div_euclid(a_second), ticks.rem_euclid(a_second));
    if !(0..24 * 60 * 60).contains(&seconds) {
        return Err(OUT_OF_RANGE);
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let digits = a_second.ilog10() as usize;
    Ok(format!("{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}"))
}

fn timestamp(ticks: i64, precision: Precision) -> Result<Timestamp, Problem> {
    let time = match precision {
        Precision::Millis => Timestamp::from_millisecond(ticks),
        Precision::Micros => Timestamp::from_microsecond(ticks),
        Precision::Nanos => Timestamp::from_nanosecond(ticks.into()),
    };
    time.map_err(|_| OUT_OF_RANGE)
}

fn instant(time: Timestamp, precision: Precision) -> String {
    match precision {
        Precision::Millis => format!("{time:.3}"),
        Precision::Micros => format!("{time:.6}"),
        Precision::Nanos => format!("{time:.9}"),
    }
}

fn local(time: Timestamp, precision: Precision) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    match precision {
        Precision::Millis => format!("{time:.3}"),
        Precision::Micros => format!("{time:.6}"),
        Precision::Nanos => format!("{time:.9}"),
    }
}

/// Writes months, days and milliseconds, each 32 bits and little-endian, as ISO 8601 has them.
fn duration(bytes: [u8; 12]) -> String {
    let part = |at: usize| {
        let bytes = bytes[at..at + 4].try_into().expect("there are twelve");
        u32::from_le_bytes(bytes)
    };
    let (months, days, millis) = (part(0), part(4), part(8));
    let mut text = "P".to_owned();
    let mut push = |part: std::fmt::Arguments<'_>| {
        text.write_fmt(part).expect("a string takes any text");
    };
    if months > 0 {
        push(format_args!("{months}M"));
    }
    if days > 0 {
        push(format_args!("{days}D"));
    }
    if millis > 0 || (months == 0 && days == 0) {
        push(format_args!("T{}", millis / 1000));
        if millis % 1000 > 0 {
            push(format_args!(".{:03}", millis % 1000));
        }
        push(format_args!("S"));
    }
    text
}
