//! What every store of rows must do, as checks that every one runs: the port's contract, executable.
//!
//! [`view_conformance_tests!`](crate::view_conformance_tests) makes one test of each check. They
//! panic where a store breaks the contract.

// Every check panics where the store is wrong: the module says so once for all of them.
#![allow(clippy::missing_panics_doc)]

use hedgerow_core::Checksum;

use super::store::{Direction, Reached, Row, Step, StepError, ViewStore};

/// Makes one test of each check of [`view::conformance`](crate::view::conformance).
///
/// The argument is evaluated for each test and gives a new store of rows and something that lives as
/// long as the test does, such as the folder that its file is in.
///
/// ```
/// use hedgerow_engine::view::MemoryViews;
///
/// hedgerow_engine::view_conformance_tests!((MemoryViews::new(), ()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! view_conformance_tests {
    ($make:expr) => {
        $crate::view_conformance_tests! { @ $make;
            a_new_store_has_reached_nothing
            rows_come_back_as_they_were_written
            a_row_is_replaced_and_removed
            a_step_that_begins_elsewhere_changes_nothing
            a_range_is_read_in_both_directions
            a_range_that_is_empty_or_turned_round_has_no_rows
            any_bytes_come_back_as_they_were
            what_is_thrown_away_is_gone
            a_large_step_is_one_step
        }
    };
    (@ $make:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                let (views, _kept) = $make;
                $crate::store::conformance::block_on($crate::view::conformance::$check(&views));
            }
        )*
    };
}

fn reached(position: u64) -> Reached {
    Reached { format: 1, position, checksum: Some(Checksum::from_bytes([7; 32])) }
}

async fn write(
    views: &impl ViewStore,
    from: Option<Reached>,
    to: Reached,
    rows: &[(&[u8], Option<&[u8]>)],
) {
    let rows = rows.iter().map(|(key, row)| (key.to_vec(), row.map(<[u8]>::to_vec))).collect();
    views.write(Step { from, to, rows }).await.expect("written");
}

async fn all(views: &impl ViewStore) -> Vec<Row> {
    let range = Vec::new()..vec![u8::MAX; 8];
    views.scan(range, Direction::Forwards, usize::MAX).await.expect("read")
}

/// Nothing is there before the first step.
pub async fn a_new_store_has_reached_nothing(views: &impl ViewStore) {
    assert_eq!(views.reached().await, Ok(None));
    assert_eq!(all(views).await, []);
    assert_eq!(views.get(vec![b"a".to_vec()]).await, Ok(vec![None]));
    assert_eq!(views.get(Vec::new()).await, Ok(Vec::new()));
}

/// What was written is read, by key and in order.
pub async fn rows_come_back_as_they_were_written(views: &impl ViewStore) {
    write(views, None, reached(1), &[(b"b", Some(b"2")), (b"a", Some(b"1")), (b"c", Some(b""))])
        .await;
    assert_eq!(views.reached().await, Ok(Some(reached(1))));
    let expected = [("a", "1"), ("b", "2"), ("c", "")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(all(views).await, expected);
    let keys = ["c", "x", "a"].map(|key| key.as_bytes().to_vec()).to_vec();
    let rows = views.get(keys).await.expect("read");
    assert_eq!(rows, [Some(Vec::new()), None, Some(b"1".to_vec())]);
}

/// A later row takes the place of an earlier one, and `None` removes it.
pub async fn a_row_is_replaced_and_removed(views: &impl ViewStore) {
    write(views, None, reached(1), &[(b"a", Some(b"1")), (b"b", Some(b"1"))]).await;
    let later: [(&[u8], _); 3] = [(b"a", Some(&b"2"[..])), (b"b", None), (b"c", None)];
    write(views, Some(reached(1)), reached(2), &later).await;
    assert_eq!(all(views).await, [(b"a".to_vec(), b"2".to_vec())]);
    assert_eq!(views.reached().await, Ok(Some(reached(2))));
}

/// Two that write cannot undo each other's work.
pub async fn a_step_that_begins_elsewhere_changes_nothing(views: &impl ViewStore) {
    write(views, None, reached(5), &[(b"a", Some(b"1"))]).await;
    let other_log = Reached { checksum: None, ..reached(5) };
    let other_format = Reached { format: 2, ..reached(5) };
    for from in [None, Some(reached(4)), Some(other_log), Some(other_format)] {
        let step = Step { from, to: reached(9), rows: vec![(b"a".to_vec(), None)] };
        let moved = StepError::Moved { expected: from, reached: Some(reached(5)) };
        assert_eq!(views.write(step).await, Err(moved));
    }
    assert_eq!(all(views).await, [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(views.reached().await, Ok(Some(reached(5))));
}

/// The start of a range is in it, its end is not.
pub async fn a_range_is_read_in_both_directions(views: &impl ViewStore) {
    let rows: Vec<(&[u8], Option<&[u8]>)> =
        [&b"a"[..], b"aa", b"b", b"c"].map(|key| (key, Some(&b""[..]))).to_vec();
    write(views, None, reached(1), &rows).await;
    let keys = async |from: &str, to: &str, direction, limit| {
        let range = from.as_bytes().to_vec()..to.as_bytes().to_vec();
        let rows = views.scan(range, direction, limit).await.expect("read");
        let keys = rows.into_iter().map(|(key, _)| String::from_utf8(key).expect("text"));
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys("a", "c", Direction::Forwards, 9).await, ["a", "aa", "b"]);
    assert_eq!(keys("a", "c", Direction::Backwards, 9).await, ["b", "aa", "a"]);
    assert_eq!(keys("a", "c", Direction::Forwards, 2).await, ["a", "aa"]);
    assert_eq!(keys("a", "c", Direction::Backwards, 2).await, ["b", "aa"]);
    assert_eq!(keys("aa", "b", Direction::Backwards, 2).await, ["aa"]);
    assert_eq!(keys("a", "c", Direction::Forwards, 0).await, [""; 0]);
}

/// It is no error to ask for nothing.
pub async fn a_range_that_is_empty_or_turned_round_has_no_rows(views: &impl ViewStore) {
    write(views, None, reached(1), &[(b"b", Some(b""))]).await;
    for (from, to) in [(b"b", b"b"), (b"c", b"a")] {
        let rows = views.scan(from.to_vec()..to.to_vec(), Direction::Forwards, 9).await;
        assert_eq!(rows, Ok(Vec::new()));
    }
}

/// Keys and rows are bytes, not text.
pub async fn any_bytes_come_back_as_they_were(views: &impl ViewStore) {
    let key: Vec<u8> = (0..=u8::MAX).rev().chain([0, 0, 255]).collect();
    let row: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    write(views, None, Reached { checksum: None, ..reached(u64::MAX >> 1) }, &[(&key, Some(&row))])
        .await;
    assert_eq!(views.get(vec![key]).await, Ok(vec![Some(row)]));
    let farthest = Reached { format: 1, position: u64::MAX >> 1, checksum: None };
    assert_eq!(views.reached().await, Ok(Some(farthest)));
}

/// Afterwards the store is as a new one.
pub async fn what_is_thrown_away_is_gone(views: &impl ViewStore) {
    write(views, None, reached(1), &[(b"a", Some(b"1"))]).await;
    let moved = StepError::Moved { expected: None, reached: Some(reached(1)) };
    assert_eq!(views.clear(None).await, Err(moved), "they are further than that");
    assert_eq!(all(views).await.len(), 1);
    views.clear(Some(reached(1))).await.expect("thrown away");
    assert_eq!(views.reached().await, Ok(None));
    assert_eq!(all(views).await, []);
    write(views, None, reached(1), &[(b"a", Some(b"2"))]).await;
    assert_eq!(all(views).await, [(b"a".to_vec(), b"2".to_vec())]);
}

/// A step has as many rows as it has.
pub async fn a_large_step_is_one_step(views: &impl ViewStore) {
    let rows = (0_u32..50_000).map(|n| (n.to_be_bytes().to_vec(), Some(vec![1; 20]))).collect();
    views.write(Step { from: None, to: reached(1), rows }).await.expect("written");
    assert_eq!(all(views).await.len(), 50_000);
}
