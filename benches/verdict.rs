//! The table at the end of `cargo bench`: every ratio of interest, its goal, and whether it is met.
//! Then plots of the same record.
//!
//! It reads the last record of the other targets; cargo runs targets in the order of their names. A
//! ratio is the median of the ratios of neighbouring slices, and the two numbers behind it are its
//! quartiles. Nanoseconds depend on the machine and are medians of their own, so they need not
//! divide into exactly that ratio.

mod support;

use std::{env, error::Error, fs, path::PathBuf};

use support::{
    plot::{Axes, Series, bars, lines},
    record::Rounds,
};

/// A ratio and its upper bound, if one is promised.
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
    row("compound/buckets", "ours", "one limit", None),
    row("compound/buckets", "ours", "two by hand", None),
    row("compound/buckets", "ours", "governor", None),
    row("compound/refused", "ours", "allowed", Some(1.0)),
    row("compound/1k", "ours", "one limit", Some(1.3)),
    row("compound/1k", "ours", "two by hand", None),
    row("compound/1k", "ours", "governor", None),
    row("compound/1M", "ours", "one limit", Some(1.2)),
    row("compound/1M", "ours", "two by hand", None),
    row("compound/1M", "ours", "governor", None),
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

/// Bytes per key; the bound is absolute.
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

/// Medians of a side over scenarios.
fn series(name: &'static str, scenarios: &[String]) -> Series {
    let median = |scenario: &String| Rounds::load(scenario)?.median(name);
    Series {
        name,
        values: scenarios.iter().map(median).collect(),
    }
}

/// Draws the plots into `plots/` of the target directory, and prints their paths.
fn plot() -> Result<(), Box<dyn Error>> {
    let directory = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from("target"), PathBuf::from)
        .join("plots");
    fs::create_dir_all(&directory)?;
    let named = |pattern: &str, parts: &[&str]| -> Vec<String> {
        parts
            .iter()
            .map(|part| pattern.replace("{}", part))
            .collect()
    };

    let threads = ["1", "2", "4", "8"];
    let scenarios = named("contention/{}", &threads);
    let contention = directory.join("contention.svg");
    let axes = Axes {
        title: "One bucket under contention",
        x: "threads",
        y: "ns per decision, over all threads",
        categories: &threads,
    };
    let sides = ["ours", "governor", "Mutex", "floor"];
    lines(
        &contention,
        &axes,
        &sides.map(|side| series(side, &scenarios)),
    )?;

    let keys = ["1k", "1M", "10M"];
    let scenarios = named("keyed/{}/1", &keys);
    let latency = directory.join("keys.svg");
    let axes = Axes {
        title: "A known IpAddr key, one thread",
        x: "keys",
        y: "ns per decision",
        categories: &["1 k", "1 M", "10 M"],
    };
    let sides = [
        "ours",
        "governor",
        "Mutex",
        "ours, batches",
        "governor, foldhash",
    ];
    lines(&latency, &axes, &sides.map(|side| series(side, &scenarios)))?;

    let kinds = [
        "1M/allocated",
        "1M/resident",
        "10M/allocated",
        "10M/resident",
    ];
    let scenarios = named("memory/{}", &kinds);
    let memory = directory.join("memory.svg");
    let axes = Axes {
        title: "Memory of an IpAddr key",
        x: "keys",
        y: "bytes per key",
        categories: &[
            "1 M, allocated",
            "1 M, resident",
            "10 M, allocated",
            "10 M, resident",
        ],
    };
    bars(
        &memory,
        &axes,
        &["ours", "governor"].map(|side| series(side, &scenarios)),
    )?;

    println!();
    for path in [contention, latency, memory] {
        if path.exists() {
            println!("plot: {}", path.display());
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
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
    // `cargo test --benches` only checks that it starts.
    if env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    plot()
}
