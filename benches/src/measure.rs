//! Measuring two or more sides of a figure in the same run: they take turns, so that what disturbs
//! the machine disturbs all of them, and the median of each is told.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Lets all sides do their work `rounds` times, one after the other, and gives the median of the
/// times that each returns.
pub fn in_turns<const SIDES: usize>(
    rounds: usize,
    sides: [&mut dyn FnMut() -> Duration; SIDES],
) -> [Duration; SIDES] {
    let mut times = [const { Vec::new() }; SIDES];
    let mut sides = sides;
    for _ in 0..rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            times.push(side());
        }
    }
    times.map(median)
}

/// How long the work takes, and what it gives.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// How much processor time this process spends on the work, all of its threads together, and what
/// the work gives: what others do on the machine meanwhile plays a smaller part in it.
pub fn worked<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = processor_time();
    let result = work();
    (processor_time().saturating_sub(start), result)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// The middle one of some durations.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(mut times: Vec<Duration>) -> Duration {
    assert!(!times.is_empty(), "nothing was measured");
    times.sort_unstable();
    times[times.len() / 2]
}

/// So many in that time, per second.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub fn rate(number: usize, time: Duration) -> f64 {
    number as f64 / time.as_secs_f64()
}

/// A rate without its fraction, as people read it.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
pub fn whole(rate: f64) -> usize {
    rate as usize
}

/// A number with commas, as people read it.
#[must_use]
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many pages are read of each kind.
pub const PAGES: u32 = 1_000;

/// Tells how long the work takes, and how much processor time of all threads: what others do on the
/// machine plays a smaller part in that.
pub fn told(what: &str, events: usize, work: impl FnOnce()) {
    let (time, (spent, ())) = timed(|| worked(work));
    let rate = thousands(whole(rate(events, time)));
    let nanos = spent.as_nanos() / events.max(1) as u128;
    println!("| {what} | {:.2} s | {rate} | {nanos} ns |", time.as_secs_f64());
}

/// Tells how long pages take: the middle one, the one that 99 of 100 do not exceed, the slowest.
pub fn pages(what: &str, mut page: impl FnMut(u32)) {
    let mut times: Vec<_> = (0..PAGES).map(|place| timed(|| page(place)).0).collect();
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 1_000].as_micros();
    println!("| {what} | {} µs | {} µs | {} µs |", at(500), at(990), at(999));
}
