//! Processes of the torture: this program, started again.

use std::{
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
    time::{ClockId, clock_gettime},
};
use tempfile::TempDir;

/// Creates a directory in memory for the files of a table.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm")
}

/// Starts this program with other arguments.
pub fn start(arguments: &[&str]) -> Child {
    let program = std::env::current_exe().expect("the path of this program");
    let child = Command::new(program).args(arguments).spawn();
    child.expect("this program can be started again")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of /dev/shm is text")
}

pub fn signal(child: &Child, signal: Signal) {
    // Fails when the child has ended, which its parent will see.
    let _ = kill_process(pid(child), signal);
}

/// State of a child that has been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Stopped,
    Killed,
    Exited(i32),
}

/// Waits until a child has ended or stopped.
pub fn wait(child: &Child) -> Ended {
    let status = waitpid(Some(pid(child)), WaitOptions::UNTRACED);
    let (_, status) = status.expect("a child").expect("it has ended or stopped");
    match status.exit_status() {
        _ if status.stopped() => Ended::Stopped,
        Some(code) => Ended::Exited(code),
        None => Ended::Killed,
    }
}

/// Waits until children end, and lets those go on that stop meanwhile. Panics if one does not end.
pub fn end_all(mut children: Vec<Child>) {
    for _ in 0..2_000 {
        children.retain_mut(|child| {
            signal(child, Signal::CONT);
            child.try_wait().expect("a child").is_none()
        });
        if children.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    children
        .iter()
        .for_each(|child| signal(child, Signal::KILL));
    panic!("{} processes hang", children.len());
}

/// Returns the nanoseconds since the machine was booted, as the tables count them.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn pid(child: &Child) -> Pid {
    let id = i32::try_from(child.id()).expect("numbers of processes are small");
    Pid::from_raw(id).expect("it is not 0")
}

/// The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}
