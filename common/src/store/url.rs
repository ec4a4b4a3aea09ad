//! Checks `DATABASE_URL` at the start. A wrong address would otherwise look like a database that is away.

use std::path::Path;

use url::Url;

use crate::certificate;
use crate::config::ConfigError;

const HELP: &str = "write sqlite:<file> or postgres://user:password@host/database";
/// Parameters that the driver reads. It ignores all others, for example a misspelt `sslmode`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Checks the address of either database without connecting.
pub(super) fn check(url: &str) -> Result<(), ConfigError> {
    let checked = match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => check_postgres(url),
        Some(("sqlite", _)) => check_sqlite(sqlite_file(url)),
        _ => Err(HELP.into()),
    };
    // The address is not repeated: it may hold a password.
    checked.map_err(|problem| ConfigError::new("DATABASE_URL", problem))
}

/// The file of a `sqlite:` address.
pub(super) fn sqlite_file(url: &str) -> &str {
    url.trim_start_matches("sqlite:").trim_start_matches("//")
}

fn check_postgres(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; {HELP}"))?;
    let has =
        |names: &[&str]| url.query_pairs().any(|(name, value)| names.contains(&&*name) && !value.is_empty());
    if url.host_str().is_none_or(str::is_empty) && !has(&["host", "hostaddr"]) {
        return Err(format!(
            "names no host; {HELP}, or postgres:///database?host=/run/postgresql for a socket"
        ));
    }
    if url.path().trim_matches('/').is_empty() && !has(&["dbname"]) {
        return Err(format!("names no database; {HELP}"));
    }
    let is_known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
    match url.query_pairs().find(|(name, _)| !is_known(name)) {
        Some((name, _)) => {
            Err(format!("has an unknown parameter {name:?}; remove it or correct its spelling"))
        }
        None => check_authority(&url),
    }
}

/// The driver takes any certificate unless `sslmode` says to verify it, also beside a `sslrootcert`.
fn check_authority(url: &Url) -> Result<(), String> {
    let value = |names: [&str; 2]| url.query_pairs().find(|(name, _)| names.contains(&&**name));
    let Some((name, file)) = value(["sslrootcert", "ssl-root-cert"]) else { return Ok(()) };
    let mode = value(["sslmode", "ssl-mode"]).map(|(_, mode)| mode.to_ascii_lowercase());
    if !mode.is_some_and(|mode| mode.starts_with("verify")) {
        return Err(format!("{name} has no effect without sslmode=verify-full"));
    }
    certificate::check_file(Path::new(&*file)).map_err(|wrong| format!("{name} {wrong}"))
}

fn check_sqlite(file: &str) -> Result<(), String> {
    if file.is_empty() || file.contains('?') || file.contains(":memory:") {
        return Err("write sqlite:<file>: the services share a file on disk".into());
    }
    let path = Path::new(file);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The file itself is not opened: closing it would end the locks that this process has on it.
    if path.is_dir() || file.ends_with('/') {
        Err(format!("{file} is a folder; write sqlite:<file>"))
    } else if !folder.is_dir() {
        Err(format!("there is no folder {}; create it or choose another", folder.display()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_address_is_refused_without_showing_its_password() {
        for wrong in [
            "",
            "church.db",
            "mysql://user:secret@host/db",
            "postgres:",
            "postgres://",
            "postgres:///church",
            "postgres://user:secret@/church",
            "postgres://user:secret@host",
            "postgres://user:secret@host:port/church",
            "postgres://user:secret@host/church?sslmod=require",
            "postgres://user:secret@host/church?sslrootcert=/etc/hostname",
            "postgres://user:secret@host/church?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            "postgres://user:secret@host/church?sslmode=verify-full&sslrootcert=/etc/hostname",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:/etc",
            "sqlite:/tmp/",
            "sqlite:/no/such/folder/church.db",
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.starts_with("DATABASE_URL: ") && !error.contains("secret"), "{wrong}: {error}");
        }
    }

    #[test]
    fn addresses_of_both_databases_are_accepted() {
        for right in [
            "postgres://user:secret@host/church",
            "postgresql://host:5433/church?sslmode=verify-full",
            "postgres:///church?host=/run/postgresql&user=church",
            "sqlite:church.db",
            "sqlite:/tmp/church.db",
            "sqlite:///tmp/church.db",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
    }
}
