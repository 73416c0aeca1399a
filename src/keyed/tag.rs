//! Tags: they identify the key of a slot, mark takeovers, and count those that were undone.
//!
//! From the highest bit: 47 bits of the key's hash, the *busy* mark, and 16 bits of the version. A
//! takeover marks the tag busy. A thread that finds the mark too old undoes it: that restores the old
//! key and raises the version. The version stays in the slot, so that a mark which was undone never
//! comes back (short of 65,536 of them while one thread is stopped), and a thread that goes on after
//! its mark was undone changes nothing.

const VERSION_BITS: u32 = 16;
/// Another key is taking the slot over.
const BUSY: u64 = 1 << VERSION_BITS;
const VERSION: u64 = BUSY - 1;
const HASH_SHIFT: u32 = VERSION_BITS + 1;

/// The tag of a slot that no key has used yet, in its first version.
const UNUSED: u64 = 0;

/// Returns the tag of a key, in the first version. It is never that of an unused slot.
///
/// For n keys in a table of S sets, any two share a bucket with a probability of at most about
/// n²/2 (2⁻⁶⁴ + 2⁻⁴⁵/S): they need the same tag, and one of four pairs of their sets must be one set.
///
/// The upper half of a hash has the position of a slot in its highest bits. Its lower half, which has
/// the other position, is folded in: a tag says what the positions do not.
#[inline(always)]
pub(super) fn of(hash: u64) -> u64 {
    ((hash ^ hash >> 32) << HASH_SHIFT).max(1 << HASH_SHIFT)
}

/// Returns true when a tag is this key's, in any version, and not marked busy.
#[inline(always)]
pub(super) fn is_of(tag: u64, own: u64) -> bool {
    (tag ^ own) < BUSY
}

/// Returns true when no key has used the slot yet.
pub(super) fn is_unused(tag: u64) -> bool {
    tag >> HASH_SHIFT == UNUSED
}

/// Marks a tag.
pub(super) fn busy(old: u64) -> u64 {
    old | BUSY
}

pub(super) fn is_busy(tag: u64) -> bool {
    tag & BUSY != 0
}

/// Returns the tag of the key that takes a slot over, in the version of the old tag.
pub(super) fn in_version_of(own: u64, old: u64) -> u64 {
    own | old & VERSION
}

/// Returns the tag of the old key after a takeover was undone.
pub(super) fn undone(busy: u64) -> u64 {
    busy & !(BUSY | VERSION) | busy.wrapping_add(1) & VERSION
}

/// Returns bits of the hash, as a number that selects a group of keys.
pub(super) fn group(tag: u64) -> usize {
    (tag >> HASH_SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::{UNUSED, busy, in_version_of, is_busy, is_of, is_unused, of, undone};

    #[test]
    fn a_tag_is_its_keys_in_any_version() {
        let [own, other] = [of(0x1234_5678_9abc_def0), of(0x1234_5678_9abc_def1)];
        let mut tag = own;
        for version in 0..=u64::from(u16::MAX) {
            assert_eq!(tag, in_version_of(own, version));
            assert!(is_of(tag, own) && !is_of(tag, other) && !is_unused(tag));
            assert!(is_busy(busy(tag)) && !is_of(busy(tag), own));
            tag = undone(busy(tag));
        }
        assert_eq!(tag, own, "the version starts again");
    }

    #[test]
    fn no_key_has_the_tag_of_unused_slots() {
        // The halves of the last two cancel out.
        for hash in [0, 1 << 47 | 1 << 15, 0x8000_0000_8000_0000] {
            assert!(!is_unused(of(hash)), "{hash:x}");
        }
        assert!(is_unused(UNUSED) && is_unused(undone(busy(UNUSED))));
    }
}
