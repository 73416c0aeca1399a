//! Measurements, kept between the bench targets of one `cargo bench`, and their statistics.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Nanoseconds per operation: one row per round, one column per side.
#[derive(Debug)]
pub struct Rounds {
    sides: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Rounds {
    pub fn new<'a>(sides: impl IntoIterator<Item = &'a str>) -> Rounds {
        Rounds {
            sides: sides.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, round: Vec<f64>) {
        self.rows.push(round);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Median time of a side.
    pub fn median(&self, side: &str) -> Option<f64> {
        let side = self.column(side)?;
        quartiles(self.rows.iter().map(|round| round[side]).collect()).map(|[_, median, _]| median)
    }

    /// Quartiles of the ratio of two sides' times, round by round.
    pub fn ratio(&self, ours: &str, peer: &str) -> Option<[f64; 3]> {
        let (ours, peer) = (self.column(ours)?, self.column(peer)?);
        quartiles(
            self.rows
                .iter()
                .map(|round| round[ours] / round[peer])
                .collect(),
        )
    }

    fn column(&self, side: &str) -> Option<usize> {
        self.sides.iter().position(|name| name == side)
    }

    /// Writes the rounds to a file for the last target; writes nothing when nothing was measured,
    /// as under `--test`.
    pub fn save(&self, scenario: &str) {
        if self.rows.is_empty() {
            return;
        }
        let mut text = self.sides.join("\t") + "\n";
        for round in &self.rows {
            text += &round
                .iter()
                .map(f64::to_string)
                .collect::<Vec<_>>()
                .join("\t");
            text.push('\n');
        }
        if let Err(error) = write(&file(scenario), &text) {
            eprintln!("{scenario}: not recorded: {error}");
        }
    }

    /// Reads the last measurement of a scenario.
    pub fn load(scenario: &str) -> Option<Rounds> {
        let text = fs::read_to_string(file(scenario)).ok()?;
        let mut lines = text.lines();
        let sides: Vec<String> = lines.next()?.split('\t').map(str::to_owned).collect();
        let row = |line: &str| {
            line.split('\t')
                .map(|number| number.parse().ok())
                .collect::<Option<Vec<f64>>>()
        };
        let rows: Vec<Vec<f64>> = lines.map(row).collect::<Option<_>>()?;
        rows.iter()
            .all(|row| row.len() == sides.len())
            .then_some(Rounds { sides, rows })
    }
}

fn file(scenario: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("rounds")
        .join(scenario.replace('/', "_") + ".tsv")
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

/// First quartile, median and third quartile.
fn quartiles(mut numbers: Vec<f64>) -> Option<[f64; 3]> {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().checked_sub(1)?;
    Some([1, 2, 3].map(|quarter| numbers[last * quarter / 4]))
}
