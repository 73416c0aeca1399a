//! Slots of a cluster. A script can use the keys of one slot, since they are on one server.

/// Number of slots.
const SLOTS: u16 = 16384;

/// Returns the slot of a name: of the part between its first braces, its hash tag, if there is one.
pub(super) fn slot(name: &[u8]) -> u16 {
    crc16(tag(name).unwrap_or(name)) % SLOTS
}

/// Returns the hash tag of a name. An empty one is none.
fn tag(name: &[u8]) -> Option<&[u8]> {
    let start = 1 + name.iter().position(|byte| *byte == b'{')?;
    let length = name[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then_some(&name[start..start + length])
}

/// CRC-16/XMODEM: the polynomial 0x1021, the highest bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // Of CLUSTER KEYSLOT.
        for (name, expected) in [
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("bar{hash_tag}", 2515),
        ] {
            assert_eq!(slot(name.as_bytes()), expected, "{name}");
        }
        let of = |name: &str| slot(name.as_bytes());
        assert_eq!(of("a{b}c{d}"), of("b"));
        assert_eq!(of("a{{b}}"), of("{b"));
        for whole in ["a{}{b}", "a{b", "a}b{"] {
            assert_eq!(of(whole), crc16(whole.as_bytes()) % SLOTS, "{whole}");
        }
    }
}
