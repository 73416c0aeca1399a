//! Rate limits inside a program that is not a server: a worker that takes jobs from a queue.
//!
//! Each tenant has a burst of five jobs, then one per minute. The worker defers jobs over that
//! limit, so that one busy tenant does not delay the others. The service that each job calls allows
//! a burst of two calls, then a hundred per second; for those the worker waits.
//!
//! Run `cargo run -p tollgate-examples --example embedded`.

use std::{collections::VecDeque, thread};

use tollgate::{Bucket, KeyedLimiter, Quota};

/// Limit of the called service, shared by all tenants.
static CALLS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(2));

struct Job {
    tenant: &'static str,
    number: u32,
}

/// Calls the service, after a wait when its limit is reached.
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
    let mut deferred = Vec::new();
    while let Some(job) = queue.pop_front() {
        match tenants.try_acquire(job.tenant, 1).ok() {
            Ok(_) => call(&job),
            Err(refused) => {
                println!("{} {}: deferred, {refused}", job.tenant, job.number);
                deferred.push(job);
            }
        }
    }
    println!("{} jobs were deferred", deferred.len());
}
