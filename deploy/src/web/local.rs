//! Whether a request was made by a page of this machine's own. A page elsewhere may guess the port, and its name may be
//! made to lead here.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

/// Whether a request was made to this machine's own name, and by a page of the same origin if by a page.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    text(headers, header::HOST).is_some_and(names_this_machine) && is_of_origin(headers)
}

/// Whether a request was made by a page of its own origin, or by no page.
pub(crate) fn is_of_origin(headers: &HeaderMap) -> bool {
    let host = text(headers, header::HOST);
    text(headers, header::ORIGIN)
        .is_none_or(|origin| host.is_some() && origin.strip_prefix("http://") == host)
}

/// Whether a host with its port is this machine's own.
pub(crate) fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let is_loopback =
        |name: &str| name.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    name == "localhost" || is_loopback(name)
}

/// Whether a host with its port is an address, which nobody can make to lead elsewhere.
pub(crate) fn is_ip(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // A header that is no text is not as good as none.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_this_machines_names_and_the_page_itself_are_local() {
        for host in ["127.0.0.1:8093", "localhost:8093", "[::1]:8093", "127.0.0.1"] {
            assert!(is_local(&headers(host, None)), "{host}");
            assert!(is_local(&headers(host, Some(&format!("http://{host}")))), "{host}");
        }
        for (host, origin) in [
            ("evil.example", None),
            ("127.0.0.1.evil.example:8093", None),
            ("192.168.1.5:8093", None),
            ("127.0.0.1:8093", Some("http://evil.example")),
            ("127.0.0.1:8093", Some("http://127.0.0.1:3000")),
            ("127.0.0.1:8093", Some("null")),
        ] {
            assert!(!is_local(&headers(host, origin)), "{host} {origin:?}");
        }
    }
}
