//! What was measured, kept between the bench targets of one `cargo bench`, and the statistics over
//! it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Nanoseconds for an operation: one row a round, one column a side.
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

    /// The middle of what a side took.
    pub fn median(&self, side: &str) -> Option<f64> {
        let side = self.column(side)?;
        quartiles(self.rows.iter().map(|round| round[side]).collect()).map(|[_, median, _]| median)
    }

    /// The quartiles of one side's time over another's, round by round.
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

    /// Writes the rounds down for the last target; nothing if nothing was measured, as under
    /// `--test`.
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

    /// What was last measured of a scenario.
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

/// The numbers a quarter, half and three quarters of the way up.
fn quartiles(mut numbers: Vec<f64>) -> Option<[f64; 3]> {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().checked_sub(1)?;
    Some([1, 2, 3].map(|quarter| numbers[last * quarter / 4]))
}
