//! Tortures a table that several processes share: they are killed and stopped at any step, and what they
//! admitted is checked afterwards. See `scripts/torture`.

#[cfg(tollgate_torture)]
mod change;
#[cfg(tollgate_torture)]
mod crowd;
#[cfg(tollgate_torture)]
mod process;
#[cfg(tollgate_torture)]
mod sold;
#[cfg(tollgate_torture)]
mod steps;

#[cfg(not(tollgate_torture))]
fn main() -> std::process::ExitCode {
    eprintln!("torture: built without its cfg; run scripts/torture");
    std::process::ExitCode::FAILURE
}

#[cfg(tollgate_torture)]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => run(15),
        ["--seconds", seconds] => run(number(seconds)),
        ["crowd", path, seed, log, end] => crowd::child(path, number(seed), log, number(end)),
        ["step", path, key, step, signal] => steps::child(path, number(key), number(step), signal),
        ["change", path, seed, end] => change::child(path, number(seed), number(end)),
        _ => {
            eprintln!("usage: scripts/torture [--seconds N]");
            std::process::exit(2);
        }
    }
}

#[cfg(tollgate_torture)]
fn run(seconds: u64) {
    steps::run();
    crowd::run(seconds);
    change::run(seconds.div_ceil(5));
    println!("torture: nothing over-admitted, nothing hangs");
}

#[cfg(tollgate_torture)]
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("torture: expected a number, got {text:?}");
        std::process::exit(2);
    })
}
