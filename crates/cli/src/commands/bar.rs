//! The one progress bar that all commands show. A line wider than the terminal would be wrapped,
//! and the bar would leave the wrapped part behind each time it is drawn again: what does not fit
//! is cut off.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many parts with a message behind it.
pub(crate) fn of(parts: u64) -> ProgressBar {
    with_style(ProgressBar::new(parts))
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal that notes each line that is written to it.
    #[derive(Clone, Debug)]
    struct Terminal {
        width: u16,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.width
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
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.lines.lock().unwrap().push(text.to_owned());
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_line_of_a_bar_is_wider_than_the_terminal() {
        for width in [20, 40, 60, 80, 100] {
            let terminal = Terminal { width, lines: Arc::default() };
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
            let bar = with_style(ProgressBar::with_draw_target(Some(1_000_000), target));
            bar.set_position(123_456);
            bar.set_message("123456 ok, 5 failed (limit 2.5%), 100/100 in flight, ".repeat(3));
            bar.force_draw();
            let lines = terminal.lines.lock().unwrap();
            let widest = lines.iter().map(|line| line.trim_end().chars().count()).max();
            assert!(widest.is_some_and(|widest| widest > 17), "it shows something: {lines:?}");
            assert!(widest <= Some(usize::from(width)), "{width}: {lines:?}");
        }
    }

    #[test]
    fn a_duration_is_shown_with_as_many_parts_as_it_has() {
        assert_eq!(clock(Duration::from_secs(123)), "2:03");
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
    }
}
