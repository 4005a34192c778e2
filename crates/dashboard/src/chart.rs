//! Drawings in a page: how the targets of a campaign stand, as a bar, and how they stood over time.

use std::fmt::Write;

use hedgerow_core::{TargetCounts, Timestamp};
use maud::{Markup, html};

/// The statuses from the bottom of a drawing to its top: the class that colours it, the word, how many.
fn layers(counts: &TargetCounts) -> [(&'static str, &'static str, u32); 4] {
    [
        ("good", "updated", counts.successful),
        ("bad", "failed", counts.failed),
        ("busy", "updating", counts.in_progress),
        ("over", "cancelled", counts.cancelled),
    ]
}

fn share(part: u32, total: u32) -> f64 {
    100.0 * f64::from(part) / f64::from(total.max(1))
}

/// One bar, with its numbers for who does not see it.
pub(crate) fn bar(counts: &TargetCounts) -> Markup {
    let mut from = 0.0;
    let parts = layers(counts).map(|(class, _, count)| {
        let width = share(count, counts.total);
        let part = (class, from, width);
        from += width;
        part
    });
    let spoken = format!(
        "{} of {} updated, {} failed, {} updating, {} waiting",
        counts.successful, counts.total, counts.failed, counts.in_progress, counts.idle
    );
    html! {
        svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(spoken) {
            rect.rest width="100" height="4" {}
            @for (class, from, width) in parts {
                @if width > 0.0 {
                    rect.(class) x=(format!("{from:.3}")) width=(format!("{width:.3}")) height="4" {}
                }
            }
        }
    }
}

const WIDE: f64 = 600.0;
const HIGH: f64 = 160.0;

/// How the targets stood over time, as areas on top of each other.
pub(crate) fn over_time(points: &[(Timestamp, TargetCounts)]) -> Markup {
    let (Some((first, _)), Some((last, newest))) = (points.first(), points.last()) else {
        return html! { p.hint { "There is nothing to draw yet." } };
    };
    if points.len() < 2 || newest.total == 0 {
        return html! { p.hint { "There is nothing to draw yet." } };
    }
    let whole = last.since(*first).as_secs_f64().max(1.0);
    let x = |at: Timestamp| WIDE * at.since(*first).as_secs_f64() / whole;
    let y = |count: u32, total: u32| HIGH * (1.0 - f64::from(count) / f64::from(total.max(1)));
    let areas: Vec<_> = (0..4)
        .map(|layer| {
            let height = |counts: &TargetCounts, upto: usize| {
                layers(counts)[..upto].iter().map(|(_, _, count)| count).sum::<u32>()
            };
            let mut path = String::new();
            for (number, (at, counts)) in points.iter().enumerate() {
                let top = y(height(counts, layer + 1), counts.total);
                let letter = if number == 0 { 'M' } else { 'L' };
                drawn(&mut path, letter, x(*at), top);
            }
            for (at, counts) in points.iter().rev() {
                drawn(&mut path, 'L', x(*at), y(height(counts, layer), counts.total));
            }
            path.push('Z');
            (layers(newest)[layer].0, path)
        })
        .collect();
    let spoken = format!(
        "How {} devices stood over time: at the end {} updated, {} failed, {} updating",
        newest.total, newest.successful, newest.failed, newest.in_progress
    );
    html! {
        svg.chart viewBox=(format!("0 0 {WIDE} {HIGH}")) preserveAspectRatio="none" role="img" aria-label=(spoken) {
            rect.rest width=(WIDE) height=(HIGH) {}
            @for (class, path) in areas { path.(class) d=(path) {} }
        }
        p.axis { span { (crate::frame::moment(*first)) } span { (crate::frame::moment(*last)) } }
    }
}

/// Adds a step of a path.
fn drawn(path: &mut String, letter: char, x: f64, y: f64) {
    // A text takes all that is written to it.
    let _ = write!(path, "{letter}{x:.1} {y:.1}");
}

/// What the colours mean, with the numbers.
pub(crate) fn legend(counts: &TargetCounts) -> Markup {
    html! {
        ul.legend {
            @for (class, word, count) in layers(counts) {
                @if count > 0 || class != "over" {
                    li { span.key.(class) {} b { (count) } " " (word) }
                }
            }
            li { span.key.rest {} b { (counts.idle) } " waiting" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(successful: u32, failed: u32, total: u32) -> TargetCounts {
        TargetCounts {
            total,
            idle: total - successful - failed,
            successful,
            failed,
            ..TargetCounts::default()
        }
    }

    #[test]
    fn the_parts_of_a_bar_are_as_wide_as_their_shares_and_begin_where_the_one_before_ends() {
        let drawn = bar(&counts(1, 1, 4)).into_string();
        assert!(drawn.contains(r#"class="good" x="0.000" width="25.000""#), "{drawn}");
        assert!(drawn.contains(r#"class="bad" x="25.000" width="25.000""#), "{drawn}");
        assert!(drawn.contains("1 of 4 updated, 1 failed, 0 updating, 2 waiting"), "{drawn}");
    }

    #[test]
    fn without_targets_or_time_nothing_is_drawn_and_that_is_said() {
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        assert!(bar(&counts(0, 0, 0)).into_string().contains("0 of 0"));
        for points in [vec![], vec![(at(1), counts(0, 0, 3))], vec![(at(1), counts(0, 0, 0)); 2]] {
            assert!(over_time(&points).into_string().contains("nothing to draw"));
        }
        let same = over_time(&[(at(1), counts(0, 0, 2)), (at(1), counts(2, 0, 2))]).into_string();
        assert!(!same.contains("NaN") && !same.contains("inf"), "{same}");
    }
}
