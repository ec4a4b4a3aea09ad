//! What a request asks of the Socket.IO service, parsed into types. Whatever is not exactly one of these is refused
//! here, so that the Socket.IO library and the gateway never understand one request in two ways.

use axum::Json;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use common::claims;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use socketioxide::TransportType;
use socketioxide::socket::Sid;

use crate::http::websocket;

/// The service's path; the slash at its end may be missing.
const PATH: &str = "/socket.io/";
/// The only protocol version that is spoken.
const ENGINE_IO: &str = "4";

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Asked {
    /// A new session over this transport.
    Open(TransportType),
    /// The packets that wait for a session on polling.
    Poll(Sid),
    /// To take packets of a session on polling.
    Post(Sid),
    /// To go on over a websocket with a session that is on polling.
    Upgrade(Sid),
}

/// Why a request is refused for good, with the codes of the reference implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// There is nothing at this path.
    #[error("Not found")]
    Path,
    /// Neither polling nor a websocket.
    #[error("Transport unknown")]
    Transport,
    /// There is no such session.
    #[error("Session ID unknown")]
    Session,
    /// A session is opened by GET, and polled by GET and POST.
    #[error("Bad handshake method")]
    Method,
    /// A parameter that stands twice, JSONP, a websocket handshake with something missing.
    #[error("Bad request")]
    Malformed,
    /// Another version of Engine.IO than 4.
    #[error("Unsupported protocol version")]
    Version,
}

impl BadRequest {
    fn code(self) -> u8 {
        match self {
            Self::Transport => 0,
            Self::Session => 1,
            Self::Method => 2,
            Self::Path | Self::Malformed => 3,
            Self::Version => 5,
        }
    }
}

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        let status = if self == Self::Path { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        (status, Json(json!({"code": self.code(), "message": self.to_string()}))).into_response()
    }
}

/// The parameters that mean something here. One that stands twice is an error of this type's deserialization.
#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "EIO")]
    protocol: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
    token: Option<String>,
    /// JSONP, which would be answered with JavaScript.
    j: Option<IgnoredAny>,
}

/// A request that asks for one thing, and the token that it shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Opening {
    /// What it asks for.
    pub(crate) asked: Asked,
    /// The token of the query, else of the Authorization header.
    pub(crate) token: Option<String>,
}

impl Opening {
    /// Reads a request's head.
    ///
    /// # Errors
    /// It asks for nothing that there is.
    pub(crate) fn parse(head: &Parts) -> Result<Self, BadRequest> {
        if head.uri.path() != PATH && head.uri.path() != PATH.trim_end_matches('/') {
            return Err(BadRequest::Path);
        }
        let query = Query::<Parameters>::try_from_uri(&head.uri);
        let Query(Parameters { protocol, transport, sid, token, j }) =
            query.map_err(|_| BadRequest::Malformed)?;
        if j.is_some() {
            return Err(BadRequest::Malformed);
        }
        if protocol.as_deref() != Some(ENGINE_IO) {
            return Err(BadRequest::Version);
        }
        let transport = transport.and_then(|name| name.parse().ok()).ok_or(BadRequest::Transport)?;
        let sid = sid.map(|sid| sid.parse().map_err(|_| BadRequest::Session)).transpose()?;
        let asked = Asked::of(&head.method, transport, sid)?;
        if asked.is_websocket() {
            websocket::check(head)?;
        }
        Ok(Self { asked, token: token.or_else(|| authorization(&head.headers)) })
    }
}

impl Asked {
    fn of(method: &Method, transport: TransportType, sid: Option<Sid>) -> Result<Self, BadRequest> {
        match (transport, sid) {
            (_, None) if method == Method::GET => Ok(Self::Open(transport)),
            (TransportType::Websocket, Some(sid)) if method == Method::GET => Ok(Self::Upgrade(sid)),
            (TransportType::Polling, Some(sid)) if method == Method::GET => Ok(Self::Poll(sid)),
            (TransportType::Polling, Some(sid)) if method == Method::POST => Ok(Self::Post(sid)),
            _ => Err(BadRequest::Method),
        }
    }

    /// Whether the answer makes its connection a websocket.
    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Open(TransportType::Websocket) | Self::Upgrade(_))
    }

    /// The session that it names.
    pub(crate) fn sid(self) -> Option<Sid> {
        match self {
            Self::Open(_) => None,
            Self::Poll(sid) | Self::Post(sid) | Self::Upgrade(sid) => Some(sid),
        }
    }

    /// The same request for the Socket.IO library: made of the types, and of nothing that a client wrote.
    pub(crate) fn uri(self) -> Uri {
        let transport: &str = match self {
            Self::Open(transport) => transport.into(),
            Self::Upgrade(_) => TransportType::Websocket.into(),
            Self::Poll(_) | Self::Post(_) => TransportType::Polling.into(),
        };
        let sid = self.sid().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let uri = format!("{PATH}?EIO={ENGINE_IO}&transport={transport}{sid}");
        // These words and the letters of a session id always make an address; the library refuses one without a query.
        uri.parse().unwrap_or_else(|_| Uri::from_static(PATH))
    }
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    claims::bearer(value).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const SID: &str = "abcdefghijklmn-_";

    fn parse(method: Method, path_and_query: &str) -> Result<Opening, BadRequest> {
        let request = Request::builder().method(method).uri(path_and_query).body(()).unwrap();
        Opening::parse(&request.into_parts().0)
    }

    fn get(query: &str) -> Result<Asked, BadRequest> {
        parse(Method::GET, &format!("/socket.io/?{query}")).map(|opening| opening.asked)
    }

    #[test]
    fn each_thing_that_can_be_asked_for_is_understood_in_every_encoding() {
        let sid: Sid = SID.parse().unwrap();
        for path in ["/socket.io/", "/socket.io"] {
            let opening = parse(Method::GET, &format!("{path}?EIO=4&transport=polling&t=1&b64=1&token=x"));
            let expected = Opening { asked: Asked::Open(TransportType::Polling), token: Some("x".into()) };
            assert_eq!(opening, Ok(expected));
        }
        for query in
            ["EIO=4&transport=polling", "transport=poll%69ng&EIO=%34", "EIO=4&transport=polling&t=a&t=b"]
        {
            assert_eq!(get(query), Ok(Asked::Open(TransportType::Polling)), "{query}");
        }
        for query in
            [format!("EIO=4&transport=polling&sid={SID}"), format!("EIO=4&transport=polling&s%69d={SID}")]
        {
            assert_eq!(get(&query), Ok(Asked::Poll(sid)), "{query}");
            let post = parse(Method::POST, &format!("/socket.io/?{query}"));
            assert_eq!(post.map(|opening| opening.asked), Ok(Asked::Post(sid)), "{query}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_of_them_is_refused() {
        use BadRequest::{Malformed, Method as BadMethod, Session, Transport, Version};
        let cases = [
            ("", Version),
            ("transport=polling", Version),
            ("EIO=3&transport=polling", Version),
            ("EIO=04&transport=polling", Version),
            ("EIO=4+&transport=polling", Version),
            ("EIO=4%26sid=abcdefghijklmn-_&transport=websocket", Version),
            ("eio=4&transport=polling", Version),
            ("EIO=4", Transport),
            ("EIO=4&transport=", Transport),
            ("EIO=4&transport=Websocket", Transport),
            ("EIO=4&transport=websocket%26x", Transport),
            ("EIO=4&transport=websocket%00", Transport),
            ("EIO=4&transport=%ffwebsocket", Transport),
            ("EIO=4&transport=webtransport", Transport),
            ("EIO=4&Transport=polling", Transport),
            ("EIO=4&transport=polling&sid=", Session),
            ("EIO=4&transport=polling&sid=short", Session),
            ("EIO=4&transport=websocket&sid=abcdefghijklmn%26x", Session),
            ("EIO=4&transport=polling&sid=abcdefghijklmn-_%26x", Session),
            ("EIO=4&EIO=4&transport=polling", Malformed),
            ("EIO=4&transport=polling&transport=websocket", Malformed),
            ("EIO=4&transport=polling&transpor%74=polling", Malformed),
            ("EIO=4&transport=polling&sid=abcdefghijklmn-_&sid=abcdefghijklmn-_", Malformed),
            ("EIO=4&transport=polling&token=a&token=b", Malformed),
            ("EIO=4&transport=polling&j=0", Malformed),
            // The handshake's headers are missing.
            ("EIO=4&transport=websocket", Malformed),
            ("EIO=4&transport=websocket&sid=abcdefghijklmn-_", Malformed),
        ];
        for (query, expected) in cases {
            assert_eq!(get(query), Err(expected), "{query}");
        }
        let opening = "/socket.io/?EIO=4&transport=polling";
        for (method, uri) in [
            (Method::POST, opening.to_owned()),
            (Method::PUT, format!("{opening}&sid={SID}")),
            (Method::HEAD, opening.to_owned()),
            (Method::POST, format!("/socket.io/?EIO=4&transport=websocket&sid={SID}")),
        ] {
            assert_eq!(parse(method.clone(), &uri), Err(BadMethod), "{method} {uri}");
        }
        for path in ["/", "/socket.io/x", "/socket.iox/", "//socket.io/", "/Socket.io/", "/socket.io//"] {
            let asked = parse(Method::GET, &format!("{path}?EIO=4&transport=polling"));
            assert_eq!(asked, Err(BadRequest::Path), "{path}");
        }
    }

    #[test]
    fn the_library_gets_an_address_of_known_words_only() {
        let sid: Sid = SID.parse().unwrap();
        let of = |asked: Asked| asked.uri().to_string();
        assert_eq!(of(Asked::Open(TransportType::Websocket)), "/socket.io/?EIO=4&transport=websocket");
        assert_eq!(of(Asked::Upgrade(sid)), format!("/socket.io/?EIO=4&transport=websocket&sid={SID}"));
        assert_eq!(of(Asked::Post(sid)), format!("/socket.io/?EIO=4&transport=polling&sid={SID}"));
    }

    #[test]
    fn a_token_in_the_address_comes_before_one_in_a_header() {
        let parse = |query: &str| {
            let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
            let request = Request::get(uri).header("authorization", "Bearer header").body(()).unwrap();
            Opening::parse(&request.into_parts().0).unwrap().token
        };
        assert_eq!(parse("").as_deref(), Some("header"));
        assert_eq!(parse("&token=query").as_deref(), Some("query"));
    }
}
