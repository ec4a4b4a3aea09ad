//! Which web pages may call us: one rule for message-api and the gateway.

use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::service::ConfigError;

/// `CORS_ORIGINS`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Web pages")]
pub struct CorsOptions {
    /// Origins of the front ends, comma separated (`https://app.example.org`); `localhost` allows any localhost origin
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
}

/// The CORS layer of the configured origins, with credentials.
///
/// # Errors
/// Names the origin that is none.
pub fn layer(options: &CorsOptions) -> Result<CorsLayer, ConfigError> {
    let localhost = options.cors_origins.iter().any(|origin| origin == "localhost");
    let named =
        options.cors_origins.iter().filter(|origin| *origin != "localhost").map(|origin| parse(origin));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let allowed =
        move |origin: &HeaderValue, _: &Parts| named.contains(origin) || (localhost && is_localhost(origin));
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-csrf-token"),
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([header::RETRY_AFTER]))
}

fn parse(origin: &str) -> Result<HeaderValue, ConfigError> {
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match (authority, HeaderValue::from_str(origin)) {
        (Some(authority), Ok(value)) if !authority.is_empty() && !authority.contains('/') => Ok(value),
        _ => Err(ConfigError::new(
            "CORS_ORIGINS",
            format!("{origin:?} is no origin; write scheme and host, without a path"),
        )),
    }
}

fn is_localhost(origin: &HeaderValue) -> bool {
    let Some(authority) =
        origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, authority)| authority)
    else {
        return false;
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_is_accepted_as_an_origin() {
        assert!(parse("https://app.example.org").is_ok());
        for wrong in ["app.example.org", "https://app.example.org/", "*", "https://"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn localhost_means_this_machine_alone() {
        for (origin, local) in [
            ("http://localhost:5173", true),
            ("http://127.0.0.1", true),
            ("http://[::1]:3000", true),
            ("http://localhost.evil.org", false),
            ("http://evil.org:80", false),
            ("null", false),
        ] {
            assert_eq!(is_localhost(&HeaderValue::from_static(origin)), local, "{origin}");
        }
    }
}
