//! Control file: which table is the current one, and what all processes must agree on.

use std::{fs::File, time::Duration};

use super::{
    directory,
    error::OpenError,
    machine,
    page::{PAGE, SEALED_WORDS, is_sealed, sealed},
    region::{Region, WORD},
};
use crate::{
    clock::{BootClock, Clock, nanos_since_boot},
    duration::saturating_nanos,
    keyed::{hash::DefaultHashBuilder, sections},
    sync::{Arc, Ordering},
};

const MAGIC: u64 = u64::from_ne_bytes(*b"tollgate");
/// Number of the format of control files and tables.
pub(super) const FORMAT: u64 = 1;

/// Words that change, each on cache lines of its own: the numbers of the current table and list,
const CURRENT: usize = 10 * 16;
/// the time by the wall clock minus that of the table,
const WALL_MINUS_TABLE: usize = 11 * 16;
/// and a recent time of the table.
const LAST_TABLE_TIME: usize = 12 * 16;

/// Numbers of the current table and of the current list of rules, in one word, so that both change at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::keyed) struct Current {
    pub(in crate::keyed) table: u32,
    /// 0: there are no rules.
    pub(in crate::keyed) rules: u32,
}

impl Current {
    /// The first table, without rules.
    pub(super) const FIRST: Current = Current { table: 1, rules: 0 };

    fn of_word(word: u64) -> Current {
        Current {
            table: word as u32,
            rules: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.rules) << 32 | u64::from(self.table)
    }
}

/// The time of a table begins here, since a tick must not be 0: a word would be the same as before.
const BEGINNING: Duration = Duration::from_secs(3600);

/// A clock that has gone wrong must not bring a table to the end of its time, in 34 years.
const LONGEST_REBOOT: Duration = Duration::from_secs(366 * 86_400);

/// Interval at which inserts write the two times.
const TIMES_INTERVAL: Duration = Duration::from_secs(60);

/// The time by the wall clock minus that of the table, and a recent time of the table.
pub(super) type Times = [u64; 2];

/// Part of a control file that stays while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Number of the file, drawn at random.
    pub(super) id: u64,
    pub(super) seeds: [u64; 2],
    /// Hashes of some keys: another build may hash differently.
    probes: [u64; 3],
    time_namespace: u64,
    boot_id: u128,
    /// Offset of the clock; see [`BootClock`].
    clock_offset: u64,
}

impl Identity {
    /// Draws the identity of a new file.
    pub(super) fn draw(seeds: [u64; 2]) -> Result<Identity, OpenError> {
        Ok(Identity {
            id: DefaultHashBuilder::draw_seeds()[0],
            seeds,
            probes: DefaultHashBuilder::with_seeds(seeds).probes(),
            time_namespace: machine::time_namespace(),
            boot_id: machine::boot_id()?,
            clock_offset: saturating_nanos(BEGINNING).wrapping_sub(nanos_since_boot()),
        })
    }

    /// Returns the identity of a copy.
    pub(super) fn with_new_id(self) -> Identity {
        Identity {
            id: DefaultHashBuilder::draw_seeds()[0],
            ..self
        }
    }

    /// Returns the identity after a reboot: table time goes on by the wall clock, and never backward.
    fn after_reboot(self, boot_id: u128, times: Times) -> Identity {
        let [wall_minus_table, last] = times;
        // A wall clock that was behind the table's left a negative difference.
        let now = machine::wall_nanos().wrapping_sub(wall_minus_table);
        let now = u64::try_from(now.cast_signed()).unwrap_or(0);
        let now = now.clamp(last, last.saturating_add(saturating_nanos(LONGEST_REBOOT)));
        Identity {
            boot_id,
            clock_offset: now.wrapping_sub(nanos_since_boot()),
            ..self
        }
    }

    /// Returns the first page of a control file.
    pub(super) fn page(&self, current: Current, [wall_minus_table, last]: Times) -> Vec<u8> {
        let [a, b] = self.seeds;
        let [p, q, r] = self.probes;
        let boot = [(self.boot_id >> 64) as u64, self.boot_id as u64];
        let mut page = sealed(&[
            MAGIC,
            FORMAT,
            sections::FORMAT,
            self.id,
            a,
            b,
            p,
            q,
            r,
            self.time_namespace,
            boot[0],
            boot[1],
            self.clock_offset,
        ]);
        for (word, value) in [
            (CURRENT, current.word()),
            (WALL_MINUS_TABLE, wall_minus_table),
            (LAST_TABLE_TIME, last),
        ] {
            page[word * WORD..][..WORD].copy_from_slice(&value.to_ne_bytes());
        }
        page
    }

    /// Returns the times that a new file begins with.
    pub(super) fn first_times(&self) -> Times {
        let now = self.clock().nanos();
        [machine::wall_nanos().wrapping_sub(now), now]
    }

    fn read(region: &Region) -> Result<Identity, OpenError> {
        let words = sealed_words(region, 0).ok_or(OpenError::NotOurs)?;
        let [
            magic,
            format,
            layout,
            id,
            a,
            b,
            p,
            q,
            r,
            namespace,
            high,
            low,
            offset,
            ..,
        ] = words;
        if magic != MAGIC {
            return Err(OpenError::NotOurs);
        }
        if format != FORMAT {
            return Err(OpenError::Version { found: format });
        }
        if !is_sealed(&words) {
            let what = "the checksum of the control file is wrong";
            return Err(OpenError::Damaged { what });
        }
        if layout != sections::FORMAT {
            return Err(OpenError::Version { found: layout });
        }
        Ok(Identity {
            id,
            seeds: [a, b],
            probes: [p, q, r],
            time_namespace: namespace,
            boot_id: u128::from(high) << 64 | u128::from(low),
            clock_offset: offset,
        })
    }

    fn clock(&self) -> BootClock {
        BootClock {
            offset: self.clock_offset,
        }
    }
}

/// Open control file.
#[derive(Debug)]
pub(in crate::keyed) struct Control {
    region: Arc<Region>,
    file: File,
    identity: Identity,
}

impl Control {
    /// Opens a mapped control page. A second value: the page after a reboot, which is to be written.
    pub(super) fn open(
        file: File,
        region: Arc<Region>,
    ) -> Result<(Control, Option<Vec<u8>>), OpenError> {
        let identity = Identity::read(&region)?;
        let control = Control {
            region,
            file,
            identity,
        };
        let hasher = DefaultHashBuilder::with_seeds(identity.seeds);
        if hasher.probes() != identity.probes {
            return Err(OpenError::OtherHasher);
        }
        if identity.time_namespace != machine::time_namespace() {
            return Err(OpenError::OtherClock);
        }
        let boot_id = machine::boot_id()?;
        let page = (identity.boot_id != boot_id).then(|| {
            let times = times_of(&control.region);
            identity
                .after_reboot(boot_id, times)
                .page(control.current(), times)
        });
        Ok((control, page))
    }

    /// Returns what a copy of the control file has.
    pub(super) fn parts(&self) -> (&Identity, Current, Times) {
        (&self.identity, self.current(), times_of(&self.region))
    }

    pub(super) fn seeds(&self) -> [u64; 2] {
        self.identity.seeds
    }

    pub(super) fn id(&self) -> u64 {
        self.identity.id
    }

    pub(super) fn clock(&self) -> Clock {
        Clock::from(self.identity.clock())
    }

    /// Returns the numbers of the current table and list.
    #[inline(always)]
    pub(super) fn current(&self) -> Current {
        Current::of_word(self.region.words()[CURRENT].load(Ordering::Acquire))
    }

    /// Makes others the current ones, for all processes from their next call on.
    pub(super) fn set_current(&self, current: Current) {
        self.region.words()[CURRENT].store(current.word(), Ordering::Release);
        // Before the files of others are removed. A failure is that of a disk, which words cannot tell of.
        let _ = self.region.sync();
    }

    /// Writes the times by which the table's time goes on after a reboot, if that was long ago.
    pub(super) fn note_times(&self) {
        let now = self.identity.clock().nanos();
        if now.saturating_sub(self.load(LAST_TABLE_TIME)) >= saturating_nanos(TIMES_INTERVAL) {
            self.write_times(now);
        }
    }

    pub(super) fn write_times(&self, now: u64) {
        let words = self.region.words();
        words[LAST_TABLE_TIME].fetch_max(now, Ordering::Relaxed);
        let difference = machine::wall_nanos().wrapping_sub(now);
        words[WALL_MINUS_TABLE].store(difference, Ordering::Relaxed);
    }

    /// Returns true when the file was deleted: the next process to open its path creates another one.
    pub(super) fn is_detached(&self) -> bool {
        directory::is_removed(&self.file)
    }

    fn load(&self, word: usize) -> u64 {
        self.region.words()[word].load(Ordering::Relaxed)
    }
}

/// Reads a control file that is not in use.
pub(super) fn control_of(region: &Region) -> Result<(Identity, Current, Times), OpenError> {
    let identity = Identity::read(region)?;
    let current = Current::of_word(region.words()[CURRENT].load(Ordering::Acquire));
    Ok((identity, current, times_of(region)))
}

fn times_of(region: &Region) -> Times {
    [WALL_MINUS_TABLE, LAST_TABLE_TIME].map(|word| region.words()[word].load(Ordering::Relaxed))
}

/// Reads the words of a page that a checksum covers, each once.
pub(super) fn sealed_words(region: &Region, page: usize) -> Option<[u64; SEALED_WORDS]> {
    let words = region.words().get(page * PAGE / WORD..)?;
    let words = words.get(..SEALED_WORDS)?;
    Some(std::array::from_fn(|n| words[n].load(Ordering::Relaxed)))
}
