//! Rate limits inside a program that is not a server: a worker that takes jobs from a queue.
//!
//! Each tenant has a burst of five jobs, then one per minute. The worker defers jobs over that
//! limit, so that one busy tenant does not delay the others. The service that each job calls allows
//! a burst of two calls, then a hundred per second; for those the worker waits.
//!
//! Run `cargo run -p tollgate-examples --example embedded`.

use std::{collections::VecDeque, thread};

use tollgate::{Bucket, KeyedLimiter, Quota, Refused};

/// Limit of the called service, shared by all tenants.
static CALLS: Bucket = Bucket::new(Quota::per_second(100).with_capacity(2));

struct Job {
    tenant: &'static str,
    number: u32,
}

/// Makes `calls` calls of the service, after a wait when its limit is reached.
///
/// # Errors
/// More calls at once than the capacity are never allowed: then no wait helps.
fn call(job: &Job, calls: u32) -> Result<(), Refused> {
    while let Err(refused) = CALLS.try_acquire(calls).ok() {
        thread::sleep(refused.retry_after().ok_or(refused)?);
    }
    println!("{} {}: done", job.tenant, job.number);
    Ok(())
}

fn main() -> Result<(), Refused> {
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
            Ok(_) => call(&job, 1)?,
            Err(refused) => {
                println!("{} {}: deferred, {refused}", job.tenant, job.number);
                deferred.push(job);
            }
        }
    }
    println!("{} jobs were deferred", deferred.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use tollgate::Outcome;

    use super::*;

    #[test]
    fn a_cost_above_the_capacity_ends_the_wait() {
        let job = Job {
            tenant: "busy",
            number: 1,
        };
        let refused = call(&job, 3).unwrap_err();
        assert_eq!(refused.outcome(), Outcome::CostAboveCapacity);
    }
}
