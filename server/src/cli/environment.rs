//! Arguments of the command line for which an environment variable that is set to "" is unset.
//!
//! Container platforms and unit files cannot remove a variable, but can set it to "".

use std::env;

use clap::{Arg, Command, CommandFactory, builder::Resettable};

/// Returns the command, whose arguments ignore variables that are set to "".
pub(super) fn command<T: CommandFactory>() -> Command {
    T::command()
        .mut_args(without_empty_variable)
        .mut_subcommands(|command: Command| command.mut_args(without_empty_variable))
}

/// Ignores the variable of an argument if it is set to "".
fn without_empty_variable(argument: Arg) -> Arg {
    let value = argument.get_env().and_then(env::var_os);
    match value {
        Some(value) if value.is_empty() => argument.env(Resettable::Reset),
        _ => argument,
    }
}
