//! Conversion of typical files, and of hostile ones.

mod aspnetcore;
mod hostile;
mod nginx;
mod traefik;

use std::path::Path;

use super::*;
use crate::config::settings;

/// Returns the text of a converted file, which the server has accepted.
fn converted(product: Product, file: &str, text: &str) -> String {
    let converted = convert(product, Path::new(file), text).unwrap();
    settings(&converted.text);
    converted.text
}

/// Returns the configuration without comments and blank lines.
fn keys(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Returns what was not converted, a line each.
fn gaps(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# not converted: "))
        .collect()
}
