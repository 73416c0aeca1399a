//! Parsing of the command line, where an environment variable that is set to "" is unset.
//!
//! Container platforms and unit files cannot remove a variable, but can set it to "".

use std::{env, ffi::OsString};

use clap::{Arg, Command, Parser, builder::Resettable};

/// Parses the command line and the environment.
pub(crate) fn parse<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<T, clap::Error> {
    let mut command = T::command()
        .mut_args(without_empty_variable)
        .mut_subcommands(|command: Command| command.mut_args(without_empty_variable));
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    T::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Ignores the variable of an argument if it is set to "".
fn without_empty_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(env::var_os);
    match value {
        Some(value) if value.is_empty() => argument.env(Resettable::Reset),
        _ => argument,
    }
}
