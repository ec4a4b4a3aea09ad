//! CORS: which web pages may call message-api and the gateway.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

use crate::config::{self, ConfigError};
use crate::trace_context::TRACEPARENT;

/// Request headers that the API itself reads: a page may always send them.
const OWN_HEADERS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-csrf-token"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static(TRACEPARENT),
];
/// How long a browser may cache the answer to a preflight. Chromium caps it at two hours.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3_600);

/// `CORS_ORIGINS` and `CORS_HEADERS`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Web pages")]
pub struct CorsOptions {
    /// Origins of the front ends, comma separated (`https://app.example.org`); `localhost` allows any localhost origin
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// Request headers that their pages may send, comma separated, besides Authorization, Content-Type, X-CSRF-Token,
    /// Idempotency-Key and traceparent
    #[arg(
        long,
        env = "CORS_HEADERS",
        value_delimiter = ',',
        default_value = "x-requested-with,sentry-trace,baggage",
        value_name = "HEADER"
    )]
    pub cors_headers: Vec<String>,
}

/// The CORS layer of the configured origins, with credentials.
///
/// # Errors
/// Names the invalid origin or header.
pub fn layer(options: &CorsOptions) -> Result<CorsLayer, ConfigError> {
    let (local, named): (Vec<_>, Vec<_>) =
        options.cors_origins.iter().map(|origin| origin.trim()).partition(|origin| *origin == "localhost");
    let named = named.into_iter().map(origin).collect::<Result<Vec<_>, _>>()?;
    let localhost = !local.is_empty();
    let allowed =
        move |origin: &HeaderValue, _: &Parts| named.contains(origin) || (localhost && is_localhost(origin));
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(headers(&options.cors_headers)?)
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_AGE))
}

/// An origin as a browser sends it. Any other spelling would never match a request.
fn origin(text: &str) -> Result<HeaderValue, ConfigError> {
    let shown = config::without_secrets(text);
    let wrong = |problem: String| Err(ConfigError::new("CORS_ORIGINS", problem));
    let Some(sent) = Url::parse(text).ok().filter(is_site).map(|url| url.origin().ascii_serialization())
    else {
        return wrong(format!(
            "{shown:?} is not an origin; write scheme and host, as https://app.example.org, each origin by itself"
        ));
    };
    match HeaderValue::from_str(text) {
        Ok(value) if sent == text => Ok(value),
        _ => wrong(format!("browsers never send the origin {shown:?}; write {sent:?}")),
    }
}

/// A URL parser accepts `*` in a host; a real host has none.
fn is_site(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.contains('*'))
}

/// The headers of a page: the API's own and the configured ones. An empty setting means none.
fn headers(configured: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    let header = |name: &&str| match name.parse::<HeaderName>() {
        // With credentials, a browser takes the star as a header's name.
        Ok(header) if *name != "*" => Ok(header),
        _ => Err(ConfigError::new(
            "CORS_HEADERS",
            format!("{name:?} is not a header's name; list each header"),
        )),
    };
    let configured = configured.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    let configured = configured.map(|name| header(&name)).collect::<Result<Vec<_>, _>>()?;
    Ok(OWN_HEADERS.into_iter().chain(configured).collect())
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
    fn only_an_origin_as_browsers_send_it_is_accepted() {
        for right in [
            "https://app.example.org",
            "http://localhost:5173",
            "https://app.example.org:8443",
            "http://10.0.0.7:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
        ] {
            assert!(origin(right).is_ok(), "{right}");
        }
        for wrong in ["", "app.example.org", "*", "null", "https://", "https://*.example.org", "file:///x"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_error_proposes_the_spelling_that_browsers_send() {
        for wrong in [
            "https://app.example.org/",
            "https://app.example.org/live",
            "https://App.Example.org",
            "HTTPS://app.example.org",
            "https://app.example.org:443",
            "https://user:secret@app.example.org",
        ] {
            let error = origin(wrong).unwrap_err().to_string();
            assert!(error.contains("write \"https://app.example.org\""), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn configured_headers_are_added_to_the_apis_own() {
        let names = |configured: &[&str]| {
            let configured: Vec<_> = configured.iter().map(|name| (*name).to_owned()).collect();
            headers(&configured)
                .map(|headers| headers.iter().map(|h| h.as_str().to_owned()).collect::<Vec<_>>())
        };
        let own = ["authorization", "content-type", "x-csrf-token", "idempotency-key", "traceparent"];
        assert_eq!(names(&[""]).unwrap(), own);
        assert_eq!(names(&[" X-Tenant", "baggage"]).unwrap()[5..], ["x-tenant", "baggage"]);
        for wrong in ["*", "two words", "x:y"] {
            assert!(names(&[wrong]).unwrap_err().to_string().starts_with("CORS_HEADERS"), "{wrong}");
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
