//! Tables as people read them: columns as wide as what stands in them, one row a line.

use std::io::{self, Write};

/// The widest that a column but the last gets, in characters.
const COLUMN_MAX: usize = 60;

/// How many rows are looked at for the widths of columns before the first is printed.
const HELD_MAX: usize = 500;

/// Prints rows under headings. Memory holds 500 rows at most; those behind them have the widths of those.
pub(super) struct Table<'o, W, const COLUMNS: usize> {
    out: &'o mut W,
    widths: [usize; COLUMNS],
    /// Rows that are to be printed when the widths are known; the headings are the first.
    held: Vec<[String; COLUMNS]>,
}

impl<'o, W: Write, const COLUMNS: usize> Table<'o, W, COLUMNS> {
    /// Begins a table.
    pub(super) fn new(headings: [&str; COLUMNS], out: &'o mut W) -> Self {
        Self { out, widths: [0; COLUMNS], held: vec![headings.map(str::to_owned)] }
    }

    /// Adds a row. It is printed now or when [`Table::show`] is called.
    pub(super) fn row(&mut self, cells: [String; COLUMNS]) -> io::Result<()> {
        self.held.push(cells.map(|cell| printable(&cell)));
        if self.held.len() > HELD_MAX { self.show() } else { Ok(()) }
    }

    /// Prints the rows so far. Columns don't get narrower by later ones.
    pub(super) fn show(&mut self) -> io::Result<()> {
        for row in &self.held {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count().min(COLUMN_MAX));
            }
        }
        for row in self.held.drain(..) {
            let mut line = String::new();
            for (width, cell) in self.widths.iter().zip(row) {
                line += &format!("{cell:<width$}  ");
            }
            writeln!(self.out, "{}", line.trim_end())?;
        }
        self.out.flush()
    }
}

/// Returns a text of others without what a terminal would take for an order.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut out = Vec::new();
        let mut table = Table::new(["ID", "WHAT"], &mut out);
        for cells in [["a", "x"], ["long", "y\u{1b}[2J"], ["ü", ""]] {
            table.row(cells.map(str::to_owned)).expect("memory takes it");
        }
        table.show().expect("memory takes it");
        table.row(["b".to_owned(), "later".to_owned()]).expect("memory takes it");
        table.show().expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        assert_eq!(text, "ID    WHAT\na     x\nlong  y\u{fffd}[2J\nü\nb     later\n");
    }

    #[test]
    fn a_long_cell_doesnt_push_the_others_away() {
        let mut out = Vec::new();
        let mut table = Table::new(["ID", "WHAT"], &mut out);
        for id in ["x".repeat(70), "b".to_owned()] {
            table.row([id, "y".to_owned()]).expect("memory takes it");
        }
        table.show().expect("memory takes it");
        let text = String::from_utf8(out).expect("it is text");
        let widths: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(widths, [66, 73, 63]);
    }

    #[test]
    fn rows_are_not_held_for_ever() {
        let mut out = Vec::new();
        let mut table = Table::new(["ID"], &mut out);
        for _ in 0..2 * HELD_MAX {
            table.row(["a".to_owned()]).expect("memory takes it");
            assert!(table.held.len() <= HELD_MAX);
        }
        assert!(out.len() > HELD_MAX);
    }
}
