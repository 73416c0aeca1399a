//! Default hash function of the keys.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
};

#[cfg(feature = "shared")]
use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};

/// Default hash function of a [`KeyedLimiter`](crate::KeyedLimiter), with a random seed.
///
/// Fast, and good in all 64 bits. The algorithm is not part of the API and may change in any
/// release. To use another one, see [`KeyedLimiterBuilder::hasher`](crate::KeyedLimiterBuilder).
#[derive(Clone)]
pub struct DefaultHashBuilder {
    state: SeedableRandomState,
    /// The seeds of a table that several processes share.
    #[cfg(feature = "shared")]
    seeds: Option<[u64; 2]>,
}

impl Default for DefaultHashBuilder {
    fn default() -> DefaultHashBuilder {
        DefaultHashBuilder {
            state: SeedableRandomState::random(),
            #[cfg(feature = "shared")]
            seeds: None,
        }
    }
}

#[cfg(feature = "shared")]
impl DefaultHashBuilder {
    /// Draws seeds for a table that several processes share.
    pub(super) fn draw_seeds() -> [u64; 2] {
        // The keys of `RandomState` come from the operating system.
        let state = std::hash::RandomState::new();
        [0_u64, 1].map(|word| state.hash_one(word))
    }

    pub(super) fn with_seeds(seeds: [u64; 2]) -> DefaultHashBuilder {
        let [seed, shared] = seeds;
        DefaultHashBuilder {
            state: SeedableRandomState::with_seed(seed, shared_seed(shared)),
            seeds: Some(seeds),
        }
    }

    pub(super) fn seeds(&self) -> Option<[u64; 2]> {
        self.seeds
    }

    /// Hashes keys of the usual types, to tell whether another build hashes alike.
    pub(super) fn probes(&self) -> [u64; 3] {
        let address = std::net::IpAddr::from([192, 0, 2, 7]);
        [
            self.hash_one(0x0123_4567_89ab_cdef_u64),
            self.hash_one("tollgate"),
            self.hash_one(address),
        ]
    }
}

/// Returns the seed that hashers refer to for the life of the process: one for each table.
#[cfg(feature = "shared")]
fn shared_seed(seed: u64) -> &'static SharedSeed {
    use std::sync::{Mutex, PoisonError};
    static SEEDS: Mutex<Vec<(u64, &SharedSeed)>> = Mutex::new(Vec::new());
    let mut seeds = SEEDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, shared)) = seeds.iter().find(|(known, _)| *known == seed) {
        return shared;
    }
    let shared = Box::leak(Box::new(SharedSeed::from_u64(seed)));
    seeds.push((seed, shared));
    shared
}

impl BuildHasher for DefaultHashBuilder {
    type Hasher = DefaultHasher;

    #[inline(always)]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.state.build_hasher())
    }
}

/// The seed is a secret, so it is not printed.
impl fmt::Debug for DefaultHashBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHashBuilder").finish_non_exhaustive()
    }
}

/// Hasher that a [`DefaultHashBuilder`] creates.
#[derive(Clone)]
pub struct DefaultHasher(FoldHasher<'static>);

/// Every method that foldhash overrides is forwarded: the provided methods would hash integers as
/// byte slices, which is slower.
impl Hasher for DefaultHasher {
    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline(always)]
    fn write_u8(&mut self, value: u8) {
        self.0.write_u8(value);
    }

    #[inline(always)]
    fn write_u16(&mut self, value: u16) {
        self.0.write_u16(value);
    }

    #[inline(always)]
    fn write_u32(&mut self, value: u32) {
        self.0.write_u32(value);
    }

    #[inline(always)]
    fn write_u64(&mut self, value: u64) {
        self.0.write_u64(value);
    }

    #[inline(always)]
    fn write_u128(&mut self, value: u128) {
        self.0.write_u128(value);
    }

    #[inline(always)]
    fn write_usize(&mut self, value: usize) {
        self.0.write_usize(value);
    }

    #[inline(always)]
    fn write_i8(&mut self, value: i8) {
        self.0.write_i8(value);
    }

    #[inline(always)]
    fn write_i16(&mut self, value: i16) {
        self.0.write_i16(value);
    }

    #[inline(always)]
    fn write_i32(&mut self, value: i32) {
        self.0.write_i32(value);
    }

    #[inline(always)]
    fn write_i64(&mut self, value: i64) {
        self.0.write_i64(value);
    }

    #[inline(always)]
    fn write_i128(&mut self, value: i128) {
        self.0.write_i128(value);
    }

    #[inline(always)]
    fn write_isize(&mut self, value: isize) {
        self.0.write_isize(value);
    }
}

impl fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, Hash};

    use super::DefaultHashBuilder;

    #[test]
    fn hashes_equal_those_of_foldhash() {
        fn check<K: Hash + ?Sized>(builder: &DefaultHashBuilder, key: &K) {
            assert_eq!(builder.hash_one(key), builder.state.hash_one(key));
        }
        let builder = DefaultHashBuilder::default();
        check(&builder, "alice");
        check(&builder, &[1_u8, 2, 3][..]);
        check(&builder, &(1_u8, 2_u16, 3_u32, 4_u64, 5_u128, 6_usize));
        check(
            &builder,
            &(-1_i8, -2_i16, -3_i32, -4_i64, -5_i128, -6_isize),
        );
    }

    #[test]
    fn debug_output_hides_the_seed() {
        let builder = DefaultHashBuilder::default();
        let (state, hasher) = (
            format!("{builder:?}"),
            format!("{:?}", builder.build_hasher()),
        );
        assert_eq!(state, "DefaultHashBuilder { .. }");
        assert_eq!(hasher, "DefaultHasher { .. }");
    }
}
