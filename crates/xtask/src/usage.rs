//! What the checks take of the machine: processor time and disk. The clock alone says little on a
//! machine that does other things too.

use std::path::Path;
use std::time::Duration;

/// Ticks of the kernel's accounting in a second, on every Linux of today.
const TICKS: u64 = 100;

/// The processor time of all programs that this one has run and that have ended, and of what those
/// ran; `None` where the system does not tell it the way Linux does.
pub(crate) fn processor_time() -> Option<Duration> {
    of_children(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// `cutime` and `cstime`, the 16th and 17th field. The second is a name in parentheses, in which
/// anything may stand.
fn of_children(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(13).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(Duration::from_millis((user + system) * 1_000 / TICKS))
}

/// Bytes on disk of everything below a folder. What has several names counts once: cargo gives
/// programs a second one. What vanishes meanwhile or cannot be read counts nothing.
#[cfg(unix)]
pub(crate) fn bytes_on_disk(folder: &Path) -> u64 {
    use std::collections::HashSet;
    use std::os::unix::fs::MetadataExt as _;

    let (mut folders, mut seen, mut bytes) = (vec![folder.to_path_buf()], HashSet::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of a link itself, not of what it leads to.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                folders.push(entry.path());
            }
            if data.nlink() < 2 || data.is_dir() || seen.insert((data.dev(), data.ino())) {
                bytes += data.blocks() * 512;
            }
        }
    }
    bytes
}

/// Not counted here.
#[cfg(not(unix))]
pub(crate) fn bytes_on_disk(_: &Path) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read_behind_a_name_with_blanks() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 150 50 20 0 1";
        assert_eq!(of_children(stat), Some(Duration::from_secs(2)));
        assert_eq!(of_children("42 (a) S 1"), None);
        assert_eq!(of_children(""), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_two_names_counts_once() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner)?;
        std::fs::write(inner.join("one"), vec![7; 100_000])?;
        let once = bytes_on_disk(folder.path());
        assert!(once >= 100_000, "{once}");
        std::fs::hard_link(inner.join("one"), folder.path().join("two"))?;
        assert_eq!(bytes_on_disk(folder.path()), once);
        assert_eq!(bytes_on_disk(&folder.path().join("none")), 0);
        Ok(())
    }
}
