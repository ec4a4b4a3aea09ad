//! How a service ends: its exit code and its last message.

use std::process::ExitCode;

use crate::config::ConfigError;

#[expect(
    clippy::print_stderr,
    reason = "a terminal must show why the service ended, whatever the log's filter"
)]
pub(super) fn fail(name: &str, error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<ConfigError>() { 2 } else { 1 };
    eprintln!("{name}: {error:#}");
    ExitCode::from(code)
}

/// Ends with clap's own message and exit code. Adds the environment variables of the arguments that clap names.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
pub fn refuse(error: &clap::Error, command: &clap::Command) -> ExitCode {
    // A closed output has no reader.
    let _ = error.print();
    let variables = variables_of(error, command);
    if !variables.is_empty() {
        eprintln!("\nin the environment: {}", variables.join(", "));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The environment variables of the arguments in an error. Clap itself names the flags alone.
fn variables_of(error: &clap::Error, command: &clap::Command) -> Vec<String> {
    use clap::error::{ContextKind, ContextValue};
    let flags: Vec<&String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => vec![flag],
        Some(ContextValue::Strings(flags)) => flags.iter().collect(),
        _ => Vec::new(),
    };
    let names = flags.iter().filter_map(|flag| flag.split_whitespace().next()?.strip_prefix("--"));
    names.filter_map(|name| variable_of(name, command)).collect()
}

/// The variable of a flag of the command or of one of its subcommands, where it is the same.
fn variable_of(flag: &str, command: &clap::Command) -> Option<String> {
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
    match argument.and_then(clap::Arg::get_env) {
        Some(variable) => Some(variable.to_string_lossy().into_owned()),
        None => command.get_subcommands().find_map(|subcommand| variable_of(flag, subcommand)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    enum Tool {
        Run(Two),
    }

    #[derive(Debug, clap::Parser)]
    struct Two {
        #[arg(long, env = "SERVICE_TEST_ONE_VALUE")]
        one_value: u16,
        #[arg(long, env = "SERVICE_TEST_OTHER")]
        other: String,
    }

    #[test]
    fn a_wrong_or_missing_setting_is_named_by_its_variable() {
        use clap::{CommandFactory as _, Parser as _};
        let named =
            |arguments: &[&str]| variables_of(&Two::try_parse_from(arguments).unwrap_err(), &Two::command());
        assert_eq!(named(&["two"]), ["SERVICE_TEST_ONE_VALUE", "SERVICE_TEST_OTHER"]);
        assert_eq!(named(&["two", "--one-value", "x", "--other", "y"]), ["SERVICE_TEST_ONE_VALUE"]);
        let error = Tool::try_parse_from(["tool", "run", "--one-value", "1"]).unwrap_err();
        assert_eq!(variables_of(&error, &Tool::command()), ["SERVICE_TEST_OTHER"], "of a subcommand");
    }
}
