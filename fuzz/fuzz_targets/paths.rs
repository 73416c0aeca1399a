//! Readings of request paths: no panic, and within the bounds.
#![no_main]
#![allow(dead_code)]

// An inline module sets the folder of the modules in it.
#[path = "../../server/src/request"]
mod request {
    pub(crate) mod path;
}

use libfuzzer_sys::fuzz_target;

use crate::request::path::ParsedPath;

fuzz_target!(|path: &str| {
    let Ok(parsed) = ParsedPath::parse(path) else {
        return;
    };
    assert!(parsed.reading_count() <= 8);
    for reading in 0..parsed.reading_count() {
        assert!(parsed.reading(reading).count() <= 64);
        for segment in parsed.reading(reading) {
            let name = parsed.name(segment);
            assert!(!name.contains(&b'/') && !name.contains(&b'\\'));
        }
    }
    if parsed.is_canonical() {
        assert!(!parsed.has_parents() && !path.contains("//") && !path.contains(';'));
    }
});
