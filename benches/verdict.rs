//! The table that `cargo bench` ends with: every ratio of interest, what it should be at most, and
//! whether it is.
//!
//! It reads what the other targets have recorded last (cargo runs targets in the order of their
//! names). A ratio is the median of the ratios of neighbouring slices, and the two numbers behind
//! it are its quartiles; nanoseconds depend on the machine, and are medians of their own, so they
//! need not divide into exactly that ratio.

mod support;

use support::record::Rounds;

/// A ratio, and what it should be at most, if there is a promise.
struct Row {
    scenario: &'static str,
    ours: &'static str,
    peer: &'static str,
    target: Option<f64>,
}

const fn row(
    scenario: &'static str,
    ours: &'static str,
    peer: &'static str,
    target: Option<f64>,
) -> Row {
    Row {
        scenario,
        ours,
        peer,
        target,
    }
}

const TIMES: &[Row] = &[
    row("allow", "ours", "floor", Some(1.15)),
    row("allow", "ours", "governor", Some(1.05)),
    row("allow", "ours", "Mutex", None),
    row("refuse", "ours", "floor", None),
    row("refuse", "ours", "governor", None),
    row("refuse", "ours", "Mutex", None),
    row("contention/1", "ours", "governor", None),
    row("contention/2", "ours", "floor", None),
    row("contention/2", "ours", "governor", Some(0.9)),
    row("contention/2", "ours", "Mutex", None),
    row("contention/4", "ours", "governor", None),
    row("contention/4", "ours", "Mutex", None),
    row("contention/8", "ours", "governor", None),
    row("contention/8", "ours", "Mutex", None),
    row("keyed/1k/1", "ours", "governor", Some(0.75)),
    row("keyed/1k/1", "ours", "governor, foldhash", None),
    row("keyed/1k/1", "ours", "Mutex", None),
    row("keyed/1k/1", "ours, batches", "governor", None),
    row("keyed/1k/2", "ours", "governor", Some(0.75)),
    row("keyed/1k/2", "ours", "governor, foldhash", None),
    row("keyed/1k/2", "ours", "Mutex", None),
    row("keyed/1k/2", "ours, batches", "governor", None),
    row("keyed/1M/1", "ours", "governor", Some(0.6)),
    row("keyed/1M/1", "ours", "governor, foldhash", None),
    row("keyed/1M/1", "ours", "Mutex", None),
    row("keyed/1M/1", "ours, batches", "governor", None),
    row("keyed/1M/2", "ours", "governor", Some(0.6)),
    row("keyed/1M/2", "ours", "governor, foldhash", None),
    row("keyed/1M/2", "ours", "Mutex", None),
    row("keyed/1M/2", "ours, batches", "governor", None),
    row("keyed/10M/1", "ours", "governor", Some(0.6)),
    row("keyed/10M/1", "ours", "governor, foldhash", None),
    row("keyed/10M/1", "ours", "Mutex", None),
    row("keyed/10M/1", "ours, batches", "governor", None),
    row("keyed/10M/2", "ours", "governor", Some(0.6)),
    row("keyed/10M/2", "ours", "governor, foldhash", None),
    row("keyed/10M/2", "ours", "Mutex", None),
    row("keyed/10M/2", "ours, batches", "governor", None),
];

/// Bytes a key; the promise is an absolute one.
const BYTES: &[(&str, Option<f64>)] = &[
    ("memory/1M/allocated", Some(36.0)),
    ("memory/1M/resident", Some(36.0)),
    ("memory/10M/allocated", None),
    ("memory/10M/resident", None),
];

fn verdict(value: f64, target: Option<f64>) -> String {
    match target {
        None => " | ".to_owned(),
        Some(most) => format!(
            "{most:.2} | {}",
            if value <= most { "reached" } else { "MISSED" }
        ),
    }
}

fn print_time(row: &Row) {
    let rounds = Rounds::load(row.scenario);
    let found = rounds.as_ref().and_then(|rounds| {
        Some((
            rounds.median(row.ours)?,
            rounds.median(row.peer)?,
            rounds.ratio(row.ours, row.peer)?,
            rounds.len(),
        ))
    });
    let Row {
        scenario,
        ours,
        peer,
        target,
    } = row;
    match found {
        None => println!("| {scenario} | {ours} | {peer} | not measured |"),
        Some((ours_ns, peer_ns, [low, median, high], rounds)) => println!(
            "| {scenario:<12} | {ours:<13} | {ours_ns:7.1} | {peer:<18} | {peer_ns:7.1} | {median:.3} | {low:.2} to {high:.2} | {rounds:>5} | {} |",
            verdict(median, *target),
        ),
    }
}

fn print_bytes(scenario: &str, target: Option<f64>) {
    let rounds = Rounds::load(scenario);
    match rounds.and_then(|rounds| Some((rounds.median("ours")?, rounds.median("governor")?))) {
        None => println!("| {scenario} | not measured |"),
        Some((ours, governor)) => {
            println!(
                "| {scenario:<20} | {ours:6.1} | {governor:6.1} | {:.2} | {} |",
                ours / governor,
                verdict(ours, target)
            );
        }
    }
}

fn main() {
    println!(
        "\nNanoseconds an operation, in aggregate over all threads (the last number of a scenario); ratio = ours / peer\n"
    );
    println!(
        "| scenario | side | ns | peer | ns | ratio | quartiles | rounds | target | verdict |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    TIMES.iter().for_each(print_time);
    println!("\nBytes a key\n");
    println!("| scenario | ours | governor | ratio | target | verdict |");
    println!("| --- | --- | --- | --- | --- | --- |");
    BYTES
        .iter()
        .for_each(|&(scenario, target)| print_bytes(scenario, target));
}
