//! Bytes read from the front: the Confluent wire format, and the integers that it shares with Avro.

use bytes::Bytes;

use crate::domain::decode::{NO_WIRE_FORMAT, Unreadable};

/// The bytes ahead of the payload: a zero and the schema's id, big-endian.
const PREFIX: usize = 5;

/// The largest id: registries count in signed integers, and what one says of a larger id is anyone's guess.
const ID_MAX: u32 = i32::MAX.cast_unsigned();

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// The bytes end early, or are no integer.
pub(super) struct Broken(pub(super) &'static str);

const SHORT: Broken = Broken("the bytes end early");

impl<'a> Reader<'a> {
    /// Takes so many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes a fixed number of bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("so many were taken"))
    }

    /// Takes a zigzag varint of at most 64 bits: Avro's int and long, and the wire format's message indexes.
    pub(super) fn zigzag(&mut self) -> Result<i64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Broken("an integer is longer than 64 bits"))
    }

    /// Takes a length: a zigzag varint that isn't negative.
    pub(super) fn length(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.zigzag()?).map_err(|_| Broken("a length is negative"))
    }
}

/// Splits a value in the wire format into its schema's id and its payload, which shares the value's bytes.
///
/// # Errors
/// It isn't in the wire format.
pub(super) fn split(value: &Bytes) -> Result<(u32, Bytes), Unreadable> {
    match value.first_chunk::<PREFIX>() {
        Some([0, id @ ..]) => match u32::from_be_bytes(*id) {
            id if id > ID_MAX => {
                Err(Unreadable(format!("no schema has the id {id}: they go to {ID_MAX}")))
            }
            id => Ok((id, value.slice(PREFIX..))),
        },
        _ => Err(Unreadable(NO_WIRE_FORMAT.into())),
    }
}
