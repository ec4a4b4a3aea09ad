//! Taking tokens back before they expire: of one person of a church, or of everybody in it.
//!
//! A revocation is recorded in the database, where message-api looks, and travels like an event, by the outbox on
//! `church.<id>.revoked`: every gateway hears of it at once and reads it back after a restart. The record keeps it
//! until it is undone or older than any token, and the relay announces what stands again before the stream forgets it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::claims::{Claims, IdClaim, Person};
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
    /// The person's id; everybody in the church if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The claim that holds the id; any of them if missing, as in revocations of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<IdClaim>,
    /// Tokens issued in this second or earlier are revoked, in Unix seconds.
    pub issued_until: i64,
    /// The revocation of this person, or of everybody, is taken back. `issued_until` is 0 then, which revokes nothing
    /// where this field is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// When it was announced.
    #[serde(with = "timestamp")]
    pub timestamp: OffsetDateTime,
}

/// Tokens that are issued later than now can't be revoked: nobody would get in until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time lies in the future; tokens can be revoked that were issued until now")]
pub struct InFuture;

impl Revocation {
    /// Revokes what was issued until a moment: to one person, or to everybody in the church.
    ///
    /// # Errors
    /// The moment lies in the future.
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

    /// One that stands in the record under a [`Revocation::key`], as an event of its own.
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

    /// The news that it is taken back.
    pub fn undo(&self) -> Self {
        let timestamp = OffsetDateTime::now_utc();
        Self { id: Uuid::now_v7(), issued_until: 0, undone: true, timestamp, ..self.clone() }
    }

    /// Whose tokens it revokes, as the record knows it: empty for everybody, `userId:7` for a person, `7` for an id of
    /// a revocation of earlier versions, whichever claim holds it.
    pub fn key(&self) -> String {
        match (self.claim, &self.user_id) {
            (_, None) => String::new(),
            (Some(claim), Some(id)) => Person { claim, id: id.clone() }.to_string(),
            (None, Some(id)) => id.clone(),
        }
    }

    /// Whether it revokes the token of these claims. A token that does not say when it was issued is as old as can be.
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

/// Whether a token that was issued at a Unix second is revoked, where everything issued until another one is.
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
    fn a_revocation_covers_the_older_tokens_of_its_user_and_church_alone() {
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
    fn what_stands_in_the_record_is_announced_as_it_was() {
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
