//! Log of what the processes admitted, and its check.
//!
//! A bucket sells its units one after another: a charge is an interval on the axis of refilled units, and
//! a bucket admits no more than capacity and refill if the intervals of its charges do not overlap and none
//! ends later than one capacity ahead. That is exact, in integers.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use tollgate::Decision;

/// Log of one process. What is written is kept when the process is killed.
pub struct Log(File);

impl Log {
    pub fn open(path: &Path) -> Log {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Log(file.expect("a log"))
    }

    /// Writes what the decision on a key has charged, in tokens and in units.
    pub fn write(&mut self, key: u64, decision: &Decision) {
        let [begin, end, empty] = decision.view().sold();
        let record = [key, decision.view().cost().into(), begin, end, empty];
        let bytes = record.map(u64::to_ne_bytes);
        self.0
            .write_all(bytes.as_flattened())
            .expect("space for the log");
    }
}

/// Charge of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Charge {
    begin: u64,
    end: u64,
    empty: u64,
    tokens: u64,
}

/// Sums of a check.
#[derive(Default)]
pub struct Sums {
    pub charges: u64,
    /// Charges of units that were sold before, or too far ahead.
    pub over: u64,
    /// The most tokens that one key was granted.
    pub most_tokens: u64,
}

/// Checks the logs in a directory.
pub fn check(logs: &Path) -> Sums {
    let mut keys: BTreeMap<u64, Vec<Charge>> = BTreeMap::new();
    for entry in fs::read_dir(logs).expect("the logs") {
        let bytes = fs::read(entry.expect("a log").path()).expect("a log");
        let (words, _) = bytes.as_chunks();
        let words: Vec<u64> = words.iter().map(|&word| u64::from_ne_bytes(word)).collect();
        let (records, _) = words.as_chunks();
        for &[key, tokens, begin, end, empty] in records {
            let charge = Charge {
                begin,
                end,
                empty,
                tokens,
            };
            keys.entry(key).or_default().push(charge);
        }
    }
    let mut sums = Sums::default();
    for charges in keys.values_mut() {
        charges.sort_unstable();
        let mut sold_until = 0;
        for charge in charges.iter() {
            sums.over += u64::from(charge.begin < sold_until || charge.end > charge.empty);
            sold_until = sold_until.max(charge.end);
        }
        sums.charges += charges.len() as u64;
        let tokens = charges.iter().map(|charge| charge.tokens).sum();
        sums.most_tokens = sums.most_tokens.max(tokens);
    }
    sums
}
