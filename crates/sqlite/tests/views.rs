//! A file of rows: the port's contract, what is done with files that are not right, and a process
//! that is killed while it writes.

use std::path::PathBuf;

use futures::executor::block_on;
use hedgerow_engine::view::{Direction, Reached, Step, ViewError, ViewStore};
use hedgerow_sqlite::{SqliteViews, ViewsError};
use tempfile::TempDir;

fn views() -> (SqliteViews, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let views = SqliteViews::open(folder.path().join("log.db.views")).expect("opened");
    (views, folder)
}

hedgerow_engine::view_conformance_tests!(views());

fn step() -> Step {
    let to = Reached { format: 1, position: 3, checksum: None };
    Step { from: None, to, rows: vec![(b"a".to_vec(), Some(b"1".to_vec()))] }
}

fn written() -> (PathBuf, TempDir) {
    let (views, folder) = views();
    block_on(views.write(step())).expect("written");
    let path = views.path().to_owned();
    views.close();
    (path, folder)
}

#[test]
fn rows_are_there_after_the_file_was_closed() {
    let (path, _folder) = written();
    let views = SqliteViews::open(path).expect("opened");
    assert_eq!(block_on(views.get(vec![b"a".to_vec()])), Ok(vec![Some(b"1".to_vec())]));
    assert_eq!(block_on(views.reached()), Ok(Some(step().to)));
}

#[test]
fn a_closed_file_has_everything_in_itself() {
    for _ in 0..200 {
        let (path, _folder) = written();
        assert!(!path.with_extension("views-wal").exists(), "all connections had closed");
    }
}

#[test]
fn two_that_have_the_file_open_see_each_others_steps() {
    let (path, _folder) = written();
    let [one, other] = [&path; 2].map(|path| SqliteViews::open(path).expect("opened"));
    let to = Reached { position: 4, ..step().to };
    let next = Step { from: Some(step().to), to, rows: Vec::new() };
    block_on(one.write(next.clone())).expect("written");
    assert_eq!(block_on(other.reached()), Ok(Some(to)));
    assert!(block_on(other.write(next)).is_err(), "it has moved on");
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database, but longer than the hundred bytes of a header of one, \
                           which is what SQLite looks at first of all",
    )
    .expect("written");
    assert!(matches!(SqliteViews::open(&text), Err(ViewsError::Foreign { .. })));
    assert!(std::fs::read_to_string(&text).expect("read").starts_with("not a database"));
    let store = folder.path().join("log.db");
    hedgerow_sqlite::SqliteStore::open(&store).expect("a store").close();
    assert!(matches!(SqliteViews::open(&store), Err(ViewsError::Foreign { .. })));
    hedgerow_sqlite::SqliteStore::open(&store).expect("it is a store still");
}

#[test]
fn a_damaged_file_of_rows_is_refused_and_left_as_it_is() {
    let (path, _folder) = written();
    let mut bytes = std::fs::read(&path).expect("read");
    let length = bytes.len();
    bytes[1_024..length].fill(0x5A);
    std::fs::write(&path, &bytes).expect("written");
    let error = SqliteViews::open(&path).expect_err("refused");
    assert!(matches!(error, ViewsError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("remove it"), "{error}");
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

/// Changes a byte of what the only row holds, without sums knowing of it.
fn damage_a_row(path: &PathBuf) {
    let connection = rusqlite::Connection::open(path).expect("opened");
    let row: Vec<u8> =
        connection.query_row("SELECT row FROM rows", [], |row| row.get(0)).expect("read");
    let damaged: Vec<u8> = row.iter().map(|byte| byte ^ 1).collect();
    connection.execute("UPDATE rows SET row = ?1", [damaged]).expect("changed");
    connection.close().expect("closed");
}

#[test]
fn a_row_whose_bytes_were_changed_is_damage_and_is_not_shown() {
    let (path, _folder) = written();
    damage_a_row(&path);
    let views = SqliteViews::open(&path).expect("opened");
    let got = block_on(views.get(vec![b"a".to_vec()]));
    assert!(matches!(got, Err(ViewError::Damaged { .. })), "{got:?}");
    let all = b"".to_vec()..b"z".to_vec();
    let scanned = block_on(views.scan(all, Direction::Forwards, 9));
    assert!(matches!(scanned, Err(ViewError::Damaged { .. })), "{scanned:?}");
    assert_eq!(block_on(views.get(vec![b"b".to_vec()])), Ok(vec![None]), "others are shown");
}

#[test]
fn what_is_there_is_thrown_away_also_where_it_is_damaged() {
    let empty = |path: &PathBuf| {
        let views = SqliteViews::open_anew(path).expect("opened");
        assert_eq!(block_on(views.reached()), Ok(None));
        assert_eq!(block_on(views.get(vec![b"a".to_vec()])), Ok(vec![None]));
        block_on(views.write(step())).expect("written");
    };
    let (path, _folder) = written();
    empty(&path);
    damage_a_row(&path);
    empty(&path);
    let mut bytes = std::fs::read(&path).expect("read");
    let length = bytes.len();
    bytes[1_024..length].fill(0x5A);
    std::fs::write(&path, &bytes).expect("written");
    assert!(matches!(SqliteViews::open(&path), Err(ViewsError::Damaged { .. })));
    empty(&path);
    // Of something else nothing is thrown away.
    let store = path.with_file_name("log.db");
    hedgerow_sqlite::SqliteStore::open(&store).expect("a store").close();
    assert!(matches!(SqliteViews::open_anew(&store), Err(ViewsError::Foreign { .. })));
    hedgerow_sqlite::SqliteStore::open(&store).expect("it is a store still");
}

#[test]
fn rows_of_an_older_form_of_file_are_made_anew() {
    let (path, _folder) = written();
    let connection = rusqlite::Connection::open(&path).expect("opened");
    connection.pragma_update(None, "user_version", 1).expect("changed");
    connection.close().expect("closed");
    let views = SqliteViews::open(&path).expect("opened");
    assert_eq!(block_on(views.reached()), Ok(None));
    block_on(views.write(step())).expect("written");
    drop(views);
    assert_eq!(block_on(SqliteViews::open(&path).expect("opened").reached()), Ok(Some(step().to)));
}

#[test]
fn a_file_of_rows_that_a_newer_version_made_is_refused() {
    let (path, _folder) = written();
    let connection = rusqlite::Connection::open(&path).expect("opened");
    connection.pragma_update(None, "user_version", 99).expect("changed");
    connection.close().expect("closed");
    assert!(matches!(SqliteViews::open(&path), Err(ViewsError::Newer { found: 99, .. })));
}

#[test]
fn an_error_says_what_to_do() {
    let error = SqliteViews::open("/nowhere/at/all/log.db.views").expect_err("no folder");
    assert!(error.to_string().contains("create the folder first"), "{error}");
}

#[test]
fn a_closed_file_answers_nothing() {
    let (views, _folder) = views();
    views.close();
    assert!(block_on(views.reached()).is_err());
    assert!(block_on(views.write(step())).is_err());
}
