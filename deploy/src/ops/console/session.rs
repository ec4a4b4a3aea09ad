//! The one session of a console: a one-time token, which is exchanged for a cookie.
//!
//! The token stands in the fragment of the printed address. A browser sends no fragment to any server, and the page
//! exchanges it at once. So an address that stays in the browser's history or in a terminal opens nothing later.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};

use crate::ops::secret::secret;

/// The secrets of the session.
pub(super) struct Session {
    /// `None` once it was used.
    token: Mutex<Option<String>>,
    cookie: String,
    /// Browsers keep one jar for all ports of a machine.
    name: String,
}

impl Session {
    /// A session with fresh secrets, on a port.
    pub(super) fn fresh(port: u16) -> anyhow::Result<Self> {
        Ok(Self {
            token: Mutex::new(Some(secret()?)),
            cookie: secret()?,
            name: format!("ops_console_{port}"),
        })
    }

    /// The token for the address; empty once it was used.
    pub(super) fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Whether a request has the cookie.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.name && are_equal(value, &self.cookie))
    }

    /// The header that sets the cookie, in exchange for the token. The token works once.
    pub(super) fn exchange(&self, given: &str) -> Option<String> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.take_if(|token| are_equal(token, given))?;
        Some(format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.name, self.cookie))
    }
}

fn are_equal(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_the_session_once_and_the_cookie_opens_it_from_then_on() {
        let session = Session::fresh(9085).unwrap();
        let token = session.token();
        assert_eq!(session.exchange("guess"), None);
        let cookie = session.exchange(&token).unwrap();
        assert!(cookie.ends_with("HttpOnly; SameSite=Strict"));
        assert_eq!((session.exchange(&token), session.exchange("")), (None, None));
        let with = |cookie: &str| HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]);
        let pair = cookie.split(';').next().unwrap();
        assert!(session.knows(&with(&format!("other=1; {pair}"))));
        for wrong in ["", "ops_console_9085=", "ops_console_9085=guess", &pair.replace("9085", "9086")] {
            assert!(!session.knows(&with(wrong)), "{wrong}");
        }
    }
}
