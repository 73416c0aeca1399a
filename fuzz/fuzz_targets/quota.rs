//! Texts of quotas: no panic, and a quota prints a text that is the same quota.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::Quota;

fuzz_target!(|text: &str| {
    if let Ok(quota) = text.parse::<Quota>() {
        let printed = quota.to_string();
        assert_eq!(printed.parse::<Quota>().as_ref(), Ok(&quota), "{printed}");
    }
});
