//! The one progress bar that all commands show. A line wider than the terminal would be wrapped,
//! and the bar would leave the wrapped part behind each time it is drawn again: what does not fit
//! is cut off, and what a terminal wraps as it is made narrower is cleared as a whole.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::{Term, measure_text_width};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// What is beyond the last column is not shown; it goes on in the next line.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// How often a bar is drawn at most, in times a second.
const DRAWN: u8 = 20;

/// A bar of so many parts with a message behind it.
pub(crate) fn of(parts: u64) -> ProgressBar {
    let terminal = Term::buffered_stderr();
    let target = if !terminal.is_term() {
        ProgressDrawTarget::hidden()
    } else if wraps_what_stands_there() {
        ProgressDrawTarget::term_like_with_hz(Box::new(Wrapping::new(terminal)), DRAWN)
    } else {
        ProgressDrawTarget::term(terminal, DRAWN)
    };
    with_style(ProgressBar::with_draw_target(Some(parts), target))
}

/// The few that cut off what stands in them tell who they are; in these, what is above the bar would
/// be cleared.
fn wraps_what_stands_there() -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    let is_console = std::env::var_os("TERM").is_some_and(|name| name == "linux");
    !is_set("XTERM_VERSION") && !is_set("STY") && !is_console
}

/// A terminal that wraps what stands in it when it is made narrower, as most do: the line that was
/// drawn last then takes several, and all of them are cleared before the next. Until its width is
/// known here, nothing that is drawn is wrapped.
#[derive(Debug)]
struct Wrapping<T> {
    terminal: T,
    /// How many columns were drawn since a line was cleared.
    drawn: Mutex<usize>,
}

impl<T: TermLike> Wrapping<T> {
    fn new(terminal: T) -> Self {
        Self { terminal, drawn: Mutex::new(0) }
    }

    fn draws(&self, text: &str) {
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) += measure_text_width(text);
    }
}

impl<T: TermLike> TermLike for Wrapping<T> {
    /// Without the last column: a cursor that waits there for the next line goes where each terminal
    /// likes when it is made narrower.
    fn width(&self) -> u16 {
        self.terminal.width().saturating_sub(1).max(1)
    }

    fn height(&self) -> u16 {
        self.terminal.height()
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.terminal.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.terminal.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.terminal.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.terminal.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draws(text);
        self.terminal.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draws(text);
        self.terminal.write_str(&format!("{NO_WRAP}{text}{WRAP}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        self.terminal.clear_line()?;
        let lines = drawn.div_ceil(usize::from(self.terminal.width()).max(1));
        for _ in 1..lines {
            self.terminal.move_cursor_up(1)?;
            self.terminal.clear_line()?;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.terminal.flush()
    }
}

fn with_style(bar: ProgressBar) -> ProgressBar {
    // indicatif honours NO_COLOR and terminals that cannot do it.
    if let Ok(style) = ProgressStyle::with_template("{bar:10.green} {percent:>3}%  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// A duration as `1:02:03` or `2:03`.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    /// A terminal that wraps its lines when its width changes.
    #[derive(Clone, Debug)]
    struct Terminal {
        width: Arc<AtomicU16>,
        /// Lines that are wrapped, the cursor in the last one, and how far up in it that is.
        shown: Arc<Mutex<(Vec<String>, usize)>>,
    }

    impl Terminal {
        fn new(width: u16, before: &str) -> Self {
            let shown = vec![before.to_owned(), String::new()];
            let width = Arc::new(AtomicU16::new(width));
            Self { width, shown: Arc::new(Mutex::new((shown, 0))) }
        }

        fn resize(&self, width: u16) {
            self.width.store(width, Ordering::Relaxed);
        }

        /// What stands in it, a row after the other, without what was there before.
        fn rows(&self) -> Vec<String> {
            let width = usize::from(self.width());
            let shown = self.shown.lock().unwrap();
            let cells: Vec<char> = shown.0.last().unwrap().chars().collect();
            cells.chunks(width).map(|row| row.iter().collect()).collect()
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.width.load(Ordering::Relaxed)
        }

        fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
            self.shown.lock().unwrap().1 += lines;
            Ok(())
        }

        fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
            self.shown.lock().unwrap().1 -= lines;
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            let mut shown = self.shown.lock().unwrap();
            assert_eq!(shown.1, 0, "what is above is left alone");
            let plain = console::strip_ansi_codes(text).into_owned();
            shown.0.last_mut().unwrap().push_str(&plain);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            let width = usize::from(self.width());
            let mut shown = self.shown.lock().unwrap();
            let up = std::mem::take(&mut shown.1);
            let last = shown.0.last_mut().unwrap();
            let cells = last.chars().count();
            assert!(up == 0 || cells > 0, "what is above is left alone");
            // What was cleared below is gone: the cursor is in the row above now.
            *last = last.chars().take(cells.saturating_sub(1) / width * width).collect();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn bar(terminal: &Terminal) -> ProgressBar {
        let wrapping = Box::new(Wrapping::new(terminal.clone()));
        let target = ProgressDrawTarget::term_like_with_hz(wrapping, 255);
        let bar = with_style(ProgressBar::with_draw_target(Some(1_000_000), target));
        bar.set_position(123_456);
        bar.set_message("123456 ok, 5 failed (limit 2.5%), 100/100 in flight, ".repeat(3));
        bar
    }

    #[test]
    fn no_line_of_a_bar_is_wider_than_the_terminal() {
        for width in [20, 40, 60, 80, 100] {
            let terminal = Terminal::new(width, "");
            let bar = bar(&terminal);
            bar.force_draw();
            let rows = terminal.rows();
            assert_eq!(rows.len(), 1, "{width}: {rows:?}");
            assert!(rows[0].trim_end().chars().count() > 17, "it shows something: {rows:?}");
        }
    }

    #[test]
    fn nothing_is_left_behind_when_the_terminal_changes_its_width() {
        let terminal = Terminal::new(80, "rolling 2.0.0 out");
        let bar = bar(&terminal);
        for width in [80, 40, 200, 39, 60, 20, 100] {
            terminal.resize(width);
            bar.force_draw();
            let rows = terminal.rows();
            assert_eq!(rows.len(), 1, "{width}: {rows:?}");
            assert!(rows[0].contains("12%"), "{width}: {rows:?}");
            assert_eq!(terminal.shown.lock().unwrap().0[0], "rolling 2.0.0 out");
        }
    }

    #[test]
    fn a_duration_is_shown_with_as_many_parts_as_it_has() {
        assert_eq!(clock(Duration::from_secs(123)), "2:03");
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
    }
}
