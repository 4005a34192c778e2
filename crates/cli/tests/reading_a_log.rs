//! The page of the book about reading logs: every command in it is run, and has to print what the
//! page says. A line `...` there stands for any lines.
//!
//! `cargo xtask book --update` writes anew what commands print, where no line is left out.

use std::path::PathBuf;
use std::process::Command;

/// A block of the page: a command, and what it prints.
struct Block<'a> {
    command: &'a str,
    printed: &'a str,
}

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reading-a-log.md")
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let blocks = text.split("```console\n$ hedgerow ").skip(1);
    blocks
        .map(|block| {
            let block = block.split_once("```").expect("a block ends").0;
            let (command, printed) = block.split_once('\n').expect("a command is a line");
            Block { command, printed }
        })
        .collect()
}

/// Whether the lines are those that are wanted, of which `...` stands for any.
fn is_as_wanted(lines: &[&str], wanted: &[&str]) -> bool {
    match wanted.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => {
            (0..=lines.len()).any(|skipped| is_as_wanted(&lines[skipped..], rest))
        }
        Some((first, rest)) => lines.first() == Some(first) && is_as_wanted(&lines[1..], rest),
    }
}

#[test]
fn every_command_of_the_page_prints_what_the_page_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(page()).expect("the page is there");
    let mut updated = text.clone();
    let blocks = blocks(&text);
    assert!(blocks.len() > 5, "only {} commands were found", blocks.len());
    for Block { command, printed } in blocks {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(command.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("it starts");
        // A campaign that fails is no failure of the command that shows it.
        let found = String::from_utf8(output.stdout).expect("UTF-8");
        let (lines, wanted): (Vec<_>, Vec<_>) =
            (found.lines().collect(), printed.lines().collect());
        if wanted.contains(&"...") || std::env::var_os("UPDATE_BOOK").is_none() {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                is_as_wanted(&lines, &wanted),
                "hedgerow {command}\nprints:\n{found}{errors}\nbut docs/reading-a-log.md says:\n\
                 {printed}\nIf that is right, run `cargo xtask book --update`, and look at what it \
                 changes."
            );
        } else {
            let block = |printed| format!("```console\n$ hedgerow {command}\n{printed}```");
            updated = updated.replace(&block(printed), &block(&found));
        }
    }
    if updated != text {
        std::fs::write(page(), updated).expect("it can be written");
    }
}

#[test]
fn a_line_that_stands_for_others_stands_for_none_or_many() {
    let lines = ["a", "b", "c"];
    for wanted in [&["a", "b", "c"][..], &["..."], &["...", "b", "..."], &["a", "...", "c", "..."]]
    {
        assert!(is_as_wanted(&lines, wanted), "{wanted:?}");
    }
    for wanted in [&["a", "b"][..], &["b", "..."], &["...", "b"], &["...", "c", "b"], &[]] {
        assert!(!is_as_wanted(&lines, wanted), "{wanted:?}");
    }
}
