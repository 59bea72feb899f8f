//! A line that shows how far a command is: on standard error, and only if that is a terminal.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::kafka::range::Progress;

/// What the line says: what is done, how much of it, how fast.
const LINE: &str = "{msg}  {percent} %  {human_pos} of {human_len} records  {rate}";

/// How far a command is. The line goes when this is dropped.
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    /// Begins work, named by what it is, such as "reading webhooks.audit".
    pub(super) fn begin(what: String) -> Self {
        Self::on(ProgressDrawTarget::stderr(), what)
    }

    fn on(target: ProgressDrawTarget, what: String) -> Self {
        let rate = |state: &ProgressState, to: &mut dyn Write| {
            // A line that can't be drawn is not worth failing for.
            let _ = write!(to, "{:.0}/s", state.per_sec());
        };
        let style = ProgressStyle::with_template(LINE).expect("the template is well formed");
        let style = style.with_key("rate", rate);
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self(bar.with_style(style).with_message(what))
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps what is written to it, with `^` where its line is cleared.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn put(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no holder panics").push_str(text);
            Ok(())
        }

        /// Returns what was written since this was asked last.
        fn take(&self) -> String {
            std::mem::take(&mut self.0.lock().expect("no holder panics"))
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            self.put("^")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line() -> (Paper, ProgressLine) {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        (paper, ProgressLine::on(target, "reading webhooks.audit".to_owned()))
    }

    #[test]
    fn the_line_says_what_is_read_and_how_far_it_is() {
        let (paper, line) = line();
        line.show(Progress { done: 500, total: 2000 });
        line.0.force_draw();
        let shown = paper.take();
        let expect = "reading webhooks.audit  25 %  500 of 2,000 records  ";
        assert!(shown.contains(expect) && shown.trim_end().ends_with("/s"), "{shown:?}");
    }

    #[test]
    fn the_line_makes_way_for_what_is_printed_and_goes_at_the_end() {
        let (paper, line) = line();
        line.show(Progress { done: 1, total: 2 });
        paper.take();
        let returned = line.aside(|| {
            assert_eq!(paper.take().trim_end(), "^", "it is away while something is printed");
            7
        });
        assert_eq!(returned, 7);
        assert!(paper.take().contains("reading webhooks.audit"), "it comes back");
        drop(line);
        let last = paper.take();
        assert!(last.contains('^') && !last.contains("reading"), "{last:?}");
    }
}
