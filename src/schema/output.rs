//! JSON that is written with a limit: a few bytes of a record can stand for very much of it.

use std::io;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::decode::Unreadable;

/// JSON being written.
pub(super) struct Output {
    json: Vec<u8>,
    max: usize,
}

/// The limit is reached.
#[derive(Debug)]
pub(super) struct Full;

impl Output {
    pub(super) fn new(max: usize) -> Self {
        Self { json: Vec::new(), max }
    }

    /// Writes bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if bytes.len() > self.max - self.json.len() {
            return Err(Full);
        }
        self.json.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes plain data as JSON.
    pub(super) fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Full> {
        serde_json::to_writer(self, value).map_err(|_| Full)
    }

    pub(super) fn finish(self) -> Bytes {
        self.json.into()
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw(bytes).map_err(|Full| io::Error::from(io::ErrorKind::WriteZero))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that the limit was reached.
pub(super) fn too_long(max: usize) -> Unreadable {
    Unreadable(format!("its JSON is longer than delivery.max_body, {max} bytes"))
}
