//! The client for requests to the product's own back end.

use std::time::Duration;

use common::config::ConfigError;
use reqwest::{Url, header, redirect, retry};

use crate::settings::BackEndOptions;

/// Builds a client that sends the back end's secret and follows no redirect: the secret is for this URL alone.
///
/// # Errors
/// The secret is wrong, or the client can't be made; the error names the variable.
pub(crate) fn client(
    options: &BackEndOptions,
    (variable, url): (&'static str, &Url),
    time_limit: Duration,
) -> Result<reqwest::Client, ConfigError> {
    let authorization = (header::AUTHORIZATION, options.authorization()?);
    let http = reqwest::Client::builder()
        .default_headers(header::HeaderMap::from_iter([authorization]))
        .user_agent(concat!("message-api/", env!("CARGO_PKG_VERSION")))
        .timeout(time_limit)
        .connect_timeout(time_limit / 3)
        .redirect(redirect::Policy::none())
        .retry(retry::never());
    // Plain http stays in the own network.
    let http = if url.scheme() == "http" { http.no_proxy() } else { http };
    http.build().map_err(|error| ConfigError::new(variable, error.to_string()))
}
