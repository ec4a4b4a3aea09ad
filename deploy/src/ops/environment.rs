//! `--env-file`: settings from a file. They are read before the command line, which takes its defaults from them.

use std::ffi::OsString;
use std::path::PathBuf;

use common::config::ConfigError;

/// The flag, as the command line shows it.
const FLAG: &str = "--env-file";

/// Sets the variables of the file that the command line names. A variable that is set already stays.
///
/// # Errors
/// The file can't be read, or a line is no `NAME=value`. The error shows no value.
pub(super) fn load(arguments: impl Iterator<Item = OsString>) -> Result<(), ConfigError> {
    let Some(file) = named(arguments) else { return Ok(()) };
    let wrong = |why: String| Err(ConfigError::new(FLAG, format!("{}: {why}", file.display())));
    match dotenvy::from_path(&file) {
        Ok(()) => Ok(()),
        Err(dotenvy::Error::Io(error)) => wrong(error.to_string()),
        Err(dotenvy::Error::LineParse(..)) => wrong("a line is no NAME=value".into()),
        Err(_) => wrong("can't be read".into()),
    }
}

fn named(mut arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == FLAG {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(file) = text.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('=')) {
            return Some(PathBuf::from(file));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_in(arguments: &[&str]) -> Option<PathBuf> {
        named(arguments.iter().map(OsString::from))
    }

    #[test]
    fn the_file_is_found_in_both_forms_of_the_flag() {
        let expected = Some(PathBuf::from("/etc/church/.env"));
        assert_eq!(file_in(&["audit", "--env-file", "/etc/church/.env"]), expected);
        assert_eq!(file_in(&["--env-file=/etc/church/.env", "audit"]), expected);
        assert_eq!(file_in(&["audit", "--env-files", "x"]), None);
        assert_eq!(file_in(&["audit", "--env-file"]), None);
    }

    #[test]
    fn a_broken_file_is_named_without_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "SECRET hidden\n").unwrap();
        let argument = OsString::from(format!("--env-file={}", file.display()));
        let error = load([argument].into_iter()).unwrap_err().to_string();
        assert!(error.starts_with(FLAG) && !error.contains("hidden"), "{error}");
    }
}
