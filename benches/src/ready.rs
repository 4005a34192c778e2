//! The first member of a set of numbers, for the loop by hand: three levels of bits, of which each
//! bit above says whether a word below has any.

/// A set of numbers below 64^4.
#[derive(Default)]
pub struct ReadySet {
    levels: [Vec<u64>; 4],
}

impl ReadySet {
    /// Adds a number.
    pub fn insert(&mut self, number: usize) {
        let mut place = number;
        for level in &mut self.levels {
            let word = place / 64;
            if word >= level.len() {
                level.resize(word + 1, 0);
            }
            level[word] |= 1 << (place % 64);
            place = word;
        }
    }

    /// Takes a number out, if it is in.
    pub fn remove(&mut self, number: usize) {
        let mut place = number;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(place / 64) else { return };
            *word &= !(1 << (place % 64));
            if *word != 0 {
                return;
            }
            place /= 64;
        }
    }

    /// The least number.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        let mut place = 0;
        for level in self.levels.iter().rev() {
            let word = *level.get(place)?;
            if word == 0 {
                return None;
            }
            place = place * 64 + word.trailing_zeros() as usize;
        }
        Some(place)
    }
}
