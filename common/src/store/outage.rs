//! Logs why the database can't be used: its address, the user and the cause, at most once a minute.

use std::error::Error;
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use tracing::warn;

use super::failures::StoreError;
use crate::certificate;
use crate::throttle::Throttle;

/// The address of a database without its password, and when its outage was last logged.
pub(super) struct Outage {
    address: String,
    user: String,
    throttle: Throttle,
}

impl Outage {
    /// Reads the address from `DATABASE_URL`.
    pub(super) fn new(url: &str) -> Self {
        let file = url.strip_prefix("sqlite:").map(|file| file.trim_start_matches("//").to_owned());
        let (address, user) = match (file, PgConnectOptions::from_str(url)) {
            (Some(file), _) => (file, String::new()),
            (None, Ok(options)) => (postgres_address(&options), options.get_username().to_owned()),
            (None, Err(_)) => <_>::default(),
        };
        Self { address, user, throttle: Throttle::once_a_minute() }
    }

    /// Says which database an error concerns, and the cause.
    pub(super) fn explain(&self, error: &StoreError) -> String {
        format!("the database {} does not answer: {}", self.address, cause_of(error))
    }

    /// Logs an error. Returns its cause for the readiness.
    pub(super) fn report(&self, error: &StoreError) -> String {
        let cause = cause_of(error);
        let Self { address, user, .. } = self;
        if let Some(held_back) = self.throttle.opens(&cause) {
            warn!(address, user, cause, held_back, "the database can't be used: {error}; trying again");
        }
        format!("{error}: {cause}")
    }
}

fn postgres_address(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// The innermost error: the message of the server or the operating system. What concerns TLS names the setting.
fn cause_of(error: &StoreError) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let cause = deepest.to_string();
    match certificate::POSTGRES.advice(&cause) {
        Some(advice) => format!("{cause}; {advice}"),
        None => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_the_address_without_the_password() {
        for (url, address, user) in [
            ("postgres://church:hidden@db.example.org/live", "db.example.org:5432/live", "church"),
            (
                "postgres://church:hid%40den@10.0.0.1:6543/live?sslmode=require",
                "10.0.0.1:6543/live",
                "church",
            ),
            ("sqlite:/var/lib/church.db", "/var/lib/church.db", ""),
        ] {
            let outage = Outage::new(url);
            assert_eq!((outage.address.as_str(), outage.user.as_str()), (address, user));
        }
    }
}
