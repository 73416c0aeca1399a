//! Limits inside of a program that serves nobody: a worker takes jobs from a queue.
//!
//! A tenant may have five jobs done at once, and one more a minute; what is too much is put off, so
//! that one busy tenant does not make the others wait. And the service that is called for each job
//! allows two calls at once, and a hundred a second: there the worker waits.
//!
//! `cargo run --example embedded`

use std::{collections::VecDeque, thread};

use tollgate::{Bucket, KeyedLimiter, Quota};

/// How often the other service may be called, whoever it is for.
static CALLS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(2));

struct Job {
    tenant: &'static str,
    number: u32,
}

/// Waits until the other service may be called.
fn call(job: &Job) {
    while let Err(refused) = CALLS.try_acquire(1).ok() {
        thread::sleep(refused.retry_after().unwrap_or_default());
    }
    println!("{} {}: done", job.tenant, job.number);
}

fn main() {
    let mut queue: VecDeque<Job> = (1..=8)
        .map(|number| Job {
            tenant: "busy",
            number,
        })
        .collect();
    queue.extend((1..=3).map(|number| Job {
        tenant: "quiet",
        number,
    }));

    let tenants = KeyedLimiter::new(Quota::per_hour(60).with_capacity(5), 10_000);
    let mut put_off = Vec::new();
    while let Some(job) = queue.pop_front() {
        match tenants.try_acquire(job.tenant, 1).ok() {
            Ok(_) => call(&job),
            Err(refused) => {
                println!("{} {}: put off, {refused}", job.tenant, job.number);
                put_off.push(job);
            }
        }
    }
    println!("{} jobs were put off", put_off.len());
}
