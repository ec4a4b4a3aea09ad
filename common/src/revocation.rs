//! Revokes tokens before they expire: those of one person of a church, or of all its people.
//!
//! A revocation is recorded in the database, where message-api looks, and is announced like an event on
//! `church.<id>.revoked`: every gateway receives it at once and reads it again after a restart. The record keeps it until
//! it is undone or older than any token. The relay announces it again before the stream deletes it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::claims::{Claims, IdClaim, Person};
use crate::event::{FORMAT, timestamp};
use crate::subject::{self, ChurchId, Topic};

/// The revocation of tokens of one person, or of everybody in a church.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// [`FORMAT`].
    pub v: u8,
    /// Its id (UUID v7); the stream knows it as `Nats-Msg-Id`.
    pub id: Uuid,
    /// The church.
    pub church_id: ChurchId,
    /// The person's id; everybody in the church if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The claim that has the id; any claim if `None`, as in revocations of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<IdClaim>,
    /// Tokens issued in this second or earlier are revoked, in Unix seconds.
    pub issued_until: i64,
    /// The revocation is undone. `issued_until` is 0 then, which revokes nothing in versions that don't know this field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// When it was announced.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
}

/// A revocation until a time in the future, which would refuse all tokens until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is in the future; only tokens issued until now can be revoked")]
pub struct InFuture;

impl Revocation {
    /// Revokes the tokens of one person, or of everybody in the church, that were issued until a time.
    ///
    /// # Errors
    /// The time is in the future.
    pub fn new(
        church_id: ChurchId,
        person: Option<Person>,
        issued_until: OffsetDateTime,
    ) -> Result<Self, InFuture> {
        let now = OffsetDateTime::now_utc();
        if issued_until > now {
            return Err(InFuture);
        }
        let (claim, user_id) = person.map(|person| (person.claim, person.id)).unzip();
        let issued_until = issued_until.unix_timestamp();
        Ok(Self {
            v: FORMAT,
            id: Uuid::now_v7(),
            church_id,
            user_id,
            claim,
            issued_until,
            undone: false,
            timestamp: now,
        })
    }

    /// A revocation in the record, read back from its [`Revocation::key`], as a new event.
    pub fn standing(church_id: ChurchId, key: &str, issued_until: i64) -> Self {
        let claims = [IdClaim::UserId, IdClaim::AdminId, IdClaim::Sub];
        let named = claims.into_iter().find_map(|claim| {
            let id = key.strip_prefix(claim.as_str())?.strip_prefix(':')?;
            Some((Some(claim), Some(id.to_owned())))
        });
        let (claim, user_id) = named.unwrap_or((None, Some(key.to_owned()).filter(|key| !key.is_empty())));
        let timestamp = OffsetDateTime::now_utc();
        Self {
            v: FORMAT,
            id: Uuid::now_v7(),
            church_id,
            user_id,
            claim,
            issued_until,
            undone: false,
            timestamp,
        }
    }

    /// The event that undoes it.
    pub fn undo(&self) -> Self {
        let timestamp = OffsetDateTime::now_utc();
        Self { id: Uuid::now_v7(), issued_until: 0, undone: true, timestamp, ..self.clone() }
    }

    /// Whose tokens it revokes, as the record's key: empty for everybody, `userId:7` for a person, `7` for an id in any
    /// claim, from an earlier version.
    pub fn key(&self) -> String {
        match (self.claim, &self.user_id) {
            (_, None) => String::new(),
            (Some(claim), Some(id)) => Person { claim, id: id.clone() }.to_string(),
            (None, Some(id)) => id.clone(),
        }
    }

    /// Whether it revokes the token of these claims. A token without `iat` counts as older than any revocation.
    pub fn covers(&self, claims: &Claims) -> bool {
        !self.undone
            && self.church_id == claims.church_id
            && self.claim.is_none_or(|claim| claim == claims.claim)
            && self.user_id.as_ref().is_none_or(|user| *user == claims.user_id)
            && is_revoked(claims.issued_at, Some(self.issued_until))
    }

    /// `church.<id>.revoked`.
    pub fn subject(&self) -> String {
        subject::church(&self.church_id, Topic::Revoked)
    }
}

/// Whether a token is revoked, by when it was issued and by when its revocation ends, in Unix seconds.
pub fn is_revoked(issued_at: Option<i64>, issued_until: Option<i64>) -> bool {
    issued_until.is_some_and(|until| issued_at.is_none_or(|issued| issued <= until))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(church: &str, user: &str, issued_at: Option<i64>) -> Claims {
        let claim = IdClaim::UserId;
        Claims {
            user_id: user.into(),
            claim,
            church_id: church.parse().unwrap(),
            role: None,
            expires_at: i64::MAX,
            issued_at,
        }
    }

    fn person(claim: IdClaim, id: &str) -> Option<Person> {
        Some(Person { claim, id: id.into() })
    }

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    #[test]
    fn a_revocation_covers_only_older_tokens_of_its_person_and_church() {
        let grace: ChurchId = "grace".parse().unwrap();
        let of_user = Revocation::new(grace, person(IdClaim::UserId, "ann"), at(1_000)).unwrap();
        assert!(of_user.covers(&claims("grace", "ann", Some(1_000))));
        assert!(of_user.covers(&claims("grace", "ann", None)));
        assert!(!of_user.covers(&claims("grace", "ann", Some(1_001))));
        assert!(!of_user.covers(&claims("grace", "bob", Some(900))));
        assert!(!of_user.covers(&claims("hope", "ann", Some(900))));
        let admin = Claims { claim: IdClaim::AdminId, ..claims("grace", "ann", None) };
        assert!(!of_user.covers(&admin), "an admin of the same id is another person");
        let of_church = Revocation { user_id: None, claim: None, ..of_user };
        assert!(of_church.covers(&claims("grace", "bob", Some(900))));
    }

    #[test]
    fn a_time_in_the_future_is_refused() {
        let later = OffsetDateTime::now_utc() + time::Duration::minutes(1);
        assert_eq!(Revocation::new("grace".parse().unwrap(), None, later), Err(InFuture));
    }

    #[test]
    fn a_revocation_is_read_back_from_its_key() {
        let grace: ChurchId = "grace".parse().unwrap();
        for who in
            [None, person(IdClaim::UserId, "7"), person(IdClaim::AdminId, "7"), person(IdClaim::Sub, "a:b")]
        {
            let first = Revocation::new(grace.clone(), who, at(1_000)).unwrap();
            let again = Revocation::standing(grace.clone(), &first.key(), first.issued_until);
            assert_eq!(Revocation { id: first.id, timestamp: first.timestamp, ..again }, first);
        }
        let of_earlier_days = Revocation::standing(grace, "7", 1_000);
        assert_eq!((of_earlier_days.claim, of_earlier_days.user_id.as_deref()), (None, Some("7")));
    }
}
