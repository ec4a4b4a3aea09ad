//! Taking tokens back before they expire: of one user of a church, or of everybody in it.
//!
//! A revocation is recorded in the database, where message-api looks, and travels like an event, by the outbox on
//! `church.<id>.revoked`: every gateway hears of it at once and reads it back after a restart, for as long as the stream
//! keeps it. Tokens must not live longer than that. A stream that was made anew gets what the outbox still keeps.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::claims::Claims;
use crate::event::{FORMAT, timestamp};
use crate::subject::{self, ChurchId, Topic};

/// Tokens that are no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// [`FORMAT`].
    pub v: u8,
    /// Its id (UUID v7); the stream knows it as `Nats-Msg-Id`.
    pub id: Uuid,
    /// The church.
    pub church_id: ChurchId,
    /// The user; everybody in the church if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Tokens issued in this second or earlier are revoked, in Unix seconds.
    pub issued_until: i64,
    /// When it was revoked.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
}

impl Revocation {
    /// Revokes what was issued until a moment.
    pub fn new(church_id: ChurchId, user_id: Option<String>, issued_until: OffsetDateTime) -> Self {
        Self {
            v: FORMAT,
            id: Uuid::now_v7(),
            church_id,
            user_id,
            issued_until: issued_until.unix_timestamp(),
            timestamp: OffsetDateTime::now_utc(),
        }
    }

    /// Whether it revokes the token of these claims. A token that does not say when it was issued is as old as can be.
    pub fn covers(&self, claims: &Claims) -> bool {
        self.church_id == claims.church_id
            && self.user_id.as_ref().is_none_or(|user| *user == claims.user_id)
            && is_revoked(claims.issued_at, Some(self.issued_until))
    }

    /// `church.<id>.revoked`.
    pub fn subject(&self) -> String {
        subject::church(&self.church_id, Topic::Revoked)
    }
}

/// Whether a token that was issued at a Unix second is revoked, where everything issued until another one is.
pub fn is_revoked(issued_at: Option<i64>, issued_until: Option<i64>) -> bool {
    issued_until.is_some_and(|until| issued_at.is_none_or(|issued| issued <= until))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(church: &str, user: &str, issued_at: Option<i64>) -> Claims {
        Claims { user_id: user.into(), church_id: church.parse().unwrap(), expires_at: i64::MAX, issued_at }
    }

    #[test]
    fn a_revocation_covers_the_older_tokens_of_its_user_and_church_alone() {
        let at = OffsetDateTime::from_unix_timestamp(1_000).unwrap();
        let of_user = Revocation::new("grace".parse().unwrap(), Some("ann".into()), at);
        assert!(of_user.covers(&claims("grace", "ann", Some(1_000))));
        assert!(of_user.covers(&claims("grace", "ann", None)));
        assert!(!of_user.covers(&claims("grace", "ann", Some(1_001))));
        assert!(!of_user.covers(&claims("grace", "bob", Some(900))));
        assert!(!of_user.covers(&claims("hope", "ann", Some(900))));
        let of_church = Revocation { user_id: None, ..of_user };
        assert!(of_church.covers(&claims("grace", "bob", Some(900))));
    }
}
