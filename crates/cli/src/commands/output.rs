//! Standard output, whose reader may leave before the end.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

/// Prints something. That whoever reads has seen enough, such as `head`, is no error.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A file as it can be pasted into a command of a shell.
pub(crate) fn to_paste(file: &Path) -> String {
    let text = file.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    // Only in front could it be taken for an option.
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_printed_so_that_a_shell_takes_it_for_one_word() {
        for (file, pasted) in [
            ("hedgerow-demo.db", "hedgerow-demo.db"),
            ("/tmp/a/b.db", "/tmp/a/b.db"),
            ("-x.db", "./-x.db"),
            ("my logs/a.db", "'my logs/a.db'"),
            ("it's; rm", r"'it'\''s; rm'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(to_paste(Path::new(file)), pasted);
        }
    }
}
