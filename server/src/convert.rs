//! Command that converts the rate limits of another product's file.

mod aspnetcore;
mod field;
mod fit;
mod nginx;
mod pattern;
mod policy;
mod regex;
mod scope;
#[cfg(test)]
mod tests;
mod traefik;
mod writer;
mod yaml;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::ExitCode,
};

use self::policy::Policy;
use crate::{cli::Convert, stdout, values::Product};

/// Maximum length of a file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Maximum number of characters of an error.
const MAX_ERROR: usize = 400;

/// Prints the configuration. An error is one line, and the exit code is 2.
pub(crate) fn run(flags: &Convert) -> ExitCode {
    let file = flags.file.display();
    let converted = read(&flags.file).and_then(|text| convert(flags.product, &flags.file, &text));
    match converted {
        Ok(Converted { text, limits, gaps }) => {
            stdout::print(&text);
            let count = |count: usize, what: &str| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            };
            let rest = match gaps {
                0 => "everything converted".to_owned(),
                gaps => format!(
                    "{} not converted: see the comments of the output",
                    count(gaps, "part")
                ),
            };
            eprintln!(
                "tollgate convert: {file}: {}, {rest}",
                count(limits, "limit")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tollgate convert: {file}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Configuration that says the same as a file of another product.
#[derive(Debug)]
struct Converted {
    text: String,
    limits: usize,
    gaps: usize,
}

/// Converts the text of a file. An error is one line.
fn convert(product: Product, path: &Path, text: &str) -> Result<Converted, String> {
    let one_line = |error: String| {
        // The words of a file may have control characters.
        let shown = error.chars().take(MAX_ERROR);
        shown
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect::<String>()
    };
    let (name, policy) = policy(product, path, text).map_err(one_line)?;
    let title = match path.file_name().filter(|name| *name != "-") {
        Some(file) => format!("Converted from {} ({name}).", file.to_string_lossy()),
        None => format!("Converted from a configuration of {name}."),
    };
    let (policy, text) = fit::fitted(policy, &title)?;
    Ok(Converted {
        text,
        limits: policy.limits.len(),
        gaps: policy.gaps.len(),
    })
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("expected at most {MAX_FILE} bytes, got more"));
    }
    decode(bytes)
}

/// Returns the policy of a file, and the name of its product.
fn policy(product: Product, path: &Path, text: &str) -> Result<(&'static str, Policy), String> {
    Ok(match product {
        Product::Nginx => ("nginx", nginx::convert(text)?),
        Product::Traefik => {
            let is_toml = path.extension().map(|extension| extension == "toml");
            ("Traefik", traefik::convert(text, is_toml)?)
        }
        Product::Aspnetcore => ("AspNetCoreRateLimit", aspnetcore::convert(text)?),
    })
}

/// Returns the text of a file, without a byte-order mark.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: expected UTF-8, got other bytes")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
