//! Inputs made of others, by chance: the same for the same seed.

/// Numbers that lengths, counts and indices trip over.
const ODD: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];
/// Inputs are no longer than this, bytes, unless a seed is.
const LONGEST: usize = 64 << 10;
/// Changes made to one input, at most.
const CHANGES: usize = 6;

/// Makes them.
pub struct Mutator {
    chance: fastrand::Rng,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    /// Of these; of nothing where there are none.
    pub fn new(seed: u64, mut seeds: Vec<Vec<u8>>) -> Self {
        if seeds.is_empty() {
            seeds.push(Vec::new());
        }
        Self {
            chance: fastrand::Rng::with_seed(seed),
            seeds,
        }
    }

    /// The next one.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.one().to_vec();
        for _ in 0..self.chance.usize(1..=CHANGES) {
            self.change(&mut input);
        }
        input
    }

    fn one(&mut self) -> &[u8] {
        &self.seeds[self.chance.usize(..self.seeds.len())]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.chance.usize(..=input.len());
        match self.chance.u8(..7) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.chance.u8(..8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.chance.u8(..);
                }
            }
            2 => {
                let odd = ODD[self.chance.usize(..ODD.len())].to_le_bytes();
                let width = 1 << self.chance.usize(..4);
                for (byte, new) in input[at..].iter_mut().zip(&odd[..width]) {
                    *byte = *new;
                }
            }
            3 => drop(input.drain(at..self.behind(at, input.len()))),
            4 => input.truncate(at),
            5 => {
                let part = input[at..self.behind(at, input.len())].to_vec();
                insert(input, at, &part);
            }
            _ => {
                let other = self.one().to_vec();
                let from = self.chance.usize(..=other.len());
                let to = self.behind(from, other.len());
                insert(input, at, &other[from..to]);
            }
        }
    }

    /// The end of a part that begins at `from`: short ones most often.
    fn behind(&mut self, from: usize, len: usize) -> usize {
        let most = 1 << self.chance.usize(..12);
        from + self.chance.usize(..=most.min(len - from))
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    if input.len() + part.len() <= LONGEST {
        input.splice(at..at, part.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Mutator};

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_they_stay_short() {
        let seeds = || vec![b"a text of some length".to_vec(), vec![7; LONGEST]];
        let [mut one, mut other] = [Mutator::new(3, seeds()), Mutator::new(3, seeds())];
        let mut changed = 0;
        for _ in 0..2000 {
            let input = one.next();
            assert_eq!(input, other.next());
            assert!(input.len() <= LONGEST);
            changed += usize::from(!seeds().contains(&input));
        }
        assert!(changed > 1500, "{changed}");
    }

    #[test]
    fn without_seeds_there_is_the_empty_input() {
        assert!(Mutator::new(1, Vec::new()).next().len() <= LONGEST);
    }
}
