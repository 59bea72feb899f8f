//! JSON arrays, printed as their elements come.

use std::io::{self, Write};

use serde::Serialize;

/// An array of which nothing is held, one element a line.
pub(super) struct Array<'o, W> {
    out: &'o mut W,
    is_empty: bool,
}

impl<'o, W: Write> Array<'o, W> {
    /// Begins the array.
    pub(super) fn begin(out: &'o mut W) -> io::Result<Self> {
        write!(out, "[")?;
        Ok(Self { out, is_empty: true })
    }

    /// Adds an element.
    pub(super) fn add(&mut self, element: &impl Serialize) -> io::Result<()> {
        let before = if std::mem::replace(&mut self.is_empty, false) { "\n" } else { ",\n" };
        write!(self.out, "{before}")?;
        Ok(serde_json::to_writer(&mut *self.out, element)?)
    }

    /// Ends it.
    pub(super) fn end(self) -> io::Result<()> {
        let before = if self.is_empty { "" } else { "\n" };
        writeln!(self.out, "{before}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(elements: &[u32], expect: &str) {
        let mut out = Vec::new();
        let mut array = Array::begin(&mut out).expect("memory takes it");
        for element in elements {
            array.add(element).expect("memory takes it");
        }
        array.end().expect("memory takes it");
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn an_array_has_one_element_a_line() {
        check(&[], "[]\n");
        check(&[1], "[\n1\n]\n");
        check(&[1, 2], "[\n1,\n2\n]\n");
    }
}
