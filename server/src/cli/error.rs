//! Errors of the command line and the environment, in one line.

use std::{error::Error, ffi::OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Returns clap's error in one line: the flag or variable, the allowed values and the given value.
/// `arguments` are the parsed arguments.
pub(crate) fn one_line(
    error: &clap::Error,
    arguments: impl IntoIterator<Item = OsString>,
) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (ErrorKind::ValueValidation, Some(flag), Some(value), Some(expected)) = (
        error.kind(),
        context(ContextKind::InvalidArg),
        context(ContextKind::InvalidValue),
        error.source(),
    ) {
        let flag = flag.split(' ').next().unwrap_or(flag);
        let shown = if ["--admin-token", "--api-keys", "--check-token", "--redis"].contains(&flag) {
            "a value that is not shown".to_owned()
        } else {
            format!("{value:?}")
        };
        return format!(
            "{}: {expected}, got {shown}",
            name_as_given(flag, arguments)
        );
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            format!("{line}; --help lists the flags")
        }
        // The next lines name them.
        ErrorKind::MissingRequiredArgument => {
            let names = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.is_empty());
            let names: Vec<&str> = names.skip(1).collect();
            format!("{line} {}", names.join(" "))
        }
        _ => line.to_owned(),
    }
}

/// Returns the flag when it was given as an argument, else the name of its environment variable.
fn name_as_given(flag: &str, arguments: impl IntoIterator<Item = OsString>) -> String {
    let is_flag = |argument: OsString| {
        argument.to_str().is_some_and(|text| {
            text.strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    match arguments.into_iter().any(is_flag) {
        true => flag.to_owned(),
        false => flag
            .replacen("--", "TOLLGATE_", 1)
            .replace('-', "_")
            .to_uppercase(),
    }
}
