//! Parses the command line and the environment into settings.

use std::env;
use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, FromArgMatches, Parser};

/// Parses these arguments and the environment into settings; the first argument is the
/// program's name.
///
/// # Errors
///
/// A sentence that names the wrong flag or variable; `--help` and `--version` are errors to
/// clap, too.
pub fn try_parse_from<P: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, clap::Error> {
    try_parse_command(P::command(), arguments, |_, _| Ok(()))
}

/// As [`try_parse_from`], with a command that was changed, and a check of what was given.
///
/// # Errors
///
/// As [`try_parse_from`], and those of the check.
pub fn try_parse_command<P: FromArgMatches>(
    command: Command,
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    check: impl FnOnce(&mut Command, &ArgMatches) -> Result<(), clap::Error>,
) -> Result<P, clap::Error> {
    let mut command = unset_empty(command);
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    check(&mut command, &matches)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// As [`try_parse_from`], without the environment: for tests, whose outcome must not depend
/// on where they run.
///
/// # Errors
///
/// As for [`try_parse_from`].
pub fn try_parse_flags<P: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, clap::Error> {
    let mut command = P::command().mut_args(|argument| argument.env(None));
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The settings without any flags or variables: the `Default` of structs that derive
/// [`Args`].
///
/// # Panics
///
/// When one of them has no default. That does not depend on user input, and is tested in the
/// crate that defines the settings.
pub fn defaults<A: Args>() -> A {
    let command = A::augment_args(Command::new("defaults").no_binary_name(true))
        .mut_args(|argument| argument.env(None));
    let matches = command.try_get_matches_from(std::iter::empty::<OsString>());
    match matches.and_then(|matches| A::from_arg_matches(&matches)) {
        Ok(settings) => settings,
        Err(error) => unreachable!("a setting has no default: {error}"),
    }
}

/// Treats variables that are empty or only white space as unset. clap would pass them to the
/// setting's parser.
fn unset_empty(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let set_to_nothing = argument
                .get_env()
                .and_then(env::var_os)
                .is_some_and(|value| value.to_str().is_some_and(|value| value.trim().is_empty()));
            match set_to_nothing {
                true => argument.env(None),
                false => argument,
            }
        })
        .mut_subcommands(unset_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{count, text};

    #[derive(Debug, Parser, PartialEq)]
    struct Settings {
        /// Cargo sets this variable for tests; it is not empty.
        #[arg(long, env = "CARGO_PKG_NAME", value_parser = text)]
        name: Option<String>,
        #[arg(long, env = "CARGO_PKG_HOMEPAGE", default_value = "3", value_parser = count)]
        count: usize,
    }

    #[test]
    fn an_empty_variable_is_unset_and_a_flag_wins() {
        // The crate has no home page, so Cargo sets this variable to an empty string.
        assert_eq!(env::var("CARGO_PKG_HOMEPAGE").as_deref(), Ok(""));
        let settings: Settings = try_parse_from(["program"]).unwrap();
        assert_eq!(settings.count, 3);
        assert_eq!(settings.name.as_deref(), Some("siglip2-flags"));
        let settings: Settings =
            try_parse_from(["program", "--name", " a ", "--count=4 "]).unwrap();
        assert_eq!((settings.count, settings.name.as_deref()), (4, Some("a")));
        assert!(try_parse_from::<Settings>(["program", "--count", ""]).is_err());
        let settings: Settings = try_parse_flags(["program", "--count", "5"]).unwrap();
        assert_eq!((settings.count, settings.name), (5, None));
    }

    #[test]
    fn defaults_ask_no_variable() {
        let settings: Settings = defaults();
        assert_eq!(
            settings,
            Settings {
                name: None,
                count: 3
            }
        );
    }
}
