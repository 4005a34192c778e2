//! A sum behind each row of a file, over its key and what it holds: bytes that were damaged by chance
//! are not shown. It is against nobody: rows follow from the log, whose checksums are.

/// The bytes of a sum.
const LENGTH: usize = 4;

fn sum(key: &[u8], row: &[u8]) -> [u8; LENGTH] {
    let mut sum = key.len() as u64;
    for bytes in [key, row] {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            sum ^= sum >> 29;
        }
        sum ^= bytes.len() as u64;
    }
    let [.., a, b, c, d] = sum.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    [a, b, c, d]
}

/// Puts a row and its sum into a buffer.
pub(super) fn put<'a>(buffer: &'a mut Vec<u8>, key: &[u8], row: &[u8]) -> &'a [u8] {
    buffer.clear();
    buffer.extend_from_slice(row);
    buffer.extend_from_slice(&sum(key, row));
    buffer
}

/// Takes the sum off a row that was found; `None`: it does not fit.
pub(super) fn taken(key: &[u8], mut found: Vec<u8>) -> Option<Vec<u8>> {
    let (row, last) = found.split_last_chunk::<LENGTH>()?;
    let length = row.len();
    (*last == sum(key, row)).then(|| {
        found.truncate(length);
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_taken_as_it_was_put_and_with_any_other_bit_or_key_not_at_all() {
        let key = b"a key";
        for row in [&b""[..], b"\0", b"a row", b"a row that is longer than a word or two"] {
            let mut buffer = vec![1; 99];
            let put = put(&mut buffer, key, row).to_vec();
            assert_eq!(taken(key, put.clone()).as_deref(), Some(row));
            assert_eq!(taken(b"a kez", put.clone()), None);
            for byte in 0..put.len() {
                for bit in 0..8 {
                    let mut damaged = put.clone();
                    damaged[byte] ^= 1 << bit;
                    assert_eq!(taken(key, damaged), None, "bit {bit} of byte {byte}");
                }
            }
            for length in 0..put.len() {
                assert_eq!(taken(key, put[..length].to_vec()), None);
            }
        }
    }
}
