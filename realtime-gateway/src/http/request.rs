//! Parses Engine.IO requests. A request that does not parse is refused here, so the Socket.IO library and the gateway
//! never understand one request in two ways.

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use common::claims;
use serde::Deserialize;
use serde::de::IgnoredAny;
use socketioxide::TransportType;
use socketioxide::socket::Sid;

use crate::http::bad_request::BadRequest;
use crate::http::websocket;

/// The service's path. The slash at its end may be missing.
const PATH: &str = "/socket.io/";
/// The supported version of the protocol.
const ENGINE_IO: &str = "4";

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    /// A new session over this transport.
    Open(TransportType),
    /// The packets that wait for a polling session.
    Poll(Sid),
    /// Packets from the client of a polling session.
    Post(Sid),
    /// A polling session upgrades to a websocket.
    Upgrade(Sid),
}

/// The known parameters. Deserialization fails if one comes twice.
#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "EIO")]
    protocol: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
    token: Option<String>,
    /// JSONP, whose answer is JavaScript. It is not supported.
    j: Option<IgnoredAny>,
}

/// A parsed request.
#[derive(Debug, PartialEq)]
pub(crate) struct EngineRequest {
    /// What it asks for.
    pub(crate) action: Action,
    /// The token in the query, or else in the Authorization header.
    pub(crate) token: Option<String>,
}

impl EngineRequest {
    /// Parses a request's head.
    ///
    /// # Errors
    /// Why it is refused.
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
        let action = Action::of(&head.method, transport, sid)?;
        if action.is_websocket() {
            websocket::check(head)?;
        }
        Ok(Self { action, token: token.or_else(|| authorization(&head.headers)) })
    }
}

impl Action {
    fn of(method: &Method, transport: TransportType, sid: Option<Sid>) -> Result<Self, BadRequest> {
        match (transport, sid) {
            (_, None) if method == Method::GET => Ok(Self::Open(transport)),
            (TransportType::Websocket, Some(sid)) if method == Method::GET => Ok(Self::Upgrade(sid)),
            (TransportType::Polling, Some(sid)) if method == Method::GET => Ok(Self::Poll(sid)),
            (TransportType::Polling, Some(sid)) if method == Method::POST => Ok(Self::Post(sid)),
            _ => Err(BadRequest::Method),
        }
    }

    /// Whether it makes its connection a websocket.
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

    /// The address of the same request for the Socket.IO library. It contains nothing that a client wrote.
    pub(crate) fn uri(self) -> Uri {
        let transport: &str = match self {
            Self::Open(transport) => transport.into(),
            Self::Upgrade(_) => TransportType::Websocket.into(),
            Self::Poll(_) | Self::Post(_) => TransportType::Polling.into(),
        };
        let sid = self.sid().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let uri = format!("{PATH}?EIO={ENGINE_IO}&transport={transport}{sid}");
        // These words and the characters of a session id always parse. The library refuses an address without a query.
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

    fn parse(method: Method, path_and_query: &str) -> Result<EngineRequest, BadRequest> {
        let request = Request::builder().method(method).uri(path_and_query).body(()).unwrap();
        EngineRequest::parse(&request.into_parts().0)
    }

    fn get(query: &str) -> Result<Action, BadRequest> {
        parse(Method::GET, &format!("/socket.io/?{query}")).map(|request| request.action)
    }

    #[test]
    fn every_action_is_understood_in_every_encoding() {
        let sid: Sid = SID.parse().unwrap();
        for path in ["/socket.io/", "/socket.io"] {
            let request = parse(Method::GET, &format!("{path}?EIO=4&transport=polling&t=1&b64=1&token=x"));
            let expected =
                EngineRequest { action: Action::Open(TransportType::Polling), token: Some("x".into()) };
            assert_eq!(request, Ok(expected));
        }
        for query in
            ["EIO=4&transport=polling", "transport=poll%69ng&EIO=%34", "EIO=4&transport=polling&t=a&t=b"]
        {
            assert_eq!(get(query), Ok(Action::Open(TransportType::Polling)), "{query}");
        }
        for query in
            [format!("EIO=4&transport=polling&sid={SID}"), format!("EIO=4&transport=polling&s%69d={SID}")]
        {
            assert_eq!(get(&query), Ok(Action::Poll(sid)), "{query}");
            let post = parse(Method::POST, &format!("/socket.io/?{query}"));
            assert_eq!(post.map(|request| request.action), Ok(Action::Post(sid)), "{query}");
        }
    }

    #[test]
    fn any_other_request_is_refused() {
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
            // The headers of the handshake are missing.
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
            let request = parse(Method::GET, &format!("{path}?EIO=4&transport=polling"));
            assert_eq!(request, Err(BadRequest::Path), "{path}");
        }
    }

    #[test]
    fn the_library_gets_an_address_that_no_client_wrote() {
        let sid: Sid = SID.parse().unwrap();
        let of = |action: Action| action.uri().to_string();
        assert_eq!(of(Action::Open(TransportType::Websocket)), "/socket.io/?EIO=4&transport=websocket");
        assert_eq!(of(Action::Upgrade(sid)), format!("/socket.io/?EIO=4&transport=websocket&sid={SID}"));
        assert_eq!(of(Action::Post(sid)), format!("/socket.io/?EIO=4&transport=polling&sid={SID}"));
    }

    #[test]
    fn a_token_in_the_query_takes_precedence_over_one_in_a_header() {
        let parse = |query: &str| {
            let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
            let request = Request::get(uri).header("authorization", "Bearer header").body(()).unwrap();
            EngineRequest::parse(&request.into_parts().0).unwrap().token
        };
        assert_eq!(parse("").as_deref(), Some("header"));
        assert_eq!(parse("&token=query").as_deref(), Some("query"));
    }
}
