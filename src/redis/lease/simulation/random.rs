//! Numbers that follow from a seed (splitmix64, Steele, Lea and Flood 2014).

pub(in crate::redis::lease) struct Random(u64);

impl Random {
    pub(in crate::redis::lease) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(in crate::redis::lease) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(in crate::redis::lease) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// In `parts` of a hundred cases.
    pub(in crate::redis::lease) fn chance(&mut self, parts: u64) -> bool {
        self.below(100) < parts
    }

    /// From 1 to about `most`, small ones as likely as large ones.
    pub(in crate::redis::lease) fn spread(&mut self, most: u64) -> u64 {
        let bits = u64::from(64 - most.leading_zeros());
        let top = 1 << self.below(bits);
        1 + self.below(top)
    }
}
