//! Tables that a reboot outlives: their time goes on by the wall clock.

use std::time::Duration;

use tollgate::{OpenError, Quota};

use crate::{control_page, directory::Directory};

/// Words of a control file: the number of the boot, the offset of its clock,
const BOOT_ID: usize = 10;
const CLOCK_OFFSET: usize = 12;
/// the difference of the wall clock and the table's, and a recent time of the table.
const WALL_MINUS_TABLE: usize = 11 * 16;
const LAST_TABLE_TIME: usize = 12 * 16;

const HOUR: u64 = 3_600_000_000_000;

/// Empties a bucket of 10 tokens an hour, lets the machine reboot for the file, and returns how many
/// tokens there are then.
fn after_reboot(change: impl FnOnce(&mut [u64])) -> u32 {
    let directory = Directory::new();
    let quota = Quota::per_hour(10);
    let limiter = directory.open(quota);
    limiter.try_acquire("alice", 10).ok().unwrap();
    drop(limiter);
    control_page::change(&directory.path(), |words| {
        words[BOOT_ID] ^= 1;
        // Another boot has another clock.
        words[CLOCK_OFFSET] = words[CLOCK_OFFSET].wrapping_add(77 * HOUR);
        change(words);
    });
    let limiter = directory.open(quota);
    let available = limiter.available("alice");
    // The file is that of this boot again: nothing more changes.
    assert_eq!(directory.open(quota).available("alice"), available);
    // And its time goes on.
    let quick = Quota::per_second(1000).with_capacity(1);
    limiter.replace(quick);
    limiter.try_acquire("alice", 1).ok().unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert!(limiter.try_acquire("alice", 1).is_allowed());
    available
}

/// A container may show another number for the boot of its machine.
#[test]
fn another_boot_while_others_have_the_table_is_another_clock() {
    let directory = Directory::new();
    let quota = Quota::per_hour(10);
    let limiter = directory.open(quota);
    control_page::change(&directory.path(), |words| words[BOOT_ID] ^= 1);
    let error = directory.try_open(quota).unwrap_err();
    assert!(matches!(error, OpenError::OtherClock), "{error}");
    drop(limiter);
    directory.open(quota);
}

#[test]
fn time_goes_on_by_the_wall_clock() {
    assert_eq!(after_reboot(|_| {}), 0);
    // It was off for half an hour.
    let off = |words: &mut [u64]| {
        words[WALL_MINUS_TABLE] = words[WALL_MINUS_TABLE].wrapping_sub(HOUR / 2);
    };
    assert_eq!(after_reboot(off), 5);
}

#[test]
fn a_wall_clock_that_jumps_gives_at_most_one_full_bucket() {
    // Back by ten years: the time of the table goes on where it was.
    let back = |words: &mut [u64]| {
        words[WALL_MINUS_TABLE] = words[WALL_MINUS_TABLE].wrapping_add(87_660 * HOUR);
    };
    assert_eq!(after_reboot(back), 0);
    // Forward by a century, which is further than the time of a table goes.
    let forward = |words: &mut [u64]| {
        words[WALL_MINUS_TABLE] = words[WALL_MINUS_TABLE].wrapping_sub(876_600 * HOUR);
    };
    assert_eq!(after_reboot(forward), 10);
}

#[test]
fn the_last_time_of_the_table_is_kept_without_a_wall_clock() {
    // Ten minutes of table time that the wall clock does not know of.
    let ahead = |words: &mut [u64]| {
        words[WALL_MINUS_TABLE] = words[WALL_MINUS_TABLE].wrapping_add(87_660 * HOUR);
        words[LAST_TABLE_TIME] += HOUR / 10;
    };
    assert_eq!(after_reboot(ahead), 1);
}
