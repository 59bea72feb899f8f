//! A line that shows how far a command is: on standard error, and only if that is a terminal.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::kafka::range::Progress;

/// What the line says: what is done, how much of it, how fast.
const LINE: &str = "{msg}  {percent} %  {human_pos} of {human_len} records  {rate}";

/// How far a command is. The line goes when this is dropped.
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    /// Begins work, named by what it is, such as "reading webhooks.audit".
    pub(super) fn begin(what: String) -> Self {
        let rate = |state: &ProgressState, to: &mut dyn Write| {
            // A line that can't be drawn is not worth failing for.
            let _ = write!(to, "{:.0}/s", state.per_sec());
        };
        let style = ProgressStyle::with_template(LINE).expect("the template is well formed");
        let style = style.with_key("rate", rate);
        Self(ProgressBar::new(0).with_style(style).with_message(what))
    }

    /// Shows how far it is. It is drawn twenty times a second at most, however often it is told.
    pub(super) fn show(&self, progress: Progress) {
        self.0.set_length(progress.total);
        self.0.set_position(progress.done);
    }

    /// Does something that may print to the same terminal, without the line in its way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_well_formed_and_hinders_nothing() {
        let line = ProgressLine::begin("reading".to_owned());
        line.show(Progress { done: 5, total: 10 });
        assert_eq!((line.0.position(), line.0.length()), (5, Some(10)));
        assert_eq!(line.aside(|| 7), 7);
    }
}
